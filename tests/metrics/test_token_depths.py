"""The depth of each token of a run: in closed form, the naive way, and as it is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.depth.reading import reading_of
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.settling import Settling
from depthtui.metrics.settling.compute import divergence
from depthtui.metrics.token_depths import TOKEN_DEPTHS
from depthtui.report.groups import group_runs
from depthtui.report.summary_json import summary_dict
from tests.builders.results import full_run, lacking, make_result, run
from tests.metrics.streams import stream
from tests.metrics.test_metrics import lens_of
from tests.naive import naive_lens, speak_from
from tests.tiny_models import random_ids, tiny

SETTINGS = SummarySettings()


def depths_of(result: RunResult, settings: SummarySettings = SETTINGS) -> TokenDepths:
    depths = reading_of([result], settings).token_depths(result)
    assert depths is not None
    return depths


def planted() -> RunResult:
    """Four layers, three tokens; the position of token 1 predicts token 2."""
    result = make_result(layers=4, tokens=3)
    lens = result.get(LogitLens)
    assert lens is not None
    lens.top_ids[:, 1, 0] = [7, 9, 5, 5, 5]
    lens.top_probabilities[:, 1, 0] = [0.99, 0.2, 0.4, 0.95, 0.97]
    lens.kl[:, 1] = [8, 6, 3.9, 1, 0]
    lens.overlap[:, 1] = [0, 0.2, 0.4, 0.4, 1]
    apart = np.full((5, 3), 0.1, np.float32)
    apart[:, 1] = [0.6, 0.4, 0.55, 0.2, 0.0]
    result.put("settling", Settling(apart))
    return result


def test_the_depth_of_a_token_is_that_of_the_position_before_it():
    depths = depths_of(planted())
    values = {name: float(array[2]) for name, array in vars(depths).items()}
    assert values == {
        "prediction": 2,
        "settling": 3,
        "kl": 2,
        "overlap": 2,
        "early_exit": 3,
        "exit_agrees": True,
    }
    of_first = [getattr(depths, measure.name)[0] for measure in TOKEN_DEPTHS]
    assert np.isnan(of_first).all(), "nothing predicts token 0"
    assert not depths.exit_agrees[0]


@pytest.mark.parametrize(
    ("settings", "name", "depth"),
    [
        ({"kl_threshold": 0.8}, "kl", 1),
        ({"overlap_threshold": 0.1}, "overlap", 1),
        ({"settling_threshold": 0.58}, "settling", 1),
        ({"confidence": 0.3}, "early_exit", 2),
    ],
)
def test_thresholds_are_those_of_the_reading(settings, name, depth):
    result = planted()
    assert getattr(depths_of(result, SummarySettings(**settings)), name)[2] == depth
    assert getattr(depths_of(result), name)[2] == depth + 1 + (name == "settling")


def test_the_chosen_lens_reads_them():
    result = full_run()
    by_lens = [depths_of(result, SummarySettings(lens=lens)).kl for lens in ("logit", "affine")]
    assert not np.array_equal(*by_lens, equal_nan=True)
    reading = reading_of([lacking(result, "affine_lens")], SummarySettings(lens="affine"))
    assert reading.token_depths(*reading.runs) is None


def test_a_depth_that_was_not_measured_is_unknown():
    result = run(tokens=6)
    assert np.isnan(depths_of(result).settling).all()
    lens = result.get(LogitLens)
    lens.top_ids[:, 2] = -1
    prediction = depths_of(result).prediction
    assert np.isnan(prediction).tolist() == [True, False, False, True, False, False]


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mamba"])
def test_against_the_naive_way(name):
    """Token by token and layer by layer, on each layer's output spoken by the model itself."""
    model, ids = tiny(name), random_ids(12)
    unembedding, residuals = stream(model, ids)
    read = lens_of(unembedding, residuals, ids)
    result = make_result(layers=len(residuals) - 1, tokens=12)
    values = {field: array.numpy() for field, array in vars(read).items()}
    result.put("logit_lens", LogitLens(**values))
    result.put("settling", divergence(unembedding, residuals))
    thresholds = SummarySettings(0.8, 0.3, confidence=0.02, settling_threshold=0.1)
    depths = depths_of(result, thresholds)
    expected = naive_depths(model, ids, thresholds)
    for measure in TOKEN_DEPTHS:
        np.testing.assert_array_equal(getattr(depths, measure.name), expected[measure.name])


def naive_depths(model, ids, settings):
    values, last = naive_lens(model, ids, 5), len(speak_depths := all_depths(model, ids)) - 1
    found = {measure.name: [np.nan] for measure in TOKEN_DEPTHS}
    for position in range(ids.shape[1] - 1):
        first = values["top_ids"][:, position, 0]
        prediction = settled = last
        while prediction > 0 and first[prediction - 1] == first[last]:
            prediction -= 1
        p = np.exp(speak_depths[last][position])
        apart = [jensen_shannon(np.exp(q[position]), p) for q in speak_depths]
        while settled > 0 and apart[settled - 1] < settings.settling_threshold:
            settled -= 1
        kl, overlap = values["kl"][:, position], values["overlap"][:, position]
        sure = values["top_probabilities"][:, position, 0] > settings.confidence
        bar = settings.kl_threshold * kl[:last].max()
        by_rule = {
            "kl": [layer for layer in range(last - 1) if kl[layer] < bar],
            "overlap": [
                layer for layer in range(last - 1) if overlap[layer] > settings.overlap_threshold
            ],
            "early_exit": [*(layer for layer in range(1, last) if sure[layer]), last],
        }
        found["prediction"].append(prediction)
        found["settling"].append(settled)
        for name, layers in by_rule.items():
            found[name].append(min(layers, default=np.nan))
    return found


def all_depths(model, ids):
    from tests.naive import blocks

    return [speak_from(model, ids, depth) for depth in range(len(blocks(model)) + 1)]


def jensen_shannon(q, p):
    middle = (p + q) / 2
    return float((p * np.log(p / middle) + q * np.log(q / middle)).sum() / 2)


def summary_of(runs, settings):
    (group,) = group_runs(runs, settings)
    return summary_dict(group)


def test_a_summary_has_the_depths_of_every_token():
    result = planted()
    summary = summary_of([result, run(tokens=6)], SETTINGS)["token_depths"]
    assert [len(depths["kl"]) for depths in summary["depths"]] == [3, 6]
    assert summary["depths"][0]["prediction"][::2] == [None, 2]
    of_each = [depths_of(one).prediction[1:] for one in (result, run(tokens=6))]
    assert summary["mean"]["prediction"] == pytest.approx(np.concatenate(of_each).mean())
    without_0 = summary_of([result], replace(SETTINGS, include_first_token=False))
    assert without_0["token_depths"]["mean"]["settling"] == 3, "read at token 1 alone"


def test_a_heatmap_has_a_token_coloured_from_its_depth_on():
    result = planted()
    reading = reading_of([result], SETTINGS)
    measure = measure_of_lens(MEASURE_BY_NAME["settling_depth"], "logit", reading)
    values = measure.values(result)
    assert measure.limits == (0, 4)
    assert values.shape == (5, 3)
    assert np.isnan(values[:, 0]).all()
    np.testing.assert_array_equal(values[:, 2], [np.nan, np.nan, np.nan, 3, 3])
    assert MEASURE_BY_NAME["settling_depth"].values(result) is None, "no thresholds are known"
