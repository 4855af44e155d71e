"""The code is clean, and keeps the walls between its parts; `.ci/run` checks its types."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    ["ruff check .", "ruff format --check .", "lint-imports"],
)
def test_the_code_passes(command: str) -> None:
    tool, *arguments = command.split()
    done = subprocess.run(
        [TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    ["depthtui.tui.app", "depthtui.cli", "depthtui.report.export", "depthtui.engine.factory"],
)
def test_the_terminal_process_stays_light(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert module in loaded
    assert not {"torch", "transformers", "accelerate", "tokenizers"} & set(loaded)


@pytest.mark.parametrize(
    "module", ["depthtui.cli", "depthtui.cli.headless", "depthtui.report.export"]
)
def test_the_command_line_runs_without_textual(module: str) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert "textual" not in loaded


IS_TRUE_OR_FALSE = re.compile(r"bool|isinstance|(is|has|with|can|may)_\w+")


def is_text(node: ast.expr) -> bool:
    """Whether a part of a product is a text that the code spells out."""
    if isinstance(node, ast.BinOp):
        return is_text(node.left) or is_text(node.right)
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def has_words(node: ast.expr) -> bool:
    """Whether a text has letters: such a text is no rule or margin of so many cells."""
    return isinstance(node, ast.JoinedStr) or any(map(str.isalpha, getattr(node, "value", "")))


def is_condition(node: ast.expr) -> bool:
    """Whether a part of a product is true or false by its form or its name."""
    if isinstance(node, ast.Compare | ast.BoolOp):
        return True
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    named = node.func if isinstance(node, ast.Call) else node
    name = getattr(named, "attr", getattr(named, "id", ""))
    return IS_TRUE_OR_FALSE.fullmatch(name) is not None


def conditions_as_products(module: ast.Module) -> Iterator[int]:
    """The lines where a text is multiplied by a condition."""
    for node in ast.walk(module):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            sides = ((node.left, node.right), (node.right, node.left))
            if any(is_text(a) and (has_words(a) or is_condition(b)) for a, b in sides):
                yield node.lineno


def test_a_text_is_not_multiplied_by_a_condition(package: dict[str, ast.Module]) -> None:
    """Words are chosen by `plural`, `noun_for` or `if`."""
    found = {
        file: lines
        for file, module in package.items()
        if (lines := [*conditions_as_products(module)])
    }
    assert not found


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        ("f'{n} layer' + 's' * (n > 1)", True),
        ("', written' * written", True),
        ("is_written * ', written'", True),
        ("f': {why}' * bool(why)", True),
        ("'/' * entry.is_dir()", True),
        ("' ' * 2 * (place > 0)", True),
        ("'.' * (not done)", True),
        ("' ' * width", False),
        ("'-' * len(heads)", False),
        ("2 * (place > 0)", False),
    ],
)
def test_products_of_texts_are_found(code: str, is_refused: bool) -> None:
    assert bool([*conditions_as_products(ast.parse(code))]) is is_refused
