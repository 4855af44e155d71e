"""Every metric beside the contributions and the lens, smooth or random, by its name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import AffineLens, JacobianLens
from depthtui.data.run import RunResult
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.context_depth import ContextDepth, start_of
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.direct_logits import DirectLogits
from depthtui.metrics.experts import ChosenExperts
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.kept_heads import KeptHeads
from depthtui.metrics.layer_order import Orders, drawn_orders
from depthtui.metrics.order import Order
from depthtui.metrics.pairs import LayerPairs
from depthtui.metrics.parts import KeptParts
from depthtui.metrics.patch import Patch
from depthtui.metrics.perplexity import Perplexity
from depthtui.metrics.quantisation import Quantisation
from depthtui.metrics.registry import METRIC_BY_NAME, ON_DEMAND
from depthtui.metrics.repeat import LONGEST, Repeat, lengths_from
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.settling import Settling
from depthtui.metrics.similarity import Similarity
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.speed import MOST_DRAFTED, Speed
from depthtui.metrics.task_guess import TaskGuess
from depthtui.metrics.token_blocks import block_starts
from depthtui.prompts.written_answers import is_written
from tests.builders.lenses import random_lens, smooth_lens
from tests.builders.models import HEADS

AFTER_THE_LENS = tuple(metric.name for metric in ON_DEMAND)
"""The names of these metrics, in the order of `METRICS`."""


def smooth_metric(name: str, result: RunResult) -> MetricResult:
    """A metric whose curves follow `usefulness`; one without a maker has waves."""
    if name in _SMOOTH:
        return _SMOOTH[name](result)
    return _from_shapes(name, result, lambda size: np.abs(np.sin(1 + np.arange(size))))


def random_metric(name: str, result: RunResult, rng: np.random.Generator) -> MetricResult:
    """A metric of random values, most of them between 0.1 and 1."""
    if name in _RANDOM:
        return _RANDOM[name](result, rng)
    return _from_shapes(name, result, lambda size: rng.uniform(0.1, 1, size))


def _from_shapes(name: str, result: RunResult, draw: Callable[[int], np.ndarray]) -> MetricResult:
    """A metric whose arrays have the declared shapes, other fields their defaults."""
    kind = METRIC_BY_NAME[name].result
    assert kind is not None
    sizes = kind.sizes(result.model.n_layers, len(result.tokens), result.settings.lens_top_k)
    sizes["H"] = HEADS
    arrays = {
        field: draw(math.prod(shape.of(sizes))).reshape(shape.of(sizes)).astype(shape.dtype)
        for field, shape in kind.shapes().items()
    }
    return kind(**arrays)


def usefulness(layers: int) -> np.ndarray:
    """What the loss gains without each layer: much at both ends, little after the middle."""
    depth = np.linspace(0, 1, layers)
    wave = 0.02 * np.sin(7 * np.arange(layers))
    return (3 * np.exp(-9 * depth) + 0.6 * np.exp(-12 * (1 - depth)) + 0.03 + wave).astype("f4")


def _useful_parts(result: RunResult) -> np.ndarray:
    """The usefulness of what the settings leave out of each layer."""
    useful = usefulness(result.model.n_layers)
    return useful if result.settings.skip_part == "layer" else useful / 2


def _waves(result: RunResult) -> tuple[np.ndarray, np.ndarray]:
    """`[L+1, T]` between 0 and 1, and `[L+1, 1]` that falls from 1 to 0."""
    layers, tokens = result.model.n_layers, len(result.tokens)
    wave = np.abs(np.sin(np.arange(layers + 1)[:, None] + np.arange(tokens)))
    return wave, np.linspace(1, 0, layers + 1)[:, None]


def _smooth_skip_effects(result: RunResult) -> SkipEffects:
    layers, settings, useful = result.model.n_layers, result.settings, _useful_parts(result)
    effect = np.triu(np.ones((layers, layers)), 1) * useful[:, None]
    effect = (effect / (1 + np.abs(np.subtract.outer(range(layers), range(layers))))) ** 0.5
    maps = effect.astype(np.float32)
    positions = (0,) if settings.skip_everywhere else (8,)
    output = (useful / 3).astype(np.float32)
    return SkipEffects(settings.skip_part, positions, maps, maps / 2, output, 0.01, 0.02)


def _smooth_direct_effects(result: RunResult) -> DirectEffects:
    skip = _smooth_skip_effects(result)
    layers = np.arange(result.model.n_layers)
    share = 1 / (1 + np.abs(np.subtract.outer(layers, layers)) / 4)
    direct = (skip.layers * share).astype(np.float32)
    return DirectEffects(skip.part, skip.positions, direct, 0.005)


def _smooth_accuracy(result: RunResult) -> Accuracy:
    """The right choice leads until too many layers are gone, on each question another number.

    In a what-if it leads by less, and nothing else is known.
    """
    layers, prompt = result.model.n_layers, result.prompt
    useful, choices = usefulness(layers), len(prompt.choices)
    order = tuple(np.argsort(useful, kind="stable").tolist())
    lead = 0.5 + zlib.crc32(prompt.text.encode("utf-8", "surrogatepass")) % 7 / 2
    lead -= sum(useful[skip.layer] for skip in result.settings.skipped)
    gone = np.concatenate([[0], np.cumsum(np.sort(useful))]) / useful.sum()
    is_right = np.arange(choices) == prompt.right_choice
    others = -3 - np.arange(choices) / 4

    def scores(lead: np.ndarray) -> np.ndarray:
        return np.where(is_right, others + lead[..., None], others).astype(np.float32)

    along = lead * (1 - 1.2 * gone)
    answers = Accuracy(
        right=prompt.right_choice,
        order=order,
        chosen=(),
        is_written=is_written(result),
        written=prompt.answer.strip(),
        lengths=np.array([len(choice.strip()) for choice in prompt.choices], np.int32),
        clean=scores(along[0]),
        by_depth=scores(np.linspace(-1, lead, layers + 1)),
        unchanged=scores(along[0]),
        without=scores(lead - useful),
        along=scores(along),
        written_without=np.where(is_written(result), useful < lead / 2, np.nan).astype(np.float32),
        written_right=np.where(is_written(result), along > lead / 2, np.nan).astype(np.float32),
    )
    if not result.settings.is_clean:
        unknown = ("without", "along", "written_without", "written_right")
        for values in (getattr(answers, name) for name in unknown):
            values[:] = np.nan
        answers = replace(answers, order=(), is_written=False, written="", is_changed=True)
    return answers


def _smooth_erasure(result: RunResult) -> ResidualErasure:
    wave, fade = _waves(result)
    return ResidualErasure((wave * fade).astype(np.float32), result.answer_start, 0.03)


def _smooth_gradients(result: RunResult) -> IntegratedGradients:
    layers = result.model.n_layers
    wave, fade = _waves(result)
    return IntegratedGradients(
        ((wave - 0.5) * fade).astype(np.float32)[:layers],
        np.full(layers, 0.004, np.float32),
        np.full(layers, 40, np.int32),
        np.ones(layers, bool),
        0.01,
        result.answer_start,
        0.0,
    )


def _smooth_ablation(result: RunResult) -> Ablation:
    predicted = len(result.tokens) - 1
    change = np.repeat(_useful_parts(result)[:, None], predicted, axis=1)
    return ablation(change, 0.01, result.settings.skip_part)


def ablation(
    change: np.ndarray,
    noise: float = 0.0,
    part: str = "layer",
    kl: np.ndarray | None = None,
    loss: float | np.ndarray = 1.5,
    chosen: tuple[int, ...] = (),
) -> Ablation:
    """Ablation with these changes of the loss, `[L, T-1]`.

    KL is `kl`, `[L, T-1]`, at tokens 1 … T-1, by default the size of these changes; its noise is
    as large. First choices stay below half a nat. The layers left out together cost the sum.
    """
    kl = np.abs(change) if kl is None else kl
    found = Ablation.unknown(len(change), change.shape[1] + 1, part=part, chosen=chosen)
    found.loss[:], found.loss_change[:], found.unchanged[:] = loss, change, noise
    known = np.isfinite(kl)
    found.kl[:, 1:], found.unchanged_kl[1:] = kl, noise
    found.kept[:, 1:][known] = kl[known] < 0.5
    found.together[:] = np.isin(np.arange(len(change)), found.spare_layers)
    if found.spare_layers:
        together = kl[found.spare_layers].sum(axis=0)
        found.together_kl = float(together.mean())
        found.together_choices = float((together < 0.5).mean())
    return found


def _smooth_context_depth(result: RunResult) -> ContextDepth:
    """What comes before matters less and less, and not at all in the last layer."""
    layers, tokens, start = result.model.n_layers, len(result.tokens), start_of(result)
    found = ContextDepth.unknown(layers, tokens, start=start)
    fade = np.linspace(1, 0, layers + 1)[:, None] ** 4
    wave, _ = _waves(result)
    found.loss_change[:, start - 1 :] = (3 + wave[:, start - 1 : -1]) * fade
    found.without_context[start - 1 :] = 1.2
    found.unchanged[start - 1 :] = 0.01
    return found


def _smooth_order(result: RunResult) -> Order:
    """The middle pairs might stand side by side."""
    layers, predicted = result.model.n_layers, len(result.tokens) - 1
    useful = usefulness(layers)
    pairs = np.maximum(useful[1:], useful[:-1]) - 0.04
    cost = np.repeat(pairs[:, None], predicted, axis=1).astype(np.float32)
    return Order(cost, 2 * cost, np.full(predicted, 0.01, np.float32))


def _smooth_patch(result: RunResult) -> Patch:
    """A fact at token 1 moves to the one that predicts the answer at two thirds of the depth."""
    layers, tokens = result.model.n_layers, len(result.tokens)
    place = min(result.answer_start, tokens) - 1
    late = 1 / (1 + np.exp(2.0 * layers / 3 - np.arange(layers + 1)))
    found = Patch.unknown(
        layers,
        tokens,
        source=f"not {result.prompt.text}",
        at=(1,),
        at_texts=(" other",),
        place=place,
        answers=(" no", " yes"),
        margins=(2.0, -3.0),
        floor=0.001,
    )
    found.recovered[:] = 0
    if tokens > 1:
        found.recovered[:, 1] = 1 - late
    found.recovered[:, place] = late
    found.differing[:] = 1 - late
    return found


def _smooth_quantisation(result: RunResult) -> Quantisation:
    """Useful layers bear no rounding; 8 bits cost a hundredth of what 4 do."""
    wave, _ = _waves(result)
    return _quantisation(usefulness(result.model.n_layers)[:, None] / 20 * (0.5 + wave[:-1, :-1]))


def _quantisation(kl: np.ndarray) -> Quantisation:
    """Layers of 3,500,000 linear weights that cost so much in 4 bits, `[L, T-1]`."""
    found = Quantisation.unknown(len(kl), kl.shape[1] + 1)
    found.kl_4[:], found.kl_8[:] = kl, kl / 100
    found.loss_change_4[:], found.loss_change_8[:] = kl * 0.8, -kl / 200
    found.loss[:], found.unchanged[:], found.unchanged_kl[:] = 1.5, 1e-5, 1e-6
    found.weights[:], found.whole_rows[:] = 3_500_000, 0
    return found


def _smooth_pairs(result: RunResult) -> LayerPairs:
    """Near layers cover for each other; a later layer is needed for one far below alone."""
    useful = usefulness(result.model.n_layers) / 2
    apart = np.subtract.outer(np.arange(len(useful)), np.arange(len(useful)))
    small = np.minimum.outer(useful, useful)
    return pairs_of(useful, 3 * small * np.cos(apart / 2), len(result.tokens))


def pairs_of(
    alone: Sequence[float] | np.ndarray,
    interactions: Sequence[Sequence[float]] | np.ndarray,
    tokens: int = 9,
    noise: float = 0.0,
) -> LayerPairs:
    """Pairs of layers that cost so much alone `[L]`, and beyond the sum of both `[L, L]`."""
    costs = np.asarray(alone, np.float32)
    both = np.maximum(costs[:, None] + costs + np.asarray(interactions, np.float32), 0)
    np.fill_diagonal(both, costs)
    found = LayerPairs.unknown(len(costs), tokens)
    found.kl[:] = np.where(np.tri(len(costs), k=-1, dtype=bool), np.nan, both)
    count = len(block_starts(tokens - 1))
    # Blocks of tokens that cost somewhat less and more than all of them.
    shares = np.linspace(0.9, 1.1, count, dtype=np.float32)[:, None, None]
    found.kl_blocks[:count] = shares * found.kl
    found.unchanged[1:] = noise
    return found


def _smooth_repeat(result: RunResult) -> Repeat:
    """Useful layers do not bear running twice; longer blocks cost more."""
    useful = usefulness(result.model.n_layers)
    lengths = np.arange(1, LONGEST + 1)[:, None]
    return _repeat(useful * lengths**0.5, useful * lengths / 4 - 0.05)


def _repeat(kl: np.ndarray, loss: np.ndarray) -> Repeat:
    """Blocks that run twice with these costs, `[8, L]`, of those that there are."""
    n_layers = kl.shape[1]
    found = Repeat.unknown(n_layers, 0, floor=0.002, loss_floor=0.003)
    for layer in range(n_layers):
        rows = slice(len(lengths_from(layer, n_layers)))
        found.kl[rows, layer], found.loss_change[rows, layer] = kl[rows, layer], loss[rows, layer]
    found.choices[:] = np.maximum(0, 1 - found.kl / 3)
    return found


def _smooth_speed(result: RunResult) -> Speed:
    """Every layer takes as long as another, the head as long as two; in the order of `kept`."""
    layers, tokens = result.model.n_layers, len(result.tokens)
    knowledge = result.get(Kept)
    order = tuple(reversed(range(layers))) if knowledge is None else knowledge.orders[0]
    speed = Speed.unknown(layers, tokens, order=order).widened("V", MOST_DRAFTED + 1)
    speed, rounds = speed.widened("R", 3), np.array([[0.98], [1], [1.04]])
    staying = np.arange(layers, -1, -1)
    share = (2 + staying) / (2 + layers)
    speed.parameters[:], speed.weight_bytes[:] = 1e6 * (1 + staying), 4e6 * (1 + staying)
    speed.cache_bytes[:] = 768 * staying
    speed.token[:layers], speed.prefill[:layers] = 0.03 * share[:-1], 0.2 * share[:-1]
    speed.token_ratios[:, :layers] = speed.prefill_ratios[:, :layers] = rounds * share[:-1]
    speed.verify_ratios[:] = rounds * (1 + np.arange(MOST_DRAFTED + 1) / 20)
    return speed


def _smooth_perplexity(result: RunResult) -> Perplexity:
    layers, tokens = result.model.n_layers, len(result.tokens)
    useful = usefulness(layers).astype(np.float64)
    perplexity = Perplexity.unknown(layers, tokens, order=_smooth_speed(result).order)
    losses = 3 + np.sin(np.arange(tokens - 1)) / 9
    costs = np.concatenate([[0], np.cumsum(useful[list(perplexity.order)])])
    perplexity.along[:], perplexity.alone[:] = losses + costs[:, None], losses + useful[:, None]
    return perplexity


def empty_kept(layers: int, tokens: int, orders: Orders) -> Kept:
    """The metric by some orders, read in no other, with nothing known."""
    return Kept.unknown(
        layers,
        tokens,
        kind="model",
        search="greedy",
        orders=orders,
        search_lengths=tuple(map(len, orders)),
        own_orders=(),
        own_lazy_orders=(),
        drawn=((), ()),
        untrained=None,
    )


def _smooth_task_guess(result: RunResult) -> TaskGuess:
    """Of two answers the other one is four nats less likely at each token."""
    length = len(result.tokens) - result.answer_start
    losses = np.repeat(np.array([[0.5, 4.5]], np.float32), length, axis=0)
    return TaskGuess(losses, np.full(length, 6, np.float32), 0)


def _smooth_kept(result: RunResult) -> Kept:
    """The least useful layers go first; the cost grows with the square of their number."""
    return _smooth_pieces(result, usefulness(result.model.n_layers))


def _smooth_parts(result: RunResult) -> Kept:
    """The same of parts: most attentions go before the MLPs of the same depth."""
    useful = np.stack([usefulness(result.model.n_layers) * share for share in (0.4, 0.9)], axis=1)
    return _smooth_pieces(result, useful.ravel(), KeptParts)


def _smooth_heads(result: RunResult) -> Kept:
    """The same of heads, of which each layer has four alike."""
    return _smooth_pieces(result, np.repeat(usefulness(result.model.n_layers), HEADS), KeptHeads)


def _smooth_pieces(result: RunResult, useful: np.ndarray, kind: type[Kept] = Kept) -> Kept:
    order = tuple(np.argsort(useful, kind="stable").tolist())
    gone = np.arange(len(order) + 1)[:, None] / len(order)
    wave, _ = _waves(result)
    kl = 6 * gone**2 * (0.8 + 0.4 * wave[np.arange(len(gone)) // (kind.per_layer or HEADS)])
    found = _kept(order, kl, 1 - gone, len(result.tokens), kind)
    settings = result.settings
    return replace(found, kind=settings.order_source, search=settings.order_search)


def _kept(
    order: tuple[int, ...],
    kl: np.ndarray,
    kept: np.ndarray,
    tokens: int,
    kind: type[Kept] = Kept,
) -> Kept:
    """The metric by the model's order; token 0 is not scored.

    Of a gain of six nats the cube of the share of layers left out is lost; in an order that is
    drawn, its root.
    """
    is_scored = np.arange(tokens) > 0
    kl, kept = (
        np.where(is_scored, np.broadcast_to(array, (len(order) + 1, tokens)), np.nan)
        for array in (kl, kept)
    )
    gone = np.arange(len(order) + 1)[:, None] / len(order)
    shape = len(gone), max(0, tokens - 1)
    losses = [np.broadcast_to(2.5 + 6 * gone**power, shape) for power in (3, 2.9, 2.8, 0.5, 0.6)]
    return kind(
        "model",
        "lazy",
        (order,),
        (len(order),),
        (order, order),
        (order, order),
        drawn_orders(len(order)),
        0.05,
        kl.astype(np.float32),
        np.stack([kept] * len(losses)).astype(np.float32),
        np.where(is_scored[:-1], losses, np.nan).astype(np.float32),
        np.zeros(max(0, tokens - 1), np.float32),
        np.full(max(0, tokens - 1), 8.5, np.float32),
        np.repeat(np.float32([[8.0], [9.0]]), max(0, tokens - 1), axis=1),
    )


def _smooth_similarity(result: RunResult) -> Similarity:
    layers, tokens = result.model.n_layers, len(result.tokens)
    useful = usefulness(layers)
    apart = 1 + np.arange(layers)[:, None]
    distance = (0.4 * (apart / layers) ** 0.5 + useful / 40).astype(np.float32)
    distance[apart + np.arange(layers) > layers] = np.nan
    influence = np.repeat((useful / 4)[:, None], tokens, axis=1).astype(np.float32)
    return _consistent(Similarity(influence, distance, distance - np.float32(0.01)))


def _consistent(found: Similarity) -> Similarity:
    """The same, with the angle over each layer by itself as its block influence has it."""
    angles = np.arccos(1 - found.block_influence) / np.pi
    found.angular_distance[0] = angles.mean(axis=1)
    if angles.shape[1] > 1:
        found.angular_distance_without_first[0] = angles[:, 1:].mean(axis=1)
    return found


def _smooth_settling(result: RunResult) -> Settling:
    wave, fade = _waves(result)
    return Settling((np.log(2) * fade * (0.5 + wave / 2)).astype(np.float32))


def _experts(result: RunResult, first: np.ndarray) -> ChosenExperts:
    """Two of eight experts a token, from these `[L]` on; the first has two thirds of the weight."""
    layers, tokens = len(first), len(result.tokens)
    found = ChosenExperts.unknown(layers, tokens, n_experts=8).widened("K", 2)
    step = np.arange(tokens)[None, None] // 3 + np.arange(2)[None, :, None]
    found.numbers[:] = (first[:, None, None] + step) % 8
    found.weights[:] = np.array([2, 1])[None, :, None] / 3
    found.entropy[:], found.done[:] = np.log(3) - np.log(2) * 2 / 3, True
    return found


def _smooth_direct_logits(result: RunResult) -> DirectLogits:
    wave, _ = _waves(result)
    written = np.concatenate([[0.2], usefulness(result.model.n_layers)])[:, None]
    return DirectLogits(result.tokens.ids.copy(), (written * (wave - 0.2)).astype(np.float32))


_SMOOTH: dict[str, Callable[[RunResult], MetricResult]] = {
    "affine_lens": lambda result: smooth_lens(AffineLens, result),
    "jacobian_lens": lambda result: smooth_lens(JacobianLens, result),
    "skip_effects": _smooth_skip_effects,
    "direct_effects": _smooth_direct_effects,
    "accuracy": _smooth_accuracy,
    "residual_erasure": _smooth_erasure,
    "integrated_gradients": _smooth_gradients,
    "ablation": _smooth_ablation,
    "context_depth": _smooth_context_depth,
    "order": _smooth_order,
    "patch": _smooth_patch,
    "quantisation": _smooth_quantisation,
    "repeat": _smooth_repeat,
    "pairs": _smooth_pairs,
    "perplexity": _smooth_perplexity,
    "speed": _smooth_speed,
    "similarity": _smooth_similarity,
    "task_guess": _smooth_task_guess,
    "kept": _smooth_kept,
    "parts": _smooth_parts,
    "kept_heads": _smooth_heads,
    "settling": _smooth_settling,
    "direct_logits": _smooth_direct_logits,
    "experts": lambda result: _experts(result, np.arange(result.model.n_layers)),
}


def _draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(0.1, 1, shape).astype(np.float32)


def _random_skip_effects(result: RunResult, rng: np.random.Generator) -> SkipEffects:
    layers = result.model.n_layers
    later = np.triu(_draw(rng, layers, layers), 1)
    return SkipEffects("mlp", (8, 16), later, later / 2, _draw(rng, layers), 0.15, 0.125)


def _random_direct_effects(result: RunResult, rng: np.random.Generator) -> DirectEffects:
    layers = result.model.n_layers
    return DirectEffects("mlp", (8, 16), np.triu(_draw(rng, layers, layers), 1), 0.125)


def _random_erasure(result: RunResult, rng: np.random.Generator) -> ResidualErasure:
    effect = _draw(rng, result.model.n_layers + 1, len(result.tokens))
    return ResidualErasure(effect, result.answer_start, 0.25)


def _random_gradients(result: RunResult, rng: np.random.Generator) -> IntegratedGradients:
    """Attributions that are not accurate at layer 2 (and at every fourth after it)."""
    layers = result.model.n_layers
    return IntegratedGradients(
        _draw(rng, layers, len(result.tokens)) - 0.5,
        np.resize(np.array([0.001, 0.002, 0.03, 0.004], np.float32), layers),
        np.resize(np.array([9, 9, 2048, 9], np.int32), layers),
        np.resize(np.array([True, True, False, True]), layers),
        0.01,
        result.answer_start,
        0.125,
    )


def _random_ablation(result: RunResult, rng: np.random.Generator) -> Ablation:
    predicted = len(result.tokens) - 1
    loss = _draw(rng, predicted)
    change = _draw(rng, result.model.n_layers, predicted) - 0.3
    return ablation(change, 0.5, "mlp", loss=loss)


def _random_context_depth(result: RunResult, rng: np.random.Generator) -> ContextDepth:
    layers, tokens, start = result.model.n_layers, len(result.tokens), start_of(result)
    found = ContextDepth.unknown(layers, tokens, start=start)
    found.loss_change[:, start - 1 :] = _draw(rng, layers + 1, tokens - start)
    found.loss_change[-1, start - 1 :] = 0
    found.without_context[start - 1 :] = _draw(rng, tokens - start)
    found.unchanged[start - 1 :] = 0.0625
    return found


def _random_order(result: RunResult, rng: np.random.Generator) -> Order:
    layers, predicted = result.model.n_layers, len(result.tokens) - 1
    parallel = _draw(rng, layers - 1, predicted)
    parallel[::2] /= 16
    return Order(
        parallel, _draw(rng, layers - 1, predicted), np.full(predicted, 0.0625, np.float32)
    )


def _random_patch(result: RunResult, rng: np.random.Generator) -> Patch:
    found = _smooth_patch(result)
    found.recovered[:] = rng.uniform(-0.2, 1, found.recovered.shape)
    found.recovered[-1, found.place] = 1
    found.differing[:] = rng.uniform(0, 1, found.differing.shape)
    return found


def _random_quantisation(result: RunResult, rng: np.random.Generator) -> Quantisation:
    # With draws of its own: those of the other metrics stay as they are.
    rng = np.random.default_rng(0)
    return _quantisation(_draw(rng, result.model.n_layers, max(0, len(result.tokens) - 1)))


def _random_repeat(result: RunResult, rng: np.random.Generator) -> Repeat:
    # With draws of its own: those of the other metrics stay as they are.
    rng = np.random.default_rng(0)
    kl, loss = (_draw(rng, LONGEST, result.model.n_layers) for _ in range(2))
    return _repeat(kl, loss - 0.3)


def _random_pairs(result: RunResult, rng: np.random.Generator) -> LayerPairs:
    # With draws of its own: those of the other metrics stay as they are.
    rng = np.random.default_rng(0)
    layers = result.model.n_layers
    alone, beyond = _draw(rng, layers) / 2, _draw(rng, layers, layers) - 0.5
    alone[0] = 1.5
    return pairs_of(alone, beyond, len(result.tokens), 1e-6)


def _random_task_guess(result: RunResult, rng: np.random.Generator) -> TaskGuess:
    length = len(result.tokens) - result.answer_start
    losses = rng.uniform(5, 8, (length, 3)).astype(np.float32)
    return TaskGuess(losses, rng.uniform(7, 9, length).astype(np.float32), 1)


def _random_kept(result: RunResult, kind: type[Kept] = Kept) -> Kept:
    # With draws of its own: those of the other metrics stay as they are.
    rng = np.random.default_rng(0)
    pieces, tokens = (kind.per_layer or HEADS) * result.model.n_layers, len(result.tokens)
    order = tuple(rng.permutation(pieces).tolist())
    kl = np.cumsum(_draw(rng, pieces + 1, tokens), axis=0) - 0.1
    kl[0] = 0
    kept = np.minimum.accumulate(rng.uniform(0, 1, (pieces + 1, tokens)) > 0.3, axis=0)
    kept[0] = True
    return _kept(order, kl, kept, tokens, kind)


def _random_similarity(result: RunResult, rng: np.random.Generator) -> Similarity:
    layers = result.model.n_layers
    distance = _draw(rng, layers, layers)
    distance[np.add.outer(np.arange(layers), np.arange(layers)) >= layers] = np.nan
    influence = _draw(rng, layers, len(result.tokens))
    return _consistent(Similarity(influence, distance, distance / 2))


def _random_settling(result: RunResult, rng: np.random.Generator) -> Settling:
    divergence = _draw(rng, result.model.n_layers + 1, len(result.tokens)) * 0.69
    divergence[-1] = 0
    return Settling(divergence)


def _random_direct_logits(result: RunResult, rng: np.random.Generator) -> DirectLogits:
    ids = np.asarray(rng.integers(0, 50, len(result.tokens)), np.int64)
    return DirectLogits(ids, _draw(rng, result.model.n_layers + 1, len(ids)) - 0.5)


_RANDOM: dict[str, Callable[[RunResult, np.random.Generator], MetricResult]] = {
    "affine_lens": lambda result, rng: random_lens(AffineLens, result, rng),
    "jacobian_lens": lambda result, rng: random_lens(JacobianLens, result, rng),
    "skip_effects": _random_skip_effects,
    "direct_effects": _random_direct_effects,
    # Without draws: those of the other metrics stay as they are.
    "accuracy": lambda result, rng: _smooth_accuracy(result),
    "perplexity": lambda result, rng: _smooth_perplexity(result),
    "residual_erasure": _random_erasure,
    "integrated_gradients": _random_gradients,
    "ablation": _random_ablation,
    "context_depth": _random_context_depth,
    "order": _random_order,
    "patch": _random_patch,
    "quantisation": _random_quantisation,
    "repeat": _random_repeat,
    "pairs": _random_pairs,
    "speed": lambda result, rng: _smooth_speed(result),
    "experts": lambda result, rng: _experts(result, rng.integers(0, 8, result.model.n_layers)),
    "similarity": _random_similarity,
    "task_guess": _random_task_guess,
    "kept": lambda result, rng: _random_kept(result),
    "parts": lambda result, rng: _random_kept(result, KeptParts),
    "kept_heads": lambda result, rng: _random_kept(result, KeptHeads),
    "settling": _random_settling,
    "direct_logits": _random_direct_logits,
}
