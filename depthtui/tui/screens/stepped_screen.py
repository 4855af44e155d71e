"""A screen of a run that may halt after each layer: its cursor moves with the steps."""

from __future__ import annotations

from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import RunState, SessionRun

NOT_HALTED = "No run is halted: s runs the prompt and halts after each layer."
AT_FIRST_LAYER = "This is the first layer."


class SteppedScreen(LiveScreen):
    """Steps through the layers of a halted run."""

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self._halted_at = -1

    @property
    def is_stepped(self) -> bool:
        """Whether the run is halted, or computes layers after which it halts again."""
        explorer = self.explorer
        is_live = self.run is not None and self.run.state.is_live
        return is_live and (explorer.phase is Phase.HALTED or explorer.stepping.is_stepping)

    def why_not_halted(self) -> str:
        """Why no layer can be stepped to."""
        return "" if self.is_stepped else NOT_HALTED

    def why_no_step_back(self) -> str:
        """Why there is no layer to step back to."""
        return self.why_not_halted() or ("" if self.cursor.layer > 0 else AT_FIRST_LAYER)

    def step(self) -> None:
        """Go to the next layer that has run, or else run the next one."""
        count = self.pop_count()
        if not self._go_through(count):
            self.explorer.stepping.step(count)
            self.redraw()

    def step_back(self) -> None:
        """Go to an earlier layer."""
        self._go_through(-self.pop_count())

    def layer_to_show(self, run: SessionRun) -> int:
        """The cursor's layer, or the layer of a halt that was not shown yet."""
        is_new = run.state is RunState.HALTED and run.halted_at != self._halted_at
        self._halted_at = run.halted_at
        return run.halted_at if is_new else self.cursor.layer

    def _go_through(self, layers: int) -> bool:
        """Go to another computed layer of a halted run; False where there is none."""
        run, layer = self.run, self.cursor.layer
        if run is None or run.state is not RunState.HALTED:
            return False
        if layers > 0 and layer >= run.halted_at:
            return False
        self.go(min(layer + layers, run.halted_at), self.cursor.token)
        return True
