"""Progress of the engine, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from depthtui.data import protocol
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.sizes import about, format_size

LOG_PACE = 10.0
"""Seconds between two lines of a log."""


@dataclass(frozen=True)
class WorkProgress:
    """Progress of some work.

    Attributes:
        stage: work of the engine; empty while it computes the rows of a prompt.
        done: amount done.
        total: whole amount; 0 where unknown.
        amount: amount done in words, such as `layer 3 of 12`; may be empty.
    """

    stage: str
    done: int
    total: int
    amount: str


class LogLines:
    """Progress of some work, for a log: at most a line every `LOG_PACE` seconds.

    Args:
        print_line: prints a line.
        is_shown: whether there is a log; a terminal has a progress bar instead.
    """

    def __init__(self, print_line: Callable[[str], None], is_shown: bool) -> None:
        self._print_line = print_line
        self._is_shown = is_shown
        self._printed_at = monotonic()

    def report(self, *words: str) -> None:
        """Print the work and its progress, unless the last line is less than `LOG_PACE` old."""
        now = monotonic()
        if self._is_shown and now - self._printed_at >= LOG_PACE:
            self._printed_at = now
            self._print_line(", ".join(filter(None, words)))


class EngineProgress:
    """Puts an engine's events into words.

    Args:
        n_layers: layers of a model that is already loaded; 0 for none.

    Attributes:
        has_time_left: whether the words on a metric have its time left.
    """

    has_time_left = True

    def __init__(self, n_layers: int = 0) -> None:
        self._n_layers = n_layers
        self._n_written = 0

    def of(self, event: protocol.Event) -> WorkProgress | None:
        """Progress of the engine, or None where the event contains none."""
        match event:
            case protocol.ModelLoaded(model=model):
                self._n_layers = model.n_layers
            case protocol.RunStarted():
                self._n_written = 0
            case protocol.TokensWritten(ids=ids):
                self._n_written += len(ids)
                return WorkProgress("", self._n_written, 0, f"writing, token {self._n_written:,}")
            case protocol.Progress(stage=stage, done=done, total=total, unit=unit):
                return WorkProgress(stage, done, total, _amount(done, total, unit))
            case protocol.Rows(metric=metric):
                return self._layers(f"{METRIC_BY_NAME[metric].title.lower()}, layer", event.stop)
            case protocol.MetricRows(metric=metric, done=done, total=total):
                title = METRIC_BY_NAME[metric].title.lower()
                share = f" {done} of {total}" if total else ""
                has_time = self.has_time_left and event.seconds_left > 0
                time_left = f", {about(event.seconds_left)} left" if has_time else ""
                return WorkProgress("", done, total, f"{title}{share}{time_left}")
        return None

    def _layers(self, title: str, done: int) -> WorkProgress:
        if not self._n_layers:
            return WorkProgress("", done, 0, f"{title} {done}")
        # The lens also reads the model's output, which is no layer.
        done = min(done, self._n_layers)
        return WorkProgress("", done, self._n_layers, f"{title} {done} of {self._n_layers}")


def _amount(done: int, total: int, unit: str) -> str:
    if not (done or total):
        return ""
    if unit == "B":
        of_total = f" of {format_size(total)}" if total else ""
        return format_size(done) + of_total
    of_total = f" of {total:,}" if total else ""
    return f"{done:,}{of_total} {unit}"
