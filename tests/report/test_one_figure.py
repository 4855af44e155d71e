"""One figure of several results: which, of which measure, and with which lines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.figure_kind import FIGURE_KINDS, FigureKind
from depthtui.data.lens import LogitLens
from depthtui.data.pool import Pool
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.depth.rules import kl
from depthtui.errors import DepthError
from depthtui.metrics import kept
from depthtui.report.blocks import Bars, Heatmap, Line, Panel
from depthtui.report.one_figure import (
    NamedReading,
    one_figure,
    only,
    overlaid,
    readings_of,
    short_titles,
)
from depthtui.report.svg import MOST_IN_GREY
from tests.builders.results import full_run, run
from tests.report.test_first_page import kept_runs

SETTINGS = SummarySettings()


def readings(*results: RunResult, pool: Pool = "none") -> list[NamedReading]:
    return readings_of(results, SETTINGS, pool)


class TestChoosing:
    def test_results_are_chosen_by_number_and_by_text(self) -> None:
        three = readings(run("The red one"), run("the blue one"), run("green"))
        assert only(three, []) == three
        assert only(three, ["3", "RED"]) == [three[2], three[0]]
        assert only(three, ["one", "1"]) == three[:2]

    @pytest.mark.parametrize("choice", ["0", "4", "yellow", "9" * 30])
    def test_a_result_that_is_not_there_is_an_error_with_those_that_are(self, choice: str) -> None:
        with pytest.raises(DepthError, match=r"There are: 1 red; 2 blue\."):
            only(readings(run("red"), run("blue")), [choice])

    def test_a_list_of_many_results_ends(self) -> None:
        many = readings(*(run(f"prompt {n}") for n in range(14)))
        with pytest.raises(DepthError, match=r"12 prompt 11; and 2 more\.$"):
            only(many, ["x"])

    @pytest.mark.parametrize("kind", FIGURE_KINDS)
    def test_every_kind_is_drawn_of_a_run_with_everything(self, kind: FigureKind) -> None:
        every = readings(full_run())
        measure = {"curves": "kl", "heatmap": "overlap"}.get(kind, "")
        figure = one_figure(kind, every, measure)
        assert figure.name == measure or {"left-out": kept.NAME, "patch": "patch"}[kind]
        assert isinstance(figure.picture, Heatmap if kind in ("heatmap", "patch") else Panel)

    def test_an_open_choice_of_a_measure_is_an_error_with_all(self) -> None:
        one = readings(run())
        with pytest.raises(DepthError, match=r"measures for the figure curves: .*kl.*--measure"):
            one_figure("curves", one)
        with pytest.raises(DepthError, match=r"no measure 'overlp'.* Did you mean overlap\?"):
            one_figure("heatmap", one, "overlp")

    def test_an_open_choice_of_a_prompt_is_an_error_with_all(self) -> None:
        two = readings(run("red"), run("blue"))
        with pytest.raises(DepthError, match=r"of one result, and there are 2\..*1 red; 2 blue"):
            one_figure("heatmap", two, "kl")

    @pytest.mark.parametrize(
        ("kind", "remedy"), [("patch", "metric `patch`"), ("left-out", "kept")]
    )
    def test_a_figure_of_nothing_is_an_error_with_a_remedy(
        self, kind: FigureKind, remedy: str
    ) -> None:
        with pytest.raises(DepthError, match=f"nothing for the figure {kind}.*{remedy}"):
            one_figure(kind, readings(run()))

    def test_results_without_the_measure_are_named(self) -> None:
        notices: list[str] = []
        results = [*kept_runs()[:2], run("lacking"), run("lacking")]
        figure = one_figure("left-out", readings(*results), notice=notices.append)
        assert isinstance(figure.picture, Panel)
        assert len(figure.picture.lines) == 2
        title = readings(run("lacking"))[0].title
        assert notices == [f"Without this measure, and left out: 3 {title}; 4 {title}."]


class TestLines:
    def test_each_result_is_a_line_with_its_own_values(self) -> None:
        results = [run("red", seed=1), run("blue", seed=2)]
        figure = one_figure("curves", readings(*results), "kl")
        assert isinstance(figure.picture, Panel)
        assert [line.name for line in figure.picture.lines] == ["red", "blue"]
        for line, result in zip(figure.picture.lines, results, strict=True):
            expected = reading_of([result], SETTINGS).curves["kl"]
            np.testing.assert_array_equal(line.values, expected)
            np.testing.assert_allclose(expected, result.get(LogitLens).kl.mean(axis=1), rtol=1e-6)

    def test_pooled_results_are_one_line_with_its_mark(self) -> None:
        results = kept_runs()
        figure = one_figure("curves", readings(*results, pool="model"), "kl")
        estimate = reading_of(results, SETTINGS).depth("kl")
        assert isinstance(figure.picture, Panel)
        assert estimate is not None
        assert figure.picture.mark is not None
        assert figure.picture.mark.place == estimate.layer

    def test_values_by_layer_of_several_results_are_lines(self) -> None:
        one, two = readings(full_run("red")), readings(full_run("red"), full_run("blue", 1))
        assert isinstance(one_figure("curves", one, "block_influence").picture, Bars)
        lines = one_figure("curves", two, "block_influence").picture
        assert isinstance(lines, Panel)
        assert [line.name for line in lines.lines] == ["red", "blue"]

    def test_models_are_named_where_they_differ_and_equal_titles_have_numbers(self) -> None:
        a, b = run("red", name="a"), run("red", name="b")
        assert short_titles(readings(a, b)) == ["a", "b"]
        assert short_titles(readings(a, b, run("blue", name="b"))) == [
            "a, red",
            "b, red",
            "b, blue",
        ]
        (alone,) = readings(a)
        assert short_titles([alone]) == [alone.title]
        later = replace(alone, numbers=(3, 4))
        assert short_titles([alone, later]) == [f"{alone.title} (1)", f"{alone.title} (3-4)"]

    def test_more_lines_than_differ_in_grey_are_refused(self) -> None:
        many = readings(*(run(f"prompt {n}") for n in range(MOST_IN_GREY + 1)))
        assert one_figure("curves", many[1:], "kl")
        with pytest.raises(DepthError, match=r"13 lines cannot be told apart in grey, 12 can\."):
            one_figure("curves", many, "kl")

    def test_models_of_different_depths_share_an_axis_in_percent(self) -> None:
        shallow = Panel([Line(np.array([1.0, 2.0]), "mean")], 2, threshold=0.5)
        deep = Panel([Line(np.array([1.0, 2.0, 3.0, 4.0]), "mean")], 4, threshold=0.5)
        plot = overlaid({"shallow": shallow, "deep": deep})
        assert plot.threshold == 0.5
        assert plot.across == "layer, % of the depth"
        a, b = (line.values for line in plot.lines)
        # Layer l of L lies at (l + 1) / L.
        assert a[[50, 75, 100]].tolist() == [1, 1.5, 2]
        assert b[[25, 50, 75, 100]].tolist() == [1, 2, 3, 4]
        assert np.isnan(a[:50]).all()

    def test_readings_of_depths_and_layers_kept_reach_over_the_whole_axis(self) -> None:
        two, three = np.array([4.0, 2.0, 0.0]), np.array([3.0, 2.0, 1.0, 0.0])
        depths = overlaid({"a": Panel([Line(two, "")], 2), "b": Panel([Line(three, "")], 3)})
        assert depths.lines[0].values[[0, 25, 50, 100]].tolist() == [4, 3, 2, 0]
        falling = {
            name: Panel([Line(values, "")], len(values), falls_from=len(values) - 1)
            for name, values in (("a", two), ("b", three))
        }
        plot = overlaid(falling)
        assert plot.falls_from == 100
        assert plot.across == "layers kept, %"
        assert plot.lines[0].values[[0, 50, 100]].tolist() == [4, 2, 0]

    def test_thresholds_that_differ_are_left_out(self) -> None:
        panel = Panel([Line(np.ones(2), "mean")], 2, threshold=0.5)
        assert overlaid({"a": panel, "b": panel}).threshold == 0.5
        assert overlaid({"a": panel, "b": replace(panel, threshold=1.0)}).threshold is None


class TestIntervals:
    def test_a_curve_of_enough_prompts_has_its_interval(self) -> None:
        results = [run(f"prompt {n}", seed=n, tokens=40) for n in range(8)]
        reading = reading_of(results, SETTINGS)
        interval = reading.curve_interval(kl.RULE)
        assert interval is not None
        low, high = interval
        curve = reading.curves["kl"]
        assert ((low < curve) & (curve < high)).all()
        figure = one_figure("curves", readings(*results, pool="model"), "kl")
        assert isinstance(figure.picture, Panel)
        (line,) = figure.picture.lines
        assert line.interval is not None
        np.testing.assert_array_equal(line.interval, interval)

    def test_a_short_prompt_alone_has_none(self) -> None:
        assert reading_of([run()], SETTINGS).curve_interval(kl.RULE) is None

    def test_what_is_kept_of_enough_prompts_has_its_interval(self) -> None:
        figure = one_figure("left-out", readings(*kept_runs(), pool="model"))
        assert isinstance(figure.picture, Panel)
        assert figure.picture.mark is not None
        assert figure.picture.mark.interval is not None
        main = next(line for line in figure.picture.lines if line.css == "mean")
        assert main.interval is not None
        low, high = main.interval
        assert (low <= main.values + 1e-9).all()
        assert (main.values <= high + 1e-9).all()
