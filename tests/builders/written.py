"""Texts that a model writes, without a model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice

from depthtui.data.arrays import MetricResult
from depthtui.data.protocol import TokensWritten
from depthtui.data.run import Prompt, RunResult, WrittenAnswer
from depthtui.data.run_settings import RunSettings, Writing
from depthtui.metrics import logit_lens, settling
from tests.builders.results import tokens_of
from tests.hostile import HOSTILE

WORDS = (" so", " the", " ferry", " waits,", " and", " seven", " boats", " float.")


def written_prompt(
    prompt: Prompt, writing: Writing, hostile: bool = False, stopped_by: str = "limit"
) -> Prompt:
    """The prompt with an answer of `max_tokens` words, or of every hostile text."""
    words = HOSTILE.values() if hostile else islice(cycle(WORDS), writing.max_tokens)
    question, answer = prompt.unanswered, "".join(words)
    answered = replace(question, text=question.text + answer, answer=answer)
    tokens = tokens_of(answered)
    ids = tuple(tokens.ids[tokens.answer_start :].tolist())
    return replace(answered, written=WrittenAnswer(ids, writing, stopped_by))


def with_settling(settings: RunSettings) -> RunSettings:
    """The settings of a run whose answer is written."""
    metrics = dict.fromkeys((*settings.metrics, settling.NAME))
    return replace(settings, metrics=tuple(metrics), answer_start=-1)


def tokens_written(
    result: RunResult, run_id: int = 1, size: int = 5, words: int | None = None
) -> Iterator[TokensWritten]:
    """A result's answer as the engine emits it, in parts; of its first words alone."""
    start, tokens = result.answer_start, result.tokens
    stop = len(tokens) if words is None else start + words
    for first in range(start, stop, size):
        part = slice(first, min(first + size, stop))
        readings = {
            name: columns_of(result.measured[name], slice(part.start - 1, part.stop - 1))
            for name in (logit_lens.METRIC.name, settling.NAME)
            if name in result.measured
        }
        seconds = 0.1 * (part.stop - start)
        yield TokensWritten(run_id, tokens.ids[part], tokens.texts[part], readings, seconds)


def columns_of(value: MetricResult, tokens: slice) -> MetricResult:
    """A metric at some tokens."""
    result = copy.copy(value)
    for name, shape in value.shapes().items():
        if "T" in shape.sides:
            axes = [slice(None)] * shape.sides.index("T")
            setattr(result, name, getattr(value, name)[(*axes, tokens)])
    return result
