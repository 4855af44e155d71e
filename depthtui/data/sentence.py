"""A text with a headline that can be shown by itself, words in a row, and counts with nouns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def listed(words: Sequence[str]) -> str:
    """Words in a row, such as `a, b and c`; at least one."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def noun_for(count: float, noun: str, plural_noun: str = "") -> str:
    """A noun in the number of a count: `layer` for 1, `layers` for 0 and 3.

    Args:
        count: how many there are.
        noun: its singular.
        plural_noun: its plural, where that is not the singular and an s.
    """
    return noun if count == 1 else plural_noun or f"{noun}s"


def plural(count: int, noun: str, plural_noun: str = "") -> str:
    """A count with its noun, as by `noun_for`: `1 layer`, `3 layers`."""
    return f"{count} {noun_for(count, noun, plural_noun)}"


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
