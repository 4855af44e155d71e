"""What the rules read."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.depth import DepthEstimate
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.reading import reading_of
from depthtui.metrics.settling import Settling
from tests.builders.results import run


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("cosine", [-0.5, 0.25], [-0.5, 0.25]),
        ("kl", [2, 4, 0], [0.5, 1]),
        ("kl", [0, 0, 0], [0, 0]),
        ("overlap", [0.2, 0.6, 1], [0.2, 0.6]),
    ],
)
def test_a_curve_has_a_value_for_each_layer(
    rule: str, values: list[float], expected: list[float]
) -> None:
    read = rules.named(rule)
    assert read.by_layer({}) is None
    curve = read.by_layer({read.curve: np.array(values, float)})
    assert curve is not None
    assert curve.tolist() == expected


@pytest.mark.parametrize(
    ("rule", "curve", "layer"),
    [
        ("kl", [4, 3, 1, 1, 0], 2),
        ("kl", [4, 3, 3, 1, 0], 3),
        ("overlap", [0, 0, 0, 0, 1], 3),
        ("settled", [0, 0.5, 0.5, 0.5, 1], 3),
        ("margin", [1, -1, 1, -1, 1], 3),
        ("margin", [-1, 1, 1, 1, -1], 3),
        ("margin", [1, 1, 1, 1, 1], -1),
        ("margin", [1, np.nan, -1, 1, 1], np.nan),
        ("cosine", [1, -1, 1, 1], 1),
        ("cosine", [1, 1, -1, -1], 3),
        ("cosine", [1, 1, 0, 1], -1),
        ("cosine", [1, np.nan, -1, 1], np.nan),
    ],
)
def test_a_curve_that_never_crosses_is_ranked(rule: str, curve: list[float], layer: float) -> None:
    curves = np.array([curve] * 2, np.float64)
    result = rules.named(rule).ranked_layers(curves, SummarySettings())
    np.testing.assert_equal(result, [layer, layer])


def test_half_of_the_tokens_have_settled() -> None:
    """Of twelve tokens 3 settle at depth 1, 6 at depth 3, and 3 at the output."""
    divergence = np.full((6, 12), 0.6, np.float32)
    divergence[1:, 0::4] = divergence[3:, 1::4] = divergence[3:, 2::4] = divergence[5] = 0.1
    divergence[0, 3::4] = 0.1  # Not from there on.
    result = run(tokens=12, layers=5)
    result.put("settling", Settling(divergence))
    reading = reading_of([result], SummarySettings())
    assert reading.curves["settled"].tolist() == [0, 0.25, 0.25, 0.75, 0.75, 1]
    actual = reading.depth("settled")
    assert (actual.layer, actual.count, actual.ratio) == (3, 4, 0.8)
    assert actual.crossing == pytest.approx(2.5)
    assert "settled" in {measure.measure for measure in reading.verdict.evidence}


class TestMargin:
    def estimate(self, *curve: float) -> DepthEstimate:
        return rules.named("margin").estimate(np.array(curve, np.float64), SummarySettings())

    def test_the_last_layer_that_puts_the_answer_ahead(self) -> None:
        result = self.estimate(-4, 2, -3, -1, 3, 2)
        assert (result.layer, result.count, result.ratio) == (3, 4, 4 / 5)
        assert result.crossing == pytest.approx(3.25)

    def test_the_output_alone_puts_it_ahead(self) -> None:
        result = self.estimate(-4, -2, -1, 1)
        assert (result.layer, result.count, result.ratio) == (2, 3, 1)

    @pytest.mark.parametrize(
        ("curve", "reason"),
        [
            ((-4, 2, -1), "the answer is not ahead at the output"),
            ((-4, 2, 0), "the answer is not ahead at the output"),
            ((4, 2, 1), "the answer is ahead at every depth"),
        ],
    )
    def test_without_a_change_that_lasts(self, curve: tuple[float, ...], reason: str) -> None:
        result = self.estimate(*curve)
        assert (result.layer, result.reason) == (None, reason)

    @pytest.mark.parametrize(
        ("curve", "variants"),
        [
            (
                (-9, -0.6, 0.6, 5),
                [
                    (1, "half as likely as the first token already from layer 1 on"),
                    (3, "twice as likely as any other only at the output"),
                ],
            ),
            (
                (-0.6, 0.8, 0.6, 0.6),
                [
                    (0, "half as likely as the first token at every depth"),
                    (3, "twice as likely as any other at no depth"),
                ],
            ),
        ],
    )
    def test_it_is_held_against_half_and_twice_as_likely(
        self, curve: tuple[float, ...], variants: list[tuple[int, str]]
    ) -> None:
        layer = self.estimate(*curve).layer
        assert layer is not None
        actual = rules.named("margin").variants(np.array(curve), layer, SummarySettings())
        expected = [(count, f"the answer is {words}") for count, words in variants]
        assert [(variant.count, variant.reason) for variant in actual] == expected
