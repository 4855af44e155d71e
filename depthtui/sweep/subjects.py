"""The models and tasks of a sweep that each question compares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from depthtui.data.run_settings import ModelSpec
from depthtui.data.sentence import listed
from depthtui.depth.reading import Reading
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import LADDER, TASKS
from depthtui.sweep.plan import TaskChoice
from depthtui.sweep.records import Record
from depthtui.sweep.summary import CellSummary, SweepSummary

MOST_PAIRS = 3
"""Most pairs of models; with more, only models of one shape are compared."""

_DIFFICULTY_ORDERS = (
    LADDER,
    ("hellaswag", "gsm8k", "aime24"),
)
"""Tasks that are ordered by difficulty, easiest first: ours, and the paper's."""

_STEP = re.compile(r"(?:step|checkpoint|iter(?:ation)?)[-_]?(\d+)", re.IGNORECASE)
_STAGE = re.compile(r"stage[-_]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Subject:
    """Groups of cells that a question compares.

    Attributes:
        compared: the model or models, such as `Qwen2.5-7B`, or `b minus a`.
        on: the tasks, such as `addition, 1 to 5 digits`.
        groups: the cells of each group, in the question's order: models, levels, easiest first, or
            origins of the text; empty for a level without a prompt.
        names: a name of each group.
        is_trend: whether all groups count, in their order; else the last is compared with the
            first.
        paired: whether the groups are compared on the prompts that all have run.
    """

    compared: str
    on: str
    groups: Sequence[Sequence[CellSummary]]
    names: Sequence[str]
    is_trend: bool = False
    paired: bool = True

    @property
    def cells(self) -> list[CellSummary]:
        """The cells of all groups."""
        return [cell for cells in self.groups for cell in cells]

    @property
    def of_one_model(self) -> bool:
        """Whether all groups are of one model."""
        return len({cell.cell.model for cell in self.cells}) == 1

    @property
    def models(self) -> str:
        """The models of all groups, in words."""
        return listed(list(dict.fromkeys(cell.title for cell in self.cells)))

    def __str__(self) -> str:
        return f"on {self.on}, for {self.models}"

    def of_known_tasks(self) -> tuple[Subject, list[str]]:
        """The groups without the tasks of which a model knows too little, and these tasks.

        The subject itself where fewer than two groups would be left.
        """
        too_little = {
            cell.cell.task: cell.cell.task.title
            for cell in self.cells
            if cell.headline is not None and cell.headline.too_little
        }
        groups, names = [], []
        for cells, name in zip(self.groups, self.names, strict=True):
            others = [cell for cell in cells if cell.cell.task not in too_little]
            if others or not (cells and self.is_trend):
                groups.append(others)
                names.append(name)
        if not too_little or len(groups) < 2 or (not self.is_trend and not all(groups)):
            return self, []
        return replace(self, groups=groups, names=names), list(too_little.values())

    def keys(self, cells: Iterable[CellSummary]) -> list[tuple[str, Record]]:
        """The records of some cells with the text that pairs them.

        Where a model wrote answers, prompts are the same that ask the same question.
        """
        asked_only = any(cell.cell.task.write for cell in self.cells)
        return [
            (record.prompt.question if asked_only else record.prompt.text, record)
            for cell in cells
            for record in cell.records
        ]

    def readings(self) -> list[Reading | None]:
        """The prompts of each group, the common ones where they are paired, in the same order."""
        if not self.paired:
            # A level is one cell, whose pooled values are computed once.
            return [cells[0] if cells else None for cells in self.groups]
        by_text = [dict(self.keys(cells)) for cells in self.groups]
        texts = [text for text in by_text[0] if all(text in group for group in by_text)]
        records = [[group[text] for text in texts] for group in by_text]
        settings = self.cells[0].settings
        return [Reading(group, settings) if group else None for group in records]


def sizes(summary: SweepSummary) -> Iterator[Subject]:
    """Per task, the models of a family, the smallest first."""
    for task in summary.plan.tasks:
        for members in families(summary):
            if cells := by_size(summary, members, task):
                yield Subject(
                    f"{cells[0].title} to {cells[-1].title}",
                    task.title,
                    [[cell] for cell in cells],
                    [cell.title for cell in cells],
                )


def by_size(
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


def trainings(summary: SweepSummary) -> Iterator[Subject]:
    """Revisions of one model, in the order of their steps."""
    for models in _revisions_by_step(summary.models):
        first, last = models[0], models[-1]
        name = summary.of_model(first)[0].model.short_name
        compared = f"{name} from {first.revision} to {last.revision}"
        for words, tasks in _tasks_together(summary.plan.tasks):
            steps = [_cells_on(summary, model, tasks) for model in models]
            revisions = [model.revision for model in models]
            yield Subject(compared, words, steps, revisions, is_trend=True)


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


def precisions(summary: SweepSummary) -> Iterator[Subject]:
    """A model at the most bits, and the same model at fewer bits."""
    for model, *others in _by_precision(summary):
        for other in others:
            yield from _two_models(summary, model, other)


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


def pairs(summary: SweepSummary) -> Iterator[Subject]:
    """Pairs of models that no other question compares."""
    models = summary.models
    compared_elsewhere = {
        frozenset(pair) for group in _revisions_by_step(models) for pair in combinations(group, 2)
    }
    compared_elsewhere |= {
        frozenset(pair) for group in _by_precision(summary) for pair in combinations(group, 2)
    }
    both = [pair for pair in combinations(models, 2) if frozenset(pair) not in compared_elsewhere]
    if len(both) > MOST_PAIRS:
        shapes = {model: _shape(summary.of_model(model)[0]) for model in models}
        both = [(a, b) for a, b in both if shapes[a] == shapes[b]]
    for a, b in both:
        yield from _two_models(summary, a, b)


def _two_models(summary: SweepSummary, a: ModelSpec, b: ModelSpec) -> Iterator[Subject]:
    """Two models on every set of tasks, over the prompts that both have run."""
    for words, tasks in _tasks_together(summary.plan.tasks):
        first, second = (_cells_on(summary, model, tasks) for model in (a, b))
        if first and second:
            names = [first[0].title, second[0].title]
            yield Subject(f"{names[1]} minus {names[0]}", words, [first, second], names)


def _cells_on(
    summary: SweepSummary, model: ModelSpec, tasks: Sequence[TaskChoice]
) -> list[CellSummary]:
    return [cell for cell in summary.of_model(model) if cell.cell.task in tasks]


def _tasks_together(tasks: Sequence[TaskChoice]) -> Iterator[tuple[str, list[TaskChoice]]]:
    """The sets of tasks of a comparison: every task with all its levels, then all tasks.

    Those with options, and those whose answers the model writes, are sets of their own.
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
    """The tasks with given answers, without and with options; then those the model answers."""
    by_origin: dict[tuple[bool, bool], list[TaskChoice]] = {}
    for task in tasks:
        by_origin.setdefault((task.write is not None, task.choices), []).append(task)
    return [by_origin[origin] for origin in sorted(by_origin)]


def _shape(cell: CellSummary) -> tuple[int, int]:
    return cell.model.n_layers, cell.model.d_model


def trends(summary: SweepSummary) -> list[Subject]:
    """Levels of a task, and ladders of tasks, by model; those of one task beside each other."""
    subjects: list[Subject] = []
    for model in summary.models:
        by_task = {cell.cell.task: cell for cell in summary.of_model(model) if cell.records}
        for tasks in _ladders(by_task):
            cells = [by_task[choice] for choice in tasks]
            subjects.append(_levels(_levels_words(tasks), cells, cells))
            if _some_are_wrong(cells):
                subjects.append(_right_answers(cells))
    order = list(dict.fromkeys(subject.on for subject in subjects))
    return sorted(subjects, key=lambda subject: order.index(subject.on))


def _levels(
    words: str, cells: Sequence[CellSummary], levels: Sequence[CellSummary | None]
) -> Subject:
    """Some levels of one model; a level without a prompt is None."""
    return Subject(
        cells[0].title,
        words,
        [[] if level is None else [level] for level in levels],
        [cell.cell.task.title for cell in cells],
        is_trend=True,
        paired=False,
    )


def _right_answers(cells: Sequence[CellSummary]) -> Subject:
    """The right answers of the levels with enough of them; of all, if fewer than two have."""
    enough = [cell for cell in cells if cell.accuracy and cell.accuracy.right >= FEWEST_UNITS]
    levels = enough if len(enough) > 1 else cells
    words = f"{_levels_words([cell.cell.task for cell in levels])}, right answers alone"
    return _levels(words, levels, [cell.of_right_answers for cell in levels])


def _some_are_wrong(cells: Sequence[CellSummary]) -> bool:
    """Whether every level's right answers are known, and some answers but not all are right."""
    every = [cell.accuracy for cell in cells]
    accuracies = [accuracy for accuracy in every if accuracy is not None]
    right = sum(accuracy.right for accuracy in accuracies)
    return len(accuracies) == len(cells) and 0 < right < sum(
        accuracy.answers for accuracy in accuracies
    )


def origins(summary: SweepSummary) -> Iterator[Subject]:
    """Each model on the given text, and on the text that it wrote."""
    tasks = summary.plan.tasks
    for words, choices in _tasks_together([task for task in tasks if task.write is None]):
        names = {(task.name, task.level, task.choices) for task in choices}
        written = [
            task for task in tasks if task.write and (task.name, task.level, task.choices) in names
        ]
        for model in summary.models:
            first, second = (_cells_on(summary, model, side) for side in (choices, written))
            if first and second:
                compared = f"{first[0].title}, written minus given"
                sides = ["the given text", "its own text"]
                on = f"{words}, given and written"
                yield Subject(compared, on, [first, second], sides)


def _ladders(tasks: Iterable[TaskChoice]) -> Iterator[list[TaskChoice]]:
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
        return " to ".join(level.title for level in levels)
    (name,) = names
    return levels[0].with_origin(f"{name}, {_span(name, levels)}")


def _span(name: str, levels: Sequence[TaskChoice]) -> str:
    first, last = levels[0].level, levels[-1].level
    dial = TASKS[name].dial if name in TASKS else ""
    if name in DATASETS:
        return f"levels {first} to {last}"
    return f"{first} to {last} {dial}".rstrip()
