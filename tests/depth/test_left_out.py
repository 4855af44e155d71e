"""What is left as layers leave: closed forms, and one number for one thing."""

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.run_settings import SummarySettings
from depthtui.depth.left_out import LeftOut
from depthtui.depth.reading import reading_of
from depthtui.metrics import kept
from depthtui.metrics.column import LeftOutColumn, crossing_above
from depthtui.report.left_out import left_out_dict, row_of
from depthtui.report.long_table import left_out_frame, rows_of_reading
from tests.builders.metrics import empty_kept
from tests.builders.results import full_run, run


def test_a_straight_line_lies_between_counts():
    curves = np.array([[0.0, 0.5, 2.5, 3.5], [0.0, 0.1, 0.2, 0.3], [0.0, 1.0, 1.0, 2.0]])
    np.testing.assert_allclose(crossing_above(curves, 1.0), [1.25, 3, 2.0])
    # The order of a model of one layer leaves none out.
    np.testing.assert_allclose(crossing_above(np.zeros((2, 1)), 1.0), [0, 0])


def constructed(kl, choices, orders=((3, 2, 1, 0),), way=None, tokens=13):
    """A run with the same curve at every scored token; without all layers, its last value."""
    result = run(tokens=tokens, layers=len(kl))
    way = np.where(np.arange(tokens) > 0, 0, -1) if way is None else np.asarray(way)
    rows = [
        np.where(way < 0, np.nan, np.asarray([*curve, curve[-1]], np.float32)[:, None])
        for curve in (kl, choices)
    ]
    actual = replace(empty_kept(len(kl), tokens, orders), kl=rows[0])
    actual.choices[0] = rows[1]
    result.put(kept.NAME, actual)
    return result


def test_counts_in_closed_form():
    reading = reading_of([constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0])], SummarySettings())
    left_out, output = reading.left_out, kept.output_of(reading)
    assert output.kl.crossing(1) == pytest.approx(4 - 1.25)
    assert output.kl.crossing(0.1) == pytest.approx(4 - 0.2)
    assert output.choices.crossing(0.9) == pytest.approx(4 - 0.5)
    assert output.choices.crossing(0.5) == pytest.approx(4 - 1.75)
    # 2.75 layers are no number that could be run: with 3 the cost is below a nat.
    assert (left_out.least("kl", 1), left_out.least("kl", 0.1)) == (3, 4)
    assert (left_out.staying(3), left_out.leaving(2)) == ((0, 1, 2), (2, 3))
    assert output.units == "blocks"
    # Of twelve tokens.
    np.testing.assert_allclose(left_out.columns["kl"].values, [0, 0.5, 2.5, 3.5, np.nan])
    assert [left_out.columns["choices"].text(n) for n in range(3)] == ["12/12", "10/12", "5/12"]
    assert left_out.least("time", 0.5) is None


@pytest.mark.parametrize(
    ("values", "falls", "limit", "least"),
    [
        ([1, 0.95, 0.9, 0.4], True, 0.9, 1),
        ([1, 0.95, 0.8, 0.4], True, 0.9, 2),
        ([0.8, 0.7, 0.6, 0.5], True, 0.9, 3),
        ([1, 1, 1, 1], True, 0.9, 0),
        ([0, 0.1, 0.2, 0.9], False, 0.2, 1),
        ([0, 0.1, 0.3, 0.9], False, 0.2, 2),
        ([0, 1 - 1e-9, 2, 3], False, 1, 2),
    ],
)
def test_the_least_that_keeps_a_limit_is_a_whole_number(values, falls, limit, least):
    assert LeftOutColumn("x", np.array(values, float), ".2f", falls).least(limit) == least


def test_a_row_is_a_sentence():
    of_questions = np.array([1, 0.9, 0.5, 0.4, 0])
    columns = {
        "knowledge": LeftOutColumn("known", of_questions, ".2f", True),
        "loss": LeftOutColumn("nats", np.array([0, 0.09, 0.5, 1, 2]), "+.2f"),
        "choices": LeftOutColumn("choices", of_questions, ".2f", True, of=10),
        "chosen": LeftOutColumn("chosen", of_questions, ".2f", True, of=10),
        "written": LeftOutColumn("written", of_questions, ".2f", True, of=20),
        "time": LeftOutColumn("time", np.array([1, 0.874, 0.7, 0.6, np.nan]), ".0%"),
    }
    left_out = LeftOut("layer", 4, "model", "ranked", (3, 1, 2, 0), columns)
    assert left_out.sentence(3) == (
        "Without layer 3 (3 of 4 kept): 90% of what it knows of the text stays; loss there +0.09 "
        "nats, perplexity x 1.1; 9 of 10 first choices stay; 9 of 10 answers right when chosen; "
        "18 of 20 answers right when written; a token takes 87% of its time."
    )
    assert left_out.sentence(2).startswith("Without layers 1 and 3 (2 of 4 kept): 50% of")
    assert left_out.sentence(0).endswith("0 of 20 answers right when written.")
    assert left_out.sentence(4).startswith("With all 4 layers: 100% of what it knows of the text")
    assert row_of(left_out, 2) == ["2", "1", "0.50", "+0.50", "5/10", "5/10", "10/20", "70%"]


def test_prompts_are_the_units_from_four_on():
    """Each counts once, whatever its length; below four, each block of four tokens does."""
    runs = [constructed([0, 0.5, 1.5, 3.5], [1, 1, 1, 0], tokens=tokens) for tokens in (5, 9, 33)]
    runs.append(constructed([0, 2.0, 3.0, 3.5], [1, 1, 1, 0], tokens=65))
    four, three = (kept.output_of(reading_of(some, SummarySettings())) for some in (runs, runs[1:]))
    assert (four.units, three.units) == ("prompts", "blocks")
    np.testing.assert_allclose(four.ways[0].curve, [0, 3.5 / 4, 7.5 / 4, 3.5])
    blocks_of = np.array([2, 8, 16])
    np.testing.assert_allclose(
        three.ways[0].curve, np.average([[0, 0.5, 1.5, 3.5]] * 2 + [[0, 2, 3, 3.5]], 0, blocks_of)
    )


def test_the_interval_is_over_units_and_takes_five():
    curves = [[0, 0.5 + 0.2 * number, 2.5, 3.5] for number in range(5)]
    runs = [constructed(curve, [1, 1, 1, 0], tokens=5) for curve in curves]
    result = kept.output_of(reading_of(runs, SummarySettings()))
    low, high = result.interval
    assert low < result.kl.crossing(1) < high
    assert kept.output_of(reading_of(runs[:4], SummarySettings())).interval is None


def test_two_orders_are_read_apart_and_their_counts_averaged():
    way = np.array([-1] + [1] * 4 + [0] * 4 + [1] * 4)
    run_ = constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0], ((0, 1, 2, 3), (3, 2, 1, 0)), way)
    result = run_.measured[kept.NAME]
    result.kl[:, way == 1] *= 2
    pooled = kept.output_of(reading_of([run_], SummarySettings()))
    assert [each.order for each in pooled.ways] == [(0, 1, 2, 3), (3, 2, 1, 0)]
    # 1 nat is passed at 1.25 layers, and, where every cost is twice as much, at 1.
    assert pooled.kl.crossing(1) == pytest.approx(4 - (1.25 + 1) / 2)


@pytest.mark.parametrize("tokens", [2, 5, 6, 9, 200])
def test_groups_of_blocks_have_the_mean_of_all_blocks(tokens):
    rng = np.random.default_rng(tokens)
    result = constructed([0, 0.5, 2.5, 3.5], [1, 0.8, 0.4, 0], tokens=tokens)
    actual = result.measured[kept.NAME]
    actual.kl[:, 1:] = rng.uniform(0, 3, actual.kl[:, 1:].shape)
    reduced = kept.METRIC.reduce(actual, result, slice(0, None))
    starts = range(1, tokens, 4)
    expected = np.mean([actual.kl[:, start : start + 4].mean(axis=1) for start in starts], axis=0)
    np.testing.assert_allclose(np.average(reduced.kl, 0, reduced.blocks), expected, rtol=1e-5)
    assert len(reduced.kl) == min(len(starts), 32)
    assert reduced.blocks.sum() == len(starts)


def test_every_file_has_the_same_numbers():
    runs = [full_run(tokens=24) for _ in range(5)]
    reading = reading_of(runs, SummarySettings(seed=1))
    left_out, of_json = reading.left_out, left_out_dict(reading)["layer"]
    assert set(left_out.columns) >= {"knowledge", "loss", "kl", "choices", "time"}
    of_table = {
        row.keys["measure"]: row.columns
        for row in rows_of_reading(reading, {})
        if row.keys.get("metric") == "layers_left_out"
    }
    of_pandas = left_out_frame(left_out)
    for name, column in left_out.columns.items():
        values = of_json["columns"][name]["values"]
        np.testing.assert_array_equal(values, column.values)
        np.testing.assert_array_equal(of_pandas[name], column.values)
        places = of_table[name]["left_out"]
        np.testing.assert_array_equal(of_table[name]["value"], column.values[places])
        assert np.isnan(np.delete(column.values, places)).all()
    low, high = left_out.columns["loss"].interval
    np.testing.assert_array_equal(of_pandas["loss_low"], low)
    np.testing.assert_array_equal(of_json["columns"]["loss"]["high"], high)
    np.testing.assert_array_equal(of_pandas["perplexity"], np.exp(of_pandas["loss"]))
    assert of_pandas["stay"].tolist() == of_json["stay"]
    # The verdict counts on the same column.
    assert reading.headline.count == of_json["least"]["knowledge"]["0.9"]
    assert reading.headline.count == left_out.least("knowledge", 0.9)
