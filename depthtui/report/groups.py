"""Which runs of a session are summarised together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.metrics import ON_DEMAND
from depthtui.report.skips import without
from depthtui.report.summary import weights_dtype

_POOLED_WHERE_THEY_ARE = frozenset(metric.name for metric in ON_DEMAND)


@dataclass(frozen=True)
class Group:
    """Runs of one model with one set of settings.

    Attributes:
        results: the runs, in the order they were made; of a prompt that was run
            twice, the last.
        stopped: how many runs were left out because they were stopped half-way.
    """

    results: tuple[RunResult, ...]
    stopped: int = 0

    @property
    def model(self) -> ModelInfo:
        return self.results[0].model

    @property
    def settings(self) -> RunSettings:
        return self.results[0].settings

    @property
    def title(self) -> str:
        """The model and how it was run, such as `SmolLM2-135M-Instruct, float32 on cpu`."""
        settings = self.settings
        template = ", chat template" if settings.chat_template else ""
        left_out = f", {without(settings.skipped)}" if settings.skipped else ""
        where = f"{weights_dtype(self.model)} on {self.model.device}"
        return f"{self.model.name}, {where}{template}{left_out}"

    def is_clean_of(self, other: Group) -> bool:
        """Whether this is the same as a what-if, with every layer on."""
        if not other.settings.skipped:
            return False
        clean = replace(other.settings, skipped=())
        return _model_key(self.model, self.settings) == _model_key(other.model, clean)


def group_runs(results: Sequence[RunResult]) -> list[Group]:
    """Sort runs by model and settings.

    Runs that were stopped half-way would leave holes in the means: they are
    left out where the same model has finished ones.
    """
    groups: dict[object, dict[Prompt, RunResult]] = {}
    for result in results:
        group = groups.setdefault(_model_key(result.model, result.settings), {})
        before = group.pop(result.prompt, None)
        group[result.prompt] = result if result.complete or before is None else before
    return [_group(list(group.values())) for group in groups.values()]


def _model_key(model: ModelInfo, settings: RunSettings) -> object:
    # The slower metrics are pooled over the runs that have them.
    metrics = tuple(metric for metric in settings.metrics if metric not in _POOLED_WHERE_THEY_ARE)
    return (
        model.name,
        model.source,
        model.revision,
        model.fingerprint,
        model.dtype,
        model.quantize,
        model.device,
        # What differs from prompt to prompt is not a setting of the group.
        replace(settings, lengths_before=(), answer_start=-1, metrics=metrics),
    )


def _group(results: list[RunResult]) -> Group:
    complete = [result for result in results if result.complete]
    if not complete:
        return Group(tuple(results))
    return Group(tuple(complete), stopped=len(results) - len(complete))
