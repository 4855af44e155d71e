"""Configurations cut to some layers, and the recipe of the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.pruning import cut_config
from depthtui.models.recipe import mergekit_recipe
from tests.builders.models import model_info
from tests.tiny_models import tiny

KEPT = (0, 2, 3)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("llama", "num_hidden_layers", 3),
        ("gpt2", "n_layer", 3),
        ("gemma3", "layer_types", ["sliding_attention", "sliding_attention", "full_attention"]),
        ("bamba", "attn_layer_indices", [2]),
        ("deepseek_v3", "first_k_dense_replace", 1),
        ("smollm3", "no_rope_layers", [1, 1, 0]),
    ],
)
def test_what_stands_for_each_layer_is_cut(name: str, field: str, value: object) -> None:
    assert getattr(cut_config(tiny(name).config, KEPT), field) == value


def test_what_is_said_of_single_layers_is_numbered_anew() -> None:
    config = transformers.Gemma4TextConfig(
        num_hidden_layers=4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        head_dim=8,
        global_head_dim=16,
    )
    cut = cut_config(config, (0, 2, 3))
    assert [layer.head_dim for layer in cut.per_layer_config] == [8, 8, 16]


def test_leading_layers_are_counted_anew() -> None:
    assert cut_config(tiny("deepseek_v3").config, (2, 3)).first_k_dense_replace == 0


def test_lists_of_other_things_stay() -> None:
    config = transformers.LlamaConfig(num_hidden_layers=3, eos_token_id=[1, 2, 3])
    assert cut_config(config, (1,)).eos_token_id == [1, 2, 3]


def test_a_quantisation_by_layer_is_refused() -> None:
    config = transformers.LlamaConfig(num_hidden_layers=3)
    config.quantization_config = {"modules_to_not_convert": ["model.layers.2.mlp"]}
    with pytest.raises(DepthError, match="quantisation names layers"):
        cut_config(config, (1,))


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        (model_info(ModelSpec("nobody/tiny"), revision="abc"), "nobody/tiny@abc"),
        (model_info(ModelSpec("nobody/tiny")), "nobody/tiny"),
        (model_info(), "/models/SmolLM2-135M-Instruct"),
    ],
    ids=["commit", "hub", "demo"],
)
def test_a_recipe_has_a_slice_for_each_range(model: ModelInfo, reference: str) -> None:
    text = mergekit_recipe(model, Path("/models"), (0, 1, 2, 5, 7)).decode()
    assert text == (
        "slices:\n"
        "  - sources:\n"
        f'      - model: "{reference}"\n'
        "        layer_range: [0, 3]\n"
        "  - sources:\n"
        f'      - model: "{reference}"\n'
        "        layer_range: [5, 6]\n"
        "  - sources:\n"
        f'      - model: "{reference}"\n'
        "        layer_range: [7, 8]\n"
        "merge_method: passthrough\n"
    )
