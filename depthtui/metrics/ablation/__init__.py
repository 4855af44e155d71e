"""What the loss gains when a layer is left out at all tokens: the ground truth for pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.data.verdict import Evidence
from depthtui.metrics.choices import layers_gone_through, layers_words
from depthtui.metrics.evidence import FELT, FIFTH, Counted, Variant, read_off, so_far
from depthtui.metrics.noise import mean_noise
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import useful_layers, usefulness
from depthtui.metrics.spec import (
    Finding,
    LayerValues,
    Metric,
    PromptMetrics,
    clean_run,
    head,
    lens,
    noise_floor,
    row_of_logits,
    split,
)


@dataclass
class Ablation(MetricResult):
    """What the loss gains when a layer is left out at all tokens.

    Attributes:
        part: what was left out: `layer`, `attention` or `mlp`.
        loss: negative log-likelihood of the token after each, clean, in nats.
        loss_change: the same without layer l, less `loss`; NaN for a layer that was not chosen,
            or that has not been left out yet.
        unchanged: the largest size of such a change in runs that go the same way with nothing
            left out.
        chosen: the layers that were left out; empty for every one.
    """

    noise = ("unchanged",)

    part: str
    loss: Annotated[np.ndarray, Shape("T-1")]
    loss_change: Annotated[np.ndarray, Shape("L", "T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    chosen: tuple[int, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether each chosen layer is."""
        changes = self.loss_change[list(self.chosen) or slice(None)]
        return np.asarray(np.isfinite(changes).all(axis=1))

    @property
    def floor(self) -> float:
        """The largest change of a token's loss with nothing left out."""
        return float(np.abs(self.unchanged).max(initial=0.0))

    @property
    def mean_floor(self) -> float:
        """What such changes leave in a mean over the tokens: their standard error, in nats."""
        return mean_noise(self.unchanged)

    @property
    def useful(self) -> np.ndarray:
        return self.loss_change

    @property
    def rule(self) -> str:
        return "ablation loss"

    @property
    def ranked_by(self) -> str:
        without = "" if self.of_layers else f" without {PART_TITLES[self.part]}"
        return f"loss change{without}"

    @property
    def unit(self) -> str:
        return "nats"

    @property
    def of_layers(self) -> bool:
        return self.part == "layer"


def only(part: str) -> str:
    """What was left out of a layer, where that is not all of it."""
    return "" if part == "layer" else f"; only the {PART_TITLES[part]} left out"


def _work(result: RunResult) -> float:
    """Each run begins behind the layer that is left out, an unchanged one before the first."""
    count, layers = result.model.n_layers, layers_gone_through(result)
    runs = count - layers[0] + sum(count - 1 - layer for layer in layers)
    return runs / count + (len(layers) + 1) * head(result)


def _pool(pooled: Pooled) -> Ablation | None:
    """The tokens of all prompts that predict another, one after another."""
    known = pooled.known(Ablation)
    if not known:
        return None
    loss = pooled.joined([found.loss[None] for found in known])[0]
    change = pooled.joined([found.loss_change for found in known])
    unchanged = pooled.joined([found.unchanged[None] for found in known])[0]
    if not loss.size:
        return None
    return Ablation(known[0].part, loss, change, unchanged, known[0].chosen)


def _summary(ablation: Ablation, pooled: Pooled) -> dict[str, Any]:
    return {
        "ablation": {
            "part": ablation.part,
            "loss": float(ablation.loss.mean(dtype=np.float64)),
            "loss_change": usefulness(ablation),
            "floor": ablation.floor,
            "mean_floor": ablation.mean_floor,
            **({"chosen": list(ablation.chosen)} if ablation.chosen else {}),
        }
    }


def _findings(ablation: Ablation, pooled: Pooled) -> list[Finding]:
    def remark(values: Sequence[float]) -> str:
        gained = ", ".join(f"{value:+.3g}" for value in values)
        words = layers_words(ablation.chosen, pooled.n_layers)
        of_these = f"; of {words}" * bool(words)
        return f"loss {gained} nats{only(ablation.part)}{of_these}"

    floors = f"{ablation.mean_floor:.2g} nats, of one token {ablation.floor:.2g}"
    return [*useful_layers(ablation, remark), noise_floor(METRIC.title, floors)]


def _per_layer(ablation: Ablation) -> list[LayerValues]:
    return [LayerValues("loss change", usefulness(ablation), "without the layer, nats")]


COUNTED = Counted("causal", "ablation", "ablation loss", "that cost something when left out")


def costly_layers(
    loss_change: np.ndarray, noise: float, n_layers: int, chosen: tuple[int, ...] = ()
) -> Evidence:
    """How many layers cost something when they are left out, one at a time.

    That is `FELT`, or twice the noise where that is more; a fifth less and more give the range.

    Args:
        loss_change: mean over tokens, `[L]`.
        noise: standard error that such a mean has with nothing left out.
        n_layers: L.
        chosen: the layers that were left out; empty for every one.
    """
    if len(chosen) not in (0, n_layers):
        words = layers_words(chosen, n_layers)
        return COUNTED.unknown(f"only {words} were left out")
    if words := so_far(np.isfinite(loss_change)):
        return COUNTED.unknown(words)

    def costly(share: float) -> np.ndarray:
        return np.flatnonzero(loss_change >= max(share * FELT, 2 * noise))

    def count(share: float) -> int:
        return len(costly(share))

    def reason(share: float) -> str:
        least, other = max(FELT, 2 * noise), max(share * FELT, 2 * noise)
        return f"{count(1)} cost {least:.2g} nats or more, {count(share)} cost {other:.2g}"

    variants = [Variant(count(share), reason(share)) for share in (1 - FIFTH, 1 + FIFTH)]
    least = max(FELT, 2 * noise)
    curve = read_off(loss_change, least, f"≥ {least:.2g} nats")
    return COUNTED.weighed(count(1), n_layers, variants, costly(1), curve)


def _evidence(ablation: Ablation, pooled: Pooled) -> list[Evidence]:
    """Nothing of sublayers: a layer without its attention is not left out."""
    if not ablation.of_layers:
        return []
    noise = ablation.mean_floor
    return [costly_layers(usefulness(ablation), noise, pooled.n_layers, ablation.chosen)]


def _cell_evidence(
    prompts: PromptMetrics, other_prompts: PromptMetrics, n_layers: int
) -> list[Evidence]:
    known = [(found["ablation"], n_tokens) for found, n_tokens in prompts if found.get("ablation")]
    if not known or known[0][0]["part"] != "layer":
        return []
    weights = np.array([max(1, n_tokens - 1) for _, n_tokens in known], np.float64)
    changes = np.array([found["loss_change"] for found, _ in known], np.float64)
    floors = np.array([found["mean_floor"] for found, _ in known], np.float64)
    # The mean of independent errors.
    noise = float(np.linalg.norm(floors * weights) / weights.sum())
    change = np.average(changes, axis=0, weights=weights)
    return [costly_layers(change, noise, n_layers, tuple(known[0][0].get("chosen", ())))]


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
    compute="depthtui.metrics.ablation.compute:compute",
    needs=(clean_run, lens, split),
    memory=row_of_logits,
    depends_on=("skip_part", "layers"),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    ranks_layers=True,
    evidence=_evidence,
    cell_evidence=_cell_evidence,
)
