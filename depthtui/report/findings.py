"""A reading's results beyond the effective depth, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from depthtui.data.lens_view import LENS_METRICS, LOGIT, fitted_words
from depthtui.depth import rules
from depthtui.depth.effective_depth import depths
from depthtui.depth.published import (
    STATEMENTS,
    PublishedLayers,
    perplexity_sentences,
    published_layers,
    published_perplexity,
)
from depthtui.depth.reading import Reading
from depthtui.depth.warnings import is_finite
from depthtui.metrics.layer_order import order_words
from depthtui.metrics.reduced_lens import ReducedFittedLens
from depthtui.metrics.registry import ALL, METRIC_BY_NAME, METRICS
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Metric

_FITTED_LENSES = {metric: lens for lens, metric in LENS_METRICS.items() if lens != LOGIT}


def findings(reading: Reading) -> list[Finding]:
    """The other metrics that were computed, in words; then the unavailable ones.

    A reading with values that are not finite yields the unavailable ones alone.
    """
    lines: list[Finding] = []
    if not is_finite(reading):
        return unavailable(reading)
    for metric in ALL:
        if (value := reading.get(metric)) is not None:
            if metric.name in _FITTED_LENSES:
                lines += _by_rules(metric, value, reading)
            lines += metric.findings(value, reading)
    return lines + unavailable(reading)


def _by_rules(metric: Metric, value: ReducedFittedLens, reading: Reading) -> Iterator[Finding]:
    """The depths that a fitted lens reads, and how it was fitted."""
    through = reading.through(_FITTED_LENSES[metric.name])
    words = fitted_words(value.fit)
    for estimate in depths(through.curves, through.settings):
        rule = rules.named(estimate.rule)
        if rule.through_lens:
            count = "none" if estimate.count is None else f"{estimate.count} of {reading.n_layers}"
            yield Finding(f"{metric.title}, {rule.title} rule", count, words)
            words = ""


def by_layer(reading: Reading) -> list[tuple[Metric, LayerValues]]:
    """The values for each layer or each depth, each with its metric."""
    return [
        (metric, values)
        for metric in ALL
        if (value := reading.get(metric)) is not None
        for values in metric.per_layer(value)
    ]


def published_sentences(reading: Reading) -> list[str]:
    """The layers of this model that others publish, a sentence or two for each publication.

    They are like those here, or unlike, only where the measure is the same.
    """
    by_source = groupby(published_layers(reading.model), lambda row: (row.source, row.measure))
    sentences = [_published_sentence(list(rows), reading) for _, rows in by_source]
    perplexity = published_perplexity(reading.model)
    if perplexity is not None:
        sentences.append(perplexity_sentences(perplexity, *_layer_costs(reading)))
    return sentences


def _layer_costs(reading: Reading) -> tuple[np.ndarray | None, str]:
    """The costs without each layer, in nats, or their ranks, `[L]`, and the measure; None unknown.

    By ablation, or else by the model's own order.
    """
    if reading.stand_in or not all(prompt.settings.is_clean for prompt in reading.prompts):
        return None, ""
    ablation, along_order = (reading.get(METRIC_BY_NAME[name]) for name in ("ablation", "kept"))
    is_of_layers = ablation is not None and ablation.part == "layer"
    if is_of_layers and np.isfinite(ablation.loss_change).all():
        return ablation.loss_change, "ablation"
    if along_order is not None and along_order.kind == "model":
        return np.argsort(along_order.order), order_words(along_order.kind, along_order.search)
    return None, ""


def _published_sentence(rows: Sequence[PublishedLayers], reading: Reading) -> str:
    row = rows[0]
    base = ", the base of this model" if row.is_base else ""
    measure = row.measure if row.metric else f"another measure, {row.measure}"
    statements = (STATEMENTS[row.statement].format(", ".join(map(str, row.layers))) for row in rows)
    published = f"Published for {row.model}{base}, by {measure}: "
    published += f"{'; '.join(statements)} ({row.source})."
    values = _layer_values(row, reading)
    if values is None:
        return published
    like, count = "Like" if row.is_like(values) else "Unlike", len(row.layers)
    return (
        f"{like} the published layers: {row.shared(values)} of these {count} are among the "
        f"{count} of least {row.measure} here. {published}"
    )


def _layer_values(row: PublishedLayers, reading: Reading) -> np.ndarray | None:
    """The values by which published layers are ranked, `[L]`; None where they are not known."""
    metric = METRIC_BY_NAME.get(row.metric)
    is_clean = all(prompt.settings.is_clean for prompt in reading.prompts)
    value = reading.get(metric) if metric is not None and is_clean else None
    if metric is None or value is None:
        return None
    by_title = {values.title: values.values for values in metric.per_layer(value)}
    return by_title[row.measure] if np.isfinite(by_title[row.measure]).all() else None


def layer_maps(reading: Reading) -> list[tuple[Metric, LayerMap]]:
    """The pictures of layers x layers or heads, each with its metric."""
    return [
        (metric, picture)
        for metric in ALL
        if (value := reading.get(metric)) is not None
        for picture in metric.maps(value)
    ]


def unavailable(reading: Reading) -> list[Finding]:
    """Why metrics that were asked for are unavailable, and for how many prompts."""
    lines, count = [], len(reading.prompts)
    for metric in METRICS:
        reasons_of_prompts = (reading.unavailable(prompt) for prompt in reading.prompts)
        reasons = [reason for prompt in reasons_of_prompts if (reason := prompt.get(metric.name))]
        for reason in dict.fromkeys(reasons):
            share = f" ({reasons.count(reason)} of {count} prompts)" if count > 1 else ""
            lines.append(Finding(metric.title, "–", reason.rstrip(".") + share))
    return lines
