"""Which layers read an earlier layer's write (local effects of arXiv 2505.13898)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import needs, skip_effects
from depthtui.metrics.choices import chosen_key, layer_calls, left_out_words, part_remark
from depthtui.metrics.evidence import progress_words
from depthtui.metrics.measures import array, floor_of, known_mean
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.skip_effects import ReducedEffects, ReducedSkipEffects, tokens_run
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Measure, Metric, noise_floor

NAME = "direct_effects"


@dataclass
class DirectEffects(MetricResult):
    """How much each layer's own update depends on the write of each earlier layer.

    Attributes:
        part: the part of an earlier layer that is not read: `layer`, `attention` or `mlp`.
        positions: the positions t; 0 alone where its write is read at no token.
        layers: source layers x reading layers, the largest |c_l - c'_l| / |c_l| over positions
            and tokens, with c'_l the update of layer l on its clean input minus the source's write;
            0 up to and including the diagonal, NaN in the rows of layers that were not chosen,
            and behind the diagonal in the columns of layers that were not called yet.
        floor: the largest of them in calls with nothing taken away; effects that are not larger
            cannot be distinguished from rounding.
        chosen: the sources; empty for every layer.
    """

    part: str
    positions: tuple[int, ...]
    layers: Annotated[np.ndarray, Shape("L", "L")]
    floor: float
    chosen: tuple[int, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether each column is known, `[L]`."""
        return _is_known(self)


@dataclass(frozen=True, kw_only=True)
class ReducedDirectEffects(ReducedEffects):
    """The largest direct effects of one or more prompts.

    Attributes:
        tokens: the number of all tokens.
        mean: the mean over pairs of layers and over prompts; NaN where no pair is known.
    """

    mean: float


@dataclass(frozen=True)
class PooledEffects:
    """Direct effects of one or more prompts.

    Attributes:
        direct: the largest.
        share: `[L, L]`, the direct effect as a share of the skip effect, NaN where the skip effect
            is not above its noise; None where there are no skip effects of the same positions.
    """

    direct: ReducedDirectEffects
    share: np.ndarray | None


def _is_known(direct: DirectEffects | ReducedDirectEffects) -> np.ndarray:
    """Whether the effects on each reading layer are known, `[L]`."""
    return np.asarray(np.isfinite(direct.layers[list(direct.chosen) or slice(None)]).all(axis=0))


def later_pairs(effects: np.ndarray) -> np.ndarray:
    """The effects `[L, L]`; NaN up to and including the diagonal, where there are none."""
    return np.where(np.tri(len(effects), dtype=bool), np.nan, effects)


def read_later(effects: np.ndarray) -> np.ndarray:
    """The mean effect on the later layers, `[L]` by source; NaN for the last layer."""
    return known_mean(later_pairs(effects), axis=1)


def reads_earlier(effects: np.ndarray) -> np.ndarray:
    """The mean effect of the earlier layers, `[L]` by reading layer; NaN for the first one."""
    return known_mean(later_pairs(effects), axis=0)


def _work(result: RunResult) -> float:
    """The work: one call for each source and later layer, and for each layer on its clean input."""
    calls = layer_calls(result) - 1
    return calls / result.model.n_layers * tokens_run(result) / len(result.tokens)


def _reduce(result: DirectEffects, run: RunResult, tokens: slice) -> ReducedDirectEffects:
    mean = known_mean(later_pairs(result.layers).ravel(), axis=0)
    return ReducedDirectEffects.of(result, tokens=len(run.tokens), mean=float(mean))


def _pool(reduced: Sequence[ReducedDirectEffects], pooled: Pooled) -> PooledEffects:
    direct = ReducedDirectEffects.pooled(reduced)
    return PooledEffects(direct, _share(direct, pooled.get(skip_effects.METRIC)))


def _share(direct: ReducedDirectEffects, skip: ReducedSkipEffects | None) -> np.ndarray | None:
    """Direct effects as shares of the skip effects of the same interventions."""
    if skip is None or (skip.part, skip.positions) != (direct.part, direct.positions):
        return None
    effects = later_pairs(skip.layers)
    above_noise = np.where(effects > skip.floor, effects, np.nan)
    # Effects have no more digits than float32.
    share = (later_pairs(direct.layers) / above_noise).astype(np.float32)
    return share if np.isfinite(share).any() else None


def _summary(effects: PooledEffects, pooled: Pooled) -> dict[str, Any]:
    direct = effects.direct
    share = {} if effects.share is None else {"median_share": np.nanmedian(effects.share)}
    return {
        "part": direct.part,
        "positions": skip_effects.positions_by_prompt(METRIC, pooled),
        "layers": direct.layers,
        "floor": direct.floor,
        **share,
        **chosen_key(direct.chosen),
    }


def _findings(effects: PooledEffects, pooled: Pooled) -> list[Finding]:
    direct = effects.direct
    pairs = later_pairs(direct.layers)
    floor = noise_floor(METRIC.title, f"{direct.floor:.2g}")
    if not np.isfinite(pairs).any():
        return [floor]
    source, reader = np.unravel_index(int(np.nanargmax(pairs)), pairs.shape)
    progress = progress_words(_is_known(direct))
    remark = f"most: layer {reader} reads layer {source}, {pairs[source, reader]:.2f}"
    remark += left_out_words(direct.part, direct.chosen, pooled.n_layers, pooled.stand_in)
    if progress:
        remark += f"; {progress}"
    lines = [Finding(METRIC.title, f"median {np.nanmedian(pairs):.2f}", remark), floor]
    if effects.share is not None:
        median = float(np.nanmedian(effects.share))
        lines.append(
            Finding("Direct share of skip effects", f"median {median:.0%}", _words(median))
        )
    return lines


def _words(share: float) -> str:
    """A median share in words."""
    if share >= 2 / 3:
        return "later layers mostly read what a layer writes themselves"
    if share <= 1 / 3:
        return "a skipped layer mostly reaches later ones through those between"
    return "later layers read a layer themselves and through those between"


def _per_layer(effects: PooledEffects) -> list[LayerValues]:
    values = effects.direct.layers
    return [
        LayerValues(
            "read later", read_later(values), "mean direct effect on later layers", of_layer=True
        ),
        LayerValues("reads earlier", reads_earlier(values)),
    ]


def _maps(effects: PooledEffects) -> list[LayerMap]:
    direct, axes = effects.direct, ("layer that writes", "layer that reads")
    caption, title = f"{MAP.formula}{direct.noise_words}", f"{MAP.title}{part_remark(direct.part)}"
    maps = [LayerMap(MAP, later_pairs(direct.layers), title, caption, *axes)]
    if effects.share is not None:
        caption = f"{SHARE.formula}; above 1 drawn as 1"
        maps.append(LayerMap(SHARE, effects.share, SHARE.title, caption, *axes))
    return maps


MAP = Measure(
    NAME,
    "Direct effects",
    "|c - c'| / |c|",
    array(DirectEffects, "layers"),
    columns="layers",
    floor=floor_of(DirectEffects),
)
"""Layers that write x layers that read."""


SHARE = Measure(
    "direct_share",
    "Direct share of skip effects",
    "direct / skip effect",
    lambda result: None,
    limits=(0.0, 1.0),
    columns="layers",
)
"""The share as drawn in reports; it needs two metrics, so no heatmap draws it."""

METRIC = Metric(
    name=NAME,
    title="Direct effects",
    description=("How a layer's update depends on the write of each earlier layer."),
    formula=(
        "call layer l by itself on `h_l` minus `c_s` at tokens 1 … t-1 (positions t as for skip "
        "effects); largest relative change of `c_l` at tokens from t on; also its share of the "
        "skip effect"
    ),
    reading=(
        "Row s is taken away from the input of column l, once. Nothing else changes on the way."
    ),
    look_for=(
        "Bright cells far from the diagonal: layer l reads what s wrote. Where skip effects are"
        " large and these are small, the effect came through other layers."
    ),
    source="Local effects of Csordás, Manning, Potts, arXiv 2505.13898",
    cost="L forwards, about half of each and resumed",
    work=_work,
    result=DirectEffects,
    needs=(
        needs.clean_run,
        needs.last_stream_alone,
        needs.split,
        needs.mean_update,
        skip_effects.long_enough,
    ),
    depends_on=skip_effects.DEPENDS_ON,
    cache_key=skip_effects.cache_key,
    measures=(MAP,),
    reduced=ReducedDirectEffects,
    reduce=_reduce,
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    maps=_maps,
    means=lambda effects, pooled: {"direct effect": effects.direct.mean},
)
