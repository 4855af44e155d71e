"""Entries of the cache are told apart by their descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from tests.tiny_models import tiny_folder


def test_no_two_entries_have_one_description(tmp_path: Path) -> None:
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda event: None)
    engine.load(ModelSpec(str(tiny_folder(tmp_path)), device="cpu"))
    settings = RunSettings(metrics=("contributions", "logit_lens", "similarity", "ablation"))
    for text in ("Seven plus five is twelve.", "Seven plus five is thirteen."):
        engine.run(Prompt(text), settings)
    entries = [entry.description for entry in store.entries()]
    assert len(entries) == len(set(entries)) >= 6
    assert any(
        "· Ablation · typed, " in entry and ": Seven plus five is twelve." in entry
        for entry in entries
    )
