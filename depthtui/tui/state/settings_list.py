"""The settings as a list: what each is now, where that comes from, and what is not written yet."""

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
    Settings,
    change_settings,
    default_cache_dir,
    load_settings,
    settings_said,
)
from depthtui.tui.state.explorer import Explorer

OWN_GROUP = "Explorer"
"""The heading over what has no group of its own."""

MOST_CYCLED = 4
"""With more choices than these, one is picked from a list."""


class Source(Enum):
    """Where a setting's value comes from; the value is what people read."""

    DEFAULT = "default"
    FILE = "settings file"
    COMMAND_LINE = "command line"
    SESSION = "this session"
    ENVIRONMENT = "environment"
    UNWRITTEN = "not written"


class Effect(Enum):
    """When a changed setting is heeded; the value is what people read."""

    AT_ONCE = "at once"
    NEXT_RUN = "from the next run on"
    NEXT_START = "from the next start on"


@dataclass(frozen=True)
class Row:
    """A setting as people read it; `value` and `default` are untrusted text."""

    name: str
    group: str
    help: str
    value: str
    default: str
    source: Source
    effect: Effect

    @property
    def words(self) -> str:
        """The text that a search looks through."""
        return f"{self.name} {self.group} {self.help} {self.value} {self.source.value}"


class SettingsList:
    """Every option of the settings file, and what was changed of them.

    What can be heeded at once is; all of it is forgotten with the session unless it is written.

    Args:
        explorer: whose settings these are.
        path: the settings file; None for the user's own.
        choices: of settings whose choices are not declared: what is shown to what is kept.

    Attributes:
        problem: why the file cannot be read, in words; empty where it can.
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
        self._said: frozenset[str] = frozenset()
        self.problem = ""
        self.read_file()

    def read_file(self) -> None:
        """Look what the file says now."""
        try:
            self._file, self._said = load_settings(self._path), settings_said(self._path)
            self.problem = ""
        except DepthError as error:
            self._file, self._said, self.problem = Settings(), frozenset(), str(error)

    def rows(self) -> Iterator[tuple[str, list[Row]]]:
        """The rows by group."""
        rows = sorted(map(self.row, options_of(Settings)), key=self._group_order)
        for group, members in groupby(rows, lambda row: row.group):
            yield group, list(members)

    def row(self, name: str) -> Row:
        """One setting."""
        option = options_of(Settings)[name]
        return Row(
            name,
            option.group or OWN_GROUP,
            option.sentence,
            self._shown(name, self.value(name)),
            self._shown(name, getattr(Settings(), name)),
            self._source(name),
            effect_of(name),
        )

    @staticmethod
    def _group_order(row: Row) -> int:
        groups = [option.group or OWN_GROUP for option in options_of(Settings).values()]
        return groups.index(row.group)

    def value(self, name: str) -> Any:
        """What a setting is now, or will be from the next start on."""
        return self._later.get(name, getattr(self._explorer.settings, name))

    def typed(self, name: str) -> str:
        """A setting's value as it is typed."""
        return options_of(Settings)[name].text(self.value(name))

    def choices(self, name: str) -> Mapping[str, Any]:
        """What a setting can be: as it is shown, to what it is; empty for any text."""
        option = options_of(Settings)[name]
        if option.kind is bool:
            return {"true": True, "false": False}
        return self._choices.get(name) or {choice: choice for choice in option.choices}

    def type(self, name: str, text: str) -> None:
        """Give a setting the value that somebody typed.

        Raises:
            WrongValue: it cannot have it; the text is what it must be.
        """
        self.choose(name, options_of(Settings)[name].parse_text(text.strip()))

    def choose(self, name: str, value: Any) -> None:
        """Give a setting a value that it can have."""
        self._touched.add(name)
        if effect_of(name) is Effect.NEXT_START:
            self._later[name] = value
        else:
            self._explorer.take(**{name: value})

    def cycle(self, name: str) -> None:
        """Give a setting the choice after the one that it is."""
        values = list(self.choices(name).values())
        now = self.value(name)
        self.choose(name, values[(values.index(now) + 1) % len(values) if now in values else 0])

    def reset(self, name: str) -> None:
        """Give a setting its default."""
        self.choose(name, getattr(Settings(), name))

    @property
    def unwritten(self) -> dict[str, Any]:
        """What was changed here and is not what the file says."""
        values = {name: self.value(name) for name in options_of(Settings) if name in self._touched}
        return {name: value for name, value in values.items() if value != self._said_of(name)}

    def write(self) -> Path:
        """Write what was changed here into the file; everything else in it stays as it is.

        Raises:
            DepthError: it cannot be written; the file is as it was.
        """
        path = change_settings(self.unwritten, self._path)
        self._touched.clear()
        self.read_file()
        return path

    def _said_of(self, name: str) -> Any:
        return getattr(self._file, name)

    def _source(self, name: str) -> Source:
        value, given = self.value(name), self._explorer.given
        if name in self.unwritten:
            return Source.UNWRITTEN
        if name in given and given[name] == value:
            return Source.COMMAND_LINE
        if value != self._said_of(name):
            return Source.SESSION
        if name == "cache_dir" and value is None and os.environ.get("DEPTHTUI_CACHE_DIR"):
            return Source.ENVIRONMENT
        return Source.FILE if name in self._said else Source.DEFAULT

    def _shown(self, name: str, value: Any) -> str:
        if name == "keys":
            return f"{len(value)} remapped" if value else "none remapped"
        if name == "cache_dir" and value is None:
            return str(default_cache_dir())
        shown = [label for label, choice in self.choices(name).items() if choice == value]
        return shown[0] if shown else options_of(Settings)[name].text(value)


def effect_of(name: str) -> Effect:
    """When a change of a setting is heeded."""
    if options_of(Settings)[name].group == "Cache" or name in ("last_model", "welcome"):
        return Effect.NEXT_START
    return Effect.NEXT_RUN if name in options_of(RunSettings) else Effect.AT_ONCE


def wrong(name: str, error: WrongValue) -> str:
    """Why a setting cannot have what was typed, as a sentence."""
    return f"{name} must be {error}."
