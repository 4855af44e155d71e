"""What is said of controls."""

from dataclasses import replace

import pytest

from depthtui.data.controls import ControlRow, Controls
from depthtui.report.controls import conclusion, is_supported, line, notes, table

MODEL = ControlRow("model", 4.2, 3.8, 26.8, (26.1, 27.4), 16.8)
SHUFFLED = ControlRow("shuffled", 1.6, 7.8, 24.0, (22.0, 25.0), 14.0)
RANDOM = ControlRow("random_order", 4.2, 3.8, 28.9, (28.5, 29.2), 22.1)
UNTRAINED = ControlRow("untrained", -0.1, 10.8, too_little="-0.1 nats a token better than a guess")


def controls(*rows, **changes):
    result = Controls("M", 30, 49152, ("text",), 10, 90, 123, 500_000_000, rows)
    return replace(result, **changes)


ALL = controls(MODEL, SHUFFLED, RANDOM, UNTRAINED)


def test_a_number_that_stands():
    assert is_supported(ALL) is True
    assert conclusion(ALL) == (
        "Told apart from the model's 27: shuffled words 24, random orders of layers 29, untrained "
        "too little known. The number is of this model and text: no control gives the same one."
    )


@pytest.mark.parametrize("row", [SHUFFLED, RANDOM, UNTRAINED])
def test_a_control_that_is_not_told_apart_comes_first(row):
    same = replace(row, layers=27.2, interval=(27.2, 28.0), too_little="")
    result = controls(*(same if case is row else case for case in ALL.rows))
    assert is_supported(result) is False
    assert conclusion(result).startswith("Not told apart from the model, 27 layers (27 to 28)")
    assert "28 layers (28)" in conclusion(result)
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
    nothing = replace(UNTRAINED, name="model")
    result = controls(nothing, SHUFFLED, RANDOM, UNTRAINED)
    assert is_supported(result) is False
    assert conclusion(result).startswith("The model knows too little of these prompts")


def test_a_row_for_each_case():
    headings, rows = table(ALL)
    assert headings[-2:] == ["95 %", "on average"]
    assert [row[3] for row in rows] == ["27", "24", "29", "too little known"]
    assert rows[0] == ["the model", "3.80", "4.2", "27", "27 to 28", "16.8"]
    assert rows[-1][-2:] == ["–", "–"]
    assert all(len(row) == len(headings) for row in rows)


def test_one_line_for_a_verdict():
    assert line(ALL) == (
        "Controls on all tokens of 10 prompts of text: 27 of 30; shuffled words 24, random orders "
        "of layers 29, untrained too little known (doctor --controls)."
    )
    assert line(controls(MODEL)) == ""
