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
from textual.widgets import Button, Input, Static

from depthtui.data.pool import POOLS, Pool
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.errors import DepthError
from depthtui.files import expand_home, slug, write_new
from depthtui.options import Option
from depthtui.report.blocks import Figure
from depthtui.report.export import part_report, run_report
from depthtui.report.format import Subject
from depthtui.report.formats import (
    FIGURES,
    FORMATS,
    Report,
    default_formats,
    format_titles,
)
from depthtui.report.groups import pools_of
from depthtui.report.run_document import last_token
from depthtui.report.tables import ValueTable
from depthtui.token_text import cut_in_the_middle, printable_chars
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.dialogs.dialog import QUICK, WRONG, Dialog
from depthtui.tui.screens.dialogs.fields import field_lines
from depthtui.tui.screens.dialogs.toggles import Checkbox, RadioButton, RadioSet
from depthtui.tui.screenshot import take_screenshot
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.system_open import most_readable

SCREEN = {"screen": "SVG, this screen as it is"}

_WIDEST_TOAST, _AROUND_TOAST = 60, 4
"""Cells of Textual's toasts, which take half of the screen at most, and those around their text."""

WHERE = {"folder": Option("", label="folder"), "file-name": Option("", label="name")}


@dataclass(frozen=True)
class Exportable:
    """A result that can be exported.

    Attributes:
        title: its name in the dialog.
        subject: its kind, which determines the formats.
        report: creates the report. It may raise a `DepthError`.
        formats: the formats that are chosen for it; empty for those of the last export.
        is_table: whether it is a table without figures.
        has_several: whether it has several runs, each with a JSON file of its own.
    """

    title: str
    subject: Subject
    report: Callable[[], Report]
    formats: Sequence[str] = ()
    is_table: bool = False
    has_several: bool = False


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
        other: the name of another one that cannot be written together with it, or empty.
    """

    name: str
    title: str
    ending: str
    write: Callable[[Path], str]
    by_default: bool = False
    problem: str = ""
    other: str = ""


@dataclass(frozen=True)
class Exported:
    """An export: the written files, their folder, and the formats for the next export."""

    folder: Path
    files: list[Path]
    formats: tuple[str, ...]


class ExportScreen(Dialog[Exported]):
    """Writes the chosen formats; dismissed with the files.

    Args:
        choices: the results to choose from, all of one subject.
        folder: the folder at first.
        screenshot: the screen behind this dialog, as SVG.
        extras: files or folders beside the report.
        formats: the formats of the last export; empty for all that have a file of the whole.
        subject_name: the beginning of the files' name.
    """

    heading = "Export"
    hint = "space ticks · tab moves on · enter writes · O opens the last · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f5", "write", "write", tooltip="Write the files", id="export.write", priority=True
        ),
        # This comes before boxes, which use enter like space.
        Binding("enter", "write", "write", show=False, priority=True),
        Binding("home", "go_to_box(0)", "first box", show=False),
        Binding("end", "go_to_box(-1)", "last box", show=False),
        Binding("O", "app.open_export", "last export", tooltip="Open the last export"),
    ]

    def __init__(
        self,
        choices: Sequence[Exportable],
        folder: Path,
        screenshot: str,
        extras: Sequence[Extra] = (),
        formats: Sequence[str] = (),
        subject_name: str = "depth",
    ) -> None:
        super().__init__()
        self._extras = extras
        self._choices = choices
        self._ticked_for = choices[0]
        self._subject = choices[0].subject
        self._formats = format_titles(self._subject) | SCREEN
        # Figures alone are dozens of files.
        defaults = default_formats(self._subject)
        whole = [name for name in defaults if FORMATS[name].has_whole(self._subject)]
        self._former = tuple(formats)
        self._at_first: Sequence[str] = formats or [*whole, *SCREEN]
        self._ticked = self._at_first
        self._folder = folder
        self._screenshot = screenshot
        self._offered = f"{subject_name}-{datetime.now():%Y%m%d-%H%M%S}"

    def body(self) -> ComposeResult:
        with RadioSet(id="what", compact=True):
            for index, choice in enumerate(self._choices):
                yield RadioButton(choice.title, value=index == 0)
        for name, title in self._formats.items():
            install = "" if name in SCREEN else FORMATS[name].install
            label = Content(f"{title}: needs {install}" if install else title)
            is_chosen, closed = name in self._ticked and not install, bool(install)
            yield Checkbox(label, is_chosen, id=name, compact=True, disabled=closed)
        for extra in self._extras:
            title = f"{extra.title}: {extra.problem}" if extra.problem else extra.title
            is_chosen, closed = extra.by_default and not extra.problem, bool(extra.problem)
            yield Checkbox(Content(title), is_chosen, id=extra.name, compact=True, disabled=closed)
        yield from field_lines(WHERE, {"folder": str(self._folder), "file-name": self._offered})
        yield Button("Write (F5)", id="write", variant="primary", compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        self.query_one("#file-name").add_class(QUICK)
        self._show_files()
        self.query_one("#what").focus()

    def action_go_to_box(self, place: int) -> None:
        """Focus a box by its place among those that can be ticked."""
        self.set_focus([box for box in self.query(Checkbox) if not box.disabled][place])

    @on(RadioSet.Changed, "#what")
    def _tick_formats(self, changed: RadioSet.Changed) -> None:
        """Tick the formats of the choice; those of other choices come back with them."""
        if not self._ticked_for.formats:
            self._ticked = self._chosen_formats
        self._ticked_for = self._choices[changed.index]
        ticked = self._ticked_for.formats or self._ticked
        for name in self._formats:
            box = self.query_one(f"#{name}", Checkbox)
            box.value = name in ticked and not box.disabled

    @on(Checkbox.Changed)
    def _untick_other(self, changed: Checkbox.Changed) -> None:
        """Untick the extra that cannot be written together with the one that was ticked."""
        box = changed.checkbox
        for extra in self._extras:
            pair = {extra.name, extra.other}
            if extra.other and box.value and box.id in pair:
                (other,) = pair - {box.id}
                self.query_one(f"#{other}", Checkbox).value = False

    @on(RadioSet.Changed)
    @on(Checkbox.Changed)
    @on(Input.Changed)
    def _show_files(self) -> None:
        """Name the files and their folder."""
        with suppress(OSError, RuntimeError, DepthError):
            names = ", ".join(self._file_names) or "nothing is chosen"
            self.note(f"into {self._target().resolve()}: {names}")

    @property
    def _file_names(self) -> list[str]:
        """The names of the chosen files, the first one in full, others by their endings."""
        chosen, stem = self._chosen_formats, self._stem
        endings = [f".{name}" for name in chosen if self._has_whole(name)]
        if self._choice.has_several:
            endings = ["-*.json" if ending == ".json" else ending for ending in endings]
        endings += [".svg"] * ("screen" in chosen)
        endings += [extra.ending for extra in self._extras if self._is_chosen(extra.name)]
        has_figures = any(name not in SCREEN and FORMATS[name].figure for name in chosen)
        names = [f"{stem}{ending}" for ending in endings[:1]] + endings[1:]
        return names + [f"{stem}-{FIGURES}/"] * (has_figures and not self._choice.is_table)

    @property
    def _choice(self) -> Exportable:
        """The chosen result."""
        return self._choices[self.query_one("#what", RadioSet).pressed_index]

    def _has_whole(self, name: str) -> bool:
        """Whether a format has a file of the whole of the choice."""
        if name in SCREEN:
            return False
        return FORMATS[name].has_whole(self._subject) or (self._choice.is_table and name == "csv")

    @property
    def _chosen_formats(self) -> list[str]:
        return list(filter(self._is_chosen, self._formats))

    @property
    def _stem(self) -> str:
        """The typed name without a folder; the program's own where it is empty."""
        return Path(self.query_one("#file-name", Input).value.strip()).name or "depth"

    def _target(self) -> Path:
        return expand_home(self.query_one("#folder", Input).value.strip() or ".")

    @on(Button.Pressed)
    def action_write(self) -> None:
        """Write the files and close the dialog."""
        name, formats = self._stem, self._chosen_formats
        extras = [extra for extra in self._extras if self._is_chosen(extra.name)]
        try:
            folder = self._target()
            # Every name is checked before the first file is written; the report checks its own
            # names.
            new = [extra.ending for extra in extras] + [".svg"] * ("screen" in formats)
            for ending in new:
                _check_nothing_is_there(folder / f"{name}{ending}")
            files = self._write(folder, name, formats)
            names = [path.name for path in files[:1]]
            names += [f"and {len(files) - 1} more"] * (len(files) > 1)
            names += [extra.write(folder / f"{name}{extra.ending}") for extra in extras]
        except (DepthError, OSError, RuntimeError) as error:
            self.note(str(error), WRONG)
            return
        if not names:
            self.note("Choose at least one format.", WRONG)
            return
        self.notify(
            self._in_toast(*names, f"in {folder.resolve()}"), title="Exported", markup=False
        )
        self.dismiss(Exported(folder, files, self._formats_for_next(formats)))

    def _in_toast(self, *lines: str) -> str:
        """Lines of a toast, each cut in the middle where it would be wrapped."""
        room = min(_WIDEST_TOAST, self.app.size.width // 2) - _AROUND_TOAST
        return "\n".join(cut_in_the_middle(printable_chars(line), room) for line in lines)

    def _formats_for_next(self, formats: Sequence[str]) -> tuple[str, ...]:
        """The formats for the next export, with those that this form does not offer.

        A choice with formats of its own changes none.
        """
        if self._choice.formats:
            formats = self._ticked
        if set(formats) == set(self._at_first) & self._formats.keys():
            return self._former
        return (*formats, *(name for name in self._former if name not in self._formats))

    def _is_chosen(self, name: str) -> bool:
        return self.query_one(f"#{name}", Checkbox).value

    def _write(self, folder: Path, name: str, chosen: Sequence[str]) -> list[Path]:
        report_formats = [name for name in chosen if name not in SCREEN]
        paths = self._choice.report().write(folder, report_formats, name) if report_formats else []
        if "screen" in chosen:
            svg = self._screenshot.encode("utf-8", "replace")
            paths.append(write_new(folder / f"{name}.svg", svg))
        return paths


def _check_nothing_is_there(path: Path) -> None:
    if os.path.lexists(path):
        raise DepthError(f"{path} exists already.", "Choose another name.")


def ask_where(
    app: App[Any],
    explorer: Explorer,
    *choices: Exportable,
    extras: Sequence[Extra] = (),
    subject_name: str = "depth",
) -> None:
    """Ask where to export one of these, and keep folder and formats as settings."""

    def written(exported: Exported | None) -> None:
        if exported is not None:
            explorer.change(export_dir=exported.folder, export_formats=exported.formats)
            sessions = explorer.sessions
            sessions.last_export = most_readable(exported.files) or sessions.last_export
            run = explorer.session.current
            if run is not None and run.state.is_live:
                app.notify(
                    "The run is still being computed: export again at its end.",
                    severity="warning",
                )

    folder, formats = explorer.settings.export_dir, explorer.settings.export_formats
    screenshot = take_screenshot(app)
    dialog = ExportScreen(choices, folder, screenshot, extras, formats, subject_name)
    app.push_screen(dialog, written)


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
            return Exportable(titles[pool], "runs", report, has_several=len(noted) > 1)

        return [exportable(pool) for pool in pools_of(noted)]

    session, missing_runs = explorer.sessions.all_results()
    count = plural(len(session), "run")
    if missing_runs:
        count = f"{len(session)} of {len(session) + len(missing_runs)} runs"
        count += "; the files name the missing ones"
    choices = in_every_pool(title, "", results)
    choices += in_every_pool("the whole session", f", {count}", session, missing_runs)
    if pane is not None:
        report = partial(run_report, results, settings, token_of, palette)
        choices += _of_pane(pane, report, palette)
    model_name = slug(results[0].model.name)
    ask_where(app, explorer, *choices, extras=extras, subject_name=model_name)


def _of_pane(pane: Pane, report: Callable[[], Report], palette: str) -> list[Exportable]:
    """The figures or the table of a pane; `report` makes that of the runs which it shows."""
    part, name = pane.figures() or pane.table(), str(pane.name)
    if not part:
        return []

    def of_part() -> Report:
        return part_report(report(), name, part, palette)

    title = f"the pane {name}, {_part_words(part)}"
    return [Exportable(title, "runs", of_part, _formats_of(part), isinstance(part, ValueTable))]


def _part_words(part: Sequence[Figure] | ValueTable) -> str:
    """What is written of a pane."""
    if isinstance(part, ValueTable):
        return "its table as CSV"
    return "its figure and numbers" if len(part) == 1 else f"its {len(part)} figures and numbers"


def _formats_of(part: Sequence[Figure] | ValueTable) -> list[str]:
    """The formats of a pane's figures, or of its table."""
    if isinstance(part, ValueTable):
        return ["csv"]
    return [name for name, format_ in FORMATS.items() if format_.figure]
