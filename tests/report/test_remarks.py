"""Notes and bookmarks in every report."""

from __future__ import annotations

import json
from dataclasses import replace

from depthtui.data.lens import AffineLens, LogitLens
from depthtui.data.remarks import Bookmark, Remarks
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.report.export import run_report
from tests.builders.lenses import smooth_lens
from tests.builders.results import run
from tests.hostile import HOSTILE

NOTED = Remarks("The river <b>\nwas high.", (Bookmark(1, 2, "here [/]"), Bookmark(2, 4)))


def noted() -> RunResult:
    return replace(run(layers=4, tokens=5), remarks=NOTED)


def files(result: RunResult, lens: str = "logit") -> dict[str, str]:
    report = run_report([result], SummarySettings(lens=lens))
    return {name: report.files(name)[""].decode() for name in ("md", "html", "json")}


def test_every_report_has_them() -> None:
    result = noted()
    lens = result.get(LogitLens)
    assert lens is not None
    token = lens.vocabulary[int(lens.top_ids[2, 1, 0])]
    pages = files(result)
    (prompt,) = json.loads(pages["json"])["prompts"]
    assert prompt["note"] == NOTED.note
    text = result.tokens.texts[1]
    first = {"layer": 2, "token": 1, "text": text, "lens": token, "note": "here [/]"}
    assert prompt["bookmarks"][0] == first
    for name in ("md", "html"):
        assert "layer 2, token 1" in pages[name]
        assert "output, token 2" in pages[name]
    assert "The river &lt;b&gt;" in pages["html"]
    assert "here" in pages["md"]


def test_a_bookmark_has_the_words_of_the_chosen_lens() -> None:
    result = noted()
    lens = smooth_lens(AffineLens, result)
    lens.vocabulary[int(lens.top_ids[2, 1, 0])] = "Seine"
    result.put("affine_lens", lens)
    (row,) = (line for line in files(result, "affine")["md"].splitlines() if "layer 2, tok" in line)
    assert "Seine" in row
    assert "Seine" not in files(result)["md"]


def test_without_them_nothing_is_said() -> None:
    pages = files(run())
    assert all("bookmark" not in content for content in pages.values())
    assert "note" not in json.loads(pages["json"])["prompts"][0]


def test_hostile_notes_are_exported() -> None:
    result, text = run(), "".join(HOSTILE.values())
    notes = (text, *HOSTILE.values())
    files(replace(result, remarks=Remarks(text, tuple(Bookmark(0, 0, note) for note in notes))))
