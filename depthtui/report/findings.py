"""What runs of one model found beyond the effective depth: pooled over prompts, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from depthtui.data.results import (
    Ablation,
    LogitLens,
    RunResult,
    Settling,
    Similarity,
    SkipEffects,
    SummarySettings,
)
from depthtui.errors import DepthError
from depthtui.metrics.catalog import METRICS
from depthtui.metrics.depth_score import depth_score, downstream_effect
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.lens_margin import lens_margin
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.pruning import best_block, least_useful, pruned_share, usefulness
from depthtui.metrics.settling_depth import settling_depth, share_of_late
from depthtui.report.silenced import PART_NAMES

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Where the early-exit curve is read."""

CONFIDENCE = 0.9
"""The confidence that is told of in words."""

SETTLED = 0.5
"""Divergence in nats, at most log 2, below which a token's prediction has settled."""

_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One line of the table of other metrics."""

    title: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Pooled:
    """Runs of one model taken together; None where no run, or not every one, has the metric.

    Skip effects are the maximum over prompts, as in the paper; means are weighted by tokens.
    The causal metrics are pooled over those prompts that have them.
    """

    results: Sequence[RunResult]
    settings: SummarySettings

    @cached_property
    def skip_effects(self) -> SkipEffects | None:
        """`positions` are those of all prompts, one after another."""
        found = [(each.skip_effects, len(each.tokens)) for each in self.results]
        parts = [(part, n_tokens) for part, n_tokens in found if part is not None]
        if not parts:
            return None
        weights = [sum(n_tokens - t for t in part.positions) for part, n_tokens in parts]
        known = [part for part, _ in parts]
        return SkipEffects(
            known[0].part,
            tuple(position for part in known for position in part.positions),
            np.max([part.layers for part in known], axis=0),
            np.average([part.mean_layers for part in known], axis=0, weights=weights),
            np.max([part.output for part in known], axis=0),
        )

    @cached_property
    def ablation(self) -> Ablation | None:
        """The tokens of all prompts that predict another, one after another."""
        known = [each.ablation for each in self.results if each.ablation is not None]
        if not known:
            return None
        loss = self._joined([part.loss[None] for part in known])[0]
        change = self._joined([part.loss_change for part in known])
        return Ablation(known[0].part, loss, change) if loss.size else None

    @cached_property
    def similarity(self) -> Similarity | None:
        """The tokens of all prompts, one after another, and means over those."""
        known = [each.similarity for each in self.results if each.similarity is not None]
        influences = [part.block_influence[:, self._first :] for part in known]
        weights = [each.shape[1] for each in influences]
        if not sum(weights):
            return None
        with_first = self.settings.include_first_token
        name = "angular_distance" if with_first else "angular_distance_without_first"
        distances = [
            getattr(part, name) * weight / sum(weights)
            for part, weight in zip(known, weights, strict=True)
            if weight
        ]
        distance = np.sum(distances, axis=0)
        return Similarity(np.concatenate(influences, axis=1), distance, distance)

    @cached_property
    def settling(self) -> Settling | None:
        """The tokens of all prompts, one after another."""
        known = [each.settling for each in self.results if each.settling is not None]
        if not known:
            return None
        return _unless_empty(Settling(self._joined([part.divergence for part in known])))

    @cached_property
    def erasure(self) -> np.ndarray | None:
        """The largest effect on the answer of erasing one token of the question, `[L+1]`."""
        known = [each.residual_erasure for each in self.results if each.residual_erasure]
        # The question's last token is left out: it says the answer's first, at any depth.
        parts = [each.effect[:, : max(0, each.answer_start - 1)] for each in known]
        effects = [each.max(axis=1) for each in parts if each.size]
        return np.max(effects, axis=0) if effects else None

    @cached_property
    def completeness_error(self) -> np.ndarray | None:
        """The largest of the prompts, `[L]`."""
        known = [each.integrated_gradients for each in self.results if each.integrated_gradients]
        return np.max([each.completeness_error for each in known], axis=0) if known else None

    @property
    def by_layer(self) -> dict[str, np.ndarray]:
        """What there is for each layer, `[L]`, or for each depth, `[L+1]`, by title."""
        skip, ablation, similarity = self.skip_effects, self.ablation, self.similarity
        lens, settling = self.logit_lens, self.settling
        found = {
            "output effect": None if skip is None else skip.output,
            "loss change": None if ablation is None else usefulness(ablation),
            "block influence": None if similarity is None else usefulness(similarity),
            "margin": None if lens is None else lens_margin(lens).mean(axis=1),
            "divergence": None if settling is None else settling.divergence.mean(axis=1),
            "erasure": self.erasure,
            "completeness error": self.completeness_error,
        }
        return {title: values for title, values in found.items() if values is not None}

    @cached_property
    def logit_lens(self) -> LogitLens | None:
        """The tokens of all prompts, one after another; every prompt must be read whole."""
        lenses = [each.logit_lens for each in self.results]
        known = [each for each in lenses if each is not None and (each.top_ids[..., 0] >= 0).all()]
        if not known or len(known) < len(lenses):
            return None
        arrays: dict[str, Any] = {
            each.name: self._joined([getattr(lens, each.name) for lens in known])
            for each in fields(LogitLens)
            if each.name != "vocabulary"
        }
        lens = LogitLens(**arrays)
        return lens if lens.kl.size else None

    def _joined(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([each[:, self._first :] for each in rows], axis=1)

    @property
    def _first(self) -> int:
        """The first token that counts."""
        return 0 if self.settings.include_first_token else 1


def findings(results: Sequence[RunResult], settings: SummarySettings) -> list[Finding]:
    """The other metrics that were computed, in words; then those that could not be."""
    pooled = Pooled(results, settings)
    n_layers = results[0].model.n_layers
    lines: list[Finding] = []
    if pooled.skip_effects is not None:
        lines += _depth_score(pooled.skip_effects, n_layers)
    ranked = pooled.ablation if pooled.ablation is not None else pooled.similarity
    if ranked is not None:
        lines += _usefulness(ranked)
    if pooled.similarity is not None:
        lines += _best_block(pooled.similarity, pruned_share(n_layers))
    if pooled.logit_lens is not None:
        lines += _from_lens(pooled.logit_lens, n_layers)
    if pooled.settling is not None:
        lines += _settling(pooled.settling, n_layers)
    lines += _completeness(results)
    return lines + unavailable(results)


def unavailable(results: Sequence[RunResult]) -> list[Finding]:
    """Why metrics that were asked for cannot be had, and for how many prompts."""
    lines = []
    for metric in METRICS:
        reasons = [reason for each in results if (reason := each.unavailable.get(metric.name))]
        for reason in dict.fromkeys(reasons):
            count = reasons.count(reason)
            share = f" ({count} of {len(results)} prompts)" if len(results) > 1 else ""
            lines.append(Finding(metric.title, "–", reason.rstrip(".") + share))
    return lines


def _depth_score(skip: SkipEffects, n_layers: int) -> list[Finding]:
    by = {"output": skip.output, "later layers": downstream_effect(skip)}
    scores = {name: depth_score(effects) for name, effects in by.items()}
    known = {name: score for name, score in scores.items() if np.isfinite(score)}
    value = " and ".join(f"{score:.1f}" for score in known.values())
    remark = "skipping a layer changes nothing"
    if known:
        remark = f"by effect on {' and '.join(known)}{_only(skip.part)}"
    return [Finding("DepthScore", f"{value} of {n_layers}" if known else "–", remark)]


def _only(part: str) -> str:
    """What was left out of a layer, where that is not all of it."""
    return "" if part == "layer" else f"; only the {PART_NAMES[part]} left out"


def _usefulness(ranked: Ablation | Similarity) -> list[Finding]:
    sign, remark = "", "block influence {}"
    if isinstance(ranked, Ablation):
        sign, remark = "+", f"loss {{}} nats{_only(ranked.part)}"
    order, values = least_useful(ranked, len(usefulness(ranked))), usefulness(ranked)

    def line(title: str, layers: list[int]) -> Finding:
        shown = ", ".join(f"{values[each]:{sign}.3g}" for each in layers)
        return Finding(title, ", ".join(map(str, layers)), remark.format(shown))

    if not order:
        return []
    return [
        line("Most useful layers", order[::-1][:_NAMED]),
        line("Least useful layers", order[:_NAMED]),
    ]


def _best_block(similarity: Similarity, n: int) -> list[Finding]:
    try:
        first, distance = best_block(similarity, n)
    except DepthError:
        return []
    layers = f"layer {first}" if n == 1 else f"layers {first} to {first + n - 1}"
    return [Finding("Best block to prune", layers, f"n = {n}, angular distance {distance:.3f}")]


def _from_lens(lens: LogitLens, n_layers: int) -> list[Finding]:
    depth = float(np.mean(prediction_depth(lens)))
    leaving = early_exit(lens, CONFIDENCE)
    saved = f"saves {leaving.layers_saved:.1f} of {n_layers} layers"
    agreement = f"{leaving.agreement:.1%} agree with the output"
    return [
        Finding("Prediction depth", f"{depth:.1f} of {n_layers}", "first choice stays"),
        Finding(f"Early exit at {CONFIDENCE:g}", saved, agreement),
    ]


def _settling(settling: Settling, n_layers: int) -> list[Finding]:
    depth = float(np.mean(settling_depth(settling, SETTLED)))
    late = share_of_late(settling, SETTLED)
    remark = f"JSD < {SETTLED:g} nats; {late:.0%} late"
    return [Finding("Settling depth", f"{depth:.1f} of {n_layers}", remark)]


def _completeness(results: Sequence[RunResult]) -> list[Finding]:
    known = [each.integrated_gradients for each in results if each.integrated_gradients is not None]
    errors = [np.asarray(each.completeness_error) for each in known]
    if not errors or not any(np.isfinite(each).any() for each in errors):
        return []
    largest = max(float(np.nanmax(each)) for each in errors if np.isfinite(each).any())
    missed = sum(
        int((np.isfinite(each.completeness_error) & ~each.reached.astype(bool)).sum())
        for each in known
    )
    wanted = f"wanted {known[0].tolerance:.3g}"
    if missed:
        wanted += f"; missed in {missed} layer{'' if missed == 1 else 's'}"
    return [Finding("Completeness error", f"at most {largest:.2%}", wanted)]


def _unless_empty(settling: Settling) -> Settling | None:
    return settling if settling.divergence.size else None
