"""Controls of the layers that suffice: shuffled tokens, random orders, an untrained model.

Every case is measured in the same way. With four prompts or more, an order comes from the other
half of the prompts; with fewer, from the other half of a prompt's blocks. Layers are ranked by
their cost alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from depthtui.data.controls import ControlName, ControlRow, Controls, save_controls
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.depth.warnings import no_verdict, warnings_of
from depthtui.engine import memory
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.metric_context import MetricContext
from depthtui.engine.prompt_run import PromptRun
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.shared_calls import one_process_only
from depthtui.engine.tokens import tokenise
from depthtui.errors import DepthError, RunStopped
from depthtui.lenses.maps import LensMaps
from depthtui.metrics import OF_THE_PASS, empty_result, kept
from depthtui.metrics.kept import Kept
from depthtui.metrics.kept.compute import RunOrders, begun, own_orders, with_layers_left_out
from depthtui.metrics.kept.order_search import Texts, ranked
from depthtui.metrics.layer_order import MOST_COST, PROMPTS_AS_UNITS, Orders, crossing_above
from depthtui.metrics.resampling import drawn_interval
from depthtui.metrics.sufficient import (
    METRIC,
    STRICT_CHOICES,
    TOLERANCE,
    PooledSufficient,
    drawn_curves,
)
from depthtui.models.untrained import Blueprint
from depthtui.tracing.batching import in_smaller_parts
from depthtui.tracing.products import fast_products

DRAWS = 5
"""Number of random orders to average over."""

_FIRST_ROWS = 8
"""Layers that are left out first; then twice as many, while the cost stays low."""

Sample: TypeAlias = tuple[Prompt, PromptTokens]
"""A prompt and its tokens."""

Result = TypeVar("Result")

Report: TypeAlias = Callable[[str, int, int], None]
"""Called with a stage, and its prompts done and in all."""


def shuffled_sample(sample: Sample, seed: int, number: int) -> Sample:
    """A prompt with its tokens in a random order, token 0 in its place.

    Args:
        sample: the prompt.
        seed: the seed for all prompts.
        number: the prompt's number.
    """
    prompt, tokens = sample
    rng = np.random.default_rng([seed, number])
    places = np.concatenate([[0], 1 + rng.permutation(len(tokens) - 1)])
    texts = [tokens.texts[place] for place in places]
    shuffled_tokens = PromptTokens(tokens.ids[places], texts, len(tokens))
    return Prompt("".join(texts), task=prompt.task, level=prompt.level), shuffled_tokens


def random_orders(n_layers: int, seed: int) -> list[tuple[int, ...]]:
    """`DRAWS` permutations of the layers."""
    rng = np.random.default_rng(seed)
    return [tuple(rng.permutation(n_layers).tolist()) for _ in range(DRAWS)]


@dataclass
class Bench:
    """One model, and the prompts that its layers are left out on.

    Attributes:
        model: the model.
        samples: its prompts, each with two tokens at least.
        settings: the settings of every run.
        control: stops the work.
        report: called with the progress.
    """

    model: ReadyModel
    samples: Sequence[Sample]
    settings: RunSettings
    control: Control
    report: Report

    def __post_init__(self) -> None:
        if self.model.anatomy.unembedding is None:
            raise DepthError(f"There is no output to compare: {self.model.anatomy.lens_missing}.")
        self.settings = replace(
            self.settings,
            metrics=(*OF_THE_PASS, kept.NAME),
            sufficient_order="own",
            sufficient_search="ranked",
        )

    def in_own_order(self, stage: str) -> Reading:
        """Measure the prompts with layers left out in the order of their other half."""
        with torch.no_grad():
            return self._measure_costs(self._own_orders(stage), stage)

    def in_order(self, order: tuple[int, ...], stage: str) -> Reading:
        """Measure the prompts with layers left out in one order."""
        with torch.no_grad():
            return self._measure_costs([(order,)] * len(self.samples), stage)

    @functools.cached_property
    def _runs(self) -> list[RunResult]:
        """The forward pass of every prompt."""
        results = []
        for prompt, tokens in self.samples:
            run = self._run(empty_result(self.model.info, prompt, self.settings, tokens))
            memory.check_fits(self.model.info, run.sizes, self.model.placement)
            run.forward(keep_writes=False)
            run.result.complete = True
            results.append(run.result)
        return results

    def _run(self, result: RunResult) -> PromptRun:
        return PromptRun(self.model, result, self.control, lambda event: None, 0)

    def _context(self, result: RunResult) -> MetricContext:
        def no_lens(kind: str) -> LensMaps:
            raise AssertionError(kind)

        return self._run(result).context(lambda: None, no_lens, lambda: None)

    def _own_orders(self, stage: str) -> list[Orders]:
        """The orders of each prompt: from the other half of prompts, or of its blocks of tokens."""
        if len(self.samples) < PROMPTS_AS_UNITS:
            return self._of_each(stage, _orders_of_blocks)
        costs = self._of_each(stage, _costs)
        orders = [tuple(ranked(np.mean(costs[half::2], axis=0))) for half in (0, 1)]
        return [(orders[(number + 1) % 2],) for number in range(len(costs))]

    def _of_each(self, stage: str, find: Callable[[MetricContext], Result]) -> list[Result]:
        """Call `find` for each prompt, in smaller parts where the memory runs out."""
        results = []
        for number, result in enumerate(self._runs):
            self.report(f"{stage}: layer by layer", number, len(self._runs))
            results.append(in_smaller_parts(functools.partial(find, self._context(result))))
        return results

    def _measure_costs(self, orders: Sequence[Orders], stage: str) -> Reading:
        """Measure the prompts with more and more layers left out, until the cost is high."""
        n_layers = self.model.info.n_layers
        results = [replace(result) for result in self._runs]
        settings = SummarySettings(seed=self.settings.seed)
        rows = _FIRST_ROWS
        while True:
            for number, (result, prompt_orders) in enumerate(zip(results, orders, strict=True)):
                self.report(f"{stage}: {min(rows, n_layers - 1)} layers", number, len(results))
                first_layers = tuple(order[:rows] for order in prompt_orders)
                work = functools.partial(_curves, self._context(result), first_layers)
                result.put(kept.NAME, in_smaller_parts(work))
            reading = reading_of(results, settings)
            pooled = reading.get(METRIC)
            if rows >= n_layers - 1 or pooled is None or _is_past(pooled):
                return reading
            rows *= 2


def _is_past(pooled: PooledSufficient) -> bool:
    """Whether the cost of every order exceeds `MOST_COST`."""
    return all(way.curve[-1] > MOST_COST for way in pooled.ways)


def _costs(context: MetricContext) -> np.ndarray:
    """The mean cost of leaving out each layer alone, `[L]`."""
    replay = context.replay
    weights = np.full(replay.n_tokens, 1 / (replay.n_tokens - 1))
    weights[0] = 0.0
    at_once = context.layers_at_once(replay.n_tokens)
    text = Texts([replay], context.unembedding, weights, at_once, context.substitute)
    return text.costs(range(replay.n_layers))


def _orders_of_blocks(context: MetricContext) -> Orders:
    at_once = context.layers_at_once(context.replay.n_tokens)
    replay, unembedding = context.replay, context.unembedding
    orders = own_orders(replay, unembedding, "ranked", at_once, context.substitute)
    return tuple(order.whole(replay.n_layers) for order in orders)


def _curves(context: MetricContext, orders: Orders) -> Kept:
    """The cost of a prompt's orders; known rows are not computed again."""
    replay, earlier = context.replay, context.result.get(Kept)
    partial = begun(replay, "own", "ranked", RunOrders(orders, tuple(map(len, orders))))
    if earlier is not None:
        partial = replace(earlier, orders=orders, search_lengths=partial.search_lengths)
    at_once = context.layers_at_once(replay.n_tokens)
    return with_layers_left_out(
        replay, context.unembedding, partial, at_once, substitute=context.substitute
    )


# All cases ----------------------------------------------------------------------


@one_process_only
def find_controls(
    engine: Engine,
    prompts: Sequence[Prompt],
    settings: RunSettings,
    control: Control | None = None,
) -> Controls:
    """The number of layers that suffice, and its value in controls, where it means nothing.

    The result is stored beside the model's fitted lenses. The model is freed before the
    untrained one is built, and no model is loaded at the end.

    Args:
        engine: the engine with the model.
        prompts: two tokens or more each; shorter ones are left out.
        settings: the seed, and whether prompts are wrapped in the chat template.
        control: stops the work.

    Raises:
        DepthError: no model is loaded, no prompt can be used, or the memory does not suffice.
        RunStopped: `control` stopped it; nothing is kept.
    """
    control = control or Control()
    info, samples = engine.freed_model().info, samples_of(engine, prompts, settings)
    order = engine.orders.stored_layers(RunSettings())
    with bench_of(engine, samples, settings, control) as bench:
        rows = rows_of_trained(bench, order)
    untrained, size = _row_of_untrained(engine, samples, settings, control)
    controls = Controls(
        info.name,
        info.n_layers,
        info.vocab_size,
        tuple(dict.fromkeys(prompt.task for prompt, _ in samples)),
        len(samples),
        sum(len(tokens) - 1 for _, tokens in samples),
        "prompts" if len(samples) >= PROMPTS_AS_UNITS else "blocks",
        settings.seed,
        size,
        (*rows, untrained),
    )
    if engine.lenses_dir is not None and info.fingerprint:
        # Where they cannot be stored, they are shown once.
        with suppress(DepthError):
            save_controls(engine.lenses_dir, info.fingerprint, controls)
    return controls


def samples_of(engine: Engine, prompts: Sequence[Prompt], settings: RunSettings) -> list[Sample]:
    """The prompts that have a token after the first one.

    Raises:
        DepthError: there is none, or one cannot be read.
    """
    model, samples = engine.freed_model(), []
    for prompt in prompts:
        tokens = tokenise(model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        if len(tokens) > 1:
            samples.append((prompt, tokens))
    if not samples:
        raise DepthError("No prompt has a token after the first one.", "Take longer prompts.")
    return samples


def _row_of_untrained(
    engine: Engine, samples: Sequence[Sample], settings: RunSettings, control: Control
) -> tuple[ControlRow, int]:
    """The row of an untrained model, and the bytes of its weights; 0 where there is none."""
    try:
        blueprint = Blueprint.of(engine.freed_model().loaded)
        engine.unload()
        engine.emit_stage("Drawing random weights", 0, 0)
        info = engine.use(blueprint.build(settings.seed))
        with bench_of(engine, samples, settings, control) as bench:
            return row_of_untrained(bench), info.memory_bytes
    except RunStopped:
        raise
    except DepthError as error:
        return ControlRow("untrained", missing=str(error).rstrip(".")), 0
    finally:
        engine.unload()


@contextmanager
def bench_of(
    engine: Engine, samples: Sequence[Sample], settings: RunSettings, control: Control
) -> Iterator[Bench]:
    """The loaded model with prompts on which its layers are left out."""
    model = engine.freed_model()
    longest = max(len(tokens) for _, tokens in samples)
    sizes = model.sizes(longest, longest)
    with engine.errors_noted(model, sizes), fast_products(model.loaded.model):
        yield Bench(model, samples, settings, control, engine.emit_stage)


# Rows ---------------------------------------------------------------------------


def rows_of_trained(bench: Bench, order: tuple[int, ...] | None) -> list[ControlRow]:
    """The rows of a trained model.

    Args:
        bench: the model and its prompts.
        order: the order stored for it; None for none.
    """
    seed = bench.settings.seed
    rows = [row_of("model", bench.in_own_order("The model"))]
    if order is not None:
        rows.append(row_of("model_order", bench.in_order(order, "The model's order")))
    shuffled_samples = [
        shuffled_sample(sample, seed, number) for number, sample in enumerate(bench.samples)
    ]
    shuffled_bench = replace(bench, samples=shuffled_samples)
    rows.append(row_of("shuffled", shuffled_bench.in_own_order("Shuffled tokens")))
    orders = random_orders(bench.model.info.n_layers, seed)
    readings = [
        bench.in_order(random_order, f"Random order {number} of {len(orders)}")
        for number, random_order in enumerate(orders, start=1)
    ]
    return [*rows, row_of_draws("random_order", readings)]


def row_of_untrained(bench: Bench) -> ControlRow:
    """The row of an untrained model."""
    return row_of("untrained", bench.in_own_order("Untrained model"))


def row_of(name: ControlName, reading: Reading) -> ControlRow:
    """The row of a case."""
    pooled = _pooled_costs(reading)
    nothing = no_verdict(reading)
    return ControlRow(
        name,
        pooled.within(),
        pooled.interval,
        pooled.keeping(STRICT_CHOICES),
        pooled.choices,
        reading.means.get("loss"),
        {estimate.rule: estimate.count for estimate in reading.depths},
        tuple(filter(None, (nothing, *warnings_of(reading)))),
    )


def row_of_draws(name: ControlName, readings: Sequence[Reading]) -> ControlRow:
    """The row of a case that is drawn several times: means over the draws.

    The interval resamples both the orders and the prompts.
    """
    pooled = [_pooled_costs(reading) for reading in readings]
    counts = [draw.within() for draw in pooled]
    return ControlRow(
        name,
        float(np.mean(counts)),
        _interval_of_draws(pooled),
        float(np.mean([draw.keeping(STRICT_CHOICES) for draw in pooled])),
        float(np.mean([draw.choices for draw in pooled])),
        draws=tuple(counts),
    )


def _pooled_costs(reading: Reading) -> PooledSufficient:
    pooled = reading.get(METRIC)
    if pooled is None:
        raise DepthError("some of its values are no numbers")
    assert isinstance(pooled, PooledSufficient)
    return pooled


def _interval_of_draws(draws: Sequence[PooledSufficient]) -> tuple[float, float] | None:
    n_layers = draws[0].n_layers
    ways = [draw.ways[0] for draw in draws]

    def statistic(counts: Sequence[np.ndarray]) -> np.ndarray:
        orders, units = counts
        left_out = [crossing_above(drawn_curves(way, units), TOLERANCE) for way in ways]
        mean = (orders * np.stack(left_out, axis=1)).sum(axis=1) / len(ways)
        return np.asarray(n_layers - mean)

    return drawn_interval([len(ways), len(ways[0].weights)], statistic, draws[0].seed)
