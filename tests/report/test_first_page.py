"""The first page of a report: the sentence, one curve, few numbers; all else is folded."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import unescape
from importlib.resources import files

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.reading import reading_of
from depthtui.metrics import kept
from depthtui.report.first_page import number_rows
from tests.builders.answers import answered_runs
from tests.builders.results import full_result, full_run, run
from tests.report.test_documents import checked, html, markdown

SETTINGS = SummarySettings()


def kept_runs() -> list[RunResult]:
    """Six prompts with answers."""
    settings = RunSettings(metrics=("contributions", "logit_lens", "kept"))
    texts = [f"{n} two three four five six seven eight nine ten eleven {n}" for n in range(6)]
    return [full_result(Prompt(text, text[-2:]), settings=settings) for text in texts]


def test_the_page_opens_with_the_sentence_the_curve_and_at_most_six_numbers() -> None:
    results = kept_runs()
    verdict = reading_of(results, SETTINGS).verdict
    assert verdict is not None
    page = html(results)
    first_page, *chapters = page.split("<details>")
    text = unescape(first_page)
    places = [text.index(part) for part in (verdict.sentence, "<figure>", "<table")]
    assert places == sorted(places)
    assert first_page.count("<svg") == first_page.count("<table") == 1
    assert "Knowledge kept, answers" in first_page
    assert 1 < first_page.count("<tr><td>") <= 6
    titles = [re.match(r"<summary><h3>(.*?)</h3>", chapter) for chapter in chapters]
    folded = [title[1] for title in titles if title is not None]
    assert folded[:3] == ["Evidence", "Effective depth by each rule", "Each prompt"]
    assert folded[-1] == "How it was measured"
    assert "<details open" not in page
    checked(page)


def test_markdown_has_the_same_order() -> None:
    results = kept_runs()
    titles = re.findall(r"<h3>(.*?)</h3>", html(results))
    only_drawn = {"Over depth", "By layer", "Knowledge kept"}
    headings = re.findall(r"(?m)^### (.*)", markdown(results))
    assert [title for title in titles if title not in only_drawn] == [
        heading for heading in headings if heading in titles
    ]


def test_the_numbers_are_those_of_the_verdict() -> None:
    reading = reading_of(kept_runs(), SETTINGS)
    verdict = reading.verdict
    assert verdict is not None
    headline = verdict.headline
    assert headline is not None
    assert headline.count is not None
    assert headline.half is not None
    numbers = {name: (value, range_) for name, value, range_, _ in number_rows(reading, verdict)}
    assert numbers["layers that keep nine tenths"][0] == f"{math.ceil(headline.count)} of 30"
    assert headline.half_range is not None
    between = " to ".join(dict.fromkeys(map(str, headline.half_range)))
    assert numbers["layers that keep half"] == (f"{headline.half} of 30", between)
    assert numbers["mean depth"][0] == f"{headline.mean_depth:.1f} of 30"
    assert numbers["known of a token"][0] == f"{headline.gain:.1f} nats"
    assert " to " in numbers["mean depth"][1]
    assert re.fullmatch(r"\d of 6", numbers["right answers"][0])


def test_right_answers_and_the_layers_that_they_need_have_their_ranges() -> None:
    reading = reading_of(answered_runs(48, 0, 0, 12, at=30), SETTINGS)
    verdict = reading.verdict
    assert verdict is not None
    rows = {name: row for name, *row in number_rows(reading, verdict)}
    assert rows["right answers"] == ["48 of 60", "68% to 88%", ""]
    assert rows["layers that the answers need"] == ["1 of 30", "1", "holds here"]
    layers = reading.get(kept.METRIC).layers
    assert (
        f"48 of 60 answers are right, 48 with the {layers} layers; 1 layer keeps"
        in verdict.sentence
    )


def test_the_next_token_is_decided_at_a_depth() -> None:
    reading = reading_of([full_run(tokens=12)], SETTINGS)
    assert reading.verdict is not None
    decided = Evidence("readable", "margin", "decided", 3, 2, 4, firm=False)
    *_, row = number_rows(reading, replace(reading.verdict, evidence=(decided,)))
    assert row == ["the next token is decided", "depth 3 of 4", "2 to 4", "fragile"]


def test_without_a_verdict_the_page_has_no_numbers() -> None:
    first_page, *_ = html([run("too short")]).split("<details>")
    assert "Too short: no verdict" in first_page
    assert "keep nine tenths" not in first_page
    assert "<svg" not in first_page


def test_the_rules_are_on_the_first_page_where_nothing_is_known_to_be_kept() -> None:
    first_page, *_ = html([run(tokens=12)]).split("<details>")
    assert "is not counted (--metrics kept)" in first_page
    assert "<h3>Effective depth by each rule</h3>" in first_page


def test_paper_has_the_open_chapters_and_no_table_is_cut() -> None:
    css = (files("depthtui.report") / "report.css").read_text(encoding="utf-8")
    on_screen, on_paper = css.split("@media print")
    assert "@page { size: A4;" in on_screen
    assert "details:not([open]) { display: none; }" in on_paper
    assert ".wide { overflow: visible; }" in on_paper
    assert re.search(r"tr, figure, .legend { break-inside: avoid; }", on_paper)
    assert re.search(r":first-child { position: sticky; left: 0;", on_screen)
    assert ":first-child { position: static; }" in on_paper
