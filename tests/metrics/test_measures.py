"""The values that panes draw."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.direct_logits import DirectLogits
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.registry import (
    ALL_MEASURES,
    MEASURE_BY_NAME,
    METRIC_BY_NAME,
    OF_THE_PASS,
    formula_in,
)
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.settling import Settling
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.spec import Measure
from tests.builders.results import full_run, random_result

OF_RUNS = [measure for measure in ALL_MEASURES if measure.read_by is None]
FORWARD = [measure for measure in OF_RUNS if measure.metric in ("contributions", "logit_lens")]
SLOWER = [measure for measure in OF_RUNS if measure not in FORWARD]
AS_THEY_ARE = [measure for measure in FORWARD if measure.name != "says_final"]
by_name = pytest.mark.parametrize("measure", FORWARD, ids=lambda measure: measure.name)
by_on_demand_name = pytest.mark.parametrize("measure", SLOWER, ids=lambda measure: measure.name)

LENS = {"kl", "overlap", "entropy", "says_final"}


def test_names_are_distinct() -> None:
    assert list(MEASURE_BY_NAME) == [measure.name for measure in ALL_MEASURES]
    titles = [measure.title for measure in ALL_MEASURES]
    assert len(set(titles)) == len(titles)
    assert {measure.metric for measure in ALL_MEASURES} < set(METRIC_BY_NAME)


@by_name
def test_shape(measure: Measure) -> None:
    values = measure.values(random_result(6, 4))
    assert values is not None
    assert values.shape == (7 if measure.name in LENS else 6, 4)
    assert measure.reads_residual == (measure.name in LENS)
    assert values.dtype == np.float32


@pytest.mark.parametrize("measure", AS_THEY_ARE, ids=lambda measure: measure.name)
def test_values_are_those_of_the_result(measure: Measure) -> None:
    result = random_result(6, 4)
    part = result.get(LogitLens) if measure.name in LENS else result.get(Contributions)
    np.testing.assert_array_equal(measure.values(result), getattr(part, measure.name))


def test_what_was_not_computed_is_not_there() -> None:
    result = random_result(3, 4)
    result.drop(OF_THE_PASS)
    assert [measure.name for measure in OF_RUNS if measure.values(result) is not None] == []


@by_name
def test_without_the_split_only_the_layer_is_there(measure: Measure) -> None:
    values = measure.values(random_result(6, 4, split_missing="no closure"))
    assert (values is None) == measure.name.startswith(("attention", "mlp"))


@by_name
def test_signed_measures_are_symmetric(measure: Measure) -> None:
    assert measure.diverging == measure.name.endswith("cosine")
    if measure.diverging:
        assert measure.limits == (-1, 1)


def test_says_final() -> None:
    result = random_result(3, 3, top_k=2)
    assert result.get(LogitLens) is not None
    result.get(LogitLens).top_ids[:, :, 0] = [[5, 1, 2], [7, 1, -1], [7, 2, 3], [7, 1, 3]]
    result.get(LogitLens).top_ids[:, :, 1] = 7
    expected = [[0, 1, 0], [1, 1, np.nan], [1, 0, 1], [1, 1, 1]]
    np.testing.assert_array_equal(MEASURE_BY_NAME["says_final"].values(result), expected)


def test_says_final_is_unknown_before_the_end() -> None:
    result = random_result(3, 3)
    assert result.get(LogitLens) is not None
    result.get(LogitLens).top_ids[-1] = -1
    values = MEASURE_BY_NAME["says_final"].values(result)
    assert values is not None
    assert np.isnan(values).all()


def test_formula_of_a_parallel_block() -> None:
    mlp = MEASURE_BY_NAME["mlp_norm_ratio"]
    assert formula_in(mlp, random_result()) == "|m| / |h+a|"
    assert formula_in(mlp, random_result(parallel=True)) == "|m| / |h|"
    cosine = MEASURE_BY_NAME["mlp_cosine"]
    assert formula_in(cosine, random_result()) == "cos(m, h+a)"
    assert formula_in(cosine, random_result(parallel=True)) == "cos(m, h)"


def measured_result() -> RunResult:
    """Three layers, four tokens, the answer at token 2; attribution of layer 2 is not accurate."""
    result = random_result(3, 4)
    rows, layers = np.arange(16.0).reshape(4, 4), np.arange(9.0).reshape(3, 3)
    result.put("residual_erasure", ResidualErasure(rows, 2, 0.0))
    gradients = IntegratedGradients(
        rows[:3] - 5,
        np.array([0.002, np.nan, 0.05]),
        np.array([9, 0, 99]),
        np.array([True, False, False]),
        0.01,
        2,
        0.0,
    )
    result.put("integrated_gradients", gradients)
    result.put("settling", Settling(rows / 30))
    result.put("direct_logits", DirectLogits(np.arange(4), rows - 8))
    result.put("skip_effects", SkipEffects("layer", (8,), layers, layers / 2, layers[0], 0.0, 0.0))
    return result


MAPS = {
    "angular_distance",
    "direct_effects",
    "head_direct",
    "head_kl",
    "head_loss",
    "head_norm",
    "pairs",
    "repeat",
    "repeat_loss",
    "skip_effects",
}


@by_on_demand_name
def test_rows_are_layers_or_depths(measure: Measure) -> None:
    result = full_run()
    values = measure.values(result)
    assert values is not None
    assert len(values) == result.model.n_layers + measure.reads_residual
    assert measure.by_token == (measure.name not in MAPS)


def test_direct_logits_begin_with_the_first_layer() -> None:
    values = MEASURE_BY_NAME["direct_logits"].values(measured_result())
    np.testing.assert_array_equal(values, np.arange(4.0, 16).reshape(3, 4) - 8)


def test_attributions_tell_their_error() -> None:
    note = MEASURE_BY_NAME["integrated_gradients"].note
    result = measured_result()
    assert [note(result, row) for row in range(3)] == ["error 0.2%", "", "error 5.0%, over 1.0%"]
