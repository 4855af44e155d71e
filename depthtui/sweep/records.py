"""The record of one prompt of a sweep: its reading, as one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import Prompt, Provenance, RunResult, without
from depthtui.data.run_settings import (
    LENSES,
    RunSettings,
    SummarySettings,
    settings_keys,
)
from depthtui.data.store import make_key
from depthtui.depth.reading import Reading
from depthtui.files import parse_json
from depthtui.metrics.needed_settings import depends_on_former_prompts
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.reduction import reduce_run
from depthtui.metrics.registry import ALL, METRIC_BY_NAME
from depthtui.metrics.spec import Metric
from depthtui.plugins import plugin_of
from depthtui.sweep.plan import Cell

SCHEMA = 7
"""Number of a record's layout, and part of the names of records and sweeps."""

_MOST_TOKENS = 1 << 40
"""Most tokens of a weight; a sum of larger weights would not be exact in float64."""


class DamagedRecord(ValueError):
    """A file is not a record, or not the one that was written."""


@dataclass(frozen=True, kw_only=True)
class Record(PromptReading):
    """The reading of one prompt of a sweep, and its place in the plan.

    Attributes:
        key: key from `record_key`.
        task: name of the task in the plan, with the origin of its answers (`TaskChoice.source`).
        level: level of the task in the plan.
        number: number of the prompt in its cell, from 0.
        provenance: where and how the reading was computed.
    """

    key: str
    task: str
    level: str
    number: int
    provenance: Provenance | None = None


def record_key(
    cell: Cell, number: int, prompt: Prompt, settings: RunSettings, before: Sequence[Prompt]
) -> str:
    """A hash of everything that a record depends on but the weights.

    Args:
        cell: the model and the task.
        number: number of the prompt in its cell.
        prompt: the prompt.
        settings: settings of the sweep's runs.
        before: the prompts of the cell before this one; they matter where the random
            positions of skip effects continue from prompt to prompt (paper, metric 2).
    """
    texts = [prompt.text for prompt in before] if depends_on_former_prompts(settings) else []
    writing = cell.task.write
    plugins = (plugin_of("metric", name) for name in settings.metrics)
    packages = [plugin.distribution for plugin in plugins if plugin]
    return make_key(
        "record",
        SCHEMA,
        model=cell.model,
        task=[cell.task.name, cell.task.level],
        number=number,
        text=prompt.text,
        answer=prompt.answer,
        settings=settings_keys(settings),
        contrast=prompt.contrast,
        before=hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
        **({} if writing is None else {"write": asdict(writing.effective)}),
        **({"choices": prompt.choices} if prompt.choices else {}),
        **({"packages": packages} if packages else {}),
    )


def record_of(result: RunResult, key: str, cell: Cell, number: int) -> Record:
    """The record of a finished run."""
    reading = reduce_run(result)
    reduced = {"every": dict(reading.every), "rest": dict(reading.rest)}
    return Record(
        **vars(reading) | reduced | {"task": cell.task.source},
        key=key,
        level=cell.task.level,
        number=number,
        provenance=result.provenance,
    )


def record_bytes(record: Record) -> bytes:
    """The record as JSON, with a checksum; unknown numbers are null.

    `rest` has the reduced values that differ from `every`; null where there are none without
    token 0.
    """
    body = to_plain(record) | {"schema": SCHEMA}
    every, rest = body["every"], body["rest"]
    body["rest"] = {name: rest.get(name) for name in every if rest.get(name) != every[name]}
    return _dump({"checksum": checksum(body), **body}).encode() + b"\n"


def read_record(data: bytes) -> Record:
    """The record in a file's bytes.

    Raises:
        DamagedRecord: the bytes are not those that `record_bytes` wrote.
    """
    try:
        body = parse_json(data)
        signed = body.pop("checksum")
        # `record_bytes` writes finite numbers only.
        whole = signed == checksum(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRecord("it is not whole") from error
    if not whole:
        raise DamagedRecord("its checksum is wrong")
    try:
        record = _record(body)
        _check(record)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise DamagedRecord("it is of another version") from error
    return record


def _record(body: dict[str, Any]) -> Record:
    schema = body.pop("schema")
    if schema != SCHEMA:
        raise ValueError(f"a record of layout {schema}")
    reduced = partial(_reduced, n_layers=body["model"]["n_layers"])
    record = from_plain(Record, body, readers={Mapping[str, Reduced]: reduced})
    rest = {**without(record.every, body["rest"]), **record.rest}
    return replace(record, rest=rest)


def _reduced(values: Mapping[str, Any], n_layers: int) -> dict[str, Reduced]:
    """Reduced values of known metrics; metrics of newer versions are left out."""
    reduced = {
        name: from_plain(metric.reduced, fields, sizes=_sizes(metric, n_layers))
        for name, fields in values.items()
        if fields
        and (metric := METRIC_BY_NAME.get(name)) is not None
        and metric.reduced is not None
    }
    if any(not 0 <= part.tokens < _MOST_TOKENS for part in reduced.values()):
        raise ValueError("so many tokens are no weight of a mean")
    return reduced


def _sizes(metric: Metric, n_layers: int) -> dict[str, int]:
    """The numbers of layers and, unless the model decides, of pieces, by letters of shapes."""
    assert metric.result is not None
    sizes = metric.result.sizes(n_layers, 0)
    return {letter: sizes[letter] for letter in ("L", "M") if letter in sizes}


def _check(record: Record) -> None:
    """Check that a sweep's tables can be made of a record, alone and with others like it.

    Raises:
        ValueError, TypeError, LookupError, ArithmeticError: the tables cannot be made.
    """
    alone, pair = (Reading([record] * count, SummarySettings()) for count in (1, 2))
    _ = alone.evidence, alone.other.evidence
    # A single prompt has no mean, so check the pair.
    for reading in (pair, pair.other):
        _ = reading.means
        for lens in LENSES[1:]:
            through = reading.through(lens)
            _ = [through.get(metric) for metric in ALL if metric.of_lens and not metric.curves]


def checksum(body: dict[str, Any]) -> str:
    """The checksum that a record's JSON object is signed with.

    Raises:
        ValueError: the object has a number that is not finite.
    """
    return hashlib.sha256(_dump(body).encode()).hexdigest()


def _dump(value: dict[str, Any]) -> str:
    # Everything beyond ASCII is escaped, lone surrogates too.
    return json.dumps(value, allow_nan=False, sort_keys=True)
