"""What a sweep keeps of one prompt: means over its tokens, as one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from depthtui.data.checked import checked
from depthtui.data.depth import Curves, PromptCurves
from depthtui.data.lens_view import LOGIT, fitted_lens
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, Provenance, RunResult, Tokens, without
from depthtui.data.run_settings import (
    LENSES,
    RunSettings,
    SummarySettings,
    settings_keys,
    spec_from,
    spec_keys,
)
from depthtui.data.store import make_key
from depthtui.depth import rules
from depthtui.depth.effective_depth import lacks_curves, prompt_curves
from depthtui.files import parse_json
from depthtui.metrics import ALL, METRICS, depends_on_former_prompts, logit_lens, settling
from depthtui.metrics.lens_view import through
from depthtui.metrics.spec import Metric
from depthtui.report.summary import summary_dict
from depthtui.sweep.plan import Cell

SCHEMA = 1
"""Number of a record's layout: part of its key."""

_TOLD_ELSEWHERE = frozenset(
    (
        "schema",
        "model",
        "settings",
        "prompts",
        "effective_depth",
        "verdict",
        "pooled",
        "unavailable",
        "provenance",
    )
) | {metric.name for metric in METRICS if not metric.in_records}
"""Parts of a summary that a record has in another form, or that are as long as the prompt."""


_READ = frozenset(
    metric.name
    for metric in ALL
    if metric.name == settling.NAME or logit_lens.METRIC.name in (metric.name, metric.of)
)
"""Those that are functions of a lens."""


class DamagedRecord(ValueError):
    """A file is not a record, or not the one that was written."""


@dataclass(frozen=True)
class LensRecord:
    """What a record has of the run as a fitted lens reads it.

    Attributes:
        curves, curves_without_first: means over tokens.
        metrics, metrics_without_first: those parts that differ from what the logit lens gives.
    """

    curves: PromptCurves | None
    curves_without_first: PromptCurves | None
    metrics: dict[str, Any] = field(default_factory=dict)
    metrics_without_first: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One prompt run through one model.

    Attributes:
        key: from `record_key`.
        task: name of the task in the plan.
        level: level of the task in the plan.
        number: which prompt of the cell it is, from 0.
        model: the model as it was loaded.
        prompt: the prompt.
        n_tokens: its length.
        settings: of the run.
        curves: means over all tokens; None where there is nothing to average, or one's metric
            failed.
        curves_without_first: the same without token 0.
        loss: mean negative log-likelihood of the prompt's tokens, in nats; NaN where unknown.
        metrics: what else was measured, laid out as in `summary.json`, over all tokens.
        metrics_without_first: those parts of it that differ without token 0.
        unavailable: why a metric that was asked for is unavailable.
        failed: names of those that another run may have: such a prompt is tried again.
        provenance: where and how it was computed.
        lenses: what differs by fitted lens, by its name; None where none has read the run.
    """

    key: str
    task: str
    level: str
    number: int
    model: ModelInfo
    prompt: Prompt
    n_tokens: int
    settings: RunSettings
    curves: PromptCurves | None
    curves_without_first: PromptCurves | None
    loss: float
    metrics: dict[str, Any] = field(default_factory=dict)
    metrics_without_first: dict[str, Any] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    provenance: Provenance | None = None
    lenses: dict[str, LensRecord] | None = None

    def prompt_curves(self, settings: SummarySettings) -> PromptCurves | None:
        """The means as the lens reads them, with or without token 0, as of a prompt of this task.

        Where it has not read the prompt, those that no lens reads.
        """
        view = self._through(settings.lens)
        held = self if view is None else view
        found = held.curves if settings.include_first_token else held.curves_without_first
        if found is None:
            return None
        found = replace(found, task=self.task)
        if settings.lens == LOGIT or view is not None:
            return found
        read = _read_by_lens()
        plain = {
            name: values for name, values in found.curves.by_name().items() if name not in read
        }
        return replace(found, curves=Curves.of(plain))

    def prompt_metrics(self, settings: SummarySettings) -> dict[str, Any]:
        """The other metrics as the lens reads them, with or without token 0."""
        with_first, view = settings.include_first_token, self._through(settings.lens)
        found = self.metrics if with_first else self.metrics | self.metrics_without_first
        if settings.lens == LOGIT:
            return found
        found = without(found, _READ)
        if view is None:
            return found
        return found | view.metrics | ({} if with_first else view.metrics_without_first)

    def can_have(self, metric: Metric) -> bool:
        """Whether its run could have a metric."""
        # The answer's first token is not kept: needs ask whether there is one, behind another.
        start = self.n_tokens - bool(self.prompt.answer)
        tokens = Tokens(np.zeros(self.n_tokens, int), [""] * self.n_tokens, start)
        run = RunResult(self.model, self.prompt, self.settings, tokens)
        return not metric.why_unavailable(run)

    def _through(self, lens: str) -> LensRecord | None:
        return (self.lenses or {}).get(lens)


def record_key(
    cell: Cell, number: int, prompt: Prompt, settings: RunSettings, before: Sequence[Prompt]
) -> str:
    """A hash of everything that a record depends on but the weights.

    Args:
        cell: the model and the task.
        number: which prompt of the cell it is.
        prompt: the prompt.
        settings: of the sweep's runs.
        before: the prompts of the cell before this one; they matter where the random
            positions of skip effects run on from prompt to prompt (paper, metric 2).
    """
    texts = [prompt.text for prompt in before] if depends_on_former_prompts(settings) else []
    return make_key(
        "record",
        layout=SCHEMA,
        model=spec_keys(cell.model),
        task=[cell.task.name, cell.task.level],
        number=number,
        text=prompt.text,
        answer=prompt.answer,
        settings=settings_keys(settings),
        before=hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
    )


def record_of(result: RunResult, key: str, cell: Cell, number: int) -> Record:
    """What is kept of a finished run."""
    # What a metric had finished before it went wrong would be taken for all of it.
    result = replace(result, measured=without(result.measured, result.unavailable))
    plain = _read_through(result, LOGIT)
    return Record(
        key=key,
        task=cell.task.name,
        level=cell.task.level,
        number=number,
        model=result.model,
        prompt=result.prompt,
        n_tokens=len(result.tokens),
        settings=result.settings,
        curves=plain.curves,
        curves_without_first=plain.curves_without_first,
        loss=result.loss,
        metrics=plain.metrics,
        metrics_without_first=plain.metrics_without_first,
        unavailable=dict(result.unavailable),
        failed=result.failed,
        provenance=result.provenance,
        lenses=_lenses(result) or None,
    )


def _lenses(result: RunResult) -> dict[str, LensRecord]:
    """What fitted lenses read of a run."""
    return {
        lens: _read_through(result, lens)
        for lens in LENSES
        if lens != LOGIT and fitted_lens(through(result, lens)) is not None
    }


def _read_through(result: RunResult, lens: str) -> LensRecord:
    """What a lens reads of a run."""
    view = through(result, lens)
    curves, curves_without_first = (
        None if lacks_curves(view) else prompt_curves(view, first) for first in (True, False)
    )
    metrics, without_first = (_metrics(result, lens, first) for first in (True, False))
    if lens != LOGIT:
        metrics, without_first = (
            {name: value for name, value in found.items() if name in _READ}
            for found in (metrics, without_first)
        )
    differing = {name: value for name, value in without_first.items() if value != metrics.get(name)}
    return LensRecord(curves, curves_without_first, metrics, differing)


def record_bytes(record: Record) -> bytes:
    """The record as JSON, with a checksum; unknown numbers are null."""
    body = _plain(record)
    return _dump({"checksum": checksum(body), **body}).encode() + b"\n"


def read_record(data: bytes) -> Record:
    """The record in a file's bytes.

    Raises:
        DamagedRecord: they are not what `record_bytes` wrote.
    """
    try:
        body = parse_json(data)
        signed = body.pop("checksum")
        # A number that is not finite is nothing that `record_bytes` writes.
        whole = signed == checksum(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedRecord("it is not whole") from error
    if not whole:
        raise DamagedRecord("its checksum is wrong")
    try:
        return _record(body)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise DamagedRecord("it is of another version") from error


def run_settings_from(values: dict[str, Any]) -> RunSettings:
    """Settings of a run from JSON values; skipped layers, which no sweep has, are left out."""
    known = {field.name for field in fields(RunSettings)} - {"skipped"}
    return RunSettings(**_with_tuples({name: values[name] for name in known & set(values)}))


def _metrics(result: RunResult, lens: str, include_first_token: bool) -> dict[str, Any]:
    settings = SummarySettings(include_first_token=include_first_token, lens=lens)
    summary = summary_dict([result], settings)
    return {name: value for name, value in summary.items() if name not in _TOLD_ELSEWHERE}


def _plain(value: Any) -> Any:
    """JSON values: dataclasses as objects without what is None, NaN and infinity as null."""
    if isinstance(value, Curves):
        return _plain(value.by_name())
    if isinstance(value, Record | LensRecord | PromptCurves):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _plain(pair) for name, pair in pairs if pair is not None}
    if isinstance(value, ModelInfo | Prompt | RunSettings | Provenance):
        return _plain(asdict(value))
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _record(body: dict[str, Any]) -> Record:
    model = dict(body["model"])
    spec = spec_from(model.pop("spec"))
    provenance = body.get("provenance")
    record = Record(
        **{name: body[name] for name in ("key", "task", "level", "number", "n_tokens")},
        model=ModelInfo(spec=spec, **_with_tuples(model)),
        prompt=Prompt(**body["prompt"]),
        settings=run_settings_from(body["settings"]),
        curves=_curves(body.get("curves")),
        curves_without_first=_curves(body.get("curves_without_first")),
        loss=float("nan") if body.get("loss") is None else body["loss"],
        metrics=body["metrics"],
        metrics_without_first=body["metrics_without_first"],
        unavailable=body["unavailable"],
        failed=tuple(body.get("failed", ())),
        provenance=None if provenance is None else Provenance(**provenance),
        lenses={name: _lens_record(found) for name, found in body.get("lenses", {}).items()}
        or None,
    )
    _check(checked(record))
    return record


def _check(record: Record) -> None:
    """See that a sweep's tables can be made of a record.

    Raises:
        ValueError, TypeError, LookupError: they cannot.
    """
    n_layers = record.model.n_layers
    views: list[Record | LensRecord] = [record, *(record.lenses or {}).values()]
    for view in views:
        for found in (view.curves, view.curves_without_first):
            for name, values in found.curves.by_name().items() if found is not None else ():
                # A lens reads the output too.
                if values.shape != (n_layers + (name in _read_by_lens()),):
                    raise ValueError(f"{name} is not of {n_layers} layers")
    for lens in (LOGIT, *(record.lenses or {})):
        every, rest = (
            SummarySettings(include_first_token=first, lens=lens) for first in (True, False)
        )
        prompts, others = (
            [(record.prompt_metrics(settings), record.n_tokens)] for settings in (every, rest)
        )
        for metric in ALL:
            metric.cell_means(prompts)
            metric.cell_evidence(prompts, others, n_layers)


def _read_by_lens() -> set[str]:
    """Names of the curves that a lens reads."""
    return {*logit_lens.METRIC.curves, *(rule.curve for rule in rules.ALL if rule.through_lens)}


def _lens_record(body: dict[str, Any]) -> LensRecord:
    return LensRecord(
        _curves(body.get("curves")),
        _curves(body.get("curves_without_first")),
        body["metrics"],
        body["metrics_without_first"],
    )


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples, and the dataclasses of settings and models no lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _curves(body: dict[str, Any] | None) -> PromptCurves | None:
    if body is None:
        return None
    # None in a list becomes NaN.
    curves = {name: np.array(values, np.float64) for name, values in body["curves"].items()}
    return PromptCurves(body["n_tokens"], Curves.of(curves))


def checksum(body: dict[str, Any]) -> str:
    """What a record's JSON object is signed with.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    return hashlib.sha256(_dump(body).encode()).hexdigest()


def _dump(value: dict[str, Any]) -> str:
    # Everything beyond ASCII is escaped, half of a surrogate pair too.
    return json.dumps(value, allow_nan=False, sort_keys=True)
