"""The result file: its layout, and that its numbers are those of the engine."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from depthtui import __version__
from depthtui.data.lens import LogitLens
from depthtui.data.run import Provenance
from depthtui.data.run_settings import CHOICES, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.order import Order
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.similarity import Similarity
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.report.findings import findings
from depthtui.report.phrases import provenance_sentence
from depthtui.report.summary_json import combined_provenance, summary_json
from tests.builders.readings import group_of, summary_of
from tests.builders.results import full_run, hostile_run, lacking, run, stopped_run

SETTINGS = SummarySettings()


def test_prompts_and_top_tokens_are_listed_by_prompt() -> None:
    runs = [run("what", tokens=3), run("else", seed=1, tokens=4)]
    summary = summary_of(runs, settings=SETTINGS)
    assert summary["prompts"][1] == {
        "task": "commonsense",
        "level": "2",
        "text": "else",
        "answer": "lse",
        "tokens": runs[1].tokens.texts,
        "token_ids": runs[1].tokens.ids.tolist(),
    }
    lens = runs[1].get(LogitLens)
    assert lens is not None
    top = summary["logit_lens"]["top_tokens"]
    assert [len(listed) for listed in top] == [5, 5]
    assert top[1][2] == [
        {"token": lens.vocabulary[int(id_)], "probability": float(probability)}
        for id_, probability in zip(lens.top_ids[2, 3], lens.top_probabilities[2, 3], strict=True)
    ]


def test_what_is_not_pooled_has_no_mean() -> None:
    runs = [run(), run("c d", seed=1, tokens=9), run("e f", seed=2)]
    summary = summary_of(runs[:1], runs[1:], settings=SETTINGS)
    of_one, of_two = (summary_of(part, settings=SETTINGS) for part in (runs[:1], runs[1:]))
    assert list(summary) == [
        "schema",
        "model",
        "settings",
        "prompts",
        "groups",
        "runs",
        "provenance",
    ]
    assert [prompt["text"] for prompt in summary["prompts"]] == ["a b", "c d", "e f"]
    assert [group.pop("prompts") for group in summary["groups"]] == [[0], [1, 2]]
    for group, alone in zip(summary["groups"], (of_one, of_two), strict=True):
        assert group == {name: alone[name] for name in group}
        assert {"contributions", "verdict", "effective_depth", "pooled"} <= set(group)
    assert summary["runs"] == [*of_one["runs"], *of_two["runs"]]


def test_a_metric_that_one_run_lacks_is_absent() -> None:
    without_lens = lacking(run(), "logit_lens")
    summary = summary_of([run(), without_lens], settings=SETTINGS)
    assert "logit_lens" not in summary
    assert [estimate["rule"] for estimate in summary["effective_depth"]] == ["cosine"]
    without_contributions = lacking(run(), "contributions")
    summary = summary_of([without_contributions], settings=SETTINGS)
    assert "contributions" not in summary
    names = [estimate["rule"] for estimate in summary["effective_depth"]]
    assert names == ["kl", "overlap", "margin"]


def test_without_the_split_only_the_layer_is_there() -> None:
    summary = summary_of([run(split_missing="it adds in place")], settings=SETTINGS)
    assert set(summary["contributions"]) == {"layer"}


def test_what_was_not_run_is_null_and_the_json_is_strict() -> None:
    text = summary_json(group_of([stopped_run()], settings=SETTINGS)).decode()

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    summary = json.loads(text, parse_constant=refuse)
    assert summary["contributions"]["layer"]["cosine"][2:] == [None, None]
    assert summary["logit_lens"]["top_tokens"][0][3] == []
    assert [estimate["layer"] for estimate in summary["effective_depth"]] == [None] * 3
    assert all(estimate["reason"] for estimate in summary["effective_depth"])


def test_a_prompt_whose_run_was_stopped_is_not_complete() -> None:
    begun = full_run()
    begun.put("order", Order.unknown(begun.model.n_layers, len(begun.tokens)))
    for result, complete in ((full_run(), None), (stopped_run(), False), (begun, False)):
        (prompt,) = summary_of([result], settings=SETTINGS)["prompts"]
        assert prompt.get("complete") is complete


class TestSlowerMetrics:
    one, two = full_run("one"), full_run("two", seed=1, tokens=30)
    without = run("without")

    def summary(self) -> dict[str, Any]:
        return json.loads(
            summary_json(group_of([self.one, self.without, self.two], settings=SETTINGS))
        )

    def test_skip_effects_are_the_largest_of_all_prompts(self) -> None:
        summary = self.summary()["skip_effects"]
        one, two = self.one.get(SkipEffects), self.two.get(SkipEffects)
        assert one is not None
        assert two is not None
        assert summary["layers"] == np.maximum(one.layers, two.layers).tolist()
        assert summary["output"] == np.maximum(one.output, two.output).tolist()
        # 24 tokens leave 16 + 8 after the two positions, 30 leave 22 + 14.
        expected = (one.mean_layers * 24 + two.mean_layers * 36) / 60
        np.testing.assert_allclose(summary["mean_layers"], expected, rtol=1e-6)

    def test_means_are_weighted_by_tokens(self) -> None:
        summary = self.summary()
        one, two = self.one, self.two
        assert one.get(Ablation) is not None
        assert two.get(Ablation) is not None
        changes = np.concatenate(
            [one.get(Ablation).loss_change, two.get(Ablation).loss_change], axis=1
        )
        expected = changes.mean(axis=1, dtype=np.float64)
        np.testing.assert_allclose(summary["ablation"]["loss_change"], expected, rtol=1e-6)
        assert one.get(Similarity) is not None
        assert two.get(Similarity) is not None
        parts = one.get(Similarity).block_influence, two.get(Similarity).block_influence
        influence = np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64)
        np.testing.assert_allclose(summary["similarity"]["block_influence"], influence, rtol=1e-6)
        distance = summary["similarity"]["angular_distance"]
        best = summary["similarity"]["best_blocks"][1]
        assert best["n"] == 2
        assert best["angular_distance"] == pytest.approx(min(distance[1][:3]))
        assert distance[1].index(min(distance[1][:3])) == best["first_layer"]
        assert distance[1][3] is None

    def test_token_0_left_out_of_every_mean(self) -> None:
        one, two = self.one, self.two
        summary = summary_of([one, two], settings=SummarySettings(include_first_token=False))
        assert one.get(Ablation) is not None
        assert two.get(Ablation) is not None
        later = [run_.get(Ablation).loss_change[:, 1:] for run_ in (one, two)]
        expected = np.concatenate(later, axis=1).mean(axis=1, dtype=np.float64)
        np.testing.assert_allclose(summary["ablation"]["loss_change"], expected, rtol=1e-6)
        assert one.get(Similarity) is not None
        assert two.get(Similarity) is not None
        distances = [run_.get(Similarity).angular_distance_without_first for run_ in (one, two)]
        expected = (distances[0] * 23 + distances[1] * 29) / 52
        values = summary["similarity"]["angular_distance"]
        np.testing.assert_allclose(values[0], expected[0], rtol=1e-6)
        assert summary["similarity"]["best_blocks"][0]["angular_distance"] == min(values[0])

    def test_metrics_that_are_half_done_are_null(self) -> None:
        result = full_run("half")
        assert result.get(ResidualErasure) is not None
        assert result.get(IntegratedGradients) is not None
        result.get(ResidualErasure).effect[:, 5:] = np.nan
        result.get(IntegratedGradients).completeness_error[:] = np.nan
        result.complete = False
        summary = json.loads(summary_json(group_of([result], settings=SETTINGS)))
        assert summary["residual_erasure"][0]["effect"][0][5] is None
        assert summary["integrated_gradients"][0]["completeness_error"] == [None] * 4


def test_nothing_to_average_is_no_crash() -> None:
    settings = SummarySettings(include_first_token=False)
    summary = summary_of([run(tokens=1)], settings=settings)
    assert summary["effective_depth"] == []
    assert "contributions" not in summary
    assert summary["settings"]["include_first_token"] is False


def test_hostile_text_comes_back_as_it_was() -> None:
    result = hostile_run()
    data = summary_json(group_of([result], settings=SETTINGS))
    summary = json.loads(data.decode("utf-8"))
    # A pair of surrogates is one character in JSON.
    whole = [
        text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        for text in result.tokens.texts
    ]
    assert summary["prompts"][0]["tokens"] == whole
    assert "深".encode() in data, "text that people can read stays legible"


def test_a_quantised_model_says_so() -> None:
    model = summary_of([run(dtype="bfloat16", quantize="8bit")], settings=SETTINGS)["model"]
    assert model["dtype"] == "bfloat16, 8bit weights"


class TestProvenance:
    one = Provenance("0", "2.13", "5", "3.11", "Linux", "2026-01-02T00:00:00Z", 1.5, True)
    other = replace(one, torch="2.14", started="2026-01-01T00:00:00Z", seconds=2, cached=False)

    def test_of_several_runs(self) -> None:
        runs = [
            replace(run(), provenance=provenance) for provenance in (self.one, self.other, None)
        ]
        combined = combined_provenance(runs)
        assert combined["torch"] == "2.13, 2.14"
        assert combined["platform"] == "Linux"
        assert combined["started"] == "2026-01-01T00:00:00Z"
        assert combined["seconds"] == 3.5
        assert combined["cached"] is False
        assert combined_provenance(runs[:1])["cached"] is True

    def test_tells_of_another_product_than_torchs(self) -> None:
        fast = replace(self.one, product="oneDNN")
        assert "torch 2.13 with oneDNN's float32 products," in provenance_sentence(asdict(fast))
        assert "torch 2.13, transformers" in provenance_sentence(asdict(self.one))

    def test_of_several_devices(self) -> None:
        devices = ["NVIDIA H100", "", "NVIDIA A100", "NVIDIA H100"]
        runs = [replace(run(), provenance=replace(self.one, device=device)) for device in devices]
        combined = combined_provenance(runs)
        assert combined["device"] == "NVIDIA H100, NVIDIA A100"
        assert "on Linux, NVIDIA H100, NVIDIA A100; started" in provenance_sentence(combined)
        assert "on Linux; started" in provenance_sentence(combined_provenance(runs[1:2]))

    def test_of_runs_that_never_ended(self) -> None:
        combined = combined_provenance([stopped_run()])
        assert combined["depthtui"] == __version__
        assert combined["seconds"] is None


def test_a_summary_says_which_part_of_a_metric_was_computed() -> None:
    result = full_run()
    assert not set(summary_of([result], settings=SummarySettings())["settings"]) & set(CHOICES)
    result.settings = replace(result.settings, layers="0,2", erase_tokens=3, erase_search="bisect")
    ablation, erasure = (result.measured[name] for name in ("ablation", "residual_erasure"))
    result.put("ablation", replace(ablation, chosen=(0, 2)))
    searched = {"chosen": (0, 2), "tokens": (1, 4, 9), "threshold": 0.1, "checks": 6}
    result.put("residual_erasure", replace(erasure, **searched, disagreeing=1))
    summary = summary_of([result], settings=SummarySettings())
    choices = {name: summary["settings"][name] for name in CHOICES if name in summary["settings"]}
    assert choices == {"layers": "0,2", "erase_tokens": 3, "erase_search": "bisect"}
    assert summary["ablation"]["chosen"] == [0, 2]
    (of_prompt,) = summary["residual_erasure"]
    assert {name: of_prompt[name] for name in searched} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in searched.items()
    }
    assert [depth is None for depth in of_prompt["until"]] == [
        token not in (1, 4, 9) for token in range(24)
    ]
    lines = {line.title: line.value for line in findings(reading_of([result], SummarySettings()))}
    assert lines["Residual erasure"] == (
        "3 of 23 tokens, drawn by seed, depths 0, 2 (2 of 5), "
        "depths bisected for |p - p~| of 0.1: 1 of 6 checks elsewhere disagree"
    )


def test_a_summary_says_that_spans_were_erased_first_and_what_is_not_done() -> None:
    result = full_run()
    erasure = replace(result.measured["residual_erasure"], threshold=0.1, checks=6, disagreeing=1)
    result.put("residual_erasure", replace(erasure, span=8, settled=16))
    (of_prompt,) = summary_of([result], settings=SummarySettings())["residual_erasure"]
    assert (of_prompt["span"], of_prompt["settled"]) == (8, 16)
    assert [depth is None for depth in of_prompt["until"]] == [token >= 16 for token in range(24)]
    lines = {line.title: line.value for line in findings(reading_of([result], SummarySettings()))}
    assert lines["Residual erasure"] == (
        "spans of 8 tokens erased first, "
        "depths bisected for |p - p~| of 0.1: 1 of 6 checks elsewhere disagree"
    )
    result.put("residual_erasure", replace(erasure, span=8, settled=23))
    (of_prompt,) = summary_of([result], settings=SummarySettings())["residual_erasure"]
    assert None not in of_prompt["until"][:-1]
