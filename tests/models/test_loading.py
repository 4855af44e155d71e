"""Loading models: what comes out, and what is refused in which words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    GptOssConfig,
    LlamaConfig,
    LlamaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.auto import auto_factory

from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, NeedsCode, RunStopped
from depthtui.installing import install_extra
from depthtui.models import devices, loading, placement
from depthtui.models.checked_config import read_checked_config
from depthtui.models.devices import device_named, dtype_named
from depthtui.models.library_output import silence_libraries
from depthtui.models.loading import LoadedModel, load
from depthtui.models.weight_loading import load_weights
from depthtui.sizes import format_size
from tests.builders.own_code import OwnCode, model_with_code, tokenizer_with_code
from tests.odd_files import put_odd_file
from tests.tiny_models import HIDDEN, LAYERS, fresh, random_ids, tiny_folder, tiny_tokenizer


def loaded(folder: Path, trust_remote_code: bool = False, **options) -> LoadedModel:
    spec, models_dir = ModelSpec(str(folder), **options), folder.parent / "models"
    return load(spec, models_dir, lambda _: None, trust_remote_code=trust_remote_code)


def refused(folder: Path, words: str, **options) -> DepthError:
    with pytest.raises(DepthError, match=words) as caught:
        loaded(folder, **options)
    return caught.value


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tiny_folder(tmp_path)


class TestWhatComesOut:
    @pytest.mark.parametrize(
        "name",
        [
            "llama",
            "llama_tied",
            "gpt2",
            "gemma3",
            "mamba",
            "falcon",
            "opt",
            "mpt",
            "bloom",
            "qwen3_5",
        ],
    )
    def test_a_folder_gives_the_model_that_was_saved(self, name, tmp_path) -> None:
        folder = tiny_folder(tmp_path, name)
        model = loaded(folder)
        info = model.info
        assert (info.n_layers, info.d_model) == (LAYERS, HIDDEN)
        assert info.architecture == type(fresh(name)).__name__
        assert (info.dtype, info.device, info.quantize) == ("float32", "cpu", "")
        assert info.name == folder.name
        assert info.source == str(folder)
        assert info.has_chat_template
        assert not model.model.training
        assert not any(parameter.requires_grad for parameter in model.model.parameters())
        with torch.no_grad():
            out = model.model(random_ids(), use_cache=False).logits
        assert out.shape[-1] == info.vocab_size == len(model.tokenizer)
        assert info.parameters == model.model.num_parameters()
        assert info.memory_bytes >= 4 * info.parameters

    @pytest.mark.parametrize("name", ["llama", "gpt_oss"])
    def test_the_weights_are_those_of_the_file(self, name, tmp_path) -> None:
        folder = tiny_folder(tmp_path, name)
        saved = load_file(folder / "model.safetensors")
        weights = loaded(folder).model.state_dict()
        assert all(torch.equal(weights[sweep], saved[sweep]) for sweep in saved)

    @pytest.mark.parametrize(
        ("name", "length"),
        [("llama", 256), ("gpt2", 256), ("mpt", 256), ("bloom", 0), ("mamba", 0)],
    )
    def test_the_context_length_where_there_is_one(self, name, length, tmp_path) -> None:
        assert loaded(tiny_folder(tmp_path, name)).info.context_length == length

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
    def test_a_dtype_that_was_asked_for(self, dtype, folder) -> None:
        model = loaded(folder, dtype=dtype)
        assert model.info.dtype == dtype
        assert model.model.dtype == getattr(torch, dtype)
        size = 4 if dtype == "float32" else 2
        assert model.info.memory_bytes == pytest.approx(size * model.info.parameters, rel=0.01)

    def test_a_large_model_on_a_cpu_is_bfloat16(self, folder, monkeypatch) -> None:
        monkeypatch.setattr(devices, "_FLOAT32_UP_TO", 1000)
        model = loaded(folder)
        assert model.info.dtype == "bfloat16"
        assert "stored in float32 and was rounded to bfloat16" in model.notice

    def test_a_tied_head_that_the_files_have_otherwise_is_said(self, tmp_path) -> None:
        folder = tiny_folder(tmp_path)
        change_config(folder, tie_word_embeddings=True)
        model = loaded(folder)
        assert model.notice == (
            "The configuration of tiny-llama ties lm_head.weight to model.embed_tokens.weight, and "
            "the files hold other values for it: the files' own are used."
        )
        assert torch.equal(
            model.model.lm_head.weight, load_file(folder / "model.safetensors")["lm_head.weight"]
        )
        change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
        assert not loaded(folder).notice

    def test_what_was_asked_for_or_loses_nothing_needs_no_notice(self, folder, monkeypatch) -> None:
        assert not loaded(folder).notice
        monkeypatch.setattr(devices, "_FLOAT32_UP_TO", 1000)
        assert not loaded(folder, dtype="bfloat16").notice
        change_config(folder, dtype="bfloat16")
        assert not loaded(folder).notice

    def test_quantising_is_no_loss_that_nobody_asked_for(self, folder, monkeypatch) -> None:
        """The weights are read as they are here: bitsandbytes is not needed for the words."""

        def read_unquantised(stored, progress):
            return load_weights(replace(stored, spec=replace(stored.spec, quantize="")), progress)

        monkeypatch.setattr(devices, "_FLOAT32_UP_TO", 1000)
        monkeypatch.setattr(loading.importlib.util, "find_spec", lambda _: object())
        monkeypatch.setattr(loading, "load_weights", read_unquantised)
        model = loaded(folder, quantize="8bit")
        assert model.info.dtype == "bfloat16"
        assert not model.notice

    def test_shards(self, tmp_path) -> None:
        whole = tiny_folder(tmp_path)
        expected = loaded(whole)
        expected.model.save_pretrained(tmp_path / "shards", max_shard_size="40kB")
        tiny_tokenizer().save_pretrained(tmp_path / "shards")
        assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
        model = loaded(tmp_path / "shards")
        same = zip(model.model.parameters(), expected.model.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in same)
        assert model.info.fingerprint != expected.info.fingerprint

    def test_the_fingerprint_follows_weights_configuration_and_tokenizer(self, folder) -> None:
        seen = {loaded(folder).info.fingerprint, loaded(folder).info.fingerprint}
        assert len(seen) == 1
        change_config(folder, rms_norm_eps=1e-3)
        seen.add(loaded(folder).info.fingerprint)
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)
        seen.add(loaded(folder).info.fingerprint)
        (folder / "chat_template.jinja").write_text("another")
        seen.add(loaded(folder).info.fingerprint)
        assert len(seen) == 4

    def test_progress_ends_at_its_total(self, folder) -> None:
        events: list[Progress] = []
        load(ModelSpec(str(folder)), folder.parent, events.append)
        weights = [event for event in events if event.stage == "Loading weights"]
        assert weights
        assert weights[-1].done == weights[-1].total > 0

    def test_progress_can_stop_the_loading(self, folder) -> None:
        def stop(_: Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load(ModelSpec(str(folder)), folder.parent, stop)

    def test_progress_can_stop_the_taking_of_the_fingerprint(self, folder) -> None:
        def stop(event: Progress) -> None:
            if event.stage == "Taking the fingerprint":
                raise RunStopped

        with pytest.raises(RunStopped):
            load(ModelSpec(str(folder)), folder.parent, stop)

    def test_nothing_is_printed(self, folder, capfd) -> None:
        change_config(folder, an_unknown_setting=1, eos_token_id=10_000)
        loaded(folder)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        "name",
        [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.0.self_attn.masked_bias",
            "vision_tower.layers.7.mlp.fc1.weight",
        ],
    )
    def test_what_a_model_of_text_may_do_without_is_no_reason_to_refuse(self, name, folder) -> None:
        path = folder / "model.safetensors"
        save_file(load_file(path) | {name: torch.ones(3)}, path, metadata={"format": "pt"})
        assert loaded(folder).info.n_layers == LAYERS


class TestWhatIsRefused:
    def test_a_damaged_configuration(self, folder) -> None:
        (folder / "config.json").write_text('{"model_type": "lla')
        refused(folder, r"config\.json cannot be read")

    def test_a_configuration_that_is_a_list(self, folder) -> None:
        (folder / "config.json").write_text("[]")
        refused(folder, r"config\.json holds no configuration")

    def test_a_configuration_with_nonsense(self, folder) -> None:
        change_config(folder, num_hidden_layers="many")
        refused(folder, r"config\.json cannot be used|cannot be built")

    @pytest.mark.parametrize(
        "changes",
        [
            {"num_hidden_layers": 10**9},
            {"num_hidden_layers": "many"},
            {"architectures": 5},
            {"auto_map": 5},
            {"max_position_embeddings": "far"},
            {"max_position_embeddings": [1]},
            {"hidden_size": 10**30},
            {"hidden_act": ["silu"]},
            {"rope_parameters": 5},
            {"quantization_config": 5},
        ],
        ids=str,
    )
    def test_a_configuration_with_absurd_values(self, changes, folder) -> None:
        change_config(folder, **changes)
        if changes != {"auto_map": 5}:
            refused(folder, "tiny-llama")

    def test_a_configuration_nested_too_deeply(self, folder) -> None:
        (folder / "config.json").write_text("[" * 100_000)
        refused(folder, r"config\.json cannot be read: it is nested too deeply")

    @pytest.mark.parametrize("kind", ["a pipe", "an endless device"])
    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "x.py"])
    def test_what_is_no_ordinary_file(self, kind, name, folder) -> None:
        put_odd_file(folder / name, kind)
        refused(folder, "no ordinary file|has no config.json|no weights|is missing")

    def test_a_configuration_that_does_not_fit_the_weights(self, folder) -> None:
        change_config(folder, hidden_size=64, head_dim=16)
        refused(folder, r"holds 39 weights of another shape .* \(412, 32\), not \(412, 64\)")

    def test_an_unknown_architecture(self, folder) -> None:
        change_config(folder, model_type="llama9000")
        error = refused(folder, "does not know the architecture 'llama9000'")
        assert "transformers" in error.hint

    def test_no_architecture(self, folder) -> None:
        change_config(folder, model_type=None)
        refused(folder, "names no architecture")

    def test_an_encoder(self, tmp_path) -> None:
        config = BertConfig(
            vocab_size=412, hidden_size=32, num_hidden_layers=1, num_attention_heads=2
        )
        BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
        tiny_tokenizer().save_pretrained(tmp_path / "bert")
        refused(tmp_path / "bert", "no causal language model")

    def test_an_encoder_decoder(self, tmp_path) -> None:
        config = T5Config(vocab_size=412, d_model=32, num_layers=1, num_heads=2, d_kv=8, d_ff=32)
        T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
        refused(tmp_path / "t5", "encoder-decoder")

    @pytest.mark.parametrize("tied", [True, False])
    def test_a_classifier(self, tied, tmp_path) -> None:
        """Tied, its embeddings would do as an LM head that nobody has trained."""
        config = fresh("llama").config
        config.tie_word_embeddings = tied
        LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
        tiny_tokenizer().save_pretrained(tmp_path / "classifier")
        refused(tmp_path / "classifier", r"\(LlamaForSequenceClassification\) was made for another")

    def test_a_head_of_another_kind_than_the_configuration_says(self, tmp_path) -> None:
        config = fresh("llama").config
        config.tie_word_embeddings = True
        LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
        tiny_tokenizer().save_pretrained(tmp_path / "classifier")
        change_config(tmp_path / "classifier", architectures=None)
        refused(tmp_path / "classifier", r"holds 1 weight that .* such as score\.weight")

    @pytest.mark.parametrize("name", ["llama", "gpt2", "bloom"])
    def test_fewer_layers_than_the_file_has(self, name, tmp_path) -> None:
        folder = tiny_folder(tmp_path, name)
        key = "num_hidden_layers" if name == "llama" else "n_layer"
        change_config(folder, **{key: LAYERS - 1})
        error = refused(folder, rf"holds \d+ weights that .* such as .*\.{LAYERS - 1}\.")
        assert "too few layers" in error.hint

    def test_weights_cut_short(self, folder) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        refused(folder, r"model\.safetensors has .* bytes where it should have")

    def test_weights_that_are_no_weights(self, folder) -> None:
        (folder / "model.safetensors").write_bytes(b"version https://git-lfs\n")
        refused(folder, r"model\.safetensors is cut short, or no safetensors")

    def test_a_missing_shard(self, tmp_path) -> None:
        folder = tmp_path / "shards"
        loaded(tiny_folder(tmp_path)).model.save_pretrained(folder, max_shard_size="40kB")
        tiny_tokenizer().save_pretrained(folder)
        lost = sorted(folder.glob("*.safetensors"))[1]
        lost.unlink()
        refused(folder, f"{lost.name} is missing")

    def test_weights_that_would_be_made_up(self, folder) -> None:
        change_config(folder, num_hidden_layers=LAYERS + 1)
        refused(folder, r"lacks 9 weights of its architecture, such as model\.layers\.4")

    def test_one_weight_that_would_be_made_up(self, folder) -> None:
        change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
        refused(folder, r"lacks 1 weight of its .*, such as model\.layers\.1\.mlp\.up_proj\.weight")

    def test_a_weight_that_no_layer_reads(self, folder) -> None:
        change_weights(folder, lambda weights: weights.update(extra=torch.ones(2)))
        refused(folder, r"holds 1 weight that its configuration does not use .*, such as extra")

    def test_a_weight_of_another_shape(self, folder) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        change_weights(folder, lambda weights: weights.update({name: torch.ones(3, 5)}))
        refused(folder, r"1 weight of another shape .*up_proj\.weight: \(3, 5\), not \(48, 32\)")

    def test_a_pickle(self, folder) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        refused(folder, "can run any program")

    @pytest.mark.parametrize("name", ["adapter_model.bin", "other.safetensors", "../o.safetensors"])
    def test_weights_that_the_configuration_names(self, name, folder) -> None:
        """They would be loaded in place of the files that are checked and fingerprinted."""
        weights = load_file(folder / "model.safetensors")
        doubled = {key: 2 * weight for key, weight in weights.items()}
        save_file(doubled, folder / "other.safetensors", metadata={"format": "pt"})
        change_config(folder, transformers_weights=name)
        refused(folder, f"names '{name}' as the model's weights")

    @pytest.mark.parametrize("has_peft", [False, True])
    def test_an_adapter_is_refused_before_anything_is_loaded(
        self, has_peft, folder, monkeypatch
    ) -> None:
        monkeypatch.setattr(auto_factory, "is_peft_available", lambda: has_peft)
        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", pytest.fail)
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
        refused(folder, r"holds an adapter beside its model \(adapter_config\.json\)")
        with pytest.raises(DepthError, match="holds an adapter beside its model"):
            read_checked_config(folder)

    def test_no_tokenizer(self, folder) -> None:
        for path in folder.glob("*token*"):
            path.unlink()
        refused(folder, "has no tokenizer")

    def test_a_damaged_tokenizer(self, folder) -> None:
        (folder / "tokenizer.json").write_text("{")
        refused(folder, "tokenizer of tiny-llama cannot be read")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"dtype": "int8"}, "no dtype 'int8'"),
            ({"device": "quantum"}, "no device 'quantum'"),
            ({"device": "meta"}, "'meta' is not supported"),
            ({"quantize": "2bit"}, "Cannot quantise to '2bit'"),
        ],
    )
    def test_a_bad_wish(self, options, words, folder) -> None:
        refused(folder, words, **options)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there(self, folder) -> None:
        refused(folder, "no CUDA device", device="cuda:1")

    def test_quantising_without_the_extra(self, folder, monkeypatch) -> None:
        monkeypatch.setattr(loading.importlib.util, "find_spec", lambda _: None)
        error = refused(folder, "bitsandbytes", quantize="4bit")
        assert install_extra("quantize") in error.hint


class TestCodeOfTheModelsOwn:
    @pytest.fixture(params=[model_with_code, tokenizer_with_code])
    def own(self, request, tmp_path, monkeypatch) -> OwnCode:
        return request.param(tmp_path, monkeypatch)

    def test_it_is_refused_unless_trusted(self, own) -> None:
        error = refused(own.folder, "needs Python code of its own")
        assert isinstance(error, NeedsCode)
        assert error.folder == str(own.folder)
        assert "--trust-remote-code" in error.hint
        assert not own.has_run

    def test_the_model_before_stays_where_it_is_refused(self, own) -> None:
        spec = ModelSpec(str(own.folder))
        with pytest.raises(NeedsCode):
            load(spec, own.folder.parent, lambda _: None, lambda: pytest.fail("room was made"))

    def test_it_runs_when_trusted(self, own) -> None:
        model = loaded(own.folder, trust_remote_code=True)
        assert "Own" in model.info.architecture + type(model.tokenizer).__name__
        assert own.has_run

    def test_a_known_architecture_does_not_need_its_code(self, tmp_path, monkeypatch) -> None:
        own = model_with_code(tmp_path, monkeypatch)
        change_config(own.folder, model_type="llama")
        assert loaded(own.folder).info.architecture == "LlamaForCausalLM"
        assert not own.has_run

    def test_code_for_writing_runs_when_trusted_alone(self, tmp_path, monkeypatch) -> None:
        own = model_with_code(tmp_path, monkeypatch)
        change_config(own.folder, model_type="llama", auto_map=None)
        code = own.folder / "custom_generate" / "generate.py"
        code.parent.mkdir()
        code.write_text((own.folder / "own.py").read_text() + "def generate(model): pass\n")
        loaded(own.folder)
        assert not own.has_run
        loaded(own.folder, trust_remote_code=True)
        assert own.has_run

    @pytest.mark.parametrize("wish", ["who/kernel", {"": "who/kernel"}, "paged|who/kernel@main"])
    def test_a_kernel_of_the_hub_is_refused_unless_trusted(self, wish, folder, monkeypatch) -> None:
        fetched = []

        def fetch(kernel, *_args, **_options):
            fetched.append(kernel)
            raise FileNotFoundError(kernel)

        for module in ("integrations.hub_kernels", "modeling_utils"):
            monkeypatch.setattr(f"transformers.{module}.is_kernels_available", lambda *_: True)
        hub = "transformers.integrations.hub_kernels.get_kernel_hub"
        monkeypatch.setattr(hub, fetch, raising=False)
        change_config(folder, attn_implementation=wish)
        assert "--trust-remote-code" in refused(folder, "asks for the attention kernel").hint
        assert fetched == []
        refused(folder, "trying to load from 'who/kernel'", trust_remote_code=True)
        assert fetched == ["who/kernel"]

    def test_what_was_converted_here_brings_none(self, tmp_path, monkeypatch) -> None:
        own = model_with_code(tmp_path, monkeypatch)
        monkeypatch.setattr(loading, "ensure_demo", lambda *_: own.folder)
        with pytest.raises(NeedsCode):
            load(ModelSpec("demo"), tmp_path, lambda _: None, trust_remote_code=True)
        assert not own.has_run


def test_libraries_do_not_log_every_conversion() -> None:
    silence_libraries()
    for logger in ("bitsandbytes.autograd._functions", "accelerate.big_modeling"):
        assert not logging.getLogger(logger).isEnabledFor(logging.WARNING)
        assert logging.getLogger(logger).isEnabledFor(logging.ERROR)


class TestRoom:
    def test_what_does_not_fit_says_what_would(self, folder, monkeypatch) -> None:
        size = loaded(folder).info.parameters
        monkeypatch.setattr(placement, "free_memory", lambda: int(2.5 * size))
        error = refused(folder, f"needs {format_size(4 * size * 1.05)} in float32")
        assert error.hint.startswith("What would fit: --dtype bfloat16 (")
        assert "4bit" in error.hint
        assert loaded(folder, dtype="bfloat16").info.dtype == "bfloat16"

    def test_what_nothing_can_help(self, folder, monkeypatch) -> None:
        monkeypatch.setattr(placement, "free_memory", lambda: 100)
        assert refused(folder, "100 B of memory are free").hint == "Choose a smaller model."

    def test_memory_that_runs_out_all_the_same(self, folder, monkeypatch) -> None:
        def run_out(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", run_out)
        refused(folder, "memory ran out")

    def test_quantised_layers_that_would_go_into_main_memory(self, folder, monkeypatch) -> None:
        def too_large(*_, **__):
            raise ValueError("Some modules are dispatched on the CPU or the disk. Make sure you …")

        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", too_large)
        error = refused(folder, "does not fit on the GPUs")
        assert "damaged" not in error.hint

    @pytest.mark.parametrize("method", ["mxfp4", "fp8"])
    def test_weights_that_are_dequantised_take_what_the_others_take(self, method) -> None:
        config = GptOssConfig(quantization_config={"quant_method": method})
        assert placement.is_dequantized(config, torch.device("cpu"))
        size = placement.Size(1000, {}, 0, 300, prequantized=True, dequantized=True)
        assert size.bytes_in(torch.bfloat16, "") == 2000
        # The configuration is loaded as it was.
        assert config.quantization_config == {"quant_method": method}

    def test_weights_that_stay_quantised_take_what_they_take_on_disk(self) -> None:
        config = LlamaConfig(quantization_config={"quant_method": "bitsandbytes"})
        assert not placement.is_dequantized(config, torch.device("cpu"))
        assert not placement.is_dequantized(LlamaConfig(), torch.device("cpu"))
        size = placement.Size(1000, {}, 0, 300, prequantized=True)
        assert size.bytes_in(torch.bfloat16, "") == 300


class TestPlacement:
    """Where a model goes, on a machine with two GPUs that is only made up."""

    GB = 10**9

    @pytest.fixture(autouse=True)
    def two_gpus(self, monkeypatch) -> None:
        free = {0: 8 * self.GB, 1: 10 * self.GB}
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: (8, 0))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free[gpu], 12 * self.GB))
        monkeypatch.setattr(placement, "free_memory", lambda: 20 * self.GB)

    def place(self, billions: float, device: str = "auto", quantize: str = ""):
        size = placement.Size(int(billions * 1e9), {}, 0, 0, False)
        spec = ModelSpec("m", device=device, quantize=quantize)
        place = device_named(device)
        return placement.device_map(spec, place, dtype_named("auto", place, size.parameters), size)

    def test_one_that_fits_on_one_gpu_goes_to_the_roomiest(self) -> None:
        assert self.place(1) == {"": torch.device("cuda", 1)}
        assert self.place(1, "cuda") == {"": torch.device("cuda", 1)}

    @pytest.mark.parametrize("billions", [6, 12])
    def test_a_larger_one_is_spread(self, billions) -> None:
        assert self.place(billions) == "auto"

    def test_one_that_fits_nowhere(self) -> None:
        with pytest.raises(DepthError, match=r"needs 52\.5 GB in bfloat16, and 38\.0 GB") as caught:
            self.place(25)
        assert "4bit" in caught.value.hint

    def test_an_explicit_gpu(self) -> None:
        assert self.place(1, "cuda:0") == {"": torch.device("cuda", 0)}
        with pytest.raises(DepthError, match="on cuda:0"):
            self.place(5, "cuda:0")
        with pytest.raises(DepthError, match="2 CUDA devices"):
            self.place(1, "cuda:2")

    def test_a_quantised_one_stays_on_the_gpus(self) -> None:
        assert self.place(12, quantize="4bit") == {"": torch.device("cuda", 1)}
        with pytest.raises(DepthError, match="4bit"):
            self.place(100, quantize="4bit")

    def test_quantising_needs_some_of_the_gpus_itself(self) -> None:
        """18 GB are free: transformers takes 0.9 of them, and will not go on in main memory."""
        assert self.place(26, quantize="4bit") == "auto"
        with pytest.raises(DepthError, match=r"16\.2 GB on the GPUs together"):
            self.place(28, quantize="4bit")

    @pytest.mark.parametrize(
        ("capabilities", "dtype"),
        [
            ([(8, 0), (9, 0)], torch.bfloat16),
            ([(7, 5), (7, 5)], torch.float16),
            ([(8, 6), (7, 0)], torch.float16),
        ],
    )
    def test_gpus_that_only_emulate_bfloat16_take_float16(
        self, monkeypatch, capabilities, dtype
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: capabilities[gpu])
        assert dtype_named("auto", torch.device("cuda"), 10**10) == dtype
        first = torch.bfloat16 if capabilities[0] >= (8, 0) else torch.float16
        assert dtype_named("auto", torch.device("cuda", 0), 10**10) == first
        assert dtype_named("bfloat16", torch.device("cuda"), 10**10) == torch.bfloat16

    def test_the_cpu_on_request(self) -> None:
        assert self.place(1, "cpu") is None
        assert dtype_named("auto", torch.device("cuda"), 10) == torch.bfloat16


class TestTheCurrentGpu:
    """Kernels that do not ask where their tensors lie are launched on the current GPU."""

    @pytest.fixture
    def made_current(self, monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
        made: list[torch.device] = []
        monkeypatch.setattr(torch.cuda, "set_device", made.append)
        return made

    @pytest.mark.parametrize(
        ("placement", "expected"),
        [
            ({"": torch.device("cuda", 1)}, [torch.device("cuda", 1)]),
            ({"": torch.device("mps")}, []),
            ("auto", []),
            (None, []),
        ],
    )
    def test_it_is_the_one_that_holds_the_model(
        self, placement, expected, made_current, folder, monkeypatch
    ) -> None:
        real = loading.load_weights
        seen_when_loading: list[list[torch.device]] = []

        def load_model(stored, progress):
            seen_when_loading.append(list(made_current))
            return real(replace(stored, placement=None), progress)

        monkeypatch.setattr(loading, "device_map", lambda *_args: placement)
        monkeypatch.setattr(loading, "load_weights", load_model)
        loaded(folder)
        assert made_current == expected
        assert seen_when_loading == [expected]
