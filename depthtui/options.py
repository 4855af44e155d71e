"""The meaning of a setting and its possible values, given once, at its declaration.

    lens_top_k: Annotated[int, Option("Tokens that the lens lists.", least=1)] = 10

Settings file, plans, command line and dialogs read values by these declarations.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from depthtui.files import parse_json

Value = TypeVar("Value")


class WrongValue(ValueError):
    """An option cannot have a value; the text is the expected value: `a number from 0 to 1`.

    Args:
        requirement: the expected value.
        part: the wrong part of a table, such as `.note.key`; empty for the whole value.
        actual: the wrong value in words; empty for the whole value.
    """

    def __init__(self, requirement: str, part: str = "", actual: str = "") -> None:
        super().__init__(requirement)
        self.part = part
        self.actual = actual


@dataclass(frozen=True)
class Option:
    """The meaning of a field of a dataclass of settings.

    Attributes:
        help: one sentence, for `--help`.
        least: the smallest number.
        most: the largest number; None for any.
        above_least: whether `least` itself is too small.
        choices: the possible texts; empty for any.
        read: reads a value of another type; raises `WrongValue`.
        aliases: other texts for choices, each with its choice, such as `bf16` and `bfloat16`.
        switch: name of the command-line flag that turns off a setting that is on by default.
        flag: name on the command line where it differs from the field's.
        label: name in a form; `options_of` sets it where it is the field's name.
        words: names of the choices in a form, where the first of them is the default.
        example: text that a form shows in place of the default.
        group: heading in the explorer; empty for the explorer's own settings.
        write: turns a value into its typed text, where `read` does not read its `str`.
        kind: the field's type; set by `options_of`.
        default: the field's default; set by `options_of`.
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
    def requirement(self) -> str:
        """The expected value, in words."""
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
        """The help in forms and in the manual; for a setting that is on, the effect of `off`."""
        return f"Off: {self.help[:1].lower()}{self.help[1:]}" if self.switch else self.help

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.kind in (int, float)

    @property
    def is_free_text(self) -> bool:
        """Whether any text is a value."""
        return self.kind is str and self.read is None and not self.choices

    @property
    def value_labels(self) -> dict[Any, str]:
        """The form's name of each value to choose from; empty where a value is typed."""
        if self.kind is bool:
            return {False: "off", True: "on"}
        choices = dict.fromkeys((self.default, *self.choices) if self.choices else ())
        return dict(zip(choices, self.words or choices, strict=True))

    @property
    def greatest(self) -> float:
        """The largest number; NumPy and torch have none beyond 64 bits."""
        return 2**63 - 1 if self.most is None else self.most

    def parse(self, value: Any) -> Any:
        """The option's value from a TOML value; the default is always valid.

        Raises:
            WrongValue: the option cannot have this value.
        """
        if isinstance(value, str):
            value = dict(self.aliases).get(value, value)
        if type(value) is type(self.default) and value == self.default:
            return value
        if self.read is not None:
            return self.read(value)
        if not self._allows(value):
            has_number = self.is_number and isinstance(value, int | float)
            too_large = has_number and self.most is None and value > self.greatest
            raise WrongValue(self.requirement + (" that fits in 64 bits" if too_large else ""))
        return self.kind(value)

    def parse_written(self, value: Any) -> Any:
        """The option's value from a plan or the command line; a blank is not the default there.

        Raises:
            WrongValue: the option cannot have this value.
        """
        return self.parse(value) if self.read is None else self.read(value)

    def text(self, value: Any) -> str:
        """A value as typed text, which `parse_text` reads."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, tuple) and self.write is str:
            return json.dumps(value, ensure_ascii=False)
        return "" if value is None else self.write(value)

    def parse_text(self, text: str) -> Any:
        """The option's value from typed text.

        Raises:
            WrongValue: the option cannot have this value.
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
            raise WrongValue(self.requirement) from None

    def _allows(self, value: Any) -> bool:
        # A TOML boolean is also a Python int.
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if self.kind is str:
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if not isinstance(value, int | float if self.kind is float else int):
            return False
        above = value > self.least if self.above_least else value >= self.least
        return above and value <= self.greatest


def _list_or_text(text: str) -> Any:
    """The list in a JSON text, else the text."""
    if text.startswith("["):
        with suppress(ValueError):
            return parse_json(text)
    return text


@cache
def options_of(settings: type) -> dict[str, Option]:
    """The options among the fields of a dataclass, by name."""
    hints = get_type_hints(settings, include_extras=True)
    options = {}
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            kind, option = get_args(hint)
            label = option.label or field.name.replace("_", " ")
            options[field.name] = replace(option, kind=kind, default=field.default, label=label)
    return options
