"""What is kept of a prompt, and when it counts as the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthtui.data.lens import AffineLens, JacobianLens
from depthtui.data.plain import to_plain
from depthtui.data.run import Prompt, without
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings, SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics import METRIC_BY_NAME, METRICS
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.reduction import reduce_run
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.merge import merge_sweeps
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.records import (
    DamagedRecord,
    Record,
    checksum,
    read_record,
    record_bytes,
    record_key,
    record_of,
)
from depthtui.sweep.report.phrases import cautions
from depthtui.sweep.saved import open_sweep
from depthtui.sweep.state import Outcome
from depthtui.sweep.summary import CellSummary, summarise_sweep
from tests.builders.lenses import random_lens
from tests.builders.results import full_run, hostile_run, lacking, run

CELL = Cell(ModelSpec("alpha"), TaskChoice("addition", "2"))
PROMPT = Prompt("1 + 1 = 2", "2")
RECORD_OF_SCHEMA_1 = Path(__file__).parent / "record_schema_1.json"


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


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("include", [True, False])
def test_records_are_read_as_the_runs_are(lens: str, include: bool) -> None:
    results = [read_by_lenses(seed) for seed in range(6)]
    records = [read_record(record_bytes(record(result))) for result in results]
    settings = SummarySettings(include_first_token=include, lens=lens)
    summary, expected = CellSummary(CELL, records, settings), reading_of(results, settings)
    assert summary.depths == expected.depths
    assert repr(summary.verdict) == repr(expected.verdict)
    assert summary.means == expected.means


def test_a_record_of_before_answers_were_kept_lacks_them() -> None:
    whole = record(lacking(full_run(), "answers_kept"))
    assert read_record(record_bytes(whole)).says_answer is whole.says_answer is False
    former = read_record(signed(without(body_of(record_bytes(whole)), ["says_answer"])))
    assert former.says_answer is None
    assert former.lacks == ("whether the model gives the answer",)
    assert read_record(record_bytes(former)).lacks == former.lacks
    for other in (full_run(), lacking(full_run(), "answers_kept", "logit_lens")):
        body = without(body_of(record_bytes(record(other))), ["says_answer"])
        assert read_record(signed(body)).lacks == ()


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


@pytest.mark.parametrize("name", ["kl", "layer_norm_ratio"])
def test_a_record_of_schema_1_whose_curves_have_another_length_is_refused(name: str) -> None:
    body = body_of(RECORD_OF_SCHEMA_1.read_bytes())
    assert read_record(signed(body)).lacks
    body["curves"]["curves"][name].pop()
    with pytest.raises(DamagedRecord):
        read_record(signed(body))


def test_a_record_of_schema_1_whose_lens_failed_has_contributions() -> None:
    """Without the logit lens it has no curves of its own, and those beside each fitted lens."""
    body = body_of(RECORD_OF_SCHEMA_1.read_bytes())
    expected = read_record(signed(body))
    body |= {"curves": None, "curves_without_first": None, "failed": ["logit_lens"]}
    former = read_record(signed(body))
    assert "logit_lens" not in former.every
    for ours, theirs in ((former.every, expected.every), (former.rest, expected.rest)):
        assert to_plain(ours["contributions"]) == to_plain(theirs["contributions"])


def test_a_record_of_schema_1_does_not_say_that_its_lens_has_not_read_it() -> None:
    former = read_record(RECORD_OF_SCHEMA_1.read_bytes())
    for lens in LENSES:
        evidence = Reading([former], SummarySettings(lens=lens)).evidence
        assert {"kl", "overlap"} <= {measure.measure for measure in evidence}
        assert not [measure for measure in evidence if "not read" in measure.reason]


def test_a_record_keeps_its_name_so_that_sweeps_of_former_versions_go_on() -> None:
    cell = Cell(ModelSpec("nobody/tiny"), TaskChoice("addition", "2"))
    settings = RunSettings(metrics=("contributions", "logit_lens", "skip_effects"))
    key = record_key(cell, 1, Prompt("a b", " b"), settings, [Prompt("c d")])
    assert key == "c8a09d93b830953983ecc3efaafc55fe5b6460b846e0583f949f508e663ebc8b"


def test_a_record_from_before_the_kl_of_ablation_was_kept_opens_and_lacks_it() -> None:
    body = body_of(record_bytes(record()))
    del body["every"]["ablation"]["output"]
    body["rest"].pop("ablation", None)
    former = read_record(signed(body))
    assert former.lacks == ("the KL of ablation",)
    assert read_record(record_bytes(former)).lacks == former.lacks


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


def test_one_from_before_first_choices_and_unigrams_were_kept_is_read() -> None:
    body = body_of(record_bytes(record()))
    del body["unigram_loss"]
    for reduced in (body["every"], body["rest"]):
        for lens in ("logit_lens", "affine_lens"):
            if reduced.get(lens):
                del reduced[lens]["agreement"]
    former = read_record(signed(body))
    assert np.isnan(former.unigram_loss)
    assert former.every["logit_lens"].agreement is None
    reading = CellSummary(CELL, [former], SummarySettings())
    assert "agreement" not in reading.curves
    assert "first choices" not in reading.verdict.text


class TestFormerRecords:
    """A record of the first layout: every metric, and what an affine lens read."""

    data = RECORD_OF_SCHEMA_1.read_bytes()

    def test_it_opens(self) -> None:
        former = read_record(self.data)
        assert set(former.every) == {
            metric.name
            for metric in METRICS
            if metric.name
            not in (
                "direct_logits",
                "experts",
                "heads",
                "sufficient",
                "repeat",
                "patch",
                "quantisation",
                "adapter",
                "engine_distance",
            )
        }

    @pytest.mark.parametrize("include", [True, False])
    @pytest.mark.parametrize("lens", LENSES)
    def test_its_values_are_those_that_it_had(self, lens: str, include: bool) -> None:
        body = json.loads(self.data)
        cell = CellSummary(
            CELL, [read_record(self.data)], SummarySettings(lens=lens, include_first_token=include)
        )
        part = body if lens == "logit" else body["lenses"][lens]
        curves = part["curves" if include else "curves_without_first"]["curves"]
        for name, values in curves.items():
            np.testing.assert_allclose(cell.curves[name], values, rtol=1e-15)
        metrics = body["metrics"] | ({} if include else body["metrics_without_first"])
        if lens != "logit":
            metrics |= part["metrics"] | ({} if include else part["metrics_without_first"])
        assert cell.means == pytest.approx(
            {
                "loss": body["loss"],
                "prediction depth": metrics["prediction_depth"]["mean"],
                "layers saved at 0.9": metrics["early_exit"]["layers_saved"][4],
                "agreement at 0.9": metrics["early_exit"]["agreement"][4],
                "settling depth": metrics["settling"]["mean_depth"],
                "settling late": metrics["settling"]["late_share"],
                "answers right": 1.0,
                "layers that answers need": 1.0,
                "sequential depth": metrics["order"]["depth"],
                "DepthScore": metrics["depth_score"]["output"],
                "direct effect": cell.means["direct effect"],
            }
        )

    def test_it_says_that_it_lacks_a_noise_floor(self) -> None:
        verdict = CellSummary(CELL, [read_record(self.data)], SummarySettings()).verdict
        assert verdict is not None
        by_measure = {measure.measure: measure for measure in verdict.evidence}
        assert by_measure["context_depth"].count is None
        assert "noise" in by_measure["context_depth"].reason

    def test_it_says_that_it_lacks_the_kl_of_ablation(self) -> None:
        former = read_record(self.data)
        assert "the KL of ablation" in former.lacks
        ablation = METRIC_BY_NAME["ablation"]
        for prompts in ([former], [former, record()]):
            reading = Reading(prompts, SummarySettings())
            value = replace(reading.get(ablation), part="layer")
            (evidence,) = ablation.evidence(value, reading)
            assert (evidence.count, evidence.reason) == (
                None,
                "it was recorded before its KL was kept",
            )

    @pytest.mark.parametrize("side", ["curves", "curves_without_first"])
    @pytest.mark.parametrize("name", ["layer_cosine", "kl", "overlap", "entropy"])
    def test_a_curve_of_another_length_is_refused(self, side: str, name: str) -> None:
        body = json.loads(self.data)
        body[side]["curves"][name].pop()
        del body["checksum"]
        data = json.dumps({**body, "checksum": checksum(body)}).encode()
        with pytest.raises(DamagedRecord, match="of another version"):
            read_record(data)

    def test_a_copy_of_it_keeps_its_values_and_what_it_lacks(self) -> None:
        former = read_record(self.data)
        copy = read_record(record_bytes(former))
        assert same(copy.every, former.every)
        assert same(copy.rest, former.rest)
        assert copy.lacks == former.lacks
        assert len(former.lacks) == 6

    @pytest.mark.parametrize("part", ["nonlinear", "lens_margin"])
    def test_one_with_a_layer_too_few_is_refused(self, part: str) -> None:
        body = json.loads(self.data)
        del body["checksum"], body["metrics"][part][-1]
        with pytest.raises(DamagedRecord, match="another version"):
            read_record(json.dumps({"checksum": checksum(body), **body}).encode())

    def test_a_sweep_says_what_it_lacks(self) -> None:
        records = {CELL: [read_record(self.data), read_record(record_bytes(record()))]}
        plan = SweepPlan((CELL.model,), (CELL.task,))
        (caution,) = [
            remark.text
            for remark in cautions(summarise_sweep(Outcome(plan, records, [])))
            if "older version" in remark.text
        ]
        assert "1 of 2 records" in caution
        assert "noise floor of context depth" in caution

    @pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
    def test_a_merge_prefers_the_record_that_lacks_nothing(
        self, order: tuple[str, str], tmp_path: Path
    ) -> None:
        plan = SweepPlan((CELL.model,), (CELL.task,))
        former = read_record(self.data)
        whole = replace(record(), key=former.key, number=former.number)
        for name, of_folder in (("a", former), ("b", whole)):
            folder = SweepFolder(tmp_path / name, pytest.fail)
            folder.claim()
            folder.keep(CELL, of_folder)
            folder.write_manifest(plan, {CELL: [of_folder]})
        out = SweepFolder(tmp_path / "out", pytest.fail)
        merged = merge_sweeps([tmp_path / name for name in order], out, pytest.fail)
        assert [of_folder.lacks for of_folder in merged.records[CELL]] == [()]
        assert [
            of_folder.lacks for of_folder in open_sweep(tmp_path / "out", pytest.fail).records[CELL]
        ] == [()]
