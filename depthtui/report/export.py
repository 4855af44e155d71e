"""Runs as files: a summary and every array."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from depthtui.data.lm_eval_results import LoggedAnswers
from depthtui.data.pool import Pool
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.files import distinct_names
from depthtui.palettes import OWN_PALETTE
from depthtui.report.blocks import Block, Chapter, Document, Figure, Figures, Items, Note
from depthtui.report.compared import compared_blocks, compared_dict
from depthtui.report.formats import Files, Report
from depthtui.report.groups import RunGroup, group_runs
from depthtui.report.logged_answers import logged_blocks, logged_dict
from depthtui.report.long_table import (
    about_runs,
    parquet_bytes,
    rows_of_groups,
    rows_of_readings,
)
from depthtui.report.run_arrays import arrays_bytes
from depthtui.report.run_document import TokenOf, last_token, run_document
from depthtui.report.skips import changes_of
from depthtui.report.summary_json import summary_json
from depthtui.report.tables import ValueTable, table_bytes

_LONGEST_CHANGES = 60


def run_report(
    results: Sequence[RunResult],
    settings: SummarySettings,
    token_of: TokenOf = last_token,
    palette: str = OWN_PALETTE,
    missing_runs: Sequence[str] = (),
    pool: Pool = "model",
    controls: Mapping[str, str] | None = None,
    logged: Sequence[LoggedAnswers] = (),
) -> Report:
    """A report of runs, ready to write.

    Runs of several models share one file in every format but JSON, which gets
    one file per model, `name-model.json`, and the formats of figures.

    Args:
        results: at least one run; runs without tokens yet do not count.
        settings: how runs are pooled.
        token_of: returns the token of a run at which the report reads the lens.
        palette: name of the palette of the heatmaps.
        missing_runs: runs of the session that cannot be read, each in words; every file names them.
        pool: which prompts of each model are pooled.
        controls: by a model's fingerprint, its controls in a line (see `report.controls`).
        logged: the model's answers in a log of lm-evaluation-harness.

    Raises:
        DepthError: there is no run.
    """
    if not results:
        raise DepthError("There is nothing to export yet.", "Run a prompt first.")
    groups = group_runs(results, settings, pool)
    absent = [Note(f"Not in this report: {words}.") for words in missing_runs]
    return _report(
        groups,
        lambda: run_document(
            groups, token_of, palette, [*absent, *logged_blocks(logged)], controls
        ),
        lambda: {"lm_eval": logged_dict(logged), "missing_runs": missing_runs},
    )


def part_report(
    report: Report, title: str, part: Sequence[Figure] | ValueTable, palette: str
) -> Report:
    """A report of some figures or of a table alone; arrays and JSON are those of another report.

    Args:
        report: the other report.
        title: title of the page.
        part: the figures, or the table, which is a CSV file.
        palette: name of the palette of the heatmaps.
    """
    blocks: list[Block] = []
    data = dict(report.data)
    if isinstance(part, ValueTable):
        data["csv"] = lambda: {"": table_bytes(part)}
    else:
        blocks = [Items([figure.title for figure in part]), Figures(part)]
    document = Document(f"Effective depth: {title}", blocks, palette=palette)
    return replace(report, document=lambda: document, data=data)


def comparison_report(
    a: RunResult,
    b: RunResult,
    settings: SummarySettings,
    token_of: TokenOf = last_token,
    palette: str = OWN_PALETTE,
) -> Report:
    """A report of two runs, ready to write: their differences, then each run by itself.

    Args:
        a, b: the runs; they are never pooled.
        settings: how each is summarised.
        token_of: returns the token of a run at which the report reads the lens.
        palette: name of the palette of the heatmaps.
    """
    groups = [*group_runs([a], settings), *group_runs([b], settings)]

    def document() -> Document:
        beside = Chapter("A beside B", compared_blocks(*groups), is_open=True)
        return run_document(groups, token_of, palette, [beside], letters="AB")

    return _report(groups, document, lambda: {"compared": compared_dict(*groups)})


def _report(
    groups: Sequence[RunGroup],
    document: Callable[[], Document],
    beside: Callable[[], Mapping[str, Any]],
) -> Report:
    """A report of runs; `beside` are the keys of the JSON beside those of the runs."""
    runs = [run for group in groups for run in group.results]
    reading_settings = groups[0].parts[0].reading.settings

    def about() -> dict[str, Any]:
        return about_runs(runs, reading_settings)

    return Report(
        "runs",
        document,
        {
            "json": lambda: _json(groups, beside()),
            "safetensors": lambda: {"": arrays_bytes(runs, reading_settings)},
            "parquet": lambda: {"": parquet_bytes(rows_of_groups(groups), about())},
        },
        lambda: rows_of_readings(groups),
        about,
    )


def _json(groups: Sequence[RunGroup], beside: Mapping[str, Any]) -> Files:
    parts = [""] if len(groups) == 1 else distinct_names([f"-{_slug(group)}" for group in groups])
    return {
        suffix: summary_json(group, beside) for suffix, group in zip(parts, groups, strict=True)
    }


def _slug(group: RunGroup) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", group.model.name).strip("-.") or "model"
    changes = re.sub(r"[ ,]+", "-", changes_of(group.settings))[:_LONGEST_CHANGES]
    return f"{name}-{changes}" if changes else name
