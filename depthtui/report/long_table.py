"""Results as one long table: a row for every value, for pandas, DuckDB and the like.

The columns are the same for runs, written texts and sweeps, so that the tables of several files can
be read as one. A value that is not known has no row.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthtui import __version__
from depthtui.data.arrays import Shape, arrays_of
from depthtui.data.depth import DepthEstimate
from depthtui.data.model import ModelInfo, weights_dtype
from depthtui.data.pieces import piece_mark
from depthtui.data.plain import to_plain
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings, reading_keys, settings_keys
from depthtui.data.verdict import Verdict
from depthtui.depth.left_out import LOSS, LeftOut
from depthtui.depth.reading import Reading
from depthtui.depth.right_answers import RightAnswers
from depthtui.errors import DepthError
from depthtui.installing import install_extra
from depthtui.report.groups import PooledRuns, RunGroup
from depthtui.report.skips import changes_of
from depthtui.token_text import printable

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Schema, Table

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
    "R": "round",
    "V": "drafted",
    "A": "answer_token",
    "N": "other_prompt",
    "2": "half",
    "5": "order",
    "8": "further_layers",
}
"""Names of columns, by axis of an array."""

WORDS = ("model", "revision", "dtype", "changes", "task", "level", "metric", "measure")
"""Columns of words that every row has; empty where there is nothing to name."""

PLACES = ("group", "prompt", *dict.fromkeys(_AXES.values()), "to_layer")
"""Columns of whole numbers; null where a value has no such place.

`group` is the number of the runs that are read together, `prompt` that of a run.
"""

TEXTS = ("text", "layer_type")
"""Columns of words about a place: the token's printable text, and the type of layer in hybrids."""

NUMBERS = ("value", "low", "high")
"""Columns of numbers: the value, and its range or 95 % interval, null without one."""

ABOUT = b"depthtui"
"""The key of the metadata of a file."""


@dataclass(frozen=True)
class TableRows:
    """Some rows of the table.

    Attributes:
        keys: the columns that are the same in all of them.
        columns: the other columns that are not null, sequences of one length; among them `value`.
    """

    keys: Mapping[str, str | int]
    columns: Mapping[str, Any]


def rows_of_groups(
    groups: Sequence[RunGroup], runs: Sequence[RunResult] = ()
) -> Iterator[TableRows]:
    """The rows of some groups of runs: every array of each run, then the reading of all.

    Args:
        groups: the groups.
        runs: all of their runs, in the order of their numbers; empty for that of the groups.
    """
    in_order = runs or [run for group in groups for run in group.results]
    numbers = {id(run): number for number, run in enumerate(in_order)}
    for number, part in enumerate(_parts_of(groups)):
        for run in part.results:
            yield from rows_of_run(run, numbers[id(run)], group=number)
        yield from _rows_of_part(part, number)


def rows_of_readings(groups: Sequence[RunGroup]) -> Iterator[TableRows]:
    """The rows of `rows_of_groups` that are not of one run."""
    for number, part in enumerate(_parts_of(groups)):
        yield from _rows_of_part(part, number)


def _parts_of(groups: Sequence[RunGroup]) -> Iterator[PooledRuns]:
    return (part for group in groups for part in group.parts)


def _rows_of_part(part: PooledRuns, number: int) -> Iterator[TableRows]:
    return rows_of_reading(part.reading, _keys_of_part(part.results, number))


def _keys_of_part(runs: Sequence[RunResult], group: int) -> dict[str, str | int]:
    """The columns of some runs' reading; a task and a level where all have the same."""
    shared = {
        "task": {run.prompt.task for run in runs},
        "level": {run.prompt.level for run in runs},
    }
    return {
        **keys_of_model(runs[0].model),
        "changes": changes_of(runs[0].settings),
        "group": group,
        **{name: values.pop() for name, values in shared.items() if len(values) == 1},
    }


def rows_of_run(
    run: RunResult, prompt: int, metrics: Collection[str] = (), group: int = 0
) -> Iterator[TableRows]:
    """The rows of a run's arrays.

    Args:
        run: the run.
        prompt: its number.
        metrics: names of the metrics; empty for all, and the tokens.
        group: the number of the runs that it is read with.
    """
    keys = keys_of_model(run.model) | {
        "changes": changes_of(run.settings),
        "task": run.prompt.task,
        "level": run.prompt.level,
        "group": group,
        "prompt": prompt,
    }
    texts = [printable(text) for text in run.tokens.readable_texts]
    if not metrics:
        tokens = {"token": np.arange(len(texts)), "text": texts, "value": run.tokens.ids}
        yield TableRows(keys | {"metric": "tokens", "measure": "token_id"}, tokens)
    for name, result in run.measured.items():
        if metrics and name not in metrics:
            continue
        shapes = type(result).shapes()
        for array_name, values in arrays_of(result):
            columns = _values_of(values, shapes[array_name])
            if "token" in columns:
                columns["text"] = [texts[token] for token in columns["token"]]
            if "layer" in columns and (types := run.model.layer_types):
                columns["layer_type"] = [types[layer] for layer in columns["layer"]]
            yield TableRows(keys | {"metric": name, "measure": array_name}, columns)


def _values_of(values: np.ndarray, shape: Shape) -> dict[str, Any]:
    """The known values of an array, and their places."""
    unknown = shape.unknown_value
    if values.dtype.kind == "f":
        is_known = ~np.isnan(values)
    else:
        is_known = np.ones_like(values, bool) if values.dtype.kind == "b" else values != unknown
    places = np.nonzero(is_known)
    columns: dict[str, Any] = {}
    for side, place in zip(shape.sides, places, strict=True):
        axis = _AXES[side]
        # The second of two axes of layers.
        columns[f"to_{axis}" if axis in columns else axis] = place
    return columns | {"value": values[is_known].astype(np.float64)}


def rows_of_reading(reading: Reading, keys: Mapping[str, str | int]) -> Iterator[TableRows]:
    """The rows of a reading: headline, evidence, depths, answers and curves.

    Args:
        reading: the reading.
        keys: the model and the task.
    """
    counts = [
        *_headline(reading.verdict),
        *_evidence(reading.verdict),
        *_depths(reading.depths),
        *_answers(reading.accuracy),
    ]
    present = [count for count in counts if count[2] is not None]
    names = ("metric", "measure", "value", "low", "high")
    if present:
        yield TableRows(keys, dict(zip(names, zip(*present, strict=True), strict=True)))
    for name, curve in reading.curves.items():
        values = np.asarray(curve, np.float64)
        (places,) = np.nonzero(~np.isnan(values))
        axis = "layer" if len(values) == reading.n_layers else "depth"
        columns = {axis: places, "value": values[places]}
        yield TableRows({**keys, "metric": "curves", "measure": name}, columns)
    for left_out in filter(None, (reading.left_out, reading.parts_left_out)):
        metric = f"{left_out.piece}s_left_out"
        for name, column in left_out.columns.items():
            (places,) = np.nonzero(~np.isnan(column.values))
            columns = {"left_out": places, "value": column.values[places]}
            if column.interval is not None:
                columns["low"], columns["high"] = column.interval[:, places]
            yield TableRows({**keys, "metric": metric, "measure": name}, columns)


_Count = tuple[str, str, float | None, float | None, float | None]
"""Metric, measure, value, and its range."""


def _headline(verdict: Verdict | None) -> Iterator[_Count]:
    headline = None if verdict is None else verdict.headline
    if headline is not None:
        yield "headline", "layers", headline.count, headline.low, headline.high
        ends = {
            "half": headline.half_range,
            "mean_depth": headline.depth_range,
            "gain": headline.gain_range,
            "nats": None,
        }
        for name, between in ends.items():
            yield "headline", name, getattr(headline, name), *(between or (None, None))


def _evidence(verdict: Verdict | None) -> Iterator[_Count]:
    for one in () if verdict is None else verdict.evidence:
        yield "evidence", one.measure, one.count, one.low, one.high


def _depths(estimates: Iterable[DepthEstimate]) -> Iterator[_Count]:
    for depth in estimates:
        yield "effective_depth", depth.rule, depth.count, *(depth.count_interval or (None, None))


def _answers(answers: RightAnswers | None) -> Iterator[_Count]:
    if answers is not None:
        yield "answers", "right", answers.right, None, None
        yield "answers", "answers", answers.answers, None, None


def keys_of_model(model: ModelInfo) -> dict[str, str | int]:
    """The columns that name a model."""
    return {
        "model": model.name,
        "revision": model.revision,
        "dtype": weights_dtype(model),
    }


def about_runs(runs: Sequence[RunResult], settings: SummarySettings) -> dict[str, Any]:
    """The metadata of a table of runs: version, settings with their seeds, prompts, provenance."""
    return {
        "depthtui": __version__,
        "reading": reading_keys(settings),
        "settings": [settings_keys(run.settings) for run in runs],
        "prompts": [run.prompt for run in runs],
        "provenance": [run.provenance for run in runs],
    }


def table(rows: Iterable[TableRows], about: Mapping[str, Any]) -> Table:
    """The table.

    Raises:
        DepthError: pyarrow is missing.
    """
    pyarrow = _import("pyarrow", "datasets")
    schema = _schema(about)
    return pyarrow.Table.from_batches([_batch(some, schema) for some in rows], schema)


def parquet_bytes(rows: Iterable[TableRows], about: Mapping[str, Any]) -> bytes:
    """The table as a Parquet file, with the metadata under `depthtui`.

    Raises:
        DepthError: pyarrow is missing.
    """
    whole = table(rows, about)
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(whole, content, compression="zstd")
    return content.getvalue()


def is_table(path: Path) -> bool:
    """Whether a Parquet file is a table of depthtui; False where it cannot be read."""
    pyarrow = _import("pyarrow", "datasets")
    from pyarrow import parquet

    try:
        return ABOUT in (parquet.read_schema(path).metadata or {})
    except (pyarrow.ArrowException, OSError):
        return False


def left_out_frame(left_out: LeftOut) -> DataFrame:
    """What is left of a model, a row for each number of pieces that stay, as a frame of pandas.

    Beside each column stand the ends of its interval, where it has one, such as `loss_low`.

    Raises:
        DepthError: pandas is missing.
    """
    goes = [None, *(piece_mark(piece, left_out.piece) for piece in left_out.order)]
    columns: dict[str, Any] = {"stay": range(left_out.n_pieces, -1, -1), "goes": goes}
    for name, column in left_out.columns.items():
        columns[name] = column.values
        if name == LOSS:
            columns["perplexity"] = np.exp(column.values)
        if column.interval is not None:
            columns[f"{name}_low"], columns[f"{name}_high"] = column.interval
    return _import("pandas", "notebook").DataFrame(columns)


def dataframe(rows: Iterable[TableRows]) -> DataFrame:
    """The table as a frame of pandas, without the columns that are empty everywhere.

    Raises:
        DepthError: pandas or pyarrow is missing.
    """
    pandas, pyarrow = _import("pandas", "notebook"), _import("pyarrow", "notebook")
    whole = table(rows, {})
    types = {pyarrow.int32(): pandas.Int32Dtype()}
    return whole.to_pandas(types_mapper=types.get).dropna(axis="columns", how="all")


def _import(library: str, extra: str) -> Any:
    """A library of an extra."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise DepthError(
            f"A table needs {library}, which is not installed.",
            f"Install it: {install_extra(extra)}",
        ) from error


def _schema(about: Mapping[str, Any]) -> Schema:
    import pyarrow

    words = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    kinds = {
        **dict.fromkeys(WORDS, words),
        **dict.fromkeys(PLACES, pyarrow.int32()),
        **dict.fromkeys(TEXTS, words),
        **dict.fromkeys(NUMBERS, pyarrow.float64()),
    }
    plain = json.dumps(to_plain(dict(about)), ensure_ascii=True)
    return pyarrow.schema(list(kinds.items()), metadata={ABOUT: plain.encode()})


def _batch(rows: TableRows, schema: Schema) -> Any:
    """Rows as a batch of Arrow arrays."""
    import pyarrow

    count = len(rows.columns["value"])

    def column(name: str, kind: Any) -> Any:
        if name in rows.columns:
            values = rows.columns[name]
            if name in (*WORDS, *TEXTS):
                return pyarrow.array(map(_legible, values), pyarrow.string()).dictionary_encode()
            return pyarrow.array(values).cast(kind)
        key = rows.keys.get(name, "" if name in WORDS else None)
        if name not in (*WORDS, *TEXTS):
            return pyarrow.array([key] * count, kind)
        if key is None:
            return pyarrow.nulls(count, kind)
        places = pyarrow.array(np.zeros(count, np.int32))
        return pyarrow.DictionaryArray.from_arrays(places, pyarrow.array([_legible(str(key))]))

    arrays = [column(name, kind) for name, kind in zip(schema.names, schema.types, strict=True)]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _legible(text: str) -> str:
    """A text that UTF-8 can write, as other reports write it."""
    return text.encode("utf-8", "backslashreplace").decode()
