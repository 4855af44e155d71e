"""Names of models, and what is on the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from depthtui.data.model import DEMO_NAME
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models import catalog
from depthtui.models.catalog import ModelSource, on_disk, resolve, weight_files

CAUSAL = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def model_folder(folder: Path, config: dict = CAUSAL, weights: int = 10) -> Path:
    """A folder that has the form of a model, without being one."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x" * weights)
    return folder


def cached_model(cache: Path, name: str, commit: str = "c0ffee", **options) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return model_folder(repository / "snapshots" / commit, **options)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def hint_about(folder) -> str:
    with pytest.raises(DepthError, match=r"no model: it has no config\.json") as caught:
        resolved(str(folder), folder)
    return caught.value.hint


def resolved(name: str, tmp_path: Path, **options) -> ModelSource:
    return resolve(ModelSpec(name, **options), tmp_path / "models")


class TestResolve:
    def test_the_demo_lives_in_the_model_store(self, tmp_path) -> None:
        source = resolved("demo", tmp_path)
        assert source.kind == "demo"
        assert Path(source.location) == tmp_path / "models" / "SmolLM2-135M-Instruct"
        assert source.name == "SmolLM2-135M-Instruct"

    def test_a_folder(self, tmp_path) -> None:
        folder = model_folder(tmp_path / "mine")
        assert resolved(str(folder), tmp_path) == ModelSource("folder", str(folder))

    def test_a_relative_folder_becomes_absolute(self, tmp_path, monkeypatch) -> None:
        folder = model_folder(tmp_path / "mine")
        monkeypatch.chdir(tmp_path)
        assert resolved("mine", tmp_path).location == str(folder)

    def test_a_gguf_file(self, tmp_path) -> None:
        path = tmp_path / "small.Q4.gguf"
        path.write_bytes(b"GGUF and more")
        source = resolved(str(path), tmp_path)
        assert (source.kind, source.name) == ("gguf", "small.Q4")

    @pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen3-0.6B", "a/b_c.d", " gpt2 "])
    def test_a_hub_id_keeps_its_revision(self, name, tmp_path) -> None:
        source = resolved(name, tmp_path, revision="v1")
        assert source == ModelSource("hub", name.strip(), "v1")

    @pytest.mark.parametrize(
        "name", ["", "  ", "a b", "a--b", "-a/b", "a/b.git", "ä/b", "a/b..c", "a\0b", "x" * 97]
    )
    def test_what_is_no_model_at_all(self, name, tmp_path) -> None:
        with pytest.raises(DepthError, match=r"no model|No model"):
            resolved(name, tmp_path)

    @pytest.mark.parametrize("name", ["./gone", "/gone", "~/gone-model", "a/b/c", "gone.gguf"])
    def test_a_path_that_does_not_exist(self, name, tmp_path) -> None:
        with pytest.raises(DepthError, match="does not exist"):
            resolved(name, tmp_path)

    @pytest.mark.parametrize("leads", ["absolutely", "upwards"])
    def test_a_revision_leads_to_no_other_folder(self, leads, tmp_path, hub_cache) -> None:
        other = model_folder(tmp_path / "snapshots" / "other")
        beside = cached_model(hub_cache, "us/good").parent
        revision = str(other) if leads == "absolutely" else os.path.relpath(other, beside)
        assert catalog.cached_snapshot("us/good", revision) is not None
        with pytest.raises(DepthError, match="no revision"):
            resolved("us/good", tmp_path, revision=revision)

    def test_a_folder_without_a_configuration(self, tmp_path) -> None:
        with pytest.raises(DepthError, match=r"no model: it has no config\.json"):
            resolved(str(tmp_path), tmp_path)

    def test_a_folder_of_models_names_them(self, tmp_path) -> None:
        for name in (".gguf", "empty", "two"):
            (tmp_path / name).mkdir()
        (tmp_path / ".gguf" / "hidden.gguf").write_bytes(b"GGUF")
        nothing = "A model folder holds config.json, safetensors and a tokenizer."
        assert hint_about(tmp_path) == nothing
        (tmp_path / "one.gguf").write_bytes(b"GGUF")
        assert hint_about(tmp_path) == f"Open {tmp_path}/one.gguf instead."
        (tmp_path / "two" / "two.gguf").write_bytes(b"GGUF")
        model_folder(tmp_path / "whole")
        assert hint_about(tmp_path) == "Open a model in it instead: one.gguf, two/two.gguf, whole."
        (tmp_path / "four.gguf").write_bytes(b"GGUF")
        listed = "four.gguf, one.gguf, two/two.gguf and 1 more"
        assert hint_about(tmp_path) == f"Open a model in it instead: {listed}."

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
    def test_an_adapter_alone(self, name, tmp_path) -> None:
        (tmp_path / name).write_text("{}")
        with pytest.raises(
            DepthError, match=rf"holds an adapter \({name}\) and no model"
        ) as caught:
            resolve(ModelSpec(str(tmp_path)), tmp_path)
        assert "--adapter" in caught.value.hint

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.bin"])
    def test_an_adapter_beside_a_model(self, name, tmp_path) -> None:
        folder = model_folder(tmp_path / "model")
        (folder / name).write_text("{}")
        with pytest.raises(DepthError, match=rf"an adapter beside its model \({name}\)") as caught:
            resolve(ModelSpec(str(folder)), tmp_path)
        assert "--adapter" in caught.value.hint

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model-00001-of-00002.bin", "m.pth"])
    def test_pickles_are_refused_and_told_why(self, name, tmp_path) -> None:
        folder = model_folder(tmp_path / "mine")
        (folder / "model.safetensors").rename(folder / name)
        with pytest.raises(DepthError, match="can run any program") as caught:
            resolved(str(folder), tmp_path)
        assert name in str(caught.value)

    def test_a_pickle_beside_safetensors_does_not_matter(self, tmp_path) -> None:
        folder = model_folder(tmp_path / "mine")
        (folder / "pytorch_model.bin").write_bytes(b"")
        assert resolved(str(folder), tmp_path).kind == "folder"

    def test_a_folder_without_weights(self, tmp_path) -> None:
        folder = model_folder(tmp_path / "mine")
        (folder / "model.safetensors").unlink()
        with pytest.raises(DepthError, match="no weights"):
            resolved(str(folder), tmp_path)

    def test_a_gguf_file_in_name_only(self, tmp_path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"<html>")
        with pytest.raises(DepthError, match="no GGUF file"):
            resolved(str(tmp_path / "a.gguf"), tmp_path)

    def test_another_file(self, tmp_path) -> None:
        (tmp_path / "a.txt").write_bytes(b"text")
        with pytest.raises(DepthError, match="no model"):
            resolved(str(tmp_path / "a.txt"), tmp_path)


class TestWeightFiles:
    def index(self, folder: Path, names: list[str]) -> Path:
        index = {"weight_map": {str(i): name for i, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    def test_an_index_lists_the_shards(self, tmp_path) -> None:
        self.index(tmp_path, ["b.safetensors", "a.safetensors", "b.safetensors"])
        assert [file_.name for file_ in weight_files(tmp_path)] == [
            "a.safetensors",
            "b.safetensors",
        ]

    def test_a_single_file_comes_before_an_index(self, tmp_path) -> None:
        folder = model_folder(tmp_path / "mine")
        self.index(folder, ["a.safetensors"])
        assert weight_files(folder) == [folder / "model.safetensors"]

    @pytest.mark.parametrize("name", ["../a.safetensors", "/etc/a.safetensors", "a.bin", 3])
    def test_an_index_cannot_point_elsewhere(self, name, tmp_path) -> None:
        with pytest.raises(DepthError, match=r"index\.json"):
            weight_files(self.index(tmp_path, [name]))

    def test_a_damaged_index(self, tmp_path) -> None:
        (tmp_path / "model.safetensors.index.json").write_text('{"weight')
        with pytest.raises(DepthError, match="cannot be read"):
            weight_files(tmp_path)


class TestOnDisk:
    def test_the_demo_comes_first_even_where_nothing_is_there(self, tmp_path, hub_cache) -> None:
        (demo,) = on_disk(tmp_path / "models")
        assert (demo.name, demo.ready, demo.size) == ("demo", False, catalog.DEMO_WHEEL_BYTES)

    def test_a_converted_demo_is_ready(self, tmp_path, hub_cache) -> None:
        folder = model_folder(tmp_path / "models" / DEMO_NAME, weights=1000)
        (demo,) = on_disk(tmp_path / "models")
        assert demo.ready
        assert demo.size == sum(path.stat().st_size for path in folder.iterdir())

    def test_models_in_the_store_have_the_names_they_came_with(self, tmp_path, hub_cache) -> None:
        folder = model_folder(tmp_path / "models" / "small-0123")
        (folder / catalog.MADE_FROM).write_text('{"name": "small", "made_from": "/a/small.gguf"}')
        model_folder(tmp_path / "models" / ".half-made.1")
        _demo, small = on_disk(tmp_path / "models")
        assert (small.title, small.kind, small.note) == ("small", "store", "/a/small.gguf")
        assert resolve(ModelSpec(small.name), tmp_path / "models").name == "small"

    def test_causal_models_in_the_hub_cache(self, tmp_path, hub_cache) -> None:
        cached_model(hub_cache, "Qwen/Qwen3-0.6B")
        cached_model(hub_cache, "google/t5", config=CAUSAL | {"is_encoder_decoder": True})
        cached_model(hub_cache, "bert", config={"architectures": ["BertForMaskedLM"]})
        cached_model(hub_cache, "odd", config=[])  # type: ignore[arg-type]
        unfinished = cached_model(hub_cache, "half/fetched")
        (unfinished / "model.safetensors").unlink()
        (hub_cache / "datasets--a--b").mkdir()
        _demo, *listings = on_disk(tmp_path / "models")
        assert [(model.name, model.kind, model.revision) for model in listings] == [
            ("Qwen/Qwen3-0.6B", "hub", "")
        ]

    @pytest.mark.parametrize(
        ("config", "layers"),
        [
            ({"text_config": {"num_hidden_layers": 5}, "vision_config": {}}, 5),
            ({"num_hidden_layers": 6, "vision_config": {}}, 6),
            ({"thinker_config": {"text_config": {"num_hidden_layers": 7}}}, 7),
        ],
        ids=["Mistral 3", "Qwen2-VL", "Qwen2.5-Omni"],
    )
    def test_models_that_read_more_than_text_are_offered_by_their_text(
        self, config: dict, layers: int, tmp_path: Path, hub_cache: Path
    ) -> None:
        named = {"model_type": "x", "architectures": ["XForConditionalGeneration"]}
        cached_model(hub_cache, "a/b", config=named | config)
        _demo, listing = on_disk(tmp_path / "models")
        assert listing.facts == f"{layers} layers, x, measured on text alone"

    def test_a_copy_of_another_revision_says_which(self, tmp_path, hub_cache) -> None:
        snapshot = cached_model(hub_cache, "a/b", commit="0123456789ab")
        (snapshot.parents[1] / "refs" / "main").write_text("another")
        _demo, listing = on_disk(tmp_path / "models")
        assert listing.revision == "0123456789ab"
        assert "01234567" in listing.note

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({"HF_HUB_CACHE": "/x"}, "/x"),
            ({"HF_HOME": "/y"}, "/y/hub"),
            ({"XDG_CACHE_HOME": "/z"}, "/z/huggingface/hub"),
            ({"HF_HUB_CACHE": "/x", "HF_HOME": "/y"}, "/x"),
        ],
    )
    def test_the_hub_cache_is_where_the_libraries_have_it(
        self, variables, expected, monkeypatch
    ) -> None:
        for item in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(item, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert catalog.hub_cache() == Path(expected)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, pathlib; from depthtui.models import catalog; "
        "catalog.on_disk(pathlib.Path('nowhere')); "
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_hidden_layers": 30, "hidden_size": 8}, 30),
        ({"model_type": "gpt2", "n_layer": 12}, 12),
        ({"text_config": {"num_hidden_layers": 26}}, 26),
        ({"num_hidden_layers": 30, "loop_num_passes": 3}, 0),
        ({"num_hidden_layers": 30, "auto_map": {}}, 0),
        ({}, 0),
    ],
)
def test_the_layers_by_a_configuration(config, layers, tmp_path) -> None:
    folder = model_folder(tmp_path / "mine", config)
    spec, work = ModelSpec(str(folder)), 240.0**2 if "hidden_size" in config else 0.0
    assert catalog.configured_layers(spec, tmp_path) == layers
    assert catalog.configured_work(spec, tmp_path) == work
