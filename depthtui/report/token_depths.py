"""The depths of tokens in reports: a table, and a curve for each measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from depthtui.data.token_depths import TokenDepths
from depthtui.metrics.token_depths import (
    TOKEN_DEPTHS,
    TokenDepthMeasure,
    mean_depth,
    mean_depths,
)
from depthtui.report.blocks import Column, Figure, Line, Panel, Table
from depthtui.report.phrases import sentence_case
from depthtui.report.written import QUARTERS

ROLLING = 16
"""Tokens of the rolling mean."""

_NUMBERS = ("mean", "median", "1st quarter", "2nd", "3rd", "4th")


@dataclass(frozen=True)
class DepthOfText:
    """One measure over the tokens of a text.

    Attributes:
        measure: name of the measure.
        mean, median: mean and median over the tokens that have a depth; NaN without one.
        quarters: means over the quarters of the text, in order.
        without: share of tokens for which the rule finds no layer.
    """

    measure: TokenDepthMeasure
    mean: float
    median: float
    quarters: tuple[float, ...]
    without: float


def depths_of_text(depths: TokenDepths, first: int = 0) -> list[DepthOfText]:
    """Every measure over a text, from token `first` on."""
    return [
        _depth_of_text(measure, getattr(depths, measure.name)[first:]) for measure in TOKEN_DEPTHS
    ]


def depths_table(
    depths: Sequence[DepthOfText], of_spans: Mapping[str, Mapping[str, float]] | None = None
) -> Table:
    """A row for each measure, with a column for the means of each span, by span and measure."""
    spans = of_spans or {}
    columns = [
        Column("measure", style="name"),
        *(Column(head, number=True) for head in (*_NUMBERS, *spans)),
        Column("remark", style="soft", brief=""),
    ]
    rows = [
        [
            depth.measure.title,
            *(_number(value) for value in (depth.mean, depth.median, *depth.quarters)),
            *(_number(means[depth.measure.name]) for means in spans.values()),
            f"none for {depth.without:.0%}" if depth.without else "",
        ]
        for depth in depths
    ]
    return Table(columns, rows)


def span_means(
    depths: TokenDepths, spans: Mapping[str, slice], first: int
) -> dict[str, dict[str, float]]:
    """The mean of each measure over each span of tokens, from token `first` on."""
    return {
        name: mean_depths([depths], slice(max(first, span.start), span.stop))
        for name, span in spans.items()
    }


def depth_figures(
    depths: TokenDepths, n_layers: int, measures: Sequence[str] = ()
) -> Iterator[Figure]:
    """A curve over the tokens for each of these measures; empty for all."""
    for measure in TOKEN_DEPTHS:
        if measures and measure.name not in measures:
            continue
        values = np.asarray(getattr(depths, measure.name), np.float64)
        lines = [
            Line(values, "layer", "each token"),
            Line(rolling_mean(values), "mean", f"mean of the last {ROLLING}"),
        ]
        title = sentence_case(measure.title)
        panel = Panel(
            lines,
            len(values),
            limits=(0.0, float(n_layers)),
            title=f"{title}, by token",
            up="depth, layers",
            across="token",
        )
        yield Figure(title, panel, f"{sentence_case(measure.meaning)}.", measure.name)


def rolling_mean(values: np.ndarray, width: int = ROLLING) -> np.ndarray:
    """Mean over the last `width` tokens, without tokens that have no value; `[N]`."""
    has_value = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(has_value, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(has_value)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - width, 0)
    count = counts[stop] - counts[start]
    return np.where(count > 0, (sums[stop] - sums[start]) / np.maximum(count, 1), np.nan)


def _depth_of_text(measure: TokenDepthMeasure, depths: np.ndarray) -> DepthOfText:
    finite = depths[np.isfinite(depths)]
    parts = np.array_split(depths, QUARTERS)
    return DepthOfText(
        measure,
        mean_depth(depths),
        float(np.median(finite)) if len(finite) else float("nan"),
        tuple(mean_depth(part) for part in parts),
        1 - len(finite) / len(depths) if len(depths) else 0.0,
    )


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"
