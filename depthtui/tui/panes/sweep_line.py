"""The line on top of a sweep: its name and progress; beneath it the current work."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip

from depthtui.data.model import ModelInfo
from depthtui.data.sentence import plural
from depthtui.sweep.eta import time_words
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import Piece, bar, strip_of
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.state.status import Status
from depthtui.tui.state.sweeping import Sweeping, names_of

_BAR = 24
_LONGEST_MODEL = 31
"""The most cells of the model on a narrow screen."""


class SweepLine(StatusLine):
    """A status line for a sweep; with a second line while it runs."""

    _sweep: Sweeping | None = None
    _loaded = ""

    def show_sweep(self, sweep: Sweeping | None, model: ModelInfo | None) -> None:
        """Show this sweep; `model` is the loaded one."""
        self._sweep = sweep
        self._loaded = printable_sentence(model.name) if model else ""
        self.set_class(sweep is not None and sweep.is_live, "live")
        self.show(Status(model=model))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        if y == 0:
            return super().render_line(y)
        width = self.size.width
        return strip_of(self._now(width), width, self.pane_styles.text)

    def _left_pieces(self, room: int) -> list[Piece]:
        styles = self.pane_styles
        brand: list[Piece] = [("Sweep", styles.strong)]
        if self._sweep is None:
            return brand
        plan = self._sweep.plan
        counts = f"{plural(len(plan.models), 'model')} x {plural(len(plan.tasks), 'task')}"
        names = [" x ".join(names_of(plan, levels)) for levels in (True, False)]
        if self._sweep.is_session:
            names = [f"{counts} · runs of this session"]
        for words in (f" · {printable_sentence(name)}" for name in (*names, counts)):
            if len("Sweep") + cell_len(words) <= room:
                return [*brand, (words, styles.muted)]
        return brand

    def _state(self) -> list[Piece]:
        styles, sweep = self.pane_styles, self._sweep
        model = f"{self._loaded} is loaded" if self._loaded else "no model is loaded"
        if self.size.width < 100 and cell_len(model) > _LONGEST_MODEL:
            model = ""
        if sweep is None:
            return [(model, styles.muted)]
        loaded = f" · {model}" if model else ""
        words = f"{sweep.n_done} of {sweep.n_prompts} prompts"
        match sweep.stage:
            case "running":
                return [("▸ ", styles.good), ("running · esc stops", styles.text)]
            case "stopped":
                return [
                    ("■ ", styles.warning),
                    (f"stopped, {words}", styles.text),
                    (loaded, styles.muted),
                ]
            case "failed":
                problem = printable_sentence(sweep.problem)
                return [
                    ("✕ ", styles.error),
                    (fit_shown(problem, min(60, len(problem))), styles.text),
                ]
            case "opened" if sweep.is_session:
                return [
                    ("● ", styles.good),
                    (plural(sweep.n_done, "prompt"), styles.text),
                    (loaded, styles.muted),
                ]
            case "opened":
                return [("● ", styles.good), (words, styles.text), (loaded, styles.muted)]
        return [("● ", styles.good), (f"done, {words}", styles.text), (loaded, styles.muted)]

    def _now(self, width: int) -> list[Piece]:
        """The progress, the time left, and the current work."""
        styles, sweep = self.pane_styles, self._sweep
        if sweep is None:
            return []
        share = sweep.n_done / sweep.n_prompts if sweep.n_prompts else 0.0
        full, empty = bar(share, _BAR if width >= 100 else _BAR // 2)
        amount = f" {sweep.n_done} of {sweep.n_prompts} prompts"
        time_left = f", {time_words(sweep.seconds_left)} left" if sweep.seconds_left >= 0 else ""
        pieces: list[Piece] = [
            (full, styles.good),
            (empty, styles.faint),
            (amount + time_left, styles.text),
        ]
        used = sum(cell_len(text) for text, _ in pieces)
        return [
            *pieces,
            (fit_shown(f"   {printable_sentence(sweep.now)}", max(0, width - used)), styles.muted),
        ]
