"""CSV of figures and panes: its numbers, its words and its first line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TypeAlias

import numpy as np

from depthtui.token_text import printable_line

Value: TypeAlias = float | str | None
"""A number, words in a column of words, or nothing where it is unknown."""


def csv_text(heads: Iterable[str], rows: Iterable[Sequence[Value]]) -> bytes:
    """Rows below their heads, which are in quotes, as UTF-8."""
    text = StringIO()
    quoted, plain = (
        csv.writer(text, quoting=quoting, lineterminator="\n")
        for quoting in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL)
    )
    quoted.writerow(map(printable_line, heads))
    plain.writerows(map(_cell, row) for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Value) -> str:
    """Nine digits, which tell any two numbers of 32 bits apart; empty where there is none."""
    if isinstance(value, str):
        return printable_line(value)
    return f"{value:.9g}" if value is not None and np.isfinite(value) else ""
