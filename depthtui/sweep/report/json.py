"""A sweep as JSON, and its effective depths as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from depthtui import __version__
from depthtui.data.depth import DepthEstimate
from depthtui.data.plain import to_plain
from depthtui.data.run_settings import settings_keys, summary_keys
from depthtui.report.summary import verdict_dict, weights_dtype
from depthtui.sweep.comparisons import numbers
from depthtui.sweep.questions import Question
from depthtui.sweep.report.phrases import absences, cautions
from depthtui.sweep.summary import CellSummary, SweepSummary
from depthtui.token_text import printable_line

SCHEMA = 1
"""Number of the report's layout."""

_MODEL = ("name", "source", "revision", "architecture", "n_layers", "d_model", "parameters")


def sweep_json(summary: SweepSummary, questions: Sequence[Question]) -> bytes:
    """The report as UTF-8; an unknown number is null."""
    body = {
        "schema": SCHEMA,
        "depthtui": __version__,
        "plan": {
            **vars(summary.plan),
            "run": settings_keys(summary.plan.run),
            "summary": summary_keys(summary.plan.summary),
        },
        "cells": [_cell(cell) for cell in summary.cells],
        "questions": [
            {
                "name": question.name,
                "title": question.title,
                "answers": [
                    {
                        "compared": answer.compared,
                        "on": answer.on,
                        "rule": answer.rule,
                        "sentence": answer.sentence,
                        "numbers": None if answer.found is None else numbers(answer.found),
                    }
                    for answer in question.answers
                ],
            }
            for question in questions
        ],
        "cautions": [remark.text for remark in cautions(summary)],
        "missing": [remark.text for remark in absences(summary)],
        "failures": summary.failures,
    }
    return json.dumps(to_plain(body), allow_nan=False, indent=1).encode() + b"\n"


def sweep_csv(summary: SweepSummary) -> bytes:
    """A line for every cell and rule, as UTF-8; what is not known is empty."""
    rows = [_row(cell, estimate) for cell in summary.cells for estimate in cell.depths]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell_text(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell_text(value: Any) -> Any:
    """A cell on one line, whatever a model or a file is called."""
    return printable_line(value) if isinstance(value, str) else value


_COLUMNS = (
    "model",
    "source",
    "revision",
    "parameters",
    "n_layers",
    "dtype",
    "device",
    "task",
    "level",
    "prompts",
    "tokens",
    "rule",
    "layer",
    "ratio",
    "interval_low",
    "interval_high",
    "threshold",
    "reason",
    "warning",
    "published_dataset",
    "published_layer",
    "difference",
    "loss",
    "count",
    "published_count",
    "effective_prompts",
    "prompt_layer",
    "prompt_ratio",
    "prompt_interval_low",
    "prompt_interval_high",
    "crossing",
    "area",
    "prompt_crossing",
    "prompt_area",
)


def _row(cell: CellSummary, estimate: DepthEstimate) -> dict[str, Any]:
    model, published = cell.model, cell.published(estimate.rule)
    low, high = estimate.interval or (None, None)
    once = estimate.prompt_weighted
    once_low, once_high = (once.interval if once else None) or (None, None)
    row = {
        "model": cell.title,
        "source": model.source,
        "revision": model.revision,
        "parameters": model.parameters,
        "n_layers": model.n_layers,
        "dtype": weights_dtype(model),
        "device": model.device,
        "task": cell.cell.task.name,
        "level": cell.cell.task.level,
        "prompts": len(cell.records),
        "tokens": cell.n_tokens,
        "rule": estimate.rule,
        "layer": estimate.layer,
        "ratio": estimate.ratio,
        "interval_low": low,
        "interval_high": high,
        "threshold": estimate.threshold,
        "reason": estimate.reason,
        "warning": estimate.warning,
        "published_dataset": published.dataset if published else None,
        "published_layer": published.layer if published else None,
        "difference": published.difference if published else None,
        "loss": cell.means.get("loss"),
        "count": estimate.count,
        "published_count": published.count if published else None,
        "effective_prompts": cell.effective_prompts,
        "prompt_layer": once.layer if once else None,
        "prompt_ratio": once.ratio if once else None,
        "prompt_interval_low": once_low,
        "prompt_interval_high": once_high,
        "crossing": estimate.crossing,
        "area": estimate.area,
        "prompt_crossing": once.crossing if once else None,
        "prompt_area": once.area if once else None,
    }
    return {name: _safe(value) for name, value in row.items()}


def _safe(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is made one that it does not."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _cell(cell: CellSummary) -> dict[str, Any]:
    model = cell.model
    return {
        "model": {
            **{name: getattr(model, name) for name in _MODEL},
            "dtype": weights_dtype(model),
            "device": model.device,
            "fingerprint": model.fingerprint,
        },
        "title": cell.title,
        "task": cell.cell.task.name,
        "level": cell.cell.task.level,
        "prompts": len(cell.records),
        "tokens": cell.n_tokens,
        "effective_prompts": cell.effective_prompts,
        "effective_depth": [_depth(cell, estimate) for estimate in cell.depths],
        "verdict": None if cell.verdict is None else verdict_dict(cell.verdict),
        "curves": cell.curves.by_name(),
        "means": cell.means,
        "records": [record.key for record in cell.records],
    }


def _depth(cell: CellSummary, estimate: DepthEstimate) -> dict[str, Any]:
    published, once = cell.published(estimate.rule), estimate.prompt_weighted
    return {
        **_found(estimate),
        "prompt_weighted": None if once is None else _found(once),
        "published": None if published is None else asdict(published) | {"count": published.count},
    }


def _found(estimate: DepthEstimate) -> dict[str, Any]:
    values = asdict(estimate) | {"count": estimate.count}
    del values["prompt_weighted"]
    return values
