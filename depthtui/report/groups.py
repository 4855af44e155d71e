"""Groups of runs for a report, and the readings of those that are pooled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from depthtui.data.model import ModelInfo, weights_dtype
from depthtui.data.pool import POOLS, Pool
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics.registry import ON_DEMAND
from depthtui.report.choices import canonical_settings, choice_words, choices_that_matter
from depthtui.report.skips import changes_of


@dataclass(frozen=True)
class PooledRuns:
    """Runs that are pooled, and their reading.

    Attributes:
        reading: the reading of the runs; of several runs of one prompt, only the last one's.
        n_stopped: number of runs left out because they were stopped half-way.
    """

    reading: Reading
    n_stopped: int = 0

    @property
    def results(self) -> Sequence[RunResult]:
        """The runs, in the order they were made."""
        return self.reading.runs


@dataclass(frozen=True)
class RunGroup:
    """Runs of one model with one set of settings.

    Documents, files and comparisons all use the readings of its parts.

    Attributes:
        parts: the runs, in a part for each set that is pooled.
        choices: which part of the slower metrics was computed, in words; empty for all of them.
    """

    parts: tuple[PooledRuns, ...]
    choices: str = ""

    @property
    def results(self) -> list[RunResult]:
        """The runs of all parts."""
        return [run for part in self.parts for run in part.results]

    @property
    def model(self) -> ModelInfo:
        """The model of all runs."""
        return self.results[0].model

    @property
    def settings(self) -> RunSettings:
        """The settings of the first run."""
        return self.results[0].settings

    @property
    def title(self) -> str:
        """The model and how it was run, such as `SmolLM2-135M-Instruct, float32 on cpu`."""
        settings = self.settings
        template = ", chat template" if settings.chat_template else ""
        changes = "" if settings.is_clean else f", {changes_of(settings)}"
        chosen = f", {self.choices}" if self.choices else ""
        ranks = self.model.spec.tensor_parallel
        shared = f", over {ranks} ranks" if ranks > 1 else ""
        where = f"{weights_dtype(self.model)} on {self.model.device}{shared}"
        return f"{self.model.name}, {where}{template}{changes}{chosen}"

    def is_clean_of(self, other: RunGroup) -> bool:
        """Whether this group is the clean counterpart of a what-if, with every layer on.

        The chosen part of the slower metrics does not matter: a what-if has none of them.
        """
        if other.settings.is_clean or not self.settings.is_clean:
            return False
        keys = [
            _model_key(group.model, canonical_settings(group.results[0], ()).clean)
            for group in (self, other)
        ]
        return keys[0] == keys[1]


def group_runs(
    results: Sequence[RunResult], settings: SummarySettings, pool: Pool = "model"
) -> list[RunGroup]:
    """Sort runs by model and settings.

    Runs that were stopped half-way would leave holes in means: they are left out where finished
    runs are pooled.

    Args:
        results: the runs.
        settings: how they are read.
        pool: which prompts of each model are pooled.
    """
    choices = choices_that_matter(results)
    return [
        RunGroup(
            tuple(_pooled_runs(part, settings) for part in _parts(runs, pool)),
            _chosen_words(runs, choices),
        )
        for runs in _by_model(results, choices)
    ]


def pools_of(results: Sequence[RunResult]) -> list[Pool]:
    """The ways to pool some runs, without ways that pool the same runs; `none` first."""
    by_count: dict[int, Pool] = {}
    groups = _by_model(results, choices_that_matter(results))
    for pool in POOLS:
        # Each way joins parts of the way before it: as many parts are the same parts.
        by_count.setdefault(sum(len(_parts(runs, pool)) for runs in groups), pool)
    return list(by_count.values())


def _by_model(results: Sequence[RunResult], choices: Collection[str]) -> list[list[RunResult]]:
    """The runs of each model with each set of settings."""
    groups: dict[object, list[RunResult]] = {}
    for result in results:
        key = _model_key(result.model, canonical_settings(result, choices))
        groups.setdefault(key, []).append(result)
    return list(groups.values())


def _model_key(model: ModelInfo, settings: RunSettings) -> object:
    # The slower metrics are pooled over the runs that have them.
    on_demand = {metric.name for metric in ON_DEMAND}
    metrics = tuple(name for name in settings.metrics if name not in on_demand)
    return (
        model.name,
        model.source,
        model.revision,
        model.fingerprint,
        model.dtype,
        model.quantize,
        model.device,
        model.states_from,
        # A setting that differs from prompt to prompt is not one of the group.
        replace(
            settings,
            lengths_before=(),
            order_texts=(),
            order_answers=(),
            task_answers=(),
            answer_start=-1,
            metrics=metrics,
        ),
    )


def _chosen_words(results: Sequence[RunResult], choices: Collection[str]) -> str:
    """Which part of the slower metrics was computed, in words; empty for all of them."""
    settings = canonical_settings(results[0], choices)
    # Steps such as /4 are shorter than the list of every fourth layer.
    layers = min(settings.layers, results[0].settings.layers, key=len)
    return choice_words(replace(settings, layers=layers))


def _parts(results: Sequence[RunResult], pool: Pool) -> list[list[RunResult]]:
    """The runs of one model, in a part for each set that is pooled."""
    parts: dict[object, list[RunResult]] = {}
    for number, result in enumerate(results):
        parts.setdefault(_pool_key(number, result.prompt, pool), []).append(result)
    return list(parts.values())


def _pool_key(number: int, prompt: Prompt, pool: Pool) -> object:
    """The key that all prompts of one pool share; `number` is the run's own."""
    if pool == "model":
        return ""
    if pool == "task" and prompt.has_task:
        return prompt.source, prompt.level
    return number


def _pooled_runs(results: Sequence[RunResult], settings: SummarySettings) -> PooledRuns:
    by_prompt: dict[Prompt, RunResult] = {}
    for result in results:
        earlier = by_prompt.pop(result.prompt, None)
        by_prompt[result.prompt] = result if result.complete or earlier is None else earlier
    latest = list(by_prompt.values())
    complete = [result for result in latest if result.complete] or latest
    return PooledRuns(reading_of(complete, settings), len(latest) - len(complete))
