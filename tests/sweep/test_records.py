"""What is kept of a prompt, and when it counts as the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from depthtui.data.lens import AffineLens, JacobianLens
from depthtui.data.plain import to_plain
from depthtui.data.run import Prompt, without
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.reduction import reduce_run
from depthtui.sweep.plan import Cell, TaskChoice
from depthtui.sweep.records import (
    SCHEMA,
    DamagedRecord,
    Record,
    checksum,
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


def same(ours: Mapping[str, Reduced], theirs: Mapping[str, Reduced]) -> bool:
    """Whether all reduced values are equal, unknown numbers too."""
    return {name: to_plain(reduced) for name, reduced in ours.items()} == {
        name: to_plain(reduced) for name, reduced in theirs.items()
    }


@pytest.mark.parametrize("result", [full_run(), hostile_run(), run(tokens=1)])
def test_a_record_comes_back_as_it_was(result) -> None:
    original = record(result)
    data = record_bytes(original)
    other = read_record(data)
    assert record_bytes(other) == data
    assert other.prompt.text == joined(result.prompt.text)
    assert other.model == result.model
    assert other.settings == result.settings
    assert other.provenance == result.provenance
    expected = reduce_run(result)
    for ours, theirs in ((other.every, expected.every), (other.rest, expected.rest)):
        assert same(ours, theirs)


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
        record_key(CELL, 0, replace(PROMPT, contrast="1 + 2 = 3"), settings, []),
        record_key(CELL, 0, replace(PROMPT, choices=("2", "3")), settings, []),
        record_key(CELL, 0, replace(PROMPT, choices=("3", "2")), settings, []),
        record_key(CELL, 0, PROMPT, replace(settings, lens_top_k=3), []),
        record_key(CELL, 0, PROMPT, replace(settings, metrics=("logit_lens",)), []),
        record_key(CELL, 0, PROMPT, replace(settings, ablate="mean"), []),
        record_key(CELL, 0, PROMPT, replace(settings, keep_first_token=True), []),
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


def signed(body: Mapping[str, Any]) -> bytes:
    """The bytes of a record that somebody else made, with a right checksum."""
    return json.dumps({**body, "checksum": checksum(dict(body))}).encode()


def body_of(data: bytes) -> dict[str, Any]:
    return without(json.loads(data), ["checksum"])


@pytest.mark.parametrize(
    ("metric", "changes"),
    [
        ("affine_lens", {"agreeing": [1, 1]}),
        ("affine_lens", {"tokens": 0}),
        ("logit_lens", {"kl": [1.0]}),
        ("contributions", {"layer_norm_ratio": [1.0]}),
        ("logit_lens", {"layers_saved": [1] * 8}),
        ("logit_lens", {"tokens": -1}),
        ("similarity", {"tokens": 0}),
        ("similarity", {"tokens": 10**30}),
    ],
)
def test_a_record_that_cannot_be_pooled_with_others_is_refused(
    metric: str, changes: dict[str, Any]
) -> None:
    body = body_of(record_bytes(record(read_by_lenses())))
    assert read_record(signed(body)).key == body["key"]
    body["every"][metric] |= changes
    with pytest.raises(DamagedRecord):
        read_record(signed(body))


@pytest.mark.parametrize("schema", [None, SCHEMA - 1, SCHEMA + 1])
def test_a_record_of_another_schema_is_refused(schema: int | None) -> None:
    body = body_of(record_bytes(record())) | {"schema": schema}
    with pytest.raises(DamagedRecord, match="of another version"):
        read_record(signed(body))


def test_a_record_keeps_its_name_so_that_sweeps_go_on() -> None:
    cell = Cell(ModelSpec("nobody/tiny"), TaskChoice("addition", "2"))
    settings = RunSettings(metrics=("contributions", "logit_lens", "skip_effects"))
    key = record_key(cell, 1, Prompt("a b", " b"), settings, [Prompt("c d")])
    assert key == "8588d57ef5a7d6bcb21bf744a9518a66acbbfd0d121ea3cfe8b4cd716cb20a23"


def read_by_lenses(seed: int = 0):
    result = full_run(f"prompt {seed}", seed=seed)
    for kind in (AffineLens, JacobianLens):
        result.put(f"{kind.kind}_lens", random_lens(kind, result, np.random.default_rng(seed)))
    return result


def test_a_record_without_the_lens_lacks_what_a_lens_reads() -> None:
    result = lacking(full_run(), "affine_lens", "jacobian_lens")
    records = [read_record(record_bytes(record(result)))]
    cell = CellSummary(CELL, records, SummarySettings(lens="affine"))
    assert "kl" not in cell.curves
    np.testing.assert_array_equal(
        cell.curves["layer_cosine"], records[0].every["contributions"].layer_cosine
    )
    assert "DepthScore" in cell.means
    assert "prediction depth" not in cell.means
