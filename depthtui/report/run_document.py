"""The document of a report of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from depthtui.data.depth import Curves, DepthEstimate
from depthtui.data.lens import FittedLens, LogitLens
from depthtui.data.lens_view import (
    LOGIT,
    WORSE,
    lens_of,
    lens_title,
    reads_worse,
    through_words,
)
from depthtui.data.model import PART_TITLES, ModelInfo, layer_label, layer_mark, layer_number
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.selection import indices_text, numbers_text
from depthtui.data.sentence import plural
from depthtui.data.verdict import Verdict
from depthtui.depth import rules
from depthtui.depth.published import PAPER, PROTOCOL, published_row
from depthtui.depth.reading import Reading, reading_of, span_verdicts
from depthtui.depth.spans import spans_of
from depthtui.files import slug
from depthtui.metrics.chosen_lens import measure_of_lens
from depthtui.metrics.contributions import BRANCHES
from depthtui.metrics.registry import MEASURE_BY_NAME, MEASURES, METRIC_BY_NAME, METRICS, formula_in
from depthtui.metrics.spec import Measure, Metric
from depthtui.metrics.token_depths import first_counted
from depthtui.palettes import OWN_PALETTE
from depthtui.prompts.tasks import level_words, prompt_title
from depthtui.report import svg
from depthtui.report.answers import answer_blocks
from depthtui.report.blocks import (
    ALL_VIEWS,
    AT_LENGTH,
    Bars,
    Block,
    Chapter,
    Code,
    Column,
    Document,
    Figure,
    Figures,
    Heatmap,
    Items,
    Line,
    Mark,
    Note,
    Panel,
    Paragraph,
    Table,
    TableCell,
    TightBlocks,
    Token,
    Tokens,
    ViewBlocks,
)
from depthtui.report.depths import depth_remarks, depth_table
from depthtui.report.evidence import evidence_table, further_evidence
from depthtui.report.explanations import of_measure, of_metric
from depthtui.report.findings import by_layer, findings, layer_maps, published_sentences
from depthtui.report.first_page import first_page
from depthtui.report.groups import PooledRuns, RunGroup
from depthtui.report.layer_types import type_blocks
from depthtui.report.left_out import kept_blocks, left_out_blocks
from depthtui.report.phrases import (
    each_prompt_once,
    lens_sentence,
    model_facts,
    no_depths,
    pooling,
    provenance_sentence,
    sentence_case,
    uneven,
)
from depthtui.report.remarks import remark_blocks
from depthtui.report.run_rows import numbers_of, run_counts, run_rows, run_verdicts, task_words
from depthtui.report.summary_json import combined_provenance
from depthtui.report.token_depths import (
    depth_figures,
    depths_of_text,
    depths_table,
    span_means,
)
from depthtui.report.what_if import HEADS, PROMPT_HEADS, Pairs
from depthtui.report.written import trend_sentence, written_words
from depthtui.token_text import printable, shortened

_MOST_CELLS = 2_000_000
_LENS_TOKENS = {"pictures": 5, "text": 3}
_MARKS = "Dashed: the threshold of a rule. Upright: the layer that it finds."
_DEPTH_OF_TOKENS = "Read at the token before, from which the model predicts it"
_PAPER = "How much of a model’s depth a prompt uses, after Hu, Zhou and Zhang, arXiv 2512.14064."

TokenOf = Callable[[RunResult], int]
"""Returns the token of a run at which the report reads the lens."""

_SPANS = {"thinking": "While it thinks", "answer": "In the answer"}
"""The spans of a text that the model wrote, in words."""


def last_token(result: RunResult) -> int:
    """The last token of a run, -1 where it has none."""
    return len(result.tokens) - 1


def run_document(
    groups: Sequence[RunGroup],
    token_of: TokenOf = last_token,
    palette: str = OWN_PALETTE,
    before: Iterable[Block] = (),
    controls: Mapping[str, str] | None = None,
    letters: str = "",
    most_cells: int = _MOST_CELLS,
) -> Document:
    """A report of runs.

    Args:
        groups: the runs, sorted.
        token_of: returns the token of a run at which the report reads the lens.
        palette: name of the palette of the heatmaps.
        before: the blocks before the chapters of the runs.
        controls: by a model's fingerprint, its controls in a line (see `report.controls`).
        letters: a letter before the title of each group; empty for none.
        most_cells: most cells of all heatmaps together.
    """
    names = ", ".join(dict.fromkeys(group.model.name for group in groups))
    report = _Report(groups, token_of, controls or {}, most_cells)
    chapters = [
        Chapter(f"{letter} · {group.title}" if letter else group.title, report.group(group), True)
        for group, letter in zip_longest(groups, letters)
    ]
    style = svg.ramp_style(palette)
    return Document("Effective depth", [*before, *chapters], names, style, palette)


@dataclass
class _Report:
    """What all chapters of a report share.

    Attributes:
        groups: the runs.
        token_of: returns the token of a run at which the report reads the lens.
        controls: by a model's fingerprint, its controls in a line.
        cells: heatmap cells that the report may still have: browsers choke on more.
    """

    groups: Sequence[RunGroup]
    token_of: TokenOf
    controls: Mapping[str, str]
    cells: int

    def reserve(self, cells: int) -> bool:
        """Whether there is room for so many cells, which are then reserved."""
        if cells > self.cells:
            return False
        self.cells -= cells
        return True

    def group(self, group: RunGroup) -> Iterator[Block]:
        """The first page of a group, then chapters; of runs that are not pooled, a row each first.

        A what-if's figures are beside those of its clean run.
        """
        yield ViewBlocks(AT_LENGTH, [Note(" · ".join(model_facts(group.model)))])
        line = self.controls.get(group.model.fingerprint) if group.settings.is_clean else None
        controls = [Note(line)] if line else []
        clean = [other for other in self.groups if other.is_clean_of(group)]
        pairs = [Pairs.of(clean, part) for part in group.parts]
        if len(group.parts) == 1:
            yield from self.part(group.parts[0], 1, pairs[0], controls)
            return
        every = [alone for part in group.parts for alone in part.reading.alone]
        yield from run_rows(every)
        yield run_verdicts(every)
        yield from controls
        yield run_counts(every)
        yield Chapter("Each prompt beside the clean run", _by_prompt(pairs), True, AT_LENGTH)
        number = 1
        for part, pair in zip(group.parts, pairs, strict=True):
            # A terminal already shows the row and the verdict of a single run.
            views = ALL_VIEWS if len(part.results) > 1 else AT_LENGTH
            blocks = self.part(part, number, pair)
            yield Chapter(_part_title(part, number), blocks, views=views)
            number += len(part.results)

    def part(
        self, part: PooledRuns, first: int, pairs: Pairs | None, controls: Sequence[Note] = ()
    ) -> Iterator[Block]:
        """Results of the runs of a part: the first page, then a chapter for everything else.

        Where it is unknown what is kept, the depths by each rule are on the first page.

        `first` is the number of the part's first run among the model's runs, from 1.
        """
        reading, is_known = part.reading, part.reading.headline is not None
        notes = [*further_evidence(reading.verdict), *controls]
        evidence: list[Block] = [
            Chapter("Evidence", [*evidence_table(reading.verdict), *notes], views=AT_LENGTH),
            # A brief view has no rows of evidence, and then no heading.
            ViewBlocks(["brief"], notes),
        ]
        by_rules = Chapter("Effective depth by each rule", _depths(reading), not is_known)
        each = (
            [*run_rows(reading.alone), run_counts(reading.alone)] if len(part.results) > 1 else []
        )
        published = published_sentences(reading) if first == 1 else []
        yield from (
            *first_page(reading),
            Chapter("Beside the clean run", _pooled_beside(pairs), True, AT_LENGTH),
            Chapter("Each prompt beside the clean run", _by_prompt([pairs]), views=AT_LENGTH),
            *([*evidence, by_rules] if is_known else [by_rules, *evidence]),
            Chapter("Each prompt", each),
            Chapter("Other metrics", chain(_findings(reading), map(Note, published))),
            *type_blocks(reading),
            ViewBlocks(AT_LENGTH, self.at_length(reading, first)),
            Chapter("How it was measured", [TightBlocks(_how_measured(part))]),
        )

    def at_length(self, reading: Reading, first: int) -> Iterator[Block]:
        """What a terminal has no room for: curves, values by layer, and each run."""
        yield from kept_blocks(reading)
        yield from left_out_blocks(reading)
        if reading.parts:
            yield from _over_depth(reading)
        yield Chapter("By layer", self.layer_figures(reading), views=["pictures"])
        layer_values = by_layer(reading)
        columns = {values.title: values.values for _, values in layer_values}
        metrics = [metric for metric, _ in layer_values]
        values = _by_layer(columns, reading.model, metrics)
        yield Chapter("By layer", values, views=["text"])
        numbers = numbers_of(reading.runs, first)
        for number, alone in zip(numbers, reading.alone, strict=True):
            verdict = alone.verdict if len(reading.alone) > 1 else None
            of_run = chain(self.run(alone, verdict), _written(alone), self.token_depths(alone))
            yield Chapter(f"Prompt {number}", of_run)

    def layer_figures(self, reading: Reading) -> Iterator[Block]:
        """Figures by layer: the maps, such as skip effects, and a bar per layer."""
        maps = [figure for figure in map_figures(reading) if self.reserve(_cells(figure))]
        if figures := [*maps, *bar_figures(reading)]:
            yield Figures(figures)

    def run(self, alone: Reading, verdict: Verdict | None) -> Iterator[Block]:
        """The text, the answers and the lens of a run, from its own reading."""
        (result,), lens = alone.runs, alone.settings.lens
        prompt, tokens = result.prompt, result.tokens
        about = [prompt.source, level_words(prompt), plural(len(tokens), "token")]
        if prompt.written is not None:
            about.append(written_words(prompt.written))
        if not result.complete:
            about.append(f"stopped after {result.layers_done} of {result.model.n_layers} layers")
        half_done = [name for name, value in result.measured.items() if not value.is_whole]
        about += [f"{METRIC_BY_NAME[name].title} is not finished" for name in half_done]
        yield Note(" · ".join(part for part in about if part))
        yield Tokens(
            [
                Token(text, "answer" if index >= tokens.answer_start else "")
                for index, text in enumerate(tokens.readable_texts)
            ],
            prompt.text,
        )
        if verdict is not None:
            yield Paragraph(verdict.sentence)
        yield from answer_blocks(result)
        yield from remark_blocks(result, lens)
        if len(tokens):
            yield ViewBlocks(["pictures"], self.run_figures(result, lens))
            values = lens_of(result, lens)
            if values is not None:
                token = self.token_of(result)
                title = f"What the {_lens_name(lens)} reads at {_position(result, token)}:"
                yield ViewBlocks(["text"], _lens_in_short(result.model, values, token, title))

    def run_figures(self, result: RunResult, lens: str) -> Iterator[Block]:
        """The heatmaps of a run, and its lens at one token."""
        figures = list(heatmap_figures(result, lens))
        if not self.reserve(sum(map(_cells, figures))):
            yield Note("Heatmaps are left out: the page would be too large.")
            return
        leading = {measure.name for measure in MEASURES if measure.leading}
        yield Figures([figure for figure in figures if figure.name in leading])
        if others := [figure for figure in figures if figure.name not in leading]:
            yield Chapter("The other measures", [Figures(others)])
        lens_values = lens_of(result, lens)
        if lens_values is not None:
            token = self.token_of(result)
            title = f"The {_lens_name(lens)} at {_position(result, token)}"
            yield Chapter(title, [_lens(result.model, lens_values, token)])

    def token_depths(self, alone: Reading) -> Iterator[Block]:
        """The depth of each token: means of the run and of its spans, and curves."""
        (result,) = alone.runs
        depths, first = alone.token_depths(result), first_counted(alone.settings)
        if depths is None or len(result.tokens) <= first:
            return
        measured = [of for of in depths_of_text(depths, first) if of.without < 1]
        table = depths_table(measured, span_means(depths, spans_of(result), first))
        title, note = "The depth of each token", Note(f"{_DEPTH_OF_TOKENS}.")
        yield ViewBlocks(["text"], [Paragraph(f"{title}:"), table])
        names = [of.measure.name for of in measured]
        if self.reserve(len(names) * len(result.tokens)):
            figures = Figures(depth_figures(depths, result.model.n_layers, names))
            yield Chapter(title, [note, table, figures], views=["pictures"])


def _part_title(part: PooledRuns, first: int) -> str:
    """Number and prompt of a single run, or numbers and task of pooled runs."""
    prompt, numbers = part.results[0].prompt, numbers_of(part.results, first)
    if len(numbers) == 1:
        return f"{numbers[0]} · {prompt_title(prompt)}"
    return f"{numbers_text(numbers)} · {task_words(prompt)}, pooled"


def _depths(summary: Reading) -> Iterator[Block]:
    yield ViewBlocks(["pictures"], [Note(_PAPER)])
    if not summary.depths:
        yield Paragraph(no_depths(summary))
        return
    published = published_row(summary.model)
    notes_once = [Note(each_prompt_once(summary.depths))] if uneven(summary) else []
    once = ViewBlocks(["brief"], notes_once)
    remarks = ViewBlocks(["brief"], [*map(Note, depth_remarks(summary))])
    paper = ViewBlocks(["brief"], [Note(PAPER)] if published is not None else [])
    yield TightBlocks([depth_table(summary, published), remarks, once, paper])
    if published is not None:
        yield ViewBlocks(AT_LENGTH, [Note(f"Published values, in layers: {PROTOCOL}")])


def _how_measured(part: PooledRuns) -> Iterator[Block]:
    yield Note(pooling(part))
    lens = part.reading.settings.lens
    if lens != LOGIT:
        yield Note(lens_sentence(lens, part.results))
    provenance = provenance_sentence(combined_provenance(part.results))
    yield ViewBlocks(AT_LENGTH, [Note(provenance)])


def _pooled_beside(pairs: Pairs | None) -> Iterator[Block]:
    """A what-if's figures beside those of its clean run, pooled."""
    if pairs is not None and (rows := pairs.rows()):
        yield Table([Column(head) for head in HEADS], rows)


def _by_prompt(pairs: Iterable[Pairs | None]) -> Iterator[Block]:
    """Each prompt's figures beside its clean run's, for a what-if of several prompts."""
    rows = [row for pair in pairs if pair is not None for row in pair.by_prompt()]
    if len(rows) > 1:
        yield Table([Column(head) for head in PROMPT_HEADS], rows)


def _findings(reading: Reading) -> Iterator[Block]:
    lines = findings(reading)
    rows = [(line.title, line.value, line.remark) for line in lines]
    if rows:
        columns = [
            Column("metric", style="name", wraps=False),
            Column("value"),
            Column("remark", style="soft"),
        ]
        yield Table(columns, rows, has_head=False)
        yield from (Code(line.command) for line in lines if line.command)


def _over_depth(summary: Reading) -> Iterator[Block]:
    curves = {_curve_title(name): values for name, values in summary.curves.items()}
    metrics = [metric for metric in METRICS if summary.curves.keys() & set(metric.curves)]
    drawn: list[Block] = [Note(_MARKS), Figures(curve_figures(summary))]
    yield Chapter("Over depth", drawn, views=["pictures"])
    values = _by_layer(curves, summary.model, metrics)
    yield Chapter("Means over tokens, by layer", values, views=["text"])


def _curve_title(name: str) -> str:
    """Title of a curve: that of the rule that reads it, or its own name, such as `MLP ratio`."""
    rule = next((rule for rule in rules.ALL if rule.curve == name), None)
    if rule is not None:
        return rule.curve_title
    return name.replace("_norm", "").replace("mlp", "MLP").replace("_", " ")


def curve_figures(summary: Reading) -> Iterator[Figure]:
    """The curve of each rule over depth, and the contributions of layers and sublayers."""
    curves, n_layers = summary.curves, summary.n_layers
    yield from _of_rules(summary, through_lens=False)
    if "layer_norm_ratio" in curves:
        lines = _branches(curves, [f"{branch}_norm_ratio" for branch in BRANCHES])
        panel = Panel(lines, n_layers, log=True, up="ratio of norms, log")
        yield Figure("Contribution", panel, _meaning("layer_norm_ratio"), "layer_norm_ratio")
    yield from _of_rules(summary, through_lens=True)


def _of_rules(summary: Reading, through_lens: bool) -> Iterator[Figure]:
    """The curve of each rule, with the curves that it is the mean of."""
    curves, settings = summary.curves, summary.settings
    estimates = {estimate.rule: estimate for estimate in summary.depths}
    for rule in rules.ALL:
        values = curves.get(rule.curve)
        if values is None or rule.through_lens != through_lens:
            continue
        level = rule.level(values, settings)
        panel = Panel(
            [
                *_branches(curves, rule.mean_of),
                Line(values, "mean", "mean" if rule.mean_of else ""),
            ],
            summary.n_layers,
            level if np.isfinite(level) else None,
            _mark(estimates.get(rule.name)),
            rule.limits,
            up=rule.axis,
        )
        title = rule.figure_title("Lens")
        meaning = _meaning(rule.measure) if rule.measure else rule.explanation.in_short
        lens = settings.lens if through_lens else LOGIT
        yield Figure(through_words(title, lens), panel, meaning, rule.name)


def _mark(estimate: DepthEstimate | None) -> Mark | None:
    """The layer that a rule found, with its interval."""
    if estimate is None or estimate.layer is None:
        return None
    return Mark(estimate.layer, f"layer {estimate.layer}", estimate.interval)


def _meaning(measure: str) -> str:
    """A measure's meaning and how to read it."""
    return of_measure(MEASURE_BY_NAME[measure])[0].in_short


def _branches(curves: Curves, names: Iterable[str]) -> list[Line]:
    """A line for each of these curves that exists, by its branch."""
    branches = {name: name.partition("_")[0] for name in names if name in curves}
    return [Line(curves[name], branch, PART_TITLES[branch]) for name, branch in branches.items()]


def _by_layer(
    arrays: Mapping[str, np.ndarray], model: ModelInfo, metrics: Iterable[Metric]
) -> Iterator[Block]:
    """A column for each of these arrays, `[L]` or `[L+1]`, and the meaning of the metrics."""
    if not arrays:
        return
    is_hybrid = bool(model.layer_types)
    rows = [
        [
            "output" if layer == model.n_layers else layer_number(model, layer),
            *[model.type_of(layer)] * is_hybrid,
            *(
                _number(values[layer], ".4g") if layer < len(values) else ""
                for values in arrays.values()
            ),
        ]
        for layer in range(max(map(len, arrays.values())))
    ]
    heads = ("layer", *["type"] * is_hybrid, *arrays)
    yield Table([Column(head) for head in heads], rows)
    meanings = {metric.title: of_metric(metric).in_short for metric in metrics}
    yield Items([f"{name}: {meaning}" for name, meaning in meanings.items()])


def _cells(figure: Figure) -> int:
    """The number of cells of a heatmap."""
    return figure.picture.values.size if isinstance(figure.picture, Heatmap) else 0


def map_figures(reading: Reading) -> Iterator[Figure]:
    """A heatmap of layers x layers or heads for each map, such as skip effects."""
    for metric, picture in layer_maps(reading):
        count = len(picture.values)
        drawn = Heatmap(
            picture.values,
            picture.measure,
            [layer_number(reading.model, n) for n in range(count)],
            picture.caption,
            picture.up,
            picture.across,
            _row_names(reading.model, count),
            picture.hatched,
        )
        yield Figure(picture.title, drawn, of_metric(metric).in_short, picture.measure.name)


def bar_figures(reading: Reading) -> Iterator[Figure]:
    """Bars by layer for each metric with values of single layers."""
    for metric, values in by_layer(reading):
        if values.caption:
            title = sentence_case(values.title)
            marks = [layer_mark(reading.model, layer) for layer in range(len(values.values))]
            labels = marks if any(marks) else []
            bars = Bars(values.values, f"{title}, by layer", values.caption, labels)
            name = slug(values.title.lower()).replace("-", "_")
            meaning = values.reading or of_metric(metric).in_short
            yield Figure(title, bars, meaning, name)


def _row_names(model: ModelInfo, rows: int) -> list[str]:
    """The labels of a heatmap's rows, the output's last; none where layers have no types."""
    if not model.layer_types:
        return []
    return [layer_label(model, row) if row < model.n_layers else "out" for row in range(rows)]


def _written(alone: Reading) -> Iterator[Block]:
    """The verdicts over the spans of a text that the model wrote, and the trend of depth in it."""
    (result,) = alone.runs
    written = result.prompt.written
    if written is None or written.model not in ("", result.model.name):
        return
    for name, verdict in span_verdicts(result, alone.settings).items():
        yield Paragraph(f"{_SPANS[name]}: {verdict.text}")
    depths = alone.token_depths(result)
    if depths is not None:
        yield Paragraph(trend_sentence(depths.settling[result.answer_start :]))


def text_document(result: RunResult, settings: SummarySettings) -> Document:
    """What to print below a text that the model wrote: its verdicts, its trend and its depths."""
    alone = reading_of([result], settings)
    blocks = _written(alone)
    if result.prompt.written is not None:
        blocks = chain([Note(f"{written_words(result.prompt.written)}.")], blocks)
    depths, start = alone.token_depths(result), result.answer_start
    if depths is not None:
        blocks = chain(blocks, [depths_table(depths_of_text(depths, start))])
    return Document("Depth of a written text", blocks)


def _position(result: RunResult, token: int) -> str:
    """Position of a token, such as `token 4 of 0-12, " is"`."""
    end = ", the last" if token == len(result.tokens) - 1 else ""
    text = shortened(printable(result.tokens.readable_texts[token][:80]), 24)
    return f'token {token} of {indices_text(len(result.tokens))}{end}, "{text}"'


def heatmap_figures(result: RunResult, lens: str) -> Iterator[Figure]:
    """The heatmap of each measure that a run has, read by a lens."""
    for measure in MEASURES:
        values = measure_of_lens(measure, lens).values(result)
        if values is not None:
            yield measure_figure(measure, values, result, lens)


def measure_figure(measure: Measure, values: np.ndarray, result: RunResult, lens: str) -> Figure:
    """The heatmap of a measure over a run's tokens, read by a lens.

    Args:
        measure: the measure, as the logit lens reads it.
        values: its values, `[rows, T]`.
        result: the run.
        lens: the lens, by its name in `LENSES`.
    """
    up = "depth" if measure.reads_residual else "layer"
    unit = formula_in(measure, result)
    names = _row_names(result.model, len(values))
    heatmap = Heatmap(values, measure, result.tokens.readable_texts, unit, up, rows=names)
    title, reading = measure_of_lens(measure, lens).title, of_measure(measure)[0].reading
    return Figure(title, heatmap, reading, measure.name)


def _lens_name(lens: str) -> str:
    return "lens" if lens == LOGIT else lens_title(lens)


def _lens(model: ModelInfo, lens: LogitLens, token: int) -> Table:
    """The lens's readings at a token, the model's output on top.

    Depths that a fitted lens reads worse than the logit lens are marked.
    """
    is_fitted = isinstance(lens, FittedLens)
    final, last, count = (
        int(lens.top_ids[-1, token, 0]),
        len(lens.top_ids) - 1,
        _LENS_TOKENS["pictures"],
    )
    rows: list[list[TableCell]] = []
    for layer in range(last, -1, -1):
        tokens = [
            Token(lens.vocabulary.get(id_, ""), "final" if id_ == final else "", f"{share:.2f}")
            for id_, share in _top(lens, layer, token, count)
        ]
        numbers = [_number(values[layer, token], ".2f") for values in (lens.entropy, lens.kl)]
        name = "out" if layer == last else layer_label(model, layer)
        remark = [WORSE * reads_worse(lens, layer)] if is_fitted else []
        rows.append([name, *tokens, *[""] * (count - len(tokens)), *numbers, *remark])
    columns = [
        Column("layer", number=True),
        Column("most probable tokens", span=count),
        Column("entropy", number=True),
        Column("KL", number=True),
        *([Column("", style="soft")] if is_fitted else []),
    ]
    return Table(columns, rows, css="lens")


def _lens_in_short(model: ModelInfo, lens: LogitLens, token: int, title: str) -> Iterator[Block]:
    last = len(lens.top_ids) - 1
    rows = []
    for layer in range(last + 1):
        tokens = [
            f"{lens.vocabulary.get(id_, '').strip(' ') or '·'} {share:.2f}"
            for id_, share in _top(lens, layer, token, _LENS_TOKENS["text"])
        ]
        entropy = _number(lens.entropy[layer, token], ".4g")
        name = "output" if layer == last else layer_label(model, layer)
        rows.append([name, ", ".join(tokens), entropy])
    yield Paragraph(title)
    heads = ("before layer", "most probable tokens", "entropy")
    yield Table([Column(head) for head in heads], rows)


def _top(lens: LogitLens, layer: int, token: int, count: int) -> list[tuple[int, float]]:
    """The most probable tokens of a layer at a token, and their probabilities."""
    ids = lens.top_ids[layer, token, :count].tolist()
    shares = lens.top_probabilities[layer, token, :count].tolist()
    return [(id_, share) for id_, share in zip(ids, shares, strict=True) if id_ >= 0]


def _number(value: float, how: str) -> str:
    return "–" if np.isnan(value) else f"{value:{how}}"
