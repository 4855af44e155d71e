"""What is said of controls."""

from dataclasses import replace

import pytest

from depthtui.data.controls import ControlRow, Controls
from depthtui.report.controls import conclusion, is_supported, line, notes, table

MODEL = ControlRow("model", 24.0, (23.6, 24.2), 29.6, 0.45, 3.8, {"kl": 2, "cosine": None})
SHUFFLED = ControlRow("shuffled", 22.0, (21.0, 23.0), 29.0, 0.4, 7.8, {"kl": 3, "cosine": 18})
RANDOM = ControlRow("random_order", 27.9, (27.5, 28.4), 29.9, 0.5, draws=(27.8, 28.0))
UNTRAINED = ControlRow(
    "untrained", 1.0, (1.0, 1.0), 1.2, 0.9, 10.8, {"kl": 2, "cosine": 25}, ("It knows nothing.",)
)


def controls(*rows, **changes):
    result = Controls("M", 30, 49152, ("text",), 10, 90, "prompts", 123, 500_000_000, rows)
    return replace(result, **changes)


ALL = controls(MODEL, SHUFFLED, RANDOM, UNTRAINED)


def test_a_number_that_stands():
    assert is_supported(ALL) is True
    assert conclusion(ALL) == (
        "Layers left out at random: 28; by the order: 24. Told apart: shuffled tokens 22, "
        "untrained 1. The number is specific to this model and text: every control gives another "
        "one."
    )


@pytest.mark.parametrize("row", [SHUFFLED, RANDOM, UNTRAINED])
def test_a_control_that_is_not_told_apart_comes_first(row):
    same = replace(row, layers=24.2, interval=(24.2, 25.0))
    result = controls(*(same if case is row else case for case in ALL.rows))
    assert is_supported(result) is False
    assert conclusion(result).startswith("Not told apart from the model, 24 layers (24 to 25)")
    assert "25 layers (25)" in conclusion(result)
    assert conclusion(result).endswith(
        "The number means nothing on these prompts: a control gives the same one."
    )
    assert "not told apart" in line(result)


def test_without_intervals_it_is_open():
    rows = (replace(row, interval=None) for row in ALL.rows)
    result = controls(*rows)
    assert is_supported(result) is None
    assert "Undecided" in conclusion(result)
    assert "Not told apart" not in conclusion(result)


def test_without_one_control_it_is_open():
    unavailable = ControlRow("untrained", missing="its weights are quantised")
    result = controls(MODEL, SHUFFLED, RANDOM, unavailable)
    assert is_supported(result) is None
    assert "untrained: not known, since its weights are quantised" in list(notes(result))


def test_a_model_that_knows_nothing_has_no_number():
    result = controls(replace(MODEL, warnings=("It knows nothing.",)), SHUFFLED, RANDOM, UNTRAINED)
    assert is_supported(result) is False
    assert "! the model: It knows nothing." in list(notes(result))


def test_a_row_for_each_case():
    headings, rows = table(ALL)
    assert headings[-2:] == ["cosine", "KL"]
    assert [row[1] for row in rows] == ["24", "22", "28", "1"]
    assert rows[0][-2:] == ["–", "2"]
    assert rows[2][-3:] == ["–", "–", "–"]
    assert all(len(row) == len(headings) for row in rows)


def test_one_line_for_a_verdict():
    assert line(ALL) == (
        "Controls on 10 prompts of text: 24 of 30; shuffled tokens 22, random order 28, untrained "
        "1 (doctor --controls)."
    )
    assert line(controls(MODEL)) == ""
