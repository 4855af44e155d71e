"""Save runs to a folder, in formats for reading, for programs and for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, Label, RadioButton, RadioSet, Static

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.files import write_whole
from depthtui.report.export import export
from depthtui.tui.picture import picture
from depthtui.tui.screens.dialogs.dialog import MUTED, Dialog
from depthtui.tui.screens.dialogs.safe_text_area import stand_ins
from depthtui.tui.state.explorer import Explorer

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
        choices: what can be exported, each with its name.
        settings: how runs are pooled.
        folder: where to, until the user changes it.
        screenshot: the screen behind this dialog, as SVG.
    """

    formats: ClassVar[Mapping[str, str]] = FORMATS
    """What can be written, by the ending of its files."""

    heading = "Export"
    hint = "enter writes · tab moves on · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f5", "write", "write", tooltip="Write the files", id="export.write", priority=True
        ),
    ]

    def __init__(
        self,
        choices: Sequence[tuple[str, Sequence[RunResult]]],
        settings: SummarySettings,
        folder: Path,
        screenshot: str,
    ) -> None:
        super().__init__()
        self._choices = choices
        self._settings = settings
        self._folder = folder
        self._screenshot = screenshot

    def body(self) -> ComposeResult:
        with RadioSet(id="what", compact=True):
            for index, (title, _) in enumerate(self._choices):
                yield RadioButton(title, value=index == 0)
        for each, title in self.formats.items():
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
        chosen = [each for each in self.formats if self.query_one(f"#{each}", Checkbox).value]
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
        _, results = self._choices[self.query_one("#what", RadioSet).pressed_index]
        written = export(results, self._settings, folder, formats, name) if formats else []
        if "svg" in chosen:
            svg = self._screenshot.encode("utf-8", "replace")
            written.append(write_whole(folder / f"{name}.svg", svg))
        return written

    def _note(self, text: str, style: str) -> None:
        self.query_one("#export-note", Static).update(Content.styled(stand_ins(text), style))


def open_export(
    app: App[Any], explorer: Explorer, title: str, results: Sequence[RunResult]
) -> None:
    """Ask where to save these results, or the whole session, and keep the folder as a setting."""

    def written(folder: Path | None) -> None:
        if folder is not None:
            explorer.change(export_dir=folder)

    session, settings = explorer.session.results, explorer.settings
    count = "1 run" if len(session) == 1 else f"{len(session)} runs"
    choices = [(title, results), (f"the whole session ({count})", session)]
    screen = ExportScreen(choices, settings.summary_settings(), settings.export_dir, picture(app))
    app.push_screen(screen, written)
