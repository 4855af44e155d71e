"""Recordings of the residual stream that any program has written: which array is what.

An array's name gives its meaning by a pattern such as `layer_{l}`, `{l}` being a number of digits.
A pattern without `{l}` is of one array of all layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from depthtui.engine.stored_arrays import SUFFIXES, StoredArray, find_arrays
from depthtui.errors import DepthError, short_repr

Role = Literal["before", "after", "attention", "mlp"]
"""The meaning of an array: the stream before or after a layer, or what a part of it wrote."""

MEANINGS: Mapping[Role, str] = {
    "before": "the stream before layer l",
    "after": "the stream after layer l",
    "attention": "the attention's write",
    "mlp": "the MLP's write",
}

FORMS: Mapping[Role, Sequence[str]] = {
    "before": (
        *("state_{l}", "hidden_states.{l}", "hidden_states_{l}", "hidden_state_{l}"),
        *("blocks.{l}.hook_resid_pre", "residual", "hidden_states"),
    ),
    "after": ("layer_{l}", "l_out-{l}", "layers.{l}", "blocks.{l}.hook_resid_post"),
    "attention": (
        *("{l}_attn", "layer_{l}_attn", "attn_{l}", "attn_out-{l}"),
        *("layers.{l}.self_attn", "blocks.{l}.hook_attn_out", "attention"),
    ),
    "mlp": (
        *("{l}_mlp", "layer_{l}_mlp", "mlp_{l}", "ffn_out-{l}", "ffn_moe_out-{l}"),
        *("layers.{l}.mlp", "blocks.{l}.hook_mlp_out", "mlp"),
    ),
}
"""The patterns that are recognised, for each meaning; the first that has an array counts."""

_BEFORE_LAYER_0 = ("embeddings", "embed_tokens", "inp_embd", "hook_embed")
_IDS = ("token_ids", "input_ids", "inp_tokens")
_WORDS: Mapping[Role, Sequence[str]] = {
    "before": ("state", "hidden", "resid_pre", "residual"),
    "mlp": ("mlp", "ffn", "feed_forward", "moe"),
    "attention": ("attn", "attention"),
}
"""Words from which the meaning of a pattern follows, the last first; without any, it is `after`."""

_ENDING = re.compile(rf"({'|'.join(map(re.escape, SUFFIXES))})(?=/|$)")
_MOST_NAMES = 6


@dataclass(frozen=True)
class RecordedArray:
    """One layer's array: a whole one, or a slice.

    Attributes:
        array: the array.
        index: the number of the slice, or None.
        axis: the axis of the slices.
    """

    array: StoredArray
    index: int | None = None
    axis: int = 0

    @property
    def place(self) -> str:
        """The file and the name, for people."""
        return self.array.place if self.index is None else f"{self.array.place}[{self.index}]"

    def read(self) -> Tensor:
        """The numbers, `[tokens, d]`.

        Raises:
            DepthError: they cannot be read, or have another shape.
        """
        values = self.array.read(self.index, self.axis)
        sides = list(values.shape)
        while len(sides) > 2 and sides[0] == 1:
            sides = sides[1:]
        if len(sides) != 2 or not all(sides) or not values.is_floating_point():
            kind = str(values.dtype).removeprefix("torch.")
            raise DepthError(
                f"{self.place} is {kind} of shape {short_repr(list(values.shape))}, not "
                "floating-point [tokens, d] or [1, tokens, d].",
                "Record one prompt, without padding.",
            )
        return values.reshape(sides)


@dataclass(frozen=True)
class Recording:
    """The arrays of a recording by their meaning.

    Attributes:
        place: its file or folder.
        forms: the names that were recognised and their meaning, in words.
        stream: the residual stream by depth; 0 is before layer 0.
        attention, mlp: what the parts wrote, by layer.
        ids: the token ids, or None.
    """

    place: Path
    forms: str
    stream: Mapping[int, RecordedArray]
    attention: Mapping[int, RecordedArray] = field(default_factory=dict)
    mlp: Mapping[int, RecordedArray] = field(default_factory=dict)
    ids: Sequence[int] | None = None


def open_recording(place: Path, names: Sequence[str] = ()) -> Recording:
    """Find out what the arrays of a file or folder are; states are not read.

    Args:
        place: the file or folder.
        names: patterns such as `layer_{l}.npy` or `attention={l}_attn`; none for those of `FORMS`.

    Raises:
        DepthError: nothing has such a name, a pattern is empty, or two arrays mean the same.
    """
    arrays = find_arrays(place)
    ids = _token_ids(arrays)
    patterns = _named(names) if names else FORMS
    layers: dict[Role, dict[int, RecordedArray]] = {}
    forms = []
    for role in get_args(Role):
        for pattern in patterns.get(role, ()):
            if role == "after" and "before" in layers and not names:
                break
            if found_layers := dict(_matches(pattern, arrays, ids)):
                layers[role] = found_layers
                forms.append(f"{pattern} as {MEANINGS[role]}")
                break
    if not layers and not names and len(arrays) == 1 and len(arrays[0].shape()) > 2:
        layers["before"] = _slices(arrays[0], ids)
        forms.append(f"{arrays[0].place} as {MEANINGS['before']}")
    if not layers:
        raise _no_names_error(place, names, arrays)
    after = {layer + 1: array for layer, array in layers.get("after", {}).items()}
    stream = after | layers.get("before", {})
    if after and not names:
        first = [array for array in arrays if _fits(array, _BEFORE_LAYER_0)]
        stream |= {0: RecordedArray(first[0])} if first else {}
    attention, mlp = layers.get("attention", {}), layers.get("mlp", {})
    return Recording(place, "; ".join(forms), stream, attention, mlp, ids)


def _named(names: Sequence[str]) -> dict[Role, list[str]]:
    """Patterns by their meaning, which stands before a `=` or follows from a word in them."""
    patterns: dict[Role, list[str]] = {}
    for name in names:
        meaning, _, pattern = name.rpartition("=")
        if meaning not in MEANINGS:
            meaning, pattern = "", name
        if not pattern:
            raise DepthError(
                f"{name!r} has no pattern.", "Name arrays by --names, such as 'layer_{l}.npy'."
            )
        role: Role = "after"
        for other, words in _WORDS.items():
            if meaning == other or (not meaning and any(word in name.lower() for word in words)):
                role = other
        patterns.setdefault(role, []).append(pattern)
    return patterns


def _matches(
    pattern: str, arrays: Sequence[StoredArray], ids: Sequence[int] | None
) -> Iterator[tuple[int, RecordedArray]]:
    """The layers of a pattern's arrays."""
    first, *others = map(re.escape, _ENDING.sub("", pattern).split("{l}"))
    body = first + "".join(
        (r"(?P=layer)" if place else r"(?P<layer>\d{1,6})") + part
        for place, part in enumerate(others)
    )
    expression = re.compile(rf"(?:.*[/.])?{body}")
    layers: dict[int, StoredArray] = {}
    for array in arrays:
        if (match := expression.fullmatch(array.name)) is None:
            continue
        layer = int(match["layer"]) if others else 0
        if layer in layers:
            raise DepthError(
                f"{layers[layer].place} and {array.place} are both {pattern!r}.",
                "Name the file or folder of one prompt, or a longer name by --names.",
            )
        layers[layer] = array
    for layer, array in layers.items():
        if others:
            yield layer, RecordedArray(array)
        elif len(array.shape()) > 2:
            yield from _slices(array, ids).items()


def _slices(array: StoredArray, ids: Sequence[int] | None) -> dict[int, RecordedArray]:
    """The layers of one array `[layers, tokens, d]`; of vLLM's files, `[tokens, layers, d]`."""
    shape = array.shape()
    is_by_token = ids is not None and array.key == "hidden_states" and shape[0] == len(ids)
    axis = 1 if is_by_token else 0
    return {layer: RecordedArray(array, layer, axis) for layer in range(shape[axis])}


def _token_ids(arrays: Sequence[StoredArray]) -> list[int] | None:
    array = next((array for array in arrays if _fits(array, _IDS)), None)
    if array is None:
        return None
    values = array.read().flatten()
    if values.is_floating_point() and not bool((values == values.round()).all()):
        raise DepthError(f"{array.place} holds no token ids.", "Rename it.")
    return [int(value) for value in values.tolist()]


def _fits(array: StoredArray, names: Sequence[str]) -> bool:
    return re.split(r"[/.]", array.name)[-1] in names


def _no_names_error(place: Path, names: Sequence[str], arrays: Sequence[StoredArray]) -> DepthError:
    some = ", ".join(array.name for array in arrays[:_MOST_NAMES])
    more = ", …" if len(arrays) > _MOST_NAMES else ""
    sought = " or ".join(names) if names else "a name that is recognised"
    return DepthError(
        f"Nothing in {place} has {sought}. It has {some}{more}.",
        "Name its arrays by --names, such as --names 'layer_{l}.npy'.",
    )
