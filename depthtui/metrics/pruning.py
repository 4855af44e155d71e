"""Which layers a model would miss least."""

from __future__ import annotations

import numpy as np

from depthtui.data.results import Ablation, Similarity
from depthtui.errors import DepthError


def usefulness(measured: Ablation | Similarity, include_first_token: bool = True) -> np.ndarray:
    """What layers are ranked by, `[L]`: the loss they save, in nats, or their block influence.

    Means over tokens, with token 0 or without; NaN where no token is left.
    """
    values = measured.loss_change if isinstance(measured, Ablation) else measured.block_influence
    counted = values[:, 0 if include_first_token else 1 :]
    if not counted.shape[1]:
        return np.full(len(counted), np.nan)
    return np.asarray(counted.mean(axis=1, dtype=np.float64))


def least_useful(
    measured: Ablation | Similarity, n: int, include_first_token: bool = True
) -> list[int]:
    """The n layers that would be missed least, the most useless first; unknown ones never."""
    values = usefulness(measured, include_first_token)
    known = int(np.isfinite(values).sum())
    return [int(each) for each in np.argsort(values, kind="stable")[: min(n, known)]]


def best_block(
    similarity: Similarity, n: int, include_first_token: bool = True
) -> tuple[int, float]:
    """The block of n layers that turns the residual stream least (arXiv 2403.17887).

    Returns:
        its first layer l, so that l … l + n - 1 can go, and its angular distance (0 to 1).

    Raises:
        DepthError: the model has no block of n layers.
    """
    n_layers = len(similarity.block_influence)
    if not 1 <= n <= n_layers:
        raise DepthError(f"There is no block of {n} layers in a model of {n_layers}.")
    distances = block_distances(similarity, n, include_first_token)
    if np.isnan(distances).all():
        raise DepthError("No angular distance is known: the residual stream is not finite.")
    first = int(np.nanargmin(distances))
    return first, float(distances[first])


def block_distances(similarity: Similarity, n: int, include_first_token: bool = True) -> np.ndarray:
    """The angular distance over n layers from each layer on, `[L + 1 - n]`."""
    every = similarity.angular_distance
    if not include_first_token:
        every = similarity.angular_distance_without_first
    return every[n - 1, : len(every) + 1 - n]


def pruned_share(n_layers: int) -> int:
    """How many layers the block to prune has where nobody says: a tenth of them."""
    return max(1, round(n_layers / 10))
