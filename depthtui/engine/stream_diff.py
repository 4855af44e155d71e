"""Two recordings of the residual stream of the same tokens, write by write.

Two correct engines round differently, and every layer reads what differs already: the difference
grows with depth. A fault is a jump: a write that differs by more than its own rounding, and more
than the difference in what its part read can make it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from depthtui.data.stream_diff import StreamDiff, WriteDifference, WritePart
from depthtui.engine.recordings import Recording, Written
from depthtui.errors import DepthError
from depthtui.tracing.norms import norm
from depthtui.tracing.rounding import MOST_ROUNDINGS, one_rounding, roundings

MOST_GAIN = 4.0
"""How many times as far apart as what a part read, relatively, its write may be.

Measured up to 2.3 at half of the tokens, on tiny models of 57 architectures in 16 bits.
"""

STORED_ROUNDINGS = 3.0
"""Roundings of the stream in a layer's change: both recordings round before, within and behind."""

LEAST_TOKENS = 8
"""The fewest last tokens that are judged by themselves: a router may choose otherwise at some."""

STRAY = 4.0
"""How many times the floor a single token is off that is worth a remark."""

_LAST_PARTS = (1, 2, 4, 8)
"""A fault may begin late: all tokens are judged, and the last half, quarter and eighth of them."""

Pair = tuple[Tensor, Tensor]
"""The same states or writes in both recordings, each `[T, d]` float32."""

WrittenPairs = Mapping[int, tuple[Written, Written]]
"""Arrays that both have, by layer or depth."""


class _NotFinite(Exception):
    """A value is no finite number; `write` is the write that it is in."""

    def __init__(self, write: WriteDifference) -> None:
        super().__init__(write.broken)
        self.write = write


def compare_recordings(
    ours: Recording, theirs: Recording, dtype: torch.dtype | None = None
) -> StreamDiff:
    """Compare two recordings; one layer of both is in memory at a time.

    Args:
        ours, theirs: the recordings.
        dtype: the dtype that the coarser model rounded to; None for that of the arrays.

    Raises:
        DepthError: they have nothing in common, or an array cannot be read or has another shape.
    """
    forms = ours.forms, theirs.forms
    if words := _other_ids(ours.ids, theirs.ids):
        return StreamDiff(forms, other_ids=words)
    comparison = _Comparison(ours, theirs)
    dtype = dtype or comparison.coarsest_dtype()
    writes = []
    try:
        for write in comparison.writes(dtype):
            writes.append(write)
    except _NotFinite as error:
        writes.append(error.write)
    name = str(dtype).removeprefix("torch.")
    return StreamDiff(forms, name, comparison.tokens, writes, _remarks(ours, theirs))


class _Comparison:
    """The walk through the layers of both."""

    def __init__(self, ours: Recording, theirs: Recording) -> None:
        self.tokens = 0
        self._stream = _common(ours.stream, theirs.stream)
        self._parts: dict[WritePart, WrittenPairs] = {
            "attention": _common(ours.attention, theirs.attention),
            "mlp": _common(ours.mlp, theirs.mlp),
        }
        if not (self._stream or any(self._parts.values())):
            raise DepthError(
                f"{ours.place} and {theirs.place} have no layer in common: the first has "
                f"{ours.forms}, the second {theirs.forms}.",
                "Name what both have by --names and --names-b.",
            )

    def coarsest_dtype(self) -> torch.dtype:
        """The coarser dtype of the last arrays; float32 of rounded values has their dtype."""
        last = [pairs[max(pairs)] for pairs in (self._stream, *self._parts.values()) if pairs]
        dtypes = [_dtype_of(written.read()) for pair in last for written in pair]
        return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)

    def writes(self, dtype: torch.dtype) -> Iterator[WriteDifference]:
        """Compare every write that both have, in a model's order.

        Raises:
            _NotFinite: a value is no finite number.
        """
        state: Pair | None = None
        stream: Pair | None = None
        first = 0
        depths = {depth - 1 for depth in self._stream}
        for layer in sorted(depths.union(*self._parts.values())):
            reads = [] if stream is None else [stream]
            for part, pairs in self._parts.items():
                if layer in pairs:
                    write = self._read(part, (layer, layer), pairs[layer])
                    yield _difference(part, (layer, layer), write, dtype, reads)
                    reads.append(_sum(reads[-1], write) if reads else write)
            stream = reads[-1] if reads else None
            if layer in depths:
                part = "stream" if state is None else "layer"
                after = self._read(part, (first, layer), self._stream[layer + 1])
                if state is None:
                    yield _difference(part, (0, layer), after, dtype, stored=after[:1])
                else:
                    change = after[0] - state[0], after[1] - state[1]
                    stored = state[0], after[0]
                    yield _difference(part, (first, layer), change, dtype, [state], stored)
                state = stream = after
                first = layer + 1

    def _read(self, part: WritePart, layers: tuple[int, int], pair: tuple[Written, Written]) -> Pair:
        ours, theirs = (written.read().float() for written in pair)
        if ours.shape != theirs.shape or self.tokens not in (0, len(ours)):
            places = [
                f"{written.place} is {list(values.shape)}"
                for written, values in zip(pair, (ours, theirs), strict=True)
            ]
            before = f", after arrays of {self.tokens} tokens" * bool(self.tokens)
            raise DepthError(
                f"{' and '.join(places)}{before}.",
                "Record the same tokens of models of one width, all of them at every layer.",
            )
        self.tokens = len(ours)
        for written, values in zip(pair, (ours, theirs), strict=True):
            bad = (~values.isfinite().all(dim=-1)).nonzero()
            if len(bad):
                token = int(bad[0])
                words = f"{written.place} has a value that is no finite number at token {token}"
                raise _NotFinite(WriteDifference(part, *layers, math.inf, 0.0, token, (), words))
        return ours, theirs


def _difference(
    part: WritePart,
    layers: tuple[int, int],
    write: Pair,
    dtype: torch.dtype,
    reads: Sequence[Pair] = (),
    stored: Sequence[Tensor] = (),
) -> WriteDifference:
    """Compare a write.

    Args:
        part, layers: the part, and the first and the last layer whose write it is.
        write: the write in both.
        dtype: the dtype that it was rounded to.
        reads: what the part read, in both; empty where unknown.
        stored: the states in whose rounding the write was stored, where it is a change of states.
    """
    ours, theirs = write
    miss = ours - theirs
    width, steps = ours.shape[-1], max(1, layers[1] - layers[0] + 1)
    length = torch.maximum(norm(ours), norm(theirs))
    # Its own steps round, and it reads what differs already: both reach all dimensions.
    drift = torch.stack([_drift(pair) for pair in reads]).amax(dim=0) if reads else 0 * length
    rounding = float(one_rounding([torch.ones(1)], dtype))
    spread = torch.hypot(torch.ones(()), MOST_GAIN / (MOST_ROUNDINGS * rounding) * drift)
    size = spread * length * steps / math.sqrt(width)
    sizes = [size[:, None].expand_as(miss)]
    sizes += [state * (STORED_ROUNDINGS / MOST_ROUNDINGS) for state in stored]
    excess = roundings(miss, sizes, dtype) / MOST_ROUNDINGS
    tiny = torch.finfo().tiny
    off = norm(miss) / length.clamp(min=tiny)
    explained = MOST_ROUNDINGS * norm(one_rounding(sizes, dtype)) / length.clamp(min=tiny)
    floor = torch.where(excess > 0, off / excess.clamp(min=tiny), explained)
    judged = max(_last_tokens(len(off)), key=lambda tokens: float(excess[tokens].median()))
    beyond = excess > 1
    token, stray = None, tuple((excess > STRAY).nonzero()[:, 0].tolist())
    if excess[judged].median() > 1:
        to_the_end = torch.arange(len(off), 0, -1)
        is_most = 2 * beyond.flip(0).cumsum(0).flip(0) >= to_the_end
        token, stray = int((beyond & is_most).nonzero()[0]), ()
        shown = torch.arange(len(off)) >= token
        shown &= beyond
    else:
        shown = torch.zeros_like(beyond)
        shown[judged] = True
    return WriteDifference(
        part, *layers, float(off[shown].median()), float(floor[shown].median()), token, stray
    )


def _drift(read: Pair) -> Tensor:
    """How far apart the states are that a part reads at each token, `[T]`, relatively.

    The median over dimensions, which no dimension of massive activations hides; at least the root
    mean square over the tokens so far, which attention reads.
    """
    ours, theirs = read
    sizes = ours.abs().median(dim=-1).values.clamp(min=torch.finfo().tiny)
    own = (ours - theirs).abs().median(dim=-1).values / sizes
    so_far = (own.square().cumsum(0) / torch.arange(1, len(own) + 1)).sqrt()
    return torch.maximum(own, so_far)


def _last_tokens(tokens: int) -> list[slice]:
    """The tokens that are judged together: all, and some of the last."""
    counts = (-(-tokens // part) for part in _LAST_PARTS)
    return [slice(tokens - n, None) for n in counts if n in (tokens, max(n, LEAST_TOKENS))]


def _sum(state: Pair, write: Pair) -> Pair:
    return state[0] + write[0], state[1] + write[1]


def _common(ours: Mapping[int, Written], theirs: Mapping[int, Written]) -> WrittenPairs:
    return {layer: (ours[layer], theirs[layer]) for layer in sorted(ours.keys() & theirs.keys())}


def _dtype_of(values: Tensor) -> torch.dtype:
    """The dtype of an array; of float32 whose values all are of 16 bits, that of the values."""
    for dtype in (torch.bfloat16, torch.float16):
        if values.dtype is torch.float32 and bool((values.to(dtype).float() == values).all()):
            return dtype if values.any() else values.dtype
    return values.dtype


def _other_ids(ours: Sequence[int] | None, theirs: Sequence[int] | None) -> str:
    """The sentence on token ids that differ; empty where they are the same or unknown."""
    if ours is None or theirs is None or ours == theirs:
        return ""
    pairs = enumerate(zip(ours, theirs, strict=False))
    token = next((token for token, ids in pairs if ids[0] != ids[1]), None)
    where = f"there are {len(ours)} in the first and {len(theirs)} in the second"
    if token is not None:
        where = f"the first at token {token}, {ours[token]} and {theirs[token]}"
    return f"The token ids differ, {where}: layers are compared on the same tokens alone."


def _remarks(ours: Recording, theirs: Recording) -> list[str]:
    """The layers that only one of them has, each kind in a sentence."""
    sentences = []
    for one, other in ((ours, theirs), (theirs, ours)):
        kinds = {
            "the stream at depth": (one.stream, other.stream),
            "the attention of layer": (one.attention, other.attention),
            "the MLP of layer": (one.mlp, other.mlp),
        }
        for words, (mine, yours) in kinds.items():
            if only := sorted(mine.keys() - yours.keys()):
                sentences.append(f"{one.place} alone has {words} {_ranges(only)}.")
    return sentences


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words, such as `0 to 3, 7`."""
    ends = [n for n in numbers if n + 1 not in numbers]
    starts = [n for n in numbers if n - 1 not in numbers]
    return ", ".join(
        f"{start}" if start == end else f"{start} to {end}"
        for start, end in zip(starts, ends, strict=True)
    )
