"""Lines of braille dots: two dots across and four down a cell."""

from __future__ import annotations

import numpy as np

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)
_BLANK = 0x2800


class Canvas:
    """A grid of dots, `width` x `height` cells; dot (0, 0) is at the top left."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots = np.zeros((4 * height, 2 * width), bool)

    def plot(self, x: np.ndarray, y: np.ndarray, dotted: bool = False) -> None:
        """Join the points (x in 0 … 1 from the left, y in 0 … 1 from the bottom); NaN is a gap.

        A dotted line leaves out every other dot.
        """
        has_value = ~np.isnan(y)
        if not has_value.any():
            return
        columns = np.rint(x * (2 * self.width - 1)).astype(int)
        rows = np.rint(
            (1 - np.clip(np.where(has_value, y, 0), 0, 1)) * (4 * self.height - 1)
        ).astype(int)
        if not dotted:
            self._dots[rows[has_value], columns[has_value]] = True
        for i in np.flatnonzero(has_value[:-1] & has_value[1:]):
            self._join(columns[i], rows[i], columns[i + 1], rows[i + 1], dotted)

    def dash(self, y: float) -> None:
        """A dashed line across at height y in 0 … 1."""
        row = round((1 - min(max(y, 0.0), 1.0)) * (4 * self.height - 1))
        self._dots[row, np.arange(2 * self.width) % 4 < 2] = True

    def _join(self, x0: int, y0: int, x1: int, y1: int, dotted: bool) -> None:
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        across = np.rint(np.linspace(x0, x1, steps + 1)).astype(int)
        down = np.rint(np.linspace(y0, y1, steps + 1)).astype(int)
        if dotted:
            along = across if abs(x1 - x0) >= abs(y1 - y0) else down
            is_drawn = along % 2 == 0
            across, down = across[is_drawn], down[is_drawn]
        self._dots[down, across] = True

    def lines(self) -> list[str]:
        """The rows of cells as text; an empty cell is a space."""
        cells = self._dots.reshape(self.height, 4, self.width, 2).transpose(0, 2, 1, 3)
        codes = (cells * _DOTS).sum(axis=(2, 3))
        return ["".join(chr(_BLANK + int(code)) if code else " " for code in row) for row in codes]
