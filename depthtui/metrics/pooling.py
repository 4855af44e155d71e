"""Runs of one model taken together, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from depthtui.data.depth import Curves
from depthtui.data.run import Result, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.spec import Metric


@dataclass(frozen=True)
class Pooled:
    """Runs of one model and what each metric says over all of them.

    Means are weighted by tokens. On-demand metrics are pooled over those prompts that have them.

    Attributes:
        results: one or more runs.
        settings: how they are pooled.
        curves: means over all tokens of all prompts.
    """

    results: Sequence[RunResult]
    settings: SummarySettings
    curves: Curves = field(default_factory=Curves)
    _held: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def n_layers(self) -> int:
        """L."""
        return self.results[0].model.n_layers

    @property
    def first_token(self) -> int:
        """The first token that counts."""
        return 0 if self.settings.include_first_token else 1

    def get(self, metric: Metric) -> Any:
        """The metric's pooled values; None where no run, or not every one it needs, has it."""
        if metric.name not in self._held:
            self._held[metric.name] = metric.pool(self)
        return self._held[metric.name]

    def count(self, metric: Metric) -> int:
        """How many runs have a metric, or the one that it is derived from."""
        name = metric.of or metric.name
        return sum(name in result.measured for result in self.results)

    def known(self, kind: type[Result]) -> list[Result]:
        """The results of those runs that have one."""
        return [found for result in self.results if (found := result.get(kind)) is not None]

    def by_prompt(self, kind: type[Result]) -> list[Result | None] | None:
        """The result of each run, or None where no run has one."""
        found = [result.get(kind) for result in self.results]
        return found if any(result is not None for result in found) else None

    def joined(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Arrays `[rows, T]` of several prompts as one, without the tokens that do not count."""
        return np.concatenate([values[:, self.first_token :] for values in rows], axis=1)
