"""A sweep as one HTML page: no scripts, nothing fetched, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import numpy as np

from depthtui.depth.rules import layer_curve
from depthtui.report import svg
from depthtui.report.legible import legible
from depthtui.report.phrases import rule_title
from depthtui.sweep.questions import Question
from depthtui.sweep.report.phrases import (
    absences,
    cautions,
    depth_words,
    how_run,
    method,
    other_titles,
    published_note,
    published_words,
    rules_of,
)
from depthtui.sweep.summary import CellSummary, SweepSummary

_POINTS = 101
"""Where curves of models of any number of layers are read: every percent of the depth."""

_HUES = ((212, 65), (22, 75), (150, 55), (320, 60), (265, 50), (50, 80), (185, 65), (0, 65))
"""Hue and saturation of the models' lines; a ninth model has the first one's again."""

_DASHES = ("none", "5 2.5", "1.5 2", "7 2 1.5 2", "3 1.5", "9 3")
"""Dashes of the tasks' lines; a seventh task has the first one's again."""


def sweep_html(summary: SweepSummary, questions: Sequence[Question]) -> bytes:
    """The page as UTF-8."""
    css = (files("depthtui.report") / "report.css").read_text(encoding="utf-8") + _style()
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" ',
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Effective depth over models and tasks</title><style>{css}</style></head><body>",
        "<h1>Effective depth over models and tasks</h1>",
        *_depths(summary),
        *_curves(summary),
        *_questions(questions),
        *_others(summary),
        *_sentences("To doubt", cautions(summary)),
        *_sentences("Not there", absences(summary)),
        "</body></html>\n",
    ]
    return "\n".join(page).encode("utf-8", "backslashreplace")


def _depths(summary: SweepSummary) -> Iterable[str]:
    rules = rules_of(summary)
    heads = "".join(f"<th>{rule_title(rule)}</th>" for rule in rules)
    yield (
        '<div class="wide"><table><tr><th>model</th><th class="number">L</th><th>task</th>'
        f'<th class="number">prompts</th>{heads}<th>run as</th></tr>'
    )
    for cell in summary.cells:
        depths = "".join(f'<td class="depth">{_depth(cell, rule)}</td>' for rule in rules)
        yield (
            f'<tr><td>{_safe(cell.title)}</td><td class="number">{cell.model.n_layers}</td>'
            f"<td>{_safe(cell.cell.task.title)}</td>"
            f'<td class="number">{len(cell.records)}</td>{depths}'
            f'<td class="soft">{_safe(how_run(cell))}</td></tr>'
        )
    yield "</table></div>"
    for sentence in (method(summary), published_note(summary)):
        if sentence:
            yield f'<p class="soft">{_safe(sentence)}</p>'


def _depth(cell: CellSummary, rule: str) -> str:
    published = published_words(cell.published(rule))
    words = _safe(depth_words(cell.depth(rule)))
    return f'{words}<br><span class="soft">{_safe(published)}</span>' if published else words


def _curves(summary: SweepSummary) -> Iterable[str]:
    """The curve of each rule, all cells in one plot over relative depth."""
    settings = summary.plan.summary
    plots = (
        ("cosine", "Mean cosine with the stream", 0.0),
        ("kl", "Lens KL, share of its largest", settings.kl_threshold),
        ("overlap", "Lens overlap", settings.overlap_threshold),
    )
    rules = rules_of(summary)
    if not rules:
        return
    yield '<h2>Over relative depth</h2><div class="figures">'
    for rule, title, threshold in plots:
        if rule in rules:
            yield _figure(summary, title, rule, threshold)
    yield "</div>"
    yield '<p class="soft">Across: (layer + 1) / L in percent. Colour: model. Dashes: task.</p>'
    models = dict.fromkeys(each.title for each in summary.cells)
    tasks = dict.fromkeys(each.cell.task.title for each in summary.cells)
    keys = [
        *(f'<span class="key {_hue(n)}">━ {_safe(each)}</span>' for n, each in enumerate(models)),
        *(f"<span>{_sample(n)} {_safe(each)}</span>" for n, each in enumerate(tasks)),
    ]
    yield f'<p class="legend">{" ".join(keys)}</p>'


def _figure(summary: SweepSummary, title: str, rule: str, threshold: float) -> str:
    models = list(dict.fromkeys(each.cell.model for each in summary.cells))
    tasks = list(dict.fromkeys(each.cell.task for each in summary.cells))
    lines = []
    for cell in summary.cells:
        values = layer_curve(cell.curves, rule)
        if values is not None:
            css = f"{_hue(models.index(cell.cell.model))} {_dash(tasks.index(cell.cell.task))}"
            lines.append(svg.Line(relative(values), css))
    panel = svg.Panel(lines, _POINTS, threshold, title=f"{title}, over relative depth")
    return f"<figure><figcaption>{_safe(title)}</figcaption>{svg.curves(panel)}</figure>"


def relative(values: np.ndarray) -> np.ndarray:
    """A curve of one value a layer, `[L]`, read at 0 … 100 percent of the depth.

    Layer l lies at (l + 1) / L, as in the ratio of an effective depth; NaN before layer 0.
    """
    depth = np.arange(1, len(values) + 1) / len(values)
    return np.interp(np.linspace(0, 1, _POINTS), depth, values, left=np.nan)


def _questions(questions: Sequence[Question]) -> Iterable[str]:
    for question in questions:
        yield from _sentences(question.title, [str(each) for each in question.answers])


def _others(summary: SweepSummary) -> Iterable[str]:
    titles = other_titles(summary.cells)
    if not titles:
        return
    heads = "".join(f'<th class="number">{_safe(each)}</th>' for each in titles)
    yield "<h2>Other measures</h2>"
    yield f'<div class="wide"><table><tr><th>model</th><th>task</th>{heads}</tr>'
    for cell in summary.cells:
        numbers = "".join(
            f'<td class="number">{cell.means[each]:.4g}</td>'
            if each in cell.means
            else '<td class="number">–</td>'
            for each in titles
        )
        names = f"<td>{_safe(cell.title)}</td><td>{_safe(cell.cell.task.title)}</td>"
        yield f"<tr>{names}{numbers}</tr>"
    yield "</table></div>"


def _sentences(title: str, sentences: Sequence[str]) -> Iterable[str]:
    if sentences:
        yield f"<h2>{_safe(title)}</h2><ul>"
        yield from (f"<li>{_safe(each)}</li>" for each in sentences)
        yield "</ul>"


def _style() -> str:
    """CSS of the models' hues, for light and dark pages, and of the tasks' dashes."""

    def hues(lightness: int) -> str:
        return "".join(
            f".line.m{n}{{stroke:hsl({hue} {share}% {lightness}%)}}"
            f".key.m{n}{{color:hsl({hue} {share}% {lightness}%)}}"
            for n, (hue, share) in enumerate(_HUES)
        )

    dashes = "".join(f".line.t{n}{{stroke-dasharray:{each}}}" for n, each in enumerate(_DASHES))
    legend = (
        ".depth{white-space:nowrap}"
        ".legend span{margin-right:1.2em;white-space:nowrap}.legend svg{display:inline;width:2.2em}"
    )
    dark = f"@media(prefers-color-scheme:dark){{{hues(68)}}}"
    return f"{hues(38)}{dark}{dashes}.line.soft{{stroke:var(--soft)}}{legend}"


def _hue(number: int) -> str:
    return f"m{number % len(_HUES)}"


def _dash(number: int) -> str:
    return f"t{number % len(_DASHES)}"


def _sample(number: int) -> str:
    """A short line in a task's dashes."""
    return f'<svg viewBox="0 0 26 6"><path class="line soft {_dash(number)}" d="M0 3L26 3"/></svg>'


def _safe(text: str) -> str:
    return escape(legible(text))
