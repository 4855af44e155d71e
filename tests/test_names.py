"""Names are nouns; no two classes share one, and no two files the words of one."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePath

NAMELESS = {"found", "known", "kept", "wanted", "told", "asked", "given", "said", "held", "so_far"}
"""Participles and fragments that name no value."""


def names_in(module: ast.Module) -> Iterator[tuple[str, int]]:
    """The names of variables, parameters and functions with their lines.

    Fields of a dataclass keep the names that files have for them.
    """
    fields = {
        statement.target
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }
    for node in ast.walk(module):
        if node in fields:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def test_no_two_classes_share_a_name(package: dict[str, ast.Module]) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, module in package.items():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_two_files_have_the_same_words_in_another_order(package: dict[str, ast.Module]) -> None:
    """`kept_answers` and `answers_kept` would be two things that nobody tells apart."""
    names: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path in map(PurePath, package):
        name = path.parent.name if path.stem == "__init__" else path.stem
        names[tuple(sorted(name.split("_")))].add(name)
    assert [sorted(same) for same in names.values() if len(same) > 1] == []


def test_a_value_is_named_by_a_noun(package: dict[str, ast.Module]) -> None:
    nameless = [
        f"{path}:{line}: {name}"
        for path, module in package.items()
        for name, line in names_in(module)
        if name.strip("_") in NAMELESS
    ]
    assert nameless == []
