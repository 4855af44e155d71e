"""What the loss gains when a layer is left out at all tokens: the ground truth for pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.data.verdict import Evidence
from depthtui.metrics import needs
from depthtui.metrics.choices import (
    chosen_key,
    layers_gone_through,
    layers_run,
    layers_words,
    left_out_words,
)
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import FELT, FIFTH, Counted, Variant, read_off, so_far
from depthtui.metrics.loss_change import LossChange, MeanLoss
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import Ranked, useful_layers
from depthtui.metrics.reduced import BlocksByLayer, ByLayer
from depthtui.metrics.spec import Finding, LayerValues, Metric


@dataclass
class Ablation(LossChange, Ranked):
    """The change of the loss when a layer is left out at all tokens (see `LossChange`).

    Attributes:
        part: what was left out: `layer`, `attention` or `mlp`.
        loss: negative log-likelihood of the token after each, clean, in nats.
        loss_change: the same without layer l, less `loss`; NaN for a layer that was not chosen,
            or that has not been left out yet.
    """

    rule = "ablation loss"
    of_one = "loss change"
    unit = "nats"

    part: str
    loss: Annotated[np.ndarray, Shape("T-1")]
    loss_change: Annotated[np.ndarray, Shape("L", "T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    chosen: tuple[int, ...] = ()

    @property
    def useful(self) -> np.ndarray:
        return self.loss_change


@dataclass(frozen=True, kw_only=True)
class ReducedAblation(MeanLoss):
    """Ablation of one or more prompts: means over the predicted tokens.

    Attributes:
        part, chosen: as of `Ablation`.
        loss: the clean loss.
        loss_change: its change without each layer.
    """

    part: str
    loss: float
    loss_change: ByLayer
    loss_change_blocks: BlocksByLayer = None
    chosen: tuple[int, ...]


def _work(result: RunResult) -> float:
    reads = len(layers_gone_through(result)) + 1
    return layers_run(result) / result.model.n_layers + reads * head(result)


def _summary(ablation: ReducedAblation, pooled: Pooled) -> dict[str, Any]:
    return {
        "part": ablation.part,
        "loss": ablation.loss,
        "loss_change": ablation.loss_change,
        "floor": ablation.floor,
        "mean_floor": ablation.noise,
        **chosen_key(ablation.chosen),
    }


def _findings(ablation: ReducedAblation, pooled: Pooled) -> list[Finding]:
    def remark(values: Sequence[float]) -> str:
        gained = ", ".join(f"{value:+.3g}" for value in values)
        words = left_out_words(ablation.part, ablation.chosen, pooled.n_layers)
        return f"loss {gained} nats{words}"

    return [*useful_layers(ablation.loss_change, remark), ablation.noise_floor(METRIC.title)]


def _per_layer(ablation: ReducedAblation) -> list[LayerValues]:
    return [LayerValues("loss change", ablation.loss_change, "without the layer, nats")]


COUNTED = Counted("causal", "ablation", "ablation loss", "that cost something when left out")


def _evidence(ablation: ReducedAblation, pooled: Pooled) -> list[Evidence]:
    """How many layers cost something when they are left out, one at a time.

    That is `FELT`, or twice the noise where that is more; a fifth less and more give the range.
    Nothing of sublayers: a layer without its attention is not left out.
    """
    if ablation.part != "layer":
        return []
    changes, noise, n_layers = ablation.loss_change, ablation.noise, pooled.n_layers
    if len(ablation.chosen) not in (0, n_layers):
        words = layers_words(ablation.chosen, n_layers)
        return [COUNTED.unknown(f"only {words} were left out")]
    if words := so_far(np.isfinite(changes)):
        return [COUNTED.unknown(words)]
    least = max(FELT, 2 * noise)
    costly, variants = np.flatnonzero(changes >= least), []
    for share in (1 - FIFTH, 1 + FIFTH):
        moved = max(share * FELT, 2 * noise)
        other = int((changes >= moved).sum())
        reason = f"{len(costly)} cost {least:.2g} nats or more, {other} cost {moved:.2g}"
        variants.append(Variant(other, reason))
    curve = read_off(changes, least, f"≥ {least:.2g} nats")
    interval = pooled.interval(
        pooled.reduced(METRIC), lambda means: (means >= least).sum(axis=1), "loss_change"
    )
    return [COUNTED.weighed(len(costly), n_layers, variants, costly, curve, interval)]


METRIC = Metric(
    name="ablation",
    title="Ablation loss",
    tells="What the loss gains when a layer is left out: the ground truth for pruning.",
    formula="leave a layer out everywhere; change of the loss",
    reading=(
        "Nats of loss without this layer: 0 is not missed, 0.05 is felt, below 0 the model is "
        "better without it."
    ),
    look_for=(
        "Layers near 0 can be left out one at a time; together they may cost far more than the sum."
    ),
    source="Leave-one-out; beside other ways to prune in Men et al., arXiv 2403.03853",
    cost="L forwards, half of each",
    work=_work,
    result=Ablation,
    needs=(needs.clean_run, needs.lens, needs.split),
    memory=row_of_logits,
    depends_on=("skip_part", "layers"),
    reduced=ReducedAblation,
    reduce=ReducedAblation.over,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    evidence=_evidence,
)
