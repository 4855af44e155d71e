"""Right answers to several questions: their share, and how many layers they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from depthtui.data.verdict import AnswerKind, HeadlineAnswers, margin_words
from depthtui.metrics import kept
from depthtui.metrics.accuracy.answer_statistics import (
    FewestLayers,
    PairedAnswers,
    RaisingLayers,
    fewest_layers,
    is_above_chance,
    raising_layers,
    share_range,
    wilson,
)
from depthtui.metrics.accuracy.reduced_accuracy import ReducedAccuracy
from depthtui.metrics.column import LeftOutColumn
from depthtui.metrics.evidence import progress_words
from depthtui.metrics.kept.output import TOLERANCE
from depthtui.metrics.pooling import Pooled

NEAR = "kl"
"""The name of the layers of an output within a nat."""


@dataclass(frozen=True)
class Answers:
    """Answers of one kind to one or more questions: 1 for a right one, 0 for a wrong one.

    Attributes:
        kind: `chosen` or `written`.
        order: the order in which layers are left out.
        layers_alone: the layers that were left out by themselves; empty for every one.
        right: of the whole model, `[questions]`.
        unchanged: the same in a batch with those without a layer, `[questions]`.
        without: without layer l, `[questions, L]`; NaN where unknown.
        along: without the first 0, 1, 2, … layers of the order, `[questions, L + 1]`; NaN where
            unknown.
        chances: the chance of a right guess at each question.
        margin: the share by which right answers may be fewer.
        seed: seed of the draws; None to draw nothing.
    """

    kind: AnswerKind
    order: tuple[int, ...]
    layers_alone: tuple[int, ...]
    right: np.ndarray
    unchanged: np.ndarray
    without: np.ndarray
    along: np.ndarray
    chances: tuple[float, ...]
    margin: float
    seed: int | None

    @property
    def questions(self) -> int:
        """The number of questions."""
        return len(self.right)

    @property
    def n_right(self) -> int:
        """Right answers of the whole model."""
        return int(self.right.sum())

    @property
    def counts(self) -> str:
        """Right answers among all, such as `34 of 50`."""
        return f"{self.n_right} of {self.questions}"

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share of right answers."""
        return wilson(self.n_right, self.questions)

    @property
    def share_words(self) -> str:
        """The share of right answers with its interval, such as `68% (54% to 79%)`."""
        return f"{self.n_right / self.questions:.0%} ({share_range(self.interval)})"

    @property
    def why_at_chance(self) -> str:
        """Why the whole model is at chance, in a clause; empty where it is above."""
        if is_above_chance(self.n_right, self.chances):
            return ""
        guesses = round(sum(self.chances))
        words = f"{self.counts} answers are right"
        return f"{words}, and guesses have {guesses}" if guesses else words

    @property
    def has_order(self) -> bool:
        """Whether the answers along the order are known."""
        return bool(np.isfinite(self.along).all())

    @property
    def column(self) -> LeftOutColumn:
        """The share of right answers; a limit is a margin that is tested (see `FewestLayers`)."""
        share = self.along.mean(axis=0)
        return LeftOutColumn(
            self.kind, share, ".2f", True, of=self.questions, find_least=self._layers_within
        )

    def _layers_within(self, margin: float) -> int | None:
        fewest = self.fewest_within(margin)
        if fewest.left_out is None or self.why_at_chance:
            return None
        return self.along.shape[1] - 1 - fewest.left_out

    @property
    def n_moved(self) -> int:
        """How many answers with nothing left out differ from those of the texts run alone."""
        return int((self.unchanged != self.right).sum())

    @property
    def progress_words(self) -> str:
        """For how many of the layers there are answers, in words; empty for all of them."""
        layers = list(self.layers_alone) or slice(None)
        return progress_words(np.isfinite(self.without[:, layers]).all(axis=0))

    @cached_property
    def pairs(self) -> list[PairedAnswers | None]:
        """By layer, the answers of the whole model and those without it; None where unknown."""
        return [
            PairedAnswers.of(self.unchanged, after) if np.isfinite(after).all() else None
            for after in self.without.T
        ]

    @cached_property
    def raising(self) -> RaisingLayers | None:
        """The layers without which more answers are right; None in a draft, or of one question."""
        if self.seed is None:
            return None
        return raising_layers(self.unchanged, self.without, self.seed)

    def without_first(self, count: int) -> PairedAnswers:
        """The answers of the whole model, and those without the first layers of the order."""
        return PairedAnswers.of(self.along[:, 0], self.along[:, count])

    @cached_property
    def fewest(self) -> FewestLayers | None:
        """How many layers of the order may go; None where the answers along it are not known."""
        return self.fewest_within(self.margin) if self.has_order else None

    def fewest_within(self, margin: float) -> FewestLayers:
        """How many layers of the order may go, within another margin."""
        return fewest_layers(self.along, margin)

    @property
    def layers(self) -> int | None:
        """N(answers); None where the questions are too few, or the whole model is at chance."""
        return self._layers_within(self.margin) if self.has_order else None

    @property
    def why_no_count(self) -> str:
        """Why it is unknown how many layers the answers need, in a clause; empty where known."""
        if self.fewest is None:
            return "its answers along the order are not known"
        if reason := self.why_at_chance:
            return f"the whole model is at chance: {reason}"
        if self.layers is not None:
            return ""
        if self.questions == 1:
            return "one question is too few to say"
        few, enough = f"{self.questions} questions are too few to say", self.fewest.questions
        return few + (f": about {enough} would tell" if enough else "")

    @property
    def margin_words(self) -> str:
        """The margin, such as `5 points`."""
        return margin_words(self.margin)


@dataclass(frozen=True)
class PooledAccuracy:
    """The right answers to one or more questions.

    Attributes:
        reduced: the answers to each question.
        chosen, written: the answers of each kind; None where there are none.
        n_layers: the number of layers, L.
    """

    reduced: ReducedAccuracy
    chosen: Answers | None
    written: Answers | None
    n_layers: int

    @property
    def kinds(self) -> list[Answers]:
        """The answers of each kind, those that lead first."""
        return [answers for answers in (self.chosen, self.written) if answers is not None]

    @property
    def lead(self) -> Answers:
        """The answers that count: the chosen ones, else the written ones."""
        return self.kinds[0]

    @property
    def n_right_per_character(self) -> int:
        """Right answers of the whole model, by the log-likelihood per character."""
        return int(self.reduced.right_per_character[self.reduced.options > 0].sum())


def pool(reduced: Sequence[ReducedAccuracy], pooled: Pooled) -> PooledAccuracy | None:
    if len({answers.order for answers in reduced}) > 1:
        return None
    answers = ReducedAccuracy.pooled(reduced)
    has_choices, is_written = answers.options > 0, np.isfinite(answers.written[:, 0])
    chances = 1 / np.maximum(1, answers.options)
    chosen = _of_kind("chosen", answers, has_choices, chances, pooled)
    written = _of_kind("written", answers, is_written, np.zeros(len(chances)), pooled)
    if chosen is None and written is None:
        return None
    return PooledAccuracy(answers, chosen, written, pooled.n_layers)


def _of_kind(
    kind: AnswerKind,
    answers: ReducedAccuracy,
    is_known: np.ndarray,
    chances: np.ndarray,
    pooled: Pooled,
) -> Answers | None:
    """The answers of a kind to the questions `[P]` that have one; None where none has."""
    if not is_known.any():
        return None
    written = answers.written[:, 0]
    right, unchanged, without, along = {
        "chosen": (answers.right, answers.unchanged, answers.without, answers.along),
        "written": (written, written, answers.written_without, answers.written),
    }[kind]
    return Answers(
        kind=kind,
        order=answers.order,
        layers_alone=answers.chosen,
        right=right[is_known],
        unchanged=unchanged[is_known],
        without=without[is_known],
        along=along[is_known],
        chances=tuple(chances[is_known].tolist()),
        margin=pooled.settings.answers_within / 100,
        seed=pooled.seed,
    )


@dataclass(frozen=True)
class WithLayers:
    """Right answers with the layers that another count keeps in the same order.

    Attributes:
        layers: the number of layers that stay.
        pair: the answers of the whole model, and those with these layers.
    """

    layers: int
    pair: PairedAnswers

    @property
    def n_right(self) -> int:
        """Right answers with these layers."""
        return int(self.pair.both + self.pair.gained)

    @property
    def counts(self) -> str:
        """Right answers among all, such as `31 of 50`."""
        return f"{self.n_right} of {self.pair.questions:.0f}"


def with_counted_layers(answers: Answers, pooled: Pooled) -> dict[str, WithLayers]:
    """The answers with the layers of other counts in the same order, by the name of their metric.

    These are the layers that keep nine tenths (`kept`) and those of an output within a nat (`kl`);
    one that is not known is absent.
    """
    knowledge, output = pooled.get(kept.METRIC), kept.output_of(pooled)
    counts = []
    if knowledge is not None and not knowledge.curve.why_too_little:
        counts.append((kept.NAME, knowledge.order, knowledge.layers_in_first_order))
    if output is not None and (near := output.kl.least(TOLERANCE)) is not None:
        counts.append((NEAR, output.order, near))
    return {
        name: WithLayers(layers, answers.without_first(pooled.n_layers - layers))
        for name, order, layers in counts
        if answers.has_order and order == answers.order
    }


def headline_answers(accuracy: PooledAccuracy, pooled: Pooled) -> HeadlineAnswers | None:
    """The right answers beside a verdict's headline; None of a single question."""
    answers = accuracy.lead
    if answers.questions == 1:
        return None
    with_headline = with_counted_layers(answers, pooled).get(kept.NAME)
    fewest = answers.fewest
    return HeadlineAnswers(
        kind=answers.kind,
        right=answers.n_right,
        questions=answers.questions,
        interval=answers.interval,
        margin=answers.margin,
        layers=answers.layers,
        at_chance=answers.why_at_chance,
        has_order=answers.has_order,
        enough=None if fewest is None else fewest.questions,
        with_headline=None
        if with_headline is None
        else (with_headline.layers, with_headline.n_right),
    )
