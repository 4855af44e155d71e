"""The settings as a list: the value of each, its source, and changes not written yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

from depthtui.data.run_settings import RunSettings
from depthtui.errors import DepthError
from depthtui.options import WrongValue, options_of
from depthtui.settings import (
    SHOWN_ONCE,
    Settings,
    change_settings,
    default_cache_dir,
    load_settings,
    settings_in_file,
)
from depthtui.tui.state.explorer import Explorer

OWN_GROUP = "Explorer"
"""The heading over settings without a group."""

MOST_CYCLED = 4
"""With more choices than these, one is picked from a list."""

IN_FILE_ALONE = {"commands": "Commands are written in the settings file: depthtui help settings."}
"""Settings that no dialog changes, and why."""


class Source(Enum):
    """The source of a setting's value; the value is the text that people read."""

    DEFAULT = "default"
    FILE = "settings file"
    COMMAND_LINE = "command line"
    SESSION = "this session"
    ENVIRONMENT = "environment"
    UNWRITTEN = "not written"


class EffectTime(Enum):
    """When a changed setting takes effect; the value is the text that people read."""

    AT_ONCE = "at once"
    NEXT_RUN = "from the next run on"
    NEXT_START = "from the next start on"


@dataclass(frozen=True)
class SettingRow:
    """A setting as people read it; `value` and `default` are untrusted text."""

    name: str
    group: str
    help: str
    value: str
    default: str
    source: Source
    effect: EffectTime

    @property
    def words(self) -> str:
        """The text that a search looks through."""
        return f"{self.name} {self.group} {self.help} {self.value} {self.source.value}"


class SettingsList:
    """Every option of the settings file, and the changes to them.

    Changes that can take effect at once do; all end with the session unless they are written.

    Args:
        explorer: the owner of the settings.
        path: the settings file; None for the user's own.
        choices: for settings without declared choices, the values by their labels.

    Attributes:
        problem: why the file cannot be read, in words; empty if it can.
    """

    def __init__(
        self, explorer: Explorer, path: Path | None, choices: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._explorer = explorer
        self._path = path
        self._choices = choices
        self._touched: set[str] = set()
        self._later: dict[str, Any] = {}
        self._file = Settings()
        self._names_in_file: frozenset[str] = frozenset()
        self.problem = ""
        self.read_file()

    def read_file(self) -> None:
        """Read the file again."""
        try:
            self._file = load_settings(self._path)
            self._names_in_file = settings_in_file(self._path)
            self.problem = ""
        except DepthError as error:
            self._file, self._names_in_file, self.problem = Settings(), frozenset(), str(error)

    def rows(self) -> Iterator[tuple[str, list[SettingRow]]]:
        """The rows by group."""
        rows = sorted(map(self.row, options_of(Settings)), key=self._group_order)
        for group, members in groupby(rows, lambda row: row.group):
            yield group, list(members)

    def row(self, name: str) -> SettingRow:
        """The row of a setting."""
        option = options_of(Settings)[name]
        return SettingRow(
            name,
            option.group or OWN_GROUP,
            option.sentence,
            self._as_text(name, self.value(name)),
            self._as_text(name, getattr(Settings(), name)),
            self._source(name),
            effect_of(name),
        )

    @staticmethod
    def _group_order(row: SettingRow) -> int:
        groups = [option.group or OWN_GROUP for option in options_of(Settings).values()]
        return groups.index(row.group)

    def value(self, name: str) -> Any:
        """The value of a setting, or its value from the next start on."""
        return self._later.get(name, getattr(self._explorer.settings, name))

    def typed(self, name: str) -> str:
        """A setting's value as a user would type it."""
        return options_of(Settings)[name].text(self.value(name))

    @staticmethod
    def is_number(name: str) -> bool:
        """Whether the values of a setting are numbers."""
        return options_of(Settings)[name].is_number

    def choices(self, name: str) -> Mapping[str, Any]:
        """The possible values of a setting by their labels; empty for any text."""
        option = options_of(Settings)[name]
        if option.kind is bool:
            return {"true": True, "false": False}
        return self._choices.get(name) or {choice: choice for choice in option.choices}

    def type(self, name: str, text: str) -> None:
        """Set a setting to a typed value.

        Raises:
            WrongValue: the value is invalid; the text says what it must be.
        """
        self.choose(name, options_of(Settings)[name].parse_text(text.strip()))

    def choose(self, name: str, value: Any) -> None:
        """Set a setting to a valid value."""
        self._touched.add(name)
        if effect_of(name) is EffectTime.NEXT_START:
            self._later[name] = value
        else:
            self._explorer.change_session(**{name: value})

    def cycle(self, name: str) -> None:
        """Set a setting to its next choice."""
        values = list(self.choices(name).values())
        now = self.value(name)
        self.choose(name, values[(values.index(now) + 1) % len(values) if now in values else 0])

    def reset(self, name: str) -> None:
        """Set a setting to its default."""
        self.choose(name, getattr(Settings(), name))

    @property
    def unwritten(self) -> dict[str, Any]:
        """The changes made here that differ from the file."""
        values = {name: self.value(name) for name in options_of(Settings) if name in self._touched}
        return {name: value for name, value in values.items() if value != self._value_in_file(name)}

    def write(self) -> Path:
        """Write the changes into the file; everything else in it stays as it is.

        Raises:
            DepthError: the file cannot be written, and stays as it was.
        """
        path = change_settings(self.unwritten, self._path)
        self._touched.clear()
        self.read_file()
        return path

    def _value_in_file(self, name: str) -> Any:
        return getattr(self._file, name)

    def _source(self, name: str) -> Source:
        value, options = self.value(name), self._explorer.given_options
        if name in self.unwritten:
            return Source.UNWRITTEN
        if name in options and options[name] == value:
            return Source.COMMAND_LINE
        if value != self._value_in_file(name):
            return Source.SESSION
        if name == "cache_dir" and value is None and os.environ.get("DEPTHTUI_CACHE_DIR"):
            return Source.ENVIRONMENT
        return Source.FILE if name in self._names_in_file else Source.DEFAULT

    def _as_text(self, name: str, value: Any) -> str:
        if name == "commands":
            return f"{len(value)} of your own" if value else "none"
        if name == "keys":
            return f"{len(value)} remapped" if value else "none remapped"
        if name == "cache_dir" and value is None:
            return str(default_cache_dir())
        labels = [label for label, choice in self.choices(name).items() if choice == value]
        return labels[0] if labels else options_of(Settings)[name].text(value)


def effect_of(name: str) -> EffectTime:
    """When a change of a setting takes effect."""
    if options_of(Settings)[name].group == "Cache" or name in ("last_model", *SHOWN_ONCE):
        return EffectTime.NEXT_START
    if name in IN_FILE_ALONE:
        return EffectTime.NEXT_START
    return EffectTime.NEXT_RUN if name in options_of(RunSettings) else EffectTime.AT_ONCE


def wrong(name: str, error: WrongValue) -> str:
    """Why a setting cannot have the typed value, as a sentence."""
    return f"{name} must be {error}."
