"""What a metric is: everything that depthtui knows of one, as one value."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from depthtui.data.arrays import MetricResult
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.data.verdict import Evidence

if TYPE_CHECKING:
    from depthtui.metrics.pooling import Pooled

Stage: TypeAlias = Literal["layers", "lens", "replay", "derived"]
"""When a metric is computed: while each layer runs, when the lens reads the residual stream of
the same pass, on the recorded pass afterwards, or from another metric's arrays."""

Need: TypeAlias = Callable[[RunResult], str]
"""Says why a run cannot have a metric; empty where it can."""

Values: TypeAlias = Callable[[RunResult], np.ndarray | None]

PromptMetrics: TypeAlias = Sequence[tuple[Mapping[str, Any], int]]
"""What `summary.json` holds of each prompt of a sweep's cell, and the prompt's tokens."""


_WIDTHS_AT_ONCE = 24
"""How many vectors of the residual stream's width a block holds per token: MLPs are the widest."""


_WIDTHS_SAVED = 12
"""How many of them a layer keeps per token for a backward pass, at least: Llamas 13, GPT-2 22."""


@dataclass(frozen=True)
class Sizes:
    """What the memory of a run depends on.

    Attributes:
        layers: L.
        tokens: T, those of the prompt.
        answer: how many of them are the answer.
        width: d, of the residual stream.
        vocabulary: number of logits.
        item: bytes of a number in the model's dtype.
        cached_width: numbers that a layer keeps of a token, in keys and in values each.
        scores: attention scores that a block holds for each pair of tokens; 0 where it
            never holds them all.
        chosen: the layers that slower metrics go through, in order; empty for all of them.
        bisects: whether residual erasure searches for a depth, instead of going through all.
    """

    layers: int
    tokens: int
    answer: int
    width: int
    vocabulary: int
    item: int
    cached_width: int = 0
    scores: int = 0
    chosen: tuple[int, ...] = ()
    bisects: bool = False

    @property
    def token_bytes(self) -> int:
        """About how much one token takes while it is in a block."""
        # Scores are held once in the model's dtype, and once in the softmax's.
        scores = self.scores * self.tokens * (self.item + 4)
        return self.width * self.item * _WIDTHS_AT_ONCE + scores

    @property
    def saved_bytes(self) -> int:
        """How much a layer keeps of one token for a backward pass, at least."""
        # In float32 the softmax's own result is what the values are multiplied with.
        scores = self.scores * self.tokens * (4 if self.item == 4 else self.item + 4)
        return self.width * self.item * _WIDTHS_SAVED + scores

    @property
    def residual_bytes(self) -> int:
        """The residual stream at one depth, `[T, d]`."""
        return self.tokens * self.width * self.item

    def of_layers(self, bytes_: int, first: int = 0) -> tuple[int, ...]:
        """So much for each layer from the first one on, `[L]`."""
        return (0,) * first + (bytes_,) * (self.layers - first)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that something takes at least, working in the smallest parts.

    Attributes:
        first: on the device of the first layer.
        layers: for each layer, on its device; empty for nothing.
        block: on each device with layers, while one of them runs.
        head: on the LM head's device.
    """

    first: int = 0
    layers: tuple[int, ...] = ()
    block: int = 0
    head: int = 0

    def __add__(self, other: MemoryNeed) -> MemoryNeed:
        return MemoryNeed(
            self.first + other.first,
            tuple(map(sum, zip_longest(self.layers, other.layers, fillvalue=0))),
            max(self.block, other.block),
            self.head + other.head,
        )


def row_of_logits(sizes: Sizes) -> MemoryNeed:
    """The memory of what compares a few outputs, one position at a time."""
    return MemoryNeed(head=4 * 4 * sizes.vocabulary)


def saving_backward(sizes: Sizes) -> MemoryNeed:
    """The memory of a backward pass that keeps the residuals alone, and one block at a time.

    It ends at the first of the chosen layers.
    """
    logits = sizes.vocabulary * (sizes.item + 4 * 4)
    layers = sizes.of_layers(sizes.residual_bytes, min(sizes.chosen, default=0))
    return MemoryNeed(layers=layers, block=sizes.tokens * sizes.saved_bytes, head=logits)


def backward(sizes: Sizes) -> MemoryNeed:
    """The memory of one backward pass from the answer's probability through all layers."""
    # Logits are there once in the model's dtype and four times in float32: with their
    # logarithms, and the gradients of both.
    logits = sizes.answer * sizes.vocabulary * (sizes.item + 4 * 4)
    return MemoryNeed(layers=sizes.of_layers(sizes.tokens * sizes.saved_bytes), head=logits)


@dataclass(frozen=True)
class Measure:
    """One thing that a heatmap can draw: rows are layers, columns tokens.

    Attributes:
        name: its key, such as `layer_norm_ratio`.
        title: a short title, such as `Layer contribution`.
        formula: the formula and unit, such as `|c| / |h|`.
        values: result -> `[rows, T]`, NaN where unknown, or None where unavailable.
        diverging: whether the sign matters (drawn symmetrically about zero).
        limits: fixed ends of the scale, or None where the data decide.
        reads_residual: whether row l is the residual entering layer l (L + 1 rows), not
            layer l (L rows).
        by_token: whether columns are tokens, and not layers.
        leading: whether a report shows it before the others.
        floor: result -> the largest value that rounding alone can make (the noise floor).
        note: result, row -> what else to say about a row, or empty.
        rule: the rule of effective depth that reads it, whose layer a heatmap marks; or empty.
        reading: what its values say, a sentence; empty where the metric's own says it.
        metric: name of the metric that it is part of; the list of metrics fills it in.
    """

    name: str
    title: str
    formula: str
    values: Values
    diverging: bool = False
    limits: tuple[float, float] | None = None
    reads_residual: bool = False
    by_token: bool = True
    leading: bool = False
    floor: Callable[[RunResult], float] = lambda result: 0.0
    note: Callable[[RunResult, int], str] = lambda result, row: ""
    rule: str = ""
    metric: str = ""
    reading: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of the table of other metrics."""

    title: str
    value: str
    remark: str = ""


def noise_floor(of: str, values: str) -> Finding:
    """The line that says what an intervention finds where nothing is changed.

    Args:
        of: the metric's title.
        values: the floor with its unit, in words.
    """
    remark = "of a run with nothing changed; what is not larger is not told apart from rounding"
    return Finding(f"{of}, noise floor", values, remark)


@dataclass(frozen=True)
class LayerValues:
    """What there is for each layer, `[L]`, or for each depth, `[L+1]`.

    Attributes:
        title: heads a column of numbers.
        values: NaN where unknown.
        caption: formula and unit, above the bars of a figure; without one there is no figure.
        reading: how to read the figure; empty where that is as the metric's own.
    """

    title: str
    values: np.ndarray
    caption: str = ""
    reading: str = ""


@dataclass(frozen=True)
class LayerMap:
    """A picture of layers x layers.

    Attributes:
        measure: how it is drawn.
        values: `[L, L]`, NaN where there is nothing to draw.
        title: over the picture.
        caption: what the colours stand for.
        up, across: what rows and columns are.
    """

    measure: Measure
    values: np.ndarray
    title: str
    caption: str
    up: str
    across: str


def no_evidence(value: Any, pooled: Pooled) -> list[Evidence]:
    """What a metric says of used layers that tells no count."""
    return []


def no_cell_evidence(
    prompts: PromptMetrics, other_prompts: PromptMetrics, n_layers: int
) -> list[Evidence]:
    """What a metric says of used layers of which a sweep's records hold nothing."""
    return []


@dataclass(frozen=True)
class Metric:
    """One metric, or what follows from another one's arrays.

    All that runs, keeps, draws and reports metrics loops over `metrics.METRICS` and asks these.

    Attributes:
        name: its name on the command line and in results.
        title: a short title.
        tells: what it tells, one sentence.
        formula: how it is computed, in Markdown.
        reading: what its values say, a sentence or two.
        look_for: what to look for in them, and what they do not say.
        source: where it comes from.
        cost: what it costs, in words.
        work: what it costs a run, in forward passes of the whole prompt through all layers; a
            tenth, roughly, where it only reads the residuals that the pass recorded.
        stage: when it is computed.
        result: the dataclass of its arrays; None for what is derived from another's.
        of: the metric that it is derived from.
        compute: where its kernel is, as `module:function`; imported in the engine alone.
        beside_lens: where its reducer is, as `module:class`, if it can be reduced from the logits
            that the logit lens reads, while they are there: made with how many depths and tokens
            there are and a checkpoint, `add` takes each part, `value` is the metric then.
        needs: what a run must have for it.
        reruns_layers: whether layers run again, with the keys and values of the recorded pass in
            memory; else the residuals of the pass are all that it reads.
        through: the kind of fitted lens that it reads, `affine` or `jacobian`, which is found or
            fitted before it; empty for none.
        memory: what it takes beside the weights and the recorded pass.
        depends_on: names of the fields of `RunSettings` that change its values.
        cache_key: result -> what stands for `depends_on` in its cache key, where the settings
            themselves would tell runs apart that are the same.
        measures: what a heatmap can draw of it.
        curves: arrays of `result` that are averaged over tokens into `data.depth.Curves`.
        pool: runs of one model -> its values over all of them, or None.
        summary: pooled values -> its keys of `summary.json`.
        in_records: whether a sweep's records keep these keys.
        findings: pooled values -> its lines in the table of other metrics.
        per_layer: pooled values -> its columns and bars by layer.
        maps: pooled values -> its pictures of layers x layers.
        ranks_layers: whether its result is `ranking.Ranked`: says which layers to leave out.
        cell_means: a cell's prompts -> means for a sweep's tables, by title.
        evidence: pooled values -> how many layers are used by it, with what that hangs on.
        cell_evidence: a cell's prompts, the same with token 0 left out or counted where it was
            not, and L -> the same of what a sweep's records hold of it.
        moved_by_rounding: whether 16 bits change its values as much as they are large, so that
            devices can be compared by it in float32 alone.
    """

    name: str
    title: str
    tells: str
    formula: str
    reading: str = ""
    look_for: str = ""
    source: str = ""
    cost: str = ""
    work: Callable[[RunResult], float] = lambda result: 0.1
    stage: Stage = "replay"
    result: type[MetricResult] | None = None
    of: str = ""
    compute: str = ""
    beside_lens: str = ""
    needs: tuple[Need, ...] = ()
    reruns_layers: bool = True
    through: str = ""
    memory: Callable[[Sizes], MemoryNeed] = lambda sizes: MemoryNeed()
    depends_on: tuple[str, ...] = ()
    cache_key: Callable[[RunResult], dict[str, Any]] | None = None
    measures: tuple[Measure, ...] = ()
    curves: tuple[str, ...] = ()
    pool: Callable[[Pooled], Any] = lambda pooled: None
    summary: Callable[[Any, Pooled], dict[str, Any]] = lambda value, pooled: {}
    in_records: bool = True
    findings: Callable[[Any, Pooled], list[Finding]] = lambda value, pooled: []
    per_layer: Callable[[Any], list[LayerValues]] = lambda value: []
    maps: Callable[[Any], list[LayerMap]] = lambda value: []
    ranks_layers: bool = False
    cell_means: Callable[[PromptMetrics], dict[str, float]] = lambda prompts: {}
    evidence: Callable[[Any, Pooled], list[Evidence]] = no_evidence
    cell_evidence: Callable[[PromptMetrics, PromptMetrics, int], list[Evidence]] = no_cell_evidence
    moved_by_rounding: bool = False

    @property
    def on_demand(self) -> bool:
        """Whether it is computed only where it is asked for, on a recorded pass."""
        return self.stage == "replay"

    @property
    def gives_evidence(self) -> bool:
        """Whether it tells how many layers are used."""
        return self.evidence is not no_evidence

    @property
    def gives_cell_evidence(self) -> bool:
        """Whether it tells that of a sweep's cell."""
        return self.cell_evidence is not no_cell_evidence

    @property
    def needs_answer(self) -> bool:
        """Whether the prompt must have an answer."""
        return answer in self.needs

    def kernel(self) -> Callable[..., Any]:
        """The function that computes it; imports torch."""
        return _imported(self.compute)

    def reducer(self) -> Callable[..., Any]:
        """The class that reduces it beside the lens; imports torch."""
        return _imported(self.beside_lens)

    def why_unavailable(self, result: RunResult) -> str:
        """Why a run cannot have it; empty where it can."""
        return next((reason for need in self.needs if (reason := need(result))), "")

    def variant(self, settings: RunSettings) -> tuple[object, ...]:
        """What its values depend on, of the settings."""
        return tuple(getattr(settings, name) for name in self.depends_on)


def _imported(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def array(
    kind: type[MetricResult], name: str, rows: slice = slice(None)
) -> Callable[[RunResult], np.ndarray | None]:
    """The values of a measure that is an array of a result, or some rows of it."""

    def values(result: RunResult) -> np.ndarray | None:
        found = result.get(kind)
        return None if found is None else np.asarray(getattr(found, name))[rows]

    return values


def floor_of(kind: type[MetricResult]) -> Callable[[RunResult], float]:
    """The noise floor of a measure: the field `floor` of a result; 0 where there is none."""

    def floor(result: RunResult) -> float:
        return float(getattr(result.get(kind), "floor", 0.0))

    return floor


def clean_run(result: RunResult) -> str:
    """A need: nothing is left out."""
    return "it is measured on clean runs, not in a what-if" if result.settings.skipped else ""


def lens(result: RunResult) -> str:
    """A need: final norm and LM head are known."""
    return result.model.lens_missing


def split(result: RunResult) -> str:
    """A need: attention and MLP can be told apart, where only one of them is skipped."""
    return result.model.split_missing if result.settings.skip_part != "layer" else ""


def answer(result: RunResult) -> str:
    """A need: the prompt has an answer, and a token before it."""
    if result.answer_start >= len(result.tokens):
        return "the prompt has no known answer"
    if result.answer_start < 1:
        return "the answer begins at the first token, so nothing predicts it"
    return ""


def head(result: RunResult) -> float:
    """What the LM head costs at every token, in forward passes of the prompt through all layers.

    Each costs a multiplication a parameter and token.
    """
    model = result.model
    in_layers = sum(model.layer_parameters) or model.parameters
    return model.vocab_size * model.d_model / max(1, in_layers)


def weighted_mean(values: Sequence[tuple[float | None, int]]) -> float:
    """The mean of those that are known; NaN where none is."""
    known = [
        (value, weight)
        for value, weight in values
        if value is not None and np.isfinite(value) and weight > 0
    ]
    if not known:
        return float("nan")
    return float(np.average([value for value, _ in known], weights=[weight for _, weight in known]))
