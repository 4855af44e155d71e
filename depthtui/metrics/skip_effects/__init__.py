"""The effects of a skipped layer on later computation and on the output (paper, metric 2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import MetricResult, Shape, arrays_of
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.choices import (
    STAND_INS,
    chosen_key,
    key_parts,
    layer_calls,
    measured_layers,
)
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.measures import array, floor_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByLayer, Reduced, largest
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Measure, Metric, noise_floor

POSITIONS = 4

DEPENDS_ON = (
    "skip_part",
    "skip_everywhere",
    "skip_positions",
    "layers",
    "seed",
    "lengths_before",
    *STAND_INS,
)

ByPair: TypeAlias = Annotated[np.ndarray, Shape("L", "L", dtype=np.float64)]


@dataclass
class SkipEffects(MetricResult):
    """The effects of skipping each layer on later computation and on the output (paper, metric 2).

    Attributes:
        part: the skipped part: `layer`, `attention` or `mlp`.
        positions: the positions t; 0 alone where layers were skipped at all tokens.
        layers: skipped layers x measured layers, the largest relative change of c_l over
            positions and tokens; 0 up to and including the diagonal, NaN where it is not known
            yet.
        mean_layers: the mean instead of the largest.
        output: the largest |p - p~|_2.
        floor, output_floor: the largest of `layers` and of `output` in a run computed the same way
            with nothing skipped; effects that are not larger cannot be distinguished from rounding.
        chosen: the layers that were skipped; the others' rows are NaN. Empty for every one.
    """

    part: str
    positions: tuple[int, ...]
    layers: Annotated[np.ndarray, Shape("L", "L")]
    mean_layers: Annotated[np.ndarray, Shape("L", "L")]
    output: Annotated[np.ndarray, Shape("L")]
    floor: float
    output_floor: float
    chosen: tuple[int, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether each chosen layer is known."""
        return np.asarray(np.isfinite(self.output[list(self.chosen) or slice(None)]))


def choose_positions(n_tokens: int, rng: random.Random) -> list[int]:
    """Draw up to four positions t (paper, metric 2); `rng` continues from prompt to prompt."""
    positions = list(range(8, n_tokens - 4, 8))
    rng.shuffle(positions)
    return positions[:POSITIONS]


def positions_of(result: RunResult) -> list[int]:
    """The positions t of a run: the paper's, or 0 where layers are skipped everywhere.

    Of chosen positions, those within the prompt.
    """
    settings = result.settings
    if settings.skip_everywhere:
        return [0]
    if settings.skip_positions:
        return [position for position in settings.skip_positions if position < len(result.tokens)]
    rng = random.Random(settings.seed)
    for length in settings.lengths_before:
        choose_positions(length, rng)
    return choose_positions(len(result.tokens), rng)


def long_enough(result: RunResult) -> str:
    """A need: there is a position before which layers can be skipped."""
    if positions_of(result):
        return ""
    chosen = result.settings.skip_positions
    needed = f"more than {min(chosen)}" if chosen else "at least 13"
    return f"the prompt has {len(result.tokens)} tokens, and needs {needed}"


def cache_key(result: RunResult) -> dict[str, Any]:
    """The cache key: the part, the positions, the stand-in, and layers where some are chosen."""
    parts = {"part": result.settings.skip_part, "positions": positions_of(result)}
    return parts | key_parts(result, ["layers", *STAND_INS])


def tokens_from(positions: Sequence[int], n_tokens: int) -> int:
    """The number of tokens run from the positions on, each position by itself."""
    return sum(n_tokens - position for position in positions)


def tokens_run(result: RunResult) -> int:
    """The number of tokens run in all; the tokens before the last position run once."""
    positions = positions_of(result)
    return max(positions) + tokens_from(positions, len(result.tokens))


def _work(result: RunResult) -> float:
    n_tokens = len(result.tokens)
    read = (len(measured_layers(result)) + 1) * tokens_from(positions_of(result), n_tokens)
    layers = layer_calls(result) / result.model.n_layers
    return (layers * tokens_run(result) + read * head(result)) / n_tokens


@dataclass(frozen=True, kw_only=True)
class ReducedEffects(Reduced):
    """The largest effects of layers on later layers in one or more prompts, as in the paper.

    Attributes:
        part, layers, floor, chosen: as in `SkipEffects` or `DirectEffects`.
        positions: the positions t of all prompts.
    """

    pools: ClassVar[dict[str, Any]] = {
        "positions": lambda by_prompt: tuple(chain.from_iterable(by_prompt)),
        "layers": largest,
        "floor": largest,
    }

    part: str
    positions: tuple[int, ...]
    layers: ByPair
    floor: float
    chosen: tuple[int, ...]

    @property
    def noise_words(self) -> str:
        """The noise floor for the caption of a map; empty where it is too small to see."""
        return f"; noise up to {self.floor:.2g}" if self.floor >= 0.001 else ""


@dataclass(frozen=True, kw_only=True)
class ReducedSkipEffects(ReducedEffects):
    """The largest skip effects of one or more prompts.

    Attributes:
        tokens: the number of tokens from the positions on; `mean_layers` is a mean over them.
        mean_layers, output, output_floor: as in `SkipEffects`.
    """

    pools: ClassVar = ReducedEffects.pools | {"output": largest, "output_floor": largest}

    mean_layers: ByPair
    output: ByLayer
    output_floor: float


def positions_by_prompt(metric: Metric, pooled: Pooled) -> list[list[int] | None]:
    """The positions of each prompt; None where a prompt has none."""
    return [
        None if effects is None else list(effects.positions) for effects in pooled.reduced(metric)
    ]


def _reduce(result: SkipEffects, run: RunResult, tokens: slice) -> ReducedSkipEffects:
    return ReducedSkipEffects.of(result, tokens=tokens_from(result.positions, len(run.tokens)))


def _summary(skip: ReducedSkipEffects, pooled: Pooled) -> dict[str, Any]:
    return {
        "part": skip.part,
        **dict(arrays_of(skip)),
        "positions": positions_by_prompt(METRIC, pooled),
        "floor": skip.floor,
        "output_floor": skip.output_floor,
        **chosen_key(skip.chosen),
    }


def _findings(skip: ReducedSkipEffects, pooled: Pooled) -> list[Finding]:
    floors = f"{skip.floor:.2g}, of the output {skip.output_floor:.2g}"
    return [noise_floor(METRIC.title, floors)]


def _per_layer(skip: ReducedSkipEffects) -> list[LayerValues]:
    return [
        LayerValues("output effect", skip.output, "of skipping the layer, |p - p~|", of_layer=True)
    ]


def _maps(skip: ReducedSkipEffects) -> list[LayerMap]:
    # A skipped layer cannot change earlier layers.
    later = np.where(np.tri(len(skip.layers), k=-1, dtype=bool), np.nan, skip.layers)
    caption = f"{MAP.formula}{skip.noise_words}"
    skipped = "" if skip.part == "layer" else f", {PART_TITLES[skip.part]} skipped"
    return [
        LayerMap(MAP, later, f"{MAP.title}{skipped}", caption, "skipped layer", "changed layer")
    ]


MAP = Measure(
    "skip_effects",
    "Skip effects",
    "|c - c~| / |c|",
    array(SkipEffects, "layers"),
    columns="layers",
    floor=floor_of(SkipEffects),
)
"""Layers skipped x layers measured: the columns are layers, not tokens."""

METRIC = Metric(
    name="skip_effects",
    title="Skip effects",
    description=(
        "The change of later layers and the output when a layer is skipped for earlier tokens."
    ),
    formula=(
        "skip layer s for tokens 1 … t-1 (token 0 and those from t on keep it); largest "
        "relative change of every later layer's `c`, and of the output"
    ),
    reading=(
        "Row s is skipped; column l changes by this share of what it wrote. Later tokens notice"
        " it only through attention."
    ),
    look_for=(
        "Bright columns far above s: those layers build on s. Dark columns from the middle on: "
        "late layers read little of each other."
    ),
    source="Csordás, Manning, Potts, arXiv 2505.13898; Hu, Zhou, Zhang, arXiv 2512.14064",
    cost="L forwards, about half of each and resumed",
    work=_work,
    result=SkipEffects,
    needs=(needs.clean_run, needs.lens, needs.split, needs.mean_update, long_enough),
    memory=row_of_logits,
    depends_on=DEPENDS_ON,
    cache_key=cache_key,
    measures=(MAP,),
    reduced=ReducedSkipEffects,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    maps=_maps,
)
