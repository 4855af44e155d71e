"""Phrases that every report of a sweep shares."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.model import weights_dtype
from depthtui.data.run_settings import RunSettings, Writing
from depthtui.data.verdict import Headline
from depthtui.depth import rules
from depthtui.depth.published import DATASETS, PROTOCOL
from depthtui.depth.verdict_words import range_words
from depthtui.metrics.choices import stand_in_words
from depthtui.metrics.registry import unavailable_in_words
from depthtui.metrics.resampling import LEVEL
from depthtui.report.choices import choices_of, choosing_only, part_words
from depthtui.report.phrases import by_statement, interval, rule_title, uneven
from depthtui.report.written import drawing_words
from depthtui.sweep.answers import UNKNOWN, Answer
from depthtui.sweep.folder import Failure, model_title
from depthtui.sweep.plan import Cell, population
from depthtui.sweep.summary import CellSummary, PublishedDepth, SweepSummary, rules_of

RIGHT_ANSWER = (
    "Right: where right answers were measured, the model chooses the right option, else writes the "
    "answer; where they were not, each token of the answer is its first choice after those before "
    "it (teacher-forced)."
)
"""The meaning of a right answer, in a sentence."""


@dataclass(frozen=True)
class Remark:
    """A sentence about some cells of a sweep; no cells where the plan has them no longer."""

    text: str
    cells: tuple[Cell, ...]


def depth_words(estimate: DepthEstimate | None) -> str:
    """Layers used, their share and interval, or a dash, such as `23 · 0.82 (21 … 25)`."""
    words, ends = count_words(estimate), interval_words(estimate, " … ")
    return f"{words} ({ends})" if ends else words


def count_words(estimate: DepthEstimate | None) -> str:
    """Layers used and their share, or a dash, such as `23 · 0.82`."""
    if estimate is None or estimate.count is None or estimate.ratio is None:
        return "–"
    return f"{estimate.count} · {estimate.ratio:.2f}"


def interval_words(estimate: DepthEstimate | None, to: str) -> str:
    """The interval of a depth, such as `21–25`; empty where there is none."""
    if estimate is None or estimate.count is None or estimate.interval is None:
        return ""
    return interval(estimate, to)


def kept_words(headline: Headline | None, n_layers: int) -> str:
    """Layers that keep nine tenths, their share of L and their range, or a dash.

    Such as `27 · 0.90 (26 … 28)`.
    """
    words, ends = kept_count(headline, n_layers), kept_range(headline, " … ")
    return f"{words} ({ends})" if ends else words


def kept_count(headline: Headline | None, n_layers: int) -> str:
    """Layers that keep nine tenths and their share of L, or a dash, such as `27 · 0.90`."""
    if headline is None or headline.count is None:
        return "–"
    return f"{headline.count} · {headline.count / n_layers:.2f}"


def kept_range(headline: Headline | None, to: str) -> str:
    """The range of the layers that keep nine tenths, such as `26–28`; empty where there is none."""
    return "" if headline is None else range_words(headline, to)


def mean_depth_words(headline: Headline | None) -> str:
    """The mean depth, such as `16.8`, or a dash; `too little` where too little is known."""
    if headline is None:
        return "–"
    return "too little" if headline.mean_depth is None else f"{headline.mean_depth:.1f}"


def kept_of(headline: Headline | None) -> str:
    """The tokens that a headline counts, such as `of answers beyond the task`; may be empty."""
    if headline is None:
        return ""
    if headline.scored == "text":
        return "of text"
    return "of answers beyond the task" if headline.guess == "task" else "of answers"


def kept_note(summary: SweepSummary) -> str:
    """The meaning of the columns of what is kept; empty where there are none."""
    kinds = dict.fromkeys(kept_of(cell.headline) for cell in summary.cells if cell.headline)
    if not kinds:
        return ""
    return (
        f"Nine tenths: the layers that keep so much of what the model knows {', '.join(kinds)}, "
        "with their share of all and their range. Mean depth: the layers that a nat of it takes on "
        "average."
    )


def published_words(published: PublishedDepth | None) -> str:
    """The paper's layers, and how many more ours are, such as `paper 22, +1`; may be empty."""
    if published is None:
        return ""
    near = "" if published.same_dataset else "≈ "
    beyond = "" if published.difference is None else f", {published.difference:+d}"
    return f"{near}paper {published.count}{beyond}"


def how_run(cell: CellSummary) -> str:
    """Dtypes, devices and revisions of a cell's runs; several where its records differ."""
    models = [record.model for record in cell.records]
    columns = [
        [weights_dtype(model) for model in models],
        [f"on {model.device}" for model in models],
        [f"revision {model.revision[:8]}" for model in models if model.revision],
    ]
    return " ".join("/".join(dict.fromkeys(text)) for text in columns if text)


def run_note(summary: SweepSummary) -> str:
    """Each model, its number of layers, and how it was run; empty where nothing was run."""
    models = [model_heading(summary.of_model(model)) for model in summary.models]
    return f"{'; '.join(models)}." if models else ""


def model_heading(cells: list[CellSummary]) -> str:
    """A model, its number of layers, and how it was run."""
    first = cells[0]
    how = ", ".join(dict.fromkeys(how_run(cell) for cell in cells))
    return f"{first.title}: {first.model.n_layers} layers, {how}"


def verdicts(summary: SweepSummary) -> list[str]:
    """The verdicts, cells of the same one together."""
    by_text = by_statement((cell.verdict.text, cell) for cell in summary.cells if cell.verdict)
    return [f"{_where(cells, summary)}: {text}" for text, cells in by_text.items()]


def _where(cells: Sequence[CellSummary], summary: SweepSummary) -> str:
    """The places of some of the cells by model, or `Every cell`."""
    if len(cells) == len(summary.cells) > 1:
        return "Every cell"
    by_model = by_statement((cell.title, cell.cell.task.title) for cell in cells)
    return "; ".join(f"{title} on {_every_or(tasks, summary)}" for title, tasks in by_model.items())


def _every_or(tasks: Sequence[str], summary: SweepSummary) -> str:
    """The tasks in a row, or `every task`."""
    is_every = len(tasks) == len(summary.plan.tasks) > 1
    return "every task" if is_every else " · ".join(tasks)


def cautions(summary: SweepSummary) -> list[Remark]:
    """Reasons for doubt, each once: rules without a layer, fragile crossings, mixed weights."""
    by_doubt = by_statement((doubt, cell) for cell in summary.cells for doubt in _doubts(cell))
    return [
        Remark(f"{_where(cells, summary)}{doubt}", tuple(cell.cell for cell in cells))
        for doubt, cells in by_doubt.items()
    ]


def _doubts(cell: CellSummary) -> Iterator[str]:
    """Reasons to doubt a cell, as clauses after the cell's name."""
    for estimate in cell.depths:
        if estimate.reason or estimate.warning:
            yield f", by {rule_title(estimate.rule)}: {estimate.reason or estimate.warning}."
    if doubt := uneven(cell):
        yield f": {doubt}"
    if len({record.model.fingerprint for record in cell.records}) > 1:
        yield ": the prompts were run with weights that differ, or copies."


def failures(summary: SweepSummary) -> list[Remark]:
    """The failures, with their reasons."""
    cells = summary.plan.cells
    return [
        Remark(f"{failure}", tuple(cell for cell in cells if failure.is_of(cell)))
        for failure in summary.failures
    ]


def absences(summary: SweepSummary) -> list[Remark]:
    """The missing results, with their reasons."""
    remarks = failures(summary)
    failed = {(failure.model, failure.task) for failure in summary.failures}
    not_run = by_statement(
        (model_title(cell.model), cell)
        for cell in summary.missing_cells
        if not {(model_title(cell.model), ""), _names(cell)} & failed
    )
    for title, cells in not_run.items():
        tasks = _every_or([cell.task.title for cell in cells], summary)
        remarks.append(Remark(f"{title} · {tasks}: not run yet.", tuple(cells)))
    for summarised in summary.cells:
        for problem in unavailable_in_words(summary.plan.run.metrics, summarised.records):
            # Metrics that the plan names are among the failures.
            failure = Failure.of(summarised.cell, None, problem)
            if failure not in summary.failures:
                remarks.append(Remark(f"{failure}", (summarised.cell,)))
    return remarks


def method(summary: SweepSummary) -> str:
    """The meaning of the numbers, in a few sentences."""
    over = population(summary.plan.tasks)
    return (
        "Each cell is an effective depth: its number of layers, its share of all L, and its "
        f"{LEVEL:.0%} interval by bootstrap over {over}, from five prompts on (±½: every resample "
        f"has the same count). Layers are numbered from 0: a depth of n ends after layer n − 1. "
        f"{_pooling(summary)}{_choices(summary.plan.run)}"
    )


def matching_note(summary: SweepSummary) -> str:
    """The lengths of prompts that others fill, and the target; empty where none is filled."""
    lengths: dict[int, list[int]] = {}
    for cell in summary.cells:
        target, of_cell = cell.cell.task.matched, [record.n_tokens for record in cell.records]
        # A text that the model wrote has a length of its own.
        if target and cell.cell.task.write is None:
            lengths.setdefault(target, []).extend(of_cell)
    if not lengths:
        return ""
    how = "; or ".join(
        f"{target} tokens in all ({_span(of_target)} in fact)"
        for target, of_target in lengths.items()
    )
    return (
        "Matched: each prompt follows others of its task and level, with their answers, up to "
        f"{how}."
    )


def _span(counts: Collection[int]) -> str:
    """The least and the greatest count, such as `53 to 64`."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def writing_note(summary: SweepSummary) -> str:
    """How the models wrote their own answers; empty where they wrote none."""
    writings = dict.fromkeys(task.write for task in summary.plan.tasks if task.write is not None)
    if not writings:
        return ""
    how = "; or ".join(map(_writing_words, writings))
    return f"Written: the model answers the same prompts itself, in {how}."


def _writing_words(writing: Writing) -> str:
    length = f"at most {writing.max_tokens} tokens"
    if not writing.temperature:
        return f"{length}, each the most probable one"
    return f"{length}, drawn at temperature {writing.temperature:g} ({drawing_words(writing)})"


def has_accuracy(summary: SweepSummary) -> bool:
    """Whether the number of right answers of any cell is known."""
    return any(cell.accuracy for cell in summary.cells)


def accuracy_note(summary: SweepSummary) -> str:
    """The meaning of a right answer; empty where none is known."""
    return RIGHT_ANSWER if has_accuracy(summary) else ""


def published_note(summary: SweepSummary) -> str:
    """The meaning of the published values; empty where none is shown."""
    depths = [cell.published(estimate.rule) for cell in summary.cells for estimate in cell.depths]
    published = [text for text in depths if text is not None]
    if not published:
        return ""
    near = dict.fromkeys(DATASETS[depth.dataset] for depth in published if not depth.same_dataset)
    others = f" ≈ is on another task than the paper's {' and '.join(near)}." if near else ""
    return (
        "Paper: Hu, Zhou, Zhang, arXiv 2512.14064, and by how many layers ours is deeper."
        f"{others} {PROTOCOL}"
    )


def _names(cell: Cell) -> tuple[str, str]:
    return model_title(cell.model), cell.task.title


def _choices(settings: RunSettings) -> str:
    """Which part of the slower metrics was computed, and the substitute for a layer left out."""
    chosen = choosing_only(settings, choices_of(settings.metrics))
    part, stand_in = part_words(chosen), stand_in_words(chosen)
    words = f" The slower metrics go through a part: {part}." if part else ""
    return words + (f" {stand_in[0].upper()}{stand_in[1:]}." if stand_in else "")


def _pooling(summary: SweepSummary) -> str:
    settings, names = summary.plan.summary, rules_of(summary.cells)
    lens = "" if settings.lens == LOGIT else f", read through the {lens_title(settings.lens)}"
    words = [
        rule.threshold_words(settings) for rule in rules.ALL if rule.of_paper or rule.name in names
    ]
    thresholds = ", ".join(filter(None, words))
    first = settings.tokens_in_words
    return f"Means over all tokens of a cell's prompts, {first}; {thresholds}{lens}."


def reasons_of(answers: Sequence[Answer]) -> list[str]:
    """Each reason why nothing is known, once, with the comparisons that it is about."""
    unknown = by_statement((answer.reason, answer) for answer in answers if not answer.is_known)
    return [f"{UNKNOWN}: {reason}: {_compared(some)}." for reason, some in unknown.items()]


def _compared(answers: Sequence[Answer]) -> str:
    """The subjects of some answers, those of the same numbers together."""
    by_subject = by_statement((str(answer.subject), answer.number.title) for answer in answers)
    by_numbers = by_statement((", ".join(titles), on) for on, titles in by_subject.items())
    return "; ".join(f"{titles} {'; '.join(on)}" for titles, on in by_numbers.items())


def sentences_of(answers: Sequence[Answer]) -> list[str]:
    """The answers that are known in words, then each reason why others are not, once."""
    return [str(answer) for answer in answers if answer.is_known] + reasons_of(answers)
