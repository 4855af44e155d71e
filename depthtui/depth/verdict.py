"""The verdict: how many of its layers a model uses here, and how that is known.

Three kinds of evidence, each a count of layers with the range that it moves in: what a lens reads
(the KL and the overlap rule), how the residual stream moves (the cosine rule, and metrics), and
what changes where layers are intervened on (metrics). They are set side by side, and never
averaged into one number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depthtui.data.verdict import KINDS, Evidence, Verdict
from depthtui.depth.verdict_words import verdict_sentence


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
