"""The verdict: with how many of its layers a model keeps what it knows, by which evidence.

The headline is the layers that keep what the model knows, verified by running them. Three kinds of
evidence are added, each count with its range: lens readings (rules), the motion of the residual
stream (the cosine rule, and metrics), and the effects of interventions on layers (metrics). Counts
of layers and depths are two axes; none is averaged with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depthtui.data.lens_view import LOGIT
from depthtui.data.sentence import Sentence
from depthtui.data.verdict import (
    KINDS,
    RELIABILITIES,
    Evidence,
    Headline,
    HeadlineAnswers,
    Verdict,
)
from depthtui.depth.right_answers import RightAnswers
from depthtui.depth.verdict_words import verdict_sentence


def verdict_of(
    evidence: Sequence[Evidence],
    n_layers: int,
    missing_metrics: Sequence[str] = (),
    tasks: Iterable[str] = (),
    headline: Headline | None = None,
    warnings: Sequence[str] = (),
    no_verdict: str = "",
    idle: Sequence[int] = (),
    stand_in: str = "",
    model: str = "The model",
    answer: str = "",
    accuracy: RightAnswers | None = None,
    not_counted: str = "",
    lens: str = LOGIT,
    answers: HeadlineAnswers | None = None,
) -> Verdict | None:
    """The verdict of some evidence, sorted by kind; None where there is none.

    Where there can be no verdict, it has only the reason.

    Args:
        evidence: each measure's count.
        n_layers: L.
        missing_metrics: names of the metrics that would add evidence.
        tasks: the task of every prompt; untrusted.
        headline: the layers that keep what the model knows; None where they were not measured.
        warnings: sentences shown before the verdict.
        no_verdict: why there can be no verdict, in a sentence; empty where there can be one.
        idle: the layers that write nothing.
        stand_in: the substitute for a layer that is left out, in words; empty for none.
        model: the model's name; untrusted.
        answer: the answer of a single prompt; untrusted, empty for none.
        accuracy: right answers among all; None where unknown.
        not_counted: why there is no headline though it was measured, in a clause; or empty.
        lens: the lens that readable counts rest on, by its name in `LENSES`.
        answers: right answers to several questions; None where they were not measured.
    """
    if not evidence:
        return None
    if no_verdict:
        return Verdict(Sentence(no_verdict), (), n_layers, warnings=(no_verdict,))
    rows = _in_order(evidence, headline)
    tasks = tuple(tasks)
    words = verdict_sentence(
        rows,
        n_layers,
        model,
        max(1, len(tasks)),
        answer,
        tuple(dict.fromkeys(tasks)),
        headline,
        idle,
        stand_in,
        accuracy,
        not_counted,
        lens,
        answers,
    )
    missing = tuple(missing_metrics)
    return Verdict(words, rows, n_layers, missing, headline, tuple(warnings), len(tasks), answers)


def _in_order(evidence: Iterable[Evidence], headline: Headline | None) -> tuple[Evidence, ...]:
    """The measures by kind: the headline's first, then the surest of each kind."""

    def rank(measure: Evidence) -> tuple[int, bool, int]:
        is_headline = headline is not None and measure.measure == headline.measure
        reliability = RELIABILITIES.index(measure.reliability)
        return KINDS.index(measure.kind), not is_headline, reliability

    return tuple(sorted(evidence, key=rank))
