"""Sentences in panes: made safe, and broken into lines."""

from __future__ import annotations

from rich.cells import cell_len

from depthtui.data.lens_view import LENS_METRICS, LOGIT, why_unread
from depthtui.data.model import PART_TITLES
from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.metrics import logit_lens
from depthtui.metrics.choices import stand_in_words
from depthtui.metrics.estimates import about_time
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.spec import Metric
from depthtui.token_text import fit_shown, printable_sentence

BEFORE_EACH_LAYER = " · before each layer"
"""The end of the title of a pane whose row l is the residual stream that layer l reads."""

NOT_TIMED = "not timed on this model yet"
"""The time of a metric that this model has not computed."""


def wrap(text: str, width: int) -> list[str]:
    """Printable text broken at spaces into lines of at most `width` cells."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word if cell_len(word) <= width else fit_shown(word, width))
    return lines


def skip_words(result: RunResult) -> str:
    """The part that a run's skip effects leave out, such as `MLP skipped`, and its replacement.

    Empty for the paper's choice.
    """
    part, everywhere = result.settings.skip_part, result.settings.skip_everywhere
    effects = result.get(SkipEffects)
    if effects is not None:
        part, everywhere = effects.part, effects.positions == (0,)
    tokens = " at all tokens" if everywhere else ""
    is_papers = part == "layer" and not everywhere
    skipped = "" if is_papers else f"{PART_TITLES[part]} skipped{tokens}"
    return ", ".join(filter(None, (skipped, stand_in_words(result.settings))))


def no_lens(
    result: RunResult,
    lens: str,
    pace: Pace | None = None,
    help_text: str = "",
    key: str = "i",
) -> tuple[str, str]:
    """Why a lens has not read a run, and what helps.

    Args:
        result: a run.
        lens: the lens, by its name in `LENSES`.
        pace: the timings for an estimate; None where the lens cannot be computed here.
        help_text: advice where the logit lens was not requested.
        key: the keys that compute the lens.
    """
    metric = logit_lens.METRIC
    if lens != LOGIT:
        other = "u chooses another lens."
        fitted = METRIC_BY_NAME.get(LENS_METRICS[lens])
        if fitted is None or pace is None or result.model.lens_missing:
            reason = why_unread(result.unavailable, result.model, lens)
            return printable_sentence(f"{reason}."), other
        reason, help_text = not_computed(result, fitted, pace, key)
        return reason, f"{help_text} {other}".strip()
    if metric.name in result.unavailable:
        reason = f"{metric.title} is unavailable: {result.unavailable[metric.name]}"
        return printable_sentence(reason), ""
    return "This run has no logit lens.", help_text


def not_computed(result: RunResult, metric: Metric, pace: Pace, key: str = "i") -> tuple[str, str]:
    """Why a run lacks a slower metric, and what helps; `key` computes the metric."""
    if reason := result.unavailable.get(metric.name) or metric.why_unavailable(result):
        return f"{metric.title} is unavailable: {printable_sentence(reason)}.", ""
    if metric.name in result.settings.metrics:
        return f"{metric.title} is being computed.", "esc stops it and keeps what is done."
    time = about_time(metric, result, pace)
    in_time = f" in {time}" if time else f", {NOT_TIMED}"
    return f"{metric.title}: {metric.description}", f"{key} computes it{in_time}."
