"""The page, the Markdown and the table: whole, harmless, and saying the right things."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from depthtui.data.lens import JacobianLens, LogitLens
from depthtui.data.pool import Pool
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.direct_effects import SHARE
from depthtui.metrics.order import Order
from depthtui.metrics.registry import (
    ALL_MEASURES,
    MEASURE_BY_NAME,
    MEASURES,
    METRIC_BY_NAME,
    METRICS,
)
from depthtui.metrics.spec import Measure
from depthtui.report.as_html import html_bytes
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_rich import rich_lines
from depthtui.report.blocks import Document
from depthtui.report.findings import by_layer
from depthtui.report.groups import group_runs
from depthtui.report.phrases import lens_sentence, sentence_case
from depthtui.report.run_document import run_document
from depthtui.token_text import printable_line, shortened
from tests.builders.lenses import smooth_lens
from tests.builders.readings import verdict
from tests.builders.results import full_run, hostile_run, lacking, run, stopped_run
from tests.hostile import HOSTILE

SETTINGS = SummarySettings()
OF_RUNS = [measure for measure in ALL_MEASURES if measure.read_by is None]
"""The measures that a heatmap of a report draws: depths of tokens are curves there."""
BY_LAYER = by_layer(reading_of([full_run()], SETTINGS))
HEATMAP = ", layers by tokens"
VOID = {"meta", "wbr", "br"}


def html(results: Sequence[RunResult], settings: SummarySettings = SETTINGS) -> str:
    return html_bytes(run_document(group_runs(results, settings))).decode("utf-8")


def markdown(results: Sequence[RunResult], settings: SummarySettings = SETTINGS) -> str:
    return markdown_bytes(run_document(group_runs(results, settings))).decode("utf-8")


def table(results: Sequence[RunResult], width: int = 80, pool: Pool = "model") -> str:
    console = Console(file=StringIO(), width=width, legacy_windows=False)
    console.print(rich_lines(run_document(group_runs(results, SETTINGS, pool))))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_metric_that_is_half_done_is_said_to_be() -> None:
    result = full_run()
    assert "is not finished" not in markdown([result])
    result.put("order", Order.unknown(result.model.n_layers, len(result.tokens)))
    text = markdown([result])
    assert "Order of layers is not finished" in text
    assert "| Sequential depth | – |" in text


class _Checker(HTMLParser):
    """Collects what the page contains, and checks that its elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def checked(text: str) -> _Checker:
    checker = _Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def labels(text: str) -> list[str]:
    """The label of every picture of a page."""
    return [unescape(label) for label in re.findall(r'aria-label="([^"]*)"', text)]


def heatmaps(text: str) -> list[str]:
    """The titles of a page's heatmaps, sorted."""
    return sorted(label.removesuffix(HEATMAP) for label in labels(text) if label.endswith(HEATMAP))


def curves(text: str) -> list[str]:
    """The titles of a page's curves over depth."""
    figures = re.findall(r"<figure><figcaption>([^<]*)(.*?)</figure>", text)
    return [title for title, picture in figures if "Means over tokens" in picture]


def titles(measures: Iterable[Measure]) -> list[str]:
    return sorted(measure.title for measure in measures)


def controls(text: str) -> set[str]:
    return {
        char for char in text if char != "\n" and unicodedata.category(char) in {"Cc", "Cs", "Co"}
    }


class TestPage:
    def test_the_lens_is_told_at_the_token_that_is_selected(self) -> None:
        first, second = run("a b c d"), run("e f g")
        lens, last = first.get(LogitLens), len(first.tokens) - 1
        assert lens is not None
        lens.top_ids[-1, 1, 0] = 901
        lens.vocabulary[901] = " selected"

        def document() -> Document:
            return run_document(
                group_runs([first, second], SETTINGS),
                token_of=lambda result: 1 if result is first else len(result.tokens) - 1,
            )

        end = len(second.tokens) - 1
        page = checked(html_bytes(document()).decode()).text
        for text in (page, markdown_bytes(document()).decode()):
            assert f"token 1 of 0-{last}" in text
            assert f"token {end} of 0-{end}, the last" in text
            assert "selected" in text
        assert f"token {last} of 0-{last}, the last" in markdown([first])

    def test_it_is_self_contained_and_without_scripts(self) -> None:
        text = html([run(), hostile_run()])
        checker = checked(text)
        assert not checker.tags & {"script", "img", "link", "iframe", "object", "a", "form"}
        assert not [name for name in checker.attributes if name.startswith(("on", "src", "href"))]
        assert "http" not in re.sub(r"http-equiv|HTTP|https?://example", "", checked(text).text)
        assert "url(" not in text
        assert "default-src 'none'" in text
        assert "prefers-color-scheme:dark" in text

    def test_hostile_texts_are_shown_and_do_nothing(self) -> None:
        text = html([hostile_run()])
        checker = checked(text)
        assert controls(text) == set()
        assert "<script>alert" not in text
        assert "<script>alert(1)</script>" in checker.text
        assert "[on #ff0000]red[/]" in checker.text

    def test_there_is_a_heatmap_for_every_measure(self) -> None:
        measures = {
            measure for measure in OF_RUNS if measure.metric in ("contributions", "logit_lens")
        }
        assert heatmaps(html([run()])) == titles(measures)
        of_parts = {
            measure for measure in measures if measure.name.startswith(("attention", "mlp"))
        }
        assert heatmaps(html([run(split_missing="why")])) == titles(measures - of_parts)
        of_lens = {measure for measure in measures if measure.metric == "logit_lens"}
        without_lens = lacking(run(), "logit_lens")
        assert heatmaps(html([without_lens])) == titles(measures - of_lens)

    def test_there_is_a_curve_for_everything_that_depth_is_told_by(self) -> None:
        contributions = ["Cosine with the stream", "Contribution"]
        lens = ["Lens KL", "Lens overlap", "Lens margin of the answer"]
        assert curves(html([run()])) == contributions + lens
        assert curves(html([lacking(run(), "logit_lens")])) == contributions
        assert curves(html([lacking(run(), "contributions")])) == lens

    def test_the_slower_metrics_are_drawn(self) -> None:
        text = html([full_run()])
        assert heatmaps(text) == titles([*OF_RUNS, SHARE])
        bars = [sentence_case(values.title) for _, values in BY_LAYER if values.caption]
        assert {"Block influence", "Loss change", "Output effect"} < set(bars)
        drawn = [label for label in labels(text) if label.endswith(", by layer")]
        assert drawn[-len(bars) :] == [f"{bar}, by layer" for bar in bars]
        loss = re.search(r'<svg[^>]*aria-label="Loss change, by layer">(.*?)</svg>', text)
        assert loss is not None
        assert loss[1].count('<rect class="bars') == full_run().model.n_layers

    def test_beneath_each_picture_stands_what_it_shows(self) -> None:
        text = html([full_run()])
        figures = re.findall(r"<figure>.*?</figure>", text)
        meanings = [re.search(r'</svg><p class="soft">(.+?)</p></figure>', f) for f in figures]
        assert all(meanings)
        meanings_shown = {unescape(meaning[1]) for meaning in meanings if meaning is not None}
        ablation, kl = METRIC_BY_NAME["ablation"], MEASURE_BY_NAME["kl"]
        assert f"{ablation.description} {ablation.reading}" in meanings_shown
        assert kl.reading in meanings_shown

    def test_a_page_has_a_limit(self) -> None:
        count = html([run("1")]).count("<svg")
        drawn = [measure.values(run("1")) for measure in MEASURES]
        of_tokens = 4 * len(run("1").tokens)
        cells = sum(values.size for values in drawn if values is not None) + of_tokens
        groups = group_runs([run("1"), run("2")], SETTINGS)
        text = html_bytes(run_document(groups, most_cells=cells)).decode("utf-8")
        assert text.count("<svg") == count
        assert "the page would be too large" in text

    def test_the_answer_is_marked(self) -> None:
        assert html([run(tokens=5)]).count('<bdi class="answer">') == 1


@pytest.mark.parametrize("document", [html, markdown, table])
class TestEveryDocument:
    def test_a_stopped_run_says_so(self, document: Callable[[Sequence[RunResult]], str]) -> None:
        text = document([stopped_run()])
        assert not re.search(r"\bnan\b", text)
        assert "not every layer has been run" in re.sub(r"\s+", " ", text)
        assert "1 stopped run left out" in re.sub(r"\s+", " ", document([run(), stopped_run()]))

    def test_nothing_to_average_is_said(
        self, document: Callable[[Sequence[RunResult]], str]
    ) -> None:
        single = lacking(run(tokens=1), "contributions", "logit_lens")
        assert "nothing to average" in document([single])

    def test_a_run_without_the_paper_s_metrics_says_what_is_needed(
        self, document: Callable[[Sequence[RunResult]], str]
    ) -> None:
        result = lacking(full_run(), *(metric.name for metric in METRICS if metric.curves))
        result.settings = replace(result.settings, metrics=("similarity",))
        assert "contributions or logit" in re.sub(r"\s+", " ", document([result]))

    def test_what_cannot_be_had_is_said(
        self, document: Callable[[Sequence[RunResult]], str]
    ) -> None:
        text = re.sub(r"\s+", " ", document([full_run(), run()]))
        assert "no sum (1 of 2 prompts)" in text
        assert "Completeness error" in text
        assert "at most 3.00" in text

    def test_the_verdict_stands_first(self, document: Callable[[Sequence[RunResult]], str]) -> None:
        results = [full_run()]
        own = verdict(results, SETTINGS)
        assert own is not None
        text = " ".join(re.sub(r"\\(?=\W)", "", unescape(document(results))).split())
        assert 0 <= text.index(own.sentence) < text.index("overlap", text.index("criterion"))
        fast_runs = [run("one"), run("two")]
        # A narrow view breaks the line anywhere.
        text = "".join(document(fast_runs).replace("\\", "").split())
        of_fast_runs = verdict(fast_runs, SETTINGS)
        assert of_fast_runs is not None
        assert {"ablation", "context_depth", "order"} <= set(of_fast_runs.missing_metrics)
        assert f"Furtherevidence(--metrics{','.join(of_fast_runs.missing_metrics)})" in text


class TestMarkdown:
    def test_its_tables_are_tables_whatever_they_hold(self) -> None:
        of_every_run, of_left_out = 8, 2
        for results, count in (
            ([run(tokens=12)], of_every_run),
            ([hostile_run()], of_every_run),
            ([run(tokens=12, layers=28, name="Qwen2.5-7B-Instruct")], of_every_run),
            ([full_run()], of_every_run + of_left_out),
        ):
            text = re.sub(r"(?ms)^(`+)text$.*?^\1$", "", markdown(results))
            tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
            assert len(tables) == count
            for table in tables:
                cells = {len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) for row in table.splitlines()}
                assert len(cells) == 1
            rendered = MarkdownIt("commonmark").enable("table").render(text)
            assert rendered.count("<table>") == count

    def test_hostile_texts_are_no_markup(self) -> None:
        rendered = MarkdownIt("commonmark").enable("table").render(markdown([hostile_run()]))
        checker = checked(rendered)
        assert not checker.tags & {"script", "a", "img", "em", "strong", "b"}

    def test_the_prompt_stays_in_its_block(self) -> None:
        text = "before\n```\n# heading\n````\nafter"
        tokens = MarkdownIt("commonmark").parse(markdown([run(text)]))
        (block,) = [token for token in tokens if token.type == "fence"]
        assert block.content == text + "\n"

    @pytest.mark.parametrize("text", ["- x", "+ x", "= x", "===", "1. x", "2) x", "# x", "> x"])
    def test_a_line_stays_a_paragraph(self, text: str) -> None:
        rendered, plain = (
            MarkdownIt("commonmark").render(markdown([run(source=source)]))
            for source in (text, "plain")
        )
        assert not checked(rendered).tags & {"ol", "blockquote"}
        assert rendered.count("<li>") == plain.count("<li>")
        assert rendered.count("<h2>") == 1
        assert text in checked(rendered).text


class TestTable:
    def test_a_model_of_the_paper_fits_eighty_columns(self) -> None:
        text = table([run(layers=28, name="Qwen2.5-7B-Instruct")])
        assert "18 / 21 / 19" in text
        assert "…" not in text
        assert "Paper: layers used on HellaSwag / GSM8K / AIME24." in text

    def test_published_layers_stand_once_beneath_the_metrics(self) -> None:
        runs = [run(text, layers=30, name="SmolLM2-135M") for text in ("one", "two")]
        runs[1].prompt = replace(runs[1].prompt, task="addition")
        by_task = run_document(group_runs(runs, SETTINGS, "task"))
        for text in (table(runs[:1]), markdown_bytes(by_task).decode()):
            words = " ".join(text.split())
            assert words.count("Published for SmolLM2-135M, by another") == 1
            assert words.index("Prediction depth") < words.index("Published for")

    def test_markup_in_a_name_is_no_markup(self) -> None:
        assert "[bold]x[/]" in table([run(name="[bold]x[/]")])


def strangers() -> list[RunResult]:
    """Two sums between two typed prompts."""
    prompts = [Prompt("Mine", task="typed"), *(Prompt(f"{n} + 1", task="sums") for n in (1, 2))]
    prompts.append(Prompt("Other", task="typed"))
    return [
        replace(full_run(tokens=6 + 2 * seed, seed=seed), prompt=prompt)
        for seed, prompt in enumerate(prompts)
    ]


def flat(text: str) -> str:
    return " ".join(unescape(text).replace("\\", "").split())


class TestSession:
    @pytest.mark.parametrize("format_", [markdown_bytes, html_bytes])
    def test_runs_that_nobody_pooled_have_no_common_mean(
        self, format_: Callable[[Document], bytes]
    ) -> None:
        runs = strangers()
        text = flat(format_(run_document(group_runs(runs, SETTINGS, "none"))).decode("utf-8"))
        sizes = [len(run.tokens) for run in runs]
        assert re.findall(r"Means over (\d+) tokens of (\d+) prompt", text) == [
            (str(size), "1") for size in sizes
        ]
        sentences = [str(verdict([result], SETTINGS).sentence) for result in runs]
        for sentence in sentences:
            # In the list of verdicts, and at the head of the run's own part.
            assert text.count(sentence) == 2 * sentences.count(sentence)
        together = verdict(runs, SETTINGS)
        assert together is not None
        assert together.sentence not in text

    def test_a_task_is_pooled_where_that_is_asked(self) -> None:
        runs = strangers()
        text = flat(markdown_bytes(run_document(group_runs(runs, SETTINGS, "task"))).decode())
        assert re.findall(r"Means over (\d+) tokens of (\d+) prompt", text) == [
            ("6", "1"),
            ("18", "2"),
            ("12", "1"),
        ]
        assert "### 2-3 · sums, pooled" in text
        assert "#### Prompt 3" in text
        pooled = verdict(runs[1:3], SETTINGS)
        assert pooled is not None
        assert pooled.sentence in text

    def test_a_terminal_has_rows_and_verdicts_and_what_is_pooled(self) -> None:
        runs = strangers()
        alone, by_task = (flat(table(runs, 120, pool)) for pool in ("none", "task"))
        for text in (alone, by_task):
            sentences = [str(verdict([result], SETTINGS).sentence) for result in runs]
            for number, (result, own) in enumerate(zip(runs, sentences, strict=True), start=1):
                assert text.count(own) == sentences.count(own)
                assert f"{number} · {result.prompt.text}" in text
        assert "Means over" not in alone
        assert re.findall(r"Means over (\d+) tokens", by_task) == ["18"]

    def test_prompts_that_are_pooled_have_rows_too(self) -> None:
        runs = strangers()
        page = checked(html(runs)).text
        for text in (flat(page), flat(markdown(runs)), flat(table(runs, 120))):
            assert "1 · Mine" in text
        for text in (flat(page), flat(markdown(runs))):
            sentences = [str(verdict([result], SETTINGS).sentence) for result in runs]
            assert all(text.count(own) == sentences.count(own) for own in sentences)
        assert "1 · Mine" not in flat(markdown(runs[:1]))

    def test_the_levels_of_headings_have_no_gap(self) -> None:
        for pool in ("none", "task", "model"):
            text = markdown_bytes(run_document(group_runs(strangers(), SETTINGS, pool))).decode()
            levels = [len(mark) for mark in re.findall(r"(?m)^(#+) ", text)]
            assert levels[:2] == [1, 2]
            assert all(after - before <= 1 for before, after in pairwise(levels))


class TestLegible:
    def test_nothing_in_it_is_obeyed(self) -> None:
        for text in HOSTILE.values():
            assert not controls(printable_line(text))
            assert "\n" not in printable_line(text)
            printable_line(text).encode("utf-8")
            assert len(shortened(text, 10)) <= 10

    def test_plain_text_stays_plain(self) -> None:
        assert printable_line("The capital  of France ") == "The capital  of France "
        assert printable_line("") == ""
        assert shortened("abcdef", 6) == "abcdef"
        assert shortened("abcdefg", 6) == "abcde…"


def test_the_lens_that_runs_are_read_through_is_told() -> None:
    results = [lacking(full_run(text), "affine_lens", "jacobian_lens") for text in ("a", "b")]
    assert lens_sentence("jacobian", results) == (
        "Read through the Jacobian lens, which no run has."
    )
    results[1].put("jacobian_lens", smooth_lens(JacobianLens, results[1]))
    sentence = lens_sentence("jacobian", results)
    assert sentence.startswith("Read through the Jacobian lens, fitted on 40 texts")
    assert sentence.endswith(". 1 of 2 prompts have it.")
