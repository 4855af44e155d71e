"""The prompt's tokens, flowing over lines, coloured by a value at the cursor's layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from textual import events, on
from textual.geometry import Region, Size
from textual.strip import Strip

from depthtui import ramps
from depthtui.data.run import PromptTokens
from depthtui.data.selection import indices_text
from depthtui.token_text import fit_shown, printable, printable_sentence
from depthtui.tui.draw.scale import scale_of
from depthtui.tui.draw.styles import Piece, text_styles
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane
from depthtui.tui.panes.under_cursor import HeatmapCell, Target

_UNDERLINE = Style(underline=True)


@dataclass(frozen=True)
class _TokenPlace:
    """A token's place in the whole text, in cells and lines."""

    index: int
    x: int
    y: int
    text: str
    cells: int


class PromptPane(Pane):
    """The tokens of the prompt, with the cursor on one.

    Each token's background is the measure's value at the cursor's layer, on
    the heatmap's scale; with a glyph ramp the weight of its text is the value.
    The answer is underlined.
    """

    hint = "p chooses a prompt"
    footer = ("write", "next_prompt", "model", "session", "explain")

    _places: list[_TokenPlace]
    _lines: list[list[_TokenPlace]]
    _title = "Prompt"
    _first_line = 0
    _scrolled_in = Size()
    _levels: np.ndarray | None = None
    _level_styles: tuple[Style, ...]
    _flow: list[_TokenPlace]
    _flowed: PromptTokens | None = None
    _flow_width = 0

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines that the tokens need at this width, for `height: auto`."""
        if self.result is None or not len(self.result.tokens):
            return 1
        return self._places_at(width)[-1].y + 1

    def _places_at(self, width: int) -> list[_TokenPlace]:
        """The tokens' places at a width; only their colours change with most keys."""
        tokens = self.drawn_result.tokens
        if tokens is not self._flowed or width != self._flow_width:
            self._flowed, self._flow_width = tokens, width
            self._flow = lay_out(tokens, width)
        return self._flow

    def why_empty(self) -> tuple[str, str] | None:
        self._title = self._describe()
        if self.result is None or not len(self.result.tokens):
            self.set_titles(self._title)
            return "The prompt, token by token.", self.hint
        return None

    def prepare(self) -> None:
        self._places = self._places_at(self.area.width)
        self._lines = [[] for _ in range(self._places[-1].y + 1)]
        for place in self._places:
            self._lines[place.y].append(place)
        measure = self.shown_measure
        values = measure.values(self.drawn_result) if measure.by_token else None
        self._level_styles = text_styles(self.ramp_for(measure.diverging), self.pane_styles)
        self._levels = None
        if values is not None:
            scale = scale_of(values, measure.diverging, measure.limits)
            self._levels = ramps.levels(values, scale.low, scale.high, len(self._level_styles))
        if self.area != self._scrolled_in:
            # After a resize, scroll to the top again: the hidden lines may now have room.
            self._first_line, self._scrolled_in = 0, self.area
        self._scroll_to_cursor()
        self._update_titles()

    def computes(self) -> tuple[str, ...]:
        return self.computed_for(self.measure.metric)

    # The cursor -------------------------------------------------------------

    def under_cursor(self) -> Target | None:
        if self.result is None or not len(self.result.tokens):
            return None
        last = len(self.result.tokens) - 1
        return HeatmapCell(self.cursor.layer, min(max(self.cursor.token, 0), last))

    def _token_of(self, cursor: Cursor) -> int:
        return min(max(cursor.token, 0), len(self._places) - 1)

    def _scroll_to_cursor(self) -> bool:
        """Scroll to the cursor's token and to the next one, which is predicted there."""
        token, last = self._token_of(self.cursor), len(self._places) - 1
        line, next_line = self._places[token].y, self._places[min(token + 1, last)].y
        former_first, height = self._first_line, self.area.height
        first = min(max(former_first, next_line - height + 1), line)
        self._first_line = max(0, min(first, len(self._lines) - height))
        return self._first_line != former_first

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        has_scrolled = self._scroll_to_cursor()
        self._update_titles()
        if has_scrolled:
            self.refresh(self.area.region)
            return
        changed = {self._token_of(old), self._token_of(new)}
        if self._levels is not None:
            before, after = self._levels_at(old.layer), self._levels_at(new.layer)
            changed |= set(np.flatnonzero(before != after).tolist())
        regions = [
            Region(place.x, place.y - self._first_line, place.cells, 1)
            for place in (self._places[token] for token in changed)
            if 0 <= place.y - self._first_line < self.area.height
        ]
        if regions:
            self.refresh(*regions)

    def _levels_at(self, layer: int) -> np.ndarray:
        assert self._levels is not None
        row: np.ndarray = self._levels[min(max(layer, 0), len(self._levels) - 1)]
        return row

    def _update_titles(self) -> None:
        tokens = self.drawn_result.tokens
        index = min(max(self.cursor.token, 0), len(tokens) - 1)
        text = fit_shown(printable(tokens.readable_texts[index][:80]), 24).rstrip()
        mark = self.view.remarks.at(*self.cursor)
        note = printable_sentence(mark.note[:40]) if mark is not None else ""
        marked = "" if mark is None else f"★ {note} · " if note else "★ "
        place = f"token {index} of {indices_text(len(tokens))}"
        self.set_titles(
            self._title,
            f'{self._hidden_note()}{marked}{place} · id {tokens.ids[index]} · "{text}"',
        )

    def _hidden_note(self) -> str:
        """The lines in sight, counted from 1; empty where all are."""
        first, count = self._first_line, len(self._lines)
        last = min(first + self.area.height, count)
        return f"lines {first + 1}-{last} of {count} · " if last - first < count else ""

    def _describe(self) -> str:
        """The title: whether the prompt is wrapped, and its answer."""
        if self.result is None or not len(self.result.tokens):
            return "Prompt"
        title = "Prompt · chat template" if self.result.settings.chat_template else "Prompt"
        texts = self.result.tokens.readable_texts[self.result.answer_start :]
        if texts:
            answer = fit_shown(printable("".join(texts)[:80]), 24).rstrip()
            title += f' · answer underlined: "{answer}"'
        return title

    # Drawing ----------------------------------------------------------------

    def draw_line(self, y: int) -> Strip:
        line = y + self._first_line
        if line >= len(self._lines):
            return self.line()
        levels = None if self._levels is None else self._levels_at(self.cursor.layer)
        pieces: list[Piece] = []
        for place in self._lines[line]:
            level = -1 if levels is None else int(levels[place.index])
            pieces.append((place.text, self._token_style(place.index, level)))
        return self.line(*pieces)

    def _token_style(self, token: int, level: int) -> Style:
        style = self._level_styles[level] if level >= 0 else self.pane_styles.text
        if token == self._token_of(self.cursor):
            style = self.pane_styles.cursor
        return style + _UNDERLINE if token >= self.drawn_result.answer_start else style

    @on(events.MouseScrollUp)
    @on(events.MouseScrollDown)
    def _scroll(self, event: events.MouseEvent) -> None:
        """Scroll by lines; the cursor stays where it is."""
        event.stop()
        if self.is_ready:
            lines = 1 if isinstance(event, events.MouseScrollDown) else -1
            last = max(0, len(self._lines) - self.area.height)
            self._first_line = min(max(0, self._first_line + lines), last)
            self._update_titles()
            self.refresh(self.area.region)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the token under the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self.is_ready:
            return
        line = offset.y + self._first_line
        for place in self._lines[line] if line < len(self._lines) else ():
            if place.x <= offset.x < place.x + place.cells:
                self.post_message(CursorMoved(self.cursor.layer, place.index))


def lay_out(tokens: PromptTokens, width: int) -> list[_TokenPlace]:
    """Flow the tokens over lines of `width` cells; a line ends after a newline."""
    width = max(1, width)
    places: list[_TokenPlace] = []
    x = y = 0
    for index, raw in enumerate(tokens.readable_texts):
        text = printable(raw[: 2 * width])
        if cell_len(text) > width:
            text = fit_shown(text, width)
        cells = cell_len(text)
        if x and x + cells > width:
            x, y = 0, y + 1
        places.append(_TokenPlace(index, x, y, text, cells))
        x += cells
        if raw.endswith("\n"):
            x, y = 0, y + 1
    return places
