"""Which runs of a session are summarised together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.metrics import ON_DEMAND
from depthtui.report.choices import choice_words, choices_that_matter, settled
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
        chosen: which part of the slower metrics was computed, in words; empty for all of them.
    """

    results: tuple[RunResult, ...]
    stopped: int = 0
    chosen: str = ""

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
        chosen = f", {self.chosen}" if self.chosen else ""
        where = f"{weights_dtype(self.model)} on {self.model.device}"
        return f"{self.model.name}, {where}{template}{left_out}{chosen}"

    def is_clean_of(self, other: Group) -> bool:
        """Whether this is the same as a what-if, with every layer on.

        What of the slower metrics was chosen does not matter: a what-if has none of them.
        """
        if not other.settings.skipped or self.settings.skipped:
            return False
        keys = [
            _model_key(group.model, replace(settled(group.results[0], ()), skipped=()))
            for group in (self, other)
        ]
        return keys[0] == keys[1]


def group_runs(results: Sequence[RunResult]) -> list[Group]:
    """Sort runs by model and settings.

    Runs that were stopped half-way would leave holes in the means: they are
    left out where the same model has finished ones.
    """
    choices = choices_that_matter(results)
    groups: dict[object, dict[Prompt, RunResult]] = {}
    for result in results:
        key = _model_key(result.model, settled(result, choices))
        group = groups.setdefault(key, {})
        before = group.pop(result.prompt, None)
        group[result.prompt] = result if result.complete or before is None else before
    return [_group(list(group.values()), choices) for group in groups.values()]


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
        replace(settings, lengths_before=(), order_texts=(), answer_start=-1, metrics=metrics),
    )


def _group(results: list[RunResult], choices: Collection[str]) -> Group:
    settings = settled(results[0], choices)
    # Every fourth of many layers is said by /4.
    layers = min(settings.layers, results[0].settings.layers, key=len)
    chosen = choice_words(replace(settings, layers=layers))
    complete = [result for result in results if result.complete]
    if not complete:
        return Group(tuple(results), chosen=chosen)
    return Group(tuple(complete), len(results) - len(complete), chosen)
