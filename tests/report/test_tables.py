"""Tables of panes as files: a cell is a number or empty, words have columns of their own."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.early_exit import early_exit
from depthtui.report.csv_text import csv_text
from depthtui.report.tables import ValueTable, depths_by_rule, exit_table, lens_table, table_bytes
from tests.builders.results import run
from tests.hostile import HOSTILE

RESULTS = [run(f"prompt {seed}", seed) for seed in range(3)]


def lens() -> LogitLens:
    return RESULTS[0].get(LogitLens)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (lens_table(lens(), 1), {"token"}),
        (exit_table({0.5: early_exit(lens(), 0.5)}), set()),
        (
            depths_by_rule(reading_of(RESULTS, SummarySettings(kl_threshold=0.001))),
            {"x: rule", "criterion", "remark"},
        ),
        (
            depths_by_rule(reading_of(RESULTS[:1], SummarySettings(overlap_threshold=1))),
            {"x: rule", "criterion", "remark"},
        ),
    ],
)
def test_a_cell_is_a_number_or_empty(table: ValueTable, words: set[str]) -> None:
    heads, *rows = csv.reader(table_bytes(table).decode().splitlines())
    assert len(set(heads)) == len(heads)
    assert {len(row) for row in rows} == {len(heads)}
    for row in rows:
        for head, cell in zip(heads, row, strict=True):
            if head.rstrip(" 0123456789") not in words:
                assert cell == "" or np.isfinite(float(cell)), head


def test_the_depth_by_each_rule_can_be_read_back() -> None:
    reading = reading_of(RESULTS, SummarySettings())
    heads, *rows = csv.reader(table_bytes(depths_by_rule(reading)).decode().splitlines())
    read = [dict(zip(heads, row, strict=True)) for row in rows]
    assert [row["effective depth, layers"] for row in read] == [
        "" if depth.count is None else str(depth.count) for depth in reading.depths
    ]
    assert any(row["each prompt once, layers"] for row in read)


def test_numbers_of_32_bits_stay_apart_and_unknown_ones_are_empty() -> None:
    value = np.float32(1) / 3
    rows = [[value, np.nextafter(value, np.float32(1)), np.nan, None, 7]]
    _, line = csv_text("abcde", rows).decode().splitlines()
    first, second, *others = line.split(",")
    assert np.float32(first) == value != np.float32(second)
    assert others == ["", "", "7"]


def test_words_are_one_cell_in_one_line() -> None:
    for text in HOSTILE.values():
        lines = csv_text([text, "b"], [[text, 1.0]]).decode().split("\n")
        assert len(lines) == 3, text
        assert [len(row) for row in csv.reader(lines[:2])] == [2, 2]
