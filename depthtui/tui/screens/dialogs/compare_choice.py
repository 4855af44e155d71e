"""What to compare the run on the screen with: another run, or its prompt on another model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from depthtui.tui.screens.dialogs.dialog import ListDialog
from depthtui.tui.screens.dialogs.session_screen import run_line
from depthtui.tui.state.session import Run, Session


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

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        others = [run for run in session.shown() if run is not session.current]
        self._runs = list(reversed(others))

    def body(self) -> ComposeResult:
        yield OptionList(compact=True)

    def on_mount(self) -> None:
        listing = self.listing
        width = 44 if self.app.size.width >= 100 else 26
        listing.add_option(Option(Content("The same prompt on another model…")))
        listing.add_options(Option(run_line(run, self._session, width)) for run in self._runs)
        offered = self._session.marked or self._session.before(self._session.current)
        self.start_at(1 + self._runs.index(offered) if offered in self._runs else 0)

    def take(self, place: int) -> None:
        self.dismiss(Partner(self._runs[place - 1] if place else None))

    def action_another_model(self) -> None:
        self.take(0)
