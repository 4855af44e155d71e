"""The pipe's bytes: every value survives, and no bytes do anything but fail cleanly."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from depthtui.data import lens, model, protocol, run, run_settings, token_depths
from depthtui.data.arrays import MetricResult
from depthtui.data.codec import CodecError, decode, encode
from depthtui.data.lens import LENS_CLASSES, LENSES, Array, FittedLens, LensFit, LogitLens
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import ModelSpec
from depthtui.metrics.contributions import Contributions
from tests.builders.lenses import random_lens, smooth_lens
from tests.builders.metrics import random_metric
from tests.builders.results import random_result
from tests.hostile import HOSTILE, HOSTILE_PROMPT

# In the order of names: that of imports is another one in each process of the tests.
RESULTS = sorted(MetricResult.kinds(), key=lambda kind: kind.__name__)
CLASSES: list[Any] = list(
    {
        kind: None
        for module in (model, run, run_settings, lens, token_depths, protocol)
        for kind in (*vars(module).values(), *RESULTS)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
        if kind.__module__ == module.__name__ or issubclass(kind, MetricResult)
    }
)
by_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal in type and content, NaN and the sign of zero included."""
    if type(left) is not type(right):
        return False
    if dataclasses.is_dataclass(left):
        return all(
            same(getattr(left, field.name), getattr(right, field.name))
            for field in dataclasses.fields(left)
        )
    if isinstance(left, np.ndarray):
        return (
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float):
        return math.isnan(left) == math.isnan(right) and (
            math.isnan(left)
            or (left == right and math.copysign(1, left) == math.copysign(1, right))
        )
    return bool(left == right)


def example(kind: Any, rng: random.Random) -> Any:
    """A value of a type, made of random values of its fields' types."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name], rng) for field in _fields(kind)})
    if kind is MetricResult:
        return example(rng.choice(RESULTS), rng)
    if origin in (types.UnionType, typing.Union):
        return example(rng.choice(arguments), rng)
    if origin is typing.Literal:
        return rng.choice(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return tuple(example(argument, rng) for argument in arguments)
    if origin in (tuple, list):
        return origin(example(arguments[0], rng) for _ in range(rng.randrange(4)))
    if origin in (dict, Mapping):
        return {
            example(arguments[0], rng): example(arguments[1], rng) for _ in range(rng.randrange(4))
        }
    return _SIMPLE[kind](rng)


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _array(rng: random.Random) -> np.ndarray:
    shape = tuple(rng.randrange(4) for _ in range(rng.randrange(1, 4)))
    dtype = rng.choice([np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8, np.bool_])
    values = np.array([rng.randrange(-9, 10) for _ in range(math.prod(shape))]).astype(dtype)
    if values.size and values.dtype.kind == "f":
        values[0] = rng.choice([math.nan, math.inf, -math.inf, -0.0])
    return values.reshape(shape)


_SIMPLE: dict[Any, Any] = {
    str: lambda rng: rng.choice([*HOSTILE.values(), "plain", "ü"]),
    int: lambda rng: rng.choice([0, -1, 2**31, 2**63, -(10**30)]),
    float: lambda rng: rng.choice([0.1, -0.0, 1e-320, 1e308, math.nan, math.inf, -math.inf]),
    bool: lambda rng: rng.choice([True, False]),
    type(None): lambda rng: None,
    np.ndarray: _array,
    Array: _array,
}


@by_class
def test_every_type_survives(kind: Any) -> None:
    rng = random.Random(kind.__name__)
    for _ in range(25):
        value = example(kind, rng)
        assert same(decode(encode(value)), value)


def test_same_can_tell() -> None:
    assert not same(0.0, -0.0)
    assert not same(1, True)
    assert not same((1,), [1])
    assert not same(np.zeros(2, np.float32), np.zeros(2, np.float64))
    assert not same(Prompt("a"), Prompt("b"))
    assert same(math.nan, math.nan)


@pytest.mark.parametrize("name", LENSES[1:])
def test_a_run_keeps_its_lenses_apart(name: str) -> None:
    kind = LENS_CLASSES[name]
    assert issubclass(kind, FittedLens)
    result = random_result(6, 5)
    result.put("smooth", smooth_lens(kind, result))
    copy = decode(encode(result))
    assert same(copy.get(kind), result.get(kind))
    assert same(copy.get(LogitLens), result.get(LogitLens))
    assert copy.get(kind).fit.kind == name
    rng = np.random.default_rng(0)
    assert not same(random_lens(kind, result, rng), result.get(kind))


def test_a_whole_run_survives() -> None:
    result = random_result(6, 5)
    assert result.get(LogitLens) is not None
    result.get(LogitLens).kl[3:] = np.nan
    copy = decode(encode(protocol.RunFinished(7, result)))
    assert same(copy, protocol.RunFinished(7, result))
    assert all(isinstance(id_, int) for id_ in copy.result.get(LogitLens).vocabulary)


def test_hostile_text_survives() -> None:
    for text in [*HOSTILE.values(), HOSTILE_PROMPT]:
        value = PromptTokens(np.arange(2), [text, "x" + text], 0)
        assert same(decode(encode(value)), value)


def test_text_that_looks_like_the_format_survives() -> None:
    for text in ('{"$type": "Quit", "fields": {}}', "$type", "$array", "$float", "__metadata__"):
        value = protocol.Failed(text, text)
        assert decode(encode(value)) == value


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?"])
def test_arrays_keep_dtype_and_shape(dtype: str) -> None:
    for shape in [(0,), (3, 0), (0, 3), (2, 3), (1,), (2, 1, 3), ()]:
        values = np.ones(shape, dtype)
        copy = decode(encode(PromptTokens(values, [], 0))).ids
        assert (copy.dtype, copy.shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(copy, values)


def test_views_are_sent_as_they_look() -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (values.T, values[::2, ::-1], values[:, 1:3], np.broadcast_to(values[0], (3, 6))):
        np.testing.assert_array_equal(decode(encode(PromptTokens(view, [], 0))).ids, view)


def test_a_decoded_result_can_be_filled_in() -> None:
    result = decode(encode(random_result(4, 3)))
    rows = random_result(4, 3, seed=9)
    for name, value in rows.measured.items():
        result.measured[name].put(0, value)
    assert same(result.get(Contributions), rows.get(Contributions))


def test_bytes_are_a_safetensors_file() -> None:
    result = random_result(4, 3)
    assert result.get(Contributions) is not None
    arrays = load(encode(result.get(Contributions)))
    assert len(arrays) == 6
    np.testing.assert_array_equal(arrays["0"], result.get(Contributions).attention_norm_ratio)
    assert load(encode(protocol.Quit())) != {}


# Refusals.


@dataclasses.dataclass
class Stranger:
    """Not of the protocol."""

    x: int = 0


@pytest.mark.parametrize(
    "value",
    [
        Stranger(),
        [Prompt("x")],
        "text",
        protocol.Notice(b"bytes"),  # type: ignore[arg-type]
        protocol.Notice({1, 2}),  # type: ignore[arg-type]
        protocol.Notice(Stranger),  # type: ignore[arg-type]
        protocol.Memory(np.float32(1), 2),  # type: ignore[arg-type]
        protocol.Memory(1j, 2),  # type: ignore[arg-type]
        PromptTokens(np.array([Stranger()], object), [], 0),
        PromptTokens(np.array(["text"]), [], 0),
    ],
)
def test_what_cannot_be_sent_is_refused(value: Any) -> None:
    with pytest.raises(CodecError):
        encode(value)


def test_a_namesake_is_refused() -> None:
    namesake = dataclasses.make_dataclass("Prompt", ["text"])
    with pytest.raises(CodecError, match="Prompt"):
        encode(namesake("x"))


def packed(tree: Any) -> bytes:
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return bytes(save({"0": np.zeros(2, np.float32)}, metadata={"depthtui": text}))


def of_prompt(**values: Any) -> dict[str, Any]:
    return {"$type": "Prompt", "fields": {"text": "", **values}}


@pytest.mark.parametrize(
    "tree",
    [
        {"$type": "Popen", "fields": {}},
        {"$type": "os.system", "fields": {"command": "true"}},
        {"$type": ["Prompt"], "fields": {}},
        {"$type": "Prompt"},
        {"$type": "Prompt", "fields": {}},
        {"$type": "Prompt", "fields": []},
        of_prompt(unknown=1),
        of_prompt(answer={"$array": "1"}),
        of_prompt(answer={"$array": []}),
        of_prompt(answer={"$tuple": 3}),
        of_prompt(answer={"$dict": [[1]]}),
        of_prompt(answer={"$dict": [[[], 1]]}),
        of_prompt(answer={"$float": "x"}),
        of_prompt(answer={"$surrogates": "x"}),
        of_prompt(answer={"$surrogates": "ff"}),
        of_prompt(answer={"$other": 1}),
        of_prompt(answer={}),
        {"$array": "0"},
        {"$dict": []},
        "[]",
        "3",
        "null",
        '"text"',
        "",
        "{",
        "[" * 100_000,
    ],
    ids=lambda tree: str(tree)[:50],
)
def test_other_trees_are_refused(tree: Any) -> None:
    with pytest.raises(CodecError):
        decode(packed(tree))


def test_the_refusals_are_for_the_tree() -> None:
    assert decode(packed(of_prompt(answer={"$tuple": [1]}))) == Prompt("", (1,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\xff" * 8,
        b"\xff" * 100,
        b"\x02" + b"\0" * 7 + b"{}",
        (1 << 62).to_bytes(8, "little") + b"{}",
        bytes(save({"0": np.zeros(2)})),
        bytes(save({"0": np.zeros(2)}, metadata={"other": "{}"})),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data)


def small_values() -> Iterator[Any]:
    yield protocol.Failed("m\ud83d", "h", 3)
    yield PromptTokens(np.arange(3), ["a", "b", "[/]"], 1)
    yield protocol.LoadModel(ModelSpec())
    yield LogitLens.unknown(1, 2, 2)
    yield LensFit("affine", "", 1, 2, math.inf)


def decodes_or_fails_cleanly(data: bytes) -> bool:
    """Whether the bytes decode; an error other than CodecError fails the test."""
    try:
        value = decode(data)
    except CodecError:
        return False
    assert type(value) in CLASSES
    return True


@pytest.mark.parametrize("value", list(small_values()), ids=lambda kind: type(kind).__name__)
def test_every_truncation_is_refused(value: Any) -> None:
    data = encode(value)
    for length in range(len(data)):
        assert not decodes_or_fails_cleanly(data[:length])
    assert not decodes_or_fails_cleanly(data + b"\0")


@pytest.mark.parametrize("value", list(small_values()), ids=lambda kind: type(kind).__name__)
def test_damage_at_every_offset_is_harmless(value: Any) -> None:
    data = encode(value)
    rng = random.Random(0)
    refused = 0
    for offset in range(len(data)):
        for byte in {data[offset] ^ 1, data[offset] ^ 128, 0, 255, rng.randrange(256)}:
            refused += not decodes_or_fails_cleanly(
                data[:offset] + bytes([byte]) + data[offset + 1 :]
            )
    assert refused > len(data)


def test_random_bytes_are_refused() -> None:
    rng = random.Random(0)
    for length in range(400):
        body = rng.randbytes(length)
        assert not decodes_or_fails_cleanly(body)
        assert not decodes_or_fails_cleanly(len(body).to_bytes(8, "little") + body)


def test_random_splices_are_harmless() -> None:
    rng = random.Random(0)
    whole = [encode(value) for value in small_values()]
    for _ in range(2_000):
        left, right = rng.choice(whole), rng.choice(whole)
        cut, paste = rng.randrange(len(left)), rng.randrange(len(right))
        decodes_or_fails_cleanly(left[:cut] + right[paste:])


def test_decoding_runs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", fail)
    monkeypatch.setattr(pickle, "load", fail)
    assert isinstance(decode(encode(random_result())), RunResult)
    with pytest.raises(CodecError):
        decode(pickle.dumps(Prompt("x")))


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("skip_effects", "floor"), ("ablation", "unchanged"), ("residual_erasure", "floor")],
)
def test_a_result_without_its_noise_floor_is_not_taken(name: str, lacking: str) -> None:
    data = encode(random_metric(name, random_result(), np.random.default_rng(0)))
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    tree = json.loads(header["__metadata__"]["depthtui"])
    del tree["fields"][lacking]
    with pytest.raises(CodecError):
        decode(save(load(data), metadata={"depthtui": json.dumps(tree)}))
