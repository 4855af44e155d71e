"""The readings of a run by a chosen lens, and the names of lenses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from depthtui.data.lens import LENS_CLASSES, FittedLens, LensFit, LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.run import RunResult
from depthtui.data.run_settings import LENSES

LENS_METRICS = {name: f"{name}_lens" for name in LENSES}
"""The metric of each lens."""

LOGIT = LENSES[0]

FITTED = {name: metric for name, metric in LENS_METRICS.items() if name != LOGIT}
"""The metric of each fitted lens."""

WORSE = "worse than the logit lens here"
"""The remark on a depth at which a fitted lens reads held-out texts worse."""


def lens_of(run: RunResult, lens: str) -> LogitLens | None:
    """The readings of a run by a lens of `LENSES`; None where it has not read the run."""
    return run.get(LENS_CLASSES[lens])


def why_unread(unavailable: Mapping[str, str], model: ModelInfo, lens: str) -> str:
    """The reason why a lens has not read a run of a model.

    Args:
        unavailable: as in `RunResult`.
        model: the model.
        lens: the lens, by its name in `LENSES`.
    """
    reason = unavailable.get(LENS_METRICS[lens]) or model.lens_missing
    return reason or f"the {lens_title(lens)} has not read this run"


def lens_name(lens: str) -> str:
    """The name of a lens in a sentence, such as `affine` or `Jacobian`."""
    return lens.capitalize() if lens == "jacobian" else lens


def lens_title(lens: str) -> str:
    """A lens's name for people, such as `affine lens`."""
    return f"{lens_name(lens)} lens"


def lens_heading(lens: str) -> str:
    """A lens's name for the beginning of a title, such as `Affine lens`."""
    return f"{lens.capitalize()} lens"


def through_words(title: str, lens: str) -> str:
    """A title, followed by the lens where it is not the logit lens."""
    return title if lens == LOGIT else f"{title}, {lens_title(lens)}"


def reads_worse(lens: LogitLens, depth: int) -> bool:
    """Whether the logit lens reads held-out texts better at a depth."""
    if not isinstance(lens, FittedLens) or depth >= len(lens.held_out_kl):
        return False
    return bool(lens.held_out_kl[depth] > lens.logit_held_out_kl[depth])


def fit_words(lens: FittedLens) -> str:
    """How a lens was fitted, such as `fitted on 40 texts, 5,760 tokens, written by the model`."""
    divergences = lens.held_out_kl[np.isfinite(lens.held_out_kl)]
    held_out = f"held-out KL {divergences.mean():.2f} nats on average" if divergences.size else ""
    return ", ".join(filter(None, (fitted_words(lens.fit), held_out)))


def fitted_words(fit: LensFit) -> str:
    """How a lens was fitted, without its held-out KL."""
    parts = [
        f"fitted on {fit.texts:,} texts" if fit.texts else "fitted",
        f"{fit.tokens:,} tokens" if fit.tokens else "",
        fit.source,
        "" if fit.ridge is None else f"ridge {fit.ridge:g}",
    ]
    return ", ".join(part for part in parts if part)
