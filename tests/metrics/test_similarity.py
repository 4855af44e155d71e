"""Block influence and angular distance, and the layers that they name."""

import math

import numpy as np
import pytest
import torch

from depthtui.errors import DepthError
from depthtui.metrics.neighbours.compute import neighbours
from depthtui.metrics.ranking import least_useful, usefulness
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.metrics.similarity import Similarity, best_block
from depthtui.metrics.similarity import compute as module
from depthtui.metrics.similarity.compute import similarity
from tests.builders.metrics import ablation
from tests.builders.results import random_result
from tests.metrics.streams import stream
from tests.tiny_models import random_ids, tiny


def turning(angles, lengths=(1.0, 2.0, 3.0)):
    """A stream in the plane that points to the given angles, in degrees, at every token."""
    radians = np.radians(angles)
    directions = torch.tensor(np.stack([np.cos(radians), np.sin(radians)], -1)).float()
    return [direction * torch.tensor(lengths)[:, None] for direction in directions]


def test_in_closed_form():
    actual = similarity(turning([0, 60, 60, 150]))
    expected = np.repeat([[0.5], [0], [1]], 3, axis=1)
    np.testing.assert_allclose(actual.block_influence, expected, atol=1e-6)
    assert actual.angular_distance[0] == pytest.approx([1 / 3, 0, 1 / 2], abs=1e-6)
    assert actual.angular_distance[1, :2] == pytest.approx([1 / 3, 1 / 2], abs=1e-6)
    assert actual.angular_distance[2, 0] == pytest.approx(150 / 180, abs=1e-6)
    assert np.isnan(actual.angular_distance[1, 2])
    assert np.isnan(actual.angular_distance[2, 1:]).all()
    np.testing.assert_allclose(
        actual.angular_distance_without_first, actual.angular_distance, atol=1e-7
    )


def test_small_angles_are_not_lost_in_rounding():
    result = similarity(turning([0, 1e-3]))
    assert result.angular_distance[0, 0] == pytest.approx(1e-3 / 180, rel=1e-3)


def test_a_token_of_norm_0_turns_by_a_right_angle():
    result = similarity([torch.zeros(1, 4), torch.ones(1, 4)])
    assert result.block_influence[0] == 1
    assert result.angular_distance[0, 0] == pytest.approx(0.5)
    # No other token is left.
    assert np.isnan(result.angular_distance_without_first).all()
    assert np.isnan(usefulness(result, REST)).all()


@pytest.mark.parametrize("part_bytes", [1, 1 << 20])
def test_against_cosines_of_a_model(part_bytes, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    _, residuals = stream(tiny("qwen2"), random_ids())
    result = similarity(residuals)
    for n in range(1, 5):
        for layer in range(5 - n):
            cosine = torch.cosine_similarity(residuals[layer], residuals[layer + n], dim=-1)
            angles = cosine.arccos() / math.pi
            means = result.angular_distance, result.angular_distance_without_first
            assert means[0][n - 1, layer] == pytest.approx(float(angles.mean()), rel=1e-4)
            assert means[1][n - 1, layer] == pytest.approx(float(angles[1:].mean()), rel=1e-4)
            if n == 1:
                np.testing.assert_allclose(result.block_influence[layer], 1 - cosine, rtol=1e-4)


REST = slice(1, None)
"""Every token but the first."""


class TestPruning:
    distance = np.array([[0.3, 0.1, 0.2], [0.35, 0.25, np.nan], [0.4, np.nan, np.nan]], np.float32)
    similarity = Similarity(
        np.array([[0.3, 0.3], [0.2, 0.0], [0.0, 0.4]], np.float32),
        distance,
        np.roll(distance, 1, 1),
    )

    def test_the_best_block(self):
        assert best_block(self.similarity.angular_distance, 1) == (1, pytest.approx(0.1))
        assert best_block(self.similarity.angular_distance, 2) == (1, pytest.approx(0.25))
        assert best_block(self.similarity.angular_distance, 3) == (0, pytest.approx(0.4))

    def test_the_heatmap_has_every_block_by_its_ends(self):
        result = random_result(3, 2)
        result.put("similarity", self.similarity)
        blocks = MEASURE_BY_NAME["angular_distance"].values(result)
        expected = [[0.3, 0.35, 0.4], [np.nan, 0.1, 0.25], [np.nan, np.nan, 0.2]]
        np.testing.assert_allclose(blocks, expected, rtol=1e-6)

    @pytest.mark.parametrize("n", [0, 4])
    def test_a_block_that_cannot_be(self, n):
        with pytest.raises(DepthError):
            best_block(self.similarity.angular_distance, n)

    def test_a_stream_that_is_not_finite(self):
        unknown = np.full(3, np.nan)
        with pytest.raises(DepthError):
            best_block(np.full((3, 3), np.nan), 1)
        assert least_useful(ablation(unknown[:, None]), 2) == []

    def test_the_least_useful_layers(self):
        assert least_useful(self.similarity, 2) == [1, 2]
        changes = np.array([0.5, -0.1, 4.0, np.nan, 0.5])
        result = ablation(changes[:, None])
        assert least_useful(result, 3) == [1, 0, 4]
        assert least_useful(result, 9) == [1, 0, 4, 2]

    def test_token_0_left_out(self):
        assert usefulness(self.similarity) == pytest.approx([0.3, 0.1, 0.2])
        assert usefulness(self.similarity, REST) == pytest.approx([0.3, 0.0, 0.4])
        assert least_useful(self.similarity, 3, REST) == [1, 0, 2]
        assert best_block(self.similarity.distances(REST), 1) == (
            2,
            pytest.approx(0.1),
        )
        result = ablation(np.array([[5.0, 1.0], [0.0, 2.0]]))
        assert least_useful(result, 2) == [1, 0]
        assert least_useful(result, 2, REST) == [0, 1]


@pytest.mark.parametrize("metric", ["similarity", "neighbours"])
def test_a_stream_that_is_not_finite_leaves_the_metric_without_a_value(metric: str) -> None:
    compute = {"similarity": similarity, "neighbours": neighbours}[metric]
    residuals = list(torch.ones(4, 3, 8))
    assert compute(residuals).is_whole
    residuals[2][1, 5] = torch.inf
    assert not compute(residuals).is_whole
