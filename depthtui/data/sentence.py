"""A text with a headline that can be shown alone, and words in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def listed(words: Sequence[str]) -> str:
    """Words in a row, such as `a, b and c`; at least one."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


@dataclass(frozen=True)
class Sentence:
    """A text in words.

    Attributes:
        headline: its first words, shown in bold or counted.
        clauses: the end of the headline's sentence, with its punctuation, then whole sentences.
    """

    headline: str
    clauses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.headline + " ".join(self.clauses)
