"""One line: the model, what runs on what, and how far it is."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from depthtui.metrics import METRIC_BY_NAME
from depthtui.sizes import format_size
from depthtui.token_text import fit_shown
from depthtui.tui.draw.ink import Inks, Piece, inks_of, number, strip_of
from depthtui.tui.draw.text import sentence
from depthtui.tui.state.status import Status


class StatusLine(Widget):
    """The line on top of the explorer. Give it a `Status` with `show`."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    StatusLine {
        height: 1;
        width: 1fr;
        padding: 0 1;
        background: $background;
    }
    """

    status = Status()
    _inks: Inks | None = None

    def show(self, status: Status) -> None:
        """Say this from now on."""
        if status != self.status:
            self.status = status
            self.refresh()

    @property
    def inks(self) -> Inks:
        """The theme's styles."""
        if self._inks is None:
            self._inks = inks_of(self.app, self.background_colors[1])
        return self._inks

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._inks = None

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        right = self._state()
        room = width - _cells(right) - 2
        left = self._left(room)
        gap = " " * max(0, width - _cells(left) - _cells(right))
        return strip_of([*left, (gap, self.inks.text), *right], width, self.inks.text)

    def _left(self, room: int) -> list[Piece]:
        """The model and the prompt, dropping what matters least until they fit."""
        inks, status = self.inks, self.status
        model = status.model
        name = sentence(model.name if model else status.model_name) or "no model"
        details = []
        if model is not None:
            weights = " ".join(filter(None, (model.device, model.dtype, model.quantize)))
            details = [f"{model.n_layers} layers", sentence(weights)]
            if status.memory:
                details.append(format_size(status.memory))
        prompt = " · ".join(filter(None, (sentence(status.task), status.number)))
        brand: Piece = ("depthtui  ", inks.muted)
        for pieces in (
            [brand, *_model(name, details, inks), *_prompt(prompt, inks)],
            [*_model(name, details, inks), *_prompt(prompt, inks)],
            [*_model(name, details[:1], inks), *_prompt(prompt, inks)],
            [*_model(name, [], inks), *_prompt(prompt, inks)],
            [*_model(name, details[:1], inks)],
        ):
            if _cells(pieces) <= room:
                return pieces
        return [(fit_shown(name, max(0, room)), inks.strong)]

    def _state(self) -> list[Piece]:
        inks, status = self.inks, self.status
        seconds = f" · {number(status.seconds)} s" if status.seconds else ""
        match status.state:
            case "starting":
                return [("◌ ", inks.muted), ("starting", inks.muted)]
            case "loading":
                return [("◌ ", inks.text), ("loading", inks.text)]
            case "idle":
                return [("○ ", inks.muted), ("idle", inks.muted)]
            case "running" if status.work is not None:
                title = METRIC_BY_NAME[status.work.metric].title.lower()
                share = (
                    f" {status.work.done} of {status.work.total}" if status.work.total > 1 else ""
                )
                return [("▸ ", inks.good), (f"{title}{share}{seconds}", inks.text)]
            case "running":
                where = f"layer {status.layer} of {status.layers}{seconds}"
                return [("▸ ", inks.good), (where, inks.text)]
            case "halted":
                where = f"halted after layer {status.layer} of {status.layers}"
                return [("‖ ", inks.warning), (where, inks.text)]
            case "sweeping":
                done, total = status.swept
                return [("▸ ", inks.good), (f"sweep, {done} of {total} prompts · S", inks.text)]
            case "stopped":
                return [("■ ", inks.warning), (f"stopped{seconds}", inks.text)]
            case "gone":
                return [("✕ ", inks.error), ("engine gone", inks.error)]
        words = {None: "", True: " · cached", False: f" · computed{seconds}"}[status.cached]
        return [("● ", inks.good), (f"ready{words}", inks.text)]


def _model(name: str, details: list[str], inks: Inks) -> list[Piece]:
    return [(name, inks.strong), *((f" · {detail}", inks.muted) for detail in details)]


def _prompt(words: str, inks: Inks) -> list[Piece]:
    return [("   ", inks.text), (words, inks.text)] if words else []


def _cells(pieces: list[Piece]) -> int:
    return sum(cell_len(text) for text, _ in pieces)
