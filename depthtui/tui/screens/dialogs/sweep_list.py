"""Open a sweep that was run before: one of the cache, or any folder."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from depthtui.files import expanded
from depthtui.sweep.folder import model_title
from depthtui.sweep.saved import SavedSweep, open_sweep, saved_sweeps
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, ListDialog
from depthtui.tui.state.sweeping import Sweeping


@dataclass(frozen=True)
class SweepChoice:
    """The sweep to show; None for the runs of the session."""

    sweep: Sweeping | None


class SweepList(ListDialog[SweepChoice]):
    """Lists the sweeps of the cache folder, the latest first, and takes a typed folder.

    Args:
        cache_dir: where sweeps are kept.
        has_runs: whether the session has runs to show instead.
    """

    heading = "Open a sweep"
    types_into = "folder"
    hint = "enter opens · tab moves on · esc closes"

    def __init__(self, cache_dir: Path, has_runs: bool) -> None:
        super().__init__()
        self._cache_dir = cache_dir
        self._has_runs = has_runs
        self._saved: list[SavedSweep] = []

    def body(self) -> ComposeResult:
        yield Static("Run before, the latest first", classes="label")
        yield OptionList(id="saved", compact=True)
        yield Static("Or the folder of a sweep", classes="label")
        yield Input(placeholder="what depthtui sweep --out was given", id="folder", compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        self.listing.loading = True
        self.query_one("#folder").focus()
        self.run_worker(self._list())

    async def _list(self) -> None:
        try:
            self._saved = await asyncio.to_thread(saved_sweeps, self._cache_dir)
        except Exception as error:
            self.note(str(error), WRONG)
        saved, listing = self._saved, self.listing
        listing.loading = False
        if self._has_runs:
            listing.add_option(Option("Runs of this session"))
        listing.add_options(Option(_line(sweep)) for sweep in saved)
        if not saved:
            self.note(f"None has been run into {self._cache_dir / 'sweeps'} yet.")
        if listing.option_count:
            listing.highlighted = min(len(saved), int(self._has_runs))
            if not self.query_one("#folder", Input).value:
                listing.focus()

    @on(OptionList.OptionHighlighted)
    def _describe(self, event: OptionList.OptionHighlighted) -> None:
        place = event.option_index - self._has_runs
        self.note(str(self._saved[place].folder) if place >= 0 else "")

    def take(self, place: int) -> None:
        if self._has_runs and place == 0:
            self.dismiss(SweepChoice(None))
        else:
            self._open(str(self._saved[place - self._has_runs].folder))

    @on(Input.Changed)
    def _describe_typed(self, event: Input.Changed) -> None:
        self.note("enter opens this folder" if event.value.strip() else "")

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._open(event.value.strip())

    def _open(self, name: str) -> None:
        self.note("Reading its records.")
        self.run_worker(self._read(name), exclusive=True)

    async def _read(self, name: str) -> None:
        warnings: list[str] = []
        try:
            folder = expanded(name)
            outcome = await asyncio.to_thread(open_sweep, folder, warnings.append)
            sweep = await asyncio.to_thread(Sweeping.opened, outcome, folder)
        except Exception as error:
            self.note(str(error), WRONG)
            return
        for warning in warnings:
            self.notify(printable_chars(warning), severity="warning", markup=False)
        self.dismiss(SweepChoice(sweep))


def _line(saved: SavedSweep) -> Content:
    plan = saved.plan
    models = ", ".join(model_title(model) for model in plan.models)
    tasks = ", ".join(task.title for task in plan.tasks)
    total = sum(cell.task.examples for cell in plan.cells)
    return Content.assemble(
        (f"{saved.changed:%d %b %H:%M}  ", MUTED),
        (
            f"{saved.n_records:>4} of {total:<5}",
            "" if saved.n_records == total else "$text-warning",
        ),
        printable_chars(models),
        (f" · {printable_chars(tasks)}", MUTED),
    )
