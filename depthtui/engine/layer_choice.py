"""How many layers of an order, or parts of layers, may go: chosen on some texts, checked on others.

The choice is the largest number up to which all costs are within a limit on the choosing texts.
Held-out prompts choose neither the order nor the number: there the choice passes or fails, and
where it fails nothing is written. Both costs are reported. A limit that the held-out prompts
suggest has been chosen on them: its gate is no longer held out until other prompts are used, such
as those of another seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from depthtui.data.pieces import (
    NumberedParts,
    Piece,
    count_words,
    piece_mark,
    piece_words,
    pieces_words,
)
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import LEVEL, PairedAnswers
from depthtui.metrics.layer_order import order_words

Cost = TypeVar("Cost")
"""What is known of a model without some pieces: nats, or right answers."""

MODEL_ORDER = order_words("model", "greedy")

_SLACK = 1e-9
"""Tolerance by which 9 of 10 answers meet 0.9."""

_STEPS = (100, 1000)
"""Limits are suggested in hundredths or, if too coarse, in thousandths."""


@dataclass(frozen=True)
class Gate(Generic[Cost]):
    """The limit that a pruned model has to meet.

    Attributes:
        limit: the largest cost, as a number.
        chosen_on: the choosing texts, in words.
        held_out: the held-out prompts, in words.
    """

    limit: float
    chosen_on: str
    held_out: str

    def number(self, cost: Cost) -> float:
        """A cost as a number, which the limit bounds."""
        raise NotImplementedError

    def passes(self, cost: Cost) -> bool:
        """Whether a cost is within the limit; an unknown cost is not."""
        return self.number(cost) <= self.limit + _SLACK

    def describe(self, cost: Cost) -> str:
        """A cost in words, as a clause."""
        raise NotImplementedError

    def certainty(self, cost: Cost) -> str:
        """How certain a held-out cost is, as a clause; empty where no interval is known."""
        return ""

    def option(self, limit: float) -> str:
        """The command-line option with another limit."""
        raise NotImplementedError


class BudgetGate(Gate[float]):
    """The cost is the mean KL(p || p~) over prompts, p the whole model's output, in nats."""

    def number(self, cost: float) -> float:
        return cost

    def describe(self, cost: float) -> str:
        return f"the output is {cost:.2f} nats away"

    def option(self, limit: float) -> str:
        return f"--budget {limit:g}"


class AnswersGate(Gate[PairedAnswers]):
    """The cost is the share by which right answers are fewer than the whole model's.

    Gained answers make up for lost ones. The share of these questions decides; `certainty` adds
    what they show of the true one. There is a right answer of the whole model.
    """

    def number(self, cost: PairedAnswers) -> float:
        return 1 - (cost.both + cost.gained) / (cost.both + cost.lost)

    def describe(self, cost: PairedAnswers) -> str:
        return f"{1 - self.number(cost):.0%} as many answers are right, {cost.words()}"

    def certainty(self, cost: PairedAnswers) -> str:
        """The one-sided bound of the true change, and whether it excludes a loss beyond the limit.

        The bound is of fresh questions, asked once.
        """
        margin = self.limit * (cost.both + cost.lost) / cost.questions
        words = (
            f"with {LEVEL:.0%} the true change is above {100 * cost.least_change:.0f} points "
            f"(one-sided, on fresh questions); the gate allows {100 * margin:.0f} fewer: "
        )
        if cost.least_change > -margin:
            return words + "a larger loss is excluded"
        enough = cost.questions_for(margin)
        words += "a larger loss is not excluded"
        return words if enough is None else f"{words}, some {enough} such questions would"

    def option(self, limit: float) -> str:
        return f"--keep-answers {round(1 - limit, 6):g}"


@dataclass(frozen=True)
class LayerChoice(Generic[Cost]):
    """How many layers of an order, or parts of layers, go.

    Attributes:
        gate: the limit of the costs.
        order: the pieces, the first to go first.
        choosing: the cost without the first 0, 1, 2, … pieces on the choosing texts, as far as
            it is known.
        held_out: the cost on the held-out prompts, by number; some numbers may be missing.
        piece: the kind of pieces.
        n_layers: L; it counts where parts go.
        healed: the cost there without the chosen layers where the rest is healed, else None.
    """

    gate: Gate[Cost]
    order: Sequence[int]
    choosing: Sequence[Cost]
    held_out: dict[int, Cost]
    piece: Piece = "layer"
    n_layers: int = 0
    healed: Cost | None = None

    @property
    def count(self) -> int:
        """The largest number up to which all costs are within the limit on the choosing texts."""
        return within(self.gate, self.choosing)

    @property
    def left_out(self) -> list[int]:
        """The pieces that go, sorted by number."""
        return sorted(self.order[: self.count])

    @property
    def checked(self) -> Cost:
        """The cost of the chosen model on the held-out prompts, healed where it is."""
        return self.held_out[self.count] if self.healed is None else self.healed

    @property
    def smaller_count(self) -> int:
        """The largest smaller number that passes on the held-out prompts; 0 for none."""
        passing = (
            count
            for count, cost in self.held_out.items()
            if 0 < count < self.count and self.gate.passes(cost)
        )
        return max(passing, default=0)

    @property
    def higher_limit(self) -> float | None:
        """The lowest higher limit whose choice passes on the held-out prompts, if one is known."""
        most, costs = -math.inf, [self.gate.number(cost) for cost in self.choosing]
        for count, cost in enumerate(costs[:-1]):
            most, following = max(most, cost), max(most, cost, costs[count + 1])
            if count < max(1, self.count) or count not in self.held_out:
                continue
            least = max(self.gate.limit, most, self.gate.number(self.held_out[count]))
            for steps in _STEPS:
                limit = math.ceil(least * steps - _SLACK) / steps
                if limit + _SLACK < following:
                    return limit
        return None

    def check_some_go(self) -> None:
        """Check that some pieces go.

        Raises:
            DepthError: none may; it names what would pass.
        """
        gate = self.gate
        if not self.count:
            raise DepthError(
                f"Nothing was written: without {self._first} alone "
                f"{gate.describe(self.choosing[1])} on {gate.chosen_on}; {gate.option(gate.limit)} "
                "allows less.",
                self._alternatives(),
            )

    def check(self) -> None:
        """Check that some pieces go, and that the gate passes.

        Raises:
            DepthError: none may go, or the gate fails; it names what would pass.
        """
        self.check_some_go()
        gate, count = self.gate, self.count
        if not gate.passes(self.checked):
            raise DepthError(
                f"Nothing was written: without {pieces_words(self.left_out, self.piece)} "
                f"{self._checked_words} on {gate.held_out}, which chose nothing; "
                f"{gate.option(gate.limit)} allows less. On {gate.chosen_on}, which chose, "
                f"{gate.describe(self.choosing[count])}.",
                self._alternatives(),
            )

    @property
    def _checked_words(self) -> str:
        """The costs on the held-out prompts in words, as a clause: cut and, if it is, healed."""
        gate, count = self.gate, self.count
        cut = gate.describe(self.held_out[count])
        return cut if self.healed is None else f"{cut}, and healed {gate.describe(self.healed)}"

    @property
    def protocol(self) -> str:
        """How the pieces were chosen and checked, with both costs, in lines."""
        gate, count = self.gate, self.count
        stay = ""
        if self.piece == "part":
            stay = f"; {NumberedParts.of(self.left_out).others(self.n_layers).words} stay"
        lines = [
            _order_line(self.order[:count], self.piece) + stay,
            f"chosen: {gate.describe(self.choosing[count])} on {gate.chosen_on}",
            f"checked: {self._checked_words} on {gate.held_out}, which chose nothing; "
            f"the gate is {gate.option(gate.limit)}",
        ]
        if certainty := gate.certainty(self.checked):
            lines.append(f"certain: {certainty}")
        return "\n".join(lines)

    def _alternatives(self) -> str:
        gate, limit, smaller = self.gate, self.higher_limit, self.smaller_count
        words = []
        if limit is not None:
            larger = within(replace(gate, limit=limit), self.choosing)
            pieces = count_words(larger, self.piece)
            words.append(f"{gate.option(limit)} would pass, with {pieces} left out.")
        if smaller:
            named = ",".join(
                piece_mark(number, self.piece) for number in sorted(self.order[:smaller])
            )
            words.append(
                f"Without {count_words(smaller, self.piece)} "
                f"{gate.describe(self.held_out[smaller])}: --drop {named} leaves these out."
            )
        if words:
            words.append("Check it on other prompts, such as those of another --seed.")
        elif 1 in self.held_out:
            words.append(
                f"Without {self._first} alone {gate.describe(self.held_out[1])} on {gate.held_out}."
            )
        return " ".join(words)

    @property
    def _first(self) -> str:
        """The piece that goes first, in words."""
        article = "the " if self.piece == "part" else ""
        return article + piece_words(self.order[0], self.piece)


@dataclass(frozen=True)
class LeastCostly:
    """The first pieces of an order, of a number that was given.

    Attributes:
        count: the number of pieces that go.
        order: these pieces and some more, the first to go first.
        costs: the cost without the first 1, 2, … pieces on the order's texts, as in `BudgetGate`.
        held_out: the same on the held-out prompts; empty where there are none.
        piece: the kind of pieces.
    """

    count: int
    order: Sequence[int]
    costs: Sequence[float]
    held_out: Sequence[float]
    piece: Piece = "layer"

    @property
    def left_out(self) -> list[int]:
        """The pieces that go, sorted by number."""
        return sorted(self.order[: self.count])

    @property
    def protocol(self) -> str:
        """How the pieces were chosen, in a line."""
        return _order_line(self.order[: self.count], self.piece)


def _order_line(order: Sequence[int], piece: Piece) -> str:
    """The pieces that go by the model's order, in a line."""
    marks = ", ".join(piece_mark(number, piece) for number in order)
    return f"left out: {pieces_words(sorted(order), piece)}, by {MODEL_ORDER}: {marks}"


def within(gate: Gate[Cost], costs: Sequence[Cost]) -> int:
    """The largest number of pieces up to which all costs are within the limit.

    Args:
        gate: the limit.
        costs: the costs without 0, 1, 2, … pieces.
    """
    count = 0
    while count + 1 < len(costs) and gate.passes(costs[count + 1]):
        count += 1
    return count
