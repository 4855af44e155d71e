"""Summary of a sweep's records: effective depths of every cell, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress

from depthtui.data.lm_eval_results import LoggedAnswers
from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import ModelSpec, SummarySettings
from depthtui.depth import rules
from depthtui.depth.published import DATASETS, NEAREST, published_row
from depthtui.depth.reading import Reading
from depthtui.depth.right_answers import are_right
from depthtui.sweep.folder import Failure, model_options
from depthtui.sweep.plan import Cell, SweepPlan
from depthtui.sweep.records import Record
from depthtui.sweep.state import Outcome


@dataclass(frozen=True)
class PublishedDepth:
    """The paper's depth beside one of ours.

    Attributes:
        dataset: key of the paper's data set.
        same_dataset: whether the cell runs on this data set itself, not on a similar one.
        layer: the published 0-based layer.
        n_layers: L of the published model.
        difference: our layer minus the published one; None where we have no layer.
    """

    dataset: str
    same_dataset: bool
    layer: int
    n_layers: int
    difference: int | None

    @property
    def count(self) -> int:
        """The published number of layers, e + 1."""
        return self.layer + 1


class CellSummary(Reading):
    """One model on one task: the reading of a cell's prompts.

    Attributes:
        cell: the cell.
        records: records of its prompts, at least one.
        settings: how the records are pooled.
        title: the model's name, with the options of loading it that were given.
    """

    def __init__(self, cell: Cell, records: Sequence[Record], settings: SummarySettings) -> None:
        super().__init__(records, settings)
        self.cell = cell
        self.records = records
        self.title = titles_of(cell.model, self.model)

    @property
    def place(self) -> str:
        """The model and the task, such as `Qwen2.5-7B on gsm8k`."""
        return f"{self.title} on {self.cell.task.title}"

    @cached_property
    def of_right_answers(self) -> CellSummary | None:
        """The summary of rightly answered prompts alone; None where there are none."""
        records = list(compress(self.records, are_right(self.records)))
        if not records:
            return None
        summary = CellSummary(self.cell, records, self.settings)
        summary.title = self.title
        return summary

    def published(self, rule: str) -> PublishedDepth | None:
        """The paper's value for this model on this task's data set, or on a similar one.

        None for text that the model wrote, behind other prompts, and with options to choose from,
        which word it anew: the paper's models read the given answers, each by itself.
        """
        model, estimate = published_row(self.model), self.depth(rule)
        task = self.cell.task
        dataset = task.name if task.name in DATASETS else NEAREST.get(task.name, "")
        if task.write or task.matched or task.shots or task.choices or not dataset:
            return None
        if model is None or estimate is None or rule not in model.depths:
            return None
        layer = model.depths[rule][dataset]
        return PublishedDepth(
            dataset,
            dataset == self.cell.task.name,
            layer,
            model.n_layers,
            None if estimate.layer is None else estimate.layer - layer,
        )


@dataclass(frozen=True)
class SweepSummary:
    """All cells of a sweep.

    Attributes:
        plan: the plan.
        cells: summaries of the cells that have a prompt, in the plan's order.
        missing_cells: cells without a prompt.
        failures: cells and prompts that failed.
        logged: right answers in logs of lm-evaluation-harness, those of each log together.
    """

    plan: SweepPlan
    cells: list[CellSummary]
    missing_cells: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    logged: Sequence[Sequence[LoggedAnswers]] = ()

    @property
    def models(self) -> list[ModelSpec]:
        """The models that have a cell."""
        return list(dict.fromkeys(cell.cell.model for cell in self.cells))

    def of_model(self, model: ModelSpec) -> list[CellSummary]:
        """The model's cells."""
        return [cell for cell in self.cells if cell.cell.model == model]


def rules_of(cells: Iterable[CellSummary]) -> list[str]:
    """The rules by which any of the cells was measured."""
    return rules.names_in({estimate.rule for cell in cells for estimate in cell.depths})


def summarise_sweep(outcome: Outcome) -> SweepSummary:
    """Pool the records of every cell."""
    settings = outcome.plan.summary
    by_cell = {cell: outcome.records.get(cell, []) for cell in outcome.plan.cells}
    cells = [CellSummary(cell, records, settings) for cell, records in by_cell.items() if records]
    _tell_apart(cells)
    return SweepSummary(
        outcome.plan,
        cells,
        [cell for cell, records in by_cell.items() if not records],
        outcome.failures,
    )


def _tell_apart(cells: Sequence[CellSummary]) -> None:
    """Give models that share a short name their full names and options."""
    models: dict[str, set[ModelSpec]] = {}
    for cell in cells:
        models.setdefault(cell.title, set()).add(cell.cell.model)
    for cell in cells:
        if len(models[cell.title]) > 1:
            cell.title = _full_title(cell.cell.model)


def _full_title(spec: ModelSpec) -> str:
    device = [] if spec.device == "auto" else [spec.device]
    return ", ".join([spec.name, *model_options(spec), *device])


def titles_of(spec: ModelSpec, model: ModelInfo) -> str:
    """A loaded model's short name, with its options."""
    # The loaded model's name already contains its adapter.
    return ", ".join([model.short_name, *model_options(replace(spec, adapter=""))])
