"""Model folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from depthtui.errors import DepthError
from depthtui.files import check_writable, is_full_disk, scratch
from depthtui.models.catalog import provenance
from depthtui.models.integrity import is_whole

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""Errors of a rename to a name in use; an empty folder is replaced without an error."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends well.

    Its parent is scratch space on the same disk, all of which is removed on an exception. If
    `target` has appeared meanwhile, it stays, and the result is put beside it.

    Raises:
        DepthError: something has appeared in `target`, or the disk is full or cannot be written.
    """
    # Absolute, with a name: nothing can be renamed to `.`.
    target = Path(os.path.abspath(target))
    with _staged(target, "Choose another folder.", _put_beside) as result:
        yield result


@contextmanager
def store_folder(target: Path) -> Iterator[Path]:
    """Like `new_folder`, for a converted model in the model store.

    A damaged conversion is repaired. A conversion that another process has made meanwhile stays.

    Raises:
        DepthError: `target` holds something that depthtui did not convert, or the disk is full or
            cannot be written.
    """
    if os.path.isdir(target) and os.listdir(target):
        _check_is_conversion(target)
    with _staged(target, "Keep models elsewhere with --cache-dir.", _mend) as result:
        yield result


@contextmanager
def _staged(target: Path, elsewhere: str, give_way: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Make a result and rename it to `target`.

    Args:
        target: the result's place.
        elsewhere: the hint where the disk is full or cannot be written.
        give_way: called with the result and `target`, where `target` exists.
    """
    check_writable(target, elsewhere)
    with _disk_errors(target.parent, elsewhere):
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target.parent) as work:
            result = work / "result"
            result.mkdir()
            yield result
            _sync(result)
            if not _rename(result, target):
                give_way(result, target)


def _rename(folder: Path, target: Path) -> bool:
    """Rename a folder; return False where the name is in use."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _put_beside(result: Path, target: Path) -> None:
    places = (target.with_name(f"{target.name}-{number}") for number in count(2))
    place = next(place for place in places if _rename(result, place))
    raise DepthError(
        f"There is something in {target} by now, which was left as it is.",
        f"The model was put into {place} instead.",
    )


def _mend(result: Path, target: Path) -> None:
    if is_whole(target):
        return
    _check_is_conversion(target)
    shutil.copytree(result, target, copy_function=os.replace, dirs_exist_ok=True)


def _check_is_conversion(folder: Path) -> None:
    if "made_from" not in provenance(folder):
        raise DepthError(
            f"There is something in {folder} that depthtui did not make.",
            "Move it away, or keep models elsewhere with --cache-dir.",
        )


@contextmanager
def _disk_errors(folder: Path, elsewhere: str) -> Iterator[None]:
    try:
        yield
    except DepthError:
        raise
    except Exception as error:
        if is_full_disk(error):
            raise DepthError(
                f"The disk of {folder} is full.",
                f"Free some space. {elsewhere}",
            ) from error
        code = error.errno if isinstance(error, OSError) else None
        if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise DepthError(f"{folder} cannot be written to.", elsewhere) from error
        raise


def _sync(folder: Path) -> None:
    """Flush the files to the disk before the rename, so that a power cut cannot empty them."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
