"""One prompt run through one model: its settings and its results.

The same objects go through the pipe, into the cache, onto the screen and into
a report. L is the number of layers, T the number of tokens, k the number of
tokens that the lens lists. A value that is not known yet, or that an
architecture does not have, is NaN (an unknown id is -1).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.remarks import Remarks
from depthtui.data.run_settings import RunSettings

Result = TypeVar("Result", bound=MetricResult)
Value = TypeVar("Value")


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
    """

    text: str
    answer: str = ""
    task: str = "typed"
    level: str = ""
    contrast: str = ""

    @property
    def question(self) -> str:
        """The text before the answer."""
        return self.text[: len(self.text) - len(self.answer)]


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


def without(values: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    """The values of all other names."""
    return {name: value for name, value in values.items() if name not in names}
