"""The interval of any count of layers: over prompts and their tokens, below five over tokens alone.

The mean curves of prompts are resampled, like the rules' curves (see `depth.intervals`), and so
are the mean curves of blocks of neighbouring tokens of all prompts (see `metrics.token_blocks`):
the interval covers both. Five prompts that are alike by chance give too narrow an interval; their
tokens show the spread. Halves of ten prompts were compared: where one half's sequential depth or
ablation count was firm by prompts alone, the other half's was outside in 26 and 83 % of cases; with
both, none is firm (`python -m tests.tools.benchmarks.firm`). Below five prompts the interval is of
these prompts and does not cover how much others differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.depth.intervals import too_few
from depthtui.depth.weights import pool_weights, task_numbers
from depthtui.metrics.evidence import CountInterval
from depthtui.metrics.pooling import Count
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.resampling import (
    FEWEST_UNITS,
    LEVEL,
    RESAMPLES,
    draw,
    expanded_interval,
    freedom_of,
)
from depthtui.metrics.token_blocks import block_sizes

TOKEN_RESAMPLES = 500
"""The number of resamples of tokens: few, since the explorer computes them for each threshold, and
more would seldom move the ends, which are whole layers."""

Prompts: TypeAlias = Sequence[tuple[Reduced, str]]
"""The reduced values of each prompt, and its task."""


def count_interval(
    prompts: Prompts,
    count: Count,
    names: Sequence[str],
    seed: int | None,
    equal_tasks: bool = False,
) -> CountInterval | None:
    """The expanded percentile interval of a count.

    Args:
        prompts: the pooled prompts.
        count: the count by the means of each name.
        names: fields of the reduced values that are means over tokens.
        seed: seed of the draws; None to draw nothing.
        equal_tasks: whether each task has the same weight in the means; else each token.

    Returns:
        None where a task has too few prompts, or fewer than five prompts have too few tokens, or
        without a seed.
    """
    if seed is None:
        return None
    by_prompt = [_prompt(reduced, names, task) for reduced, task in prompts]
    blocks = [block for reduced, task in prompts for block in _blocks(reduced, names, task)]

    def ends(units: Sequence[PromptCurves], resamples: int) -> tuple[float, float] | None:
        if too_few(units):
            return None
        counts = draw(task_numbers(units), resamples, seed)
        return _ends(units, count, names, counts, equal_tasks)

    interval_by_units = {
        "prompts": ends(by_prompt, RESAMPLES),
        "tokens": ends(blocks, TOKEN_RESAMPLES),
    }
    intervals = {
        over: interval for over, interval in interval_by_units.items() if interval is not None
    }
    if not intervals or ("prompts" not in intervals and len(prompts) >= FEWEST_UNITS):
        return None
    low, high = (
        min(low for low, _ in intervals.values()),
        max(high for _, high in intervals.values()),
    )
    return CountInterval(low, high, LEVEL, " and ".join(intervals))


def _prompt(reduced: Reduced, names: Sequence[str], task: str) -> PromptCurves:
    return PromptCurves(reduced.tokens, {name: getattr(reduced, name) for name in names}, task)


def _blocks(reduced: Reduced, names: Sequence[str], task: str) -> list[PromptCurves]:
    """The blocks of a prompt's tokens; none where the metric keeps no means over blocks."""
    block_means = {name: reduced.over_blocks(name) for name in names}
    means = {name: blocks for name, blocks in block_means.items() if blocks is not None}
    if len(means) < len(names):
        return []
    return [
        PromptCurves(tokens, {name: blocks[place] for name, blocks in means.items()}, task)
        for place, tokens in enumerate(block_sizes(reduced.tokens).tolist())
    ]


def _ends(
    units: Sequence[PromptCurves],
    count: Count,
    names: Sequence[str],
    counts: np.ndarray,
    equal_tasks: bool,
) -> tuple[float, float] | None:
    """The ends over resampled units; None where a count is not finite."""
    weights = (
        pool_weights(units, "tokens", counts)
        if equal_tasks
        else counts * np.array([unit.n_tokens for unit in units], float)
    )
    weights /= weights.sum(axis=1, keepdims=True)
    values = (np.array([unit.curves[name] for unit in units]) for name in names)
    means = (np.tensordot(weights, of_units, 1) for of_units in values)
    freedom = freedom_of(task_numbers(units))
    return expanded_interval(count(*means).astype(float), LEVEL, *freedom)
