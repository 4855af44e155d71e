"""The verdict's first page, alone: the number, the sentence, and the curve of what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.run import RunResult
from depthtui.data.sentence import Sentence
from depthtui.data.verdict import Verdict
from depthtui.metrics.kept import NAME
from depthtui.metrics.kept.result import Kept
from depthtui.tui.panes.under_cursor import PageBehind
from depthtui.tui.panes.verdict_pane import DIAL, VerdictPane
from tests.builders.metrics import smooth_metric
from tests.builders.results import make_result
from tests.tui.panes.drawing import cell, change, framed, lines, show, summary_of

SIZES = [(80, 22), (76, 16), (58, 17), (48, 10)]
"""A wide screen's page, and those at 80x24, 120x40 and 100x30."""


def measured(layers: int = 30, tokens: int = 40) -> RunResult:
    """A run with knowledge kept, of all tokens."""
    result = make_result(layers=layers, tokens=tokens)
    result.put(NAME, smooth_metric(NAME, result))
    return result


def with_kept(result: RunResult, **changes: object) -> RunResult:
    """The run with another result of knowledge kept."""
    found = result.get(Kept)
    assert found is not None
    result.put(NAME, replace(found, **changes))
    return result


def verdict_of(result: RunResult) -> Verdict:
    reading = summary_of(result)
    assert reading is not None
    assert reading.verdict is not None
    return reading.verdict


async def drawn(result: RunResult, size: tuple[int, int], **changes: object) -> list[str]:
    """The page's lines in a frame of this size."""
    pane = VerdictPane()
    async with framed(pane, size):
        shown = {"verdict": verdict_of(result)} | changes
        show(pane, result, summary_of(result), **shown)
        return lines(pane)


def braille(shown: list[str]) -> list[str]:
    """The lines with a curve."""
    return [line for line in shown if any("\u2800" < char <= "\u28ff" for char in line)]


@pytest.mark.parametrize("size", SIZES)
async def test_the_number_and_the_whole_sentence_are_there_at_every_size(
    size: tuple[int, int],
) -> None:
    result = measured()
    shown = await drawn(result, size)
    words = verdict_of(result).words
    text = " ".join(" ".join(shown).split())
    assert words.headline in text
    assert words.clauses[0] in text
    assert "…" not in text
    assert "of 30 layers" in text


async def test_the_headline_alone_is_bold() -> None:
    pane, result = VerdictPane(), measured()
    async with framed(pane, (160, 12)):
        show(pane, result, summary_of(result), verdict=verdict_of(result))
        headline = len(verdict_of(result).words.headline)
        line = next(y for y, text in enumerate(lines(pane)) if "keeps nine tenths" in text)
        assert cell(pane, headline - 1, line)[1].bold
        assert not cell(pane, headline, line)[1].bold


async def test_a_number_is_big_only_where_the_curve_has_room_too() -> None:
    low, high = await drawn(measured(), (58, 14)), await drawn(measured(), (80, 30))
    assert low[0].split()[1:4] == ["of", "30", "layers"]
    assert len(braille(low)) >= 2
    assert high[0].split()[0].strip("╺━╸┏┓┗┛┃╻╹┣┫┳┻") == ""
    assert " of 30 layers" in high[2]
    assert len(braille(high)) > len(braille(low))


async def test_the_dial_counts_at_another_share() -> None:
    pane, result = VerdictPane(), measured()
    async with framed(pane, (58, 13)):
        show(pane, result, summary_of(result), verdict=verdict_of(result))
        ninety = int(lines(pane)[0].split()[0])
        reliability = lines(pane)[0].split()[-1]
        assert reliability in ("firm", "here", "fragile")
        pane.turn_dial(-4)
        half = lines(pane)[0]
        assert " layers keep 50% of it" in half
        assert half.endswith(f" 90%: {reliability}")
        assert int(half.split()[0]) < ninety
        pane.turn_dial(-1)
        assert pane.stop == DIAL[0]
        pane.turn_dial(len(DIAL))
        assert pane.stop == DIAL[-1]
        assert int(lines(pane)[0].split()[0]) >= ninety


async def test_the_curve_grows_while_it_is_counted() -> None:
    result = measured()
    found = result.get(Kept)
    assert found is not None

    def columns(shown: list[str]) -> int:
        dots = (line[5:].rstrip() for line in braille(shown) if "90%" not in line)
        return max(map(len, dots), default=0)

    reach = []
    for known in (1, 8, 20):
        loss = found.loss.copy()
        loss[1:] = np.nan
        loss[0, known:] = np.nan
        partial = with_kept(measured(), loss=loss, kl=np.where(np.isnan(found.kl), 0, np.nan))
        shown = await drawn(partial, (58, 17))
        assert "is not counted (--metrics kept)" in " ".join(" ".join(shown).split())
        assert not any("of 30 layers  " in line for line in shown)
        reach.append(columns(shown))
    assert reach == sorted(reach)
    assert reach[0] < reach[-1]


async def test_the_time_left_is_named_while_it_is_counted() -> None:
    result = make_result(layers=30, tokens=40)
    metrics = (*result.settings.metrics, NAME)
    asked = replace(result, settings=replace(result.settings, metrics=metrics))
    shown = await drawn(asked, (58, 17), is_live=True, time_left="about 20 s left")
    assert any("Counting, about 20 s left …" in line for line in shown)


async def test_the_axis_of_the_curve_has_the_layers_that_are_kept() -> None:
    result = measured()
    (axis,) = (line for line in await drawn(result, (76, 16)) if line.endswith("0 kept"))
    count = verdict_of(result).headline
    assert count is not None
    assert axis.split()[0] == "30"
    assert f"▴{count.count} " in axis


async def test_where_too_little_is_known_there_is_no_number() -> None:
    result = measured()
    found = result.get(Kept)
    assert found is not None
    result = with_kept(result, guess=found.guess - 6)
    shown = await drawn(result, (58, 17))
    assert "knows too little" in " ".join(" ".join(shown).split())
    assert "of 30 layers" not in shown[0]
    assert "▴" not in "".join(shown)
    assert not any("keep" in line and "%" in line for line in shown[:1])


async def test_last_clauses_go_where_the_sentence_would_be_cut() -> None:
    result = measured()
    clauses = (" (7 to 9; one prompt).", *(f"Clause {place} is told." for place in range(9)))
    verdict = replace(verdict_of(result), words=Sentence("The model keeps it", clauses))
    text = " ".join(" ".join(await drawn(result, (40, 9), verdict=verdict)).split())
    assert "of 30 layers fragile The model keeps it (7 to 9; one prompt)." in text
    assert "Clause 2 is told. 90%" in text
    assert "Clause 3" not in text


async def test_words_that_rule_out_a_verdict_are_shown() -> None:
    words = "Too short: no verdict on 3 tokens"
    verdict = Verdict(Sentence(words), (), 30, warnings=(words,))
    shown = await drawn(measured(tokens=4), (58, 17), verdict=verdict)
    assert words in " ".join(" ".join(shown).split())
    assert "of 30 layers" not in "".join(shown), "a number would be a verdict"
    low = await drawn(make_result(layers=30, tokens=4), (24, 4), verdict=verdict)
    assert "z shows all" in low[-1] or words in " ".join(" ".join(low).split())


async def test_controls_and_warnings_stand_at_the_ends() -> None:
    result = measured()
    verdict = replace(verdict_of(result), warnings=("No answer is right.",))
    shown = await drawn(result, (80, 30), verdict=verdict, controls="Controls on 10 prompts.")
    filled = [line.strip() for line in shown if line.strip()]
    assert "No answer is right." in filled
    assert filled.index("No answer is right.") < next(
        place for place, line in enumerate(filled) if "keeps nine tenths" in line
    )
    assert filled[-1] == "Controls on 10 prompts."


async def test_its_key_computes_what_is_kept_first_and_opens_the_evidence() -> None:
    pane, result = VerdictPane(), make_result(layers=30, tokens=40)
    async with framed(pane, (58, 17)):
        show(pane, result, summary_of(result), verdict=verdict_of(result))
        assert pane.computes() == (NAME,)
        assert pane.under_cursor() == PageBehind("evidence")
        found = measured()
        change(pane, result=found, reading=summary_of(found))
        assert len(pane.computes()) > 1
        change(pane, result=None, reading=None, verdict=None)
        assert pane.under_cursor() is None
