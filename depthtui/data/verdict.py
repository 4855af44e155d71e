"""The number of layers that a model uses: evidence, and its verdict in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from depthtui.data.sentence import Sentence, noun_for

EvidenceKind: TypeAlias = Literal["causal", "readable", "geometric"]
"""The source of a count: the effect of interventions on layers, the readings of a lens, or the
movement of the residual stream."""

KINDS: tuple[EvidenceKind, ...] = get_args(EvidenceKind)
"""The kinds of evidence, in the order of a verdict."""

AnswerKind: TypeAlias = Literal["chosen", "written"]
"""How a model answers: it chooses the likeliest option, or writes a text."""

RELIABILITIES = ("firm", "holds here", "…", "fragile", "–")
"""How reliable counts are, the surest first; dots while it is computed, a dash without a count."""


@dataclass(frozen=True)
class EvidenceCurve:
    """The curve that a count is read from.

    Attributes:
        values: for a depth, the values at 1 … L layers; for layers that may lie anywhere, a value
            per layer; NaN where there is none.
        threshold: threshold for the values.
        words: the comparison with the threshold for people, such as `>= 0.05 nats`.
    """

    values: tuple[float, ...]
    threshold: float
    words: str


@dataclass(frozen=True)
class Evidence:
    """The number of its L layers that a model uses, by one measure.

    Attributes:
        kind: `readable`, `geometric` or `causal`.
        measure: the rule or metric, such as `kl` or `context_depth`.
        title: a short title, such as `context depth`.
        count: number of layers, or a depth, 0 … L; None where the measure finds none, or is
            unknown.
        low, high: the smallest and largest count of the sensitivity analysis; None with `count`.
        firm: whether `low` and `high`, which include the interval over prompts, are at most a
            tenth of the layers that are not idle apart: the count is valid for other prompts too.
        reason: why the count is not firm, or missing; one clause, empty where it is firm.
        layers: the counted layers, where they may lie anywhere; None where the count is of all
            layers up to one.
        meaning: meaning of the count, such as `until the context needs no more layers`.
        curve: the curve that the count is read from; None where it is a rule's own curve.
        prompts: number of prompts with a count, and of all prompts, where they differ: the count
            is then not firm.
        interval: 95 % interval of the count over other prompts, with fewer than five prompts over
            other blocks of their tokens (see `depth.units`); part of `low` and `high`. None where
            unknown.
        holds_here: whether `low` and `high` are as close to each other, though the count is
            not firm: nothing follows for other prompts.
        is_pending: whether the interval is still to be computed: the count is known, its range is
            not.
    """

    kind: EvidenceKind
    measure: str
    title: str
    count: int | None
    low: int | None = None
    high: int | None = None
    firm: bool = True
    reason: str = ""
    layers: tuple[int, ...] | None = None
    meaning: str = ""
    curve: EvidenceCurve | None = None
    prompts: tuple[int, int] | None = None
    interval: tuple[float, float] | None = None
    holds_here: bool = False
    is_pending: bool = False

    @property
    def is_fragile(self) -> bool:
        """Whether there is a count that is neither firm nor holds here."""
        holds = self.firm or self.holds_here or self.is_pending
        return self.count is not None and not holds

    @property
    def reliability(self) -> str:
        """Reliability of the count, in a word or two; a dash without a count, dots if pending."""
        if self.count is None:
            return "–"
        if self.is_pending:
            return "…"
        return "firm" if self.firm else "holds here" if self.holds_here else "fragile"

    @property
    def counts(self) -> Literal["layers", "depth"]:
        """Whether the count is of layers that may lie anywhere, or a depth: all up to one."""
        return "depth" if self.layers is None else "layers"


OrderName: TypeAlias = Literal["model", "own", "own lazy"]
"""An order in which layers leave: the model's; the prompts' own, ranked or by a lazy queue."""


@dataclass(frozen=True)
class Headline:
    """The fewest layers that are known to keep a share of what a model knows, without the others.

    Attributes:
        measure: the metric.
        count: the layers that keep the share; None where too little is known, like the next eight.
        low, high: the range of the count over other prompts or tokens, and over the guesses of
            both halves of the model's texts; None where unknown.
        half: the layers that keep half.
        half_range: their range; None where unknown.
        mean_depth: the layers that a nat of it takes on average.
        depth_range: its range; None where unknown.
        nats: the loss with `count` layers above the whole model's, in nats a token; None where
            these are all.
        better_without: with how many layers the loss is less than the whole model's, and by how
            many nats a token; None where it is hardly less with any number.
        order: the order of leaving out layers that takes the fewest.
        by_blocks: whether a prompt's own order is of the other blocks of its tokens, and not of
            other prompts.
        gain: what the model knows of a token, in nats: the loss that context saves.
        gain_range: its range; None where unknown.
        limit: the share, or the nats within which the loss stays, in words: `nine tenths`.
        is_share: whether it is a share.
        scored: the tokens: those of the `answer`, or all of the `text`.
        guess: the guess: of the `text`, without context, or of the `task`.
        too_little: why the model knows too little for a count; empty where it does not.
        sisters: the count in each other order that was read.
        random: the counts in orders that are drawn.
        is_no_better_than_random: whether one of these takes at most half a layer more.
        choices: the scored tokens whose most probable next token stays the same with so many
            layers, and all of them; None where unknown, or where these are all layers.
    """

    measure: str
    count: int | None
    low: int | None
    high: int | None
    half: int | None
    mean_depth: float | None
    gain: float
    scored: Literal["answer", "text"] = "text"
    guess: Literal["text", "task"] = "text"
    too_little: str = ""
    half_range: tuple[int, int] | None = None
    depth_range: tuple[float, float] | None = None
    gain_range: tuple[float, float] | None = None
    nats: float | None = None
    better_without: tuple[int, float] | None = None
    limit: str = "nine tenths"
    is_share: bool = True
    order: OrderName = "model"
    by_blocks: bool = False
    sisters: tuple[tuple[OrderName, int], ...] = ()
    random: tuple[int, ...] = ()
    is_no_better_than_random: bool = False
    choices: tuple[int, int] | None = None

    def with_ranges_of(self, former: Headline) -> Headline:
        """The headline with the ranges of a former one, where its count is the same."""
        if former.count != self.count:
            return self
        ranges = ("low", "high", "half_range", "depth_range", "gain_range")
        return replace(self, **{name: getattr(former, name) for name in ranges})


@dataclass(frozen=True, kw_only=True)
class HeadlineAnswers:
    """Right answers to several questions, and how many layers they need.

    Attributes:
        kind: `chosen` or `written`.
        right: right answers of the whole model.
        questions: the number of questions.
        interval: Wilson's 95 % interval of the share of right answers.
        margin: the share by which right answers may be fewer.
        layers: N(answers), the fewest layers that keep the answers within the margin; None where
            unknown.
        at_chance: why the whole model is at chance, in a clause; empty where it is above.
        has_order: whether the answers are known with layers left out.
        enough: about how many questions would tell of one layer fewer; None where unknown.
        with_headline: the layers that keep nine tenths, and right answers with these alone; None
            where unknown.
    """

    kind: AnswerKind
    right: int
    questions: int
    interval: tuple[float, float]
    margin: float
    layers: int | None
    at_chance: str = ""
    has_order: bool = True
    enough: int | None = None
    with_headline: tuple[int, int] | None = None


def margin_words(margin: float) -> str:
    """A margin of a share, such as `5 points`."""
    points = 100 * margin
    return f"{points:g} {noun_for(points, 'point')}"


@dataclass(frozen=True)
class Verdict:
    """The number of layers that a model uses, and the evidence for it.

    Attributes:
        words: the verdict in words, made from the evidence by fixed rules; its headline is the
            layers that keep nine tenths of what the model knows.
        evidence: each measure's count.
        n_layers: L.
        missing_metrics: names of further useful metrics that have not been computed.
        headline: the layers that keep what the model knows; None where they were not measured.
        warnings: sentences to read before the words; where a warning rules out a verdict, the
            words repeat it, and there is no evidence.
        prompts: number of prompts that were read; 0 where unknown.
        answers: right answers to several questions; None where they were not measured.
    """

    words: Sentence
    evidence: tuple[Evidence, ...]
    n_layers: int
    missing_metrics: tuple[str, ...] = ()
    headline: Headline | None = None
    warnings: tuple[str, ...] = ()
    prompts: int = 0
    answers: HeadlineAnswers | None = None

    @property
    def is_pending(self) -> bool:
        """Whether the interval of a count is still to be computed."""
        return any(measure.is_pending for measure in self.evidence)

    @property
    def sentence(self) -> str:
        """The words in one text."""
        return str(self.words)

    @property
    def cautions(self) -> tuple[str, ...]:
        """The warnings to show before the words, without those that the words repeat."""
        return tuple(warning for warning in self.warnings if warning != self.sentence)

    @property
    def text(self) -> str:
        """The warnings, then the words: the verdict as one text."""
        return " ".join((*self.cautions, self.sentence))
