"""For how many ranks a model can be cut, and what is said of one that cannot."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig, Qwen3MoeConfig

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.tensor_parallel import check_spec, plan_for, plans_of, sizes_that_work
from tests.tiny_models import tiny


def llama(**sizes: int) -> LlamaConfig:
    common = {
        "vocab_size": 64,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 12,
        "num_key_value_heads": 6,
    }
    return LlamaConfig(**common | sizes)


def experts(**sizes: int) -> Qwen3MoeConfig:
    common = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "head_dim": 8,
    }
    return Qwen3MoeConfig(**common | sizes)


def test_ranks_share_heads_and_inner_dimensions() -> None:
    assert sizes_that_work(plans_of(llama())) == [2, 3, 6]
    assert sizes_that_work(plans_of(llama(num_key_value_heads=4))) == [2, 4]
    assert sizes_that_work(plans_of(llama(intermediate_size=50))) == [2]


def test_ranks_share_experts_or_each_has_them_all() -> None:
    assert plan_for("it", experts(), 4).by_expert
    assert not plan_for("it", experts(num_experts=6), 4).by_expert
    with pytest.raises(DepthError, match=r"for 3 ranks: .*8 attention heads.* work: 2, 4, 8"):
        plan_for("it", experts(), 3)


def test_a_refusal_names_the_sizes_that_work() -> None:
    with pytest.raises(DepthError) as refused:
        plan_for("tiny", llama(), 4)
    assert str(refused.value) == (
        "tiny cannot be cut for 4 ranks: it has 6 key and value heads. Numbers of ranks that "
        "work: 2, 3, 6."
    )


@pytest.mark.parametrize("name", ["gpt2", "bloom", "mamba", "lfm2"])
def test_a_model_without_a_plan_for_its_layers_is_refused(name: str) -> None:
    with pytest.raises(DepthError, match="no tensor parallel plan for the layers of it"):
        plan_for("it", tiny(name).config, 2)


def test_quantised_weights_are_refused() -> None:
    config = llama()
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    with pytest.raises(DepthError, match="it is quantised"):
        plan_for("it", config, 2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec(tensor_parallel=2, quantize="4bit"), "Leave --quantize 4bit out"),
        (ModelSpec(tensor_parallel=2, adapter="some/adapter"), "Leave --adapter out"),
        (ModelSpec(tensor_parallel=2, device="mps"), "Leave --device mps out"),
        (ModelSpec(tensor_parallel=3), r"needs 3 processes, and there are 2\. .*torchrun"),
    ],
)
def test_what_cannot_be_had_over_ranks_is_refused(
    spec: ModelSpec, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DepthError, match=words):
        check_spec(spec)


def test_ranks_without_a_launcher_are_refused() -> None:
    with pytest.raises(DepthError, match=r"there is 1\. Start it with torchrun"):
        check_spec(ModelSpec(tensor_parallel=2))
    check_spec(ModelSpec())
