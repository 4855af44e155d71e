"""Long work as a terminal shows it around the explorer: by its title, its progress and its bell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from depthtui.sizes import about
from depthtui.token_text import printable_line
from depthtui.tui.state.status import Status

_KEEP_TITLE, _TITLE_BACK = "\x1b[22;2t", "\x1b[23;2t"
_NO_PROGRESS = "\x1b]9;4;0\x07"
_BELL = "\x07"
_LEAST_SECONDS = 1.0
"""Seconds between two titles of the same work."""

_BUSY = ("starting", "loading", "running", "sweeping", "writing")
_WITH_PROGRESS = ("WezTerm", "ghostty")
"""Terminals, by TERM_PROGRAM, that show OSC 9;4; for others it may be a notification."""


@dataclass
class LongWork:
    """Follows the engine's work, and returns what the terminal is to be sent.

    Attributes:
        has_progress: whether the terminal shows progress.
        title: the title that was sent last.
        since: when the work began, by the monotonic clock; None while there is none.
        sent_at: when the title was sent.
    """

    has_progress: bool = False
    title: str = ""
    since: float | None = None
    sent_at: float = -math.inf

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> LongWork | None:
        """The work for the terminal of an environment; None for one that would print a title.

        tmux keeps progress from the terminal.
        """
        if variables.get("TERM") == "linux":
            return None
        is_known = variables.get("TERM_PROGRAM") in _WITH_PROGRESS or "WT_SESSION" in variables
        return cls(is_known and "TMUX" not in variables)

    @property
    def begin(self) -> str:
        """Keeps the terminal's own title."""
        return _KEEP_TITLE

    @property
    def end(self) -> str:
        """Shows the terminal's own title again, and no progress."""
        return _TITLE_BACK + (_NO_PROGRESS if self.has_progress else "")

    def follow(self, status: Status, now: float, notify: float) -> str:
        """The sequences for a status; empty where nothing has changed.

        Args:
            status: the status line.
            now: the time by the monotonic clock.
            notify: seconds of work at whose end the bell rings; 0 for never.
        """
        is_busy, sequences = status.state in _BUSY, ""
        if is_busy and self.since is None:
            self.since = now
        elif not is_busy and self.since is not None:
            if notify and now - self.since > notify:
                sequences += _BELL
            self.since = None
        share, seconds_left = _progress(status) if is_busy else (None, 0.0)
        words = [] if share is None else [f"{share:.0%}"]
        words += [f"{about(seconds_left)} left"] if seconds_left > 0 else []
        model = status.loads or (status.model.name if status.model is not None else "")
        title = " · ".join(filter(None, (*words, printable_line(model), "depthtui")))
        is_soon = is_busy and now - self.sent_at < _LEAST_SECONDS
        if title == self.title or is_soon:
            return sequences
        self.title, self.sent_at = title, now
        sequences += f"\x1b]2;{title}{_BELL}"
        if self.has_progress:
            percent = None if share is None else round(100 * share)
            sequences += _NO_PROGRESS if percent is None else f"\x1b]9;4;1;{percent}\x07"
        return sequences


def _progress(status: Status) -> tuple[float | None, float]:
    """The share of the work that is done, None where unknown, and its seconds left."""
    if status.state == "sweeping":
        done, total = status.swept
        return (done / total if total else None), status.sweep_seconds_left
    if status.work is not None:
        work = status.work
        return (work.done / work.total if work.total else None), work.seconds_left
    return (status.layer / status.layers if status.layers else None), 0.0
