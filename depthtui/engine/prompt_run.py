"""One run through a loaded model: fills its result row by row, and emits each row."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from depthtui.data.arrays import MetricResult
from depthtui.data.declared import check_declared, check_part
from depthtui.data.lens import LensValues, LogitLens
from depthtui.data.pieces import Piece
from depthtui.data.protocol import Event, Halted, MetricRows, Pace, Rows
from depthtui.data.run import Prompt, PromptTokens, RunResult, without
from depthtui.engine import memory
from depthtui.engine.control import Control
from depthtui.engine.metric_context import MetricContext, OwnOrders, UntrainedParts
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import end_tokens, tokenise, tokenise_choices
from depthtui.errors import ENDS, DepthError, RunStopped, first_line, named_line
from depthtui.lenses.maps import LensMaps
from depthtui.metrics import logit_lens
from depthtui.metrics.choices import chosen_layers
from depthtui.metrics.estimates import TimeLeft, seconds_of, with_metric
from depthtui.metrics.layer_order import LayerOrder
from depthtui.metrics.logit_lens.compute import Logits, read_depth, read_lens
from depthtui.metrics.ranking import Ranked
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS
from depthtui.metrics.spec import Metric
from depthtui.models.devices import execution_device
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.parallel.ending import end_unless_met_by_all
from depthtui.plugins import PluginError, plugin_of
from depthtui.tracing.activations import (
    ActivationRecorder,
    Activations,
    record_patches,
    record_residuals,
)
from depthtui.tracing.batching import in_smaller_parts
from depthtui.tracing.patches import Patches
from depthtui.tracing.trace import LayerActivations, trace

_SECONDS_BETWEEN_ROWS = 0.04
"""Rows are gathered for this long, so that a GPU is seldom waited for to copy them."""

_SECONDS_BETWEEN_PARTS = 0.2
"""The least time between partial values of the slower metrics."""


@dataclass(eq=False)
class PromptRun:
    """One run: fills the result row by row, and emits each row.

    Attributes:
        model: the model.
        result: the run's result, still empty.
        control: stops the run.
        emit: called with each row.
        run_id: the id of the run in its events.
        on_bug: logs the details of an error of a metric.
        make_room: frees memory that was used during a halt.
        computed_with_lens: the metrics that were computed with the lens, and their values.
    """

    model: ReadyModel
    result: RunResult
    control: Control
    emit: Callable[[Event], None]
    run_id: int
    on_bug: Callable[[Exception], object] = traceback.print_exception
    make_room: Callable[[], None] = lambda: None
    computed_with_lens: list[tuple[Metric, MetricResult]] = field(default_factory=list, init=False)
    _activations: Activations | None = field(default=None, init=False)
    _waiting: list[dict[str, torch.Tensor]] = field(default_factory=list, init=False)
    _time_left: TimeLeft | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        result = self.result
        self.sizes = replace(
            self.model.sizes(len(result.tokens), result.answer_start),
            chosen=chosen_layers(result),
            bisects=bool(result.settings.erase_search),
        )
        self._ids = torch.from_numpy(result.tokens.ids)
        self._started = time.perf_counter()
        self._of_layers = [m for m in METRICS if m.stage == "layers" and m.name in result.measured]
        self._kernels = {metric.name: metric.kernel() for metric in self._of_layers}
        self._emitted_at = self._started

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def attempt(self, metric: str, work: Callable[[], None]) -> bool:
        """Do a metric's work, in smaller parts where the memory runs out; False where it failed.

        An error costs this metric, not the run.
        """
        try:
            in_smaller_parts(work)
        except RunStopped:
            raise
        except DepthError as error:
            # The message becomes part of a sentence.
            self.result.unavailable[metric] = str(error).rstrip(".")
        except Exception as error:
            end_unless_met_by_all(error)
            self.result.fail(metric, self._failure_reason(METRIC_BY_NAME[metric], error))
        return metric not in self.result.unavailable

    def _failure_reason(self, metric: Metric, error: Exception) -> str:
        if is_out_of_memory(error):
            model, placement = self.model, self.model.placement
            return memory.ran_out(metric, model.info, self.sizes, placement, placement.rooms())
        self.on_bug(error)
        return f"it met an error, of which the log has the details ({named_line(error)})"

    def forward(self, keep_writes: bool, beside: Sequence[Metric] = ()) -> Activations:
        """Run the model, reduce each layer as it comes, then read the lens.

        `beside` are metrics to compute with the lens.
        """
        between = self.model.anatomy.between.keys()
        recorder = ActivationRecorder(self.model.info.n_layers, keep_writes, between=between)
        patches = self._patches()

        def on_layer(layer: LayerActivations) -> None:
            recorder.add(layer)
            if (layer.layer, "layer") in patches:
                recorder.put_residual(layer.layer, layer.h)
            self._add_layer(layer)
            if self.control.halts:
                self._halt(layer.layer, recorder)

        is_timed = not (self.control.stepping or not self.result.settings.is_clean)
        began = time.perf_counter()
        trace(
            self.model.loaded.model,
            self.model.anatomy,
            self._placed(self.result.tokens),
            on_layer,
            self.control.checkpoint,
            self.result.settings.skipped,
            self.result.settings.repeated,
            patches,
        )
        self.flush()
        self.make_room()
        self._activations = recorder.activations()
        if is_timed:
            # Reading a value of the last layer waits until the device has finished.
            self._activations.residual[-1, -1, 0].item()
            per_token = (time.perf_counter() - began) / len(self._ids)
            pace = replace(self.model.pace, forward=per_token, tokens=len(self._ids))
            self._emit_pace(pace)
        self._read_lens(self._activations.residual, beside)
        return self._activations

    def start_over(self) -> None:
        """Forget the layers that have run."""
        self._waiting.clear()
        self.result.layers_done = 0

    def read_activations(self, activations: Activations, beside: Sequence[Metric] = ()) -> None:
        """Use the layers of cached activations instead of running the model."""
        self._activations = activations
        for layer in activations.layers():
            self.control.checkpoint()
            self._add_layer(layer)
        self.flush()
        self._read_lens(activations.residual, beside)

    def emit_cached(self, cached: RunResult) -> None:
        """Use the metrics of the pass from a cached result, and emit them."""
        self.result.layers_done = cached.layers_done
        for name, value in cached.measured.items():
            self.result.put(name, value)
            self._emit_rows(name, 0, value)

    def context(
        self,
        cached: Callable[[], Activations | None],
        lens: Callable[[str], LensMaps],
        order: Callable[[Piece], LayerOrder | None],
        own_orders: OwnOrders = lambda piece: None,
        guess: Callable[..., np.ndarray | None] = lambda is_draft=False: None,
        known_untrained: Callable[[], float | None] = lambda: None,
        untrained_parts: UntrainedParts = lambda report: None,
    ) -> MetricContext:
        """The context of the kernels of this run's on-demand metrics.

        `cached` returns the cached activations, where this run recorded none; the others are those
        of `MetricContext`.
        """

        def recorded_pass() -> Activations:
            return self._activations or cached() or self._record()

        return MetricContext(
            self.model.loaded.model,
            self.model.anatomy,
            self.model.placement,
            self.sizes,
            self.result,
            self.control.checkpoint,
            self._report_part,
            self.model.baselines,
            recorded_pass,
            self.model.can_read_on,
            self._answer_ids,
            self._choices,
            end_tokens(self.model.loaded),
            self.model.vocabulary.texts,
            lens,
            order,
            own_orders,
            guess,
            known_untrained,
            untrained_parts,
            self.model.loaded.base,
        )

    def _answer_ids(self, prompt: Prompt) -> np.ndarray:
        """The token ids of another prompt's answer, `[A]`."""
        model, template = self.model, self.result.settings.chat_template
        tokens = tokenise(model.loaded.tokenizer, prompt, template, model.vocabulary)
        return tokens.ids[tokens.answer_start :]

    def _choices(self) -> list[tuple[np.ndarray, int]]:
        """The token ids with each of the prompt's choices, and where it begins."""
        model, settings = self.model, self.result.settings
        texts = tokenise_choices(model.loaded.tokenizer, self.result.prompt, settings.chat_template)
        for ids, _ in texts:
            model.check_ids(ids)
        return texts

    def preparation(self, metric: Metric) -> Callable[[float], None]:
        """A function that reports the share done of a metric's preparation, and the time left."""
        time_left = TimeLeft(time.perf_counter(), 0.0)

        def report_share(share: float) -> None:
            self._emit_part(metric.name, None, round(100 * share), 100, share, time_left)

        return report_share

    def _record(self) -> Activations:
        model = self.model
        return record_residuals(
            model.loaded.model,
            model.anatomy,
            self._placed(self.result.tokens),
            self.control.checkpoint,
        )

    def _patches(self) -> Patches:
        """The states of the source text that the run's settings put in."""
        model, source, cells = self.model, self.result.source, self.result.settings.patched
        if source is None or not cells:
            return {}
        ids, check = self._placed(source), self.control.checkpoint
        return record_patches(model.loaded.model, model.anatomy, ids, cells, check)

    def _placed(self, tokens: PromptTokens) -> torch.Tensor:
        """Token ids on the device of the embeddings."""
        embedding = self.model.loaded.model.get_input_embeddings()
        return torch.from_numpy(tokens.ids).to(execution_device(embedding))

    def compute(self, metric: Metric, context: MetricContext, partial: MetricResult | None) -> None:
        """Compute a metric, continuing a partial value, and report the time that it takes.

        Values that an earlier attempt finished are not computed again.

        Raises:
            DepthError: not all of its values are numbers; the value so far is kept.
        """
        partial = self.result.measured.get(metric.name, partial)
        expected = seconds_of(metric, self.result, self.model.pace)
        seconds_left = -1.0 if expected is None else expected
        self.emit(MetricRows(self.run_id, metric.name, None, 0, 0, self.seconds, seconds_left))
        began = time.perf_counter()
        self._time_left = TimeLeft(began, None if partial is not None else 0.0, expected)
        context.metric = metric.name
        value = _computed(metric, context, partial)
        seconds, self._time_left = time.perf_counter() - began, None
        self.emit_whole(metric, value)
        if partial is None:
            self._emit_pace(with_metric(self.model.pace, metric, self.result, seconds))
        if not value.is_whole:
            dtype = self.model.info.dtype
            hint = "" if dtype == "float32" else "The dtype float32 has larger numbers."
            raise DepthError(f"some of its values are no numbers in {dtype}.", hint)

    def draft(self, metric: Metric, context: MetricContext) -> None:
        """Compute a draft of a metric, which its kernel reports, before its order is found."""
        context.metric = metric.name
        _computed(metric, context, None)

    def _check(self, metric: Metric, value: object) -> None:
        """Check a result of a plug-in: the pipe would refuse a wrong one together with the run.

        Raises:
            PluginError: it is of another type, or its arrays are of other sizes.
        """
        plugin = plugin_of("metric", metric.name)
        if plugin is None:
            return
        assert metric.result is not None
        if not isinstance(value, metric.result):
            kind, declared = type(value).__name__, metric.result.__name__
            raise PluginError(plugin, f"made a value of type {kind}, not {declared}")
        try:
            check_declared(value)
            check_part(value, self.result)
            _check_members(value, self.result)
        except ENDS:
            raise
        except BaseException as error:
            raise PluginError(plugin, f"made a wrong result: {first_line(error)}") from error

    def emit_whole(self, metric: Metric, value: MetricResult) -> None:
        """Put a finished metric into the result, and emit it."""
        self._check(metric, value)
        self.result.put(metric.name, value)
        self._emit_part(metric.name, value, 1, 1, 1.0)

    def _report_part(
        self,
        metric: str,
        value: MetricResult | None,
        done: int,
        total: int,
        share: float,
        at_once: bool,
    ) -> None:
        """Emit a part of a metric, as its kernel reports it."""
        if value is not None:
            self._check(METRIC_BY_NAME[metric], value)
        self._emit_part(metric, value, done, total, share, at_once=at_once)

    def _emit_part(
        self,
        metric: str,
        value: MetricResult | None,
        done: int,
        total: int,
        share: float,
        time_left: TimeLeft | None = None,
        at_once: bool = False,
    ) -> None:
        now = time.perf_counter()
        time_left = time_left or self._time_left
        is_due = at_once or done == total
        if is_due or now - self._emitted_at >= _SECONDS_BETWEEN_PARTS:
            self._emitted_at = now
            seconds_left = -1.0 if time_left is None else time_left.at(now, share)
            self.emit(
                MetricRows(self.run_id, metric, value, done, total, self.seconds, seconds_left)
            )

    def emit_prepared(self, metrics: tuple[str, ...]) -> None:
        """Emit the metrics whose one-time preparation is done for the model."""
        if metrics != self.model.pace.prepared:
            self._emit_pace(replace(self.model.pace, prepared=metrics))

    def _emit_pace(self, pace: Pace) -> None:
        self.model.pace = pace
        self.emit(pace)

    def _emit_rows(self, metric: str, first: int, rows: MetricResult, from_token: int = 0) -> None:
        layers_done = self.result.layers_done
        self.emit(Rows(self.run_id, metric, first, rows, layers_done, self.seconds, from_token))

    def flush(self) -> None:
        """Emit the waiting rows of layers."""
        if not self._waiting:
            return
        first, layer_rows = self.result.layers_done, self._waiting
        self._waiting = []
        self.result.layers_done = first + len(layer_rows)
        self._emitted_at = time.perf_counter()
        for metric in self._of_layers:
            values = torch.stack([layer[metric.name].to("cpu") for layer in layer_rows]).numpy()
            assert metric.result is not None
            rows = metric.result(*(values[:, place] for place in range(values.shape[1])))
            self.result.measured[metric.name].put(first, rows)
            self._emit_rows(metric.name, first, rows)

    def _add_layer(self, layer: LayerActivations) -> None:
        """Reduce a layer to its rows: `[fields, T]` of every metric of this stage."""
        rows: dict[str, torch.Tensor] = {}
        for name, kernel in list(self._kernels.items()):

            def reduce(name: str = name, kernel: Callable[..., torch.Tensor] = kernel) -> None:
                rows[name] = kernel(layer, self.model.info.parallel)

            if not self.attempt(name, reduce):
                self._leave_out(name)
        if not self._kernels:
            self.result.layers_done = layer.layer + 1
            return
        self._waiting.append(rows)
        if time.perf_counter() - self._emitted_at >= _SECONDS_BETWEEN_ROWS:
            self.flush()

    def _leave_out(self, metric: str) -> None:
        """Stop reducing layers for a metric that failed at one."""
        self.flush()
        del self._kernels[metric]
        self._of_layers = [
            kernel_metric for kernel_metric in self._of_layers if kernel_metric.name != metric
        ]
        self.result.measured = without(self.result.measured, [metric])

    def _halt(self, layer: int, recorder: ActivationRecorder) -> None:
        """Emit the results of this layer, then wait for a key."""
        self.flush()
        unembedding = self.model.anatomy.unembedding
        if self.result.get(LogitLens) is not None and unembedding is not None:
            for depth in (0, 1) if layer == 0 else (layer + 1,):
                rows = read_depth(
                    unembedding,
                    self.model.anatomy.readable(depth, recorder.residual),
                    self._ids,
                    self.result.settings.lens_top_k,
                    self.control.checkpoint,
                )
                self._add_lens(depth, 0, rows)
        began = time.perf_counter()
        try:
            self.control.wait(lambda: self.emit(Halted(self.run_id, layer)))
        finally:
            # The time of a halt is no computing time.
            self._started += time.perf_counter() - began

    def _read_lens(self, residual: torch.Tensor, beside: Sequence[Metric]) -> None:
        unembedding = self.model.anatomy.unembedding
        if self.result.get(LogitLens) is None or unembedding is None:
            return
        name, top_k = logit_lens.METRIC.name, self.result.settings.lens_top_k
        emit, checkpoint = self._add_lens, self.control.checkpoint

        def read_all() -> None:
            sizes = len(residual), len(self._ids)
            reducers = [_LensReducer(metric, *sizes, checkpoint) for metric in beside]

            def add(first: int, from_token: int, lens: Logits, output: Logits) -> None:
                for reducer in reducers:
                    reducer.add(first, from_token, lens, output)

            depths = self.model.anatomy.all_readable(residual.unbind())
            read_lens(unembedding, depths, self._ids, top_k, emit, checkpoint, add)
            values = ((reducer.metric, reducer.value) for reducer in reducers)
            self.computed_with_lens = [
                (metric, value) for metric, value in values if value is not None
            ]

        if not self.attempt(name, read_all):
            self.result.measured = without(self.result.measured, [name])

    def _add_lens(self, first: int, from_token: int, rows: LensValues[torch.Tensor]) -> None:
        logit_lens_values = self.result.get(LogitLens)
        assert logit_lens_values is not None
        arrays = {name: value.numpy() for name, value in vars(rows).items()}
        lens, emitted = LogitLens(**arrays), logit_lens_values.vocabulary
        new_ids = (id_ for id_ in lens.listed_ids if id_ not in emitted)
        lens.vocabulary = self.model.vocabulary.texts(new_ids)
        logit_lens_values.put(first, lens, from_token)
        self._emit_rows(logit_lens.METRIC.name, first, lens, from_token)


def _computed(metric: Metric, context: MetricContext, partial: MetricResult | None) -> Any:
    """The value of a metric's kernel.

    Raises:
        DepthError: the kernel raised what would end the program.
    """
    try:
        return metric.kernel()(context, partial)
    except (Exception, *ENDS):
        raise
    except BaseException as error:
        raise DepthError(f"its kernel raised {named_line(error)}") from error


def _check_members(value: MetricResult, result: RunResult) -> None:
    """Check what a result computes from its arrays.

    Raises:
        ValueError: its ranking has another shape; or the error of its code.
    """
    _ = value.is_whole
    if isinstance(value, Ranked):
        shape, declared = np.shape(value.useful), (result.model.n_layers, len(result.tokens))
        if shape != declared:
            raise ValueError(f"the shape of useful is {shape}, not {declared}")


class _LensReducer:
    """A metric that is computed with the lens; the lens continues where the metric fails.

    A metric that failed is then computed alone, and its error is reported if it fails again.

    Attributes:
        metric: the metric.
        value: its value, once the lens was read; None where the metric failed.
    """

    def __init__(
        self, metric: Metric, depths: int, tokens: int, checkpoint: Callable[[], None]
    ) -> None:
        self.metric = metric
        self._reducer = metric.reducer()(depths, tokens, checkpoint)

    @property
    def value(self) -> MetricResult | None:
        return None if self._reducer is None else self._reducer.value

    def add(self, first: int, from_token: int, lens: Logits, output: Logits) -> None:
        """Add a part of the lens."""
        reducer = self._reducer
        if reducer is None:
            return
        try:
            in_smaller_parts(lambda: reducer.add(first, from_token, lens, output))
        except RunStopped:
            raise
        except Exception:
            self._reducer = None
