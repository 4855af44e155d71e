"""Questions about a sweep: the paper's on size, training and difficulty, and others.

Each is answered first by what the models keep without layers, then by each rule, as the paper does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from depthtui.data.depth import PromptCurves
from depthtui.depth.reading import Reading
from depthtui.report.phrases import rule_title
from depthtui.sweep import subjects
from depthtui.sweep.comparisons import (
    Claim,
    Difference,
    FragileCount,
    Trend,
    as_one_family,
    difference,
    disagree,
    trend,
)
from depthtui.sweep.kept_answers import KeptAnswer, kept_answers
from depthtui.sweep.plan import Cell, population
from depthtui.sweep.subjects import Subject
from depthtui.sweep.summary import CellSummary, SweepSummary, rules_of

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
    def problem(self) -> str:
        """Why nothing is claimed, in words; empty for a claim, and for an answer that describes."""
        if self.comparison is None or self.comparison.claim is not None:
            return ""
        return str(self.comparison.words)

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
class Question:
    """A question and the sweep's answers; none where the question was not asked.

    Attributes:
        name, title: such as `size`, and the question in words.
        answers: by each rule.
        kept_answers: by what is kept without layers; none where that was not measured.
    """

    name: str
    title: str
    answers: list[Answer]
    kept_answers: list[KeptAnswer] = field(default_factory=list)


@dataclass(frozen=True)
class _Form:
    """A question that may be asked of a sweep.

    Attributes:
        name, title: as in `Question`.
        subjects: returns what it compares.
        has_direction: whether it asks for more depth, not for other depth.
    """

    name: str
    title: str
    subjects: Callable[[SweepSummary], Iterable[Subject]]
    has_direction: bool = True


_QUESTIONS = (
    _Form("size", "Does effective depth grow with size?", subjects.sizes),
    _Form("training", "Does effective depth grow with training?", subjects.trainings),
    _Form("models", "Do the models differ on the same prompts?", subjects.pairs, False),
    _Form("precision", "Do fewer bits change effective depth?", subjects.precisions, False),
    _Form("difficulty", "Do harder tasks use more depth?", subjects.trends),
    _Form(
        "written",
        "Do the models use more depth on their own text than on the given?",
        subjects.origins,
    ),
)


def questions(summary: SweepSummary) -> list[Question]:
    """The questions that can be asked of the sweep's models and tasks."""
    answered = (_answered(form, summary) for form in _QUESTIONS)
    return [question for question in answered if question.answers or question.kept_answers]


def _answered(form: _Form, summary: SweepSummary) -> Question:
    compared = list(form.subjects(summary))
    answers = list(_by_rules(compared))
    if form.name == "size" and not compared:
        answers = list(_unlike_sizes(summary))
    return Question(form.name, form.title, answers, kept_answers(compared, form.has_direction))


def _unlike_sizes(summary: SweepSummary) -> Iterator[Answer]:
    """Why models of other sizes are not compared."""
    everyone = summary.models
    if any(subjects.by_size(summary, everyone, task) for task in summary.plan.tasks):
        titles = [summary.of_model(model)[0].title for model in everyone]
        yield Answer(", ".join(titles), "all tasks", "", _UNLIKE, cells=_cells(summary.cells))


def _by_rules(compared: Sequence[Subject]) -> Iterator[Answer]:
    """The answers of each subject by every rule, corrected as one family."""
    pairs = [(subject, rule) for subject in compared for rule in rules_of(subject.cells)]
    results = as_one_family([_comparison(subject, rule) for subject, rule in pairs])
    for (subject, rule), result in zip(pairs, results, strict=True):
        cells = _cells(subject.cells)
        with_population = replace(result, population=population(cell.task for cell in cells))
        depths = _depths(subject, rule) if subject.with_depths else ""
        words = f"{depths}: {with_population.words}" if depths else str(with_population.words)
        yield Answer(subject.compared, subject.on, rule, words, with_population, cells)


def _comparison(subject: Subject, rule: str) -> Difference | Trend:
    """The comparison of a subject's groups by a rule."""
    settings = subject.cells[0].settings
    if subject.is_trend:
        parts = _parts(subject, subject.groups)
        grown = trend(parts, settings, rule, paired=subject.paired, wording=subject.wording)
        return grown.with_doubt_from(_fragile(subject.cells, rule))
    ends = subject.groups[0], subject.groups[-1]
    ours, theirs = _parts(subject, ends)
    change = difference(ours, theirs, settings, True, rule)
    return change.with_doubt_from(_fragile([*ends[0], *ends[1]], rule))


def _parts(subject: Subject, groups: Sequence[Sequence[CellSummary]]) -> list[list[PromptCurves]]:
    """The means of each group's prompts, the common ones in the same order where paired."""
    if not subject.paired:
        return [[part for cell in cells for part in cell.parts] for cells in groups]
    by_text = []
    for cells in groups:
        parts = {id(record): part for cell in cells for record, part in cell.by_prompt}
        keys = subject.keys(cells)
        by_text.append({text: parts[id(key)] for text, key in keys if id(key) in parts})
    texts = [text for text in by_text[0] if all(text in parts for parts in by_text)]
    return [[parts[text] for text in texts] for parts in by_text]


def _depths(subject: Subject, rule: str) -> str:
    """The depth of each group by a rule, in words; empty where one has none."""
    if not subject.of_one_model:
        return ", ".join(
            f"{estimate.ratio:.2f} ({estimate.count} of {cell.n_layers})"
            for cell in subject.cells
            if (estimate := cell.depth(rule)) and estimate.ratio is not None
        )
    first, last = (_pooled_count(cells, rule) for cells in subject.groups)
    if first is None or last is None:
        return ""
    n_layers = subject.cells[0].n_layers
    return f"on its own text {last} of {n_layers} layers, on the given {first}"


def _pooled_count(cells: Sequence[CellSummary], rule: str) -> int | None:
    """The layers by a rule over the prompts of several cells; None where there are none."""
    if len(cells) == 1:
        estimate = cells[0].depth(rule)
    else:
        records = [record for cell in cells for record in cell.records]
        estimate = Reading(records, cells[0].settings).depth(rule)
    return None if estimate is None else estimate.count


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


def _cells(summaries: Iterable[CellSummary]) -> tuple[Cell, ...]:
    return tuple(summary.cell for summary in summaries)
