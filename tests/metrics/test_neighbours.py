"""Successive layers' updates, and the way of the stream to its end."""

import numpy as np
import pytest
import torch

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics import neighbours as spec
from depthtui.metrics.neighbours import Neighbours
from depthtui.metrics.neighbours.compute import neighbours
from tests.builders.results import run
from tests.metrics.streams import stream
from tests.naive import blocks, layer_ends
from tests.tiny_models import on_few_models, random_ids, tiny


def naive_cosine(x, y):
    return (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))


@on_few_models()
def test_against_one_forward_a_layer(name):
    model, ids = tiny(name), random_ids()
    ends = [layer_ends(model, ids, layer) for layer in range(len(blocks(model)))]
    updates = [after - before for before, after in ends]
    depths = [before for before, _ in ends] + [ends[-1][1]]
    actual = neighbours(stream(model, ids)[1])
    for layer in range(len(updates) - 1):
        expected = naive_cosine(updates[layer], updates[layer + 1])
        np.testing.assert_allclose(actual.cosine[layer], expected, atol=2e-4)
    for depth, residual in enumerate(depths):
        angle = np.arccos(np.clip(naive_cosine(residual, depths[-1]), -1, 1)) / np.pi
        np.testing.assert_allclose(actual.angle_to_output[depth], angle, atol=2e-4)


def test_in_closed_form():
    """A stream in the plane: one step along x, the same again, one up, and back down."""
    steps = [(0.0, 1.0), (1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    places = np.cumsum(np.array(steps), axis=0)
    result = neighbours([torch.tensor(place)[None].float() for place in places])
    np.testing.assert_allclose(result.cosine[:, 0], [1, 0, -1], atol=1e-7)
    to_output = [np.arctan2(2, 1) - place for place in np.arctan2(places[:, 0], places[:, 1])]
    np.testing.assert_allclose(result.angle_to_output[:, 0], np.abs(to_output) / np.pi, atol=1e-6)


def test_a_layer_that_adds_nothing_is_at_a_right_angle_to_any():
    start, there = torch.ones(1, 3), torch.tensor([[1.0, 2.0, 3.0]])
    assert neighbours([start, there, there]).cosine[0] == 0


def test_one_layer_has_no_neighbour():
    result = neighbours([torch.ones(2, 3), torch.ones(2, 3)])
    assert result.cosine.shape == (0, 2)
    assert (result.angle_to_output == 0).all()


@pytest.mark.parametrize("include_first", [True, False])
def test_prompts_are_pooled_by_their_tokens(include_first):
    runs = [run("a b", tokens=3), run("c d", tokens=5)]
    rng = np.random.default_rng(7)
    cosines = [rng.uniform(-1, 1, (3, len(result.tokens))) for result in runs]
    for result, cosine in zip(runs, cosines, strict=True):
        angle = np.zeros((5, len(result.tokens)))
        result.put(spec.METRIC.name, Neighbours(cosine, angle))
    pooled = reading_of(runs, SummarySettings(include_first_token=include_first))
    first = 0 if include_first else 1
    expected = np.concatenate([cosine[:, first:] for cosine in cosines], axis=1).mean(axis=1)
    np.testing.assert_allclose(pooled.get(spec.METRIC).cosine, expected)
