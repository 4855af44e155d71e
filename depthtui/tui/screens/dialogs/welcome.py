"""The panes and main keys, shown when the explorer is opened for the first time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.keys import format_key
from textual.widgets import Static

from depthtui.tui.commands.everywhere import IN_DIALOGS
from depthtui.tui.keymap import Keymap
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog
from depthtui.tui.textual_patches import why_off

ABOUT = "How many of its layers does a model use? Three steps:"

STEPS = {
    "1 Heatmap": "how much each layer adds to each token",
    "2 Logit lens": "what the model would answer after each layer",
    "3 Verdict": "how many layers it takes, and how sure",
}
"""The panes of the three steps, and the content of each."""

KEYS = {
    ("left", "down", "up", "right"): "move the one cursor that all panes share",
    ("next_pane",): "go to the next pane; the footer has its keys",
    ("explain",): "explain the pane: every word and number in it",
    ("prompt",): "write, paste or open a prompt of your own",
    ("help",): "every key that works here, searchable",
}
"""Ids of bindings, and their effects."""


class Welcome(Dialog[str]):
    """Closed by any key or the mouse; a key that it names is the result, to be run afterwards.

    Args:
        keymap: the keys of every command.
    """

    heading = "Welcome to depthtui"

    def __init__(self, keymap: Keymap) -> None:
        super().__init__(classes="small below")
        self._keymap = keymap
        self.hint = f"any key goes on · {self._keys('help')} tells more"

    def body(self) -> ComposeResult:
        keys = {self._keys(*names): does for names, does in KEYS.items()}
        width = max(map(len, [*STEPS, *keys]))
        lines = [
            Content(ABOUT),
            *_table(STEPS, width, "bold"),
            *_table(keys, width, "$text-accent"),
        ]
        if off := why_off():
            lines.append(Content.styled(off, MUTED))
        yield Static(Content("\n").join(lines))

    @property
    def _named_keys(self) -> set[str]:
        """The keys that the welcome names."""
        ids = chain.from_iterable(KEYS)
        return {key for name in ids for key in self._keymap.of(name)}

    def _keys(self, *names: str) -> str:
        """The first key of each of these bindings, as people read it."""
        return " ".join(format_key(self._keymap.of(name)[0]) for name in names)

    def on_key(self, event: events.Key) -> None:
        if event.key in {binding.key for binding in IN_DIALOGS}:
            return
        event.stop()
        self.dismiss(event.key if event.key in self._named_keys else None)

    def on_click(self, event: events.Click) -> None:
        self.dismiss()


def _table(rows: Mapping[str, str], width: int, style: str) -> list[Content]:
    """A blank line, then one line a row."""
    return [
        Content(""),
        *(
            Content.assemble((name.ljust(width), style), "  ", (words, MUTED))
            for name, words in rows.items()
        ),
    ]
