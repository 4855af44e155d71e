"""Commands to install further packages, with the tool that installed depthtui."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ROOT = Path(__file__).parent.parent
"""The folder of pyproject.toml, where this is a checkout."""


def install_extra(extra: str) -> str:
    """The command that adds an extra of depthtui, such as `quantize`."""
    requirement = _word(f"{_source()}[{extra}]")
    match _installer():
        case "pipx":
            return f"pipx install --force {requirement}"
        case "uv tool":
            return f"uv tool install --force {requirement}"
    if (_ROOT / "pyproject.toml").is_file():
        requirement = f"-e {_word(f'{_ROOT}[{extra}]')}"
    return f"{_pip()} {requirement}"


def install_package(requirement: str, *options: str) -> str:
    """The command that installs another package beside depthtui.

    Args:
        requirement: a requirement such as `torch>=2.13`.
        options: options of pip, such as `--upgrade`.
    """
    package = _word(requirement)
    words = " ".join([*options, package])
    match _installer():
        case "pipx":
            return f"pipx runpip depthtui install {words}"
        case "uv tool":
            return f"uv tool install --force {_word(_source())} --with {package}"
    return f"{_pip()} {words}"


def uninstall_package(package: str) -> str:
    """The command that removes a package from beside depthtui."""
    match _installer():
        case "pipx":
            return f"pipx runpip depthtui uninstall {_word(package)}"
        case "uv tool":
            return f"uv tool install --force {_word(_source())}"
    return f"{_pip().removesuffix('install')}uninstall {_word(package)}"


def _word(name: str) -> str:
    # Its module imports Rich, which `--help` does without.
    from depthtui.token_text import shell_word

    return shell_word(name)


def _source() -> str:
    """The folder that depthtui was installed from; `depthtui` where it came from an index."""
    # Slow to import, and only a person who lacks a package needs it.
    from importlib.metadata import PackageNotFoundError, distribution

    with suppress(PackageNotFoundError, ValueError, AttributeError):
        origin = json.loads(distribution("depthtui").read_text("direct_url.json") or "{}")
        url = urlsplit(origin.get("url", ""))
        if url.scheme == "file":
            return unquote(url.path)
    return "depthtui"


def _pip() -> str:
    return "uv pip install" if _installer() == "uv" else "pip install"


def _installer() -> str:
    """The tool that installed depthtui: `pipx`, `uv tool`, `uv` or `pip`."""
    parts = Path(sys.prefix).parts
    if _lie_together(parts, ("pipx", "venvs")):
        return "pipx"
    if _lie_together(parts, ("uv", "tools")):
        return "uv tool"
    with suppress(OSError):
        if "\nuv = " in "\n" + Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8"):
            return "uv"
    return "pip"


def _lie_together(parts: Sequence[str], names: tuple[str, str]) -> bool:
    return names in pairwise(parts)
