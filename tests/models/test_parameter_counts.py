"""Where a model's parameters are, on every architecture."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from depthtui.data import codec
from depthtui.data.lens import LogitLens
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Skip
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.models.parameter_counts import count_parameters
from depthtui.tracing.layer_parameters import with_parameters
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.trace import trace
from tests.builders.models import tiny_model
from tests.tiny_models import TINY, fresh, random_ids, tiny, tiny_folder


def info_of(name: str):
    model = tiny(name)
    return with_parameters(tiny_model(), model, probe_architecture(model), count_parameters(model))


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_layer_holds_its_attention_and_its_mlp(name: str) -> None:
    model, info = tiny(name), info_of(name)
    assert sum(info.layer_parameters) < model.num_parameters() == count_parameters(model)[""]
    if not probe_architecture(model).attention:
        assert info.attention_parameters == info.mlp_parameters == ()
        return
    parts = zip(info.layer_parameters, info.attention_parameters, info.mlp_parameters, strict=True)
    for layer, attention, mlp in parts:
        assert min(attention, mlp) > 0
        assert attention + mlp <= layer
        # What is neither's is little: norms that both read, constants.
        assert layer - attention - mlp <= 0.05 * layer


@pytest.mark.parametrize("name", ["llama", "gemma3", "opt", "gpt2", "bloom", "phi", "falcon"])
@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_what_is_counted_is_idle_once_the_part_is_silent(name: str, part: str) -> None:
    model, ids = fresh(name), random_ids()
    anatomy = probe_architecture(model)
    modules = getattr(anatomy, f"{part}_modules")[1]

    def output() -> torch.Tensor:
        residuals = []
        trace(
            model, anatomy, ids[0], lambda layer: residuals.append(layer.h_next),
            skipped=[Skip(1, part)],
        )  # fmt: skip
        return residuals[-1]

    before = output()
    parameters = {
        id(parameter): parameter for module in modules for parameter in module.parameters()
    }
    with torch.no_grad():
        for tensor in parameters.values():
            tensor.mul_(1.5).add_(0.1)
    assert torch.equal(output(), before)
    counted = with_parameters(tiny_model(), model, anatomy, count_parameters(model))
    expected = sum(tensor.numel() for tensor in parameters.values())
    assert getattr(counted, f"{part}_parameters")[1] == expected


def test_llama_by_hand() -> None:
    config, info = tiny("llama").config, info_of("llama")
    d, inner = config.hidden_size, config.intermediate_size
    head = config.head_dim
    attention = 2 * d * head * (config.num_attention_heads + config.num_key_value_heads) + d
    mlp = 3 * d * inner + d
    assert info.attention_parameters == (attention,) * config.num_hidden_layers
    assert info.mlp_parameters == (mlp,) * config.num_hidden_layers
    assert info.layer_parameters == (attention + mlp,) * config.num_hidden_layers


def test_a_run_leaves_out_what_its_layers_and_sublayers_hold() -> None:
    info = dataclasses.replace(
        tiny_model(3),
        layer_parameters=(100, 200, 400),
        attention_parameters=(30, 60, 90),
        mlp_parameters=(70, 140, 300),
    )
    assert info.parameters_of([]) == 0
    off = [Skip(0), Skip(1, "attention"), Skip(2, "mlp")]
    assert info.parameters_of(off) == 100 + 60 + 300
    without_split = dataclasses.replace(info, attention_parameters=(), mlp_parameters=())
    assert without_split.parameters_of(off[:1]) == 100
    assert without_split.parameters_of(off) is None
    assert tiny_model().parameters_of(off[:1]) is None


def test_a_result_of_an_older_layout_takes_the_model_as_it_is_now(tmp_path) -> None:
    folder = tiny_folder(tmp_path)
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda event: None)
    info = engine.load(ModelSpec(str(folder), device="cpu"))
    assert sum(info.layer_parameters) > 0
    assert codec.decode(codec.encode(info)) == info
    first = engine.run(Prompt("Seven plus five"), RunSettings())
    entry = next(entry for entry in store.entries() if entry.kind == "result")
    data = store.get(entry.key)
    store.put(entry.key, without_parameters(data), entry.description, entry.kind)
    old = codec.decode(store.get(entry.key))
    assert isinstance(old, RunResult)
    assert old.model.layer_parameters == ()
    again = engine.run(Prompt("Seven plus five"), RunSettings())
    assert again.provenance.cached
    assert again.model == first.model == info
    np.testing.assert_array_equal(again.get(LogitLens).kl, first.get(LogitLens).kl)


def without_parameters(data: bytes) -> bytes:
    """A result as it was encoded before models told of their layers' parameters."""
    length = int.from_bytes(data[:8], "little")
    tree = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["depthtui"])
    model = tree["fields"]["model"]["fields"]
    for name in ("layer_parameters", "attention_parameters", "mlp_parameters"):
        del model[name]
    return save(load(data), metadata={"depthtui": json.dumps(tree)})
