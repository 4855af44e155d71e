"""What a setting is for and which values it can have, said once, where it is declared.

    top_k: Annotated[int, Option("Tokens that the lens lists.", least=1)] = 10

Settings file, plans, command line and dialogs read values by these declarations.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from depthtui.files import parse_json


class WrongValue(ValueError):
    """A value that an option cannot have; the text is what it must be: `a number from 0 to 1`."""


@dataclass(frozen=True)
class Option:
    """What a field of a dataclass of settings means.

    Attributes:
        help: one sentence, for `--help`.
        least: the smallest number.
        most: the largest number; None for any.
        above_least: whether `least` itself is too small.
        choices: the texts that it can be; empty for any.
        read: reads a value of another kind; raises `WrongValue`.
        aliases: other texts for choices, each with its choice, as `bf16` and `bfloat16`.
        switch: the command line's name for a flag that is on by default, and turned off by it.
        flag: the command line's name where it is another than the field's.
        label: what a form calls it; known from `options_of` where it is its name.
        words: what a form calls its choices, where the first of them is the default.
        example: what a form shows in place of the default.
        group: the heading that the explorer lists it under; empty for what is its own.
        write: how a value is typed, where it is not its text that `read` understands.
        kind: the field's type; known from `options_of`.
        default: the field's default; known from `options_of`.
    """

    help: str
    least: float = 0
    most: float | None = None
    above_least: bool = False
    choices: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    read: Callable[[Any], Any] | None = None
    switch: str = ""
    flag: str = ""
    label: str = ""
    words: tuple[str, ...] = ()
    example: str = ""
    group: str = ""
    write: Callable[[Any], str] = str
    kind: Any = str
    default: Any = None

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if self.kind is str:
            return "text in quotes"
        number = "a whole number" if self.kind is int else "a number"
        if self.most is None:
            return f"{number} of at least {self.least:g}"
        if self.above_least:
            return f"{number} above {self.least:g} and of at most {self.most:g}"
        return f"{number} from {self.least:g} to {self.most:.10g}"

    @property
    def sentence(self) -> str:
        """The help for people; that of a switch tells what is so where it is off."""
        return f"Off: {self.help[:1].lower()}{self.help[1:]}" if self.switch else self.help

    @property
    def is_free_text(self) -> bool:
        """Whether any text is a value."""
        return self.kind is str and self.read is None and not self.choices

    @property
    def labelled(self) -> dict[Any, str]:
        """What a form calls each value that there is to choose; empty where one is typed."""
        if self.kind is bool:
            return {False: "off", True: "on"}
        choices = dict.fromkeys((self.default, *self.choices) if self.choices else ())
        return dict(zip(choices, self.words or choices, strict=True))

    @property
    def greatest(self) -> float:
        """The largest number; what does not fit in 64 bits is none to NumPy and torch."""
        return 2**63 - 1 if self.most is None else self.most

    def parse(self, value: Any) -> Any:
        """The option's value from a TOML value; the default is always one.

        Raises:
            WrongValue: the option cannot have it.
        """
        if isinstance(value, str):
            value = dict(self.aliases).get(value, value)
        if type(value) is type(self.default) and value == self.default:
            return value
        if self.read is not None:
            return self.read(value)
        if not self._allows(value):
            is_number = isinstance(value, int | float) and self.kind in (int, float)
            too_large = is_number and self.most is None and value > self.greatest
            raise WrongValue(self.expected + (" that fits in 64 bits" if too_large else ""))
        return self.kind(value)

    def parse_written(self, value: Any) -> Any:
        """The option's value from a plan or the command line: what is blank is no default there.

        Raises:
            WrongValue: the option cannot have it.
        """
        return self.parse(value) if self.read is None else self.read(value)

    def text(self, value: Any) -> str:
        """A value as it is typed: `parse_text` reads it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple) and self.write is str:
            return json.dumps(value, ensure_ascii=False)
        return "" if value is None else self.write(value)

    def parse_text(self, text: str) -> Any:
        """The option's value from what somebody typed.

        Raises:
            WrongValue: the option cannot have it.
        """
        if text == self.text(self.default):
            return self.default
        try:
            if self.read is not None:
                return self.read(_list_or_text(text) if isinstance(self.default, tuple) else text)
            return self.parse(parse_json(text) if self.kind is bool else self.kind(text))
        except WrongValue:
            raise
        except ValueError:
            raise WrongValue(self.expected) from None

    def _allows(self, value: Any) -> bool:
        # A TOML boolean is a Python int too.
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if self.kind is str:
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if not isinstance(value, int | float if self.kind is float else int):
            return False
        above = value > self.least if self.above_least else value >= self.least
        return above and value <= self.greatest


def _list_or_text(text: str) -> Any:
    """The list that is written in JSON, else the text."""
    if text.startswith("["):
        with suppress(ValueError):
            return parse_json(text)
    return text


@cache
def options_of(settings: type) -> dict[str, Option]:
    """The options among the fields of a dataclass, by name."""
    hints = get_type_hints(settings, include_extras=True)
    found = {}
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            kind, option = get_args(hint)
            label = option.label or field.name.replace("_", " ")
            found[field.name] = replace(option, kind=kind, default=field.default, label=label)
    return found
