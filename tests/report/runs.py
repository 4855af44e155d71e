"""Runs to report on."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthtui.engine.results import Prompt, RunResult, Tokens
from tests.engine.results_for_tests import random_result
from tests.hostile import HOSTILE


def run(text: str = "a b", seed: int = 0, **options: object) -> RunResult:
    """A complete run of a prompt of its own."""
    result = random_result(seed=seed, **options)  # type: ignore[arg-type]
    return dataclasses.replace(result, prompt=Prompt(text, text[1:], "commonsense", "2"))


def hostile_run() -> RunResult:
    """A run whose prompt, tokens, model and lens, at the last token, show every hostile text."""
    texts = list(HOSTILE.values())
    layers = len(texts) // 3
    name = "[/]<b>|`\x1b[2J\ud83d"
    result = run("\n".join(texts), tokens=len(texts), layers=layers, top_k=3, name=name)
    result.tokens = Tokens(result.tokens.ids, texts, len(texts) - 2)
    lens = result.logit_lens
    assert lens is not None
    lens.top_ids[:, -1] = np.arange(3 * (layers + 1)).reshape(-1, 3) % len(texts)
    lens.vocabulary |= dict(enumerate(texts))
    return result


def stopped_run(text: str = "stopped", layers_done: int = 2) -> RunResult:
    """A run that was stopped half-way."""
    result = run(text)
    assert result.contributions is not None
    assert result.logit_lens is not None
    for part in (result.contributions, result.logit_lens):
        for each in dataclasses.fields(part):
            values = getattr(part, each.name)
            if isinstance(values, np.ndarray):
                values[layers_done:] = -1 if values.dtype == np.int32 else np.nan
    result.layers_done, result.complete, result.provenance = layers_done, False, None
    return result
