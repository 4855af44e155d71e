"""Finds the cost of leaving pieces of the loaded model out, on choosing and on held-out texts.

Pieces are layers, or the attention and the MLP of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from depthtui.data.pieces import PER_LAYER, Piece, count_words
from depthtui.data.run_settings import RunSettings
from depthtui.engine import surgery
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.held_out_prompts import WholeOutput, check_not_at_chance
from depthtui.engine.layer_choice import (
    AnswersGate,
    BudgetGate,
    LayerChoice,
    LeastCostly,
    within,
)
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers, is_above_chance
from depthtui.metrics.layer_order import TEXTS

_FEWEST = 4
"""Pieces of an order in the first search; later ones search for twice as many, since each continued
search reads its texts again."""


_BEYOND = 3
"""Pieces beyond the number that was asked for, whose costs are shown too."""


def within_budget(
    engine: Engine,
    budget: float,
    held_out: Sequence[WholeOutput],
    settings: RunSettings,
    control: Control,
    piece: Piece = "layer",
) -> LayerChoice[float]:
    """How many pieces may go within a budget of nats.

    The number is chosen on the order's eight texts, which the model writes itself. The order is
    searched up to the budget or, where the gate fails, up to the held-out prompts' cost, so that
    a budget that passes can be named.

    Args:
        engine: the engine with the model.
        budget: the largest mean KL(p || p~).
        held_out: the held-out prompts, run on the whole model; each counts once.
        settings: the order's settings.
        control: stops the work.
        piece: the kind of pieces.

    Raises:
        DepthError: there is no order, a prompt cannot be run, or the whole model is at chance on
            the held-out prompts.
        RunStopped: `control` stopped it.
    """
    n_layers = _layers_of(engine, piece)
    check_not_at_chance(engine.freed_model(), held_out)
    gate = BudgetGate(
        budget, f"{TEXTS} texts that the model writes itself", _held_out_words(len(held_out))
    )

    def search_up_to(most: float) -> LayerChoice[float]:
        order = surgery.layer_order(
            engine, settings, control, lambda order: order.costs[-1:] > [most], piece
        )
        costs = surgery.costs(engine, held_out, order.pieces, control, piece).mean(axis=0)
        by_number = dict(enumerate(costs.tolist()))
        return LayerChoice(gate, order.pieces, [0.0, *order.costs], by_number, piece, n_layers)

    choice = search_up_to(budget)
    first_cost = choice.held_out[max(1, choice.count)]
    if first_cost > max(budget, choice.choosing[-1]):
        choice = search_up_to(first_cost)
    return choice


def least_costly(
    engine: Engine,
    count: int,
    held_out: Sequence[WholeOutput],
    settings: RunSettings,
    control: Control,
    piece: Piece = "layer",
) -> LeastCostly:
    """The pieces that go first in the order, and what they and a few more cost.

    Args:
        engine: the engine with the model.
        count: how many pieces go.
        held_out: the held-out prompts, run on the whole model; each counts once.
        settings: the order's settings.
        control: stops the work.
        piece: the kind of pieces.

    Raises:
        DepthError: there is no order or it is shorter, a prompt cannot be run, or the whole model
            is at chance on the held-out prompts.
        RunStopped: `control` stopped it.
    """
    n_layers, model = _layers_of(engine, piece), engine.freed_model()
    check_count(count, PER_LAYER[piece] * n_layers, piece)
    if held_out:
        check_not_at_chance(model, held_out)
    order = surgery.layer_order(
        engine, settings, control, lambda order: len(order.pieces) >= count + _BEYOND, piece
    )
    pieces, costs = order.pieces[: count + _BEYOND], order.costs[: count + _BEYOND]
    if len(pieces) < count:
        raise DepthError(
            f"The order has {count_words(len(pieces), piece)}: without them the output is "
            f"{costs[-1]:.2f} nats away.",
            f"--least {len(pieces)} leaves the most out; --drop names {piece}s.",
        )
    held_out_costs: list[float] = []
    if held_out:
        of_prompts = surgery.costs(engine, held_out, pieces, control, piece)
        held_out_costs = of_prompts.mean(axis=0)[1:].tolist()
    return LeastCostly(count, pieces, costs, held_out_costs, piece)


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


def keeping_answers(
    engine: Engine,
    share: float,
    choosing: Sequence[WholeOutput],
    held_out: Sequence[WholeOutput],
    settings: RunSettings,
    control: Control,
    piece: Piece = "layer",
) -> LayerChoice[PairedAnswers]:
    """How many pieces may go so that right answers are a share of the whole model's.

    All questions count, those answered wrongly too. Pieces are left out one by one until too few
    answers are right on the choosing prompts. The held-out prompts are answered without the chosen
    number of pieces and, where that fails, without ever fewer until one number passes.

    Args:
        engine: the engine with the model.
        share: the right answers, at least, as a share of the whole model's.
        choosing: the choosing prompts, run on the whole model.
        held_out: the held-out prompts, run on the whole model.
        settings: the order's settings.
        control: stops the work.
        piece: the kind of pieces.

    Raises:
        DepthError: there is no order, or one set of prompts has no right answer.
        RunStopped: `control` stopped it.
    """
    n_layers = _layers_of(engine, piece)
    right = [sum(bool(prompt.right) for prompt in part) for part in (choosing, held_out)]
    for part, prompts, n_right in zip(
        ("choose", "check"), (choosing, held_out), right, strict=True
    ):
        if not n_right:
            raise DepthError(
                f"Nothing was written: of the {len(prompts)} prompts that {part}, the whole model "
                "answers none rightly.",
                "Take easier prompts (--task, --level), or --budget NATS.",
            )
    gate = AnswersGate(
        1 - share,
        f"{len(choosing)} other prompts, {_right_words(choosing)}",
        f"{_held_out_words(len(held_out))}, {_right_words(held_out)}",
    )

    def first_pieces(count: int) -> list[int]:
        """The first pieces to go, or as many as there are."""
        count_searched = max(_FEWEST, 1 << (count - 1).bit_length())
        order = surgery.layer_order(
            engine, settings, control, lambda order: len(order.pieces) >= count_searched, piece
        )
        return order.pieces

    def answers(part: Sequence[WholeOutput], counts: Sequence[int]) -> list[PairedAnswers]:
        left_out = [order[:count] for count in counts]
        return surgery.paired_answers(engine, part, left_out, control, piece)

    # Choices cost little more without several numbers of pieces than without one.
    chooses = all(prompt.question.choices for prompt in choosing)
    costs, order = [PairedAnswers(right[0], 0, 0, len(choosing) - right[0])], first_pieces(1)
    while all(map(gate.passes, costs)):
        if len(costs) > len(order):
            order = first_pieces(len(costs))
        if len(costs) > len(order):
            break
        costs += answers(choosing, range(len(costs), len(order) + 1 if chooses else len(costs) + 1))
    held_out_costs = {}
    chosen_count = within(gate, costs)
    for count in range(max(1, chosen_count), 0, -1):
        (held_out_costs[count],) = answers(held_out, [count])
        if gate.passes(held_out_costs[count]):
            break
    if not chosen_count and len(costs) == 2 and len(order) > 1:
        # To suggest a share at which one piece goes, the cost of a second piece must be known.
        costs += answers(choosing, [2])
    return LayerChoice(gate, order, costs, held_out_costs, piece, n_layers)


def _layers_of(engine: Engine, piece: Piece) -> int:
    """The number of the model's layers.

    Raises:
        DepthError: it has one piece alone, which cannot be removed.
    """
    n_layers = engine.freed_model().info.n_layers
    if PER_LAYER[piece] * n_layers < 2:
        raise DepthError("A model keeps at least one layer, and this one has no more.")
    return n_layers


def _right_words(part: Sequence[WholeOutput]) -> str:
    """How many prompts the whole model answers rightly, and whether guesses would as well."""
    right = sum(bool(prompt.right) for prompt in part)
    options = [len(prompt.question.choices) for prompt in part]
    is_above = is_above_chance(right, [1 / count if count else 0.0 for count in options])
    return f"{right} answered rightly" + ("" if is_above else ", no more than by guesses")


def _held_out_words(count: int) -> str:
    return "1 held-out prompt" if count == 1 else f"{count} held-out prompts"
