"""The reads and writes of each attention head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import attention_of_a_token, row_of_logits
from depthtui.metrics.evidence import progress_words
from depthtui.metrics.measures import array, known_mean, values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByLayer, Reduced, largest
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Measure, Metric

NAME = "heads"

ByHeadAndToken: TypeAlias = Annotated[np.ndarray, Shape("L", "H", "T")]
ByHead: TypeAlias = Annotated[np.ndarray, Shape("L", "H", dtype=np.float64)]


@dataclass
class AttentionHeads(MetricResult):
    """The heads of each layer at each token.

    NaN where a layer has not run yet, has no attention weights, or has fewer heads than another.

    Attributes:
        norm: norm of a head's write over that of the residual stream before its layer.
        direct: its share of the logit of the model's most probable next token, minus its share of
            the mean logit over the vocabulary; the final norm's scale is fixed.
        sink: the attention to token 0, together with a learned sink of the head's own.
        entropy: entropy of its attention, in nats; a sink of its own counts as one more token.
        token_ids: the model's most probable next token; -1 without a lens.
        done: whether each layer has run.
        notes: why layers lack some of these, each reason once.
        error: by how much the sum of heads and biases misses the attention's output, over the
            largest element of the output; the largest of all layers.
    """

    norm: ByHeadAndToken
    direct: ByHeadAndToken
    sink: ByHeadAndToken
    entropy: ByHeadAndToken
    token_ids: Annotated[np.ndarray, Shape("T", dtype=np.int64)]
    done: Annotated[np.ndarray, Shape("L", dtype=np.bool_)]
    notes: tuple[str, ...] = ()
    error: float = 0.0

    @property
    def is_known(self) -> np.ndarray:
        return self.done


def head_mean(values: np.ndarray) -> np.ndarray:
    """The mean over the heads of `[L, H, …]`; NaN where there is none."""
    return known_mean(values, axis=1)


@dataclass(frozen=True, kw_only=True)
class ReducedHeads(Reduced):
    """Heads of one or more prompts, as in `AttentionHeads`: means over tokens.

    `last_direct` is `direct` at the last token before the answer, a mean over prompts; `done` is
    the share of the prompts in which each layer has run.
    """

    pools: ClassVar = {"last_direct": partial(np.mean, axis=0), "error": largest}

    norm: ByHead
    sink: ByHead
    entropy: ByHead
    last_direct: ByHead
    done: ByLayer
    notes: tuple[str, ...]
    error: float


def _reduce(result: AttentionHeads, run: RunResult, tokens: slice) -> ReducedHeads | None:
    last = max(0, run.answer_start - 1)
    return ReducedHeads.over(
        result, run, tokens, last_direct=result.direct[:, :, last].astype(np.float64)
    )


def _summary(heads: ReducedHeads, pooled: Pooled) -> dict[str, Any]:
    notes = {"notes": list(heads.notes)} if heads.notes else {}
    return {
        "norm": heads.norm,
        "sink": heads.sink,
        "entropy": heads.entropy,
        "direct": heads.last_direct,
        "error": heads.error,
        **notes,
    }


def _findings(heads: ReducedHeads, pooled: Pooled) -> Iterator[Finding]:
    progress = progress_words(heads.done == 1)
    sinks = head_mean(heads.sink)
    if np.isfinite(sinks).any():
        most = int(np.nanargmax(sinks))
        remark = f"most in layer {most}, {sinks[most]:.0%}; mean over heads"
        without = int((np.isnan(sinks) & (heads.done == 1)).sum())
        if without:
            remark += f"; {without} of {len(sinks)} layers have no attention weights"
        share = f"{np.nanmean(sinks):.0%}"
        yield Finding("Attention to token 0", share, remark + (f"; {progress}" if progress else ""))
    direct = heads.last_direct
    if np.isfinite(direct).any():
        layer, head = np.unravel_index(int(np.nanargmax(direct)), direct.shape)
        remark = (
            f"{direct[layer, head]:+.3g} of the logit of the model's first choice there, minus the "
            "mean of all tokens; at the last token before the answer"
        )
        words = f"head {head} of layer {layer}"
        yield Finding("Head that writes most of the output", words, remark)
    elif direct.size and heads.notes:
        yield Finding("Direct logits of heads", "–", heads.notes[-1])


def _per_layer(heads: ReducedHeads) -> list[LayerValues]:
    sinks, entropies = head_mean(heads.sink), head_mean(heads.entropy)
    spread = "H(attention), nats, mean over heads"
    return [
        LayerValues(
            "sink", sinks, "attention to token 0, mean over heads", _SINK_READING, of_layer=True
        ),
        LayerValues("attention entropy", entropies, spread, _ENTROPY_READING, of_layer=True),
    ]


def _maps(heads: ReducedHeads) -> list[LayerMap]:
    direct = f"{DIRECT.formula}, at the last token before the answer"
    pictures = [
        LayerMap(DIRECT, heads.last_direct, DIRECT.title, direct, "layer", "head"),
        LayerMap(
            NORM, heads.norm, NORM.title, f"{NORM.formula}, mean over tokens", "layer", "head"
        ),
    ]
    return [picture for picture in pictures if np.isfinite(picture.values).any()]


def _mean_of(name: str) -> Callable[[RunResult], np.ndarray | None]:
    return values_of(AttentionHeads, lambda heads: head_mean(getattr(heads, name)))


_SINK_READING = (
    "1: the heads read token 0 alone, where attention goes that is not needed; 0: they read others."
)
_ENTROPY_READING = "0: the heads read one token each; the more, the more tokens share."

DIRECT = Measure(
    "head_direct",
    "Heads, direct logits",
    "W[top-1] N'(head) - mean",
    array(AttentionHeads, "direct"),
    diverging=True,
    columns="heads",
)
"""Layers x heads at a token: each head's share of the logit of the model's first choice."""

NORM = Measure(
    "head_norm",
    "Heads, writes",
    "|head| / |h|",
    array(AttentionHeads, "norm"),
    columns="heads",
    reading="How much a head writes, beside what the stream had before its layer.",
)
"""Layers x heads at a token: how much each writes."""

_OVERHEAD = 120
"""Checking the heads of all layers against their writes costs as much as this many tokens."""

METRIC = Metric(
    name=NAME,
    title="Attention heads",
    description=(
        "The tokens that each head reads, and the heads that write the model's first choice."
    ),
    formula=(
        "of each head: `|W_O z| / |h|`; `W[token] N'(W_O z)` minus the mean over the vocabulary, "
        "the final norm's scale held fixed; attention to token 0; entropy of its attention"
    ),
    reading=(
        "Above 0 a head writes towards the model's first choice, below 0 against it. Heads, "
        "biases, MLPs and embedding add up to its logit."
    ),
    look_for=(
        "The few heads that write most of it. Heads that read only token 0 and write little do "
        "nothing here."
    ),
    source=(
        "Elhage et al., A Mathematical Framework for Transformer Circuits, 2021; sinks: Xiao et "
        "al., arXiv 2309.17453"
    ),
    cost="1 forward",
    work=lambda result: 1.0,
    overhead=lambda result: _OVERHEAD,
    result=AttentionHeads,
    needs=(needs.clean_run, needs.whole_split),
    memory=lambda sizes: row_of_logits(sizes) + attention_of_a_token(sizes),
    measures=(
        Measure(
            "head_sink",
            "Sink share",
            "attention to token 0",
            _mean_of("sink"),
            limits=(0.0, 1.0),
            reading=_SINK_READING,
        ),
        Measure(
            "head_entropy",
            "Head entropy",
            "H(attention), nats",
            _mean_of("entropy"),
            reading=_ENTROPY_READING,
        ),
        DIRECT,
        NORM,
    ),
    reduced=ReducedHeads,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    means=lambda heads, pooled: {"attention to token 0": _known_mean(heads.sink)},
    per_layer=_per_layer,
    maps=_maps,
)


def _known_mean(values: np.ndarray) -> float:
    finite_values = values[np.isfinite(values)]
    return float(finite_values.mean()) if finite_values.size else float("nan")
