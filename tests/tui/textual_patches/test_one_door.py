"""What is private in Textual is used in `textual_patches` alone."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import textual.app
import textual.screen

import depthtui
from depthtui.tui import textual_patches
from depthtui.tui.textual_patches.app import App
from depthtui.tui.textual_patches.screens import Screen

ROOT = Path(depthtui.__file__).parent
SOURCES = [
    path
    for path in sorted((ROOT / "tui").rglob("*.py"))
    if path.parent != Path(textual_patches.__file__).parent
]

PRIVATE = re.compile(r"_[a-z]\w*")
OURS_OR_PYTHONS = {"_replace", "_exit"}
"""`NamedTuple._replace` and `os._exit`."""

OWNERS = ("self", "cls", "super()")

PATCHED = {textual.app.App: App, textual.screen.Screen: Screen}
"""What every app and every screen of the explorer derives from in the place of Textual's own."""


def private_uses(tree: ast.AST) -> Iterator[str]:
    """Private names that a module imports from Textual, or uses of another object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("textual"):
            for name in (*(node.module or "").split("."), *(alias.name for alias in node.names)):
                if PRIVATE.fullmatch(name):
                    yield f"from {node.module} import {name}"
        elif isinstance(node, ast.Import):
            yield from (
                alias.name for alias in node.names if re.match(r"textual\..*\b_", alias.name)
            )
        elif (
            isinstance(node, ast.Attribute)
            and PRIVATE.fullmatch(node.attr)
            and node.attr not in OURS_OR_PYTHONS
            and ast.unparse(node.value) not in OWNERS
        ):
            yield ast.unparse(node)


@cache
def names_of(kind: type) -> set[str]:
    """The private names that the source of a class defines, or uses of itself."""
    source = inspect.getsource(kind)
    return {
        *re.findall(r"\bself\.(_[a-z]\w*)", source),
        *re.findall(r"\bdef (_[a-z]\w*)", source),
    }


def shared_names(kind: type) -> set[str]:
    """The private names of a class that those it derives from in Textual have as well."""
    textuals = [base for base in kind.__mro__ if base.__module__.startswith("textual.")]
    return names_of(kind) & set().union(*map(names_of, textuals))


def test_what_is_private_in_textual_is_behind_the_door() -> None:
    for path in SOURCES:
        assert [*private_uses(ast.parse(path.read_text("utf-8")))] == [], path
        module = import_module(".".join(path.relative_to(ROOT.parent).with_suffix("").parts))
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                assert shared_names(kind) == set(), kind
                for textuals, ours in PATCHED.items():
                    assert issubclass(kind, ours) or not issubclass(kind, textuals), kind


@pytest.mark.parametrize(
    "source",
    [
        "from textual._compositor import Compositor",
        "from textual.keys import _character_to_key",
        "import textual.widgets._toast",
        "widget._set_dirty(region)",
        "super_screen._compositor.reflow()",
        "Widget._on_key = on_key",
    ],
)
def test_a_private_name_is_noticed(source: str) -> None:
    assert [*private_uses(ast.parse(source))]


def test_an_overridden_private_name_is_noticed() -> None:
    assert "_compositor_refresh" in shared_names(Screen)
