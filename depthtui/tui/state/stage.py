"""The current stage of work that has no rows yet, and its time left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic

from depthtui.data.protocol import Progress

_LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class Stage:
    """A stage of work.

    Attributes:
        progress: its last report.
        began: when it began, in seconds of the monotonic clock.
        began_at: the amount that was done then.
    """

    progress: Progress
    began: float
    began_at: int

    @property
    def speed(self) -> float:
        """The amount done in a second; 0 where it is not known yet."""
        seconds, moved = monotonic() - self.began, self.progress.done - self.began_at
        return moved / seconds if seconds >= _LEAST_SECONDS and moved > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """The seconds until its end; negative where they are not known yet."""
        speed = self.speed
        return (self.progress.total - self.progress.done) / speed if speed else -1.0


def next_stage(stage: Stage | None, progress: Progress) -> Stage:
    """The stage after a report: the same one, or a new one where it has another name."""
    if stage is not None and stage.progress.stage == progress.stage:
        return replace(stage, progress=progress)
    return Stage(progress, monotonic(), progress.done)
