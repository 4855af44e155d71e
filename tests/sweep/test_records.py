"""What is kept of a prompt, and when it counts as the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import AffineLens, JacobianLens
from depthtui.data.run import Prompt
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings, SummarySettings
from depthtui.depth.effective_depth import prompt_curves, summarise
from depthtui.metrics.lens_view import through
from depthtui.report.summary import summary_dict
from depthtui.sweep.plan import Cell, TaskChoice
from depthtui.sweep.records import (
    DamagedRecord,
    Record,
    read_record,
    record_bytes,
    record_key,
    record_of,
)
from depthtui.sweep.summary import CellSummary
from tests.builders.lenses import random_lens
from tests.builders.results import full_run, hostile_run, lacking, run

CELL = Cell(ModelSpec("alpha"), TaskChoice("addition", "2"))
PROMPT = Prompt("1 + 1 = 2", "2")


def record(result=None) -> Record:
    result = result or full_run()
    return record_of(result, record_key(CELL, 0, result.prompt, result.settings, []), CELL, 0)


def joined(text: str) -> str:
    """The text as JSON has it: two halves of a surrogate pair, side by side, are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@pytest.mark.parametrize("result", [full_run(), hostile_run(), run(tokens=1)])
def test_a_record_comes_back_as_it_was(result) -> None:
    one = record(result)
    data = record_bytes(one)
    other = read_record(data)
    assert record_bytes(other) == data
    assert other.prompt.text == joined(result.prompt.text)
    assert other.model == result.model
    assert other.settings == result.settings
    assert other.provenance == result.provenance
    for include in (True, False):
        expected = prompt_curves(result, include)
        found = other.prompt_curves(SummarySettings(include_first_token=include))
        if expected is None:
            assert found is None
            continue
        assert found.n_tokens == expected.n_tokens
        for name, values in expected.curves.by_name().items():
            if values is not None:
                np.testing.assert_array_equal(getattr(found.curves, name), values)


@pytest.mark.parametrize("include", [True, False])
def test_the_other_metrics_are_those_of_the_summary(include: bool) -> None:
    result = full_run()
    settings = SummarySettings(include_first_token=include)
    expected = summary_dict([result], settings)
    found = read_record(record_bytes(record(result))).prompt_metrics(settings)
    assert {"skip_effects", "ablation", "settling", "early_exit"} <= set(found)
    assert "prompts" not in found
    for name, value in found.items():
        assert value == expected[name]


def test_a_record_gives_the_depths_of_the_run() -> None:
    from depthtui.depth.effective_depth import estimate_depths

    results = [full_run(seed=seed, tokens=20 + seed) for seed in range(3)]
    parts = [read_record(record_bytes(record(result))).curves for result in results]
    summary = summarise(results, SummarySettings())
    assert estimate_depths(parts, SummarySettings()) == summary.depths


def test_what_a_key_depends_on() -> None:
    settings = RunSettings()
    key = record_key(CELL, 0, PROMPT, settings, [])
    changed = [
        record_key(replace(CELL, model=ModelSpec("beta")), 0, PROMPT, settings, []),
        record_key(replace(CELL, model=ModelSpec("alpha", "v2")), 0, PROMPT, settings, []),
        record_key(replace(CELL, task=TaskChoice("addition", "3")), 0, PROMPT, settings, []),
        record_key(CELL, 1, PROMPT, settings, []),
        record_key(CELL, 0, Prompt("One and one: 2", "2"), settings, []),
        record_key(CELL, 0, Prompt("1 + 1 = 2"), settings, []),
        record_key(CELL, 0, PROMPT, replace(settings, top_k=3), []),
        record_key(CELL, 0, PROMPT, replace(settings, metrics=("logit_lens",)), []),
    ]
    assert len({key, *changed}) == 1 + len(changed)
    # Neither how many prompts there are nor where they come from.
    elsewhere = replace(CELL, task=TaskChoice("addition", "2", "file", 99, 400, True))
    assert record_key(elsewhere, 0, PROMPT, settings, []) == key


def test_prompts_before_matter_to_skip_effects_alone() -> None:
    for metrics, same in ((("logit_lens",), True), (("skip_effects",), False)):
        settings = RunSettings(metrics=metrics)
        keys = {record_key(CELL, 1, PROMPT, settings, [Prompt(text)]) for text in "ab"}
        assert (len(keys) == 1) is same


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: data.replace(b'"n_tokens": 24', b'"n_tokens": 25'),
        lambda data: b"\xff" + data,
    ],
)
def test_a_damaged_record_is_refused(damage) -> None:
    data = record_bytes(record())
    assert b'"n_tokens": 24' in data
    with pytest.raises(DamagedRecord):
        read_record(damage(data))


def test_a_record_keeps_its_name_so_that_sweeps_of_former_versions_go_on() -> None:
    cell = Cell(ModelSpec("nobody/tiny"), TaskChoice("addition", "2"))
    settings = RunSettings(metrics=("contributions", "logit_lens", "skip_effects"))
    key = record_key(cell, 1, Prompt("a b", " b"), settings, [Prompt("c d")])
    assert key == "c8a09d93b830953983ecc3efaafc55fe5b6460b846e0583f949f508e663ebc8b"


def read_by_lenses(seed: int = 0):
    result = full_run(f"prompt {seed}", seed=seed)
    for kind in (AffineLens, JacobianLens):
        result.put(f"{kind.kind}_lens", random_lens(kind, result, np.random.default_rng(seed)))
    return result


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("lens", LENSES)
def test_a_record_has_what_each_lens_read(lens: str, include: bool) -> None:
    result = read_by_lenses()
    settings = SummarySettings(include_first_token=include, lens=lens)
    one = read_record(record_bytes(record(result)))
    found, expected = one.prompt_curves(settings), prompt_curves(through(result, lens), include)
    for name, values in expected.curves.by_name().items():
        np.testing.assert_array_equal(getattr(found.curves, name), values)
    summary = summary_dict([result], settings)
    metrics = one.prompt_metrics(settings)
    assert {"prediction_depth", "settling", "early_exit", "lens_margin"} <= metrics.keys()
    for name, value in metrics.items():
        assert value == summary[name]


def test_a_sweeps_cell_is_read_through_the_lens() -> None:
    results = [read_by_lenses(seed) for seed in range(6)]
    records = [read_record(record_bytes(record(result))) for result in results]
    for lens in LENSES:
        settings = SummarySettings(lens=lens)
        assert CellSummary(CELL, records, settings).depths == summarise(results, settings).depths


def test_a_record_without_the_lens_has_what_no_lens_reads() -> None:
    result = lacking(full_run(), "affine_lens", "jacobian_lens")
    one = read_record(record_bytes(record(result)))
    settings = SummarySettings(lens="affine")
    assert one.lenses is None
    assert b"lenses" not in record_bytes(one)
    curves = one.prompt_curves(settings).curves
    assert curves.kl is None
    np.testing.assert_array_equal(curves.layer_cosine, one.curves.curves.layer_cosine)
    assert "skip_effects" in one.prompt_metrics(settings)
    assert "prediction_depth" not in one.prompt_metrics(settings)
