"""How many pieces of an order go: named, given, or by a gate, a column of their costs and a limit.

A gate chooses the largest number up to which every value is within the limit on the choosing texts.
Held-out prompts choose neither the order nor the number: there the choice passes or fails, and
where it fails nothing is written. A limit that the held-out prompts suggest has been chosen on
them: its gate is no longer held out until other prompts are used, such as those of another seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.pieces import (
    PER_LAYER,
    Piece,
    piece_mark,
    piece_words,
    pieces_words,
)
from depthtui.data.run_settings import RunSettings
from depthtui.data.sentence import plural
from depthtui.depth.left_out import CHOICES, KL, KNOWLEDGE, LOSS
from depthtui.engine import surgery
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.held_out_prompts import WholeOutput, check_not_at_chance
from depthtui.engine.left_out_costs import ANSWERS, SHARES, LeftOutCosts
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import LEVEL, is_above_chance
from depthtui.metrics.layer_order import order_words

MODEL_ORDER = order_words("model", "greedy")

_SLACK = 1e-9
"""Tolerance by which 9 of 10 answers meet 0.9."""

_STEPS = (100, 1000)
"""Limits are suggested in hundredths or, if too coarse, in thousandths."""

_FEWEST = 4
"""Pieces of an order in the first search; later ones search for twice as many, since each continued
search reads its texts again."""

BEYOND = 3
"""Pieces beyond the number that goes, and before it, whose costs are shown too."""


_WORDS: Mapping[str, tuple[str, str]] = {
    KNOWLEDGE: ("{:.0%} of what the model knows is kept", "share"),
    LOSS: ("the loss is {:.2f} nats higher", "change"),
    KL: ("the output is {:.2f} nats away", "KL"),
    CHOICES: ("{:.0%} of first choices stay", "share"),
    ANSWERS: ("{:.0%} as many answers are right", "change"),
}
"""By column, a value as a clause, and the word for a true value."""


@dataclass(frozen=True)
class Gate:
    """The limit that a pruned model has to meet.

    Attributes:
        column: the name of a column of `LeftOutCosts`.
        limit: the least share, or the most nats.
    """

    column: str
    limit: float

    @property
    def option(self) -> str:
        """The command-line option."""
        return f"--keep {self.column}={round(self.limit, 6):g}"

    def costs(self, costs: LeftOutCosts) -> np.ndarray:
        """The values that are to be at most `most_cost`, `[n + 1]`: shares with a minus."""
        values = costs.columns[self.column].values
        return -values if self.is_share else values

    @property
    def is_share(self) -> bool:
        """Whether the limit is the least share; else it is the most nats."""
        return self.column in SHARES

    @property
    def most_cost(self) -> float:
        """The limit of `costs`."""
        return -self.limit if self.is_share else self.limit

    def passes(self, costs: LeftOutCosts, count: int) -> bool:
        """Whether a number of pieces may go; an unknown value is not within the limit."""
        return bool(self.costs(costs)[count] <= self.most_cost + _SLACK)

    def within(self, costs: LeftOutCosts) -> int:
        """The largest number of pieces up to which all values are within the limit."""
        count = 0
        while count < costs.most_left_out and self.passes(costs, count + 1):
            count += 1
        return count

    def describe(self, costs: LeftOutCosts, count: int) -> str:
        """The value without so many pieces in words, as a clause."""
        clause, _ = _WORDS[self.column]
        words = clause.format(costs.columns[self.column].values[count])
        pair = costs.answers(count) if self.column == ANSWERS else None
        return words if pair is None else f"{words}, {pair.words()}"

    def certainty(self, costs: LeftOutCosts, count: int) -> str:
        """What the prompts show of others like them, as a clause; empty where they are too few.

        For answers a one-sided bound, of fresh questions asked once; else an interval over prompts.
        """
        if self.column == ANSWERS:
            return self._certainty_of_answers(costs, count)
        interval = costs.columns[self.column].interval
        if interval is None:
            return ""
        low, high = interval[:, count]
        shows = low >= self.limit if self.is_share else high <= self.limit
        form, nats = (".0%", "") if self.is_share else (".2f", " nats")
        _, true = _WORDS[self.column]
        return (
            f"with {LEVEL:.0%} the true {true} is {low:{form}} to {high:{form}}{nats} "
            f"(bootstrap over {len(costs)} prompts): beyond the limit is "
            f"{'' if shows else 'not '}excluded"
        )

    def _certainty_of_answers(self, costs: LeftOutCosts, count: int) -> str:
        pair = costs.answers(count)
        assert pair is not None
        margin = (1 - self.limit) * (pair.both + pair.lost) / pair.questions
        words = (
            f"with {LEVEL:.0%} the true change is above {100 * pair.least_change:.0f} points "
            f"(one-sided, on fresh questions); the gate allows {100 * margin:.0f} fewer: "
        )
        if pair.least_change > -margin:
            return words + "a larger loss is excluded"
        enough = pair.questions_for(margin)
        words += "a larger loss is not excluded"
        return words if enough is None else f"{words}, some {enough} such questions would"


@dataclass(frozen=True)
class LayerChoice:
    """The pieces that go, and what that costs on the held-out prompts.

    Attributes:
        order: the pieces, the first to go first; those behind `count` would go next.
        count: how many go.
        n_layers: the model's layers, L.
        piece: the kind of pieces.
        held_out: the costs on the held-out prompts; None where no output can be compared.
        option: the option that chose.
        in_order: whether the order is the model's; else the pieces are named.
        gate: the limit; None where the pieces or their number are given.
        choosing: the costs on the choosing texts; None without a gate.
        chosen_on, checked_on: the choosing texts and the held-out prompts in words.
        healed: the costs there without these pieces where the rest is healed.
    """

    order: Sequence[int]
    count: int
    n_layers: int
    piece: Piece
    held_out: LeftOutCosts | None
    option: str
    in_order: bool = True
    gate: Gate | None = None
    choosing: LeftOutCosts | None = None
    chosen_on: str = ""
    checked_on: str = ""
    healed: LeftOutCosts | None = None

    @property
    def left_out(self) -> list[int]:
        """The pieces that go, sorted by number."""
        return sorted(self.order[: self.count])

    @property
    def n_pieces(self) -> int:
        """The number of the model's pieces."""
        return PER_LAYER[self.piece] * self.n_layers

    @property
    def checked(self) -> LeftOutCosts | None:
        """The whole model and the one without these pieces, healed where it is."""
        if self.healed is not None or self.held_out is None:
            return self.healed
        return self.held_out.at(self.count)

    @property
    def smaller_count(self) -> int:
        """The largest smaller number that passes on the held-out prompts; 0 for none."""
        gate, held_out = self.gate, self.held_out
        if gate is None or held_out is None:
            return 0
        passing = (count for count in range(1, self.count) if gate.passes(held_out, count))
        return max(passing, default=0)

    @property
    def passing_gate(self) -> Gate | None:
        """The gate with the nearest limit whose choice passes on the held-out prompts, if any."""
        if self.gate is None or self.choosing is None or self.held_out is None:
            return None
        costs, checked = self.gate.costs(self.choosing), self.gate.costs(self.held_out)
        for count in range(max(1, self.count), min(len(costs) - 1, len(checked))):
            most, following = max(costs[: count + 1]), max(costs[: count + 2])
            least = max(self.gate.most_cost, most, checked[count])
            # An answer may not have been asked for without so many.
            for steps in _STEPS if np.isfinite(checked[count]) else ():
                limit = math.ceil(least * steps - _SLACK) / steps
                if limit and limit + _SLACK < following:
                    return replace(self.gate, limit=abs(limit))
        return None

    def check_some_go(self) -> None:
        """Check that some pieces go.

        Raises:
            DepthError: none may; it names what would pass.
        """
        if self.count:
            return
        assert self.gate is not None
        assert self.choosing is not None
        raise DepthError(
            f"Nothing was written: without {self._first} alone "
            f"{self.gate.describe(self.choosing, 1)} on {self.chosen_on}: {self.gate.option} "
            "fails.",
            self._alternatives,
        )

    def check(self) -> None:
        """Check that some pieces go, and that the gate passes.

        Raises:
            DepthError: none may go, or the gate fails; it names what would pass.
        """
        self.check_some_go()
        gate, checked = self.gate, self.checked
        if gate is None or self.choosing is None or checked is None or gate.passes(checked, 1):
            return
        raise DepthError(
            f"Nothing was written: without {pieces_words(self.left_out, self.piece)} "
            f"{self._checked_words} on {self.checked_on}, which chose nothing: {gate.option} "
            f"fails. On {self.chosen_on}, which chose, "
            f"{gate.describe(self.choosing, self.count)}.",
            self._alternatives,
        )

    def kept_words(self, count: int | None = None) -> str:
        """How many pieces are kept without `count`, such as `25 of 30 layers kept`."""
        n_left_out = self.count if count is None else count
        return f"{self.n_pieces - n_left_out} of {self.n_pieces} {self.piece}s kept"

    @property
    def protocol(self) -> str:
        """How the pieces were chosen and checked, with both costs, in lines."""
        words = f"left out: {pieces_words(self.left_out, self.piece)}"
        if self.in_order:
            marks = ", ".join(piece_mark(number, self.piece) for number in self.order[: self.count])
            words += f", by {MODEL_ORDER}: {marks}"
        lines = [f"{words}; {self.kept_words()}"]
        gate, choosing, checked = self.gate, self.choosing, self.checked
        if gate is not None and choosing is not None and checked is not None:
            lines += [
                f"chosen: {gate.describe(choosing, self.count)} on {self.chosen_on}",
                f"checked: {self._checked_words} on {self.checked_on}, which chose nothing; "
                f"the gate is {gate.option}",
            ]
            if certainty := gate.certainty(checked, 1):
                lines.append(f"certain: {certainty}")
        return "\n".join(lines)

    @property
    def _checked_words(self) -> str:
        """The costs on the held-out prompts in words, as a clause: cut and, if it is, healed."""
        assert self.gate is not None
        assert self.held_out is not None
        cut = self.gate.describe(self.held_out, self.count)
        if self.healed is None:
            return cut
        return f"{cut}, and healed {self.gate.describe(self.healed, 1)}"

    @property
    def _alternatives(self) -> str:
        """What would pass, in sentences."""
        gate, smaller, passing = self.gate, self.smaller_count, self.passing_gate
        assert gate is not None
        assert self.choosing is not None
        assert self.held_out is not None
        words = []
        if passing is not None:
            kept = self.kept_words(passing.within(self.choosing))
            words.append(f"{passing.option} would pass, with {kept}.")
        if smaller:
            words.append(
                f"With {self.kept_words(smaller)} {gate.describe(self.held_out, smaller)}: "
                f"--least {smaller}."
            )
        if words:
            words.append("Check it on other prompts, such as those of another --seed.")
        elif np.isfinite(gate.costs(self.held_out)[1]):
            words.append(
                f"Without {self._first} alone {gate.describe(self.held_out, 1)} on "
                f"{self.checked_on}."
            )
        return " ".join(words)

    @property
    def _first(self) -> str:
        """The piece that goes first, in words."""
        return ("the " if self.piece == "part" else "") + piece_words(self.order[0], self.piece)


def named(
    engine: Engine,
    pieces: Sequence[int],
    held_out: Sequence[WholeOutput],
    control: Control,
    piece: Piece = "layer",
) -> LayerChoice:
    """The pieces that are named, and what they cost one after the other.

    Args:
        engine: the engine with the model.
        pieces: the pieces.
        held_out: the held-out prompts, run on the whole model; none where there is no output.
        control: stops the work.
        piece: the kind of pieces.

    Raises:
        DepthError: a prompt cannot be run.
        RunStopped: `control` stopped it.
    """
    count, n_layers = len(pieces), engine.freed_model().info.n_layers
    costs = _held_out_costs(engine, pieces, count, held_out, control, piece) if held_out else None
    return LayerChoice(pieces, count, n_layers, piece, costs, "--drop", in_order=False)


def least_costly(
    engine: Engine,
    count: int,
    held_out: Sequence[WholeOutput],
    settings: RunSettings,
    control: Control,
    piece: Piece = "layer",
) -> LayerChoice:
    """The pieces that go first in the model's order, and what they and a few more cost.

    Args:
        engine: the engine with the model.
        count: how many pieces go.
        held_out: the held-out prompts, run on the whole model.
        settings: the order's settings.
        control: stops the work.
        piece: the kind of pieces.

    Raises:
        DepthError: there is no order or it is shorter, a prompt cannot be run, or the whole model
            is at chance on the held-out prompts.
        RunStopped: `control` stopped it.
    """
    n_layers = _layers_of(engine, piece)
    check_count(count, PER_LAYER[piece] * n_layers, piece)
    check_not_at_chance(engine.freed_model(), held_out)
    order = _first_pieces(engine, count + BEYOND, settings, control, piece)
    if len(order) < count:
        raise DepthError(
            f"The order has {plural(len(order), piece)}: without more the output is too far "
            "away for an order.",
            f"--least {len(order)} leaves the most out; --drop names {piece}s.",
        )
    costs = _held_out_costs(engine, order, count, held_out, control, piece)
    return LayerChoice(order, count, n_layers, piece, costs, f"--least {count}")


def keeping(
    engine: Engine,
    gate: Gate,
    choosing: Sequence[WholeOutput],
    held_out: Sequence[WholeOutput],
    settings: RunSettings,
    control: Control,
    piece: Piece = "layer",
) -> LayerChoice:
    """As many pieces of the model's order as a gate lets go on the choosing texts.

    Args:
        engine: the engine with the model.
        gate: the limit.
        choosing: the choosing texts, run on the whole model; for answers, prompts that have some.
        held_out: the held-out prompts, run on the whole model.
        settings: the order's settings.
        control: stops the work.
        piece: the kind of pieces.

    Raises:
        DepthError: there is no order, or the whole model knows nothing, or has no right answer, of
            which a share could be kept.
        RunStopped: `control` stopped it.
    """
    n_layers, of_answers = _layers_of(engine, piece), gate.column == ANSWERS
    chosen_on = f"{len(choosing)} texts that the model writes itself"
    checked_on = _held_out_words(len(held_out))
    if of_answers:
        _check_right(choosing, held_out)
        chosen_on = f"{len(choosing)} other prompts, {_right_words(choosing)}"
        checked_on += f", {_right_words(held_out)}"
    else:
        check_not_at_chance(engine.freed_model(), held_out)
    n_searched = _FEWEST
    while True:
        order = _first_pieces(engine, n_searched, settings, control, piece)
        counts = range(1, len(order) + 1) if of_answers else ()
        costs = surgery.costs(engine, choosing, order, control, piece, counts)
        count = gate.within(costs)
        if len(order) < n_searched or count + BEYOND <= len(order):
            break
        n_searched *= 2
    checked = _held_out_costs(engine, order, max(1, count), held_out, control, piece)
    if gate.column == KNOWLEDGE and checked.knows_too_little:
        raise DepthError(
            "The model knows too little of the prompts to check on: its loss is "
            f"{checked.gain:.2f} nats a token below that of a guess without context.",
            "Check on prompts that it knows something of: --prompt, --prompt-file or --task.",
        )
    return LayerChoice(
        order,
        count,
        n_layers,
        piece,
        checked,
        gate.option,
        gate=gate,
        choosing=costs,
        chosen_on=chosen_on,
        checked_on=checked_on,
    )


def check_count(count: int, n_pieces: int, piece: Piece = "layer") -> None:
    """Check that a model has a piece more than are left out.

    Args:
        count: how many pieces go.
        n_pieces: number of the model's pieces; 0 where unknown.
        piece: their kind.

    Raises:
        DepthError: it has no more.
    """
    if 1 < n_pieces <= count:
        raise DepthError(
            f"A model keeps at least one {piece}, and this one has {n_pieces}.",
            f"--least {n_pieces - 1} leaves the most out.",
        )


def _first_pieces(
    engine: Engine, count: int, settings: RunSettings, control: Control, piece: Piece
) -> list[int]:
    """The first pieces to go of the model's order, or as many as there are."""
    order = surgery.layer_order(
        engine, settings, control, lambda order: len(order.pieces) >= count, piece
    )
    return order.pieces[:count]


def _held_out_costs(
    engine: Engine,
    order: Sequence[int],
    count: int,
    held_out: Sequence[WholeOutput],
    control: Control,
    piece: Piece,
) -> LeftOutCosts:
    """The costs on the held-out prompts, with the answers around a number of pieces."""
    order = order[: count + BEYOND]
    counts = range(max(1, count - BEYOND), len(order) + 1)
    return surgery.costs(engine, held_out, order, control, piece, counts)


def _layers_of(engine: Engine, piece: Piece) -> int:
    """The number of the model's layers.

    Raises:
        DepthError: it has one piece alone, which cannot be removed.
    """
    n_layers = engine.freed_model().info.n_layers
    if PER_LAYER[piece] * n_layers < 2:
        raise DepthError("A model keeps at least one layer, and this one has no more.")
    return n_layers


def _check_right(choosing: Sequence[WholeOutput], held_out: Sequence[WholeOutput]) -> None:
    """Check that the whole model answers some prompts of each half rightly."""
    for verb, prompts in (("choose", choosing), ("check", held_out)):
        if not any(prompt.right for prompt in prompts):
            raise DepthError(
                f"Nothing was written: of the {len(prompts)} prompts that {verb}, the whole model "
                "answers none rightly.",
                "Take easier prompts (--task, --level), or another gate, such as --keep kl=0.3.",
            )


def _right_words(part: Sequence[WholeOutput]) -> str:
    """How many prompts the whole model answers rightly, and whether guesses would as well."""
    right = sum(bool(prompt.right) for prompt in part)
    options = [len(prompt.question.choices) for prompt in part]
    is_above = is_above_chance(right, [1 / count if count else 0.0 for count in options])
    return f"{right} answered rightly" + ("" if is_above else ", no more than by guesses")


def _held_out_words(count: int) -> str:
    return "1 held-out prompt" if count == 1 else f"{count} held-out prompts"
