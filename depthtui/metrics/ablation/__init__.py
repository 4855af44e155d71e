"""The change of the output when a layer is left out at all tokens: loss, KL, first choices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import noun_for
from depthtui.metrics import needs
from depthtui.metrics.choices import (
    STAND_INS,
    chosen_key,
    layer_calls,
    layers_words,
    left_out_words,
    measured_layers,
)
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import (
    FIFTH,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
    progress_words,
)
from depthtui.metrics.loss_change import LossChange, MeanLoss, loss_measure
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import Ranked, lowest, useful_layers
from depthtui.metrics.reduced import BlocksByLayer, ByLayer, Reduced, token_mean
from depthtui.metrics.spec import Finding, LayerValues, Metric
from depthtui.metrics.token_blocks import block_means

CHANGED = 0.05
"""The least KL(p || p~), in nats, at which a layer counts as changing the output."""


MOST_CHOICES = 0.9
"""The share of first choices that stay where a single layer can go."""

_OF_A_MEAN = 1e-9
"""The error of a mean of shares by rounding alone."""

ROUNDING = 1e-6
"""The mean KL, in nats, that rounding to float32 leaves between two equal outputs."""


def bar(noise: float) -> float:
    """The least mean KL at which a layer changes the output: `CHANGED`, or twice the noise."""
    return max(CHANGED, 2 * noise)


def rounding(noise: float) -> float:
    """The mean KL up to which an output is indistinguishable from the whole model's."""
    return max(ROUNDING, 2 * noise)


@dataclass
class Ablation(LossChange, Ranked):
    """The change of the output when a layer is left out at all tokens (see `LossChange`).

    KL and first choices are of the output at every token but token 0; p is the whole model's.

    Attributes:
        part: the part that was left out: `layer`, `attention` or `mlp`.
        loss: negative log-likelihood of the token after each, clean, in nats.
        loss_change: the loss without layer l, minus `loss`; NaN for a layer that was not chosen,
            or that has not been left out yet.
        kl: KL(p || p~) without layer l, in nats; NaN at token 0, and where `loss_change` is.
        kept: 1 where the first choice without layer l is the whole model's, else 0; -1 where `kl`
            is NaN.
        unchanged_kl: the largest `kl` in runs with nothing changed.
        together: 1 for the layers that were left out together (see `spare_layers`), else 0; -1
            until that run.
        together_kl: mean KL(p || p~) without these layers, in nats; NaN where there are none.
        together_choices: the share of first choices that stay; NaN where there are none.
    """

    rule = "ablation loss"
    of_one = "loss change"
    unit = "nats"
    noise = ("unchanged", "unchanged_kl")

    part: str
    loss: Annotated[np.ndarray, Shape("T-1")]
    loss_change: Annotated[np.ndarray, Shape("L", "T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    kl: Annotated[np.ndarray, Shape("L", "T")]
    kept: Annotated[np.ndarray, Shape("L", "T", dtype=np.int8)]
    unchanged_kl: Annotated[np.ndarray, Shape("T")]
    together: Annotated[np.ndarray, Shape("L", dtype=np.int8)]
    together_kl: float = math.nan
    together_choices: float = math.nan
    chosen: tuple[int, ...] = ()

    @property
    def useful(self) -> np.ndarray:
        return self.loss_change

    @property
    def is_known(self) -> np.ndarray:
        """Whether each chosen layer is known, then whether the run without several is."""
        return np.append(super().is_known, (self.together >= 0).all())

    @property
    def spare_layers(self) -> list[int]:
        """The layers to leave out together: those that each change the output by less than `bar`.

        Layers that do not change it at all are not among them: together they cost nothing, either.
        Where no other layer is left, the quarter of least change. For sublayers, none.
        """
        if self.part != "layer" or self.kl.shape[1] < 2:
            return []
        kl, noise = token_mean(self.kl[:, 1:]), float(token_mean(self.unchanged_kl[1:]))
        changing = lowest(np.where(kl > rounding(noise), kl, np.nan), len(kl))
        below = [layer for layer in changing if kl[layer] < bar(noise)]
        return sorted(below or changing[: max(1, len(changing) // 4)])

    def fill_outputs(self, rows: Sequence[int], kl: np.ndarray, same_choices: np.ndarray) -> None:
        """Fill in KL and first choices of some layers.

        Args:
            rows: the layers.
            kl, same_choices: `[1 + rows, T]`, the unchanged run first.
        """
        self.unchanged_kl[1:] = np.fmax(self.unchanged_kl[1:], kl[0, 1:])
        self.kl[rows, 1:] = kl[1:, 1:]
        self.kept[rows, 1:] = same_choices[1:, 1:]


@dataclass(frozen=True, kw_only=True)
class ReducedOutput(Reduced):
    """The output without layers: means over every token but token 0, of one or more prompts.

    Attributes:
        kl: KL(p || p~) without each layer, in nats.
        kl_blocks: `kl` over blocks of tokens.
        choices: the share of first choices that stay without each layer.
        noise: KL in runs with nothing changed.
        together: the share of prompts that leave out a layer together with others.
        together_kl, together_choices: KL and first choices without these layers; NaN where unknown.
        together_apart: the sum of the KL without each of these by itself; NaN where unknown.
    """

    block_fields: ClassVar = {"kl": "kl_blocks"}

    kl: ByLayer
    kl_blocks: BlocksByLayer = None
    choices: ByLayer
    noise: float
    together: ByLayer
    together_kl: float
    together_choices: float
    together_apart: float

    @property
    def bar(self) -> float:
        """The least KL at which a layer changes the output."""
        return bar(self.noise)

    @property
    def rounding(self) -> float:
        """The KL up to which an output is indistinguishable from the whole model's."""
        return rounding(self.noise)

    @property
    def changing(self) -> np.ndarray:
        """The layers that change the output when they are left out."""
        return np.flatnonzero(self.kl >= self.bar)


@dataclass(frozen=True, kw_only=True)
class ReducedAblation(MeanLoss):
    """Ablation of one or more prompts: means over the predicted tokens.

    Attributes:
        part, chosen: as in `Ablation`.
        loss: the clean loss.
        loss_change: the change of the loss without each layer.
        output: the output without layers.
    """

    part: str
    loss: float
    loss_change: ByLayer
    chosen: tuple[int, ...]
    output: ReducedOutput

    @property
    def falling(self) -> list[int]:
        """The layers that change the output and without which the loss falls, beyond its noise."""
        layers = self.output.changing.tolist()
        return [layer for layer in layers if self.loss_change[layer] < -2 * self.noise]

    @property
    def can_go(self) -> list[int] | None:
        """The layers without each of which `MOST_CHOICES` stay; None where not all were tried."""
        choices = self.output.choices
        if self.part != "layer" or not np.isfinite(choices).all():
            return None
        return np.flatnonzero(choices >= MOST_CHOICES - _OF_A_MEAN).tolist()


def _reduce(result: Ablation, run: RunResult, tokens: slice) -> ReducedAblation | None:
    if result.kl.shape[1] < 2:
        return None
    return ReducedAblation.over(result, run, tokens, output=_output(result))


def _output(result: Ablation) -> ReducedOutput:
    kl, same_choices, is_together = (
        np.where(values < 0, np.nan, values) for values in (result.kl, result.kept, result.together)
    )
    means = token_mean(kl[:, 1:])
    left_out = is_together == 1
    return ReducedOutput(
        tokens=kl.shape[1] - 1,
        kl=means,
        kl_blocks=block_means(kl[:, 1:]),
        choices=token_mean(same_choices[:, 1:]),
        noise=float(token_mean(result.unchanged_kl[1:])),
        together=is_together.astype(np.float64),
        together_kl=result.together_kl,
        together_choices=result.together_choices,
        together_apart=float(means[left_out].sum()) if left_out.any() else math.nan,
    )


def _work(result: RunResult) -> float:
    reads = len(measured_layers(result)) + 1
    last_run = 1 + head(result) if result.settings.skip_part == "layer" else 0
    return layer_calls(result) / result.model.n_layers + reads * head(result) + last_run


def _summary(ablation: ReducedAblation, pooled: Pooled) -> dict[str, Any]:
    return {
        "part": ablation.part,
        "loss": ablation.loss,
        "loss_change": ablation.loss_change,
        "floor": ablation.floor,
        "mean_floor": ablation.noise,
        **_output_summary(ablation.output),
        **({} if ablation.can_go is None else {"can_go": ablation.can_go}),
        **chosen_key(ablation.chosen),
    }


def _output_summary(output: ReducedOutput) -> dict[str, Any]:
    values: dict[str, Any] = {
        "kl": output.kl,
        "choices": output.choices,
        "kl_floor": output.noise,
    }
    if not np.isfinite(output.together_kl):
        return values
    together = {
        "layers": output.together,
        "count": output.together.sum(),
        "kl": output.together_kl,
        "choices": output.together_choices,
        "apart": output.together_apart,
    }
    return {**values, "together": together}


def _findings(ablation: ReducedAblation, pooled: Pooled) -> list[Finding]:
    words = left_out_words(ablation.part, ablation.chosen, pooled.n_layers, pooled.stand_in)

    def remark(values: Sequence[float]) -> str:
        loss_changes = ", ".join(f"{value:+.3g}" for value in values)
        return f"loss {loss_changes} nats{words}"

    lines = useful_layers(ablation.loss_change, remark)
    floor = ablation.noise_floor(METRIC.title)
    floor = replace(floor, value=f"{floor.value}; KL {ablation.output.noise:.2g} nats")
    return [*lines, *_output_findings(ablation, words), floor]


def _output_findings(ablation: ReducedAblation, words: str) -> Iterator[Finding]:
    output = ablation.output
    n_measured = int(np.isfinite(output.kl).sum())
    if n_measured:
        falls = f"the loss falls without {len(ablation.falling)} of them"
        yield Finding(
            "Layers that change the output",
            f"{len(output.changing)} of {n_measured}",
            f"KL {output.bar:.2g} nats or more, left out one at a time; {falls}{words}",
        )
    if np.isfinite(output.together_kl):
        count = float(output.together.sum())
        yield Finding(
            "Cheapest layers together",
            f"{output.together_kl:.3g} nats",
            f"KL without the {count:.3g} that cost least, {_left_out(output.together)}; "
            f"{output.together_choices:.0%} of first choices stay; one at a time they cost "
            f"{output.together_apart:.3g} in sum",
        )
    if (layers := ablation.can_go) is not None:
        remark = _can_go_words(layers, output) + words
        yield Finding("Single layers that can go", f"{len(layers)} of {n_measured}", remark)


def _can_go_words(layers: Sequence[int], output: ReducedOutput) -> str:
    """Whether a single layer can be left out, and which, in words."""
    if len(layers) > 1:
        return (
            f"without any one of layers {numbers_text(layers)} the output keeps "
            f"{MOST_CHOICES:.0%} of its first choices or more"
        )
    least = int(np.lexsort((output.kl, -output.choices))[0])
    # Rounded down: 89.6% is no nine tenths.
    percent = math.floor(100 * (output.choices[least] + _OF_A_MEAN))
    kept_share = f"the output keeps {percent}% of its first choices"
    if layers:
        return f"without layer {least} {kept_share}"
    return f"no single layer can go: without the least useful one (layer {least}) {kept_share}"


def _left_out(shares: np.ndarray) -> str:
    """The layers left out together, in words; each of several prompts may have its own."""
    if not set(shares) <= {0, 1}:
        return "each prompt's own"
    layers = np.flatnonzero(shares).tolist()
    return f"{noun_for(len(layers), 'layer')} {numbers_text(layers)}"


def _per_layer(ablation: ReducedAblation) -> list[LayerValues]:
    output = ablation.output
    reading = "0.05: the layer changes the output. KL of the whole model's output, p."
    choices = "1: every first choice stays without the layer; 0: none does."
    return [
        LayerValues("loss change", ablation.loss_change, "without the layer, nats", of_layer=True),
        LayerValues(
            "output KL", output.kl, "KL(p ‖ p without the layer), nats", reading, of_layer=True
        ),
        LayerValues(
            "choices kept", output.choices, "share that stays without it", choices, of_layer=True
        ),
    ]


COUNT_MEASURE = CountMeasure(
    "causal", "ablation", "ablation", "that change the output when left out"
)


def _evidence(ablation: ReducedAblation, pooled: Pooled) -> list[LayerCount]:
    """How many layers change the output when they are left out, one at a time.

    The least KL of a change is `CHANGED`, or twice the noise where higher; a fifth less and
    a fifth more give the range. No evidence from sublayers: a layer without its attention is not
    left out.
    """
    if ablation.part != "layer":
        return []
    output, n_layers = ablation.output, pooled.n_layers
    if len(ablation.chosen) not in (0, n_layers):
        words = layers_words(ablation.chosen, n_layers)
        return [COUNT_MEASURE.unknown(f"only {words} were left out")]
    if words := progress_words(np.isfinite(output.kl)):
        return [COUNT_MEASURE.unknown(words)]
    changing, variants = output.changing, []
    for share in (1 - FIFTH, 1 + FIFTH):
        threshold = max(share * CHANGED, 2 * output.noise)
        other = int((output.kl >= threshold).sum())
        reason = (
            f"{len(changing)} change it by {output.bar:.2g} nats or more, "
            f"{other} by {threshold:.2g}"
        )
        variants.append(Variant(other, reason))
    curve = evidence_curve(output.kl, output.bar, f"KL ≥ {output.bar:.2g} nats")
    interval = pooled.interval(
        [part.output if part else None for part in pooled.reduced(METRIC)],
        lambda means: (means >= output.bar).sum(axis=1),
        "kl",
    )
    falls = f" (the loss falls without {len(ablation.falling)})" if ablation.falling else ""
    measure = replace(COUNT_MEASURE, meaning=f"{COUNT_MEASURE.meaning}{falls}")
    return [measure.counted(len(changing), variants, changing, curve, interval)]


METRIC = Metric(
    name="ablation",
    title="Ablation",
    description=(
        "The change of loss and output when a layer is left out: the ground truth for pruning."
    ),
    formula=(
        "leave a layer out everywhere; change of the loss, `KL(p ‖ p~)` of the output, and the "
        "share of first choices that stay"
    ),
    reading=(
        "Nats of loss, and of KL, without this layer. The loss may fall although the output "
        "changes; KL is 0 only where nothing changes. From 0.05 nats on, a layer changes the "
        "output."
    ),
    look_for=(
        "Layers near 0 can be left out one at a time. Together they may cost far more than "
        "their sum: the line on the cheapest layers shows how much."
    ),
    source="Leave-one-out; beside other ways to prune in Men et al., arXiv 2403.03853",
    cost="L forwards, half of each",
    work=_work,
    result=Ablation,
    needs=(needs.clean_run, needs.lens, needs.split, needs.mean_update),
    memory=row_of_logits,
    depends_on=("skip_part", "layers", *STAND_INS),
    measures=(loss_measure(Ablation, "loss_change", "ablation", "Ablation loss"),),
    reduced=ReducedAblation,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    evidence=_evidence,
)
