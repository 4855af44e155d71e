"""A layer at a token as a report: one sentence, then a table for each part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from depthtui.data.inspection import Inspection, Listed, Readout
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.report.blocks import (
    Bar,
    Block,
    Column,
    Document,
    Heading,
    Note,
    Paragraph,
    Table,
    TableCell,
    View,
)
from depthtui.report.phrases import sentence_case
from depthtui.token_text import printable

_MOST_ROWS = 8
"""Rows of a table in the report."""

_SOURCES_OF_HEAD = 3

_MOST_TOPS = 5
_LEAST_SHARE = 0.005
"""Smallest share to show; a smaller one would be shown as 0 %."""

_AT_LENGTH: tuple[View, ...] = ("pictures", "text", "brief")

PART_NAMES = {
    "layer": "the layer's work",
    "split": "attention and MLP",
    "heads": "heads",
    "reads": "tokens read",
    "neurons": "neurons",
    "experts": "experts",
    "lens": "readouts",
    "direct": "direct logits",
    "promoted": "tokens promoted",
}
"""Parts of a page that a model may lack, in words."""


def inspection_document(page: Inspection) -> Document:
    """The page as a report."""
    return Document(title_of(page), blocks_of(page))


def title_of(page: Inspection) -> str:
    """The layer and token, such as `Layer 24 at token 11 ' is'`."""
    kind = f" ({page.kind})" if page.kind else ""
    return f"Layer {page.layer}{kind} at token {page.token} {_quote(page.tokens[-1])}"


def sentence_of(page: Inspection) -> str:
    """The layer's work in a sentence: how the target's rank changes, and the token read most."""
    parts = []
    if page.before is not None and page.after is not None and page.target:
        ranks = [f"{page.before.rank:,}"]
        if page.after_attention is not None:
            ranks.append(f"{page.after_attention.rank:,} by attention")
        ranks.append(f"{page.after.rank:,} by the {'MLP' if len(ranks) > 1 else 'layer'}")
        chances = (
            f"p {chance_words(page.before.probability)} to {chance_words(page.after.probability)}"
        )
        parts.append(f"rank of {_quote(page.target)} {' to '.join(ranks)}, {chances}")
    sizes = {name: write.norm for name, write in page.written.items()}
    if "attention" in sizes:
        parts.append(f"attention {sizes['attention']:.2f}, MLP {sizes['mlp']:.2f} of |h|")
    shares = dict(sources_of(page))
    later = next((place for place in shares if place > 0), None)
    if later is not None:
        first = f", token 0 {shares[0]:.0%}" if shares[0] > shares[later] else ""
        parts.append(f"reads {_quote(page.tokens[later])} {shares[later]:.0%}{first}")
    return sentence_case("; ".join(parts)) + "." if parts else ""


def sources_of(page: Inspection) -> list[tuple[int, float]]:
    """The tokens read, the most first, with their share of the reading.

    Shares are weighted by values where these are known, otherwise by attention.
    """
    if page.reads is None:
        return []
    norms = page.reads.value_weighted
    weights = page.reads.heads.mean(axis=0) if norms is None else norms
    total = float(weights.sum())
    if not total > 0:
        return []
    order = np.argsort(-weights, kind="stable")
    return [(int(place), float(weights[place]) / total) for place in order]


def blocks_of(page: Inspection) -> Iterator[Block]:
    """The page's blocks, without the title."""
    sentence = sentence_of(page)
    if sentence:
        yield Paragraph(sentence)
    for section in SECTIONS:
        if section.has(page):
            table, total = section.table(page, _MOST_ROWS), section.total(page)
            is_cut = len(table.rows) < total
            yield Heading(section.name + (f", {len(table.rows)} of {total}" if is_cut else ""))
            yield table
    for words in notes_of(page):
        yield Note(words)


def notes_of(page: Inspection) -> Iterator[str]:
    """The parts that the model lacks, the lens, and the error of the parts' sum."""
    for name, reason in page.unavailable.items():
        if name != "experts" or page.experts or not page.neurons:
            yield f"No {PART_NAMES.get(name, name)}: {reason}."
    if page.lens != LOGIT:
        yield f"Read through the {lens_title(page.lens)}."
    if page.closure:
        worst = max(page.closure.values())
        yield f"Parts add up within {worst:.0e}."


def readouts_table(page: Inspection) -> Table:
    """The most probable tokens before, between and after, and the target's rank."""
    readouts = {
        "before": page.before,
        "after attention": page.after_attention,
        "after": page.after,
    }
    present = {name: readout for name, readout in readouts.items() if readout is not None}
    count = min(_MOST_TOPS, max((len(readout.top) for readout in present.values()), default=0))
    columns = [
        Column("", style="name"),
        Column("most probable next tokens", views=_AT_LENGTH),
        *[Column(f"top {n}", views=("pane",), rank=n - 1) for n in range(1, count + 1)],
        Column(f"{_quote(page.target)} rank", number=True, brief="rank"),
        Column("p", number=True, rank=2),
        Column("margin", number=True, rank=_MOST_TOPS),
    ]
    return Table(columns, [_readout_row(name, readout, count) for name, readout in present.items()])


def _readout_row(name: str, readout: Readout, count: int) -> list[TableCell]:
    tops = [f"{_quote(text)} {chance_words(value)}" for text, value in readout.top[:count]]
    target = [f"{readout.rank:,}", chance_words(readout.probability), f"{readout.margin:+.1f}"]
    return [name, "  ".join(tops), *tops, *[""] * (count - len(tops)), *target]


def sources_table(page: Inspection, most: int) -> Table:
    """The tokens read most, with the heads that read each most."""
    assert page.reads is not None
    sources = [source for source in sources_of(page)[:most] if source[1] >= _LEAST_SHARE]
    largest = max((share for _, share in sources), default=1.0)
    weighted = page.reads.value_weighted is not None
    columns = (
        Column("token", number=True, style="soft"),
        Column("", style="name"),
        Column("of its output" if weighted else "attention", number=True),
        Column("", views=("pictures", "brief"), width=12),
        Column("heads that attend most"),
    )
    rows: list[list[TableCell]] = []
    for place, share in sources:
        weights = page.reads.heads[:, place]
        heads = np.argsort(-weights, kind="stable")[:_SOURCES_OF_HEAD]
        words = ", ".join(f"{head} {weights[head]:.2f}" for head in heads)
        text = _quote(page.tokens[place])
        rows.append([str(place), text, f"{share:.0%}", Bar(share / largest), words])
    return Table(columns, rows)


def writes_table(page: Inspection) -> Table:
    """The tokens that attention, MLP and layer promote and suppress."""
    has_direct = any(write.direct is not None for write in page.written.values())
    columns = [
        Column("", style="name"),
        Column("of |h|", number=True),
        *([Column(f"to {_quote(page.target)}", number=True)] if has_direct else []),
        *_token_columns("promotes"),
        *_token_columns("suppresses", rank=1),
    ]
    names = {"attention": "attention", "mlp": "MLP", "layer": "layer"}
    rows = [
        [
            names[name],
            f"{write.norm:.2f}",
            *([_signed_number(write.direct)] if has_direct else []),
            *_token_cells(write.promoted),
            *_token_cells(write.suppressed),
        ]
        for name, write in page.written.items()
    ]
    return Table(columns, rows)


def _token_columns(title: str, rank: int = 0) -> tuple[Column, Column]:
    """A column of tokens with their values, and a column without values for panes."""
    return Column(title, views=_AT_LENGTH, rank=rank), Column(title, views=("pane",), rank=rank)


def _token_cells(tokens: Listed) -> tuple[str, str]:
    return token_list(tokens), " ".join(_quote(text) for text, _ in tokens)


def heads_table(page: Inspection, most: int) -> Table:
    """The heads, by their direct logit of the target, or by the length of their write."""
    has_direct = page.heads[0].direct is not None
    ordered = sorted(
        page.heads, key=lambda head: -abs(head.direct if head.direct is not None else head.norm)
    )
    columns = [
        Column("head", number=True, style="name"),
        *([Column(f"to {_quote(page.target)}", number=True)] if has_direct else []),
        Column("of |h|", number=True),
        Column("attends to"),
    ]
    rows: list[list[TableCell]] = []
    for head in ordered[:most]:
        sources = "" if page.reads is None else _sources_of_head(page, head.head)
        direct = [_signed_number(head.direct)] if has_direct else []
        rows.append([str(head.head), *direct, f"{head.norm:.3f}", sources])
    return Table(columns, rows)


def _sources_of_head(page: Inspection, head: int) -> str:
    assert page.reads is not None
    weights = page.reads.heads[head]
    best = np.argsort(-weights, kind="stable")[:_SOURCES_OF_HEAD]
    return ", ".join(f"{_quote(page.tokens[place])} {weights[place]:.2f}" for place in best)


def neurons_table(page: Inspection, most: int) -> Table:
    """The neurons that write most."""
    columns = (
        Column("neuron", number=True, style="name"),
        Column("activation", number=True),
        Column("of |h|", number=True),
        *_token_columns("promotes"),
    )
    rows = [
        [
            str(neuron.neuron),
            f"{neuron.activation:+.2f}",
            f"{neuron.norm:.3f}",
            *_token_cells(neuron.promoted),
        ]
        for neuron in page.neurons[:most]
    ]
    return Table(columns, rows)


def experts_table(page: Inspection) -> Table:
    """The chosen experts, with the loss without each."""
    columns = (
        Column("expert", number=True, style="name"),
        Column("weight", number=True),
        Column("share of output", number=True),
        Column("loss without it", number=True),
    )
    rows = [
        [
            str(expert.expert),
            f"{expert.weight:.2f}",
            f"{expert.norm:.2f}",
            _signed_number(expert.loss_without),
        ]
        for expert in page.experts
    ]
    return Table(columns, rows)


@dataclass(frozen=True)
class Section:
    """One table of a page.

    Attributes:
        name: its heading.
        part: the field of a page that it shows.
        table: makes the table of a page, with at most this many rows where there may be many.
        total: how many rows there would be without a limit; 0 where no number is known.
    """

    name: str
    part: str
    table: Callable[[Inspection, int], Table]
    total: Callable[[Inspection], int] = lambda page: 0

    def has(self, page: Inspection) -> bool:
        """Whether a page has it."""
        return bool(getattr(page, self.part))


ENDS = Section("Before and after", "before", lambda page, most: readouts_table(page))
READS = Section("Reads", "reads", sources_table, lambda page: len(sources_of(page)))
WRITES = Section("Writes", "written", lambda page, most: writes_table(page))
HEADS = Section("Heads", "heads", heads_table, lambda page: len(page.heads))
NEURONS = Section("Neurons", "neurons", neurons_table)
EXPERTS = Section("Experts", "experts", lambda page, most: experts_table(page))

SECTIONS = (ENDS, READS, WRITES, HEADS, NEURONS, EXPERTS)
"""The tables of a page, in the report's order."""


def token_list(tokens: Listed) -> str:
    """Tokens in a line, with signed values."""
    return "  ".join(f"{_quote(text)} {_signed_number(number)}" for text, number in tokens)


def _quote(text: str) -> str:
    return f"'{printable(text)}'"


def chance_words(value: float) -> str:
    """A probability in two digits, without the zero before the point."""
    if value < 0.005:
        return "<.01" if value > 0 else "0"
    return f"{value:.2f}".lstrip("0") if value < 0.995 else "1.0"


def _signed_number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
