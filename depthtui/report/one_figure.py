"""One figure of some results, as a paper has it: several results are lines of one plot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.figure_kind import OF_ONE, FigureKind
from depthtui.data.model import weights_dtype
from depthtui.data.pool import Pool
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.selection import numbers_text
from depthtui.depth import rules
from depthtui.depth.reading import Reading
from depthtui.errors import DepthError, did_you_mean
from depthtui.metrics import kept
from depthtui.metrics.kept.pool import PooledKept
from depthtui.metrics.patch import NAME as PATCH
from depthtui.prompts.tasks import prompt_title
from depthtui.report import svg
from depthtui.report.blocks import Bars, Figure, Line, Panel
from depthtui.report.groups import group_runs
from depthtui.report.left_out import kept_figure, kept_name, left_out_figures
from depthtui.report.relative import POINTS, at_percents, relative
from depthtui.report.run_document import bar_figures, curve_figures, heatmap_figures, map_figures
from depthtui.report.run_rows import numbers_of, task_words
from depthtui.report.skips import changes_of

_MOST_LISTED = 12
_LONGEST_TITLE = 40
_REMEDIES: Mapping[FigureKind, str] = {
    "curves": "Measure contributions or logit_lens.",
    "left-out": "Measure `kept`: `i` computes it in the explorer, --metrics kept in a run.",
    "heatmap": "Name a session or a run: a sweep keeps no values of single tokens.",
    "patch": "Name a session or a run with the metric `patch`: a sweep keeps none.",
}


@dataclass(frozen=True)
class NamedReading:
    """Prompts that are read together, which are one line of a plot.

    Attributes:
        words: the model, its settings and the prompts, each in words or empty; as many for each.
        reading: the reading of the prompts.
        numbers: the numbers of its runs in their source, from 1.
    """

    words: tuple[str, ...]
    reading: Reading
    numbers: tuple[int, ...]

    @property
    def title(self) -> str:
        """All the words."""
        return ", ".join(filter(None, self.words))


def readings_of(
    results: Sequence[RunResult], settings: SummarySettings, pool: Pool
) -> list[NamedReading]:
    """The pools of some runs, in the order of these.

    Args:
        results: the runs, in the order of their source.
        settings: how they are read.
        pool: which prompts of each model are pooled.
    """
    numbers = dict(zip(map(id, results), numbers_of(results), strict=True))
    readings = [
        NamedReading(
            (
                group.model.name,
                f"{weights_dtype(group.model)} on {group.model.device}",
                changes_of(group.settings),
                group.choices,
                _prompts_in_words(part.reading),
            ),
            part.reading,
            tuple(numbers[id(run)] for run in part.reading.runs),
        )
        for group in group_runs(results, settings, pool)
        for part in group.parts
    ]
    return sorted(readings, key=lambda reading: reading.numbers)


def _prompts_in_words(reading: Reading) -> str:
    """The prompt of a run, or the task of several."""
    prompts = [run.prompt for run in reading.runs]
    if len(prompts) == 1:
        return prompt_title(prompts[0], _LONGEST_TITLE)
    tasks = {task_words(prompt) for prompt in prompts}
    return tasks.pop() if len(tasks) == 1 else f"{len(prompts)} prompts"


def only(readings: Sequence[NamedReading], choices: Sequence[str]) -> list[NamedReading]:
    """The readings of these numbers, or whose titles contain these texts; all for none.

    Raises:
        DepthError: a number or a text is of no reading.
    """
    chosen: list[NamedReading] = []
    for choice in choices:
        matches = _matches(choice, readings)
        if not matches:
            raise DepthError(f"There is no result {choice!r}.", list_of(readings))
        chosen += [reading for reading in matches if reading not in chosen]
    return chosen or list(readings)


def _matches(choice: str, readings: Sequence[NamedReading]) -> Sequence[NamedReading]:
    """The reading of a number, or those whose titles contain a text."""
    if choice.isdecimal() and len(choice) < 9:
        return [reading for reading in readings if int(choice) in reading.numbers]
    return [reading for reading in readings if choice.casefold() in reading.title.casefold()]


def one_figure(
    kind: FigureKind,
    readings: Sequence[NamedReading],
    measure: str = "",
    notice: Callable[[str], None] = lambda _: None,
) -> Figure:
    """The figure of a kind and a measure; with several readings, a line for each that has it.

    Args:
        kind: the kind of figure.
        readings: at least one.
        measure: name of the measure; empty for the only one, or the headline's.
        notice: receives a sentence on readings that lack the measure.

    Raises:
        DepthError: no reading has such a figure, the choice is open, or there are more lines than
            can be told apart in grey.
    """
    by_name: dict[str, list[tuple[NamedReading, Figure]]] = {}
    for reading in readings:
        for figure in _figures(kind, reading.reading):
            by_name.setdefault(figure.name, []).append((reading, figure))
    if by_name and kind in OF_ONE and len(readings) > 1:
        raise DepthError(
            f"The figure {kind} is of one result, and there are {len(readings)}.",
            f"Choose one with --only. {list_of(readings)}",
        )
    drawn = by_name[_measure(kind, measure, list(by_name), readings)]
    owners = [reading for reading, _ in drawn]
    if others := [reading for reading in readings if reading not in owners]:
        notice(f"Without this measure, and left out: {_listed(others)}.")
    if len(drawn) > svg.MOST_IN_GREY:
        raise DepthError(
            f"{len(drawn)} lines cannot be told apart in grey, {svg.MOST_IN_GREY} can.",
            f"Choose some with --only, or pool them with --pool. {list_of(owners)}",
        )
    figures = [_with_interval(figure, reading.reading) for reading, figure in drawn]
    if len(figures) == 1:
        return figures[0]
    panels = map(_as_panel, figures)
    return replace(
        figures[0], picture=overlaid(dict(zip(short_titles(owners), panels, strict=True)))
    )


def _measure(
    kind: FigureKind, name: str, names: Sequence[str], readings: Sequence[NamedReading]
) -> str:
    """The measure of this name, the only one, or the headline's.

    Raises:
        DepthError: there is none, or the choice is open.
    """
    if not names:
        raise DepthError(f"These results have nothing for the figure {kind}.", _REMEDIES[kind])
    if name and name not in names:
        raise DepthError(
            f"The figure {kind} of these results has no measure {name!r}{_reason(name, readings)}.",
            f"Choose one of {', '.join(names)}.{did_you_mean(name, names)}",
        )
    if not name and len(names) > 1 and kind != "left-out":
        raise DepthError(
            f"There are {len(names)} measures for the figure {kind}: {', '.join(names)}.",
            "Choose one with --measure NAME.",
        )
    return name or names[0]


def _reason(metric: str, readings: Sequence[NamedReading]) -> str:
    """Why a metric is unavailable in a run of these readings, behind a colon; empty for none."""
    for named in readings:
        for prompt in named.reading.prompts:
            if why := named.reading.unavailable(prompt).get(metric):
                return f": {why}"
    return ""


def _figures(kind: FigureKind, reading: Reading) -> Iterator[Figure]:
    """The figures of a kind that a report of this reading has, the headline's first."""
    match kind:
        case "curves":
            yield from curve_figures(reading)
            yield from bar_figures(reading)
        case "left-out":
            if (knowledge := reading.get(kept.METRIC)) is not None:
                yield from (kept_figure(knowledge, curve) for curve in knowledge.curves)
            for left_out in filter(None, (reading.left_out, reading.parts_left_out)):
                yield from left_out_figures(left_out)
        case "heatmap":
            yield from _of_tokens(reading)
            yield from map_figures(reading)
        case "patch":
            yield from (figure for figure in _of_tokens(reading) if figure.name == PATCH)


def _of_tokens(reading: Reading) -> Iterator[Figure]:
    """The heatmaps of layers x tokens of each run."""
    for run in reading.runs:
        yield from heatmap_figures(run, reading.settings.lens)


def _with_interval(figure: Figure, reading: Reading) -> Figure:
    """A figure with the interval of its main line, where this is known."""
    interval = _interval(figure.name, reading)
    if interval is None or not isinstance(figure.picture, Panel):
        return figure
    panel = figure.picture
    main = _main_line(panel)
    lines = [replace(line, interval=interval) if line is main else line for line in panel.lines]
    return replace(figure, picture=replace(panel, lines=lines))


def _interval(name: str, reading: Reading) -> np.ndarray | None:
    """The interval of the curve of a rule or of what is kept, `[2, places]`, or None."""
    for rule in rules.ALL:
        if rule.name == name:
            return reading.curve_interval(rule)
    knowledge: PooledKept | None = reading.get(kept.METRIC)
    if knowledge is None:
        return None
    by_name = {kept_name(knowledge, curve): curve for curve in knowledge.curves}
    return by_name[name].column.interval if name in by_name else None


def _differing_words(readings: Sequence[NamedReading]) -> list[str]:
    """The words of each reading that are not the same for all; all of them where all are."""
    by_place = zip(*(reading.words for reading in readings), strict=True)
    differing = [place for place, words in enumerate(by_place) if len(set(words)) > 1]
    return [
        ", ".join(filter(None, (reading.words[place] for place in differing))) or reading.title
        for reading in readings
    ]


def short_titles(readings: Sequence[NamedReading]) -> list[str]:
    """The words of each reading that are not the same for all, and its numbers where all are."""
    titles = _differing_words(readings)
    return [
        title if titles.count(title) == 1 else f"{title} ({numbers_text(reading.numbers)})"
        for reading, title in zip(readings, titles, strict=True)
    ]


def _as_panel(figure: Figure) -> Panel:
    """The plot of lines of a figure; bars become a line."""
    picture = figure.picture
    if isinstance(picture, Panel):
        return picture
    assert isinstance(picture, Bars)
    return Panel(
        [Line(picture.values, "mean")],
        len(picture.values),
        title=picture.label,
        up=picture.up,
        across=picture.across,
    )


def overlaid(panels: Mapping[str, Panel]) -> Panel:
    """One plot with the main line of each of several, by its name.

    Models of different depths share an axis in percent of it.
    """
    several = list(panels.values())
    lines = [
        replace(_main_line(panel), css=f"{svg.hue(n)} {svg.dash(n)}", label="", name=name)
        for n, (name, panel) in enumerate(panels.items())
    ]
    first, rest = several[0], several[1:]
    is_same = all(panel.threshold == first.threshold for panel in rest)
    plot = replace(first, lines=lines, mark=None, threshold=first.threshold if is_same else None)
    if all(panel.n_layers == first.n_layers for panel in rest):
        return plot
    is_falling = first.falls_from is not None
    shares = [_in_percent(line, panel) for line, panel in zip(lines, several, strict=True)]
    return replace(
        plot,
        lines=shares,
        n_layers=POINTS,
        across="layers kept, %" if is_falling else f"{first.across}, % of the depth",
        falls_from=POINTS - 1 if is_falling else None,
    )


def _main_line(panel: Panel) -> Line:
    """The mean, or else the line of whole layers."""
    by_css = {line.css: line for line in panel.lines}
    return by_css.get("mean") or by_css.get("layer") or panel.lines[0]


def _in_percent(line: Line, panel: Panel) -> Line:
    """A line and its interval, read at every percent of its axis."""
    count, steps = len(line.values), panel.falls_from or panel.n_layers
    is_of_layers = panel.falls_from is None and count == panel.n_layers

    def read(values: np.ndarray) -> np.ndarray:
        return relative(values) if is_of_layers else at_percents(values, np.arange(count) / steps)

    ends = None if line.interval is None else np.array([read(end) for end in line.interval])
    return replace(line, values=read(line.values), interval=ends)


def list_of(readings: Sequence[NamedReading]) -> str:
    """The readings with their numbers, in a sentence."""
    return f"There are: {_listed(readings)}."


def _listed(readings: Sequence[NamedReading]) -> str:
    """The readings with their numbers, and how many more there are."""
    titles = zip(readings, _differing_words(readings), strict=True)
    listed = [f"{numbers_text(reading.numbers)} {title}" for reading, title in titles]
    more = len(listed) - _MOST_LISTED
    end = [f"and {more} more"] if more > 0 else []
    return "; ".join([*listed[:_MOST_LISTED], *end]).removesuffix(".")
