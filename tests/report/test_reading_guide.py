"""The page on the screen's symbols: every symbol that the code draws is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthtui.report.reading_guide import GUIDE

ROOT = Path(__file__).parents[2] / "depthtui"
DRAWING = ("tui", "report", "data", "depth", "metrics")
"""The packages whose text is drawn, beside the modules of no package."""

PROSE = set("“”’×−≤≥½′↑↓")
"""Signs of sentences, formulas and keys, which need no legend."""

BRAILLE = range(0x2800, 0x2900)
"""Curves, and characters that draw nothing."""

EIGHTHS = set("▂▃▅▆▇▌")
"""Heights between those of the legend, and half of a colour scale's cell."""

EXPLAINED = {char for part in GUIDE for signs, words in part.lines for char in signs + words}


def drawn_symbols(code: str) -> Iterator[str]:
    """The symbols of a module's text: no letters, nothing that draws nothing."""
    tree = ast.parse(code)
    comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in comments:
            continue
        for char in node.value if isinstance(node.value, str) else "":
            if ord(char) > 0xA0 and char.isprintable() and not char.isalpha():
                yield char


def modules() -> list[Path]:
    inside = [path for room in DRAWING for path in sorted((ROOT / room).rglob("*.py"))]
    return [*inside, *sorted(ROOT.glob("*.py"))]


def test_every_drawn_symbol_is_explained() -> None:
    unexplained = {
        char: path.name
        for path in modules()
        for char in drawn_symbols(path.read_text("utf-8"))
        if char not in EXPLAINED | PROSE | EIGHTHS and ord(char) not in BRAILLE
    }
    assert unexplained == {}


@pytest.mark.parametrize("code", ['print(f"◫ {1}")', 'MARK = "◫"', 'x = ["a" "◫"]'])
def test_a_symbol_is_found_in_any_text(code: str) -> None:
    assert list(drawn_symbols(code)) == ["◫"]
    assert list(drawn_symbols('"""◫ in a docstring."""')) == []
