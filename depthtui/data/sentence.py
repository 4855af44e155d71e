"""Words with the few of them that can be repeated alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A text in words.

    Attributes:
        headline: its first words, which are drawn bold or counted.
        clauses: the end of the headline's sentence, with its punctuation, then whole sentences.
    """

    headline: str
    clauses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.headline + " ".join(self.clauses)
