"""Write the README's tables of metrics, keys and types anew: `python -m tests.renew_readme`."""

from __future__ import annotations

from pathlib import Path

from depthtui.cli.lists import metrics_markdown
from depthtui.tui import keymap
from tests.every_type import markdown as types_markdown

README = Path(__file__).parent.parent / "README.md"


def _keys(heading: str, *screens: str) -> str:
    """The commands of some screens, those of another of them left out of the last ones."""
    shared = [] if "Main screen" in screens else keymap.SCREENS["Main screen"]
    commands = [command for name in screens for command in keymap.SCREENS[name]]
    known = {(command.name, command.words) for command in shared}
    own = [command for command in commands if (command.name, command.words) not in known]
    return keymap.markdown(heading, own)


TABLES = {
    "metrics": metrics_markdown,
    "types": types_markdown,
    "keys": lambda: _keys("keys", "Main screen", "Everywhere"),
    "keys in a what-if": lambda: _keys("keys in a what-if", "What-if"),
    "keys while it writes": lambda: _keys("keys while it writes", "Writing"),
    "keys in a sweep": lambda: _keys("keys in a sweep", "Sweep"),
}
"""The tables that the code makes, by the name in their markers."""


def table_of(name: str, readme: str) -> str:
    """A table as it stands in the README."""
    return readme.partition(_begin(name))[2].partition(_end(name))[0]


def renewed(readme: str) -> str:
    """The README with the tables that the code makes."""
    for name, table in TABLES.items():
        before, begin, rest = readme.partition(_begin(name))
        _, end, after = rest.partition(_end(name))
        assert begin, f"the README has no line {_begin(name)!r}"
        assert end, f"the README has no line {_end(name)!r}"
        readme = before + begin + table() + end + after
    return readme


def _begin(name: str) -> str:
    return f"<!-- {name}: python -m tests.renew_readme -->\n"


def _end(name: str) -> str:
    return f"\n<!-- end of {name} -->"


if __name__ == "__main__":
    old = README.read_text("utf-8")
    new = renewed(old)
    README.write_text(new, "utf-8")
    print("Nothing has changed." if new == old else f"changed {README.name}")
