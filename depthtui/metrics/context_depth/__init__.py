"""Until which layer the tokens before still matter to those that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.verdict import Evidence
from depthtui.metrics.evidence import FELT, FIFTH, Counted, Variant, read_off, so_far
from depthtui.metrics.noise import mean_noise
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import first_of_last_run
from depthtui.metrics.spec import (
    Finding,
    LayerValues,
    Measure,
    Metric,
    PromptMetrics,
    clean_run,
    floor_of,
    head,
    lens,
    noise_floor,
    row_of_logits,
    weighted_mean,
)

NAME = "context_depth"

SHARE = 0.1
"""The share of what the context is worth below which the loss is small."""

COUNTED = Counted("causal", NAME, "context depth", "until the context needs no more layers")

KEYS_VALUES = 1 / 6
"""What the keys and values of a token cost, as a share of its whole layer."""


@dataclass
class ContextDepth(MetricResult):
    """What the loss gains where the tokens before `start` skip all layers from one on.

    Attributes:
        loss_change: row k is the loss with layers k … L - 1 left out at tokens 0 … start - 1,
            less the clean one, in nats; column j is that of token j + 1, NaN before those from
            `start` on. NaN in rows that are not known yet.
        without_context: the same where these tokens are read after token 0 alone.
        unchanged: the size of such a change in a run that goes the same way with nothing left
            out.
        start: the first token that is run in full; the first of the answer where there is one.
    """

    noise = ("unchanged",)

    loss_change: Annotated[np.ndarray, Shape("L+1", "T-1")]
    without_context: Annotated[np.ndarray, Shape("T-1")]
    unchanged: Annotated[np.ndarray, Shape("T-1")]
    start: int

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row is, `[L+1]`."""
        return np.asarray(np.isfinite(self.loss_change[:, self.start - 1 :]).all(axis=1))

    @property
    def floor(self) -> float:
        """The largest change of a token's loss with nothing left out."""
        return float(np.nanmax(np.abs(self.unchanged), initial=0.0))


def start_of(result: RunResult) -> int:
    """The first token that is run in full: the answer's first, else the middle one."""
    n_tokens = len(result.tokens)
    return result.answer_start if result.answer_start < n_tokens else n_tokens // 2


@dataclass(frozen=True)
class ContextCurve:
    """The loss by depth over some tokens, and the depth that follows.

    Attributes:
        loss: `[L+1]`, row k the mean change of the loss with layers from k on left out before.
        worth: what the context is worth: the mean change with token 0 alone before.
        tokens: how many they are.
        noise: what rounding leaves in these means, in nats.
    """

    loss: np.ndarray
    worth: float
    tokens: int
    noise: float = 0.0

    @property
    def threshold(self) -> float:
        """What is a small loss, in nats."""
        return min(SHARE * self.worth, FELT)

    @property
    def depth(self) -> int | None:
        """The layers that the context needs, 0 … L.

        The smallest k from which on the loss stays below the threshold. None where it is worth
        no more than rounding, or some depths are not known yet.
        """
        tells = self.threshold > self.noise and not self.so_far
        return self._depth(self.threshold) if tells else None

    @property
    def so_far(self) -> str:
        """How much of the curve is known, in words; empty for all of it."""
        return so_far(np.isfinite(self.loss[1:]))

    def _depth(self, threshold: float) -> int:
        return int(first_of_last_run(self.loss[:, None] < threshold)[0])

    def evidence(self) -> Evidence:
        """The depth as a count, with its range where the threshold is moved."""
        count = self.depth
        if count is None:
            why = self.so_far or f"the context is worth {self.worth:.2g} nats, too little to tell"
            return COUNTED.unknown(why)
        variants = []
        for moved in (-FIFTH, FIFTH):
            other = self._depth(self.threshold * (1 + moved))
            # The last depth that is too much for one of the two thresholds, and not for the other.
            beside = max(other, count) - 1
            reason = (
                f"the loss at depth {beside} is {self.loss[beside]:.2g} nats beside a threshold "
                f"of {self.threshold:.2g}"
            )
            variants.append(Variant(other, reason))
        if self.tokens == 1:
            variants.append(Variant(None, "it is of one token alone"))
        curve = read_off(self.loss[1:], self.threshold, f"< {self.threshold:.2g} nats")
        return COUNTED.weighed(count, len(self.loss) - 1, variants, curve=curve)


@dataclass(frozen=True)
class PooledContext:
    """Context depth of one or more prompts.

    Attributes:
        curve: over all tokens from the starts on.
        later: over those of them that are predicted by a token that is run in full: all but
            the first of each prompt. None where there are none.
        by_prompt: each prompt's start and curve; None where it has none.
        floor: the largest change of a token's loss with nothing left out.
    """

    curve: ContextCurve
    later: ContextCurve | None
    by_prompt: list[tuple[int, ContextCurve] | None]
    floor: float


def curve_of(known: list[ContextDepth], skipped: int = 0) -> ContextCurve | None:
    """The means over the predicted tokens of some prompts, without the first `skipped` of each."""
    columns = [slice(found.start - 1 + skipped, None) for found in known]

    def joined(name: str) -> np.ndarray:
        rows = [np.atleast_2d(getattr(found, name)) for found in known]
        parts = [part[:, kept] for part, kept in zip(rows, columns, strict=True)]
        return np.concatenate(parts, axis=1)

    loss = joined("loss_change")
    if not loss.size:
        return None
    worth = joined("without_context").mean(dtype=np.float64)
    return ContextCurve(
        loss.mean(axis=1, dtype=np.float64),
        float(worth),
        loss.shape[1],
        mean_noise(joined("unchanged")),
    )


def _pool(pooled: Pooled) -> PooledContext | None:
    found = pooled.by_prompt(ContextDepth) or []
    known = pooled.known(ContextDepth)
    curve = curve_of(known) if known else None
    if curve is None:
        return None
    curves = [
        None if one is None or (own := curve_of([one])) is None else (one.start, own)
        for one in found
    ]
    return PooledContext(curve, curve_of(known, 1), curves, max(one.floor for one in known))


def _summary(context: PooledContext, pooled: Pooled) -> dict[str, Any]:
    found = context.by_prompt
    return {
        NAME: {
            "starts": [None if one is None else one[0] for one in found],
            "loss": context.curve.loss,
            "per_prompt": [None if one is None else one[1].loss for one in found],
            "worth": context.curve.worth,
            "depth": context.curve.depth,
            "floor": context.floor,
            "later_tokens": None if context.later is None else _keys(context.later),
        }
    }


def _keys(curve: ContextCurve) -> dict[str, Any]:
    return {"loss": curve.loss, "worth": curve.worth, "depth": curve.depth}


def _findings(context: PooledContext, pooled: Pooled) -> list[Finding]:
    lines = [_line("Context depth", context.curve, pooled.n_layers)]
    if context.later is not None:
        later = _line("Context depth, later tokens", context.later, pooled.n_layers)
        lines.append(replace(later, remark=f"{later.remark}; the verdict counts these"))
    noise = f"{context.curve.noise:.2g} nats, of one token {context.floor:.2g}"
    return [*lines, noise_floor(METRIC.title, noise)]


def _line(title: str, curve: ContextCurve, n_layers: int) -> Finding:
    tokens = f"{curve.tokens} token{'s' * (curve.tokens > 1)}"
    worth = f"the context is worth {curve.worth:.2g} nats over {tokens}"
    if curve.depth is None:
        return Finding(title, "–", curve.so_far or f"{worth}, too little to tell")
    small = f"the layers above, left out before, cost less than {curve.threshold:.2g} nats"
    return Finding(title, f"{curve.depth} of {n_layers} layers", f"{small}; {worth}")


def _per_layer(context: PooledContext) -> list[LayerValues]:
    caption = "the tokens before skip layers l and later, nats"
    return [LayerValues("context loss", context.curve.loss, caption)]


def _cell_means(prompts: PromptMetrics) -> dict[str, float]:
    """The depths of the cell: of the mean curves of its prompts' tokens."""
    curves = zip(("context depth", "context depth, later tokens"), _curves(prompts), strict=True)
    depths = {title: curve.depth for title, curve in curves if curve is not None}
    return {title: float(depth) for title, depth in depths.items() if depth is not None}


def _curves(prompts: PromptMetrics) -> tuple[ContextCurve | None, ContextCurve | None]:
    """The curve over the tokens of some prompts, and that over their later ones."""
    found = [(metrics[NAME], n_tokens) for metrics, n_tokens in prompts if NAME in metrics]
    known = [
        (one, n_tokens - start)
        for one, n_tokens in found
        for start in one["starts"]
        if start is not None
    ]
    later = [(one["later_tokens"], weight - 1) for one, weight in known if one["later_tokens"]]
    return _mean_curve(known), _mean_curve(later)


def _mean_curve(curves: list[tuple[dict[str, Any], int]]) -> ContextCurve | None:
    """The mean of some prompts' curves as a summary holds them, weighted by their tokens."""
    if not curves:
        return None
    losses = np.array([curve["loss"] for curve, _ in curves], float)
    worth = weighted_mean([(curve["worth"], weight) for curve, weight in curves])
    weights = [weight for _, weight in curves]
    return ContextCurve(np.average(losses, axis=0, weights=weights), worth, sum(weights))


def _evidence(context: PooledContext, pooled: Pooled) -> list[Evidence]:
    """The depth of the later tokens: the first is predicted from h_k itself, as by a lens."""
    return [_evidence_of(context.later)]


def _cell_evidence(
    prompts: PromptMetrics, other_prompts: PromptMetrics, n_layers: int
) -> list[Evidence]:
    curve, later = _curves(prompts)
    return [] if curve is None else [_evidence_of(later)]


def _evidence_of(later: ContextCurve | None) -> Evidence:
    if later is not None:
        return later.evidence()
    why = "one token alone is run in full, and that is read off h_k itself, as by a lens"
    return COUNTED.unknown(why)


def _has_context(result: RunResult) -> str:
    """A need: a token before the first that is run in full."""
    if len(result.tokens) < 2:
        return "the prompt is a single token"
    if start_of(result) < 1:
        return "the answer begins at the first token, so nothing comes before it"
    return ""


def _work(result: RunResult) -> float:
    """Each run begins behind the first skipped layer, an unchanged one before the first of all.

    The last token is not run. Of the tokens before, keys and values alone are made; the tokens
    behind token 0 alone are one more forward.
    """
    count, n_tokens, start = result.model.n_layers, len(result.tokens), start_of(result)
    later = n_tokens - start
    runs = (count + count * (count - 1) / 2) / count
    layers = runs * (later - 1 + KEYS_VALUES * start) * (later > 1) + 1 + later
    return (layers + (count + 4) * later * head(result)) / n_tokens


def _map(result: RunResult) -> np.ndarray | None:
    """The change of the loss `[L+1, T]`; the last token predicts no other."""
    found = result.get(ContextDepth)
    if found is None:
        return None
    return np.pad(found.loss_change, ((0, 0), (0, 1)), constant_values=np.nan)


METRIC = Metric(
    name=NAME,
    title="Context depth",
    tells="Until which layer the tokens before the answer still matter to it.",
    formula=(
        "tokens before the answer (or before the middle) skip layers k … L - 1, later ones read "
        "what `h_k` gives there; change of the loss, and the smallest k from which on it stays "
        "below a tenth of what these tokens are worth, at most 0.05 nats"
    ),
    reading=(
        "Nats of loss where the context runs layers 0 … k - 1 alone; at k = L it is 0. The depth "
        "is the least k from which on the answer does not miss the other layers of the context. "
        "The verdict leaves out the answer's first token, which is read off h_k itself, as by a "
        "lens."
    ),
    look_for=(
        "A fall within a few layers: there the answer has read what it needs. A hump means that "
        "half-made keys and values are worse than earlier ones."
    ),
    source="Defined here, after arXiv 2409.03621",
    cost="L forwards of the answer, half of each and resumed",
    work=_work,
    result=ContextDepth,
    compute="depthtui.metrics.context_depth.compute:compute",
    needs=(clean_run, lens, _has_context),
    memory=row_of_logits,
    depends_on=("answer_start",),
    measures=(
        Measure(
            NAME,
            "Context loss",
            "loss change, nats",
            _map,
            diverging=True,
            reads_residual=True,
            floor=floor_of(ContextDepth),
        ),
    ),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    cell_means=_cell_means,
    evidence=_evidence,
    cell_evidence=_cell_evidence,
)
