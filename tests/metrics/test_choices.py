"""A part of a metric is what the whole of it has at the same places."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import (
    CHOICES,
    Repeated,
    RunSettings,
    SummarySettings,
    settings_keys,
)
from depthtui.depth.reading import reading_of
from depthtui.metrics.choices import chosen_layers, key_parts
from depthtui.metrics.depth_score import depth_score
from depthtui.metrics.registry import METRIC_BY_NAME, empty_result
from depthtui.metrics.residual_erasure import METRIC, ResidualErasure, erased_tokens
from depthtui.metrics.residual_erasure.compute import Place, _Eraser
from depthtui.metrics.skip_effects import positions_of
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import (
    ablation_loss,
    integrated_gradients,
    residual_erasure,
    skip_effects,
)
from tests.builders.models import tiny_model
from tests.builders.results import random_result
from tests.naive import naive_erasure, naive_erasures
from tests.tiny_models import on_few_models, random_ids, tiny


def replayed(name: str, tokens: int = 14):
    model, ids = tiny(name), random_ids(tokens)
    anatomy = probe_architecture(model)
    return model, ids, anatomy.unembedding, Replay(model, anatomy, ids[0])


def asked(n_tokens: int = 40, n_layers: int = 12, **settings: object) -> RunResult:
    tokens = PromptTokens(np.zeros(n_tokens, np.int64), ["t"] * n_tokens, n_tokens - 3)
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
    is_known = np.zeros_like(part.effect, bool)
    is_known[places] = True
    is_known[:, -1] = True
    assert (np.isfinite(part.effect) == is_known).all()
    assert part.is_whole
    assert (part.choice_words == "") == (not depths and not tokens)


class FakeEraser:
    """Knows the effects, and counts which are asked for."""

    floor = 0.0

    def __init__(self, effects: np.ndarray) -> None:
        self.known = effects
        self.asked: list[Place] = []

    def tokens_at_once(self, n_depths: int, waiting: Sequence[int]) -> int:
        return min(3, len(waiting))

    def at_once(self, count: int, first: int) -> int:
        return min(5, count)

    def effects(self, places: Sequence[Place], with_floor: bool = True) -> torch.Tensor:
        assert sorted(places) == list(places)
        self.asked += places
        return torch.tensor([self.together_at(depth, tokens) for depth, tokens in places])

    def together_at(self, depth: int, tokens: tuple[int, ...]) -> float:
        """The effect of erasing tokens together: that of the one that matters most."""
        return float(self.known[depth, list(tokens)].max())


def searched(
    effects: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    eraser_class: type[FakeEraser] = FakeEraser,
    **how: object,
):
    """A search of known effects at 0.1, and the places that it asked for."""
    eraser = eraser_class(effects)
    monkeypatch.setattr(
        "depthtui.metrics.residual_erasure.compute._Eraser", lambda *_arguments: eraser
    )

    class Known:
        n_layers, n_tokens = len(effects) - 1, effects.shape[1]

    result = residual_erasure(
        Known(),
        None,
        [],
        n - 4 if (n := effects.shape[1]) > 5 else 1,
        threshold=0.1,
        **how,  # type: ignore[arg-type]
    )
    return result, eraser.asked


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
    actual, asked_for = searched(effects, monkeypatch)
    whole = ResidualErasure(effects.astype(np.float32), 26, 0.0)
    expected = whole.until(0.1)
    assert {-1, depths - 1} <= set(expected[:-1])
    np.testing.assert_array_equal(actual.until(0.1), expected)
    assert actual.disagreeing == 0
    assert actual.is_whole
    most = int(np.ceil(np.log2(depths + 1))) + 2
    assert len(asked_for) == len(set(asked_for)) <= most * 29
    assert depths < 31 or len(asked_for) < depths * 29 / 3
    is_finite = np.isfinite(actual.effect[:, :-1])
    np.testing.assert_allclose(
        actual.effect[:, :-1][is_finite], effects[:, :-1][is_finite], rtol=1e-6
    )
    assert is_finite.sum() == len(asked_for)


def test_bisecting_looks_at_chosen_depths_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    effects, chosen = falling(31, 12), tuple(range(0, 31, 4))
    result, asked_for = searched(effects, monkeypatch, chosen=chosen, tokens=(2, 6))
    assert {depth for depth, _ in asked_for} <= set(chosen)
    assert {tokens for _, tokens in asked_for} == {(2,), (6,)}
    for token in (2, 6):
        last = max((depth for depth in chosen if effects[depth, token] >= 0.1), default=-1)
        assert result.until(0.1)[token] == last


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
    result = residual_erasure(replay, unembedding, baseline, 9, threshold=threshold)
    is_finite = np.isfinite(result.effect)
    np.testing.assert_allclose(
        result.effect[is_finite], whole.effect[is_finite], rtol=1e-4, atol=1e-6
    )
    reaches = whole.effect >= threshold
    steady = (np.diff(reaches.astype(int), axis=0) <= 0).all(axis=0)
    assert steady.sum() > 3
    np.testing.assert_array_equal(result.until(threshold)[steady], whole.until(threshold)[steady])


def few_matter(depths: int, tokens: int) -> np.ndarray:
    """Effects that fall with depth, none of them large but of three tokens."""
    effects = falling(depths, tokens) * 0.05
    effects[: depths // 2, tokens // 3] = 0.5
    effects[: depths // 3, tokens // 3 + 1] = 0.4
    effects[:, -2] = 0.3
    return effects


@pytest.mark.parametrize("span", [1, 4, 7, 64])
@pytest.mark.parametrize("depths", [2, 5, 31, 81])
def test_spans_find_what_all_depths_say_where_effects_fall(
    depths: int, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for effects in (falling(depths, 30), few_matter(depths, 30)):
        actual, asked_for = searched(effects, monkeypatch, span=span)
        expected = ResidualErasure(effects.astype(np.float32), 26, 0.0).until(0.1)
        np.testing.assert_array_equal(actual.until(0.1), expected)
        assert (actual.disagreeing, actual.is_whole, actual.settled) == (0, True, 29)
        assert len(asked_for) == len(set(asked_for))
        singles = {(depth, tokens[0]) for depth, tokens in asked_for if len(tokens) == 1}
        is_finite = np.isfinite(actual.effect[:, :-1])
        assert set(zip(*np.nonzero(is_finite), strict=True)) == singles
        np.testing.assert_allclose(
            actual.effect[:, :-1][is_finite], effects[:, :-1][is_finite], rtol=1e-6
        )


def test_spans_ask_little_where_few_tokens_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = few_matter(31, 300)
    bisected, one_by_one = searched(effects, monkeypatch)
    result, asked_for = searched(effects, monkeypatch, span=64)
    np.testing.assert_array_equal(result.until(0.1), bisected.until(0.1))
    assert len(asked_for) < len(one_by_one) / 10
    # A quiet span asks log2 of its depths, and on the tokens that are drawn.
    quiet = [tokens for _, tokens in asked_for if tokens[0] >= 128 and tokens[-1] < 192]
    assert sorted(map(len, quiet)) == [1] * 16 + [64] * 5


def test_spans_ask_a_third_more_where_all_tokens_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = np.full((31, 65), 0.5)
    effects[:, -1] = 0
    result, asked_for = searched(effects, monkeypatch, span=64)
    assert (result.until(0.1)[:-1] == 30).all()
    assert len(asked_for) <= 5 * (64 + 16 + 4 + 1) + 3 * 8


def test_few_tokens_are_not_erased_together(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = np.zeros((31, 40))
    effects[:20, 3:6] = effects[:9, 20:24] = 0.5
    _, asked_for = searched(effects, monkeypatch, span=64)
    # Three tokens go on from depth 15 by themselves; four go on from depth 7 together.
    assert not {place for place in asked_for if place[0] in range(16, 31) and len(place[1]) > 1}
    assert (11, (20, 21, 22, 23)) in asked_for


class Cancelling(FakeEraser):
    """Tokens that are erased together have no effect."""

    def together_at(self, depth: int, tokens: tuple[int, ...]) -> float:
        return 0.0 if len(tokens) > 1 else super().together_at(depth, tokens)


def test_spans_say_where_a_token_has_more_effect_than_its_span(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    effects = np.full((31, 65), 0.5)
    effects[:, -1] = 0
    result, _ = searched(effects, monkeypatch, Cancelling, span=64)
    assert result.disagreeing == result.checks > 0
    assert (
        f"{result.disagreeing} of {result.checks} checks elsewhere disagree" in result.choice_words
    )
    others = searched(effects, monkeypatch, Cancelling, span=64, seed=5)[0]
    again = searched(effects, monkeypatch, Cancelling, span=64)[0]
    np.testing.assert_array_equal(again.effect, result.effect)
    assert (np.isfinite(others.effect) != np.isfinite(result.effect)).any()


def test_spans_look_at_chosen_depths_and_tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    effects, chosen, drawn = falling(31, 40), tuple(range(0, 31, 4)), (2, 6, 11, 13, 30)
    result, asked_for = searched(effects, monkeypatch, chosen=chosen, tokens=drawn, span=4)
    assert {depth for depth, _ in asked_for} <= set(chosen)
    assert {token for _, tokens in asked_for for token in tokens} == set(drawn)
    assert (2, 6, 11, 13) in {tokens for _, tokens in asked_for}
    for token in drawn:
        last = max((depth for depth in chosen if effects[depth, token] >= 0.1), default=-1)
        assert result.until(0.1)[token] == last


def test_spans_that_are_done_are_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    effects = falling(31, 30)
    fresh, all_asked = searched(effects, monkeypatch, span=8)
    stopped = []

    def stop(done: int, total: int, result: ResidualErasure) -> None:
        stopped.append(result)
        if done == 16:
            raise InterruptedError

    with contextlib.suppress(InterruptedError):
        searched(effects, monkeypatch, span=8, on_rows=stop)
    begun = stopped[-1]
    assert (begun.settled, begun.is_whole, begun.finished_tokens) == (16, False, list(range(16)))
    ended, asked_for = searched(effects, monkeypatch, span=8, partial=begun)
    assert min(tokens[0] for _, tokens in asked_for) == 16
    assert asked_for == [place for place in all_asked if place[1][0] >= 16]
    np.testing.assert_array_equal(ended.effect, fresh.effect)
    assert (ended.checks, ended.disagreeing) == (fresh.checks, fresh.disagreeing)


@pytest.mark.parametrize("name", ["llama", "gemma2", "mamba", "qwen2_moe"])
def test_spans_of_a_model_find_what_its_map_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _model, _ids, unembedding, replay = replayed(name, 24)
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    whole = residual_erasure(replay, unembedding, baseline, 18)
    threshold = float(np.quantile(whole.effect[:, :-1], 0.75))
    reports: list[tuple[Place, float]] = []
    measured = _Eraser.effects

    def effects(self: _Eraser, places: Sequence[Place], *floor: bool) -> torch.Tensor:
        result = measured(self, places, *floor)
        reports.extend(zip(places, result.tolist(), strict=True))
        return result

    monkeypatch.setattr(_Eraser, "effects", effects)
    result = residual_erasure(replay, unembedding, baseline, 18, threshold=threshold, span=8)
    is_finite = np.isfinite(result.effect)
    np.testing.assert_allclose(
        result.effect[is_finite], whole.effect[is_finite], rtol=1e-3, atol=1e-6
    )
    assert result.floor < 1e-5
    # The assumptions hold of most tokens: effects fall, and no quiet span hides one.
    reaches = whole.effect >= threshold
    holds = (np.diff(reaches.astype(int), axis=0) <= 0).all(axis=0)
    for (depth, tokens), effect in reports:
        if effect < threshold:
            holds[list(tokens)] &= ~reaches[depth, list(tokens)]
    assert holds.sum() > 12
    np.testing.assert_array_equal(result.until(threshold)[holds], whole.until(threshold)[holds])
    assert result.disagreeing == 0 or not holds.all()


def test_spans_run_few_layers_where_few_tokens_matter() -> None:
    """Tokens that are all alike lose nothing where they are erased by one of them."""
    model, ids = tiny("llama"), torch.full((60,), 5)
    ids[40] = 9
    anatomy = probe_architecture(model)
    replay = Replay(model, anatomy, ids)
    baseline = [residual[0] for residual in replay.residual]

    def until(**how: object) -> tuple[np.ndarray, int]:
        before = replay.evaluations
        actual = residual_erasure(replay, anatomy.unembedding, baseline, 54, **how)  # type: ignore[arg-type]
        return actual.until(0.02), replay.evaluations - before

    expected, _ = until()
    assert expected[40] >= 0
    assert (expected >= 0).sum() < 10
    one_by_one, many = until(threshold=0.02)
    by_spans, few = until(threshold=0.02, span=64)
    np.testing.assert_array_equal(one_by_one, expected)
    np.testing.assert_array_equal(by_spans, expected)
    assert few < many / 2


@on_few_models()
def test_tokens_are_erased_together_as_in_one_forward(name: str) -> None:
    model, ids, unembedding, replay = replayed(name, 12)
    torch.manual_seed(1)
    baseline = [torch.randn(residual.shape[1]) for residual in replay.residual]
    places = [(0, (2, 3, 4)), (0, (7,)), (2, (1, 5)), (2, (3, 4, 5, 6)), (replay.n_layers, (8, 9))]
    actual = _Eraser(replay, unembedding, baseline, 9).effects(places)
    expected = naive_erasures(model, ids, baseline, 9, places)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=2e-4, atol=2e-5)
    assert expected.max() > 0.01


def test_what_a_stopped_search_has_done_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    effects = falling(31, 12)
    stopped, _ = searched(effects, monkeypatch)
    whole = stopped.effect.copy()
    stopped.effect[:, 6:9] = np.nan
    assert not stopped.is_whole
    again, asked_for = searched(effects, monkeypatch, partial=stopped)
    assert {tokens for _, tokens in asked_for} == {(6,), (7,), (8,)}
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
                searched(effects, patch, partial=begun)
        ended, _ = searched(effects, monkeypatch, partial=begun)
        assert (ended.checks, ended.disagreeing) == (fresh.checks, fresh.disagreeing)


def test_a_search_says_until_where_and_has_no_largest_effects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actual, _ = searched(falling(31, 12), monkeypatch)
    until = actual.until(0.1)[: actual.answer_start]
    result = random_result(layers=30, tokens=12)
    result.put(METRIC.name, actual)
    pooled = reading_of([result], SummarySettings())
    lines = METRIC.findings(pooled.get(METRIC), pooled)
    assert f"last {until.max()}" in " ".join(line.value for line in lines)
    assert f"of {actual.answer_start} do" in " ".join(line.remark for line in lines)
    assert METRIC.per_layer(pooled.get(METRIC)) == []


def test_an_eraser_takes_places_in_any_depths() -> None:
    model, ids, unembedding, replay = replayed("llama")
    baseline = [residual.mean(dim=0) for residual in replay.residual]
    whole = naive_erasure(model, ids, baseline, 9)
    places = [(0, 7), (2, 3), (2, 12), (4, 8)]
    actual = _Eraser(replay, unembedding, baseline, 9).effects(
        [(depth, (token,)) for depth, token in places]
    )
    expected = [whole[place] for place in places]
    np.testing.assert_allclose(actual.numpy(), expected, rtol=2e-4, atol=2e-5)


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
def test_a_choice_of_everything_has_the_key_of_none(name: str) -> None:
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


def test_spans_have_a_key_of_their_own_for_each_seed() -> None:
    def key(search: str, seed: int) -> dict[str, object]:
        assert METRIC.cache_key is not None
        return METRIC.cache_key(asked(erase_search=search, seed=seed))

    assert key("bisect", 3) == key("bisect", 4)
    assert key("bisect", 3) != key("spans", 3) != key("spans", 4)


def test_settings_of_files_name_choices_only_where_they_are_made() -> None:
    assert not set(settings_keys(RunSettings())) & set(CHOICES)
    assert settings_keys(RunSettings(layers="/4"))["layers"] == "/4"
    # What runs twice is named where something does.
    assert "repeated" not in settings_keys(RunSettings())
    assert settings_keys(RunSettings(repeated=(Repeated(1, 2),)))["repeated"]


def test_no_choice_is_all_layers() -> None:
    assert chosen_layers(asked()) == chosen_layers(asked(layers="0-11")) == ()
    assert chosen_layers(asked(layers="/5")) == (0, 5, 10)
