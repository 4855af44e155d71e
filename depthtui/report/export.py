"""Write runs to a folder, each file whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.files import write_whole
from depthtui.report.arrays import arrays_bytes
from depthtui.report.groups import Group, group_runs
from depthtui.report.html import html_bytes
from depthtui.report.markdown import markdown_bytes
from depthtui.report.silenced import without
from depthtui.report.summary import summary_json

_LONGEST_WITHOUT = 60

Files = dict[str, bytes]
"""File name -> content."""


def _json(groups: Sequence[Group], settings: SummarySettings, name: str) -> Files:
    names = [name] if len(groups) == 1 else _distinct([f"{name}-{_slug(g)}" for g in groups])
    return {
        f"{each}.json": summary_json(group.results, settings)
        for each, group in zip(names, groups, strict=True)
    }


def _markdown(groups: Sequence[Group], settings: SummarySettings, name: str) -> Files:
    return {f"{name}.md": markdown_bytes(groups, settings)}


def _html(groups: Sequence[Group], settings: SummarySettings, name: str) -> Files:
    return {f"{name}.html": html_bytes(groups, settings)}


def _arrays(groups: Sequence[Group], settings: SummarySettings, name: str) -> Files:
    return {f"{name}.safetensors": arrays_bytes([run for group in groups for run in group.results])}


FORMATS: dict[str, Callable[[Sequence[Group], SummarySettings, str], Files]] = {
    "md": _markdown,
    "json": _json,
    "html": _html,
    "safetensors": _arrays,
}
"""The formats by the ending of their files."""


def export(
    results: Sequence[RunResult],
    settings: SummarySettings,
    folder: Path,
    formats: Iterable[str] = tuple(FORMATS),
    name: str = "summary",
) -> list[Path]:
    """Write a summary of one run or many, replacing files of the same name.

    Runs of several models share one file in every format but JSON, which gets
    one file a model, `name-model.json`.

    Args:
        results: at least one run; a run without tokens yet is not one.
        settings: how runs of one model are pooled.
        folder: made where missing.
        formats: keys of `FORMATS`.
        name: of the files, without their endings.

    Returns:
        The files written.

    Raises:
        DepthError: there is nothing to export, or the folder cannot be written.
    """
    if not results:
        raise DepthError("There is nothing to export yet.", "Run a prompt first.")
    groups = group_runs(results)
    paths = []
    for each in formats:
        for file_name, content in FORMATS[each](groups, settings, name).items():
            paths.append(write_whole(folder / file_name, content))
    return paths


def _slug(group: Group) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", group.model.name).strip("-.") or "model"
    left_out = re.sub(r"[ ,]+", "-", without(group.settings.silenced))[:_LONGEST_WITHOUT]
    return f"{name}-{left_out}" if left_out else name


def _distinct(names: Sequence[str]) -> list[str]:
    """The names with -2, -3, … behind those that come again."""
    result: list[str] = []
    for name in names:
        number, distinct = 1, name
        while distinct in result:
            number += 1
            distinct = f"{name}-{number}"
        result.append(distinct)
    return result
