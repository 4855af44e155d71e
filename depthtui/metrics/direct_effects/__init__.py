"""Which layer reads what an earlier one wrote (local effects of arXiv 2505.13898)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import skip_effects
from depthtui.metrics.ablation import only
from depthtui.metrics.choices import key_parts, layers_gone_through, layers_words
from depthtui.metrics.evidence import so_far
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.skip_effects import SkipEffects, long_enough, positions_of
from depthtui.metrics.spec import (
    Finding,
    LayerMap,
    LayerValues,
    Measure,
    Metric,
    PromptMetrics,
    array,
    clean_run,
    floor_of,
    noise_floor,
    split,
    weighted_mean,
)

NAME = "direct_effects"


@dataclass
class DirectEffects(MetricResult):
    """How much each layer's own update hangs on what each earlier layer wrote.

    Attributes:
        part: what of an earlier layer is not read: `layer`, `attention` or `mlp`.
        positions: the positions t; 0 alone where nothing of it is read, at all tokens.
        layers: source layers x reading layers, the largest |c_l - c'_l| / |c_l| over positions
            and tokens, with c'_l what layer l adds to its clean input less the source's write;
            0 up to and including the diagonal, NaN in the rows of layers that were not chosen,
            and behind the diagonal in the columns of layers that were not called yet.
        floor: the largest in calls with nothing taken away: what is not larger is not told apart
            from rounding.
        chosen: the sources; empty for every layer.
    """

    part: str
    positions: tuple[int, ...]
    layers: Annotated[np.ndarray, Shape("L", "L")]
    floor: float
    chosen: tuple[int, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether each column is, `[L]`."""
        return np.asarray(np.isfinite(self.layers[list(self.chosen) or slice(None)]).all(axis=0))


@dataclass(frozen=True)
class PooledEffects:
    """Direct effects of several prompts, the largest of each.

    Attributes:
        direct: of all prompts; `positions` are those of all of them.
        share: `[L, L]`, the direct effect as a share of the skip effect, NaN where that is not
            above its noise; None where there are no skip effects of the same positions.
    """

    direct: DirectEffects
    share: np.ndarray | None


def later_pairs(effects: np.ndarray) -> np.ndarray:
    """The effects `[L, L]` with NaN up to and including the diagonal, where there is no effect."""
    return np.where(np.tri(len(effects), dtype=bool), np.nan, effects)


def read_later(effects: np.ndarray) -> np.ndarray:
    """The mean effect on the later layers, `[L]` by source; NaN for the last layer."""
    return _known_mean(later_pairs(effects), axis=1)


def reads_earlier(effects: np.ndarray) -> np.ndarray:
    """The mean effect of the earlier layers, `[L]` by reading layer; NaN for the first one."""
    return _known_mean(later_pairs(effects), axis=0)


def _known_mean(values: np.ndarray, axis: int) -> np.ndarray:
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64)
    counts = known.sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(1, counts), np.nan)


def _cache_key(result: RunResult) -> dict[str, Any]:
    parts = {"part": result.settings.skip_part, "positions": positions_of(result)}
    return parts | key_parts(result, ["layers"])


def _work(result: RunResult) -> float:
    """Each pair of a source and a later layer is one call; so is each layer with nothing unread.

    The tokens before the last position run once.
    """
    count, n_tokens, positions = result.model.n_layers, len(result.tokens), positions_of(result)
    sources = layers_gone_through(result)
    calls = count - 1 - sources[0] + sum(count - 1 - layer for layer in sources)
    behind = sum(n_tokens - position for position in positions)
    return calls / count * (max(positions) + behind) / n_tokens


def _pool(pooled: Pooled) -> PooledEffects | None:
    """The maximum over prompts, as of skip effects."""
    known = pooled.known(DirectEffects)
    if not known:
        return None
    direct = DirectEffects(
        known[0].part,
        tuple(position for part in known for position in part.positions),
        np.max([part.layers for part in known], axis=0),
        max(part.floor for part in known),
        known[0].chosen,
    )
    return PooledEffects(direct, _share(direct, pooled.get(skip_effects.METRIC)))


def _share(direct: DirectEffects, skip: SkipEffects | None) -> np.ndarray | None:
    """Direct effects as shares of the skip effects of the same interventions."""
    if skip is None or (skip.part, skip.positions) != (direct.part, direct.positions):
        return None
    effects = later_pairs(skip.layers)
    told_apart = np.where(effects > skip.floor, effects, np.nan)
    share: np.ndarray = later_pairs(direct.layers) / told_apart
    return share if np.isfinite(share).any() else None


def _summary(effects: PooledEffects, pooled: Pooled) -> dict[str, Any]:
    direct, by_prompt = effects.direct, pooled.by_prompt(DirectEffects) or []
    positions = [None if found is None else list(found.positions) for found in by_prompt]
    values: dict[str, Any] = {
        "part": direct.part,
        "positions": positions,
        "layers": direct.layers,
        "floor": direct.floor,
    }
    if effects.share is not None:
        values["median_share"] = float(np.nanmedian(effects.share))
    if direct.chosen:
        values["chosen"] = list(direct.chosen)
    return {NAME: values}


def _findings(effects: PooledEffects, pooled: Pooled) -> list[Finding]:
    direct = effects.direct
    pairs = later_pairs(direct.layers)
    floor = noise_floor(METRIC.title, f"{direct.floor:.2g}")
    if not np.isfinite(pairs).any():
        return [floor]
    source, reader = np.unravel_index(int(np.nanargmax(pairs)), pairs.shape)
    words, known = layers_words(direct.chosen, pooled.n_layers), so_far(direct.is_known)
    remark = f"most: layer {reader} reads layer {source}, {pairs[source, reader]:.2f}"
    remark += f"{only(direct.part)}{f'; of {words}' * bool(words)}{f'; {known}' * bool(known)}"
    lines = [Finding(METRIC.title, f"median {np.nanmedian(pairs):.2f}", remark), floor]
    if effects.share is not None:
        median = float(np.nanmedian(effects.share))
        lines.append(
            Finding("Direct share of skip effects", f"median {median:.0%}", _words(median))
        )
    return lines


def _words(share: float) -> str:
    """What a median share says."""
    if share >= 2 / 3:
        return "later layers mostly read what a layer writes themselves"
    if share <= 1 / 3:
        return "a skipped layer mostly reaches later ones through those between"
    return "later layers read a layer themselves and through those between"


def _per_layer(effects: PooledEffects) -> list[LayerValues]:
    values = effects.direct.layers
    return [
        LayerValues("read later", read_later(values), "mean direct effect on later layers"),
        LayerValues("reads earlier", reads_earlier(values)),
    ]


def _maps(effects: PooledEffects) -> list[LayerMap]:
    direct, axes = effects.direct, ("layer that writes", "layer that reads")
    caption = MAP.formula
    if direct.floor >= 0.001:
        caption += f"; noise up to {direct.floor:.2g}"
    title = f"{MAP.title}{only(direct.part)}"
    maps = [LayerMap(MAP, later_pairs(direct.layers), title, caption, *axes)]
    if effects.share is not None:
        caption = f"{SHARE.formula}; above 1 drawn as 1"
        maps.append(LayerMap(SHARE, effects.share, SHARE.title, caption, *axes))
    return maps


def _cell_means(prompts: PromptMetrics) -> dict[str, float]:
    """The mean over pairs of layers of each prompt's largest effects."""
    found = [(metrics[NAME], n_tokens) for metrics, n_tokens in prompts if metrics.get(NAME)]
    means = [
        (float(np.nanmean(pairs)), n_tokens)
        for direct, n_tokens in found
        if np.isfinite(pairs := later_pairs(np.array(direct["layers"], float))).any()
    ]
    return {"direct effect": weighted_mean(means)} if means else {}


MAP = Measure(
    NAME,
    "Direct effects",
    "|c - c'| / |c|",
    array(DirectEffects, "layers"),
    by_token=False,
    floor=floor_of(DirectEffects),
)
"""Layers that write x layers that read."""


SHARE = Measure(
    "direct_share",
    "Direct share of skip effects",
    "direct / skip effect",
    lambda result: None,
    limits=(0.0, 1.0),
    by_token=False,
)
"""How the share is drawn in reports; it takes two metrics, so that no heatmap draws it."""

METRIC = Metric(
    name=NAME,
    title="Direct effects",
    tells="Which layer reads which: how its own update hangs on what each earlier layer wrote.",
    formula=(
        "call layer l alone on `h_l`, less `c_s` at tokens 1 … t-1 (positions t as for skip "
        "effects); largest relative change of `c_l` at tokens from t on; also its share of the "
        "skip effect"
    ),
    reading=(
        "Row s is what is taken away from the input of column l, once: nothing else changes on the"
        " way."
    ),
    look_for=(
        "Bright cells far from the diagonal: layer l reads what s wrote. Where skip effects are "
        "large and these are small, the change came by way of other layers."
    ),
    source="Local effects of Csordás, Manning, Potts, arXiv 2505.13898",
    cost="L forwards, about half of each and resumed",
    work=_work,
    result=DirectEffects,
    compute="depthtui.metrics.direct_effects.compute:compute",
    needs=(clean_run, split, long_enough),
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
    cell_means=_cell_means,
)
