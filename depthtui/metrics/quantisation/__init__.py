"""The change of the output when only one layer's weights are rounded to 8 or 4 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import plural
from depthtui.metrics import needs
from depthtui.metrics.choices import chosen_key, layers_words, measured_layers
from depthtui.metrics.costs import MemoryNeed, Sizes, head, row_of_logits
from depthtui.metrics.evidence import CountInterval
from depthtui.metrics.loss_change import LossChange, MeanLoss
from depthtui.metrics.measures import values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import lowest
from depthtui.metrics.reduced import BlocksByLayer, ByLayer, token_mean
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric, noise_floor
from depthtui.sizes import format_size

NAME = "quantisation"

BITS = (8, 4)
"""The bits of a rounded weight, in the order of `Quantisation.changes`."""

FORMATS = {8: "Q8_0", 4: "Q4_0"}
"""llama.cpp's names of blocks of weights, by bits."""

STORED_BITS = {8: 8.5, 4: 4.5}
"""Stored bits per weight, including the scale of a block of 32."""

FULL_BITS = 16
"""Bits of a weight that is not rounded."""

HALF = 0.5
"""The least share of the summed KL that the layers to keep at 8 bits have."""


@dataclass
class Quantisation(LossChange):
    """The change of the output when the linear weights of one layer are rounded.

    They are rounded to the blocks of llama.cpp's `Q8_0` and `Q4_0` (see
    `tracing.rounded_weights`); the products themselves are not rounded. The changes of loss and KL
    are of the predictions of tokens 1 … T-1, all in float32 where weights are stored in 16 bits.

    Attributes:
        loss: negative log-likelihood of the token after each, clean, in nats.
        loss_change_8, loss_change_4: the loss with layer l rounded to 8 or 4 bits, minus `loss`;
            NaN for a layer that was not chosen, or that has not been rounded yet.
        kl_8, kl_4: KL(p || p~), p the whole model's output, in nats; NaN likewise.
        unchanged_kl: the largest KL in runs with nothing changed.
        weights: how many weights of the layer are rounded.
        whole_rows: how many of its linear weights are not rounded, since their rows cannot be
            cut into blocks of 32.
    """

    noise = ("unchanged", "unchanged_kl")
    changes = ("loss_change_8", "loss_change_4")

    loss: Annotated[np.ndarray, Shape("T-1")]
    loss_change_8: Annotated[np.ndarray, Shape("L", "T-1")]
    loss_change_4: Annotated[np.ndarray, Shape("L", "T-1")]
    kl_8: Annotated[np.ndarray, Shape("L", "T-1")]
    kl_4: Annotated[np.ndarray, Shape("L", "T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    unchanged_kl: Annotated[np.ndarray, Shape("T-1")]
    weights: Annotated[np.ndarray, Shape("L", dtype=np.int64)]
    whole_rows: Annotated[np.ndarray, Shape("L", dtype=np.int64)]
    chosen: tuple[int, ...] = ()

    @property
    def keep_high(self) -> KeepHigh:
        """The layers to keep at 8 bits where the others have 4."""
        return KeepHigh.of(token_mean(self.kl_4), self.weights)

    @property
    def kl_floor(self) -> float:
        """The largest KL of a token in runs with nothing changed."""
        return float(np.nan_to_num(self.unchanged_kl).max(initial=0.0))

    def fill_outputs(self, rows: Sequence[int], kl: np.ndarray) -> None:
        """Fill in the KL of some layers.

        Args:
            rows: the layers.
            kl: `[1 + 2 rows, T]`: first of the unchanged run, then for each layer of each number
                of bits.
        """
        kl = kl[:, :-1]
        self.unchanged_kl[:] = np.fmax(self.unchanged_kl, kl[0])
        self.kl_8[rows], self.kl_4[rows] = kl[1::2], kl[2::2]


@dataclass(frozen=True, kw_only=True)
class ReducedQuantisation(MeanLoss):
    """Rounded layers of one or more prompts: means over the predicted tokens.

    Attributes:
        loss: the clean loss.
        loss_change_8, loss_change_4, kl_8, kl_4, weights, whole_rows, chosen: as of
            `Quantisation`.
        kl_4_blocks: `kl_4` over blocks of tokens.
        kl_noise: KL in runs with nothing changed.
    """

    means_of: ClassVar = {"kl_noise": "unchanged_kl"}
    block_fields: ClassVar = {"kl_4": "kl_4_blocks"}

    loss: float
    loss_change_8: ByLayer
    loss_change_4: ByLayer
    kl_8: ByLayer
    kl_4: ByLayer
    kl_4_blocks: BlocksByLayer = None
    kl_noise: float
    weights: ByLayer
    whole_rows: ByLayer
    chosen: tuple[int, ...]

    @property
    def keep_high(self) -> KeepHigh:
        """The layers to keep at 8 bits where the others have 4."""
        return KeepHigh.of(self.kl_4, self.weights)

    def saved(self, bits: int) -> np.ndarray:
        """Bytes that rounding a layer saves compared with 16 bits a weight, `[L]`."""
        return self.weights * (FULL_BITS - STORED_BITS[bits]) / 8


@dataclass(frozen=True)
class KeepHigh:
    """The layers to keep at 8 bits where the others have 4.

    They are the fewest layers with half of the summed cost of rounding single layers to 4 bits.
    The cost is KL, which is never negative, so that costs add up.

    Attributes:
        layers: the layers, the highest cost first; empty where no layer has a cost.
        share: their share of the summed cost.
        extra_bytes: how many more bytes they take in 8 bits than in 4.
    """

    layers: tuple[int, ...]
    share: float
    extra_bytes: float

    @classmethod
    def of(cls, kl: np.ndarray, weights: np.ndarray, count: int = 0) -> KeepHigh:
        """Choose the layers by the cost of each.

        Args:
            kl: KL of each layer rounded to 4 bits, `[L]`; NaN where unknown.
            weights: how many weights of each layer are rounded, `[L]`.
            count: how many layers; 0 for the fewest with half of the sum.
        """
        ranked = lowest(-kl, len(kl))
        total = float(np.nansum(kl))
        if not total > 0:
            return cls((), 0.0, 0.0)
        layers = ranked[: count or int(counts_to_half(kl[None])[0])]
        extra = weights[layers].sum() * (STORED_BITS[8] - STORED_BITS[4]) / 8
        return cls(tuple(layers), float(kl[layers].sum()) / total, float(extra))

    @property
    def option(self) -> str:
        r"""The option of `llama-quantize` that keeps these layers at 8 bits; empty for none.

        It is `--tensor-type PATTERN=TYPE`, with an ECMAScript regular expression that is
        searched for in the name of a tensor, such as `blk.12.ffn_down.weight`
        (`tools/quantize/README.md` and `llama_tensor_get_type` of `src/llama-quant.cpp` in
        ggml-org/llama.cpp; for examples see its pull request 12511). Dots in brackets need no
        backslash, which a shell or Markdown might take away.
        """
        if not self.layers:
            return ""
        numbers = "|".join(map(str, sorted(self.layers)))
        return f'--tensor-type "blk[.]({numbers})[.]={FORMATS[8].lower()}"'


def counts_to_half(kl: np.ndarray) -> np.ndarray:
    """How many layers, the highest cost first, have half of the cost, `[rows]` of `[rows, L]`.

    0 where no layer has a cost; unknown layers count as having none.
    """
    falling = -np.sort(-np.nan_to_num(kl), axis=1)
    sums = np.cumsum(falling, axis=1)
    total = sums[:, -1:]
    # A sum in another order may fall short of half by rounding.
    counts = (sums < HALF * total * (1 - 1e-9)).sum(axis=1) + 1
    return np.where(total[:, 0] > 0, counts, 0)


def _interval(pooled: Pooled) -> CountInterval | None:
    """The interval of the number of layers with half of the sum."""
    return pooled.interval(pooled.reduced(METRIC), counts_to_half, "kl_4")


def _rank_interval(pooled: Pooled, layer: int) -> CountInterval | None:
    """The interval of a layer's rank; the layer of highest cost has rank 1."""
    return pooled.interval(
        pooled.reduced(METRIC), lambda kl: (kl >= kl[:, [layer]]).sum(axis=1), "kl_4"
    )


def _ends(interval: CountInterval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _summary(quantisation: ReducedQuantisation, pooled: Pooled) -> dict[str, Any]:
    keep_high = quantisation.keep_high
    return {
        "loss": quantisation.loss,
        **{f"loss_change_{bits}": getattr(quantisation, f"loss_change_{bits}") for bits in BITS},
        **{f"kl_{bits}": getattr(quantisation, f"kl_{bits}") for bits in BITS},
        **{f"saved_bytes_{bits}": quantisation.saved(bits) for bits in BITS},
        "weights": quantisation.weights,
        "whole_rows": quantisation.whole_rows,
        "keep_high": {
            "layers": list(keep_high.layers),
            "share": keep_high.share,
            "extra_bytes": keep_high.extra_bytes,
            "interval": _ends(_interval(pooled)),
            "rank_intervals": [_ends(_rank_interval(pooled, layer)) for layer in keep_high.layers],
            "option": keep_high.option,
        },
        "floor": quantisation.floor,
        "mean_floor": quantisation.noise,
        "kl_floor": quantisation.kl_noise,
        **chosen_key(quantisation.chosen),
    }


def _findings(quantisation: ReducedQuantisation, pooled: Pooled) -> Iterator[Finding]:
    some = layers_words(quantisation.chosen, pooled.n_layers)
    of_some = f"; of {some}" if some else ""
    for bits in BITS:
        kl, loss = getattr(quantisation, f"kl_{bits}"), getattr(quantisation, f"loss_change_{bits}")
        if not np.isfinite(kl).any():
            continue
        dearest = int(np.nanargmax(kl))
        yield Finding(
            f"Layers rounded to {bits} bits",
            f"{np.nansum(kl):.3g} nats",
            f"KL, one at a time, in sum; loss {np.nansum(loss):+.3g}; most by layer {dearest}, "
            f"{kl[dearest]:.3g}; all save {format_size(quantisation.saved(bits).sum())}{of_some}",
        )
    if np.isfinite(quantisation.kl_4).any():
        yield _keep_high_line(quantisation, pooled)
    if n_unrounded := quantisation.whole_rows.sum():
        share = n_unrounded / (n_unrounded + quantisation.weights.sum())
        yield Finding(
            "Weights that are not rounded",
            f"{share:.0%}",
            "of the linear ones: their rows are no multiple of 32 long",
        )
    of_loss = f"loss {quantisation.noise:.2g}, of one token {quantisation.floor:.2g}"
    floors = f"KL {quantisation.kl_noise:.2g} nats, {of_loss}"
    yield noise_floor(METRIC.title, floors)


def _keep_high_line(quantisation: ReducedQuantisation, pooled: Pooled) -> Finding:
    title, keep_high = "Layers to keep at 8 bits", quantisation.keep_high
    if not keep_high.layers:
        return Finding(title, "none", "rounding to 4 bits costs nothing")
    interval = _interval(pooled)
    of_them = "" if interval is None else f" ({_range(interval)} over {interval.over})"
    cost = plural(len(keep_high.layers), "layer costs", "layers cost")
    remark = (
        f"{cost} {keep_high.share:.0%} of the summed "
        f"KL at 4 bits{of_them}; 8 bits of them take {format_size(keep_high.extra_bytes)} more"
    )
    layers = numbers_text(sorted(keep_high.layers))
    return Finding(title, layers, remark, command=f"llama-quantize {keep_high.option}")


def _range(interval: CountInterval) -> str:
    low, high = int(interval.low), int(interval.high)
    return f"{low} to {high}" if low < high else f"{low}"


def _per_layer(quantisation: ReducedQuantisation) -> list[LayerValues]:
    lines = []
    for bits in reversed(BITS):
        caption = f"KL(p ‖ p with the layer rounded to {bits} bits), nats"
        lines += [
            LayerValues(f"{bits} bits, KL", getattr(quantisation, f"kl_{bits}"), caption),
            LayerValues(f"{bits} bits, loss", getattr(quantisation, f"loss_change_{bits}")),
            LayerValues(f"{bits} bits, MB saved", quantisation.saved(bits) / 1e6),
        ]
    return lines


def _means(quantisation: ReducedQuantisation, pooled: Pooled) -> dict[str, float]:
    is_known = np.isfinite(quantisation.kl_4).any()
    return {f"KL at {bits} bits": _sum(getattr(quantisation, f"kl_{bits}")) for bits in BITS} | {
        "layers to keep high": float(len(quantisation.keep_high.layers)) if is_known else math.nan
    }


def _sum(values: np.ndarray) -> float:
    return float(np.nansum(values)) if np.isfinite(values).any() else math.nan


def _kl_measure(bits: int) -> Measure:
    """The KL of each prediction with a layer rounded; the last token's is not measured."""

    def values(result: Quantisation) -> np.ndarray:
        kl = getattr(result, f"kl_{bits}")
        return np.pad(kl, ((0, 0), (0, 1)), constant_values=np.nan)

    return Measure(
        f"{NAME}_{bits}",
        f"Rounded to {bits} bits",
        "KL(p || p~), nats",
        values_of(Quantisation, values),
        floor=lambda run: result.kl_floor if (result := run.get(Quantisation)) else 0.0,
        reading=f"0: rounding this layer to {FORMATS[bits]} leaves the output as it is.",
        sentence=_sentence,
        command=lambda run: result.keep_high.option if (result := run.get(Quantisation)) else "",
    )


def _sentence(run: RunResult) -> str:
    """Which layers to keep at 8 bits, by one prompt."""
    quantisation = run.get(Quantisation)
    if quantisation is None or not (keep_high := quantisation.keep_high).layers:
        return ""
    return (
        f"keep {numbers_text(sorted(keep_high.layers))} at 8 bits: {keep_high.share:.0%} of the KL"
    )


def _work(result: RunResult) -> float:
    """The work: each run, one per layer and format, begins at its layer; one is unchanged."""
    count, layers = result.model.n_layers, measured_layers(result)
    run = count - layers[0] + sum(len(BITS) * (count - layer) for layer in layers)
    # With 16-bit weights the clean prompt runs once more, in float32.
    again = result.model.dtype != "float32"
    return run / count + again + (len(BITS) * len(layers) + 1) * head(result)


def _overhead(result: RunResult) -> float:
    """The time to round each weight twice."""
    return _ROUNDING * len(measured_layers(result)) / result.model.n_layers


_ROUNDING = 400.0
"""The time to round all layers to 8 and to 4 bits, in tokens through all layers; measured on two
cores."""


def _memory(sizes: Sizes) -> MemoryNeed:
    """The memory of logits to compare, and of one layer's rounded weights; all in float32."""
    need = row_of_logits(sizes) + MemoryNeed(block=4 * sizes.layer_parameters)
    if sizes.item == 4:
        return need
    return need + MemoryNeed(
        layers=sizes.of_layers(4 * sizes.tokens * sizes.width),
        block=2 * 4 * sizes.layer_parameters,
        head=4 * sizes.vocabulary * sizes.width,
    )


def _single_passes(result: RunResult) -> str:
    """A need: each block runs once, as a layer of its own number."""
    if result.model.calls:
        return "its blocks run in passes, and each would be rounded in all of them"
    return ""


def _whole_weights(result: RunResult) -> str:
    """A need: weights that are not quantised yet."""
    quantize = result.model.quantize
    return f"the weights are {quantize} already: load the model as it is" if quantize else ""


METRIC = Metric(
    name=NAME,
    title="Rounded weights",
    description="The layers that must stay at high precision when the model is quantised.",
    formula=(
        "the linear weights of one layer rounded to blocks of 8 or 4 bits (`Q8_0`, `Q4_0`): "
        "`KL(p ‖ p~)` of the output, change of the loss, bytes saved"
    ),
    reading=(
        "Nats of KL where this layer alone is rounded: 0 leaves the output as it is, more "
        "changes it. The layers to keep at 8 bits have half of the sum at 4 bits."
    ),
    look_for=(
        "The few layers that cost most of the sum: they are worth 8 bits. Several layers "
        "together may cost more or less than their sum, and calibrated formats may cost less "
        "than these."
    ),
    source="Blocks: Q8_0 and Q4_0 of llama.cpp; --tensor-type: its pull request 12511",
    cost="2 L forwards, half of each; all weights are rounded twice",
    work=_work,
    overhead=_overhead,
    result=Quantisation,
    needs=(needs.clean_run, needs.lens, needs.second_token, _single_passes, _whole_weights),
    memory=_memory,
    depends_on=("layers",),
    measures=(_kl_measure(4), _kl_measure(8)),
    reduced=ReducedQuantisation,
    reduce=ReducedQuantisation.over,
    summary=_summary,
    findings=_findings,
    means=_means,
    per_layer=_per_layer,
    moved_by_rounding=True,
)
