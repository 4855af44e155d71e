"""Small results with values that tests choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.engine.results import (
    ModelInfo,
    ModelSpec,
    Prompt,
    Provenance,
    RunResult,
    RunSettings,
    Tokens,
    arrays_of,
)


def model_info(layers: int = 4) -> ModelInfo:
    """A model that exists nowhere."""
    return ModelInfo(
        spec=ModelSpec("nobody/tiny", dtype="float32"),
        name="tiny",
        source="made up",
        revision="",
        architecture="TinyForCausalLM",
        n_layers=layers,
        d_model=8,
        vocab_size=50,
        parameters=1_000,
        context_length=64,
        dtype="float32",
        device="cpu",
    )


def random_result(
    layers: int = 4, tokens: int = 5, seed: int = 0, top_k: int = 3, **model: object
) -> RunResult:
    """A complete run of random values; `model` changes fields of its `ModelInfo`."""
    rng = np.random.default_rng(seed)
    info = replace(model_info(layers), **model)  # type: ignore[arg-type]
    ids = np.asarray(rng.integers(0, 50, tokens), np.int64)
    result = RunResult.empty(
        info,
        Prompt("a b", "b", "commonsense"),
        RunSettings(top_k=top_k),
        Tokens(ids, [f"t{each}" for each in ids], tokens - 1),
    )
    for part in (result.contributions, result.logit_lens):
        if part is None:
            continue
        for name, values in arrays_of(part):
            if values.dtype == np.float32:
                low = -1 if name.endswith("cosine") else 0
                values[...] = rng.uniform(low, 1, values.shape)
    if result.logit_lens is not None:
        lens = result.logit_lens
        lens.top_ids[...] = rng.integers(0, 50, lens.top_ids.shape)
        lens.vocabulary = {int(each): f"<{each}>" for each in np.unique(lens.top_ids)}
    result.layers_done = layers
    result.complete = True
    result.provenance = Provenance("0", "0", "0", "3", "nowhere", "2026-01-01T00:00:00Z", 0.5)
    return result
