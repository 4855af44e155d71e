"""A part of a metric is what the whole of it has at the same places."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt, RunResult, Tokens
from depthtui.data.run_settings import CHOICES, RunSettings, settings_keys
from depthtui.metrics import METRIC_BY_NAME, empty_result
from depthtui.metrics.ablation.compute import ablation_loss
from depthtui.metrics.choices import chosen_layers, key_parts
from depthtui.metrics.depth_score import depth_score
from depthtui.metrics.integrated_gradients.compute import integrated_gradients
from depthtui.metrics.residual_erasure import METRIC, ResidualErasure, erased_tokens
from depthtui.metrics.residual_erasure.compute import _Eraser, residual_erasure
from depthtui.metrics.skip_effects import positions_of
from depthtui.metrics.skip_effects.compute import skip_effects
from depthtui.tracing.anatomy import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.models import tiny_model
from tests.naive import naive_erasure
from tests.tiny_models import random_ids, tiny


def replayed(name: str, tokens: int = 14):
    model, ids = tiny(name), random_ids(tokens)
    anatomy = probe_architecture(model)
    return model, ids, anatomy.unembedding, Replay(model, anatomy, ids[0])


def asked(n_tokens: int = 40, n_layers: int = 12, **settings: object) -> RunResult:
    tokens = Tokens(np.zeros(n_tokens, np.int64), ["t"] * n_tokens, n_tokens - 3)
    return empty_result(
        tiny_model(n_layers),
        Prompt("a b", "b"),
        RunSettings(**settings),
        tokens,  # type: ignore[arg-type]
    )


def same_at(part: np.ndarray, whole: np.ndarray, rows: Sequence[int]) -> None:
    """Alike in these rows, and unknown in all others."""
    rows = list(rows)
    np.testing.assert_allclose(part[rows], whole[rows], rtol=1e-4, atol=1e-6)
    assert np.isnan(np.delete(part, rows, axis=0)).all()


@pytest.mark.parametrize("at_once", [0, 1])
@pytest.mark.parametrize("name", ["llama", "mamba"])
@pytest.mark.parametrize("layers", [(1,), (0, 2, 3)])
def test_chosen_layers_are_ablated_and_skipped_as_all_are(
    name: str, layers: tuple[int, ...], at_once: int
) -> None:
    _model, _ids, unembedding, replay = replayed(name)
    skipped = replay.residual[:-1]
    whole = ablation_loss(replay, unembedding, skipped)
    part = ablation_loss(replay, unembedding, skipped, layers_at_once=at_once, chosen=layers)
    same_at(part.loss_change, whole.loss_change, layers)
    assert part.chosen == layers

    every = skip_effects(replay, unembedding, skipped, [9, 5])
    some = skip_effects(replay, unembedding, skipped, [9, 5], layers_at_once=at_once, chosen=layers)
    for field in ("layers", "mean_layers", "output"):
        same_at(getattr(some, field), getattr(every, field), layers)
    left = np.where(np.isin(np.arange(4), layers), every.output, 0)
    assert depth_score(some.output, some.chosen) == pytest.approx(depth_score(left), rel=1e-4)


def test_chosen_layers_are_integrated_as_all_are() -> None:
    _model, _ids, unembedding, replay = replayed("llama", 9)
    whole = integrated_gradients(replay, unembedding, 6)
    part = integrated_gradients(replay, unembedding, 6, layers=[1, 3])
    same_at(part.attribution, whole.attribution, [1, 3])
    assert part.is_whole
    part.completeness_error[3] = np.nan
    assert not part.is_whole


@pytest.mark.parametrize("name", ["llama", "mamba"])
@pytest.mark.parametrize("depths", [(), (0, 2)])
@pytest.mark.parametrize("tokens", [(), (1, 6, 7, 11)])
def test_chosen_tokens_and_depths_are_erased_as_all_are(
    name: str, depths: tuple[int, ...], tokens: tuple[int, ...]
) -> None:
    model, ids, unembedding, replay = replayed(name)
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    part = residual_erasure(replay, unembedding, baseline, 9, chosen=depths, tokens=tokens)
    whole = naive_erasure(model, ids, baseline, 9)
    rows, columns = part.depths, part.erased
    places = np.ix_(rows, columns)
    np.testing.assert_allclose(part.effect[places], whole[places], rtol=2e-4, atol=2e-5)
    known = np.zeros_like(part.effect, bool)
    known[places] = True
    known[:, -1] = True
    assert (np.isfinite(part.effect) == known).all()
    assert part.is_whole
    assert (part.choice_words == "") == (not depths and not tokens)


class FakeEraser:
    """Knows the effects, and counts which are asked for."""

    floor = 0.0

    def __init__(self, effects: np.ndarray) -> None:
        self.known = effects
        self.asked: list[tuple[int, int]] = []

    def together(self, n_depths: int, waiting: Sequence[int]) -> int:
        return min(3, len(waiting))

    def effects(self, places: Sequence[tuple[int, int]], with_floor: bool = True) -> torch.Tensor:
        assert sorted(places) == list(places)
        self.asked += places
        return torch.tensor([float(self.known[place]) for place in places])


def searched(effects: np.ndarray, monkeypatch: pytest.MonkeyPatch, **how: object):
    """A bisection of known effects at 0.1, and the places that it asked for."""
    eraser = FakeEraser(effects)
    monkeypatch.setattr(
        "depthtui.metrics.residual_erasure.compute._Eraser", lambda *_arguments: eraser
    )

    class Known:
        n_layers, n_tokens = len(effects) - 1, effects.shape[1]

    found = residual_erasure(
        Known(),
        None,
        [],
        n - 4 if (n := effects.shape[1]) > 5 else 1,
        threshold=0.1,
        **how,  # type: ignore[arg-type]
    )
    return found, eraser.asked


def falling(depths: int, tokens: int, seed: int = 0) -> np.ndarray:
    """Effects that fall with depth; some never reach 0.1, some always do."""
    rng = np.random.default_rng(seed)
    scale = np.resize([0.05, 0.3, 1.0, 1.0], tokens)
    effects = -np.sort(-rng.uniform(0, 1, (depths, tokens)), axis=0) * scale
    effects[:, 3::7] += 0.2
    effects[:, -1] = 0
    return effects


@pytest.mark.parametrize("depths", [2, 5, 31, 81])
def test_bisecting_finds_what_all_depths_say_where_effects_fall(
    depths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = falling(depths, 30)
    found, asked_for = searched(effects, monkeypatch)
    whole = ResidualErasure(effects.astype(np.float32), 26, 0.0)
    expected = whole.until(0.1)
    assert {-1, depths - 1} <= set(expected[:-1])
    np.testing.assert_array_equal(found.until(0.1), expected)
    assert found.disagreeing == 0
    assert found.is_whole
    most = int(np.ceil(np.log2(depths + 1))) + 2
    assert len(asked_for) == len(set(asked_for)) <= most * 29
    assert depths < 31 or len(asked_for) < depths * 29 / 3
    known = np.isfinite(found.effect[:, :-1])
    np.testing.assert_allclose(found.effect[:, :-1][known], effects[:, :-1][known], rtol=1e-6)
    assert known.sum() == len(asked_for)


def test_bisecting_looks_at_chosen_depths_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    effects, chosen = falling(31, 12), tuple(range(0, 31, 4))
    found, asked_for = searched(effects, monkeypatch, chosen=chosen, tokens=(2, 6))
    assert {depth for depth, _ in asked_for} <= set(chosen)
    assert {token for _, token in asked_for} == {2, 6}
    for token in (2, 6):
        last = max((depth for depth in chosen if effects[depth, token] >= 0.1), default=-1)
        assert found.until(0.1)[token] == last


def test_bisecting_says_where_an_effect_rises_again(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = np.zeros((31, 12))
    effects[:4] = 0.5
    steady, _ = searched(effects, monkeypatch)
    assert (steady.checks, steady.disagreeing) == (11 + 11, 0)
    effects[20:, 5] = 0.5
    effects[16:, 7] = 0.5
    effects[15, 7] = 0.0
    rising, _ = searched(effects, monkeypatch)
    assert rising.disagreeing > 0
    assert f"{rising.disagreeing} of {rising.checks} checks elsewhere disagree" in (
        rising.choice_words
    )


def test_a_real_search_has_the_effects_of_the_places_that_it_looks_at() -> None:
    _model, _ids, unembedding, replay = replayed("llama")
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    whole = residual_erasure(replay, unembedding, baseline, 9)
    threshold = float(np.median(whole.effect[:, :-1]))
    found = residual_erasure(replay, unembedding, baseline, 9, threshold=threshold)
    known = np.isfinite(found.effect)
    np.testing.assert_allclose(found.effect[known], whole.effect[known], rtol=1e-4, atol=1e-6)
    reaches = whole.effect >= threshold
    steady = (np.diff(reaches.astype(int), axis=0) <= 0).all(axis=0)
    assert steady.sum() > 3
    np.testing.assert_array_equal(found.until(threshold)[steady], whole.until(threshold)[steady])


def test_what_a_stopped_search_has_done_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    effects = falling(31, 12)
    stopped, _ = searched(effects, monkeypatch)
    whole = stopped.effect.copy()
    stopped.effect[:, 6:9] = np.nan
    assert not stopped.is_whole
    again, asked_for = searched(effects, monkeypatch, result=stopped)
    assert {token for _, token in asked_for} == {6, 7, 8}
    np.testing.assert_array_equal(again.effect, whole)


def test_checks_of_a_block_count_once_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = falling(31, 12)
    fresh, asked_for = searched(effects, monkeypatch)
    measured = FakeEraser.effects
    for stop in range(1, len(asked_for) + 1, 7):
        begun = ResidualErasure.unknown(
            30, 12, answer_start=fresh.answer_start, floor=0.0, threshold=0.1
        )
        calls = []

        def effects_until(self, *places, calls=calls, stop=stop):
            calls.append(places)
            if len(calls) == stop:
                raise InterruptedError
            return measured(self, *places)

        with monkeypatch.context() as patch:
            patch.setattr(FakeEraser, "effects", effects_until)
            with contextlib.suppress(InterruptedError):
                searched(effects, patch, result=begun)
        ended, _ = searched(effects, monkeypatch, result=begun)
        assert (ended.checks, ended.disagreeing) == (fresh.checks, fresh.disagreeing)


def test_a_search_says_until_where_and_has_no_largest_effects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = searched(falling(31, 12), monkeypatch)
    until = found.until(0.1)[: found.answer_start]
    findings = [finding.value for finding in METRIC.findings([found], None)]  # type: ignore[arg-type]
    assert f"last {until.max()}" in " ".join(findings)
    assert METRIC.per_layer([found]) == []


def test_an_eraser_takes_places_in_any_depths() -> None:
    model, ids, unembedding, replay = replayed("llama")
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    whole = naive_erasure(model, ids, baseline, 9)
    places = [(0, 7), (2, 3), (2, 12), (4, 8)]
    found = _Eraser(replay, unembedding, baseline, 9).effects(places)
    expected = [whole[place] for place in places]
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=2e-5)


def test_tokens_are_drawn_from_all_over_the_prompt() -> None:
    drawn = erased_tokens(asked(101, erase_tokens=10))
    assert [token // 10 for token in drawn] == list(range(10))
    assert drawn == erased_tokens(asked(101, erase_tokens=10))
    assert drawn != erased_tokens(asked(101, erase_tokens=10, seed=5))
    assert erased_tokens(asked(101)) == erased_tokens(asked(8, erase_tokens=10)) == ()


def test_positions_are_those_that_the_prompt_has() -> None:
    assert positions_of(asked(40, skip_positions=(8, 20, 90))) == [8, 20]
    skip = METRIC_BY_NAME["skip_effects"]
    none = asked(7, skip_positions=(8, 20))
    assert skip.why_unavailable(none) == "the prompt has 7 tokens, and needs more than 8"


@pytest.mark.parametrize(
    "name", ["ablation", "skip_effects", "residual_erasure", "integrated_gradients"]
)
def test_a_choice_of_everything_keeps_the_key_of_before(name: str) -> None:
    metric = METRIC_BY_NAME[name]

    def key(**settings: object) -> dict[str, object]:
        result = asked(**settings)
        return (
            metric.cache_key(result) if metric.cache_key else key_parts(result, metric.depends_on)
        )

    usual = key()
    assert not set(usual) & {*CHOICES, "tokens", "threshold"}
    assert key(layers="0-11") == usual
    assert key(layers="0-5") == key(layers="0-3,4-5") != usual
    assert (key(erase_tokens=5) == usual) == (name != "residual_erasure")
    assert (key(erase_search="bisect") == usual) == (name != "residual_erasure")
    assert key(erase_threshold=0.3) == usual


def test_settings_of_files_name_choices_only_where_they_are_made() -> None:
    assert not set(settings_keys(RunSettings())) & set(CHOICES)
    assert settings_keys(RunSettings(layers="/4"))["layers"] == "/4"


def test_no_choice_is_all_layers() -> None:
    assert chosen_layers(asked()) == chosen_layers(asked(layers="0-11")) == ()
    assert chosen_layers(asked(layers="/5")) == (0, 5, 10)
