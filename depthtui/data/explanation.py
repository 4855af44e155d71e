"""What is said of a measure to who meets it for the first time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """Five lines about something that is shown; any but the title may be empty.

    Attributes:
        title: what it is called.
        tells: what it tells.
        formula: how it is computed.
        reading: how to read its values.
        look_for: what to look for, and what it does not say.
        source: where it comes from.
    """

    title: str
    tells: str = ""
    formula: str = ""
    reading: str = ""
    look_for: str = ""
    source: str = ""

    @property
    def in_short(self) -> str:
        """What it tells and how to read it, in a line."""
        return " ".join(filter(None, (self.tells, self.reading))).replace("`", "")

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What there is to say, each with what it is."""
        lines = [
            ("tells", self.tells),
            ("formula", self.formula),
            ("read it", self.reading),
            ("look for", self.look_for),
            ("source", self.source),
        ]
        return [(name, text) for name, text in lines if text]
