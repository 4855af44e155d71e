"""How much smaller and faster the model is with layers left out, and as a draft of itself."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import early_exit, kept, needs
from depthtui.metrics.accuracy.answer_statistics import share_range
from depthtui.metrics.choices import key_parts, stand_in_words
from depthtui.metrics.column import LeftOutColumn
from depthtui.metrics.costs import text_in_the_cache
from depthtui.metrics.layer_order import RECALLED_ORDERS
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByDepth, Reduced
from depthtui.metrics.reduced_lens import ReducedLens
from depthtui.metrics.resampling import drawn_interval
from depthtui.metrics.spec import Finding, Metric
from depthtui.metrics.speed.draft import Draft, Interval, fastest
from depthtui.sizes import format_size

NAME = "speed"

MOST_DRAFTED = 16
"""The most tokens of a draft."""

ROUNDS, STEPS = 5, 4
"""Rounds over all numbers of layers, and tokens that are timed in each."""

ByCount: TypeAlias = Annotated[np.ndarray, Shape("M+1", dtype=np.float64)]
"""A number without the first 0, 1, 2, … layers of the order."""

Ratios: TypeAlias = Annotated[np.ndarray, Shape("R", "M+1", dtype=np.float64)]
"""In each round, times without the first 0, 1, 2, … layers by the whole model's of that round."""

VerifyRatios: TypeAlias = Annotated[np.ndarray, Shape("R", "V", dtype=np.float64)]
"""In each round, the whole model's times of a pass over 1, 2, … tokens by that over one."""

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""A statistic `[resamples]` of the acceptances of every draft, `[resamples, drafts]`."""


@dataclass
class Speed(MetricResult):
    """The model without the first 0, 1, 2, … layers of an order, on its device.

    Times are medians over rounds, by transformers alone, one text at a time; NaN without layers.

    Attributes:
        order: the order in which layers are left out.
        parameters: the number of parameters.
        weight_bytes: bytes of the weights in memory.
        cache_bytes: bytes that a token takes in the cache.
        prefill: seconds of the pass over the prompt.
        token: seconds of one token behind it.
        prefill_ratios, token_ratios: both by the whole model's, in each round.
        verify_ratios: the whole model's passes over 1, 2, … tokens behind the prompt.
    """

    order: tuple[int, ...]
    parameters: ByCount
    weight_bytes: ByCount
    cache_bytes: ByCount
    prefill: ByCount
    token: ByCount
    prefill_ratios: Ratios
    token_ratios: Ratios
    verify_ratios: VerifyRatios


@dataclass(frozen=True, kw_only=True)
class ReducedSpeed(Reduced):
    """The times of one prompt, or means of several, as in `Speed`; each prompt counts once.

    The rounds of several prompts are one set.
    """

    pools: ClassVar = dict.fromkeys(
        ("prefill_ratios", "token_ratios", "verify_ratios"), np.concatenate
    )

    order: tuple[int, ...]
    parameters: ByDepth
    weight_bytes: ByDepth
    cache_bytes: ByDepth
    prefill: ByDepth
    token: ByDepth
    prefill_ratios: Ratios
    token_ratios: Ratios
    verify_ratios: VerifyRatios


def quartiles(ratios: np.ndarray) -> np.ndarray:
    """Quartiles over the rounds of `[R, …]`, the median between them, `[3, …]`."""
    return np.asarray(np.quantile(ratios, (0.25, 0.5, 0.75), axis=0))


class _TimeColumn(LeftOutColumn):
    """Shares of the whole model's time; without a layer, a cell is their range alone."""

    def text(self, left_out: int) -> str:
        if self.interval is None or not left_out or not self.is_known(left_out):
            return super().text(left_out)
        low, high = self.interval[:, left_out]
        return f"{100 * low:.0f}-{high:.0%}"


@dataclass(frozen=True)
class PooledSpeed:
    """The times over one or more prompts, and what a draft gains by them.

    Attributes:
        mean: the times.
        pooled: the prompts.
    """

    mean: ReducedSpeed
    pooled: Pooled

    @property
    def n_layers(self) -> int:
        """The number of layers, L."""
        return self.pooled.n_layers

    @property
    def column(self) -> LeftOutColumn:
        """The time of a token, as a share of the whole model's; its range is of quartiles."""
        low, share, high = quartiles(self.mean.token_ratios)
        ends = np.array([low, high])
        return _TimeColumn("time", share, ".0%", find_interval=lambda: ends)

    def _fastest(self, layers: np.ndarray, acceptance: np.ndarray, over: Interval) -> Draft | None:
        """The fastest of drafts with so many layers."""
        ratios = self.mean.token_ratios[:, self.n_layers - layers]
        return fastest(layers, acceptance, ratios, self.mean.verify_ratios, over)

    @cached_property
    def draft(self) -> Draft | None:
        """The fastest draft of itself; None where the first choices along the order are unknown.

        Where all layers are alike, a draft of as many others takes the same time.
        """
        output = kept.output_of(self.pooled)
        if output is None:
            return None
        are_same = all(way.order == self.mean.order for way in output.ways)
        if self.pooled.model.layer_types and not are_same:
            return None
        # The curves begin with the whole model, which is no draft.
        count = min(way.choices.shape[1] for way in output.ways)
        choices = np.concatenate([way.choices[:, 1:count] for way in output.ways])
        unit_weights = np.concatenate([way.weights for way in output.ways])
        layers = self.n_layers - 1 - np.arange(count - 1)

        def interval_of(statistic: Statistic) -> tuple[float, float] | None:
            def of_draws(counts: Sequence[np.ndarray]) -> np.ndarray:
                weights = counts[0] * unit_weights
                return statistic(weights @ choices / weights.sum(axis=1, keepdims=True))

            return drawn_interval([len(unit_weights)], of_draws, output.seed)

        acceptance = np.average(choices, axis=0, weights=unit_weights)
        return self._fastest(layers, acceptance, interval_of)

    @cached_property
    def early_exit(self) -> Draft | None:
        """The fastest exit at a depth as a draft; None where the lens has not read all prompts."""
        lens: ReducedLens | None = self.pooled.get(early_exit.METRIC)
        if lens is None:
            return None
        lenses = self.pooled.reduced(early_exit.METRIC)
        layers = 1 + np.flatnonzero(np.isfinite(lens.agreement[1:-1]))

        def interval_of(statistic: Statistic) -> tuple[float, float] | None:
            interval = self.pooled.interval(
                lenses, lambda means: statistic(means[:, layers]), "agreement"
            )
            return None if interval is None else (interval.low, interval.high)

        return self._fastest(layers, lens.agreement[layers], interval_of)

    @property
    def drafts(self) -> dict[str, Draft]:
        """The drafts that are there, by their names for people."""
        drafts = {"Layers of the order": self.draft, "Early exit": self.early_exit}
        return {name: draft for name, draft in drafts.items() if draft is not None}


def _pool(reduced: Sequence[ReducedSpeed], pooled: Pooled) -> PooledSpeed | None:
    if len({times.order for times in reduced}) > 1:
        return None
    return PooledSpeed(ReducedSpeed.pooled(reduced), pooled)


def _draft_summary(draft: Draft | None) -> dict[str, Any] | None:
    if draft is None:
        return None
    return {**asdict(draft), "tokens_a_pass": draft.tokens_a_pass, "never": draft.is_never_faster}


def _summary(speed: PooledSpeed, pooled: Pooled) -> dict[str, Any]:
    summary = asdict(speed.mean)
    # The share of a token's time, and its range, stand among what is left without layers.
    for name in ("tokens", "token_ratios"):
        del summary[name]
    for name in ("prefill", "verify"):
        low, summary[f"{name}_share"], high = quartiles(summary.pop(f"{name}_ratios"))
        summary[f"{name}_range"] = [low, high]
    drafts = {"draft": speed.draft, "early_exit": speed.early_exit}
    return summary | {name: _draft_summary(draft) for name, draft in drafts.items()}


def layers_in_words(speed: PooledSpeed) -> int:
    """The number of layers that findings name: those that keep nine tenths, else nine in ten."""
    knowledge = speed.pooled.get(kept.METRIC)
    if knowledge is not None and not knowledge.curve.why_too_little:
        return min(speed.n_layers, int(knowledge.layers))
    return max(1, round(0.9 * speed.n_layers))


def _findings(speed: PooledSpeed, pooled: Pooled) -> Iterator[Finding]:
    layers, mean = layers_in_words(speed), speed.mean
    gone, millions = speed.n_layers - layers, mean.parameters / 1e6

    def of_whole(by_count: np.ndarray) -> str:
        return f"{format_size(by_count[gone])} of {format_size(by_count[0])}"

    low, share, high = quartiles(mean.token_ratios)[:, gone]
    first, _, last = quartiles(mean.prefill_ratios)[:, gone]
    ends, is_told = share_range((low, high)), not low <= 1 <= high
    words = [
        *([] if is_told else [f"{ends} of the time: no difference is told"]),
        f"the prompt's pass {share_range((first, last))}",
        f"{millions[gone]:,.4g} of {millions[0]:,.4g} million parameters",
        of_whole(mean.weight_bytes),
        f"{of_whole(mean.cache_bytes)} of cache a token",
    ]
    value = f"{share:.0%} ({ends}) of the time" if is_told else "–"
    yield Finding(f"A token with {layers} of {speed.n_layers} layers", value, "; ".join(words))
    for subject, draft in speed.drafts.items():
        yield Finding(f"{subject} as a draft", *draft.words)


def _one_pass(result: RunResult) -> str:
    """A need: no block runs several times."""
    return "its blocks run in several passes" if result.model.calls else ""


def _no_stand_in(result: RunResult) -> str:
    """A need: nothing stands in for a layer that is left out."""
    is_there = stand_in_words(result.settings)
    return "a model that is shorter has nothing in place of its layers" if is_there else ""


def _work(result: RunResult) -> float:
    """The work: in each round the prompt with every number of layers, and the tokens behind it."""
    n_layers, tokens = result.model.n_layers, max(1, len(result.tokens))
    steps = STEPS * (n_layers / 2 + 2) + MOST_DRAFTED
    verified = MOST_DRAFTED * (MOST_DRAFTED + 3) / 2
    return ROUNDS * (n_layers / 2 + 2 + (steps * _TOKENS_OF_A_STEP + verified) / tokens)


_TOKENS_OF_A_STEP = 20
"""The tokens of a prompt that take the time of a step over one.

Measured on two cores: 11, 19 and 32 of prompts of 16, 37 and 512 tokens.
"""


_DEPENDS_ON = ("order_source", "order_search", "order_texts", "layers")


def _cache_key(result: RunResult) -> dict[str, Any]:
    """The cache key: times are those of one machine."""
    machine = f"{platform.node()}, {platform.machine()}, {os.cpu_count()}"
    return {**key_parts(result, _DEPENDS_ON), "machine": machine}


METRIC = Metric(
    name=NAME,
    title="Speed",
    description=(
        "How much smaller and faster the model is with fewer layers here, and as a draft of itself."
    ),
    formula=(
        "measured: the prompt's pass and one token behind it with the first n layers of the order "
        "out, by the whole model's in the same round. As a draft: `(1 - a^(d+1)) / (1 - a)` tokens "
        "for `d t + v` times of one token; a: first choices that stay, t: the draft's time of a "
        "token, v: the whole model's pass over d + 1 tokens; the best d of 1 ... 16"
    ),
    reading=(
        "Above 1 the same text is written faster with a draft. Its interval is over prompts or "
        "tokens and single rounds; acceptances of neighbouring tokens are taken as independent. "
        "The range of a time is the middle half of its rounds; one that holds 100 % tells nothing."
    ),
    look_for=(
        "Times are of this device and this library, one text at a time: a server with batches, or "
        "another kernel, differs."
    ),
    source="Leviathan et al., arXiv 2211.17192",
    cost="10 L passes of the prompt, half of them layers short",
    work=_work,
    result=Speed,
    needs=(needs.layers_here, needs.clean_run, needs.lens, _one_pass, _no_stand_in),
    reruns_layers=False,
    needs_order="layer",
    preparation=kept.search_work,
    memory=text_in_the_cache,
    recalled_with=RECALLED_ORDERS,
    depends_on=_DEPENDS_ON,
    cache_key=_cache_key,
    reduced=ReducedSpeed,
    reduce=lambda result, run, tokens: ReducedSpeed.of(result, tokens=1),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    is_timed=True,
)
