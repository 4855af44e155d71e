"""The specification of a metric: everything that depthtui knows of it, as one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.explanation import Explanation
from depthtui.data.pieces import Piece
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.metrics.costs import MemoryNeed, Sizes
from depthtui.metrics.evidence import LayerCount
from depthtui.metrics.needs import Need, answer, choices_or_answer, layers_here
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced

Stage: TypeAlias = Literal["layers", "lens", "replay", "derived"]
"""When a metric is computed: while each layer runs, when the lens reads the residual stream of
the same pass, on the recorded pass afterwards, or from another metric's arrays."""

Columns: TypeAlias = Literal["tokens", "layers", "heads"]
"""The kinds of columns of a heatmap."""

Values: TypeAlias = Callable[[RunResult], np.ndarray | None]


@dataclass(frozen=True)
class Measure:
    """Values that a heatmap can draw: rows are layers, columns mostly tokens.

    Attributes:
        name: its key, such as `layer_norm_ratio`.
        title: a short title, such as `Layer contribution`.
        formula: the formula and unit, such as `|c| / |h|`.
        values: result -> `[rows, T]`, NaN where unknown, or None where unavailable; `[L, L]` where
            columns are layers, `[L, H, T]` where they are the heads at one of the tokens.
        diverging: whether the sign matters (drawn symmetrically about zero).
        limits: fixed ends of the scale, or None where the data decide.
        reads_residual: whether row l is the residual entering layer l (L + 1 rows), not
            layer l (L rows).
        columns: the kind of columns.
        leading: whether a report shows it before the others.
        floor: result -> the largest value that rounding alone can make (the noise floor).
        note: result, row -> a remark on a row, or empty.
        rule: the rule of effective depth that reads it, whose layer a heatmap marks; or empty.
        reading: the meaning of its values, a sentence; empty where the metric's own is enough.
        sentence: result -> the meaning of all its values in a sentence, or empty.
        command: result -> the option of a shell command that applies them, to copy; or empty.
        metric: name of the metric that computes it; where empty, the list of metrics fills in the
            metric that it is part of.
        explained: its explanation where it is not that of its metric.
        hatched: result -> where its values say little, a mask like `values`, or None; NaN there.
        read_by: result, pooled -> its values where lens and thresholds of the reading decide them;
            then `values` returns None.
    """

    name: str
    title: str
    formula: str
    values: Values
    diverging: bool = False
    limits: tuple[float, float] | None = None
    reads_residual: bool = False
    columns: Columns = "tokens"
    leading: bool = False
    floor: Callable[[RunResult], float] = lambda result: 0.0
    note: Callable[[RunResult, int], str] = lambda result, row: ""
    rule: str = ""
    metric: str = ""
    reading: str = ""
    sentence: Callable[[RunResult], str] = lambda result: ""
    command: Callable[[RunResult], str] = lambda result: ""
    explained: Explanation | None = None
    hatched: Values = lambda result: None
    read_by: Callable[[RunResult, Pooled], np.ndarray | None] | None = None

    @property
    def by_token(self) -> bool:
        """Whether columns are tokens."""
        return self.columns == "tokens"


@dataclass(frozen=True)
class Finding:
    """One line of the table of other metrics.

    Attributes:
        title, value, remark: its cells.
        command: the beginning of a shell command that applies it, to copy; empty for none.
    """

    title: str
    value: str
    remark: str = ""
    command: str = ""


def noise_floor(of: str, values: str) -> Finding:
    """The finding of the noise floor: the effect of an intervention that changes nothing.

    Args:
        of: the metric's title.
        values: the floor with its unit, in words.
    """
    remark = "of a run with nothing changed; what is not larger is not told apart from rounding"
    return Finding(f"{of}, noise floor", values, remark)


@dataclass(frozen=True)
class LayerValues:
    """Values for each layer, `[L]`, or for each depth, `[L+1]`.

    Attributes:
        title: the head of a column of numbers.
        values: NaN where unknown.
        caption: formula and unit, above the bars of a figure; without one there is no figure.
        reading: how to read the figure; empty where the metric's own text is enough.
        of_layer: whether each value is of one layer by itself, so that layers of a type have a
            mean.
    """

    title: str
    values: np.ndarray
    caption: str = ""
    reading: str = ""
    of_layer: bool = False


@dataclass(frozen=True)
class LayerMap:
    """A picture of layers x layers, or layers x heads.

    Attributes:
        measure: the measure that defines how it is drawn.
        values: `[L, L]` or `[L, H]`, NaN where there is nothing to draw.
        title: the title over the picture.
        caption: the meaning of the colours.
        up, across: the meaning of rows and columns.
        hatched: where the values say little, a mask like `values`; None for nowhere.
    """

    measure: Measure
    values: np.ndarray
    title: str
    caption: str
    up: str
    across: str
    hatched: np.ndarray | None = None


def no_evidence(value: Any, pooled: Pooled) -> list[LayerCount]:
    """The evidence of a metric without a count of used layers: none."""
    return []


def no_summary(value: Any, pooled: Pooled) -> None:
    """The part of a metric in `summary.json` that stands elsewhere there: none."""


@dataclass(frozen=True)
class Metric:
    """One metric, or one derived from another's arrays.

    All code that runs, stores, draws and reports metrics loops over `metrics.registry.METRICS`.

    Attributes:
        name: its name on the command line and in results.
        title: a short title.
        description: what it measures, one sentence.
        formula: how it is computed, in Markdown.
        reading: the meaning of its values, a sentence or two.
        look_for: what to look for in its values, and what they do not mean.
        source: its source.
        cost: its cost, in words.
        work: result -> its cost, in forward passes of the whole prompt through all layers; about
            a tenth where it only reads the residuals that the pass recorded.
        overhead: result -> its cost beside `work`, as a number of tokens through all layers:
            measured on two cores, and counted until the metric was timed on the model.
        stage: when it is computed.
        result: the dataclass of its arrays; None for a derived metric.
        derived_from: the metric that it is derived from.
        compute: its kernel as `module:function`, if it is not the function `compute` in
            `metrics/NAME/compute.py`; imported only in the engine.
        lens_reducer: its reducer as `module:class`, if it can be reduced from the logits of the
            logit lens while they are in memory: made with the number of depths, the number of
            tokens and a checkpoint, `add` takes each part, and then `value` is the metric.
        needs: what a run must have for it.
        reruns_layers: whether layers run on from the recorded pass, whose keys and values are in
            memory; else it reads only the residuals of the pass.
        lens_kind: the kind of fitted lens that it reads, `affine` or `jacobian`, which is found or
            fitted before it; empty for none.
        needs_order: the kind of pieces that it leaves out in an order, which is found before it;
            None for no order.
        has_draft: result -> whether its kernel makes a draft before that order is found.
        preparation: result -> the cost of its preparation, once for a model, in forward passes of
            one token through all layers; 0 for none.
        memory: its memory beside the weights and the recorded pass.
        depends_on: names of the fields of `RunSettings` that change its values.
        cache_key: result -> the values in its cache key in place of `depends_on`, where equal runs
            may differ in their settings.
        recalled_with: the settings under which a stored result is looked for where none was asked
            for, the best first; each replaces some of the run's own.
        measures: its measures, which a heatmap can draw.
        reduced: the class that a prompt's result is reduced to; None where nothing is pooled.
        reduce: result, run, tokens -> the values that pooling needs of the tokens that count; None
            where none of these tokens has a value. `tokens` is a slice of the prompt.
        of_lens: whether it is a function of a lens: then the chosen lens's values are pooled.
        curves: names of the arrays of `reduced`, and of values derived from them, that are
            curves over depth (see `data.depth.Curves`).
        pool: reduced values of the prompts that have any, and all prompts -> its values over all
            of them, or None. The reduced values of a derived metric are those of the metric that it
            is derived from: a lens has none until it has read every prompt.
        summary: pooled values -> its part of `summary.json`, under its name.
        findings: pooled values -> its lines in the table of other metrics.
        means: pooled values -> numbers for a sweep's tables, by title; NaN where unknown.
        per_layer: pooled values -> its columns and bars by layer.
        maps: pooled values -> its pictures of layers x layers or heads.
        evidence: pooled values -> its count of layers or depth, and what that was varied by.
        moved_by_rounding: whether rounding to 16 bits changes its values by as much as their size,
            so that devices can be compared by it only in float32.
        is_timed: whether its values are times of this machine, which no second run repeats.
    """

    name: str
    title: str
    description: str
    formula: str
    reading: str = ""
    look_for: str = ""
    source: str = ""
    cost: str = ""
    work: Callable[[RunResult], float] = lambda result: 0.1
    overhead: Callable[[RunResult], float] = lambda result: 0.0
    stage: Stage = "replay"
    result: type[MetricResult] | None = None
    derived_from: str = ""
    compute: str = ""
    lens_reducer: str = ""
    needs: tuple[Need, ...] = ()
    reruns_layers: bool = True
    lens_kind: str = ""
    needs_order: Piece | None = None
    has_draft: Callable[[RunResult], bool] = lambda result: False
    preparation: Callable[[RunResult], float] = lambda result: 0.0
    memory: Callable[[Sizes], MemoryNeed] = lambda sizes: MemoryNeed()
    depends_on: tuple[str, ...] = ()
    cache_key: Callable[[RunResult], dict[str, Any]] | None = None
    recalled_with: tuple[Mapping[str, Any], ...] = ({},)
    measures: tuple[Measure, ...] = ()
    reduced: type[Reduced] | None = None
    reduce: Callable[[Any, RunResult, slice], Reduced | None] = lambda result, run, tokens: None
    of_lens: bool = False
    curves: tuple[str, ...] = ()
    pool: Callable[[Sequence[Any], Pooled], Any] = lambda reduced, _: reduced[0].pooled(reduced)
    summary: Callable[[Any, Pooled], Any] = no_summary
    findings: Callable[[Any, Pooled], Iterable[Finding]] = lambda value, pooled: []
    means: Callable[[Any, Pooled], dict[str, float]] = lambda value, pooled: {}
    per_layer: Callable[[Any], list[LayerValues]] = lambda value: []
    maps: Callable[[Any], list[LayerMap]] = lambda value: []
    evidence: Callable[[Any, Pooled], list[LayerCount]] = no_evidence
    moved_by_rounding: bool = False
    is_timed: bool = False

    @property
    def on_demand(self) -> bool:
        """Whether it is computed only on demand, on a recorded pass."""
        return self.stage == "replay"

    @property
    def gives_evidence(self) -> bool:
        """Whether it has a count of layers or a depth for the verdict."""
        return self.evidence is not no_evidence

    @property
    def needs_answer(self) -> bool:
        """Whether the prompt must have an answer."""
        return not {answer, choices_or_answer}.isdisjoint(self.needs)

    def kernel(self) -> Callable[..., Any]:
        """The function that computes it; imports torch."""
        place = self.compute or f"depthtui.metrics.{self.name}.compute:compute"
        return cast(Callable[..., Any], resolve_name(place))

    def reducer(self) -> Callable[..., Any]:
        """The class that reduces it beside the lens; imports torch."""
        return cast(Callable[..., Any], resolve_name(self.lens_reducer))

    def why_unavailable(self, result: RunResult) -> str:
        """Why a run cannot have it; empty where it can."""
        reruns = self.on_demand and self.reruns_layers
        needs = (layers_here, *self.needs) if reruns else self.needs
        return next((reason for need in needs if (reason := need(result))), "")

    def variant(self, settings: RunSettings) -> tuple[object, ...]:
        """The values of the settings that its values depend on."""
        return tuple(getattr(settings, name) for name in self.depends_on)
