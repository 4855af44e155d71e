"""Docstrings name parameters and attributes that are there."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping

Classes = Mapping[str, ast.ClassDef]
"""Classes by their names."""

IN_WORDS = re.compile(r"arguments? `(\w+)`|`(\w+)` (?:is called|gets) ")
"""A parameter that a sentence names."""


def listed(docstring: str, section: str) -> list[str]:
    """The names that a section such as `Args` lists."""
    found = re.search(rf"^{section}:\n((?:    .*\n|\n)*)", f"{docstring}\n", re.M)
    lines = re.findall(r"^    (\w+(?:, \w+)*):", found[1], re.M) if found else []
    return [name for line in lines for name in line.split(", ")]


def names_of(node: ast.AST, classes: Classes) -> set[str]:
    """The names in the code of a node, and of the classes that it derives from."""
    names = {
        getattr(each, attribute)
        for each in ast.walk(node)
        for attribute in ("arg", "attr", "id", "name")
        if hasattr(each, attribute)
    }
    bases = [ast.unparse(base).partition("[")[0] for base in getattr(node, "bases", ())]
    return names.union(*(names_of(classes[base], classes) for base in bases if base in classes))


def parameters_of(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, classes: Classes
) -> set[str]:
    """The parameters of a function; of a class, those of `__init__`, or its fields."""
    if not isinstance(node, ast.ClassDef):
        return names_of(node.args, classes)
    made = [each for each in node.body if getattr(each, "name", "") == "__init__"]
    return names_of(made[0].args if made else node, classes)  # type: ignore[attr-defined]


def lost_names(module: ast.Module, classes: Classes) -> Iterator[str]:
    """What docstrings of a module name that is not there."""
    names = names_of(module, classes)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            lost = {*listed(text, "Args")} - parameters_of(node, classes)
            if isinstance(node, ast.ClassDef):
                lost |= {*listed(text, "Attributes")} - names_of(node, classes)
            else:
                lost |= {first or second for first, second in IN_WORDS.findall(text)} - names
            yield from (f"{node.lineno}: {node.name}: {name}" for name in sorted(lost))


def test_docstrings_name_parameters_and_attributes_that_are_there(
    package: dict[str, ast.Module],
) -> None:
    classes = {
        node.name: node
        for module in package.values()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    lost = [
        f"{path}:{name}" for path, module in package.items() for name in lost_names(module, classes)
    ]
    assert lost == []


def test_a_name_that_is_gone_is_noticed() -> None:
    source = '''
class Frame(Base):
    """A frame.

    Args:
        width, height: cells.
    """
    def __init__(self, width: int) -> None: ...

def draw(on_end: object) -> None:
    """Draw; `after` is called at the end.

    Args:
        place: the place.
    """
'''
    assert [*lost_names(ast.parse(source), {})] == [
        "2: Frame: height",
        "10: draw: after",
        "10: draw: place",
    ]
