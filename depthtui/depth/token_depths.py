"""The depth of each token: the rules applied to every token's own curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.depth import rules
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.settling import divergence_of, settling_depth


def token_depths(
    lens: LogitLens, divergence: np.ndarray | None, settings: SummarySettings
) -> TokenDepths:
    """The depths at the N columns of a lens.

    Args:
        lens: read at every depth of these columns.
        divergence: `[L+1, N]`, of the lens and the output, in nats; None where it was not measured.
        settings: the lens and the thresholds.
    """
    leave = early_exit(lens, settings.confidence)
    settled = np.full(lens.kl.shape[1], np.nan)
    if divergence is not None:
        depths = settling_depth(divergence, settings.settling_threshold)
        settled = np.where(np.isfinite(divergence[-1]), depths, np.nan)
    return TokenDepths(
        prediction=prediction_depth(lens).astype(np.float32),
        settling=settled.astype(np.float32),
        early_exit=leave.depths.astype(np.float32),
        exit_agrees=leave.agrees,
        **{
            rule.name: rule.layers(getattr(lens, rule.curve).T, settings).astype(np.float32)
            for rule in rules.ALL
            if rule.of_token
        },
    )


def depths_of_run(run: RunResult, settings: SummarySettings) -> TokenDepths | None:
    """The depths of the T tokens of a run; None where the chosen lens has read none of them.

    The depth of token t is that of the position before it, t - 1, from which the model predicts it:
    as in a text that the model writes, so that a prompt and its answer have one curve. Nothing
    predicts token 0, which has no depth; a token that the lens has not read yet has none either.
    """
    lens = lens_of(run, settings.lens)
    if lens is None or not lens.tokens_read.any():
        return None
    positions = token_depths(lens, divergence_of(run, settings.lens), settings)
    return replace(
        positions,
        **{
            name: _predicted_from(np.where(lens.tokens_read, values, _unknown(values)))
            for name, values in arrays_of(positions)
        },
    )


def _predicted_from(positions: np.ndarray) -> np.ndarray:
    """The values of each token, `[T]`, from those of each position."""
    return np.concatenate([[_unknown(positions)], positions[:-1]]).astype(positions.dtype)


def _unknown(values: np.ndarray) -> float | bool:
    return False if values.dtype == np.bool_ else np.nan
