"""The model provider of Inspect, by hand: its extra is large and is not installed for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui import without
from tests.tiny_models import random_ids, tiny_folder

pytestmark = pytest.mark.by_hand


def test_a_model_of_the_provider_has_no_such_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_type = pytest.importorskip("inspect_ai.model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, ids = tiny_folder(tmp_path), random_ids(20)
    arguments = {"without": "0+2", "without_mlp": 1, "device": "cpu"}
    api = model_type.get_model(f"depthtui/{folder}", **arguments).api
    answer = api.model(ids).logits
    whole = model_type.get_model(f"depthtui/{folder}", device="cpu").api.model
    assert not whole(ids).logits.equal(answer)
    with without(whole, [0, 2], mlp=[1]):
        assert whole(ids).logits.equal(answer)
