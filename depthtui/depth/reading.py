"""A reading: prompts of one model, one lens, thresholds, and the tokens that count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, PromptCurves
from depthtui.data.lazy import lazy_value
from depthtui.data.lens_view import LENS_METRICS
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.data.verdict import Evidence, Headline, Verdict
from depthtui.depth import rules
from depthtui.depth.certainty import evidence_of
from depthtui.depth.effective_depth import estimate_depths, parts_with, pool
from depthtui.depth.idle import idle_layers, past_idle, writing_only
from depthtui.depth.left_out import LeftOut
from depthtui.depth.published import demo_words
from depthtui.depth.right_answers import RightAnswers, right_answers_of
from depthtui.depth.rule import Rule
from depthtui.depth.rule_evidence import rule_evidence
from depthtui.depth.spans import spans_of
from depthtui.depth.token_depths import depths_of_run
from depthtui.depth.units import count_interval
from depthtui.depth.verdict import verdict_of
from depthtui.depth.verdict_words import Facts
from depthtui.depth.warnings import knows_nothing, no_verdict, warnings_of
from depthtui.depth.weights import effective_prompts
from depthtui.metrics import accuracy, kept, logit_lens
from depthtui.metrics.accuracy.pooled_accuracy import headline_answers
from depthtui.metrics.choices import STAND_INS
from depthtui.metrics.evidence import CountInterval, LayerCount
from depthtui.metrics.pooling import Count, Pooled, PromptReading
from depthtui.metrics.reduced import Reduced, weighted_mean
from depthtui.metrics.reduction import reduce_run, reduce_tokens
from depthtui.metrics.registry import ALL, METRICS, depending_on
from depthtui.metrics.spec import Metric

_NOT_RUN = "not every layer has been run yet"
_NOT_READ = "the lens has not read every layer yet; all have been run"


class Reading(Pooled):
    """Prompts of one model as one lens reads them; each value is computed once.

    A run, a sweep, a generated text, the explorer and the Python API all report the values of this
    class for the same prompts.

    Attributes:
        prompts: one or more prompts.
        settings: the lens, the thresholds, and whether token 0 is counted.
        runs: the runs that the prompts were reduced from; none where they come from records.
        is_draft: whether counts are without their intervals, which take time; then the evidence is
            pending.
        may_grow: whether it is a draft, or was one: more is measured without being asked for.
        former: of a draft, an earlier complete reading of the same run, or None: counts that are
            the same keep their ranges.
    """

    may_grow = False
    former: Reading | None = None

    def _with(self, settings: SummarySettings) -> Reading:
        return Reading(self.prompts, settings, self.runs, self.is_draft)

    def completed(self) -> Reading:
        """The same reading with its verdict and all intervals, which take time.

        The findings of a metric read all of its intervals, which are drawn when first read.
        """
        reading = Reading(self.prompts, self.settings, self.runs)
        reading.may_grow = self.is_draft
        _ = reading.verdict
        for metric in ALL:
            if (value := reading.get(metric)) is not None:
                list(metric.findings(value, reading))
        return reading

    @lazy_value
    def alone(self) -> list[Reading]:
        """A reading of each prompt by itself."""
        if len(self.prompts) == 1:
            return [self]
        return [
            Reading([prompt], self.settings, self.runs[number : number + 1], self.is_draft)
            for number, prompt in enumerate(self.prompts)
        ]

    @lazy_value
    def by_prompt(self) -> list[tuple[PromptReading, PromptCurves]]:
        """The prompts that are pooled, each with its means.

        Where a curve's metric failed on some prompts, the others are pooled without them.
        """
        needed = {metric.name for metric in METRICS if metric.curves and not metric.on_demand}
        complete_prompts = [
            prompt for prompt in self.prompts if needed.isdisjoint(self.failed(prompt))
        ]
        parts = ((prompt, self._part(prompt)) for prompt in complete_prompts or self.prompts)
        return [(prompt, part) for prompt, part in parts if part is not None]

    @property
    def parts(self) -> list[PromptCurves]:
        """The means of every prompt that is pooled."""
        return [part for _, part in self.by_prompt]

    @lazy_value
    def _with_curves(self) -> list[Metric]:
        """The metrics with curves; those derived from a lens only once it has read every prompt."""
        return [
            metric for metric in ALL if metric.curves and (metric in METRICS or self._whole(metric))
        ]

    def _part(self, prompt: PromptReading) -> PromptCurves | None:
        n_tokens = prompt.n_tokens - (self.settings.tokens.start or 0)
        if n_tokens < 1:
            return None
        reduced = prompt.reduced(self.settings)
        curves = {
            name: values
            for metric in self._with_curves
            # Other metrics are not reduced: a pane requests the curves at each layer of a run.
            if (source := self.source(metric)) in reduced
            for name in metric.curves
            if (values := getattr(reduced[source], name)) is not None
        }
        return PromptCurves(n_tokens, curves, prompt.task)

    @property
    def n_prompts(self) -> int:
        """The number of prompts that the curves are means over."""
        return len(self.parts)

    @property
    def n_tokens(self) -> int:
        """The number of tokens that the curves are means over."""
        return sum(part.n_tokens for part in self.parts)

    @property
    def effective_prompts(self) -> float:
        """How many prompts of the same length the curves are worth (see `depth.weights`)."""
        return effective_prompts(self.parts) if self.parts else 0.0

    @lazy_value
    def curves(self) -> Curves:
        """Means over all tokens of all prompts; empty where there is nothing to average."""
        return pool(self.parts) if self.parts else {}

    @lazy_value
    def depths(self) -> tuple[DepthEstimate, ...]:
        """Each rule's layer, with its interval where there are enough prompts.

        A rule whose curve has values that are not known, or not finite, has no layer. Empty where
        there is nothing to average.
        """
        if not self.parts:
            return ()
        return estimate_depths(self.parts, self.settings, self._unknown())

    def depth(self, rule: str) -> DepthEstimate | None:
        """A rule's estimate; None where its metric was not measured."""
        return next((estimate for estimate in self.depths if estimate.rule == rule), None)

    def _unknown(self) -> dict[str, str]:
        """By rule, why its curve is not known yet."""
        if any(prompt.layers_done < self.n_layers for prompt in self.prompts):
            return {rule.name: _NOT_RUN for rule in rules.ALL}
        lens = self.source(logit_lens.METRIC)
        if any(lens in prompt.unfinished for prompt in self.prompts):
            return {rule.name: _NOT_READ for rule in rules.ALL if rule.through_lens}
        return {}

    @property
    def idle(self) -> tuple[int, ...]:
        """The layers that write nothing on any prompt; empty where unknown."""
        return self.known_idle or ()

    @lazy_value
    def known_idle(self) -> tuple[int, ...] | None:
        """The layers that write nothing on any prompt; None where unknown (see `depth.idle`)."""
        return idle_layers(self.prompts)

    @lazy_value
    def left_out(self) -> LeftOut | None:
        """What is left as layers leave; None where nothing is known along an order."""
        return LeftOut.of(self)

    @lazy_value
    def parts_left_out(self) -> LeftOut | None:
        """What is left as attentions and MLPs leave; None where nothing is known."""
        return LeftOut.of_parts(self)

    @lazy_value
    def evidence(self) -> tuple[Evidence, ...]:
        """The count of each rule and metric, and how certain it is."""
        n_prompts = len(self.prompts)
        former = self.former.evidence if self.former else ()
        by_count = {(row.measure, row.count): row for row in former}
        rows = (
            evidence_of(
                layer_count,
                self.n_layers,
                (n_with_count, n_prompts),
                self.idle,
                self.is_draft,
                # The layers that keep what is known have a reason of their own.
                self._knows_nothing and layer_count.measure.measure != kept.NAME,
            )
            for layer_count, n_with_count in self._counts()
        )
        return tuple(by_count.get((row.measure, row.count), row) for row in rows)

    @lazy_value
    def _knows_nothing(self) -> bool:
        """Whether the model knows too little of these texts for any count."""
        knowledge = self.get(kept.METRIC)
        too_little = knowledge is not None and knowledge.why_too_little_of_text
        return bool(knows_nothing(self) or too_little)

    def _counts(self) -> Iterator[tuple[LayerCount, int]]:
        """The count by each rule and metric, and the number of prompts that it is of."""
        if self.parts:
            for layer_count in self._of_rules():
                curve = rules.named(layer_count.measure.measure).curve
                yield layer_count, len(parts_with(curve, self.parts))
        for metric in ALL:
            if metric.gives_evidence and (value := self.get(metric)) is not None:
                for layer_count in metric.evidence(value, self):
                    yield layer_count, self.count(metric)

    def token_depths(self, run: RunResult) -> TokenDepths | None:
        return depths_of_run(run, self.settings)

    def interval(
        self, reduced: Sequence[Reduced | None], count: Count, *names: str
    ) -> CountInterval | None:
        tasks = (prompt.task for prompt in self.prompts)
        prompts = [
            (value, task) for value, task in zip(reduced, tasks, strict=True) if value is not None
        ]
        return count_interval(prompts, count, names, self.seed)

    def _rule_interval(self, rule: Rule) -> CountInterval | None:
        """The interval of a rule's count, by means that give each task the same weight."""
        estimate = self.depth(rule.name)
        if estimate is None or estimate.layer is None:
            return None

        def count(curves: np.ndarray) -> np.ndarray:
            writing = curves if rule.through_lens else writing_only(curves, self.idle)
            return rule.ranked_layers(writing, self.settings) + 1

        return self._interval_of(rule, count)

    def curve_interval(self, rule: Rule) -> np.ndarray | None:
        """The interval of a rule's curve at each of its places, `[2, L]` or `[2, L+1]`.

        None where it is not known.
        """
        if rule.curve not in self.curves:
            return None
        places = range(len(self.curves[rule.curve]))
        intervals = [self._interval_of(rule, partial(np.take, indices=n, axis=1)) for n in places]
        ends = [(interval.low, interval.high) for interval in intervals if interval is not None]
        return np.array(ends).T if len(ends) == len(intervals) else None

    def _interval_of(self, rule: Rule, count: Count) -> CountInterval | None:
        """The interval of a number that is read from a rule's curve, as that of its count."""
        metric = next(metric for metric in ALL if rule.curve in metric.curves)
        source = self.source(metric)
        by_prompt = [
            (value.reduced(self.settings)[source], value.task) for value, _ in self.by_prompt
        ]
        prompts = [
            (value, task) for value, task in by_prompt if getattr(value, rule.curve) is not None
        ]
        if rule.of_prompt:
            prompts = [(replace(value, tokens=1), task) for value, task in prompts]
        return count_interval(prompts, count, [rule.curve], self.seed, equal_tasks=True)

    def _of_rules(self) -> Iterator[LayerCount]:
        lenses = {
            lens: self.through(lens).curves
            for lens, metric in LENS_METRICS.items()
            if all(metric in prompt.every for prompt in self.prompts)
        }
        depths, curves, others = self.depths, self.curves, self.other.curves
        if self.idle:
            # The published depths are always those of the paper's rules.
            parts, other_parts = (
                [past_idle(part, self.idle) for part in reading.parts]
                for reading in (self, self.other)
            )
            depths = estimate_depths(parts, self.settings, self._unknown())
            curves, others = (pool(group) if group else {} for group in (parts, other_parts))
        intervals = {rule.name: self._rule_interval(rule) for rule in rules.ALL}
        return rule_evidence(depths, curves, self.settings, others, lenses, intervals)

    @lazy_value
    def accuracy(self) -> RightAnswers | None:
        """Right answers among all; None where they are known of no prompt."""
        return right_answers_of(self.prompts)

    @property
    def short_accuracy(self) -> RightAnswers | None:
        """Right answers among all; None where a prompt has a worked solution.

        A worked solution is rarely given word for word, however right it is; one whose right answer
        was measured counts.
        """
        can_be_right = (
            prompt.has_short_answer or accuracy.METRIC.name in prompt.every
            for prompt in self.prompts
        )
        return self.accuracy if all(can_be_right) else None

    @lazy_value
    def verdict(self) -> Verdict | None:
        """The verdict: how many layers the model uses, by which evidence; None without evidence."""
        return self._verdict(self.missing_metrics)

    @property
    def headline(self) -> Headline | None:
        """The verdict's headline; None where it is unknown what the model keeps."""
        return None if self.verdict is None else self.verdict.headline

    def _verdict(self, missing_metrics: Sequence[str] = ()) -> Verdict | None:
        """The verdict, naming the missing metrics, which would add evidence."""
        knowledge, answers = self.get(kept.METRIC), self.get(accuracy.METRIC)
        headline = None if knowledge is None else knowledge.headline
        if headline and self.former and self.former.headline:
            headline = headline.with_ranges_of(self.former.headline)
        leaves_out = any(self.get(metric) is not None for metric in depending_on(*STAND_INS))
        return verdict_of(
            Facts(
                evidence=self.evidence,
                n_layers=self.n_layers,
                model=self.model.name,
                tasks=[prompt.task for prompt in self.prompts],
                answer=self.prompts[0].prompt.answer if len(self.prompts) == 1 else "",
                headline=headline,
                not_counted=kept.why_not_pooled(self),
                accuracy=self.short_accuracy,
                answers=None if answers is None else headline_answers(answers, self),
                demo=demo_words([prompt.prompt for prompt in self.prompts], self.model.name),
                idle=self.idle,
                stand_in=self.stand_in if leaves_out else "",
                lens=self.settings.lens,
                missing_metrics=missing_metrics,
                may_grow=self.is_draft or self.may_grow,
                warnings=warnings_of(self),
                no_verdict=no_verdict(self),
            )
        )

    @lazy_value
    def missing_metrics(self) -> list[str]:
        """Names of the metrics that would add evidence: no prompt has them, but one may."""
        return [
            metric.name
            for metric in METRICS
            if metric.gives_evidence
            and not any(prompt.has(metric.name) for prompt in self.prompts)
            and any(prompt.can_have(metric) for prompt in self.prompts)
        ]

    @lazy_value
    def means(self) -> dict[str, float]:
        """The known numbers for a sweep's tables, by title."""
        means = {
            "loss": weighted_mean((prompt.loss, prompt.n_tokens - 1) for prompt in self.prompts)
        }
        for metric in ALL:
            if (value := self.get(metric)) is not None:
                means |= metric.means(value, self)
        return {title: value for title, value in means.items() if value == value}


def reading_of(
    runs: Sequence[RunResult], settings: SummarySettings, is_draft: bool = False
) -> Reading:
    """The reading of runs of one model, finished or not; in a draft, counts have no intervals."""
    return Reading([reduce_run(run) for run in runs], settings, runs, is_draft)


def span_verdicts(run: RunResult, settings: SummarySettings) -> dict[str, Verdict]:
    """The verdicts by the lens over the spans of a run's tokens, by their names.

    A token counts where it is predicted, at the position before it. Spans without evidence are
    absent.
    """
    verdicts, first = {}, settings.tokens.start or 0
    # Token 0 is left out below, where it is not counted.
    settings = replace(settings, include_first_token=True)
    for name, tokens in spans_of(run).items():
        positions = slice(max(first, tokens.start - 1), tokens.stop - 1)
        if name != "prompt" and positions.start < positions.stop:
            verdict = Reading([reduce_tokens(run, positions)], settings)._verdict()
            if verdict is not None:
                verdicts[name] = verdict
    return verdicts
