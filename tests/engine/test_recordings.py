"""Which array of a recording is what, by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from depthtui.engine.recordings import FORMS, Recording, open_recording
from depthtui.errors import DepthError
from tests.served import FROM_VLLM, IDS

TOKENS, WIDTH = 3, 4
PATTERNS = [(role, pattern) for role, patterns in FORMS.items() for pattern in patterns]


def write(folder: Path, *names: str, shape: tuple[int, ...] = (TOKENS, WIDTH)) -> Path:
    """An array for each name, each with other numbers."""
    for number, name in enumerate(names):
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full(shape, float(number), np.float32))
    return folder


def layers_of(recording: Recording) -> dict[str, list[int]]:
    return {
        "stream": sorted(recording.stream),
        "attention": sorted(recording.attention),
        "mlp": sorted(recording.mlp),
    }


@pytest.mark.parametrize(("role", "pattern"), PATTERNS)
def test_every_pattern_is_recognised_with_its_meaning(
    tmp_path: Path, role: str, pattern: str
) -> None:
    if "{l}" in pattern:
        write(tmp_path, *(pattern.replace("{l}", str(layer)) for layer in (0, 1, 10)))
        layers = [0, 1, 10]
    else:
        write(tmp_path, pattern, shape=(3, TOKENS, WIDTH))
        layers = [0, 1, 2]
    recording = open_recording(tmp_path)
    stream = {"before": layers, "after": [layer + 1 for layer in layers]}.get(role, [])
    assert layers_of(recording) == {
        "stream": stream,
        "attention": layers if role == "attention" else [],
        "mlp": layers if role == "mlp" else [],
    }
    assert recording.forms.startswith(f"{pattern} as the ")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("blk.{l}/l_out-{l}", None),
        ("model.layers.{l}", None),
        ("run1/layer_{l}", None),
        ("blk.{l}/l_out-{l}", "blk.{l}/l_out-{l}.npy"),
        ("a+b({l})", "a+b({l})"),
        ("hidden{l}", "after=hidden{l}.npy"),
    ],
)
def test_names_may_stand_behind_folders_and_prefixes(
    tmp_path: Path, name: str, pattern: str | None
) -> None:
    write(tmp_path, *(name.replace("{l}", str(layer)) for layer in range(3)))
    recording = open_recording(tmp_path, [pattern] if pattern else [])
    assert sorted(recording.stream) == [1, 2, 3]
    assert float(recording.stream[2].read()[0, 0]) == 1


def test_a_number_that_is_twice_in_a_pattern_is_the_same(tmp_path: Path) -> None:
    write(tmp_path, "blk.3/l_out-4", "blk.4/l_out-4")
    recording = open_recording(tmp_path, ["blk.{l}/l_out-{l}"])
    assert [written.array.name for written in recording.stream.values()] == ["blk.4/l_out-4"]


def test_patterns_of_ones_own_replace_the_others(tmp_path: Path) -> None:
    write(tmp_path, "layer_0", "0_attn", "own_attn_0", "ff0", "in0")
    recording = open_recording(tmp_path, ["own_attn_{l}", "mlp=ff{l}", "before=in{l}"])
    assert layers_of(recording) == {"stream": [0], "attention": [0], "mlp": [0]}
    assert recording.attention[0].array.name == "own_attn_0"


def test_the_embedding_is_the_stream_before_layer_0(tmp_path: Path) -> None:
    write(tmp_path, "inp_embd", "l_out-0")
    assert sorted(open_recording(tmp_path).stream) == [0, 1]


def test_one_array_of_all_layers_needs_no_name(tmp_path: Path) -> None:
    for shape in ((5, TOKENS, WIDTH), (5, 1, TOKENS, WIDTH)):
        np.save(tmp_path / "whatever.npy", np.zeros(shape, np.float32))
        recording = open_recording(tmp_path / "whatever.npy")
        assert sorted(recording.stream) == [0, 1, 2, 3, 4]
        assert recording.stream[4].read().shape == (TOKENS, WIDTH)


def test_files_of_vllm_have_their_layers_behind_the_tokens() -> None:
    recording = open_recording(FROM_VLLM)
    assert recording.ids == list(IDS)
    assert sorted(recording.stream) == [0, 1, 2]
    assert recording.stream[2].read().shape == (len(IDS), 32)


@pytest.mark.parametrize("name", ["token_ids", "input_ids", "inp_tokens"])
def test_token_ids_are_read(tmp_path: Path, name: str) -> None:
    save_file(
        {name: torch.tensor([[5, 6, 7]]), "layer_0": torch.ones(3, 2)}, tmp_path / "a.safetensors"
    )
    assert open_recording(tmp_path).ids == [5, 6, 7]


def test_names_that_match_nothing_are_an_error_with_some_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, *(f"x{number}" for number in range(9)))
    with pytest.raises(DepthError, match=r"has layer_\{l\}\. It has x0, x1, x2, x3, x4, x5, …\."):
        open_recording(tmp_path, ["layer_{l}"])
    with pytest.raises(DepthError, match="has a name that is recognised") as caught:
        open_recording(tmp_path)
    assert "--names" in caught.value.hint


@pytest.mark.parametrize("name", ["", "mlp="])
def test_an_empty_pattern_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DepthError, match=f"'{name}' has no pattern."):
        open_recording(write(tmp_path, "layer_0"), [name])


def test_a_file_without_arrays_is_none_of_a_recording(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(DepthError, match="has no arrays in"):
        open_recording(tmp_path / "empty.safetensors")


def test_two_arrays_of_one_meaning_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "first/layer_0", "second/layer_0")
    with pytest.raises(DepthError, match=r"first/layer_0\.npy and .*second/layer_0\.npy are both"):
        open_recording(tmp_path)


@pytest.mark.parametrize("shape", [(3,), (2, TOKENS, WIDTH), (2, 2, TOKENS, WIDTH), (0, WIDTH)])
def test_another_shape_than_tokens_and_width_is_an_error(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    write(tmp_path, "layer_0", shape=shape)
    with pytest.raises(DepthError, match=r"layer_0\.npy"):
        open_recording(tmp_path).stream[1].read()


def test_whole_numbers_are_no_states(tmp_path: Path) -> None:
    np.save(tmp_path / "layer_0.npy", np.ones((TOKENS, WIDTH), np.int64))
    with pytest.raises(DepthError, match="is int64 of shape"):
        open_recording(tmp_path).stream[1].read()
