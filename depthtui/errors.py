"""Errors that are meant to be read by people."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_LINE = 200
"""Characters of a library's own words."""


class DepthError(Exception):
    """Something a person can act on.

    Attributes:
        message: what went wrong, one sentence.
        hint: what to do about it, one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class NeedsCode(DepthError):
    """A model that only runs with Python code of its own, which nobody has allowed.

    Attributes:
        folder: where the model lies.
    """

    def __init__(self, message: str, hint: str, folder: str) -> None:
        super().__init__(message, hint)
        self.folder = folder


class RunStopped(DepthError):
    """The user stopped a run; what was computed until then is kept."""

    def __init__(self) -> None:
        super().__init__("The run was stopped.")


class GroupEnds(BaseException):
    """The ranks of a model cannot go on together; the text is a sentence for people.

    No `Exception`: no part of the work can do without the others.

    Attributes:
        divisor: by which parts of the work are divided as the ranks start again; 0 for the end.
        by_ctrl_c: whether a person ended them.
    """

    def __init__(self, words: str, divisor: int = 0, by_ctrl_c: bool = False) -> None:
        super().__init__(words)
        self.divisor = divisor
        self.by_ctrl_c = by_ctrl_c


def shown(value: object, longest: int = 60) -> str:
    """A value that somebody gave, to name in a sentence, cut where it is long."""
    try:
        text = repr(value[: longest + 1] if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        # A number of thousands of digits, or thousands of brackets.
        return "a value too long to show"
    return text if len(text) <= longest else f"{text[:longest]}…"


def first_line(error: object) -> str:
    """What a library says first, to end a sentence with; its kind where it says nothing."""
    line = next(iter(str(error).strip().splitlines()), "")
    return line[:_LONGEST_LINE].rstrip(". ") or type(error).__name__


def named_line(error: Exception) -> str:
    """What an error that nobody foresaw is and says first, to end a sentence with."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the names that are much like one, ` Did you mean X or Y?`, or nothing."""
    by_lower = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(by_lower[one] for one in close)}?" if close else ""
