"""What README, CONTRIBUTING and UPGRADES name is there: files, commands, and names of the code."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from depthtui.cli import commands
from depthtui.depth import rules
from depthtui.metrics.registry import METRICS
from depthtui.metrics.spec import Metric

ROOT = Path(__file__).parent.parent
ROOTS = (ROOT, ROOT / "depthtui", ROOT / ".github")
"""What paths are relative to."""

GUIDE, UPGRADES = (
    (ROOT / ".github" / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "UPGRADES.md")
)
CONTRIBUTING = GUIDE + UPGRADES
README = (ROOT / "README.md").read_text("utf-8")

PATH = re.compile(r"(?<![\w./<-])(?!\.venv)(?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|md|toml|tcss)\b")
"""A folder or a file of ours; NAME in it stands for any name."""

COMMIT = re.compile(r"[0-9a-f]{7,40}")


def _unknown_paths(text: str) -> set[str]:
    return {
        path
        for path in PATH.findall(text)
        if not any(any(root.glob(path.rstrip("/").replace("NAME", "*"))) for root in ROOTS)
    }


def test_it_is_read_in_ten_minutes() -> None:
    assert len(GUIDE.split()) < 2_400


def test_every_path_is_there() -> None:
    assert len(PATH.findall(CONTRIBUTING)) > 50
    assert _unknown_paths(CONTRIBUTING) == set()


def test_the_map_names_every_room() -> None:
    the_map = CONTRIBUTING.partition("## The map")[2].partition("### ")[0]
    named = {
        word for line in re.findall(r"^    (.*)", the_map, re.MULTILINE) for word in line.split()
    }
    rooms = {init.parent.name for init in (ROOT / "depthtui").glob("*/__init__.py")}
    assert rooms - named == set()


def test_every_recipe_names_a_commit() -> None:
    recipes = GUIDE.partition("## Recipes")[2].partition("## Commits")[0]
    sections = recipes.split("\n### ")[1:]
    assert len(sections) > 4
    assert [text for text in sections if not re.search(r"Look at\s+`[0-9a-f]{7}`", text)] == []


def _names() -> list[str]:
    """The names of each thing, as they are in the code."""
    things = [("metric", metric.name, metric.title, _row_of(metric)) for metric in METRICS]
    things += [("rule", rule.name, rule.title, rule.title) for rule in rules.by_kind()]
    return [f"| {kind} | `{name}` | {title} | {row} |" for kind, name, title, row in things]


def _row_of(metric: Metric) -> str:
    """The title of a metric's row in the evidence; a dash for none."""
    if not metric.gives_evidence:
        return "–"
    return str(import_module(f"depthtui.metrics.{metric.name}").COUNT_MEASURE.title)


def test_a_thing_has_one_name_everywhere() -> None:
    """On the command line, on screens and in reports, and as a row of evidence."""
    table = CONTRIBUTING.partition("## Names")[2].partition("\n## ")[0]
    written = [line for line in table.splitlines() if line.startswith(("| metric", "| rule"))]
    assert written == _names()
    for column in (1, 2):
        names = [line.split(" | ")[column].lower() for line in written]
        assert len(set(names)) == len(names)


def test_what_is_said_to_stand_in_a_file_stands_there() -> None:
    said = re.findall(r"`(\w+)`\s(?:of|in)\s`([\w/]+\.py)`", CONTRIBUTING)
    assert len(said) > 8
    for name, file in said:
        path = next(root / file for root in ROOTS if (root / file).exists())
        assert re.search(rf"\b{name}\b", path.read_text("utf-8")), (name, file)


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_command_is_there(text: str) -> None:
    modules = re.findall(r"python -m ((?!venv)[\w.]+)", text)
    ours = re.findall(r"(?:^|`)depthtui ([a-z]+)", text, re.MULTILINE)
    assert ours
    assert [module for module in modules if find_spec(module) is None] == []
    assert set(ours) <= commands.commands.keys()


def test_what_pytest_is_to_run_is_there() -> None:
    named = [
        path for line in re.findall(r"`pytest ([^`]+)`", CONTRIBUTING) for path in line.split()
    ]
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_name_is_in_the_code() -> None:
    sources = [path for folder in ("depthtui", "tests") for path in (ROOT / folder).rglob("*.py")]
    known = set(re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in sources)))
    marked = re.findall(r"`([A-Za-z_][\w.]+)`", PATH.sub("", CONTRIBUTING))
    named = {word for name in marked if not COMMIT.fullmatch(name) for word in name.split(".")}
    assert len(named) > 50
    assert named - known == set()


@pytest.mark.parametrize("path", ["tui/keys.py", "metrics/NAME/kernel.py", "tests/golden/fresh/"])
def test_what_is_gone_is_noticed(path: str) -> None:
    assert _unknown_paths(f"| see `{path}` |") == {path}
