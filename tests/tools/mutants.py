"""Delete each move between devices in turn, and see whether the tests of placement notice.

    python -m tests.tools.mutants [-k EXPRESSION]

Every `.to(…)` of the engine, the tracing and the metrics, but those that change the dtype alone,
is deleted in a copy of the package. Prints a Markdown table: `caught` or `survived`. One that
survives is not needed, since something else moves the tensor too, or not tested. Takes some
minutes; `-k` chooses among the tests, as pytest's does.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("engine", "tracing", "metrics")
TESTS = "tests/test_placement.py"


@dataclass(frozen=True)
class Mutant:
    """One deletion.

    Attributes:
        path: the file, from the repository's root.
        line: where the call stands.
        call: its text.
        source: the file's text without it.
    """

    path: str
    line: int
    call: str
    source: str


def mutants() -> Iterator[Mutant]:
    """Every deletion, file by file."""
    for folder in FOLDERS:
        for path in sorted((ROOT / "depthtui" / folder).rglob("*.py")):
            yield from _mutants_of(path)


def _mutants_of(path: Path) -> Iterator[Mutant]:
    source = path.read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "to" or not node.args or _is_dtype(node.args[0]):
            continue
        # What is called may stand in parentheses of its own.
        start = source.index(".to", _end(source, node.func.value))
        call = " ".join((ast.get_source_segment(source, node) or "").split())
        without = source[:start] + source[_end(source, node) :]
        yield Mutant(str(path.relative_to(ROOT)), node.lineno, call, without)


def _is_dtype(argument: ast.expr) -> bool:
    words = ast.unparse(argument)
    return "dtype" in words and "device" not in words


def _end(source: str, node: ast.expr) -> int:
    """Where a node ends, in characters."""
    assert node.end_lineno is not None
    lines = source.splitlines(keepends=True)[: node.end_lineno]
    rest = lines[-1].encode()[node.end_col_offset :].decode()
    return sum(map(len, lines)) - len(rest)


def is_caught(mutant: Mutant, copy: Path, expression: str) -> bool:
    """Whether a test fails on a copy of the package with the deletion."""
    path = copy / mutant.path
    whole = path.read_text("utf-8")
    path.write_text(mutant.source, "utf-8")
    chosen = ["-k", expression] if expression else []
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-x", "-q", TESTS, *chosen],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(whole, "utf-8")
    return done.returncode == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="", help="choose among the tests")
    expression = parser.parse_args().k
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "depthtui", copy / "depthtui")
        shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("golden"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        print("| line | deleted | |\n| --- | --- | --- |", flush=True)
        for mutant in mutants():
            word = "caught" if is_caught(mutant, copy, expression) else "survived"
            place = f"{mutant.path.removeprefix('depthtui/')}:{mutant.line}"
            print(f"| `{place}` | `{mutant.call}` | {word} |", flush=True)


if __name__ == "__main__":
    main()
