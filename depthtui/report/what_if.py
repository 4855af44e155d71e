"""A what-if beside its clean run: the cost of leaving layers out, as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import LOGIT, lens_of, lens_title
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.agreement import agreement
from depthtui.depth.reading import reading_of
from depthtui.report.groups import RunGroup
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
    """The prompts that were run with and without the changes.

    Attributes:
        clean, changed: the runs, prompt by prompt.
    """

    clean: tuple[RunResult, ...]
    changed: tuple[RunResult, ...]

    @classmethod
    def of(cls, clean: Iterable[RunGroup], changed: RunGroup) -> Pairs:
        """The prompts of a group that clean groups have too."""
        by_prompt = {result.prompt: result for group in clean for result in group.results}
        both = [result for result in changed.results if result.prompt in by_prompt]
        return cls(tuple(by_prompt[run.prompt] for run in both), tuple(both))

    def rows(self, settings: SummarySettings) -> list[tuple[str, str, str, str]]:
        """Values pooled over the prompts, under `HEADS`; empty where there is no pair."""
        if not self.clean:
            return []
        rows = [self._parameters(), self._loss(), self._same(), *self._depths(settings)]
        if len(self.clean) == 1:
            rows.append(("next token", _top_token(self.clean[0]), _top_token(self.changed[0]), ""))
        return [row for row in rows if any(row[1:])]

    def by_prompt(self) -> list[tuple[str, ...]]:
        """Each prompt's loss and output, under `PROMPT_HEADS`; empty for one prompt alone."""
        if len(self.clean) < 2:
            return []
        return [
            (
                _title(clean),
                *_change(clean.loss, changed.loss),
                _share(agreement(clean, changed)),
                _top_token(clean),
                _top_token(changed),
            )
            for clean, changed in zip(self.clean, self.changed, strict=True)
        ]

    def _parameters(self) -> tuple[str, str, str, str]:
        model, skipped = self.clean[0].model, self.changed[0].settings.skipped
        share = parameter_share(model, skipped)
        if share is None:
            return "parameters in use", "", "", ""
        remaining = model.parameters - (model.parameters_of(skipped) or 0)
        return "parameters in use", f"{model.parameters:,}", f"{remaining:,}", f"{-share:.0%}"

    def _loss(self) -> tuple[str, str, str, str]:
        """Mean loss over all tokens but the first of each prompt."""
        counts = [len(run.tokens) - 1 for run in self.clean]
        if min(counts) < 1:
            return "loss, nats", "", "", ""
        means = [
            float(np.average([run.loss for run in runs], weights=counts))
            for runs in (self.clean, self.changed)
        ]
        return "loss, nats", *_change(*means)

    def _same(self) -> tuple[str, str, str, str]:
        agreements = [agreement(*pair) for pair in zip(self.clean, self.changed, strict=True)]
        counted = [pair for pair in agreements if pair is not None]
        total = (sum(same for same, _ in counted), sum(tokens for _, tokens in counted))
        return "same next token", "", _share(total) if counted else "", ""

    def _depths(self, settings: SummarySettings) -> list[tuple[str, str, str, str]]:
        lens_name = settings.lens
        if any(lens_of(run, lens_name) is None for run in (*self.clean, *self.changed)):
            # Fitted lenses read clean runs alone; a comparison needs one lens for both.
            settings = replace(settings, lens=LOGIT)
        readings = [reading_of(runs, settings) for runs in (self.clean, self.changed)]
        lens = "" if settings.lens == lens_name else f", {lens_title(settings.lens)}"
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


def _layer(estimate: DepthEstimate | None) -> str:
    if estimate is None or estimate.count is None:
        return "–"
    return "1 layer" if estimate.count == 1 else f"{estimate.count} layers"


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


def pairs(group: RunGroup, groups: Sequence[RunGroup]) -> Pairs | None:
    """A what-if's prompts beside their clean runs; None for a clean group, or if none has one."""
    clean = [other for other in groups if other.is_clean_of(group)]
    return Pairs.of(clean, group) if clean else None
