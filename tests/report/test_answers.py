"""The answer to a question in words, and the table of its options."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from depthtui.data.run import Prompt, RunResult
from depthtui.metrics.accuracy import Accuracy, chances
from depthtui.report.answers import (
    answer_table,
    answer_words,
    options_of,
    order_words,
    turning_words,
)
from depthtui.report.tables import table_bytes
from tests.builders.results import full_result, tiny_model
from tests.report.test_documents import markdown

RIGHT, WRONG = (-1.0, -2.0), (-2.0, -1.0)
LAYERS = 4


def answered(
    clean: tuple[float, ...] = RIGHT,
    without: dict[int, tuple[float, ...]] | None = None,
    along: str = "",
    written: str = "",
    each: str = "????",
    **changes: object,
) -> RunResult:
    """A run of four layers on a question with the options 46 and 64.

    `along` and `written` have a letter for each number of layers left out, `each` one for each
    layer that is written without: r right, w wrong.
    """
    result = full_result(Prompt("19 + 27 = 46", " 46", choices=(" 46", " 64")), tiny_model(LAYERS))
    scores = {"r": RIGHT, "w": WRONG, "?": (np.nan, np.nan)}
    rows = [(without or {}).get(layer, clean) for layer in range(LAYERS)]
    values = {
        "right": 0,
        "order": (3, 1, 0, 2) if along or written else (),
        "chosen": (),
        "is_written": bool(written),
        "written": "46" if written[:1] == "r" else "64",
        "lengths": np.full(2, 2, np.int32),
        "clean": np.array(clean, np.float32),
        "by_depth": np.linspace(WRONG, clean, LAYERS + 1).astype(np.float32),
        "unchanged": np.array(clean, np.float32),
        "without": np.array(rows, np.float32),
        "along": np.array([scores[letter] for letter in along or "?????"], np.float32),
        "written_without": written_rightly(each),
        "written_right": written_rightly(written or "?????"),
    }
    result.put("accuracy", Accuracy(**values | changes))
    return result


def written_rightly(letters: str) -> np.ndarray:
    return np.array([{"r": 1, "w": 0}.get(letter, np.nan) for letter in letters], np.float32)


def answers(result: RunResult) -> Accuracy:
    found = result.get(Accuracy)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (answered(), "The model chooses '46', which is right."),
        (answered(WRONG), "The model chooses '64'; right is '46'."),
        (
            answered(WRONG, written="rrrrr"),
            "The model chooses '64'; right is '46'. It writes '46', which is right.",
        ),
        (
            answered(written="wwwww", written_right=np.zeros(5, np.float32)),
            "The model chooses '46', which is right. It writes '64'; right is '46'.",
        ),
        (
            answered(written="rrrrr"),
            "The model chooses and writes '46', which is right.",
        ),
        (answered((np.nan, np.nan), written="rrrrr"), "The model writes '46', which is right."),
        (answered((np.nan, np.nan)), ""),
    ],
)
def test_the_answer_in_words(result: RunResult, words: str) -> None:
    assert answer_words(result) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (answered(), ["It stays right without any one layer."]),
        (answered(without={2: WRONG}), ["It turns wrong without layer 2."]),
        (
            answered(without={0: WRONG, 1: WRONG, 3: WRONG}),
            ["It turns wrong without any one of the layers 0-1, 3."],
        ),
        (answered(WRONG, {1: RIGHT}), ["It turns right without layer 1."]),
        (
            answered(without={1: WRONG, 3: (np.nan, np.nan)}),
            ["It turns wrong without layer 1, as far as known (3 of 4 layers)."],
        ),
        (
            answered(without={0: (np.nan, np.nan), 1: (np.nan, np.nan)}, chosen=(2, 3)),
            ["It stays right without any one layer, of the 2 left out by themselves."],
        ),
        (
            answered(unchanged=np.array(WRONG, np.float32)),
            ["It is turned by rounding alone, so no layer is compared with it."],
        ),
        (answered((np.nan, np.nan), written="rrrrr"), []),
        (
            answered((np.nan, np.nan), written="rrrrr", each="rwrr"),
            ["It turns wrong without layer 1."],
        ),
        (
            answered(without={2: WRONG}, written="wwwww", each="wwww"),
            ["It turns wrong without layer 2.", "Written, it stays wrong without any one layer."],
        ),
    ],
)
def test_the_layers_without_which_it_turns(result: RunResult, words: list[str]) -> None:
    assert turning_words(answers(result)) == words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (answered(), []),
        (
            answered(along="rrrww"),
            ["It stays right without the first 2 layers of the order, until layer 0 goes too."],
        ),
        (
            answered(along="rrwrr"),
            ["It stays right without the first layer of the order, until layer 1 goes too."],
        ),
        (
            answered(along="rwrrr"),
            ["It turns wrong without the first layer of the order, layer 3."],
        ),
        (answered(along="rrrrr"), ["It stays right all along the order."]),
        (answered(along="wwwww"), ["It stays wrong all along the order."]),
        (
            answered(along="rrrrr", written="rrrrr"),
            ["Chosen and written, it stays right all along the order."],
        ),
        (answered(along="rrr??"), ["It stays right without the first 2 layers of the order."]),
        (answered(along="r????"), []),
        (
            answered(along="rrrrr", written="rwwww"),
            [
                "It stays right all along the order.",
                "Written, it turns wrong without the first layer of the order, layer 3.",
            ],
        ),
        (
            answered((np.nan, np.nan), written="rwwww"),
            ["It turns wrong without the first layer of the order, layer 3."],
        ),
    ],
)
def test_how_far_along_the_order_it_stays(result: RunResult, words: list[str]) -> None:
    assert order_words(answers(result)) == words


def test_chances_are_a_softmax_that_no_length_breaks() -> None:
    np.testing.assert_allclose(chances(np.log([[1.0, 3.0]])), [[0.25, 0.75]])
    np.testing.assert_allclose(chances(np.array([-2000.0, -2000.0])), [0.5, 0.5])


def test_the_options_have_their_values_at_the_output_and_at_every_depth() -> None:
    right, wrong = options_of(answered(WRONG))
    assert (right.text, right.remark, wrong.text, wrong.remark) == ("46", "right", "64", "chosen")
    assert right.score == -2
    assert right.chance == pytest.approx(1 / (1 + np.e))
    assert right.by_depth.shape == (LAYERS + 1,)
    assert options_of(answered())[0].remark == "chosen, right"


def test_the_table_is_in_long_form() -> None:
    heads, *rows = csv.reader(table_bytes(answer_table(answered())).decode().splitlines())
    assert heads[0] == "x: depth, 4 is the output"
    assert len(rows) == 2 * (LAYERS + 1)
    assert rows[-2][:4] == ["4", "46", "chosen, right", "-1"]
    assert float(rows[-2][4]) == pytest.approx(np.e / (1 + np.e))
    table = answer_table(answered((np.nan, np.nan), written="rrwww"))
    assert [list(row) for row in table.rows] == [[0, 1], [1, 1], [2, 0], [3, 0], [4, 0]]


def test_a_report_has_the_options_of_each_question() -> None:
    page = markdown([answered(without={2: WRONG}, along="rrrrr")])
    assert "The model chooses '46', which is right." in page
    assert "| 46 | -1.00 | 73% | chosen, right |" in " ".join(page.replace("**", "").split())
    assert "It turns wrong without layer 2." in page
