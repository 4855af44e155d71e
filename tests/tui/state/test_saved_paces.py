"""Paces of models, saved between two starts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from depthtui.data.protocol import Pace
from depthtui.tui.state.saved_paces import join_paces, pace_key, save_paces, saved_paces
from tests.builders.models import model_info
from tests.odd_files import ODD_FILES, put_odd_file


def test_paces_are_found_again_the_latest_models(tmp_path: Path) -> None:
    paces = {str(n): Pace(0.5, {"order": float(n)}) for n in range(30)}
    path = tmp_path / "new" / "paces.json"
    save_paces(path, paces)
    assert saved_paces(path) == {str(n): paces[str(n)] for n in range(10, 30)}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        100_000 * "[",
        '{"schema": 0, "paces": {}}',
        '{"schema": 1, "paces": {"a": {"$type": "Pace", "fields": {"forward": 1.0}}}}',
        '{"schema": 2}',
        '{"schema": 2, "paces": []}',
        '{"schema": 2, "paces": {"a": 3}}',
        '{"schema": 2, "paces": {"a": {"forward": "x"}}}',
        '{"schema": 2, "paces": {"a": {"metrics": {"order": -1.0}}}}',
    ],
)
def test_what_is_no_pace_is_forgotten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "paces.json"
    assert saved_paces(path) == {}
    path.write_text(content)
    assert saved_paces(path) == {}
    save_paces(path, {"a": Pace(metrics={"poetry": 1.0})})
    assert saved_paces(path) == {}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_an_odd_file_holds_none(tmp_path: Path, kind: str) -> None:
    put_odd_file(tmp_path / "paces.json", kind)
    assert saved_paces(tmp_path / "paces.json") == {}


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    save_paces(tmp_path / "file" / "paces.json", {"a": Pace(1.0)})


def test_a_new_timing_takes_the_place_of_the_former_one() -> None:
    former = Pace(2.0, {"order": 3.0, "ablation": 4.0})
    assert join_paces(former, Pace(math.nan, {"order": 1.0})) == Pace(
        2.0, {"order": 1.0, "ablation": 4.0}
    )
    assert join_paces(former, Pace(1.0)).forward == 1.0


def test_a_pace_is_of_a_model_where_it_computes() -> None:
    model = model_info()
    others = (replace(model, device="cuda:0"), replace(model, dtype="float16"))
    assert len({pace_key(model), *map(pace_key, others)}) == 3


def test_a_file_of_others_stays(tmp_path: Path) -> None:
    path = tmp_path / "paces.json"
    path.write_text('{"running": "5 min/km"}')
    save_paces(path, {"a": Pace(1.0)})
    assert path.read_text() == '{"running": "5 min/km"}'
    path.write_text('{"schema": 0, "paces": {}}')
    save_paces(path, {"a": Pace(1.0)})
    assert saved_paces(path) == {"a": Pace(1.0)}
