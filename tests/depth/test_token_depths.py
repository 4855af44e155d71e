"""The depths of single tokens against the rules for curves."""

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rules import kl, overlap
from depthtui.depth.token_depths import token_depths
from depthtui.metrics.token_depths import TOKEN_DEPTHS


@pytest.mark.parametrize(
    ("rule", "curves"),
    [
        (kl.RULE, lambda rng: 9 * rng.random((7, 200)) ** 0.5),
        (overlap.RULE, lambda rng: rng.integers(0, 4, (7, 200)) / 5),
    ],
)
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_each_column_is_what_the_rule_says_of_its_curve(rule, curves, threshold):
    values = curves(np.random.default_rng(3)).astype(np.float32)
    thresholds = {rule.threshold.option: threshold}
    summary = SummarySettings(**thresholds)
    expected = [rule.estimate(curve, summary).layer for curve in values.T]
    assert None in expected or threshold == 0.5
    lens = LogitLens.unknown(6, 200, 1)
    lens.kl[:] = lens.overlap[:] = 0
    getattr(lens, rule.curve)[:] = values
    actual = token_depths(lens, np.zeros((7, 200)), summary)
    layers = getattr(actual, rule.name)
    assert layers.dtype == np.float32
    assert [None if np.isnan(layer) else int(layer) for layer in layers] == expected


def test_a_curve_that_is_not_finite_has_no_depth():
    curves = np.array([[8.0, 8.0], [1.0, np.nan], [1.0, 1.0], [0.0, 0.0]])
    layers = kl.RULE.layers(curves.T, SummarySettings())
    assert layers[0] == 1
    assert np.isnan(layers[1])


def test_planted_curves_have_the_planted_depths():
    """One token over four layers: first choice from depth 2 on, sure at 3, close from 3 on."""
    lens = LogitLens.unknown(4, 1, 1)
    lens.top_ids[:, 0, 0] = [7, 9, 5, 5, 5]
    lens.top_probabilities[:, 0, 0] = [0.99, 0.2, 0.4, 0.95, 0.97]
    lens.kl[:, 0] = [8, 6, 3.9, 1, 0]
    lens.overlap[:, 0] = [0, 0.2, 0.2, 0.4, 1]
    settling = np.array([[0.6], [0.4], [0.55], [0.2], [0.0]], np.float32)
    depths = token_depths(lens, settling, SummarySettings())
    result = {measure.name: getattr(depths, measure.name).tolist() for measure in TOKEN_DEPTHS}
    assert result == {
        "prediction": [2],
        "settling": [3],
        "kl": [2],
        # The last layer's input is no candidate of the paper's rule, depth 3 is L - 1.
        "overlap": [pytest.approx(np.nan, nan_ok=True)],
        "early_exit": [3],
    }
    assert depths.exit_agrees.tolist() == [True]
    lens.top_ids[3, 0, 0] = 9
    assert token_depths(lens, settling, SummarySettings()).exit_agrees.tolist() == [False]
