"""Which experts a router chooses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import attention_of_a_token
from depthtui.metrics.evidence import progress_words
from depthtui.metrics.measures import array, values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByLayer, Reduced, largest
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric

NAME = "experts"


@dataclass
class ChosenExperts(MetricResult):
    """The chosen experts of each layer at each token, the largest weight first.

    Attributes:
        entropy: entropy of the chosen experts' weights, normalised to a sum of 1, in nats; NaN
            in a layer without experts.
        numbers: indices of the experts; -1 for none.
        weights: the experts' weights, as the layer multiplies by them.
        done: whether each layer has run.
        n_experts: the most experts of a layer, from which it chooses.
        notes: why layers lack some of these, each reason once.
        error: by how much the experts' sum misses the output of their block, over the largest
            element of the output, at the last token; the largest of all layers.
    """

    entropy: Annotated[np.ndarray, Shape("L", "T")]
    numbers: Annotated[np.ndarray, Shape("L", "K", "T", dtype=np.int32)]
    weights: Annotated[np.ndarray, Shape("L", "K", "T")]
    done: Annotated[np.ndarray, Shape("L", dtype=np.bool_)]
    n_experts: int = 0
    notes: tuple[str, ...] = ()
    error: float = 0.0

    @property
    def is_known(self) -> np.ndarray:
        return self.done


@dataclass(frozen=True, kw_only=True)
class ReducedExperts(Reduced):
    """Experts of one or more prompts.

    Attributes:
        entropy: mean over tokens, as in `ChosenExperts`.
        chosen: at how many tokens each expert of a layer is among the chosen.
        done: the share of the prompts in which each layer has run.
        notes, error: as in `ChosenExperts`.
    """

    pools: ClassVar = {"error": largest}

    entropy: ByLayer
    chosen: Annotated[np.ndarray, Shape("L", "E", dtype=np.int64)]
    done: ByLayer
    notes: tuple[str, ...]
    error: float

    @property
    def has_experts(self) -> np.ndarray:
        """Whether each layer has experts, `[L]`."""
        return np.asarray(self.chosen.any(axis=1))

    @property
    def used(self) -> np.ndarray:
        """How many experts of each layer were chosen at all, `[L]`; NaN without experts."""
        return np.where(self.has_experts, (self.chosen > 0).sum(axis=1), np.nan)

    @property
    def largest_share(self) -> np.ndarray:
        """The share of tokens at which a layer's most used expert is chosen, `[L]`."""
        return np.where(self.has_experts, self.chosen.max(axis=1, initial=0) / self.tokens, np.nan)


def _reduce(result: ChosenExperts, run: RunResult, tokens: slice) -> ReducedExperts | None:
    numbers = result.numbers[:, :, tokens]
    count = max(result.n_experts, int(numbers.max(initial=-1)) + 1)
    chosen = np.zeros((len(numbers), count), np.int64)
    layer, place, token = np.nonzero(numbers >= 0)
    np.add.at(chosen, (layer, numbers[layer, place, token]), 1)
    return ReducedExperts.over(result, run, tokens, chosen=chosen)


def _summary(experts: ReducedExperts, pooled: Pooled) -> dict[str, Any]:
    notes = {"notes": list(experts.notes)} if experts.notes else {}
    most = np.where(experts.has_experts, experts.chosen.argmax(axis=1), -1)
    return {
        "entropy": experts.entropy,
        "experts": experts.chosen.shape[1],
        "used": experts.used,
        "most_used": most,
        "most_used_share": experts.largest_share,
        "error": experts.error,
        **notes,
    }


def _findings(experts: ReducedExperts, pooled: Pooled) -> Iterator[Finding]:
    layers = int(experts.has_experts.sum())
    if not layers:
        return
    progress = progress_words(experts.done == 1)
    total = layers * experts.chosen.shape[1]
    remark = f"in {layers} of {pooled.n_layers} layers, {experts.tokens} tokens"
    words = f"{int(np.nansum(experts.used))} of {total}"
    yield Finding("Experts used", words, remark + (f"; {progress}" if progress else ""))
    layer = int(np.nanargmax(experts.largest_share))
    expert = int(experts.chosen[layer].argmax())
    share = f"{experts.largest_share[layer]:.0%} of tokens"
    yield Finding("Most used expert", f"expert {expert} of layer {layer}", share)


def _per_layer(experts: ReducedExperts) -> list[LayerValues]:
    return [
        LayerValues(
            "expert entropy", experts.entropy, "H(weights of the chosen), nats", of_layer=True
        ),
        LayerValues("experts used", experts.used),
    ]


def _first(experts: ChosenExperts) -> np.ndarray:
    """The expert with the largest weight, `[L, T]`; NaN for none."""
    if not experts.numbers.shape[1]:
        return np.full_like(experts.entropy, np.nan)
    first = experts.numbers[:, 0]
    return np.where(first >= 0, first, np.nan).astype(np.float32)


METRIC = Metric(
    name=NAME,
    title="Experts",
    description=(
        "The experts that each layer chooses for each token, and how evenly it weighs them."
    ),
    formula="numbers and weights of the chosen; entropy of these weights, made to add up to 1",
    reading="0: one of the chosen experts has all the weight; log k: all k have the same.",
    look_for=(
        "Experts that are chosen for a kind of token, and those that no token needs. The page "
        "of a layer shows what each is worth at a token: routing alone predicts little of it."
    ),
    source="Shazeer et al., arXiv 1701.06538; what routing tells: arXiv 2606.10703",
    cost="1 forward",
    work=lambda result: 1.0,
    result=ChosenExperts,
    needs=(needs.clean_run, needs.experts),
    memory=attention_of_a_token,
    measures=(
        Measure(
            "expert_entropy",
            "Expert entropy",
            "H(weights of the chosen), nats",
            array(ChosenExperts, "entropy"),
        ),
        Measure(
            "expert_first",
            "First expert",
            "number of the expert with the largest weight",
            values_of(ChosenExperts, _first),
            reading="Where tokens have one colour, the layer sends them to one expert.",
        ),
    ),
    reduced=ReducedExperts,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
)
