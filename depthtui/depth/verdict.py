"""The verdict: how many of its layers a model needs here, and how that is known.

The headline is the layers that suffice, which are verified by running them. Beside it stand three
kinds of evidence, each with the range that it moves in: what a lens reads (rules), how the residual
stream moves (the cosine rule, and metrics), and what changes where layers are intervened on
(metrics). Counts of layers and depths are two axes; none is averaged with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depthtui.data.sentence import Sentence
from depthtui.data.verdict import KINDS, Evidence, Headline, Verdict
from depthtui.depth.verdict_words import verdict_sentence


def made_verdict(
    evidence: Sequence[Evidence],
    n_layers: int,
    missing: Sequence[str] = (),
    tasks: Iterable[str] = (),
    headline: Headline | None = None,
    warnings: Sequence[str] = (),
    no_verdict: str = "",
    idle: Sequence[int] = (),
    stand_in: str = "",
) -> Verdict | None:
    """The verdict of some evidence, sorted by kind; None where there is none.

    Where there can be no verdict, the reason is all that it says.

    Args:
        evidence: each measure's count.
        n_layers: L.
        missing: names of the metrics that would tell more.
        tasks: the task of every prompt; untrusted.
        headline: the layers that suffice; None where they were not measured.
        warnings: sentences that stand before the verdict.
        no_verdict: why there can be no verdict, in a sentence; empty where there can.
        idle: the layers that write nothing.
        stand_in: what stands in for a layer that is left out; empty where nothing does.
    """
    if not evidence:
        return None
    if no_verdict:
        return Verdict(Sentence(no_verdict), (), n_layers, warnings=(no_verdict,))
    found = tuple(sorted(evidence, key=lambda measure: KINDS.index(measure.kind)))
    words = verdict_sentence(
        found, n_layers, missing, tuple(dict.fromkeys(tasks)), headline, idle, stand_in
    )
    return Verdict(words, found, n_layers, tuple(missing), headline, tuple(warnings))
