"""The share of a model's knowledge of a text that is kept with more and more layers left out.

What a model knows of a text is the loss that context saves: the gain over a guess without context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.pieces import Piece
from depthtui.data.run import RunResult
from depthtui.data.verdict import Headline
from depthtui.metrics import needs
from depthtui.metrics.choices import STAND_INS, left_out_words
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import (
    CountInterval,
    CountMeasure,
    LayerCount,
    Variant,
    rounded_up_count,
    rounded_up_range,
    widest,
)
from depthtui.metrics.kept.curve import (
    CONTROLS,
    HALF,
    SHARE,
    Guess,
    KeptCurve,
    ReducedLoss,
    Scored,
    share_kept,
)
from depthtui.metrics.layer_order import (
    LENGTH,
    RECALLED_ORDERS,
    TEXTS,
    Orders,
    block_numbers,
    block_weights,
    expected_trials,
    has_own_order,
    order_words,
    staying_layers,
    way_of,
)
from depthtui.metrics.pooling import FEWEST_TOKENS, Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Finding, Metric, noise_floor
from depthtui.metrics.task_guess import task_guesses

NAME = "kept"

MOST_GROUPS = 32
"""Groups of neighbouring blocks that a prompt is reduced to."""

_NAMED = 6


@dataclass
class Kept(MetricResult):
    """The output with more and more layers left out together, until none is left.

    Attributes:
        piece: the kind of the M pieces that are left out.
        kind: where the orders come from: `model`, or `own` for the prompts themselves.
        search: how they were found: `ranked` or `greedy`.
        orders: the orders in which pieces are left out.
        search_lengths: how many pieces of each order the search found; the others follow by their
            last cost.
        controls: the orders of both halves of the texts, and two that are drawn; empty for an order
            that is not read.
        own_orders: beside the model's order, the prompt's own: that of the prompts of the other
            half, or those of the even blocks of its tokens and of the odd ones; empty where they
            are not read.
        untrained: what an untrained model of this shape knows of a token of the texts of the
            model's order, in nats; None where it is not known.
        way: the index of the order that a token is read with; -1 for a token that is not scored.
        kl: KL(p || p~), in nats, without the first 0, 1, 2, … pieces of a token's order; NaN
            where not known, or not scored.
        kept: 1 where the most probable token stays the same, else 0.
        loss: the loss of the token after each, in nats, in the order of that token.
        control_loss: the same in each of the `controls`.
        own_loss: the same in the one of the `own_orders` that was not found on the token.
        guess: the loss by the guess without context: the mean output on the model's own texts.
        half_guess: the same by the mean output on each half of the texts.
    """

    piece: ClassVar[Piece] = "layer"

    kind: str
    search: str
    orders: Orders
    search_lengths: tuple[int, ...]
    controls: Orders
    own_orders: Orders
    untrained: float | None
    way: Annotated[np.ndarray, Shape("T", dtype=np.int32)]
    kl: Annotated[np.ndarray, Shape("M+1", "T")]
    kept: Annotated[np.ndarray, Shape("M+1", "T")]
    loss: Annotated[np.ndarray, Shape("M+1", "T-1")]
    control_loss: Annotated[np.ndarray, Shape(str(CONTROLS), "M+1", "T-1")]
    own_loss: Annotated[np.ndarray, Shape("M+1", "T-1")]
    guess: Annotated[np.ndarray, Shape("T-1")]
    half_guess: Annotated[np.ndarray, Shape("2", "T-1")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row of each order is known; those of the controls follow, then the own."""
        is_known = [
            np.isfinite(self.kl[: len(order) + 1, self.way == way]).all(axis=1)
            for way, order in enumerate(self.orders)
        ]
        is_known += [
            np.isfinite(self.control_loss[place, : len(order) + 1, 1:]).all(axis=1)
            for place, order in enumerate(self.controls)
            if order
        ]
        ways = way_of(len(self.way), self.own_orders)[:-1]
        is_known += [
            np.isfinite(self.own_loss[:, ways == place]).all(axis=1)
            for place in range(len(self.own_orders))
        ]
        return np.concatenate(is_known) if is_known else np.zeros(1, np.bool_)

    @property
    def floor(self) -> float:
        """The largest KL with nothing left out."""
        return float(np.nanmax(np.abs(self.kl[0]), initial=0.0))


@dataclass(frozen=True, kw_only=True)
class ReducedKept(Reduced):
    """The outputs of one prompt with layers left out, by groups of blocks.

    Attributes:
        tokens: the number of scored tokens.
        kind, search, orders, search_lengths, controls, untrained: as in `Kept`.
        way: the order of each group.
        blocks: how many blocks each group has.
        kl, choices: means over the blocks of each group; the tokens of a block count equally.
        mean_kl, mean_choices: means over all scored tokens; NaN for rows that no order has.
        floor: the largest KL with nothing left out.
        text: the losses of all predicted tokens; None where there are none.
        answer: the losses of the answer's tokens; None where there is no answer.
    """

    kind: str
    search: str
    orders: Orders
    search_lengths: tuple[int, ...]
    controls: Orders
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
            choices.append(_weighted(result.kept, weights))
    scored, of_answer = result.way >= 0, _of_answer(run)
    return ReducedKept(
        tokens=int(scored.sum()),
        kind=result.kind,
        search=result.search,
        orders=result.orders,
        search_lengths=result.search_lengths,
        controls=result.controls,
        untrained=result.untrained,
        way=np.array(way, np.int64),
        blocks=np.array(blocks, np.int64),
        kl=np.array(kl, np.float64),
        choices=np.array(choices, np.float64),
        mean_kl=result.kl[:, scored].mean(axis=1, dtype=np.float64),
        mean_choices=result.kept[:, scored].mean(axis=1, dtype=np.float64),
        floor=result.floor,
        text=ReducedLoss.over(result, run, slice(1, None)),
        answer=None if of_answer is None else ReducedLoss.over(result, run, of_answer),
    )


def _of_answer(run: RunResult) -> slice | None:
    """The losses of the answer's tokens; None where there is no answer.

    The loss of token 1 is not scored: token 0 alone predicts it.
    """
    has_answer = 0 < run.answer_start < len(run.tokens)
    return slice(max(1, run.answer_start - 1), None) if has_answer else None


def _weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean over the tokens that have a weight, `[L + 1]`."""
    has_weight = weights > 0
    return np.asarray(values[:, has_weight].astype(np.float64) @ weights[has_weight])


@dataclass(frozen=True)
class PooledKept:
    """What is kept with layers left out, of one or more prompts.

    Attributes:
        kind, search: as in `Kept`.
        order: the first order.
        search_length: how many of its layers the search found.
        curves: the curve of the headline, then the others.
        choices: by the number of layers left out, the scored tokens whose first choice stays, a
            sum over prompts, `[L + 1]`; NaN where not known.
        n_choices: all scored tokens.
        floor: the largest KL with nothing left out.
        untrained: as in `Kept`.
    """

    kind: str
    search: str
    order: tuple[int, ...]
    search_length: int
    curves: tuple[KeptCurve, ...]
    choices: np.ndarray
    n_choices: int
    floor: float
    untrained: float | None

    @property
    def curve(self) -> KeptCurve:
        """The curve of the headline.

        Of the answers beyond the task where every prompt is of a task, of the answers where every
        prompt has one, else of the text.
        """
        return self.curves[0]

    @property
    def n_layers(self) -> int:
        """The number of layers, L."""
        return len(self.order)

    @property
    def why_too_little_of_text(self) -> str:
        """Why the model knows too little of all tokens; empty where it does not."""
        of_text = [curve for curve in self.curves if curve.scored == "text"]
        return of_text[0].why_too_little if of_text else ""

    @property
    def headline(self) -> Headline:
        """The layers that keep nine tenths, for a verdict."""
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
            order=self.kind,
        )
        if curve.why_too_little:
            return headline
        low, high = curve.range or (None, None)
        return replace(
            headline,
            count=curve.layers(),
            low=low,
            high=high,
            half=curve.layers(HALF),
            mean_depth=curve.mean_depth,
            own=curve.in_better_own_order(),
            choices=self._choices_kept,
        )

    @property
    def _choices_kept(self) -> tuple[int, int] | None:
        """The first choices that stay with `layers`, and all; None where not known."""
        choices = self.choices[self.n_layers - self.layers]
        return (round(float(choices)), self.n_choices) if np.isfinite(choices) else None

    @property
    def layers(self) -> int:
        """The number of layers that keep nine tenths, rounded up."""
        return rounded_up_count(self.curve.layers())

    @property
    def kept_layers(self) -> tuple[int, ...]:
        """The `layers` that stay in the first order."""
        return staying_layers(self.order, self.n_layers, self.layers)


def why_not_pooled(pooled: Pooled, of_prompts: Sequence[ReducedKept | None] | None = None) -> str:
    """Why prompts are not counted together, in a clause; empty where they are.

    `of_prompts` are the reduced values of each prompt; by default those of layers.
    """
    every = pooled.reduced(METRIC) if of_prompts is None else of_prompts
    if len({prompt.answer is None for prompt in every if prompt is not None}) < 2:
        return ""
    return "some of these prompts have an answer, and others have none"


def pool_prompts(of_prompts: Sequence[ReducedKept | None], pooled: Pooled) -> PooledKept | None:
    """Pool the reduced values of each prompt, None where a prompt has none.

    None where no tokens have a curve in every prompt.
    """
    if why_not_pooled(pooled, of_prompts):
        return None
    answers = [None if prompt is None else prompt.answer for prompt in of_prompts]
    texts = [None if prompt is None else prompt.text for prompt in of_prompts]
    kinds: tuple[tuple[Scored, Guess, list[ReducedLoss | None]], ...] = (
        ("answer", "task", beyond_the_task(answers, pooled)),
        ("answer", "text", answers),
        ("text", "text", texts),
    )
    reduced = [prompt for prompt in of_prompts if prompt is not None]
    curves = [
        KeptCurve.over(scored, guess_of, parts, pooled)
        for scored, guess_of, parts in kinds
        # Every prompt that was measured has the tokens.
        if sum(part is not None and part.is_known for part in parts) == len(reduced)
    ]
    if not curves:
        return None
    first = reduced[0]
    floor = max(prompt.floor for prompt in reduced)
    return PooledKept(
        first.kind,
        first.search,
        first.orders[0],
        first.search_lengths[0],
        tuple(curves),
        np.sum([prompt.tokens * prompt.mean_choices for prompt in reduced], axis=0),
        sum(prompt.tokens for prompt in reduced),
        floor,
        first.untrained,
    )


def _pool(reduced: Sequence[ReducedKept], pooled: Pooled) -> PooledKept | None:
    return pool_prompts(pooled.reduced(METRIC), pooled)


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


def summary(knowledge: PooledKept, pooled: Pooled) -> dict[str, Any]:
    """What is kept, as a part of `summary.json`."""
    order = {
        "order": list(knowledge.order),
        "found_by_search": knowledge.search_length,
        "search": knowledge.search,
        "untrained": knowledge.untrained,
    }
    first, *others = [_curve_summary(curve) for curve in knowledge.curves]
    return {**order, **first, "other_tokens": others}


def _curve_summary(curve: KeptCurve) -> dict[str, Any]:
    def ends(interval: CountInterval | None) -> list[float] | None:
        return None if interval is None else [interval.low, interval.high]

    gain, is_counted = curve.gain_interval, not curve.why_too_little
    halves = ("first half", "second half")
    return {
        "scored": curve.scored,
        "guess": curve.guess_of,
        "gain": curve.gain,
        "interval_gain": None if gain is None else list(gain),
        "too_little_known": curve.why_too_little,
        "loss_by_guess": curve.guess,
        "loss": curve.loss,
        "share": curve.share,
        "n": {f"{least:g}": curve.layers(least) if is_counted else None for least in (HALF, SHARE)},
        "mean_depth": curve.mean_depth if is_counted else None,
        "interval": {f"{SHARE:g}": ends(curve.interval), "mean_depth": ends(curve.depth_interval)},
        "range": {f"{SHARE:g}": curve.range, "mean_depth": curve.depth_range},
        "orders": [
            {"texts": texts, "n90": layers}
            for texts, layers in zip(halves, curve.of_halves(), strict=False)
        ],
        "random": curve.random_shares,
        "own_order": _own_summary(curve),
    }


def _own_summary(curve: KeptCurve) -> dict[str, Any] | None:
    if curve.own_share is None:
        return None
    n = {f"{least:g}": curve.in_own_order(least) for least in (HALF, SHARE)}
    return {"share": curve.own_share, "n": n, "mean_depth": curve.own_mean_depth}


def _findings(knowledge: PooledKept, pooled: Pooled) -> list[Finding]:
    stand_in = left_out_words("layer", (), knowledge.n_layers, pooled.stand_in)
    go = ", ".join(map(str, knowledge.order[:_NAMED]))
    in_order = f"in {order_words(knowledge.kind, knowledge.search)}"
    where = f"{in_order}; layers {go} go first{stand_in}"
    return [
        *curve_findings(knowledge, pooled, "Nine tenths kept"),
        *control_findings(knowledge, "Controls of what is kept"),
        Finding("Order of layers kept", f"{go} …", where),
        noise_floor(METRIC.title, f"{knowledge.floor:.2g} nats"),
    ]


def curve_findings(
    knowledge: PooledKept,
    pooled: Pooled,
    title: str,
    stay: Callable[[int], str] = lambda count: "",
) -> Iterator[Finding]:
    """The count that keeps nine tenths by each curve.

    Args:
        knowledge: what is kept.
        pooled: the prompts.
        title: the beginning of the titles.
        stay: returns which of a count of pieces stay, before a semicolon; empty for no words.
    """
    for curve in knowledge.curves:
        title_of_curve = f"{title}, {curve.words}"
        if curve.why_too_little:
            remark = f"too little is known: {curve.why_too_little}"
            yield Finding(title_of_curve, "–", remark)
            continue
        interval, count = curve.interval, rounded_up_count(curve.layers())
        ends = "" if interval is None else f" ({_range(interval)})"
        half = f"half with {rounded_up_count(curve.layers(HALF))}"
        depth = f"{curve.mean_depth:.1f} on average"
        words = f"{stay(count)}{half}, {depth}; of {curve.gain:.1f} nats a token"
        if (own := curve.in_own_order()) is not None:
            depth = f"{curve.own_mean_depth:.1f} on average"
            words += f"; {_in_own_order(pooled)} {rounded_up_count(own)}, {depth}"
        yield Finding(title_of_curve, f"{count} of {knowledge.n_layers}{ends}", words)


def control_findings(knowledge: PooledKept, title: str, more: str = "") -> Iterator[Finding]:
    """The controls in a row: the count in random orders, and what an untrained model knows.

    `more` is a clause on the untrained model, or empty.
    """
    curve, value, words = knowledge.curve, "–", []
    if (drawn := curve.in_random_orders()) and not curve.why_too_little:
        counts = " and ".join(str(rounded_up_count(layers)) for layers in drawn)
        value = f"{counts} of {knowledge.n_layers}"
        words.append("keep nine tenths in two random orders")
    if knowledge.untrained is not None:
        # Without -0.0.
        nats = round(knowledge.untrained, 1) + 0.0
        of_texts = f"knows {nats:.1f} nats a token of texts that the model writes"
        words.append(f"an untrained model of this shape {of_texts}{more}")
    if words:
        yield Finding(title, value, "; ".join(words))


def _in_own_order(pooled: Pooled) -> str:
    """The own order of a prompt, or of several, in words."""
    is_alone = len(pooled.prompts) == 1
    return "in the prompt's own order" if is_alone else "in the prompts' own order"


def _range(interval: CountInterval) -> str:
    return rounded_up_range((interval.low, interval.high), "-")


COUNT_MEASURE = CountMeasure("causal", NAME, NAME, "that keep nine tenths of what it knows")


def _evidence(knowledge: PooledKept, pooled: Pooled) -> list[LayerCount]:
    return [counted(COUNT_MEASURE, knowledge, pooled, knowledge.kept_layers)]


def counted(
    measure: CountMeasure,
    knowledge: PooledKept,
    pooled: Pooled,
    layers: Iterable[int],
    per_layer: int = 1,
) -> LayerCount:
    """The layers that keep nine tenths, and what this count was varied by.

    Args:
        measure: the measure.
        knowledge: what is kept.
        pooled: the prompts.
        layers: the layers that stay.
        per_layer: the pieces of a layer, each of which counts as much.
    """
    curve = knowledge.curve
    if curve.why_too_little:
        return measure.unknown(f"too little is known: {curve.why_too_little}")
    variants = [
        Variant(
            (other := rounded_up_count(count / per_layer)),
            f"by the order: by half of the texts it takes {other}",
        )
        for count in curve.of_halves()
    ]
    if (in_own_order := _own_variant(curve, pooled, per_layer)) is not None:
        variants.append(in_own_order)
    if curve.n_tokens < FEWEST_TOKENS and curve.interval is None:
        few = "a single token" if curve.n_tokens == 1 else f"{curve.n_tokens} tokens"
        variants.append(Variant(None, f"it rests on {few}"))
    interval = curve.interval
    if interval is not None:
        ends = interval.low / per_layer, interval.high / per_layer
        interval = replace(interval, low=ends[0], high=ends[1])
    count = rounded_up_count(curve.layers() / per_layer)
    return measure.counted(count, variants, layers, interval=interval)


def _own_variant(curve: KeptCurve, pooled: Pooled, per_layer: int) -> Variant | None:
    """The count in the own order, where it is lower; no count where the mean depth alone is."""
    if curve.own_share is None or curve.own_mean_depth is None:
        return None
    whole, own = curve.layers() / per_layer, (curve.in_own_order() or 0.0) / per_layer
    depth, own_depth = curve.mean_depth / per_layer, curve.own_mean_depth / per_layer
    takes = f"by the order: {_in_own_order(pooled)} it takes"
    if whole - own <= widest(pooled.n_layers) < depth - own_depth:
        return Variant(None, f"{takes} {own_depth:.1f} layers on average, not {depth:.1f}")
    count = rounded_up_count(own)
    return Variant(count, f"{takes} {count}") if own < whole else None


def _means(knowledge: PooledKept, pooled: Pooled) -> dict[str, float]:
    curve = knowledge.curve
    if curve.why_too_little:
        return {}
    return {"layers that keep nine tenths": curve.layers(), "mean depth": curve.mean_depth}


def is_short(n_tokens: int) -> bool:
    """Whether a prompt is read in other orders too: where one costs less than the model's did."""
    return n_tokens <= TEXTS * LENGTH


def reads_own(result: RunResult) -> bool:
    """Whether a run is read in its own order too, beside the model's."""
    settings, n_tokens = result.settings, len(result.tokens)
    is_found = bool(settings.order_texts) or has_own_order(n_tokens)
    return settings.sufficient_order == "model" and is_found and is_short(n_tokens)


def work(result: RunResult, per_layer: int = 1) -> float:
    """The work: a curve and a ranking take half a pass for each piece."""
    settings, curves = result.settings, 0
    if settings.sufficient_order == "model" or settings.order_texts:
        # The order, and those of both halves of its texts.
        curves += 3
    if settings.sufficient_order == "own" or reads_own(result):
        # A ranking, and one order of other prompts, or two of the prompt's tokens.
        curves += 2 if settings.order_texts else 3
    if is_short(len(result.tokens)):
        curves += 2
    return curves * per_layer * result.model.n_layers * (1 / 2 + head(result))


def search_work(result: RunResult, per_layer: int = 1) -> float:
    """The cost of the model's order, in passes of one token; 0 where none is searched for.

    A trial runs half of the layers and the LM head on all text tokens.
    """
    settings = result.settings
    if settings.sufficient_order != "model" or not settings.is_clean:
        return 0.0
    trials = expected_trials(per_layer * result.model.n_layers, settings.sufficient_search)
    return TEXTS * LENGTH * trials * (1 / 2 + head(result))


METRIC = Metric(
    name=NAME,
    title="Knowledge kept",
    description="The number of layers that keep nine tenths of what the model knows of a text.",
    formula=(
        "leave layers out together, those that cost least first; `1 - (loss_m - loss_0) / G` on "
        "the true tokens, `G` the loss that the whole model saves over a guess without context"
    ),
    reading=(
        "What a model knows of a token is the loss that context saves, in nats: the guess is the "
        "model's mean output on texts of its own. Layers are counted where they keep nine tenths "
        "of it, and half; the mean depth is the layers that a nat of it takes on average."
    ),
    look_for=(
        "Where an answer is known, its tokens alone are counted: the frame of a question is not "
        "what is asked. Orders that are drawn show how much of the count is the search's."
    ),
    source="Greedy depth pruning, verified on other tokens (see arXiv 2604.24938); defined here",
    cost="L forwards for each of up to eight orders, half of each; the model's order once, longer",
    work=work,
    result=Kept,
    needs=(needs.clean_run, needs.lens, needs.second_token),
    needs_order="layer",
    preparation=search_work,
    memory=row_of_logits,
    recalled_with=RECALLED_ORDERS,
    depends_on=(
        "sufficient_order",
        "sufficient_search",
        "order_texts",
        "answer_start",
        *STAND_INS,
    ),
    reduced=ReducedKept,
    reduce=reduce,
    pool=_pool,
    summary=summary,
    findings=_findings,
    means=_means,
    evidence=_evidence,
)


def share_so_far(run: RunResult) -> np.ndarray | None:
    """The share of a run's gain that is kept without 0, 1, … layers, `[L + 1]`; NaN where unknown.

    Of the answer's tokens where there are some, else of all; None before anything is known.
    """
    result = run.get(Kept)
    if result is None or not result.orders:
        return None
    losses = ReducedLoss.over(result, run, _of_answer(run) or slice(1, None))
    if losses is None or not np.isfinite([losses.loss[0], losses.guess]).all():
        return None
    return share_kept(losses.loss, np.array(losses.guess))
