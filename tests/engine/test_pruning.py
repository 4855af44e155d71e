"""A model that is written without some of its layers, against the model that leaves them out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, Repeated, RunSettings, Skip
from depthtui.data.store import open_store
from depthtui.engine import surgery
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError, RunStopped
from tests.naive import naive_loss, naive_repeated, naive_without, probabilities
from tests.tiny_models import LAYERS, TINY, random_ids, tiny_folder

QUICK = ["llama", "gemma3", "mixtral", "qwen3_5", "deepseek_v3"]
CANNOT_BE_LOADED = {"gemma4", "recurrent_gemma"}
"""Of these, weights beside the layers, or their kinds, are of all layers together."""

ALL_THAT_LOAD = pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.by_hand)
        for name in TINY
        if name not in CANNOT_BE_LOADED
    ],
)

PROMPT = Prompt("Seven plus five is twelve, and the river was high.")


def engine_of(folder: Path) -> Engine:
    engine = Engine(open_store(None, 0, pytest.fail), folder.parent / "models", lambda _: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    return engine


@ALL_THAT_LOAD
def test_a_written_model_says_what_the_what_if_says(name: str, tmp_path: Path) -> None:
    left_out = (1, 2) if name in ("llama", "gpt2", "gemma3", "mixtral") else (1,)
    folder, out = tiny_folder(tmp_path, name), tmp_path / "pruned"
    engine = engine_of(folder)
    settings = RunSettings(skipped=tuple(map(Skip, left_out)))
    what_if = engine.run(PROMPT, settings)
    surgery.prune(engine, left_out, out)

    pruned = AutoModelForCausalLM.from_pretrained(out).eval()
    assert pruned.config.get_text_config().num_hidden_layers == LAYERS - len(left_out)
    whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    changes = [(layer, lambda before, _after: before) for layer in left_out]
    ids = random_ids(20)
    probabilities_written, expected = probabilities(pruned, ids), probabilities(whole, ids, changes)
    torch.testing.assert_close(probabilities_written, expected, rtol=0, atol=1e-9)
    assert naive_loss(pruned, ids) == pytest.approx(naive_loss(whole, ids, changes), abs=1e-5)
    text = AutoTokenizer.from_pretrained(out)(PROMPT.text)["input_ids"]
    assert text == AutoTokenizer.from_pretrained(folder)(PROMPT.text)["input_ids"]

    engine.load(ModelSpec(str(out), device="cpu"))
    measured = engine.run(PROMPT, RunSettings())
    assert measured.loss == pytest.approx(what_if.loss, abs=1e-5)
    np.testing.assert_array_equal(
        measured.measured["logit_lens"].top_ids[-1], what_if.measured["logit_lens"].top_ids[-1]
    )


@ALL_THAT_LOAD
def test_a_written_model_has_the_layers_that_run_twice(name: str, tmp_path: Path) -> None:
    repeated = Repeated(1, 2)
    folder, out = tiny_folder(tmp_path, name), tmp_path / "longer"
    engine = engine_of(folder)
    what_if = engine.run(PROMPT, RunSettings(repeated=(repeated,)))
    written = surgery.prune(engine, [], out, repeated=[repeated])
    assert written.layers == (0, 1, 2, 1, 2, 3)

    longer = AutoModelForCausalLM.from_pretrained(out).eval()
    assert longer.config.get_text_config().num_hidden_layers == LAYERS + 2
    whole = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = random_ids(20)
    logits, expected = naive_without(longer, ids, ()), naive_repeated(whole, ids, 1, 2)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    engine.load(ModelSpec(str(out), device="cpu"))
    assert engine.run(PROMPT, RunSettings()).loss == pytest.approx(what_if.loss, abs=1e-5)


def test_one_layer_twice_and_another_off(tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path), tmp_path / "changed"
    engine = engine_of(folder)
    changes = RunSettings(skipped=(Skip(3),), repeated=(Repeated(1, 1),))
    what_if = engine.run(PROMPT, changes)
    # As many layers as before, and not the same.
    assert surgery.prune(engine, [3], out, repeated=changes.repeated).layers == (0, 1, 1, 2)
    recipe = (out / "mergekit_config.yml").read_text()
    ranges = [line.split(": ")[1] for line in recipe.splitlines() if "layer_range" in line]
    assert ranges == ["[0, 2]", "[1, 3]"]
    engine.load(ModelSpec(str(out), device="cpu"))
    assert engine.run(PROMPT, RunSettings()).loss == pytest.approx(what_if.loss, abs=1e-5)


def test_layers_of_a_kind_that_comes_first_are_not_repeated_later(tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, "deepseek_v3"), tmp_path / "longer"
    engine = engine_of(folder)
    with pytest.raises(DepthError, match=r"counts the first layers of a kind \(first_k_dense"):
        surgery.prune(engine, [], out, repeated=[Repeated(0, 1)])
    with pytest.raises(DepthError, match="layer 1 is in two blocks"):
        surgery.prune(engine, [], out, repeated=[Repeated(0, 1), Repeated(1, 2)])
    assert not out.exists()


def refused(folder: Path, words: str) -> None:
    out = folder.parent / "out"
    with pytest.raises(DepthError, match=words):
        surgery.prune(engine_of(folder), [1], out / "pruned")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", sorted(CANNOT_BE_LOADED))
def test_what_cannot_be_loaded_is_not_written(name: str, tmp_path: Path) -> None:
    refused(tiny_folder(tmp_path, name), "could not be loaded")


def test_layers_that_know_their_place_are_not_written(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path, "gpt2")
    config = json.loads((folder / "config.json").read_text())
    config["scale_attn_by_inverse_layer_idx"] = True
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, "depends on how many")


def test_shards_stay_shards(tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path), tmp_path / "pruned"
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    engine = engine_of(folder)
    written = surgery.prune(engine, [0, 2], out)
    assert written.layers == (1, 3)
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 1
    assert {name.split(".")[2] for name in index if ".layers." in name} == {"0", "1"}
    assert "layer_range: [1, 2]" in (out / "mergekit_config.yml").read_text()
    AutoModelForCausalLM.from_pretrained(out)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [([], "No layer is left out"), (range(LAYERS), "at least one layer"), ([9], "no layer 9")],
)
def test_some_layers_stay_and_some_go(engine: Engine, left_out, words, tmp_path: Path) -> None:
    with pytest.raises(DepthError, match=words):
        surgery.prune(engine, left_out, tmp_path / "pruned")


def test_nothing_is_replaced(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DepthError, match="something in"):
        surgery.prune(engine, [1], tmp_path)


def test_a_mount_point_is_refused(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(DepthError, match="a mount point"):
        surgery.prune(engine, [1], tmp_path)
    surgery.prune(engine, [1], tmp_path / "model")


def test_what_is_stopped_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    control = Control()
    control.stop()
    with pytest.raises(RunStopped):
        surgery.prune(engine, [1], tmp_path / "out" / "pruned", control)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
