"""Untrusted text, such as a prompt or a folder's name, made safe to print on one line."""

from __future__ import annotations

from depthtui.token_text import printable


def legible(text: str) -> str:
    """The text as `printable` shows tokens, with its spaces left alone."""
    return " ".join(printable(part) if part else "" for part in text.split(" "))


def shortened(text: str, width: int) -> str:
    """At most `width` characters of the legible text, with … where something was cut."""
    text = legible(text[: width + 1])
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
