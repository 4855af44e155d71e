"""Questions about a sweep: the paper's on size, training and difficulty, and others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Generic

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import ModelSpec
from depthtui.depth.reading import Reading
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS
from depthtui.report.phrases import rule_title
from depthtui.sweep.comparisons import (
    TRAINED,
    Claim,
    Comparison,
    Difference,
    FragileCount,
    Trend,
    as_one_family,
    difference,
    disagree,
    trend,
)
from depthtui.sweep.plan import Cell, TaskChoice, population
from depthtui.sweep.summary import CellSummary, SweepSummary, rules_of

MOST_PAIRS = 3
"""Most pairs of models; with more, only models of one shape are compared."""

_DIFFICULTY_ORDERS = (
    tuple(name for name, task in TASKS.items() if task.kind == "written"),
    ("hellaswag", "gsm8k", "aime24"),
)
"""Tasks that are ordered by difficulty, easiest first: ours, and the paper's."""


_STEP = re.compile(r"(?:step|checkpoint|iter(?:ation)?)[-_]?(\d+)", re.IGNORECASE)
_STAGE = re.compile(r"stage[-_]?(\d+)", re.IGNORECASE)

_UNLIKE = (
    "these models are of different families, so that size is not all that differs between them; "
    "a `family` in the plan's file says which belong together"
)


@dataclass(frozen=True)
class Answer:
    """The answer of a sweep to a question, by one rule.

    Attributes:
        compared: the model or models, such as `Qwen2.5-7B`, or `b less a`.
        on: the tasks, such as `addition, 1 to 5 digits`.
        rule: name of the rule; empty where the answer depends on no rule.
        sentence: the conclusion that the data support.
        comparison: the numbers, corrected over all comparisons of the question; None where the
            answer only describes.
        cells: the cells that the answer is about.
    """

    compared: str
    on: str
    rule: str
    sentence: str
    comparison: Difference | Trend | None = None
    cells: tuple[Cell, ...] = ()

    @property
    def claim(self) -> Claim | None:
        """The claim on how much the depth differs or grows; None where there is none."""
        return None if self.comparison is None else self.comparison.claim

    @property
    def unclear(self) -> bool:
        """Whether there is an interval, and no direction is claimed."""
        if self.comparison is None or self.claim is None:
            return False
        return not self.claim.changes or bool(self.comparison.doubt)

    @property
    def doubtful(self) -> bool:
        """Whether the mean curve and single prompts disagree on there being a change."""
        return self.comparison is not None and disagree(self.comparison)

    @property
    def subject(self) -> str:
        """The models and the tasks, such as `Qwen2.5-7B on addition, 1 to 5 digits`."""
        return f"{self.compared} on {self.on}"

    def __str__(self) -> str:
        by = f", {rule_title(self.rule)}" if self.rule else ""
        return f"{self.subject}{by}: {self.sentence}."


@dataclass(frozen=True)
class _Comparison(Generic[Comparison]):
    """A comparison before its correction: models, tasks, result, cells, their depths in words."""

    compared: str
    on: str
    result: Comparison
    cells: Sequence[CellSummary]
    depths: str = ""


@dataclass(frozen=True)
class Question:
    """A question and the sweep's answers; none where the question was not asked."""

    name: str
    title: str
    answers: list[Answer]


def questions(summary: SweepSummary) -> list[Question]:
    """The questions that can be asked of the sweep's models and tasks."""
    kinds = (
        ("size", "Does effective depth grow with size?", _sizes),
        ("training", "Does effective depth grow with training?", _trainings),
        ("models", "Do the models differ on the same prompts?", _pairs),
        ("precision", "Do fewer bits change effective depth?", _precisions),
        ("difficulty", "Do harder tasks use more depth?", _trends),
        ("written", "Do the models use more depth on their own text than on the given?", _origins),
    )
    all_questions = [Question(name, title, list(answer(summary))) for name, title, answer in kinds]
    return [question for question in all_questions if question.answers]


def _sizes(summary: SweepSummary) -> Iterable[Answer]:
    """Per task, the largest model of a family minus the smallest, and the models in between."""
    comparisons = [
        _Comparison(
            f"{cells[0].title} to {cells[-1].title}",
            task.title,
            _difference_of(cells[:1], cells[-1:], rule),
            cells,
            _depths_in_words(cells, rule),
        )
        for task in summary.plan.tasks
        for members in families(summary)
        if (cells := _by_size(summary, members, task))
        for rule in rules_of(cells)
    ]
    everyone = summary.models
    if not comparisons and any(_by_size(summary, everyone, task) for task in summary.plan.tasks):
        titles = [summary.of_model(model)[0].title for model in everyone]
        yield Answer(", ".join(titles), "all tasks", "", _UNLIKE, cells=_cells(summary.cells))
    yield from _answers(comparisons)


def _by_size(
    summary: SweepSummary, models: Sequence[ModelSpec], task: TaskChoice
) -> list[CellSummary]:
    """The models' cells on a task, the smallest model first; none where all have the same size."""
    cells = [cell for cell in summary.cells if cell.cell.task == task and cell.cell.model in models]
    if len({cell.model.parameters for cell in cells}) < 2:
        return []
    return sorted(cells, key=lambda cell: cell.model.parameters)


def families(summary: SweepSummary) -> list[list[ModelSpec]]:
    """The models in families, within which models differ in little but size.

    The plan's families count. Models that it gives no family are of one family where their
    architecture is the same and their tokenizers cut the same prompts into as many tokens.
    """
    groups: list[list[ModelSpec]] = []
    for model in summary.models:
        for members in groups:
            if _are_related(summary, members[0], model):
                members.append(model)
                break
        else:
            groups.append([model])
    return groups


def _are_related(summary: SweepSummary, a: ModelSpec, b: ModelSpec) -> bool:
    given_families = dict(summary.plan.families)
    if a.name in given_families or b.name in given_families:
        return given_families.get(a.name) == given_families.get(b.name)
    ours, theirs = summary.of_model(a), summary.of_model(b)
    own, others = _lengths(ours), _lengths(theirs)
    both = own.keys() & others.keys()
    return (
        ours[0].model.architecture == theirs[0].model.architecture
        and bool(both)
        and all(own[text] == others[text] for text in both)
    )


def _lengths(cells: Iterable[CellSummary]) -> dict[str, int]:
    return {
        record.prompt.text: record.n_tokens
        for cell in cells
        for record in cell.records
        # Other tokens may have the same text as those that a model wrote.
        if record.prompt.written is None
    }


def _depths_in_words(cells: Sequence[CellSummary], rule: str) -> str:
    """Ratio and count of each model that has a layer, such as `0.69 (11 of 16)`; may be empty."""
    return ", ".join(
        f"{estimate.ratio:.2f} ({estimate.count} of {cell.n_layers})"
        for cell in cells
        if (estimate := cell.depth(rule)) and estimate.ratio is not None
    )


def _difference_of(
    first: Sequence[CellSummary], second: Sequence[CellSummary], rule: str
) -> Difference:
    """The second model minus the first on the prompts that both have run."""
    ours, theirs = _common_prompts([first, second])
    change = difference(ours, theirs, first[0].settings, True, rule)
    return change.with_doubt_from(_fragile([*first, *second], rule))


def _trainings(summary: SweepSummary) -> Iterable[Answer]:
    """Revisions of one model, in the order of their steps, on the prompts that all have run."""
    comparisons: list[_Comparison[Trend]] = []
    for models in _revisions_by_step(summary.models):
        first, last = models[0], models[-1]
        name = summary.of_model(first)[0].model.name.rsplit("/", 1)[-1]
        compared = f"{name} from {first.revision} to {last.revision}"
        for words, tasks in _subjects(summary.plan.tasks):
            steps = [_cells_on(summary, model, tasks) for model in models]
            parts = _common_prompts(steps)
            every = [cell for cells in steps for cell in cells]
            for rule in rules_of(every):
                settings = summary.plan.summary
                grown = trend(parts, settings, rule, paired=True, wording=TRAINED).with_doubt_from(
                    _fragile(every, rule)
                )
                comparisons.append(_Comparison(compared, words, grown, every))
    yield from _answers(comparisons)


def _revisions_by_step(models: Sequence[ModelSpec]) -> list[list[ModelSpec]]:
    """Revisions whose names contain a step of training, of each model that has several."""
    by_model: dict[ModelSpec, list[ModelSpec]] = {}
    for model in models:
        if step_of(model.revision) is not None:
            by_model.setdefault(replace(model, revision=""), []).append(model)
    return [
        sorted(revisions, key=lambda model: step_of(model.revision) or (0, 0))
        for revisions in by_model.values()
        if len(revisions) > 1
    ]


def step_of(revision: str) -> tuple[int, int] | None:
    """Stage and step of training in a revision's name, such as `stage1-step5000`, or None."""
    step, stage = _STEP.search(revision), _STAGE.search(revision)
    return None if step is None else (int(stage[1]) if stage else 0, int(step[1]))


def _precisions(summary: SweepSummary) -> Iterable[Answer]:
    """A model at fewer bits minus the same model at the most bits."""
    comparisons: list[_Comparison[Difference]] = []
    for model, *others in _by_precision(summary):
        for other in others:
            comparisons += _differences(summary, model, other)
    yield from _answers(comparisons)


def _by_precision(summary: SweepSummary) -> list[list[ModelSpec]]:
    """Each model that was run at several dtypes or bit widths, the most bits first."""
    by_model: dict[ModelSpec, dict[tuple[str, str], ModelSpec]] = {}
    for spec in summary.models:
        model = summary.of_model(spec)[0].model
        same = ModelSpec(spec.name, spec.revision, adapter=spec.adapter)
        kinds = by_model.setdefault(same, {})
        kinds.setdefault((model.dtype, model.quantize), spec)
    return [
        [kinds[kind] for kind in sorted(kinds, key=_bits, reverse=True)]
        for kinds in by_model.values()
        if len(kinds) > 1
    ]


def _bits(kind: tuple[str, str]) -> int:
    """Bits of a weight with a dtype and a quantisation."""
    digits = re.search(r"\d+", kind[1] or kind[0])
    return int(digits[0]) if digits else 0


def _pairs(summary: SweepSummary) -> Iterable[Answer]:
    models = summary.models
    compared_elsewhere = {
        frozenset(pair) for group in _revisions_by_step(models) for pair in combinations(group, 2)
    }
    compared_elsewhere |= {
        frozenset(pair) for group in _by_precision(summary) for pair in combinations(group, 2)
    }
    pairs = [pair for pair in combinations(models, 2) if frozenset(pair) not in compared_elsewhere]
    if len(pairs) > MOST_PAIRS:
        shapes = {model: _shape(summary.of_model(model)[0]) for model in models}
        pairs = [(a, b) for a, b in pairs if shapes[a] == shapes[b]]
    yield from _answers([answer for a, b in pairs for answer in _differences(summary, a, b)])


def _differences(
    summary: SweepSummary, a: ModelSpec, b: ModelSpec
) -> Iterable[_Comparison[Difference]]:
    """b minus a by every rule, on every subject, over the prompts that both have run."""
    for words, tasks in _subjects(summary.plan.tasks):
        first, second = (_cells_on(summary, model, tasks) for model in (a, b))
        if first and second:
            compared = f"{second[0].title} minus {first[0].title}"
            every = [*first, *second]
            for rule in rules_of(every):
                yield _Comparison(compared, words, _difference_of(first, second, rule), every)


def _cells_on(
    summary: SweepSummary, model: ModelSpec, tasks: Sequence[TaskChoice]
) -> list[CellSummary]:
    return [cell for cell in summary.of_model(model) if cell.cell.task in tasks]


def _subjects(tasks: Sequence[TaskChoice]) -> Iterable[tuple[str, list[TaskChoice]]]:
    """The subjects of a comparison: every task with all its levels, then all tasks together.

    Those whose answers the model writes are subjects of their own.
    """
    for of_origin in _by_origin(tasks):
        names = list(dict.fromkeys(choice.name for choice in of_origin))
        for name in names:
            levels = [choice for choice in of_origin if choice.name == name]
            numbered = all(text.level.isdecimal() for text in levels)
            if len(levels) == 1:
                yield levels[0].title, levels
            elif numbered:
                levels.sort(key=lambda cell: int(cell.level))
                yield _levels_words(levels), levels
            else:
                yield levels[0].source, levels
        if len(names) > 1:
            yield of_origin[0].with_origin("all tasks"), of_origin


def _by_origin(tasks: Iterable[TaskChoice]) -> list[list[TaskChoice]]:
    """The tasks with given answers, then those whose answers the model writes."""
    tasks = list(tasks)
    origins = (
        [task for task in tasks if task.write is None],
        [task for task in tasks if task.write is not None],
    )
    return [of_origin for of_origin in origins if of_origin]


def _shape(cell: CellSummary) -> tuple[int, int]:
    return cell.model.n_layers, cell.model.d_model


def _common_prompts(sides: Sequence[Sequence[CellSummary]]) -> list[list[PromptCurves]]:
    """The prompts that all groups have run, in the same order for each.

    Where a model wrote answers, prompts are the same that ask the same question.
    """
    asked_only = any(cell.cell.task.write for cells in sides for cell in cells)
    by_text = [_parts_by_text(cells, asked_only) for cells in sides]
    texts = [text for text in by_text[0] if all(text in parts for parts in by_text)]
    return [[parts[text] for text in texts] for parts in by_text]


def _parts_by_text(cells: Iterable[CellSummary], asked_only: bool) -> dict[str, PromptCurves]:
    """Each prompt's curves by its text, or by its question alone."""
    return {
        read.prompt.question if asked_only else read.prompt.text: part
        for cell in cells
        for read, part in cell.by_prompt
    }


def _trends(summary: SweepSummary) -> Iterable[Answer]:
    comparisons: list[_Comparison[Trend]] = []
    for model in summary.models:
        by_task = {cell.cell.task: cell for cell in summary.of_model(model) if cell.parts}
        for tasks in _ladders(by_task):
            words = _levels_words(tasks)
            cells = [by_task[choice] for choice in tasks]
            comparisons += _trends_over(words, cells, cells)
            if _some_are_wrong(cells):
                comparisons += _over_right_answers(cells)
    subjects = list(dict.fromkeys(comparison.on for comparison in comparisons))
    yield from _answers(sorted(comparisons, key=lambda comparison: subjects.index(comparison.on)))


def _trends_over(
    words: str, cells: Sequence[CellSummary], levels: Sequence[CellSummary | None]
) -> Iterable[_Comparison[Trend]]:
    """The trend over some levels by every rule; a level without a prompt is None."""
    filled = [level for level in levels if level is not None]
    for rule in rules_of(cells):
        parts = [[] if level is None else level.parts for level in levels]
        grown = trend(parts, cells[0].settings, rule).with_doubt_from(_fragile(filled, rule))
        yield _Comparison(cells[0].title, words, grown, cells)


def _over_right_answers(cells: Sequence[CellSummary]) -> Iterable[_Comparison[Trend]]:
    """The trend over the levels with enough right answers; over all, if fewer than two have."""
    enough = [cell for cell in cells if cell.accuracy and cell.accuracy.right >= FEWEST_UNITS]
    levels = enough if len(enough) > 1 else cells
    words = f"{_levels_words([cell.cell.task for cell in levels])}, right answers alone"
    yield from _trends_over(words, levels, [cell.of_right_answers for cell in levels])


def _origins(summary: SweepSummary) -> Iterable[Answer]:
    """Each model on the text that it wrote minus the same model on the given text."""
    comparisons: list[_Comparison[Difference]] = []
    tasks = summary.plan.tasks
    for words, choices in _subjects([task for task in tasks if task.write is None]):
        names = {(task.name, task.level) for task in choices}
        written = [task for task in tasks if task.write and (task.name, task.level) in names]
        for model in summary.models:
            first, second = (_cells_on(summary, model, side) for side in (choices, written))
            if first and second:
                every = [*first, *second]
                for rule in rules_of(every):
                    change = _difference_of(first, second, rule)
                    depths = _depths_by_origin(first, second, rule)
                    compared = f"{first[0].title}, written minus given"
                    comparisons.append(_Comparison(compared, words, change, every, depths))
    yield from _answers(comparisons)


def _depths_by_origin(
    forced: Sequence[CellSummary], written: Sequence[CellSummary], rule: str
) -> str:
    """The layers on a model's own text and on the given; empty where a side has none."""
    own, others = (_pooled_count(cells, rule) for cells in (written, forced))
    if own is None or others is None:
        return ""
    return f"on its own text {own} of {forced[0].n_layers} layers, on the given {others}"


def _pooled_count(cells: Sequence[CellSummary], rule: str) -> int | None:
    """The layers by a rule over the prompts of several cells; None where there are none."""
    if len(cells) == 1:
        estimate = cells[0].depth(rule)
    else:
        records = [record for cell in cells for record in cell.records]
        estimate = Reading(records, cells[0].settings).depth(rule)
    return None if estimate is None else estimate.count


def _some_are_wrong(cells: Sequence[CellSummary]) -> bool:
    """Whether every level's right answers are known, and some answers but not all are right."""
    every = [cell.accuracy for cell in cells]
    accuracies = [accuracy for accuracy in every if accuracy is not None]
    right = sum(accuracy.right for accuracy in accuracies)
    return len(accuracies) == len(cells) and 0 < right < sum(
        accuracy.answers for accuracy in accuracies
    )


def _fragile(cells: Iterable[CellSummary], rule: str) -> list[FragileCount]:
    """A rule's counts that are fragile."""
    return [
        FragileCount(
            f"{cell.title} on {cell.cell.task.title}", count.low, count.high, cell.n_layers
        )
        for cell in cells
        for count in cell.evidence
        if count.measure == rule
        and count.is_fragile
        and count.low is not None
        and count.high is not None
    ]


def _answers(comparisons: Sequence[_Comparison[Comparison]]) -> Iterable[Answer]:
    """The answers of a question's comparisons, corrected as one family."""
    results = as_one_family([comparison.result for comparison in comparisons])
    for of, result in zip(comparisons, results, strict=True):
        cells = _cells(of.cells)
        with_population = replace(result, population=population(cell.task for cell in cells))
        words = f"{of.depths}: {with_population.words}" if of.depths else str(with_population.words)
        yield Answer(of.compared, of.on, with_population.rule, words, with_population, cells)


def _cells(summaries: Iterable[CellSummary]) -> tuple[Cell, ...]:
    return tuple(summary.cell for summary in summaries)


def _ladders(tasks: Iterable[TaskChoice]) -> Iterable[list[TaskChoice]]:
    """Tasks of two or more levels, then ladders of tasks, easiest first."""
    for of_origin in _by_origin(tasks):
        for name in dict.fromkeys(choice.name for choice in of_origin):
            levels = [
                choice for choice in of_origin if choice.name == name and choice.level.isdecimal()
            ]
            if len(levels) > 1:
                levels.sort(key=lambda cell: int(cell.level))
                yield levels
        for order in _DIFFICULTY_ORDERS:
            steps = [choice for name in order for choice in of_origin if choice.name == name]
            if len(steps) > 1:
                yield steps


def _levels_words(levels: Sequence[TaskChoice]) -> str:
    """Levels of a task, such as `addition, 1 to 5 digits`, or steps of a ladder of tasks."""
    names = {level.name for level in levels}
    if len(names) > 1:
        return " → ".join(level.title for level in levels)
    (name,) = names
    return levels[0].with_origin(f"{name}, {_span(name, levels)}")


def _span(name: str, levels: Sequence[TaskChoice]) -> str:
    first, last = levels[0].level, levels[-1].level
    dial = TASKS[name].dial if name in TASKS else ""
    if name in DATASETS:
        return f"levels {first} to {last}"
    return f"{first} to {last} {dial}".rstrip()
