"""Questions answered by the headline: planted mean depths, closed forms, what is in the way."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.metrics.kept.result import Kept
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_rich import rich_lines
from depthtui.sweep.answers import Answer
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.questions import Question, questions
from depthtui.sweep.records import Record, record_of
from depthtui.sweep.report.document import sweep_document
from depthtui.sweep.report.json import sweep_json
from depthtui.sweep.report.phrases import sentences_of
from depthtui.sweep.state import Outcome
from depthtui.sweep.summary import SweepSummary, summarise_sweep
from depthtui.tui.state.sweep_rows import _findings
from tests.builders.models import model_info
from tests.builders.results import full_result

GUESS = 5.0
SETTINGS = RunSettings(metrics=("contributions", "logit_lens", "kept"))


def losses_of(depth: float, layers: int, whole: float = 1.0) -> np.ndarray:
    """Everything is known with `depth` layers, and nothing with one fewer, `[layers + 1]`."""
    share = np.clip(layers - depth + 0.5 - np.arange(layers + 1), 0, 1)
    return GUESS - (GUESS - whole) * share


def result_of(
    cell: Cell, number: int, depth: float, layers: int, words: int = 6, whole: float = 1.0
) -> RunResult:
    """A prompt of which everything is known with so many layers; in a drawn order, with all."""
    text = " ".join([f"{cell.task.level} {number}", *["word"] * words])
    result = full_result(
        Prompt(text, " word", cell.task.name, cell.task.level),
        replace(model_info(cell.model, layers=layers), vocab_size=1000),
        settings=SETTINGS,
    )
    knowledge = result.get(Kept)
    knowledge.loss[:3] = losses_of(depth, layers, whole)[:, None]
    knowledge.loss[3:] = losses_of(layers - 0.5, layers, whole)[:, None]
    knowledge.guess[:] = knowledge.half_guess[:] = GUESS
    return result


def record(cell: Cell, number: int, depth: float, layers: int, **options: Any) -> Record:
    """The record of such a prompt."""
    result = result_of(cell, number, depth, layers, **options)
    return record_of(result, f"{cell.task.level} {number}", cell, number)


def answered(
    depths: dict[tuple[str, str], Sequence[float]],
    layers: int | dict[str, int] = 20,
    **options: Any,
) -> tuple[SweepSummary, dict[str, Question]]:
    """Prompts of these mean depths, by model and level of `addition`."""
    records = {
        (cell := Cell(ModelSpec(model), TaskChoice("addition", level))): [
            record(
                cell,
                number,
                depth,
                layers if isinstance(layers, int) else layers[model],
                **options,
            )
            for number, depth in enumerate(of_cell)
        ]
        for (model, level), of_cell in depths.items()
    }
    models = dict.fromkeys(cell.model for cell in records)
    tasks = dict.fromkeys(cell.task for cell in records)
    plan = SweepPlan(tuple(models), tuple(tasks), SETTINGS)
    summary = summarise_sweep(Outcome(plan, records, []))
    return summary, {question.name: question for question in questions(summary)}


def on_levels(*levels: Sequence[float], **options: Any) -> Answer:
    """The answer on difficulty of one model on levels of a task."""
    depths = {("a", str(number + 1)): of_level for number, of_level in enumerate(levels)}
    _, by_name = answered(depths, **options)
    (answer,) = by_name["difficulty"].headline
    return answer


AROUND = np.array([-1.0, -0.5, 0, 0, 0.5, 1.0])


def test_a_planted_trend_is_found_in_closed_form() -> None:
    answer = on_levels(8 + AROUND, 12 + AROUND, 16 + AROUND)
    # Curves of steps at 8 ± 1 layers have the mean depth 8.
    comparison = answer.comparison
    assert [group.value for group in comparison.groups] == pytest.approx([0.4, 0.6, 0.8])
    assert comparison.change == pytest.approx(8 / 20)
    low, high = comparison.interval
    # A mean of six prompts of variance 0.42, over three groups with the weights -1/2, 0, 1/2 x 2.
    error = np.sqrt(2 * np.var(AROUND, ddof=1) / 6) / 20
    assert low < 8 / 20 - 1.5 * error < 8 / 20 + 1.5 * error < high
    assert low > 8 / 20 - 4 * error
    assert answer.verdict == "Yes"
    assert "layers on average" in str(answer)
    assert "From the first to the last +8.0 layers (95 % interval " in str(answer)
    # Steps at 8 ± 1 layers keep nine tenths with 9 or more.
    assert "Nine tenths of it are there with at most 9, 13 and 17." in str(answer)
    assert not answer.reason


def test_a_level_of_which_any_order_costs_as_much_is_named() -> None:
    answer = on_levels(8 + AROUND, 14 + AROUND, 19.5 + 0 * AROUND)
    assert answer.verdict == "Yes"
    assert "of 3 digits, any order of layers costs as much" in answer.confounds


def test_levels_of_which_other_amounts_are_known_are_named() -> None:
    depths = {("a", "1"): 8 + AROUND, ("a", "2"): 14 + AROUND}
    (same,) = answered(depths)[1]["difficulty"].headline
    assert not any("nats" in clause for clause in same.confounds)
    records = {
        (cell := Cell(ModelSpec("a"), TaskChoice("addition", level))): [
            record(cell, number, depth, 20, whole=whole)
            for number, depth in enumerate(depths["a", level])
        ]
        for level, whole in (("1", 1.0), ("2", 4.0))
    }
    plan = SweepPlan((ModelSpec("a"),), tuple(cell.task for cell in records), SETTINGS)
    questions_of = {
        question.name: question
        for question in questions(summarise_sweep(Outcome(plan, records, [])))
    }
    (answer,) = questions_of["difficulty"].headline
    assert "4.0 and 1.0 nats of a token are known" in answer.confounds


def test_levels_that_take_as_many_are_no() -> None:
    answer = on_levels(12 + AROUND, 12.2 + AROUND, 12 + AROUND)
    assert answer.verdict == "No"
    assert not answer.reason


def test_fewer_layers_are_less() -> None:
    assert on_levels(16 + AROUND, 8 + AROUND).verdict == "No, less"


def test_a_course_up_and_down_has_no_direction() -> None:
    answer = on_levels(8 + AROUND, 18 + AROUND, 12 + AROUND)
    assert answer.verdict == "Up and down"
    assert str(answer).endswith(
        "1 digit takes fewer than 2 digits; 2 digits takes more than 3 digits."
    )


def test_a_peak_or_a_dip_is_no_direction() -> None:
    for middle in (16, 2):
        answer = on_levels(10 + AROUND, middle + AROUND, 10 + AROUND)
        assert answer.comparison.change == pytest.approx(0, abs=1e-6)
        assert answer.verdict == "Up and down"
    assert on_levels(8 + AROUND, 4 + AROUND, 12 + AROUND, 8 + AROUND).verdict == "Up and down"


def test_where_any_order_of_layers_costs_as_much_nothing_is_told() -> None:
    answer = on_levels(19.2 + AROUND / 10, 19.2 + AROUND / 10)
    assert answer.verdict == "Not told"
    assert "Any order of layers costs as much." in str(answer)
    # The lower one is not at chance: that it takes fewer is told.
    assert on_levels(8 + AROUND, 19.2 + AROUND / 10).verdict == "Yes"


def test_each_mean_has_its_interval_and_the_number_of_prompts() -> None:
    answer = on_levels(8 + AROUND, 12 + AROUND)
    low, high = (20 * end for end in answer.comparison.ranges[0])
    assert f"(n 6), a takes at most 8.0 ({low:.1f} to {high:.1f}) and 12.0 (" in str(answer)


def test_a_level_of_which_too_little_is_known_is_in_no_trend() -> None:
    def unknown(knowledge: Kept, level: int) -> None:
        if level == 1:
            knowledge.loss[:] = GUESS - 0.1

    answer = in_other_order(unknown, 0.1, (8, 10, 12))
    assert [group.prompts for group in answer.groups] == [6, 6]
    assert answer.verdict == "Yes"
    assert "too little is known of addition, 2 digits, which is left out" in str(answer)


def test_a_small_step_back_is_no_other_direction() -> None:
    assert on_levels(8 + AROUND, 16.5 + AROUND, 16 + AROUND).verdict == "Yes"


def test_what_varies_too_much_is_not_clear() -> None:
    answer = on_levels(10 + 6 * AROUND, 11 + 6 * AROUND)
    assert answer.verdict == "Not clear"
    assert answer.reason


def test_few_prompts_and_little_knowledge_are_said_once() -> None:
    few = on_levels(AROUND[:4] + 10, AROUND + 12)
    assert str(few) == (
        "Not known: on addition, 1 to 2 digits, for "
        f"{few.subject.models}, mean depth: too few prompts (4; 5 are needed)."
    )
    little = on_levels(AROUND + 10, AROUND + 12, whole=4.9)
    why = "0.1 nats a token better than a guess"
    assert str(little).endswith(f", mean depth: too little is known ({why}).")
    assert little.comparison.change is None


def test_answers_that_lack_the_same_are_named_together() -> None:
    known, few = on_levels(AROUND + 10, AROUND + 12), on_levels(AROUND[:4] + 10, AROUND + 12)
    other = replace(few, subject=replace(few.subject, on="facts, 1 to 2 hops"))
    assert sentences_of([few, known, other]) == [
        str(known),
        f"Not known: too few prompts (4; 5 are needed): mean depth {few.subject}; {other.subject}.",
    ]


def test_other_lengths_and_wrong_answers_are_in_the_way() -> None:
    cells = [Cell(ModelSpec("a"), TaskChoice("addition", level)) for level in "12"]
    records = {
        cell: [record(cell, number, 10, 20, words=6 + 8 * place) for number in range(6)]
        for place, cell in enumerate(cells)
    }
    plan = SweepPlan((ModelSpec("a"),), tuple(cell.task for cell in cells), SETTINGS)
    for of_cell in records.values():
        of_cell[:] = [replace(one, says_answer=number < 3) for number, one in enumerate(of_cell)]
    summary = summarise_sweep(Outcome(plan, records, []))
    (question,) = questions(summary)
    answer, right = question.headline
    tokens = [group.tokens for group in answer.groups]
    assert answer.confounds == [
        f"the prompts have {tokens[0]:.0f} and {tokens[1]:.0f} tokens",
        "the tokens that count differ",
        "50 and 50 % of their answers are right",
    ]
    assert "But the prompts have" in str(answer)
    # Too few of them are right.
    assert right.subject.on.endswith("right answers alone")
    assert right.verdict == "Not known"


def test_models_of_other_depths_are_compared_by_shares_on_the_same_prompts() -> None:
    summary, by_name = answered(
        {("a", "1"): 10 + AROUND, ("b", "1"): 15 + 2 * AROUND}, {"a": 20, "b": 30}
    )
    (answer,) = by_name["models"].headline
    # Every prompt takes the same share of both models: paired, nothing varies.
    assert answer.comparison.change == pytest.approx(0, abs=0.01)
    assert answer.verdict == "No"
    first, second = (cell.title for cell in summary.cells)
    counts = "10.0 (9.3 to 10.8) of 20 and 15.0 (13.7 to 16.5) of 30"
    assert f"{first} and {second} take at most {counts} layers" in str(answer)
    # The made-up model answers no prompt rightly.
    assert answer.confounds == ["0 and 0 % of their answers are right"]


@pytest.mark.parametrize("question", ["difficulty", "models"])
def test_prompts_of_which_it_is_unknown_are_left_out(question: str) -> None:
    """One prompt lacks the metric: of one level, or of both models where they are paired."""
    names = [("a", "1"), ("a", "2")] if question == "difficulty" else [("a", "1"), ("b", "1")]
    cells = [Cell(ModelSpec(model), TaskChoice("addition", level)) for model, level in names]
    records = {
        cell: [record(cell, number, depth, 20) for number in range(7)]
        for cell, depth in zip(cells, (8, 12), strict=True)
    }
    lacking = records[cells[0]][3]
    every, rest = ({**lacking.every}, {**lacking.rest})
    every.pop("kept"), rest.pop("kept")
    records[cells[0]][3] = replace(lacking, every=every, rest=rest)
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    tasks = tuple(dict.fromkeys(cell.task for cell in cells))
    summary = summarise_sweep(Outcome(SweepPlan(models, tasks, SETTINGS), records, []))
    by_name = {asked.name: asked for asked in questions(summary)}
    (answer,) = by_name[question].headline
    assert answer.comparison.change == pytest.approx(4 / 20)
    assert answer.groups[0].prompts == 6
    assert answer.groups[1].prompts == (6 if question == "models" else 7)


def in_other_order(
    change: Callable[[Kept, int], None], spread: float = 0.0, depths: Sequence[float] = (8, 12)
) -> Answer:
    """The answer on levels of so many layers, after a change of each prompt's knowledge."""
    levels = range(1, len(depths) + 1)
    cells = [Cell(ModelSpec("a"), TaskChoice("addition", str(level))) for level in levels]
    records = {}
    for level, (cell, depth) in enumerate(zip(cells, depths, strict=True)):
        results = [result_of(cell, number, depth + spread * number, 20) for number in range(6)]
        for result in results:
            change(result.get(Kept), level)
        records[cell] = [
            record_of(result, f"{cell.task.level} {number}", cell, number)
            for number, result in enumerate(results)
        ]
    plan = SweepPlan((ModelSpec("a"),), tuple(cell.task for cell in cells), SETTINGS)
    (question,) = questions(summarise_sweep(Outcome(plan, records, [])))
    (answer,) = question.headline
    return answer


def test_each_group_counts_in_its_best_order() -> None:
    """In their own order the harder level takes fewer layers."""

    def read(knowledge: Kept, level: int) -> None:
        knowledge.loss[2] = losses_of((8, 7)[level], 20)[:, None]

    answer = in_other_order(read, 0.1)
    assert answer.comparison.change == pytest.approx(-1 / 20)


def test_the_interval_reaches_to_the_change_by_half_of_the_guess() -> None:
    def guess(knowledge: Kept, level: int) -> None:
        knowledge.loss[:3, 8:15] = 2.0
        knowledge.half_guess[1] = (GUESS, 40)[level]

    answer = in_other_order(guess, 0.1)
    low, _ = answer.comparison.interval
    assert min(answer.comparison.by_half_guesses) == pytest.approx(low)
    assert answer.comparison.by_half_guesses[1] < answer.comparison.change


def test_own_orders_that_are_worse_or_not_read_change_nothing() -> None:
    def read_worse(knowledge: Kept, level: int) -> None:
        knowledge.loss[1:3] = losses_of(19, 20)[:, None]

    def leave_unread(knowledge: Kept, level: int) -> None:
        knowledge.loss[1:3] = np.nan

    worse, unread = (in_other_order(change, 0.1) for change in (read_worse, leave_unread))
    assert worse.comparison.interval == unread.comparison.interval
    assert worse.verdict == "Yes"


def test_intervals_are_of_one_family() -> None:
    one = on_levels(8 + AROUND, 9 + AROUND)
    depths = {(model, level): 8 + int(level) + AROUND for model in "ab" for level in "12"}
    _, by_name = answered(depths)
    both, others = by_name["difficulty"].headline, by_name["difficulty"].others
    assert [answer.comparison.level for answer in both] == [0.975] * 2
    assert one.comparison.level == 0.95
    # The other numbers are a family of their own.
    tested = [answer.comparison for answer in others if answer.is_known]
    assert {comparison.level for comparison in tested} == {1 - 0.05 / len(tested)}


def test_reports_answer_by_it_first() -> None:
    depths = {("a", level): 8 + 4 * int(level) + AROUND for level in "12"}
    summary, by_name = answered(depths)
    found = list(by_name.values())
    (answer,) = by_name["difficulty"].headline
    text = markdown_bytes(sweep_document(summary, found)).decode()
    assert text.index("Yes: on addition") < text.index("By other numbers, the paper's rules")
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rich_lines(sweep_document(summary, found)))
    brief = console.export_text()
    assert "Yes: on addition, 1 to 2 digits" in brief
    assert "direction" not in brief
    # The explorer has one sentence, and no rule's.
    kinds = [finding.kind for finding in _findings(summary, found, with_absences=False)]
    assert kinds[:3] == ["title", "clear", "subject"]
    (question,) = json.loads(sweep_json(summary, found))["questions"]
    first, *others = question["answers"]
    assert (first["number"], first["verdict"], first["direction"]) == ("mean_depth", "Yes", "more")
    assert (first["change"], first["reason"]) == (pytest.approx(answer.comparison.change), "")
    assert [group["value"] for group in first["values"]] == pytest.approx([0.6, 0.8])
    assert [group["prompts"] for group in first["values"]] == [6, 6]
    for group in first["values"]:
        assert group["interval"][0] < group["value"] < group["interval"][1]
    assert [other["number"] for other in others][:1] == ["nine_tenths"]
    assert all(bool(other["direction"]) != bool(other["reason"]) for other in others)
