"""One explorer for the tests of a file, tidied up behind each of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from zlib import crc32

import pytest
import pytest_asyncio
from textual._context import active_app, active_message_pump

from depthtui.data.arrays import arrays_of
from depthtui.data.remarks import Remarks
from depthtui.data.run import RunResult
from depthtui.tui import clipboard
from depthtui.tui.state.inspections import Inspections
from depthtui.tui.state.session import RunState
from depthtui.tui.state.token_count import TokenCount
from tests.tui.app_helpers import Explored, explore

SIZE, PANE = (120, 40), "heatmap"
"""The explorer's window, and the pane with the focus, at the start."""


@pytest.fixture(autouse=True)
def no_clipboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps copied texts away from the desktop of who runs the tests."""
    monkeypatch.setattr(clipboard, "which", lambda program: None)


class Shared:
    """The explorer of a file's tests, and what it was like behind its first run.

    Args:
        folders: makes folders.
    """

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._it: Explored | None = None
        self._task: asyncio.Task[None] | None = None

    async def explorer(self) -> Explored:
        """The explorer; a new one where a test left the last in another state."""
        if self._it is None:
            is_open, self._may_close = asyncio.Event(), asyncio.Event()
            self._task = asyncio.create_task(self._explore(is_open))
            opened = asyncio.create_task(is_open.wait())
            await asyncio.wait([opened, self._task], return_when=asyncio.FIRST_COMPLETED)
            opened.cancel()
            if self._it is None:
                self._task.result()
            assert self._it is not None
            app, main = self._it.app, self._it.main
            self._settings, self._run_settings = app.explorer.settings, main.run.settings
            self._cursor, self._measure, self._page = main.cursor, main.measure, main.seen_page
            self._commands = [*self._it.engine.commands]
            self._first = state_of(self._it)
        return self._it

    async def _explore(self, is_open: asyncio.Event) -> None:
        """Open the explorer, and close it in the same task: Textual's context asks for that."""
        async with explore(self._folders.mktemp("explorer")) as self._it:
            is_open.set()
            await self._may_close.wait()

    async def tidy(self) -> None:
        """Undo what a test did; an explorer on which that cannot be undone is closed."""
        it = self._it
        if it is not None and not (it.app.is_running and await self._undo(it)):
            await self.close()

    async def _undo(self, it: Explored) -> bool:
        """Undo what a test did; whether all is as it was at first."""
        app, explorer, main = it.app, it.app.explorer, it.main
        it.engine.manual = it.engine.silent = False
        for name in ("fails_at", "hostile", "sweep_halts_at", "listed"):
            vars(it.engine).pop(name, None)
        while app.screen is not main:
            await app.pop_screen()
        for run in explorer.session.runs[1:]:
            explorer.delete(run)
        if [run.state for run in explorer.session.runs] != [RunState.FINISHED]:
            return False
        (run,) = explorer.session.runs
        assert run.result is not None
        if {*run.result.measured} - {*self._run_settings.metrics} == {"similarity"}:
            # The screen of what-ifs asks for it by itself.
            run.result.drop(("similarity",))
            run.settings, run.recalled = self._run_settings, ()
        run.remarks = Remarks()
        explorer.session._last_number, explorer.work.sweep = 1, None
        explorer.draft = explorer._prompt_and_template = None
        explorer.token_count = TokenCount(explorer._free_engine)
        explorer.inspections = Inspections(explorer._free_engine, lambda: explorer.engine.model)
        if explorer.settings != self._settings:
            explorer.settings, app.settings.shown = self._settings, explorer.settings
            app.settings.apply()
        if app.size != SIZE:
            await it.resize(*SIZE)
        main.minimize()
        for page in main.pages:
            page.set_class(page is self._page, "up")
        main.action_go_to(PANE)
        main.cursor, main.measure = self._cursor, self._measure
        app.clear_notifications()
        app.messages.clear()
        it.engine.commands[:] = self._commands
        for path in (*it.folder.iterdir(), it.folder / "cache" / "sweeps"):
            if path.name != "cache" and path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        main.redraw()
        await it.pilot.pause()
        return state_of(it) == self._first

    async def close(self) -> None:
        self._it, task, self._task = None, self._task, None
        if task is not None:
            self._may_close.set()
            await task


def state_of(it: Explored) -> tuple[object, ...]:
    """All of an explorer that a test may leave in another state."""
    explorer, main, app = it.app.explorer, it.main, it.app
    session, run = explorer.session, explorer.session.runs[0]
    return (
        (run, session.current is run, session.marked, [*session.asides]),
        (run.result and numbers_of(run.result), run.settings, explorer.phase, explorer.writing),
        (explorer.engine.model, explorer.engine.spec, it.engine, it.engine.load),
        (explorer.settings, explorer.reading.now, {**explorer.reading.first}),
        (main.measure, main.maximized, main.active_pane, main.seen_page, main.layer_order),
        (main.averaged, [pane.view.mode for pane in main._every_pane], main.wants_verdict),
        (app.size, app.theme, app.screen),
    )


def numbers_of(result: RunResult) -> tuple[object, ...]:
    """A result's prompt, and a check sum of each array that was measured."""
    sums = {
        (name, part): crc32(array.tobytes())
        for name, measured in result.measured.items()
        for part, array in arrays_of(measured)
    }
    return result.prompt, sums, {**result.unavailable}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of a file that share its explorer in the explorer's loop."""
    for item in items:
        if "it" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    shared = Shared(tmp_path_factory)
    yield shared
    await shared.close()


@pytest_asyncio.fixture(loop_scope="module")
async def it(shared: Shared) -> AsyncIterator[Explored]:
    """The file's explorer behind its first run, in a window of 120 x 40."""
    it = await shared.explorer()
    active_app.set(it.app)
    active_message_pump.set(it.app)
    yield it
    await shared.tidy()
