"""A session as saved on disk: its runs, the notes on them, the state of the screen.

The values of the runs are in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

from depthtui.data.model import ModelInfo
from depthtui.data.remarks import Remarks
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.data.store import make_key

PASS = ""
"""The forward pass among the keys of a run: no metric has this name."""

SHIPPED = "shipped"
"""The origin of the run that comes with the program."""


@cache
def shipped_key(part: str) -> str:
    """The cache key of a part of the run that comes with the program: its metric, or `PASS`."""
    return make_key("result", shipped=part)


@dataclass(frozen=True)
class SavedRun:
    """A run of a saved session.

    Attributes:
        model, prompt, settings: inputs of the run.
        started: local time of its start, ISO 8601.
        remarks: the user's notes.
        keys: cache keys of the result's parts, by metric; `PASS` for the forward pass.
        answer_start: index of the answer's first token in the prompt's tokens, -1 where unknown.
        unavailable, failed: as in `RunResult`.
    """

    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    started: str
    remarks: Remarks = field(default_factory=Remarks)
    keys: dict[str, str] = field(default_factory=dict)
    answer_start: int = -1
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedSession:
    """The runs of a session and the state of the screen.

    Attributes:
        saved: local time of the last change, ISO 8601.
        runs: at least one run, oldest first.
        shown: index of the run on the screen, or -1.
        layer, token: the cursor.
        measure: name of the measure in the heatmap.
        page, pane: ids of the page that is shown, and of the pane with the focus; untrusted.
        kl_threshold, overlap_threshold: thresholds of the rules, in (0, 1].
        title: its name for people; empty for the first prompt.
    """

    saved: str
    runs: tuple[SavedRun, ...]
    shown: int
    layer: int
    token: int
    measure: str
    page: str
    pane: str
    kl_threshold: float
    overlap_threshold: float
    title: str = ""

    def differs_by_looks(self, other: SavedSession) -> bool:
        """Whether the two sessions differ at most in the state of the screen."""
        looks = ("saved", "shown", "layer", "token", "measure", "page", "pane")
        return replace(self, **{name: getattr(other, name) for name in looks}) == other
