"""Going to places of a run: a search, marks and notes."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from depthtui.data.remarks import Bookmark
from depthtui.token_text import LONGEST_QUOTE, shortened
from depthtui.tui.panes.lens_rows import LensRows
from depthtui.tui.panes.line_field import LineField
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.paged_screen import PagedScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.run_search import SCOPES, Scope, Search


class FindField(LineField):
    """Asks for words, and shows where they are searched; `tab` changes the scope."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "tab",
            "turn",
            "elsewhere",
            tooltip=("Search tokens or lens"),
            id="find.turn",
            priority=True,
        )
    ]

    scope: Scope = "tokens"

    def look_in(self, scope: Scope) -> None:
        """Search in this scope from now on."""
        self.scope = scope
        (other,) = SCOPES.keys() - {scope}
        self.placeholder = f"words in {SCOPES[scope]} · tab: in {SCOPES[other]}"

    def action_turn(self) -> None:
        (other,) = SCOPES.keys() - {self.scope}
        self.look_in(other)


class PlacesScreen(PagedScreen):
    """A screen of one run, whose places are searched and marked."""

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self._search: Search | None = None
        self._pane_before_search: Pane | None = None

    def remarked(self) -> None:
        """Draw and keep the run's changed remarks."""
        raise NotImplementedError

    def lines(self) -> ComposeResult:
        """The widgets at the lower edge."""
        yield Static(id="found")
        yield FindField("", id="find")

    @property
    def is_searching(self) -> bool:
        """Whether there are matches to step through."""
        return self._search is not None

    # The search -------------------------------------------------------------

    def find(self) -> None:
        """Ask for words: in the lens from a pane that shows it, else in the tokens."""
        self._pane_before_search = self.active_pane
        field = self.query_one(FindField)
        field.look_in("lens" if isinstance(self.active_pane, LensRows) else "tokens")
        self._end_search()
        field.open()

    @on(FindField.Submitted, "#find")
    def _find(self) -> None:
        field, result = self.query_one(FindField), self.shown_result()
        self._close(field)
        if result is None or not field.value:
            return
        search = Search(field.value, field.scope)
        place = search.begin(result, self.cursor.token, self.lens_name)
        if place is None:
            self.notify(
                f"“{shortened(field.value, LONGEST_QUOTE)}” is not in {SCOPES[field.scope]}.",
                markup=False,
            )
            return
        self._search = search
        self._go_to_match(place)
        self.redraw()

    @on(LineField.Dropped)
    def _dropped(self, dropped: LineField.Dropped) -> None:
        self._close(dropped.field)

    def _close(self, field: LineField) -> None:
        field.close()
        self._activate(self._pane_before_search or self.panes[0])

    def next_match(self, step: int) -> None:
        """Go to the next match, or as many further as the count says."""
        result, steps = self.shown_result(), step * self.pop_count()
        if self._search is None or result is None:
            return
        place = self._search.step(result, steps, self.lens_name)
        if place is None:
            self._end_search()
            self.redraw()
        else:
            self._go_to_match(place)

    def _go_to_match(self, place: tuple[int | None, int]) -> None:
        assert self._search is not None
        result = self.shown_result()
        assert result is not None
        layer, token = place
        self.go_far(self.cursor.layer if layer is None else layer, token)
        number, count = self._search.at + 1, len(self._search.places(result, self.lens_name))
        where = f"token {token}" if layer is None else f"layer {layer}, token {token}"
        if layer == result.model.n_layers:
            where = f"the output, token {token}"
        line = self.query_one("#found", Static)
        line.update(
            Content.assemble(
                (f"/{shortened(self._search.words, LONGEST_QUOTE)}", "bold"),
                (f" in {SCOPES[self._search.scope]}: {number} of {count}, {where}", ""),
                (" · n N go on · esc ends", "$text-muted"),
            )
        )
        line.add_class("shown")

    def go_far(self, layer: int, token: int) -> None:
        """Move the cursor to a searched or marked place."""
        self.go(layer, token)

    def end_search(self) -> None:
        """End the search."""
        self._end_search()
        self.redraw()

    def _end_search(self) -> None:
        self._search = None
        self.query_one("#found").remove_class("shown")

    # Marks and notes --------------------------------------------------------

    def show_notes(self) -> None:
        """Mark the place under the cursor, go to a marked place, write a note on the run."""
        from depthtui.tui.screens.dialogs.notes_dialog import NotesDialog

        run = self.run
        if run is None or run.result is None:
            return

        def closed(place: Bookmark | None) -> None:
            if place is not None:
                self.go_far(place.layer, place.token)
            self.remarked()

        layer, token = self.cursor
        bookmark = run.remarks.at(layer, token) or Bookmark(token, layer)
        self.app.push_screen(NotesDialog(run, run.result, bookmark), closed)
