"""Residual streams of tiny models, and lenses with chosen values."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from depthtui.data.lens import LogitLens
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.trace import LayerActivations, trace


def stream(model: nn.Module, ids: Tensor) -> tuple[Unembedding, list[Tensor]]:
    """Final norm and head, and h_0 … h_L."""
    anatomy = probe_architecture(model)
    layers: list[LayerActivations] = []
    trace(model, anatomy, ids[0], layers.append)
    assert anatomy.unembedding is not None, anatomy.lens_missing
    return anatomy.unembedding, [layers[0].h, *(layer.h_next for layer in layers)]


def lens_of(choices: list[list[int]], probabilities: list[list[float]]) -> LogitLens:
    """A lens whose first choice and its probability are given, `[L+1, T]` both; the second
    choice has half of what is left."""
    top = np.array(choices, np.int32)
    lens = LogitLens.unknown(len(top) - 1, top.shape[1], 2)
    first = np.array(probabilities, np.float32)
    lens.top_ids[:] = np.stack([top, top + 100], axis=-1)
    lens.top_probabilities[:] = np.stack([first, (1 - first) / 2], axis=-1)
    return lens
