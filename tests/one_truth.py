"""The results that each part of the program gives of the same prompts, as plain values to compare.

A *mouth* is such a part, for example a run's summary or a sweep's report. A *case* is some
prompts of one model, made by builders. A *reading* is a lens, thresholds, and whether token 0
counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from depthtui.api.runs import Runs
from depthtui.data.arrays import arrays_of
from depthtui.data.depth import Curves, DepthEstimate
from depthtui.data.lens import AffineLens, JacobianLens, LogitLens
from depthtui.data.plain import to_plain
from depthtui.data.run import Prompt, PromptTokens, RunResult, WrittenAnswer
from depthtui.data.run_settings import (
    LENSES,
    RunSettings,
    Skip,
    SummarySettings,
    Writing,
)
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import reading_of, span_verdicts
from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.context_depth import ContextDepth
from depthtui.metrics.direct_effects import DirectEffects, later_pairs
from depthtui.metrics.early_exit import CONFIDENCE
from depthtui.metrics.reduced_lens import CONFIDENCES
from depthtui.metrics.registry import METRICS
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.records import Record, read_record, record_bytes, record_of
from depthtui.sweep.report.json import sweep_json
from depthtui.sweep.state import Outcome
from depthtui.sweep.summary import CellSummary, SweepSummary, summarise_sweep
from depthtui.tui.state.session import RunState, Session, SessionRun
from depthtui.tui.state.sweep_rows import SweepViewBuilder
from depthtui.tui.state.sweeping import sweep_of_session
from depthtui.tui.state.verdicts import LastReading
from tests.builders.models import tiny_model
from tests.builders.readings import summary_of
from tests.builders.results import full_result, lacking
from tests.builders.written import columns_of

TOLERANCE = 1e-9
"""Relative and absolute difference of floats, whose sums may be added in another order."""

# What is compared ---------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """Verdict and effective depths of some prompts, as plain values.

    Attributes:
        sentence: the verdict's sentence; empty without a verdict.
        warnings: those that stand before it.
        headline: the layers that suffice; empty where they were not measured.
        evidence: the verdict's evidence, in its order, by measure.
        depths: the effective depths with their intervals, by rule.
        missing: the metrics that the verdict lacks; None where a mouth does not show them.
        tokens, effective_prompts: sizes of the pooled means; None where a mouth does not show them.
        curves: the pooled means; None where a mouth does not show them.
    """

    sentence: str
    warnings: Sequence[str]
    headline: Mapping[str, Any]
    evidence: Mapping[str, Mapping[str, Any]]
    depths: Mapping[str, Mapping[str, Any]]
    missing: Sequence[str] | None = None
    tokens: int | None = None
    effective_prompts: float | None = None
    curves: Mapping[str, Any] | None = None


def differences(found: Any, expected: Any, where: str = "") -> Iterator[str]:
    """Each place at which a value differs from the expected one, in words.

    Words and integers are compared exactly. A mouth may leave out parts of a statement and columns
    of a row of evidence or depths, but no row.
    """
    if isinstance(found, Statement):
        for name, value in vars(found).items():
            if value is not None:
                yield from differences(value, getattr(expected, name), name)
    elif isinstance(found, Mapping) and isinstance(expected, Mapping):
        is_row = "measure" in expected or "rule" in expected
        for key in found if is_row else {**expected, **found}:
            yield from differences(found.get(key), expected.get(key), f"{where}.{key}")
        if where == "evidence" and found.keys() == expected.keys() and [*found] != [*expected]:
            yield f"{where}: the order is {[*found]}, not {[*expected]}"
    elif isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        if len(found) != len(expected):
            yield f"{where}: {found!r}, not {expected!r}"
        else:
            for place, pair in enumerate(zip(found, expected, strict=True)):
                yield from differences(*pair, f"{where}[{place}]")
    elif not _same(found, expected):
        yield f"{where}: {found!r}, not {expected!r}"


def _same(found: Any, expected: Any) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        both_unknown = math.isnan(found) and math.isnan(expected)
        return both_unknown or math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(found == expected)


def _evidence(found: Verdict | None) -> dict[str, dict[str, Any]]:
    rows = () if found is None else found.evidence
    return {row.measure: {**asdict(row), "counts": row.counts} for row in rows}


def _depths(estimates: Sequence[DepthEstimate]) -> dict[str, dict[str, Any]]:
    return {one.rule: _depth(one) for one in estimates}


def _depth(one: DepthEstimate) -> dict[str, Any]:
    once = one.prompt_weighted
    weighted = None if once is None else _depth(once)
    counts = {"count": one.count, "count_interval": one.count_interval}
    return asdict(one) | counts | {"prompt_weighted": weighted}


def _curves(curves: Curves) -> dict[str, Any]:
    found: dict[str, Any] = to_plain(curves)
    return found


def _in_files(body: Mapping[str, Any] | None, depths: Sequence[Mapping[str, Any]]) -> Statement:
    """The part of a JSON file that has a verdict and depths."""
    rows = [] if body is None else body["evidence"]
    return Statement(
        "" if body is None else body["sentence"],
        () if body is None else tuple(body["warnings"]),
        {} if body is None else body["headline"] or {},
        {row["measure"]: {"layers": None, "prompts": None, **row} for row in rows},
        {row["rule"]: {k: v for k, v in row.items() if k != "published"} for row in depths},
    )


def _of(found: Verdict | None, estimates: Sequence[DepthEstimate], **rest: Any) -> Statement:
    missing = None if found is None else list(found.missing_metrics)
    sentence = "" if found is None else found.sentence
    warnings = () if found is None else found.warnings
    headline = {} if found is None or found.headline is None else asdict(found.headline)
    return Statement(
        sentence, warnings, headline, _evidence(found), _depths(estimates), missing, **rest
    )


def _of_cell(cell: CellSummary | None) -> Statement:
    assert cell is not None
    return _of(
        cell.verdict,
        cell.depths,
        tokens=cell.n_tokens,
        effective_prompts=cell.effective_prompts,
        curves=_curves(cell.curves),
    )


# The mouths ---------------------------------------------------------------------

Results = tuple[RunResult, ...]


def run(results: Results, settings: SummarySettings) -> Statement:
    """Verdict and depths of a run, with which every other mouth is compared."""
    reading = reading_of(results, settings)
    return _of(
        reading.verdict,
        reading.depths,
        tokens=reading.n_tokens,
        effective_prompts=reading.effective_prompts,
        curves=_curves(reading.curves),
    )


def summary_file(results: Results, settings: SummarySettings) -> Statement:
    """`summary.json`."""
    body = summary_of(results, settings=settings)
    return _in_files(body.get("verdict"), body["effective_depth"])


def session_file(results: Results, settings: SummarySettings) -> Statement:
    """The same prompts in a session's `summary.json`, pooled beside a run that is not."""
    body = summary_of(results, results[:1], settings=settings)
    group = body["groups"][0]
    return _in_files(group.get("verdict"), group["effective_depth"])


def rows_of_runs(results: Results, settings: SummarySettings) -> list[Statement]:
    """The row of each run in `summary.json`."""
    rows = summary_of(results, settings=settings)["runs"]
    return [_in_files(row.get("verdict"), row["effective_depth"]) for row in rows]


def analyze(results: Results, settings: SummarySettings) -> Statement:
    """Verdict and depths of the runs that `depthtui.analyze` returns."""
    runs = Runs(results, settings)
    return _of(runs.verdict(), tuple(runs.depths().values()))


def explorer(results: Results, settings: SummarySettings) -> Statement:
    """Verdict and depths in the explorer's panes, of one run."""
    last, (result,) = LastReading(), results
    last.of(result, settings, False)
    draft = last.begin()
    assert draft is not None
    last.finish(draft, draft.completed())
    assert last.reading is not None
    return _of(last.verdict, last.reading.depths)


def sweep(results: Results, settings: SummarySettings) -> Statement:
    """Verdict and depths of a sweep whose records were written to files and read back."""
    (cell,) = sweep_summary(results, settings).cells
    return _of_cell(cell)


def sweep_file(results: Results, settings: SummarySettings) -> Statement:
    """`report.json` of a sweep, read back."""
    body = json.loads(sweep_json(sweep_summary(results, settings), ()))
    (cell,) = body["cells"]
    found = _in_files(cell["verdict"], cell["effective_depth"])
    return replace(
        found,
        tokens=cell["tokens"],
        effective_prompts=cell["effective_prompts"],
        curves=cell["curves"],
    )


def explorer_sweep(results: Results, settings: SummarySettings) -> Statement:
    """The one row of the explorer's sweep, pooled over its tasks."""
    (row,) = SweepViewBuilder().rows(outcome(results, settings), "models")
    return _of_cell(row.summary)


def explorer_session(results: Results, settings: SummarySettings) -> Statement:
    """The same of the runs of a session, whose records were never written."""
    made = _of_session(tuple(map(_Same, results)))
    plan = replace(made.plan, summary=settings)
    (row,) = SweepViewBuilder().rows(replace(made, plan=plan), "models")
    return _of_cell(row.summary)


Mouth = Callable[[Results, SummarySettings], Statement]

MOUTHS: dict[str, Mouth] = {
    "summary.json": summary_file,
    "session's summary.json": session_file,
    "analyze": analyze,
    "explorer": explorer,
    "sweep": sweep,
    "report.json": sweep_file,
    "explorer_sweep": explorer_sweep,
    "explorer_session": explorer_session,
}
"""Every mouth but `run`, by name."""


_IN_SESSIONS = ("one", "three", "written", "two_tasks")


def covers(mouth: str, name: str) -> bool:
    """Whether a mouth can show a case of so many prompts and tasks, and is tried on it."""
    match mouth:
        case "explorer":
            return len(prompts_of(name)) == 1
        case "explorer_session":
            return name in _IN_SESSIONS
        case "sweep" | "report.json":
            return name != "two_tasks"
    return True


# A sweep of finished runs -------------------------------------------------------


def outcome(results: Results, settings: SummarySettings) -> Outcome:
    """A sweep's end, of one model on the tasks of these prompts."""
    model = results[0].model.spec
    records: dict[Cell, list[Record]] = {}
    for cell, record in records_of(tuple(map(_Same, results))):
        records.setdefault(cell, []).append(record)
    tasks = tuple(cell.task for cell in records)
    return Outcome(SweepPlan((model,), tasks, results[0].settings, settings), records, [])


def sweep_summary(results: Results, settings: SummarySettings) -> SweepSummary:
    """The summary of a sweep of these prompts, made once."""
    return _summary_of(tuple(map(_Same, results)), settings)


@cache
def _summary_of(results: tuple[_Same, ...], settings: SummarySettings) -> SweepSummary:
    return summarise_sweep(outcome(tuple(one.result for one in results), settings))


class _Same:
    """A run as the key of a cache: the very object."""

    def __init__(self, result: RunResult) -> None:
        self.result = result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.result is other.result

    def __hash__(self) -> int:
        return id(self.result)


@cache
def records_of(results: tuple[_Same, ...]) -> tuple[tuple[Cell, Record], ...]:
    """The records of finished runs, written and read, each with its cell."""
    counts: dict[Cell, int] = {}
    found = []
    for result in (one.result for one in results):
        prompt = result.prompt
        cell = Cell(result.model.spec, TaskChoice(prompt.task, prompt.level))
        number = counts[cell] = counts.get(cell, -1) + 1
        record = record_of(result, f"{prompt.task} {number}", cell, number)
        found.append((cell, read_record(record_bytes(record))))
    return tuple(found)


@cache
def _of_session(results: tuple[_Same, ...]) -> Outcome:
    session = Session()
    session.runs = [
        SessionRun(
            n, n, one.model, one.prompt, one.settings, datetime.now(), one, RunState.FINISHED
        )
        for n, one in enumerate((same.result for same in results), 1)
    ]
    grid = sweep_of_session(session, SummarySettings())
    assert grid is not None
    return grid.outcome


# Means --------------------------------------------------------------------------


def sweep_means(results: Results, settings: SummarySettings) -> dict[str, float]:
    """The sweep's table of other metrics."""
    (cell,) = sweep_summary(results, settings).cells
    return cell.means


def run_means(results: Results, settings: SummarySettings) -> dict[str, float]:
    """The same quantities from the summary of a run of these prompts."""
    body = summary_of(results, settings=settings)
    at = CONFIDENCES.index(CONFIDENCE)
    places: dict[str, tuple[str | int, ...]] = {
        "settling depth": ("settling", "mean_depth"),
        "settling late": ("settling", "late_share"),
        "prediction depth": ("prediction_depth", "mean"),
        f"layers saved at {CONFIDENCE:g}": ("early_exit", "layers_saved", at),
        f"agreement at {CONFIDENCE:g}": ("early_exit", "agreement", at),
        "context depth": ("context_depth", "depth"),
        "context depth, later tokens": ("context_depth", "later_tokens", "depth"),
        "sequential depth": ("order", "depth"),
        "layers that keep nine tenths": ("left_out", "layer", "count"),
        "mean depth": ("left_out", "layer", "mean_depth"),
        "parts kept": ("left_out", "part", "count"),
        "DepthScore": ("depth_score", "output"),
    }
    means = {title: _at(body, place) for title, place in places.items()}
    answers = body.get("accuracy") or {}
    kinds = [kind for kind in ("chosen", "written") if kind in answers]
    for kind in kinds:
        right, questions = (_at(answers, (kind, name)) for name in ("right", "questions"))
        means[f"answers right, {kind}"] = right / questions
    if kinds:
        means["layers that the answers need"] = _at(answers, (kinds[0], "n"))
    direct = [(one.get(DirectEffects), len(one.tokens)) for one in results]
    largest = [
        (np.nanmean(later_pairs(one.layers.astype(float))), n)
        for one, n in direct
        if one is not None
    ]
    if largest:
        values, weights = zip(*largest, strict=True)
        means["direct effect"] = float(np.average(values, weights=weights))
    losses = [(one.loss, len(one.tokens) - 1) for one in results if np.isfinite(one.loss)]
    if losses:
        values, weights = zip(*losses, strict=True)
        means["loss"] = float(np.average(values, weights=weights))
    return {title: float(value) for title, value in means.items() if value is not None}


def _at(body: Any, place: Sequence[str | int]) -> Any:
    for key in place:
        if body is None or (isinstance(key, str) and key not in body):
            return None
        body = body[key]
    return body


# A written answer -----------------------------------------------------------------


def answer(settings: SummarySettings) -> tuple[Statement, Statement]:
    """Statements of the answer of a run, and of a run of the tokens at which it is read alone.

    The runs skip a layer, so that no metric is missing from the verdict of either. Their loss is no
    worse than chance, of which a run is warned.
    """
    metrics = ("logit_lens", "settling", "affine_lens", "jacobian_lens")
    whole = measured(3, 48, 40, settings=RunSettings(metrics=metrics, skipped=(Skip(0, "layer"),)))
    for part in whole.measured.values():
        if isinstance(part, LogitLens):
            part.next_log_probability[:] = -1
    positions, tokens = slice(whole.answer_start - 1, len(whole.tokens) - 1), whole.tokens
    texts = tokens.texts[positions]
    alone = replace(
        whole,
        tokens=PromptTokens(tokens.ids[positions], texts, len(texts)),
        measured={name: columns_of(part, positions) for name, part in whole.measured.items()},
    )
    of_run = run((alone,), replace(settings, include_first_token=True))
    return _of(span_verdicts(whole, settings)["answer"], ()), replace(of_run, depths={})


# The readings -------------------------------------------------------------------

THRESHOLDS = ((0.5, 0.3), (0.3, 0.2), (0.8, 0.6))
"""Thresholds of the KL and the overlap rule: the paper's, lower ones, higher ones."""

READINGS = (
    *(
        SummarySettings(include_first_token=zero, lens=lens)
        for lens, zero in product(LENSES, (True, False))
    ),
    *(
        SummarySettings(kl, overlap, zero, lens)
        for lens, zeros in zip(LENSES, ((True, False), (False, True), (True, False)), strict=True)
        for zero, (kl, overlap) in zip(zeros, THRESHOLDS[1:], strict=True)
    ),
)
"""Every lens with and without token 0, and each of them at other thresholds too."""

FEW = tuple(READINGS[place] for place in (0, 7, 8, 10))
"""Four readings with every lens, every threshold, with token 0 and without."""


def reading_id(settings: SummarySettings) -> str:
    """Such as `affine-without_0-kl0.5-ov0.3`."""
    zero = "with_0" if settings.include_first_token else "without_0"
    return f"{settings.lens}-{zero}-kl{settings.kl_threshold:g}-ov{settings.overlap_threshold:g}"


# The cases ----------------------------------------------------------------------

LAYERS = 12
_READ_BY_RULES = ("contributions", "logit_lens", "affine_lens", "jacobian_lens")
_IN_TABLES = ("settling", "skip_effects", "direct_effects")
EVERY_METRIC = tuple(
    metric.name
    for metric in METRICS
    if metric.gives_evidence or metric.name in _READ_BY_RULES or metric.name in _IN_TABLES
)


def measured(
    seed: int,
    tokens: int = 20,
    answer: int = 4,
    task: str = "addition",
    settings: RunSettings | None = None,
) -> RunResult:
    """A run that has every metric: curves that turn with depth, and noise of its own."""
    words = [f" w{place}" for place in range(tokens)]
    asked = words[: tokens - answer]
    prompt = Prompt("".join([f"{seed}", *words]), "".join(words[tokens - answer :]), task, "2")
    result = full_result(
        prompt,
        tiny_model(LAYERS),
        replace(settings or RunSettings(metrics=EVERY_METRIC), lens_top_k=2),
        tokens=PromptTokens(np.arange(tokens, dtype=np.int64) + 300, words, len(asked)),
    )
    rng = np.random.default_rng(seed)
    for metric, part in result.measured.items():
        for name, values in arrays_of(part):
            if values.dtype == np.float32 and not name.startswith("written_"):
                values *= rng.uniform(0.5, 1.5, values.shape)
                if values.ndim == 2 and metric not in (*_READ_BY_RULES, "context_depth"):
                    values *= rng.lognormal(0, 0.9, (len(values), 1))
    erasure = result.get(ResidualErasure)
    if erasure is not None:
        erasure.effect[:] *= np.linspace(1, 0, LAYERS + 1)[:, None] ** 2
    return result


def many(count: int, shortest: int = 14, **options: Any) -> Results:
    """Prompts of different length."""
    return tuple(measured(n, shortest + 4 * n, **options) for n in range(count))


def below_noise() -> Results:
    """Six prompts whose context is worth less than rounding."""
    results = many(6)
    for result in results:
        context = result.get(ContextDepth)
        assert context is not None
        context.without_context[context.start - 1 :] = 0.4
        context.unchanged[context.start - 1 :] = 1.0
    return results


def without_answer() -> Results:
    return (*many(2), measured(7, 17, answer=0))


def failed(metric: str, keep: bool, results: Results) -> Results:
    """Prompts on the last of which a metric failed: half-way, or with nothing known of it."""
    one = results[-1]
    one.fail(metric, "the memory ran out")
    if keep:
        for _, values in arrays_of(one.measured[metric]):
            if values.dtype == np.float32:
                values[LAYERS // 2 :] = np.nan
    else:
        one.measured = {name: part for name, part in one.measured.items() if name != metric}
    return results


def lens_lacking() -> Results:
    """Prompts one of which no fitted lens has read."""
    first, *others = many(3)
    return (lacking(first, "affine_lens", "jacobian_lens"), *others)


def with_gaps() -> Results:
    """Fitted lenses without a map of two depths."""
    results = many(3)
    for result, kind in product(results, (AffineLens, JacobianLens)):
        lens = result.get(kind)
        assert lens is not None
        for values in (lens.kl, lens.overlap, lens.entropy, lens.divergence):
            values[[0, 3]] = np.nan
    return results


def short() -> Results:
    """A single token, two of them, and a longer prompt: without token 0 the first has none left,
    and the second none that predicts another."""
    quick = RunSettings(metrics=("contributions", "logit_lens", "similarity", "settling"))
    slow = replace(quick, metrics=(*quick.metrics, "ablation", "order"))
    lengths = ((1, quick), (2, slow), (15, slow))
    return tuple(measured(n, n, answer=0, settings=settings) for n, settings in lengths)


def not_finite() -> Results:
    """Prompts one of which overflowed in the fourth layer."""
    results = many(3)
    for part in results[2].measured.values():
        for _, values in arrays_of(part):
            if values.dtype == np.float32 and len(values) in (LAYERS - 1, LAYERS, LAYERS + 1):
                values[3] = np.nan
    return results


def written() -> Results:
    """Prompts whose answers a model wrote."""
    results = many(3)
    for result in results:
        ids = tuple(result.tokens.ids[result.answer_start :].tolist())
        result.prompt = replace(result.prompt, written=WrittenAnswer(ids, Writing(), "limit"))
    return results


def wrong_answers() -> Results:
    """Answers none of which is right."""
    results = many(3)
    for result in results:
        answers = result.get(Accuracy)
        assert answers is not None
        answers.written_right[:] = 0
    return results


def some_layers() -> Results:
    """Slower metrics that went through four of the layers."""
    results = many(3, settings=RunSettings(metrics=EVERY_METRIC, layers="0-3"))
    for part in (part for result in results for part in result.measured.values()):
        if hasattr(part, "chosen"):
            part.chosen = (0, 1, 2, 3)
            for name in ("loss_change", "right", "output", "layers", "mean_layers", "effect"):
                if isinstance(getattr(part, name, None), np.ndarray):
                    getattr(part, name)[4:] = np.nan
        if isinstance(part, Accuracy):
            part.without[4:] = np.nan
    return results


def searched() -> Results:
    """Residual erasure of which a search was asked for on one prompt."""
    results = many(3)
    erasure = results[0].get(ResidualErasure)
    assert erasure is not None
    erasure.threshold = 0.1
    return results


CASES: dict[str, Callable[[], Results]] = {
    "one": lambda: (measured(3, 23),),
    "one_without_answer": lambda: (measured(7, 17, answer=0),),
    "three": lambda: many(3),
    "six": lambda: many(6),
    "below_noise": below_noise,
    "without_answer": without_answer,
    "ablation_failed_half_way": lambda: failed("ablation", keep=True, results=many(3)),
    "one_failed_half_way": lambda: failed("ablation", keep=True, results=(measured(3, 23),)),
    "one_lens_failed": lambda: failed("logit_lens", keep=False, results=(measured(3, 23),)),
    "contributions_failed": lambda: failed("contributions", keep=False, results=many(3)),
    "order_failed": lambda: failed("order", keep=False, results=many(3)),
    "lens_failed": lambda: failed("logit_lens", keep=False, results=many(3)),
    "lens_lacking": lens_lacking,
    "lens_with_gaps": with_gaps,
    "of_the_pass": lambda: many(3, settings=RunSettings(metrics=("contributions", "logit_lens"))),
    "contributions": lambda: many(3, settings=RunSettings(metrics=("contributions",))),
    "sublayers": lambda: many(3, settings=RunSettings(metrics=EVERY_METRIC, skip_part="mlp")),
    "some_layers": some_layers,
    "short": short,
    "not_finite": not_finite,
    "no_right_answer": wrong_answers,
    "searched": searched,
    "written": written,
    "two_tasks": lambda: (*many(3), *many(3, 28, task="multiplication", answer=6)),
}
"""Prompts of one model, by name."""


@cache
def prompts_of(name: str) -> Results:
    """A case, made once."""
    return CASES[name]()
