"""The paper's three questions, asked of a sweep: size, training, difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from depthtui.data.depth import PromptCurves
from depthtui.depth.rules import RULE_CURVES
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS
from depthtui.report.phrases import rule_title
from depthtui.sweep.comparisons import (
    Claim,
    Comparison,
    Difference,
    Trend,
    corrected,
    difference,
    disagree,
    trend,
)
from depthtui.sweep.plan import TaskChoice
from depthtui.sweep.summary import CellSummary, SweepSummary

MOST_PAIRS = 3
"""With more pairs of models than that, only models of one shape are compared."""

_DIFFICULTY_ORDERS = (
    tuple(name for name, task in TASKS.items() if task.kind == "written"),
    ("hellaswag", "gsm8k", "aime24"),
)
"""Tasks that are ordered by difficulty, easiest first: ours, and the paper's."""


@dataclass(frozen=True)
class Answer:
    """What a sweep says to a question, by one rule.

    Attributes:
        compared: the model or models, such as `Qwen2.5-7B`, or `b less a`.
        on: the tasks, such as `addition, 1 to 5 digits`.
        rule: `cosine`, `kl` or `overlap`.
        sentence: what the data support.
        found: the numbers, corrected over all comparisons of the question; None where the answer
            only describes.
    """

    compared: str
    on: str
    rule: str
    sentence: str
    found: Difference | Trend | None = None

    @property
    def claim(self) -> Claim | None:
        """By how many layers the depth differs or grows, where that can be said."""
        return None if self.found is None else self.found.claim

    @property
    def change(self) -> float | None:
        """The change that is claimed."""
        return None if self.claim is None else self.claim.layers

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of `change`."""
        return None if self.claim is None else self.claim.interval

    @property
    def unclear(self) -> bool:
        """Whether there is an interval, and it holds zero."""
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]

    @property
    def doubtful(self) -> bool:
        """Whether the mean curve and single prompts disagree on there being a change."""
        return self.found is not None and disagree(self.found)

    @property
    def subject(self) -> str:
        """What was compared, such as `Qwen2.5-7B on addition, 1 to 5 digits`."""
        return f"{self.compared} on {self.on}"

    def __str__(self) -> str:
        return f"{self.subject}, {rule_title(self.rule)}: {self.sentence}."


@dataclass(frozen=True)
class Question:
    """A question, and what the sweep says to it; no answers where it was not asked."""

    name: str
    title: str
    answers: list[Answer]


def questions(summary: SweepSummary) -> list[Question]:
    """The questions that the sweep's models and tasks allow to ask."""
    asked = (
        ("size", "Does effective depth grow with size?", _sizes),
        ("models", "Do the models differ on the same prompts?", _pairs),
        ("difficulty", "Do harder tasks use more depth?", _trends),
    )
    found = [Question(name, title, list(answer(summary))) for name, title, answer in asked]
    return [question for question in found if question.answers]


def _rules(cells: Iterable[CellSummary]) -> list[str]:
    found = {estimate.rule for cell in cells for estimate in cell.depths}
    return [rule for rule in RULE_CURVES if rule in found]


def _sizes(summary: SweepSummary) -> Iterable[Answer]:
    """Counts and ratios from the smallest model to the largest, task by task."""
    for task in summary.plan.tasks:
        cells = [cell for cell in summary.cells if cell.cell.task == task]
        cells.sort(key=lambda cell: cell.model.parameters)
        if len({cell.model.parameters for cell in cells}) < 2:
            continue
        compared = f"{cells[0].title} to {cells[-1].title}"
        for rule in _rules(cells):
            yield Answer(compared, task.title, rule, _size_sentence(cells, rule))


def _size_sentence(cells: Sequence[CellSummary], rule: str) -> str:
    known = [
        (cell, estimate.layer + 1, estimate.ratio)
        for cell in cells
        if (estimate := cell.depth(rule)) is not None
        and estimate.layer is not None
        and estimate.ratio is not None
    ]
    if len(known) < 2:
        return "fewer than two models have a layer by this rule"
    listed = ", ".join(f"{count} of {cell.model.n_layers}" for cell, count, _ in known)
    how = _course([count for _, count, _ in known])
    ratios = [ratio for _, _, ratio in known]
    return f"{listed} layers: the count {how}, the ratio is {min(ratios):.2f} to {max(ratios):.2f}"


def _course(values: Sequence[float]) -> str:
    steps = [b - a for a, b in pairwise(values)]
    if not any(steps):
        return "stays the same"
    if min(steps) >= 0:
        return "grows"
    return "falls" if max(steps) <= 0 else "goes up and down"


def _pairs(summary: SweepSummary) -> Iterable[Answer]:
    models = summary.models
    pairs = list(combinations(models, 2))
    if len(pairs) > MOST_PAIRS:
        shapes = {model: _shape(summary.of_model(model)[0]) for model in models}
        pairs = [(a, b) for a, b in pairs if shapes[a] == shapes[b]]
    compared_all: list[tuple[str, str, Difference]] = []
    for a, b in pairs:
        found: list[tuple[str, str, Difference]] = []
        for words, tasks in _subjects(summary.plan.tasks):
            first, second = (
                [cell for cell in summary.of_model(model) if cell.cell.task in tasks]
                for model in (a, b)
            )
            if first and second:
                compared = f"{second[0].title} less {first[0].title}"
                found += [
                    (compared, words, difference) for difference in _differences(first, second)
                ]
        compared_all += found
    yield from _answers(compared_all)


def _subjects(tasks: Sequence[TaskChoice]) -> Iterable[tuple[str, list[TaskChoice]]]:
    """What models are compared on: every task with all its levels, then all tasks."""
    names = list(dict.fromkeys(choice.name for choice in tasks))
    for name in names:
        levels = [choice for choice in tasks if choice.name == name]
        numbered = all(text.level.isdecimal() for text in levels)
        if len(levels) == 1:
            yield levels[0].title, levels
        elif numbered:
            levels.sort(key=lambda cell: int(cell.level))
            yield f"{name}, {_span(name, levels)}", levels
        else:
            yield name, levels
    if len(names) > 1:
        yield "all tasks", list(tasks)


def _shape(cell: CellSummary) -> tuple[int, int]:
    return cell.model.n_layers, cell.model.d_model


def _differences(
    first: Sequence[CellSummary], second: Sequence[CellSummary]
) -> Iterable[Difference]:
    """By every rule, on the prompts that both models have run."""
    ours, theirs = _parts_by_text(first), _parts_by_text(second)
    both = [text for text in ours if text in theirs]
    parts = [ours[text] for text in both], [theirs[text] for text in both]
    for rule in _rules([*first, *second]):
        yield difference(*parts, first[0].settings, paired=True, rule=rule)


def _parts_by_text(cells: Iterable[CellSummary]) -> dict[str, PromptCurves]:
    found = {
        record.prompt.text: record.prompt_curves(cell.settings)
        for cell in cells
        for record in cell.records
    }
    return {text: part for text, part in found.items() if part is not None}


def _trends(summary: SweepSummary) -> Iterable[Answer]:
    found: list[tuple[str, str, Trend]] = []
    for model in summary.models:
        by_task = {cell.cell.task: cell for cell in summary.of_model(model) if cell.parts}
        for words, tasks in _ordered(by_task):
            cells = [by_task[choice] for choice in tasks]
            for rule in _rules(cells):
                each = trend([cell.parts for cell in cells], cells[0].settings, rule)
                found.append((cells[0].title, words, each))
    subjects = list(dict.fromkeys(on for _, on, _ in found))
    yield from _answers(sorted(found, key=lambda comparison: subjects.index(comparison[1])))


def _answers(found: Sequence[tuple[str, str, Comparison]]) -> Iterable[Answer]:
    """What was compared, on what, and how; all of a question are one family."""
    results = corrected([comparison for _, _, comparison in found])
    for (compared, on, _), result in zip(found, results, strict=True):
        yield Answer(compared, on, result.rule, result.sentence, result)


def _ordered(tasks: Iterable[TaskChoice]) -> Iterable[tuple[str, list[TaskChoice]]]:
    """Tasks of two or more levels, then ladders of tasks, easiest first, and their names."""
    tasks = list(tasks)
    for name in dict.fromkeys(choice.name for choice in tasks):
        levels = [choice for choice in tasks if choice.name == name and choice.level.isdecimal()]
        if len(levels) > 1:
            levels.sort(key=lambda cell: int(cell.level))
            yield f"{name}, {_span(name, levels)}", levels
    for order in _DIFFICULTY_ORDERS:
        steps = [choice for name in order for choice in tasks if choice.name == name]
        if len(steps) > 1:
            yield " → ".join(step.title for step in steps), steps


def _span(name: str, levels: Sequence[TaskChoice]) -> str:
    first, last = levels[0].level, levels[-1].level
    dial = TASKS[name].dial if name in TASKS else ""
    if name in DATASETS:
        return f"levels {first} to {last}"
    return f"{first} to {last} {dial}".rstrip()
