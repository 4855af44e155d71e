"""Runs read from the file of their arrays, which `report.run_arrays` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from safetensors import SafetensorError, safe_open

from depthtui.data.arrays import MetricResult
from depthtui.data.model import ModelInfo
from depthtui.data.plain import from_plain
from depthtui.data.run import Prompt, PromptTokens, Provenance, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.errors import DepthError
from depthtui.files import parse_json
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.formats import FORMATS

_FORMAT = "safetensors"


@dataclass(frozen=True)
class SavedRuns:
    """Runs of a file, and how they are read.

    Attributes:
        results: at least one.
        settings: thresholds and lens.
    """

    results: list[RunResult]
    settings: SummarySettings


@dataclass(frozen=True)
class _Description:
    """A run without its arrays, as the file's metadata have it."""

    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    tokens: list[str]
    answer_start: int
    vocabulary: dict[str, str]
    complete: bool
    metrics: dict[str, dict[str, Any]]
    unavailable: dict[str, str]
    provenance: Provenance | None
    reading: SummarySettings


def read_runs(path: Path) -> SavedRuns:
    """The runs in a file of arrays.

    Raises:
        DepthError: depthtui did not write the file, or it is damaged.
    """
    hint = f"`depthtui run --format {_FORMAT}` writes such a file."
    if not FORMATS[_FORMAT].is_report(path):
        raise DepthError(f"{path} is no file of runs.", hint)
    try:
        with safe_open(path, "numpy") as file:
            runs = from_plain(list[_Description], parse_json(file.metadata()["runs"]))
            results = [
                _run(run, dict(_arrays(file, f"{number}/"))) for number, run in enumerate(runs)
            ]
        return SavedRuns(results, runs[0].reading)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
        raise DepthError(f"{path} is damaged, or of another version: {error}.", hint) from None


def _arrays(file: Any, beginning: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays whose names begin so, by the rest of their names."""
    for name in file.keys():  # noqa: SIM118  it is no dictionary
        if name.startswith(beginning):
            yield name.removeprefix(beginning), file.get_tensor(name)


def _run(run: _Description, arrays: Mapping[str, np.ndarray]) -> RunResult:
    """A run from its description and its arrays; a metric of a missing package is unavailable.

    Raises:
        ValueError, LookupError: these do not fit each other.
    """
    ids, count = arrays["token_ids"], len(run.tokens)
    if ids.shape != (count,) or not 0 <= run.answer_start <= count:
        raise ValueError("the tokens do not fit each other")
    vocabulary = {int(id_): text for id_, text in run.vocabulary.items()}
    sizes = run.model.n_layers, count, run.settings.lens_top_k
    lacking = dict.fromkeys(run.metrics.keys() - METRIC_BY_NAME, "its package is not installed")
    measured = {}
    for name, words in run.metrics.items():
        if name in lacking:
            continue
        measured[name] = _metric(name, words, arrays, vocabulary)
        if measured[name].unfit(*sizes):
            raise ValueError(f"{name} does not fit its run")
    return RunResult(
        run.model,
        run.prompt,
        run.settings,
        PromptTokens(ids, run.tokens, run.answer_start),
        measured,
        run.model.n_layers,
        True,
        run.provenance,
        {**run.unavailable, **lacking},
    )


def _metric(
    name: str,
    words: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    vocabulary: Mapping[int, str],
) -> MetricResult:
    """A metric's result from its arrays and its other fields."""
    kind = METRIC_BY_NAME[name].result
    if kind is None:
        raise ValueError(f"{name} has no arrays")
    values: dict[str, Any] = {field: arrays[f"{name}/{field}"] for field in kind.shapes()}
    hints = get_type_hints(kind, include_extras=True)
    if "vocabulary" in hints:
        values["vocabulary"] = vocabulary
    # Arrays are no JSON, and keys of JSON are texts: both are there already.
    readers = {hints[field]: lambda value: value for field in values}
    return from_plain(kind, {**words, **values}, readers=readers)
