"""Which tokens of two runs are the same: what can be subtracted token by token.

Tokenizers differ in what they put in front: that of DeepSeek's R1 models begins
every text with a BOS token, that of Qwen's models, which they were distilled
into, does not. Token t of one is then token t + 1 of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

import numpy as np

from depthtui.data.run import Tokens

LEAST_SHARED = 0.5
"""Share of the tokens of both that must be the same, or nothing is aligned."""

_MARKS = ("<>", "[]")
"""What special tokens begin and end with, such as `<s>` and `[CLS]`."""


class Match(Enum):
    """How the tokens of two runs match."""

    SAME = "same"
    SHIFTED = "shifted"
    TEXTS = "texts"
    NONE = "none"


@dataclass(frozen=True)
class Alignment:
    """Two runs' tokens in common columns, each run's in order.

    Attributes:
        match: `SAME` for equal texts, `SHIFTED` where one has a token more in front,
            `TEXTS` for the longest common parts, `NONE` where too little is the same.
        a, b: `[columns]`, the token of each run in a column, -1 where it has none. Of
            `NONE`, each run's own tokens, whose columns have nothing in common.
    """

    match: Match
    a: np.ndarray
    b: np.ndarray

    @property
    def n_shared(self) -> int:
        """How many columns hold a token of both."""
        if self.match is Match.NONE:
            return 0
        return int(((self.a >= 0) & (self.b >= 0)).sum())

    @property
    def longer(self) -> str:
        """`a` or `b`, whichever has the token more in front; of `SHIFTED` alone."""
        return "a" if self.b[0] < 0 else "b"


def align(a: Tokens, b: Tokens) -> Alignment:
    """Align the tokens of two runs by their texts."""
    match _shift(a.texts, b.texts):
        case 0:
            return Alignment(Match.SAME, np.arange(len(a)), np.arange(len(b)))
        case shift if shift is not None:
            columns = np.arange(max(len(a), len(b)))
            first, second = (columns, columns - 1) if shift > 0 else (columns - 1, columns)
            return Alignment(Match.SHIFTED, first, second)
    common = SequenceMatcher(None, a.texts, b.texts, autojunk=False)
    # Twice the shared tokens over those of both; the quick one is never too low.
    if common.quick_ratio() < LEAST_SHARED or common.ratio() < LEAST_SHARED:
        return Alignment(Match.NONE, np.arange(len(a)), np.arange(len(b)))
    return Alignment(Match.TEXTS, *_columns(common))


def is_special(text: str) -> bool:
    """Whether a token looks like a tokenizer's own and not like a word: `<s>`, `[CLS]`."""
    return len(text) > 2 and text[0] + text[-1] in _MARKS


def spread(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`[rows, T]` in the columns of an alignment, NaN where the run has no token."""
    return np.where(columns >= 0, values[:, columns], np.nan)


def matched_rows(values: np.ndarray, n_layers: int, deeper: int) -> np.ndarray:
    """`[rows]`, which rows of a model's values stand beside those of a deeper one.

    Args:
        values: `[L, …]`, or `[L+1, …]` with the output, of a model of `n_layers`.
        n_layers: L.
        deeper: the layers of the deeper one; each is matched by its relative depth.
    """
    rows = np.arange(deeper + len(values) - n_layers)
    matched = np.rint(rows * n_layers / deeper).astype(int)
    return np.minimum(matched, len(values) - 1)


def nearest_token(columns: np.ndarray, column: int) -> int:
    """The token in a column, or in the nearest one that has any."""
    known = np.flatnonzero(columns >= 0)
    return int(columns[known[np.argmin(np.abs(known - column))]])


def _shift(a: list[str], b: list[str]) -> int | None:
    """How many tokens more the first has in front, -1 … 1, or None where they differ otherwise."""
    if a == b:
        return 0
    if a[1:] == b:
        return 1
    return -1 if a == b[1:] else None


def _columns(common: SequenceMatcher[str]) -> tuple[np.ndarray, np.ndarray]:
    """The shared tokens side by side, those that only one has each in a column of its own."""
    first: list[int] = []
    second: list[int] = []
    for tag, a_from, a_to, b_from, b_to in common.get_opcodes():
        ours, theirs = list(range(a_from, a_to)), list(range(b_from, b_to))
        if tag != "equal":
            ours, theirs = ours + [-1] * len(theirs), [-1] * len(ours) + theirs
        first += ours
        second += theirs
    return np.array(first), np.array(second)
