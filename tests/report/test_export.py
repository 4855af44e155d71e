"""Files on disk: whole, or not there."""

from __future__ import annotations

import csv
import json
import re
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthtui import ramps
from depthtui.cli.output import report_runs
from depthtui.cli.shared_options import OutOptions
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Skip, SummarySettings
from depthtui.depth import reading
from depthtui.errors import DepthError
from depthtui.metrics import kept
from depthtui.metrics.contributions import Contributions
from depthtui.report import figures
from depthtui.report.blocks import Document, Figure, Line, Panel
from depthtui.report.export import run_report
from depthtui.report.figures import png_bytes, svg_bytes
from depthtui.report.formats import FORMATS, Report, check_folder, default_formats
from depthtui.report.look import Look
from depthtui.settings import Settings
from tests.builders.metrics import smooth_metric
from tests.builders.results import random_result, run
from tests.hostile import HOSTILE

SETTINGS = SummarySettings()
ALONE = Look(is_alone=True)
WHOLE = [f"summary.{end}" for end in default_formats("runs") if FORMATS[end].has_whole("runs")]
"""The files of a report, without those of its figures."""


def test_every_format_is_written_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    paths = run_report([run()], SETTINGS).write(folder)
    assert [path.name for path in paths] == [*WHOLE, "figures"]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert all(path.stat().st_size for path in paths)


def test_pages_and_the_pictures_in_them_have_the_colours_of_the_palette(tmp_path: Path) -> None:
    (path,) = run_report([run()], SETTINGS, palette="amber").write(tmp_path, ["html"])
    page = path.read_text("utf-8")
    for dark, name in ((False, "amber"), (True, "amber"), (False, "depth"), (True, "depth")):
        for colour in map(ramps.css, ramps.sequential(dark, name)[1:-1]):
            fill = f"fill:{colour}" if dark else f'fill="{colour}"'
            assert (fill in page) == (name == "amber")


def test_a_figure_is_a_file_named_by_its_title_as_the_page_shows_it(tmp_path: Path) -> None:
    report = run_report([run("one"), run("two")], SETTINGS)
    page, figures = report.write(tmp_path, ["html", "svg", "csv"])
    drawn = {path.stem: path.read_text("utf-8") for path in figures.glob("*.svg")}
    text = page.read_text("utf-8")
    assert len(drawn) == text.count("<figure>")
    assert all('fill="#ffffff"' in picture for picture in drawn.values()), "on paper"
    assert {"contribution", "layer-contribution-prompt-1", "layer-contribution-prompt-2"} <= set(
        drawn
    )
    assert {path.stem for path in figures.glob("*.csv")} == set(drawn)
    assert report.write(tmp_path, ["svg"], "monday") == [tmp_path / "monday-figures"]


def test_the_numbers_of_a_figure_can_be_read_back(tmp_path: Path) -> None:
    result = run("one")
    (figures,) = run_report([result], SETTINGS).write(tmp_path, ["csv"])
    with open(figures / "layer-contribution.csv", encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head[0] == "y: layer; x: token; values: |c| / |h|"
    assert len(head) == len(result.tokens) + 1
    values = [[float(cell or "nan") for cell in row[1:]] for row in rows]
    np.testing.assert_allclose(values, result.get(Contributions).layer_norm_ratio, rtol=1e-6)


def test_numbers_of_layers_kept_fall_as_in_their_figure(tmp_path: Path) -> None:
    result = run()
    found = smooth_metric(kept.NAME, result)
    # The curve ends where it costs more than anybody allows.
    result.put(kept.NAME, replace(found, kl=found.kl * 40))
    (figures,) = run_report([result], SETTINGS).write(tmp_path, ["csv"])
    path = figures / "kl-to-its-own-output-as-layers-leave.csv"
    with open(path, encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head[0] == "x: layers kept"
    counts = [int(row[0]) for row in rows]
    assert counts == list(range(result.model.n_layers, counts[-1] - 1, -1))
    assert len(counts) < result.model.n_layers
    assert float(rows[0][1]) == 0


def test_a_png_is_the_svg_at_twice_the_size_with_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figure = Figure("Kept", Panel([Line(np.ones(2), "mean", "mean")], 2, up="layers"))
    drawing, whole = png_bytes(figure, ALONE), svg_bytes(figure, ALONE)
    width, height = struct.unpack(">II", drawing[16:24])
    assert f'width="{width // 2}" height="{height // 2}"'.encode() in whole
    textless = re.sub(b"<text.*?</text>", b"", whole)
    monkeypatch.setattr(figures, "svg_bytes", lambda *_: textless)
    assert len(png_bytes(figure, ALONE)) < len(drawing)


@pytest.mark.parametrize(
    ("name", "beginning"), [("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF-1.7\n")]
)
def test_a_figure_is_drawn_of_any_text_and_is_known_as_a_report(
    name: str, beginning: bytes, tmp_path: Path
) -> None:
    lines = [Line(np.ones(2), f"m{n}", text) for n, text in enumerate(HOSTILE.values())]
    path = tmp_path / f"kept.{name}"
    for title in HOSTILE.values():
        path.write_bytes(FORMATS[name].draw(Figure(title, Panel(lines, 2)), ALONE))
        assert FORMATS[name].is_report(path)
        # Every label once is enough.
        lines = lines[:1]
    path.write_bytes(beginning + bytes(100))
    assert not FORMATS[name].is_report(path)


def test_figures_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DepthError, match="figures is a link"):
        check_folder(tmp_path / "out", "runs", ["csv"])
    with pytest.raises(DepthError, match="figures is a link"):
        run_report([run()], SETTINGS).write(tmp_path / "out", ["md", "csv"])
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["figures"]


def test_a_report_of_no_figures_is_refused_where_nothing_else_is_written(tmp_path: Path) -> None:
    report = Report("runs", lambda: Document("Empty", []), {})
    with pytest.raises(DepthError, match="no figures"):
        report.write(tmp_path, ["svg"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_others_among_the_figures_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "figures" / "contribution.csv"
    path.parent.mkdir()
    path.write_text("layer,mine\n")
    with pytest.raises(DepthError, match="no report of depthtui"):
        run_report([run()], SETTINGS).write(tmp_path, ["csv"])
    assert path.read_text() == "layer,mine\n"
    path.unlink()
    for _ in range(2):
        run_report([run()], SETTINGS).write(tmp_path, ["csv"])
    assert path.read_text().startswith('"x: layer","y: ')


def test_formats_and_name_are_chosen(tmp_path: Path) -> None:
    (path,) = run_report([run()], SETTINGS).write(tmp_path, ["json"], name="monday")
    assert path == tmp_path / "monday.json"


def test_each_model_has_its_json(tmp_path: Path) -> None:
    runs = [run(name="a"), run(name="b/c [x]"), run("2", name="a"), run(dtype="bfloat16", name="a")]
    paths = run_report(runs, SETTINGS).write(tmp_path, ["json", "html"])
    assert [path.name for path in paths] == [
        "summary-a.json",
        "summary-b-c-x.json",
        "summary-a-2.json",
        "summary.html",
    ]
    assert [len(json.loads(path.read_text())["prompts"]) for path in paths[:3]] == [2, 1, 1]


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    runs = [run(name="../../x"), run(name="\x00..")]
    for path in run_report(runs, SETTINGS).write(tmp_path / "out", ["json"]):
        assert path.resolve().parent == tmp_path / "out"


def test_reports_of_before_are_replaced(tmp_path: Path) -> None:
    report = run_report([run()], SETTINGS)
    paths = report.write(tmp_path)
    assert run_report([run(), run("2")], SETTINGS).write(tmp_path) == paths
    assert len(json.loads((tmp_path / "summary.json").read_text())["prompts"]) == 2


OF_OTHERS = {
    "md": b"# Effective depth\n\nMy notes.\n",
    "json": b'{"schema": 1, "model": {}}',
    "html": b"<!doctype html><title>Effective depth</title>",
    "safetensors": bytes(8) + b'{"__metadata__":{"format":"pt"}',
}


@pytest.mark.parametrize("format_", OF_OTHERS)
def test_a_file_of_others_is_not_replaced_and_nothing_is_written(
    tmp_path: Path, format_: str
) -> None:
    path = tmp_path / f"summary.{format_}"
    path.write_bytes(OF_OTHERS[format_])
    with pytest.raises(DepthError, match="no report of depthtui") as caught:
        run_report([run()], SETTINGS).write(tmp_path)
    assert str(path) in caught.value.message
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == OF_OTHERS[format_]


def test_a_link_is_not_replaced_even_to_a_report(tmp_path: Path) -> None:
    (path,) = run_report([run()], SETTINGS).write(tmp_path, ["json"], "kept")
    (tmp_path / "summary.json").symlink_to(path)
    with pytest.raises(DepthError, match="no report of depthtui"):
        run_report([run(), run()], SETTINGS).write(tmp_path, ["json"])
    assert (tmp_path / "summary.json").is_symlink()
    assert len(json.loads(path.read_text())["prompts"]) == 1


def test_a_file_of_others_where_one_of_several_models_would_be_stays_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "summary-b.json").write_text("mine")
    runs = [run(name="a"), run(name="b")]
    with pytest.raises(DepthError, match=r"summary-b.json is no report of depthtui"):
        run_report(runs, SETTINGS).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary-b.json"]
    assert (tmp_path / "summary-b.json").read_text() == "mine"


def test_nothing_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="nothing to export"):
        run_report([], SETTINGS)


@pytest.mark.parametrize("where", ["file", "file/folder"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DepthError) as caught:
        run_report([run()], SETTINGS).write(tmp_path / where)
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_depth_and_no_interval_is_computed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page, the JSON and the terminal read the same readings, those of a what-if too."""
    clean = [
        replace(random_result(8, 12, seed=seed), prompt=Prompt(f"prompt {seed}"))
        for seed in range(5)
    ]
    off = replace(clean[0].settings, skipped=(Skip(1),))
    runs = [*clean, *(replace(result, settings=off) for result in clean)]
    computed: Counter[str] = Counter()

    def count(name: str) -> None:
        original = getattr(reading, name)

        def counted(*given: object, **named: object) -> object:
            computed[name] += 1
            return original(*given, **named)

        monkeypatch.setattr(reading, name, counted)

    count("estimate_depths")
    count("count_interval")
    run_report(runs, Settings().summary_settings()).write(tmp_path, ["json"])
    needed, computed = computed, Counter()
    assert needed["estimate_depths"] == 12  # of each run, and of each model's runs together
    assert needed["count_interval"]
    report_runs(
        runs,
        Settings(),
        Settings().summary_settings(),
        OutOptions(tmp_path, ("html", "json", "md")),
    )
    assert computed == needed
