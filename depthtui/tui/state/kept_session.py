"""Where the last session is kept, and how it is found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from depthtui.data import codec
from depthtui.data.kept_session import KeptRun, KeptSession
from depthtui.data.model import ModelInfo
from depthtui.data.remarks import Remarks
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.files import parse_json, write_whole
from depthtui.metrics import MEASURE_BY_NAME, METRIC_BY_NAME

SCHEMA = 1
"""Raised when what is kept changes its meaning: a session of another schema is set aside."""


def session_path(cache_dir: Path) -> Path:
    """The file of the last session."""
    return cache_dir / "session.json"


def keep_session(path: Path, session: KeptSession) -> None:
    """Write a session, whole or not at all.

    Raises:
        DepthError: the folder cannot be written.
    """
    content = {"schema": SCHEMA, "session": codec.to_json(session)}
    write_whole(path, json.dumps(content, indent=1).encode(), "Choose another --cache-dir.")


def kept_session(path: Path, notify: Callable[[str], None]) -> KeptSession | None:
    """The session that was kept, or None; one that cannot be read is set aside.

    Args:
        path: its file.
        notify: told, in one sentence, that it was set aside, and where.
    """
    try:
        return _read(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        notify(f"The last session cannot be read ({error.strerror}): {path}.")
        return None
    except ValueError:
        aside = path.with_name(f"{path.stem}-damaged{path.suffix}")
        with suppress(OSError):
            path.replace(aside)
        notify(f"The last session is damaged; it was set aside as {aside}.")
        return None


def words_of(session: KeptSession, now: datetime) -> str:
    """What a kept session is, such as `session of 3 runs from 10 minutes ago`."""
    count = len(session.runs)
    ago = _ago((now - datetime.fromisoformat(session.kept)).total_seconds())
    return f"session of {count} run{'s' * (count != 1)} from {ago}"


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds / length)
        if count >= 1:
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return "a moment ago"


def _read(content: bytes) -> KeptSession:
    """A session that is all it should be.

    Raises:
        ValueError: it is not.
    """
    try:
        tree = parse_json(content)
        if tree["schema"] != SCHEMA:
            raise ValueError(f"schema {tree['schema']}")
        session = codec.from_json(tree["session"])
        if _is_sound(session):
            return session
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    raise ValueError("not a session")


def _is_sound(session: KeptSession) -> bool:
    """Whether everything is of its type, and all that is named exists."""
    datetime.fromisoformat(session.kept)
    places = (session.shown, session.layer, session.token)
    thresholds = (session.kl_threshold, session.overlap_threshold)
    return (
        bool(session.runs)
        and all(map(_is_sound_run, session.runs))
        and all(type(place) is int for place in places)
        and -1 <= session.shown < len(session.runs)
        and session.measure in MEASURE_BY_NAME
        and all(0 < float(threshold) <= 1 for threshold in thresholds)
    )


def _is_sound_run(run: KeptRun) -> bool:
    datetime.fromisoformat(run.started)
    return (
        isinstance(run.model, ModelInfo)
        and isinstance(run.prompt, Prompt)
        and isinstance(run.settings, RunSettings)
        and isinstance(run.remarks, Remarks)
        and isinstance(run.prompt.text, str)
        and isinstance(run.model.name, str)
        and type(run.model.n_layers) is int
        and set(run.settings.metrics) <= set(METRIC_BY_NAME)
    )
