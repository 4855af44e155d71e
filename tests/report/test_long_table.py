"""The long table: its columns, its file, and the queries of the manual."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from pyarrow import concat_tables, parquet

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.manual import source
from depthtui.report.export import run_report
from depthtui.report.formats import FORMATS
from depthtui.report.long_table import ABOUT, NUMBERS, PLACES, TEXTS, WORDS, parquet_bytes
from tests.builders.answers import answered_runs
from tests.builders.results import full_run, hostile_run, run, stopped_run

RUNS = [full_run(), run("c d", seed=1, tokens=7)]

QUERIES = re.findall(r"```sql\n(.*?)```", source("reports"), re.DOTALL)


def written(folder: Path, runs: Any = RUNS) -> Path:
    path, *others = run_report(runs, SummarySettings()).write(folder, ["parquet"])
    assert not others
    return path


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    query = re.sub(r"FROM '", f"FROM '{folder}/", query)
    return duckdb.connect().execute(query).fetchall()


def test_the_columns_are_always_the_same(tmp_path: Path) -> None:
    table = parquet.read_table(written(tmp_path))
    assert table.column_names == [*WORDS, *PLACES, *TEXTS, *NUMBERS]
    other = parquet.read_table(written(tmp_path / "other", [hostile_run(), stopped_run()]))
    assert concat_tables([table, other]).num_rows == table.num_rows + other.num_rows
    assert table["value"].null_count == 0
    assert np.isfinite(other["value"].to_numpy()).any()


def test_the_metadata_have_settings_with_seeds_and_prompts(tmp_path: Path) -> None:
    about = json.loads(parquet.read_schema(written(tmp_path)).metadata[ABOUT])
    assert [prompt["text"] for prompt in about["prompts"]] == [each.prompt.text for each in RUNS]
    assert about["settings"][0]["seed"] == RUNS[0].settings.seed
    assert about["reading"]["kl_threshold"] == SummarySettings().kl_threshold
    assert len(about["provenance"]) == 2


def test_the_mean_of_each_layer(tmp_path: Path) -> None:
    written(tmp_path)
    ratios = [each.measured["contributions"].layer_norm_ratio for each in RUNS]
    means = np.concatenate(ratios, axis=1).mean(axis=1, dtype=np.float64)
    found = rows(tmp_path, QUERIES[0])
    assert [layer for layer, _ in found] == list(range(len(means)))
    np.testing.assert_allclose([mean for _, mean in found], means, rtol=1e-6)


def test_the_tokens_that_cost_most(tmp_path: Path) -> None:
    written(tmp_path)
    prompt, layer, token, text, nats = rows(tmp_path, QUERIES[1])[0]
    change = RUNS[0].measured["ablation"].loss_change
    assert (prompt, nats) == (0, np.nanmax(change))
    assert change[layer, token] == nats
    assert text == RUNS[0].tokens.readable_texts[token].replace(" ", "·")


def test_the_headline_with_its_range(tmp_path: Path) -> None:
    runs = answered_runs(at=5)
    written(tmp_path / "some", runs)
    query = QUERIES[2].replace("report.parquet", "summary.parquet")
    headline = reading_of(runs, SummarySettings()).verdict.headline
    ((*_, layers, low, high),) = rows(tmp_path, query)
    assert (layers, low, high) == (headline.count, headline.low, headline.high)


def test_what_is_read_from_different_runs_is_told_apart(tmp_path: Path) -> None:
    report = run_report([*RUNS, full_run("more", seed=2)], SummarySettings(), pool="none")
    report.write(tmp_path, ["parquet"])
    query = (
        "SELECT \"group\", value FROM 'summary.parquet' WHERE metric = 'curves' "
        "AND measure = 'kl' AND depth = 2 ORDER BY 1"
    )
    found = rows(tmp_path, query)
    assert [group for group, _ in found] == [0, 1, 2]
    for (_, kl), one in zip(found, [*RUNS, full_run("more", seed=2)], strict=True):
        assert kl == reading_of([one], SummarySettings()).curves["kl"][2]
    query = "SELECT DISTINCT \"group\", prompt FROM 'summary.parquet' WHERE prompt IS NOT NULL"
    assert sorted(rows(tmp_path, query)) == [(0, 0), (1, 1), (2, 2)]


def test_an_empty_table_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "summary.parquet").write_bytes(parquet_bytes([], {}))
    assert written(tmp_path).stat().st_size > 10_000


def test_another_programs_file_is_not_replaced(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert FORMATS["parquet"].is_report(path)
    written(tmp_path)
    words = "made with depthtui 0.1"
    duckdb.connect().execute(f"COPY (SELECT '{words}' AS a) TO '{path}' (FORMAT parquet)")
    with pytest.raises(DepthError, match="another"):
        written(tmp_path)


def test_without_pyarrow_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.report.format.find_spec", lambda name: name != "pyarrow" or None)
    with pytest.raises(DepthError, match=r"parquet needs.*\[datasets\]"):
        written(tmp_path)
