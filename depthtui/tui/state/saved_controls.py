"""The controls of models, as they were saved by `depthtui doctor --controls`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depthtui.data.model import ModelInfo
from depthtui.report.controls import saved_line


class SavedControls:
    """Reads the controls of each model once, until they are forgotten.

    Args:
        folder: returns the folder of fitted lenses, where controls lie.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._lines: dict[str, str] = {}

    def of(self, model: ModelInfo) -> str:
        """The saved controls of a model, in a line; empty where there are none."""
        if model.fingerprint not in self._lines:
            self._lines[model.fingerprint] = saved_line(self._folder(), model)
        return self._lines[model.fingerprint]

    def forget(self) -> None:
        """Read them again: another process may have computed controls since."""
        self._lines.clear()
