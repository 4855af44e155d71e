"""What-ifs in reports: named by what is off, beside their clean run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthtui.data.lens import AffineLens, LogitLens
from depthtui.data.run import RunResult
from depthtui.data.run_settings import Skip, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.export import run_report
from depthtui.report.groups import RunGroup, group_runs
from depthtui.report.run_document import run_document
from depthtui.report.skips import skipped_text, without_text
from depthtui.report.what_if import Pairs
from tests.builders.lenses import smooth_lens
from tests.builders.results import run
from tests.hostile import HOSTILE

SETTINGS = SummarySettings()
OFF = (Skip(1), Skip(2))
KNOWN = {"layer_parameters": (100, 100, 150, 50)}


def both(text: str = "a b", loss: float = 2.0, change: float = 0.5) -> list[RunResult]:
    """A clean run, and the same without two layers, in which one of five tokens says another."""
    clean, changed = run(text, **KNOWN), run(text, **KNOWN)
    changed = replace(changed, settings=replace(changed.settings, skipped=OFF))
    for item, value in ((clean, loss), (changed, loss + change)):
        assert item.get(LogitLens) is not None
        item.get(LogitLens).next_log_probability[-1] = -value
        item.get(LogitLens).top_ids[-1, :, 0] = 1
        item.get(LogitLens).top_probabilities[-1, :, 0] = 0.75
        item.get(LogitLens).vocabulary = {1: " one", 2: " two"}
    changed.get(LogitLens).top_ids[-1, -1, 0] = 2
    return [clean, changed]


def groups_of(runs: Sequence[RunResult], settings: SummarySettings = SETTINGS) -> list[RunGroup]:
    return group_runs(runs, settings)


def pairs(group: RunGroup, groups: Sequence[RunGroup]) -> Pairs | None:
    """A what-if's only part beside its clean counterparts."""
    (part,) = group.parts
    return Pairs.of([other for other in groups if other.is_clean_of(group)], part)


def results_of(pair: Pairs | None) -> list[list[RunResult]]:
    """The clean runs, and the changed ones."""
    assert pair is not None
    return [list(pair.clean.runs), list(pair.changed.runs)]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([3], "layer 3"),
        (range(20, 30), "layers 20-29"),
        ([4, 3], "layers 3-4"),
        ([0, 2, 3, 4, 9], "layers 0, 2-4 and 9"),
    ],
)
def test_layers_are_told_as_ranges(layers: list[int], words: str) -> None:
    assert skipped_text([Skip(layer) for layer in layers]) == words


def test_sublayers_come_after_layers() -> None:
    off = [Skip(5, "mlp"), Skip(6, "mlp"), Skip(3), Skip(0, "attention")]
    assert without_text(off) == "without layer 3, layer 0 attention, layers 5-6 MLP"
    assert without_text([]) == ""


def test_a_what_if_is_paired_with_its_clean_run() -> None:
    clean, changed = groups_of(both())
    assert changed.title.endswith(", without layers 1-2")
    pair = pairs(changed, [clean, changed])
    assert results_of(pair) == [clean.results, changed.results]
    assert pairs(clean, [clean, changed]) is None
    assert pairs(changed, [changed]) is None
    (other,) = groups_of([run(dtype="bfloat16")])
    assert pairs(changed, [other, changed]) is None


def test_both_runs_are_read_by_one_lens() -> None:
    """A fitted lens reads clean runs alone, and depths by two lenses are not compared."""
    results = clean, changed = both()
    settings = SummarySettings(lens="affine")

    def depths() -> dict[str, tuple[str, ...]]:
        groups = groups_of(results, settings)
        pair = pairs(groups[1], groups)
        assert pair is not None
        return {name: row for name, *row in pair.rows() if "KL" in name}

    def logit() -> dict[str, tuple[str, ...]]:
        rows = Pairs(*(reading_of([result], SETTINGS) for result in results)).rows()
        return {f"{name}, logit lens": row for name, *row in rows if "KL" in name}

    clean.put("affine_lens", smooth_lens(AffineLens, clean))
    assert depths() == logit()
    changed.put("affine_lens", smooth_lens(AffineLens, changed))
    assert list(depths()) == ["effective depth, KL"]


def test_a_what_if_is_beside_clean_runs_of_any_choice() -> None:
    first, second = both("1"), both("2")
    for result, layers in ((first[0], "0-1"), (second[0], ""), (second[1], "0-2")):
        metrics = (*result.settings.metrics, "ablation")
        result.settings = replace(result.settings, metrics=metrics, layers=layers)
    runs = [*first, *second]
    groups = groups_of(runs)
    assert len(groups) == 3
    changed = next(group for group in groups if group.settings.skipped)
    pair = pairs(changed, groups)
    assert results_of(pair) == [[first[0], second[0]], [first[1], second[1]]]


def test_slower_metrics_of_a_clean_run_do_not_part_it_from_the_others() -> None:
    first, second = run("1"), run("2")
    more = replace(first.settings, metrics=(*first.settings.metrics, "similarity"))
    assert len(groups_of([replace(first, settings=more), second])) == 1
    less = replace(first.settings, metrics=("logit_lens",))
    assert len(groups_of([replace(first, settings=less), second])) == 2


def test_what_it_costs() -> None:
    clean, changed = groups_of(both())
    pair = pairs(changed, [clean])
    assert pair is not None
    rows = {name: cells for name, *cells in pair.rows()}
    assert rows["parameters in use"] == ["1,000", "750", "-25%"]
    assert rows["loss, nats"] == ["2.000", "2.500", "+0.500"]
    assert rows["same next token"] == ["", "4 of 5", ""]
    assert rows["next token"] == ["one 0.75", "two 0.75", ""]
    assert {"effective depth, cosine", "effective depth, KL", "effective depth, overlap"} <= set(
        rows
    )


def test_losses_are_weighted_by_tokens() -> None:
    runs = [*both("a b", 2.0, 1.0), *both("c d", 4.0, 0.0)]
    for result in runs[2:]:
        result.tokens = replace(result.tokens, ids=np.arange(2), texts=["a", "b"])
    clean, changed = groups_of(runs)
    pair = pairs(changed, [clean])
    assert pair is not None
    rows = {name: cells for name, *cells in pair.rows()}
    assert rows["loss, nats"] == ["2.400", "3.200", "+0.800"]
    assert [row[:4] for row in pair.by_prompt()] == [
        ("a b", "2.000", "3.000", "+1.000"),
        ("c d", "4.000", "4.000", "+0.000"),
    ]


def test_what_is_unknown_has_no_row() -> None:
    clean, changed = both()
    for share in (clean, changed):
        share.drop(("logit_lens",))
    unknown = [
        replace(share, model=replace(share.model, layer_parameters=()))
        for share in (clean, changed)
    ]
    (first, second) = groups_of(unknown)
    pair = pairs(second, [first])
    assert pair is not None
    names = {row[0] for row in pair.rows()}
    assert names == {"effective depth, cosine"}


def test_the_files_have_both_and_say_which_is_which(tmp_path: Path) -> None:
    text = "".join(HOSTILE.values())
    paths = run_report([*both(), *both(text)], SETTINGS).write(tmp_path)
    names = [path.name for path in paths if path.suffix == ".json"]
    assert names == ["summary-tiny.json", "summary-tiny-without-layers-1-2.json"]
    settings = json.loads((tmp_path / names[1]).read_text())["settings"]
    assert settings["skipped"] == [{"layer": 1, "part": "layer"}, {"layer": 2, "part": "layer"}]
    assert settings["parameters_skipped"] == 250
    clean = json.loads((tmp_path / names[0]).read_text())["settings"]
    assert clean.keys().isdisjoint(("skipped", "parameters_skipped"))
    for ending in ("md", "html"):
        page = (tmp_path / f"summary.{ending}").read_text()
        assert page.count("Beside the clean run") == 1
        assert page.count("Each prompt beside the clean run") == 1
        assert "8 of 10" in page
        assert "\x1b" not in page


def test_prompts_that_nobody_pooled_are_beside_their_clean_runs_one_by_one() -> None:
    runs = [*both("a b", 2.0, 1.0), *both("c d", 4.0, 0.0)]
    text = markdown_bytes(run_document(group_runs(runs, SETTINGS, "none"))).decode()
    assert text.count("### Each prompt beside the clean run") == 1
    assert "| a b | 2.000 | 3.000 | +1.000 |" in text
    assert "| c d | 4.000 | 4.000 | +0.000 |" in text
    assert text.count("#### Beside the clean run") == 2
    losses = re.findall(r"\| loss, nats \| ([^|]+) \| ([^|]+) \|", text)
    assert losses == [("2.000", "3.000"), ("4.000", "4.000")]
