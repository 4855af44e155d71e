"""A session as it is kept between two starts: what was run, noted and looked at.

What came of it is in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from depthtui.data.model import ModelInfo
from depthtui.data.remarks import Remarks
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings


@dataclass(frozen=True)
class KeptRun:
    """A run of a kept session; `started` is local time, ISO 8601."""

    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    started: str
    remarks: Remarks = field(default_factory=Remarks)


@dataclass(frozen=True)
class KeptSession:
    """The runs of a session and what was on the screen.

    Attributes:
        kept: when it was kept; local time, ISO 8601.
        runs: those that were listed, oldest first.
        shown: place of the run on the screen among them, or -1.
        layer, token: the cursor.
        measure: name of what the heatmap showed.
        kl_threshold, overlap_threshold: of the rules.
    """

    kept: str
    runs: tuple[KeptRun, ...]
    shown: int
    layer: int
    token: int
    measure: str
    kl_threshold: float
    overlap_threshold: float
