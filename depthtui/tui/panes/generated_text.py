"""A generated text, each token coloured by its depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.selection import indices_text
from depthtui.token_text import fit_shown, printable, printable_sentence
from depthtui.tui.draw.styles import probability
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.prompt_pane import PromptPane

_SPACE = "·"
_WORDS = 36


class GeneratedText(PromptPane):
    """Generated tokens, flowing over lines; spaces remain spaces, so that they read as text."""

    hint = "r begins again"

    @property
    def heading(self) -> str:
        """The end of the prompt."""
        prompt = self.result.prompt.question if self.result is not None else ""
        words = printable_sentence(prompt[-80:])
        end = words if len(words) <= _WORDS else f"…{words[-_WORDS:]}"
        return f'After "{end}"' if end else "Text"

    def why_empty(self) -> tuple[str, str] | None:
        self._update_titles()
        if self.result is None or not len(self.result.tokens):
            return "The text that the model writes, token by token.", self.hint
        return None

    def prepare(self) -> None:
        super().prepare()
        texts = self.drawn_result.tokens.readable_texts
        for line in self._lines:
            line[:] = [
                replace(place, text=f" {place.text[1:]}")
                if texts[place.index].startswith(" ") and place.text.startswith(_SPACE)
                else place
                for place in line
            ]

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        # A token's depth is not the value of a layer: only the token matters.
        if old.token != new.token:
            super().move_cursor(old, replace_layer(new, old))

    def _update_titles(self) -> None:
        if self.result is None or not len(self.result.tokens):
            self.set_titles(self.heading)
            return
        tokens = self.result.tokens
        index = min(max(self.cursor.token, 0), len(tokens) - 1)
        text = fit_shown(printable(tokens.readable_texts[index][:80]), 20).rstrip()
        values = self.measure.values(self.result)
        depth = "" if values is None else f" · {self.measure.title} {depth_words(values[0, index])}"
        place = f"token {index} of {indices_text(len(tokens))}"
        token_words = f'{place} · "{text}"{self._probability(index)}'
        self.set_titles(self.heading, f"{token_words}{depth}")

    def _probability(self, index: int) -> str:
        """The probability that the model gave to a token, which need not be its first choice."""
        lens = self.result.get(LogitLens) if self.result else None
        if lens is None:
            return ""
        return f" {probability(float(np.exp(lens.next_log_probability[-1, index])))}"


def depth_words(depth: float) -> str:
    """A token's depth; a dash where the rule finds no layer."""
    return "–" if np.isnan(depth) else f"{depth:.0f}"


def replace_layer(new: Cursor, old: Cursor) -> Cursor:
    """The new cursor, on the old one's layer."""
    return Cursor(old.layer, new.token)
