"""Messages that the explorer shows in passing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class Toast:
    """A toast: `severity` is Textual's, the texts are untrusted."""

    message: str
    severity: Literal["information", "warning", "error"] = "information"
    title: str = ""


@dataclass(frozen=True)
class ShownMessage:
    """A message that was shown, its texts printable."""

    time: datetime
    title: str
    text: str

    @property
    def age(self) -> float:
        """Seconds since then."""
        return (datetime.now() - self.time).total_seconds()
