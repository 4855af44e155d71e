"""`depthtui figure`: a figure of a session or a sweep, in the size and font asked for."""

from __future__ import annotations

import csv
import re
import struct
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.shell_completion import ShellComplete

from depthtui.cli import commands, main
from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rules import overlap
from depthtui.report.export import run_report
from depthtui.report.formats import FORMATS
from depthtui.sweep.saved import open_sweep
from depthtui.sweep.summary import summarise_sweep
from tests.builders.lists import plant
from tests.builders.results import full_run, run
from tests.builders.sessions import save, saved_result
from tests.sweep.sweeps import make_plan, sweep

Output = pytest.CaptureFixture[str]


@pytest.fixture
def session(cache: Path) -> str:
    results = [full_run("The ferry was late.", 1), full_run("Two and two is four.", 2)]
    return save(cache, *(saved_result(cache, result) for result in results))


def numbers(path: Path) -> tuple[list[str], np.ndarray]:
    with open(path, encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return head, np.array([[float(cell or "nan") for cell in row] for row in rows])


def test_the_numbers_beside_a_heatmap_are_those_of_the_run(
    cache: Path, tmp_path: Path, capsys: Output
) -> None:
    result = run("The ferry was late.")
    name = save(cache, saved_result(cache, result))
    out = tmp_path / "new" / "fig.svg"
    command = ["figure", "heatmap", name[:8], "--measure", "kl", "--out", str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"wrote {out}\nwrote {out.with_suffix('.csv')}\n"
    head, values = numbers(out.with_suffix(".csv"))
    assert head[0].startswith("y: depth; x: token")
    np.testing.assert_allclose(values[:, 1:], result.get(LogitLens).kl, rtol=1e-6)


def test_the_numbers_beside_curves_are_those_of_the_sweep(cache: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "sweep", tmp_path / "fig.csv"
    sweep(make_plan(tasks=("addition:1-2",)), folder)
    command = ["figure", "curves", str(folder), "--measure", "overlap", "--out", str(out)]
    assert main([*command, "--only", "alpha"]) == 0
    head, values = numbers(out)
    cells = [
        cell
        for cell in summarise_sweep(open_sweep(folder, pytest.fail)).cells
        if cell.title == "alpha"
    ]
    names = [cell for cell in head[1:] if not cell.endswith(("; low", "; high"))]
    assert [name.rsplit("; ")[-1] for name in names] == [cell.cell.task.title for cell in cells]
    for name, cell in zip(names, cells, strict=True):
        expected = cell.curves[overlap.RULE.curve]
        np.testing.assert_allclose(values[:, head.index(name)], expected, rtol=1e-6)
    # The file is the numbers alone.
    assert {path.name for path in tmp_path.iterdir()} == {"fig.csv", "sweep"}


class TestSizes:
    def draw(self, session: str, out: Path, *options: str) -> bytes:
        command = ["figure", "left-out", session, "--only", "1", "--out", str(out), *options]
        assert main(command) == 0
        return out.read_bytes()

    def test_a_pdf_has_the_width_asked_for_and_its_text_in_embedded_fonts(
        self, session: str, tmp_path: Path
    ) -> None:
        content = self.draw(session, tmp_path / "fig.pdf", "--width", "8cm")
        (box,) = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) [\d.]+\]", content)
        assert float(box) == pytest.approx(80 / 25.4 * 72, abs=0.01)
        assert b"/Type3" not in content
        assert content.count(b"/Subtype/Type0") == 1
        assert b"/FontFile" in content
        assert b"/Image" not in content.replace(b"/ImageB", b"").replace(b"/ImageC", b"")

    def test_the_same_results_are_the_same_pdf(self, session: str, tmp_path: Path) -> None:
        first = self.draw(session, tmp_path / "fig.pdf")
        assert self.draw(session, tmp_path / "fig.pdf") == first
        assert b"CreationDate" not in first

    def test_a_png_has_dots_for_print_and_its_size(self, session: str, tmp_path: Path) -> None:
        content = self.draw(session, tmp_path / "fig.png", "--width", "2.5in")
        width, _ = struct.unpack(">II", content[16:24])
        assert width == 750
        at = content.index(b"pHYs")
        assert struct.unpack(">IIB", content[at + 4 : at + 13]) == (11811, 11811, 1)

    def test_an_svg_has_the_unit_font_and_size_asked_for(
        self, session: str, tmp_path: Path
    ) -> None:
        options = ["--width", "90mm", "--font", "Times New Roman", "--font-size", "9pt"]
        root = ElementTree.fromstring(self.draw(session, tmp_path / "fig.svg", *options))
        assert root.get("width") == "90mm"
        assert root.get("font-family") == "'Times New Roman', serif"
        _, _, units, _ = map(float, root.get("viewBox", "").split())
        points = float(root.get("font-size", "")) * 90 / 25.4 * 72 / units
        assert points == pytest.approx(9, rel=1e-4)

    def test_a_font_asked_for_is_in_the_pdf(self, session: str, tmp_path: Path) -> None:
        usual = self.draw(session, tmp_path / "fig.pdf")
        asked = self.draw(session, tmp_path / "fig.pdf", "--font", "New Computer Modern")
        assert b"+LibertinusSerif" in usual
        assert b"+NewCM" in asked
        assert b"+LibertinusSerif" not in asked


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--out", "fig.doc"], 1, "fig.doc has not the ending of a figure. End it in .csv, .svg"),
        (["--out", "fig"], 1, "fig has not the ending of a figure"),
        (["--width", "wide"], 2, "'wide' is no length, such as 3.25in"),
        (["--width", "1in"], 1, "1in wide has no room for text of 8pt"),
        (["--font-size", "1pt"], 2, "1pt is not from 3pt to 72pt"),
        (["--font", "No Such Font"], 1, "This machine has no font No Such Font"),
        (["--font", "a'b<c>"], 1, "is no family of fonts"),
        (["--only", "3"], 1, "There is no result '3'. There are: 1 The ferry was late."),
        (["--measure", "chioces"], 1, "Did you mean choices or parts_choices?"),
    ],
)
def test_bad_input_is_a_clear_error_and_nothing_is_written(
    options: list[str], status: int, words: str, session: str, tmp_path: Path, capsys: Output
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    named = ["--out", str(files / (options[1] if options[0] == "--out" else "fig.pdf"))]
    others = [] if options[0] == "--out" else options
    assert main(["figure", "left-out", session, *named, *others]) == status
    assert words in " ".join(capsys.readouterr().err.split())
    assert list(files.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing", "No session is named nothing."),
        (".", "has neither a sweep nor the arrays of a run. Measure with `depthtui run --format"),
        ("summary.json", "has neither a sweep nor the arrays of a run"),
    ],
)
def test_a_source_that_is_none_is_an_error(
    source: str, words: str, cache: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "summary.json").write_text("{}")
    place = source if source == "nothing" else str(tmp_path / source)
    assert main(["figure", "left-out", place, "--out", str(tmp_path / "fig.pdf")]) == 1
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_sweep_has_no_values_of_tokens(cache: Path, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "sweep"
    sweep(make_plan(models=("alpha",), tasks=("commonsense", "grade_school")), folder)
    command = ["figure", "heatmap", str(folder), "--out", str(tmp_path / "fig.pdf")]
    assert main(command) == 1
    assert "Name a session or a run: a sweep keeps no values" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fig.pdf", "fig.csv"])
def test_another_file_stays(name: str, session: str, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / name).write_bytes(b"%PDF-1.7\nmine")
    out = tmp_path / "fig.pdf"
    assert main(["figure", "left-out", session, "--out", str(out)]) == 1
    assert "is no figure of depthtui, and was left as it is" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"%PDF-1.7\nmine"
    assert [path.name for path in tmp_path.glob("fig.*")] == [name]


def test_a_run_that_the_cache_lost_is_named_and_the_others_are_drawn(
    cache: Path, tmp_path: Path, capsys: Output
) -> None:
    # Of another model between them: a list by model would have other numbers, too.
    there = [run("One", seed=1), run("Two", seed=2, name="b"), run("Three", seed=3)]
    runs = [saved_result(cache, result) for result in there]
    runs.insert(1, saved_result(cache, run("Gone"), in_cache=False))
    name, out = save(cache, *runs), tmp_path / "fig.csv"
    command = ["figure", "heatmap", name, "--measure", "kl", "--out", str(out), "--only"]
    for number, result in zip((1, 3, 4), there, strict=True):
        assert main([*command, str(number)]) == 1
        assert "Run 2, “Gone”" in capsys.readouterr().err
        np.testing.assert_allclose(numbers(out)[1][:, 1:], result.get(LogitLens).kl, rtol=1e-6)
    assert main([*command, "2"]) == 1
    listed = "There is no result '2'. There are: 1 tiny, One; 3 b, Two; 4 tiny, Three."
    assert listed in capsys.readouterr().err


def test_without_its_library_a_pdf_is_refused_with_the_command_that_installs_it(
    session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    lacking = replace(FORMATS["pdf"], libraries=["no_such_library"])
    plant(monkeypatch, FORMATS, "pdf", lacking)
    command = ["figure", "left-out", session, "--out"]
    assert main([*command, str(tmp_path / "fig.pdf")]) == 1
    assert re.search(r"pip install .*\[figures\]", capsys.readouterr().err)
    assert main([*command, str(tmp_path / "fig.svg")]) == 0


def test_a_run_with_its_arrays_is_drawn_as_its_session_is(
    cache: Path, tmp_path: Path, capsys: Output
) -> None:
    results = [full_run("The ferry was late.", 1), full_run("Two and two is four.", 2)]
    session = save(cache, *(saved_result(cache, result) for result in results))
    settings = SummarySettings(kl_threshold=0.4, overlap_threshold=0.6)
    run_report(results, settings).write(tmp_path / "mine", ["safetensors"])
    drawn = {}
    for source in (session, str(tmp_path / "mine"), str(tmp_path / "mine/summary.safetensors")):
        for kind, measure in (("left-out", "kept"), ("curves", "kl"), ("heatmap", "overlap")):
            command = ["figure", kind, source, "--measure", measure, "--only", "2"]
            assert main([*command, "--out", str(tmp_path / "fig.svg")]) == 0
            drawn.setdefault(kind, set()).add((tmp_path / "fig.svg").read_bytes())
    assert {kind: len(files) for kind, files in drawn.items()} == dict.fromkeys(drawn, 1)


@pytest.mark.parametrize("cut", [20, 400, -1])
def test_a_damaged_file_of_arrays_is_an_error(cut: int, tmp_path: Path, capsys: Output) -> None:
    run_report([run()], SummarySettings()).write(tmp_path, ["safetensors"])
    path = tmp_path / "summary.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    command = ["figure", "curves", str(path), "--measure", "kl", "--out", str(tmp_path / "f.svg")]
    assert main(command) == 1
    assert re.search(r"is no file of runs|is damaged", capsys.readouterr().err)


def test_a_shell_completes_sessions_then_folders(session: str) -> None:
    complete = ShellComplete(commands, {}, "depthtui", "_DEPTHTUI_COMPLETE")
    (item,) = complete.get_completions(["figure", "left-out"], session[:8])
    assert item.value == session
    (folder,) = complete.get_completions(["figure", "left-out"], "mine")
    assert (folder.type, folder.value) == ("dir", "mine")
