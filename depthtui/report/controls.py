"""Controls in words: the purpose of each case, and whether they support the model's count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from depthtui.data.controls import NAMES, ControlName, ControlRow, Controls, load_controls
from depthtui.data.model import ModelInfo
from depthtui.data.sentence import plural
from depthtui.metrics.column import rounded_up_count
from depthtui.metrics.evidence import rounded_up_range
from depthtui.sizes import format_size

TITLES: Mapping[ControlName, str] = {
    "model": "the model",
    "shuffled": "shuffled words",
    "random_order": "random orders of layers",
    "untrained": "untrained",
}
"""Names of the cases in a table."""

PURPOSES: Mapping[ControlName, str] = {
    "model": "its prompts as they are, in the model's own order",
    "shuffled": "the same words in a random order: as much knowledge would not be of the text",
    "random_order": "layers go in two random orders: the same count would not be of the order",
    "untrained": "the same shape with random weights ({size}): a count would not be of what the "
    "model has learnt",
}
"""Purpose of each case."""

CONTROLS: tuple[ControlName, ...] = ("shuffled", "random_order", "untrained")
"""The cases that the model's own count must differ from."""


def table(controls: Controls) -> tuple[list[str], list[list[str]]]:
    """The headings, and a row for each case."""
    headings = [
        "",
        f"loss (ln V {controls.guess:.2f})",
        "known, nats a token",
        f"nine tenths of {controls.n_layers}",
        "95 %",
        "on average",
    ]
    rows = [
        [
            TITLES[row.name],
            _decimal(row.loss, 2),
            _decimal(row.gain, 1),
            "too little known" if row.too_little else _number(row.layers),
            spread(row) or "–",
            _decimal(row.mean_depth, 1),
        ]
        for row in rows_of(controls)
    ]
    return headings, rows


def notes(controls: Controls) -> Iterator[str]:
    """The purpose of each case, or why it is missing."""
    size = format_size(controls.untrained_bytes)
    for row in controls.rows:
        purpose = PURPOSES[row.name].format(size=size)
        yield f"{TITLES[row.name]}: {f'not known, since {row.missing}' if row.missing else purpose}"


def is_supported(controls: Controls) -> bool | None:
    """Whether the model's count differs from the count of every control; None where unknown."""
    model = controls.row("model")
    if model is None or model.too_little or overlapping_rows(controls):
        return False
    return True if len(distinct_rows(controls)) == len(CONTROLS) else None


def conclusion(controls: Controls) -> str:
    """Whether the controls support the model's count, in a few sentences; objections first."""
    model = controls.row("model")
    if model is None:
        return "The model's own count is not known."
    if model.too_little:
        return f"The model knows too little of these prompts for a count: {model.too_little}."
    sentences = []
    if overlapping := overlapping_rows(controls):
        others = "; ".join(f"{TITLES[row.name]}, {with_spread(row)}" for row in overlapping)
        sentences.append(f"Not told apart from the model, {with_spread(model)}: {others}.")
    if distinct := distinct_rows(controls):
        counts = ", ".join(f"{TITLES[row.name]} {_count(row)}" for row in distinct)
        sentences.append(f"Told apart from the model's {_number(model.layers)}: {counts}.")
    verdict = {
        True: "The number is of this model and text: no control gives the same one.",
        False: "The number means nothing on these prompts: a control gives the same one.",
        None: "Undecided: not every control has an interval to compare.",
    }
    return " ".join([*sentences, verdict[is_supported(controls)]])


def saved_line(folder: Path, model: ModelInfo) -> str:
    """The controls saved for a model, in one line; empty where there are none."""
    controls = load_controls(folder, model.fingerprint)
    return "" if controls is None else line(controls)


def line(controls: Controls) -> str:
    """The controls in one line, for a verdict."""
    rows = [row for name in CONTROLS if (row := controls.row(name)) is not None]
    model = controls.row("model")
    if model is None or not rows:
        return ""
    counts = ", ".join(f"{TITLES[row.name]} {_count(row)}" for row in rows)
    same = ", ".join(TITLES[row.name] for row in overlapping_rows(controls))
    doubt = f"; not told apart: {same}" if same else ""
    prompts = plural(controls.prompts, "prompt")
    return (
        f"Controls on all tokens of {prompts} of {', '.join(controls.tasks)}: "
        f"{_number(model.layers)} of {controls.n_layers}; {counts}{doubt} (doctor --controls)."
    )


def rows_of(controls: Controls) -> list[ControlRow]:
    """The rows of the known cases, in order."""
    return [row for name in NAMES if (row := controls.row(name)) is not None]


def overlapping_rows(controls: Controls) -> list[ControlRow]:
    """The controls whose interval overlaps the model's."""
    return [row for row, overlaps in _overlaps(controls) if overlaps]


def distinct_rows(controls: Controls) -> list[ControlRow]:
    """The controls whose interval does not overlap the model's."""
    return [row for row, overlaps in _overlaps(controls) if not overlaps]


def _overlaps(controls: Controls) -> Iterator[tuple[ControlRow, bool]]:
    """The controls, and whether each is not told apart; a case of which little is known is."""
    model = controls.row("model")
    for name in CONTROLS:
        row = controls.row(name)
        if row is None or model is None:
            continue
        if row.too_little:
            yield row, False
        elif row.interval and model.interval:
            (low, high), (least, most) = row.interval, model.interval
            yield row, low <= most and least <= high


def spread(row: ControlRow) -> str:
    """The interval of a case; empty where it is unknown."""
    return "" if row.interval is None else rounded_up_range(row.interval, " to ")


def with_spread(row: ControlRow) -> str:
    """The count of a case with its interval."""
    return f"{_number(row.layers)} layers ({spread(row)})"


def _number(count: float | None) -> str:
    return "–" if count is None else str(rounded_up_count(count))


def _count(row: ControlRow) -> str:
    return "too little known" if row.too_little else _number(row.layers)


def _decimal(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
