"""Controls of a count of layers: the same count in cases where it should be meaningless."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from depthtui.data.plain import from_plain, to_plain
from depthtui.errors import DepthError
from depthtui.files import parse_json, write_whole

ControlName: TypeAlias = Literal["model", "shuffled", "random_order", "untrained"]
"""The model on its prompts; on their words shuffled; with layers left out in random orders; and an
untrained model of the same shape."""

NAMES: tuple[ControlName, ...] = get_args(ControlName)
"""The rows of the controls, in their order."""

_VERSION = 2
"""Version of the numbers; increased when the same model gives other numbers."""


@dataclass(frozen=True)
class ControlRow:
    """The layers that keep what is known in one case.

    Attributes:
        name: name of the case.
        gain: what is known of a token, in nats: the loss that context saves.
        loss: mean loss of the next token, in nats.
        layers: the layers that keep nine tenths; None where too little is known.
        interval: the 95 % interval of `layers`; None for too few prompts.
        mean_depth: the layers that a nat needs on average; None with `layers`.
        too_little: why too little is known for a count, in one clause; empty where it is not.
        missing: why the case is unknown, in one clause; empty where it is known.
    """

    name: ControlName
    gain: float | None = None
    loss: float | None = None
    layers: float | None = None
    interval: tuple[float, float] | None = None
    mean_depth: float | None = None
    too_little: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Controls:
    """A model's count of layers, and its controls.

    Attributes:
        model: the model's name.
        n_layers: L.
        vocab_size: V; the loss of a guess among all tokens is ln V nats.
        tasks: tasks of the prompts.
        prompts: number of prompts.
        tokens: number of tokens of all prompts, token 0 aside.
        seed: seed of shuffled words and random weights.
        untrained_bytes: memory of the untrained model's weights; 0 without such a model.
        rows: the cases, in the order of `NAMES`.
    """

    model: str
    n_layers: int
    vocab_size: int
    tasks: tuple[str, ...]
    prompts: int
    tokens: int
    seed: int
    untrained_bytes: int
    rows: tuple[ControlRow, ...]

    @property
    def guess(self) -> float:
        """ln V, the loss of a guess, in nats."""
        return math.log(self.vocab_size)

    def row(self, name: ControlName) -> ControlRow | None:
        """A case by its name; None where it is unknown."""
        rows = (row for row in self.rows if row.name == name and not row.missing)
        return next(rows, None)


def save_controls(folder: Path, fingerprint: str, controls: Controls) -> None:
    """Save the controls of a model beside its fitted lenses, replacing earlier ones."""
    content = json.dumps(to_plain(controls)).encode()
    write_whole(_path(folder, fingerprint), content, "Name another folder as cache_dir.")


def load_controls(folder: Path, fingerprint: str) -> Controls | None:
    """The controls saved for a model; None where there are none, or they cannot be read."""
    if not fingerprint:
        return None
    with contextlib.suppress(OSError, ValueError, DepthError):
        text = _path(folder, fingerprint).read_text("utf-8")
        return from_plain(Controls, parse_json(text))
    return None


def _path(folder: Path, fingerprint: str) -> Path:
    key = hashlib.sha256(json.dumps([fingerprint, _VERSION]).encode()).hexdigest()[:16]
    return folder / f"{key}.controls.json"
