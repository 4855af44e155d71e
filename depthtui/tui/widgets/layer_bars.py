"""How useful each layer is: a row of upright bars for each way to tell."""

from __future__ import annotations

import numpy as np
from textual.geometry import Region
from textual.strip import Strip

from depthtui.engine.metrics.pruning import least_useful, usefulness
from depthtui.engine.results import Ablation, RunResult, Similarity
from depthtui.tui.token_text import fit_shown
from depthtui.tui.widgets.ink import Inks, Piece, number, ruler
from depthtui.tui.widgets.pane import Cursor, Pane
from depthtui.tui.widgets.scale import scale_of

_BARS = " ▁▂▃▄▅▆▇█"
_LEAST = 5
METRICS = ("ablation", "similarity")


class LayerBars(Pane):
    """Ablation loss and block influence against the layer, and which layers to leave out first."""

    def computes(self) -> tuple[str, ...]:
        return METRICS

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Usefulness of layers")
        if self.result is None:
            return "What the loss gains without each layer.", ""
        if not measured_of(self.result):
            words = "What the loss gains without each layer, and how little each turns the stream."
            return words, "i computes both: L forwards, half of each."
        return None

    def prepare(self) -> None:
        assert self.result is not None
        measured = measured_of(self.result)
        room = self.area.height - 1
        each, spare = divmod(room, len(measured))
        self._lines: list[list[Piece]] = []
        for index, part in enumerate(measured):
            self._lines += bar_lines(part, self.area.width, each + (index < spare), self.inks)
        self._width = min(self.area.width, self.result.model.n_layers)

    def draw_line(self, y: int) -> Strip:
        assert self.result is not None
        if y < len(self._lines):
            return self.line(*self._lines[y])
        layers = self.result.model.n_layers
        layer = min(self.cursor.layer, layers - 1)
        cells = column_cells(layers, self.area.width)
        marks = [(place_of(each, layers, cells), str(each)) for each in range(0, layers, 10)]
        cursor = (place_of(layer, layers, cells), f"▴{layer}")
        return self.line(*ruler(marks, cursor, self.area.width, self.inks))

    def move_cursor(self, old: Cursor, new: Cursor) -> None:
        width, height = self.area
        self.refresh(Region(0, height - 1, width, 1))


def measured_of(result: RunResult) -> list[Ablation | Similarity]:
    """What a run knows about its layers' usefulness, the better first."""
    return [each for each in (result.ablation, result.similarity) if each is not None]


def bar_lines(part: Ablation | Similarity, width: int, lines: int, inks: Inks) -> list[list[Piece]]:
    """A title and bars, in `lines` lines of at least two; negative values are good news."""
    values = usefulness(part).astype(np.float64)
    high = scale_of(values, False).high
    cells = column_cells(len(values), width)
    columns = sum_up(values, cells)
    shares = np.nan_to_num(np.clip(columns / high, 0, 1)) * (lines - 1) * 8
    drawn: list[list[Piece]] = [[(title_of(part, width), inks.muted)]]
    for line in range(max(1, lines - 1)):
        eighths = np.clip(shares - 8 * (lines - 2 - line), 0, 8).round().astype(int)
        pieces: list[Piece] = []
        last = line == lines - 2
        for value, height in zip(columns, eighths, strict=True):
            # A layer is to be seen however useless it is.
            bar = _BARS[max(int(height), int(last))] if np.isfinite(value) else "·"
            ink = inks.faint if np.isnan(value) else inks.good if value < 0 else inks.text
            pieces.append((bar * max(1, round(cells)) if cells >= 1 else bar, ink))
        drawn.append(pieces)
    return drawn


def title_of(part: Ablation | Similarity, width: int) -> str:
    """What is drawn, the layers to leave out first, and its scale, as far as there is room."""
    values = usefulness(part)
    known = values[np.isfinite(values)]
    most = number(float(known.max())) if len(known) else "–"
    least = " ".join(map(str, least_useful(part, _LEAST)))
    name, unit = "loss change", ", nats"
    if isinstance(part, Similarity):
        name, unit = "block influence", ""
    texts = (f"{name}{unit} · max {most} · least {least}", f"{name} · least {least}", name)
    return fit_shown(next((each for each in texts if len(each) <= width), name), width)


def column_cells(layers: int, width: int) -> float:
    """Cells of a layer: a whole number, or a share of one where several are in a column."""
    return min(4, width // layers) if layers <= width else 1 / -(-layers // max(1, width))


def place_of(layer: int, layers: int, cells: float) -> int:
    """The first cell of a layer."""
    return int(layer * cells)


def sum_up(values: np.ndarray, cells: float) -> np.ndarray:
    """One value a column: the largest of the layers in it."""
    if cells >= 1:
        return values
    size = round(1 / cells)
    filled = np.pad(values, (0, -len(values) % size), constant_values=np.nan)
    groups = filled.reshape(-1, size)
    known = np.isfinite(groups).any(axis=1)
    largest = np.where(np.isfinite(groups), groups, -np.inf).max(axis=1)
    return np.where(known, largest, np.nan)
