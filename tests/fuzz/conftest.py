"""Every fuzz test works in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, in which nothing of the user's is read or written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path
