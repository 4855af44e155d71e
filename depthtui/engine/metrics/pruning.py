"""Which layers a model would miss least."""

from __future__ import annotations

import numpy as np

from depthtui.engine.results import Ablation, Similarity
from depthtui.errors import DepthError


def usefulness(measured: Ablation | Similarity) -> np.ndarray:
    """What layers are ranked by, `[L]`: the loss they save, in nats, or their block influence."""
    if isinstance(measured, Ablation):
        return measured.loss_change
    return measured.block_influence


def least_useful(measured: Ablation | Similarity, n: int) -> list[int]:
    """The n layers that would be missed least, the most useless first; unknown ones never."""
    values = usefulness(measured)
    known = int(np.isfinite(values).sum())
    return [int(each) for each in np.argsort(values, kind="stable")[: min(n, known)]]


def best_block(similarity: Similarity, n: int) -> tuple[int, float]:
    """The block of n layers that turns the residual stream least (arXiv 2403.17887).

    Returns:
        its first layer l, so that l … l + n - 1 can go, and its angular distance (0 to 1).

    Raises:
        DepthError: the model has no block of n layers.
    """
    n_layers = len(similarity.block_influence)
    if not 1 <= n <= n_layers:
        raise DepthError(f"There is no block of {n} layers in a model of {n_layers}.")
    distances = similarity.angular_distance[n - 1, : n_layers + 1 - n]
    if np.isnan(distances).all():
        raise DepthError("No angular distance is known: the residual stream is not finite.")
    first = int(np.nanargmin(distances))
    return first, float(distances[first])
