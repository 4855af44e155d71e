"""Explanations of measures for readers who are new to them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """Five lines about something that is shown; any but the title may be empty.

    Attributes:
        title: its name.
        description: its meaning.
        formula: how it is computed.
        reading: how to read its values.
        look_for: patterns to look for, and conclusions that it does not allow.
        source: its source.
    """

    title: str
    description: str = ""
    formula: str = ""
    reading: str = ""
    look_for: str = ""
    source: str = ""

    @property
    def in_short(self) -> str:
        """Meaning and how to read it, in a line."""
        return " ".join(filter(None, (self.description, self.reading))).replace("`", "")

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The lines that are not empty, each with its label."""
        lines = [
            ("tells", self.description),
            ("formula", self.formula),
            ("read it", self.reading),
            ("look for", self.look_for),
            ("source", self.source),
        ]
        return [(name, text) for name, text in lines if text]
