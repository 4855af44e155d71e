"""A text with a headline that can be shown alone."""

from __future__ import annotations

from dataclasses import dataclass


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
