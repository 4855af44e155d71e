"""Lenses that were fitted, smooth or random, by their class."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from depthtui.data.lens import FittedLens, LensFit
from depthtui.data.run import RunResult

VOCABULARY = [" the", " a", " of", " Paris", " city", " France", " is", "\n", "[/]", "\x1b[2J"]

Fitted = TypeVar("Fitted", bound=FittedLens)


def lens_fit(kind: str) -> LensFit:
    """A lens that was fitted on texts of the model's own."""
    ridge = 0.01 if kind == "affine" else None
    return LensFit(kind, "written by the model", 40, 5760, ridge, 8, "c0ffee")


def smooth_lens(kind: type[Fitted], result: RunResult) -> Fitted:
    """A fitted lens that reads what the output says earlier than the logit lens would."""
    layers, tokens, top_k = result.model.n_layers, len(result.tokens), result.settings.lens_top_k
    lens = _unknown(kind, result)
    left = np.linspace(1, 0, layers + 1)[:, None] * np.ones(tokens)
    lens.kl[:] = 3 * left
    lens.overlap[:] = np.round(5 * (1 - 0.8 * left)) / 5
    lens.entropy[:] = 3 * left + 0.2
    lens.divergence[:] = math.log(2) * left**2
    lens.next_log_probability[:] = -1.5 - 3 * left
    lens.next_log_probability[:, -1] = np.nan
    lens.top_ids[:] = np.arange(top_k) % len(VOCABULARY)
    lens.top_ids[: layers // 3] = (1 + np.arange(top_k)) % len(VOCABULARY)
    lens.top_probabilities[:] = 0.5 ** np.arange(1, top_k + 1) * (1 - 0.5 * left[..., None])
    lens.held_out_kl[:] = 3.2 * left[:-1, 0]
    lens.logit_held_out_kl[:] = 9 * left[:-1, 0]
    return lens


def random_lens(kind: type[Fitted], result: RunResult, rng: np.random.Generator) -> Fitted:
    """A fitted lens of random values."""
    lens = _unknown(kind, result)
    for name, shape in kind.shapes().items():
        values = getattr(lens, name)
        if shape.dtype == np.float32:
            values[:] = rng.uniform(0.1, 0.6, values.shape)
        else:
            values[:] = rng.integers(0, len(VOCABULARY), values.shape)
    lens.kl[-1], lens.divergence[-1], lens.overlap[-1] = 0, 0, 1
    lens.next_log_probability[:] *= -3
    lens.next_log_probability[:, -1] = np.nan
    return lens


def _unknown(kind: type[Fitted], result: RunResult) -> Fitted:
    sizes = result.model.n_layers, len(result.tokens), result.settings.lens_top_k
    lens = kind.unknown(*sizes, fit=lens_fit(kind.kind))
    lens.vocabulary.update(enumerate(VOCABULARY))
    return lens
