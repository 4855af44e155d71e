"""A summary as one HTML page: no scripts, nothing fetched, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import numpy as np

from depthtui.data.depth import Curves, DepthSummary
from depthtui.data.lens import LogitLens
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.effective_depth import summarise
from depthtui.depth.published import DATASETS, PROTOCOL, published_for
from depthtui.metrics import MEASURES, formula_in
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Measure
from depthtui.prompts.tasks import level_words
from depthtui.report import svg
from depthtui.report.findings import by_layer, findings, layer_maps, pool_runs
from depthtui.report.groups import Group
from depthtui.report.legible import legible
from depthtui.report.phrases import (
    criterion,
    interval,
    model_facts,
    no_depths,
    pooling,
    provenance_sentence,
    published_layers,
    rule_title,
)
from depthtui.report.summary import combined_provenance
from depthtui.report.what_if import HEADS, PROMPT_HEADS, Pairs, pairs

_MOST_CELLS = 2_000_000
_LENS_TOKENS = 5


def html_bytes(groups: Sequence[Group], settings: SummarySettings) -> bytes:
    """The page as UTF-8."""
    css = (files("depthtui.report") / "report.css").read_text(encoding="utf-8") + svg.style()
    budget = _Budget(_MOST_CELLS)
    names = ", ".join(dict.fromkeys(group.model.name for group in groups))
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" ',
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Effective depth: {_safe(names)}</title><style>{css}</style></head><body>",
        "<h1>Effective depth</h1>",
        '<p class="soft">How much of a model’s depth a prompt uses, after Hu, Zhou and Zhang, ',
        "arXiv 2512.14064.</p>",
        *(
            part
            for group in groups
            for part in _group(group, settings, budget, pairs(group, groups))
        ),
        "</body></html>\n",
    ]
    return "\n".join(page).encode("utf-8")


class _Budget:
    """How many heatmap cells the page may still hold: browsers choke on more."""

    def __init__(self, cells: int) -> None:
        self._left = cells

    def take(self, cells: int) -> bool:
        if cells > self._left:
            return False
        self._left -= cells
        return True


def _group(
    group: Group, settings: SummarySettings, budget: _Budget, compared: Pairs | None
) -> Iterable[str]:
    summary = summarise(group.results, settings)
    yield f"<h2>{_safe(group.title)}</h2>"
    yield f'<p class="soft">{_safe(" · ".join(model_facts(group.model)))}</p>'
    yield from _depths(group, summary)
    yield f'<p class="soft">{_safe(pooling(group, summary, settings))}</p>'
    if compared is not None:
        yield from _beside_clean(compared, settings)
    pooled = pool_runs(group.results, settings)
    yield from _findings(pooled)
    if summary is not None:
        yield from _curves(group, summary)
    yield from _layers(pooled, budget)
    for number, result in enumerate(group.results, start=1):
        yield from _run(number, result, budget)
    sentence = provenance_sentence(combined_provenance(group.results))
    yield f'<h3>Provenance</h3><p class="soft">{_safe(sentence)}</p>'


def _depths(group: Group, summary: DepthSummary | None) -> Iterable[str]:
    if summary is None or not summary.depths:
        yield f"<p>{_safe(no_depths(group))}</p>"
        return
    published = published_for(group.model.name)
    paper = f"<th>paper: {' / '.join(DATASETS.values())}</th>" if published else ""
    yield (
        '<div class="wide"><table><tr><th>rule</th><th class="number">layer</th>'
        f'<th class="number">interval</th><th class="number">ratio</th><th></th>'
        f"<th>criterion</th>{paper}</tr>"
    )
    for each in summary.depths:
        layer, ratio, bar = "–", "–", ""
        if each.layer is not None and each.ratio is not None:
            layer, ratio = f"{each.layer} of {summary.n_layers}", f"{each.ratio:.2f}"
            bar = f'<span class="bar"><i style="width:{100 * each.ratio:.1f}%"></i></span>'
        remark = each.reason or each.warning
        rule = criterion(each) + (f" ({remark})" if remark else "")
        row = [
            f"<td>{_safe(rule_title(each.rule))}</td>",
            f'<td class="number">{layer}</td><td class="number">{interval(each)}</td>',
            f'<td class="number">{ratio}</td>',
            f"<td>{bar}</td><td>{_safe(rule)}</td>",
        ]
        if published is not None:
            row.append(f"<td>{_safe(published_layers(published, each.rule))}</td>")
        yield f"<tr>{''.join(row)}</tr>"
    yield "</table></div>"
    if published is not None:
        yield f'<p class="soft">Published values: {_safe(PROTOCOL)}</p>'


def _curves(group: Group, summary: DepthSummary) -> Iterable[str]:
    curves = summary.curves
    crossings = {each.rule: each.layer for each in summary.depths}
    n_layers = summary.n_layers
    settings = summary.settings
    yield '<h3>Over depth</h3><div class="figures">'
    if curves.mean_cosine is not None:
        lines = [*_branches(curves, "cosine"), svg.Line(curves.mean_cosine, "mean", "mean")]
        panel = svg.Panel(lines, n_layers, threshold=0.0, crossing=crossings.get("cosine"))
        yield _figure("Cosine with the stream", svg.curves(panel), _keys(lines))
    if curves.layer_norm_ratio is not None:
        lines = _branches(curves, "norm_ratio")
        panel = svg.Panel(lines, n_layers, log=True)
        yield _figure("Contribution, log scale", svg.curves(panel), _keys(lines))
    if curves.kl is not None:
        lines = [svg.Line(curves.kl, "mean")]
        largest = float(curves.kl[:-1].max())
        threshold = settings.kl_threshold * largest if np.isfinite(largest) else None
        panel = svg.Panel(lines, n_layers, threshold, crossings.get("kl"))
        yield _figure("Lens KL", svg.curves(panel), "<small> KL(p_l || p), nats</small>")
    if curves.overlap is not None:
        lines = [svg.Line(curves.overlap, "mean")]
        threshold = settings.overlap_threshold
        panel = svg.Panel(lines, n_layers, threshold, crossings.get("overlap"), (0.0, 1.0))
        yield _figure("Lens overlap", svg.curves(panel), "<small> top five shared</small>")
    yield "</div>"


def _beside_clean(compared: Pairs, settings: SummarySettings) -> Iterable[str]:
    """A what-if's figures beside those of its clean run, pooled and prompt by prompt."""
    tables: list[tuple[Sequence[str], Sequence[Sequence[str]]]] = [
        (HEADS, compared.rows(settings)),
        (PROMPT_HEADS, compared.by_prompt()),
    ]
    if tables[0][1]:
        yield "<h3>Beside the clean run</h3>"
    for heads, rows in tables:
        if rows:
            lines = "".join(
                f"<tr>{''.join(f'<td>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows
            )
            head = "".join(f"<th>{each}</th>" for each in heads)
            yield f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'


def _findings(pooled: Pooled) -> Iterable[str]:
    lines = findings(pooled)
    if not lines:
        return
    yield '<div class="wide"><table>'
    for each in lines:
        cells = f"<td>{_safe(each.title)}</td><td>{_safe(each.value)}</td>"
        yield f'<tr>{cells}<td class="soft">{_safe(each.remark)}</td></tr>'
    yield "</table></div>"


def _layers(pooled: Pooled, budget: _Budget) -> Iterable[str]:
    """What each layer is good for: the map of skip effects, and a bar a layer."""
    figures = []
    for picture in layer_maps(pooled):
        if budget.take(picture.values.size):
            numbers = [str(layer) for layer in range(len(picture.values))]
            drawn = svg.heatmap(picture.values, picture.measure, numbers)
            remark = f"<small> {_safe(picture.caption)}</small>"
            figures.append(_figure(picture.title, drawn, remark))
    for values in by_layer(pooled):
        if values.caption:
            title = values.title.capitalize()
            bars = svg.bars(values.values, f"{title}, by layer")
            figures.append(_figure(title, bars, f"<small> {values.caption}</small>"))
    if figures:
        yield f'<h3>What each layer is good for</h3><div class="figures">{"".join(figures)}</div>'


def _branches(curves: Curves, kind: str) -> list[svg.Line]:
    lines = []
    for branch in ("attention", "mlp", "layer"):
        label = PART_TITLES[branch]
        values = getattr(curves, f"{branch}_{kind}")
        if values is not None:
            lines.append(svg.Line(values, branch, label))
    return lines


def _keys(lines: Sequence[svg.Line]) -> str:
    return "".join(f'<span class="key {each.css}">{_safe(each.label)}</span>' for each in lines)


def _run(number: int, result: RunResult, budget: _Budget) -> Iterable[str]:
    prompt = result.prompt
    about = [prompt.task, level_words(prompt), f"{len(result.tokens)} tokens"]
    if not result.complete:
        about.append(f"stopped after {result.layers_done} of {result.model.n_layers} layers")
    yield f"<h3>Prompt {number}</h3>"
    yield f'<p class="soft">{_safe(" · ".join(each for each in about if each))}</p>'
    yield _tokens(result)
    drawn = [(each, values) for each in MEASURES if (values := each.values(result)) is not None]
    if not len(result.tokens):
        return
    if not budget.take(sum(values.size for _, values in drawn)):
        yield '<p class="soft">Heatmaps are left out: the page would be too large.</p>'
        return
    first = [each for each in drawn if each[0].leading]
    rest = [each for each in drawn if each not in first]
    yield f'<div class="figures">{_heatmaps(first, result)}</div>'
    if rest:
        yield "<details><summary>The other measures</summary>"
        yield f'<div class="figures">{_heatmaps(rest, result)}</div></details>'
    lens = result.get(LogitLens)
    if lens is not None:
        yield from _lens(lens)


def _tokens(result: RunResult) -> str:
    spans = []
    for index, text in enumerate(result.tokens.texts):
        css = ' class="answer"' if index >= result.tokens.answer_start else ""
        # Where the prompt breaks its lines the page does too.
        spans.append(f"<bdi{css}>{_safe(text)}</bdi>" + ("<br>" if "\n" in text else "<wbr>"))
    return f'<div class="tokens">{"".join(spans)}</div>'


def _heatmaps(drawn: Sequence[tuple[Measure, np.ndarray]], result: RunResult) -> str:
    return "".join(
        _figure(
            each.title,
            svg.heatmap(values, each, result.tokens.texts),
            f"<small> {_safe(formula_in(each, result))}</small>",
        )
        for each, values in drawn
    )


def _lens(lens: LogitLens) -> Iterable[str]:
    """What the lens reads at the last token, the model's output on top."""
    final = int(lens.top_ids[-1, -1, 0])
    yield "<details><summary>The lens at the last token</summary>"
    yield '<div class="wide"><table class="lens"><tr><th>layer</th>'
    yield f'<th colspan="{_LENS_TOKENS}">most probable tokens</th>'
    yield '<th class="number">entropy</th><th class="number">KL</th></tr>'
    last = len(lens.top_ids) - 1
    for layer in range(last, -1, -1):
        cells = []
        top = zip(lens.top_ids[layer, -1], lens.top_probabilities[layer, -1], strict=True)
        for id_, probability in list(top)[:_LENS_TOKENS]:
            if id_ < 0:
                cells.append("<td></td>")
                continue
            css = ' class="final"' if id_ == final else ""
            text = _safe(lens.vocabulary.get(int(id_), ""))
            cells.append(f"<td><bdi{css}>{text}</bdi> {probability:.2f}</td>")
        cells += ["<td></td>"] * (_LENS_TOKENS - len(cells))
        cells += [
            f'<td class="number">{_number(values[layer, -1])}</td>'
            for values in (lens.entropy, lens.kl)
        ]
        name = "out" if layer == last else str(layer)
        yield f'<tr><td class="number">{name}</td>{"".join(cells)}</tr>'
    yield "</table></div></details>"


def _figure(title: str, picture: str, remark: str = "") -> str:
    return f"<figure><figcaption>{_safe(title)}{remark}</figcaption>{picture}</figure>"


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _safe(text: str) -> str:
    return escape(legible(text))
