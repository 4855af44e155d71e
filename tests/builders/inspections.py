"""An inspection of a layer, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.data.inspection import (
    Expert,
    Head,
    Inspection,
    Listed,
    Neuron,
    Readout,
    TokensRead,
    Written,
)


def inspection(
    layer: int = 2,
    token: int = 3,
    texts: tuple[str, ...] = ("The", " capital", " of", " Italy", " is"),
    target: str = " Rome",
    heads: int = 4,
    n_layers: int = 4,
    **changes: Any,
) -> Inspection:
    """One with all parts; values follow from layer and token, so that two of them differ."""
    noise = np.random.default_rng((layer, token))
    tokens = texts[: token + 1]
    weights = noise.dirichlet(np.ones(len(tokens)), heads).astype(np.float32)
    words: Listed = ((" city", 0.25), (" the", 0.2), (target, 0.125), (",", 0.06), ("\n", 0.001))
    rank = 100 - 10 * layer
    values: dict[str, Any] = {
        "layer": layer,
        "token": token,
        "n_layers": n_layers,
        "kind": "",
        "tokens": tokens,
        "target": target,
        "target_is": "answer",
        "lens": "logit",
        "before": Readout(words, rank, 0.125, -1.5),
        "after_attention": Readout(words, rank - 4, 0.25, -0.5),
        "after": Readout(words, rank - 10, 0.5, 0.5),
        "written": {
            "attention": Written(words, words, 0.25, 1.5),
            "mlp": Written(words, words, 0.5, -0.25),
            "layer": Written(words, words, 0.6, 1.25),
        },
        "reads": TokensRead(weights, weights.sum(axis=0) * 2, float(weights[:, 0].mean())),
        "heads": tuple(Head(head, 0.1 * (head + 1), 0.5 - head) for head in range(heads)),
        "neurons": tuple(Neuron(7 * n, 2.0 - n, 0.3 / (n + 1), words[:3]) for n in range(8)),
        "experts": (),
        "closure": {"heads": 2e-7, "attention": 0.0, "logit": 1e-7},
        "unavailable": {"experts": "this layer has no experts that depthtui knows"},
    }
    return Inspection(**values | changes)


def with_experts(**changes: Any) -> Inspection:
    """One of a layer whose MLP is made of experts."""
    experts = (Expert(3, 0.75, 0.8, 0.5), Expert(0, 0.25, 0.3, None))
    why = {"neurons": "its MLP (Experts) does not end in one projection"}
    return inspection(experts=experts, neurons=(), unavailable=why, **changes)
