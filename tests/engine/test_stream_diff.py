"""Recordings with a planted fault, and correct ones that round differently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from depthtui.data.stream_diff import StreamDiff
from depthtui.engine.recordings import open_recording
from depthtui.engine.stream_diff import compare_recordings
from depthtui.errors import DepthError
from depthtui.report.stream_diff import diff_sentence
from tests.faults import (
    LAYERS,
    MODELS,
    TOKENS,
    Arrays,
    Fault,
    draw_faults,
    in_dtype,
    model_of,
    record,
    write_safetensors,
)
from tests.tiny_models import TINY, fresh, random_ids

Compare = Callable[..., StreamDiff]

SEED = 7

MANY_STREAMS = {"deepseek_v4", "hy_v4"}
"""Models whose states are no `[tokens, d]`."""


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Compare two recordings by their files."""

    def compared(ours: Arrays, theirs: Arrays, dtype: torch.dtype | None = None) -> StreamDiff:
        paths = [
            write_safetensors(tmp_path / f"{name}.safetensors", arrays)
            for name, arrays in (("a", ours), ("b", theirs))
        ]
        return compare_recordings(*map(open_recording, paths), dtype)

    return compared


def states_alone(arrays: Arrays) -> Arrays:
    return {name: values for name, values in arrays.items() if name.startswith("state_")}


def stream(depths: int = 5, tokens: int = TOKENS, seed: int = 0) -> Arrays:
    """A residual stream without a model, `state_0` and so on."""
    noise = torch.Generator().manual_seed(seed)
    writes = torch.randn(depths, tokens, 16, generator=noise)
    return {f"state_{depth}": state for depth, state in enumerate(writes.cumsum(0))}


@pytest.mark.parametrize("fault", draw_faults(40, SEED), ids=str)
def test_a_planted_fault_is_named_with_its_layer_and_part(fault: Fault, compare: Compare) -> None:
    sound, faulty = fault.recordings()
    first = compare(sound, faulty).first
    assert first is not None
    assert (first.first, first.part) == (fault.layer, fault.part)
    if fault.kind == "rope base":
        assert first.token
    first = compare(states_alone(sound), states_alone(faulty)).first
    assert first is not None
    assert (first.first, first.last, first.part) == (fault.layer, fault.layer, "layer")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_correct_recordings_that_round_differently_are_the_same(
    name: str, dtype: torch.dtype, compare: Compare
) -> None:
    model = model_of(name, dtype)
    model.set_attn_implementation("eager")
    ids = random_ids(TOKENS)
    batch = torch.cat([ids, random_ids(TOKENS, seed=1), random_ids(TOKENS, seed=2)])
    ours, of_a_batch = record(model, ids), record(model, batch)
    model.set_attn_implementation("sdpa")
    others = {
        "sdpa": record(model, ids),
        "batch": of_a_batch,
        "float32": record(model_of(name), ids),
    }
    if dtype is torch.float32:
        del others["float32"]
    for kind, theirs in others.items():
        for kept in (dict, states_alone):
            diff = compare(kept(ours), kept(theirs), dtype)
            assert diff.is_same, (kind, diff.first)
            assert any(write.off for write in diff.writes) or kind == "batch"


@pytest.mark.by_hand
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", sorted(TINY.keys() - MANY_STREAMS))
def test_no_architecture_differs_from_itself_in_float32(
    name: str, dtype: torch.dtype, compare: Compare
) -> None:
    model = fresh(name)
    ours, theirs = record(model), record(in_dtype(model, dtype))
    for kept in (dict, states_alone):
        diff = compare(kept(ours), kept(theirs), dtype)
        assert diff.is_same, diff.first


def test_a_run_of_two_threads_is_the_same(compare: Compare) -> None:
    model = model_of("llama", torch.bfloat16)
    ours = record(model)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        assert compare(ours, record(model)).is_same
    finally:
        torch.set_num_threads(threads)


def test_the_order_of_both_changes_nothing(compare: Compare) -> None:
    sound, faulty = Fault("missing scale", "llama", torch.float32, 2, "mlp").recordings()
    one, other = compare(sound, faulty).first, compare(faulty, sound).first
    assert one is not None
    assert other is not None
    assert (one.first, one.part, one.token) == (other.first, other.part, other.token)
    assert one.off == pytest.approx(other.off)


def test_the_difference_is_a_share_of_the_larger_write(compare: Compare) -> None:
    ours = stream()
    theirs = {name: values.clone() for name, values in ours.items()}
    for depth in (3, 4):
        theirs[f"state_{depth}"] += 3 * (ours["state_3"] - ours["state_2"])
    first = compare(ours, theirs).first
    assert first is not None
    assert (first.first, first.part) == (2, "layer")
    assert first.off == pytest.approx(3 / 4)
    # Eight roundings of the write, and three of both states, which are 1 to 2 times as long.
    assert 8 * 2**-16 / 12**0.5 < first.floor < 3e-4


def test_the_floor_is_of_the_coarser_dtype(compare: Compare) -> None:
    ours = stream()
    rounded = {name: values.bfloat16() for name, values in ours.items()}
    widened = {name: values.float() for name, values in rounded.items()}
    for theirs in (rounded, widened):
        diff = compare(ours, theirs)
        assert (diff.is_same, diff.dtype) == (True, "bfloat16")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_finest_dtype_that_explains_a_difference_is_named(compare: Compare, dtype: str) -> None:
    ours = stream()
    kind = getattr(torch, dtype)
    rounded = {name: values.to(kind).float() for name, values in ours.items()}
    diff = compare(ours, rounded, torch.float32)
    assert (diff.is_same, diff.dtype) == (False, "float32")
    assert any(f"--dtype {dtype} " in remark for remark in diff.remarks)
    assert compare(ours, rounded, kind).is_same


def test_one_rounded_layer_is_a_fault_and_not_the_dtype(compare: Compare) -> None:
    last = LAYERS - 1
    for layer in (0, LAYERS // 2, last):
        ours = record(model_of("llama"))
        theirs = {**ours, f"{layer}_mlp": ours[f"{layer}_mlp"].bfloat16()}
        diff = compare(ours, theirs)
        assert diff.dtype == "float32"
        assert diff.first is not None
        assert (diff.first.first, diff.first.part) == (layer, "mlp")


def test_small_writes_to_a_large_stream_are_off_by_the_rounding_of_the_stream(
    compare: Compare,
) -> None:
    large = 30 * torch.randn(TOKENS, 16, generator=torch.Generator().manual_seed(3))
    ours = {name: values + large for name, values in stream().items()}
    theirs = {name: values.bfloat16() for name, values in ours.items()}
    diff = compare(ours, theirs)
    assert diff.is_same
    assert min(write.off for write in diff.writes if write.part == "layer") > 0.04


def test_a_dimension_of_massive_activations_hides_no_drift(compare: Compare) -> None:
    noise = torch.Generator().manual_seed(4)
    state, write, other = torch.randn(3, TOKENS, 512, generator=noise)
    state[:, 3] = 100.0
    ours = {"state_0": state, "0_attn": write}
    theirs = {"state_0": state + 0.015 * other, "0_attn": write + 0.03 * other}
    assert compare(ours, theirs, torch.bfloat16).is_same
    theirs["state_0"] = state
    assert not compare(ours, theirs, torch.bfloat16).is_same


def test_a_write_may_be_off_behind_earlier_states_that_are(compare: Compare) -> None:
    """Attention reads earlier tokens."""
    noise = torch.Generator().manual_seed(4)
    state, write, other = torch.randn(3, TOKENS, 512, generator=noise)
    is_late = torch.arange(TOKENS)[:, None] >= TOKENS // 2
    ours = {"state_0": state, "0_attn": write}
    theirs = {"state_0": state + 0.02 * other * ~is_late, "0_attn": write + 0.03 * other * is_late}
    assert compare(ours, theirs, torch.bfloat16).is_same
    theirs["state_0"] = state
    assert not compare(ours, theirs, torch.bfloat16).is_same


def test_a_dimension_of_massive_activations_hides_no_fault(compare: Compare) -> None:
    ours = {name: values.bfloat16().float() for name, values in stream().items()}
    for values in ours.values():
        values[:, 3] = 1024.0
    theirs = {name: values.clone() for name, values in ours.items()}
    for depth in (2, 3, 4):
        theirs[f"state_{depth}"][:, 5] += 2.0
    first = compare(ours, theirs, torch.bfloat16).first
    assert first is not None
    assert first.first == 1


@pytest.mark.parametrize("begin", [0, 1, 20, 30])
def test_the_token_from_which_on_it_differs_is_named(begin: int, compare: Compare) -> None:
    ours = stream()
    theirs = {name: values.clone() for name, values in ours.items()}
    for depth in (3, 4):
        theirs[f"state_{depth}"][begin:] += 1.0
    first = compare(ours, theirs).first
    assert first is not None
    assert (first.first, first.token) == (2, begin)


@pytest.mark.parametrize("tokens", [(7, 9), (37, 38, 39)])
def test_single_tokens_are_a_remark_and_no_fault(tokens: tuple[int, ...], compare: Compare) -> None:
    ours = stream()
    theirs = {name: values.clone() for name, values in ours.items()}
    for depth in (2, 3, 4):
        theirs[f"state_{depth}"][list(tokens)] += 1.0
    diff = compare(ours, theirs)
    assert diff.is_same
    assert diff_sentence(diff).endswith(f" of float32, but for {len(tokens)} of 40 tokens.")
    assert [write.stray for write in diff.writes] == [(), (), tokens, (), ()]
    assert diff.remarks == [
        "Single tokens are off by more than 4 times the floor, as routers and massive activations "
        f"make them: {len(tokens)}, the first at layer 1, token {tokens[0]}."
    ]


@pytest.mark.parametrize(("off", "is_same"), [(slice(4, 14), True), (slice(0, 38, 2), False)])
def test_more_than_a_quarter_of_the_tokens_is_a_fault(
    off: slice, is_same: bool, compare: Compare
) -> None:
    ours = stream()
    for change in (-1.0, 0.0, 1e10):
        theirs = {name: values.clone() for name, values in ours.items()}
        theirs["state_3"][off] *= change
        diff = compare(ours, theirs)
        assert diff.is_same is is_same
        words = diff_sentence(diff)
        if is_same:
            assert words.endswith(", but for 10 of 40 tokens.")
        else:
            assert words.startswith("The recordings differ first in layer 2: its write is off by ")
            assert words.endswith(" at 19 of 40 tokens, the first is 0.")


def test_the_last_digit_is_that_of_every_value(compare: Compare) -> None:
    ours = {name: values.double() for name, values in stream().items()}
    assert diff_sentence(compare(ours, ours)).startswith("The recordings are the same to the last")
    theirs = {**ours, "state_3": ours["state_3"].clone()}
    theirs["state_3"][7, 3] += 1e-12
    diff = compare(ours, theirs)
    assert diff.is_same
    assert diff_sentence(diff).endswith("the same within the rounding of float64.")


def test_layers_between_common_states_are_named_together(compare: Compare) -> None:
    sound, faulty = Fault("swapped weights", "llama", torch.float32, 3, "mlp").recordings()
    some = {f"state_{depth}" for depth in (0, 2, 5, 6)}
    ours, theirs = ({name: arrays[name] for name in some} for arrays in (sound, faulty))
    first = compare(ours, theirs).first
    assert first is not None
    assert (first.first, first.last, first.part) == (2, 4, "layer")


def test_several_layers_round_more_than_one(compare: Compare) -> None:
    ours = stream()
    write = ours["state_3"] - ours["state_0"]
    changed = ours["state_3"] + 0.03 * write.norm(dim=-1, keepdim=True) / 4
    for last, is_same in ((1, False), (3, True)):
        first, after = ours["state_0"], ours["state_3"]
        arrays = [{"state_0": first, f"state_{last}": each.clone()} for each in (after, changed)]
        assert compare(*arrays, torch.bfloat16).is_same is is_same


def test_parts_without_a_stream_are_compared(compare: Compare) -> None:
    fault = Fault("norm epsilon", "qwen2", torch.bfloat16, 4, "mlp")
    sound, faulty = (
        {name: values for name, values in arrays.items() if "state" not in name}
        for arrays in fault.recordings()
    )
    first = compare(sound, faulty).first
    assert first is not None
    assert (first.first, first.part) == (4, "mlp")


def test_a_change_beside_both_parts_is_the_layers(compare: Compare) -> None:
    ours = record(model_of("llama"))
    theirs = {**ours, "state_3": ours["state_3"] * 1.5}
    first = compare(ours, theirs).first
    assert first is not None
    assert (first.first, first.part, first.beside_parts) == (2, "layer", True)


def test_a_first_state_that_differs_is_the_stream(compare: Compare) -> None:
    ours, theirs = stream(), stream(seed=1)
    first = compare(ours, theirs).first
    assert first is not None
    assert (first.part, first.last) == ("stream", -1)
    late = [
        {"state_2": arrays["state_2"], "state_3": arrays["state_3"]} for arrays in (ours, theirs)
    ]
    first = compare(*late).first
    assert first is not None
    assert (first.part, first.first, first.last) == ("stream", 0, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
def test_a_value_that_is_not_compared_ends_the_comparison(value: float, compare: Compare) -> None:
    ours = record(model_of("llama"))
    theirs = {name: values.clone() for name, values in ours.items()}
    theirs["3_attn"][0, 11, 2] = value
    for pair, name in (((ours, theirs), "b"), ((theirs, ours), "a")):
        diff = compare(*pair)
        first = diff.first
        assert first is not None
        assert (first.first, first.part, first.token) == (3, "attention", 11)
        words = f"{name}.safetensors, 3_attn has {value:g} at token 11, no number up to 1e+30"
        assert first.broken.endswith(words)
        assert diff.writes[-1] is first


def test_shapes_that_differ_are_an_error_with_both(compare: Compare) -> None:
    with pytest.raises(DepthError, match=r"state_0 is \[40, 16\] and .*state_0 is \[39, 16\]"):
        compare(stream(), stream(tokens=39))


def test_a_layer_of_another_shape_ends_the_comparison(compare: Compare) -> None:
    ours, theirs = stream(), stream()
    theirs["state_3"] = theirs["state_3"][-1:]
    diff = compare(ours, theirs)
    assert [write.last for write in diff.writes] == [-1, 0, 1, 2]
    words = diff_sentence(diff)
    assert words.startswith("The recordings are the same up to layer 2: ")
    assert words.endswith("state_3 is [1, 16], where all before are [40, 16].")


def test_other_token_ids_end_the_comparison(compare: Compare) -> None:
    ours, theirs = stream(), stream(seed=1)
    ours["token_ids"], theirs["token_ids"] = torch.arange(40), torch.arange(40)
    theirs["token_ids"][5] = 23
    diff = compare(ours, theirs)
    assert (diff.is_same, diff.writes) == (False, ())
    assert diff.other_ids.startswith("The token ids differ, the first at token 5, 5 and 23:")
    theirs["token_ids"] = torch.arange(39)
    assert "there are 40 in the first and 39 in the second" in compare(ours, theirs).other_ids


def test_tokens_that_may_be_others_are_a_remark_on_a_difference(compare: Compare) -> None:
    ours, theirs = stream(), stream(seed=1)
    assert (
        "The first and second recordings have no token ids: " in compare(ours, theirs).remarks[-1]
    )
    ours["token_ids"] = torch.arange(40)
    assert "The second recording has no token ids: " in compare(ours, theirs).remarks[-1]
    assert compare(ours, stream()).remarks == []
    theirs["token_ids"] = torch.arange(40)
    assert compare(ours, theirs).remarks == []


def test_layers_that_one_alone_has_are_remarks(compare: Compare) -> None:
    ours, theirs = stream(depths=9), stream()
    ours["0_attn"] = ours["state_0"].clone()
    del theirs["state_1"]
    diff = compare(ours, theirs)
    assert [remark.partition(" alone ")[2] for remark in diff.remarks] == [
        "has the stream at depth 1, 5-8.",
        "has the attention of layer 0.",
    ]


def test_nothing_in_common_is_an_error(compare: Compare) -> None:
    values = torch.ones(3, 2)
    with pytest.raises(DepthError, match="have no layer in common: the first has state_"):
        compare({"state_0": values}, {"0_attn": values})
