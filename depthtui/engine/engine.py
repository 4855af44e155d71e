"""The engine: a loaded model, a cache, and runs of prompts through both."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from depthtui.data.inspection import Inspection
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Event,
    Memory,
    ModelLoaded,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
)
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.data.store import Store, open_store
from depthtui.engine import memory
from depthtui.engine.control import Control
from depthtui.engine.inspector import Inspector
from depthtui.engine.layer_orders import LayerOrders
from depthtui.engine.lenses import LensChoice, Lenses
from depthtui.engine.measurement import Measurement
from depthtui.engine.prompt_run import PromptRun
from depthtui.engine.ready_model import ReadyModel, make_ready
from depthtui.engine.result_cache import ResultCache
from depthtui.engine.run_checks import check_patched, check_settings, read_source
from depthtui.engine.served_states import read_served_states
from depthtui.engine.shared_calls import loading_on_every_rank, on_every_rank, over_ranks
from depthtui.engine.tokens import tokenise
from depthtui.engine.writing import TextWriting, begin_text, keep_readings
from depthtui.errors import DepthError
from depthtui.lenses.maps import LensMaps
from depthtui.lenses.taps import Taps
from depthtui.metrics.costs import Sizes
from depthtui.metrics.registry import empty_result
from depthtui.models.devices import responds
from depthtui.models.loading import LoadedModel, load
from depthtui.models.out_of_memory import free_caches
from depthtui.parallel.agreements import first_rank
from depthtui.parallel.ending import saving
from depthtui.tracing.activations import Activations
from depthtui.tracing.batching import in_smaller_parts, ran_out
from depthtui.tracing.products import fast_products


@dataclass(eq=False)
class Engine:
    """Loads models and runs prompts.

    Attributes:
        store: the disk cache.
        models_dir: the folder of converted models.
        emit: receives every event.
        activation_limit: most bytes of activations to cache for one run, which may be changed
            between runs; 0 for none.
        baseline_texts: the prompts whose mean residual erasure uses where a run names none.
        on_bug: logs the details of an error of a metric, after which the run continues.
        lenses_dir: the folder of fitted lenses; None to keep them while their model is loaded.
        trusted: the models whose own Python code may run.
    """

    store: Store
    models_dir: Path
    emit: Callable[[Event], None]
    activation_limit: int = 1 << 30
    _: KW_ONLY
    baseline_texts: Callable[[], Sequence[str]] = list
    on_bug: Callable[[Exception], object] = traceback.print_exception
    lenses_dir: Path | None = None
    trusted: Container[ModelSpec] = ()
    _no_store: Store = field(default_factory=lambda: open_store(None, 0, print), init=False)
    _met_error: bool = field(default=False, init=False)
    _lenses: Lenses | None = field(default=None, init=False)
    _orders: LayerOrders | None = field(default=None, init=False)
    _model: ReadyModel | None = field(default=None, init=False)
    _inspected: tuple[object, Inspector] | None = field(default=None, init=False)

    @property
    def model(self) -> ModelInfo | None:
        """The loaded model."""
        return None if self._model is None else self._model.info

    @property
    def lost_device(self) -> str:
        """The device that an error has cost this process, such as `cuda:0`; empty for none.

        Checked after an error alone, since a check waits for the device.
        """
        if self._model is None or not self._met_error:
            return ""
        devices = self._model.placement.devices
        lost = next((str(device) for device in devices if not responds(device)), "")
        self._met_error = bool(lost)
        return lost

    @loading_on_every_rank
    def load(
        self, spec: ModelSpec, control: Control | None = None, readout_only: bool = False
    ) -> ModelInfo:
        """Load a model in place of the loaded one, which stays where the new one's files are bad.

        Args:
            spec: the model.
            control: stops the loading.
            readout_only: whether it is loaded for `read_states` alone (see `models.loading.load`).

        Raises:
            NeedsCode: it needs Python code of its own, and is not trusted.
            DepthError: it cannot be found, read or traced, or does not fit into memory.
            RunStopped: `control` stopped it.
        """

        def progress(event: Progress) -> None:
            if control is not None:
                control.checkpoint()
            self.emit(event)

        spec = over_ranks(spec)
        trusted = first_rank("the right of the model's code", lambda: spec in self.trusted)
        loaded = load(spec, self.models_dir, progress, self.unload, trusted, readout_only)
        progress(Progress("Checking where the layers write", 0, 0, "layers"))
        info = self.use(loaded)
        if loaded.notice:
            self.emit(Notice(loaded.notice))
        return info

    def use(self, loaded: LoadedModel) -> ModelInfo:
        """Use a model that is in memory, in place of the loaded one.

        Nothing is cached for a model without a fingerprint: two such models would share keys.

        Raises:
            DepthError: its layers cannot be traced, or too little memory is left to try.
        """
        self._model = model = make_ready(loaded, self.baseline_texts, self._keep_details)
        self._inspected = None
        self._lenses = Lenses.of(model, self.lenses_dir, self._notify)
        self._orders = LayerOrders.of(model, self._lenses, self.lenses_dir)
        self.emit(ModelLoaded(model.info))
        self._emit_memory()
        return model.info

    def tokens_of(self, prompt: Prompt, chat_template: bool = False) -> PromptTokens:
        """The tokens of a prompt for the loaded model, without a run.

        Raises:
            DepthError: no model is loaded, or it has no chat template.
        """
        model = self._loaded_model()
        return tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary)

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        """The number of these tokens."""
        return len(self.tokens_of(prompt, chat_template))

    @on_every_rank
    def run(
        self,
        prompt: Prompt,
        settings: RunSettings,
        control: Control | None = None,
        run_id: int = 0,
        fresh: bool = False,
        recall: bool = False,
        write: Writing | None = None,
    ) -> RunResult:
        """Run a prompt, or take its result from the cache.

        A run that `control` stops returns its results so far, with `complete` False.

        With `write`, the model writes the answer first, in place of the prompt's own, and settling
        is measured too. The text is then measured as any run is, in one pass over all tokens. Where
        that pass is stopped, or is too large for the memory, the readings of the writing stay.

        Args:
            prompt: the prompt.
            settings: what to measure.
            control: stops or halts the run.
            run_id: the id of the run in its events.
            fresh: whether it runs even where the cache has the result.
            recall: whether slower metrics that were not asked for are added where the cache has
                all of them.
            write: how the model writes the answer; None for the prompt's own.

        Raises:
            DepthError: no model is loaded, or the prompt cannot be run.
        """
        model = self.freed_model()
        check_settings(settings, model.info)
        if write is not None:
            return self._write(
                model, prompt, settings, write, control or Control(), run_id, fresh, recall
            )
        tokens = tokenise(model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        result = empty_result(model.info, prompt, settings, tokens)
        read_source(model, result)
        check_patched(result)
        fresh = fresh or (control is not None and control.stepping)
        run = self._begun(model, result, control or Control(), run_id)
        return self._fill(run, self._cache, fresh, recall)

    @on_every_rank
    def read_states(
        self, path: Path, settings: RunSettings, control: Control | None = None, run_id: int = 0
    ) -> RunResult:
        """Measure the states of a request that another engine has served.

        Its file replaces the forward pass. The loaded model's embedding, final norm and head are
        used, and its layers for `engine_distance` alone. Nothing is cached.

        Args:
            path: the file (see `engine.state_files`).
            settings: what to measure.
            control: stops the work; the result is then incomplete, with `complete` False.
            run_id: the id of the run in its events.

        Raises:
            DepthError: no model is loaded, or the file cannot be read, or is of another model.
        """
        model, control = self.freed_model(), control or Control()
        states = read_served_states(path, model, control.checkpoint)
        model = states.model_of(model, path.parent)
        settings = replace(settings.clean, chat_template=False)
        check_settings(settings, model.info)
        result = empty_result(model.info, states.prompt, settings, states.tokens)
        cache = ResultCache(self._no_store, model.info)
        run = self._begun(model, result, control, run_id)
        return self._fill(run, cache, states=states.activations)

    def _begun(
        self, model: ReadyModel, result: RunResult, control: Control, run_id: int
    ) -> PromptRun:
        return PromptRun(
            model, result, control, self.emit, run_id, self._keep_details, self._forget_page
        )

    def _fill(
        self,
        run: PromptRun,
        cache: ResultCache,
        fresh: bool = False,
        recall: bool = False,
        states: Activations | None = None,
        text: RunResult | None = None,
    ) -> RunResult:
        """Fill the result of a run with the metrics that it asks for.

        `states` replace a pass; readings of `text` stay where the pass does not read again.
        """
        model, result = run.model, run.result
        memory.check_fits(model.info, run.sizes, model.placement)
        self.emit(RunStarted(run.run_id, result.tokens))
        measurement = Measurement(
            run, cache, self.lenses, self.orders, self.activation_limit, fresh, states
        )
        with (
            self.errors_noted(model, run.sizes),
            fast_products(model.loaded.model),
            saving(measurement.save),
        ):
            measurement.fill(recall)
        if text is not None and not result.complete:
            keep_readings(result, text)
        self.emit(RunFinished(run.run_id, result, measurement.keys))
        if not measurement.save():
            self.emit(Notice("Too little memory was left to put all of the run into the cache."))
        self._emit_memory()
        return result

    def _write(
        self,
        model: ReadyModel,
        prompt: Prompt,
        settings: RunSettings,
        writing: Writing,
        control: Control,
        run_id: int,
        fresh: bool,
        recall: bool,
    ) -> RunResult:
        """Let the model write the answer to a prompt, and run both."""
        text = begin_text(model, prompt, settings)
        sizes = model.sizes(len(text.tokens), len(text.tokens))
        memory.check_fits(model.info, sizes, model.placement)
        with self.errors_noted(model, sizes), fast_products(model.loaded.model):
            TextWriting(model, text, writing, self._cache, self.lenses, self.emit, run_id).write(
                control.checkpoint, fresh
            )
        result = empty_result(model.info, text.prompt, text.settings, text.tokens)
        read_source(model, result)
        try:
            run = self._begun(model, result, control, run_id)
            return self._fill(run, self._cache, fresh, recall, text=text)
        except DepthError as error:
            # The text is not lost for want of room to run it in one pass.
            self._notify(str(error))
            text.provenance = model.provenance(datetime.now(UTC), 0.0)
            self.emit(RunFinished(run_id, text))
            return text

    @on_every_rank
    def inspect(
        self,
        prompt: Prompt,
        settings: RunSettings,
        layer: int,
        token: int,
        lens: str = LOGIT,
        control: Control | None = None,
    ) -> Inspection:
        """Look into one layer at one token of a prompt.

        The prompt's pass stays in memory, so that the next look computes one layer alone.

        Args:
            prompt: the prompt.
            settings: the run's chat template, and where the answer begins.
            layer, token: indices from 0; a negative token counts from the end.
            lens: the kind of lens that the page is read through.
            control: stops the work.

        Raises:
            DepthError: no model is loaded, there is no such layer or token, the lens has not been
                fitted, or a layer is left out.
            RunStopped: `control` stopped it.
        """
        model = self._working_model()
        if not settings.is_clean:
            raise DepthError("A layer is looked into on clean runs, not in a what-if.")
        tokens = tokenise(model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        if settings.answer_start >= 0:
            tokens = replace(tokens, answer_start=settings.answer_start)
        sizes = model.sizes(len(tokens), tokens.answer_start)
        choice = None if lens == LOGIT else LensChoice.of(lens, settings)
        key = (tuple(tokens.ids.tolist()), tokens.answer_start, choice, settings.lens_top_k)
        if self._inspected is None or self._inspected[0] != key:
            self._inspected = None
            memory.check_fits(model.info, sizes, model.placement)
            maps = None if choice is None else self.lenses.stored(choice)
            if choice is not None and maps is None:
                raise DepthError(f"The {lens_title(lens)} of this model has not been fitted.")
            self._inspected = key, Inspector(model, tokens, lens, maps, settings.lens_top_k)
        inspector = self._inspected[1]
        inspector.checkpoint = (control or Control()).checkpoint
        with self.errors_noted(model, sizes), fast_products(model.loaded.model):
            return in_smaller_parts(lambda: inspector.at(layer, token))

    @on_every_rank
    def fit_lens(self, choice: LensChoice, control: Control | None = None) -> LensMaps:
        """Fit a lens of the loaded model, and save it.

        Raises:
            DepthError: no model is loaded, or the lens cannot be fitted.
            RunStopped: `control` stopped it; a Jacobian lens continues there the next time.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint
        self._forget_page()
        return in_smaller_parts(lambda: lenses.fit(choice, self.emit_stage, check, self._notify))

    @on_every_rank
    def taps(self, choice: LensChoice, ahead: int, control: Control | None = None) -> list[Taps]:
        """Choose the depths whose states together predict the output best; see `choose_taps`.

        Raises:
            DepthError: no model is loaded, or they cannot be chosen.
            RunStopped: `control` stopped it.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint
        self._forget_page()
        return in_smaller_parts(lambda: lenses.taps(choice, ahead, self.emit_stage, check))

    @on_every_rank
    def import_lens(self, path: Path, control: Control | None = None) -> LensMaps:
        """Save a published Jacobian lens for the loaded model.

        Raises:
            DepthError: no model is loaded, or the file holds no lens of the model.
            RunStopped: `control` stopped it.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint
        return lenses.import_published(path, self.emit_stage, check)

    def _notify(self, words: str) -> None:
        self.emit(Notice(words))

    def emit_stage(self, stage: str, steps: int, total: int) -> None:
        """Emit the progress of a stage, in steps."""
        self.emit(Progress(stage, steps, total, "steps"))

    @property
    def lenses(self) -> Lenses:
        """The fitted lenses of the loaded model.

        Raises:
            DepthError: no model is loaded.
        """
        self._loaded_model()
        assert self._lenses is not None
        return self._lenses

    @property
    def orders(self) -> LayerOrders:
        """The orders in which the loaded model's layers can be left out.

        Raises:
            DepthError: no model is loaded.
        """
        self._loaded_model()
        assert self._orders is not None
        return self._orders

    def _loaded_model(self) -> ReadyModel:
        if self._model is None:
            raise DepthError("No model is loaded.", "Choose a model first.")
        return self._model

    def _working_model(self) -> ReadyModel:
        """The model, if all its devices answer."""
        if lost := self.lost_device:
            raise DepthError(
                f"An error on {lost} cost this process the device.",
                "Start depthtui again; what was finished is saved.",
            )
        return self._loaded_model()

    def freed_model(self) -> ReadyModel:
        """The loaded model, with the memory of an inspected page freed.

        Raises:
            DepthError: no model is loaded, or one of its devices is lost.
        """
        self._forget_page()
        return self._working_model()

    def _forget_page(self) -> None:
        """Free the pass of an inspected page."""
        self._inspected = None

    @contextmanager
    def errors_noted(self, model: ReadyModel, sizes: Sizes) -> Iterator[None]:
        """Where memory runs out, raise an error with the length that fits; note other errors."""
        try:
            yield
        except Exception as error:
            if not ran_out(error):
                self._met_error = True
                raise
            raise model.does_not_fit(sizes) from error

    def _keep_details(self, error: Exception) -> None:
        self._met_error = True
        self.on_bug(error)

    @property
    def _cache(self) -> ResultCache:
        """The model's cached results; empty for a model without a fingerprint."""
        info = self._loaded_model().info
        return ResultCache(self.store if info.fingerprint else self._no_store, info)

    def unload(self) -> None:
        """Free the loaded model."""
        self._model = None
        self._lenses = self._orders = self._inspected = None
        free_caches()

    def _emit_memory(self) -> None:
        cpu = (torch.device("cpu"),)
        devices = cpu if self._model is None else self._model.placement.devices
        self.emit(Memory(*memory.used_and_total(devices)))
