"""How many of its layers a model uses: evidence, and the words made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from depthtui.data.sentence import Sentence

EvidenceKind: TypeAlias = Literal["readable", "geometric", "causal"]
"""What a count is drawn from: what a lens reads, how the residual stream moves, or what changes
where layers are intervened on."""

KINDS: tuple[EvidenceKind, ...] = get_args(EvidenceKind)
"""The kinds of evidence, in the order of a verdict."""


@dataclass(frozen=True)
class EvidenceCurve:
    """What a count is read off.

    Attributes:
        values: of a depth those at 1 … L layers, of layers that may lie anywhere one a layer; NaN
            where there is none.
        threshold: what they are compared with.
        words: the same for people, such as `>= 0.05 nats`.
    """

    values: tuple[float, ...]
    threshold: float
    words: str


@dataclass(frozen=True)
class Evidence:
    """How many of its L layers a model uses, by one measure.

    Attributes:
        kind: `readable`, `geometric` or `causal`.
        measure: the rule or metric, such as `kl` or `context_depth`.
        title: a short title, such as `context depth`.
        count: of layers, or a depth, 0 … L; None where the measure finds none, or is not known.
        low, high: the smallest and largest count of the sensitivity analysis; None with `count`.
        firm: whether `low` and `high` are at most a tenth of L apart, the interval over prompts
            among what they are made of: it holds of other prompts too.
        reason: why it is not firm, or why there is no count; one clause, empty where it is firm.
        after_layer: the length of `reason` up to the first layer's number, that included; 0 where
            `reason` has none.
        layers: where the count is of layers that may lie anywhere, which ones; None where it is
            of all layers up to one.
        says: what it is a count of, such as `until the context needs no more layers`.
        curve: what the count is read off; None where a rule's own curve is that.
        prompts: on how many of how many prompts it rests, where that is not all of them: then it
            is not firm.
        interval: from where to where the count moves with other prompts, below five with other
            blocks of their tokens, in 95 % (see `depth.units`); part of `low` and `high`. None
            where it is not known.
        holds_here: whether `low` and `high` are at most a tenth of L apart, and it is not firm:
            nothing follows for other prompts.
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
    says: str = ""
    curve: EvidenceCurve | None = None
    prompts: tuple[int, int] | None = None
    after_layer: int = 0
    interval: tuple[float, float] | None = None
    holds_here: bool = False

    @property
    def is_fragile(self) -> bool:
        """Whether there is a count that does not even hold here."""
        return self.count is not None and not (self.firm or self.holds_here)

    @property
    def holds(self) -> str:
        """How the count holds, in a word or two; a dash without a count."""
        if self.count is None:
            return "–"
        return "firm" if self.firm else "holds here" if self.holds_here else "fragile"

    @property
    def counts(self) -> Literal["layers", "depth"]:
        """Whether the count is of layers that may lie anywhere, or a depth: all up to one."""
        return "depth" if self.layers is None else "layers"


@dataclass(frozen=True)
class Headline:
    """How many layers give the model's own output, by an intervention that left the others out.

    Attributes:
        measure: the metric.
        count: the layers that must run for an output within a nat of the whole model's.
        low, high: the interval of the count over other prompts or tokens; None where unknown.
        choices: the share of first choices that stay with the whole number of layers above it.
        strict: the layers that keep nine in ten first choices.
        order: where the order comes from in which layers went: `model`, or `own` for the prompts.
    """

    measure: str
    count: float
    low: float | None
    high: float | None
    choices: float
    strict: float
    order: str = "model"


@dataclass(frozen=True)
class Verdict:
    """How many of its layers a model uses, and how that is known.

    Attributes:
        words: made of the evidence by plain rules; the headline is how many layers suffice.
        evidence: each measure's count.
        n_layers: L.
        missing: names of the metrics that would tell more, and have not been computed.
        headline: the layers that suffice; None where they were not measured.
        warnings: sentences that a reader has to know before the words; where one of them allows
            no verdict, it is the words too, and there is no evidence.
    """

    words: Sentence
    evidence: tuple[Evidence, ...]
    n_layers: int
    missing: tuple[str, ...] = ()
    headline: Headline | None = None
    warnings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The words in one text."""
        return str(self.words)

    @property
    def cautions(self) -> tuple[str, ...]:
        """The warnings that stand before the words; none that the words repeat."""
        return tuple(warning for warning in self.warnings if warning != self.sentence)

    @property
    def text(self) -> str:
        """The warnings, then the words: what is shown wherever a verdict is one text."""
        return " ".join((*self.cautions, self.sentence))
