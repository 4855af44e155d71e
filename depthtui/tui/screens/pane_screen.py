"""The base of screens made of panes: one cursor, one measure, tabs where it is narrow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, cast

from textual import events, on
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import LOGIT
from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.metrics.registry import ALL_MEASURES, MEASURE_BY_NAME, MEASURES
from depthtui.metrics.spec import Measure
from depthtui.report.explanations import of_types
from depthtui.tui.draw.names import in_a_row
from depthtui.tui.draw.styles import RampChoice
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.heatmap_views import has_means, mode_of
from depthtui.tui.panes.pane import Cursor, CursorMoved, Pane
from depthtui.tui.panes.under_cursor import (
    CurvePoint,
    HeatmapCell,
    Layer,
    LensRow,
    MeasureRow,
    PageBehind,
    StackBlock,
)
from depthtui.tui.panes.view import View
from depthtui.tui.screens.command_screen import CommandScreen
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.measure_picker import MeasurePicker
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.own_values import Pointed

_RIGHT = 3
"""The number of the mouse's right button."""

NO_PANE = "There is no pane to enlarge yet."
NOTHING_HERE = "There is nothing under the cursor yet."
NO_RUN = "This layer belongs to no run of the session."
NO_TOKENS = "This measure has no means over tokens: those of layer contributions are drawn."


class PaneTabs(Static):
    """The names of the panes that share a space, where only one of them has room."""

    _panes: tuple[Sequence[Pane], Pane | None] = (), None

    def show(self, panes: Sequence[Pane], active: Pane | None) -> None:
        """List the panes, the active one marked."""
        self._panes = panes, active
        names = [
            Content.from_markup(f"[@click=screen.go_to('{pane.id}')][{style}] {pane.name} [/][/]")
            for pane in panes
            for style in ("reverse bold" if pane is active else MUTED,)
        ]
        place = next((at for at, pane in enumerate(panes) if pane is active), 0)
        cells = [name.cell_length for name in names]
        self.update(in_a_row(names, cells, place, self.size.width))

    def on_resize(self) -> None:
        """List as many as fit."""
        self.show(*self._panes)


class PaneScreen(CommandScreen):
    """A screen of panes with a vi-like cursor; dismissed with the cursor for the screen beneath.

    Args:
        explorer: runs things.

    Attributes:
        cursor: the place that every pane shows.
        measure: the measure of the heatmaps.
        layer_order: `up` has layer 0 at the bottom.
        averaged: whether heatmaps show means over tokens.
        pace: gives the time of measures that are not computed yet.
        is_trying: whether the measure is shown as a trial, without having been chosen.
    """

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"),
        (100, "-medium"),
        (170, "-wide"),
    ]
    ALLOW_IN_MAXIMIZED_VIEW = "KeyFooter, .title-line"
    # Textual's escape would precede the one that the footer names.
    ESCAPE_TO_MINIMIZE = False
    AUTO_FOCUS = "HeatmapPane"
    PANE_ORDER: ClassVar[tuple[str, ...]] = ()
    """Ids of the panes in the order of `tab`."""

    cursor: reactive[Cursor] = reactive(Cursor(), repaint=False)
    measure: reactive[Measure] = reactive(lambda: MEASURES[0], repaint=False)
    layer_order: reactive[str] = reactive("up", repaint=False)
    averaged: reactive[bool] = reactive(False, repaint=False)
    pace = Pace()
    is_trying = False

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self._every_pane: Sequence[Pane] = ()
        self._colours = explorer.settings.ramp, explorer.settings.palette

    # For subclasses ----------------------------------------------------------

    def extent(self) -> tuple[int, int]:
        """The highest layer and the highest token for the cursor."""
        raise NotImplementedError

    def shown_result(self) -> RunResult | None:
        """The result whose measures are offered."""
        raise NotImplementedError

    @property
    def lens_name(self) -> str:
        """The lens of that result, by its name in `LENSES`."""
        return LOGIT

    def view(self) -> View:
        """The view that all panes draw now."""
        ramp, palette = self._colours
        return View(
            measure=self.measure,
            mode=mode_of(self.measure, self.averaged),
            lens=self.lens_name,
            layer_order="down" if self.layer_order == "down" else "up",
            ramp=cast(RampChoice, ramp),
            palette=palette,
            pace=self.pace,
        )

    def view_in(self, pane: Pane, view: View) -> View:
        """The view that one pane draws."""
        return view

    def show_view(self) -> None:
        """Update every pane; a pane that looks the same is not drawn again."""
        if not self._every_pane:
            return
        view = self.view()
        for pane in self._every_pane:
            pane.show(self.view_in(pane, view))

    def in_pane(self, pane: Pane, cursor: Cursor) -> Cursor:
        """The cursor in a pane's layers and tokens."""
        return cursor

    def from_pane(self, pane: Pane | None, cursor: Cursor) -> Cursor:
        """The screen's cursor for a cursor in a pane's layers and tokens."""
        return cursor

    def pointed(self) -> Pointed | None:
        """The run under the focused pane's cursor, with the place; None where no run is."""
        result, (layer, token) = self.active_pane.result, self.active_pane.cursor
        if result is None:
            return None
        # At the output, too, heatmaps mark the last layer.
        return Pointed(result, min(layer, result.model.n_layers - 1), token)

    # Panes ------------------------------------------------------------------

    @property
    def panes(self) -> list[Pane]:
        """The panes that `tab` goes through, in order; hidden ones only where tabs show them."""
        wide = self.has_class("-wide")
        panes = (self.query_one(f"#{name}", Pane) for name in self.PANE_ORDER)
        return [pane for pane in panes if wide or not pane.has_class("spare")]

    @property
    def active_pane(self) -> Pane:
        """The pane with the focus, or the one that would get it."""
        focused = self.focused
        if isinstance(focused, Pane):
            return focused
        return next((pane for pane in self.panes if pane.has_class("active")), self.panes[0])

    def on_mount(self) -> None:
        self._every_pane = list(self.query(Pane))
        self._activate(self.panes[0])

    def set_colours(self, ramp: str, palette: str) -> None:
        """Draw every pane in these colours of the settings."""
        self._colours = ramp, palette
        self.show_view()

    def _activate(self, pane: Pane) -> None:
        """Focus a pane, and show it where panes are tabs."""
        was_zoomed = self.is_zoomed
        # A pane that is always visible replaces no other.
        if not (pane.has_class("always") and self.query("Pane.active")):
            for other in self.query(Pane):
                other.set_class(other is pane, "active")
            for column in self.query(".column"):
                column.set_class(pane in column.query(Pane), "active")
        if pane.focusable:
            # Focus at once: the next keys are for this pane.
            self.set_focus(pane)
        else:
            pane.focus()
        if was_zoomed:
            self.maximize(pane, container=False)
        self._show_tabs()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_tabs)

    def _show_tabs(self) -> None:
        """List the panes as tabs, unless the screen is gone."""
        if not self.is_running:
            return
        tabbed = [pane for pane in self.panes if not pane.has_class("always")]
        active = next((pane for pane in tabbed if pane.has_class("active")), None)
        for tabs in self.query(PaneTabs):
            tabs.show(tabbed, active)
        self.refresh_keys()

    def on_click(self, event: events.Click) -> None:
        """Open a place on a double click; offer its commands on a right click."""
        if not isinstance(event.widget, Pane):
            return
        if event.button == _RIGHT:
            self.offer_commands(event.screen_offset)
        elif event.chain == 2:
            name = "open" if "open" in self.commands else "open_row"
            if name in self.commands and self.works(name):
                self.action_command(name)

    @on(CursorMoved)
    def _pointed(self, event: CursorMoved) -> None:
        self.go(*self.from_pane(event.control, Cursor(event.layer, event.token)))

    def on_descendant_focus(self) -> None:
        self._show_tabs()

    # The cursor -------------------------------------------------------------

    def go(self, layer: int, token: int) -> None:
        """Move the cursor, within the layers and tokens."""
        last_layer, last_token = self.extent()
        self.cursor = Cursor(
            min(max(layer, 0), max(last_layer, 0)), min(max(token, 0), max(last_token, 0))
        )

    def watch_cursor(self, cursor: Cursor) -> None:
        for pane in self._every_pane or self.query(Pane):
            pane.cursor = self.in_pane(pane, cursor)

    def watch_measure(self, measure: Measure) -> None:
        self.show_view()

    def watch_layer_order(self, order: str) -> None:
        self.show_view()

    def watch_maximized(self) -> None:
        self.refresh_bindings()

    def watch_averaged(self, averaged: bool) -> None:
        self.show_view()

    def go_to_first_token(self) -> None:
        """Go to the first token; a zero may also continue a count."""
        if self._count:
            self.action_count(0)
        else:
            self.go(self.cursor.layer, 0)

    def move(self, rows: int, tokens: int) -> None:
        """Move by rows on the screen, upwards positive, and by tokens."""
        count = self.pop_count()
        up = 1 if self.layer_order == "up" else -1
        layer, token = self.cursor
        self.go(layer + up * rows * count, token + tokens * count)

    def go_to_edge(self, where: str) -> None:
        """Go to the first or last layer or token; with a count, to that layer or token."""
        counted, count = self._count > 0, self.pop_count(0)
        layer, token = self.cursor
        last_layer, last_token = self.extent()
        match where:
            case "first_layer":
                self.go(count if counted else 0, token)
            case "last_layer":
                self.go(count if counted else last_layer, token)
            case "last_token":
                self.go(layer, count if counted else last_token)

    @property
    def is_zoomed(self) -> bool:
        """Whether a pane has the whole screen."""
        return self.maximized is not None

    # Looking ----------------------------------------------------------------

    def turn_pane(self, step: int) -> None:
        """Move the focus by this many panes."""
        panes = self.panes
        index = panes.index(self.active_pane) if self.active_pane in panes else 0
        self._activate(panes[(index + step) % len(panes)])

    def action_go_to(self, pane_id: str) -> None:
        self._activate(self.query_one(f"#{pane_id}", Pane))

    def go_to_pane(self, pane: Pane) -> None:
        """Focus a pane."""
        self._activate(pane)

    def zoom(self) -> None:
        """Give the focused pane the whole screen, or undo that."""
        pane = self.active_pane
        if self.is_zoomed:
            self.minimize()
        elif all(widget.display for widget in pane.ancestors_with_self):
            self.maximize(pane, container=False)
        else:
            self.notify(NO_PANE, markup=False)

    def explained(self) -> Sequence[Explanation]:
        """The explanations of the focused pane."""
        pane = self.active_pane
        model = None if pane.result is None else pane.result.model
        return (*pane.explains(), *of_types(model))

    def explain(self) -> None:
        """Explain the focused pane: what it is, how to read it, and where it comes from."""
        self.app.show_help("this pane")

    def why_not_open(self) -> str:
        """Why there is nothing to open at the cursor."""
        return "" if self.active_pane.under_cursor() is not None else NOTHING_HERE

    def open_at_cursor(self) -> None:
        """Open the thing under the focused pane's cursor."""
        pane = self.active_pane
        match pane.under_cursor():
            case HeatmapCell(layer, token) | LensRow(layer, token):
                self._open_cell(pane, layer, token)
            case Layer(layer) | StackBlock(layer, _) | CurvePoint(_, layer):
                self._open_cell(pane, layer, pane.cursor.token)
            case MeasureRow() as row:
                self.open_measure(row)
            case PageBehind(page):
                self.go_to_pane(self.query_one(f"#{page}", Pane))

    def _open_cell(self, pane: Pane, layer: int, token: int) -> None:
        """Open the layer of a pane's run at a token."""
        run = self.explorer.session.run_of(pane.result)
        if run is None:
            self.notify(NO_RUN, markup=False)
            return
        back = partial(self._come_back, pane)
        place = Cursor(layer, token)
        self.app.open_screen("Layer", run, place, self.layer_order, pane.view.lens, back)

    def _come_back(self, pane: Pane, cursor: Cursor) -> None:
        """Put the cursor at the last place of the layer's screen."""
        self.go(*self.from_pane(pane, cursor))

    def open_measure(self, row: MeasureRow) -> None:
        """Go to the evidence of a measure."""

    def turn_over(self) -> None:
        """Turn the layers upside down."""
        self.layer_order = "down" if self.layer_order == "up" else "up"

    def turn_average(self) -> None:
        """Switch between means over tokens and every token."""
        if has_means(self.measure):
            self.averaged = not self.averaged
        else:
            self.notify(NO_TOKENS, markup=False)

    def turn_measure(self, step: int) -> None:
        """Show the next measure that this run has."""
        result, view = self.shown_result(), self.view()
        index = ALL_MEASURES.index(self.measure)
        for _ in ALL_MEASURES:
            index = (index + step) % len(ALL_MEASURES)
            measure = measure_of_lens(ALL_MEASURES[index], view.lens, view.reading)
            if result is None or measure.values(result) is not None:
                self.measure = ALL_MEASURES[index]
                return

    def go_to_heatmap(self) -> None:
        """Focus a heatmap, so that the keys act on it."""
        if not isinstance(self.active_pane, HeatmapPane):
            self._activate(next(pane for pane in self.panes if isinstance(pane, HeatmapPane)))

    def choose_reading(self) -> None:
        """Choose how depths are read; the panes show each choice at once."""
        raise NotImplementedError

    def choose_measure(self) -> None:
        """Choose a measure; each that is computed is shown while its row is highlighted."""
        former, former_pane = self.measure, self.active_pane
        if self.has_class("-narrow"):
            # Another pane would cover the heatmap that shows each measure.
            self.go_to_heatmap()

        def chosen(name: str | None) -> None:
            self._try_measure(former)
            if name is None:
                self.go_to_pane(former_pane)
            else:
                self.measure = MEASURE_BY_NAME[name]
                self.go_to_heatmap()

        picker = MeasurePicker(
            former.name,
            self.shown_result(),
            partial(measure_of_lens, lens=self.lens_name, pooled=self.view().reading),
            self.pace,
            self._try_measure,
            self.turn_average,
            self.turn_over,
        )
        self.app.push_screen(picker, chosen)

    def _try_measure(self, measure: Measure) -> None:
        """Show a measure that is not chosen."""
        self.is_trying = True
        self.measure = measure
        self.is_trying = False
