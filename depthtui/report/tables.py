"""Tables that are files of their own: the numbers of panes that have no figure."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.metrics.early_exit import EarlyExit
from depthtui.report.blocks import Bar, Column, Noted, Spans, Table, TableCell, Token
from depthtui.token_text import printable_line


def table_bytes(table: Table) -> bytes:
    """The table as CSV; its first column is the axis x, as in the files of figures."""
    columns, rows = table.in_view("text")
    axis, *others = (column.title for column in columns)
    text = StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow([f"x: {axis}", *others])
    csv.writer(text, lineterminator="\n").writerows([map(_text, row) for row in rows])
    return text.getvalue().encode("utf-8", "backslashreplace")


def lens_table(lens: LogitLens, token: int) -> Table:
    """The lens's readings at a token, a row for each depth: tokens, entropy and KL in nats."""
    depths, _, count = lens.top_ids.shape
    heads = [f"{name} {rank}" for rank in range(1, count + 1) for name in ("token", "probability")]
    numbers = {"entropy, nats": lens.entropy, "KL, nats": lens.kl}
    rows = [
        [
            str(depth),
            *(
                text
                for id_, share in zip(
                    lens.top_ids[depth, token], lens.top_probabilities[depth, token], strict=True
                )
                for text in (lens.vocabulary.get(int(id_), ""), _number(share))
            ),
            *(_number(values[depth, token]) for values in numbers.values()),
        ]
        for depth in range(depths)
    ]
    axis = f"depth, {depths - 1} is the output"
    return Table([Column(head) for head in (axis, *heads, *numbers)], rows)


def exit_table(exits: Mapping[float, EarlyExit]) -> Table:
    """Agreement with the output and layers saved by early exit, by confidence."""
    rows = [
        [f"{confidence:g}", _number(exit_.agreement), _number(exit_.layers_saved)]
        for confidence, exit_ in exits.items()
    ]
    heads = ("confidence", "agreement, share of tokens", "layers saved, mean over tokens")
    return Table([Column(head) for head in heads], rows)


def _text(cell: TableCell) -> str:
    """A cell without its style, and without the remark beneath it."""
    match cell:
        case Token(text) | Noted(text) | str(text):
            return printable_line(text)
        case Spans(parts):
            return printable_line("".join(text for text, _ in parts))
        case Bar(share):
            return "" if share is None else _number(share)


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
