"""Saved sessions on disk: one JSON file each, in `sessions/` of the cache folder.

One explorer at a time writes a file, and locks a file beside it. Other explorers only read it,
and write their own files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from depthtui.data.model import PART_TITLES
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run_settings import RunSettings, why_not_repeated
from depthtui.data.saved_session import SavedRun, SavedSession
from depthtui.data.selection import layers_in
from depthtui.errors import DepthError
from depthtui.files import (
    PRIVATE_FILE,
    make_private_folder,
    parse_json,
    read_whole,
    slug,
    system_reason,
    write_new,
    write_whole,
)
from depthtui.options import WrongValue, options_of

if TYPE_CHECKING:
    from filelock import BaseFileLock

SCHEMA = 4
"""Increased when the meaning of a field changes: files of another schema are not read."""

_LARGEST = 64 << 20
_LONGEST_NAME = 40
_MOST_LAYERS = 10_000
_OTHER_FOLDER = "Choose another --cache-dir."
_CLOSE_IT = "Rename or delete it there, or close that window."


@dataclass(frozen=True)
class SessionFile:
    """A saved session and its file."""

    path: Path
    session: SavedSession

    @property
    def name(self) -> str:
        """The name of the file, without its ending: time and first prompt."""
        return self.path.stem

    @property
    def shown(self) -> SavedRun:
        """The run that was on the screen; the last one where none was."""
        return self.session.runs[self.session.shown]

    @property
    def title(self) -> str:
        """The session's title; its first prompt where it has none."""
        return _title(self.session)


class SessionWriter:
    """The file of an open session; locked until it is closed.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, lock: BaseFileLock | None) -> None:
        self.path = path
        self._lock = lock

    def write(self, session: SavedSession) -> None:
        """Write the session, whole or not at all.

        Raises:
            DepthError: the folder cannot be written.
        """
        write_whole(self.path, _content(session), _OTHER_FOLDER)

    def close(self) -> None:
        """Unlock the file for other explorers."""
        if self._lock is not None:
            self._lock.release()


class SessionFolder:
    """The sessions of a cache folder.

    Args:
        cache_dir: the cache folder.

    Attributes:
        path: its folder of sessions; made when the first session is saved.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.path = cache_dir / "sessions"

    def files(self, notify: Callable[[str], None] = lambda _: None) -> list[SessionFile]:
        """Every readable session, the latest first.

        Args:
            notify: receives a sentence for each file that cannot be read.
        """
        files = []
        for path in self._paths(notify):
            try:
                files.append(_read(path))
            except FileNotFoundError:
                continue  # removed by another window
            except OSError as error:
                notify(f"{path} cannot be read: {system_reason(error)}.")
            except ValueError as error:
                notify(f"{path.name} is no session of this version: {error}. The file stays.")
        return sorted(files, key=lambda file: file.session.saved, reverse=True)

    def latest(self) -> SessionFile | None:
        """The session that was saved last, or None."""
        newest: list[tuple[int, Path]] = []
        for path in self._paths():
            with suppress(OSError):
                newest.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(newest, reverse=True):
            with suppress(OSError, ValueError):
                return _read(path)
        return None

    def create(self, session: SavedSession, started: datetime) -> SessionWriter:
        """Write a session into a new file, named by time and title.

        Raises:
            DepthError: the folder cannot be written.
        """
        name = f"{started:%Y%m%d-%H%M%S}-{slug(_title(session))[:_LONGEST_NAME].strip('-.')}"
        try:
            make_private_folder(self.path)
            for number in count(1):
                path = self.path / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
                try:
                    writer = SessionWriter(path, _locked(path))
                except TimeoutError:
                    continue
                with ExitStack() as stack:
                    stack.callback(writer.close)
                    if _is_written_new(path, session):
                        stack.pop_all()
                        return writer
        except (OSError, ValueError) as error:
            raise DepthError(
                f"{self.path} could not be written ({system_reason(error)}).", _OTHER_FOLDER
            ) from None
        raise AssertionError("a folder has a free name")

    def open(self, file: SessionFile) -> SessionWriter | None:
        """Continue a session in its file; None where another window has locked or deleted it."""
        try:
            lock = _locked(file.path)
        except TimeoutError:
            return None
        except OSError:
            # Each write reports that the folder cannot be written.
            return SessionWriter(file.path, None)
        if lock is not None and file.path.exists():
            return SessionWriter(file.path, lock)
        if lock is not None:
            lock.release()
        return None

    def reread(self, file: SessionFile) -> SessionFile:
        """The session as it is on disk now; unchanged where the file is gone or damaged."""
        with suppress(OSError, ValueError):
            return _read(file.path)
        return file

    def rename(self, file: SessionFile, title: str) -> SessionFile:
        """Give a session another title; its file keeps its name.

        Raises:
            DepthError: another window has it open, or the folder cannot be written.
        """
        with self._locked_session(file) as writer:
            try:
                times = file.path.stat()
            except OSError as error:
                raise DepthError(
                    f"{file.name} cannot be renamed ({system_reason(error)})."
                ) from None
            session = replace(self.reread(file).session, title=title)
            writer.write(session)
            # Renaming does not count as use: the latest session stays the latest.
            with suppress(OSError):
                os.utime(file.path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return SessionFile(file.path, session)

    def remove(self, file: SessionFile) -> None:
        """Delete a session; the results of its runs stay in the cache.

        Raises:
            DepthError: another window has it open, or it cannot be deleted.
        """
        with self._locked_session(file):
            try:
                file.path.unlink(missing_ok=True)
                # Delete the lock file while locked: a waiting explorer finds the session gone.
                _lock_path(file.path).unlink(missing_ok=True)
            except OSError as error:
                raise DepthError(
                    f"{file.path} cannot be deleted ({system_reason(error)})."
                ) from None

    @contextmanager
    def _locked_session(self, file: SessionFile) -> Iterator[SessionWriter]:
        """The session's file, locked within a `with` block.

        Raises:
            DepthError: another window has it open, or the folder cannot be written.
        """
        try:
            writer = SessionWriter(file.path, _locked(file.path))
        except TimeoutError:
            raise DepthError(f"{file.name} is open in another window.", _CLOSE_IT) from None
        except OSError as error:
            raise DepthError(f"{self.path} cannot be written ({system_reason(error)}).") from None
        try:
            yield writer
        finally:
            writer.close()

    def _paths(self, notify: Callable[[str], None] = lambda _: None) -> list[Path]:
        """The files of sessions."""
        try:
            return [path for path in self.path.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            notify(f"{self.path} cannot be read: {system_reason(error)}.")
            return []


def _title(session: SavedSession) -> str:
    return session.title or session.runs[0].prompt.text


def _content(session: SavedSession) -> bytes:
    return json.dumps({"schema": SCHEMA, "session": to_plain(session)}, indent=1).encode()


def _is_written_new(path: Path, session: SavedSession) -> bool:
    """Write a session to a new file; False where the file exists.

    Raises:
        OSError, DepthError: the folder cannot be written.
    """
    if os.path.lexists(path):
        return False
    write_new(path, _content(session), _OTHER_FOLDER)
    return True


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.stem}.lock")


def _locked(path: Path) -> BaseFileLock | None:
    """The lock of a session's file; None where the disk does not support locks.

    Raises:
        TimeoutError: another explorer has locked it.
        OSError: the folder cannot be written.
    """
    from filelock import FileLock

    lock = FileLock(_lock_path(path), timeout=0, mode=PRIVATE_FILE)
    try:
        lock.acquire()
    except NotImplementedError:
        return None
    return lock


def _read(path: Path) -> SessionFile:
    """A session from a file, with the types of all fields checked.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is no session.
    """
    tree = parse_json(read_whole(path, _LARGEST))
    try:
        schema, values = tree["schema"], tree["session"]
    except (KeyError, TypeError, IndexError):
        raise ValueError("it has no schema, or no session") from None
    if schema != SCHEMA:
        raise ValueError("it is of another version")
    session = from_plain(SavedSession, values)
    for run in session.runs:
        _check_settings(run)
    times = [session.saved, *(run.started for run in session.runs)]
    is_local = all(datetime.fromisoformat(time).tzinfo is None for time in times)
    thresholds = (session.kl_threshold, session.overlap_threshold)
    if not (
        is_local
        and -1 <= session.shown < len(session.runs)
        and session.runs
        and all(0 < threshold <= 1 for threshold in thresholds)
    ):
        raise ValueError("a field is out of its range")
    return SessionFile(path, session)


def _check_settings(run: SavedRun) -> None:
    """Check that a run's model can run with its settings.

    Raises:
        ValueError: a setting is invalid; the message names it.
    """
    settings, n_layers = run.settings, run.model.n_layers
    for name, option in options_of(RunSettings).items():
        value = getattr(settings, name)
        try:
            if not isinstance(value, tuple):
                option.parse(value)
        except WrongValue as error:
            raise ValueError(f"{name} of a run must be {error}") from None
    layers = [layer for layer, _ in settings.changed_parts]
    if not 1 <= n_layers <= _MOST_LAYERS:
        raise ValueError("a model has no layers, or too many")
    layers += layers_in(settings.layers, n_layers)
    if not all(0 <= layer < n_layers for layer in layers):
        raise ValueError("a run has a layer that its model lacks")
    if not {part for _, part in settings.changed_parts} <= PART_TITLES.keys():
        raise ValueError("a run changes a part that no layer has")
    if not all(cell.token >= 0 for cell in settings.patched):
        raise ValueError("a run is patched at a token before its first")
    if problem := why_not_repeated(settings.repeated, n_layers):
        raise ValueError(f"a run cannot repeat layers: {problem}")
