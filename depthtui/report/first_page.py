"""The first page of a report: the verdict, the curve of what is kept, and a few numbers."""

from __future__ import annotations

from collections.abc import Iterator

from depthtui.data.sentence import listed
from depthtui.data.verdict import Evidence, Headline, HeadlineAnswers, Verdict
from depthtui.depth.reading import Reading
from depthtui.depth.rules import margin
from depthtui.depth.verdict_words import range_words, spread
from depthtui.metrics import accuracy, kept
from depthtui.metrics.accuracy.answer_statistics import share_range, wilson
from depthtui.metrics.kept.pool import PooledKept
from depthtui.report.blocks import Block, Column, Figures, Paragraph, Table, ViewBlocks
from depthtui.report.evidence import evidence_of
from depthtui.report.left_out import kept_figure

_NUMBERS = (
    Column("", style="name"),
    Column("number", style="strong"),
    Column("range"),
    Column("holds", style="soft"),
)


def first_page(reading: Reading) -> Iterator[Block]:
    """The warnings, the sentence, the curve of what is kept where it is known, and the numbers."""
    verdict = reading.verdict
    if verdict is None:
        return
    yield from map(Paragraph, (*verdict.cautions, verdict.sentence))
    if not verdict.evidence:
        return
    knowledge: PooledKept | None = reading.get(kept.METRIC)
    if knowledge is not None:
        yield ViewBlocks(["pictures"], [Figures([kept_figure(knowledge, knowledge.curve)])])
    rows = list(number_rows(reading, verdict))
    places = [place for place in range(len(_NUMBERS)) if any(row[place] for row in rows)]
    if rows:
        columns = [_NUMBERS[place] for place in places]
        yield Table(columns, [[row[place] for place in places] for row in rows])


def number_rows(reading: Reading, verdict: Verdict) -> Iterator[list[str]]:
    """At most seven numbers: their name, value and range, and how certain they are."""
    headline = verdict.headline
    if headline is not None:
        yield from _of_headline(reading, headline, evidence_of(verdict, headline.measure))
    if verdict.answers is not None:
        needed = evidence_of(verdict, accuracy.METRIC.name)
        yield from _of_answers(verdict.answers, needed, f"of {reading.n_layers}")
    elif reading.short_accuracy is not None:
        right = reading.short_accuracy
        ends = share_range(wilson(right.right, right.answers))
        yield ["right answers", f"{right.right} of {right.answers}", ends, ""]
    decided = evidence_of(verdict, margin.RULE.name)
    if decided is not None and decided.count is not None:
        of_all = f"depth {decided.count} of {reading.n_layers}"
        yield ["the next token is decided", of_all, spread(decided), decided.reliability]


def _of_headline(
    reading: Reading, headline: Headline, evidence: Evidence | None
) -> Iterator[list[str]]:
    of_all = f"of {reading.n_layers}"
    if headline.count is not None and headline.half is not None:
        certainty = "" if evidence is None else evidence.reliability
        range_ = range_words(headline, " to ")
        keep = f"layers that keep {headline.limit}"
        if not headline.is_share:
            keep = f"layers within {headline.limit}"
        yield [keep, f"{headline.count} {of_all}", range_, certainty]
        if headline.random:
            counts = listed([str(count) for count in headline.random])
            yield ["the same at random", f"{counts} {of_all}", "", ""]
        between = " to ".join(dict.fromkeys(map(str, headline.half_range or ())))
        yield ["layers that keep half", f"{headline.half} {of_all}", between, ""]
        depth = f"{headline.mean_depth:.1f} {of_all}"
        yield ["mean depth", depth, _ends(headline.depth_range), ""]
    gain = f"{headline.gain:.1f} nats"
    yield ["known of a token", gain, _ends(headline.gain_range), ""]


def _of_answers(
    answers: HeadlineAnswers, needed: Evidence | None, of_all: str
) -> Iterator[list[str]]:
    counts = f"{answers.right} of {answers.questions}"
    yield ["right answers", counts, share_range(answers.interval), ""]
    if needed is not None and needed.count is not None:
        title = "layers that the answers need"
        yield [title, f"{needed.count} {of_all}", spread(needed), needed.reliability]


def _ends(interval: tuple[float, float] | None) -> str:
    """The ends of an interval, such as `16.1 to 17.5`; empty where it is not known."""
    return "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"
