"""Files: written whole or not at all and for their owner alone, read without waiting or end."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from depthtui.errors import DepthError, first_line

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_OPENED_BY_THE_SHELL = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Pipes such as `<(command)`: somebody writes into these."""


def write_whole(path: Path, content: bytes, hint: str = "Choose another folder.") -> Path:
    """Write a file beside its place and rename it, so that nobody sees half of it.

    A new file, and new folders above it, are their owner's alone: they hold prompts. A file
    that is replaced keeps its mode.

    Args:
        path: the file; folders above it are made.
        content: all of it.
        hint: what to do where it cannot be written.

    Raises:
        DepthError: the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        make_private_folder(path.parent)
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else PRIVATE_FILE
        beside.touch(PRIVATE_FILE)
        beside.write_bytes(content)
        beside.chmod(mode)
        beside.replace(path)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            beside.unlink()
        raise DepthError(f"{path} could not be written ({why(error)}).", hint) from None
    return path


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it, each its owner's alone; what is there stays as it is.

    Raises:
        OSError, ValueError: one cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def open_regular(path: Path) -> BinaryIO:
    """Open an ordinary file for reading; never waits for whoever would write into a pipe.

    Raises:
        OSError: it cannot be opened, or is a folder, a device or a pipe by name.
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
        largest: most bytes that it may have.

    Raises:
        OSError: it cannot be read, is no ordinary file, or larger.
    """
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest >> 20} MiB", str(path))
    return content


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: the text is none, in words for people.
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
        ValueError: it is none; what the text is instead, in words.
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


def expanded(name: str) -> Path:
    """The path that a name such as `~/models` means.

    Raises:
        DepthError: it begins with a user whom there is not, or holds a NUL.
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
    """The text as the name of a file or folder: at most 80 letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "unnamed"


def why(error: Exception) -> str:
    """What the system says of a file that could not be read or written."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
