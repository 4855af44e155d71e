"""What later computation and the output lose when a layer is skipped (paper, metric 2)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape, arrays_of
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.metrics.choices import key_parts, layers_gone_through
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import (
    Finding,
    LayerMap,
    LayerValues,
    Measure,
    Metric,
    array,
    clean_run,
    floor_of,
    head,
    lens,
    noise_floor,
    row_of_logits,
    split,
)

POSITIONS = 4


@dataclass
class SkipEffects(MetricResult):
    """What skipping each layer does to later computation and to the output (paper, metric 2).

    Attributes:
        part: what was skipped: `layer`, `attention` or `mlp`.
        positions: the positions t; 0 alone where layers were skipped at all tokens.
        layers: skipped layers x measured layers, the largest relative change of c_l over
            positions and tokens; 0 up to and including the diagonal, NaN where it is not known
            yet.
        mean_layers: the mean instead of the largest.
        output: the largest |p - p~|_2.
        floor, output_floor: the largest of `layers` and of `output` in a run that goes the same
            way with nothing skipped: what is not larger is not told apart from rounding.
        chosen: the layers that were skipped, the others' rows are NaN; empty for every one.
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
        """Whether each chosen layer is."""
        return np.asarray(np.isfinite(self.output[list(self.chosen) or slice(None)]))


def choose_positions(n_tokens: int, rng: random.Random) -> list[int]:
    """Up to four positions t (paper, metric 2); `rng` runs on from prompt to prompt."""
    positions = list(range(8, n_tokens - 4, 8))
    rng.shuffle(positions)
    return positions[:POSITIONS]


def positions_of(result: RunResult) -> list[int]:
    """The positions t of a run: those of the paper, or 0 where layers are skipped everywhere.

    Of chosen ones, those that the prompt has.
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


def _cache_key(result: RunResult) -> dict[str, Any]:
    parts = {"part": result.settings.skip_part, "positions": positions_of(result)}
    return parts | key_parts(result, ["layers"])


def _work(result: RunResult) -> float:
    """Each run begins behind the skipped layer, an unchanged one before the first.

    The tokens before the last position run once.
    """
    count, n_tokens, positions = result.model.n_layers, len(result.tokens), positions_of(result)
    behind = sum(n_tokens - position for position in positions)
    skipped = layers_gone_through(result)
    runs = count - skipped[0] + sum(count - 1 - layer for layer in skipped)
    reads = (len(skipped) + 1) * behind * head(result)
    return (runs / count * (max(positions) + behind) + reads) / n_tokens


def _pool(pooled: Pooled) -> SkipEffects | None:
    """The maximum over prompts, as in the paper; `positions` are those of all prompts."""
    found = [(result.get(SkipEffects), len(result.tokens)) for result in pooled.results]
    parts = [(part, n_tokens) for part, n_tokens in found if part is not None]
    if not parts:
        return None
    weights = [sum(n_tokens - t for t in part.positions) for part, n_tokens in parts]
    known = [part for part, _ in parts]
    return SkipEffects(
        known[0].part,
        tuple(position for part in known for position in part.positions),
        np.max([part.layers for part in known], axis=0),
        np.average([part.mean_layers for part in known], axis=0, weights=weights),
        np.max([part.output for part in known], axis=0),
        max(part.floor for part in known),
        max(part.output_floor for part in known),
        known[0].chosen,
    )


def _summary(skip: SkipEffects, pooled: Pooled) -> dict[str, Any]:
    by_prompt = pooled.by_prompt(SkipEffects) or []
    positions = [None if found is None else list(found.positions) for found in by_prompt]
    values = {"part": skip.part, **dict(arrays_of(skip)), "positions": positions}
    floors = {"floor": skip.floor, "output_floor": skip.output_floor}
    chosen = {"chosen": list(skip.chosen)} if skip.chosen else {}
    return {"skip_effects": values | floors | chosen}


def _findings(skip: SkipEffects, pooled: Pooled) -> list[Finding]:
    floors = f"{skip.floor:.2g}, of the output {skip.output_floor:.2g}"
    return [noise_floor(METRIC.title, floors)]


def _per_layer(skip: SkipEffects) -> list[LayerValues]:
    return [LayerValues("output effect", skip.output, "of skipping the layer, |p - p~|")]


def _maps(skip: SkipEffects) -> list[LayerMap]:
    # A layer that is skipped cannot change what comes before it.
    later = np.where(np.tri(len(skip.layers), k=-1, dtype=bool), np.nan, skip.layers)
    caption = MAP.formula
    if skip.floor >= 0.001:
        caption += f"; noise up to {skip.floor:.2g}"
    skipped = "" if skip.part == "layer" else f", {PART_TITLES[skip.part]} skipped"
    title = f"{MAP.title}{skipped}"
    return [LayerMap(MAP, later, title, caption, "skipped layer", "changed layer")]


MAP = Measure(
    "skip_effects",
    "Skip effects",
    "|c - c~| / |c|",
    array(SkipEffects, "layers"),
    by_token=False,
    floor=floor_of(SkipEffects),
)
"""Layers skipped x layers measured: the one measure whose columns are no tokens."""

METRIC = Metric(
    name="skip_effects",
    title="Skip effects",
    tells="How much later layers and the output change when a layer is skipped for earlier tokens.",
    formula=(
        "skip layer s for tokens 1 … t-1 (token 0 and those from t on keep it); largest "
        "relative change of every later layer's `c`, and of the output"
    ),
    reading=(
        "Row s is skipped, column l changes by this share of what it wrote. Later tokens see it "
        "through attention alone."
    ),
    look_for=(
        "Bright columns far above s: those layers build on s. Dark ones from the middle on: late "
        "layers read little of each other."
    ),
    source="Csordás, Manning, Potts, arXiv 2505.13898; Hu, Zhou, Zhang, arXiv 2512.14064",
    cost="L forwards, about half of each and resumed",
    work=_work,
    result=SkipEffects,
    compute="depthtui.metrics.skip_effects.compute:compute",
    needs=(clean_run, lens, split, long_enough),
    memory=row_of_logits,
    depends_on=(
        "skip_part",
        "skip_everywhere",
        "skip_positions",
        "layers",
        "seed",
        "lengths_before",
    ),
    cache_key=_cache_key,
    measures=(MAP,),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    maps=_maps,
)
