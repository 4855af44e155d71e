"""What is kept of one or more prompts with more and more pieces left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.data.verdict import Headline, OrderName
from depthtui.metrics.column import rounded_up_count
from depthtui.metrics.kept.curve import AT_HALF, Guess, KeptCurve, ReducedLoss, Scored
from depthtui.metrics.kept.result import Kept, answer_tokens
from depthtui.metrics.layer_order import Orders, block_numbers, block_weights, staying_layers
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced, token_mean
from depthtui.metrics.task_guess import task_guesses

NAME = "kept"

MOST_GROUPS = 32
"""Groups of neighbouring blocks that a prompt is reduced to."""


@dataclass(frozen=True, kw_only=True)
class ReducedKept(Reduced):
    """The outputs of one prompt with layers left out, by groups of blocks.

    Attributes:
        tokens: the number of tokens but token 0.
        kind, search, orders, search_lengths, own_orders, own_lazy_orders, untrained: as in `Kept`.
        way: the first order of each group.
        blocks: how many blocks each group has.
        kl, choices: means over the blocks of each group; the tokens of a block count equally.
        mean_kl, mean_choices: means over all tokens but token 0; NaN for rows that no order has.
        floor: the largest KL with nothing left out.
        text: the losses of all predicted tokens; None where there are none.
        answer: the losses of the answer's tokens; None where there is no answer.
    """

    kind: str
    search: str
    orders: Orders
    search_lengths: tuple[int, ...]
    own_orders: Orders
    own_lazy_orders: Orders
    untrained: float | None
    way: Annotated[np.ndarray, Shape("G", dtype=np.int64)]
    blocks: Annotated[np.ndarray, Shape("G", dtype=np.int64)]
    kl: Annotated[np.ndarray, Shape("G", "M+1", dtype=np.float64)]
    choices: Annotated[np.ndarray, Shape("G", "M+1", dtype=np.float64)]
    mean_kl: Annotated[np.ndarray, Shape("M+1", dtype=np.float64)]
    mean_choices: Annotated[np.ndarray, Shape("M+1", dtype=np.float64)]
    floor: float
    text: ReducedLoss | None
    answer: ReducedLoss | None

    pools: ClassVar = {}


def reduce(result: Kept, run: RunResult, tokens: slice) -> ReducedKept:
    """Reduce the outputs of one prompt."""
    numbers = block_numbers(len(result.way))
    way, blocks, kl, choices = [], [], [], []
    for number in range(len(result.orders)):
        blocks_of_order = np.unique(numbers[(result.way == number) & (numbers >= 0)])
        most = max(1, MOST_GROUPS // len(result.orders))
        for group in np.array_split(blocks_of_order, min(most, len(blocks_of_order)) or 1):
            if not len(group):
                continue
            weights = block_weights(len(numbers), group)
            way.append(number)
            blocks.append(len(group))
            kl.append(_weighted(result.kl, weights))
            choices.append(_weighted(result.choices[0], weights))
    scored, of_answer = result.way >= 0, answer_tokens(run)
    return ReducedKept(
        tokens=int(scored.sum()),
        kind=result.kind,
        search=result.search,
        orders=result.orders,
        search_lengths=result.search_lengths,
        own_orders=result.own_orders,
        own_lazy_orders=result.own_lazy_orders,
        untrained=result.untrained,
        way=np.array(way, np.int64),
        blocks=np.array(blocks, np.int64),
        kl=np.array(kl, np.float64),
        choices=np.array(choices, np.float64),
        mean_kl=result.kl[:, scored].mean(axis=1, dtype=np.float64),
        mean_choices=result.choices[0][:, scored].mean(axis=1, dtype=np.float64),
        floor=result.floor,
        text=losses_of(result, run, slice(1, None)),
        answer=None if of_answer is None else losses_of(result, run, of_answer),
    )


def losses_of(result: Kept, run: RunResult, tokens: slice) -> ReducedLoss | None:
    """The losses of some tokens, in the order of the losses of the token after each."""
    choices = token_mean(result.choices[..., :-1][..., tokens])
    return ReducedLoss.over(result, run, tokens, choices=choices)


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean over the tokens that have a weight, `[L + 1]`."""
    has_weight = weights > 0
    return np.asarray(values[:, has_weight].astype(np.float64) @ weights[has_weight])


@dataclass(frozen=True)
class PooledKept:
    """What is kept with layers left out, of one or more prompts.

    Attributes:
        kind, search: as in `Kept`.
        orders: by candidate, the order of the first prompt, or of its first half; empty where it
            has none.
        search_length: how many layers of the first one the search found.
        by_blocks: whether an own order is of the other blocks of a prompt's tokens.
        curves: the curve of the headline, then the others.
        floor: the largest KL with nothing left out.
        untrained: as in `Kept`.
    """

    kind: str
    search: str
    orders: Orders
    search_length: int
    by_blocks: bool
    curves: tuple[KeptCurve, ...]
    floor: float
    untrained: float | None

    @property
    def order(self) -> tuple[int, ...]:
        """The first order."""
        return self.orders[0]

    @property
    def curve(self) -> KeptCurve:
        """The curve of the headline.

        Of the answers beyond the task where every prompt is of a task, of the answers where every
        prompt has one, else of the text.
        """
        return self.curves[0]

    @property
    def n_pieces(self) -> int:
        """The number of pieces."""
        return len(self.order)

    @property
    def why_too_little_of_text(self) -> str:
        """Why the model knows too little of all tokens; empty where it does not."""
        of_text = [curve for curve in self.curves if curve.scored == "text"]
        return of_text[0].why_too_little if of_text else ""

    def order_name(self, candidate: int) -> OrderName:
        """The name of a candidate."""
        names: tuple[OrderName, ...] = ("model", "own", "own lazy")
        return names[candidate] if self.kind == "model" else "own"

    @property
    def headline(self) -> Headline:
        """The layers that keep the share, for a verdict."""
        curve = self.curve
        headline = Headline(
            NAME,
            count=None,
            low=None,
            high=None,
            half=None,
            mean_depth=None,
            gain=curve.gain,
            scored=curve.scored,
            guess=curve.guess_of,
            too_little=curve.why_too_little,
            gain_range=curve.gain_range,
            limit=curve.stop.kept_words,
            is_share=curve.stop.is_share,
        )
        if curve.why_too_little:
            return headline
        low, high = curve.range() or (None, None)
        best, counts = curve.best(), curve.by_order(curve.stop.layers)
        leaves_any = curve.count() < self.n_pieces
        return replace(
            headline,
            count=curve.count(),
            low=low,
            high=high,
            half=curve.count(AT_HALF),
            half_range=curve.range(AT_HALF),
            mean_depth=curve.mean_depth,
            depth_range=curve.depth_range,
            nats=curve.cost() if leaves_any else None,
            better_without=curve.better_without,
            order=self.order_name(best),
            by_blocks=self.by_blocks,
            sisters=tuple(
                (self.order_name(place), rounded_up_count(count))
                for place, count in counts.items()
                if place != best
            ),
            random=tuple(map(rounded_up_count, curve.in_random_orders())),
            is_no_better_than_random=curve.is_no_better_than_random,
            choices=self._choices_kept if leaves_any else None,
        )

    @property
    def _choices_kept(self) -> tuple[int, int] | None:
        """The scored first choices that stay with the headline's layers, and all of them."""
        curve = self.curve
        share = float(curve.mean.choices[curve.best(), self.n_pieces - self.layers])
        return (round(share * curve.n_tokens), curve.n_tokens) if np.isfinite(share) else None

    @property
    def layers(self) -> int:
        """The fewest pieces that keep the share."""
        return self.curve.count()

    @property
    def layers_in_first_order(self) -> int:
        """The fewest pieces that keep the share in the first order."""
        return rounded_up_count(self.curve.by_order(self.curve.stop.layers)[0])

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """The `layers` that stay in the best order."""
        order = self.orders[self.curve.best()] or self.order
        return staying_layers(order, self.n_pieces, self.layers)


def why_not_pooled(of_prompts: Sequence[ReducedKept | None]) -> str:
    """Why prompts are not counted together, in a clause; empty where they are.

    `of_prompts` are the reduced values of each prompt.
    """
    if len({prompt.answer is None for prompt in of_prompts if prompt is not None}) < 2:
        return ""
    return "some of these prompts have an answer, and others have none"


def pool_prompts(of_prompts: Sequence[ReducedKept | None], pooled: Pooled) -> PooledKept | None:
    """Pool the reduced values of each prompt, None where a prompt has none.

    None where no tokens have a curve in every prompt.
    """
    if why_not_pooled(of_prompts):
        return None
    answers = [None if prompt is None else prompt.answer for prompt in of_prompts]
    texts = [None if prompt is None else prompt.text for prompt in of_prompts]
    kinds: tuple[tuple[Scored, Guess, list[ReducedLoss | None]], ...] = (
        ("answer", "task", beyond_the_task(answers, pooled)),
        ("answer", "text", answers),
        ("text", "text", texts),
    )
    reduced = [prompt for prompt in of_prompts if prompt is not None]
    first = reduced[0]
    halves = _halves(of_prompts)
    curves = [
        KeptCurve(scored, guess_of, parts, pooled, halves)
        for scored, guess_of, parts in kinds
        # Every prompt that was measured has the tokens.
        if sum(part is not None and part.is_known for part in parts) == len(reduced)
    ]
    if not curves:
        return None
    return PooledKept(
        first.kind,
        first.search,
        tuple(
            (*orders, ())[0] for orders in (first.orders, first.own_orders, first.own_lazy_orders)
        ),
        first.search_lengths[0],
        len(first.own_orders or first.orders) > 1,
        tuple(curves),
        max(prompt.floor for prompt in reduced),
        first.untrained,
    )


def _halves(of_prompts: Sequence[ReducedKept | None]) -> list[int]:
    """The half of each prompt, by the one own order that it is read in; -1 where there is none."""
    own = [
        () if prompt is None else prompt.orders if prompt.kind == "own" else prompt.own_orders
        for prompt in of_prompts
    ]
    orders = sorted({orders for orders in own if len(orders) == 1})
    return [orders.index(each) if each in orders and len(orders) == 2 else -1 for each in own]


def beyond_the_task(
    answers: Sequence[ReducedLoss | None], pooled: Pooled
) -> list[ReducedLoss | None]:
    """The losses of the answers with the guess of the task; None for a prompt without one."""
    guesses = task_guesses(pooled)
    influences = [
        guess.influence
        for answer, guess in zip(answers, guesses, strict=True)
        if answer is not None and guess is not None
    ]
    # Where a prompt was not measured, those of the others do not add up to 0.
    mean_influence = float(np.mean(influences)) if influences else 0.0
    return [
        None
        if answer is None or guess is None
        else _with_guess(answer, guess.loss, guess.influence - mean_influence)
        for answer, guess in zip(answers, guesses, strict=True)
    ]


def _with_guess(answer: ReducedLoss, losses: np.ndarray, influence: float) -> ReducedLoss:
    """The losses of an answer with the guess of its task.

    An interval over prompts is to have the spread of this guess, which the prompts make together:
    each prompt's has its influence on the others' (Efron's empirical influence), which leaves the
    mean over all prompts as it is.

    Args:
        answer: the losses with another guess.
        losses: by the guess of the task, of all tokens of the answer.
        influence: as in `PromptGuess`.
    """
    # The first token of an answer at token 1 is not scored.
    guess = float(losses[-answer.tokens :].mean()) + influence / answer.tokens
    return replace(answer, guess=guess, half_guess=np.full(2, guess), guess_blocks=None)
