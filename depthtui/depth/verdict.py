"""The verdict: how many of its layers a model uses here, and how that is known.

Three kinds of evidence, each a count of layers with the range that it moves in: what a lens reads
(the KL and the overlap rule), how the residual stream moves (the cosine rule, and metrics), and
what changes where layers are intervened on (metrics). They are set side by side, and never
averaged into one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from depthtui.data.depth import Curves, PromptCurves
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence, Verdict
from depthtui.depth.effective_depth import mean_curves, parts_of, pool, summarise
from depthtui.depth.evidence import rule_evidence
from depthtui.depth.verdict_words import verdict_sentence
from depthtui.metrics import ALL, METRIC_BY_NAME, METRICS
from depthtui.metrics.pooling import Pooled

KINDS = ("readable", "geometric", "causal")
"""The kinds of evidence, in order."""


def verdict(results: Sequence[RunResult], settings: SummarySettings) -> Verdict | None:
    """What runs of one model say together; None where nothing was measured that tells.

    Args:
        results: one or more runs of one model, finished or not.
        settings: the thresholds, and whether token 0 is counted.
    """
    if not results:
        return None
    pooled = Pooled(results, settings, mean_curves(results, settings))
    evidence = [*_rules(results, settings), *_of_metrics(pooled)]
    return made_verdict(evidence, results[0].model.n_layers, missing_measures(results))


def made_verdict(
    evidence: Sequence[Evidence], n_layers: int, missing: Sequence[str] = ()
) -> Verdict | None:
    """The verdict of some evidence, sorted by kind; None where there is none."""
    if not evidence:
        return None
    found = tuple(sorted(evidence, key=lambda measure: KINDS.index(measure.kind)))
    return Verdict(verdict_sentence(found, n_layers), found, n_layers, tuple(missing))


def missing_measures(results: Sequence[RunResult]) -> list[str]:
    """Names of the metrics that would tell more: no run has them yet, and one may."""
    return [
        metric.name
        for metric in METRICS
        if metric.gives_evidence
        and not any(metric.name in result.measured for result in results)
        and any(not metric.why_unavailable(result) for result in results)
    ]


def _rules(results: Sequence[RunResult], settings: SummarySettings) -> list[Evidence]:
    summary = summarise(results, settings)
    if summary is None:
        return []
    other = replace(settings, include_first_token=not settings.include_first_token)
    return rule_evidence(
        summary.depths,
        parts_of(results, settings),
        settings,
        parts_of(results, other),
        _lens_curves(results, settings),
    )


def _lens_curves(results: Sequence[RunResult], settings: SummarySettings) -> dict[str, Curves]:
    """Pooled KL and overlap of every lens that all runs have, by the lens's title."""
    first = 0 if settings.include_first_token else 1
    names = dict.fromkeys(
        name
        for result in results
        for name, value in result.measured.items()
        if isinstance(value, LogitLens)
    )
    found = {}
    for name in names:
        lenses = [result.measured.get(name) for result in results]
        parts = [_read(lens, first) for lens in lenses if isinstance(lens, LogitLens)]
        if len(parts) == len(results) and all(part.n_tokens for part in parts):
            found[_lens_title(name)] = pool(parts)
    return found


def _read(lens: LogitLens, first: int) -> PromptCurves:
    kl, overlap = lens.kl[:, first:], lens.overlap[:, first:]
    if not kl.shape[1]:
        return PromptCurves(0, Curves())
    return PromptCurves(
        kl.shape[1],
        Curves(
            kl=kl.mean(axis=1, dtype=np.float64), overlap=overlap.mean(axis=1, dtype=np.float64)
        ),
    )


def _lens_title(name: str) -> str:
    title = METRIC_BY_NAME[name].title
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def _of_metrics(pooled: Pooled) -> list[Evidence]:
    return [
        evidence
        for metric in ALL
        if metric.gives_evidence and (value := pooled.get(metric)) is not None
        for evidence in metric.evidence(value, pooled)
    ]
