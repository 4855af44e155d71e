"""Which part of the slower metrics was computed, and what replaces layers left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from depthtui.data.run import RunResult
from depthtui.data.run_settings import CHOICES, RunSettings
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import noun_for, plural
from depthtui.metrics.choices import chosen_layers, stand_in_words
from depthtui.metrics.registry import METRIC_BY_NAME


def choices_of(metrics: Iterable[str]) -> set[str]:
    """The choices that change values of these metrics."""
    return {
        choice
        for metric in METRIC_BY_NAME.keys() & set(metrics)
        for choice in CHOICES
        if choice in METRIC_BY_NAME[metric].depends_on
    }


def choices_that_matter(results: Iterable[RunResult]) -> set[str]:
    """The choices that change values of the clean runs among these; what-ifs are ignored."""
    return {
        choice
        for result in results
        if result.settings.is_clean
        for choice in choices_of((*result.settings.metrics, *result.measured))
    }


def choosing_only(settings: RunSettings, choices: Iterable[str]) -> RunSettings:
    """The settings with only these choices, without choices that change nothing."""
    names = {*choices} if settings.is_clean else set()
    if not settings.erase_search:
        names.discard("erase_threshold")
    return replace(settings, **{name: getattr(RunSettings, name) for name in {*CHOICES} - names})


def canonical_settings(result: RunResult, choices: Iterable[str]) -> RunSettings:
    """A run's settings with only these choices, its layers in one notation: empty for all."""
    settings = choosing_only(result.settings, choices)
    layers = numbers_text(chosen_layers(result), ",") if settings.layers else ""
    return replace(settings, layers=layers)


def choice_words(settings: RunSettings) -> str:
    """The choices, and what replaces a layer left out; empty without either."""
    return ", ".join(filter(None, [part_words(settings), stand_in_words(settings)]))


def part_words(settings: RunSettings) -> str:
    """The chosen part, such as `layers 0-5,20, 32 tokens erased`; empty for everything."""
    positions, n_erased = settings.skip_positions, settings.erase_tokens
    tokens = noun_for(len(positions), "token")
    words = {
        f"layers {settings.layers}": settings.layers,
        f"skipped before {tokens} {numbers_text(positions, ',')}": positions,
        f"{plural(n_erased, 'token')} erased": n_erased,
        "spans erased first": settings.erase_search == "spans",
        f"depths bisected at {settings.erase_threshold:g}": settings.erase_search,
    }
    return ", ".join(text for text, is_chosen in words.items() if is_chosen)
