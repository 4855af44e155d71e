"""The sessions of the cache: open one, rename it, delete it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from depthtui.data.sentence import plural
from depthtui.data.session_files import SessionFile
from depthtui.errors import DepthError
from depthtui.prompts.tasks import prompt_title
from depthtui.token_text import fit_shown, printable_chars, printable_sentence
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.ask import confirm
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, line_cells
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.screens.dialogs.run_list import WIDEST
from depthtui.tui.state.explorer import Explorer

_LONGEST_MODELS = 28
_LONGEST_TITLE = 400
_SHOWN_RUNS = 6
"""Runs of the highlighted session that are listed beneath the list."""

OPEN_HERE = "This is the open session: tab lists its runs, where d forgets one."


class SessionPicker(Picker[SessionFile]):
    """Lists the sessions, the latest first; dismissed with the session to open.

    Args:
        explorer: knows which session is open.
    """

    heading = "Session"
    hint = "enter opens · / finds · r renames · d deletes · tab runs · esc closes"
    noun = "session"
    empty_words = "No session is saved yet: a session is saved from its second prompt on."
    is_slow = True

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "rename", "rename", tooltip="Rename a session", id="sessions.rename"),
        Binding("d,delete", "delete", "delete", tooltip="Delete a session", id="sessions.delete"),
    ]

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._sessions = explorer.sessions
        self._files: list[SessionFile] = []
        self._notices: list[str] = []
        self._renamed: SessionFile | None = None

    def below(self) -> ComposeResult:
        with Vertical(id="about"):
            yield Static(id="runs")
            yield SafeInput(placeholder="title", id="title", compact=True)
            yield Static(id="note")

    def on_mount(self) -> None:
        self.query_one("#title").display = False

    def find(self) -> None:
        self._files = self._sessions.folder.files(self._notices.append)

    def rows_found(self) -> None:
        self.listing.focus()
        if self._notices:
            self.note(" ".join(self._notices), WRONG)

    @property
    def _table(self) -> _SessionTable:
        return _SessionTable(self._files, line_cells(self.app.size.width, WIDEST))

    def head(self) -> str:
        return self._table.head

    def rows(self) -> Iterator[PickerRow]:
        table = self._table
        for file in self._files:
            yield PickerRow(file, table.line(file, self._sessions.is_own(file)), _filter_text(file))

    def describe(self, row: PickerRow) -> None:
        """List the runs of the highlighted session."""
        lines = "\n".join(_run_lines(row.value))
        self.query_one("#runs", Static).update(Content.styled(lines, MUTED))

    def choose(self, value: SessionFile) -> None:
        self.dismiss(value)

    # Renaming ---------------------------------------------------------------

    def action_rename(self) -> None:
        file = self.highlighted_value
        if file is None:
            return
        self._renamed = file
        field = self.query_one("#title", Input)
        field.value, field.display = _title(file), True
        self.keep_text(field)
        field.focus()
        self.note("enter renames it · esc leaves the title as it is")

    @on(Input.Submitted, "#title")
    def _rename(self, submitted: Input.Submitted) -> None:
        file, title = self._renamed, " ".join(submitted.value.split())
        if file is None or not title:
            return
        try:
            renamed = self._sessions.rename(file, title)
        except DepthError as error:
            self.note(str(error), WRONG)
            return
        self._files[self._files.index(file)] = renamed
        self._end_renaming()
        self.fill()

    def _end_renaming(self) -> None:
        self._renamed = None
        self.query_one("#title").display = False
        self.note("")
        self.listing.focus()

    def leave(self) -> None:
        """Leave the title, then the filter, then the list."""
        if self._renamed is not None:
            self._end_renaming()
        else:
            super().leave()

    # Deleting ---------------------------------------------------------------

    def action_delete(self) -> None:
        file = self.highlighted_value
        if file is None:
            return
        if self._sessions.is_own(file):
            self.note(OPEN_HERE)
            return

        title, count = fit_shown(_title(file), 40).rstrip(), plural(len(file.session.runs), "run")
        question = f"Delete the session “{title}” of {count}? The results stay in the cache."
        confirm(self.app, question, "deletes it", partial(self._delete, file))

    def _delete(self, file: SessionFile) -> None:
        try:
            self._sessions.folder.remove(file)
        except DepthError as error:
            self.note(str(error), WRONG)
            return
        self._files.remove(file)
        self.fill()
        if not self._files:
            self.query_one("#runs", Static).update("")


class _SessionTable:
    """Lines about sessions in columns under a head; the title gets the remaining width."""

    def __init__(self, files: list[SessionFile], width: int) -> None:
        models = max((cell_len(_models(file)) for file in files), default=0)
        self._models = max(len("models"), min(models, _LONGEST_MODELS))
        self._title = max(6, width - len(self._cells("", "", "")) - self._models - 2)

    @property
    def head(self) -> str:
        return f"{self._cells('saved', 'runs', 'title')}  models"

    def _cells(self, when: str, runs: str, title: str) -> str:
        title_words = fit_shown(title, self._title) if title else ""
        return f"  {when:<12}  {runs:>4}  {title_words}"

    def line(self, file: SessionFile, is_open: bool) -> Content:
        time = datetime.fromisoformat(file.session.saved)
        title = _title(file)
        cells = self._cells(f"{time:%d %b %H:%M}", str(len(file.session.runs)), title)
        return Content.assemble(
            ("▶" if is_open else " ", "bold $text-accent"),
            cells[1:],
            ("  " + fit_shown(_models(file), self._models), MUTED),
        )


def _title(file: SessionFile) -> str:
    return printable_sentence(file.title[:_LONGEST_TITLE])


def _models(file: SessionFile) -> str:
    names = dict.fromkeys(run.model.name for run in file.session.runs)
    return printable_chars(", ".join(names))


def _filter_text(file: SessionFile) -> str:
    """The text that the filter looks through."""
    prompts = (run.prompt.text for run in file.session.runs)
    return "\n".join((file.name, file.title, _models(file), *prompts)).lower()


def _run_lines(file: SessionFile) -> Iterator[str]:
    """Lines about the first runs of a session."""
    runs = file.session.runs
    for number, run in enumerate(runs[:_SHOWN_RUNS], start=1):
        yield f"{number:>2}  {prompt_title(run.prompt, 60)} · {printable_chars(run.model.name)}"
    if len(runs) > _SHOWN_RUNS:
        yield f"    and {len(runs) - _SHOWN_RUNS} more"
