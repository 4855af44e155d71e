"""A summary as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from depthtui.data.depth import DepthSummary
from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.effective_depth import summarise
from depthtui.depth.published import DATASETS, PROTOCOL, published_for
from depthtui.metrics.pooling import Pooled
from depthtui.prompts.tasks import level_words
from depthtui.report.findings import by_layer, findings, pool_runs
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

_LENS_TOKENS = 3
_CURVES = {
    "attention_norm_ratio": "attention ratio",
    "attention_cosine": "attention cosine",
    "mlp_norm_ratio": "MLP ratio",
    "mlp_cosine": "MLP cosine",
    "layer_norm_ratio": "layer ratio",
    "layer_cosine": "layer cosine",
    "mean_cosine": "mean cosine",
    "kl": "KL",
    "overlap": "overlap",
    "entropy": "entropy",
}


def markdown_bytes(groups: Sequence[Group], settings: SummarySettings) -> bytes:
    """The summary as UTF-8."""
    lines = ["# Effective depth", ""]
    for group in groups:
        lines += _group(group, settings, pairs(group, groups))
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8")


def _group(group: Group, settings: SummarySettings, compared: Pairs | None) -> Iterable[str]:
    summary = summarise(group.results, settings)
    yield f"## {escaped(group.title)}"
    yield ""
    yield escaped(" · ".join(model_facts(group.model)))
    yield ""
    yield from _depths(group, summary)
    yield ""
    yield escaped(pooling(group, summary, settings))
    yield ""
    if compared is not None:
        yield from _beside_clean(compared, settings)
    pooled = pool_runs(group.results, settings)
    yield from _findings(pooled)
    if summary is not None:
        yield from _curves(summary)
    yield from _layers(pooled)
    for number, result in enumerate(group.results, start=1):
        yield from _run(number, result)
    yield "### Provenance"
    yield ""
    yield escaped(provenance_sentence(combined_provenance(group.results)))
    yield ""


def _depths(group: Group, summary: DepthSummary | None) -> Iterable[str]:
    if summary is None or not summary.depths:
        yield escaped(no_depths(group))
        return
    published = published_for(group.model.name)
    heads = ["rule", "layer", "interval", "ratio", "criterion", "remark"]
    if published is not None:
        heads.append(f"paper: {' / '.join(DATASETS.values())}")
    rows = []
    for each in summary.depths:
        known = each.layer is not None and each.ratio is not None
        row = [
            rule_title(each.rule),
            f"{each.layer} of {summary.n_layers}" if known else "–",
            interval(each),
            f"{each.ratio:.2f}" if known else "–",
            escaped(criterion(each)),
            escaped(each.reason or each.warning),
        ]
        rows.append([*row, published_layers(published, each.rule)] if published else row)
    yield from table(heads, rows)
    if published is not None:
        yield ""
        yield f"Published values: {escaped(PROTOCOL)}"


def _beside_clean(compared: Pairs, settings: SummarySettings) -> Iterable[str]:
    rows, by_prompt = compared.rows(settings), compared.by_prompt()
    if rows:
        yield "### Beside the clean run"
        yield ""
        yield from table(HEADS, [[escaped(cell) for cell in row] for row in rows])
        yield ""
    if by_prompt:
        yield from table(PROMPT_HEADS, [[escaped(cell) for cell in row] for row in by_prompt])
        yield ""


def _findings(pooled: Pooled) -> Iterable[str]:
    lines = findings(pooled)
    if not lines:
        return
    yield "### Other metrics"
    yield ""
    rows = [[escaped(cell) for cell in (each.title, each.value, each.remark)] for each in lines]
    yield from table(["metric", "value", "remark"], rows)
    yield ""


def _curves(summary: DepthSummary) -> Iterable[str]:
    found = {
        title: values
        for name, title in _CURVES.items()
        if (values := getattr(summary.curves, name)) is not None
    }
    yield from _by_layer("Means over tokens, by layer", found, summary.n_layers)


def _layers(pooled: Pooled) -> Iterable[str]:
    found = {values.title: values.values for values in by_layer(pooled)}
    yield from _by_layer("What each layer is good for", found, pooled.n_layers)


def _by_layer(title: str, found: dict[str, np.ndarray], n_layers: int) -> Iterable[str]:
    if not found:
        return
    yield f"### {title}"
    yield ""
    n_rows = max(len(values) for values in found.values())
    rows = []
    for layer in range(n_rows):
        name = "output" if layer == n_layers else str(layer)
        cells = [
            _number(float(values[layer])) if layer < len(values) else ""
            for values in found.values()
        ]
        rows.append([name, *cells])
    yield from table(["layer", *found], rows)
    yield ""


def _run(number: int, result: RunResult) -> Iterable[str]:
    prompt = result.prompt
    about = [prompt.task, level_words(prompt), f"{len(result.tokens)} tokens"]
    if not result.complete:
        about.append(f"stopped after {result.layers_done} of {result.model.n_layers} layers")
    yield f"### Prompt {number}"
    yield ""
    yield escaped(" · ".join(each for each in about if each))
    yield ""
    yield from code_block(prompt.text)
    yield ""
    lens = result.get(LogitLens)
    if lens is not None and len(result.tokens):
        yield "What the lens reads at the last token:"
        yield ""
        yield from _lens(lens)
        yield ""


def _lens(lens: LogitLens) -> Iterable[str]:
    rows = []
    last = len(lens.top_ids) - 1
    for layer in range(last + 1):
        top = zip(lens.top_ids[layer, -1], lens.top_probabilities[layer, -1], strict=True)
        tokens = [
            f"{escaped(_token(lens, int(id_)))} {probability:.2f}"
            for id_, probability in list(top)[:_LENS_TOKENS]
            if id_ >= 0
        ]
        entropy = _number(float(lens.entropy[layer, -1]))
        rows.append(["output" if layer == last else str(layer), ", ".join(tokens), entropy])
    yield from table(["layer", "most probable tokens", "entropy"], rows)


def _token(lens: LogitLens, id_: int) -> str:
    return lens.vocabulary.get(id_, "").strip(" ") or "·"


def code_block(text: str) -> Iterable[str]:
    """A code block whose fence is longer than any row of backticks in the text."""
    longest = max((len(each) for each in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}text"
    yield from (legible(line) for line in text.split("\n"))
    yield fence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The lines of a table; the cells are escaped already."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4g}"


def escaped(text: str) -> str:
    """The text with everything that Markdown or HTML would obey escaped."""
    text = re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", legible(text))
    # Marks that begin a list or underline a heading, where the text begins a line.
    return re.sub(r"^(\s*\d*)([-+=.)])", r"\1\\\2", text)
