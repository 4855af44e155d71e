"""Commands of one's own: lines for the shell, by the keys of the explorer that run them.

The settings file alone defines them: no session, sweep or model brings one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from depthtui.errors import short_repr
from depthtui.options import WrongValue

PLACEHOLDERS = {
    "model": "name of the model, as it was opened",
    "layer": "number of the layer under the cursor",
    "token": "position of the token under the cursor",
    "prompt_file": "a file with the text of the prompt",
    "run_json": "a file with the summary of the run, as `depthtui run --format json` writes it",
}
"""Words in braces that have a value, with its meaning."""

_VARIABLE = "DEPTHTUI_"
"""The beginning of the names of the variables that have the values."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""A name that TOML writes without quotes."""

_KEY = re.compile(r"([a-z0-9_]+\+)*(f([1-9]|1\d|2[0-4])|(?!f\d)[a-z0-9_]+|\S)")
"""A key as the explorer names it, such as `f6`, `ctrl+n` or `N`."""

_AROUND = 12
"""Characters before and after a wrong placeholder that an error shows."""

_PIECES = re.compile(r"""\\.|\$\{|\{([a-z_]+)\}|['"]""", re.DOTALL)
"""The parts of a line that quote others, and words in braces; `${word}` and `\\{word}` are none."""


@dataclass(frozen=True)
class OwnCommand:
    """A line for the shell, which a key of the explorer runs.

    Attributes:
        key: the keys, separated by commas.
        title: its name for people.
        run: the line; words of `PLACEHOLDERS` in braces have a value.
        in_browser: whether a page of `depthtui serve` may run it, too.
    """

    key: str
    title: str
    run: str
    in_browser: bool = False

    @property
    def keys(self) -> list[str]:
        """Its keys."""
        return [key.strip() for key in self.key.split(",")]

    @property
    def placeholders(self) -> list[str]:
        """The placeholders that need a value."""
        return list(dict.fromkeys(piece[1] for piece, _ in _words_in_braces(self.run)))

    @property
    def shell_line(self) -> str:
        """The line with a quoted variable in place of each placeholder.

        The shell reads no value as a part of the line, whatever its text is.
        """
        names = {name: f'"${{{variable_of(name)}}}"' for name in PLACEHOLDERS}
        return self._with(names)

    def shown(self, values: Mapping[str, str]) -> str:
        """The line with these values, for people, on one line."""
        # Every command of depthtui reads the settings; this line is for the explorer alone.
        from depthtui.token_text import printable_line, shell_word

        words = {name: shell_word(value) for name, value in values.items()}
        return printable_line(self._with(words))

    def _with(self, texts: Mapping[str, str]) -> str:
        """The line with other texts in place of its placeholders."""
        parts, end = [], 0
        for piece, _ in _words_in_braces(self.run):
            parts += [self.run[end : piece.start()], texts[piece[1]]]
            end = piece.end()
        return "".join([*parts, self.run[end:]])


def variable_of(placeholder: str) -> str:
    """The variable of the environment that has the value of a placeholder."""
    return _VARIABLE + placeholder.upper()


def _words_in_braces(line: str) -> Iterator[tuple[re.Match[str], str]]:
    """The words in braces that the shell gives no meaning to, each with the quote around it.

    A word between quotes is one only where it is the name of a placeholder: programs in quotes,
    such as awk's, have braces of their own.
    """
    quote = ""
    for piece in _PIECES.finditer(line):
        text = piece[0]
        if piece[1]:
            if not quote or piece[1] in PLACEHOLDERS:
                yield piece, quote
        elif quote == "'":
            # A backslash quotes nothing here.
            quote = "" if text[-1] == quote else quote
        elif text in ("'", '"'):
            quote = "" if text == quote else quote or text


def read_commands(value: Any) -> dict[str, OwnCommand]:
    """The commands in a table of the settings file, by name.

    Raises:
        WrongValue: a command is wrong; the error names it.
    """
    if not isinstance(value, dict):
        raise WrongValue("tables such as [commands.note] with key, title and run")
    commands = {name: _read_command(name, table) for name, table in value.items()}
    owners: dict[str, str] = {}
    for name, command in commands.items():
        for key in command.keys:
            owner = owners.setdefault(key, name)
            if owner != name:
                part = f".{name}.key"
                raise WrongValue("a key of its own", part, f"{key}, the key of {owner}")
    return commands


def _read_command(name: str, table: Any) -> OwnCommand:
    if not _NAME.fullmatch(name):
        actual = f"one named {short_repr(name)}"
        raise WrongValue("tables whose names are letters, digits, - and _", actual=actual)
    part = f".{name}"
    if not isinstance(table, dict):
        raise WrongValue("a table with key, title and run", part, short_repr(table))
    for field, (is_right, requirement) in _FIELDS.items():
        if field not in table and field != "in_browser":
            raise WrongValue("a table with key, title and run", part, f"one without {field}")
        if field in table and not is_right(table[field]):
            raise WrongValue(requirement, f"{part}.{field}", short_repr(table[field]))
    unknown = sorted(table.keys() - _FIELDS.keys())
    if unknown:
        actual = f"one with {short_repr(unknown[0])}"
        raise WrongValue("a table with key, title, run and in_browser alone", part, actual)
    command = OwnCommand(**table)
    _check_line(command.run, f"{part}.run")
    return command


def _check_line(line: str, part: str) -> None:
    """Check that every placeholder is known, and outside of quotes."""
    for piece, quote in _words_in_braces(line):
        if piece[1] not in PLACEHOLDERS:
            names = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise WrongValue(f"a line with placeholders among {names}", part, piece[0])
        if quote:
            requirement = f"a line with {piece[0]} outside of quotes, as its value is quoted"
            place = slice(max(piece.start() - _AROUND, 0), piece.end() + _AROUND)
            raise WrongValue(requirement, part, short_repr(line[place]))


def _are_keys(value: Any) -> bool:
    return isinstance(value, str) and all(_KEY.fullmatch(key.strip()) for key in value.split(","))


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_program(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


_FIELDS = {
    "key": (_are_keys, 'a key such as "f6" or "ctrl+n"'),
    "title": (_is_line, "a line of text in quotes"),
    "run": (_is_program, "a line for the shell, in quotes"),
    "in_browser": (lambda value: isinstance(value, bool), "true or false"),
}
"""The lines of a command's table: whether a value is right, and what it must be."""
