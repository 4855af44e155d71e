"""Fills the result of a run: from the cache where possible, else by computing it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np

from depthtui.data.pieces import Piece
from depthtui.data.run_settings import RunSettings
from depthtui.data.saved_session import PASS
from depthtui.engine import memory
from depthtui.engine.layer_orders import FINDING, LayerOrders
from depthtui.engine.lenses import LensChoice, Lenses, Report
from depthtui.engine.memory import Rooms
from depthtui.engine.metric_context import MetricContext
from depthtui.engine.prompt_run import PromptRun
from depthtui.engine.result_cache import ResultCache
from depthtui.errors import DepthError, RunStopped
from depthtui.lenses.maps import LensMaps
from depthtui.metrics import logit_lens
from depthtui.metrics.layer_order import MODEL_ORDER, LayerOrder
from depthtui.metrics.registry import LENS_REDUCED, OF_THE_PASS, ON_DEMAND
from depthtui.metrics.spec import Metric
from depthtui.models.out_of_memory import free_caches, is_out_of_memory
from depthtui.parallel.agreements import first_rank
from depthtui.tracing.activations import Activations
from depthtui.tracing.batching import ran_out

_Value = TypeVar("_Value")

_WRITING, _DRAFT = 0.1, 0.3
"""Writing the texts, and a draft as well, as shares of the work for an order."""

_QUICKER_THAN_DISK = ("cuda",)
"""Devices that run a prompt again faster than its activations are read; a CPU takes six times as
long and more."""


@dataclass(eq=False)
class Measurement:
    """All metrics that a run asks for; new values go into the cache after they are shown.

    Attributes:
        run: the run whose result is filled.
        cache: former results of that model.
        lenses: its fitted lenses.
        orders: the orders in which its layers are left out.
        activation_limit: most bytes of activations to cache; 0 for none.
        fresh: whether everything is computed even where the cache has it.
        states: activations that replace a pass; None to run the model.
        keys: cache keys of the parts of the result, by metric; `PASS` for the forward pass.
    """

    run: PromptRun
    cache: ResultCache
    lenses: Lenses
    orders: LayerOrders
    activation_limit: int
    fresh: bool
    states: Activations | None = None
    _to_save: list[Callable[[], None]] = field(default_factory=list, init=False)
    keys: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._result = self.run.result

    def fill(self, recall: bool) -> None:
        """Fill the result, until the run ends or is stopped.

        Args:
            recall: whether slower metrics that were not asked for are added where the cache has
                all of them.
        """
        started = datetime.now(UTC)
        try:
            self._measure_pass()
            if recall:
                self._recall()
            self._measure_on_demand()
            self._result.complete = True
            # Where the pass was not asked for, the metrics have run the layers.
            self._result.layers_done = self._result.model.n_layers
        except RunStopped:
            pass
        finally:
            self.run.flush()
        if self._to_save or self._result.provenance is None:
            self._result.provenance = self.run.model.provenance(started, self.run.seconds)

    def save(self) -> bool:
        """Put new values into the cache; False where the memory does not suffice for all."""
        stored = [_try_to_store(save) for save in self._to_save]
        return all(stored)

    def _save_later(self, save: Callable[..., None], *values: object) -> None:
        self._to_save.append(functools.partial(save, *values))

    def _name_key(self, metric: Metric, fit: str = "") -> None:
        self.keys[metric.name] = self.cache.metric_key(self._result, metric, fit)

    def _measure_pass(self) -> None:
        """Fill contributions and lens, from cached results, cached activations or a pass."""
        run, result = self.run, self._result
        if not set(OF_THE_PASS) & set(result.settings.metrics):
            return
        cached = None if self.fresh else self.cache.of_pass(result)
        if cached is not None:
            run.emit_cached(cached)
            self.keys[PASS] = self.cache.pass_key(result)
            assert cached.provenance is not None
            result.provenance = dataclasses.replace(cached.provenance, cached=True)
            return
        saves = self._saves_activations()
        recorded = self._recorded_before() if saves or self.states else None
        beside = [metric for metric in LENS_REDUCED if self._comes_with_lens(metric)]
        if recorded is not None:
            run.read_activations(recorded, beside)
        else:
            activations, saves = _forward(run, saves, beside)
            if saves:
                self._save_later(self.cache.save_activations, result, activations)
        provenance = self.run.model.provenance(datetime.now(UTC), run.seconds)
        stored_result = dataclasses.replace(
            result, complete=True, unavailable={}, failed=(), provenance=provenance
        )
        if stored_result.measured:
            # The key has no failed metric, so that a run without these finds the result.
            self.keys[PASS] = self.cache.pass_key(result)
            self._save_later(self.cache.save_pass, result, stored_result)
        for metric, value in run.computed_with_lens:
            run.emit_whole(metric, value)
            self._name_key(metric)
            self._save_later(self.cache.save_metric, result, metric, value)

    def _comes_with_lens(self, metric: Metric) -> bool:
        """Whether to compute a metric with the lens: it is asked for, possible and not cached."""
        is_requested = {metric.name, logit_lens.METRIC.name} <= set(self._result.settings.metrics)
        if not is_requested or metric.name in self._result.unavailable:
            return False
        if not self.fresh and self.cache.of_metric(self._result, metric) is not None:
            return False
        return not self._why_no_room(metric, self.run.model.placement.rooms())

    def _recall(self) -> None:
        """Add slower metrics that were not requested, where the cache has all of their values."""
        result = self._result
        for metric in ON_DEMAND:
            if metric.name in result.settings.metrics or metric.why_unavailable(result):
                continue
            fit = ""
            if metric.lens_kind:
                maps = self._stored_lens(metric.lens_kind)
                if maps is None:
                    continue
                fit = maps.fit.digest
            former, metrics = result.settings, (*result.settings.metrics, metric.name)
            for changes in metric.recalled_with:
                result.settings = dataclasses.replace(former, metrics=metrics, **changes)
                cached = self.cache.of_metric(result, metric, fit)
                if cached is not None and cached.is_whole:
                    self.run.emit_whole(metric, cached)
                    self._name_key(metric, fit)
                    break
                result.settings = former

    def _measure_on_demand(self) -> None:
        """Measure the slower metrics."""
        context = self.run.context(
            cached=self._recorded_before,
            lens=self._lens,
            order=self._order,
            own_orders=self._own_orders,
            guess=self._guess,
            known_untrained=self._known_untrained,
            untrained_parts=self._untrained_parts,
        )
        # Free memory, before the recorded pass takes its share.
        rooms = self.run.model.placement.rooms()
        prepared = self._emit_prepared()
        # No metric should wait while an order is found for another one.
        later = [
            metric for metric in ON_DEMAND if metric.needs_order and metric.name not in prepared
        ]
        for metric in (*(metric for metric in ON_DEMAND if metric not in later), *later):
            is_settled = metric.name in (self._result.measured.keys() | self._result.unavailable)
            if metric.name in self._result.settings.metrics and not is_settled:
                self._measure(metric, context, rooms)

    def _measure(self, metric: Metric, context: MetricContext, rooms: Rooms) -> None:
        """Fill a slower metric, from the cache or by computing; one unfinished is saved too."""
        run, result = self.run, self._result
        fit = ""
        if metric.lens_kind:
            if not self._has_lens(metric):
                return
            fit = self._lens(metric.lens_kind).fit.digest
        partial = None if self.fresh else self.cache.of_metric(result, metric, fit)
        if partial is not None and partial.is_whole:
            run.emit_whole(metric, partial)
            self._name_key(metric, fit)
            return
        if reason := self._why_no_room(metric, rooms):
            result.fail(metric.name, reason)
            return
        # A what-if leaves out its own layers alone.
        piece = metric.needs_order if result.settings.is_clean else None
        if piece is not None and not self._has_order(metric, piece, context, partial is None):
            return
        try:
            run.attempt(metric.name, functools.partial(run.compute, metric, context, partial))
        finally:
            value = result.measured.get(metric.name)
            if value is not None:
                self._name_key(metric, fit)
                self._save_later(self.cache.save_metric, result, metric, value, fit)

    def _why_no_room(self, metric: Metric, rooms: Rooms) -> str:
        model, run = self.run.model, self.run
        return memory.why_not(metric, model.info, run.sizes, model.placement, rooms)

    def _choice(self, kind: str) -> LensChoice:
        return LensChoice.of(kind, self._result.settings)

    def _lens(self, kind: str) -> LensMaps:
        """The fitted lens of a kind that the settings name."""
        return self.lenses.find_or_fit(
            self._choice(kind), lambda *_: None, self.run.control.checkpoint
        )

    def _stored_lens(self, kind: str) -> LensMaps | None:
        """A fitted lens if it exists; None also where it cannot be read: it was not asked for."""
        try:
            return self.lenses.stored(self._choice(kind))
        except DepthError:
            return None

    def _has_lens(self, metric: Metric) -> bool:
        """Find or fit the lens that a metric reads through; False where that fails."""
        stages: list[str] = []
        report_share = self.run.preparation(metric)

        def report(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages.append(stage)
            # Writing texts and fitting take about as long.
            report_share((len(stages) - 1 + done / max(1, total)) / 2)

        def work() -> None:
            choice = self._choice(metric.lens_kind)
            self.lenses.find_or_fit(choice, report, self.run.control.checkpoint)

        has_lens = self.run.attempt(metric.name, work)
        self._emit_prepared()
        return has_lens

    def _order(self, piece: Piece) -> LayerOrder | None:
        """The order in which pieces are left out; None for an order of the prompt's own tokens."""
        settings = self._result.settings
        return self.orders.stored(settings, piece=piece) if _finds_order(settings) else None

    def _own_orders(self, piece: Piece) -> tuple[LayerOrder, LayerOrder] | None:
        """The prompts' own orders beside the model's; None for those of the prompt's own tokens."""
        settings, checkpoint = self._result.settings, self.run.control.checkpoint
        return self.orders.beside_the_models(settings, checkpoint, piece)

    def _guess(
        self, is_draft: bool = False, report: Report = lambda stage, done, total: None
    ) -> np.ndarray | None:
        """The loss of each token by the guess without context; None for a model without texts."""
        checkpoint = self.run.control.checkpoint
        return _where_texts(lambda: self.orders.guess(report, checkpoint, is_draft))

    def _known_untrained(self) -> float | None:
        """The knowledge of an untrained model of this shape; None where it is not known."""
        checkpoint = self.run.control.checkpoint
        return _where_texts(lambda: self.orders.known_untrained(checkpoint))

    def _untrained_parts(self, report: Callable[[int, int], None]) -> tuple[int, ...] | None:
        """The parts that an untrained model of this shape takes; None where they are not known."""
        checkpoint = self.run.control.checkpoint
        return _where_texts(lambda: self.orders.untrained_parts(checkpoint, report))

    def _emit_prepared(self) -> tuple[str, ...]:
        """Emit and return the metrics whose order or lens, which takes long to find, is stored."""
        possible = [
            metric
            for metric in ON_DEMAND
            if (metric.needs_order or metric.lens_kind) and not metric.why_unavailable(self._result)
        ]
        if not possible:
            return ()
        settings = self._result.settings
        if settings.order_source == "own":
            settings = dataclasses.replace(settings, **MODEL_ORDER)

        def is_prepared(metric: Metric) -> bool:
            if metric.needs_order is None:
                return self._is_fitted(metric.lens_kind)
            return self.orders.stored(settings, piece=metric.needs_order) is not None

        names = tuple(metric.name for metric in possible if is_prepared(metric))
        self.run.emit_prepared(names)
        return names

    def _is_fitted(self, kind: str) -> bool:
        """Whether a fitted lens exists; its file is not read."""
        try:
            return self.lenses.is_stored(self._choice(kind))
        except DepthError:
            return False

    def _has_order(
        self, metric: Metric, piece: Piece, context: MetricContext, is_new: bool
    ) -> bool:
        """Find the order in which pieces are left out; False where that fails.

        A draft in the prompt's own order, soon found, comes before a search of the model's.
        """
        settings = self._result.settings
        report_share = self.run.preparation(metric)
        has_draft = is_new and metric.has_draft(self._result) and self._order(piece) is None
        before = _DRAFT if has_draft else _WRITING

        def report(stage: str, done: int, total: int) -> None:
            share_before, part = (before, 1 - before) if stage == FINDING else (0.0, _WRITING)
            report_share(share_before + part * done / max(1, total))

        def work() -> None:
            self._guess(True, report)
            if has_draft:
                self.run.draft(metric, context)
            if _finds_order(settings):
                checkpoint = self.run.control.checkpoint
                self.orders.find_or_search(settings, report, checkpoint, piece=piece)

        has_order = self.run.attempt(metric.name, work)
        self._emit_prepared()
        return has_order

    def _saves_activations(self) -> bool:
        """Whether activations are cached: where reading is quicker, and they are small enough."""
        info, n_tokens = self.run.model.info, len(self._result.tokens)
        size = 4 if info.dtype == "float32" else 2
        limit = first_rank("room for activations", lambda: self.activation_limit)
        fits = (3 * info.n_layers + 1) * n_tokens * info.d_model * size <= limit
        # Repeated and patched layers read another residual than the output of the layer before.
        settings = self._result.settings
        follows = not (settings.repeated or settings.patched)
        return (
            fits and follows and self.run.model.placement.layers[0].type not in _QUICKER_THAN_DISK
        )

    def _recorded_before(self) -> Activations | None:
        """The activations from files, or from the cache."""
        if self.states is not None or self.fresh:
            return self.states
        return self.cache.activations(self._result)


def _forward(run: PromptRun, keep_writes: bool, beside: list[Metric]) -> tuple[Activations, bool]:
    """Run the forward pass; return whether it kept sublayers' writes: not where memory is short."""
    try:
        return run.forward(keep_writes, beside), keep_writes
    except Exception as error:
        if not keep_writes or not ran_out(error):
            raise
    free_caches()
    run.start_over()
    return run.forward(False, beside), False


def _where_texts(work: Callable[[], _Value]) -> _Value | None:
    """Return a value that rests on texts of the model; None for a model that can write none."""
    try:
        return work()
    except RunStopped:
        raise
    except DepthError:
        return None


def _finds_order(settings: RunSettings) -> bool:
    """Whether the order is found on other texts than the run's prompt."""
    return settings.order_source == "model" or bool(settings.order_texts)


def _try_to_store(save: Callable[[], None]) -> bool:
    """Store a value in the cache; False where the memory does not suffice."""
    try:
        save()
    except BaseException as error:  # safetensors panics
        if not is_out_of_memory(error):
            raise
        return False
    return True
