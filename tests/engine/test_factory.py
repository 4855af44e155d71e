"""Where an engine keeps things, as the settings say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.data.store import make_key, open_store
from depthtui.engine.factory import Storage, make_engine
from depthtui.settings import Settings
from tests.builders.engines import replace_engine
from tests.builders.models import tiny_model

SETTINGS = Settings(cache_dir=Path("/c"), cache_limit=7, activation_limit=5)


def test_it_is_where_the_settings_say() -> None:
    storage = Storage.of(SETTINGS)
    assert storage == Storage(Path("/c"), Path("/c/models"), True, 7, 5)
    assert storage.without_activations() == replace(storage, activation_limit=0)


def test_settings_may_keep_less() -> None:
    assert not Storage.of(replace(SETTINGS, use_cache=False)).save_results
    assert Storage.of(replace(SETTINGS, cache_activations=False)).activation_limit == 0


@pytest.mark.parametrize("keeps", [True, False])
def test_the_engine_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps: bool) -> None:
    made = replace_engine(monkeypatch, lambda spec: tiny_model(spec=spec))
    storage = Storage(tmp_path, tmp_path / "models", keeps, 1 << 20, 5)
    make_engine(storage, lambda event: None, pytest.fail)
    (engine,) = made
    assert engine.models_dir == tmp_path / "models"
    assert engine.activation_limit == 5
    assert (tmp_path / "results").is_dir() == keeps


@pytest.mark.parametrize(("limit", "left"), [(2500, [2, 0]), (1000, []), (10_000, [2, 0, 1])])
def test_the_limit_applies_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, left: list[int]
) -> None:
    store = open_store(tmp_path, 1 << 20, pytest.fail)
    keys = [make_key("result", number=number) for number in range(3)]
    for key in keys[:2]:
        store.put(key, b"x" * 1000, "a run", "result")
    store.get(keys[0])
    store.put(keys[2], b"x" * 1000, "a run", "result")
    replace_engine(monkeypatch, lambda spec: tiny_model(spec=spec))
    make_engine(
        Storage(tmp_path, tmp_path / "models", True, limit), lambda event: None, pytest.fail
    )
    assert [entry.key for entry in store.entries()] == [keys[number] for number in left]
    assert len(list((tmp_path / "results").rglob("*.val"))) == len(left)
