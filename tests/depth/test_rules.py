"""What the rules read."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.depth import Curves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rules import RULE_CURVES, layer_curve, ranked_layers

CURVES = Curves(
    mean_cosine=np.array([-0.5, 0.25]),
    kl=np.array([2.0, 4.0, 0.0]),
    overlap=np.array([0.2, 0.6, 1.0]),
)


@pytest.mark.parametrize(
    ("rule", "expected"), [("cosine", [-0.5, 0.25]), ("kl", [0.5, 1.0]), ("overlap", [0.2, 0.6])]
)
def test_a_curve_has_a_value_for_each_layer(rule: str, expected: list[float]) -> None:
    curve = layer_curve(CURVES, rule)
    assert curve is not None
    assert curve.tolist() == expected


@pytest.mark.parametrize("rule", RULE_CURVES)
def test_what_was_not_computed_is_no_curve(rule: str) -> None:
    assert layer_curve(Curves(), rule) is None


def test_a_kl_of_nothing_stays_as_it_is() -> None:
    curve = layer_curve(Curves(kl=np.zeros(3)), "kl")
    assert curve is not None
    assert curve.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("rule", "curve", "layer"),
    [
        ("kl", [4, 3, 1, 1, 0], 2),
        ("kl", [4, 3, 3, 1, 0], 3),
        ("overlap", [0, 0, 0, 0, 1], 3),
        ("cosine", [1, -1, 1, 1], 1),
        ("cosine", [1, 1, -1, -1], 3),
        ("cosine", [1, 1, 0, 1], -1),
        ("cosine", [1, np.nan, -1, 1], np.nan),
    ],
)
def test_a_curve_that_never_crosses_is_ranked(rule: str, curve: list[float], layer: float) -> None:
    found = ranked_layers(rule, np.array([curve] * 2, np.float64), SummarySettings())
    np.testing.assert_equal(found, [layer, layer])
