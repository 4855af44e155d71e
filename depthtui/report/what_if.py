"""A what-if beside its clean run: the cost of leaving layers out, as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import LOGIT, lens_of, lens_title
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.depth.agreement import agreement
from depthtui.depth.reading import Reading
from depthtui.report.groups import PooledRuns, RunGroup
from depthtui.report.phrases import rule_title
from depthtui.report.skips import parameter_share

HEADS = ("", "clean", "changed", "change")
PROMPT_HEADS = (
    "prompt",
    "loss, clean",
    "changed",
    "change",
    "same next token",
    "says, clean",
    "changed",
)
_TITLE_LENGTH = 60


@dataclass(frozen=True)
class Pairs:
    """Prompts that were run with and without the changes.

    Attributes:
        clean, changed: readings of the runs, prompt by prompt.
    """

    clean: Reading
    changed: Reading

    @classmethod
    def of(cls, clean: Iterable[RunGroup], changed: PooledRuns) -> Pairs | None:
        """The prompts of changed runs that clean groups have too; None without one."""
        clean_places = {
            run.prompt: (part.reading, number)
            for group in clean
            for part in group.parts
            for number, run in enumerate(part.results)
        }
        both = [
            (number, run.prompt)
            for number, run in enumerate(changed.results)
            if run.prompt in clean_places
        ]
        if not both:
            return None
        return cls(
            _reading([clean_places[prompt] for _, prompt in both]),
            _reading([(changed.reading, number) for number, _ in both]),
        )

    @property
    def runs(self) -> list[tuple[RunResult, RunResult]]:
        """The clean and the changed run of each prompt."""
        return list(zip(self.clean.runs, self.changed.runs, strict=True))

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Values pooled over the prompts, under `HEADS`."""
        rows = [self._parameters(), self._loss(), self._same(), *self._depths()]
        if len(self.runs) == 1:
            ((clean, changed),) = self.runs
            rows.append(("next token", _top_token(clean), _top_token(changed), ""))
        return [row for row in rows if any(row[1:])]

    def by_prompt(self) -> list[tuple[str, ...]]:
        """Each prompt's loss and output, under `PROMPT_HEADS`."""
        return [
            (
                _title(clean),
                *_change(clean.loss, changed.loss),
                _share(agreement(clean, changed)),
                _top_token(clean),
                _top_token(changed),
            )
            for clean, changed in self.runs
        ]

    def _parameters(self) -> tuple[str, str, str, str]:
        model, skipped = self.clean.model, self.changed.runs[0].settings.skipped
        share = parameter_share(model, skipped)
        if share is None:
            return "parameters in use", "", "", ""
        remaining = model.parameters - (model.parameters_of(skipped) or 0)
        return "parameters in use", f"{model.parameters:,}", f"{remaining:,}", f"{-share:.0%}"

    def _loss(self) -> tuple[str, str, str, str]:
        """Mean loss over all tokens but the first of each prompt."""
        counts = [len(run.tokens) - 1 for run in self.clean.runs]
        if min(counts) < 1:
            return "loss, nats", "", "", ""
        means = [
            float(np.average([run.loss for run in runs], weights=counts))
            for runs in (self.clean.runs, self.changed.runs)
        ]
        return "loss, nats", *_change(*means)

    def _same(self) -> tuple[str, str, str, str]:
        agreements = [agreement(clean, changed) for clean, changed in self.runs]
        counted = [pair for pair in agreements if pair is not None]
        total = (sum(same for same, _ in counted), sum(tokens for _, tokens in counted))
        return "same next token", "", _share(total) if counted else "", ""

    def _depths(self) -> list[tuple[str, str, str, str]]:
        chosen, readings, lens = self.clean.settings.lens, [self.clean, self.changed], ""
        runs = [*self.clean.runs, *self.changed.runs]
        if chosen != LOGIT and any(lens_of(run, chosen) is None for run in runs):
            # Fitted lenses read clean runs alone; a comparison needs one lens for both.
            readings = [reading.through(LOGIT) for reading in readings]
            lens = f", {lens_title(LOGIT)}"
        rows = []
        for rule in dict.fromkeys(
            estimate.rule for reading in readings for estimate in reading.depths
        ):
            clean, changed = (reading.depth(rule) for reading in readings)
            layers = [
                estimate.layer
                for estimate in (clean, changed)
                if estimate and estimate.layer is not None
            ]
            moved = f"{layers[1] - layers[0]:+d}" if len(layers) == 2 else ""
            name = f"effective depth, {rule_title(rule)}{lens}"
            rows.append((name, _layer(clean), _layer(changed), moved))
        return rows


def _reading(places: Sequence[tuple[Reading, int]]) -> Reading:
    """One reading of some prompts of others; one of these where it has the same prompts."""
    (first, number), *others = places
    if not others:
        return first.alone[number]
    if places == [(first, place) for place in range(len(first.prompts))]:
        return first
    prompts = [reading.prompts[place] for reading, place in places]
    return Reading(prompts, first.settings, [reading.runs[place] for reading, place in places])


def _layer(estimate: DepthEstimate | None) -> str:
    if estimate is None or estimate.count is None:
        return "–"
    return plural(estimate.count, "layer")


def _change(clean: float, changed: float) -> tuple[str, str, str]:
    if math.isnan(clean) or math.isnan(changed):
        return "", "", ""
    return f"{clean:.3f}", f"{changed:.3f}", f"{changed - clean:+.3f}"


def _share(same: tuple[int, int] | None) -> str:
    return "" if same is None else f"{same[0]} of {same[1]}"


def _top_token(result: RunResult) -> str:
    """The most probable token after the text, with its probability."""
    lens = result.get(LogitLens)
    if lens is None or not len(result.tokens) or lens.top_ids[-1, -1, 0] < 0:
        return ""
    token = lens.vocabulary.get(int(lens.top_ids[-1, -1, 0]), "").strip(" ") or "·"
    return f"{token} {float(lens.top_probabilities[-1, -1, 0]):.2f}"


def _title(result: RunResult) -> str:
    words = " ".join(result.prompt.text.split())
    return words if len(words) <= _TITLE_LENGTH else f"{words[: _TITLE_LENGTH - 1]}…"
