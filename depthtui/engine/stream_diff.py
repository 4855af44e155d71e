"""Two recordings of the residual stream of the same tokens, write by write.

Two correct engines round differently, and every layer reads what differs already: the difference
grows with depth. A fault is a jump: a write that differs by more than its own rounding, and more
than the difference in what its part read can make it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from depthtui.data.selection import numbers_text
from depthtui.data.stream_diff import StreamDiff, WriteDifference, WritePart
from depthtui.engine.recordings import RecordedArray, Recording
from depthtui.errors import DepthError
from depthtui.tracing.norms import norm
from depthtui.tracing.rounding import MOST_ROUNDINGS, one_rounding, roundings

MOST_GAIN = 3.0
"""How many times as far apart as what a part read, relatively, its write may be.

Measured up to 2.3 at half of the tokens: bfloat16 and float16 beside float32, and two attentions of
one dtype, on tiny models of 57 architectures.
"""

STORED_ROUNDINGS = 3.0
"""Roundings of the stream in a layer's change: both recordings round before, within and behind."""

LEAST_TOKENS = 8
"""The fewest last tokens that are judged by themselves: a router may choose otherwise at some."""

STRAY = 4.0
"""How many times the floor a single token is off that is worth a remark."""

MOST_STRAY = 0.25
"""The share of the tokens beyond which single ones are a fault.

Routers made up to 0.075 of them stray in one write, on tiny models of 57 architectures.
"""

LARGEST = 1e30
"""The largest number that is compared: lengths of larger ones may be beyond float32."""

_LAST_PARTS = (1, 2, 4, 8)
"""A fault may begin late: all tokens are judged, and the last half, quarter and eighth of them."""

Pair = tuple[Tensor, Tensor]
"""The same states or writes in both recordings, each `[T, d]` float32."""

RecordedPairs = Mapping[int, tuple[RecordedArray, RecordedArray]]
"""Arrays that both have, by layer or depth."""


class _Broken(Exception):
    """An array has another shape, or a value that is not compared; `write` is its write."""

    def __init__(self, part: WritePart, layers: tuple[int, int], token: int, words: str) -> None:
        super().__init__(words)
        self.write = WriteDifference(part, *layers, math.inf, 0.0, token, broken=words)


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
    except _Broken as broken:
        writes.append(broken.write)
    remarks = [*_coarser(writes, dtype), *_stray(writes), *_alone(ours, theirs)]
    remarks += _unchecked(ours.ids, theirs.ids, writes)
    name, tokens = str(dtype).removeprefix("torch."), comparison.shape[0]
    return StreamDiff(forms, name, tokens, writes, remarks, is_equal=comparison.is_equal)


class _Comparison:
    """The walk through the layers of two recordings."""

    def __init__(self, ours: Recording, theirs: Recording) -> None:
        self.shape = torch.Size()
        self.is_equal = True
        self._stream = _common(ours.stream, theirs.stream)
        self._parts: dict[WritePart, RecordedPairs] = {
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
        """The coarser dtype of both, of which is every array of a kind: one layer may be faulty.

        It is read in the middle and at the end: an embedding may be rounded where no layer is.
        """
        dtypes = []
        for pairs in (self._stream, *self._parts.values()):
            layers = list(pairs)
            for side in (0, 1) if layers else ():
                probes = {layers[len(layers) // 2], layers[-1]}
                kinds = [_dtype_of(pairs[layer][side].read()) for layer in probes]
                dtypes.append(min(kinds, key=_one_rounding))
        return max(dtypes, key=_one_rounding)

    def writes(self, dtype: torch.dtype) -> Iterator[WriteDifference]:
        """Compare every write that both have, in a model's order.

        Raises:
            _Broken: an array has another shape, or a value that is not compared.
        """
        state: Pair | None = None
        stream: Pair | None = None
        first = 0
        layers = {depth - 1 for depth in self._stream}.union(*self._parts.values())
        for layer in sorted(layers):
            reads = [] if stream is None else [stream]
            for part, pairs in self._parts.items():
                written = self._read(part, (layer, layer), pairs.get(layer))
                if written is not None:
                    yield _difference(part, (layer, layer), written, dtype, reads)
                    reads.append(_sum(reads[-1], written) if reads else written)
            stream = reads[-1] if reads else None
            part = "stream" if state is None else "layer"
            after = self._read(part, (first, layer), self._stream.get(layer + 1))
            if after is not None:
                if state is None:
                    yield _difference(part, (0, layer), after, dtype, stored=after[:1])
                else:
                    change = after[0] - state[0], after[1] - state[1]
                    stored = state[0], after[0]
                    write = _difference(part, (first, layer), change, dtype, [state], stored)
                    yield replace(write, beside_parts=len(reads) > 2)
                state = stream = after
                first = layer + 1

    def _read(
        self,
        part: WritePart,
        layers: tuple[int, int],
        pair: tuple[RecordedArray, RecordedArray] | None,
    ) -> Pair | None:
        """Read an array of both; None where there is none.

        Raises:
            DepthError: it is the first array, and its shapes differ.
            _Broken: it has another shape than all before, or a value that is not compared.
        """
        if pair is None:
            return None
        ours, theirs = (written.read() for written in pair)
        sides = zip(pair, (ours, theirs), strict=True)
        words = " and ".join(f"{side.place} is {list(values.shape)}" for side, values in sides)
        if not self.shape and ours.shape != theirs.shape:
            raise DepthError(f"{words}.", "Record the same tokens of models of one width.")
        self.shape = self.shape or ours.shape
        if not ours.shape == theirs.shape == self.shape:
            raise _Broken(part, layers, 0, f"{words}, where all before are {list(self.shape)}")
        self.is_equal = self.is_equal and bool((ours == theirs).all())
        for side, values in zip(pair, (ours, theirs), strict=True):
            bad = (~(values.float().abs() <= LARGEST)).nonzero()
            if len(bad):
                token, value = int(bad[0, 0]), float(values[*bad[0]])
                words = f"{side.place} has {value:.3g} at token {token}"
                raise _Broken(part, layers, token, f"{words}, no number up to {LARGEST:g}")
        return ours.float(), theirs.float()


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
    gain = MOST_GAIN / (MOST_ROUNDINGS * _one_rounding(dtype))
    spread = torch.hypot(torch.ones(()), gain * drift)
    size = spread * length * steps / math.sqrt(width)
    sizes = [size[:, None].expand_as(miss)]
    sizes += [state * (STORED_ROUNDINGS / MOST_ROUNDINGS) for state in stored]
    excess = roundings(miss, sizes, dtype) / MOST_ROUNDINGS
    off = norm(miss) / length.clamp(min=torch.finfo().tiny)
    token, shown = _tokens_beyond(excess)
    stray = () if token is not None else tuple((excess > STRAY).nonzero()[:, 0].tolist())
    if len(stray) > MOST_STRAY * len(excess):
        token, shown = stray[0], excess > STRAY
    times, share = (float(values[shown].median()) for values in (excess, off))
    return WriteDifference(part, *layers, share, share / times if times else 0.0, token, stray)


def _tokens_beyond(excess: Tensor) -> tuple[int | None, Tensor | slice]:
    """The token from which on most are beyond the floor, and all that are.

    None where there is no such token, and the tokens that come nearest to it.

    Args:
        excess: each token's difference, as a multiple of the floor, `[T]`.
    """
    counts = (-(-len(excess) // part) for part in _LAST_PARTS)
    ends = [slice(-n, None) for n in counts if n in (len(excess), max(n, LEAST_TOKENS))]
    worst = max(ends, key=lambda tokens: float(excess[tokens].median()))
    if excess[worst].median() <= 1:
        return None, worst
    beyond = excess > 1
    rest = torch.arange(len(excess), 0, -1)
    is_begin = beyond & (2 * beyond.flip(0).cumsum(0).flip(0) >= rest)
    token = int(is_begin.nonzero()[0])
    return token, beyond & (rest <= len(excess) - token)


def _one_rounding(dtype: torch.dtype) -> float:
    """The rounding error of a number as a share of it."""
    return float(one_rounding([torch.ones(1)], dtype))


def _drift(read: Pair) -> Tensor:
    """How far apart the states are that a part reads at each token, `[T]`, relatively.

    By the mean of magnitudes, which few dimensions of massive activations do not rule; at least the
    root mean square over the tokens so far, which attention reads.
    """
    ours, theirs = read
    tiny = torch.finfo().tiny
    size = torch.maximum(ours.abs().mean(dim=-1), theirs.abs().mean(dim=-1))
    own = (ours - theirs).abs().mean(dim=-1) / size.clamp(min=tiny)
    earlier = (own.square().cumsum(0) / torch.arange(1, len(own) + 1)).sqrt()
    return torch.maximum(own, earlier)


def _sum(state: Pair, write: Pair) -> Pair:
    return state[0] + write[0], state[1] + write[1]


def _common(
    ours: Mapping[int, RecordedArray], theirs: Mapping[int, RecordedArray]
) -> RecordedPairs:
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


def _unchecked(
    ours: Sequence[int] | None, theirs: Sequence[int] | None, writes: Sequence[WriteDifference]
) -> Iterator[str]:
    """The sentence on token ids that are unknown, where other tokens would explain a difference."""
    owners = [name for name, ids in (("first", ours), ("second", theirs)) if ids is None]
    if owners and any(write.differs for write in writes):
        have = "recordings have" if len(owners) > 1 else "recording has"
        yield (
            f"The {' and '.join(owners)} {have} no token ids: whether both are of the same tokens "
            "was not checked."
        )


def _coarser(writes: Sequence[WriteDifference], dtype: torch.dtype) -> list[str]:
    """The sentence on a first difference that rounding to a coarser dtype explains.

    A difference below half of one rounding to bfloat16 is compared with float16.
    """
    first = next((write for write in writes if write.differs), None)
    if first is None:
        return []
    is_fine = first.off < _one_rounding(torch.bfloat16) / 2
    coarse = torch.float16 if is_fine else torch.bfloat16
    explained = MOST_ROUNDINGS * _one_rounding(coarse)
    if first.off > explained or _one_rounding(dtype) >= _one_rounding(coarse):
        return []
    name = str(coarse).removeprefix("torch.")
    return [
        f"Rounding to {name} would explain {100 * explained:.2g} %: --dtype {name} compares so, "
        "where a model rounded to it."
    ]


def _stray(writes: Sequence[WriteDifference]) -> list[str]:
    """The sentence on single tokens that differ by far more than the others."""
    sound = [write for write in writes if write.stray and not write.differs]
    tokens = {token for write in sound for token in write.stray}
    if not tokens:
        return []
    first = sound[0]
    return [
        f"Single tokens are off by more than {STRAY:g} times the floor, as routers and massive "
        f"activations make them: {len(tokens)}, the first at layer {first.first}, token "
        f"{first.stray[0]}."
    ]


def _alone(ours: Recording, theirs: Recording) -> list[str]:
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
                sentences.append(f"{one.place} alone has {words} {numbers_text(only)}.")
    return sentences
