"""Heatmaps, curves and bars as SVG.

Each picture is complete, in attributes that every SVG renderer supports: an editor, a converter
or another page draws it as the report shows it. Classes are for the report's style sheet, which
changes the colours on a dark page.
"""

from __future__ import annotations

import colorsys
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import numpy as np
from rich.cells import cell_len

from depthtui import ramps
from depthtui.metrics.spec import Measure
from depthtui.palettes import OWN_PALETTE
from depthtui.report.blocks import Bars, Heatmap, Line, Mark, Panel
from depthtui.report.look import FONT_UNITS, Look
from depthtui.token_text import printable_line, shortened

_FONT = FONT_UNITS
_LEFT, _RIGHT, _TOP = 46.0, 10.0, 24.0
_LINE = 13.0
"""Height of a line of text."""

_WIDE = 0.56
"""Width of a character, as a share of the font's size: most fonts are narrower."""

_HEIGHT, _HIGHEST, _PLOT_SHAPE = 150.0, 240.0, 0.41
"""Height of a plot of curves, of the highest one, and as a share of its width between these."""

_MARKS = 12.0
"""Height of a line of marks beneath bars."""

_GAP = "\N{NO-BREAK SPACE}" * 3
"""Between labels: renderers disagree on where a text with shifts in it ends."""

_ROW, _SAMPLE, _APART = 15.0, 26.0, 14.0
"""Height of a row of a legend beneath curves, the length of its lines, and the room between."""

_WIDEST, _WIDEST_ALONE = 30.0, 60.0
"""Width of the widest cell of a heatmap, on a page and in a file, which has the width asked for."""

_MOST_LABELLED = 44
_TOKEN_FONT = 9.5
"""Size of tokens beneath a heatmap on a page, where cells are as wide."""

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

ON_PAGE = Look()
"""The look of drawings on a report's page."""

_PAPER = {"page": "#ffffff", "text": _LIGHT["ink"]}
_PAGE = {"page": _LIGHT["page"], "text": _LIGHT["soft"]}
"""Colours of the background and of text, in a file and on a report's page."""

_HUES = ((212, 65), (22, 75), (150, 55), (320, 60), (265, 50), (50, 80), (185, 65), (0, 65))
"""Hue and saturation of series of lines; the ninth repeats the first."""

_DASHES = ("none", "5 2.5", "1.5 2", "7 2 1.5 2", "3 1.5", "9 3")
"""Dashes of lines; the seventh repeats the first."""

_WIDTHS = (1.2, 2.4)
"""Widths of lines in a file: light and heavy."""

_GREY_DASHES = ("none", "6 3", "1.5 2", "9 2.5 1.5 2.5", "14 4", "5 1.5 1.5 1.5 1.5 1.5")
"""Dashes of lines in a file, which nobody takes for each other."""

_GREY_STYLES = {"layer": (0, 0), "attention": (0, 1), "mlp": (0, 2), "mean": (1, 0)}
"""Width and dashes in a file of lines that are no series, by class."""

MOST_IN_GREY = len(_GREY_DASHES) * len(_WIDTHS)
"""Most series of lines that differ in grey."""


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
    """A short line for a legend, in the dashes that a CSS class gives a series."""
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


def drawing(picture: Panel | Heatmap | Bars, look: Look = ON_PAGE) -> str:
    """A picture of any kind."""
    match picture:
        case Heatmap():
            return heatmap(picture, look)
        case Bars():
            return bars(picture, look)
        case Panel():
            return curves(picture, look)


def heatmap(picture: Heatmap, look: Look = ON_PAGE) -> str:
    """Layers x tokens, or x layers, layer 0 at the bottom, in the colours of a palette.

    Alone, cells below zero have a dash, which is visible in grey, too.
    """
    values, measure, tokens = picture.values, picture.measure, picture.labels
    rows, columns = values.shape
    low, high, note = _scale(values, measure)
    ramp, count = ("d", ramps.DIVERGING_LEVELS) if measure.diverging else ("s", ramps.LEVELS)
    colours = _colours(ramp, look.palette)
    levels = ramps.levels(values, low, high, count)
    cell = min(_WIDEST_ALONE if look.is_alone else _WIDEST, _plot(look) / columns)
    tall = min(_FONT + 1, 250.0 / rows)
    bottom = _TOP + rows * tall
    if measure.by_token:
        labels, depth = _token_labels(tokens, cell, bottom, look)
    else:
        labels, depth = _position_labels(_layers_to_label(columns, cell), cell, bottom)
    legend_top = bottom + depth + 20
    below = look.is_alone and measure.diverging
    beside = [picture.unit, note, "dashes: below zero" if below else ""]
    legend, legend_depth = _legend(ramp, colours, legend_top, low, high, beside, look)
    where = f"translate({_LEFT:g} {_TOP:g}) scale({cell:.4g} {tall:.4g})"
    parts = [
        _across(picture.across, bottom + depth, _LEFT + columns * cell),
        f'<g shape-rendering="crispEdges" transform="{where}">',
        _cells(levels, ramp, colours, look),
        "</g>",
        _signs(levels, look.palette, cell, tall) if below else "",
        "" if picture.hatched is None else _hatching(picture.hatched, cell, tall),
        _layer_ticks(picture.rows or list(map(str, range(rows))), tall),
        labels,
        legend,
    ]
    title = f"{measure.title}, layers by tokens"
    return _svg(parts, legend_top + legend_depth, title, picture.up, look)


def curves(panel: Panel, look: Look = ON_PAGE) -> str:
    """Lines over depth with the rule's threshold dashed and its layer marked.

    Alone, its lines differ in grey, too, and their names are beneath, where these look different.
    """
    height, right = min(max(_HEIGHT, _PLOT_SHAPE * _plot(look)), _HIGHEST), look.units - _RIGHT
    last = max(len(line.values) for line in panel.lines) - 1
    drawn = [part for line in panel.lines for part in (line.values, line.interval)]
    flat = np.concatenate([part.ravel() for part in drawn if part is not None])
    finite = flat[np.isfinite(flat)]
    low, high = panel.limits or _limits(finite, panel.threshold, panel.log)
    scale = _log if panel.log else float

    def x(layer: float) -> float:
        return _LEFT + _plot(look) * layer / max(last, 1)

    def y(value: float) -> float:
        share = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1)
        return _TOP + height * (1 - min(max(share, 0), 1))

    key = "" if look.is_alone else _key(panel.lines, right)
    parts = [_across(panel.across, _TOP + height + 16, right), key]
    if panel.mark is not None and panel.mark.interval is not None:
        left_end, right_end = map(x, panel.mark.interval)
        parts.append(_band(max(left_end, _LEFT), min(right_end, right), height))
    for tick in _ticks(low, high, panel.log):
        parts.append(_rule("grid" if tick else "zero", _LEFT, y(tick), right, y(tick)))
        parts.append(_text(_LEFT - 4, y(tick) + 4, f"{tick:.3g}", "end"))
    has_output = last == panel.n_layers
    for place, label in _labels_across(panel, last, _plot(look)):
        if not has_output or x(last) - x(place) > 3 * _FONT:
            parts.append(_text(x(place), _TOP + height + 14, label, "middle"))
    if has_output:
        parts.append(_text(x(last), _TOP + height + 14, "out", "end"))
    if panel.threshold is not None and finite.size:
        at = y(panel.threshold)
        parts.append(_rule("threshold", _LEFT, at, right, at))
    if panel.mark is not None:
        parts.append(_mark(panel.mark, x(panel.mark.place), height, right))
    styles = _styles(panel.lines, look)
    parts += [_ribbon(line, x, y) for line in panel.lines if line.interval is not None]
    parts += [_polyline(line, styles[line.css], x, y) for line in panel.lines]
    bottom = _TOP + height + 34
    names = _names_of_lines(panel.lines) if look.is_alone else []
    legend, legend_depth = _legend_of_lines(names, styles, bottom, look)
    return _svg([*parts, legend], bottom + legend_depth, panel.title, panel.up, look)


def _mark(mark: Mark, at: float, height: float, right: float) -> str:
    """An upright line at a place, its words on the right where there is room."""
    has_room = at + 4 + _width(mark.words) <= right
    side, anchor = (4, "start") if has_room else (-4, "end")
    words = _text(at + side, _TOP + 10, mark.words, anchor, "mark")
    return _rule("crossing", at, _TOP, at, _TOP + height) + words


def _band(left: float, right: float, height: float) -> str:
    """The interval of a mark, behind the lines; nothing where its ends are one place."""
    if left == right:
        return ""
    return (
        f'<rect class="band" fill="{_LIGHT["accent"]}" fill-opacity="0.12" x="{left:.4g}" '
        f'y="{_TOP:g}" width="{right - left:.4g}" height="{height:.4g}"/>'
    )


def _ribbon(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """The interval of a line, behind the lines."""
    assert line.interval is not None
    places = np.flatnonzero(np.isfinite(line.interval).all(axis=0)).tolist()
    low, high = line.interval
    ends = [(n, high[n]) for n in places] + [(n, low[n]) for n in reversed(places)]
    d = "L".join(f"{x(n):.4g} {y(float(end)):.4g}" for n, end in ends)
    fill = f'fill="{_colour(line.css)}" fill-opacity="0.15"'
    return f'<path class="ribbon" {fill} d="M{d}z"/>' if d else ""


def _names_of_lines(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The class and the name of each line that a legend has; none where all lines look alike."""
    names = dict.fromkeys((line.css, line.label or line.name) for line in lines)
    named = [(css, name) for css, name in names if name]
    return named if len({css for css, _ in names}) > 1 else []


def _legend_of_lines(
    names: Iterable[tuple[str, str]], styles: Mapping[str, str], top: float, look: Look
) -> tuple[str, float]:
    """A short piece of each line beside its name, as many in a row as fit; and their height."""
    parts, left, row = [], 0.0, 0
    room = look.units - _SAMPLE - 6
    for css, name in names:
        lines = _wrapped(name, room)
        wide = _SAMPLE + 6 + max(map(_width, lines))
        if left and left + wide > look.units:
            left, row = 0.0, row + 1
        y = top + (row + 1) * _ROW
        parts.append(f'<path {styles[css]} d="M{left:.4g} {y - 4:.4g}h{_SAMPLE:g}"/>')
        parts += [
            _text(left + _SAMPLE + 6, y + n * _ROW, line, "start") for n, line in enumerate(lines)
        ]
        left, row = left + wide + _APART, row + len(lines) - 1
    return "".join(parts), (row + 1.5) * _ROW if parts else 0.0


def _labels_across(panel: Panel, last: int, room: float) -> list[tuple[int, str]]:
    """The labelled places of the horizontal axis, whose last place is `last`."""
    apart = room / max(last, 1)
    if panel.falls_from is None:
        return [(place, str(place)) for place in _layers_to_label(panel.n_layers, apart)]
    counts = _layers_to_label(panel.falls_from + 1, apart)
    places = [(panel.falls_from - count, str(count)) for count in counts]
    return [(place, label) for place, label in places if place <= last]


def bars(picture: Bars, look: Look = ON_PAGE) -> str:
    """A bar per layer, up or down from zero; unknown layers are left out."""
    values, right = picture.values, look.units - _RIGHT
    height, count = 110.0, len(values)
    finite = values[np.isfinite(values)]
    low, high = _limits(finite, None, False)
    wide = _plot(look) / max(count, 1)

    def y(value: float) -> float:
        return _TOP + height * (1 - (value - low) / ((high - low) or 1))

    bottom = _TOP + height + (_MARKS if picture.marks else 0)
    parts = [_across(picture.across, bottom + 16, right)]
    for tick in _ticks(low, high, False):
        parts.append(_rule("grid" if tick else "zero", _LEFT, y(tick), right, y(tick)))
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
    for tick in _layers_to_label(max(count, 1), wide):
        parts.append(_text(_LEFT + (tick + 0.5) * wide, bottom + 14, str(tick), "middle"))
    return _svg(parts, bottom + 34, picture.label, picture.up, look)


def _plot(look: Look) -> float:
    """The width of the plot between its margins."""
    return look.units - _LEFT - _RIGHT


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


def _cells(levels: np.ndarray, ramp: str, colours: Sequence[str], look: Look) -> str:
    """One path per level, equal neighbours of a row merged; unknown cells are left out.

    Alone, each has a thin edge in its colour: readers of PDF show a gap between two areas.
    """
    rows, columns = levels.shape
    paths: dict[int, list[str]] = {}
    for row in range(rows):
        line = levels[row]
        starts = np.flatnonzero(np.concatenate([[True], line[1:] != line[:-1]]))
        lengths = np.diff(np.append(starts, columns))
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            d = f"M{start} {rows - 1 - row}h{length}v1h-{length}z"
            paths.setdefault(int(line[start]), []).append(d)
    edge = ' stroke="{}" stroke-width="0.04"' if look.is_alone else ""
    return "".join(
        f'<path class="{ramp}{level}" fill="{colours[level]}"{edge.format(colours[level])} '
        f'd="{"".join(paths[level])}"/>'
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


def _signs(levels: np.ndarray, palette: str, cell: float, tall: float) -> str:
    """A dash in each cell that is visibly below zero, dark or light as its colour asks."""
    inks = [_ink(colour) for colour in ramps.diverging(False, palette)]
    bottom, zero = _TOP + len(levels) * tall, len(inks) // 2
    strokes: dict[str, list[str]] = {}
    for row, column in np.argwhere((levels >= 0) & (levels < zero)).tolist():
        x, y = _LEFT + (column + 0.3) * cell, bottom - (row + 0.5) * tall
        strokes.setdefault(inks[levels[row, column]], []).append(
            f"M{x:.4g} {y:.4g}h{0.4 * cell:.4g}"
        )
    return "".join(
        f'<path class="sign" fill="none" stroke="{ink}" stroke-width="0.8" d="{"".join(places)}"/>'
        for ink, places in sorted(strokes.items())
    )


def _layer_ticks(names: Sequence[str], tall: float) -> str:
    rows = len(names)
    return "".join(
        _text(_LEFT - 4, _TOP + (rows - layer - 0.5) * tall + 4, names[layer], "end")
        for layer in _layers_to_label(rows, math.inf)
    )


def _layers_to_label(n_layers: int, apart: float) -> list[int]:
    """At most ten places, whose numbers have room where places are this far apart."""
    steps = (step * power for power in (1, 10, 100, 1_000, 10_000, 10**9) for step in (1, 2, 5))
    wide = _width(str(n_layers)) + _FONT / 2
    step = next(
        step for step in steps if n_layers / step <= 10 and (step * apart > wide or step > n_layers)
    )
    return list(range(0, n_layers, step))


def _token_labels(
    tokens: Sequence[str], cell: float, bottom: float, look: Look
) -> tuple[str, float]:
    """Token texts below their columns, or positions where tokens are too many; and their height.

    On a page, the text of narrow columns is smaller; alone, some columns have none instead.
    """
    if len(tokens) > _MOST_LABELLED:
        step = next(
            step
            for step in (5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10**9)
            if len(tokens) / step <= 12
        )
        return _position_labels(range(0, len(tokens), step), cell, bottom)
    size, step = min(_TOKEN_FONT, cell * 0.95), 1
    if look.is_alone:
        size, step = _FONT, math.ceil(_FONT / cell)
    texts = [shortened(token.strip(" ") or token, 10) for token in tokens[::step]]
    font = look.family or "monospace"
    labels = []
    for index, text in zip(range(0, len(tokens), step), texts, strict=True):
        x, y = _LEFT + (index + 0.5) * cell, bottom + 4
        labels.append(
            f'<text font-family="{font}" font-size="{size:.3g}" text-anchor="end" '
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
    remarks: Iterable[str],
    look: Look,
) -> tuple[str, float]:
    """The colours with the values at their ends, beside them the remarks; and their height."""
    width, right = _LEGEND_WIDTH / len(colours), _LEFT + _LEGEND_WIDTH
    parts = [
        f'<rect class="{ramp}{level}" fill="{colour}" x="{_LEFT + level * width:.4g}" '
        f'y="{top:.4g}" width="{wide:.4g}" height="7"/>'
        for level, colour in enumerate(colours)
        # Alone, as in `_cells`, each lies under those at its right.
        for wide in [_LEGEND_WIDTH - level * width if look.is_alone else width + 0.2]
    ]
    parts.append(_text(_LEFT, top + 19, f"{low:.3g}", "start"))
    parts.append(_text(right, top + 19, f"{high:.3g}", "end"))
    room = look.units - right - 10
    beside = [line for remark in remarks if remark for line in _wrapped(remark, room)]
    parts += [
        _text(right + 10, top + 7 + 12 * line, text, "start") for line, text in enumerate(beside)
    ]
    return "".join(parts), max(24.0, 12.0 * len(beside))


def _across(name: str, bottom: float, right: float) -> str:
    """The name of the horizontal axis, at its right end."""
    return _text(right, bottom + 13, name, "end") if name else ""


def _key(lines: Sequence[Line], right: float) -> str:
    """The labels of lines in their colours, above the plot."""
    labels = dict.fromkeys((line.css, line.label) for line in lines if line.label)
    parts = _GAP.join(
        f'<tspan class="key {css}" fill="{_colour(css)}">{escape(printable_line(label))}</tspan>'
        for css, label in labels
    )
    return f'<text x="{right:g}" y="11" text-anchor="end">{parts}</text>' if parts else ""


def _wrapped(text: str, room: float) -> list[str]:
    """A text in lines that fit into a width; a word that is longer is divided."""
    most = max(int(room / (_WIDE * _FONT)), 1)
    return textwrap.wrap(printable_line(text), most, break_on_hyphens=False) or [""]


def _width(text: str) -> float:
    """The width of a text in most fonts, or a little more."""
    return _WIDE * _FONT * cell_len(text)


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


def _polyline(
    line: Line, style: str, x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    """A line with its gaps."""
    is_finite = np.isfinite(line.values)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_finite, [False]]).astype(np.int8)))
    d = ""
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        points = [f"{x(i):.4g} {y(float(line.values[i])):.4g}" for i in range(first, end)]
        # A lone point would be invisible: a short stroke shows it.
        d += "M" + "L".join(points if len(points) > 1 else points * 2)
    if not line.name or not d:
        return f'<path {style} d="{d}"/>' if d else ""
    title = escape(printable_line(line.name))
    return f'<path {style} d="{d}"><title>{title}</title></path>'


def _styles(lines: Iterable[Line], look: Look) -> dict[str, str]:
    """The attributes of lines by their classes.

    Alone, lines of different classes differ in grey: by their dashes, then by their width.
    """
    classes = dict.fromkeys(line.css for line in lines)
    styles = {css: _line(css) for css in classes}
    if look.is_alone:
        series = [css for css in classes if css not in _GREY_STYLES]
        greys = {css: divmod(n, len(_GREY_DASHES)) for n, css in enumerate(series)}
        for css in classes:
            heavy, dashes = (greys | _GREY_STYLES)[css]
            styles[css] = _stroke(css, _WIDTHS[heavy % len(_WIDTHS)], _GREY_DASHES[dashes])
    return styles


def _line(css: str) -> str:
    """The attributes of a line on a page by its classes."""
    classes = css.split()
    dashes = (dashes for number, dashes in enumerate(_DASHES) if dash(number) in classes)
    return _stroke(css, 2 if "mean" in classes else 1.4, next(dashes, _DASHES[0]))


def _stroke(css: str, width: float, dashes: str) -> str:
    dashed = "" if dashes == "none" else f' stroke-dasharray="{dashes}"'
    cap = "butt" if dashed else "round"
    return (
        f'class="line {css}" fill="none" stroke="{_colour(css)}" stroke-width="{width}" '
        f'stroke-linejoin="round" stroke-linecap="{cap}"{dashed}'
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


def _svg(parts: Sequence[str], height: float, label: str, up: str, look: Look) -> str:
    """The drawing of some parts, with the name of the vertical axis above, in lines that fit."""
    above = _wrapped(up, look.units) if up else []
    lower = _LINE * max(len(above) - 1, 0)
    names = [_text(0, 11 + _LINE * n, line, "start") for n, line in enumerate(above)]
    drawn = "".join(parts)
    if lower:
        drawn = f'<g transform="translate(0 {lower:g})">{drawn}</g>'
        height += lower
    name, colours = escape(printable_line(label)), _PAPER if look.is_alone else _PAGE
    box = f'width="{look.units:.6g}" height="{height:.4g}"'
    size = f'width="{look.width.in_svg}" height="{look.height(height).in_svg}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {look.units:.6g} {height:.4g}" '
        f'{size} font-family="{look.family or "Georgia"}, serif" font-size="{_FONT:g}" '
        f'fill="{colours["text"]}" role="img" aria-label="{name}">'
        f'<rect class="page" fill="{colours["page"]}" {box}/>{"".join(names)}{drawn}</svg>'
    )
