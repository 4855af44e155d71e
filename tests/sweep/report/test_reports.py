"""What the reports of a sweep say."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow.parquet import read_schema, read_table
from rich.console import Console

from depthtui.data.lens import LogitLens
from depthtui.data.lm_eval_results import read_answers
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Drawing, ModelSpec, RunSettings, SummarySettings
from depthtui.depth.published import RULES
from depthtui.metrics import kept
from depthtui.metrics.accuracy.answer_statistics import wilson
from depthtui.metrics.kept.output import TOLERANCE
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_rich import rich_lines
from depthtui.report.long_table import ABOUT
from depthtui.sweep.answers import Answer
from depthtui.sweep.folder import Failure
from depthtui.sweep.numbers import RIGHT_ANSWERS
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.questions import Question, questions
from depthtui.sweep.records import Record, record_of
from depthtui.sweep.report.document import relative, sweep_document
from depthtui.sweep.report.export import sweep_report
from depthtui.sweep.report.json import sweep_csv, sweep_json
from depthtui.sweep.report.phrases import failures
from depthtui.sweep.state import Outcome
from depthtui.sweep.subjects import step_of
from depthtui.sweep.summary import CellSummary, SweepSummary, summarise_sweep, titles_of
from tests.builders.answers import answered_runs
from tests.builders.engines import ScriptedEngine
from tests.builders.models import model_info
from tests.builders.results import full_result, full_run, hostile_run, lacking
from tests.hostile import HOSTILE
from tests.report.test_logged_answers import path_of
from tests.sweep.sweeps import make_plan, sweep

MODELS = ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-14B", "Qwen2.5-Math-1.5B")
PAIRS = tuple(combinations(MODELS, 2))
# Every level of a task is one of its own.
TASKS = ("gsm8k", "commonsense", "addition, 1", "addition, 2", "addition, 3")


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    """Three models of the paper, and one that is missing, on three kinds of tasks."""
    folder = tmp_path_factory.mktemp("sweep")
    path = folder / "gsm8k.json"
    rows = [{"question": f"{n} and {n}?", "answer": f"so\n#### {2 * n}"} for n in range(6)]
    path.write_text(json.dumps(rows))
    engine = ScriptedEngine({MODELS[0]: 28, MODELS[1]: 48, MODELS[2]: 28})
    plan = make_plan(
        (*MODELS, "missing"),
        ("gsm8k", "commonsense", "addition:1-3"),
        Drawing(6),
        {"gsm8k": str(path)},
    )
    return summarise_sweep(sweep(plan, folder / "out", engine))


@pytest.fixture(scope="module")
def all_questions(summary: SweepSummary) -> list[Question]:
    """The questions that the sweep answers."""
    return questions(summary)


def cell_of(summary: SweepSummary, model: str, task: str) -> CellSummary:
    (summary_cell,) = (
        cell
        for cell in summary.cells
        if cell.cell.model.name.endswith(model) and cell.cell.task.name == task
    )
    return summary_cell


def of_paper(question: Question) -> list[Answer]:
    """The answers by the paper's rules; no answer to these prompts is the made-up model's."""
    return [answer for answer in question.answers if answer.number.name in RULES]


def by_kl(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.number.name == "kl"]


def layers(answer: Answer) -> float:
    """The change in layers of models of one size."""
    return answer.comparison.change * answer.comparison.groups[0].n_layers


def of_results(results, spec: ModelSpec | None = None) -> SweepSummary:
    """A sweep of one cell made from results."""
    cell = Cell(spec or results[0].model.spec, TaskChoice("commonsense"))
    records = [record_of(result, f"key{n}", cell, n) for n, result in enumerate(results)]
    plan = SweepPlan((cell.model,), (cell.task,), results[0].settings)
    return summarise_sweep(Outcome(plan, {cell: records}, []))


def planted(specs: list[ModelSpec], crossings: list[int]) -> Outcome:
    """Models on the same six prompts, whose KL falls at these layers of 12."""
    task, records = TaskChoice("commonsense"), {}
    for spec, crossing in zip(specs, crossings, strict=True):
        dtype = "bfloat16" if spec.dtype == "auto" else spec.dtype
        model = replace(model_info(spec, layers=12), dtype=dtype, quantize=spec.quantize)
        cell = Cell(spec, task)
        records[cell] = []
        for number in range(6):
            result = full_result(full_run(f"text {number}").prompt, model)
            result.get(LogitLens).kl[:] = np.where(np.arange(13) < crossing, 4, 1)[:, None]
            records[cell].append(record_of(result, f"{number}", cell, number))
    return Outcome(SweepPlan(tuple(specs), (task,)), records, [])


def steep(layers: int) -> np.ndarray:
    """KL of 12 layers that falls at once, after so many, `[13]`."""
    return np.where(np.arange(13) < layers, 4.0, 1.0)


def by_levels(curves: list[np.ndarray]) -> tuple[tuple[SweepSummary, list[Question]], Answer]:
    """Eight prompts on each level of a task with this KL, and what is said of it by the KL."""
    cells = [Cell(ModelSpec("a"), TaskChoice("addition", str(n + 1))) for n in range(len(curves))]
    records: dict[Cell, list[Record]] = {cell: [] for cell in cells}
    for cell, kl in zip(cells, curves, strict=True):
        for number in range(8):
            text = f"{cell.task.level} {number}"
            result = full_result(full_run(text).prompt, model_info(layers=12))
            result.get(LogitLens).kl[:] = kl[:, None]
            records[cell].append(record_of(result, text, cell, number))
    plan = SweepPlan((ModelSpec("a"),), tuple(cell.task for cell in cells))
    summary = summarise_sweep(Outcome(plan, records, []))
    (question,) = all_questions = questions(summary)
    return (summary, all_questions), by_kl(question.answers)[0]


class TestNumbers:
    def test_a_cell_misses_nothing_that_its_prompts_cannot_have(self) -> None:
        result = lacking(full_run(), "accuracy", "context_depth")
        tokens = replace(result.tokens, answer_start=len(result.tokens))
        without_answer = replace(result, prompt=Prompt("a b"), tokens=tokens)
        (cell,) = of_results([without_answer]).cells
        assert cell.missing_metrics == ["context_depth"]

    def test_tasks_that_are_pooled_have_the_same_weight(self) -> None:
        few = of_results([full_run(f"a {n}", seed=n, tokens=9) for n in range(2)]).cells[0]
        many = of_results([full_run(f"b {n}", seed=9 + n, tokens=50) for n in range(6)]).cells[0]
        other = [replace(record, task="other") for record in many.records]
        both = CellSummary(few.cell, [*few.records, *other], SummarySettings(kl_threshold=0.95))
        np.testing.assert_allclose(both.curves["kl"], (few.curves["kl"] + many.curves["kl"]) / 2)
        assert both.depth("kl").interval is not None

    def test_the_published_value_is_beside_a_model_of_the_paper(self, summary) -> None:
        cell = cell_of(summary, "Qwen2.5-14B", "gsm8k")
        published = cell.published("kl")
        assert (published.dataset, published.same_dataset, published.layer) == ("gsm8k", True, 40)
        assert published.difference == cell.depth("kl").layer - 40
        near = cell_of(summary, "Qwen2.5-14B", "commonsense").published("overlap")
        assert (near.dataset, near.same_dataset, near.layer) == ("hellaswag", False, 45)
        levels = [cell for cell in summary.cells if cell.cell.task.name == "addition"]
        assert not any(text.published("kl") for text in levels)

    @pytest.mark.parametrize("asking", [{"matched": 999}, {"shots": 2}, {"choices": True}])
    def test_a_prompt_that_is_asked_otherwise_is_not_the_papers(self, summary, asking) -> None:
        cell = cell_of(summary, "Qwen2.5-14B", "gsm8k")
        asked = replace(cell.cell, task=replace(cell.cell.task, **asking))
        assert CellSummary(asked, cell.records, cell.settings).published("kl") is None

    def test_another_model_of_that_name_is_not_compared(self) -> None:
        info = model_info(ModelSpec("Qwen/Qwen2.5-14B"), layers=40)
        result = full_result(full_run().prompt, info)
        (cell,) = of_results([result]).cells
        assert cell.published("kl") is None

    def test_models_of_one_name_are_told_apart(self) -> None:
        prompt, task = full_run().prompt, TaskChoice("commonsense")
        specs = (ModelSpec("a/x"), ModelSpec("b/x"), ModelSpec("b/x", device="cpu"), ModelSpec("y"))
        records = {}
        for spec in specs:
            cell = Cell(spec, task)
            result = full_result(prompt, model_info(spec))
            records[cell] = [record_of(result, "key", cell, 0)]
        plan = SweepPlan(specs, (task,))
        cells = summarise_sweep(Outcome(plan, records, [])).cells
        assert [cell.title for cell in cells] == ["a/x", "b/x", "b/x, cpu", "y"]


def answered(curves: list[np.ndarray], right: list[int]) -> tuple[SweepSummary, list[Question]]:
    """Levels of a task with ten prompts each, so many of them answered rightly.

    The curves are the KL of right answers; that of wrong ones falls late.
    """
    cells = [Cell(ModelSpec("a"), TaskChoice("addition", str(n + 1))) for n in range(len(right))]
    records: dict[Cell, list[Record]] = {}
    for cell, kl, n_right in zip(cells, curves, right, strict=True):
        records[cell] = []
        for number in range(10):
            text = f"{cell.task.level} {number}"
            result = lacking(full_result(full_run(text).prompt, model_info(layers=12)), "accuracy")
            lens, start = result.get(LogitLens), result.answer_start
            lens.top_ids[-1, start - 1 : -1, 0] = result.tokens.ids[start:] + (number >= n_right)
            lens.kl[:] = (kl if number < n_right else steep(10))[:, None]
            records[cell].append(record_of(result, text, cell, number))
    plan = SweepPlan((ModelSpec("a"),), tuple(cell.task for cell in cells))
    summary = summarise_sweep(Outcome(plan, records, []))
    return summary, questions(summary)


class TestKept:
    """Layers that keep nine tenths have a column, never without their range and mean depth."""

    @staticmethod
    def summary() -> SweepSummary:
        settings = RunSettings(metrics=("contributions", "logit_lens", "kept"))
        return of_results(
            [full_result(Prompt(f"text {n} of several"), settings=settings) for n in range(6)]
        )

    def test_the_column_has_range_and_mean_depth(self) -> None:
        summary = self.summary()
        headline = summary.cells[0].headline
        count, low, high = map(math.ceil, (headline.count, headline.low, headline.high))
        text = markdown_bytes(sweep_document(summary, [])).decode()
        assert "| model and task | nine tenths | mean depth |" in text
        ends = " … ".join(dict.fromkeys(map(str, (low, high))))
        kept = f"{count} · {count / 30:.2f} ({ends}) | {headline.mean_depth:.1f}"
        assert f"on commonsense | {kept} |" in text
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(rich_lines(sweep_document(summary, [])))
        assert f"{low}–{high}" in console.export_text()

    def test_the_table_has_it(self) -> None:
        summary = self.summary()
        headline = summary.cells[0].headline
        (line, *_) = csv.DictReader(io.StringIO(sweep_csv(summary).decode()))
        assert float(line["kept"]) == pytest.approx(headline.count)
        assert float(line["kept_low"]) <= headline.count <= float(line["kept_high"])
        assert float(line["kept_mean_depth"]) == pytest.approx(headline.mean_depth)

    def test_the_table_has_it_where_no_rule_was_measured(self) -> None:
        runs = [full_run(f"text {n}", seed=n) for n in (0, 1)]
        alone = [lacking(run, *(name for name in run.measured if name != "kept")) for run in runs]
        summary = of_results(alone)
        (line,) = csv.DictReader(io.StringIO(sweep_csv(summary).decode()))
        assert (line["rule"], line["layer"], line["published_count"]) == ("", "", "")
        assert float(line["kept"]) == pytest.approx(summary.cells[0].headline.count)

    def test_without_it_there_is_no_column(self) -> None:
        without = of_results([lacking(full_run(f"text {n}", seed=n), "kept") for n in (0, 1)])
        assert "nine tenths" not in markdown_bytes(sweep_document(without, [])).decode()


class TestAccuracy:
    def test_a_cell_has_its_right_answers(self) -> None:
        summary, all_questions = answered([steep(3), steep(6)], [10, 4])
        assert [str(cell.accuracy) for cell in summary.cells] == ["10/10", "4/10"]
        assert summary.cells[1].accuracy.share == 0.4
        body = json.loads(sweep_json(summary, all_questions))
        assert [cell["accuracy"] for cell in body["cells"]] == [
            {"right": 10, "answers": 10},
            {"right": 4, "answers": 10},
        ]
        lines = csv.DictReader(io.StringIO(sweep_csv(summary).decode()))
        assert {(line["level"], line["right"], line["answers"]) for line in lines} == {
            ("1", "10", "10"),
            ("2", "4", "10"),
        }
        text = markdown_bytes(sweep_document(summary, all_questions)).decode()
        assert re.search(r"addition, 2 digits \| 12 \| 10 \| [\d,]+ \| 4/10 \|", text)
        assert "teacher-forced" in text
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(rich_lines(sweep_document(summary, all_questions)))
        assert re.search(r"addition, 2 digits +4/10  8 · .67 [^\n]*\n +±½", console.export_text())

    def test_what_the_model_writes_counts_before_what_it_would_choose(self) -> None:
        result = full_run()
        answers = result.measured["accuracy"]
        for right in (True, False):
            answers.written_right[:] = right
            (cell,) = of_results([result]).cells
            assert str(cell.accuracy) == f"{int(right)}/1"
        (cell,) = of_results([lacking(result, "accuracy", "logit_lens", "kept")]).cells
        assert cell.accuracy is None
        summary = of_results([lacking(result, "accuracy", "logit_lens", "kept")])
        assert "right |" not in markdown_bytes(sweep_document(summary, [])).decode()

    def test_the_trend_is_given_again_over_right_answers(self) -> None:
        """Rightly answered prompts are no deeper at harder levels: wrong ones make the trend."""
        _, (question,) = answered([steep(4), steep(4), steep(4)], [10, 8, 6])
        every, right = by_kl(question.answers)
        assert (every.subject.on, right.subject.on) == (
            "addition, 1 to 3 digits",
            "addition, 1 to 3 digits, right answers alone",
        )
        assert [group.prompts for group in every.groups] == [10, 10, 10]
        assert [group.prompts for group in right.groups] == [10, 8, 6]
        assert layers(every) > 0
        assert layers(right) == 0
        assert right.comparison.direction == "as many"
        # Both are of the question's one family, and right answers themselves.
        tested = [answer for answer in question.others if answer.is_known]
        assert {answer.comparison.level for answer in tested} == {1 - 0.05 / len(tested)}
        (accuracy,) = (one for one in tested if one.number is RIGHT_ANSWERS)
        assert accuracy.number.in_words(accuracy.comparison.groups) == "100, 80 and 60 %"

    def test_levels_with_few_right_answers_are_left_out_of_that_trend(self) -> None:
        _, (question,) = answered([steep(3), steep(5), steep(7)], [10, 5, 1])
        (right,) = (answer for answer in by_kl(question.answers) if "right" in answer.subject.on)
        assert right.subject.on == "addition, 1 to 2 digits, right answers alone"
        assert [group.prompts for group in right.groups] == [10, 5]
        assert layers(right) == pytest.approx(2)
        assert [cell.task.level for cell in right.cells] == ["1", "2"]

    def test_few_right_answers_tell_no_trend(self) -> None:
        _, (question,) = answered([steep(3), steep(6)], [9, 0])
        answers = [answer for answer in question.answers if "right" in answer.subject.on]
        assert {answer.reason for answer in answers} == {"too few prompts (0; 5 are needed)"}

    @pytest.mark.parametrize("right", [10, 0])
    def test_where_all_are_alike_there_is_one_trend(self, right: int) -> None:
        _, (question,) = answered([steep(3), steep(6)], [right, right])
        assert {answer.subject.on for answer in question.answers} == {"addition, 1 to 2 digits"}


def counts_of(cell: CellSummary) -> tuple[int, int]:
    """The layers that keep nine tenths, and those within a nat."""
    return cell.get(kept.METRIC).layers, kept.output_of(cell).kl.least(TOLERANCE)


@pytest.fixture(scope="module")
def questioned() -> SweepSummary:
    """A sweep of one cell of 50 questions."""
    return of_results(answered_runs())


class TestRightAnswers:
    """50 questions: without the layers that nine tenths do without, 4 are lost and 1 is gained."""

    def test_each_kind_has_its_counts_intervals_and_changes(self, questioned: SweepSummary) -> None:
        layers, suffice = counts_of(questioned.cells[0])
        text = markdown_bytes(sweep_document(questioned, [])).decode()
        (title,) = re.findall(r"(?m)^## Right answers\n\n(.*)$", text)
        assert title == ("| model and task | answers | right | nine tenths | N(1) | N(answers) |")
        change = "lost 4, gained 1 of 50: 6 points fewer (-15 to +3)"
        for kind in ("chosen", "written"):
            assert (
                f"| {kind} | 34 of 50<br>54% to 79% | 31 with {layers}<br>{change} | "
                f"31 with {suffice}<br>{change} | –<br>50 questions are too few to say"
            ) in text

    def test_n_answers_has_its_margin(self) -> None:
        (at_most,) = {run.model.n_layers - 4 for run in answered_runs(1, 0, 0, 0)}
        summary = of_results(answered_runs(120, 40, 0, 40, at=5))
        text = markdown_bytes(sweep_document(summary, [])).decode()
        assert f"| {at_most} of 30<br>within 5 points |" in text

    def test_a_terminal_has_what_fits(self, questioned: SweepSummary) -> None:
        layers, suffice = counts_of(questioned.cells[0])
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(rich_lines(sweep_document(questioned, [])))
        text = console.export_text()
        assert re.search(
            rf"Instruct on +chosen +34 of 50 +31 with {layers} +31 with {suffice} +– *\n", text
        )
        assert "lost 4" not in text

    def test_json_has_them(self, questioned: SweepSummary) -> None:
        (found,) = json.loads(sweep_json(questioned, []))["cells"]
        layers, suffice = counts_of(questioned.cells[0])
        assert found["right_answers"].keys() == {"chosen", "written"}
        chosen = found["right_answers"]["chosen"]
        assert (chosen["right"], chosen["questions"], chosen["n"]) == (34, 50, None)
        assert chosen["interval"] == pytest.approx(wilson(34, 50))
        others = chosen["with_layers_of"]
        assert {name: others[name]["layers"] for name in others} == {
            "kept": layers,
            "kl": suffice,
        }
        assert (others["kept"]["lost"], others["kept"]["gained"]) == (4, 1)
        assert others["kl"]["right"] == 31

    def test_they_are_the_right_answers_of_the_cell(self, questioned: SweepSummary) -> None:
        assert str(questioned.cells[0].accuracy) == "34/50"
        right = questioned.cells[0].of_right_answers
        assert right is not None
        assert len(right.records) == 34

    def test_of_another_order_they_are_of_the_whole_model_alone(self) -> None:
        results = answered_runs(6, 0, 0, 0)
        for result in results:
            accuracy = result.measured["accuracy"]
            result.put("accuracy", replace(accuracy, order=accuracy.order[::-1]))
        text = markdown_bytes(sweep_document(of_results(results), [])).decode()
        assert "| chosen | 6 of 6<br>61% to 100% | –<br>6 questions are too few to say" in text

    def test_those_of_a_log_follow_the_cells_of_its_model(self) -> None:
        models = [ModelSpec("nobody/alpha"), ModelSpec("nobody/alpha", dtype="float16")]
        models.append(ModelSpec("nobody/beta"))
        (run,) = answered_runs(1, 0, 0, 0)
        records = {}
        for cell in (Cell(spec, TaskChoice("addition", "2")) for spec in models):
            result = replace(run, model=model_info(cell.model, run.model.n_layers))
            records[cell] = [record_of(result, "key", cell, 0)]
        plan = SweepPlan(tuple(models), (TaskChoice("addition", "2"),), run.settings)
        summary = summarise_sweep(Outcome(plan, records, []))
        sums = read_answers(path_of("without"))[0]
        logs = [
            [replace(sums, model_args={**sums.model_args, "pretrained": name})]
            for name in ("gamma", "nobody/alpha")
        ]
        text = markdown_bytes(sweep_document(replace(summary, logged=logs), [])).decode()
        chapter = text.split("## Right answers")[1].split("\n## ")[0]
        rows = [line for line in chapter.splitlines() if line.startswith("| ")][2:]
        alpha = "| alpha, dtype=float32, without=17+25 on sums |"
        gamma = "| depthtui, pretrained=gamma, dtype=float32, without=17+25 on sums |"
        heads = [re.match(r"\|[^|]*\|", row)[0] for row in rows]
        assert list(dict.fromkeys(heads)) == [
            "| alpha on addition, 2 digits |",
            "| alpha, float16 on addition, 2 digits |",
            alpha,
            "| beta on addition, 2 digits |",
            gamma,
        ]
        assert rows[heads.index(alpha)].startswith(
            f"{alpha} acc, lm-eval | 2 of 4<br>15% to 85% | – | – | – |"
        )

    def test_those_of_a_log_need_none_of_ours(self) -> None:
        summary = of_results([lacking(full_run(), "accuracy")])
        summary = replace(summary, logged=[read_answers(path_of("whole"))])
        text = markdown_bytes(sweep_document(summary, [])).decode()
        assert r"strict-match | exact\_match, lm-eval | 2 of 4<br>15% to 85% | – |" in text
        (found,) = json.loads(sweep_json(summary, []))["lm_eval"]
        assert found["answers"][0]["right"] == 3

    def test_without_them_there_is_no_table(self) -> None:
        summary = of_results([lacking(full_run(), "accuracy")])
        assert "Right answers" not in markdown_bytes(sweep_document(summary, [])).decode()
        assert json.loads(sweep_json(summary, []))["cells"][0]["right_answers"] is None


class TestQuestions:
    def test_sizes_are_compared_by_the_ratio(self, summary, all_questions) -> None:
        sizes, _, _ = all_questions
        answer = by_kl(sizes.answers)[0]
        counts = [
            cell_of(summary, name, "gsm8k").depth("kl").prompt_weighted.crossing + 1
            for name in ("1.5B-Instruct", "Math-1.5B", "14B")
        ]
        each = [f"{n:.1f} of {of_all}" for n, of_all in zip(counts, (28, 28, 48), strict=True)]
        assert f" take {each[0].split()[0]} (" in str(answer)
        assert len(of_paper(sizes)) == len(TASKS) * len(RULES)
        # It is of the largest less the smallest.
        assert answer.comparison.change == pytest.approx(counts[2] / 48 - counts[0] / 28)
        tested = [size for size in sizes.others if size.is_known]
        assert {size.comparison.level for size in tested} == {1 - 0.05 / len(tested)}

    def test_size_is_asked_within_a_family(self) -> None:
        def of(*models: tuple[str, int, str, int], **plan) -> Question:
            records, task = {}, TaskChoice("commonsense")
            for name, layers, architecture, tokens in models:
                spec = ModelSpec(name)
                result = full_result(full_run("text", tokens=tokens).prompt, model_info(spec))
                result.model = replace(
                    model_info(spec, layers=layers), architecture=architecture, parameters=layers
                )
                record = record_of(result, "key", Cell(spec, task), 0)
                records[Cell(spec, task)] = [replace(record, n_tokens=tokens)]
            specs = tuple(cell.model for cell in records)
            outcome = Outcome(SweepPlan(specs, (task,), **plan), records, [])
            by_name = {question.name: question for question in questions(summarise_sweep(outcome))}
            return by_name["size"]

        small, large = ("small", 4, "A", 9), ("large", 8, "A", 9)
        for other in (("other", 6, "B", 9), ("other", 6, "A", 11)):
            apart = of(small, other)
            assert not apart.answers
            assert apart.reason.startswith(
                "small, other on all tasks: these models are of different families"
            )
            answers = of(small, other, large).answers
            assert {answer.subject.compared for answer in answers} == {"small to large"}
        given = of(small, ("other", 6, "B", 11), families=(("small", "x"), ("other", "x"))).answers
        assert {answer.subject.compared for answer in given} == {"small to other"}
        parted = of(small, large, families=(("large", "x"),))
        assert "different families" in parted.reason

    def test_revisions_are_in_the_order_of_their_steps(self) -> None:
        steps = ("step64", "step1000", "step9")
        outcome = planted([ModelSpec("a/m", revision=step) for step in steps], [4, 6, 3])
        by_name = {question.name: question for question in questions(summarise_sweep(outcome))}
        assert set(by_name) == {"training"}
        (answer,) = by_kl(by_name["training"].answers)
        assert answer.subject.compared == "m from step9 to step1000"
        assert answer.subject.paired
        assert str(answer).startswith(
            f"Yes: on commonsense (n 6), {answer.subject.models} take 3.7 (3.2 to 4.2), 4.7 ("
        )
        assert layers(answer) == pytest.approx(3)
        assert step_of("stage2-step50") > step_of("stage1-step90-tokens3B")
        assert step_of("main") is None

    def test_fewer_bits_are_compared_with_the_most(self) -> None:
        specs = [
            ModelSpec("m", quantize="4bit"),
            ModelSpec("m", dtype="bfloat16"),
            ModelSpec("m", dtype="float32"),
            ModelSpec("n", dtype="float32"),
        ]
        outcome = planted(specs, [7, 5, 5, 5])
        by_name = {question.name: question for question in questions(summarise_sweep(outcome))}
        kl = by_kl(by_name["precision"].answers)
        assert [(answer.subject.compared, layers(answer)) for answer in kl] == [
            ("m, bfloat16 minus m, float32", 0),
            ("m, 4bit minus m, float32", pytest.approx(2)),
        ]
        pairs = {answer.subject.compared for answer in by_name["models"].answers}
        others = ("m, 4bit", "m, bfloat16", "m, float32")
        assert pairs == {f"n, float32 minus {other}" for other in others}

    def test_pairs_are_on_the_same_prompts(self, all_questions) -> None:
        _, pairs, _ = all_questions
        on = list(dict.fromkeys(answer.subject.on for answer in pairs.answers))
        assert len(of_paper(pairs)) == len(PAIRS) * len(on) * len(RULES)
        answer = of_paper(pairs)[0]
        assert answer.subject.compared == "Qwen2.5-14B minus Qwen2.5-1.5B-Instruct"
        assert str(answer.subject) == "on gsm8k, for Qwen2.5-1.5B-Instruct and Qwen2.5-14B"
        assert answer.subject.paired
        assert [group.prompts for group in answer.groups] == [6, 6]
        # All levels of a task count as one, and in the end all tasks.
        assert on[-1] == "all tasks"
        levels = next(
            answer for answer in pairs.answers if answer.subject.on.startswith("addition, ")
        )
        assert levels.groups[0].prompts > 6
        # One family for the question.
        tested = [answer.comparison for answer in pairs.others if answer.is_known]
        assert {comparison.level for comparison in tested} == {1 - 0.05 / len(tested)}
        assert {answer.reason for answer in pairs.answers if not answer.is_known} == {
            "there is no layer by this rule"
        }

    def test_only_models_of_one_shape_are_paired_where_there_are_many(self, tmp_path) -> None:
        engine = ScriptedEngine({"a": 4, "b": 6, "c": 6, "d": 9})
        plan = make_plan(("a", "b", "c", "d"), ("commonsense",), Drawing(2))
        all_questions = questions(summarise_sweep(sweep(plan, tmp_path, engine)))
        (pairs,) = (question for question in all_questions if question.name == "models")
        assert {str(answer.subject) for answer in pairs.answers} == {"on commonsense, for b and c"}
        assert pairs.answers[0].reason == "too few prompts (2; 5 are needed)"

    def test_trends_go_over_levels_from_the_easiest(self, tmp_path) -> None:
        engine = ScriptedEngine()
        plan = make_plan(("a",), ("facts:3,1,2", "grade_school", "commonsense"), Drawing(5))
        all_questions = questions(summarise_sweep(sweep(plan, tmp_path, engine)))
        (trends,) = all_questions
        assert list(dict.fromkeys(str(answer.subject) for answer in trends.answers)) == [
            "on facts, 1 to 3 hops, for a",
            "on commonsense to grade_school, for a",
        ]

    def test_a_planted_trend_is_found(self) -> None:
        _, answer = by_levels([steep(3), steep(5), steep(7)])
        assert layers(answer) == pytest.approx(4)
        assert answer.comparison.direction == "more"

    @pytest.mark.parametrize("layers", [12, 24])
    def test_a_pair_rests_on_no_fragile_count(self, layers: int) -> None:
        flat = np.array([4.0] * 2 + [1.9] * 7 + [1.0] * 4)
        cells = [Cell(ModelSpec(name), TaskChoice("commonsense")) for name in "ab"]
        late = np.where(np.arange(layers + 1) < layers / 3, 4.0, 1.0)
        records = {}
        for cell, kl in zip(cells, (flat, late), strict=True):
            results = [full_run(f"text {number}") for number in range(6)]
            model = model_info(cell.model, layers=len(kl) - 1)
            results = [full_result(result.prompt, model) for result in results]
            for result in results:
                result.get(LogitLens).kl[:] = kl[:, None]
            records[cell] = [
                record_of(candidate, f"{n}", cell, n) for n, candidate in enumerate(results)
            ]
        plan = SweepPlan(tuple(cell.model for cell in cells), (cells[0].task,))
        summary = summarise_sweep(Outcome(plan, records, []))
        by_name = {question.name: question for question in questions(summary)}
        (answer,) = by_kl(by_name["models"].answers)
        count = f"the count of {summary.cells[0].title} on commonsense is fragile"
        assert answer.reason == f"no direction holds: {count} (3 to 10 of 12 layers)"
        assert f" The count of {summary.cells[0].title} on commonsense is fragile" in str(answer)
        assert answer.population == "prompts of this data set"
        low, high = answer.comparison.interval
        assert low > 0 or high < 0

    def test_levels_that_go_up_and_down_tell_no_direction(self) -> None:
        all_questions, answer = by_levels([steep(5), steep(8), steep(1)])
        assert answer.reason == "up and down"
        assert str(answer).startswith("Up and down: on addition, 1 to 3 digits (n 8), ")
        assert "takes 5.7 (5.2 to 6.2), 8.7 (8.2 to 9.2) and 1.7 (" in str(answer)
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(rich_lines(sweep_document(*all_questions)))
        brief = console.export_text()
        assert "up and down" in " ".join(brief.split())

    def test_a_cell_that_is_fragile_by_more_than_the_change_tells_no_direction(self) -> None:
        flat = np.array([4.0] * 2 + [1.9] * 7 + [1.0] * 4)
        (summary, _), answer = by_levels([flat, steep(5), steep(7)])
        cell = summary.cells[0]
        assert answer.reason == (
            f"no direction holds: the count of {cell.title} on addition, 1 digit is fragile "
            "(3 to 10 of 12 layers)"
        )
        assert layers(answer) == pytest.approx(4.7, abs=0.05)
        _, further = by_levels([flat, steep(7), steep(10)])
        assert layers(further) == pytest.approx(7.7, abs=0.05)
        assert further.comparison.direction == "more"


class TestFiles:
    def test_every_file_has_the_published_value(self, summary, all_questions) -> None:
        cell, *_ = json.loads(sweep_json(summary, all_questions))["cells"]
        kl = next(estimate for estimate in cell["effective_depth"] if estimate["rule"] == "kl")
        assert (kl["published"]["count"], kl["published"]["layer"]) == (23, 22)
        assert kl["published"]["difference"] == kl["layer"] - 22
        rows = csv.DictReader(io.StringIO(sweep_csv(summary).decode()))
        row = next(row for row in rows if row["rule"] == "kl")
        assert (row["published_count"], row["difference"]) == ("23", str(kl["layer"] - 22))
        text = markdown_bytes(sweep_document(summary, all_questions)).decode()
        assert len(re.findall(r"(?m)^\| Qwen2.5-14B on [^|]* \| 48 \|.*paper \d\d", text)) == 2
        assert re.search(r"paper 41, [+-]\d+", text)

    def test_the_table_has_every_cell_and_prompt(
        self, summary, all_questions, tmp_path: Path
    ) -> None:
        (path,) = sweep_report(summary, all_questions).write(tmp_path, ["parquet"])
        table = read_table(path).to_pandas()
        about = json.loads(read_schema(path).metadata[ABOUT])
        assert about["settings"]["seed"] == summary.plan.run.seed
        assert len(about["plan"]["tasks"]) == len(TASKS)
        for cell in summary.cells:
            task = cell.cell.task
            rows = table[(table.model == cell.title) & (table.task == task.source)]
            rows = rows[rows.level == task.level].set_index(["metric", "measure"]).sort_index()
            kl = cell.depth("kl")
            assert kl is not None
            assert rows.value["effective_depth", "kl"] == kl.count
            curve = rows.loc[("curves", "kl")].sort_values("depth").value
            np.testing.assert_array_equal(curve, cell.curves["kl"])
            losses = rows.loc[("prompts", "loss")].sort_values("prompt").value
            assert list(losses) == [record.loss for record in cell.records]
            assert rows.value["means", "loss"] == cell.means["loss"]

    def test_a_reason_is_stated_once_for_all_that_it_is_about(self) -> None:
        summary, all_questions = answered([steep(3), steep(6)], [9, 0])
        text = markdown_bytes(sweep_document(summary, all_questions)).decode()
        assert text.count("too few prompts (") == 1
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(rich_lines(sweep_document(summary, all_questions)))
        assert console.export_text().count("too few prompts (") == 1
        caveats = text.split("## Caveats")[1]
        (words,) = re.findall(r"(?m)^- (Every cell, by decided: .*)$", caveats)
        assert words.endswith(".")

    def test_relative_depth_puts_layer_l_at_its_ratio(self) -> None:
        values = relative(np.arange(1.0, 5.0))
        assert np.isnan(values[:25]).all()
        np.testing.assert_allclose(values[[25, 50, 75, 100]], [1, 2, 3, 4])

    def test_what_was_chosen_is_said_once_in_every_report(self, tmp_path: Path) -> None:
        result = full_run()

        def pages(**settings: Any) -> list[str]:
            result.settings = replace(RunSettings(), **settings)
            summary = of_results([result])
            report = sweep_report(summary, questions(summary))
            paths = report.write(tmp_path, ["md", "html"])
            console = Console(file=io.StringIO(), width=200)
            console.print(rich_lines(report.document()))
            texts = [*(path.read_text() for path in paths), console.file.getvalue()]
            return [" ".join(text.split()) for text in texts]

        chosen = {"layers": "/2", "skip_positions": (8, 9), "erase_tokens": 4}
        words = "The slower metrics go through a part: layers /2, skipped before tokens 8-9."
        pages_with_choice = pages(metrics=("logit_lens", "skip_effects"), **chosen)
        assert [page.count(words) for page in pages_with_choice] == [1, 1, 1]
        pages_with_choice = pages(metrics=("ablation",), ablate="mean", keep_first_token=True)
        words = "A layer left out writes its mean update, token 0 keeps every layer."
        assert all(words in page for page in pages_with_choice)
        assert not any("go through a part" in page for page in pages_with_choice)
        for everything in (pages(metrics=("skip_effects",)), pages(**chosen)):
            assert not any("go through a part" in page for page in everything)

    def test_what_failed_is_about_its_task_or_about_all_of_its_model(self) -> None:
        tasks = (TaskChoice("facts", "1"), TaskChoice("facts", "2"))
        plan = SweepPlan((ModelSpec("a"), ModelSpec("b")), tasks)
        failed = [Failure.of(plan.cells[1], 0, "No memory."), Failure("b", "", None, "No model.")]
        of_task, of_model = failures(summarise_sweep(Outcome(plan, {}, failed)))
        assert of_task.cells == (plan.cells[1],)
        assert of_model.cells == tuple(cell for cell in plan.cells if cell.model.name == "b")

    def test_hostile_names_and_prompts_stay_text(self, tmp_path: Path) -> None:
        result, text = hostile_run(), " ".join(HOSTILE.values())
        result.model = replace(result.model, name=text)
        summary = of_results([result], ModelSpec(text))
        report = sweep_report(summary, questions(summary))
        report.write(tmp_path)
        page = (tmp_path / "report.html").read_text()
        assert "<script" not in page
        assert "\x1b" not in page + (tmp_path / "report.md").read_text()
        console = Console(width=80, file=io.StringIO())
        console.print(rich_lines(report.document()))
        assert not set(console.file.getvalue()) & set("\x1b\x07\x9b")


def test_a_comma_in_a_models_name_is_no_option() -> None:
    spec = ModelSpec("/models/a, b", dtype="bfloat16")
    assert titles_of(spec, model_info(spec)) == "a, b, bfloat16"
