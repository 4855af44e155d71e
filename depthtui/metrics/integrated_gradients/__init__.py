"""Which tokens the answer's probability comes from, at each depth (paper, metric 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.sentence import plural
from depthtui.metrics import needs
from depthtui.metrics.choices import left_out_words, measured_layers, with_choices
from depthtui.metrics.costs import head, saving_backward
from depthtui.metrics.measures import array, floor_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByLayer, Reduced
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric, noise_floor


@dataclass
class IntegratedGradients(MetricResult):
    """Which tokens the answer's probability comes from, at each depth (paper, metric 5).

    Attributes:
        attribution: summed over the residual's dimensions; NaN where not done yet.
        completeness_error: |sum of attributions - change of f| over the change of f.
        points: the number of gradients taken.
        reached: whether the wanted error was reached.
        tolerance: the wanted completeness error.
        answer_start: index of the answer's first token.
        floor: the largest |f(1) - f of the clean pass|; the path ends at the clean pass, so
            changes that are not larger cannot be distinguished from rounding.
        chosen: the layers that are computed; empty for every one.
    """

    attribution: Annotated[np.ndarray, Shape("L", "T")]
    completeness_error: Annotated[np.ndarray, Shape("L")]
    points: Annotated[np.ndarray, Shape("L", dtype=np.int32)]
    reached: Annotated[np.ndarray, Shape("L", dtype=np.bool_)]
    tolerance: float
    answer_start: int
    floor: float
    chosen: tuple[int, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether each chosen layer is known."""
        return np.asarray(np.isfinite(self.completeness_error[list(self.chosen) or slice(None)]))


_POINTS = 28
"""About how many gradients a layer takes; their number is known only afterwards."""

_BACKWARD = 3
"""The cost of a gradient, in forward passes."""


def _work(result: RunResult) -> float:
    """The work: each path begins behind its layer."""
    count, n_tokens = result.model.n_layers, len(result.tokens)
    points = result.settings.riemann_steps or _POINTS
    chosen = measured_layers(result)
    layers = sum(count - 1 - layer for layer in chosen) / count
    reads = len(chosen) * head(result) * (n_tokens - result.answer_start) / n_tokens
    return _BACKWARD * points * (layers + reads)


@dataclass(frozen=True, kw_only=True)
class ReducedGradients(Reduced):
    """The accuracy of the attributions of one prompt.

    Attributes:
        tokens: the number of all tokens.
        missed: the number of layers that were done without reaching the wanted error.
        completeness_error, tolerance, floor, chosen: as in `IntegratedGradients`.
    """

    missed: int
    completeness_error: ByLayer
    tolerance: float
    floor: float
    chosen: tuple[int, ...]


def _reduce(result: IntegratedGradients, run: RunResult, tokens: slice) -> ReducedGradients:
    is_missed = np.isfinite(result.completeness_error) & ~result.reached.astype(bool)
    return ReducedGradients.of(result, tokens=len(run.tokens), missed=int(is_missed.sum()))


def _summary(reduced: Sequence[ReducedGradients], pooled: Pooled) -> list[Any]:
    return [
        None if gradients is None else with_choices(gradients, "chosen")
        for gradients in pooled.measured(IntegratedGradients)
    ]


def _findings(reduced: Sequence[ReducedGradients], pooled: Pooled) -> list[Finding]:
    errors = np.array([gradients.completeness_error for gradients in reduced])
    if not np.isfinite(errors).any():
        return []
    n_missed = sum(gradients.missed for gradients in reduced)
    remark = f"wanted {reduced[0].tolerance:.3g}"
    if n_missed:
        remark += f"; missed in {plural(n_missed, 'layer')}"
    remark += left_out_words("layer", reduced[0].chosen, pooled.n_layers)
    floor = max(gradients.floor for gradients in reduced)
    return [
        Finding("Completeness error", f"at most {np.nanmax(errors):.2%}", remark),
        noise_floor(METRIC.title, f"{floor:.2g}"),
    ]


def _per_layer(reduced: Sequence[ReducedGradients]) -> list[LayerValues]:
    """The largest error over the prompts."""
    errors = [gradients.completeness_error for gradients in reduced]
    caption = "of integrated gradients, as a share"
    return [LayerValues("completeness error", np.max(errors, axis=0), caption)]


def _completeness(result: RunResult, row: int) -> str:
    """How far a layer's attributions are from the change that they explain, in words."""
    gradients = result.get(IntegratedGradients)
    if gradients is None or not np.isfinite(gradients.completeness_error[row]):
        return ""
    over = "" if gradients.reached[row] else f", over {gradients.tolerance:.1%}"
    return f"error {gradients.completeness_error[row]:.1%}{over}"


METRIC = Metric(
    name="integrated_gradients",
    title="Integrated gradients",
    description=(
        "The tokens that the answer's probability comes from, at each depth, with its error."
    ),
    formula=(
        "from the mean residual to the actual one, subdivided where the path needs it until the "
        "attributions add up within 1 %; each layer's error is shown"
    ),
    reading=(
        "The share of the answer's probability that comes from a token at that depth; those of a "
        "depth add up to all of it."
    ),
    look_for=(
        "Where the weight moves from the question to the last token: there the answer is put "
        "together. Do not trust a row with a large error."
    ),
    source="Sundararajan, Taly, Yan, arXiv 1703.01365; by layer in arXiv 2505.13898",
    cost="10 to 500 forwards and backwards a layer",
    work=_work,
    result=IntegratedGradients,
    needs=(needs.clean_run, needs.lens, needs.answer),
    memory=saving_backward,
    depends_on=("answer_start", "tolerance", "riemann_steps", "layers"),
    measures=(
        Measure(
            "integrated_gradients",
            "Integrated gradients",
            "share of p(answer)",
            array(IntegratedGradients, "attribution"),
            diverging=True,
            leading=True,
            floor=floor_of(IntegratedGradients),
            note=_completeness,
        ),
    ),
    reduced=ReducedGradients,
    reduce=_reduce,
    pool=lambda reduced, pooled: reduced,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    # Nearly all of the integral is in needle-thin steps, which are elsewhere in 16 bits.
    moved_by_rounding=True,
)
