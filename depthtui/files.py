"""Files: written whole or not at all, private to their owner, read without blocking or end."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from depthtui.errors import DepthError, first_line

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_SCRATCH = ".depthtui-"
_MARK = "owner.json"
_LARGEST_MARK = 1 << 12
_UNMARKED_AFTER = 60.0
"""Seconds after which an empty folder is too old to be waiting for its mark."""

_BEGINNING = 1 << 16
"""Bytes read to recognise a file; names of models precede a report's mark."""

_ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a folder counts as abandoned where its lock proves nothing: on another host,
or on a disk without locks."""

_OPENED_BY_THE_SHELL = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Pipes such as `<(command)`, which have a writer."""


def write_whole(path: Path, content: bytes, hint: str = "Choose another folder.") -> Path:
    """Write a file beside its place and rename it, so that nobody sees half of it.

    A new file, and new folders above it, are private to their owner: they may contain prompts. A
    replaced file keeps its mode. A link is replaced itself; its target is not touched.

    Args:
        path: the file; folders above it are made.
        content: the whole content.
        hint: the remedy where it cannot be written.

    Raises:
        DepthError: the folder cannot be written.
    """
    return _write(path.parent, {path.name: content}, hint, Path.replace)[0]


def write_new(path: Path, content: bytes, hint: str = "Choose another name.") -> Path:
    """Write a new file as `write_whole` does.

    Raises:
        DepthError: the path exists, or the folder cannot be written.
    """
    return _write(path.parent, {path.name: content}, hint, _rename_to_new)[0]


def write_over(
    folder: Path,
    contents: Mapping[str, bytes],
    is_ours: Callable[[Path], bool],
    hint: str = "Choose another name.",
) -> list[Path]:
    """Write files as `write_whole` does, replacing nothing but earlier files of depthtui.

    All are written before the first appears under its name.

    Args:
        folder: folder of the files; made where missing.
        contents: the content of each file by its name, which may begin with a folder in this one.
        is_ours: whether depthtui wrote an existing file.
        hint: the remedy where they cannot be written.

    Raises:
        DepthError: another file is there, or the folder cannot be written.
    """

    def place(part: Path, path: Path) -> None:
        is_replaced = os.path.lexists(path) and is_ours(path)
        (Path.replace if is_replaced else _rename_to_new)(part, path)

    return _write(folder, contents, hint, place)


def check_place(path: Path, is_ours: Callable[[Path], bool], kind: str) -> None:
    """Check that writing a file would replace nothing but an earlier file of depthtui.

    Args:
        path: the file; need not exist.
        is_ours: whether depthtui wrote an existing file.
        kind: the kind of file, such as `report`.

    Raises:
        DepthError: the path is another file.
    """
    if os.path.lexists(path) and not is_ours(path):
        raise DepthError(
            f"{path} is no {kind} of depthtui, and was left as it is.",
            "Move it away, or choose another folder.",
        )


def begins_with(path: Path, pattern: bytes) -> bool:
    """Whether an ordinary file begins with a pattern, whose `.` matches every byte.

    False for a link, and for a file that cannot be read.
    """
    try:
        with open_regular(path) as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return False
    return not path.is_symlink() and re.match(pattern, beginning, re.DOTALL) is not None


def _write(
    folder: Path, contents: Mapping[str, bytes], hint: str, place: Callable[[Path, Path], Any]
) -> list[Path]:
    """Write files into scratch space, then place each under its name in a folder.

    Where one cannot be placed, new ones that were placed before it are removed.
    """
    path, parts, new = folder, dict[Path, Path](), list[Path]()
    try:
        make_private_folder(folder)
        with scratch(folder) as work:
            for name, content in contents.items():
                path = folder / name
                parts[path] = work / f"part-{len(parts)}"
                with open(parts[path], "xb", opener=_private) as file:
                    file.write(content)
                parts[path].chmod(_mode(path))
            for path, part in parts.items():
                make_private_folder(path.parent)
                is_new = not os.path.lexists(path)
                place(part, path)
                if is_new:
                    new.append(path)
    except (OSError, ValueError) as error:
        for path_placed in new:
            path_placed.unlink(missing_ok=True)
        if is_full_disk(error):
            hint = "Make room on its disk, or choose another folder."
        raise DepthError(f"{path} could not be written ({system_reason(error)}).", hint) from None
    return list(parts)


def _rename_to_new(part: Path, path: Path) -> None:
    """Rename a file to a path that does not exist.

    Raises:
        FileExistsError: the path exists.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        # A disk without hard links: an empty file reserves the name, then is replaced.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))
        part.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, PRIVATE_FILE)


def _mode(path: Path) -> int:
    """The mode of an existing file; the mode for new files where there is none."""
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            return stat.S_IMODE(mode)
    return PRIVATE_FILE


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder for this process alone, removed when the block ends.

    A mark in it names the host and is locked as long as the block runs. Marked folders of
    processes that have ended are removed too, at the first call for a folder.

    Args:
        parent: the folder to make it in.

    Raises:
        OSError: it cannot be made.
    """
    _remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=parent))
    try:
        owner = {"made_by": "depthtui", "host": platform.node()}
        with open(folder / _MARK, "xb", opener=_private) as mark:
            # Lock before writing: a mark without its content proves nothing.
            _lock(mark)
            mark.write(json.dumps(owner).encode())
            mark.flush()
            yield folder
    finally:
        _remove(folder)


def check_writable(folder: Path, hint: str = "Choose another folder.") -> None:
    """Check that files can be written to a folder, existing or not; nothing is left behind.

    Raises:
        DepthError: files cannot be written there.
    """
    try:
        existing = next(path for path in (folder, *folder.parents) if path.is_dir())
        below = folder.relative_to(existing)
        if below.parts and os.path.lexists(existing / below.parts[0]):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with scratch(existing) as work:
            (work / below).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise DepthError(f"{folder} cannot be written to ({system_reason(error)}).", hint) from None


@cache
def _remove_abandoned(parent: Path) -> None:
    """Remove the scratch folders of ended processes; once per folder, since it may be large."""
    with os.scandir(parent) as entries:
        folders = [Path(entry.path) for entry in entries if entry.name.startswith(_SCRATCH)]
    for folder in folders:
        if _is_abandoned(folder):
            _remove(folder)


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder's mark shows that a process of this user made it and has ended."""
    try:
        status = folder.lstat()
        with open_regular(folder / _MARK) as mark:
            owner = parse_json(mark.read(_LARGEST_MARK))
            is_ours = (
                stat.S_ISDIR(status.st_mode)
                and status.st_uid == os.getuid()
                and owner.keys() == {"made_by", "host"}
                and owner["made_by"] == "depthtui"
            )
            if not is_ours:
                return False
            if _lock(mark) and owner["host"] == platform.node():
                return True
            return time.time() - os.fstat(mark.fileno()).st_mtime > _ABANDONED_AFTER
    except FileNotFoundError:
        return _is_empty(folder)
    except (OSError, ValueError, AttributeError):
        return False


def _is_empty(folder: Path) -> bool:
    """Whether a folder is old and empty: its process was killed while it had no mark."""
    try:
        status = folder.lstat()
        is_old = time.time() - status.st_mtime > _UNMARKED_AFTER
        return status.st_uid == os.getuid() and is_old and not os.listdir(folder)
    except OSError:
        return False


def _lock(mark: BinaryIO) -> bool:
    """Lock a file until it is closed; False on a disk without locks.

    Raises:
        BlockingIOError: it is locked already.
    """
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove a scratch folder, its mark last: after a kill, the mark identifies the rest."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _MARK:
                path.unlink()
        if os.listdir(folder) == [_MARK]:
            (folder / _MARK).unlink()
        folder.rmdir()


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it, private to their owner; existing ones are not changed.

    Raises:
        OSError, ValueError: a folder cannot be made.
    """
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(new_folders):
        path.mkdir(PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; never waits for the writer of a pipe.

    Raises:
        OSError: the file cannot be opened, or is a folder, a device or a named pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in its name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) and str(path).startswith(_OPENED_BY_THE_SHELL):
        os.set_blocking(descriptor, True)
    elif not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return open(descriptor, "rb")


def read_whole(path: Path, largest: int) -> bytes:
    """All of an ordinary file.

    Args:
        path: the file.
        largest: most bytes of the file.

    Raises:
        OSError: the file cannot be read, is no ordinary file, or is larger.
    """
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest >> 20} MiB", str(path))
    return content


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: the text is no JSON; its message is for people.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, character {error.pos + 1}") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it has a number of thousands of digits") from None


def parse_toml(data: bytes) -> dict[str, Any]:
    """The table in a TOML text.

    Raises:
        ValueError: the text is no TOML; the message describes the text.
    """
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not valid TOML: {first_line(error)}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("has a number of thousands of digits, or a day that is none") from None


def expand_home(name: str) -> Path:
    """The path for a name such as `~/models`.

    Raises:
        DepthError: the name begins with an unknown user, or contains a NUL.
    """
    if "\0" in name:
        raise DepthError("A file's name cannot hold a NUL character.", "Name another file.")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        user = name.split("/", 1)[0]
        raise DepthError(
            f"There is no user {user[1:41]!r}, whose home {user[:41]} would be.",
            "Write ./~name where the file is called so.",
        ) from None


def slug(text: str) -> str:
    """The text as a name for a file or folder: at most 80 letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "unnamed"


def distinct_names(names: Iterable[str]) -> list[str]:
    """The names, repeated ones with -2, -3, … appended."""
    result: list[str] = []
    for name in names:
        number, distinct = 1, name
        while distinct in result:
            number += 1
            distinct = f"{name}-{number}"
        result.append(distinct)
    return result


def is_full_disk(error: Exception) -> bool:
    """Whether a file could not be written since a disk, or one's share of it, is full."""
    # The safetensors writer has an error type of its own, without an errno.
    code = getattr(error, "errno", None)
    return code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def system_reason(error: BaseException) -> str:
    """The system's reason why a file could not be read or written."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
