"""The layers at which an adapter moves the residual stream: the model beside its base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.measures import array
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByDepth, ByLayer, Reduced
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric

NAME = "adapter"

PARTS = ("attention", "mlp")

FLOOR = 1e-6
"""Shares of the stream up to this are rounding; those of a layer with the base's weights are 0."""


@dataclass
class AdapterChange(MetricResult):
    """A model with an adapter (h', f') beside its base (h, f), norms at each token.

    NaN where attention and MLP are not separate, and without a lens.

    Attributes:
        stream: |h'_l - h_l| / |h_l|: how far the streams of the two are apart.
        layer: |f'(h') - f(h')| / |h'|: how far the layer's update is from that of the base's layer
            on the same stream.
        attention, mlp: the same for the updates of attention and MLP, each on the same input.
        loss_change: loss of the token after each, with the adapter minus without, in nats.
    """

    stream: Annotated[np.ndarray, Shape("L+1", "T")]
    layer: Annotated[np.ndarray, Shape("L", "T")]
    attention: Annotated[np.ndarray, Shape("L", "T")]
    mlp: Annotated[np.ndarray, Shape("L", "T")]
    loss_change: Annotated[np.ndarray, Shape("T-1")]


@dataclass(frozen=True, kw_only=True)
class ReducedAdapterChange(Reduced):
    """Means over the tokens of one or more prompts, as in `AdapterChange`."""

    stream: ByDepth
    layer: ByLayer
    attention: ByLayer
    mlp: ByLayer
    mean_loss_change: float

    @property
    def first(self) -> tuple[int, str] | None:
        """The first layer that the adapter changes, and its part; None where it changes none."""
        changed = np.flatnonzero(self.layer > FLOOR)
        if not len(changed):
            return None
        layer = int(changed[0])
        parts = [part for part in PARTS if getattr(self, part)[layer] > FLOOR]
        return layer, parts[0] if parts else "layer"

    @property
    def most(self) -> tuple[int, str]:
        """The layer that the adapter changes most, and which part of that layer it changes more."""
        layer = int(self.layer.argmax())
        values = {part: float(getattr(self, part)[layer]) for part in PARTS}
        parts = [part for part, value in values.items() if np.isfinite(value)]
        return layer, max(parts, key=lambda part: values[part], default="layer")

    @property
    def around_most(self) -> range:
        """The most changed layer, with those on both sides that change at least half as much."""
        first = last = int(self.layer.argmax())
        enough = self.layer >= self.layer[first] / 2
        while first > 0 and enough[first - 1]:
            first -= 1
        while last < len(enough) - 1 and enough[last + 1]:
            last += 1
        return range(first, last + 1)


def _reduce(result: AdapterChange, run: RunResult, tokens: slice) -> ReducedAdapterChange | None:
    losses = result.loss_change[tokens]
    mean = float(losses.mean(dtype=np.float64)) if losses.size else float("nan")
    return ReducedAdapterChange.over(result, run, tokens, mean_loss_change=mean)


def _summary(change: ReducedAdapterChange, pooled: Pooled) -> dict[str, Any]:
    places = {"first": change.first, "most": change.most if change.first else None}
    return {
        "stream": change.stream,
        "layer": change.layer,
        "attention": change.attention,
        "mlp": change.mlp,
        "loss_change": change.mean_loss_change,
        **{
            name: None if place is None else {"layer": place[0], "part": place[1]}
            for name, place in places.items()
        },
    }


def _findings(change: ReducedAdapterChange, pooled: Pooled) -> Iterator[Finding]:
    if change.first is None:
        distance = float(change.stream[-1])
        words = "no layer" if distance <= FLOOR else "no layer, but the embedding"
        yield Finding("Changed by the adapter", words, "")
    else:
        where = "those before it do as the base's" if change.first[0] else ""
        yield Finding("First layer that the adapter changes", _in_words(*change.first), where)
        layer, around = change.most[0], change.around_most
        remark = f"its work differs by {change.layer[layer]:.2g} of |h|, on the same stream"
        if len(around) > 1:
            remark += f"; half as much or more in layers {around[0]} to {around[-1]}"
        yield Finding("Layer that the adapter changes most", _in_words(*change.most), remark)
    end = float(change.stream[-1])
    remark = "of |h| without it, at the output"
    if end > FLOOR and (half := int((change.stream >= end / 2).argmax())):
        remark += f"; half of that after layer {half - 1}"
    yield Finding("Stream moved by the adapter", f"{end:.2g}", remark)
    if np.isfinite(change.mean_loss_change):
        words = f"{change.mean_loss_change:+.3g} nats"
        yield Finding("Loss with the adapter", words, "beside the base's, on these tokens")


def _in_words(layer: int, part: str) -> str:
    return f"layer {layer}" if part == "layer" else f"layer {layer}, {PART_TITLES[part]}"


def _per_layer(change: ReducedAdapterChange) -> list[LayerValues]:
    columns = [
        LayerValues("stream moved", change.stream, _STREAM, _STREAM_READING),
        LayerValues("adapter's layer", change.layer, _LAYER, _LAYER_READING),
        LayerValues("adapter's attention", change.attention),
        LayerValues("adapter's MLP", change.mlp),
    ]
    return [values for values in columns if np.isfinite(values.values).any()]


def _has_adapter(result: RunResult) -> str:
    """A need: an adapter is merged into the model."""
    return "" if result.model.spec.adapter else "the model has no adapter (--adapter)"


_STREAM = "|h' - h| / |h|"
_LAYER = "|f'(h') - f(h')| / |h'|"
_STREAM_READING = "0.3: the adapter moves the stream by 0.3 of its length."
_LAYER_READING = (
    "The work of a layer's new weights: 0 where the base's layer would write the same here."
)

METRIC = Metric(
    name=NAME,
    title="Adapter",
    description=(
        "The layers that an adapter changes, and how far it moves the stream from its base's."
    ),
    formula=(
        "with an adapter (h', f') and without (h, f): `|h' - h| / |h|`; "
        "`|f'(h') - f(h')| / |h'|` of layer, attention and MLP; change of the loss"
    ),
    reading=_STREAM_READING + " " + _LAYER_READING,
    look_for=(
        "The first layer that the adapter changes, those that it changes most, and whether "
        "later layers bring the stream back. A large change need not matter: the change of the "
        "loss shows its effect on these prompts."
    ),
    source="Defined here",
    cost="4 forwards; reads the base again",
    work=lambda result: 4.0 + 2 * head(result),
    result=AdapterChange,
    needs=(needs.clean_run, needs.layers_here, needs.unbroken_stream, _has_adapter),
    reruns_layers=False,
    memory=row_of_logits,
    measures=(
        Measure(
            "adapter_stream",
            "Moved by the adapter",
            _STREAM,
            array(AdapterChange, "stream"),
            reads_residual=True,
            reading=_STREAM_READING,
        ),
        Measure(
            "adapter_layer",
            "Adapter's layer",
            _LAYER,
            array(AdapterChange, "layer"),
            reading=_LAYER_READING,
        ),
    ),
    reduced=ReducedAdapterChange,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    means=lambda change, pooled: {
        "moved by the adapter": float(change.stream[-1]),
        "loss with the adapter": change.mean_loss_change,
    },
    per_layer=_per_layer,
)
