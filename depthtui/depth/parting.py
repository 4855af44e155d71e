"""Where two runs part: the first layer whose updates differ by more than rounding.

Runs of the same tokens are compared by the updates of attention and MLP, |a| / |h|, cos(a, h),
|m| / |h + a| and cos(m, h + a) of each layer and token. In the layers before the changed one these
numbers are the same but for rounding: the first that differ name layer and part. A part may change
in a direction that leaves length and cosine the same: then the next part, which reads it, differs.
Activations would differ at once, but no run keeps them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of
from depthtui.data.model import PART_TITLES, ModelInfo
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.metrics.contributions import KINDS, Contributions

MOST_ROUNDINGS = 6.0
"""The most roundings that a layer's own steps add up to in a length or a cosine.

Measured on tiny models of 69 architectures, in 16 bits: up to 6. A router, or an attention that
reads only the best keys, may be off by more where half of the tokens take another route.
"""

_COARSEST_PRODUCT = 2.0**-16
"""The coarsest spacing of products, which add up in float32, in any order (`tracing.rounding`)."""

_SPACING = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float8_e4m3fn": 2.0**-3,
    "float8_e5m2": 2.0**-2,
}
"""Relative distance of neighbouring numbers, by dtype."""

_QUANTIZED_SPACING = {"8bit": 2.0**-5, "4bit": 2.0**-1.5}
"""The distance of neighbouring weights on a grid, as a share of their root mean square.

256 steps up to the largest of a row, about 4 root mean squares, and 16 up to the largest of a
block of 64, about 2.5.
"""

Part = Literal["attention", "mlp", "layer"]


@dataclass(frozen=True)
class Parting:
    """Where two runs of the same tokens part.

    Attributes:
        layer: the first layer whose updates differ by more than rounding, or None; then the other
            fields are of the layer that differs most.
        part: the part of it that differs first; `layer` where there is no split.
        difference: the difference, as a share of the length, or of cosines.
        floor: the difference by rounding alone.
        rounded_to: the coarser dtype or quantisation of both, or that of sums where both are the
            same.
        layers: how many layers both have.
        differs_before: whether the lens already differs before layer 0.
    """

    layer: int | None
    part: Part
    difference: float
    floor: float
    rounded_to: str
    layers: int
    differs_before: bool = False

    def as_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return {
            "layer": self.layer,
            "part": None if self.layer is None else self.part,
            "difference": self.difference,
            "floor": self.floor,
            "rounded_to": self.rounded_to,
            "layers": self.layers,
            "differs_before": self.differs_before,
        }


def parting(a: RunResult, b: RunResult) -> Parting | None:
    """Where two runs of the same tokens part.

    None where they cannot be compared: different tokens, architecture or width, or nothing run yet.
    For models of different depth, such as a pruned one, the layers that both have are compared.
    """
    ours, theirs = a.get(Contributions), b.get(Contributions)
    layers = min(a.layers_done, b.layers_done)
    if ours is None or theirs is None or not (layers and len(a.tokens)) or not _are_alike(a, b):
        return None
    parts: tuple[Part, ...] = ("attention", "mlp")
    if a.model.split_missing or b.model.split_missing:
        parts = ("layer",)
    coarse, unit = _rounded_to(a, b), _rounding(a, b)
    # Each earlier layer has rounded, too, independently of the others.
    floors = unit * np.sqrt(np.arange(1, layers + 1))
    differences = np.stack(
        [_differences(ours, theirs, part, layers, half=unit > 0) for part in parts]
    )
    above = np.flatnonzero((differences > floors).any(axis=0))
    layer = int(above[0]) if len(above) else int(differences.max(axis=0).argmax())
    # The MLP reads attention's difference: attention comes first.
    worse = differences[:, layer] > floors[layer]
    worst_part = int(worse.argmax() if len(above) else differences[:, layer].argmax())
    return Parting(
        layer if len(above) else None,
        parts[worst_part],
        float(differences[worst_part, layer]),
        float(floors[layer]),
        coarse,
        layers,
        len(above) > 0 and layer == 0 and _reads_apart(a, b, float(floors[0])),
    )


def parting_sentence(a: RunResult, b: RunResult, settings: SummarySettings) -> str:
    """Where two runs part, in a sentence; empty where they cannot be compared."""
    result = parting(a, b)
    return _first_choices(a, b, settings.lens) if result is None else _in_words(result)


def first_other_choice(a: LogitLens, b: LogitLens, tokens: tuple[int, int]) -> int | None:
    """The depth from which on a lens's first choices differ; None where they are equal at the end.

    Args:
        a, b: the lens's values of two runs of equally many layers.
        tokens: the token of each run to read at.
    """
    ours, theirs = (lens.top_ids[:, token, 0] for lens, token in zip((a, b), tokens, strict=True))
    same = np.flatnonzero(ours == theirs)
    depth = int(same[-1]) + 1 if len(same) else 0
    return depth if depth < len(ours) else None


def _are_alike(a: RunResult, b: RunResult) -> bool:
    """Whether two runs read the same tokens, by models of the same make."""
    ours, theirs = a.model, b.model
    makes = [(model.architecture, model.d_model, model.parallel) for model in (ours, theirs)]
    return makes[0] == makes[1] and np.array_equal(a.tokens.ids, b.tokens.ids)


def _rounding(a: RunResult, b: RunResult) -> float:
    """The difference of a layer's update in two runs by rounding, as a share of the update.

    A number that is rounded to a grid with the spacing eps |x| is off by eps |x| / sqrt(12). Two
    runs of the same weights that round alike do not differ. Other weights on the same device and
    in the same dtype round alike, too, but for the order in which products add up.
    """
    if _round_alike(a, b):
        same = bool(a.model.fingerprint) and a.model.fingerprint == b.model.fingerprint
        spacing = 0.0 if same else _COARSEST_PRODUCT
    else:
        spacing = max(_COARSEST_PRODUCT, *(_spacing(run.model) for run in (a, b)))
    return MOST_ROUNDINGS * spacing / math.sqrt(12)


def _round_alike(a: RunResult, b: RunResult) -> bool:
    """Whether both were computed in the same dtype, on the same device, by the same software."""
    return _how(a) == _how(b)


def _how(run: RunResult) -> tuple[str, ...]:
    model, by = run.model, run.provenance
    software = ("", "", "") if by is None else (by.torch, by.product, by.device)
    return model.dtype, model.quantize, model.device, *software


def _spacing(model: ModelInfo) -> float:
    coarsest = _QUANTIZED_SPACING.get(model.quantize, 0.0)
    return max(coarsest, _SPACING.get(model.dtype, _SPACING["bfloat16"]))


def _rounded_to(a: RunResult, b: RunResult) -> str:
    if _round_alike(a, b):
        return "sums in float32"
    coarser = max((a.model, b.model), key=_spacing)
    return coarser.quantize or coarser.dtype


def _differences(
    a: Contributions, b: Contributions, part: Part, layers: int, half: bool
) -> np.ndarray:
    """How far the updates of a part differ in each layer: at half of the tokens, or at any.

    Half, since a router that narrowly chooses another expert is no change of the model.
    A value that only one run has differs infinitely.
    """
    gaps = []
    for kind in KINDS:
        name = f"{part}_{kind}"
        ours, theirs = (
            getattr(contributions, name)[:layers].astype(float) for contributions in (a, b)
        )
        gap = np.abs(ours - theirs)
        if kind == "norm_ratio":
            gap = gap / np.maximum(np.maximum(ours, theirs), np.finfo(np.float32).tiny)
        is_finite = np.isfinite(ours), np.isfinite(theirs)
        gap = np.where(
            is_finite[0] & is_finite[1], gap, np.where(is_finite[0] == is_finite[1], 0.0, np.inf)
        )
        gaps.append(np.median(gap, axis=1) if half else gap.max(axis=1))
    return np.maximum(*gaps)


def _reads_apart(a: RunResult, b: RunResult, floor: float) -> bool:
    """Whether the lens differs before layer 0: then embedding or head differ, too."""
    ours, theirs = a.get(LogitLens), b.get(LogitLens)
    if ours is None or theirs is None:
        return False
    entropies = [lens.entropy[0].astype(float) for lens in (ours, theirs)]
    gap = np.abs(entropies[0] - entropies[1]) / np.maximum(1.0, np.maximum(*entropies))
    return bool(np.nanmedian(gap) > floor) if np.isfinite(gap).any() else False


def _in_words(result: Parting) -> str:
    rounding = f"rounding ({result.rounded_to})"
    if result.layer is None:
        if result.difference == 0:
            return f"They part nowhere: {result.layers} layers do the same to the last digit."
        part = PART_TITLES[result.part]
        return (
            f"They part nowhere: {rounding} explains all differences of {result.layers} layers, "
            f"at most {result.difference:.2g} ({part})."
        )
    by = "" if result.part == "layer" else f", by {PART_TITLES[result.part]}"
    or_before = ", or before it in the embedding" if result.differs_before else ""
    where = f"They part at layer {result.layer}{by}{or_before}"
    off = "wholly" if math.isinf(result.difference) else f"by {result.difference:.2g}"
    rounding_words = (
        f"{rounding} makes {result.floor:.1g}" if result.floor else "without any rounding"
    )
    return f"{where}: its work differs {off}, {rounding_words}."


def _first_choices(a: RunResult, b: RunResult, name: str) -> str:
    """From which layer on the first choices before the answer differ.

    Empty where unknown, and for two prompts that do not have one answer.
    """
    ours, theirs = (lens_of(run, name) for run in (a, b))
    alike = [(run.model.architecture, run.model.n_layers, run.model.vocab_size) for run in (a, b)]
    if ours is None or theirs is None or alike[0] != alike[1]:
        return ""
    if not (ours.is_read and theirs.is_read and len(a.tokens) and len(b.tokens)):
        return ""
    answers = ["".join(run.tokens.texts[run.answer_start :]) for run in (a, b)]
    answered = all(0 < run.answer_start < len(run.tokens) for run in (a, b))
    # Prompts with other answers end apart, whatever the models do.
    if a.prompt.text != b.prompt.text and not (answered and answers[0] == answers[1]):
        return ""
    tokens = tuple((run.answer_start if answered else len(run.tokens)) - 1 for run in (a, b))
    at = "before the answer" if answered else "at the last token"
    depth = first_other_choice(ours, theirs, (tokens[0], tokens[1]))
    if depth is None:
        return f"The lens's first choices {at} end alike: both outputs have the same."
    return (
        f"From layer {depth} on the lens's first choices {at} differ."
        if depth < len(ours.top_ids) - 1
        else f"Only the outputs' first choices {at} differ."
    )
