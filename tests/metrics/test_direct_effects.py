"""Which layer reads which: against one ordinary forward for each pair of layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics import direct_effects as metric
from depthtui.metrics import skip_effects as skipping
from depthtui.metrics.direct_effects import DirectEffects, read_later, reads_earlier
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import direct_effects
from tests.builders.results import run
from tests.naive import blocks, naive_direct_effects
from tests.tiny_models import fresh, on_few_models, random_ids, tiny

SETTINGS = SummarySettings()


def replayed(model, tokens: int = 16, **options):
    ids = random_ids(tokens)
    anatomy = probe_architecture(model)
    replay = Replay(model, anatomy, ids[0], **options)
    return ids, anatomy, replay


def without_layers(replay: Replay) -> list[torch.Tensor]:
    return replay.residual[:-1]


@on_few_models()
def test_direct_effects_match_the_naive_way(name: str) -> None:
    model = tiny(name)
    ids, _anatomy, replay = replayed(model)
    actual = direct_effects(replay, without_layers(replay), [12, 8])
    expected = naive_direct_effects(model, ids, [12, 8])
    np.testing.assert_allclose(actual.layers, expected, rtol=2e-4, atol=2e-5)
    assert (np.tril(actual.layers) == 0).all()
    assert actual.layers.max() > 0.01
    assert actual.floor < 2e-5


@pytest.mark.parametrize("name", ["llama", "mamba", "falcon"])
def test_nothing_of_a_layer_is_read_at_any_token(name: str) -> None:
    model = tiny(name)
    ids, _anatomy, replay = replayed(model)
    result = direct_effects(replay, without_layers(replay), [0])
    np.testing.assert_allclose(
        result.layers, naive_direct_effects(model, ids, [0]), rtol=2e-4, atol=2e-5
    )


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_in_small_parts_and_of_chosen_layers_it_is_the_same(name: str, at_once: int) -> None:
    _ids, anatomy, replay = replayed(tiny(name))
    whole = direct_effects(replay, without_layers(replay), [12, 8])
    small = Replay(tiny(name), anatomy, replay.ids, tokens_at_once=20)
    reports: list[tuple[int, int, DirectEffects]] = []
    part = direct_effects(
        small,
        without_layers(small),
        [12, 8],
        on_rows=lambda *row: reports.append(row),
        sources_at_once=at_once,
        chosen=(0, 2),
    )
    np.testing.assert_allclose(part.layers[[0, 2]], whole.layers[[0, 2]], rtol=1e-4, atol=1e-6)
    assert np.isnan(part.layers[[1, 3]]).all()
    assert part.chosen == (0, 2)
    assert reports[-1][:2] == (4, 4)


def test_direct_effects_are_known_reader_by_reader_and_go_on_from_there() -> None:
    _ids, _anatomy, replay = replayed(tiny("llama"))
    reports: list[tuple[int, int, DirectEffects]] = []
    whole = direct_effects(
        replay, without_layers(replay), [12, 8], on_rows=lambda *row: reports.append(row)
    )
    (done, total, first), *_ = reports
    assert (done, total) == (1, 6)
    assert first.is_known.tolist() == [True, True, False, False]
    assert not first.is_whole
    assert whole.is_whole
    np.testing.assert_array_equal(first.layers[:, :2], whole.layers[:, :2])
    reports.clear()
    again = direct_effects(
        replay,
        without_layers(replay),
        [12, 8],
        on_rows=lambda *row: reports.append(row),
        partial=replace(first, floor=0.25),
    )
    np.testing.assert_array_equal(again.layers, whole.layers)
    assert again.floor == 0.25
    assert [done for done, *_ in reports] == [3, 6]
    # What was told of and gone on from stays as it was.
    assert not first.is_whole


def test_what_is_not_read_of_a_layer_is_the_part_that_is_left_out() -> None:
    """Attention's and MLP's writes by themselves; both are what the layer writes."""
    model = tiny("llama")
    _ids, anatomy, replay = replayed(model)
    actual = {
        part: direct_effects(replay, skipped_residuals(anatomy, replay, part), [8], part)
        for part in ("layer", "attention", "mlp")
    }
    assert actual["mlp"].part == "mlp"
    expected = replay.residual[1] - skipped_residuals(anatomy, replay, "mlp")[0]
    rows = torch.stack([replay.residual[2], replay.residual[2].clone()])
    rows[1, 1:8] -= expected[1:8]
    clean, changed = (replay.run_layer(2, rows) - rows)[:, 8:]
    far = (changed - clean).norm(dim=-1) / clean.norm(dim=-1)
    assert actual["mlp"].layers[0, 2] == pytest.approx(float(far.max()), rel=1e-4)
    assert not np.allclose(actual["mlp"].layers, actual["layer"].layers)


def test_a_layer_that_writes_and_reads_nothing_is_known_as_such() -> None:
    model = fresh("llama")
    block = blocks(model)[1]
    with torch.no_grad():
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    _ids, _anatomy, replay = replayed(model)
    result = direct_effects(replay, without_layers(replay), [12, 8])
    assert (result.layers[1] == 0).all()
    assert (result.layers[:, 1] == 0).all()
    assert result.layers[0, 2] > 0.01


def test_a_layer_without_attention_reads_no_earlier_token() -> None:
    """What was written before t reaches the tokens from t on through attention alone."""
    model = fresh("llama")
    with torch.no_grad():
        blocks(model)[2].self_attn.o_proj.weight.zero_()
    _ids, _anatomy, replay = replayed(model)
    result = direct_effects(replay, without_layers(replay), [12, 8])
    assert result.layers[:, 2].max() < 1e-5
    assert result.layers[:2, 3].min() > 0.01


def test_a_way_that_is_wrong_shows_in_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    _ids, _anatomy, replay = replayed(tiny("llama"))
    assert replay.can_resume
    run_layer = replay.run_layer

    def wrongly(layer, rows, start=0, past=None):
        return run_layer(layer, rows, start, (past[0] * 1.1, past[1]))

    monkeypatch.setattr(replay, "run_layer", wrongly)
    assert direct_effects(replay, without_layers(replay), [12, 8]).floor > 1e-3


EFFECTS = np.array([[0, 0.2, 0.4], [0, 0, 0.3], [0, 0, 0]])


def test_means_over_later_and_earlier_layers() -> None:
    np.testing.assert_allclose(read_later(EFFECTS), [0.3, 0.3, np.nan])
    np.testing.assert_allclose(reads_earlier(EFFECTS), [np.nan, 0.2, 0.35])
    some = EFFECTS.copy()
    some[0] = np.nan
    np.testing.assert_allclose(read_later(some), [np.nan, 0.3, np.nan])
    np.testing.assert_allclose(reads_earlier(some), [np.nan, np.nan, 0.3])


def pooled(*positions: int, skip: SkipEffects | None = None) -> Reading:
    """Two prompts; the second one's effects are half of the first one's."""
    results = []
    for index, position in enumerate(positions):
        result = run(seed=index, layers=3, tokens=5 + 10 * index)
        scaled = EFFECTS / (1 + index)
        result.put("direct_effects", DirectEffects("layer", (position,), scaled, 0.01 * index))
        if skip is not None:
            result.put("skip_effects", replace(skip, positions=(position,)))
        results.append(result)
    return reading_of(results, SETTINGS)


def skip_of(layers: np.ndarray, **others: object) -> SkipEffects:
    result = SkipEffects("layer", (8,), layers, layers, layers[0], 0.0, 0.0)
    return replace(result, **others)  # type: ignore[arg-type]


def test_prompts_are_taken_together_by_their_largest() -> None:
    together = pooled(8, 16)
    result = together.get(metric.METRIC)
    np.testing.assert_array_equal(result.direct.layers, EFFECTS)
    assert result.direct.positions == (8, 16)
    assert result.direct.floor == 0.01
    assert result.share is None
    summary = metric.METRIC.summary(result, together)
    assert summary["positions"] == [[8], [16]]
    np.testing.assert_array_equal(summary["layers"], EFFECTS)
    assert "median_share" not in summary
    lines = {line.title: line for line in metric.METRIC.findings(result, together)}
    assert lines["Direct effects"].value == "median 0.30"
    assert lines["Direct effects"].remark == "most: layer 2 reads layer 0, 0.40"
    # The second prompt has three times as many tokens.
    means = metric.METRIC.means(result, together)
    assert means == {"direct effect": pytest.approx((0.3 + 3 * 0.15) / 4)}


def test_the_share_of_skip_effects() -> None:
    effects = np.array([[0, 0.4, 0.4], [0, 0, 0.005], [0, 0, 0]])
    skip = skip_of(effects, floor=0.01)
    together = pooled(8, skip=skip)
    actual = together.get(metric.METRIC)
    expected = np.full((3, 3), np.nan)
    expected[0, 1:] = 0.5, 1.0
    np.testing.assert_allclose(actual.share, expected)
    assert metric.METRIC.summary(actual, together)["median_share"] == 0.75
    line = metric.METRIC.findings(actual, together)[-1]
    assert (line.title, line.value) == ("Direct share of skip effects", "median 75%")
    assert "mostly read" in line.remark
    assert [picture.title for picture in metric.METRIC.maps(actual)] == [
        "Direct effects",
        "Direct share of skip effects",
    ]


@pytest.mark.parametrize("other", [{"part": "mlp"}, {"floor": 1.0}])
def test_there_is_no_share_of_other_or_unknown_effects(other: dict[str, object]) -> None:
    together = pooled(8, skip=skip_of(EFFECTS, **other))
    assert together.get(skipping.METRIC) is not None
    assert together.get(metric.METRIC).share is None
