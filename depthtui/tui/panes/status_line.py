"""A line with the model, the prompt and the engine's progress."""

from __future__ import annotations

from time import monotonic

from rich.cells import cell_len
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from depthtui.data.selection import indices_text
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.sizes import about, format_size
from depthtui.token_text import cut_in_the_middle, fit_shown, printable_sentence
from depthtui.tui.draw.styles import PaneStyles, Piece, strip_of, styles_of
from depthtui.tui.state.session import Work
from depthtui.tui.state.status import Status

_LONGEST_NAME, _SHORTEST_NAME = 24, 16
_MANY = 100
_TICK = 0.5
"""Seconds between two updates of the clock."""


class StatusLine(Widget):
    """The line on top of the explorer; `show` sets its `Status`."""

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
    _count = 0
    _pane_styles: PaneStyles | None = None
    _clock: Timer | None = None

    def show(self, status: Status) -> None:
        """Show this status."""
        if status != self.status:
            self.status = status
            self.refresh()
            if self._clock is not None:
                (self._clock.resume if status.state == "running" else self._clock.pause)()

    def show_count(self, count: int) -> None:
        """Show the count for the next key; 0 for none."""
        self._count = count
        self.refresh()

    def on_mount(self) -> None:
        self._clock = self.set_interval(_TICK, self.refresh, pause=True)

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
        if self._count:
            right = [(f"{self._count} …  ", self.pane_styles.accent), *right]
        room = width - _cells(right) - 2
        left = self._left_pieces(room)
        gap = " " * max(0, width - _cells(left) - _cells(right))
        return strip_of([*left, (gap, self.pane_styles.text), *right], width, self.pane_styles.text)

    def _left_pieces(self, room: int) -> list[Piece]:
        """The model and the prompt; names are cut before numbers are left out."""
        styles, status = self.pane_styles, self.status
        model = status.model
        name = printable_sentence(model.name if model else status.loads) or "no model"
        details = []
        if model is not None:
            weights = " ".join(filter(None, (model.device, model.dtype, model.quantize)))
            details = [f"{model.n_layers} layers", printable_sentence(weights)]
            if status.memory:
                details.append(format_size(status.memory))
        wrapped = "chat template" if status.is_wrapped else ""
        task = printable_sentence(status.task)
        brand: Piece = ("depthtui  ", styles.muted)

        def left(name: str, details: list[str], *words: str) -> list[Piece]:
            prompt = " · ".join(filter(None, words))
            return [*_model(name, details, styles), *_prompt(prompt, styles)]

        full = left(name, details, task, status.number, wrapped)
        if _cells([brand, *full]) <= room:
            return [brand, *full]
        if _cells(full) <= room:
            return full
        for name_words, words in (
            (details[:2], (status.number, wrapped)),
            (details[:2], (wrapped,)),
            (details[:1], (wrapped,)),
            ([], (wrapped,)),
        ):
            for title in (task, ""):
                spare = room - _cells(left("", name_words, title, *words))
                if spare >= min(cell_len(name), _SHORTEST_NAME):
                    name = cut_in_the_middle(name, spare)
                    unused = spare - cell_len(name) - len(" · ")
                    if not title and unused >= _SHORTEST_NAME:
                        title = fit_shown(task, unused).rstrip()
                    return left(name, name_words, title, *words)
        return [(fit_shown(name, max(0, room)), styles.strong)]

    def _state(self) -> list[Piece]:
        """The engine's activity, and its model where the shown run has another one."""
        loaded = fit_shown(printable_sentence(self.status.loaded), _LONGEST_NAME).rstrip()
        other = [(f" · {loaded} is loaded", self.pane_styles.muted)] if loaded else []
        return [*self._work(), *other]

    def _work(self) -> list[Piece]:
        styles, status = self.pane_styles, self.status
        good: Piece = ("▸ ", styles.good)
        match status.state:
            case "starting":
                return [("◌ ", styles.muted), ("starting", styles.muted)]
            case "loading":
                # Without a run, the left part names the model that is loading.
                words = f"loading {status.loads}" if status.model else status.stage or "loading"
                words = fit_shown(printable_sentence(words), 40).rstrip()
                return [("◌ ", styles.text), (words, styles.text)]
            case "idle":
                return [("○ ", styles.muted), ("no model is loaded", styles.muted)]
            case "running" if status.work is not None:
                return [good, (f"{how_far(status.work)}{self._clock_words()}", styles.text)]
            case "running" if status.written[0]:
                count, most = status.written
                speed = f" · {count / status.seconds:.1f}/s" if status.seconds else ""
                return [good, (f"writing, {count} of {most} tokens{speed}", styles.text)]
            case "running" if status.stage:
                return [good, (printable_sentence(status.stage), styles.text)]
            case "running" if status.layers:
                where = f"layer {status.layer} of {status.layers}"
                return [good, (f"{where}{self._clock_words()}", styles.text)]
            case "running":
                return [good, (f"waiting for the engine{self._clock_words()}", styles.text)]
            case "halted":
                last, every = status.layer - 1, indices_text(status.layers)
                row = "out" if status.layer == status.layers else f"{status.layer}"
                where = f"halted after layer {last} of {every}: see lens row {row}"
                return [("‖ ", styles.warning), (where, styles.text)]
            case "sweeping":
                done_prompts, total = status.swept
                time_left = (
                    f", {about(status.sweep_seconds_left)} left"
                    if status.sweep_seconds_left > 0
                    else ""
                )
                return [
                    good,
                    (f"sweep, {done_prompts} of {total} prompts{time_left} · S", styles.text),
                ]
            case "writing":
                return [good, (printable_sentence(status.stage) or "writing", styles.text)]
            case "stopped":
                return [("■ ", styles.warning), ("stopped", styles.text)]
            case "gone":
                return [("✕ ", styles.error), ("engine gone", styles.error)]
        words = " · ".join(filter(None, ("ready", status.origin)))
        return [("● ", styles.good), (words, styles.text)]

    def _clock_words(self) -> str:
        """The run's time so far, and the time left of its current work."""
        status = self.status
        since = monotonic() - status.reported_at if status.reported_at else 0.0
        words = f" · {duration(status.seconds + since)}"
        seconds_left = status.work.seconds_left - since if status.work is not None else -1.0
        return f"{words}, {about(seconds_left)} left" if seconds_left > 0 else words


def how_far(work: Work) -> str:
    """The metric, and its progress: a count where there are few units, else a share."""
    title = METRIC_BY_NAME[work.metric].title.lower()
    if work.total <= 1:
        return title
    share = (
        f"{work.done} of {work.total}" if work.total < _MANY else f"{work.done / work.total:.0%}"
    )
    return f"{title} {share}"


def duration(seconds: float) -> str:
    """A running time, in whole seconds."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _model(name: str, details: list[str], styles: PaneStyles) -> list[Piece]:
    return [(name, styles.strong), *((f" · {detail}", styles.muted) for detail in details)]


def _prompt(words: str, styles: PaneStyles) -> list[Piece]:
    return [("   ", styles.text), (words, styles.text)] if words else []


def _cells(pieces: list[Piece]) -> int:
    return sum(cell_len(text) for text, _ in pieces)
