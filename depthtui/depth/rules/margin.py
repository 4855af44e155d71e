"""The margin rule: the last layer that moves the answer ahead of every other token."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from depthtui.data.explanation import Explanation
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rule import Threshold
from depthtui.depth.rules.cosine import LastTurn
from depthtui.metrics.evidence import Variant
from depthtui.metrics.margin import CURVE, decided_depths

LN_2 = math.log(2)


class LastLead(LastTurn):
    """A rule that finds the last layer with a value above 0 after it, and none before it.

    The curve is `[L+1]`. A curve that does not end above 0, or is always above 0, has no layer.
    """

    @property
    def curve_title(self) -> str:
        return "answer margin"

    def variants(
        self, curve: np.ndarray, layer: int, settings: SummarySettings
    ) -> Iterator[Variant]:
        """The counts where the answer is half as likely as the first token, and twice as likely as
        any other."""
        n_layers = self.n_layers(curve)
        half, twice = (decided_depths(curve - level) for level in (-LN_2, LN_2))
        words = "the answer is half as likely as the first token"
        if np.isnan(half):
            yield Variant(0, f"{words} at every depth")
        else:
            yield _from_depth(int(half), n_layers, f"{words} already")
        words = "the answer is twice as likely as any other"
        if np.isnan(twice):
            yield Variant(n_layers, f"{words} at no depth")
        else:
            yield _from_depth(int(twice), n_layers, f"{words} only")

    def _layers(self, curves: np.ndarray, threshold: float) -> np.ndarray:
        return decided_depths(curves - threshold) - 1

    def _censored(self, curves: np.ndarray) -> np.ndarray:
        return np.where(curves[..., -1] > 0, -1, self.n_layers(curves) - 1)

    def _why_none(self, curve: np.ndarray) -> str:
        if curve[-1] > 0:
            return "the answer is ahead at every depth"
        return "the answer is not ahead at the output"


def _from_depth(depth: int, n_layers: int, words: str) -> Variant:
    """The variant whose count is a depth; `words` describe the curve from there on."""
    if depth == n_layers:
        return Variant(depth, f"{words} at the output")
    at_layer = f"{words} from layer {depth}"
    return Variant(depth, f"{at_layer} on")


RULE = LastLead(
    name="margin",
    title="decided",
    short="dec",
    noun="the answer's margin",
    kind="readable",
    meaning="until the {lens} keeps the answer first",
    curve=CURVE,
    unit="nats",
    limits=(-10.0, 10.0),
    threshold=Threshold(value=0.0),
    figure="{lens} margin of the answer",
    axis="log p_l(answer) - max log p_l(other), nats, cut off at 10",
    of_prompt=True,
    explanation=Explanation(
        "Where the answer is decided",
        "How many layers run until the lens puts the answer first and keeps it there.",
        "the last layer e before which the margin of the answer's first token over every other one "
        "is not above 0, and after which it is; e + 1 layers, since the first is layer 0",
        "Only prompts with an answer count, each once. Where the model answers otherwise there is "
        "no count.",
        "A curve that stays near 0: the answer is barely first, and a tiny change moves the count.",
        "Margin by depth: arXiv 2605.07271",
    ),
)
