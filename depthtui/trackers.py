"""Results in an experiment tracker: Trackio, Weights & Biases, TensorBoard or MLflow.

Through `accelerate.tracking`. Nothing is sent to a tracker that was not named.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from depthtui.data.plain import to_plain
from depthtui.data.run_settings import OF_OTHER_PROMPTS
from depthtui.errors import DepthError
from depthtui.files import expand_home, system_reason
from depthtui.installing import install_extra
from depthtui.report.formats import FORMATS
from depthtui.token_text import printable_sentence

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from depthtui.report.formats import Report
    from depthtui.report.long_table import TableRows

TITLES = {
    "trackio": "Trackio",
    "wandb": "Weights & Biases",
    "tensorboard": "TensorBoard",
    "mlflow": "MLflow",
}
"""The trackers by their names in accelerate, which are those of their packages and extras."""

PLACE = "depthtui"
"""The default project, experiment or folder."""

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "trackio": {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False},
    "wandb": {"settings": {"x_disable_meta": True, "x_disable_stats": True}},
}
"""Arguments that turn a tracker's own measurements of the machine off."""

_OF_UNITS = ("model", "changes", "task", "level", "group")
"""Columns that tell apart what values are of."""

_UNFIT = re.compile(r"[^\w\-./: ]", re.ASCII)
"""Characters that no name in MLflow may have."""

_TEXTS = (*OF_OTHER_PROMPTS, "baseline", "patch_from", "lens_texts")
"""Settings that are texts, or name files."""

_PICTURES = "png"
"""The format of the figures that trackers take."""

_MOST_PICTURES = 100
"""The most figures that are sent: those of all prompts together come first, then each prompt's."""


@dataclass(frozen=True)
class TrackerChoice:
    """A tracker to log to.

    Attributes:
        name: its name, of `TITLES`.
        place: the project of Trackio and wandb, the experiment of MLflow, the folder of
            TensorBoard.
    """

    name: str
    place: str = PLACE

    @classmethod
    def of(cls, text: str) -> TrackerChoice:
        """A choice from `NAME` or `NAME=PLACE`.

        Raises:
            DepthError: there is no such tracker, or it is not installed.
        """
        name, _, place = text.partition("=")
        if name not in TITLES:
            raise DepthError(f"There is no tracker {name!r}.", f"Choose {', '.join(TITLES)}.")
        if find_spec(name) is None:
            raise DepthError(
                f"{TITLES[name]} is not installed.", f"Install it: {install_extra(name)}"
            )
        return cls(name, place or PLACE)

    @property
    def words(self) -> str:
        """The tracker and the place."""
        return f"{TITLES[self.name]} ({self.place})"


@dataclass(frozen=True)
class Logged:
    """Values in a form that every tracker takes.

    Attributes:
        numbers: numbers by name, such as `headline/layers`.
        curves: numbers by name and step, the layer or depth, such as `curves/kl`.
        settings: settings by name, each a number, a text or a truth value.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    settings: dict[str, bool | int | float | str] = field(default_factory=dict)


def logged(rows: Iterable[TableRows], about: Mapping[str, Any]) -> Logged:
    """Readings and settings, under names.

    Args:
        rows: the rows of readings in a long table.
        about: the table's metadata.
    """
    of_all = list(rows)
    differing = [
        name for name in _OF_UNITS if len({some.keys.get(name, "") for some in of_all}) > 1
    ]
    values = Logged(settings=_flat(about))
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for some in of_all:
        unit = [_unit(name, some.keys[name]) for name in differing if some.keys.get(name, "") != ""]
        columns = {**some.keys, **some.columns}
        depths = columns.get("layer", columns.get("depth"))
        for place, value in enumerate(some.columns["value"]):
            words = (_at(columns[name], place) for name in ("metric", "measure"))
            name = _UNFIT.sub("_", "/".join([*unit, *words]))
            if depths is not None:
                curves[name][int(depths[place])] = float(value)
                continue
            ends = {end: columns[end][place] for end in ("low", "high") if end in columns}
            values.numbers[name] = float(value)
            for end, of_end in ends.items():
                if of_end is not None:
                    values.numbers[f"{name}/{end}"] = float(of_end)
    values.curves.update(curves)
    return values


def _unit(name: str, value: str | int) -> str:
    """A part of the name of a value, such as a model's name or `group 2`."""
    return f"group {value}" if name == "group" else str(value)


def _at(column: Any, place: int) -> str:
    """A word of a column, or the one of all rows."""
    return column if isinstance(column, str) else str(column[place])


def _flat(about: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """The settings that all runs share but for texts, by names such as `settings/seed`."""
    shared: dict[str, Any] = dict(to_plain(dict(about)))
    if isinstance(runs := shared.get("settings"), list):
        first = runs[0] if runs else {}
        shared["settings"] = {
            name: value
            for name, value in first.items()
            if all(name in run and run[name] == value for run in runs)
        }
    return {
        f"{part}/{name}": value if isinstance(value, int | float | str) else json.dumps(value)
        for part in ("settings", "reading")
        for name, value in shared.get(part, {}).items()
        if value is not None and name not in _TEXTS
    }


def log_report(
    report: Report, choices: Iterable[TrackerChoice], notice: Callable[[str], None]
) -> list[TrackerChoice]:
    """Log a report's numbers, curves, figures and settings.

    A tracker that fails costs itself alone.

    Args:
        report: the report.
        choices: the trackers.
        notice: called with a sentence for each tracker that fails.

    Returns:
        the trackers that took everything.
    """
    with _silent_threads():
        trackers = OpenTrackers(choices, notice)
        if trackers.are_there:
            values, pictures = logged(report.rows(), report.about()), _pictures(report)
            trackers.each(lambda tracker: _log(tracker, values, pictures))
        return trackers.finish()


@contextmanager
def _silent_threads() -> Iterator[None]:
    """Print no traceback of a tracker's own thread: the tracker raises its error here, too."""
    before, threading.excepthook = threading.excepthook, lambda arguments: None
    try:
        yield
    finally:
        threading.excepthook = before


def _pictures(report: Report) -> dict[str, np.ndarray]:
    """The first figures as pixels `[height, width, 3]`; none where libraries are missing."""
    if FORMATS[_PICTURES].install or find_spec("PIL") is None:
        return {}
    from PIL import Image

    return {
        name.removesuffix(f".{_PICTURES}"): np.asarray(
            Image.open(io.BytesIO(content)).convert("RGB")
        )
        for name, content in FORMATS[_PICTURES].figures(report.document(), _MOST_PICTURES).items()
    }


class OpenTrackers:
    """Trackers that are started; one that fails is closed, and costs itself alone.

    Args:
        choices: the trackers.
        notice: called with a sentence for each tracker that fails.
    """

    def __init__(self, choices: Iterable[TrackerChoice], notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._trackers: dict[TrackerChoice, GeneralTracker] = {}
        for choice in dict.fromkeys(choices):
            with self._alone(choice):
                self._trackers[choice] = _started(choice)

    @property
    def are_there(self) -> bool:
        """Whether a tracker has not failed."""
        return bool(self._trackers)

    def each(self, work: Callable[[GeneralTracker], object]) -> None:
        """Call a function with each tracker."""
        for choice, tracker in list(self._trackers.items()):
            with self._alone(choice):
                work(tracker)

    def finish(self) -> list[TrackerChoice]:
        """Close the trackers, and return those that took everything."""
        done = []
        for choice in list(self._trackers):
            with self._alone(choice):
                self._trackers.pop(choice).finish()
                done.append(choice)
        return done

    @contextmanager
    def _alone(self, choice: TrackerChoice) -> Iterator[None]:
        """Let a failure cost one tracker alone."""
        try:
            yield
        # A tracker may end the program where it is not logged in.
        except (Exception, SystemExit) as error:
            reason = printable_sentence(" ".join(system_reason(error).split()))
            self._notice(f"{choice.words} took nothing more: {reason}")
            if (tracker := self._trackers.pop(choice, None)) is not None:
                with suppress(Exception, SystemExit):
                    tracker.finish()


def _log(tracker: GeneralTracker, values: Logged, pictures: Mapping[str, np.ndarray]) -> None:
    if values.settings:
        tracker.store_init_configuration(values.settings)
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for name, curve in values.curves.items():
        for step, value in curve.items():
            by_step[step][name] = value
    for step in sorted(by_step):
        tracker.log(by_step[step], step=step)
    # Without a step they would take the first one in wandb, and the curves lose it.
    tracker.log(values.numbers)
    _log_table(tracker, values)
    _log_pictures(tracker, pictures)


def _started(choice: TrackerChoice) -> GeneralTracker:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    # accelerate's logger, which the trackers use, needs it.
    PartialState()
    kind = LOGGER_TYPE_TO_CLASS[choice.name]
    if kind.requires_logging_directory:
        # A folder for each run, which TensorBoard draws as one.
        name = f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        tracker = kind(name, logging_dir=str(expand_home(choice.place)))
    else:
        tracker = kind(choice.place, **_OPTIONS.get(choice.name, {}))
    tracker.start()
    return tracker


def _log_table(tracker: GeneralTracker, values: Logged) -> None:
    """Log the curves as a table, where the tracker has tables."""
    if not hasattr(tracker, "log_table") or not values.curves:
        return
    names = sorted(values.curves)
    steps = sorted({step for curve in values.curves.values() for step in curve})
    rows = [[step, *(values.curves[name].get(step) for name in names)] for step in steps]
    tracker.log_table("curves", columns=["depth", *names], data=rows)


def _log_pictures(tracker: GeneralTracker, pictures: Mapping[str, np.ndarray]) -> None:
    match tracker.name:
        case "trackio":
            import trackio

            tracker.log({name: trackio.Image(pixels) for name, pixels in pictures.items()})
        case "mlflow":
            import mlflow

            for name, pixels in pictures.items():
                mlflow.log_image(pixels, f"{name}.png")
        case "tensorboard":
            batches = {name: pixels[None] for name, pixels in pictures.items()}
            tracker.log_images(batches, dataformats="NHWC")
        case _:
            for name, pixels in pictures.items():
                tracker.log_images({name: [pixels]})
