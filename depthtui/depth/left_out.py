"""What is left of a model as layers, or their parts, leave one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from depthtui.data.lazy import lazy_value
from depthtui.data.pieces import NumberedParts, Piece
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import listed, noun_for
from depthtui.errors import DepthError
from depthtui.metrics import accuracy, kept, parts, perplexity, speed
from depthtui.metrics.column import LeftOutColumn
from depthtui.metrics.kept.curve import SHARE
from depthtui.metrics.kept.output import PooledOutput
from depthtui.metrics.kept.pool import PooledKept
from depthtui.metrics.layer_order import staying_layers
from depthtui.metrics.pooling import Pooled

KNOWLEDGE, LOSS, KL, CHOICES = "knowledge", "loss", "kl", "choices"
CHOSEN, WRITTEN, TIME, PERPLEXITY = "chosen", "written", "time", "text_perplexity"
"""The names of the columns."""


@dataclass(frozen=True)
class LeftOut:
    """What is left of a model by how many pieces of an order have left.

    Attributes:
        piece: the kind of the pieces.
        n_layers: L.
        kind: where the order comes from: `model`, or `own` for the prompts themselves.
        search: how it was found: `lazy`, `ranked` or `greedy`.
        order: all pieces, the first to leave first.
        columns: by name, what is known without the first 0, 1, 2, … of them: `knowledge`, the
            share of what the model knows; `loss`, the nats a token above the whole model's; `kl`,
            the nats to its output; `choices`, the share of its first choices; `chosen` and
            `written`, the share of right answers; `time`, the share of a token's time;
            `text_perplexity`, the perplexity of all tokens but the first of each prompt.
        knowledge: what is kept, with the order's controls; None where it is not known.
        output: how near the output stays; None where it is not known.
    """

    piece: Piece
    n_layers: int
    kind: str
    search: str
    order: tuple[int, ...]
    columns: Mapping[str, LeftOutColumn]
    knowledge: PooledKept | None = None
    output: PooledOutput | None = None

    @classmethod
    def of(cls, pooled: Pooled) -> LeftOut | None:
        """What is left without layers; None where nothing is known along an order."""
        knowledge, output = pooled.get(kept.METRIC), kept.output_of(pooled)
        columns = _columns(knowledge, output)
        answers, times = pooled.get(accuracy.METRIC), pooled.get(speed.METRIC)
        corpus = pooled.get(perplexity.METRIC)
        source = knowledge or output
        if source is not None:
            kind, search, order = source.kind, source.search, source.order
        elif corpus is not None or (answers is not None and answers.lead.has_order):
            settings = pooled.prompts[0].settings
            kind, search = settings.order_source, settings.order_search
            order = answers.lead.order if corpus is None else corpus.order
        else:
            return None
        for each in () if answers is None else answers.kinds:
            if each.has_order and each.order == order:
                columns[each.kind] = each.column
        if times is not None and times.mean.order == order:
            columns[TIME] = times.column
        if corpus is not None and corpus.order == order:
            columns[PERPLEXITY] = corpus.along
        return cls("layer", pooled.n_layers, kind, search, order, columns, knowledge, output)

    @classmethod
    def of_parts(cls, pooled: Pooled) -> LeftOut | None:
        """What is left without parts of layers; None where nothing is known along an order."""
        kept_parts, output = pooled.get(parts.METRIC), parts.output_of(pooled)
        knowledge = None if kept_parts is None else kept_parts.knowledge
        source = knowledge or output
        if source is None:
            return None
        columns = _columns(knowledge, output)
        order = source.kind, source.search, source.order
        return cls("part", pooled.n_layers, *order, columns, knowledge, output)

    @property
    def n_pieces(self) -> int:
        """The number of pieces."""
        return len(self.order)

    @property
    def scored(self) -> str:
        """The tokens of which the knowledge is, in words."""
        curve = None if self.knowledge is None else self.knowledge.curve
        return "the text" if curve is None or curve.scored == "text" else f"the {curve.words}"

    def least(self, column: str, limit: float) -> int | None:
        """The fewest pieces that keep a limit of a column; None where that is not known."""
        return self.columns[column].least(limit) if column in self.columns else None

    def leaving(self, stay: int) -> tuple[int, ...]:
        """The pieces that leave where `stay` of them stay, by number."""
        return tuple(sorted(self.order[: self.n_pieces - stay]))

    def staying(self, stay: int) -> tuple[int, ...]:
        """The `stay` pieces that stay, by number."""
        return staying_layers(self.order, self.n_pieces, stay)

    @lazy_value
    def stays(self) -> list[int]:
        """The numbers of pieces that stay, from all of them down, of which a value is known."""
        counts = range(self.n_pieces + 1)
        return [
            self.n_pieces - count
            for count in counts
            if any(column.is_known(count) for column in self.columns.values())
        ]

    def pieces_words(self, stay: int) -> str:
        """The pieces that leave, such as `layers 14 and 16-19`."""
        pieces = self.leaving(stay)
        if self.piece == "part":
            return NumberedParts.of(pieces).numbers
        return f"{noun_for(len(pieces), 'layer')} {listed(numbers_text(pieces).split(', '))}"

    def sentence(self, stay: int) -> str:
        """What is left with `stay` pieces, in a sentence.

        Raises:
            DepthError: there are not so many pieces.
        """
        if not 0 <= stay <= self.n_pieces:
            raise DepthError(f"{stay} of {self.n_pieces} {self.piece}s cannot stay.")
        words = "; ".join(self._clauses(self.n_pieces - stay))
        if stay == self.n_pieces:
            return f"With all {self.n_pieces} {self.piece}s: {words}."
        kept_words = f"{stay} of {self.n_pieces} kept"
        return f"Without {self.pieces_words(stay)} ({kept_words}): {words}."

    def _clauses(self, left_out: int) -> Iterator[str]:
        """What is known without the first pieces, in clauses."""
        values = {
            name: column.values[left_out]
            for name, column in self.columns.items()
            if column.is_known(left_out)
        }
        if KNOWLEDGE in values and self.least(KNOWLEDGE, SHARE) is not None:
            yield f"{values[KNOWLEDGE]:.0%} of what it knows of {self.scored} stays"
        if LOSS in values:
            yield f"loss there {values[LOSS]:+z.2f} nats, perplexity x {math.exp(values[LOSS]):.1f}"
        if PERPLEXITY in values:
            yield f"perplexity {self.columns[PERPLEXITY].text(left_out)}"
        elif KL in values and LOSS not in values:
            yield f"KL {values[KL]:z.2f} nats"
        if CHOICES in values:
            yield f"{self._of(CHOICES, left_out)} first choices stay"
        for name, verb in ((CHOSEN, "chosen"), (WRITTEN, "written")):
            if name in values:
                both = f" when {verb}" if CHOSEN in values and WRITTEN in values else ""
                yield f"{self._of(name, left_out)} answers right{both}"
        if TIME in values:
            yield f"a token takes {self.columns[TIME].text(left_out)} of its time"

    def _of(self, name: str, left_out: int) -> str:
        """A share of a column as a count, such as `7 of 10`."""
        return self.columns[name].text(left_out).replace("/", " of ")


def _columns(knowledge: PooledKept | None, output: PooledOutput | None) -> dict[str, LeftOutColumn]:
    """The columns of what is kept, and of how near the output stays."""
    columns: dict[str, LeftOutColumn] = {}
    if knowledge is not None:
        curve = knowledge.curve
        columns |= {KNOWLEDGE: curve.column, LOSS: curve.cost_column}
        if curve.why_too_little:
            columns[KNOWLEDGE] = replace(curve.column, find_least=lambda limit: None)
    if output is not None:
        columns |= {KL: output.kl, CHOICES: output.choices}
    return columns
