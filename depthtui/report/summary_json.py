"""The summary of some runs of one model: the content of `summary.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any

import numpy as np

from depthtui import __version__
from depthtui.data.depth import DepthEstimate
from depthtui.data.model import ModelInfo, weights_dtype
from depthtui.data.plain import to_plain
from depthtui.data.run import Prompt, Provenance, RunResult
from depthtui.data.run_settings import (
    CHOICES,
    OF_OTHER_PROMPTS,
    SummarySettings,
    reading_keys,
    settings_keys,
)
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading
from depthtui.metrics.registry import ALL
from depthtui.metrics.spec import no_summary
from depthtui.report.choices import choices_that_matter
from depthtui.report.groups import RunGroup
from depthtui.report.layer_types import types_dict
from depthtui.report.left_out import left_out_dict
from depthtui.report.remarks import remarks_dict

SCHEMA = 1
"""Number of the summary's layout."""

_MODEL = (
    "name",
    "source",
    "revision",
    "architecture",
    "n_layers",
    "d_model",
    "vocab_size",
    "parameters",
)


_UNSEEN = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Characters that JSON does not escape, and a terminal interprets or hides."""


def summary_dict(group: RunGroup) -> dict[str, Any]:
    """The result file of a group of runs as JSON values.

    Contributions and lens are absent where not every run has them, on-demand metrics where no
    run has them; in a list by prompt, a prompt without them is null. An unknown value is null. Of
    a group of several parts, pooled values are in `groups` and absent elsewhere.
    """
    readings, results = [part.reading for part in group.parts], group.results
    summary = _inputs(results, readings[0].settings)
    if len(readings) > 1:
        first = np.cumsum([0, *(len(reading.prompts) for reading in readings)]).tolist()
        summary["groups"] = [
            {"prompts": list(range(*places)), **_pooled(reading)}
            for places, reading in zip(pairwise(first), readings, strict=True)
        ]
    else:
        summary |= _pooled(readings[0])
    summary["runs"] = [_run(alone) for reading in readings for alone in reading.alone]
    summary["provenance"] = combined_provenance(results)
    return to_plain(summary)


def _inputs(results: Sequence[RunResult], settings: SummarySettings) -> dict[str, Any]:
    """The model, the settings and the prompts."""
    model = results[0].model
    return {
        "schema": SCHEMA,
        "model": {
            **{name: getattr(model, name) for name in _MODEL},
            **_where(model),
            **({"layer_types": model.layer_types} if model.layer_types else {}),
            **({"states_from": model.states_from} if model.states_from else {}),
        },
        "settings": {
            "lens_top_k": results[0].settings.lens_top_k,
            **reading_keys(settings),
            **_left_out(results),
            **_chosen(results),
        },
        "prompts": [_prompt(result) for result in results],
    }


def _pooled(reading: Reading) -> dict[str, Any]:
    """Metrics, verdict and effective depths of the prompts of a reading."""
    part: dict[str, Any] = {}
    for metric in ALL:
        value = reading.get(metric)
        if value is not None and metric.summary is not no_summary:
            part[metric.name] = metric.summary(value, reading)
    if left_out := left_out_dict(reading):
        part["left_out"] = left_out
    if reading.known_idle is not None:
        part["idle"] = list(reading.known_idle)
    if types := types_dict(reading):
        part["by_type"] = types
    unavailable = [dict(reading.unavailable(prompt)) for prompt in reading.prompts]
    if any(unavailable):
        part["unavailable"] = unavailable
    part |= _conclusions(reading)
    if reading.parts:
        part["pooled"] = {
            "prompts": reading.n_prompts,
            "tokens": reading.n_tokens,
            "effective_prompts": reading.effective_prompts,
        }
    return part


def _conclusions(reading: Reading) -> dict[str, Any]:
    """Verdict and effective depths of the prompts of a reading."""
    verdict = {} if reading.verdict is None else {"verdict": verdict_dict(reading.verdict)}
    return {**verdict, "effective_depth": [_depth(estimate) for estimate in reading.depths]}


def _run(alone: Reading) -> dict[str, Any]:
    """A row for one run: `alone` is the reading of this run by itself."""
    (prompt,) = alone.prompts
    return {"tokens": prompt.n_tokens, "loss": prompt.loss, **_conclusions(alone)}


def summary_json(group: RunGroup, beside: Mapping[str, Any] | None = None) -> bytes:
    """The result file as UTF-8; characters that a terminal interprets or hides are escaped.

    `beside` are keys beside those of the runs, such as `missing_runs`; empty ones are left out.
    """
    summary = summary_dict(group)
    summary |= {key: to_plain(value) for key, value in (beside or {}).items() if value}
    text = json.dumps(summary, ensure_ascii=False, allow_nan=False, indent=1)
    text = _UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], text)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def combined_provenance(results: Iterable[RunResult]) -> dict[str, Any]:
    """Where the runs were computed: versions, the first start, the seconds of all.

    `cached` is whether all of them came from the disk cache.
    """
    runs = [result.provenance for result in results if result.provenance is not None]
    if not runs:
        return {"depthtui": __version__, "seconds": None, "cached": False}
    combined: dict[str, Any] = {
        field.name: _distinct(str(getattr(run, field.name)) for run in runs)
        for field in fields(Provenance)
    }
    return combined | {
        "started": min(run.started for run in runs),
        "seconds": sum(run.seconds for run in runs),
        "cached": all(run.cached for run in runs),
    }


def _distinct(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, words)))


def _where(model: ModelInfo) -> dict[str, str]:
    adapter = {"adapter": model.spec.adapter} if model.spec.adapter else {}
    return {"dtype": weights_dtype(model), "device": model.device, **adapter}


def _left_out(results: Sequence[RunResult]) -> dict[str, Any]:
    """The changes of a what-if; empty for clean runs."""
    settings = results[0].settings
    if settings.is_clean:
        return {}
    return {
        "skipped": settings.skipped,
        "parameters_skipped": results[0].model.parameters_of(settings.skipped),
        **({"repeated": settings.repeated} if settings.repeated else {}),
        **({"patched": settings.patched} if settings.patched else {}),
    }


def _chosen(results: Sequence[RunResult]) -> dict[str, Any]:
    """Which part of the slower metrics was computed; empty for all of them."""
    settings = settings_keys(results[0].settings)
    matter = choices_that_matter(results).difference(OF_OTHER_PROMPTS)
    return {name: settings[name] for name in CHOICES if name in settings and name in matter}


def _prompt(result: RunResult) -> dict[str, Any]:
    prompt, tokens = result.prompt, result.tokens
    return {
        "task": prompt.task,
        "level": prompt.level,
        "text": prompt.text,
        "answer": prompt.answer,
        **({"contrast": prompt.contrast} if prompt.contrast else {}),
        **({"choices": list(prompt.choices)} if prompt.choices else {}),
        **_written(prompt),
        "tokens": list(tokens.texts),
        "token_ids": [int(id_) for id_ in tokens.ids],
        **({} if result.is_whole else {"complete": False}),
        **remarks_dict(result),
    }


def _written(prompt: Prompt) -> dict[str, Any]:
    """How a model wrote the answer; empty for a given one."""
    written = prompt.written
    if written is None:
        return {}
    return {
        "written": {
            **asdict(written.writing),
            "stopped_by": written.stopped_by,
            "model": written.model,
        }
    }


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON values: sentence, warnings, each measure's count, range and reason."""
    names = (
        "kind",
        "measure",
        "counts",
        "count",
        "low",
        "high",
        "interval",
        "firm",
        "holds_here",
        "reason",
    )
    headline = verdict.headline
    return {
        "sentence": verdict.sentence,
        "headline": None if headline is None else asdict(headline),
        "answers": None if verdict.answers is None else asdict(verdict.answers),
        "warnings": list(verdict.warnings),
        "evidence": [
            {
                **{name: getattr(evidence, name) for name in names},
                **({} if evidence.layers is None else {"layers": list(evidence.layers)}),
                **({} if evidence.prompts is None else {"prompts": list(evidence.prompts)}),
            }
            for evidence in verdict.evidence
        ],
    }


def _depth(estimate: DepthEstimate) -> dict[str, Any]:
    by_prompt = estimate.prompt_weighted
    return {
        **_estimate_dict(estimate),
        "prompt_weighted": None if by_prompt is None else _estimate_dict(by_prompt),
    }


def _estimate_dict(estimate: DepthEstimate) -> dict[str, Any]:
    """A rule's result on one mean, as JSON values."""
    names = [
        "rule",
        "count",
        "layer",
        "ratio",
        "threshold",
        "reason",
        "interval",
        "crossing",
        "area",
    ]
    return {name: getattr(estimate, name) for name in names}
