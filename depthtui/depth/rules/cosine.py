"""The cosine rule: the last layer at which the mean layer still turns against the stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.depth import DepthEstimate
from depthtui.data.explanation import Explanation
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rule import Rule, Threshold, crossings_between
from depthtui.metrics.evidence import FIFTH, Variant


@dataclass(frozen=True, kw_only=True)
class LastTurn(Rule):
    """A rule that finds the last layer with a negative value whose successor is not negative.

    A curve that is negative to its end would turn at the last layer or later; a curve that is
    never negative has turned before layer 0, at -1.
    """

    def criterion(self, threshold: float | None, short: bool = False) -> str:
        return "last rise past 0" if short else "last rise from below 0"

    def threshold_words(self, settings: SummarySettings) -> str:
        return ""

    def none(self, settings: SummarySettings, reason: str) -> DepthEstimate:
        return replace(super().none(settings, reason), threshold=None)

    def estimate(self, curve: np.ndarray, settings: SummarySettings) -> DepthEstimate:
        layer = self._layers(curve, 0.0)
        if np.isnan(layer):
            return self.none(settings, self._why_none(curve))
        last = int(layer)
        crossing = float(self._crossings(curve, layer, 0.0))
        ratio = (last + 1) / self.n_layers(curve)
        return DepthEstimate(self.name, last, ratio, None, crossing=crossing)

    def variants(
        self, curve: np.ndarray, layer: int, settings: SummarySettings
    ) -> Iterator[Variant]:
        """The turns at levels a fifth of the curve's mean size below zero, and above."""
        for share in (1 - FIFTH, 1 + FIFTH):
            yield self._turned_at(curve, layer, (share - 1) * float(np.mean(np.abs(curve))))

    def _turned_at(self, curve: np.ndarray, layer: int, level: float) -> Variant:
        """The turn at another level than zero, and the value that decides it."""
        turn = last_turns(curve - level)
        last = layer if np.isnan(turn) else max(layer, int(turn))
        pair = [place for place in (last, last + 1) if place < len(curve)]
        swayed_places = [place for place in pair if (curve[place] < 0) != (curve[place] < level)]
        place = min(swayed_places or [layer], key=lambda place: abs(curve[place]))
        reason = f"it depends on a {self.curve_title} of {curve[place]:.2g} at layer {place}"
        return Variant(None if np.isnan(turn) else int(turn) + 1, reason)

    def _why_none(self, curve: np.ndarray) -> str:
        return f"{self.noun} never turns from negative to positive"

    def _layers(self, curves: np.ndarray, threshold: float) -> np.ndarray:
        return last_turns(curves)

    def _crossings(self, curves: np.ndarray, layers: np.ndarray, threshold: float) -> np.ndarray:
        return crossings_between(curves, layers + 1, 0.0)

    def _censored(self, curves: np.ndarray) -> np.ndarray:
        return np.where(curves[..., -1] < 0, curves.shape[-1] - 1, -1)


def last_turns(curves: np.ndarray) -> np.ndarray:
    """The last layer with a negative value whose successor is not negative, of `[..., L]`."""
    turns = (curves[..., :-1] < 0) & (curves[..., 1:] >= 0)
    layers = np.where(turns, np.arange(turns.shape[-1]), -np.inf).max(axis=-1, initial=-np.inf)
    return np.where(np.isfinite(layers), layers, np.nan)


RULE = LastTurn(
    name="cosine",
    title="cosine",
    short="cos",
    noun="the mean cosine",
    kind="geometric",
    meaning="until layers strengthen what is there",
    curve="mean_cosine",
    mean_of=("attention_cosine", "mlp_cosine", "layer_cosine"),
    unit="",
    threshold=Threshold(value=0.0),
    figure="Cosine with the stream",
    axis="cosine",
    measure="layer_cosine",
    of_paper=True,
    explanation=Explanation(
        "Effective depth by the cosine",
        "How many layers erase or write something new, before the rest only strengthen the stream.",
        "the last layer e where the mean of the three cosines is below 0 and at e + 1 is not; "
        "e + 1 layers, since the first is layer 0",
        "A count of 20, say: up to layer 19 the mean layer works against the stream or across it.",
        "How close to 0 the curve runs: where it only grazes 0, a tiny change moves the count.",
        "Hu, Zhou, Zhang, arXiv 2512.14064",
    ),
)
