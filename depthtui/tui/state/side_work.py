"""The engine's work beside runs: a sweep, a model that is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from depthtui.data.pieces import Piece
from depthtui.data.protocol import (
    Event,
    Failed,
    StartSweep,
    SweepFinished,
    WriteModel,
)
from depthtui.data.run_settings import Repeated
from depthtui.errors import DepthError
from depthtui.tui.state.engine_life import EngineLife
from depthtui.tui.state.host import Host
from depthtui.tui.state.model_writing import ModelWriting
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.toast import Toast

if TYPE_CHECKING:
    from depthtui.sweep.plan import SweepPlan
    from depthtui.tui.state.sweeping import Sweeping

    _Work: TypeAlias = Sweeping | ModelWriting


class SideWork:
    """Starts the work beside runs, and follows it.

    Args:
        engine: the engine.
        host: the app, which shows how the work ended.

    Attributes:
        sweep: the running or last opened sweep, or None.
        writing: the current or last writing of a model, or None.
    """

    def __init__(self, engine: EngineLife, host: Host) -> None:
        self.sweep: Sweeping | None = None
        self.writing: ModelWriting | None = None
        self._engine = engine
        self._host = host

    @property
    def phase(self) -> Phase | None:
        """The work that keeps the engine from runs, or None."""
        if self.writing is not None and self.writing.is_live:
            return Phase.WRITING
        if self.sweep is not None and self.sweep.is_live:
            return Phase.SWEEPING
        return None

    @property
    def is_live(self) -> bool:
        """Whether the engine does any of it, or will next."""
        return any(work.is_live for work in self._every)

    def start_sweep(self, work_id: int, plan: SweepPlan, folder: Path) -> None:
        """Run the missing prompts of a sweep."""
        from depthtui.sweep.saved import plan_text
        from depthtui.tui.state.sweeping import Sweeping

        try:
            self.sweep = Sweeping(plan, folder, work_id, saves=bool(self._engine.command))
        except DepthError as error:
            self._host.show_toast(Toast(str(error), "error", "The sweep did not run"))
            return
        self._engine.problem = None
        self._engine.send_trust(plan.models)
        self._engine.send(StartSweep(work_id, str(folder), plan_text(plan)))

    def write_model(
        self,
        work_id: int,
        left_out: Sequence[int],
        folder: Path,
        repeated: Sequence[Repeated],
        heals: bool,
        piece: Piece,
    ) -> None:
        """Write the loaded model without these pieces, healed or not, and with blocks twice."""
        self.writing = ModelWriting(work_id, left_out, piece)
        folder_name = str(folder)
        self._engine.send(
            WriteModel(work_id, tuple(left_out), folder_name, tuple(repeated), heals, piece)
        )

    def handle(self, event: Event) -> bool:
        """Update the work with an event, and report its end; return whether it was about it."""
        work = next((work for work in self._every if work.handle(event)), None)
        if isinstance(event, SweepFinished) and work is not None:
            self._swept(event)
        elif isinstance(work, ModelWriting) and work.outcome is not None:
            self._engine.stage = None
            self._host.show_toast(work.outcome)
        elif isinstance(event, Failed) and work is not None:
            self._host.show_toast(Toast(event.words, "error", "Nothing was written"))
        return work is not None

    def end(self, reason: str) -> None:
        """End all of it: the engine is gone."""
        for work in self._every:
            work.end(reason)

    @property
    def _every(self) -> Iterator[_Work]:
        return (work for work in (self.sweep, self.writing) if work is not None)

    def _swept(self, finished: SweepFinished) -> None:
        """Report how a sweep ended, and which model it left."""
        assert self.sweep is not None
        former, model = self._engine.model, finished.model
        self._engine.left_with(model)
        loaded = model.name if model is not None and model != former else ""
        self._host.show_toast(self.sweep.end_toast(loaded))
