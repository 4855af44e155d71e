"""One list of formats: what it says can be written is written, and a new line is all it takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.report.blocks import Document
from depthtui.report.export import run_report
from depthtui.report.format import Format, Subject
from depthtui.report.formats import (
    FORMATS,
    check_folder,
    default_formats,
    format_help,
    format_titles,
)
from tests.builders.lists import plant
from tests.builders.results import run
from tests.golden.renew import golden_files
from tests.odd_files import ODD_FILES, put_odd_file

PROMISED: Mapping[Subject, set[str]] = {
    "runs": {"md", "csv", "json", "html", "safetensors", "parquet", "svg", "png", "pdf"},
    "sweeps": {"md", "csv", "json", "html", "parquet", "svg", "png", "pdf"},
}
"""The formats that users rely on; the other tests loop over `FORMATS`."""


NO_REPORTS = ("card-of-parts", "diff")
"""Golden documents that are printed, or lie beside a model: no export replaces them."""


@pytest.mark.parametrize("subject", PROMISED)
def test_the_formats_are_told_in_a_sentence(subject: Subject) -> None:
    titles = format_titles(subject)
    assert PROMISED[subject] <= titles.keys()
    others, last = format_help(subject).split(" or ")
    assert [*others.split(", "), last] == list(titles)


def test_a_format_is_rendered_or_made_of_the_data_or_of_figures() -> None:
    report = run_report([run()], SummarySettings())
    formats_of_runs = [FORMATS[name] for name in format_titles("runs")]
    assert {each.name for each in formats_of_runs if "runs" in each.data} == set(report.data)
    for each in formats_of_runs:
        assert each.has_whole("runs") or each.figure
        assert not (each.renderer and each.data)


def test_every_report_is_known_as_one_and_of_its_format_alone() -> None:
    for path in golden_files().values():
        if path.suffix == ".txt" or path.parent.name in NO_REPORTS:
            continue
        names = [format_.name for format_ in FORMATS.values() if format_.is_report(path)]
        assert names == [path.suffix[1:]]


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_file_is_no_report(tmp_path: Path, kind: str) -> None:
    put_odd_file(tmp_path / "summary.md", kind)
    assert not FORMATS["md"].is_report(tmp_path / "summary.md")


def test_no_formats_are_no_files(tmp_path: Path) -> None:
    assert run_report([run()], SummarySettings()).write(tmp_path, []) == []


def test_a_format_without_its_libraries_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "png" not in default_formats("sweeps")
    lacking = replace(FORMATS["png"], libraries=["no_such_library"])
    plant(monkeypatch, FORMATS, "png", lacking)
    with pytest.raises(DepthError, match=r"png needs libraries .*pip install .*\[figures\]"):
        check_folder(tmp_path / "out", "runs", ["json", "png"])
    with pytest.raises(DepthError, match="png needs libraries"):
        run_report([run()], SummarySettings()).write(tmp_path / "out", ["json", "png"])
    assert list(tmp_path.iterdir()) == []


def test_a_new_format_is_a_line_and_a_renderer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(document: Document) -> bytes:
        return document.title.encode()

    renderer = ModuleType("as_title")
    monkeypatch.setattr(renderer, "render", render, raising=False)
    monkeypatch.setitem(sys.modules, "as_title", renderer)
    as_title = Format("title", "The title", b"title", "as_title:render")
    plant(monkeypatch, FORMATS, "title", as_title)
    assert format_titles("sweeps")["title"] == "The title"
    (path,) = run_report([run()], SummarySettings()).write(tmp_path, ["title"])
    assert (path.name, path.read_bytes()) == ("summary.title", b"Effective depth")
