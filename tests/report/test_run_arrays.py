"""The arrays file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.metrics.order import Order
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.report.run_arrays import arrays_bytes
from tests.builders.results import full_run, hostile_run, run, stopped_run


def test_every_array_of_every_run_is_there() -> None:
    runs = [run(), run("c d", seed=1, tokens=7), stopped_run()]
    arrays = load(arrays_bytes(runs, SummarySettings()))
    for number, result in enumerate(runs):
        assert arrays[f"{number}/token_ids"].tolist() == result.tokens.ids.tolist()
        for name in ("contributions", "logit_lens"):
            for field, values in arrays_of(result.measured[name]):
                np.testing.assert_array_equal(arrays[f"{number}/{name}/{field}"], values)
    of_one_run = {"token_ids"} | {
        f"{name}/{field}"
        for name in ("contributions", "logit_lens")
        for field, _ in arrays_of(run().measured[name])
    }
    of_read_run = {f"token_depths/{field.name}" for field in fields(TokenDepths)}
    arrays_of_run = (of_one_run | of_read_run, of_one_run | of_read_run, of_one_run)
    assert arrays.keys() == {
        f"{number}/{array}" for number, names in enumerate(arrays_of_run) for array in names
    }


def test_it_says_what_each_run_was(tmp_path: Path) -> None:
    result = hostile_run()
    (tmp_path / "arrays").write_bytes(arrays_bytes([result], SummarySettings()))
    with safe_open(tmp_path / "arrays", "np") as file:
        # The order of several keys would be random, and the file not known as a report.
        ((key, words),) = file.metadata().items()
    (about,) = json.loads(words)
    assert key == "runs"
    assert about["reading"]["kl_threshold"] == SummarySettings().kl_threshold
    assert about["prompt"]["answer"] == json.loads(json.dumps(result.prompt.answer))
    assert about["tokens"] == [json.loads(json.dumps(text)) for text in result.tokens.texts]
    assert about["complete"] is True
    assert about["model"]["spec"]["name"] == "nobody/tiny"
    assert result.get(LogitLens) is not None
    assert len(about["vocabulary"]) == len(result.get(LogitLens).vocabulary)


def test_a_run_with_a_metric_that_is_half_done_is_not_complete(tmp_path: Path) -> None:
    result = full_run()
    result.put("order", Order.unknown(result.model.n_layers, len(result.tokens)))
    (tmp_path / "arrays").write_bytes(arrays_bytes([result], SummarySettings()))
    with safe_open(tmp_path / "arrays", "np") as file:
        (about,) = json.loads(file.metadata()["runs"])
    assert about["complete"] is False


def test_a_metric_that_was_not_computed_is_absent() -> None:
    result = run()
    result.drop(("logit_lens",))
    assert not [name for name in load(arrays_bytes([result], SummarySettings())) if "lens" in name]


def test_the_slower_metrics_are_there_with_what_they_say() -> None:
    result = full_run()
    arrays = load(arrays_bytes([result], SummarySettings()))
    for name in METRIC_BY_NAME:
        for field, values in arrays_of(result.measured[name]):
            np.testing.assert_array_equal(arrays[f"0/{name}/{field}"], values)
    assert arrays["0/integrated_gradients/reached"].dtype == np.bool_


def test_it_says_which_part_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "arrays").write_bytes(arrays_bytes([full_run(), run()], SummarySettings()))
    with safe_open(tmp_path / "arrays", "np") as file:
        about, other = json.loads(file.metadata()["runs"])
    assert about["metrics"]["skip_effects"] == {
        "part": "mlp",
        "positions": [8, 16],
        "floor": 0.15,
        "output_floor": 0.125,
    }
    assert about["metrics"]["residual_erasure"] == {"answer_start": 20, "floor": 0.25}
    assert about["unavailable"] == {"direct_logits": "it has [/]\nno sum."}
    assert set(other["metrics"]) == {"contributions", "logit_lens"}
