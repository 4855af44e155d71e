"""Prompts of one model taken together, metric by metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate
from depthtui.data.lazy import lazy_value
from depthtui.data.lens_view import LENS_METRICS, LOGIT, why_unread
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, Result, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.metrics.choices import stand_in_words
from depthtui.metrics.evidence import CountInterval
from depthtui.metrics.reduced import Reduced

Count: TypeAlias = Callable[..., np.ndarray]
"""Counts of layers, `[resamples]`, by one or more means over tokens, `[resamples, ...]` each."""
LONGEST_ANSWER = 10
"""The most tokens of an answer that is right word for word or not at all."""

FEWEST_TOKENS = 10
"""The fewest tokens for a count: with fewer it is of these tokens, not of the model."""


class Poolable(Protocol):
    """The part of a `Metric` that pooling needs."""

    @property
    def name(self) -> str: ...

    @property
    def of_lens(self) -> bool: ...

    @property
    def derived_from(self) -> str: ...

    @property
    def pool(self) -> Callable[[Sequence[Any], Pooled], Any]: ...

    def why_unavailable(self, result: RunResult) -> str:
        """Why a run cannot have it; empty where it can."""


@dataclass(frozen=True, kw_only=True)
class PromptReading:
    """One prompt run through one model, reduced to the values that pooling needs.

    Attributes:
        model, prompt, settings: the model, prompt and settings of the run.
        n_tokens: tokens of the prompt.
        answer_start: index of the answer's first token; `n_tokens` where there is none.
        loss: mean negative log-likelihood of the prompt's tokens, in nats; NaN where unknown.
        every: by metric, its reduced values over all tokens.
        rest: the same without token 0.
        unavailable: by metric, why it is unavailable.
        failed: names of the metrics that failed; another run may have them.
        unfinished: names of the metrics that are not fully computed.
        layers_done: how many layers have run.
        task: the task of the prompt; in a mean over several tasks each has the same weight.
        unigram_loss: a unigram's loss on the same tokens, in nats (see `metrics.unigram`); NaN
            where unknown.
        says_answer: whether each token of the answer is the model's first choice after the tokens
            before it; None where there is no answer, or the choice is unknown.
    """

    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    n_tokens: int
    answer_start: int
    loss: float
    every: Mapping[str, Reduced]
    rest: Mapping[str, Reduced]
    unavailable: Mapping[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    layers_done: int
    task: str
    unigram_loss: float = float("nan")
    says_answer: bool | None = None

    @property
    def has_short_answer(self) -> bool:
        """Whether there is an answer, and no worked solution or text."""
        return 0 < self.n_tokens - self.answer_start <= LONGEST_ANSWER

    def reduced(self, settings: SummarySettings) -> Mapping[str, Reduced]:
        """The prompt's reduced values over the tokens that the settings count, by metric."""
        return self.rest if settings.tokens.start else self.every

    def has(self, metric: str) -> bool:
        """Whether a metric was fully computed."""
        return metric in self.every and metric not in self.unfinished

    def can_have(self, metric: Poolable) -> bool:
        """Whether the prompt's run can have a metric."""
        tokens = PromptTokens(np.zeros(self.n_tokens, int), [""] * self.n_tokens, self.answer_start)
        return not metric.why_unavailable(RunResult(self.model, self.prompt, self.settings, tokens))

    def why_unread(self, lens: str) -> str:
        """Why a lens has not read the prompt; empty where it has."""
        if lens == LOGIT or LENS_METRICS[lens] in self.every:
            return ""
        return why_unread(self.unavailable, self.model, lens)


class Pooled(ABC):
    """Prompts of one model and the values of each metric over all of them.

    Means are weighted by tokens. On-demand metrics are pooled over the prompts that have them.

    Attributes:
        prompts: one or more prompts.
        settings: the lens, and the tokens that count.
        runs: the runs that the prompts were reduced from; none where they come from records.
        is_draft: whether counts are without their intervals, which take time.
    """

    def __init__(
        self,
        prompts: Sequence[PromptReading],
        settings: SummarySettings,
        runs: Sequence[RunResult] = (),
        is_draft: bool = False,
    ) -> None:
        self.prompts = prompts
        self.settings = settings
        self.runs = runs
        self.is_draft = is_draft
        self._values: dict[str, Any] = {}

    @property
    def model(self) -> ModelInfo:
        """The model of all prompts."""
        return self.prompts[0].model

    @property
    def n_layers(self) -> int:
        """The number of layers, L."""
        return self.model.n_layers

    @property
    def seed(self) -> int | None:
        """The seed of the draws for intervals; None in a draft, which draws nothing."""
        return None if self.is_draft else self.settings.seed

    @property
    def stand_in(self) -> str:
        """The substitute for a layer that is left out, in words; empty for none."""
        return stand_in_words(self.prompts[0].settings)

    @property
    def n_scored(self) -> int:
        """Tokens of all prompts that the settings count."""
        first = self.settings.tokens.start or 0
        return sum(max(0, prompt.n_tokens - first) for prompt in self.prompts)

    @property
    def is_too_short(self) -> bool:
        """Whether too few tokens are scored to report a count."""
        return self.n_scored < FEWEST_TOKENS

    @property
    @abstractmethod
    def curves(self) -> Curves:
        """Means over all tokens of all prompts."""

    @property
    @abstractmethod
    def depths(self) -> Sequence[DepthEstimate]:
        """Each rule's layer."""

    @abstractmethod
    def token_depths(self, run: RunResult) -> TokenDepths | None:
        """The depths of a run's tokens by the chosen lens and thresholds; None where it is unread.

        See `depth.token_depths`.
        """

    @abstractmethod
    def interval(
        self, reduced: Sequence[Reduced | None], count: Count, *names: str
    ) -> CountInterval | None:
        """The bootstrap interval of a count over the prompts, or over blocks of their tokens.

        Args:
            reduced: a reduced value of each prompt; None where a prompt has none.
            count: the count by the means of each name.
            names: fields of the reduced values, from whose means over tokens the count is computed.
                The means over blocks are `Reduced.over_blocks` of the same names.

        Returns:
            None where there are too few prompts and too few blocks, and in a draft.
        """

    @lazy_value
    def other(self) -> Self:
        """The same prompts with token 0 left out, or counted where it was left out."""
        return self._with(self.settings.with_token_0_turned())

    def through(self, lens: str) -> Self:
        """The same prompts, read by another lens."""
        if lens == self.settings.lens:
            return self
        return self._with(replace(self.settings, lens=lens))

    @abstractmethod
    def _with(self, settings: SummarySettings) -> Self:
        """The same prompts with other settings."""

    def get(self, metric: Poolable) -> Any:
        """The metric's pooled values; None where no prompt, or not every needed one, has it."""
        if metric.name not in self._values:
            reduced = (
                self._whole(metric)
                if metric.of_lens and metric.derived_from
                else self.reduced(metric)
            )
            known_values = [value for value in reduced if value is not None]
            self._values[metric.name] = metric.pool(known_values, self) if known_values else None
        return self._values[metric.name]

    def reduced(self, metric: Poolable) -> list[Any]:
        """The metric's reduced values of each prompt; None where a prompt has none."""
        name = self.source(metric)
        return [prompt.reduced(self.settings).get(name) for prompt in self.prompts]

    def _whole(self, metric: Poolable) -> list[Any]:
        """A metric's reduced values of all prompts; empty where one of them is not fully computed.

        Prompts on which the metric failed, or without a token that counts, are left out.
        """
        name = self.source(metric)
        of = [prompt for prompt in self.prompts if metric.derived_from not in self.failed(prompt)]
        if not all(prompt.has(name) for prompt in of):
            return []
        return [prompt.reduced(self.settings).get(name) for prompt in of]

    def source(self, metric: Poolable) -> str:
        """The metric whose reduced values replace a metric under the chosen lens."""
        if metric.of_lens and self.settings.lens != LOGIT:
            return LENS_METRICS[self.settings.lens]
        return metric.derived_from or metric.name

    def count(self, metric: Poolable) -> int:
        """How many prompts have a metric, or the metric that it is derived from.

        A prompt without a token that counts does not have it.
        """
        return sum(value is not None for value in self.reduced(metric))

    def unavailable(self, prompt: PromptReading) -> Mapping[str, str]:
        """Why a prompt's metrics are unavailable under the chosen lens."""
        lens = self.settings.lens
        if lens == LOGIT:
            return prompt.unavailable
        reasons = {
            name: why for name, why in prompt.unavailable.items() if name not in READ_BY_LENS
        }
        unread = prompt.why_unread(lens)
        return reasons | ({LENS_METRICS[LOGIT]: unread} if unread else {})

    def failed(self, prompt: PromptReading) -> Sequence[str]:
        """Names of the prompt's failed metrics under the chosen lens; another run may have them."""
        lens = self.settings.lens
        if lens == LOGIT:
            return prompt.failed
        unread = [LENS_METRICS[LOGIT]] if prompt.why_unread(lens) else []
        return [*(name for name in prompt.failed if name not in READ_BY_LENS), *unread]

    def measured(self, kind: type[Result]) -> list[Result | None]:
        """Each run's result of a kind; None where a run has none."""
        return [run.get(kind) for run in self.runs]


READ_BY_LENS = (LENS_METRICS[LOGIT], "settling")
"""The logit lens's own metrics; under another lens that lens's metrics replace them."""
