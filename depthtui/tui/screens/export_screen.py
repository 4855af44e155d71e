"""Save runs to a folder, in formats for reading, for programs and for papers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, RadioButton, RadioSet, Static

from depthtui.engine.results import RunResult, SummarySettings
from depthtui.errors import DepthError
from depthtui.report.export import export, write_whole
from depthtui.tui.screens.dialog import MUTED, Dialog
from depthtui.tui.screens.safe_text_area import stand_ins
from depthtui.tui.session import Session

FORMATS = {
    "md": "Markdown",
    "json": "JSON, for programs",
    "html": "HTML with the heatmaps, one file",
    "safetensors": "safetensors, every array",
    "svg": "SVG, this screen as it is",
}


class ExportScreen(Dialog[Path]):
    """Writes the chosen formats; dismissed with the folder.

    Args:
        session: what can be exported.
        settings: how runs are pooled.
        folder: where to, until the user changes it.
        screenshot: the screen behind this dialog, as SVG.
    """

    heading = "Export"
    hint = "enter writes · tab moves on · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f5", "write", "write", tooltip="Write the files", id="export.write", priority=True
        ),
    ]

    def __init__(
        self,
        session: Session,
        settings: SummarySettings,
        folder: Path,
        screenshot: str,
    ) -> None:
        super().__init__()
        self._session = session
        self._settings = settings
        self._folder = folder
        self._screenshot = screenshot

    def body(self) -> ComposeResult:
        count, current = len(self._session.results), self._session.current
        runs = "1 run" if count == 1 else f"{count} runs"
        with RadioSet(id="what", compact=True):
            yield RadioButton(f"this run ({current.number if current else '–'})", value=True)
            yield RadioButton(f"the whole session ({runs})")
        for each, title in FORMATS.items():
            yield Checkbox(title, True, id=each, compact=True)
        with Horizontal(classes="row"):
            yield Label("folder ")
            yield Input(str(self._folder), id="folder", compact=True)
        with Horizontal(classes="row"):
            yield Label("name   ")
            yield Input(f"depth-{datetime.now():%Y%m%d-%H%M%S}", id="file-name", compact=True)
            yield Button("Write (F5)", id="write", variant="primary", compact=True)
        yield Static(id="export-note")

    def on_mount(self) -> None:
        self._say_where()
        self.query_one("#file-name").focus()

    @on(Input.Changed, "#folder")
    def _say_where(self) -> None:
        with suppress(OSError, RuntimeError):
            where = self._target().resolve()
            self._note(f"into {where}", MUTED)

    def _target(self) -> Path:
        return Path(self.query_one("#folder", Input).value.strip() or ".").expanduser()

    @on(Button.Pressed)
    @on(Input.Submitted)
    def action_write(self) -> None:
        """Write the files and close."""
        name = Path(self.query_one("#file-name", Input).value.strip()).name or "depth"
        chosen = [each for each in FORMATS if self.query_one(f"#{each}", Checkbox).value]
        try:
            folder = self._target()
            written = self._write(folder, name, chosen)
        except (DepthError, OSError, RuntimeError) as error:
            self._note(str(error), "$text-error")
            return
        if not written:
            self._note("Choose at least one format.", "$text-error")
            return
        self.notify(
            stand_ins(f"{', '.join(path.name for path in written)} in {folder.resolve()}"),
            title="Exported",
            markup=False,
        )
        self.dismiss(folder)

    def _write(self, folder: Path, name: str, chosen: Sequence[str]) -> list[Path]:
        formats = [each for each in chosen if each != "svg"]
        written = export(self._results(), self._settings, folder, formats, name) if formats else []
        if "svg" in chosen:
            svg = self._screenshot.encode("utf-8", "replace")
            written.append(write_whole(folder / f"{name}.svg", svg))
        return written

    def _results(self) -> list[RunResult]:
        current = self._session.current
        if self.query_one("#what", RadioSet).pressed_index == 0:
            return [current.result] if current and current.result else []
        return self._session.results

    def _note(self, text: str, style: str) -> None:
        self.query_one("#export-note", Static).update(Content.styled(stand_ins(text), style))
