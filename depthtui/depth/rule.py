"""A rule of effective depth as one value: the curve that it reads, its layer, its words.

Rules and thresholds: paper, section "Effective depth"; the thresholds are from its results
notebook. Every layer index is 0-based.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate
from depthtui.data.explanation import Explanation
from depthtui.data.run_settings import LENSES, SummarySettings
from depthtui.data.verdict import EvidenceKind
from depthtui.metrics.evidence import FIFTH, Variant


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The value that a rule's curve is compared with.

    Attributes:
        value: the paper's value, and the option's default.
        option: the field of `SummarySettings` that sets the value; empty
            for a fixed value.
        falls: whether layers below the threshold qualify, not layers above.
        of_largest: whether the value is a share of the curve's largest value.
        keys: the keys of the explorer's dial that turns the option; empty for none.
    """

    value: float
    option: str = ""
    falls: bool = False
    of_largest: bool = False
    keys: str = ""

    def of(self, settings: SummarySettings) -> float:
        """The value in these settings."""
        return float(getattr(settings, self.option)) if self.option else self.value

    def comparison(self, value: float, largest: str) -> str:
        """The comparison with a value, such as `< 0.5 of max`; `largest` is the unit of a share."""
        return f"{'<' if self.falls else '>'} {value:g}{largest if self.of_largest else ''}"

    def qualifies(self, values: np.ndarray, level: float | np.ndarray) -> np.ndarray:
        """Which values are beyond a level."""
        return values < level if self.falls else values > level


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule that finds an effective depth on a curve over layers.

    A readable rule reads its curve through the lens: `[L+1]`, one value for the residual entering
    each layer, then the output's. It finds the first layer in 0 … L-2 beyond its threshold: the
    last layer's input is no candidate, nor is the output. The curve of another rule has one value
    a layer, `[L]`; a subclass finds its layer.

    Attributes:
        name: the name in files, such as `kl`.
        title: the name on screens and in reports, such as `KL`.
        short: the head of a narrow column.
        noun: the curve in a sentence, such as `the overlap`.
        kind: the kind of evidence that its count is.
        meaning: the meaning of the count; `{lens}` stands for the name of the lens, `{threshold}`
            for the threshold.
        curve: name of the curve in `Curves`.
        mean_of: names of the curves that this one is the mean of; empty for a curve that is
            measured itself.
        unit: unit of the curve, in a few cells.
        limits: ends of the curve's scale; None for a scale by the values.
        threshold: the threshold that the curve is compared with.
        figure: title of a figure of the curve; `{lens}` as in `meaning`, capitalised.
        axis: title of that figure's upright axis.
        measure: name of the heatmap measure that describes the curve; empty for none.
        of_token: whether it is also applied to the curve of each single token; then `TokenDepths`
            has a field of its name.
        of_paper: whether the paper's table has a column of this rule.
        of_prompt: whether the curve is one per prompt and no mean over tokens: in every mean over
            prompts each prompt counts once.
        explanation: the explanation on screens.
    """

    name: str
    title: str
    short: str
    noun: str
    kind: EvidenceKind
    meaning: str
    curve: str
    mean_of: tuple[str, ...] = ()
    unit: str
    limits: tuple[float, float] | None = None
    threshold: Threshold
    figure: str
    axis: str
    measure: str = ""
    of_token: bool = False
    of_paper: bool = False
    of_prompt: bool = False
    explanation: Explanation

    # Words ------------------------------------------------------------------

    @property
    def curve_title(self) -> str:
        """The curve, such as `mean cosine`."""
        return f"mean {self.title}" if self.mean_of else self.title

    def figure_title(self, lens: str, mean: bool = False) -> str:
        """Title of a figure; `mean` where the curves that it is the mean of are not drawn."""
        title = self.figure.format(lens=lens)
        return f"Mean {title[0].lower()}{title[1:]}" if mean and self.mean_of else title

    def titled(self, settings: SummarySettings) -> str:
        """The title, with the threshold where it is not the paper's."""
        value = self.threshold.of(settings)
        return self.title if value == self.threshold.value else f"{self.title} at {value:g}"

    def criterion(self, threshold: float | None, short: bool = False) -> str:
        """The rule in short, such as `first < 0.5 × max`, or shorter: `< 0.5 of max`."""
        assert threshold is not None
        largest = " of max" if short else " × max"
        return f"{'' if short else 'first '}{self.threshold.comparison(threshold, largest)}"

    def threshold_words(self, settings: SummarySettings) -> str:
        """The threshold in a sentence, such as `KL below 0.5 of its largest`; may be empty."""
        of = " of its largest" if self.threshold.of_largest else ""
        return f"{self.title} {self._side} {self.threshold.of(settings):g}{of}"

    def claim(
        self, lens: str, settings: SummarySettings, curves: Curves, layer: int | None = None
    ) -> str:
        """The meaning of the count, and how near the lens is to the output at that layer.

        Args:
            lens: the lens's name in a sentence.
            settings: the thresholds.
            curves: the pooled curves.
            layer: the rule's layer; None where it has none.
        """
        words = self.meaning.format(lens=lens, threshold=f"{self.threshold.of(settings):g}")
        near = nearness(curves, layer) if self.through_lens and layer is not None else ""
        return f"{words} ({near})" if near else words

    def threshold_in_short(self, settings: SummarySettings) -> str:
        """The threshold in short, such as `KL < 0.5 max`."""
        return f"{self.title} {self.threshold.comparison(self.threshold.of(settings), ' max')}"

    # Curves -----------------------------------------------------------------

    @property
    def through_lens(self) -> bool:
        """Whether the lens reads the curve, which then has L + 1 values."""
        return self.kind == "readable"

    @property
    def layer_unit(self) -> str:
        """Unit of `by_layer`, in a few cells."""
        return "of max" if self.threshold.of_largest else self.unit

    @property
    def layer_axis(self) -> str:
        """Title of an axis of `by_layer`."""
        return "share of its largest" if self.threshold.of_largest else self.axis

    @property
    def layer_limits(self) -> tuple[float, float] | None:
        """Ends of a scale of `by_layer`; None for a scale by the values."""
        return (0.0, 1.0) if self.threshold.of_largest else self.limits

    def n_layers(self, curves: np.ndarray) -> int:
        """The number of layers, L, of curves `[..., L]` or `[..., L + 1]`."""
        return curves.shape[-1] - self.through_lens

    def by_layer(self, curves: Curves) -> np.ndarray | None:
        """The curve at each layer, `[L]`, in the unit of the threshold; None without a curve."""
        values = curves.get(self.curve)
        if values is None:
            return None
        layers = values[: self.n_layers(values)]
        largest = float(np.fmax.reduce(layers)) if self.threshold.of_largest else 0.0
        return layers / largest if largest > 0 else layers

    def read(self, curves: Curves, settings: SummarySettings) -> np.ndarray | None:
        """The curve, `over_gaps`; None where it was not computed."""
        return self.over_gaps(curves[self.curve], settings) if self.curve in curves else None

    def over_gaps(self, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
        """Fill the curves of a fitted lens at the depths for which it has no map.

        A gap gets the value of the depth before. Before the first map it gets the value of a lens
        that reads nothing: the largest value of a curve that falls to the output, else 0. No rule
        crosses there. A curve whose last value is unknown was not read yet and is not changed, nor
        are curves of the logit lens, which reads every depth.
        """
        is_finite = np.isfinite(curves)
        if not self.through_lens or settings.lens == LENSES[0] or is_finite.all():
            return curves
        layers = np.where(is_finite, curves, -np.inf)[..., :-1]
        largest = layers.max(axis=-1, keepdims=True)
        nothing = largest if self.threshold.falls else np.zeros_like(largest)
        last = np.maximum.accumulate(np.where(is_finite, np.arange(curves.shape[-1]), -1), axis=-1)
        before = np.take_along_axis(curves, np.maximum(last, 0), axis=-1)
        filled = np.where(last >= 0, before, nothing)
        return np.where(is_finite[..., -1:], filled, curves)

    def level(self, curve: np.ndarray, settings: SummarySettings) -> float:
        """The level that the rule compares the curve with; NaN where unknown."""
        return self.threshold.of(settings) * self._scale(self.over_gaps(curve, settings))

    # Layers -----------------------------------------------------------------

    def layers(self, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
        """The layer of each curve.

        Args:
            curves: `[..., L]`, or `[..., L + 1]` for curves that a lens reads.
            settings: the lens and the thresholds.

        Returns:
            `[...]` floats, NaN where no layer qualifies or a curve is not finite.
        """
        curves = self.over_gaps(curves, settings)
        layers = self._layers(curves, self.threshold.of(settings))
        return np.where(np.isfinite(curves).all(axis=-1), layers, np.nan)

    def ranked_layers(self, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
        """`layers`, with a layer beyond all that the rule can find for a curve without one.

        Such a curve is censored: its layer would be there or further. So it can be ranked, and
        dropping it would make depths look shallower than they are.

        Returns:
            `[...]`, NaN where a curve is not finite.
        """
        layers = self.layers(curves, settings)
        is_finite = np.isfinite(self.over_gaps(curves, settings)).all(axis=-1)
        return np.where(is_finite & np.isnan(layers), self._censored(curves), layers)

    def ranked_crossings(self, curves: np.ndarray, settings: SummarySettings) -> np.ndarray:
        """`DepthEstimate.crossing` of each curve; without a layer, ranked as in `ranked_layers`.

        Returns:
            `[...]`, NaN where a curve is not finite.
        """
        curves = self.over_gaps(curves, settings)
        layers = self.layers(curves, settings)
        crossings = self._crossings(curves, layers, self.threshold.of(settings))
        return np.where(np.isnan(layers), self.ranked_layers(curves, settings), crossings)

    def _crossings(self, curves: np.ndarray, layers: np.ndarray, threshold: float) -> np.ndarray:
        """Where the curves, with these layers, cross the threshold."""
        return crossings_between(curves, layers, threshold * self._scales(curves))

    def estimate(self, curve: np.ndarray, settings: SummarySettings) -> DepthEstimate:
        """The effective depth on one finite curve."""
        threshold, layers, falls = self.threshold.of(settings), curve[:-1], self.threshold.falls
        layer, scale = self._layers(curve, threshold), self._scale(curve)
        area = float(layers.mean() / scale) if self.threshold.of_largest and scale > 0 else None
        if np.isnan(layer):
            never = "never falls below" if falls else "never exceeds"
            of = " of its maximum" if self.threshold.of_largest else ""
            reason = f"{self.noun} {never} {threshold:g}{of}"
            return replace(self.none(settings, reason), area=area)
        first, level = int(layer), threshold * scale
        stays_beyond = self.threshold.qualifies(layers[first:], level).all()
        again = "rises above the threshold again" if falls else "falls back again"
        return DepthEstimate(
            self.name,
            first,
            (first + 1) / len(layers),
            threshold,
            warning="" if stays_beyond else f"{self.noun} {again} after layer {first}",
            crossing=float(self._crossings(curve, layer, threshold)),
            area=area,
        )

    def none(self, settings: SummarySettings, reason: str) -> DepthEstimate:
        """An estimate without an effective depth, and why."""
        return DepthEstimate(self.name, None, None, self.threshold.of(settings), reason=reason)

    def variants(
        self, curve: np.ndarray, layer: int, settings: SummarySettings
    ) -> Iterator[Variant]:
        """The counts at thresholds a fifth lower and higher, and at the curve's last crossing."""
        threshold = self.threshold.of(settings)
        for share in (1 - FIFTH, 1 + FIFTH):
            yield self._moved(curve, layer, threshold, share)
        layers, level = curve[:-1], threshold * self._scale(curve)
        last = int(np.flatnonzero(~self.threshold.qualifies(layers, level)).max(initial=-1))
        if last > layer:
            words = f"{self.noun} stays {self._side} its threshold"
            if last + 1 < len(layers):
                from_layer = f"{words} only from layer {last + 1}"
                yield Variant(last + 2, f"{from_layer} on")
            else:
                yield Variant(len(layers), f"{words} at the output only")

    def _moved(self, curve: np.ndarray, layer: int, threshold: float, share: float) -> Variant:
        """The variant with a moved threshold."""
        scale, layer_there = self._scale(curve), self._layers(curve, share * threshold)
        at_layer = f"{self.title} is {curve[layer]:.3g} at layer {layer}"
        here = f"{at_layer} beside a threshold of {threshold * scale:.3g}"
        level = f"{share * threshold * scale:.3g}"
        side = f"{self._side} {level}"
        if np.isnan(layer_there):
            return Variant(len(curve) - 1, f"{here}, and never {side}")
        other = int(layer_there)
        if other < layer:
            fifth = f"a fifth {'higher' if share > 1 else 'lower'}"
            at_layer = f"with a threshold {fifth} ({level}) it is layer {other}"
            return Variant(other + 1, at_layer)
        later = f"{here}, and {side} only from layer {other} on"
        return Variant(other + 1, later)

    def _layers(self, curves: np.ndarray, threshold: float) -> np.ndarray:
        """The layers of finite curves, NaN where none qualifies."""
        layers = curves[..., :-1]
        scale = layers.max(axis=-1, keepdims=True) if self.threshold.of_largest else 1.0
        qualifies = self.threshold.qualifies(layers, threshold * scale)[..., :-1]
        places = np.where(qualifies, np.arange(qualifies.shape[-1]), np.inf)
        first = places.min(axis=-1, initial=np.inf)
        return np.where(np.isfinite(first), first, np.nan)

    def _censored(self, curves: np.ndarray) -> np.ndarray:
        """The layer for curves that have none: L - 1, the last layer."""
        return np.full(curves.shape[:-1], self.n_layers(curves) - 1)

    @property
    def _side(self) -> str:
        return "below" if self.threshold.falls else "above"

    def _scale(self, curve: np.ndarray) -> float:
        """The value that the threshold is a share of."""
        return float(self._scales(curve))

    def _scales(self, curves: np.ndarray) -> np.ndarray:
        """The value that the threshold is a share of, for each curve."""
        if not self.threshold.of_largest:
            return np.ones(curves.shape[:-1])
        return np.asarray(curves[..., :-1].max(axis=-1), np.float64)


def nearness(curves: Curves, layer: int) -> str:
    """How near the lens before a layer is to the output; unknown values are left out.

    Such as `KL 5.64 nats, 3% of choices agree`.
    """
    kl, share = (
        float(curves[name][layer]) if name in curves else float("nan")
        for name in ("kl", "agreement")
    )
    parts = [
        f"KL {kl:.3g} nats" if np.isfinite(kl) else "",
        f"{share:.0%} of choices agree" if np.isfinite(share) else "",
    ]
    return ", ".join(filter(None, parts))


def crossings_between(
    curves: np.ndarray, layers: np.ndarray, levels: np.ndarray | float
) -> np.ndarray:
    """Where the line from the layer before to this one meets a level, in layers; 0 at layer 0.

    Args:
        curves: `[..., L]` or `[..., L + 1]`.
        layers: the layer of each curve, `[...]`; NaN stays NaN.
        levels: the level for each curve, `[...]`, or one for all.
    """
    places = np.nan_to_num(layers).astype(int)[..., None]
    values = curves.astype(np.float64)
    here = np.take_along_axis(values, places, axis=-1)[..., 0]
    before = np.take_along_axis(values, np.maximum(places - 1, 0), axis=-1)[..., 0]
    steps = np.where(places[..., 0] > 0, here - before, np.nan)
    between = layers - 1 + (levels - before) / steps
    return np.where(layers == 0, 0.0, between)
