"""Until which layer the earlier tokens still matter to the tokens that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.metrics import needs
from depthtui.metrics.choices import STAND_INS, left_out_words
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import (
    FELT,
    FIFTH,
    CountInterval,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
    not_of_others,
    progress_words,
)
from depthtui.metrics.loss_change import LossChange, MeanLoss, loss_measure
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import first_of_last_run
from depthtui.metrics.reduced import BlocksByDepth, ByDepth, Reduced
from depthtui.metrics.spec import Finding, LayerValues, Metric

NAME = "context_depth"

SHARE = 0.1
"""The loss is small below this share of the context's worth."""

COUNT_MEASURE = CountMeasure(
    "causal", NAME, "context depth", "until the context needs no more layers"
)

KEYS_VALUES = 1 / 6
"""The cost of a token's keys and values, as a share of its whole layer."""


@dataclass
class ContextDepth(LossChange):
    """The rise of the loss where the tokens before `start` skip all layers from one on.

    Attributes:
        loss_change: row k is the change with layers k … L - 1 left out at tokens 0 … start - 1
            (see `LossChange`); NaN before the column of token `start`.
        without_context: the change where the tokens from `start` on are read after token 0 alone.
        start: the first token that is run in full; the first of the answer where there is one.
    """

    loss_change: Annotated[np.ndarray, Shape("L+1", "T-1")]
    without_context: Annotated[np.ndarray, Shape("T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    start: int

    @property
    def columns(self) -> slice:
        return slice(self.start - 1, None)


def start_of(result: RunResult) -> int:
    """The first token that is run in full: the answer's first, else the middle one."""
    n_tokens = len(result.tokens)
    return result.answer_start if result.answer_start < n_tokens else n_tokens // 2


@dataclass(frozen=True, kw_only=True)
class ContextCurve(MeanLoss):
    """The loss by depth over some tokens, and the depth that follows from it.

    Attributes:
        loss: row k is the mean change of the loss with layers from k on left out at the context.
        worth: the worth of the context: the mean change with token 0 alone as context.
    """

    means_of: ClassVar = {"loss": "loss_change", "worth": "without_context"}
    block_fields: ClassVar = {"loss": "loss_blocks", "worth": "worth_blocks"}

    loss: ByDepth
    loss_blocks: BlocksByDepth = None
    worth: float
    worth_blocks: Annotated[np.ndarray, Shape("B", dtype=np.float64)] | None = None

    @property
    def threshold(self) -> float:
        """The loss below which it counts as small, in nats."""
        return min(SHARE * self.worth, FELT)

    @property
    def depth(self) -> int | None:
        """The layers that the context needs, 0 … L.

        The smallest k from which on the loss stays below the threshold. None where the context is
        worth no more than rounding, or some depths are not known yet.
        """
        is_conclusive = self.threshold > self.noise and not self.progress_words
        return self._depth(self.threshold) if is_conclusive else None

    @property
    def progress_words(self) -> str:
        """How much of the curve is known, in words; empty for the whole curve."""
        return progress_words(np.isfinite(self.loss[1:]))

    def _depth(self, threshold: float) -> int:
        return int(first_of_last_run(self.loss[:, None] < threshold)[0])

    def evidence(self, interval: CountInterval | None = None) -> LayerCount:
        """The depth as a count, with moved thresholds and its interval."""
        count = self.depth
        if count is None:
            too_little = f"the context is worth {self.worth:.2g} nats, too little to tell"
            return COUNT_MEASURE.unknown(self.progress_words or too_little)
        variants = []
        for change in (-FIFTH, FIFTH):
            other = self._depth(self.threshold * (1 + change))
            # The last depth whose loss is too high for only one of the two thresholds.
            last_depth = max(other, count) - 1
            reason = (
                f"the loss at depth {last_depth} is {self.loss[last_depth]:.2g} nats beside a "
                f"threshold of {self.threshold:.2g}"
            )
            variants.append(Variant(other, reason))
        if self.tokens == 1:
            variants.append(Variant(None, "it rests on a single token"))
        curve = evidence_curve(self.loss[1:], self.threshold, f"< {self.threshold:.2g} nats")
        # The prompts that need their context longest decide the count; other prompts may need it
        # longer.
        return COUNT_MEASURE.counted(
            count, variants, curve=curve, interval=interval, why_here=not_of_others(interval)
        )


def _depths(loss: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """The depth by each row of means, `[rows]` of `[rows, L+1]` and `[rows]`.

    L where the context is worth nothing.
    """
    threshold = np.minimum(SHARE * worth, FELT)
    return first_of_last_run(threshold > loss.T)


@dataclass(frozen=True, kw_only=True)
class ReducedContext(Reduced):
    """Context depth of one or more prompts.

    Attributes:
        tokens: the number of tokens run in full; token 0 is never among them.
        start: as in `ContextDepth`, of the first prompt.
        curve: the curve over these tokens.
        later: the curve over the tokens predicted by a token that is run in full: all but the first
            of each
            prompt; None where there are none.
    """

    pools: ClassVar = {"start": itemgetter(0)}

    start: int
    curve: ContextCurve
    later: ContextCurve | None


def _reduce(result: ContextDepth, run: RunResult, tokens: slice) -> ReducedContext | None:
    curve = ContextCurve.over(result, run, result.columns)
    if curve is None:
        return None
    later = ContextCurve.over(result, run, slice(result.start, None))
    return ReducedContext(tokens=curve.tokens, start=result.start, curve=curve, later=later)


def _summary(context: ReducedContext, pooled: Pooled) -> dict[str, Any]:
    by_prompt = pooled.reduced(METRIC)
    return {
        "starts": [None if part is None else part.start for part in by_prompt],
        "loss": context.curve.loss,
        "per_prompt": [None if part is None else part.curve.loss for part in by_prompt],
        "worth": context.curve.worth,
        "depth": context.curve.depth,
        "floor": context.curve.floor,
        "later_tokens": None if context.later is None else _keys(context.later),
    }


def _keys(curve: ContextCurve) -> dict[str, Any]:
    return {"loss": curve.loss, "worth": curve.worth, "depth": curve.depth}


def _findings(context: ReducedContext, pooled: Pooled) -> list[Finding]:
    line = _line("Context depth", context.curve, pooled.n_layers)
    words = left_out_words("layer", (), pooled.n_layers, pooled.stand_in)
    lines = [replace(line, remark=line.remark + words)]
    if context.later is not None:
        later = _line("Context depth, later tokens", context.later, pooled.n_layers)
        lines.append(replace(later, remark=f"{later.remark}; the verdict counts these"))
    return [*lines, context.curve.noise_floor(METRIC.title)]


def _line(title: str, curve: ContextCurve, n_layers: int) -> Finding:
    tokens = plural(curve.tokens, "token")
    worth = f"the context is worth {curve.worth:.2g} nats over {tokens}"
    if curve.depth is None:
        return Finding(title, "–", curve.progress_words or f"{worth}, too little to tell")
    small = f"the layers above, left out before, cost less than {curve.threshold:.2g} nats"
    return Finding(title, f"{curve.depth} of {n_layers} layers", f"{small}; {worth}")


def _per_layer(context: ReducedContext) -> list[LayerValues]:
    caption = "the tokens before skip layers l and later, nats"
    return [LayerValues("context loss", context.curve.loss, caption)]


def _means(context: ReducedContext, pooled: Pooled) -> dict[str, float]:
    curves = {"context depth": context.curve, "context depth, later tokens": context.later}
    depths = {title: curve.depth for title, curve in curves.items() if curve is not None}
    return {title: float("nan") if depth is None else depth for title, depth in depths.items()}


def _evidence(context: ReducedContext, pooled: Pooled) -> list[LayerCount]:
    """Evidence from the later tokens: the first is predicted from h_k itself, as by a lens."""
    if context.later is not None:
        later = [part and part.later for part in pooled.reduced(METRIC)]
        return [context.later.evidence(pooled.interval(later, _depths, "loss", "worth"))]
    why = "the answer is too short: it needs two tokens or more"
    return [COUNT_MEASURE.unknown(why)]


def _has_context(result: RunResult) -> str:
    """A need: a token before the first that is run in full."""
    if start_of(result) < 1:
        return "the answer begins at the first token, so nothing comes before it"
    return ""


_LEAST_TOKENS = 17
"""A call of a layer takes the time of this many tokens in addition to its own."""


def _layer_runs(result: RunResult) -> float:
    """The number of layer calls of all resumed runs together."""
    count = result.model.n_layers
    return count + count * (count - 1) / 2


def _work(result: RunResult) -> float:
    """The work: each run begins behind its first skipped layer, an unchanged one before the first.

    The last token is not run. The context's tokens cost only keys and values; the tokens behind
    token 0 alone are one more forward.
    """
    count, n_tokens, start = result.model.n_layers, len(result.tokens), start_of(result)
    later = n_tokens - start
    runs = _layer_runs(result) / count
    layers = runs * (later - 1 + KEYS_VALUES * start) * (later > 1) + 1 + later
    return (layers + (count + 4) * later * head(result)) / n_tokens


def _overhead(result: RunResult) -> float:
    """The time of calling the layers, beside that of their tokens."""
    return _LEAST_TOKENS * _layer_runs(result) / result.model.n_layers


METRIC = Metric(
    name=NAME,
    title="Context depth",
    description="The depth up to which the tokens before the answer still matter to it.",
    formula=(
        "tokens before the answer (or before the middle) skip layers k … L - 1, later ones read "
        "what `h_k` gives there; change of the loss, and the smallest k from which on it stays "
        "below a tenth of what these tokens are worth, at most 0.05 nats"
    ),
    reading=(
        "The loss in nats where the context runs only layers 0 … k - 1; at k = L it is 0. The "
        "depth is the smallest k from which the answer no longer misses the other layers. The "
        "verdict leaves out the answer's first token, which is read from h_k itself, as by a "
        "lens."
    ),
    look_for=(
        "A fall within a few layers: there the answer has read what it needs. A hump: half-made"
        " keys and values are worse than earlier ones."
    ),
    source="Defined here, after arXiv 2409.03621",
    cost="L forwards of the answer, half of each and resumed",
    work=_work,
    overhead=_overhead,
    result=ContextDepth,
    needs=(needs.clean_run, needs.lens, needs.second_token, _has_context),
    memory=row_of_logits,
    depends_on=("answer_start", *STAND_INS),
    measures=(
        loss_measure(ContextDepth, "loss_change", NAME, "Context loss", reads_residual=True),
    ),
    reduced=ReducedContext,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    means=_means,
    evidence=_evidence,
)
