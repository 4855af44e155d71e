"""The arrays file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load

from depthtui.engine.results import arrays_of
from depthtui.report.arrays import arrays_bytes
from tests.report.runs import hostile_run, run, stopped_run


def test_every_array_of_every_run_is_there() -> None:
    runs = [run(), run("c d", seed=1, tokens=7), stopped_run()]
    arrays = load(arrays_bytes(runs))
    for number, result in enumerate(runs):
        assert arrays[f"{number}/token_ids"].tolist() == result.tokens.ids.tolist()
        for name in ("contributions", "logit_lens"):
            for field, values in arrays_of(getattr(result, name)):
                np.testing.assert_array_equal(arrays[f"{number}/{name}/{field}"], values)
    assert len(arrays) == 3 * (1 + 6 + 5)


def test_it_says_what_each_run_was(tmp_path: Path) -> None:
    result = hostile_run()
    (tmp_path / "arrays").write_bytes(arrays_bytes([result]))
    with safe_open(tmp_path / "arrays", "np") as file:
        (about,) = json.loads(file.metadata()["runs"])
    assert about["prompt"]["answer"] == json.loads(json.dumps(result.prompt.answer))
    assert about["tokens"] == [json.loads(json.dumps(text)) for text in result.tokens.texts]
    assert about["complete"] is True
    assert about["model"]["spec"]["name"] == "nobody/tiny"
    assert result.logit_lens is not None
    assert len(about["vocabulary"]) == len(result.logit_lens.vocabulary)


def test_a_metric_that_was_not_computed_is_absent() -> None:
    result = run()
    result.logit_lens = None
    assert not [name for name in load(arrays_bytes([result])) if "lens" in name]
