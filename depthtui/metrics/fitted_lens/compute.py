"""The logit lens's quantities, read through the maps of a fitted lens."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np
import torch
from torch import Tensor

from depthtui.data.lens import AffineLens, FittedLens, JacobianLens, LensValues, LogitLens
from depthtui.data.lens_view import lens_title
from depthtui.errors import DepthError
from depthtui.lenses.maps import MappedResiduals
from depthtui.metrics.context import Context
from depthtui.metrics.logit_lens.compute import read_lens
from depthtui.metrics.settling.compute import Divergence


def _read(kind: str, context: Context, _partial: object) -> FittedLens:
    """Compute the metric of a run."""
    maps, result = context.lens(kind), context.result
    residuals = MappedResiduals(maps, context.residuals)
    ids, top_k = torch.from_numpy(result.tokens.ids), result.settings.lens_top_k
    lens = LogitLens.unknown(len(residuals) - 1, len(ids), top_k)

    def put_rows(first: int, from_token: int, rows: LensValues[Tensor]) -> None:
        arrays = {name: value.numpy() for name, value in vars(rows).items()}
        lens.put(first, LogitLens(**arrays), from_token)

    checkpoint = context.checkpoint
    reducer = Divergence(len(residuals), len(ids), checkpoint)
    read_lens(context.unembedding, residuals, ids, top_k, put_rows, checkpoint, reducer.add)
    _check_finite(lens.kl, maps.n_layers, maps.depths_without, kind)
    return maps.result(lens, reducer.value.divergence, context.texts)


affine_lens = partial(_read, AffineLens.kind)
jacobian_lens = partial(_read, JacobianLens.kind)


def _check_finite(kl: np.ndarray, n_layers: int, unread_depths: Collection[int], kind: str) -> None:
    """Check that a lens reads each depth that it has a map for.

    Raises:
        DepthError: its output at a depth is infinite or NaN. The model's own output is finite:
            the pass was checked.
    """
    for depth in set(range(n_layers)) - set(unread_depths):
        if not np.isfinite(kl[depth]).all():
            raise DepthError(
                f"the {lens_title(kind)} makes values that are infinite or no numbers at depth "
                f"{depth}.",
                "Fit it again, or import another; the dtype float32 holds larger values.",
            )
