"""Runs reduced to the values that pooling needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult, without
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.unigram import unigram_loss


class _Reductions(Mapping[str, Reduced]):
    """The reduced values of a run by metric, each computed on first access.

    A metric that failed half-way has none: its first rows would count as all rows.
    """

    def __init__(self, run: RunResult, tokens: slice) -> None:
        self._run = run
        unfinished = {name for name, result in run.measured.items() if not result.is_whole}
        excluded = unfinished & run.unavailable.keys() | {*run.failed}
        self._measured = without(run.measured, excluded)
        self._tokens = tokens
        self._values: dict[str, Reduced | None] = {}

    def _reduced(self, name: str) -> Reduced | None:
        result, metric = self._measured.get(name), METRIC_BY_NAME.get(name)
        if result is None or metric is None:
            return None
        if name not in self._values:
            self._values[name] = metric.reduce(result, self._run, self._tokens)
        return self._values[name]

    def __getitem__(self, name: str) -> Reduced:
        reduced = self._reduced(name)
        if reduced is None:
            raise KeyError(name)
        return reduced

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._measured if self._reduced(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def reduce_run(run: RunResult) -> PromptReading:
    """Reduce a run, finished or not, to the values that pooling needs, computed lazily."""
    return PromptReading(
        model=run.model,
        prompt=run.prompt,
        settings=run.settings,
        n_tokens=len(run.tokens),
        answer_start=run.answer_start,
        loss=run.loss,
        every=_Reductions(run, slice(0, None)),
        rest=_Reductions(run, slice(1, None)),
        unavailable=run.unavailable,
        failed=run.failed,
        unfinished=tuple(name for name, result in run.measured.items() if not _is_whole(result)),
        layers_done=run.layers_done,
        task=run.prompt.source,
        unigram_loss=unigram_loss(run.tokens.ids, run.model.vocab_size),
        says_answer=says_answer(run),
    )


def says_answer(run: RunResult) -> bool | None:
    """Whether each token of the answer is the model's first choice after the tokens before it.

    Then the model writes the answer by itself, always choosing the most probable token. None where
    there is no answer, or the output was not read.
    """
    lens, knowledge, start = run.get(LogitLens), run.get(Kept), run.answer_start
    if not 0 < start < len(run.tokens):
        return None
    if lens is not None and (lens.top_ids[-1, start - 1 : -1, 0] >= 0).all():
        return bool((lens.top_ids[-1, start - 1 : -1, 0] == run.tokens.ids[start:]).all())
    if knowledge is not None and np.isfinite(knowledge.are_first).all():
        return bool(knowledge.are_first[start - 1 :].all())
    return None


def _is_whole(result: MetricResult) -> bool:
    return result.is_whole and (not isinstance(result, LogitLens) or result.is_finished)


def reduce_tokens(run: RunResult, tokens: slice) -> PromptReading:
    """Reduce some tokens of a run, none of which is the first one of a prompt.

    They have no answer, which the whole prompt has. They have no loss: a loss is of the whole
    prompt, and of no use for a text that the model wrote.
    """
    length = tokens.stop - tokens.start
    run = replace(
        run,
        tokens=replace(run.tokens, answer_start=len(run.tokens)),
        settings=replace(run.settings, answer_start=-1),
    )
    return replace(
        reduce_run(run),
        n_tokens=length,
        answer_start=length,
        loss=math.nan,
        unigram_loss=math.nan,
        every=_Reductions(run, tokens),
        rest={},
    )
