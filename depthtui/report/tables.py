"""Tables that are files of their own: the numbers of panes that have no figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthtui.data.depth import DepthEstimate
from depthtui.data.lens import LogitLens
from depthtui.depth.reading import Reading
from depthtui.metrics.early_exit import EarlyExit
from depthtui.report.csv_text import Value, csv_text
from depthtui.report.phrases import criterion, rule_title


@dataclass(frozen=True)
class ValueTable:
    """Rows of values; words are raw, and in columns of their own.

    Attributes:
        heads: heads of the columns, with units; the first is the axis x.
        rows: a value for each head.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Value]]


def table_bytes(table: ValueTable) -> bytes:
    """The table as CSV, with its axis named as in the files of figures."""
    axis, *others = table.heads
    return csv_text([f"x: {axis}", *others], table.rows)


def lens_table(lens: LogitLens, token: int) -> ValueTable:
    """The lens's readings at a token, a row for each depth: tokens, entropy and KL in nats."""
    depths, _, count = lens.top_ids.shape
    heads = [f"{name} {rank}" for rank in range(1, count + 1) for name in ("token", "probability")]
    numbers = {"entropy, nats": lens.entropy, "KL, nats": lens.kl}
    rows = [
        [
            depth,
            *(
                value
                for id_, share in zip(
                    lens.top_ids[depth, token], lens.top_probabilities[depth, token], strict=True
                )
                for value in (lens.vocabulary.get(int(id_), ""), share)
            ),
            *(values[depth, token] for values in numbers.values()),
        ]
        for depth in range(depths)
    ]
    return ValueTable([f"depth, {depths - 1} is the output", *heads, *numbers], rows)


def exit_table(exits: Mapping[float, EarlyExit]) -> ValueTable:
    """Agreement with the output and layers saved by early exit, by confidence."""
    rows = [
        [confidence, exit_.agreement, exit_.layers_saved] for confidence, exit_ in exits.items()
    ]
    heads = ("confidence", "agreement, share of tokens", "layers saved, mean over tokens")
    return ValueTable(heads, rows)


def depths_by_rule(reading: Reading) -> ValueTable:
    """The effective depth by each rule in layers, its interval, and the same by prompt."""
    heads = [
        "rule",
        *("effective depth, layers", "interval from", "interval to"),
        *("share of all layers", "after layer"),
        *("each prompt once, layers", "its interval from", "its interval to"),
        *("criterion", "remark"),
    ]
    rows = [
        [
            rule_title(depth.rule),
            *_counted(depth),
            depth.ratio,
            depth.layer,
            *_counted(depth.prompt_weighted),
            criterion(depth),
            depth.reason or depth.warning,
        ]
        for depth in reading.depths
    ]
    return ValueTable(heads, rows)


def _counted(depth: DepthEstimate | None) -> list[Value]:
    """A count of layers and the ends of its interval."""
    if depth is None:
        return [None] * 3
    return [depth.count, *(depth.count_interval or (None, None))]
