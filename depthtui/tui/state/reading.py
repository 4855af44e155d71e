"""How depths are read in this session: the lens, the thresholds, whether token 0 counts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

from depthtui.data.lens import LENS_CLASSES
from depthtui.data.lens_view import lens_title
from depthtui.data.run import RunResult
from depthtui.depth import rules
from depthtui.metrics.chosen_lens import next_lens
from depthtui.settings import Settings

_THRESHOLD_STEPS = 20
"""Steps of a threshold between 0 and 1; neither end is a threshold."""


class Owner(Protocol):
    """Whose settings are turned."""

    settings: Settings

    def change(self, **changes: Any) -> None:
        """Replace some of the settings, for good."""


class ReadingChoices:
    """Turns what the settings say of that; only the lens is changed for good.

    Args:
        owner: whose settings these are.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._first = self._thresholds

    @property
    def _thresholds(self) -> dict[str, float]:
        return {name: getattr(self._owner.settings, name) for name in _options()}

    @property
    def thresholds_turned(self) -> bool:
        """Whether the thresholds are others than the session began with."""
        return self._thresholds != self._first

    def begin_with(self, **settings: Any) -> None:
        """Take what there is of thresholds among settings as what the session began with."""
        self._first |= {name: settings[name] for name in _options() if name in settings}

    def turn_threshold(self, name: str, steps: int) -> None:
        """Raise or lower a rule's threshold, an option, by steps, in this session."""
        self._set(**{name: _turned(self._thresholds[name], steps)})

    def reset_thresholds(self) -> None:
        """Take the thresholds that the session began with."""
        self._set(**self._first)

    def turn_token_0(self) -> None:
        """Leave token 0 out of means, or count it again, in this session."""
        self._set(include_first_token=not self._owner.settings.include_first_token)

    def turn_lens(self, *results: RunResult) -> str:
        """Read depths through the next lens that there is for these runs; in words, for people."""
        before = self._owner.settings.lens
        lens = next_lens(before, results)
        if lens == before:
            return "There is no other lens."
        self._owner.change(lens=lens)
        words = f"Depths are read through the {lens_title(lens)}."
        if any(result.get(LENS_CLASSES[lens]) is None for result in results):
            words += " It has not read this run yet: i has it read."
        return words

    def _set(self, **settings: Any) -> None:
        self._owner.settings = replace(self._owner.settings, **settings)


def _options() -> list[str]:
    """The options that set the thresholds of rules."""
    return [rule.threshold.option for rule in rules.ALL if rule.threshold.option]


def _turned(threshold: float, steps: int) -> float:
    """A threshold some steps up or down; one between two steps goes to the next first."""
    place = round(threshold * _THRESHOLD_STEPS, 6)
    turned = math.floor(place) + steps if steps > 0 else math.ceil(place) + steps
    return min(max(turned, 1), _THRESHOLD_STEPS - 1) / _THRESHOLD_STEPS
