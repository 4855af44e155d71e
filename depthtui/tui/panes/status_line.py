"""One line: the model, what runs on what, and how far it is."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from depthtui.metrics import METRIC_BY_NAME
from depthtui.sizes import about, format_size
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import PaneStyles, Piece, number, strip_of, styles_of
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
    _pane_styles: PaneStyles | None = None

    def show(self, status: Status) -> None:
        """Say this from now on."""
        if status != self.status:
            self.status = status
            self.refresh()

    @property
    def pane_styles(self) -> PaneStyles:
        """The theme's styles."""
        if self._pane_styles is None:
            self._pane_styles = styles_of(self.app, self.background_colors[1])
        return self._pane_styles

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._pane_styles = None

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        right = self._state()
        room = width - _cells(right) - 2
        left = self._left(room)
        gap = " " * max(0, width - _cells(left) - _cells(right))
        return strip_of([*left, (gap, self.pane_styles.text), *right], width, self.pane_styles.text)

    def _left(self, room: int) -> list[Piece]:
        """The model and the prompt, dropping what matters least until they fit."""
        styles, status = self.pane_styles, self.status
        model = status.model
        name = printable_sentence(model.name if model else status.model_name) or "no model"
        details = []
        if model is not None:
            weights = " ".join(filter(None, (model.device, model.dtype, model.quantize)))
            details = [f"{model.n_layers} layers", printable_sentence(weights)]
            if status.memory:
                details.append(format_size(status.memory))
        prompt = " · ".join(filter(None, (printable_sentence(status.task), status.number)))
        brand: Piece = ("depthtui  ", styles.muted)
        for pieces in (
            [brand, *_model(name, details, styles), *_prompt(prompt, styles)],
            [*_model(name, details, styles), *_prompt(prompt, styles)],
            [*_model(name, details[:1], styles), *_prompt(prompt, styles)],
            [*_model(name, [], styles), *_prompt(prompt, styles)],
            [*_model(name, details[:1], styles)],
        ):
            if _cells(pieces) <= room:
                return pieces
        return [(fit_shown(name, max(0, room)), styles.strong)]

    def _state(self) -> list[Piece]:
        styles, status = self.pane_styles, self.status
        seconds = f" · {number(status.seconds)} s" if status.seconds else ""
        match status.state:
            case "starting":
                return [("◌ ", styles.muted), ("starting", styles.muted)]
            case "loading":
                return [("◌ ", styles.text), ("loading", styles.text)]
            case "idle":
                return [("○ ", styles.muted), ("idle", styles.muted)]
            case "running" if status.work is not None:
                title = METRIC_BY_NAME[status.work.metric].title.lower()
                share = (
                    f" {status.work.done} of {status.work.total}" if status.work.total > 1 else ""
                )
                left = f" · {about(status.work.seconds_left)} left" * (status.work.seconds_left > 0)
                return [("▸ ", styles.good), (f"{title}{share}{left or seconds}", styles.text)]
            case "running":
                where = f"layer {status.layer} of {status.layers}{seconds}"
                return [("▸ ", styles.good), (where, styles.text)]
            case "halted":
                where = f"halted after layer {status.layer} of {status.layers}"
                return [("‖ ", styles.warning), (where, styles.text)]
            case "sweeping":
                done, total = status.swept
                return [("▸ ", styles.good), (f"sweep, {done} of {total} prompts · S", styles.text)]
            case "writing":
                words = printable_sentence(status.stage) or "writing"
                return [("▸ ", styles.good), (words, styles.text)]
            case "stopped":
                return [("■ ", styles.warning), (f"stopped{seconds}", styles.text)]
            case "gone":
                return [("✕ ", styles.error), ("engine gone", styles.error)]
        words = {None: "", True: " · cached", False: f" · computed{seconds}"}[status.cached]
        return [("● ", styles.good), (f"ready{words}", styles.text)]


def _model(name: str, details: list[str], styles: PaneStyles) -> list[Piece]:
    return [(name, styles.strong), *((f" · {detail}", styles.muted) for detail in details)]


def _prompt(words: str, styles: PaneStyles) -> list[Piece]:
    return [("   ", styles.text), (words, styles.text)] if words else []


def _cells(pieces: list[Piece]) -> int:
    return sum(cell_len(text) for text, _ in pieces)
