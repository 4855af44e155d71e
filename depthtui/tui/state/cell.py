"""The values of a run at one layer and token, as lines of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import lens_of
from depthtui.data.run import RunResult
from depthtui.metrics import ALL_MEASURES
from depthtui.metrics.chosen_lens import through
from depthtui.token_text import printable

_TOP = 5
"""Tokens that a line of the lens names."""


@dataclass(frozen=True)
class CellFacts:
    """The values of a cell.

    Attributes:
        title: the layer and the token.
        lines: name and text of each value; untrusted tokens are printable.
    """

    title: str
    lines: list[tuple[str, str]]


def cell_facts(result: RunResult, layer: int, token: int, lens: str) -> CellFacts:
    """The values of a cell, as far as the run has them.

    Args:
        result: the run.
        layer: 0 … L; L is the output, of which the lens alone has a row.
        token: 0 … T - 1.
        lens: the lens that reads the run, by its name in `LENSES`.
    """
    count = result.model.n_layers
    text = printable(result.tokens.texts[token])
    lines = _lens_lines(lens_of(result, lens), min(layer, count), token, count)
    for chosen in (through(measure, lens) for measure in ALL_MEASURES if measure.by_token):
        values = chosen.values(result)
        if values is None or layer >= len(values):
            continue
        value = float(values[layer, token])
        if not math.isnan(value):
            lines.append((chosen.title, f"{value:.4g}   {chosen.formula}"))
    where = "Output" if layer >= count else f"Layer {layer}"
    return CellFacts(f"{where} at “{text}”, token {token}", lines)


def _lens_lines(
    lens: LogitLens | None, layer: int, token: int, count: int
) -> list[tuple[str, str]]:
    """The lens before the layer and after it; at the output, the output."""
    if lens is None:
        return []
    if layer == count:
        return [("the output", _tops(lens, count, token))]
    after = "the output" if layer + 1 == count else "after it"
    return [("before it", _tops(lens, layer, token)), (after, _tops(lens, layer + 1, token))]


def _tops(lens: LogitLens, depth: int, token: int) -> str:
    """The first tokens of a lens at a depth, each with its probability."""
    ids, chances = lens.top_ids[depth, token, :_TOP], lens.top_probabilities[depth, token, :_TOP]
    tops = [
        f"“{printable(lens.vocabulary.get(int(number), '?'))}” {chance:.2f}"
        for number, chance in zip(ids, chances, strict=True)
        if number >= 0
    ]
    return "  ".join(tops) or "not read yet"
