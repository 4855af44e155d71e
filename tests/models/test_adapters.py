"""Adapters: merged as peft merges them, off again bit for bit, and hostile files in words."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.installing import install_extra
from depthtui.models.adapter_files import read_adapter_config
from depthtui.models.loading import LoadedModel, load
from depthtui.models.reach import check_can_open
from depthtui.sweep.disk_fingerprint import fingerprint_on_disk
from tests.builders.adapters import adapter_of, change_adapter, merged_folder
from tests.odd_files import put_odd_file
from tests.tiny_models import random_ids, tiny_folder

WEIGHTS = "adapter_model.safetensors"


def opened(base: Path, adapter: Path | str = "", **options) -> LoadedModel:
    spec = ModelSpec(str(base), adapter=str(adapter), **options)
    return load(spec, base.parent / "models", lambda _: None)


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return loaded.model(random_ids()).logits


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A folder with the base `tiny-llama` and its adapter `ad`."""
    parent = tmp_path_factory.mktemp("kept")
    adapter_of(tiny_folder(parent), parent / "ad")
    return parent


@pytest.fixture
def base(folders) -> Path:
    return folders / "tiny-llama"


@pytest.fixture
def adapter(folders, tmp_path) -> Path:
    return Path(shutil.copytree(folders / "ad", tmp_path / "ad"))


@pytest.mark.parametrize(
    ("name", "lora"),
    [
        ("llama", {}),
        ("llama", {"target_modules": "all-linear", "rank_pattern": {"q_proj": 2}}),
        ("llama", {"target_modules": r".*\.(q|k)_proj", "alpha_pattern": {"k_proj": 3}}),
        ("llama", {"target_modules": ["q_proj"], "layers_to_transform": [2]}),
        ("llama", {"bias": "all", "trainable_token_indices": [3, 5]}),
        ("qwen2", {"use_rslora": True, "modules_to_save": ["lm_head"]}),
        ("llama_tied", {"use_dora": True}),
        ("llama_tied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
        ("gpt2", {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
        ("olmoe", {"target_parameters": ["mlp.experts.gate_up_proj"]}),
    ],
)
def test_on_is_what_peft_merges_and_off_is_the_base(name, lora, tmp_path) -> None:
    base = tiny_folder(tmp_path, name)
    adapter = adapter_of(base, tmp_path / "ad", **lora)
    merged = opened(merged_folder(base, adapter, tmp_path / "merged"))
    loaded, alone = opened(base, adapter), opened(base)
    on = logits(loaded)
    assert torch.equal(on, logits(merged))
    assert loaded.base is not None
    for _ in range(2):
        with loaded.base.put_back():
            assert torch.equal(logits(loaded), logits(alone))
        assert torch.equal(logits(loaded), on)
    assert not torch.equal(on, logits(alone))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_it_is_part_of_what_the_model_is(base, adapter, tmp_path) -> None:
    alone, loaded = opened(base).info, opened(base, adapter).info
    assert loaded.name == "tiny-llama + ad"
    assert loaded.source == f"{base} with the adapter {adapter}"
    assert loaded.spec.adapter == str(adapter)
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    weights = load_file(other / WEIGHTS)
    first = min(weights)
    save_file(weights | {first: weights[first] + 1}, other / WEIGHTS)
    moved = Path(shutil.copytree(adapter, tmp_path / "0" / "checkpoint-10"))
    infos = [opened(base, folder).info for folder in (other, moved)]
    assert len({alone.fingerprint, loaded.fingerprint, infos[0].fingerprint}) == 3
    assert infos[1].fingerprint == loaded.fingerprint
    assert infos[1].name == "tiny-llama + 0 checkpoint-10"
    on_disk = fingerprint_on_disk(loaded.spec, base.parent / "models", lambda _: None)
    assert on_disk == loaded.fingerprint


def test_another_base_is_told(base, adapter) -> None:
    assert opened(base, adapter).notice == ""
    change_adapter(adapter, base_model_name_or_path="someone/else")
    words = "ad names 'someone/else' as its base, and was merged into tiny-llama."
    assert opened(base, adapter).notice == words
    change_adapter(adapter, base_model_name_or_path=["no", "text"])
    assert opened(base, adapter).notice == ""


def test_weights_in_16_bits(base, adapter, tmp_path) -> None:
    merged = merged_folder(base, adapter, tmp_path / "merged", dtype=torch.bfloat16)
    loaded = opened(base, adapter, dtype="bfloat16")
    assert torch.equal(logits(loaded), logits(opened(merged, dtype="bfloat16")))
    with loaded.base.put_back():
        assert torch.equal(logits(loaded), logits(opened(base, dtype="bfloat16")))


def _put(name: str):
    def put(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / name)

    return put


def _weights(change):
    def changed(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)

    return changed


def _of(**fields):
    return lambda folder: change_adapter(folder, **fields)


def _without(weights: dict) -> dict:
    return {name: weight for name, weight in weights.items() if name != min(weights)}


HOSTILE = {
    "a pickle": (_put("adapter_model.bin"), r"as a pickle \(adapter_model\.bin\)"),
    "no weights": (_put("elsewhere"), r"adapter_model\.safetensors is missing"),
    "no configuration": (
        lambda folder: (folder / "adapter_config.json").unlink(),
        r"it has no adapter_config\.json",
    ),
    "no JSON": (
        lambda folder: (folder / "adapter_config.json").write_text("{'r': "),
        "cannot be read",
    ),
    "a list": (
        lambda folder: (folder / "adapter_config.json").write_text("[1]"),
        "holds no configuration",
    ),
    "cut short": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]),
        "bytes where it should have",
    ),
    "another kind": (_of(peft_type="IA3"), "of the kind 'IA3', and only LoRA"),
    "a kind that is no text": (_of(peft_type={"a": 1}), "only LoRA"),
    "a rank of 0": (_of(r=0), "r cannot be 0"),
    "a rank of billions": (_of(r=10**12), "r cannot be"),
    "another rank": (_of(r=8), "size mismatch"),
    "an alpha that is no number": (_of(lora_alpha="8"), "lora_alpha cannot be '8'"),
    "a switch that is none": (_of(use_dora="no"), "use_dora cannot be 'no'"),
    "a pattern that takes years": (_of(modules_to_save=["(a+)+$"]), "modules_to_save cannot be"),
    "modules by number": (_of(target_modules=[1]), "target_modules cannot be"),
    "a program": (_of(megatron_config={}, megatron_core="os", layer_replication=[[0, 2]]), "asks"),
    "a variant": (_of(alora_invocation_tokens=[1]), "asks for 'alora_invocation_tokens'"),
    "a field of tomorrow": (_of(use_more=True), "asks for 'use_more'"),
    "a changed base": (_of(init_lora_weights="pissa"), "'pissa', which changes the weights"),
    "modules that the base lacks": (_of(target_modules=["other"]), "cannot be merged into"),
    "modules without weights": (
        _of(target_modules=["q_proj", "k_proj", "v_proj", "down_proj"]),
        "lacks",
    ),
    "weights without modules": (_of(target_modules=["q_proj"]), "has no place in its base"),
    "a weight less": (_weights(_without), "lacks 1 weight"),
    "other shapes": (
        _weights(lambda weights: {n: w[:, :-1].contiguous() for n, w in weights.items()}),
        "size mismatch",
    ),
    "no numbers": (
        _weights(lambda weights: {name: weight * torch.nan for name, weight in weights.items()}),
        "holds weights that are no numbers",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_words(case, base, adapter) -> None:
    change, words = HOSTILE[case]
    change(adapter)
    with pytest.raises(DepthError, match=words) as caught:
        opened(base, adapter)
    assert caught.value.hint


def test_no_library_reads_a_pipe(base, adapter) -> None:
    (adapter / "adapter_config.json").unlink()
    put_odd_file(adapter / "adapter_config.json", "a pipe")
    with pytest.raises(DepthError):
        opened(base, adapter)


def test_a_pattern_of_modules_is_not_run(base, adapter) -> None:
    expected = logits(opened(base, adapter))
    change_adapter(adapter, target_modules=f"({'a?' * 60}{'.*' * 60})+x", exclude_modules="(.*)*y")
    assert torch.equal(logits(opened(base, adapter)), expected)


def test_bad_files_are_found_before_room_is_made(base, adapter) -> None:
    change_adapter(adapter, r=8)
    spec = ModelSpec(str(base), adapter=str(adapter))
    with pytest.raises(DepthError, match="size mismatch"):
        load(spec, base.parent / "models", lambda _: None, make_room=pytest.fail)


def test_one_of_two_tied_layers(tmp_path) -> None:
    base = tiny_folder(tmp_path, "llama_tied")
    adapter = adapter_of(base, tmp_path / "ad", target_modules=["lm_head", "q_proj"])
    with pytest.raises(DepthError, match="embedding and LM head, which are a single matrix"):
        opened(base, adapter)


def test_quantised_weights(base, adapter) -> None:
    with pytest.raises(DepthError, match="not quantised"):
        opened(base, adapter, quantize="4bit")


def test_peft_is_an_extra(base, adapter, monkeypatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name)
    )
    with pytest.raises(DepthError, match="needs peft") as caught:
        opened(base, adapter)
    assert caught.value.hint == f"Install it: {install_extra('adapters')}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./nowhere", "does not exist"),
        ("a b", "is no adapter"),
        (" ", "is no adapter"),
        ("a\0b", "is no adapter"),
    ],
)
def test_names_that_mean_nothing_are_told_at_once(name, words, base) -> None:
    with pytest.raises(DepthError, match=words):
        check_can_open(ModelSpec(str(base), adapter=name), base.parent)


def test_a_model_is_no_adapter(base) -> None:
    with pytest.raises(DepthError, match=r"no adapter: it has no adapter_config\.json"):
        check_can_open(ModelSpec(str(base), adapter=str(base)), base.parent)
    with pytest.raises(DepthError, match=r"no adapter"):
        check_can_open(ModelSpec(str(base), adapter=str(base / "config.json")), base.parent)


def test_one_of_the_hub_is_found_in_its_cache(base, adapter, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DepthError, match=r"me/mine is not complete in the hub cache"):
        check_can_open(ModelSpec(str(base), adapter="me/mine"), base.parent)
    repository = tmp_path / "hub" / "models--me--mine"
    shutil.copytree(adapter, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    check_can_open(ModelSpec(str(base), adapter="me/mine"), base.parent)
    loaded = opened(base, "me/mine")
    assert loaded.info.name == "tiny-llama + mine"
    assert torch.equal(logits(loaded), logits(opened(base, adapter)))


def test_its_configuration_is_read_before_its_weights(adapter) -> None:
    assert read_adapter_config(adapter)["r"] == 4
