"""Every per-token array of some runs, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from safetensors.numpy import save

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.plain import to_plain
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings, reading_keys, settings_keys
from depthtui.depth.token_depths import depths_of_run
from depthtui.metrics import token_depths


def arrays_bytes(results: Sequence[RunResult], settings: SummarySettings) -> bytes:
    """A safetensors file.

    Tensors are named `0/token_ids`, `0/contributions/layer_cosine`,
    `0/logit_lens/kl`, `0/skip_effects/layers` and so on; the number is the run's. The JSON under
    `runs` in the file's metadata describes each run, with token texts and the lens's
    vocabulary.

    The depths of tokens, `0/token_depths/kl`, are by the lens and the thresholds of `settings`,
    the `reading` of the run in the metadata.
    """
    arrays: dict[str, np.ndarray] = {}
    for number, result in enumerate(results):
        arrays[f"{number}/token_ids"] = np.asarray(result.tokens.ids, np.int64)
        for name, part in result.measured.items():
            for field, values in arrays_of(part):
                arrays[f"{number}/{name}/{field}"] = np.ascontiguousarray(values)
        depths = depths_of_run(result, settings)
        for field, values in arrays_of(depths) if depths is not None else ():
            arrays[f"{number}/{token_depths.NAME}/{field}"] = values
    about = [_about(result) | {"reading": reading_keys(settings)} for result in results]
    return save(arrays, metadata={"runs": json.dumps(to_plain(about))})


def _about(result: RunResult) -> dict[str, Any]:
    lenses = [part for part in result.measured.values() if isinstance(part, LogitLens)]
    vocabulary = {id_: text for lens in lenses for id_, text in lens.vocabulary.items()}
    return {
        "model": result.model,
        "prompt": result.prompt,
        "settings": settings_keys(result.settings),
        "tokens": result.tokens.texts,
        "answer_start": int(result.tokens.answer_start),
        "vocabulary": {str(id_): text for id_, text in vocabulary.items()},
        "complete": result.is_whole,
        "metrics": {name: _words(part) for name, part in result.measured.items()},
        "unavailable": result.unavailable,
        "provenance": result.provenance,
    }


def _words(part: Any) -> dict[str, Any]:
    """The fields of a metric's result other than its arrays, such as which part was skipped.

    Fields with their default, such as a choice of everything, are left out.
    """
    return {
        field.name: value
        for field in fields(part)
        if field.name != "vocabulary"
        and not isinstance(value := getattr(part, field.name), np.ndarray)
        and value != field.default
    }
