"""How depths are read in this session: the lens, the thresholds, whether token 0 counts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

from depthtui.data.lens import LENS_CLASSES
from depthtui.data.lens_view import LENS_METRICS, lens_heading
from depthtui.data.protocol import Pace
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.metrics.estimates import about_time
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.options import Option, options_of

_THRESHOLD_STEPS = 20
"""Steps of a threshold between 0 and 1; neither end is a threshold."""


class Owner(Protocol):
    """The owner of the settings that are changed."""

    settings: Any

    def change(self, **changes: Any) -> None:
        """Change some settings for good."""


class ReadingChoices:
    """Changes how depths are read; only the lens is changed for good.

    Args:
        owner: the owner of the settings.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.first = self.now

    @property
    def now(self) -> dict[str, Any]:
        """The choices, by their options."""
        return {name: getattr(self._owner.settings, name) for name in reading_options()}

    @property
    def thresholds_turned(self) -> bool:
        """Whether the thresholds differ from those that the session began with."""
        return any(self.now[name] != self.first[name] for name in _thresholds())

    def begin_with(self, **settings: Any) -> None:
        """Set the choices among these settings as those that the session began with."""
        self.first |= {name: settings[name] for name in self.first if name in settings}

    def turn_threshold(self, name: str, steps: int) -> None:
        """Raise or lower the threshold of a rule's option by steps, in this session."""
        self.set(**{name: turn_threshold(self.now[name], steps)})

    def set(self, **choices: Any) -> None:
        """Change how depths are read in this session."""
        self._owner.settings = replace(self._owner.settings, **choices)

    def keep(self, **choices: Any) -> None:
        """Change how depths are read in this session, and the lens for good."""
        self._owner.change(lens=choices.get("lens", self.now["lens"]))
        self.set(**choices)


def reading_options() -> dict[str, Option]:
    """The options that say how depths are read, by their names."""
    options = options_of(SummarySettings)
    return {name: options[name] for name in ("lens", *_thresholds(), "include_first_token")}


def _thresholds() -> list[str]:
    """The options that set the thresholds of rules."""
    return [rule.threshold.option for rule in rules.ALL if rule.threshold.option]


def turn_threshold(threshold: float, steps: int) -> float:
    """A threshold moved by steps; one between two steps goes to the next first."""
    place = round(threshold * _THRESHOLD_STEPS, 6)
    turned_place = math.floor(place) + steps if steps > 0 else math.ceil(place) + steps
    return min(max(turned_place, 1), _THRESHOLD_STEPS - 1) / _THRESHOLD_STEPS


def needed_for_lens(lens: str, result: RunResult, pace: Pace) -> str:
    """The metric that a lens needs before it reads a run, and its time, in words; else empty."""
    if result.get(LENS_CLASSES[lens]) is not None:
        return ""
    metric, title = METRIC_BY_NAME.get(LENS_METRICS[lens]), lens_heading(lens)
    reason = metric.why_unavailable(result) if metric is not None else "it is unavailable"
    if metric is None or reason:
        return f"{title}: {reason}."
    time = about_time(metric, result, pace) or "no estimate yet"
    if metric.name not in pace.prepared and metric.preparation(result):
        return f"{title}: not fitted yet. i fits it and reads this run: {time}."
    return f"{title}: it has not read this run. i reads the run: {time}."
