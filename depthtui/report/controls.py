"""Controls in words: the purpose of each case, and whether they support the model's count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from depthtui.data.controls import NAMES, ControlName, ControlRow, Controls, load_controls
from depthtui.data.model import ModelInfo
from depthtui.depth import rules
from depthtui.metrics.evidence import rounded_up_count, rounded_up_range
from depthtui.sizes import format_size

TITLES: Mapping[ControlName, str] = {
    "model": "the model",
    "model_order": "in the model's order",
    "shuffled": "shuffled tokens",
    "random_order": "random order",
    "untrained": "untrained",
}
"""Names of the cases in a table."""

PURPOSES: Mapping[ControlName, str] = {
    "model": "its prompts as they are; layers go in an order found on other tokens of them",
    "model_order": "the same, in the order that runs use: found layer by layer, on other texts",
    "shuffled": "the same tokens in a random order: the same count would not be of the text",
    "random_order": "layers go in random orders, mean of {draws}: the same count would not be of "
    "the order",
    "untrained": "the same shape with random weights ({size}): the same count would not be of "
    "what the model has learnt",
}
"""Purpose of each case."""

CONTROLS: tuple[ControlName, ...] = ("shuffled", "random_order", "untrained")
"""The cases that the model's own count must differ from."""


def table(controls: Controls) -> tuple[list[str], list[list[str]]]:
    """The headings, and a row for each case."""
    names = [
        rule.name for rule in rules.ALL if any(rule.name in row.depths for row in rows_of(controls))
    ]
    headings = ["", f"layers of {controls.n_layers}", "95 %", "for 90 % of choices", "choices kept"]
    headings += [f"loss (ln V {controls.guess:.2f})", *(rules.named(name).title for name in names)]
    rows = []
    for row in rows_of(controls):
        depths = [_whole(row.depths.get(name)) for name in names]
        rows.append(
            [
                TITLES[row.name],
                _number(row.layers),
                spread(row) or "–",
                _number(row.strict),
                "–" if row.choices is None else f"{row.choices:.0%}",
                "–" if row.loss is None else f"{row.loss:.2f}",
                *depths,
            ]
        )
    return headings, rows


def notes(controls: Controls) -> Iterator[str]:
    """The purpose of each case, why a case is missing, and the warnings of each."""
    for row in controls.rows:
        title = TITLES[row.name]
        if row.missing:
            yield f"{title}: not known, since {row.missing}"
            continue
        size = format_size(controls.untrained_bytes)
        yield f"{title}: {PURPOSES[row.name].format(draws=len(row.draws), size=size)}"
    for row in controls.rows:
        for warning in row.warnings:
            yield f"! {TITLES[row.name]}: {warning}"


def is_supported(controls: Controls) -> bool | None:
    """Whether the model's count differs from the count of every control; None where unknown."""
    model = controls.row("model")
    if model is None or model.warnings or overlapping_rows(controls):
        return False
    return True if len(distinct_rows(controls)) == len(CONTROLS) else None


def conclusion(controls: Controls) -> str:
    """Whether the controls support the model's count, in a few sentences; objections first."""
    model, drawn = controls.row("model"), controls.row("random_order")
    if model is None:
        return "The model's own count is not known."
    sentences = []
    if overlapping := overlapping_rows(controls):
        sentences.append(
            f"Not told apart from the model, {with_spread(model)}: "
            f"{'; '.join(f'{TITLES[row.name]}, {with_spread(row)}' for row in overlapping)}."
        )
    if model.warnings:
        sentences.append("The model itself knows too little of these prompts for a count.")
    if drawn is not None:
        sentences.append(
            f"Layers left out at random: {_number(drawn.layers)}; by the order: "
            f"{_number(model.layers)}."
        )
    others = [row for row in distinct_rows(controls) if row.name != "random_order"]
    if others:
        counts = ", ".join(f"{TITLES[row.name]} {_number(row.layers)}" for row in others)
        sentences.append(f"Told apart: {counts}.")
    verdict = {
        True: "The number is specific to this model and text: every control gives another one.",
        False: "The number means nothing on these prompts: a control gives the same one.",
        None: "Undecided: not every control has an interval to compare.",
    }
    return " ".join([*sentences, verdict[is_supported(controls)]])


def kept_line(folder: Path, model: ModelInfo) -> str:
    """The controls kept for a model, in one line; empty where there are none."""
    controls = load_controls(folder, model.fingerprint)
    return "" if controls is None else line(controls)


def line(controls: Controls) -> str:
    """The controls in one line, for a verdict."""
    rows = [row for name in CONTROLS if (row := controls.row(name)) is not None]
    model = controls.row("model")
    if model is None or not rows:
        return ""
    counts = ", ".join(f"{TITLES[row.name]} {_number(row.layers)}" for row in rows)
    same = ", ".join(TITLES[row.name] for row in overlapping_rows(controls))
    doubt = f"; not told apart: {same}" if same else ""
    prompts = "1 prompt" if controls.prompts == 1 else f"{controls.prompts} prompts"
    return (
        f"Controls on {prompts} of {', '.join(controls.tasks)}: {_number(model.layers)} of "
        f"{controls.n_layers}; {counts}{doubt} (doctor --controls)."
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
    model = controls.row("model")
    for name in CONTROLS:
        row = controls.row(name)
        if row and model and row.interval and model.interval:
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


def _whole(count: int | None) -> str:
    return "–" if count is None else str(count)
