"""Which of the paper's models fit, and whether their sizes are true."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config

from depthtui.depth.published import PUBLISHED
from depthtui.models.devices import Device
from depthtui.models.paper_sizes import PAPER_SIZES, PaperSize
from depthtui.models.placement import Size

GB = 10**9
SMALL, R1_SMALL, MIDDLE, *_ = PAPER_SIZES


def device(name: str, gigabytes: float) -> Device:
    return Device(name, name, 100 * GB, int(gigabytes * GB), "bfloat16")


def test_every_model_of_the_paper_has_a_size() -> None:
    assert sorted(name for size in PAPER_SIZES for name in size.names) == sorted(PUBLISHED)


@pytest.mark.parametrize(
    ("size", "width", "inner", "layers", "heads", "groups", "vocabulary", "tied"),
    [
        (SMALL, 1536, 8960, 28, 12, 2, 151_936, True),
        (R1_SMALL, 1536, 8960, 28, 12, 2, 151_936, False),
        (MIDDLE, 3584, 18944, 28, 28, 4, 152_064, False),
    ],
)
def test_the_sizes_are_those_of_the_architecture(
    size: PaperSize,
    width: int,
    inner: int,
    layers: int,
    heads: int,
    groups: int,
    vocabulary: int,
    tied: bool,
    tmp_path,
) -> None:
    config = Qwen2Config(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )
    (tmp_path / "model.safetensors").touch()
    of_config = Size.of(config, tmp_path, False, torch.device("cpu"))
    assert (of_config.parameters, of_config.fixed) == (size.parameters, size.fixed)


@pytest.mark.parametrize(
    ("devices", "form"),
    [
        ([device("cpu", 40)], "float32"),
        ([device("cpu", 20)], "bfloat16"),
        ([device("cpu", 10)], "8bit"),
        ([device("cpu", 7)], "4bit"),
        ([device("cpu", 2)], ""),
        ([device("cuda:0", 10), device("cuda:1", 10), device("cpu", 2)], "bfloat16"),
        ([device("cuda:0", 1), device("cpu", 10)], ""),
    ],
)
def test_the_most_exact_form_that_fits(devices: list[Device], form: str) -> None:
    assert MIDDLE.form_that_fits(devices, can_quantize=True) == form


def test_nothing_is_quantised_without_bitsandbytes() -> None:
    assert MIDDLE.form_that_fits([device("cpu", 10)], can_quantize=False) == ""
