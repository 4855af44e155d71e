"""Packages with plug-ins, as an installer lays them out, in a folder for `PYTHONPATH`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from depthtui.manual import source


def make_package(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
    version: str = "0.1",
) -> Path:
    """Lay out a package; return the folder that makes it importable.

    Args:
        folder: the folder; made where missing.
        name: name of the distribution.
        files: sources by path.
        entry_points: by group and name, their places.
        version: its version.
    """
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {place}\n" for key, place in places.items())
            for group, places in entry_points.items()
        )
    )
    return folder


def template_files() -> dict[str, str]:
    """The files of the manual's package by path, with its other values in `others.py`."""
    page = source("plugins")
    fenced = r"`([\w/]+\.(?:py|toml))`[^\n]*:\n\n```\w+\n(.*?)^```"
    blocks = dict(re.findall(fenced, page, re.MULTILINE | re.DOTALL))
    assert list(blocks) == [
        "pyproject.toml",
        "depthtui_gain/__init__.py",
        "depthtui_gain/compute.py",
    ]
    after = page.partition("## A rule, a task, a format")[2]
    others = re.findall(r"```python\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    return {**blocks, "depthtui_gain/others.py": "\n\n".join(others)}


OTHERS = {
    "depthtui.rules": {"certain": "depthtui_gain.others:CERTAIN"},
    "depthtui.tasks": {"backwards": "depthtui_gain.others:BACKWARDS"},
    "depthtui.formats": {"tsv": "depthtui_gain.others:TSV"},
}
"""The entry points of the values in `others.py`."""


def make_template(folder: Path) -> Path:
    """The manual's package, with a metric, a rule, a task and a format."""
    files = template_files()
    about = tomllib.loads(files.pop("pyproject.toml"))["project"]
    entry_points = {**about["entry-points"], **OTHERS}
    return make_package(folder, about["name"], files, entry_points, about["version"])
