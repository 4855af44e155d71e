"""Export the contents of a screen to a folder, for reading, for programs and for papers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Button, Input, RadioSet, Static

from depthtui.data.pool import POOLS, Pool
from depthtui.data.run import RunResult
from depthtui.errors import DepthError
from depthtui.files import expand_home, write_new
from depthtui.options import Option
from depthtui.report.export import figures_report, run_report
from depthtui.report.formats import FORMATS, Report, Subject, format_titles
from depthtui.report.groups import pools_of
from depthtui.report.run_document import last_token
from depthtui.token_text import printable_chars
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.dialogs.dialog import WRONG, Dialog
from depthtui.tui.screens.dialogs.fields import field_lines
from depthtui.tui.screens.dialogs.toggles import Checkbox, RadioButton
from depthtui.tui.screenshot import take_screenshot
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.sessions import runs_in_words
from depthtui.tui.system_open import most_readable

SCREEN = {"screen": "SVG, this screen as it is"}
WHERE = {"folder": Option("", label="folder"), "file-name": Option("", label="name")}


@dataclass(frozen=True)
class Exportable:
    """A result that can be exported.

    Attributes:
        title: its name in the dialog.
        subject: its kind, which determines the formats.
        report: creates the report. It may raise a `DepthError`.
        has_few_figures: whether its figures are written as files by default.
    """

    title: str
    subject: Subject
    report: Callable[[], Report]
    has_few_figures: bool = False


@dataclass(frozen=True)
class Extra:
    """Another file or folder beside the report.

    Attributes:
        name: the name of its box in the dialog.
        title: its label there.
        ending: the suffix of its name after the export's name.
        write: writes it to an unused path, and returns a message. It may raise a `DepthError`.
        by_default: whether it is written by default.
        problem: why it is unavailable, or empty.
    """

    name: str
    title: str
    ending: str
    write: Callable[[Path], str]
    by_default: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Exported:
    """An export: the written files and their folder."""

    folder: Path
    files: list[Path]


class ExportScreen(Dialog[Exported]):
    """Writes the chosen formats; dismissed with the files.

    Args:
        choices: the results to choose from, all of one subject.
        folder: the folder at first.
        screenshot: the screen behind this dialog, as SVG.
        extras: files or folders beside the report.
    """

    heading = "Export"
    hint = "space chooses · enter writes · O opens the last one · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f5", "write", "write", tooltip="Write the files", id="export.write", priority=True
        ),
        # This comes before boxes, which use enter like space.
        Binding("enter", "write", "write", show=False, priority=True),
        Binding("O", "app.open_export", "last export", tooltip="Open the last export"),
    ]

    def __init__(
        self,
        choices: Sequence[Exportable],
        folder: Path,
        screenshot: str,
        extras: Sequence[Extra] = (),
    ) -> None:
        super().__init__()
        self._extras = extras
        self._choices = choices
        self._subject = choices[0].subject
        self._formats = format_titles(self._subject) | SCREEN
        self._folder = folder
        self._screenshot = screenshot

    def body(self) -> ComposeResult:
        with RadioSet(id="what", compact=True):
            for index, choice in enumerate(self._choices):
                yield RadioButton(choice.title, value=index == 0)
        for name, title in self._formats.items():
            # Figures alone are dozens of files.
            is_chosen = name in SCREEN or FORMATS[name].has_whole(self._subject)
            install = "" if name in SCREEN else FORMATS[name].install
            label = Content(f"{title}: needs {install}" if install else title)
            yield Checkbox(label, is_chosen, id=name, compact=True, disabled=bool(install))
        for extra in self._extras:
            title = f"{extra.title}: {extra.problem}" if extra.problem else extra.title
            is_chosen, closed = extra.by_default and not extra.problem, bool(extra.problem)
            yield Checkbox(Content(title), is_chosen, id=extra.name, compact=True, disabled=closed)
        name = f"depth-{datetime.now():%Y%m%d-%H%M%S}"
        yield from field_lines(WHERE, {"folder": str(self._folder), "file-name": name})
        yield Button("Write (F5)", id="write", variant="primary", compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        self._show_folder()
        self.query_one("#what").focus()

    @on(RadioSet.Changed, "#what")
    def _tick_figures(self, changed: RadioSet.Changed) -> None:
        """Tick the formats of figures for a choice that has few, and not for others."""
        for name in self._formats.keys() - SCREEN.keys():
            if not FORMATS[name].has_whole(self._subject):
                box = self.query_one(f"#{name}", Checkbox)
                box.value = self._choices[changed.index].has_few_figures and not box.disabled

    @on(Input.Changed, "#folder")
    def _show_folder(self) -> None:
        with suppress(OSError, RuntimeError, DepthError):
            where = self._target().resolve()
            self.note(f"into {where}")

    def _target(self) -> Path:
        return expand_home(self.query_one("#folder", Input).value.strip() or ".")

    @on(Button.Pressed)
    def action_write(self) -> None:
        """Write the files and close the dialog."""
        name = Path(self.query_one("#file-name", Input).value.strip()).name or "depth"
        formats = list(filter(self._is_chosen, self._formats))
        extras = [extra for extra in self._extras if self._is_chosen(extra.name)]
        try:
            folder = self._target()
            # Every name is checked before the first file is written; the report checks its own
            # names.
            new = [extra.ending for extra in extras] + [".svg"] * ("screen" in formats)
            for ending in new:
                _check_nothing_is_there(folder / f"{name}{ending}")
            files = self._write(folder, name, formats)
            names = [path.name for path in files]
            names += [extra.write(folder / f"{name}{extra.ending}") for extra in extras]
        except (DepthError, OSError, RuntimeError) as error:
            self.note(str(error), WRONG)
            return
        if not names:
            self.note("Choose at least one format.", WRONG)
            return
        self.notify(
            printable_chars(f"{', '.join(names)} in {folder.resolve()}"),
            title="Exported",
            markup=False,
        )
        self.dismiss(Exported(folder, files))

    def _is_chosen(self, name: str) -> bool:
        return self.query_one(f"#{name}", Checkbox).value

    def _write(self, folder: Path, name: str, chosen: Sequence[str]) -> list[Path]:
        report_formats = [name for name in chosen if name not in SCREEN]
        choice = self._choices[self.query_one("#what", RadioSet).pressed_index]
        paths = choice.report().write(folder, report_formats, name) if report_formats else []
        if "screen" in chosen:
            svg = self._screenshot.encode("utf-8", "replace")
            paths.append(write_new(folder / f"{name}.svg", svg))
        return paths


def _check_nothing_is_there(path: Path) -> None:
    if os.path.lexists(path):
        raise DepthError(f"{path} exists already.", "Choose another name.")


def ask_where(
    app: App[Any], explorer: Explorer, *choices: Exportable, extras: Sequence[Extra] = ()
) -> None:
    """Ask where to export one of these, and keep the folder as a setting."""

    def written(exported: Exported | None) -> None:
        if exported is not None:
            explorer.change(export_dir=exported.folder)
            sessions = explorer.sessions
            sessions.last_export = most_readable(exported.files) or sessions.last_export
            run = explorer.session.current
            if run is not None and run.state.is_live:
                app.notify(
                    "The run is still being computed: export again at its end.",
                    severity="warning",
                )

    folder = explorer.settings.export_dir
    app.push_screen(ExportScreen(choices, folder, take_screenshot(app), extras), written)


def open_export(
    app: App[Any],
    explorer: Explorer,
    title: str,
    results: Sequence[RunResult],
    token: int,
    extras: Sequence[Extra] = (),
    pane: Pane | None = None,
) -> None:
    """Ask where to export these results, the figures of a pane, or the whole session.

    Results with the same tokens as the first export the lens at `token`, others at the last token.
    """
    selected = results[0].tokens.texts

    def token_of(result: RunResult) -> int:
        return token if result.tokens.texts == selected else last_token(result)

    settings, palette = explorer.settings.summary_settings(), explorer.settings.palette

    def in_every_pool(
        noun: str, count: str, results: Sequence[RunResult], missing_runs: Sequence[str] = ()
    ) -> list[Exportable]:
        noted = explorer.session.with_remarks(results)
        titles = {pool: f"{noun}, {words}" for pool, words in POOLS.items()}
        titles["none"] = noun + count

        def exportable(pool: Pool) -> Exportable:
            report = partial(run_report, noted, settings, token_of, palette, missing_runs, pool)
            return Exportable(titles[pool], "runs", report)

        return [exportable(pool) for pool in pools_of(noted)]

    session, missing_runs = explorer.sessions.all_results()
    count = runs_in_words(len(session))
    if missing_runs:
        count = f"{len(session)} of {len(session) + len(missing_runs)} runs"
        count += "; the files name the missing ones"
    choices = in_every_pool(title, "", results)
    choices += in_every_pool("the whole session", f", {count}", session, missing_runs)
    if pane is not None and (figures := pane.figures()):
        name = f"the pane {pane.name}, {len(figures)} figure{'s' * (len(figures) > 1)}"

        def of_pane() -> Report:
            report = run_report(results, settings, token_of, palette)
            return figures_report(report, str(pane.name), figures, palette)

        choices.append(Exportable(name, "runs", of_pane, has_few_figures=True))
    ask_where(app, explorer, *choices, extras=extras)
