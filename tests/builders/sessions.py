"""Sessions of the explorer on disk, without an explorer."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from depthtui.data import codec
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.saved_session import PASS, SavedRun, SavedSession
from depthtui.data.session_files import SessionFolder
from depthtui.data.store import make_key, open_store
from tests.builders.models import model_info
from tests.builders.results import full_result


def saved_run(
    cache: Path, prompt: str | Prompt, spec: ModelSpec, in_cache: bool = True
) -> SavedRun:
    """A run of a session, whose result may be in the cache."""
    prompt = Prompt(prompt) if isinstance(prompt, str) else prompt
    return saved_result(cache, full_result(prompt, model_info(spec), RunSettings()), in_cache)


def saved_result(cache: Path, result: RunResult, in_cache: bool = True) -> SavedRun:
    """The run of a session with this result, which may be in the cache."""
    run = SavedRun(result.model, result.prompt, result.settings, "2026-01-02T03:04:05")
    if not in_cache:
        return run
    key = make_key("result", text=result.prompt.text, model=result.model.name)
    open_store(cache, 1 << 30, pytest.fail).put(key, codec.encode(result), "of a test", "result")
    return SavedRun(
        result.model,
        result.prompt,
        result.settings,
        run.started,
        keys={PASS: key},
        answer_start=result.tokens.answer_start,
    )


def save(cache: Path, *runs: SavedRun, title: str = "Rivers", day: int = 2) -> str:
    """A session of these runs on disk; returns its name."""
    saved_at = datetime(2026, 1, day, 9, 30)
    session = SavedSession(
        saved_at.isoformat(), runs, 0, 0, 0, "kl", "verdict", "heatmap", 0.4, 0.6, title
    )
    writer = SessionFolder(cache).create(session, saved_at)
    writer.close()
    return writer.path.stem
