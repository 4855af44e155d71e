"""The README says what the code does: its metrics, its keys, its rooms."""

from __future__ import annotations

import ast
import builtins
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

import depthtui
from depthtui.cli import commands, main
from depthtui.metrics import ALL
from depthtui.tui.screens.main_layout import LEFT, PROMPT, RIGHT
from screenshots.renew import PICTURES
from tests.renew_readme import README, renewed, table_of

TEXT = README.read_text("utf-8")
_BLOCKS = "".join(re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^ *depthtui (?:[^\n]*\\\n)*[^\n]*", _BLOCKS, re.MULTILINE)
"""The command lines of its blocks, with the lines that they go on in."""


def test_the_table_of_metrics_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["metrics", "--markdown"]) == 0
    table = table_of("metrics", TEXT)
    assert table == capsys.readouterr().out.rstrip("\n"), "run python -m tests.renew_readme"
    assert renewed(TEXT) == TEXT


def test_the_table_of_metrics_has_a_row_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    main(["metrics", "--markdown"])
    told, _, computed = capsys.readouterr().out.strip().split("\n\n")
    rows = zip(told.splitlines()[2:], computed.splitlines()[2:], strict=True)
    for metric, (told_row, computed_row) in zip(ALL, rows, strict=True):
        name, tells, cost = told_row.strip("| ").split(" | ")
        assert name == (metric.title if metric.of else f"`{metric.name}`")
        assert tells.startswith(metric.tells)
        assert tells.endswith("Needs an answer.") == metric.needs_answer
        assert (metric.of or metric.cost) in cost
        escaped = metric.formula.replace("|", r"\|")
        assert computed_row == f"| {name} | {escaped} |"


def test_the_table_is_renewed_in_place() -> None:
    stale = TEXT.replace("| `contributions` |", "| `contribution` |")
    assert stale != TEXT
    assert renewed(stale) == TEXT


def test_every_pane_of_the_main_screen_has_its_row() -> None:
    heads = [head for row in _rows("pane") for head in row[0].lower().split(", ")]
    names = [place.name.lower() for place in (PROMPT, *LEFT, *RIGHT)]
    assert [name for name in names if not any(head.endswith(name) for head in heads)] == []
    assert [head for head in heads if not any(head.endswith(name) for name in names)] == []


def test_the_layout_names_every_room() -> None:
    layout = TEXT.partition("## Layout")[2]
    named = re.findall(r"^depthtui/(\w+) ", layout, re.MULTILINE)
    package = Path(depthtui.__file__).parent
    assert sorted(named) == sorted(init.parent.name for init in package.glob("*/__init__.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_options_that_it_names(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.replace("\\\n", " "))[1:]
    for word in words:
        name = word.rpartition("=")[2]
        if re.search(r"\.\w{2,7}$", name) and "/" not in name:
            (tmp_path / name).write_text("")
        elif name.endswith("/"):
            (tmp_path / name).mkdir(exist_ok=True)
    writes = words[:1] != ["inspect"]
    assert not (writes and "--format" in words) or "--out" in words, "--format needs --out"
    _parse(commands, words)


def _parse(command: click.Command, words: list[str]) -> None:
    """Read a command line as the command would, and do nothing."""
    with command.make_context(command.name, words) as context:
        rest = [*context._protected_args, *context.args]
        if isinstance(command, click.Group) and rest:
            _, found, words = command.resolve_command(context, rest)
            assert found is not None
            _parse(found, words)


def test_the_example_from_python_says_where_its_names_come_from() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    nodes = list(ast.walk(ast.parse(example)))
    known = {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    names = [node for node in nodes if isinstance(node, ast.Name)]
    known |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    assert {name.id for name in names} - known <= set(dir(builtins))


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert len(linked) > 10
    assert linked <= anchors


def test_every_picture_is_there_and_is_renewed_by_command() -> None:
    shown = re.findall(r"\]\(screenshots/([\w-]+)\.svg\)", TEXT)
    assert {"tour", "verdict-dark-120x40"} <= set(shown)
    assert set(shown) <= set(PICTURES)
    there = {path.stem for path in (README.parent / "screenshots").glob("*.svg")}
    assert there == set(PICTURES)


def test_the_tour_is_small_enough_for_a_page() -> None:
    tour = README.parent / "screenshots" / "tour.svg"
    assert tour.stat().st_size < 1_500_000
    root = ElementTree.parse(tour).getroot()
    assert not {item.tag.rpartition("}")[2] for item in root.iter()} & {"script", "foreignObject"}


def _rows(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so."""
    table = TEXT.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
