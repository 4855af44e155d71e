"""Generated texts as Markdown, JSON, HTML and safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from depthtui.data.arrays import arrays_of
from depthtui.data.generation import Generation
from depthtui.data.plain import to_plain
from depthtui.data.run import without
from depthtui.data.run_settings import reading_keys
from depthtui.depth import rules
from depthtui.depth.reading import text_verdicts
from depthtui.errors import DepthError
from depthtui.palettes import OWN_PALETTE
from depthtui.report.formats import Report
from depthtui.report.generation import trend_sentence
from depthtui.report.generation_document import generation_document
from depthtui.report.summary_json import verdict_dict
from depthtui.report.token_depths import depths_of_text

SCHEMA = 2
"""Number of the file's layout."""


def generation_report(generations: Sequence[Generation], palette: str = OWN_PALETTE) -> Report:
    """A report of generated texts, ready to write, with tokens in the colours of a palette.

    Raises:
        DepthError: there is no text.
    """
    if not generations:
        raise DepthError("There is nothing to export yet.", "Let the model write first.")
    return Report(
        "generations",
        lambda: generation_document(generations, palette),
        {
            "json": lambda: {"": generation_json(generations)},
            "safetensors": lambda: {"": generation_arrays(generations)},
        },
    )


def generation_json(generations: Sequence[Generation]) -> bytes:
    """Everything but the lens's lists of tokens; an unknown value is null."""
    value = {"schema": SCHEMA, "generations": [_as_dict(generation) for generation in generations]}
    return (json.dumps(to_plain(value), indent=1, ensure_ascii=True) + "\n").encode()


def _as_dict(generation: Generation) -> dict[str, Any]:
    text = generation.continuation
    return {
        "model": generation.model,
        "settings": reading_keys(generation.settings),
        **_lens(generation),
        "prompt": {
            **without(vars(generation.prompt), ["contrast"]),
            "tokens": generation.tokens.texts,
            "token_ids": generation.tokens.ids,
        },
        "text": text.text,
        "tokens": text.texts,
        "token_ids": text.ids,
        "stopped_by": generation.stopped_by,
        "complete": generation.complete,
        "probability": text.probability,
        "entropy": text.lens.entropy[-1],
        "depths": dict(arrays_of(text.depths)),
        "curves": {
            **{rule.curve: getattr(text.lens, rule.curve) for rule in rules.ALL if rule.of_token},
            "divergence": text.divergence,
        },
        "summary": {
            depth.measure.name: {
                name: getattr(depth, name) for name in ("mean", "median", "quarters", "without")
            }
            for depth in depths_of_text(text.depths)
        },
        "trend": trend_sentence(text),
        "verdicts": {
            name: verdict_dict(verdict) for name, verdict in text_verdicts(generation).items()
        },
        "provenance": generation.provenance,
    }


def _lens(generation: Generation) -> dict[str, Any]:
    """How the lens was fitted; empty for the logit lens."""
    return {} if generation.fit is None else {"lens": generation.fit}


def generation_arrays(generations: Sequence[Generation]) -> bytes:
    """A safetensors file: `0/token_ids`, `0/lens/kl`, `0/depths/settling`, …, numbered by text.

    The JSON under `generations` in its metadata describes each text, with token texts.
    """
    arrays: dict[str, np.ndarray] = {}
    words = []
    for number, generation in enumerate(generations):
        continuation = generation.continuation
        arrays[f"{number}/token_ids"] = continuation.ids
        arrays[f"{number}/settling/divergence"] = np.ascontiguousarray(continuation.divergence)
        for part in ("lens", "depths"):
            for name, values in arrays_of(getattr(continuation, part)):
                arrays[f"{number}/{part}/{name}"] = np.ascontiguousarray(values)
        words.append(
            {
                "model": generation.model,
                "prompt": generation.prompt,
                "settings": reading_keys(generation.settings),
                **_lens(generation),
                "tokens": continuation.texts,
                "stopped_by": generation.stopped_by,
                "vocabulary": {
                    str(id_): text for id_, text in continuation.lens.vocabulary.items()
                },
            }
        )
    return save(arrays, metadata={"generations": json.dumps(to_plain(words))})
