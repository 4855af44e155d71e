"""Pasted and copied text, cut to the field that it goes into."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from textual import events
from textual.widget import Widget
from textual.widgets import Input, TextArea

from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.state.pasted import LONGEST_LINE, NO_FIELD, Pasted, pasted_line


@runtime_checkable
class TypedInto(Protocol):
    """A screen with a field for text that is typed or pasted elsewhere on it."""

    def focus_field(self) -> object:
        """Focus the field, if the text that comes now is for it."""


def cut_to_field(paste: events.Paste, field: Widget | None) -> str:
    """Cut a paste to a field's room, and return what is left out, in words.

    A text area does so itself.
    """
    match field:
        case Input():
            pasted = _into_line(field, paste.text)
            paste.text = pasted.text
            return " ".join(pasted.sentences)
        case TextArea():
            return ""
        case _:
            return NO_FIELD


def fits_into(field: Widget | None, copied: str) -> str:
    """A copied text without all that a field refuses."""
    match field:
        case Input():
            return _into_line(field, copied).text
        case SafeTextArea():
            return field.pasted(copied).text
        case _:
            return copied


def _into_line(field: Input, text: str) -> Pasted:
    return pasted_line(text, LONGEST_LINE - len(field.value) + len(field.selected_text))
