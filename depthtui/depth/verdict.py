"""The verdict: how many of its layers a model uses here, and how that is known.

Three kinds of evidence, each a count of layers with the range that it moves in: what a lens reads
(the KL and the overlap rule), how the residual stream moves (the cosine rule, and metrics), and
what changes where layers are intervened on (metrics). They are set side by side, and never
averaged into one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from depthtui.data.depth import Curves, PromptCurves
from depthtui.data.generation import Generation
from depthtui.data.lens import LENS_CLASSES, LogitLens
from depthtui.data.lens_view import lens_title
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.effective_depth import depths, mean_curves, parts_of, pool, summarise
from depthtui.depth.evidence import rule_evidence
from depthtui.depth.rules import bridged
from depthtui.depth.spans import spans_of
from depthtui.depth.verdict_words import verdict_sentence
from depthtui.metrics import ALL, METRICS
from depthtui.metrics.evidence import resting_on
from depthtui.metrics.lens_view import all_through
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Metric

KINDS = ("readable", "geometric", "causal")
"""The kinds of evidence, in order."""

_QUICK = 5
"""Forward passes a layer that a quick metric takes at most: the others take some a token too."""


def verdict(results: Sequence[RunResult], settings: SummarySettings) -> Verdict | None:
    """What runs of one model say together; None where nothing was measured that tells.

    Args:
        results: one or more runs of one model, finished or not.
        settings: the lens, the thresholds, and whether token 0 is counted.
    """
    if not results:
        return None
    views = all_through(results, settings.lens)
    pooled = Pooled(views, settings, mean_curves(results, settings))
    evidence = [*_rules(results, settings), *_of_metrics(pooled)]
    tasks = [result.prompt.task for result in results]
    return made_verdict(evidence, results[0].model.n_layers, missing_measures(results), tasks)


def text_verdicts(generation: Generation) -> dict[str, Verdict]:
    """What its lens reads over the tokens of a generated text.

    Returns:
        the verdict over all tokens as `text`; where the model's thinking is marked, that over its
        tokens as `thinking` and that over the others as `answer`.
    """
    settings, written = generation.settings, generation.continuation
    thresholds = SummarySettings(
        settings.kl_threshold, settings.overlap_threshold, lens=settings.lens
    )
    found = {}
    for name, tokens in spans_of(generation).items():
        kl, overlap = written.lens.kl[:, tokens], written.lens.overlap[:, tokens]
        if kl.shape[1]:
            part = _mean_of(kl, overlap)
            evidence = rule_evidence(depths(part.curves, thresholds), [part], thresholds)
            over = made_verdict(evidence, generation.model.n_layers)
            if over is not None:
                found[name] = over
    return found


def made_verdict(
    evidence: Sequence[Evidence],
    n_layers: int,
    missing: Sequence[str] = (),
    tasks: Iterable[str] = (),
) -> Verdict | None:
    """The verdict of some evidence, sorted by kind; None where there is none.

    Args:
        evidence: each measure's count.
        n_layers: L.
        missing: names of the metrics that would tell more.
        tasks: the task of every prompt; untrusted.
    """
    if not evidence:
        return None
    found = tuple(sorted(evidence, key=lambda measure: KINDS.index(measure.kind)))
    words = verdict_sentence(found, n_layers, missing, tuple(dict.fromkeys(tasks)))
    return Verdict(words, found, n_layers, tuple(missing))


def missing_measures(results: Sequence[RunResult]) -> list[str]:
    """Names of the metrics that would tell more: no run has all of them yet, and one may."""
    return [
        metric.name
        for metric in METRICS
        if metric.gives_evidence
        and not any(result.has_all(metric.name) for result in results)
        and any(not metric.why_unavailable(result) for result in results)
    ]


def next_measures(result: RunResult) -> tuple[str, ...]:
    """Names of the metrics to compute next for the verdict of a run.

    The quick ones together, until the run has all that can be had of them; then the others too.
    """
    wanted = [
        metric
        for metric in METRICS
        if metric.gives_evidence and metric.on_demand and not metric.why_unavailable(result)
    ]
    quick = [metric for metric in wanted if is_quick(metric, result)]
    lacking = [
        metric
        for metric in quick
        if metric.name not in result.unavailable
        and not (result.complete and result.has_all(metric.name))
    ]
    return tuple(metric.name for metric in (quick if lacking else wanted))


def is_quick(metric: Metric, result: RunResult) -> bool:
    """Whether a metric of a run is computed in about as long as somebody waits for an answer."""
    return metric.work(result) <= _QUICK * result.model.n_layers


def _rules(results: Sequence[RunResult], settings: SummarySettings) -> list[Evidence]:
    summary = summarise(results, settings)
    if summary is None:
        return []
    other = replace(settings, include_first_token=not settings.include_first_token)
    parts = parts_of(results, settings)
    lenses = _lens_curves(results, settings)
    evidence = rule_evidence(summary.depths, parts, settings, parts_of(results, other), lenses)
    return resting_on(evidence, len(parts), len(results))


def _lens_curves(results: Sequence[RunResult], settings: SummarySettings) -> dict[str, Curves]:
    """Pooled KL and overlap of every lens that all runs have, by the lens's title."""
    first = 0 if settings.include_first_token else 1
    found = {}
    for lens, kind in LENS_CLASSES.items():
        known = [read for result in results if (read := result.get(kind)) is not None]
        parts = [_read(read, first) for read in known]
        if len(parts) == len(results) and all(part.n_tokens for part in parts):
            found[lens_title(lens)] = bridged(pool(parts), replace(settings, lens=lens))
    return found


def _read(lens: LogitLens, first: int) -> PromptCurves:
    return _mean_of(lens.kl[:, first:], lens.overlap[:, first:])


def _mean_of(kl: np.ndarray, overlap: np.ndarray) -> PromptCurves:
    """Means over the tokens of `[L+1, tokens]`."""
    n_tokens = kl.shape[1]
    if not n_tokens:
        return PromptCurves(0, Curves())
    means = (values.mean(axis=1, dtype=np.float64) for values in (kl, overlap))
    return PromptCurves(n_tokens, Curves(**dict(zip(("kl", "overlap"), means, strict=True))))


def _of_metrics(pooled: Pooled) -> list[Evidence]:
    return [
        evidence
        for metric in ALL
        if metric.gives_evidence and (value := pooled.get(metric)) is not None
        for evidence in resting_on(
            metric.evidence(value, pooled), pooled.count(metric), len(pooled.results)
        )
    ]
