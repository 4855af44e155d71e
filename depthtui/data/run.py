"""One prompt run through one model: its settings and its results.

The same objects go through the pipe, into the cache, onto the screen and into
a report. L is the number of layers, T the number of tokens, k the number of
tokens that the lens lists. A value that is not known yet, or that an
architecture does not have, is NaN (an unknown id is -1).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.plain import IF_ANY
from depthtui.data.remarks import Remarks
from depthtui.data.run_settings import RunSettings, Writing

Result = TypeVar("Result", bound=MetricResult)
Value = TypeVar("Value")

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class WrittenAnswer:
    """An answer that a model wrote.

    Attributes:
        ids: ids of its tokens, the end-of-text token included.
        writing: how they were chosen.
        stopped_by: `end` (an end-of-text token), `limit` (`max_tokens`), `context` (the model's
            context is full), `memory`, `user`.
        model: name of the model that wrote it, which may be run by another.
    """

    ids: tuple[int, ...]
    writing: Writing
    stopped_by: str
    model: str = ""

    def text_of(self, texts: Sequence[str]) -> str:
        """The answer, from the texts of its tokens; one that ends it is no part of its words."""
        return joined_text(texts[:-1] if self.stopped_by == "end" else texts)


def task_words(words: str, choices: bool, written: bool) -> str:
    """A task with how it is asked and who answers: `sums`, `sums, with options`, `sums, written`.

    Prompts of a task that are asked or answered in other ways are another task.

    Args:
        words: the task.
        choices: whether its prompts have options to choose from.
        written: whether the model writes the answers.
    """
    return words + (", with options" if choices else "") + (", written" if written else "")


_OF_NO_TASK = frozenset({"typed", "file"})
"""Tasks whose prompts may be of any kind and length."""


@dataclass(frozen=True)
class Prompt:
    """A text that a model reads, teacher-forced.

        Prompt("Two plus two is four.", answer=" four.")

    Attributes:
        text: the whole text, question and answer.
        answer: the suffix of `text` that is the answer, or empty.
        task: source of the prompt, such as `commonsense` or `typed`.
        level: difficulty in the task's own unit, or empty.
        contrast: a whole text of as many tokens that differs in a word or two and in the answer;
            or empty.
        written: how a model wrote the answer; None for a given one. Its tokens are then these ids,
            which a tokenizer might not make of the answer's text.
        choices: the options, `answer` among them, each a text that follows the question; empty
            where there are none.
        common_ending: the end of every choice that alone is compared, where the choices differ
            before it (WinoGrande); empty where the whole choices are compared.
        ids: the tokens of a window of a corpus, which a tokenizer might not make of its text; empty
            where they are made of the text.
    """

    text: str
    answer: str = ""
    task: str = "typed"
    level: str = ""
    contrast: str = ""
    written: WrittenAnswer | None = None
    choices: tuple[str, ...] = field(default=(), metadata=IF_ANY)
    common_ending: str = field(default="", metadata=IF_ANY)
    ids: tuple[int, ...] = field(default=(), metadata=IF_ANY)

    @property
    def has_task(self) -> bool:
        """Whether it is one of a task's prompts, which are of one kind and length."""
        return self.task not in _OF_NO_TASK

    @property
    def question(self) -> str:
        """The text before the answer."""
        return self.text[: len(self.text) - len(self.answer)]

    @property
    def unanswered(self) -> Prompt:
        """The question alone, for a model to answer."""
        return Prompt(self.question, task=self.task, level=self.level)

    @property
    def right_choice(self) -> int:
        """The place of the answer among the choices; -1 where it is not among them."""
        return self.choices.index(self.answer) if self.answer in self.choices else -1

    @property
    def continuations(self) -> tuple[tuple[str, str], ...]:
        """For each choice a context and the text behind it whose likelihood is compared.

        The contexts are the question, but where the choices have a common ending.
        """
        ending = len(self.common_ending)
        begun = (choice[: len(choice) - ending] if ending else "" for choice in self.choices)
        return tuple(
            (self.question + before, choice[len(before) :])
            for before, choice in zip(begun, self.choices, strict=True)
        )

    @property
    def source(self) -> str:
        """The task, with how it is asked and who answers (see `task_words`)."""
        return task_words(self.task, bool(self.choices), self.written is not None)


@dataclass(frozen=True)
class PromptTokens:
    """A tokenised prompt.

    Attributes:
        ids: `[T]` token ids.
        texts: `[T]` raw texts, hostile until made printable.
        answer_start: index of the answer's first token, or T where there is none.
    """

    ids: np.ndarray
    texts: list[str]
    answer_start: int

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def readable_texts(self) -> list[str]:
        """`[T]` readable texts, each character in the token that begins it.

        As hostile as the raw texts.
        """
        # token_text imports Rich, which most commands do not need.
        from depthtui.token_text import is_part_of_character, whole_characters

        if not any(map(is_part_of_character, self.texts)):
            return self.texts
        return whole_characters(self.texts)


@dataclass(frozen=True)
class Provenance:
    """Where and how a run was computed.

    Attributes:
        depthtui, torch, transformers, python: versions.
        platform: operating system and machine.
        started: time of the start, ISO 8601 in UTC.
        seconds: duration of the run.
        cached: whether the result came from the disk cache.
        product: library of a CPU's float32 matrix products: `torch`, which chooses by itself, or
            `oneDNN` at the shapes where it is faster.
        device: hardware of the model, such as `NVIDIA H100 80GB HBM3` or `cpu`; empty where
            unknown.
    """

    depthtui: str
    torch: str
    transformers: str
    python: str
    platform: str
    started: str
    seconds: float
    cached: bool = False
    product: str = "torch"
    device: str = ""


@dataclass
class RunResult:
    """One prompt run through one model; filled row by row while it runs.

    Attributes:
        model: the model.
        prompt: the prompt.
        settings: settings of the run.
        tokens: the tokenised prompt.
        measured: result so far of each metric, by its name; see `get`.
        layers_done: number of layers that have run.
        complete: whether all requested results are there.
        provenance: None while the run continues.
        unavailable: why a requested metric is unavailable, by its name.
        failed: names of unavailable metrics that may succeed in another run: memory ran out, or
            an error occurred.
        remarks: the user's notes on the run, for reports.
        source: the tokens of the text that is patched from; None where there is none, or it has
            not been read.
        number: its number in its session, for reports; 0 outside of one.
    """

    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    tokens: PromptTokens
    measured: Mapping[str, MetricResult] = field(default_factory=dict)
    layers_done: int = 0
    complete: bool = False
    provenance: Provenance | None = None
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    source: PromptTokens | None = None
    number: int = 0

    def write_on(
        self, ids: np.ndarray, texts: Sequence[str], readings: Mapping[str, MetricResult]
    ) -> None:
        """Append tokens that the model writes.

        Args:
            ids, texts: `[N]`, the tokens.
            readings: by metric, the values at the N positions from which they were predicted; the
                first is the last token so far. Other values are unknown at the new tokens.
        """
        first, tokens = len(self.tokens) - 1, self.tokens
        self.tokens = PromptTokens(
            np.concatenate([tokens.ids, ids]), [*tokens.texts, *texts], tokens.answer_start
        )
        n_tokens = len(self.tokens)
        measured = dict(self.measured)
        for name, part in readings.items():
            measured[name] = measured.get(name, part.without_tokens()).with_tokens(first, part)
        self.measured = {name: value.widened("T", n_tokens) for name, value in measured.items()}

    def end_writing(self, writing: Writing, stopped_by: str) -> None:
        """Make the tokens that were appended the prompt's answer."""
        start, question = self.tokens.answer_start, self.prompt.unanswered
        ids = tuple(self.tokens.ids[start:].tolist())
        written = WrittenAnswer(ids, writing, stopped_by, self.model.name)
        answer = written.text_of(self.tokens.texts[start:])
        self.prompt = replace(question, text=question.text + answer, answer=answer, written=written)

    def get(self, kind: type[Result]) -> Result | None:
        """The result of a type; None where it was not asked for, or is not there yet."""
        return next((value for value in self.measured.values() if type(value) is kind), None)

    def has_all(self, metric: str) -> bool:
        """Whether a metric was measured completely."""
        result = self.measured.get(metric)
        return result is not None and result.is_whole

    def put(self, metric: str, value: MetricResult) -> None:
        """Set the result so far of a metric; copies made by `replace` do not change."""
        self.measured = {**self.measured, metric: value}

    def fail(self, metric: str, reason: str) -> None:
        """Mark a metric as failed; its result so far is kept."""
        self.unavailable = {**self.unavailable, metric: reason}
        self.failed = (*self.failed, metric)

    def drop(self, metrics: Collection[str]) -> None:
        """Remove some metrics, with the reasons why they were unavailable."""
        self.measured = without(self.measured, metrics)
        self.unavailable = without(self.unavailable, metrics)
        self.failed = tuple(name for name in self.failed if name not in metrics)

    @property
    def is_whole(self) -> bool:
        """Whether all requested results are there, and no metric is incomplete."""
        return self.complete and all(map(self.has_all, self.measured))

    @property
    def answer_start(self) -> int:
        """Index of the answer's first token, marked or the prompt's own; T where there is none."""
        marked = self.settings.answer_start
        return marked if marked >= 0 else self.tokens.answer_start

    @property
    def answer(self) -> str:
        """The text of the answer, marked or the prompt's own; empty where there is none."""
        if self.settings.answer_start < 0:
            return self.prompt.answer
        return joined_text(self.tokens.texts[self.answer_start :])

    @property
    def source_text(self) -> str:
        """The text that is patched from: `patch_from`, else the prompt's contrast."""
        return self.settings.patch_from or self.prompt.contrast

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of the prompt's tokens, in nats; NaN where unknown."""
        lens = self.get(LogitLens)
        if lens is None or len(self.tokens) < 2:
            return float("nan")
        return -float(np.mean(lens.next_log_probability[-1, :-1]))


def utf8(text: str) -> bytes:
    """The text's bytes, including bytes that tokens have as lone surrogates (PEP 383)."""
    return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def joined_text(texts: Iterable[str]) -> str:
    """Tokens as one text; invalid bytes become the replacement character."""
    return utf8("".join(texts)).decode("utf-8", "replace")


def without(values: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    """The values of all other names."""
    return {name: value for name, value in values.items() if name not in names}
