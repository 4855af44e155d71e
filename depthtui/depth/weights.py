"""How much each prompt counts in a pooled mean. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np

from depthtui.data.depth import PromptCurves

Weighting: TypeAlias = Literal["tokens", "prompts"]
"""The unit that counts once in a mean: each token, as in the paper, or each prompt."""

WEIGHTINGS: tuple[Weighting, ...] = ("tokens", "prompts")


def pool_weights(
    parts: Sequence[PromptCurves], weighting: Weighting, counts: np.ndarray
) -> np.ndarray:
    """The weight of every prompt in the mean of every resample, `[resamples, prompts]`.

    Where the prompts are of several tasks, each task has the same weight.

    Args:
        parts: the prompts.
        weighting: the unit that counts once within a task.
        counts: how often each prompt is drawn, `[resamples, prompts]`; of each task one or more.
    """
    sizes = [part.n_tokens if weighting == "tokens" else 1 for part in parts]
    weights = counts * np.array(sizes, np.float64)
    tasks = task_numbers(parts)
    if tasks.any():
        for task in range(tasks.max() + 1):
            of_task = tasks == task
            weights[:, of_task] /= weights[:, of_task].sum(axis=1, keepdims=True)
    return weights


class OfTask(Protocol):
    """A prompt of a task, in any form."""

    @property
    def task(self) -> object: ...


def task_numbers(parts: Sequence[OfTask]) -> np.ndarray:
    """The number of each prompt's task, `[prompts]`, from 0 in the order of appearance."""
    numbers = {task: n for n, task in enumerate(dict.fromkeys(part.task for part in parts))}
    return np.array([numbers[part.task] for part in parts], int)


def effective_prompts(parts: Sequence[PromptCurves]) -> float:
    """How many prompts of equal weight a mean over all tokens is worth (Kish 1965).

    (sum w)^2 / sum w^2; n where all prompts are of the same length, 1 where one has all the weight.
    """
    (weights,) = pool_weights(parts, "tokens", np.ones((1, len(parts))))
    return float(weights.sum() ** 2 / (weights**2).sum())
