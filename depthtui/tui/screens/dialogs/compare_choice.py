"""What to compare the run on the screen with: another run, or its prompt on another model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.tui.screens.dialogs.dialog import ListDialog, line_cells
from depthtui.tui.screens.dialogs.session_screen import WIDEST, RunTable
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import Run


@dataclass(frozen=True)
class Partner:
    """The run to compare with; None for the same prompt on another model."""

    run: Run | None


class CompareChoice(ListDialog[Partner]):
    """Lists what the current run can be compared with; the marked run or the last is offered."""

    heading = "Compare with"
    hint = "enter compares · m another model · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "m",
            "another_model",
            "another model",
            tooltip="Run the same prompt on another model and compare",
            id="compare.model",
        ),
    ]

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self._session = session = explorer.session
        others = [run for run in session.shown() if run is not session.current]
        self._runs = list(reversed(others))

    def body(self) -> ComposeResult:
        yield Static(id="runs-head")
        yield OptionList(compact=True)

    def on_mount(self) -> None:
        listing = self.listing
        settings = self._explorer.settings.summary_settings()
        table = RunTable(
            self._runs, self._session, settings, line_cells(self.app.size.width, WIDEST)
        )
        self.query_one("#runs-head", Static).update(table.head)
        listing.add_option(Option(Content("The same prompt on another model…")))
        listing.add_options(Option(table.line(run)) for run in self._runs)
        offered = self._session.marked or self._session.before(self._session.current)
        self.start_at(1 + self._runs.index(offered) if offered in self._runs else 0)

    def take(self, place: int) -> None:
        self.dismiss(Partner(self._runs[place - 1] if place else None))

    def action_another_model(self) -> None:
        self.take(0)
