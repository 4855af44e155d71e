"""The change of the output when an attention head is left out at all tokens, each by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.metrics import needs
from depthtui.metrics.ablation import CHANGED, bar
from depthtui.metrics.choices import FIRST_KEPT
from depthtui.metrics.costs import attention_of_a_token, head, row_of_logits
from depthtui.metrics.heads import ByHead, head_mean
from depthtui.metrics.measures import array, floor_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced, largest, token_mean
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Measure, Metric, noise_floor

NAME = "head_ablation"

SINK = 0.9
"""The least share of its attention that a head gives to token 0 where it reads no other token."""

_NAMED = 5
"""The most heads that are named."""


@dataclass
class HeadAblation(MetricResult):
    """The change of the output when a head is left out at all tokens.

    A head that is left out passes zeros on to the last projection of its attention.

    Attributes:
        loss_change: the loss of the token after each without the head, minus that of the whole
            model, in nats; NaN where it is not known yet.
        kl: KL(p || p~), p the whole model's output, in nats; NaN at token 0, too.
        kept: 1 where the first choice without the head is the whole model's, else 0; NaN where `kl`
            is.
        unchanged: the largest of each token's KL in runs with nothing changed, in nats.
        sink: each head's mean attention to token 0, together with a sink of its own.
    """

    noise: ClassVar[tuple[str, ...]] = ("unchanged",)

    loss_change: Annotated[np.ndarray, Shape("L", "H", "T-1")]
    kl: Annotated[np.ndarray, Shape("L", "H", "T")]
    kept: Annotated[np.ndarray, Shape("L", "H", "T")]
    unchanged: Annotated[np.ndarray, Shape("T")]
    sink: Annotated[np.ndarray, Shape("L", "H")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each head is known, `[L H]`; one that is not where there is none yet."""
        is_known = np.isfinite(self.loss_change).all(axis=2).ravel()
        return is_known if is_known.size else np.zeros(1, np.bool_)

    @property
    def floor(self) -> float:
        """The largest KL of a token with nothing changed."""
        return float(np.nanmax(self.unchanged, initial=0.0))


@dataclass(frozen=True, kw_only=True)
class ReducedHeadAblation(Reduced):
    """Heads that are left out, of one or more prompts: means over tokens, as in `HeadAblation`.

    `noise` is the mean KL in runs with nothing changed.
    """

    pools: ClassVar = {"floor": largest, "sink": partial(np.mean, axis=0)}

    loss_change: ByHead
    kl: ByHead
    kept: ByHead
    sink: ByHead
    noise: float
    floor: float

    @property
    def changing(self) -> np.ndarray:
        """Whether each head changes the output when it is left out, `[L, H]`."""
        return np.asarray(self.kl >= bar(self.noise))

    @property
    def sinks(self) -> np.ndarray:
        """Whether each head reads token 0 alone, `[L, H]`."""
        return np.asarray(self.sink >= SINK)


def _reduce(result: HeadAblation, run: RunResult, tokens: slice) -> ReducedHeadAblation | None:
    # Token 0 predicts from no context.
    means = {name: token_mean(getattr(result, name)[..., 1:]) for name in ("kl", "kept")}
    noise = float(np.nan_to_num(result.unchanged[1:]).mean())
    sink = result.sink.astype(np.float64)
    return ReducedHeadAblation.over(result, run, tokens, noise=noise, sink=sink, **means)


def names_of(heads: np.ndarray, values: np.ndarray) -> str:
    """Heads by layer and number, such as `5.3, 0.8`, those of the largest values first.

    Args:
        heads: whether each is named, `[L, H]`.
        values: what they are sorted by, `[L, H]`.
    """
    places = sorted(np.argwhere(heads).tolist(), key=lambda place: -values[tuple(place)])
    names = [f"{layer}.{number}" for layer, number in places[:_NAMED]]
    return ", ".join([*names, *(["…"] if len(places) > _NAMED else [])])


def _findings(heads: ReducedHeadAblation, pooled: Pooled) -> Iterator[Finding]:
    is_known = np.isfinite(heads.loss_change)
    if not is_known.any():
        return
    first = f"; {FIRST_KEPT}" if pooled.prompts[0].settings.keep_first_token else ""
    changing, sinks = heads.changing, heads.sinks & is_known
    named = f": {names_of(changing, heads.kl)} (layer.head)" if changing.any() else ""
    yield Finding(
        "Heads that change the output",
        f"{changing.sum()} of {is_known.sum()}",
        f"KL {bar(heads.noise):.2g} nats or more, left out one at a time{named}{first}",
    )
    most = np.unravel_index(int(np.nanargmax(heads.loss_change)), is_known.shape)
    yield Finding(
        "Head that costs most",
        f"head {most[1]} of layer {most[0]}",
        f"the loss is {heads.loss_change[most]:+.3g} nats without it; KL {heads.kl[most]:.3g}; "
        f"{heads.kept[most]:.0%} of first choices stay",
    )
    costly = (
        f"; {plural(int((sinks & changing).sum()), 'of them changes', 'of them change')} the output"
    )
    yield Finding(
        "Heads that read token 0 alone",
        f"{sinks.sum()} of {is_known.sum()}",
        f"{SINK:.0%} of their attention or more{costly if sinks.any() else ''}",
    )
    yield noise_floor(METRIC.title, f"KL {heads.noise:.2g} nats, of one token {heads.floor:.2g}")


def _summary(heads: ReducedHeadAblation, pooled: Pooled) -> dict[str, Any]:
    return {
        "loss_change": heads.loss_change,
        "kl": heads.kl,
        "choices": heads.kept,
        "sink": heads.sink,
        "kl_floor": heads.noise,
    }


def _per_layer(heads: ReducedHeadAblation) -> list[LayerValues]:
    costs = head_mean(heads.loss_change)
    reading = "Nats of loss without one of the layer's heads, mean over heads."
    return [LayerValues("head loss change", costs, "without a head, nats", reading, of_layer=True)]


def _maps(heads: ReducedHeadAblation) -> list[LayerMap]:
    return [
        LayerMap(
            measure, values, measure.title, f"{measure.formula}, mean over tokens", "layer", "head"
        )
        for measure, values in ((LOSS, heads.loss_change), (KL, heads.kl))
        if np.isfinite(values).any()
    ]


def _values(name: str) -> Any:
    return array(HeadAblation, name)


LOSS = Measure(
    "head_loss",
    "Heads left out, loss",
    "loss change, nats",
    lambda run: _padded(_values("loss_change")(run)),
    diverging=True,
    floor=floor_of(HeadAblation),
    columns="heads",
    reading="Above 0 the loss rises without the head.",
)
"""Layers x heads at a token: the change of its loss without each head."""

KL = Measure(
    "head_kl",
    "Heads left out, KL",
    "KL(p ‖ p~), nats",
    _values("kl"),
    floor=floor_of(HeadAblation),
    columns="heads",
    reading=f"From {CHANGED} nats on, a head changes the output.",
)
"""Layers x heads at a token: how far the output moves without each head."""


def _padded(changes: np.ndarray | None) -> np.ndarray | None:
    """Changes `[L, H, T]`, NaN for the last token, which predicts none."""
    return (
        None
        if changes is None
        else np.pad(changes, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    )


def layer_calls(run: RunResult) -> int:
    """The layer calls of one run without each head, from its layer on, and of an unchanged run."""
    n_layers = run.model.n_layers
    return n_layers + run.model.heads * n_layers * (n_layers + 1) // 2


METRIC = Metric(
    name=NAME,
    title="Heads left out",
    description="The change of loss and output when an attention head is left out.",
    formula=(
        "leave a head out everywhere: its part of the input of `W_O` is zero; change of the loss, "
        "`KL(p ‖ p~)` of the output, and the share of first choices that stay"
    ),
    reading=(
        "Nats of loss, and of KL, without this head. With grouped keys and values the head is that "
        "of the query. Others may do the work of a head that is gone, so that it seems to cost "
        "little."
    ),
    look_for=(
        "The few heads that cost much. Heads that read token 0 alone (sinks) often cost nothing. "
        "Heads that are cheap one at a time may cost much together: see Heads kept."
    ),
    source="Michel, Levy and Neubig, Are Sixteen Heads Really Better than One?, arXiv 1905.10650",
    cost="H x L forwards, half of each",
    work=lambda run: (
        layer_calls(run) / run.model.n_layers
        + (run.model.heads * run.model.n_layers + 1) * head(run)
    ),
    result=HeadAblation,
    needs=(
        *(needs.clean_run, needs.lens, needs.whole_split, needs.heads),
        *(needs.second_token, needs.no_mean_update),
    ),
    memory=lambda sizes: row_of_logits(sizes) + attention_of_a_token(sizes),
    depends_on=("ablate", "keep_first_token"),
    measures=(LOSS, KL),
    reduced=ReducedHeadAblation,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    maps=_maps,
)
