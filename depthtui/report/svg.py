"""Heatmaps, curves and bars as SVG.

Each picture is complete, in attributes that every SVG renderer supports: an editor, a converter
or another page draws it as the report shows it. Classes are for the report's style sheet, which
changes the colours on a dark page.
"""

from __future__ import annotations

import colorsys
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np
from rich.cells import cell_len

from depthtui import ramps
from depthtui.metrics.spec import Measure
from depthtui.palettes import OWN_PALETTE
from depthtui.report.blocks import Bars, Heatmap, Line, Panel
from depthtui.token_text import printable_line, shortened

WIDTH = 420.0
_FONT = 11.0
_LEFT, _RIGHT, _TOP = 46.0, 10.0, 24.0
_PLOT = WIDTH - _LEFT - _RIGHT
_MARKS = 12.0
"""Height of a line of marks beneath bars."""

_GAP = "\N{NO-BREAK SPACE}" * 3
"""Between labels: renderers disagree on where a text with shifts in it ends."""

_ROW, _SAMPLE = 15.0, 26.0
"""Height of a row of a legend beneath curves, and the length of its line."""

_MOST_LABELLED = 44
_LEGEND_WIDTH = 120.0

COLOURS = {
    "page": ("#fdfdfb", "#15161a"),
    "ink": ("#1c1d21", "#e4e4e0"),
    "soft": ("#6a6c75", "#9a9ba3"),
    "hair": ("#dcdcd6", "#34353c"),
    "tint": ("#f3f3ee", "#1e1f25"),
    "attention": ("#2463b0", "#78aef0"),
    "mlp": ("#b4561a", "#eda06a"),
    "accent": ("#a3186b", "#f07ab8"),
}
"""Colours of a report by name, on a light page and on a dark one."""

_LIGHT = {name: light for name, (light, _) in COLOURS.items()}

_RULES = {
    "grid": f'stroke="{_LIGHT["hair"]}" stroke-width="0.6"',
    "zero": f'stroke="{_LIGHT["soft"]}" stroke-width="0.6"',
    "threshold": f'stroke="{_LIGHT["soft"]}" stroke-width="0.8" stroke-dasharray="3 3"',
    "crossing": f'stroke="{_LIGHT["accent"]}" stroke-width="0.9"',
}
"""Attributes of straight lines, by class."""

_LINE_COLOURS = {"attention": "attention", "mlp": "mlp", "layer": "soft", "mean": "ink"}
"""Names of lines' colours, by class."""

_HUES = ((212, 65), (22, 75), (150, 55), (320, 60), (265, 50), (50, 80), (185, 65), (0, 65))
"""Hue and saturation of series of lines; the ninth repeats the first."""

_DASHES = ("none", "5 2.5", "1.5 2", "7 2 1.5 2", "3 1.5", "9 3")
"""Dashes of lines; the seventh repeats the first."""


def page_style() -> str:
    """CSS variables of the colours, and the classes of pictures that follow them."""

    def rules(dark: bool) -> str:
        colours = "".join(f"--{name}:{pair[dark]};" for name, pair in COLOURS.items())
        return f":root{{{colours}}}"

    lines = "".join(
        f".line.{css}{{stroke:var(--{name})}}.key.{css}{{color:var(--{name});fill:var(--{name})}}"
        for css, name in _LINE_COLOURS.items()
    )
    return f"{_light_and_dark(rules)}{lines}"


def ramp_style(name: str = OWN_PALETTE) -> str:
    """CSS rules of a palette's ramps for dark pages; pictures have the colours for light pages."""
    return _on_dark(
        "".join(
            f".{ramp}{level}{{fill:{colour}}}"
            for ramp in ("s", "d")
            for level, colour in enumerate(_colours(ramp, name, dark=True))
        )
    )


def token_style(name: str = OWN_PALETTE) -> str:
    """CSS rules of backgrounds for tokens by level, `d0` and on, in a palette's colours."""

    def rules(dark: bool) -> str:
        return "".join(
            f".d{level}{{background:{ramps.css(colour)};color:{_ink(colour)}}}"
            for level, colour in enumerate(ramps.sequential(dark, name))
        )

    return _light_and_dark(rules)


def series_style() -> str:
    """CSS rules of lines in many colours and dashes, and of their legend."""

    def rules(dark: bool) -> str:
        return "".join(
            f".line.m{n}{{stroke:{colour}}}.key.m{n}{{color:{colour}}}"
            for n, colour in enumerate(_series(dark))
        )

    legend = (
        ".depth{white-space:nowrap}"
        ".legend span{margin-right:1.2em;white-space:nowrap}.legend svg{display:inline;width:2.2em}"
    )
    return f"{_light_and_dark(rules)}.line.soft{{stroke:var(--soft)}}{legend}"


def hue(number: int) -> str:
    """The CSS class of a series' colour."""
    return f"m{number % len(_HUES)}"


def dash(number: int) -> str:
    """The CSS class of a series' dashes."""
    return f"t{number % len(_DASHES)}"


def sample(css: str) -> str:
    """A short line in the dashes of a class."""
    return f'<svg viewBox="0 0 26 6"><path {_line(f"soft {css}")} d="M0 3L26 3"/></svg>'


def _light_and_dark(rules: Callable[[bool], str]) -> str:
    return f"{rules(False)}{_on_dark(rules(True))}"


def _on_dark(rules: str) -> str:
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def _colours(ramp: str, name: str, dark: bool = False) -> list[str]:
    """The colours of a palette's sequential ramp, `s`, or its diverging ramp, `d`."""
    ramp_colours = ramps.sequential(dark, name) if ramp == "s" else ramps.diverging(dark, name)
    return [ramps.css(colour) for colour in ramp_colours]


def _series(dark: bool = False) -> list[str]:
    """The colours of series of lines."""
    lightness = 0.68 if dark else 0.38
    colours = (colorsys.hls_to_rgb(hue / 360, lightness, share / 100) for hue, share in _HUES)
    return ["#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in rgb)) for rgb in colours]


def _ink(background: ramps.RGB) -> str:
    return "#000" if ramps.lightness(background) > 0.6 else "#fff"


def drawing(
    picture: Panel | Heatmap | Bars, name: str = OWN_PALETTE, is_alone: bool = False
) -> str:
    """A picture of any kind.

    Args:
        picture: the picture.
        name: the palette of heatmaps.
        is_alone: whether no page has its legend.
    """
    match picture:
        case Heatmap():
            return heatmap(picture, name)
        case Bars():
            return bars(picture)
        case Panel():
            return curves(picture, is_alone)


def heatmap(picture: Heatmap, name: str = OWN_PALETTE) -> str:
    """Layers x tokens, or x layers, layer 0 at the bottom, in the colours of a palette."""
    values, measure, tokens = picture.values, picture.measure, picture.labels
    rows, columns = values.shape
    low, high, note = _scale(values, measure)
    ramp, count = ("d", ramps.DIVERGING_LEVELS) if measure.diverging else ("s", ramps.LEVELS)
    colours = _colours(ramp, name)
    cell = min(30.0, _PLOT / columns)
    tall = min(_FONT + 1, 250.0 / rows)
    bottom = _TOP + rows * tall
    if measure.by_token:
        labels, depth = _token_labels(tokens, cell, bottom)
    else:
        labels, depth = _position_labels(_layers_to_label(columns), cell, bottom)
    legend_top = bottom + depth + 20
    where = f"translate({_LEFT:g} {_TOP:g}) scale({cell:.4g} {tall:.4g})"
    parts = [
        _names(picture.up, picture.across, bottom + depth, _LEFT + columns * cell),
        f'<g shape-rendering="crispEdges" transform="{where}">',
        _cells(ramps.levels(values, low, high, count), ramp, colours),
        "</g>",
        "" if picture.hatched is None else _hatching(picture.hatched, cell, tall),
        _layer_ticks(picture.rows or list(map(str, range(rows))), tall),
        labels,
        _legend(ramp, colours, legend_top, low, high, picture.unit, note),
    ]
    return _svg(parts, legend_top + 24, f"{measure.title}, layers by tokens")


def curves(panel: Panel, is_alone: bool = False) -> str:
    """Lines over depth with the rule's threshold dashed and its layer marked.

    Alone, it has the names of its lines beneath, where these look different.
    """
    height = 150.0
    last = max(len(line.values) for line in panel.lines) - 1
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in panel.lines])
    low, high = panel.limits or _limits(finite, panel.threshold, panel.log)
    scale = _log if panel.log else float

    def x(layer: float) -> float:
        return _LEFT + _PLOT * layer / max(last, 1)

    def y(value: float) -> float:
        share = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1)
        return _TOP + height * (1 - min(max(share, 0), 1))

    parts = [_names(panel.up, panel.across, _TOP + height + 16), _key(panel.lines)]
    for tick in _ticks(low, high, panel.log):
        parts.append(_rule("grid" if tick else "zero", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(_text(_LEFT - 4, y(tick) + 4, f"{tick:.3g}", "end"))
    has_output = last == panel.n_layers
    for place, label in _labels_across(panel, last):
        if not has_output or x(last) - x(place) > 3 * _FONT:
            parts.append(_text(x(place), _TOP + height + 14, label, "middle"))
    if has_output:
        parts.append(_text(x(last), _TOP + height + 14, "out", "end"))
    if panel.threshold is not None and finite.size:
        at = y(panel.threshold)
        parts.append(_rule("threshold", _LEFT, at, WIDTH - _RIGHT, at))
    if panel.crossing is not None:
        at = x(panel.crossing)
        parts.append(_rule("crossing", at, _TOP, at, _TOP + height))
        side, anchor = (-4, "end") if panel.crossing > 0.8 * last else (4, "start")
        parts.append(_text(at + side, _TOP + 10, f"layer {panel.crossing}", anchor, "mark"))
    parts += [_polyline(line, x, y) for line in panel.lines]
    bottom = _TOP + height + 34
    # Lines of more models than colours share one; lines that all look alike are not named.
    names = [(line.css, line.name) for line in panel.lines if line.name and not line.label]
    rows = names if is_alone and len({css for css, _ in names}) > 1 else []
    for number, (css, name) in enumerate(rows, start=1):
        row = bottom + number * _ROW
        parts.append(f'<path {_line(css)} d="M{_LEFT:g} {row - 4:.4g}h{_SAMPLE:g}"/>')
        parts.append(_text(_LEFT + _SAMPLE + 6, row, name, "start"))
    return _svg(parts, bottom + (len(rows) + bool(rows) / 2) * _ROW, panel.title)


def _labels_across(panel: Panel, last: int) -> list[tuple[int, str]]:
    """The labelled places of the horizontal axis, whose last place is `last`."""
    if panel.falls_from is None:
        return [(place, str(place)) for place in _layers_to_label(panel.n_layers)]
    counts = _layers_to_label(panel.falls_from + 1)
    places = [(panel.falls_from - count, str(count)) for count in counts]
    return [(place, label) for place, label in places if place <= last]


def bars(picture: Bars) -> str:
    """A bar per layer, up or down from zero; unknown layers are left out."""
    values = picture.values
    height, count = 110.0, len(values)
    finite = values[np.isfinite(values)]
    low, high = _limits(finite, None, False)
    wide = _PLOT / max(count, 1)

    def y(value: float) -> float:
        return _TOP + height * (1 - (value - low) / ((high - low) or 1))

    bottom = _TOP + height + (_MARKS if picture.marks else 0)
    parts = [_names(picture.up, picture.across, bottom + 16)]
    for tick in _ticks(low, high, False):
        parts.append(_rule("grid" if tick else "zero", _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(_text(_LEFT - 4, y(tick) + 4, f"{tick:.3g}", "end"))
    for layer, mark in enumerate(picture.marks):
        parts.append(_text(_LEFT + (layer + 0.5) * wide, bottom, mark, "middle"))
    for layer in np.flatnonzero(np.isfinite(values)).tolist():
        value = float(values[layer])
        css, colour = ("bars below", "accent") if value < 0 else ("bars", "soft")
        parts.append(
            f'<rect class="{css}" fill="{_LIGHT[colour]}" '
            f'x="{_LEFT + (layer + 0.15) * wide:.4g}" y="{y(max(value, 0)):.4g}" '
            f'width="{0.7 * wide:.4g}" height="{abs(y(value) - y(0)):.4g}"/>'
        )
    for tick in _layers_to_label(max(count, 1)):
        parts.append(_text(_LEFT + (tick + 0.5) * wide, bottom + 14, str(tick), "middle"))
    return _svg(parts, bottom + 34, picture.label)


def _scale(values: np.ndarray, measure: Measure) -> tuple[float, float, str]:
    """Ends of the colour scale, and a remark where the scale clips."""
    if measure.limits is not None:
        return (*measure.limits, "")
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0, ""
    largest = float(np.abs(finite).max())
    high = float(np.percentile(np.abs(finite), ramps.CLIP_PERCENTILE, method="lower"))
    high = next((end for end in (high, largest) if end > 0), 1.0)
    note = f"{ramps.CLIP_PERCENTILE}th percentile, max {largest:.3g}" if largest > high else ""
    return (-high if measure.diverging else 0.0), high, note


def _cells(levels: np.ndarray, ramp: str, colours: Sequence[str]) -> str:
    """One path per level, equal neighbours of a row merged; unknown cells are left out."""
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
        f'<path class="{ramp}{level}" fill="{colours[level]}" d="{"".join(paths[level])}"/>'
        for level in sorted(paths)
        if level >= 0
    )


def _hatching(hatched: np.ndarray, cell: float, tall: float) -> str:
    """A stroke from the lower left to the upper right of each of some cells."""
    bottom = _TOP + len(hatched) * tall
    strokes = "".join(
        f"M{_LEFT + column * cell:.4g} {bottom - row * tall:.4g}l{cell:.4g} {-tall:.4g}"
        for row, column in np.argwhere(hatched).tolist()
    )
    return f'<path class="zero" {_RULES["zero"]} fill="none" d="{strokes}"/>' if strokes else ""


def _layer_ticks(names: Sequence[str], tall: float) -> str:
    rows = len(names)
    return "".join(
        _text(_LEFT - 4, _TOP + (rows - layer - 0.5) * tall + 4, names[layer], "end")
        for layer in _layers_to_label(rows)
    )


def _layers_to_label(n_layers: int) -> list[int]:
    steps = (step * power for power in (1, 10, 100, 1_000, 10_000) for step in (1, 2, 5))
    step = next(step for step in steps if n_layers / step <= 10)
    return list(range(0, n_layers, step))


def _token_labels(tokens: Sequence[str], cell: float, bottom: float) -> tuple[str, float]:
    """Token texts below their columns, or positions where tokens are too many; and their height."""
    if len(tokens) > _MOST_LABELLED:
        step = next(
            step
            for step in (5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10**9)
            if len(tokens) / step <= 12
        )
        return _position_labels(range(0, len(tokens), step), cell, bottom)
    size = min(9.5, cell * 0.95)
    texts = [shortened(token.strip(" ") or token, 10) for token in tokens]
    labels = []
    for index, text in enumerate(texts):
        x, y = _LEFT + (index + 0.5) * cell, bottom + 4
        labels.append(
            f'<text font-family="monospace" font-size="{size:.3g}" text-anchor="end" '
            f'transform="translate({x + size / 3:.4g} {y:.4g}) rotate(-90)">'
            f"{escape(text)}</text>"
        )
    longest = max(cell_len(label) for label in texts)
    return "".join(labels), 6 + 0.62 * size * longest


def _position_labels(positions: Iterable[int], cell: float, bottom: float) -> tuple[str, float]:
    """Numbers below some columns, and their height."""
    labels = [
        _text(_LEFT + (position + 0.5) * cell, bottom + 14, str(position), "middle")
        for position in positions
    ]
    return "".join(labels), 16.0


def _legend(
    ramp: str,
    colours: Sequence[str],
    top: float,
    low: float,
    high: float,
    unit: str,
    note: str,
) -> str:
    """The colours with the values at their ends; beside them the values' unit, and a remark."""
    width, right = _LEGEND_WIDTH / len(colours), _LEFT + _LEGEND_WIDTH
    parts = [
        f'<rect class="{ramp}{level}" fill="{colour}" x="{_LEFT + level * width:.4g}" '
        f'y="{top:.4g}" width="{width + 0.2:.4g}" height="7"/>'
        for level, colour in enumerate(colours)
    ]
    parts.append(_text(_LEFT, top + 19, f"{low:.3g}", "start"))
    parts.append(_text(right, top + 19, f"{high:.3g}", "end"))
    beside = [text for text in (unit, note) if text]
    parts += [
        _text(right + 10, top + 7 + 12 * line, text, "start") for line, text in enumerate(beside)
    ]
    return "".join(parts)


def _names(up: str, across: str, bottom: float, right: float = WIDTH - _RIGHT) -> str:
    """Names of the axes; the vertical axis has its name above it, with room for any length."""
    above = _text(0, 11, up, "start") if up else ""
    return above + (_text(right, bottom + 13, across, "end") if across else "")


def _key(lines: Sequence[Line]) -> str:
    """The labels of lines in their colours, above the plot."""
    parts = _GAP.join(
        f'<tspan class="key {line.css}" fill="{_colour(line.css)}">'
        f"{escape(printable_line(line.label))}</tspan>"
        for line in lines
        if line.label
    )
    return f'<text x="{WIDTH - _RIGHT:g}" y="11" text-anchor="end">{parts}</text>' if parts else ""


def _limits(finite: np.ndarray, threshold: float | None, log: bool) -> tuple[float, float]:
    if not finite.size:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    if log:
        # A layer that writes nothing has no logarithm: the axis ends five decades below the top.
        return max(low, high * 1e-5, 1e-12), max(high, 1e-12) * 1.05
    return min(low, 0.0), max(high, 0.0) * 1.05 or 1.0


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        if last - first >= 1:
            return [10.0**layer for layer in range(first, last + 1)]
    span = min(high - low, sys.float_info.max) or 1.0
    power: float = 10.0 ** math.floor(math.log10(span / 4))
    step = next(step * power for step in (1, 2, 5, 10) if span / (step * power) <= 5)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log(value: float) -> float:
    return math.log10(max(value, 1e-12))


def _polyline(line: Line, x: object, y: object) -> str:
    assert callable(x)
    assert callable(y)
    is_finite = np.isfinite(line.values)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_finite, [False]]).astype(np.int8)))
    d = ""
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        points = [f"{x(i):.4g} {y(float(line.values[i])):.4g}" for i in range(first, end)]
        # A lone point would be invisible: a short stroke shows it.
        d += "M" + "L".join(points if len(points) > 1 else points * 2)
    if not line.name or not d:
        return f'<path {_line(line.css)} d="{d}"/>' if d else ""
    title = escape(printable_line(line.name))
    return f'<path {_line(line.css)} d="{d}"><title>{title}</title></path>'


def _line(css: str) -> str:
    """The attributes of a line by its classes."""
    classes = css.split()
    width = 2 if "mean" in classes else 1.4
    dashed = "".join(
        f' stroke-dasharray="{dashes}"'
        for number, dashes in enumerate(_DASHES)
        if number and dash(number) in classes
    )
    return (
        f'class="line {css}" fill="none" stroke="{_colour(css)}" stroke-width="{width}" '
        f'stroke-linejoin="round" stroke-linecap="round"{dashed}'
    )


def _colour(css: str) -> str:
    """The colour of a line by its classes, on a light page."""
    colours = {name: _LIGHT[colour] for name, colour in _LINE_COLOURS.items()}
    colours |= {hue(number): colour for number, colour in enumerate(_series())}
    return next((colours[name] for name in css.split() if name in colours), _LIGHT["soft"])


def _rule(css: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="{css}" {_RULES[css]} d="M{x1:.4g} {y1:.4g}L{x2:.4g} {y2:.4g}"/>'


def _text(x: float, y: float, text: str, anchor: str, css: str = "") -> str:
    how = f'class="{css}" fill="{_LIGHT["accent"]}" ' if css else ""
    where = f'x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}"'
    return f"<text {how}{where}>{escape(printable_line(text))}</text>"


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    name, size = escape(printable_line(label)), f'width="{WIDTH:g}" height="{height:.4g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:.4g}" {size} '
        f'font-family="Georgia, serif" font-size="{_FONT:g}" fill="{_LIGHT["soft"]}" '
        f'role="img" aria-label="{name}">'
        f'<rect class="page" fill="{_LIGHT["page"]}" {size}/>{"".join(parts)}</svg>'
    )
