"""The verdict: with how many of its layers a model keeps what it knows, by which evidence.

The headline is the layers that keep what the model knows, verified by running them. Three kinds of
evidence are added, each count with its range: lens readings (rules), the motion of the residual
stream (the cosine rule, and metrics), and the effects of interventions on layers (metrics). Counts
of layers and depths are two axes; none is averaged with another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from depthtui.data.sentence import Sentence
from depthtui.data.verdict import (
    KINDS,
    RELIABILITIES,
    Evidence,
    Headline,
    Verdict,
)
from depthtui.depth.verdict_words import Facts, verdict_sentence


def verdict_of(facts: Facts) -> Verdict | None:
    """The verdict of some facts, its evidence sorted by kind; None where there is none.

    Where there can be no verdict, it has only the reason.
    """
    if not facts.evidence:
        return None
    if reason := facts.no_verdict:
        return Verdict(Sentence(reason), (), facts.n_layers, warnings=(reason,))
    rows = _in_order(facts.evidence, facts.headline)
    return Verdict(
        verdict_sentence(replace(facts, evidence=rows)),
        rows,
        facts.n_layers,
        tuple(facts.missing_metrics),
        facts.headline,
        tuple(facts.warnings),
        len(facts.tasks),
        facts.answers,
    )


def _in_order(evidence: Iterable[Evidence], headline: Headline | None) -> tuple[Evidence, ...]:
    """The measures by kind: the headline's first, then the surest of each kind."""

    def rank(measure: Evidence) -> tuple[int, bool, int]:
        is_headline = headline is not None and measure.measure == headline.measure
        reliability = RELIABILITIES.index(measure.reliability)
        return KINDS.index(measure.kind), not is_headline, reliability

    return tuple(sorted(evidence, key=rank))
