"""Dataclasses to bytes and back, as safetensors with a JSON header; never pickle.

The bytes are a valid safetensors file: arrays are its tensors, everything else
is JSON in its metadata under the key `depthtui`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from depthtui.data import (
    inspection,
    lens,
    model,
    protocol,
    remarks,
    run,
    run_settings,
    saved_session,
    token_depths,
)
from depthtui.data.arrays import MetricResult

_MODULES = (
    model,
    run,
    run_settings,
    token_depths,
    remarks,
    lens,
    inspection,
    saved_session,
    protocol,
)

_TYPES: dict[str, type] = {
    name: kind
    for module in _MODULES
    for name, kind in vars(module).items()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type)
    if kind.__module__ == module.__name__
}

_SURROGATE = re.compile("[\ud800-\udfff]")


class CodecError(ValueError):
    """A value cannot be encoded, or bytes were not written by `encode`."""


def types_by_name() -> Mapping[str, type]:
    """The dataclasses of messages by name, without the results of metrics."""
    return _TYPES


def encode(value: Any) -> bytes:
    """Turn a dataclass of this package, or a metric's result, into bytes.

    Raises:
        CodecError: the value, or a value in it, is of another type.
    """
    if not dataclasses.is_dataclass(value):
        raise CodecError(f"a {type(value).__name__} is not of the protocol")
    arrays: dict[str, np.ndarray] = {}
    tree = _to_json(value, arrays)
    # Some readers require at least one tensor.
    tensors = arrays or {"empty": np.zeros(0, np.uint8)}
    try:
        return save(tensors, metadata={"depthtui": json.dumps(tree)})
    except SafetensorError as error:
        raise CodecError(f"an array cannot be sent: {error}") from error


def decode(data: bytes) -> Any:
    """Turn bytes from `encode` back into the dataclass.

    Raises:
        CodecError: the bytes are damaged or contain an unknown type.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        tree = json.loads(header["__metadata__"]["depthtui"])
        value = _from_json(tree, load(data))
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"not a depthtui value: {error}") from error
    if not dataclasses.is_dataclass(value):
        raise CodecError("not a value of the protocol")
    return value


def _type_of(name: str) -> type | None:
    """The dataclass of a name; that of a metric is known once `metrics.registry` is imported."""
    kinds = (kind for kind in MetricResult.kinds() if kind.__name__ == name)
    return _TYPES.get(name) or next(kinds, None)


def _to_json(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        if _type_of(name) is not type(value):
            raise CodecError(f"{name} is not a type of the protocol")
        pairs = {
            field.name: _to_json(getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
        }
        return {"$type": name, "fields": pairs}
    if isinstance(value, np.ndarray):
        key = str(len(arrays))
        # `ascontiguousarray` adds a dimension to an array without any.
        arrays[key] = np.ascontiguousarray(value).reshape(value.shape)
        return {"$array": key}
    if isinstance(value, tuple):
        return {"$tuple": [_to_json(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_to_json(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"$dict": [[_to_json(k, arrays), _to_json(v, arrays)] for k, v in value.items()]}
    if isinstance(value, str) and _SURROGATE.search(value):
        # JSON would join two lone surrogates into one character.
        return {"$surrogates": value.encode("utf-8", "surrogatepass").hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CodecError(f"a {type(value).__name__} cannot be sent")


def _from_json(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_from_json(branch, arrays) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    if "$type" in tree:
        kind = _type_of(tree["$type"])
        if kind is None:
            raise CodecError(f"unknown type {tree['$type']}")
        fields = {name: _from_json(branch, arrays) for name, branch in tree["fields"].items()}
        return kind(**fields)
    if "$array" in tree:
        return arrays[tree["$array"]]
    if "$tuple" in tree:
        return tuple(_from_json(branch, arrays) for branch in tree["$tuple"])
    if "$dict" in tree:
        return {_from_json(k, arrays): _from_json(v, arrays) for k, v in tree["$dict"]}
    if "$surrogates" in tree:
        return bytes.fromhex(tree["$surrogates"]).decode("utf-8", "surrogatepass")
    if "$float" in tree:
        return float(tree["$float"])
    raise CodecError("unknown tag")
