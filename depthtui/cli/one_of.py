"""One of some names as a value; an error for another has the similar ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from depthtui.errors import did_you_mean


class OneOf(click.Choice[str]):
    """One of some names or their aliases; the error for another name has similar ones."""

    def __init__(self, choices: Sequence[str], aliases: Mapping[str, str] | None = None) -> None:
        super().__init__(choices)
        self.aliases = aliases or {}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name in a text."""
        name = self.aliases.get(value, value)
        if name not in self.choices:
            raise click.BadParameter(no_such(name, self.choices), ctx, param)
        return super().convert(name, param, ctx)


def no_such(name: str, names: Sequence[str]) -> str:
    """The error for an unknown name: all names, and the similar ones."""
    return f"{name!r} is not one of {', '.join(names)}.{did_you_mean(name, names)}"
