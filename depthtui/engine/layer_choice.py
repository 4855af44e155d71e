"""How many pieces of an order go: named, given, or by a gate, a column of their costs and a limit.

A gate chooses the largest number up to which every value is within the limit on the choosing texts.
Held-out prompts choose neither the order nor the number: there the choice passes or fails, and
where it fails nothing is written. A smaller number that the error names has been chosen on them: it
is no longer held out until other prompts are used, such as those of another seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthtui.data.pieces import PER_LAYER, Piece, piece_mark, piece_words, pieces_words
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

_SLACK = 1e-9
"""Tolerance by which 9 of 10 answers meet 0.9."""

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
        return f"--keep {self.column}={self.limit:g}"

    def passes(self, costs: LeftOutCosts, count: int) -> bool:
        """Whether a number of pieces may go; an unknown value is not within the limit."""
        return self._is_within(costs.columns[self.column].values[count])

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
        is_share, (low, high), (_, true) = self._is_share, interval[:, count], _WORDS[self.column]
        ends = f"{low:.0%} to {high:.0%}" if is_share else f"{low:.2f} to {high:.2f} nats"
        return (
            f"with {LEVEL:.0%} the true {true} is {ends} (bootstrap over {len(costs)} prompts): "
            f"{_is_excluded(self._is_within(low if is_share else high))}"
        )

    def _certainty_of_answers(self, costs: LeftOutCosts, count: int) -> str:
        pair = costs.answers(count)
        assert pair is not None
        margin = (1 - self.limit) * (pair.both + pair.lost) / pair.questions
        is_within = pair.least_change > -margin
        enough = None if is_within else pair.questions_for(margin)
        return (
            f"with {LEVEL:.0%} the true change is above {100 * pair.least_change:.0f} points "
            f"(one-sided, on fresh questions); the gate allows {100 * margin:.0f} fewer: "
            + _is_excluded(is_within)
            + ("" if enough is None else f", some {enough} such questions would")
        )

    @property
    def _is_share(self) -> bool:
        return self.column in SHARES

    def _is_within(self, value: float) -> bool:
        if self._is_share:
            return bool(value >= self.limit - _SLACK)
        return bool(value <= self.limit + _SLACK)


def _is_excluded(is_within: bool) -> str:
    return f"a larger loss is {'' if is_within else 'not '}excluded"


@dataclass(frozen=True)
class Choosing:
    """What chose the number of pieces.

    Attributes:
        gate: the limit.
        costs: the costs on the choosing texts.
        texts: these in words.
        prompts: the held-out prompts in words.
    """

    gate: Gate
    costs: LeftOutCosts
    texts: str
    prompts: str


@dataclass(frozen=True)
class LayerChoice:
    """The pieces that go, and what that costs on the held-out prompts.

    Attributes:
        order: the pieces, the first to go first; those behind `count` would go next.
        count: how many go.
        n_layers: the model's layers, L.
        piece: the kind of pieces.
        held_out: the costs on the held-out prompts, which may be none where pieces are named.
        option: the option that chose.
        search: how the order was found: `ranked` or `greedy`.
        choosing: what chose the number; None where it, or the pieces, are given.
        healed: the costs there without these pieces where the rest is healed.
    """

    order: Sequence[int]
    count: int
    n_layers: int
    piece: Piece
    held_out: LeftOutCosts
    option: str
    search: str
    choosing: Choosing | None = None
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
    def order_words(self) -> str:
        """The order of the pieces, as an adverb."""
        return "one by one" if self.option == NAMED else f"by {order_words('model', self.search)}"

    @property
    def shown(self) -> list[int]:
        """The numbers of pieces left out that are shown, around the one that goes."""
        return [0, *_shown(self.count, self.option, self.held_out.most_left_out)]

    @property
    def checked(self) -> LeftOutCosts:
        """The whole model and the one without these pieces, healed where it is."""
        return self.held_out.at(self.count) if self.healed is None else self.healed

    def check_some_go(self) -> None:
        """Check that some pieces go.

        Raises:
            DepthError: none may.
        """
        by = self.choosing
        if by is not None and not self.count:
            raise DepthError(
                f"Nothing was written: without {self._first} alone "
                f"{by.gate.describe(by.costs, 1)} on {by.texts}: {by.gate.option} fails.",
                f"On {by.prompts} {by.gate.describe(self.held_out, 1)}.",
            )

    def check(self) -> None:
        """Check that some pieces go, and that the gate passes.

        Raises:
            DepthError: none may go, or the gate fails; it names what would pass.
        """
        self.check_some_go()
        by = self.choosing
        if by is None or by.gate.passes(self.checked, 1):
            return
        passing = [n for n in range(1, self.count) if by.gate.passes(self.held_out, n)]
        hint = f"Without {self._first} alone {by.gate.describe(self.held_out, 1)}."
        if passing:
            most = passing[-1]
            hint = (
                f"With {self.kept_words(most)} {by.gate.describe(self.held_out, most)}: "
                f"--least {most}. Check it on other prompts, such as those of another --seed."
            )
        raise DepthError(
            f"Nothing was written: without {pieces_words(self.left_out, self.piece)} "
            f"{self._checked_words(by.gate)} on {by.prompts}, which chose nothing: "
            f"{by.gate.option} fails. On {by.texts}, which chose, "
            f"{by.gate.describe(by.costs, self.count)}.",
            hint,
        )

    def kept_words(self, count: int) -> str:
        """How many pieces are kept without `count`, such as `25 of 30 layers kept`."""
        return f"{self.n_pieces - count} of {self.n_pieces} {self.piece}s kept"

    @property
    def protocol(self) -> str:
        """How the pieces were chosen and checked, with both costs, in lines."""
        words = f"left out: {pieces_words(self.left_out, self.piece)}"
        if self.option != NAMED:
            marks = ", ".join(piece_mark(number, self.piece) for number in self.order[: self.count])
            words += f", {self.order_words}: {marks}"
        lines, by = [f"{words}; {self.kept_words(self.count)}"], self.choosing
        if by is not None:
            enough = plural(self.n_pieces - self.count, self.piece)
            lines += [
                f"chosen: {by.gate.describe(by.costs, self.count)} on {by.texts}, with at most "
                f"{enough}: another order may need fewer",
                f"checked: {self._checked_words(by.gate)} on {by.prompts}, which chose nothing; "
                f"the gate is {by.gate.option}",
            ]
            if certainty := by.gate.certainty(self.checked, 1):
                lines.append(f"certain: {certainty}")
        return "\n".join(lines)

    def _checked_words(self, gate: Gate) -> str:
        """The costs on the held-out prompts in words, as a clause: cut and, if it is, healed."""
        cut = gate.describe(self.held_out, self.count)
        return cut if self.healed is None else f"{cut}, and healed {gate.describe(self.healed, 1)}"

    @property
    def _first(self) -> str:
        """The piece that goes first, in words."""
        return ("the " if self.piece == "part" else "") + piece_words(self.order[0], self.piece)


NAMED = "--drop"
"""The option that names the pieces."""


@dataclass(frozen=True)
class Chooser:
    """Chooses the pieces of a loaded model that go, and measures what they cost.

    Every way raises a `DepthError` where a prompt cannot be run, and `RunStopped`.

    Attributes:
        engine: the engine with the model.
        held_out: the held-out prompts, run on the whole model.
        settings: the settings of the model's order.
        control: stops the work.
        piece: the kind of pieces.
    """

    engine: Engine
    held_out: Sequence[WholeOutput]
    settings: RunSettings
    control: Control
    piece: Piece = "layer"

    def named(self, pieces: Sequence[int]) -> LayerChoice:
        """The pieces that are named, one after the other."""
        return self._choice(pieces, len(pieces), NAMED)

    def least(self, count: int) -> LayerChoice:
        """The pieces that go first in the model's order, and a few more.

        Raises:
            DepthError: there is no order or it is shorter, or the whole model is at chance on the
                held-out prompts.
        """
        check_count(count, PER_LAYER[self.piece] * self._n_layers, self.piece)
        check_not_at_chance(self.engine.freed_model(), self.held_out)
        order = self._first_pieces(count + BEYOND)
        if len(order) < count:
            raise DepthError(
                f"The order ends with {plural(len(order), self.piece)}: without them the output is "
                "far from the whole model's.",
                f"--least {len(order)} leaves the most out; --drop names {self.piece}s.",
            )
        return self._choice(order, count, f"--least {count}")

    def keeping(self, gate: Gate, choosing: Sequence[WholeOutput]) -> LayerChoice:
        """As many pieces of the model's order as a gate lets go on the choosing texts.

        Args:
            gate: the limit.
            choosing: the choosing texts, run on the whole model; for answers, prompts.

        Raises:
            DepthError: there is no order, or the whole model knows nothing, or has no right answer,
                of which a share could be kept.
        """
        texts = f"{len(choosing)} texts that the model writes itself"
        prompts = plural(len(self.held_out), "held-out prompt")
        if gate.column == ANSWERS:
            _check_right(choosing, self.held_out)
            texts = f"{len(choosing)} other prompts, {_right_words(choosing)}"
            prompts += f", {_right_words(self.held_out)}"
        else:
            check_not_at_chance(self.engine.freed_model(), self.held_out)
        count_searched = _FEWEST
        while True:
            order = self._first_pieces(count_searched)
            counts = range(1, len(order) + 1) if gate.column == ANSWERS else ()
            costs = surgery.costs(self.engine, choosing, order, self.control, self.piece, counts)
            count = gate.within(costs)
            if len(order) < count_searched or count + BEYOND <= len(order):
                break
            count_searched *= 2
        choice = self._choice(order, count, gate.option, Choosing(gate, costs, texts, prompts))
        if gate.column == KNOWLEDGE and choice.held_out.knows_too_little:
            raise DepthError(
                "The model knows too little of the prompts to check on: its loss is "
                f"{choice.held_out.gain:.2f} nats a token below that of a guess without context.",
                "Check on prompts that it knows something of: --prompt, --prompt-file or --task.",
            )
        return choice

    @property
    def _n_layers(self) -> int:
        """The number of the model's layers.

        Raises:
            DepthError: it has one piece alone, which cannot be removed.
        """
        n_layers = self.engine.freed_model().info.n_layers
        if PER_LAYER[self.piece] * n_layers < 2:
            raise DepthError("A model keeps at least one layer, and this one has no more.")
        return n_layers

    def _first_pieces(self, count: int) -> list[int]:
        """The first pieces to go of the model's order, or as many as there are but the last."""
        order = surgery.layer_order(
            self.engine,
            self.settings,
            self.control,
            lambda order: len(order.pieces) >= count,
            self.piece,
        )
        return order.pieces[: min(count, PER_LAYER[self.piece] * self._n_layers - 1)]

    def _choice(
        self, order: Sequence[int], count: int, option: str, by: Choosing | None = None
    ) -> LayerChoice:
        """The choice, with its costs on the held-out prompts, and answers around the number."""
        n_layers, order = self._n_layers, order[: max(1, count) + BEYOND]
        counts = _shown(count, option, len(order))
        costs = surgery.costs(self.engine, self.held_out, order, self.control, self.piece, counts)
        search = self.settings.order_search
        return LayerChoice(order, count, n_layers, self.piece, costs, option, search, by)


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


def _shown(count: int, option: str, most: int) -> range:
    """The numbers of pieces around one that goes, all up to it where these are named."""
    return range(1 if option == NAMED else max(1, count - BEYOND), most + 1)


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
