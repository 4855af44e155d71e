"""Heatmaps and curves as SVG whose colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from depthtui import palette
from depthtui.metrics.spec import Measure
from depthtui.report.blocks import Line, Panel
from depthtui.token_text import printable_line, shortened

WIDTH = 420.0
_LEFT, _RIGHT, _TOP = 30.0, 8.0, 6.0
_PLOT = WIDTH - _LEFT - _RIGHT
_MOST_LABELLED = 44


_HUES = ((212, 65), (22, 75), (150, 55), (320, 60), (265, 50), (50, 80), (185, 65), (0, 65))
"""Hue and saturation of series of lines; a ninth has the first one's again."""

_DASHES = ("none", "5 2.5", "1.5 2", "7 2 1.5 2", "3 1.5", "9 3")
"""Dashes of lines; a seventh has the first one's again."""


def ramp_style() -> str:
    """CSS rules of the ramps, for light pages and, in a media query, for dark ones."""

    def rules(dark: bool) -> str:
        ramps = {"s": palette.sequential(dark), "d": palette.diverging(dark)}
        return "".join(
            f".{name}{level}{{fill:{palette.css(colour)}}}"
            for name, ramp in ramps.items()
            for level, colour in enumerate(ramp)
        )

    return _light_and_dark(rules)


def token_style() -> str:
    """CSS rules of backgrounds for tokens by level, `d0` and on."""

    def rules(dark: bool) -> str:
        return "".join(
            f".d{level}{{background:{palette.css(colour)};color:{_ink(colour)}}}"
            for level, colour in enumerate(palette.sequential(dark))
        )

    return _light_and_dark(rules)


def series_style() -> str:
    """CSS rules of lines in many colours and dashes, and of their legend."""

    def rules(dark: bool) -> str:
        lightness = 68 if dark else 38
        return "".join(
            f".line.m{n}{{stroke:hsl({hue} {share}% {lightness}%)}}"
            f".key.m{n}{{color:hsl({hue} {share}% {lightness}%)}}"
            for n, (hue, share) in enumerate(_HUES)
        )

    dashes = "".join(f".line.t{n}{{stroke-dasharray:{dash}}}" for n, dash in enumerate(_DASHES))
    legend = (
        ".depth{white-space:nowrap}"
        ".legend span{margin-right:1.2em;white-space:nowrap}.legend svg{display:inline;width:2.2em}"
    )
    return f"{_light_and_dark(rules)}{dashes}.line.soft{{stroke:var(--soft)}}{legend}"


def hue(number: int) -> str:
    """The CSS class of a series' colour."""
    return f"m{number % len(_HUES)}"


def dash(number: int) -> str:
    """The CSS class of a series' dashes."""
    return f"t{number % len(_DASHES)}"


def sample(css: str) -> str:
    """A short line in the dashes of a class."""
    return f'<svg viewBox="0 0 26 6"><path class="line soft {css}" d="M0 3L26 3"/></svg>'


def _light_and_dark(rules: Callable[[bool], str]) -> str:
    return f"{rules(False)}@media(prefers-color-scheme:dark){{{rules(True)}}}"


def _ink(background: palette.RGB) -> str:
    return "#000" if palette.lightness(background) > 0.6 else "#fff"


def heatmap(values: np.ndarray, measure: Measure, tokens: Sequence[str]) -> str:
    """Layers x tokens, layer 0 at the bottom.

    Args:
        values: `[rows, T]`, NaN where unknown.
        measure: says how they are scaled.
        tokens: `[T]` raw texts.
    """
    rows, columns = values.shape
    low, high, note = _scale(values, measure)
    ramp, count = ("d", palette.DIVERGING_LEVELS) if measure.diverging else ("s", palette.LEVELS)
    cell = min(30.0, _PLOT / columns)
    tall = min(9.0, 250.0 / rows)
    bottom = _TOP + rows * tall
    labels, depth = _token_labels(tokens, cell, bottom)
    legend_top = bottom + depth + 10
    parts = [
        f'<g transform="translate({_LEFT:g} {_TOP:g}) scale({cell:.4g} {tall:.4g})">',
        _cells(palette.levels(values, low, high, count), ramp),
        "</g>",
        _layer_ticks(rows, tall),
        labels,
        _legend(ramp, count, legend_top, low, high, note),
    ]
    return _svg(parts, legend_top + 22, f"{measure.title}, layers by tokens")


def curves(panel: Panel) -> str:
    """Lines over depth with the rule's threshold dashed and its layer marked."""
    height = 150.0
    last = max(len(line.values) for line in panel.lines) - 1
    known = np.concatenate([line.values[np.isfinite(line.values)] for line in panel.lines])
    low, high = panel.limits or _limits(known, panel.threshold, panel.log)
    scale = _log if panel.log else float

    def x(layer: float) -> float:
        return _LEFT + _PLOT * layer / max(last, 1)

    def y(value: float) -> float:
        share = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1)
        return _TOP + height * (1 - min(max(share, 0), 1))

    parts = []
    for tick in _ticks(low, high, panel.log):
        parts.append(_rule("grid" if tick else "zero", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(_text(_LEFT - 4, y(tick) + 3, f"{tick:.3g}", "end"))
    for tick in _layers_to_label(panel.n_layers):
        parts.append(_text(x(tick), _TOP + height + 12, str(tick), "middle"))
    if last == panel.n_layers:
        parts.append(_text(x(last), _TOP + height + 12, "out", "end"))
    if panel.threshold is not None and known.size:
        at = y(panel.threshold)
        parts.append(_rule("threshold", _LEFT, at, WIDTH - _RIGHT, at))
    if panel.crossing is not None:
        at = x(panel.crossing)
        parts.append(_rule("crossing", at, _TOP, at, _TOP + height))
        side, anchor = (-4, "end") if panel.crossing > 0.8 * last else (4, "start")
        parts.append(_text(at + side, _TOP + 9, f"layer {panel.crossing}", anchor, "mark"))
    parts += [_polyline(line, x, y) for line in panel.lines]
    return _svg(parts, _TOP + height + 18, panel.title)


def bars(values: np.ndarray, label: str) -> str:
    """A bar a layer, up or down from zero; unknown layers are left out."""
    height, count = 110.0, len(values)
    known = values[np.isfinite(values)]
    low, high = _limits(known, None, False)
    wide = _PLOT / max(count, 1)

    def y(value: float) -> float:
        return _TOP + height * (1 - (value - low) / ((high - low) or 1))

    parts = []
    for tick in _ticks(low, high, False):
        parts.append(_rule("grid" if tick else "zero", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(_text(_LEFT - 4, y(tick) + 3, f"{tick:.3g}", "end"))
    for layer in np.flatnonzero(np.isfinite(values)).tolist():
        value = float(values[layer])
        parts.append(
            f'<rect class="bars{" below" if value < 0 else ""}" '
            f'x="{_LEFT + (layer + 0.15) * wide:.4g}" y="{y(max(value, 0)):.4g}" '
            f'width="{0.7 * wide:.4g}" height="{abs(y(value) - y(0)):.4g}"/>'
        )
    for tick in _layers_to_label(max(count, 1)):
        parts.append(_text(_LEFT + (tick + 0.5) * wide, _TOP + height + 12, str(tick), "middle"))
    return _svg(parts, _TOP + height + 18, label)


def _scale(values: np.ndarray, measure: Measure) -> tuple[float, float, str]:
    """Ends of the colour scale, and a remark where it clips."""
    if measure.limits is not None:
        return (*measure.limits, "")
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0, ""
    largest = float(np.abs(known).max())
    high = float(np.percentile(np.abs(known), palette.CLIP_PERCENTILE, method="lower"))
    high = next((end for end in (high, largest) if end > 0), 1.0)
    note = f"{palette.CLIP_PERCENTILE}th percentile, max {largest:.3g}" if largest > high else ""
    return (-high if measure.diverging else 0.0), high, note


def _cells(levels: np.ndarray, ramp: str) -> str:
    """One path a level, equal neighbours of a row merged; unknown cells are left out."""
    rows, columns = levels.shape
    paths: dict[int, list[str]] = {}
    for row in range(rows):
        line = levels[row]
        starts = np.flatnonzero(np.concatenate([[True], line[1:] != line[:-1]]))
        lengths = np.diff(np.append(starts, columns))
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            d = f"M{start} {rows - 1 - row}h{length}v1h-{length}z"
            paths.setdefault(int(line[start]), []).append(d)
    return "".join(
        f'<path class="{ramp}{level}" d="{"".join(paths[level])}"/>'
        for level in sorted(paths)
        if level >= 0
    )


def _layer_ticks(rows: int, tall: float) -> str:
    return "".join(
        _text(_LEFT - 4, _TOP + (rows - layer - 0.5) * tall + 3, str(layer), "end")
        for layer in _layers_to_label(rows)
    )


def _layers_to_label(n_layers: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if n_layers / step <= 10)
    return list(range(0, n_layers, step))


def _token_labels(tokens: Sequence[str], cell: float, bottom: float) -> tuple[str, float]:
    """Token texts below their columns, or positions where there are too many; and their height."""
    if len(tokens) > _MOST_LABELLED:
        step = next(
            step
            for step in (5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10**9)
            if len(tokens) / step <= 12
        )
        labels = [
            _text(_LEFT + (token + 0.5) * cell, bottom + 12, str(token), "middle")
            for token in range(0, len(tokens), step)
        ]
        return "".join(labels), 14.0
    size = min(8.0, cell * 0.95)
    labels = []
    for index, token in enumerate(tokens):
        x, y = _LEFT + (index + 0.5) * cell, bottom + 4
        labels.append(
            f'<text class="token" style="font-size:{size:.3g}px" text-anchor="end" '
            f'transform="translate({x + size / 3:.4g} {y:.4g}) rotate(-90)">'
            f"{escape(shortened(token.strip(' ') or token, 10))}</text>"
        )
    return "".join(labels), 46.0


def _legend(ramp: str, count: int, top: float, low: float, high: float, note: str) -> str:
    width = 120 / count
    swatches = "".join(
        f'<rect class="{ramp}{level}" x="{_LEFT + level * width:.4g}" y="{top:.4g}" '
        f'width="{width + 0.2:.4g}" height="6"/>'
        for level in range(count)
    )
    ends = _text(_LEFT, top + 15, f"{low:.3g}", "start") + _text(
        _LEFT + 120, top + 15, f"{high:.3g}", "end"
    )
    return swatches + ends + (_text(_LEFT + 128, top + 6, note, "start") if note else "")


def _limits(known: np.ndarray, threshold: float | None, log: bool) -> tuple[float, float]:
    if not known.size:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(known.min()), float(known.max())
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    if log:
        # A layer that writes nothing has no logarithm: five decades are enough.
        return max(low, high * 1e-5, 1e-12), max(high, 1e-12) * 1.05
    return min(low, 0.0), max(high, 0.0) * 1.05 or 1.0


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        if last - first >= 1:
            return [10.0**layer for layer in range(first, last + 1)]
    span = (high - low) or 1.0
    power: float = 10.0 ** math.floor(math.log10(span / 4))
    step = next(step * power for step in (1, 2, 5, 10) if span / (step * power) <= 5)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log(value: float) -> float:
    return math.log10(max(value, 1e-12))


def _polyline(line: Line, x: object, y: object) -> str:
    assert callable(x)
    assert callable(y)
    known = np.isfinite(line.values)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    d = ""
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        points = [f"{x(i):.4g} {y(float(line.values[i])):.4g}" for i in range(first, end)]
        # A lone point would be invisible: a short stroke shows it.
        d += "M" + "L".join(points if len(points) > 1 else points * 2)
    return f'<path class="line {line.css}" d="{d}"/>' if d else ""


def _rule(css: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="{css}" d="M{x1:.4g} {y1:.4g}L{x2:.4g} {y2:.4g}"/>'


def _text(x: float, y: float, text: str, anchor: str, css: str = "tick") -> str:
    where = f'x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}"'
    return f'<text class="{css}" {where}>{escape(printable_line(text))}</text>'


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    what = escape(printable_line(label))
    head = f'<svg viewBox="0 0 {WIDTH:g} {height:.4g}" role="img" aria-label="{what}">'
    return f"{head}{''.join(parts)}</svg>"
