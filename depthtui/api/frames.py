"""A metric's arrays as the long rows of a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from depthtui.data.arrays import Shape, arrays_of
from depthtui.data.run import RunResult
from depthtui.errors import DepthError
from depthtui.installing import install_extra
from depthtui.token_text import printable

if TYPE_CHECKING:
    from pandas import DataFrame

_AXES = {
    "L+1": "depth",
    "L": "layer",
    "L-1": "layer",
    "M+1": "left_out",
    "T": "token",
    "T-1": "token",
    "k": "rank",
    "H": "head",
    "K": "choice",
    "O": "option",
    "V": "drafted",
    "2": "half",
    "4": "control",
    "8": "further_layers",
}
"""Names of columns, by axis of an array."""


def frame(runs: Sequence[RunResult], metric: str, array: str = "") -> DataFrame:
    """A metric of some runs; see `Runs.to_dataframe`.

    Raises:
        DepthError: no run has the metric, it has no such array, or pandas is missing.
    """
    pandas = _import_pandas()
    having = {number: run for number, run in enumerate(runs) if metric in run.measured}
    if not having:
        names = dict.fromkeys(name for run in runs for name in run.measured)
        raise DepthError(f"The runs have no {metric!r}.", f"They have {', '.join(names)}.")
    return pandas.concat(
        [
            pandas.DataFrame({"prompt": number, **_columns(run, metric, array)})
            for number, run in having.items()
        ],
        ignore_index=True,
    )


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise DepthError(
            "A frame needs pandas, which is not installed.",
            f"Install it: {install_extra('notebook')}",
        ) from error
    return pandas


def _columns(run: RunResult, metric: str, array: str) -> dict[str, np.ndarray]:
    """The columns of one run, each with an entry for every element of the main array."""
    result = run.measured[metric]
    arrays = dict(arrays_of(result))
    sides = {name: _sides(shape) for name, shape in type(result).shapes().items()}
    # A metric without a two-dimensional array has a value for each layer.
    full = [name for name in sides if arrays[name].size] or list(sides)
    main = array or next((name for name in full if len(sides[name]) == 2), full[0])
    if main not in sides:
        raise DepthError(f"{metric} has no array {main!r}.", f"It has {', '.join(sides)}.")
    places = np.indices(arrays[main].shape)
    columns = {axis: place.ravel() for axis, place in zip(sides[main], places, strict=True)}
    if "token" in columns:
        texts = np.array([printable(text) for text in run.tokens.readable_texts], dtype=object)
        columns["text"] = texts[columns["token"]]
    if "layer" in columns and (types := run.model.layer_types):
        columns["layer_type"] = np.array(types, dtype=object)[columns["layer"]]
    for name, own in sides.items():
        # Arrays with fewer axes are repeated along the other ones.
        if name == main or (not array and own.items() <= sides[main].items()):
            columns[name] = arrays[name][tuple(columns[axis] for axis in own)]
    return columns


def _sides(shape: Shape) -> dict[str, str]:
    """Column name -> axis; the second of two axes of layers is `to_layer`."""
    columns: dict[str, str] = {}
    for side in shape.sides:
        axis = _AXES[side]
        columns[f"to_{axis}" if axis in columns else axis] = side
    return columns
