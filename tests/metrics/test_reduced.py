"""A metric's reduced values: as JSON and back, small, and the same pooled."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import PromptTokens, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics.neighbours import Neighbours, ReducedNeighbours
from depthtui.metrics.reduced import Reduced, largest
from depthtui.metrics.reduction import reduce_run
from depthtui.metrics.registry import METRICS
from depthtui.metrics.spec import Metric
from tests.builders.results import full_run, lacking, run

REDUCED = [metric for metric in METRICS if metric.reduced is not None]


def by_name(*metrics: Metric) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("metric", metrics, ids=lambda metric: metric.name)


def same(left: Any, right: Any) -> bool:
    """Equality of dataclasses and arrays in which NaN equals NaN."""
    if is_dataclass(left):
        left, right = ([type(value), *vars(value).values()] for value in (left, right))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray):
        return bool(left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True))
    return bool(left == right or (left != left and right != right))


@functools.cache
def runs(tokens: int = 24) -> list[RunResult]:
    return [full_run(f"text {seed}", seed, tokens + 3 * seed) for seed in range(3)]


@functools.cache
def live_reading(include_first: bool) -> Reading:
    return reading_of(runs(), SummarySettings(include_first_token=include_first))


def reduced(metric: Metric, run: RunResult, tokens: slice) -> Reduced:
    result = metric.reduce(run.measured[metric.name], run, tokens)
    assert type(result) is metric.reduced
    return result


def stored(metric: Metric, value: Reduced) -> Reduced:
    """The value from the JSON of a record."""
    assert metric.reduced is not None
    return from_plain(metric.reduced, json.loads(json.dumps(to_plain(value))))


@by_name(*REDUCED)
def test_reduced_values_are_the_same_from_a_record(metric: Metric) -> None:
    for tokens in (slice(0, None), slice(1, None)):
        value = reduced(metric, runs()[0], tokens)
        assert same(stored(metric, value), value)


@pytest.mark.parametrize("include_first", [True, False])
@by_name(*[metric for metric in REDUCED if metric.on_demand and not metric.lens_kind])
def test_records_give_the_evidence_and_means_of_their_runs(
    metric: Metric, include_first: bool
) -> None:
    live = live_reading(include_first)
    prompts = [
        replace(
            prompt,
            every={metric.name: stored(metric, prompt.every[metric.name])},
            rest={metric.name: stored(metric, prompt.rest[metric.name])},
        )
        for prompt in live.prompts
    ]
    read = Reading(prompts, live.settings)
    ours, theirs = live.get(metric), read.get(metric)
    assert same(metric.evidence(ours, live), metric.evidence(theirs, read))
    assert same(list(metric.means(ours, live).values()), list(metric.means(theirs, read).values()))


@by_name(*REDUCED)
def test_no_reduced_value_grows_with_the_prompt(metric: Metric) -> None:
    sizes = [
        sum(map(np.size, vars(reduced(metric, runs(tokens)[0], slice(0, None))).values()))
        for tokens in (160, 800)
    ]
    assert sizes[0] == sizes[1]


@dataclass(frozen=True, kw_only=True)
class Kept(Reduced):
    """A field of each kind."""

    pools: ClassVar = {"floor": largest}

    mean: np.ndarray
    share: float
    counts: np.ndarray
    moved: int
    part: str
    chosen: tuple[int, ...]
    floor: float
    later: Kept | None = None
    without_blocks: int = 1


def kept(tokens: int, mean: float, later: Kept | None = None) -> Kept:
    return Kept(
        tokens=tokens,
        mean=np.array([mean, 1.0]),
        share=mean,
        counts=np.array([tokens, 1]),
        moved=1,
        part=f"of {tokens}",
        chosen=(tokens,),
        floor=mean,
        later=later,
    )


def test_counts_are_added_up_and_means_weighted_by_tokens() -> None:
    pooled = Kept.pooled([kept(1, 4.0), kept(3, 8.0)])
    assert (pooled.tokens, pooled.moved, pooled.counts.tolist()) == (4, 2, [4, 2])
    assert (pooled.mean.tolist(), pooled.share) == ([7.0, 1.0], 7.0)
    assert (pooled.part, pooled.chosen) == ("of 1", (1,))
    assert pooled.floor == 8.0
    # Only a declared field has means over blocks, whatever its name.
    assert pooled.without_blocks == 2


def test_what_a_prompt_does_not_have_is_left_out_of_the_mean() -> None:
    pooled = Kept.pooled([kept(1, np.nan), kept(3, 8.0, kept(2, 5.0)), kept(1, 4.0, kept(2, 7.0))])
    assert pooled.share == 7.0
    assert np.isnan(pooled.mean[0])
    assert pooled.later is not None
    assert (pooled.later.tokens, pooled.later.share) == (4, 6.0)
    assert Kept.pooled([kept(1, 2.0), kept(1, 2.0)]).later is None


def test_means_are_over_the_tokens_that_count() -> None:
    result = Neighbours(
        np.array([[1, 0, 0.5]], np.float32), np.array([[9, 1, 2], [9, 3, 4]], np.float32)
    )
    run = full_run()
    over = ReducedNeighbours.over(result, run, slice(1, None))
    assert over is not None
    assert (over.tokens, over.cosine.tolist()) == (2, [0.25])
    assert over.angle_to_output.tolist() == [1.5, 3.5]
    assert ReducedNeighbours.over(result, run, slice(3, None)) is None


@pytest.mark.parametrize(
    ("first_choices", "start", "expected"),
    [
        ([9, 3, 4, 9], 2, True),
        ([9, 8, 4, 9], 2, False),
        ([9, 3, 8, 9], 2, False),
        ([9, 8, 4, 9], 3, True),  # What comes before the answer is not asked.
        ([9, 3, -1, 9], 2, None),  # Not read yet.
        ([9, 3, 4, 9], 4, None),  # No answer.
        ([9, 3, 4, 9], 0, None),  # Nothing before it.
    ],
)
def test_an_answer_is_given_whose_every_token_is_the_first_choice(
    first_choices: list[int], start: int, expected: bool | None
) -> None:
    result = run(tokens=4)
    result.tokens = PromptTokens(np.array([1, 2, 3, 4]), ["x"] * 4, start)
    lens = LogitLens.unknown(result.model.n_layers + 1, 4, 1)
    lens.top_ids[-1, :, 0] = first_choices
    result.put("logit_lens", lens)
    assert reduce_run(result).says_answer is expected
    assert reduce_run(lacking(result, "logit_lens")).says_answer is None
