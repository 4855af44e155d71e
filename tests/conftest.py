"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os

# Tests run side by side, each with one thread; torch reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from depthtui.models.demo import ensure_demo


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The demo model, in the model store that the app uses too when run from this checkout."""
    checkout = Path(__file__).parent.parent
    cache = os.environ.get("DEPTHTUI_CACHE_DIR") or checkout / "cache"
    return ensure_demo(Path(cache) / "models", lambda _: None)
