"""The lens through a map that was fitted for each depth: what the logit lens may miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from depthtui.data.lens import AffineLens, FittedLens, JacobianLens
from depthtui.data.lens_view import fitted_words
from depthtui.data.selection import numbers_text
from depthtui.metrics.lens_measures import divergence_measure, lens_measures
from depthtui.metrics.lens_rules import crossing_layers, over_missing_maps
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import (
    Finding,
    LayerValues,
    Measure,
    MemoryNeed,
    Metric,
    Sizes,
    clean_run,
    head,
    lens,
    row_of_logits,
)


@dataclass(frozen=True)
class PooledFit:
    """A fitted lens over several prompts: means over their tokens, `[L+1]`.

    Attributes:
        kl, overlap, entropy, divergence: row L is the model's own output.
        one: the lens on one of the prompts, which tells how it was fitted.
    """

    kl: np.ndarray
    overlap: np.ndarray
    entropy: np.ndarray
    divergence: np.ndarray
    one: FittedLens

    @property
    def worse(self) -> list[int]:
        """The depths at which the logit lens reads held-out texts better."""
        return np.flatnonzero(self.one.held_out_kl > self.one.logit_held_out_kl).tolist()


def _pool(kind: type[FittedLens]) -> Callable[[Pooled], PooledFit | None]:
    def pool(pooled: Pooled) -> PooledFit | None:
        known = pooled.known(kind)
        if not known:
            return None
        names = ("kl", "overlap", "entropy", "divergence")
        rows = {name: pooled.joined([getattr(found, name) for found in known]) for name in names}
        if not rows["kl"].size:
            return None
        means = {name: values.mean(axis=1, dtype=np.float64) for name, values in rows.items()}
        return PooledFit(**means, one=known[0])

    return pool


def _summary(name: str) -> Callable[[PooledFit, Pooled], dict[str, Any]]:
    def summary(value: PooledFit, pooled: Pooled) -> dict[str, Any]:
        found = value.one
        return {
            name: {
                "kl": value.kl,
                "overlap": value.overlap,
                "entropy": value.entropy,
                "divergence": value.divergence,
                "lens": {
                    **asdict(found.fit),
                    "held_out_kl": found.held_out_kl,
                    "logit_held_out_kl": found.logit_held_out_kl,
                },
            }
        }

    return summary


def _findings(title: str) -> Callable[[PooledFit, Pooled], list[Finding]]:
    def findings(value: PooledFit, pooled: Pooled) -> list[Finding]:
        settings = pooled.settings
        kl = over_missing_maps(value.kl, falls=True)
        overlap = over_missing_maps(value.overlap, falls=False)
        kl_layer = crossing_layers(kl, settings.kl_threshold, falls=True, of_largest=True)
        overlap_layer = crossing_layers(
            overlap, settings.overlap_threshold, falls=False, of_largest=False
        )
        words = fitted_words(value.one.fit)
        found = [
            Finding(f"{title}, KL rule", _count(kl_layer, pooled.n_layers), words),
            Finding(f"{title}, overlap rule", _count(overlap_layer, pooled.n_layers)),
        ]
        through, plain = value.one.held_out_kl, value.one.logit_held_out_kl
        if np.isfinite(through).any() and np.isfinite(plain).any():
            words = f"KL {np.nanmean(through):.2f} nats, the logit lens {np.nanmean(plain):.2f}"
            worse = value.worse
            depths = "depth" if len(worse) == 1 else "depths"
            remark = f"it reads worse at {depths} {numbers_text(worse)}" if worse else ""
            found.append(Finding(f"{title}, held-out text", words, remark))
        return found

    return findings


def _count(layer: np.ndarray, n_layers: int) -> str:
    return "none" if np.isnan(layer) else f"{int(layer) + 1} of {n_layers}"


def _per_layer(short: str) -> Callable[[PooledFit], list[LayerValues]]:
    def per_layer(value: PooledFit) -> list[LayerValues]:
        return [
            LayerValues(f"{short} KL", value.kl, "KL(p_l || p), nats"),
            LayerValues(f"{short} held-out KL", value.one.held_out_kl),
        ]

    return per_layer


def _measures(kind: type[FittedLens], title: str) -> tuple[Measure, ...]:
    *beside, says_final = lens_measures(kind, title, f"{kind.kind}_")
    divergence = divergence_measure(
        kind,
        f"{kind.kind}_divergence",
        f"{title} settling",
        "0 where the lens is the output, 0.69 where they share nothing.",
    )
    return (*beside, divergence, says_final)


def _memory(sizes: Sizes) -> MemoryNeed:
    """A row of logits, the map of one depth, and what is read through it."""
    return row_of_logits(sizes) + MemoryNeed(head=4 * sizes.width**2 + sizes.residual_bytes)


def _metric(kind: type[FittedLens], title: str, **words: str) -> Metric:
    name = f"{kind.kind}_lens"
    return Metric(
        name=name,
        title=title,
        **words,  # type: ignore[arg-type]
        work=lambda result: (result.model.n_layers + 1) * head(result),
        result=kind,
        compute=f"depthtui.metrics.fitted_lens.compute:{name}",
        reruns_layers=False,
        through=kind.kind,
        needs=(clean_run, lens),
        memory=_memory,
        depends_on=("top_k", "lens_texts", "lens_ridge"),
        measures=_measures(kind, title),
        pool=_pool(kind),
        summary=_summary(name),
        findings=_findings(title),
        per_layer=_per_layer(kind.kind),
    )


AFFINE = _metric(
    AffineLens,
    "Affine lens",
    tells="What each depth says once it is brought into the last one's basis.",
    formula=(
        "`p_l = softmax(W N(A_l x + b_l))`, `x = h_l / rms(h_l)`: ridge regression on "
        "`h_L / rms(h_L)`, drawn to the identity; the logit lens's quantities"
    ),
    cost="1 forward and the LM head at every depth; once a model, a fit on texts it writes",
    reading=(
        "As the logit lens, without the basis that early layers write in: what is told of the "
        "output is what a straight map can find, not what is written out."
    ),
    look_for=(
        "Depths at which it reads much closer to the output than the logit lens; what held-out "
        "text says of each."
    ),
    source="After the tuned lens, Belrose et al., arXiv 2303.08112, in closed form",
)

JACOBIAN = _metric(
    JacobianLens,
    "Jacobian lens",
    tells="What each depth adds, on average, to all outputs that follow.",
    formula=(
        "`p_l = softmax(W N(J_l h_l))`, `J_l` the mean derivative of later `h_L` by `h_l`; the "
        "logit lens's quantities"
    ),
    cost="1 forward and the LM head at every depth; once a model, a fit by backward passes",
    reading=(
        "What the residual stream at a depth adds, on average and to first order, to this output "
        "and those that follow; not what the output is."
    ),
    look_for="Tokens that come up long before they are said, which the logit lens has no sign of.",
    source="Transformer Circuits, 2026 (transformer-circuits.pub/2026/workspace)",
)
