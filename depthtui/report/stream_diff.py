"""Two recordings of the residual stream compared: a sentence, and a table around the place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from depthtui.data.model import PART_TITLES
from depthtui.data.plain import to_plain
from depthtui.data.stream_diff import StreamDiff, WriteDifference
from depthtui.report.blocks import Block, Column, Document, Note, Paragraph, Table, TightBlocks

_LAYERS_BEFORE, _LAYERS_AFTER = 2, 1
"""Layers in the table beside the one that differs."""


def diff_document(diff: StreamDiff, every_layer: bool = False) -> Document:
    """The comparison as a report; a table of every layer, or of those around the place."""
    return Document("Two recordings", list(_blocks(diff, every_layer)))


def diff_sentence(diff: StreamDiff) -> str:
    """Where the recordings differ first, or how close they come to it."""
    if diff.other_ids:
        return diff.other_ids
    write = diff.first
    if write is None:
        return _same(diff)
    if write.broken:
        return f"The recordings are the same up to {_place(write)}: {write.broken}."
    where = f"The recordings differ first in {_place(write)}"
    share = f"{_percent(write.off)} % (floor {_percent(write.floor)} %)"
    tokens = f"from token {write.token} on"
    if write.stray:
        tokens = f"at {len(write.stray)} of {diff.tokens} tokens, the first is {write.token}"
    return f"{where}: {_its_write(write)} off by {share}, {tokens}."


def diff_json(diff: StreamDiff) -> dict[str, object]:
    """The comparison as JSON values."""
    return {
        "same": diff.is_same,
        "equal": diff.is_equal,
        "sentence": diff_sentence(diff),
        "first": to_plain(diff.first),
        "dtype": diff.dtype,
        "tokens": diff.tokens,
        "names": list(diff.forms),
        "remarks": list(diff.remarks),
        "writes": to_plain(diff.writes),
    }


def _blocks(diff: StreamDiff, every_layer: bool) -> Iterator[Block]:
    yield Paragraph(diff_sentence(diff))
    writes = diff.writes if every_layer else _around(diff)
    if writes:
        columns = [
            Column("layer", number=True),
            Column("write of"),
            Column("off by, %", number=True),
            Column("floor, %", number=True),
            Column("from token", number=True),
        ]
        yield Table(columns, [_row(write) for write in writes])
    yield TightBlocks([Note(note) for note in (*diff.remarks, *_names(diff.forms))])


def _names(forms: tuple[str, str]) -> list[str]:
    """The names that were recognised in each recording."""
    if forms[0] == forms[1]:
        return [f"Read: {forms[0]}."]
    return [f"Read in the first: {forms[0]}.", f"Read in the second: {forms[1]}."]


def _row(write: WriteDifference) -> list[str]:
    token = "" if write.token is None else str(write.token)
    floor = _percent(write.floor) if write.floor > 0 else ""
    shares = ["", ""] if write.broken else [_percent(write.off), floor]
    names = {"attention": "attention", "mlp": "MLP", "layer": "the layer", "stream": "the stream"}
    return [_layers(write), names[write.part], *shares, token]


def _around(diff: StreamDiff) -> Sequence[WriteDifference]:
    """The writes of the layers around the place."""
    place = diff.first or _worst(diff)
    if place is None:
        return []
    layers = range(place.first - _LAYERS_BEFORE, place.last + _LAYERS_AFTER + 1)
    return [write for write in diff.writes if write.last in layers or write.first in layers]


def _worst(diff: StreamDiff) -> WriteDifference | None:
    """The write that comes nearest to its floor."""
    return max(diff.writes, key=lambda write: write.excess, default=None)


def _same(diff: StreamDiff) -> str:
    worst = _worst(diff)
    if worst is None or diff.is_equal:
        return f"The recordings are the same to the last digit: {len(diff.writes)} writes."
    stray = len({token for write in diff.writes for token in write.stray})
    but = f", but for {stray} of {diff.tokens} tokens" if stray else ""
    near = ""
    if worst.off:
        shares = f"{_percent(worst.off)} of {_percent(worst.floor)} %"
        near = f" (worst {_place(worst).removeprefix('the ')}, {shares})"
    return f"The recordings are the same within the rounding of {diff.dtype}{but}{near}."


def _place(write: WriteDifference) -> str:
    """The part and its layers in words."""
    match write.part:
        case "attention" | "mlp":
            return f"the {PART_TITLES[write.part]} of layer {write.first}"
        case "stream":
            return "the stream before layer 0" if write.last < 0 else _after(write.last)
    beside = " outside its attention and MLP" if write.beside_parts else ""
    return f"{'layer' if write.first == write.last else 'layers'} {_layers(write)}{beside}"


def _after(layer: int) -> str:
    return f"the stream after layer {layer}, the first that both have"


def _its_write(write: WriteDifference) -> str:
    if write.part == "stream":
        return "it is"
    return "its write is" if write.first == write.last else "their write is"


def _layers(write: WriteDifference) -> str:
    """The layers of a write, such as `7` or `4 to 7`."""
    if write.last < write.first:
        return ""
    return f"{write.first}" if write.first == write.last else f"{write.first} to {write.last}"


def _percent(share: float) -> str:
    """A share in percent, to two digits."""
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"
