"""Errors with messages for people."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_LINE = 200
"""Most characters of a library's own message."""


class DepthError(Exception):
    """An error that a person can act on.

    Attributes:
        message: the error, in one sentence.
        hint: the remedy, in one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class NeedsCode(DepthError):
    """A model needs its own Python code, which has not been allowed to run.

    Attributes:
        folder: folder of the model.
    """

    def __init__(self, message: str, hint: str, folder: str) -> None:
        super().__init__(message, hint)
        self.folder = folder


class RunStopped(DepthError):
    """The user stopped a run; results up to then are kept."""

    def __init__(self) -> None:
        super().__init__("The run was stopped.")


class GroupEnds(BaseException):
    """The ranks of a model cannot continue together; the text is a sentence for people.

    Not an `Exception`: no part of the work can continue without the others.

    Attributes:
        divisor: divisor of the parts of the work when the ranks restart; 0 to end them.
        by_ctrl_c: whether a person ended them.
    """

    def __init__(self, words: str, divisor: int = 0, by_ctrl_c: bool = False) -> None:
        super().__init__(words)
        self.divisor = divisor
        self.by_ctrl_c = by_ctrl_c


ENDS = (KeyboardInterrupt, GroupEnds)
"""What ends the program rightly, even in code of others: ctrl-c, and the end of the ranks."""


def short_repr(value: object, longest: int = 60) -> str:
    """A given value for a sentence, cut where it is long."""
    try:
        text = repr(value[: longest + 1] if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        # repr() fails on numbers of thousands of digits and on thousands of nested brackets.
        return "a value too long to show"
    return text if len(text) <= longest else f"{text[:longest]}…"


def first_line(error: object) -> str:
    """First line of a library's error, to end a sentence with; its type where it has no text."""
    line = next(iter(str(error).strip().splitlines()), "")
    return line[:_LONGEST_LINE].rstrip(". ") or type(error).__name__


def named_line(error: BaseException) -> str:
    """Type and first line of an unexpected error, to end a sentence with."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def did_you_mean(name: str, names: Iterable[str], most: int = 3, likeness: float = 0.6) -> str:
    """A question with similar names, ` Did you mean X or Y?`, or an empty text."""
    # Imported here: only a start with an error needs this module.
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in names}
    similar = get_close_matches(name.lower(), by_lower, n=most, cutoff=likeness)
    return (
        f" Did you mean {' or '.join(by_lower[candidate] for candidate in similar)}?"
        if similar
        else ""
    )
