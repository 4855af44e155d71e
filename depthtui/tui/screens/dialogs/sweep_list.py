"""Open a sweep that was run before: from the cache, or from any folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from textual.content import Content

from depthtui.files import expand_home
from depthtui.sweep.saved import SavedSweep, open_sweep, saved_sweeps
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.open_dialog import OpenDialog
from depthtui.tui.screens.dialogs.picker import PickerRow
from depthtui.tui.state.sweeping import Sweeping, names_of


@dataclass(frozen=True)
class SweepChoice:
    """The sweep to show, and warnings about its folder; None for the runs of the session."""

    sweep: Sweeping | None
    warnings: tuple[str, ...] = ()


class SweepList(OpenDialog[SweepChoice]):
    """Lists the sweeps of the cache folder, the latest first, and accepts a typed folder.

    Args:
        cache_dir: the folder of the cache.
        has_runs: whether the session has runs to show instead.
    """

    heading = "Open a sweep"
    listed = "Earlier sweeps, the latest first"
    name_words = "the folder of a sweep"
    example = "the --out folder of depthtui sweep"
    endings = ("/",)

    def __init__(self, cache_dir: Path, has_runs: bool) -> None:
        super().__init__()
        self._cache_dir = cache_dir
        self._has_runs = has_runs
        self._saved: list[SavedSweep] = []
        self.empty_words = f"None has been run into {cache_dir / 'sweeps'} yet."

    def find(self) -> None:
        self._saved = saved_sweeps(self._cache_dir)
        self.start = str(self._saved[0].folder) if self._saved else ""

    def rows(self) -> Iterator[PickerRow]:
        if self._has_runs:
            yield PickerRow(
                "", Content("Runs of this session"), about="No sweep: your own prompts."
            )
        for sweep in self._saved:
            yield PickerRow(folder := str(sweep.folder), _line(sweep), folder, folder)

    def choose(self, value: str) -> None:
        if value:
            self.submit(value)
        else:
            self.dismiss(SweepChoice(None))

    def submit(self, name: str) -> None:
        self.leave_with(partial(_open_folder, name), "Reading its records.")


def _open_folder(name: str) -> SweepChoice:
    """The sweep of a folder."""
    warnings: list[str] = []
    folder = expand_home(name)
    sweep = Sweeping.opened(open_sweep(folder, warnings.append), folder)
    return SweepChoice(sweep, tuple(warnings))


def _line(saved: SavedSweep) -> Content:
    plan = saved.plan
    models, tasks = names_of(plan)
    total = sum(cell.task.examples for cell in plan.cells)
    return Content.assemble(
        (f"{saved.changed_at:%d %b %H:%M}  ", MUTED),
        (
            f"{saved.n_records:>4} of {total:<5}",
            "" if saved.n_records == total else "$text-warning",
        ),
        printable_chars(models),
        (f" · {printable_chars(tasks)}", MUTED),
    )
