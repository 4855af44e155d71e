"""Runs to report on."""

from __future__ import annotations

import dataclasses

import numpy as np

from depthtui.engine.results import (
    Ablation,
    DirectLogits,
    IntegratedGradients,
    Prompt,
    ResidualErasure,
    RunResult,
    Settling,
    Similarity,
    SkipEffects,
    Tokens,
)
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


def full_run(text: str = "everything", seed: int = 0, tokens: int = 24) -> RunResult:
    """A run of four layers that has every metric, and also says that one cannot be had."""
    result = run(text, seed, tokens=tokens)
    rng = np.random.default_rng(seed)
    layers, answer_start = 4, tokens - 4

    def values(*shape: int) -> np.ndarray:
        return rng.uniform(0.1, 1, shape).astype(np.float32)

    result.tokens = Tokens(result.tokens.ids, result.tokens.texts, answer_start)
    later = np.triu(values(layers, layers), 1)
    result.skip_effects = SkipEffects("mlp", (8, 16), later, later / 2, values(layers))
    result.residual_erasure = ResidualErasure(values(layers + 1, tokens), answer_start)
    result.integrated_gradients = IntegratedGradients(
        values(layers, tokens) - 0.5,
        np.array([0.001, 0.002, 0.03, 0.004], np.float32),
        np.array([9, 9, 2048, 9], np.int32),
        np.array([True, True, False, True]),
        0.01,
        answer_start,
    )
    result.ablation = Ablation("mlp", values(tokens - 1), values(layers, tokens - 1) - 0.3)
    distance = values(layers, layers)
    distance[np.add.outer(np.arange(layers), np.arange(layers)) >= layers] = np.nan
    result.similarity = Similarity(values(layers, tokens), distance, distance / 2)
    divergence = values(layers + 1, tokens) * 0.69
    divergence[-1] = 0
    result.settling = Settling(divergence)
    ids = np.asarray(rng.integers(0, 50, tokens), np.int64)
    result.direct_logits = DirectLogits(ids, values(layers + 1, tokens) - 0.5)
    result.unavailable = {"direct_logits": "it has [/]\nno sum."}
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
