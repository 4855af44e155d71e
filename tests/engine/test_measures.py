"""The values that panes draw."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.engine.measures import MEASURE_BY_NAME, MEASURES, Measure, formula_in
from tests.engine.results_for_tests import random_result

by_name = pytest.mark.parametrize("measure", MEASURES, ids=lambda each: each.name)

LENS = {"kl", "overlap", "entropy", "says_final"}


def test_names_are_distinct() -> None:
    assert list(MEASURE_BY_NAME) == [each.name for each in MEASURES]
    assert len(MEASURE_BY_NAME) == len(MEASURES) == len({each.title for each in MEASURES}) == 10


@by_name
def test_shape(measure: Measure) -> None:
    values = measure.values(random_result(6, 4))
    assert values is not None
    assert values.shape == (7 if measure.name in LENS else 6, 4)
    assert measure.reads_residual == (measure.name in LENS)
    assert values.dtype == np.float32


@by_name
def test_values_are_those_of_the_result(measure: Measure) -> None:
    result = random_result(6, 4)
    if measure.name == "says_final":
        return
    part = result.logit_lens if measure.name in LENS else result.contributions
    np.testing.assert_array_equal(measure.values(result), getattr(part, measure.name))


@by_name
def test_unavailable(measure: Measure) -> None:
    result = random_result(6, 4)
    result.contributions, result.logit_lens = None, None
    assert measure.values(result) is None


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
    assert result.logit_lens is not None
    result.logit_lens.top_ids[:, :, 0] = [[5, 1, 2], [7, 1, -1], [7, 2, 3], [7, 1, 3]]
    result.logit_lens.top_ids[:, :, 1] = 7
    expected = [[0, 1, 0], [1, 1, np.nan], [1, 0, 1], [1, 1, 1]]
    np.testing.assert_array_equal(MEASURE_BY_NAME["says_final"].values(result), expected)


def test_says_final_is_unknown_before_the_end() -> None:
    result = random_result(3, 3)
    assert result.logit_lens is not None
    result.logit_lens.top_ids[-1] = -1
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
