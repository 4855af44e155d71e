"""The JSON schema of `summary.json`, made from the existing metrics and rules."""

from __future__ import annotations

from typing import Any

from depthtui.data.model import PART_TITLES
from depthtui.data.verdict import KINDS
from depthtui.depth import rules
from depthtui.metrics.registry import ALL
from depthtui.metrics.spec import no_summary
from depthtui.report.summary_json import SCHEMA

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def summary_schema() -> dict[str, Any]:
    """The schema; the content of a metric's own key is described in its formula alone."""
    pooled = {**_metrics(), **_conclusions()}
    return {
        "$schema": _DRAFT,
        "title": "summary.json of depthtui",
        "type": "object",
        "properties": {
            "schema": {"const": SCHEMA, "description": "Number of the layout."},
            "model": _MODEL,
            "settings": _SETTINGS,
            "prompts": {"type": "array", "minItems": 1, "items": _PROMPT},
            **pooled,
            "pooled": _object(prompts=_COUNT, tokens=_COUNT, effective_prompts=_NUMBER),
            "runs": {
                "type": "array",
                "description": "Each prompt by itself, in the order of `prompts`.",
                "items": _object(tokens=_COUNT, loss=_NUMBER_OR_NULL, more=_conclusions()),
            },
            "groups": {
                "type": "array",
                "description": "In place of the pooled keys: the prompts of each task.",
                "items": _object(
                    prompts={
                        "type": "array",
                        "description": "Places of its prompts in `prompts`, from 0.",
                        "items": _COUNT,
                        "minItems": 1,
                    },
                    more=pooled,
                ),
            },
            "lm_eval": {
                "type": "object",
                "description": "Right answers in a log of lm-evaluation-harness (`--lm-eval`).",
            },
            "provenance": {"type": "object", "description": "Versions, start, seconds, cache."},
        },
        "required": ["schema", "model", "settings", "prompts", "runs", "provenance"],
        "additionalProperties": {"description": "Keys of later versions."},
    }


def _object(more: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    """The schema of an object that has these properties, and may have more."""
    return {
        "type": "object",
        "properties": {**properties, **(more or {})},
        "required": list(properties),
    }


_COUNT = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
_NUMBER = {"type": "number"}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_INTERVAL = {
    "type": ["array", "null"],
    "description": "95% interval, in layers.",
    "items": _NUMBER_OR_NULL,
    "minItems": 2,
    "maxItems": 2,
}
_MODEL = _object(
    name=_TEXT,
    source=_TEXT,
    revision=_TEXT,
    architecture=_TEXT,
    n_layers={"type": "integer", "minimum": 1},
    d_model=_COUNT,
    vocab_size=_COUNT,
    parameters=_COUNT_OR_NULL,
    dtype=_TEXT,
    device=_TEXT,
    more={
        "layer_types": {"type": "array", "items": _TEXT},
        "states_from": {"type": "string", "description": "The engine that wrote the states."},
    },
)
_SETTINGS = {
    "type": "object",
    "description": "Settings of the measurement and of the pooling.",
    "properties": {
        "skipped": {
            "type": "array",
            "description": "Layers or parts of them left out by a what-if.",
            "items": _object(layer=_COUNT, part={"enum": list(PART_TITLES)}),
        },
        "parameters_skipped": {**_COUNT_OR_NULL, "description": "Their number of parameters."},
    },
}
_PROMPT = _object(
    text=_TEXT,
    tokens={"type": "array", "items": _TEXT},
    token_ids={"type": "array", "items": _COUNT},
    more={
        "task": _TEXT,
        "level": _TEXT,
        "answer": _TEXT,
        "contrast": _TEXT,
        "choices": {"type": "array", "items": _TEXT},
        "complete": {"type": "boolean", "description": "False where a run was stopped."},
    },
)
_EVIDENCE = _object(
    kind={"enum": list(KINDS)},
    measure=_TEXT,
    counts={"enum": ["depth", "layers"], "description": "A place in the stack, or a number."},
    count=_NUMBER_OR_NULL,
    low=_NUMBER_OR_NULL,
    high=_NUMBER_OR_NULL,
    interval=_INTERVAL,
    firm=_FLAG,
    holds_here=_FLAG,
    reason={"type": "string", "description": "Reason for a fragile or a missing count."},
    more={"layers": {"type": "array", "items": _COUNT}},
)


def _conclusions() -> dict[str, Any]:
    """The verdict and a row for each rule."""
    depth = {
        "rule": {"enum": [rule.name for rule in rules.ALL]},
        "count": {**_COUNT_OR_NULL, "description": "Layers; null where the rule finds none."},
        "layer": {**_COUNT_OR_NULL, "description": "Index of the last of them."},
        "ratio": {**_NUMBER_OR_NULL, "description": "count / L."},
        "threshold": _NUMBER_OR_NULL,
        "reason": {"type": "string", "description": "Reason for a missing count."},
        "interval": _INTERVAL,
        "crossing": {
            **_NUMBER_OR_NULL,
            "description": "Layer, with decimals, at which the curve crosses the threshold.",
        },
        "area": {**_NUMBER_OR_NULL, "description": "Mean of the curve over its maximum."},
    }
    same = {"prompt_weighted": _object(more=depth)}
    return {
        "verdict": _object(
            sentence=_TEXT,
            headline={"type": ["object", "null"]},
            answers={
                "type": ["object", "null"],
                "description": "Right answers to several questions, and the layers they need.",
            },
            warnings={"type": "array", "items": _TEXT},
            evidence={"type": "array", "items": _EVIDENCE},
        ),
        "effective_depth": {"type": "array", "items": _object(**depth, more=same)},
    }


def _metrics() -> dict[str, Any]:
    """Properties of each metric, by its name, and properties of no single metric."""
    properties: dict[str, Any] = {
        metric.name: {
            "type": ["object", "array", "number", "null"],
            "title": metric.title,
            "description": metric.formula,
        }
        for metric in ALL
        if metric.summary is not no_summary
    }
    properties["left_out"] = {
        "type": "object",
        "description": "By kind of piece, `layer` or `part`: its order and, by the number that has "
        "left, the `columns`; the `least` that keep a limit of each; the controls of the order.",
    }
    properties["unavailable"] = {
        "type": "array",
        "description": "Of each prompt: metric and reason.",
        "items": {"type": "object", "additionalProperties": _TEXT},
    }
    properties["idle"] = {
        "type": "array",
        "description": "Layers that write exactly nothing.",
        "items": _COUNT,
    }
    properties["by_type"] = {
        "type": "object",
        "description": "Means and used layers by type of layer.",
    }
    return properties
