"""Which tokens of two runs are the same, so that their values can be subtracted token by token.

Tokenizers differ in the tokens that they put in front: that of DeepSeek's R1 models begins
every text with a BOS token, that of Qwen's models, which they were distilled
into, does not. Token t of one is then token t + 1 of the other.

Where two different prompts both have an answer, the answers begin in the same column.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

import numpy as np

from depthtui.data.run import PromptTokens

LEAST_SHARED = 0.5
"""The least share of both runs' tokens that must be the same, or nothing is aligned."""

_MARKS = ("<>", "[]")
"""The brackets of special tokens, such as `<s>` and `[CLS]`."""


class TokenMatch(Enum):
    """How the tokens of two runs match."""

    SAME = "same"
    SHIFTED = "shifted"
    TEXTS = "texts"
    ANSWER = "answer"
    NONE = "none"


@dataclass(frozen=True)
class Alignment:
    """Two runs' tokens in common columns, each run's in order.

    Attributes:
        match: `SAME` for equal texts, `SHIFTED` where one has a token more in front,
            `ANSWER` for answers that begin in the same column, `TEXTS` for the longest common
            parts, `NONE` where too little is the same.
        a, b: `[columns]`, the token of each run in a column, -1 where it has none. Of
            `NONE`, each run's own tokens, whose columns have nothing in common.
        answer: the column in which both answers begin; of `ANSWER` alone.
    """

    match: TokenMatch
    a: np.ndarray
    b: np.ndarray
    answer: int = -1

    @property
    def n_shared(self) -> int:
        """How many columns have a token of both runs."""
        if self.match is TokenMatch.NONE:
            return 0
        return int(((self.a >= 0) & (self.b >= 0)).sum())

    @property
    def longer(self) -> str:
        """`a` or `b`, whichever has one more token in front; of `SHIFTED` alone."""
        return "a" if self.b[0] < 0 else "b"


def align(a: PromptTokens, b: PromptTokens, answers: tuple[int, int] | None = None) -> Alignment:
    """Align the tokens of two runs by their texts, or at their answers where the texts differ.

    Args:
        a, b: the tokens.
        answers: the first token of each answer; None for the prompts' own answers.
    """
    match _shift(a.texts, b.texts):
        case 0:
            return Alignment(TokenMatch.SAME, np.arange(len(a)), np.arange(len(b)))
        case shift if shift is not None:
            columns = np.arange(max(len(a), len(b)))
            first, second = (columns, columns - 1) if shift > 0 else (columns - 1, columns)
            return Alignment(TokenMatch.SHIFTED, first, second)
    start_a, start_b = answers or (a.answer_start, b.answer_start)
    if 0 < start_a < len(a) and 0 < start_b < len(b):
        return _at_answer(a.texts, b.texts, start_a, start_b)
    common = SequenceMatcher(None, a.texts, b.texts, autojunk=False)
    if not _share_enough(common):
        return Alignment(TokenMatch.NONE, np.arange(len(a)), np.arange(len(b)))
    return Alignment(TokenMatch.TEXTS, *_columns(common))


def is_special(text: str) -> bool:
    """Whether a token looks like a tokenizer's special token, not a word: `<s>`, `[CLS]`."""
    return len(text) > 2 and text[0] + text[-1] in _MARKS


def spread(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`[rows, T]` spread over the columns of an alignment, NaN where the run has no token."""
    return np.where(columns >= 0, values[:, columns], np.nan)


def matched_rows(values: np.ndarray, n_layers: int, deeper: int) -> np.ndarray:
    """`[rows]`, the rows of a model's values to put beside those of a deeper model.

    Args:
        values: `[L, …]`, or `[L+1, …]` with the output, of a model of `n_layers`.
        n_layers: L.
        deeper: the layers of the deeper model; each is matched by its relative depth.
    """
    rows = np.arange(deeper + len(values) - n_layers)
    matched = np.rint(rows * n_layers / deeper).astype(int)
    return np.minimum(matched, len(values) - 1)


def nearest_token(columns: np.ndarray, column: int) -> int:
    """The token in a column, or in the nearest column that has one."""
    filled = np.flatnonzero(columns >= 0)
    return int(columns[filled[np.argmin(np.abs(filled - column))]])


def _shift(a: list[str], b: list[str]) -> int | None:
    """How many more tokens the first has in front, -1 … 1; None where they differ otherwise."""
    if a == b:
        return 0
    if a[1:] == b:
        return 1
    return -1 if a == b[1:] else None


def _at_answer(a: list[str], b: list[str], start_a: int, start_b: int) -> Alignment:
    """Align the answers' starts; the tokens before are counted back from the start.

    In each part, equal tokens are side by side if enough of the part is the same.
    """
    # Counted back from the answer, the tokens before it are in reverse order.
    back = _beside(a[:start_a][::-1], b[:start_b][::-1])
    on = _beside(a[start_a:], b[start_b:])
    first, second = (
        np.concatenate([np.where(before < 0, -1, start - 1 - before)[::-1], after])
        for start, before, after in (
            (start_a, back[0], np.where(on[0] < 0, -1, on[0] + start_a)),
            (start_b, back[1], np.where(on[1] < 0, -1, on[1] + start_b)),
        )
    )
    return Alignment(TokenMatch.ANSWER, first, second, len(back[0]))


def _beside(a: list[str], b: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Align tokens from the first on; equal tokens in the same columns if enough are equal."""
    common = SequenceMatcher(None, a, b, autojunk=False)
    if _share_enough(common):
        return _columns(common, pairs=True)
    columns = np.arange(max(len(a), len(b)))
    return np.where(columns < len(a), columns, -1), np.where(columns < len(b), columns, -1)


def _share_enough(common: SequenceMatcher[str]) -> bool:
    """Whether so many tokens are the same that it is no coincidence."""
    # Twice the shared tokens over the tokens of both; the quick ratio is never too low.
    return common.quick_ratio() >= LEAST_SHARED and common.ratio() >= LEAST_SHARED


def _columns(common: SequenceMatcher[str], pairs: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Put the shared tokens side by side, and each token of one run in a column of its own.

    With `pairs`, different tokens in the same place are side by side, too.
    """
    first: list[int] = []
    second: list[int] = []
    for tag, a_from, a_to, b_from, b_to in common.get_opcodes():
        ours, theirs = list(range(a_from, a_to)), list(range(b_from, b_to))
        if tag == "equal" or pairs:
            wide = max(len(ours), len(theirs))
            ours, theirs = (side + [-1] * (wide - len(side)) for side in (ours, theirs))
        else:
            ours, theirs = ours + [-1] * len(theirs), [-1] * len(ours) + theirs
        first += ours
        second += theirs
    return np.array(first, int), np.array(second, int)
