"""The session's file, the sessions of other files, and their runs in the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from depthtui.data.codec import decode, encode
from depthtui.data.remarks import Remarks
from depthtui.data.run import RunResult
from depthtui.data.saved_session import PASS, SavedRun, SavedSession, shipped_key
from depthtui.data.sentence import plural
from depthtui.data.session_files import SessionFile, SessionFolder, SessionWriter
from depthtui.data.store import Store, make_key, open_store
from depthtui.errors import DepthError
from depthtui.metrics.registry import OF_THE_PASS
from depthtui.prompts.tasks import prompt_title
from depthtui.report.saved_runs import missing_words, read_run
from depthtui.settings import Settings
from depthtui.tui.state.engine_life import EngineLife
from depthtui.tui.state.host import Host
from depthtui.tui.state.session import RunState, Session, SessionRun

OPEN_ELSEWHERE = (
    "Another window may have this session open: new runs of this window go into a file of their "
    "own."
)

_LONGEST_TITLE = 60


class ScreenLook(NamedTuple):
    """The state of the main screen, as in `SavedSession`."""

    layer: int
    token: int
    measure: str
    page: str
    pane: str


class SessionOwner(Protocol):
    """The owner of the session, of its engine and of the settings."""

    settings: Settings
    session: Session
    engine: EngineLife
    host: Host

    def begin_session(self, saved_runs: Sequence[SavedRun]) -> list[SessionRun]:
        """Replace the session's runs by those of a saved session."""


class Sessions:
    """Writes the session to its file, and opens others.

    Args:
        owner: the owner of the session.

    Attributes:
        folder: the folder of sessions.
        offered: the last session before this start; None once one is opened.
        title: the session's name for people; empty for its first prompt.
        last_export: the file to read of the last export, or None.
    """

    def __init__(self, owner: SessionOwner) -> None:
        self.folder = SessionFolder(owner.settings.cache_folder)
        self.offered: SessionFile | None = None
        self.title = ""
        self.last_export: Path | None = None
        self._owner = owner
        self._writer: SessionWriter | None = None
        self._last: SavedSession | None = None
        self._is_continued = False
        self._is_ended = False

    @property
    def is_on(self) -> bool:
        """Whether sessions are written at all: they are in the cache."""
        return self._owner.settings.use_cache and not self._is_ended

    def is_own(self, file: SessionFile) -> bool:
        """Whether a file is this session's."""
        return self._writer is not None and self._writer.path == file.path

    def rename(self, file: SessionFile, title: str) -> SessionFile:
        """Give a session another title.

        Raises:
            DepthError: another window has it open, or the folder cannot be written.
        """
        if not self.is_own(file):
            return self.folder.rename(file, title)
        self.title = title
        self._owner.host.save_session()
        return self.folder.reread(file)

    def save(self, look: ScreenLook) -> None:
        """Write the session, with the state of the screen, where it has changed.

        One with only the run of every start does not take the place of the last session.

        Raises:
            DepthError: the folder cannot be written.
        """
        if not (self.is_on and self._is_worth_saving):
            return
        session = self._contents(look)
        if self._last is not None and session.differs_by_looks(self._last):
            session = replace(session, saved=self._last.saved)
            if session == self._last:
                return
        self._last = session
        if self._writer is not None:
            self._writer.write(session)
            return
        started = datetime.fromisoformat(session.runs[0].started)
        self._writer = self.folder.create(session, started)

    def open(self, file: SessionFile) -> tuple[SessionRun, SessionFile]:
        """Replace this session, which stays in its file, by a saved one.

        Returns:
            The run that was on the screen, for its owner to show, and the session as it is
            on disk now.

        Raises:
            DepthError: this session cannot be written, so it stays open.
        """
        if not self._owner.host.save_session():
            raise DepthError("This session cannot be saved, so it stays open.", "Free some space.")
        self._leave()
        self._writer, self._is_continued = self.folder.open(file), True
        file = self.folder.reread(file)
        self._last = session = file.session
        self.offered, self.title = None, session.title
        owner = self._owner
        runs = owner.begin_session(session.runs)
        owner.settings = replace(
            owner.settings,
            kl_threshold=session.kl_threshold,
            overlap_threshold=session.overlap_threshold,
        )
        return runs[session.shown], file

    @property
    def is_copy(self) -> bool:
        """Whether another window has the opened session's file, so that this one needs its own."""
        return self._is_continued and self._writer is None

    def end(self) -> None:
        """Release the session's file to other windows; nothing is written from now on."""
        self._leave()
        self._is_ended = True

    def _leave(self) -> None:
        self._last = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # Runs that are not opened, in the cache -----------------------------------

    def result_of(self, run: SessionRun) -> RunResult | None:
        """The result from the cache of a run that is not opened yet; None where it is gone."""
        if run.saved_run is None or self._store is None:
            return None
        return read_run(self._store, run.saved_run)

    def all_results(self) -> tuple[list[RunResult], list[str]]:
        """The results of every run of the session, and the names of the runs without one.

        A run that is not opened is read from the cache.
        """
        results, missing = [], []
        for run in self._owner.session.listed():
            result = run.result or self.result_of(run)
            if result is None:
                missing.append(missing_words(run.number, run.prompt, run.model))
            else:
                results.append(run.reported(result))
        return results, missing

    def save_in_cache(self, result: RunResult, keys: Mapping[str, str]) -> dict[str, str]:
        """Save the results of an engine elsewhere; returns the keys of their parts in this cache.

        The engine is not trusted with the cache: its own `keys` name nothing here.
        """
        if self._store is None:
            return {}
        place = self._owner.engine.command
        own_keys = {
            name: make_key("result", elsewhere=place, key=keys[name])
            for name in _parts_of(result).keys() & keys.keys()
        }
        self._put(result, own_keys)
        return own_keys

    def _put(self, result: RunResult, keys: Mapping[str, str]) -> None:
        """Save the parts of a result that the cache does not have by these keys."""
        title = f"{result.model.name} · {len(result.tokens)} tokens · {result.prompt.source}"
        parts = _parts_of(result)
        for name, key in keys.items():
            if self._store is not None and self._store.get(key) is None:
                self._store.put(key, encode(parts[name]), title, "result")

    @cached_property
    def _store(self) -> Store | None:
        """The cache, opened by the first run that is read."""
        settings = self._owner.settings
        if not settings.use_cache:
            return None
        return open_store(settings.cache_folder, settings.cache_limit, lambda _: None)

    def offer_shipped(self) -> None:
        """Offer the first run of the demo model, which comes with the program, as a session.

        It is kept in the cache like any other; where that cannot be written, nothing is offered.
        """
        if self._store is None or self._store.is_read_only:
            return
        result = decode((files("depthtui.data") / "first_run.safetensors").read_bytes())
        keys = {name: shipped_key(name) for name in _parts_of(result)}
        started = datetime.now()
        run = SavedRun(
            result.model,
            result.prompt,
            result.settings,
            started.isoformat(),
            keys=keys,
            answer_start=result.tokens.answer_start,
        )
        self._put(result, keys)
        settings, token = self._owner.settings, result.tokens.answer_start - 1
        look = ScreenLook(result.model.n_layers, token, settings.measure, page="", pane="")
        session = SavedSession(run.started, (run,), 0, *look, *_thresholds(settings))
        with suppress(DepthError):
            writer = self.folder.create(session, started)
            writer.close()
            self.offered = SessionFile(writer.path, session)

    # Contents of the file ------------------------------------------------------------

    @property
    def _is_worth_saving(self) -> bool:
        runs = list(self._owner.session.listed())
        if self.is_copy:
            return any(
                run.saved_run is None or run.remarks != run.saved_run.remarks for run in runs
            )
        if self._is_continued or self.offered is None:
            return bool(runs)
        return len({run.model.spec for run in runs}) > 1 or any(
            run.remarks or not self._is_by_itself(run) for run in runs
        )

    def _is_by_itself(self, run: SessionRun) -> bool:
        """Whether every start runs this run."""
        settings = self._owner.settings.run_settings()
        requested = tuple(name for name in run.settings.metrics if name not in run.recalled)
        return run.prompt == self._owner.host.first_prompt() and requested == settings.metrics

    def _contents(self, look: ScreenLook) -> SavedSession:
        session, settings = self._owner.session, self._owner.settings
        runs = list(session.listed())
        return SavedSession(
            datetime.now().isoformat(timespec="milliseconds"),
            tuple(map(_as_saved_run, runs)),
            runs.index(session.current) if session.current in runs else -1,
            *look,
            *_thresholds(settings),
            self.title or self._first_prompt(runs),
        )

    def _first_prompt(self, runs: list[SessionRun]) -> str:
        """The first requested prompt, in one line."""
        first = next((run for run in runs if not self._is_by_itself(run)), runs[0])
        return prompt_title(first.prompt, _LONGEST_TITLE)


def _parts_of(result: RunResult) -> dict[str, Any]:
    """The parts of a result that the cache keeps, by metric; `PASS` for the forward pass."""
    of_pass = {name: result.measured[name] for name in OF_THE_PASS if name in result.measured}
    return {**result.measured, PASS: replace(result, measured=of_pass, remarks=Remarks())}


def _as_saved_run(run: SessionRun) -> SavedRun:
    if run.state is RunState.UNOPENED and run.saved_run is not None:
        return replace(run.saved_run, remarks=run.remarks)
    result, prompt = run.result, run.prompt
    if run.is_being_written and run.writing is not None and result is not None:
        text = replace(result)
        text.end_writing(run.writing, "user")
        prompt = text.prompt
    return SavedRun(
        run.model,
        prompt,
        run.settings,
        run.started.isoformat(),
        run.remarks,
        run.keys,
        result.tokens.answer_start if result else -1,
        result.unavailable if result else {},
        result.failed if result else (),
    )


def _thresholds(settings: Settings) -> tuple[float, float]:
    return settings.kl_threshold, settings.overlap_threshold


def words_of(session: SavedSession, now: datetime) -> str:
    """A saved session in words, such as `session of 3 runs from 10 minutes ago`."""
    ago = time_ago((now - datetime.fromisoformat(session.saved)).total_seconds())
    return f"session of {plural(len(session.runs), 'run')} from {ago}"


def time_ago(seconds: float) -> str:
    """A time in the past, such as `2 hours ago`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds / length)
        if count >= 1:
            return f"{plural(count, unit)} ago"
    return "a moment ago"
