"""An engine whose cache is on a disk that cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.data.codec import encode
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.engine import layer_orders, lenses
from depthtui.engine.engine import Engine
from depthtui.engine.factory import Storage, make_engine
from depthtui.metrics.fitted_lens import AffineLens
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.logit_lens import LogitLens
from tests.read_only import read_only

PROMPT = Prompt("Seven plus five is twelve.")
SETTINGS = RunSettings(metrics=("logit_lens", "affine_lens", "kept"), order_search="ranked")
RESULTS = (LogitLens, AffineLens, Kept)


def loaded(folder: Path, cache: Path, notices: list[str]) -> Engine:
    storage = Storage(cache, cache / "models", cache_limit=1 << 30)
    engine = make_engine(storage, lambda event: None, notices.append)
    engine.load(ModelSpec(str(folder), device="cpu"))
    return engine


def test_values_lens_and_order_of_a_read_only_cache_are_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, notices = tmp_path / "cache", list[str]()
    first = loaded(folder, cache, notices).run(PROMPT, SETTINGS)
    with read_only(cache):
        engine = loaded(folder, cache, notices)
        again = engine.run(PROMPT, SETTINGS)
        monkeypatch.setattr(lenses, "fit_affine", lambda *_: pytest.fail("fitted again"))
        monkeypatch.setattr(
            layer_orders, "searched", lambda *_, **__: pytest.fail("searched again")
        )
        other = engine.run(Prompt("The ferry did not run."), SETTINGS)
    assert again.provenance.cached
    for kind in RESULTS:
        assert encode(again.get(kind)) == encode(first.get(kind))
        assert other.get(kind) is not None
    assert ["is read-only" in notice for notice in notices] == [True]


def test_an_order_that_cannot_be_kept_is_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "lenses").touch()
    engine = loaded(folder, tmp_path / "cache", [])
    settings = replace(SETTINGS, metrics=("kept",))
    assert engine.run(PROMPT, settings).get(Kept) is not None
    monkeypatch.setattr(layer_orders, "searched", lambda *_, **__: pytest.fail("searched again"))
    assert engine.run(Prompt("The ferry."), settings).get(Kept) is not None
