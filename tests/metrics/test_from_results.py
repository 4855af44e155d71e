"""What follows from a run's arrays without another forward pass."""

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.metrics.depth_score import depth_score, downstream_effect
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.lens_margin import lens_margin
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.skip_effects import SkipEffects
from tests.metrics.streams import lens_of

LENS = lens_of(
    [[7, 1, 5, 3], [2, 1, 5, 4], [7, 1, 6, 4], [7, 1, 5, 4]],
    [[0.9, 0.1, 0.5, 0.1], [0.2, 0.2, 0.95, 0.5], [0.5, 0.3, 0.4, 0.8], [0.6, 0.4, 0.5, 0.9]],
)


class TestDepthScore:
    def test_in_closed_form(self):
        assert depth_score(np.array([1.0, 0.0, 0.0, 3.0])) == pytest.approx(9 / 4)
        assert depth_score(np.ones(5, np.float32)) == pytest.approx(2)
        assert depth_score(np.array([0.0, 0.0, 2.0])) == 2

    @pytest.mark.parametrize("effects", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    def test_without_an_effect_there_is_none(self, effects):
        assert np.isnan(depth_score(np.array(effects)))

    def test_the_effect_on_later_layers(self):
        mean = np.array([[0.0, 1.0, 3.0], [9.0, 0.0, 5.0], [9.0, 9.0, 0.0]], np.float32)
        skip = SkipEffects("layer", (8,), mean, mean, np.zeros(3), 0.0, 0.0)
        assert downstream_effect(skip).tolist() == [2, 5, 0]


def test_prediction_depth_is_where_the_choice_stays():
    assert prediction_depth(LENS).tolist() == [2, 0, 3, 1]


def test_prediction_depth_of_a_lens_that_is_not_read_yet():
    lens = LogitLens.unknown(3, 2, 2)
    lens.top_ids[:, 0] = 4
    assert prediction_depth(lens)[0] == 0
    assert np.isnan(prediction_depth(lens)[1])


@pytest.mark.parametrize(("gap", "expected"), [(0, 2), (1, 2), (2, 3), (3, 2)])
def test_prediction_depth_of_a_lens_without_a_map_of_a_depth(gap, expected):
    """The choice stays from depth 2 on; a depth that is not read tells nothing of it."""
    lens = lens_of([[7], [7], [5], [5], [5]], [[0.5]] * 5)
    lens.forget([gap])
    assert prediction_depth(lens).tolist() == [expected]


class TestEarlyExit:
    def test_in_closed_form(self):
        result = early_exit(LENS, 0.45)
        assert result.depths.tolist() == [2, 3, 1, 1]
        assert result.agrees.tolist() == [True, True, True, True]
        assert result.layers_saved == 5 / 4
        assert result.agreement == 1

    def test_confidence_that_is_misplaced_counts_as_such(self):
        lens = lens_of([[3, 4], [3, 4], [4, 4], [4, 4]], [[0.9, 0.9]] * 4)
        result = early_exit(lens, 0.8)
        assert result.depths.tolist() == [1, 1]
        assert result.agreement == 0.5

    def test_the_embedding_is_no_exit(self):
        assert early_exit(lens_of([[3], [4], [4]], [[1.0], [0.1], [1.0]]), 0.8).depths == [2]
        assert early_exit(lens_of([[3], [4]], [[1.0], [0.1]]), 0.8).depths == [1]

    def test_nobody_is_sure_of_anything(self):
        result = early_exit(LENS, 1.0)
        assert result.depths.tolist() == [3, 3, 3, 3]
        assert (result.agreement, result.layers_saved) == (1, 0)

    def test_over_confidences(self):
        exits = [early_exit(LENS, confidence) for confidence in [0.0, 0.45, 1.0]]
        assert [leaving.agreement for leaving in exits] == [0.75, 1, 1]
        assert [leaving.layers_saved for leaving in exits] == [2, 1.25, 0]


def test_the_margin():
    assert lens_margin(LENS)[0].tolist() == pytest.approx([0.85, -0.35, 0.25, -0.35])
    assert lens_margin(LENS).shape == (4, 4)
    assert np.isnan(lens_margin(LogitLens.unknown(3, 2, 1))).all()
