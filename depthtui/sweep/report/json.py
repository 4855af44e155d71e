"""A sweep as JSON, and its effective depths as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from depthtui import __version__
from depthtui.data.depth import DepthEstimate
from depthtui.data.model import weights_dtype
from depthtui.data.plain import to_plain
from depthtui.data.run import without
from depthtui.data.run_settings import reading_keys, settings_keys
from depthtui.metrics import accuracy
from depthtui.metrics.accuracy.findings import summary_by_kind
from depthtui.report.layer_types import types_dict
from depthtui.report.logged_answers import logged_dict
from depthtui.report.summary_json import verdict_dict
from depthtui.sweep.answers import Answer
from depthtui.sweep.plan import plan_values, population
from depthtui.sweep.questions import Question
from depthtui.sweep.report.phrases import absences, cautions
from depthtui.sweep.summary import CellSummary, SweepSummary
from depthtui.token_text import printable_line

SCHEMA = 2
"""Number of the report's layout."""

_MODEL = ("name", "source", "revision", "architecture", "n_layers", "d_model", "parameters")


def sweep_json(summary: SweepSummary, questions: Sequence[Question]) -> bytes:
    """The report as UTF-8; an unknown number is null."""
    body = {
        "schema": SCHEMA,
        "depthtui": __version__,
        "plan": {
            **plan_values(summary.plan),
            "run": settings_keys(summary.plan.run),
            "summary": reading_keys(summary.plan.summary),
        },
        "cells": [_cell(cell) for cell in summary.cells],
        "questions": [
            {
                "name": question.name,
                "title": question.title,
                "reason": question.reason,
                "answers": [_answer(answer) for answer in question.answers],
            }
            for question in questions
        ],
        "cautions": [remark.text for remark in cautions(summary)],
        "missing": [remark.text for remark in absences(summary)],
        "failures": summary.failures,
    }
    if summary.logged:
        body["lm_eval"] = [logged_dict(log) for log in summary.logged]
    return json.dumps(to_plain(body), allow_nan=False, indent=1).encode() + b"\n"


def _answer(answer: Answer) -> dict[str, Any]:
    """An answer; numbers, changes and intervals are shares, of the layers or of the answers."""
    comparison, test = answer.comparison, answer.comparison.test
    numbers = zip_longest(answer.groups, comparison.groups, comparison.ranges)
    return {
        "number": answer.number.name,
        "compared": answer.subject.compared,
        "on": answer.subject.on,
        "known": comparison.groups[0].known if comparison.groups else "",
        "values": [
            {
                **asdict(group),
                "n_layers": None if number is None else number.n_layers,
                "value": None if number is None or number.why_unknown else number.value,
                "interval": ends,
            }
            for group, number, ends in numbers
        ],
        "change": comparison.change,
        "interval": comparison.interval,
        "level": comparison.level,
        "test": comparison.test_name,
        "p": None if test is None else test.p,
        "effect": None if test is None else test.effect,
        "disagrees": comparison.disagrees,
        "direction": comparison.direction,
        "reason": answer.reason,
        "confounds": answer.confounds,
        "population": answer.population,
        "verdict": answer.verdict,
        "sentence": str(answer),
    }


def sweep_csv(summary: SweepSummary) -> bytes:
    """A line for every cell and rule, or cell without any, as UTF-8; an unknown value is empty."""
    rows = [
        {name: _cell_text(value_of(cell, estimate)) for name, value_of in _COLUMNS.items()}
        for cell in summary.cells
        for estimate in cell.depths or [None]
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _from(value: Any, *names: str | int) -> Any:
    """An attribute of an attribute, or an element of a tuple; None where one of them is None."""
    for name in names:
        if value is None:
            return None
        value = value[name] if isinstance(name, int) else getattr(value, name)
    return value


def _published(cell: CellSummary, depth: DepthEstimate | None, name: str) -> Any:
    """An attribute of the paper's depth by the same rule; None where there is none."""
    return None if depth is None else _from(cell.published(depth.rule), name)


_COLUMNS: Mapping[str, Callable[[CellSummary, DepthEstimate | None], Any]] = {
    "model": lambda cell, _: cell.title,
    "source": lambda cell, _: cell.model.source,
    "revision": lambda cell, _: cell.model.revision,
    "parameters": lambda cell, _: cell.model.parameters,
    "n_layers": lambda cell, _: cell.model.n_layers,
    "dtype": lambda cell, _: weights_dtype(cell.model),
    "device": lambda cell, _: cell.model.device,
    "task": lambda cell, _: cell.cell.task.source,
    "level": lambda cell, _: cell.cell.task.level,
    "prompts": lambda cell, _: len(cell.records),
    "tokens": lambda cell, _: cell.n_tokens,
    "rule": lambda _, depth: _from(depth, "rule"),
    "layer": lambda _, depth: _from(depth, "layer"),
    "ratio": lambda _, depth: _from(depth, "ratio"),
    "interval_low": lambda _, depth: _from(depth, "interval", 0),
    "interval_high": lambda _, depth: _from(depth, "interval", 1),
    "threshold": lambda _, depth: _from(depth, "threshold"),
    "reason": lambda _, depth: _from(depth, "reason"),
    "warning": lambda _, depth: _from(depth, "warning"),
    "published_dataset": lambda cell, depth: _published(cell, depth, "dataset"),
    "published_layer": lambda cell, depth: _published(cell, depth, "layer"),
    "difference": lambda cell, depth: _published(cell, depth, "difference"),
    "loss": lambda cell, _: cell.means.get("loss"),
    "count": lambda _, depth: _from(depth, "count"),
    "published_count": lambda cell, depth: _published(cell, depth, "count"),
    "effective_prompts": lambda cell, _: cell.effective_prompts,
    "prompt_layer": lambda _, depth: _from(depth, "prompt_weighted", "layer"),
    "prompt_ratio": lambda _, depth: _from(depth, "prompt_weighted", "ratio"),
    "prompt_interval_low": lambda _, depth: _from(depth, "prompt_weighted", "interval", 0),
    "prompt_interval_high": lambda _, depth: _from(depth, "prompt_weighted", "interval", 1),
    "crossing": lambda _, depth: _from(depth, "crossing"),
    "area": lambda _, depth: _from(depth, "area"),
    "prompt_crossing": lambda _, depth: _from(depth, "prompt_weighted", "crossing"),
    "prompt_area": lambda _, depth: _from(depth, "prompt_weighted", "area"),
    "count_low": lambda _, depth: _from(depth, "count_interval", 0),
    "count_high": lambda _, depth: _from(depth, "count_interval", 1),
    "right": lambda cell, _: _from(cell, "accuracy", "right"),
    "answers": lambda cell, _: _from(cell, "accuracy", "answers"),
    "population": lambda cell, _: population([cell.cell.task]),
    "kept": lambda cell, _: _from(cell, "headline", "count"),
    "kept_low": lambda cell, _: _from(cell, "headline", "low"),
    "kept_high": lambda cell, _: _from(cell, "headline", "high"),
    "kept_half": lambda cell, _: _from(cell, "headline", "half"),
    "kept_mean_depth": lambda cell, _: _from(cell, "headline", "mean_depth"),
    "kept_gain": lambda cell, _: _from(cell, "headline", "gain"),
    "kept_of": lambda cell, _: _from(cell, "headline", "scored"),
}
"""The value of each column, from a cell and a rule's depth."""


def _cell_text(value: Any) -> Any:
    """A text on one line, which no spreadsheet mistakes for a formula."""
    if not isinstance(value, str):
        return value
    quote = "'" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else ""
    return printable_line(quote + value)


def _cell(cell: CellSummary) -> dict[str, Any]:
    model, answers = cell.model, cell.get(accuracy.METRIC)
    return {
        "model": {
            **{name: getattr(model, name) for name in _MODEL},
            "dtype": weights_dtype(model),
            "device": model.device,
            "fingerprint": model.fingerprint,
        },
        "title": cell.title,
        "task": cell.cell.task.source,
        "level": cell.cell.task.level,
        "prompts": len(cell.records),
        "tokens": cell.n_tokens,
        "effective_prompts": cell.effective_prompts,
        "accuracy": None if cell.accuracy is None else asdict(cell.accuracy),
        "right_answers": None if answers is None else summary_by_kind(answers, cell),
        "effective_depth": [_depth(cell, estimate) for estimate in cell.depths],
        "verdict": None if cell.verdict is None else verdict_dict(cell.verdict),
        "curves": cell.curves,
        "means": cell.means,
        **({"by_type": types} if (types := types_dict(cell)) else {}),
        "records": [record.key for record in cell.records],
    }


def _depth(cell: CellSummary, estimate: DepthEstimate) -> dict[str, Any]:
    published, by_prompt = cell.published(estimate.rule), estimate.prompt_weighted
    return {
        **_estimate(estimate),
        "prompt_weighted": None if by_prompt is None else _estimate(by_prompt),
        "published": None if published is None else asdict(published) | {"count": published.count},
    }


def _estimate(estimate: DepthEstimate) -> dict[str, Any]:
    counts = {"count": estimate.count, "count_interval": estimate.count_interval}
    return without(asdict(estimate), ("prompt_weighted",)) | counts
