"""The size of the house: how many lines, long functions, explorers and cases there are.

Each number may fall. One that has to rise says in its commit what the lines bought.

`python -m tests.test_size [REVISION]` prints the code lines of each room, and the difference to a
revision of git.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CODE_LINES = {
    "depthtui": 1_670,
    "depthtui/api": 460,
    "depthtui/cli": 4_430,
    "depthtui/data": 3_120,
    "depthtui/depth": 2_020,
    "depthtui/engine": 5_570,
    "depthtui/lenses": 900,
    "depthtui/manual": 380,
    "depthtui/metrics": 9_990,
    "depthtui/models": 2_950,
    "depthtui/parallel": 470,
    "depthtui/prompts": 1_430,
    "depthtui/report": 5_010,
    "depthtui/service": 390,
    "depthtui/sweep": 3_630,
    "depthtui/tracing": 3_230,
    "depthtui/tui": 16_870,
    "tests": 9_480,
    "tests/api": 980,
    "tests/builders": 1_480,
    "tests/data": 1_950,
    "tests/depth": 2_150,
    "tests/engine": 4_630,
    "tests/fuzz": 570,
    "tests/golden": 410,
    "tests/lenses": 540,
    "tests/manual": 70,
    "tests/metrics": 7_670,
    "tests/models": 2_340,
    "tests/oracle": 10,
    "tests/parallel": 470,
    "tests/pictures": 360,
    "tests/prompts": 1_400,
    "tests/report": 3_080,
    "tests/service": 340,
    "tests/sweep": 3_400,
    "tests/tools": 3_140,
    "tests/tracing": 1_270,
    "tests/tui": 14_250,
}
"""By room, its lines of code: no imports, docstrings, comments and blank lines."""

AT_MOST = {
    "functions of more than 60 lines": 0,
    "functions of more than 8 parameters": 3,
    "files of more than 500 lines": 17,
    "explorers that the tests open": 160,
    "cases": 9_670,
}
"""What is counted in the package and, for explorers and cases, in the tests."""

LONGEST_FUNCTION, MOST_PARAMETERS, LONGEST_FILE = 60, 8, 500
OPENS_EXPLORER = {"explore", "run_test"}


@dataclass(frozen=True)
class Sizes:
    """What files have.

    Attributes:
        lines: by room, its lines of code.
        places: by what is counted, the places where it is.
    """

    lines: Counter[str] = field(default_factory=Counter)
    places: Mapping[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in AT_MOST if name != "cases"}
    )


def sizes_of(texts: Mapping[str, str]) -> Sizes:
    """The sizes of files, given their texts by their paths; no syntax tree is kept."""
    sizes = Sizes()
    for path, text in texts.items():
        nodes = [*ast.walk(ast.parse(text))]
        sizes.lines[room_of(path)] += code_lines(text, nodes)
        marks = package_marks(text, nodes) if path.startswith("depthtui/") else explorers(nodes)
        for name, place in marks:
            sizes.places[name].append(f"{path}{place}")
    return sizes


def room_of(path: str) -> str:
    """The room of a file, such as `depthtui/tui`; files at the top are a room of their own."""
    top, *rest = Path(path).parts
    return f"{top}/{rest[0]}" if len(rest) > 1 else top


def code_lines(text: str, nodes: list[ast.AST]) -> int:
    """The lines of a file that have code, without those of its imports and docstrings."""
    rows = enumerate(map(str.strip, text.splitlines()), start=1)
    lines = {number for number, row in rows if row and not row.startswith("#")}
    for node in nodes:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, ast.Import | ast.ImportFrom):
            assert isinstance(node, ast.stmt)
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def package_marks(text: str, nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """What is counted in a file of the package, each with its place in the file."""
    if text.count("\n") > LONGEST_FILE:
        yield "files of more than 500 lines", ""
    for node in nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION:
            yield "functions of more than 60 lines", f"::{node.name}"
        if parameters(node) > MOST_PARAMETERS and not is_command(node):
            yield "functions of more than 8 parameters", f"::{node.name}"


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a function has, `self` aside."""
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(parameter.arg not in ("self", "cls") for parameter in named)


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether click calls a function, with a parameter for each group of options."""
    return any("click" in ast.unparse(decorator) for decorator in function.decorator_list)


def explorers(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """The calls in a file of tests that open an explorer."""
    for node in nodes:
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in OPENS_EXPLORER:
                yield "explorers that the tests open", f":{node.lineno}"


@pytest.fixture(scope="module")
def sizes() -> Sizes:
    """The sizes of the package and the tests."""
    return sizes_of(texts_here())


def test_no_room_grows(sizes: Sizes) -> None:
    over = {
        room: f"{lines} lines of code, {lines - CODE_LINES.get(room, 0)} too many"
        for room, lines in sizes.lines.items()
        if lines > CODE_LINES.get(room, 0)
    }
    assert not over


def test_there_are_no_more_of_them(sizes: Sizes, request: pytest.FixtureRequest) -> None:
    of_all = {**sizes.places, "cases": [item.nodeid for item in request.session.items]}
    over = {name: places for name, places in of_all.items() if len(places) > AT_MOST[name]}
    assert not over


def texts_here() -> dict[str, str]:
    """The texts of the package's and the tests' Python files, by their paths from the root."""
    files = [file for top in ("depthtui", "tests") for file in sorted((ROOT / top).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files}


def texts_at(revision: str) -> dict[str, str]:
    """The texts of the Python files at a revision of git; none where git does not have it."""
    names = _git("ls-tree", "-r", "--name-only", revision, "depthtui", "tests").splitlines()
    return {name: _git("show", f"{revision}:{name}") for name in names if name.endswith(".py")}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout


def main(revision: str = "") -> None:
    """Print the code lines of each room, and the difference to a revision."""
    now, before = sizes_of(texts_here()), sizes_of(texts_at(revision) if revision else {}).lines
    for room in sorted(now.lines | before):
        change = f"{now.lines[room] - before[room]:+6}" if before else ""
        print(f"{room:24}{now.lines[room]:7}{change}")
    for name, places in now.places.items():
        print(f"{name:40}{len(places):7}")


if __name__ == "__main__":
    main(*sys.argv[1:])
