"""The settings of a run, with all that its metrics need."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from depthtui.data.lens_view import LENS_METRICS, LOGIT
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.metrics import accuracy, adapter, kept, kept_heads, parts, task_guess
from depthtui.metrics.layer_order import TEXTS
from depthtui.metrics.registry import METRIC_BY_NAME, depending_on, named_metrics
from depthtui.metrics.resampling import FEWEST_UNITS

_MOST_ANSWERS = 100
"""The most prompts of a task that are guessed from each other; more are parted."""


def with_lens_metric(settings: RunSettings, lens: str) -> RunSettings:
    """The settings of a run that is to be read through a lens: a fitted lens's metric is added."""
    metric = LENS_METRICS[lens]
    if lens == LOGIT or metric in settings.metrics or metric not in METRIC_BY_NAME:
        return settings
    return replace(settings, metrics=(*settings.metrics, metric))


def with_adapter_metric(settings: RunSettings, spec: ModelSpec) -> RunSettings:
    """The settings of a run; a model with an adapter is also measured beside its base.

    Where metrics are named, only these are measured.
    """
    if not spec.adapter or named_metrics(settings):
        return settings
    return replace(settings, metrics=(*settings.metrics, adapter.NAME))


def depends_on_former_prompts(settings: RunSettings) -> bool:
    """Whether the lengths of the prompts before this one matter (paper, metric 2)."""
    names = {metric.name for metric in depending_on("lengths_before")}
    return not names.isdisjoint(settings.metrics)


def with_lengths_before(settings: RunSettings, before: Iterable[RunResult]) -> RunSettings:
    """The settings of a run after other runs (paper, metric 2)."""
    if not depends_on_former_prompts(settings):
        return settings
    return replace(settings, lengths_before=tuple(len(run.tokens) for run in before))


def with_other_prompts(
    settings: RunSettings,
    prompts: Sequence[Prompt],
    number: int,
    writes: bool = False,
    before: Iterable[RunResult] = (),
) -> RunSettings:
    """The settings of one of several runs: with all that it needs of the other prompts.

    Args:
        settings: settings of every run.
        prompts: the prompts that are run together.
        number: index of the run's prompt in `prompts`.
        writes: whether the model writes the answers, which are not known before.
        before: the runs before this one, where they are known.
    """
    settings = _with_accuracy(with_lengths_before(settings, before), prompts[number])
    if {kept.NAME, parts.NAME, kept_heads.NAME}.isdisjoint(settings.metrics):
        return settings
    prompt = prompts[number]
    if settings.order_source == "own":
        settings = _with_order_texts(settings, prompts, number)
    if writes:
        return settings
    alike = [
        other
        for other in prompts
        if (other.source, other.level) == (prompt.source, prompt.level)
        and bool(other.answer) == bool(prompt.answer)
    ]
    place = alike.index(prompt)
    if settings.order_source != "own":
        settings = _with_order_texts(settings, alike, place)
    is_of_task = prompt.has_task and bool(prompt.answer)
    return _with_task_answers(settings, alike, place) if is_of_task else settings


def _with_accuracy(settings: RunSettings, prompt: Prompt) -> RunSettings:
    """With right answers where the prompt has choices, unless metrics are named."""
    others = tuple(name for name in settings.metrics if name != adapter.NAME)
    if not prompt.choices or named_metrics(replace(settings, metrics=others)):
        return settings
    return replace(settings, metrics=(*settings.metrics, accuracy.METRIC.name))


def _with_order_texts(settings: RunSettings, prompts: Sequence[Prompt], number: int) -> RunSettings:
    """With the prompts of the other half, on which its own order is found; the halves are drawn."""
    half = random.Random(settings.seed).sample(range(len(prompts)), len(prompts) // 2)
    others = [prompt for place, prompt in enumerate(prompts) if (place in half) != (number in half)]
    # Beside the model's order, the own one is found on as many texts.
    most = len(others) if settings.order_source == "own" else TEXTS
    texts = tuple(prompt.text for prompt in others[:most])
    answers = tuple(prompt.answer for prompt in others[:most])
    return replace(settings, order_texts=texts, order_answers=answers if any(answers) else ())


def _with_task_answers(
    settings: RunSettings, of_task: Sequence[Prompt], number: int
) -> RunSettings:
    """With the answers of its task, where they are enough."""
    if len(of_task) < FEWEST_UNITS:
        return settings
    parts = np.array_split(range(len(of_task)), -(-len(of_task) // _MOST_ANSWERS))
    (places,) = (part for part in parts if number in part)
    answers = tuple(dict.fromkeys(of_task[place].answer for place in places))
    metrics = tuple(dict.fromkeys((*settings.metrics, task_guess.NAME)))
    return replace(settings, metrics=metrics, task_answers=answers)
