"""The base of the explorer's panes: results, the cursor, the theme, empty states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual.content import Content
from textual.filter import ANSIToTruecolor, LineFilter
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from depthtui.data.explanation import Explanation
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import LENS_METRICS, LOGIT, lens_of
from depthtui.data.run import PromptTokens, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.depth.reading import Reading
from depthtui.metrics.chosen_lens import measure_of_lens, metric_of_lens
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.spec import Measure
from depthtui.report.blocks import Figure
from depthtui.report.explanations import of_measure
from depthtui.report.tables import ValueTable
from depthtui.tui.draw.styles import (
    PaneStyles,
    Piece,
    Ramp,
    line_style,
    ramp_kind,
    ramp_of,
    strip_of,
    styles_of,
)
from depthtui.tui.draw.text import no_lens, wrap
from depthtui.tui.panes.under_cursor import Target
from depthtui.tui.panes.view import View
from depthtui.tui.textual_patches.names import (
    draw_with_this_frame,
    handle_error,
    repaint,
    sender_of,
)

BROKEN = ("This could not be drawn.", "What comes next is drawn again; the rest goes on.")
"""The message of a pane that failed to draw."""


class Cursor(NamedTuple):
    """The place that all panes show.

    `layer` is 0 … L, where L is the model's output; a pane whose rows end at
    L - 1 shows L as its last row. `token` is 0 … T - 1.
    """

    layer: int = 0
    token: int = 0


class CursorMoved(Message):
    """The user pointed at a place in a pane; the cursor's owner moves it for all panes."""

    def __init__(self, layer: int, token: int) -> None:
        super().__init__()
        self.layer = layer
        self.token = token

    @property
    def control(self) -> Pane | None:
        """The pane in which the user pointed."""
        sender = sender_of(self)
        return sender if isinstance(sender, Pane) else None


class Pane(Widget, can_focus=True):
    """A framed part of the screen that draws results line by line and computes nothing.

    Attributes:
        view: the data to draw, set by `show`.
        hint: advice in an empty pane on how to fill it.
        area: the content size that the pane was prepared for.
    """

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Pane {
        border: round $foreground 25%;
        border-title-color: $foreground;
        border-title-style: none;
        border-subtitle-color: $foreground 65%;
        border-subtitle-style: none;
        padding: 0 1;
        width: 1fr;
        height: 1fr;
        background: $background;
        &:focus {
            border: round $foreground 70%;
            border-title-style: bold;
        }
    }
    """

    hint: ClassVar[str] = ""
    footer: ClassVar[tuple[str, ...]] = ("reading", "open", "session", "export", "explain")
    """Names of the commands that the main screen's footer gives while the pane has the focus."""
    area = Size()
    _cursor = Cursor()
    _pane_styles: PaneStyles | None = None
    _prepared = False
    _empty: tuple[str, str] | None = None
    _titles = ("", "")
    _gets_ready = False
    _is_drawing = False
    _retitling = False

    def __init__(
        self, *, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.view = View()
        self._shown_tokens: PromptTokens | None = None

    def show(self, view: View) -> None:
        """Draw this view from now on; a view that looks the same is not drawn again."""
        former, self.view = self.view, view
        if view != former or self._empty is BROKEN:
            self.redraw()
            # A run that is being written gets other tokens, and stays the same run.
            tokens = view.result.tokens if view.result is not None else None
            if tokens is not self._shown_tokens:
                self._shown_tokens = tokens
                if self.display and self.styles.is_auto_height:
                    self.refresh(layout=True)

    @property
    def cursor(self) -> Cursor:
        """The place that all panes show."""
        return self._cursor

    @cursor.setter
    def cursor(self, cursor: Cursor) -> None:
        # Not a reactive: all panes get the cursor with every key, even hidden ones.
        former, self._cursor = self._cursor, cursor
        # A pane that is not prepared yet will be prepared with this cursor, once.
        if cursor != former and self._prepared and self._empty is None:
            self.move_cursor(former, cursor)

    def redraw(self) -> None:
        """Prepare the pane again and draw all of it."""
        self._prepared = False
        self.refresh()

    def redraw_content(self) -> None:
        """Prepare the pane again and draw all of it but its frame."""
        self._prepared = False
        if self.is_ready:
            self.refresh(self.area.region)

    @property
    def result(self) -> RunResult | None:
        """The run that is drawn."""
        return self.view.result

    @property
    def reading(self) -> Reading | None:
        """The run's curves and effective depths; None where no token counts."""
        return _with_tokens(self.view.reading)

    @property
    def other_result(self) -> RunResult | None:
        """The compared run."""
        return self.view.other_result

    @property
    def other_reading(self) -> Reading | None:
        """The compared run's curves and effective depths."""
        return _with_tokens(self.view.other_reading)

    @property
    def measure(self) -> Measure:
        """The per-token measure that is coloured."""
        return self.view.measure

    # For subclasses ---------------------------------------------------------

    def why_empty(self) -> tuple[str, str] | None:
        """Why there is nothing to draw and what helps, or None."""
        return None

    def computes(self) -> tuple[str, ...]:
        """The metrics that the pane shows (see `metrics.registry.METRICS`)."""
        return ()

    def computes_with(self) -> Mapping[str, Any]:
        """Settings for the metrics of `computes` that differ from the run's."""
        return {}

    def what_if_settings(self, settings: RunSettings) -> RunSettings:
        """The settings of a what-if that begins on the pane, from those of the run."""
        return settings

    def lens_to_compute(self) -> tuple[str, ...]:
        """The metric of the chosen lens, where the lens has not read the run."""
        result, lens = self.result, self.view.lens
        lacks = result is not None and lens != LOGIT and lens_of(result, lens) is None
        return self.computed_for(LENS_METRICS[LOGIT]) if lacks else ()

    def computed_for(self, metric: str) -> tuple[str, ...]:
        """The metric to compute for a metric: the chosen lens's where it replaces this one."""
        name = metric_of_lens(metric, self.view.lens)
        return (name,) if name in METRIC_BY_NAME else ()

    def explains(self) -> tuple[Explanation, ...]:
        """The explanations of the pane's contents."""
        return of_measure(self.measure)

    def figures(self) -> Sequence[Figure]:
        """The figures of a report that show the same as the pane; none where there are none."""
        return ()

    def table(self) -> ValueTable | None:
        """The numbers of a pane that has no figure; None where there are none."""
        return None

    def under_cursor(self) -> Target | None:
        """The thing that a key or a double click opens; None where there is none."""
        return None

    def prepare(self) -> None:
        """Compute, once per change, the data for `draw_line`."""

    def draw_line(self, y: int) -> Strip:
        """Line y of the content, exactly as wide as the pane."""
        raise NotImplementedError

    # For the panes to use ---------------------------------------------------

    @property
    def shown_measure(self) -> Measure:
        """The measure as read by the lens, with the thresholds of the reading."""
        return measure_of_lens(self.measure, self.view.lens, self.view.reading)

    def no_lens(self, help_text: str = "") -> tuple[str, str]:
        """Why the lens has not read the result, and what helps."""
        pace = self.view.pace if self.view.can_compute else None
        return no_lens(self.drawn_result, self.view.lens, pace, help_text, self.compute_key)

    @property
    def compute_key(self) -> str:
        """The keys that compute the pane's metrics: `i` acts on the focused pane."""
        return "i" if self.has_focus else "tab to this pane, then i"

    @property
    def drawn_result(self) -> RunResult:
        """The result to draw, for panes that are empty without one."""
        assert self.result is not None
        return self.result

    @property
    def pane_styles(self) -> PaneStyles:
        """The theme's styles."""
        if self._pane_styles is None:
            self._pane_styles = styles_of(self.app, self.background_colors[1])
        return self._pane_styles

    def ramp_for(self, diverging: bool) -> Ramp:
        """The ramp for signed or unsigned values."""
        kind = ramp_kind(self.app, self.view.ramp)
        return ramp_of(kind, diverging, self.pane_styles.dark, self.view.palette)

    def line_style(self, place: int) -> Style:
        """The style of the line at this place among several, to tell them apart."""
        return line_style(self.pane_styles, place, self.view.palette)

    @property
    def is_ready(self) -> bool:
        """Whether the pane has a size and data to draw; prepares it if need be."""
        if not self._prepared:
            if not self.is_attached or not self.size:
                return False
            self.area = self.size
            self._prepared = True
            try:
                self._empty = self.why_empty()
                if self._empty is None:
                    self.prepare()
            except Exception as error:
                self._give_up(error)
        return self._empty is None

    @property
    def text(self) -> str:
        """All that the pane shows: its titles and its lines."""
        lines = [] if not self.is_ready else map(self.draw_line, range(self.area.height))
        return "\n".join([*self._titles, *(self._empty or ()), *(line.text for line in lines)])

    def get_ready(self) -> None:
        """Prepare the next drawing, so that a new title comes with the same frame."""
        self._gets_ready = True
        _ = self.is_ready
        self._gets_ready = False

    def line(self, *pieces: Piece) -> Strip:
        """One line of content from pieces of printable text."""
        return strip_of(pieces, self.area.width, self.pane_styles.text)

    def whole_lines(self, y: int, count: int = 1) -> Region:
        """Lines of the content and the frame beside them, to be drawn again.

        Cutting the lines costs more than finding the parts that the terminal already shows.
        """
        gutter, width = self.styles.gutter, self.size.width
        return Region(-gutter.left, y, width + gutter.width, count)

    def titled(self, title: str) -> Content:
        """The upper edge's text for this title."""
        return Content(title)

    def set_titles(self, title: str, subtitle: str = "") -> None:
        """Set the frame's titles, repainting only the changed edges."""
        old_title, old_subtitle = self._titles
        content = self.titled(title)
        title = content.plain
        self._titles = (title, subtitle)
        self._retitling = True
        if title != old_title:
            self.border_title = content if title else None
        if subtitle != old_subtitle:
            self.border_subtitle = Content(subtitle) if subtitle else None
        self._retitling = False
        edges = ((-1, title != old_title), (self.size.height, subtitle != old_subtitle))
        for region in (self.whole_lines(y) for y, is_new in edges if is_new):
            if self._gets_ready:
                draw_with_this_frame(self, region)
            elif self._is_drawing:
                # Refresh later: a refresh within a repaint is forgotten at its end.
                self.call_later(self.refresh, region)
            else:
                self.refresh(region)

    # Textual ----------------------------------------------------------------

    def get_line_filters(self) -> Sequence[LineFilter]:
        # Panes draw no terminal colours that would have to be translated.
        filters = super().get_line_filters()
        return [filter_ for filter_ in filters if not isinstance(filter_, ANSIToTruecolor)]

    def refresh(self, *regions: Region, **options: bool) -> Pane:
        # Textual repaints the whole widget for a new title; `set_titles` does less.
        if self._retitling:
            return self
        if regions and self.is_attached and not options:
            repaint(self, *regions)
            return self
        return super().refresh(*regions, **options)

    def render_line(self, y: int) -> Strip:
        self._is_drawing = True
        is_ready = self.is_ready
        self._is_drawing = False
        if is_ready:
            try:
                return self.draw_line(y)
            except Exception as error:
                self._give_up(error)
        if self._empty is None:
            return Strip.blank(self.size.width)
        return self._draw_empty(y, *self._empty)

    def _give_up(self, error: Exception) -> None:
        """Stay empty until the contents change, rather than fail with every frame."""
        self._empty = BROKEN
        self.call_later(self.refresh)
        handle_error(self, error)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._pane_styles = None
        self._prepared = False

    def on_resize(self) -> None:
        self.redraw()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        if self._empty is not None:
            # An empty pane's text names keys, which depend on the focus.
            self.redraw()

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        """Repaint the parts that a cursor move changes; subclasses repaint less than all."""
        self.redraw()

    def _draw_empty(self, y: int, reason: str, help_text: str) -> Strip:
        width, height = self.area
        lines: list[tuple[str, Style]] = [
            (text, self.pane_styles.muted) for text in wrap(reason, width)
        ]
        lines += [(text, self.pane_styles.faint) for text in wrap(help_text, width)]
        first = max(0, (height - len(lines)) // 2)
        if not first <= y < first + len(lines):
            return self.line()
        text, style = lines[y - first]
        return self.line((" " * ((width - cell_len(text)) // 2), style), (text, style))


def _with_tokens(reading: Reading | None) -> Reading | None:
    return reading if reading is not None and reading.parts else None


def nothing_pooled(result: RunResult | None, purpose: str, hint: str) -> tuple[str, str]:
    """Why a pane of means over tokens is empty, and what helps."""
    if result is None:
        return purpose, hint
    return "No token is left to average.", "Count token 0 (u), or run a longer prompt."


def lens_values(result: RunResult | None, lens: str) -> LogitLens:
    """The values that a lens read of a run, for panes that are empty without them."""
    values = None if result is None else lens_of(result, lens)
    assert values is not None
    return values
