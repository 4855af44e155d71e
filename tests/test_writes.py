"""Files are written by `files.py` alone: whole, over none of others, through no link."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

STAGED = "into a folder that `models/staging.py` renames when it is whole"
EXCEPTIONS = {
    "data/cache_index.py check_index": "SQLite needs the file itself; a link to nothing is refused",
    "data/cache_index.py set_aside": "into a new folder of its own",
    "lenses/lens_files.py write_published": "into memory",
    "log.py _logged": "lines are appended, in depthtui's own folder",
    "log.py _private": "the opener of the log, which follows no link",
    "models/conversion.py convert": STAGED,
    "models/conversion.py _folder_with": "a link in a scratch folder of its own",
    "models/demo.py _download": STAGED,
    "models/demo.py _unpack": STAGED,
    "models/pruning.py _copy_other_files": STAGED,
    "models/pruning.py write_pruned": STAGED,
    "models/pruning.py copy_tensors": STAGED,
    "models/staging.py _staged": "the scratch folder, and the folder of a model",
    "models/staging.py _rename": "to a name that is free: a folder replaces empty folders alone",
    "models/staging.py _mend": "over a conversion of its own, which is damaged",
    "models/staging.py _sync": "nothing is written: a file is flushed",
    "tui/player.py play_scene": "folders of the cache, and links to them in a scratch folder",
    "tui/scene.py __init__": "a new file, exclusively",
    "tui/process_logs.py write": "a new file of a random name, exclusively",
    "tui/text_editor.py edited": "into a temporary folder of its own, for the user's editor",
}
"""The functions that write by themselves, and why they may."""

METHODS = {"write_text", "write_bytes", "mkdir", "touch", "symlink_to", "hardlink_to"}
METHODS |= {"save_file", "save_pretrained", "extract", "extractall", "tofile", "to_csv"}
OF_MODULES = {
    "os": {"mkdir", "makedirs", "rename", "renames", "replace", "link", "symlink", "truncate"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
    "np": {"save", "savez", "savez_compressed", "savetxt"},
    "torch": {"save"},
    "Path": {*METHODS, "rename", "replace"},
}
WRITING_FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC", "flags"}


def writes_in(module: ast.AST, function: str = "") -> Iterator[tuple[str, int]]:
    """The functions that write a file without `files.py`, each with a line."""
    for node in ast.iter_child_nodes(module):
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Attribute) and (
            node.attr in METHODS or node.attr in OF_MODULES.get(ast.unparse(node.value), ())
        ):
            yield inner, node.lineno
        if isinstance(node, ast.Call) and (_opens(node) or _renames(node)):
            yield inner, node.lineno
        yield from writes_in(node, inner)


def _opens(call: ast.Call) -> bool:
    """Whether a call opens a file to write it."""
    function = ast.unparse(call.func)
    words = [*call.args, *(word.value for word in call.keywords if word.arg in ("mode", "flags"))]
    if not words or ast.unparse(words[0]) == "os.devnull":
        return False
    if function == "os.open":
        names = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(words[1])}
        return bool(names & WRITING_FLAGS)
    if function in ("open", "os.fdopen"):
        # A mode that is no text may be any.
        return len(words) > 1 and _may_write(words[1], otherwise=True)
    return function.endswith(".open") and _may_write(words[0], otherwise=False)


def _may_write(mode: ast.expr, otherwise: bool) -> bool:
    """Whether a mode is one of writing; `otherwise` for an expression that is no text."""
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str):
        return bool(set(mode.value) & set("wax+"))
    return otherwise


def _renames(call: ast.Call) -> bool:
    """Whether a call renames a path: a text's `replace` has two arguments."""
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in ("rename", "replace")
        and len(call.args) == 1
        and not call.keywords
        and ast.unparse(function.value) not in ("dataclasses", "copy")
    )


def test_every_other_function_writes_through_the_files_module(
    package: dict[str, ast.Module],
) -> None:
    writers = {
        f"{path} {function}": line
        for path, module in package.items()
        if path != "files.py"
        for function, line in writes_in(module)
    }
    assert writers.keys() == EXCEPTIONS.keys(), writers


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text(x)",
        "(folder / 'x').write_bytes(x)",
        "path.parent.mkdir(parents=True)",
        "os.makedirs(x)",
        "open(path, 'w')",
        "open(path, mode='x')",
        "open(path, mode)",
        "path.open('ab')",
        "path.open('r+')",
        "os.open(path, os.O_RDWR)",
        "os.open(path, flags=os.O_CREAT | os.O_EXCL)",
        "part.replace(path)",
        "part.rename(path)",
        "walk(os.replace)",
        "shutil.copyfile(x, y)",
        "np.save(x, y)",
        "torch.save(x, y)",
        "path.touch()",
        "path.symlink_to(x)",
    ],
)
def test_a_write_is_seen(code: str) -> None:
    assert list(writes_in(ast.parse(f"def f():\n    {code}"))) == [("f", 2)]


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "open(path, 'rb', opener=x)",
        "path.open('rb')",
        "os.open(path, os.O_RDONLY | os.O_NONBLOCK)",
        "open(os.devnull, 'wb')",
        "text.replace('a', 'b')",
        "dataclasses.replace(x)",
        "field.open()",
        "sessions.rename(file, title)",
        "write_whole(path, x)",
    ],
)
def test_what_writes_no_file_is_none(code: str) -> None:
    assert list(writes_in(ast.parse(f"def f():\n    {code}"))) == []
