"""What a sweep's records say: effective depths of every cell, beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate, PromptCurves
from depthtui.data.lens_view import lens_title
from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import LENSES, ModelSpec, SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.effective_depth import estimate_depths, pool
from depthtui.depth.evidence import rule_evidence
from depthtui.depth.published import DATASETS, PublishedModel, nearest_dataset, published_for
from depthtui.depth.rules import bridged
from depthtui.depth.verdict import made_verdict
from depthtui.depth.weights import effective_prompts
from depthtui.metrics import ALL, METRICS
from depthtui.metrics.evidence import resting_on
from depthtui.metrics.spec import Metric, weighted_mean
from depthtui.sweep.folder import Failure, asked_of
from depthtui.sweep.plan import Cell, SweepPlan
from depthtui.sweep.records import Record
from depthtui.sweep.state import Outcome


@dataclass(frozen=True)
class PublishedDepth:
    """What the paper reports beside a depth of ours.

    Attributes:
        dataset: key of the paper's data set.
        same_dataset: whether the cell runs on that data set itself, not on one like it.
        layer: the published 0-based layer.
        n_layers: L of the published model.
        difference: our layer less the published one; None where we have no layer.
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


@dataclass(frozen=True)
class CellSummary:
    """One model on one task.

    Attributes:
        cell: the cell.
        records: its prompts, at least one.
        settings: how they are pooled.
        full_title: stands for the model's short name where another model has the same.
    """

    cell: Cell
    records: Sequence[Record]
    settings: SummarySettings
    full_title: str = ""

    @property
    def model(self) -> ModelInfo:
        """The model, as it was loaded for the first prompt."""
        return self.records[0].model

    @property
    def title(self) -> str:
        """The model's short name, and how it was to be loaded where that was said."""
        return self.full_title or titles_of(self.cell.model, self.model)

    @cached_property
    def parts(self) -> list[PromptCurves]:
        """The means of every prompt that has any."""
        found = (record.prompt_curves(self.settings) for record in self.records)
        return [part for part in found if part is not None]

    @property
    def n_tokens(self) -> int:
        """How many tokens the means are over."""
        return sum(part.n_tokens for part in self.parts)

    @property
    def effective_prompts(self) -> float:
        """How many prompts of the same length the means are worth (see `depth.weights`)."""
        return effective_prompts(self.parts) if self.parts else 0.0

    @cached_property
    def curves(self) -> Curves:
        """Means over all tokens of all prompts."""
        return pool(self.parts) if self.parts else Curves()

    @cached_property
    def depths(self) -> tuple[DepthEstimate, ...]:
        """Each rule's layer, with its interval where there are prompts enough."""
        if not self.parts:
            return ()
        return estimate_depths(self.parts, self.settings)

    def depth(self, rule: str) -> DepthEstimate | None:
        """The rule's estimate, or None where its metric was not measured."""
        return next((estimate for estimate in self.depths if estimate.rule == rule), None)

    def published(self, rule: str) -> PublishedDepth | None:
        """The paper's value for this model and this task's data set, or one like it."""
        model, estimate = self._published_model, self.depth(rule)
        dataset = self.cell.task.name
        if dataset not in DATASETS:
            dataset = nearest_dataset(dataset) or ""
        if model is None or estimate is None or not dataset or rule not in model.depths:
            return None
        layer = model.layer(rule, dataset)
        return PublishedDepth(
            dataset,
            dataset == self.cell.task.name,
            layer,
            model.n_layers,
            None if estimate.layer is None else estimate.layer - layer,
        )

    @cached_property
    def verdict(self) -> Verdict | None:
        """What the records tell of how many layers are used; None where they tell nothing.

        Evidence whose arrays no record keeps is not in it.
        """
        other = replace(self.settings, include_first_token=not self.settings.include_first_token)
        other_parts = [
            part for record in self.records if (part := record.prompt_curves(other)) is not None
        ]
        every = len(self.records)
        rules = rule_evidence(
            self.depths, self.parts, self.settings, other_parts, self._lens_curves
        )
        evidence = resting_on(rules, len(self.parts), every)
        prompts, other_prompts = (
            [(record.prompt_metrics(settings), record.n_tokens) for record in self.records]
            for settings in (self.settings, other)
        )
        for metric in ALL:
            found = metric.cell_evidence(prompts, other_prompts, self.model.n_layers)
            evidence += resting_on(found, self._known(metric), every)
        tasks = [record.task for record in self.records]
        return made_verdict(evidence, self.model.n_layers, self.missing_measures, tasks)

    @property
    def missing_measures(self) -> list[str]:
        """Names of the metrics that would tell more: no record has them, and one could."""
        return [
            metric.name
            for metric in METRICS
            if metric.gives_cell_evidence
            and not self._known(metric)
            and any(record.can_have(metric) for record in self.records)
        ]

    def _known(self, metric: Metric) -> int:
        """How many records have a metric."""
        return sum(bool(record.metrics.get(metric.name)) for record in self.records)

    @property
    def _lens_curves(self) -> dict[str, Curves]:
        """Pooled curves of every lens that all prompts have, by the lens's title."""
        found = {}
        for lens in LENSES:
            settings = replace(self.settings, lens=lens)
            parts = [record.prompt_curves(settings) for record in self.records]
            known = [part for part in parts if part is not None and part.curves.kl is not None]
            if len(known) == len(self.records):
                found[lens_title(lens)] = bridged(pool(known), settings)
        return found

    @cached_property
    def means(self) -> dict[str, float]:
        """What else was measured, means over tokens by title; the DepthScore is of all prompts."""
        losses = [(record.loss, record.n_tokens - 1) for record in self.records]
        found = {"loss": weighted_mean(losses)}
        measured = [
            (record.prompt_metrics(self.settings), record.n_tokens) for record in self.records
        ]
        for metric in ALL:
            found |= metric.cell_means(measured)
        return {title: value for title, value in found.items() if np.isfinite(value)}

    @property
    def _published_model(self) -> PublishedModel | None:
        model = published_for(self.model.name) or published_for(self.cell.model.name)
        # Another model of the same name would be compared with what it is not.
        return model if model is not None and model.n_layers == self.model.n_layers else None


@dataclass(frozen=True)
class SweepSummary:
    """All cells of a sweep.

    Attributes:
        plan: the plan.
        cells: those that have a prompt, in the plan's order.
        missing: cells without one.
        failures: what could not be done.
    """

    plan: SweepPlan
    cells: list[CellSummary]
    missing: list[Cell] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def models(self) -> list[ModelSpec]:
        """The models that have a cell."""
        return list(dict.fromkeys(cell.cell.model for cell in self.cells))

    def of_model(self, model: ModelSpec) -> list[CellSummary]:
        """The model's cells."""
        return [cell for cell in self.cells if cell.cell.model == model]


def summarise_sweep(outcome: Outcome) -> SweepSummary:
    """Pool the records of every cell."""
    settings = outcome.plan.summary
    found = {cell: outcome.records.get(cell, []) for cell in outcome.plan.cells}
    cells = [CellSummary(cell, records, settings) for cell, records in found.items() if records]
    return SweepSummary(
        outcome.plan,
        _told_apart(cells),
        [cell for cell, records in found.items() if not records],
        outcome.failures,
    )


def _told_apart(cells: Sequence[CellSummary]) -> list[CellSummary]:
    """The cells, models of one short name called by all that was asked for."""
    models: dict[str, set[ModelSpec]] = {}
    for cell in cells:
        models.setdefault(cell.title, set()).add(cell.cell.model)
    return [
        cell
        if len(models[cell.title]) == 1
        else replace(cell, full_title=_full_title(cell.cell.model))
        for cell in cells
    ]


def _full_title(spec: ModelSpec) -> str:
    device = [] if spec.device == "auto" else [spec.device]
    return ", ".join([spec.name, *asked_of(spec), *device])


def titles_of(spec: ModelSpec, model: ModelInfo) -> str:
    """A loaded model's short name, with what was asked for beside it."""
    short = model.name.rsplit("/", 1)[-1]
    return ", ".join([short, *asked_of(spec)])
