"""The engine: a loaded model, a cache, and runs of prompts through both."""

from __future__ import annotations

import dataclasses
import functools
import time
import traceback
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from depthtui.data.controls import ControlRow, Controls, save_controls
from depthtui.data.generation import Continuation, Generation
from depthtui.data.inspection import Inspection
from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Event,
    GeneratedTokens,
    GenerationFinished,
    GenerationStarted,
    Memory,
    ModelLoaded,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
)
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import (
    GenerationSettings,
    ModelSpec,
    Repeated,
    RunSettings,
    why_not_repeated,
)
from depthtui.data.selection import check_layer, layers_in
from depthtui.data.store import Store, open_store
from depthtui.depth.token_depths import token_depths
from depthtui.engine import held_out_prompts, memory, pruning
from depthtui.engine.control import Control
from depthtui.engine.controls import Bench, Sample, row_of_untrained, rows_of_trained
from depthtui.engine.generate import generate, not_applied
from depthtui.engine.held_out_prompts import OutputComparison, WholeOutput
from depthtui.engine.inspector import Inspector
from depthtui.engine.layer_orders import Enough, LayerOrders, nothing_less
from depthtui.engine.lenses import LensChoice, Lenses
from depthtui.engine.measurement import Measurement
from depthtui.engine.metric_context import Baselines
from depthtui.engine.prompt_run import PromptRun
from depthtui.engine.pruning import PrunedModel
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.result_cache import ResultCache
from depthtui.engine.served_states import read_served_states
from depthtui.engine.shared_calls import on_every_rank, one_process_only, over_ranks
from depthtui.engine.state_files import ENGINE, served_dtype
from depthtui.engine.tokens import Vocabulary, tokenise, tokenise_source
from depthtui.errors import DepthError, RunStopped, first_line
from depthtui.files import write_whole
from depthtui.lenses.maps import LensMaps
from depthtui.metrics import (
    check_names,
    empty_result,
    engine_distance,
    patch,
)
from depthtui.metrics.costs import Sizes
from depthtui.metrics.sufficient import PROMPTS_AS_UNITS
from depthtui.metrics.sufficient.order_search import LayerOrder
from depthtui.models.catalog import resolve
from depthtui.models.checked_config import read_checked_config
from depthtui.models.devices import execution_device, responds
from depthtui.models.loading import LoadedModel, load, local_folder
from depthtui.models.out_of_memory import free_caches, is_out_of_memory
from depthtui.models.pruning import write_pruned
from depthtui.models.recipe import RECIPE, mergekit_recipe
from depthtui.models.staging import new_folder
from depthtui.models.untrained import Blueprint
from depthtui.parallel.agreements import first_rank
from depthtui.parallel.ending import keeping
from depthtui.tracing.activations import Activations
from depthtui.tracing.batching import in_smaller_parts, ran_out
from depthtui.tracing.layer_call import why_no_experts
from depthtui.tracing.layer_parameters import with_parameters
from depthtui.tracing.layer_types import layer_types
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.products import choose_products, fast_products

Result = TypeVar("Result")


class Engine:
    """Loads models and runs prompts.

    Args:
        store: the disk cache.
        models_dir: the folder of converted models.
        emit: receives every event.
        activation_limit: most bytes of activations to cache for one run; 0 for none.
        baseline_texts: the prompts whose mean residual erasure uses where a run names none.
        on_bug: logs the details of an error of a metric, after which the run continues.
        lenses_dir: the folder of fitted lenses; None to keep them while their model is loaded.
        trusted: the models whose own Python code may run.

    Attributes:
        activation_limit: the limit above; it may be changed between runs.
    """

    def __init__(
        self,
        store: Store,
        models_dir: Path,
        emit: Callable[[Event], None],
        activation_limit: int = 1 << 30,
        *,
        baseline_texts: Callable[[], Sequence[str]] = list,
        on_bug: Callable[[Exception], object] = traceback.print_exception,
        lenses_dir: Path | None = None,
        trusted: Container[ModelSpec] = (),
    ) -> None:
        self._trusted = trusted
        self._on_bug = on_bug
        self._met_error = False
        self._lenses_dir = lenses_dir
        self._lenses: Lenses | None = None
        self._orders: LayerOrders | None = None
        self._baseline_texts = baseline_texts
        self._store = store
        self._no_store = open_store(None, 0, lambda notice: None)
        self._models_dir = models_dir
        self._emit = emit
        self.activation_limit = activation_limit
        self._model: ReadyModel | None = None
        self._inspected: tuple[object, Inspector] | None = None

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

    @on_every_rank
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
            self._emit(event)

        spec = over_ranks(spec)
        trusted = first_rank("the right of the model's code", lambda: spec in self._trusted)
        loaded = load(spec, self._models_dir, progress, self._unload, trusted, readout_only)
        progress(Progress("Checking where the layers write", 0, 0, "layers"))
        info = self.use(loaded)
        if loaded.notice:
            self._emit(Notice(loaded.notice))
        return info

    def load_for_states(
        self,
        spec: ModelSpec,
        files: Sequence[Path],
        settings: RunSettings,
        fail: Callable[[str], None],
    ) -> RunSettings:
        """Load the part of a model that reads files of its states, in the dtype of the states.

        The whole model is loaded for `engine_distance`, which is left out where that fails; and
        where the first layer cannot be loaded alone, as in Gemma 4, whose embedding holds a part
        for each layer.

        Args:
            spec: the model.
            files: files of states.
            settings: what to measure.
            fail: called with why `engine_distance` is left out.

        Returns:
            the settings, with the metrics that can be measured.

        Raises:
            DepthError: no file can be read, or the model cannot be loaded.
        """
        if spec.dtype == "auto":
            spec = dataclasses.replace(spec, dtype=served_dtype(files))
        measurable = tuple(name for name in settings.metrics if name != engine_distance.NAME)
        if measurable != settings.metrics:
            try:
                self.load(spec)
            except DepthError as error:
                fail(f"{engine_distance.METRIC.title} is unavailable: {error}")
                self.load(spec, readout_only=True)
                return dataclasses.replace(settings, metrics=measurable)
            return settings
        try:
            self.load(spec, readout_only=True)
        except DepthError:
            info = self.load(spec)
            self._notify(f"All of {info.name} was loaded: its first layer cannot stand alone.")
        return settings

    def use(self, loaded: LoadedModel) -> ModelInfo:
        """Use a model that is in memory, in place of the loaded one.

        Nothing is cached for a model without a fingerprint: two such models would share keys.

        Raises:
            DepthError: its layers cannot be traced, or too little memory is left to try.
        """
        try:
            anatomy = probe_architecture(loaded.model)
        except DepthError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                self._keep_details(error)
                if loaded.info.spec.tensor_parallel > 1:
                    raise DepthError(
                        f"{loaded.info.name} was cut by transformers' plan and cannot be run: "
                        f"{first_line(error)}.",
                        "The plan may not fit it: start one process.",
                    ) from error
                raise DepthError(
                    f"{loaded.info.name} is loaded and cannot be run: {first_line(error)}.",
                    "It may need more than the tokens of a text, such as an image; or its "
                    "config.json is damaged.",
                ) from error
            raise DepthError(
                f"{loaded.info.name} is loaded, and leaves too little memory to run a few tokens.",
                "Use --dtype bfloat16, --quantize 4bit, or a smaller model.",
            ) from error
        info = dataclasses.replace(
            loaded.info,
            parallel=anatomy.parallel,
            split_missing=anatomy.split_missing,
            lens_missing=anatomy.lens_missing,
            experts_missing=why_no_experts(anatomy.layers),
            layer_types=layer_types(loaded.model, anatomy.layers),
            n_layers=loaded.info.n_layers if loaded.is_readout else len(anatomy.layers),
            d_model=anatomy.width,
            streams=anatomy.streams,
            calls=anatomy.calls,
            broken_at=tuple(anatomy.between),
            reads_earlier=anatomy.carried is not None,
            mixes_depths=anatomy.carried is not None and anatomy.carried.readout_reads,
        )
        if not loaded.is_readout:
            info = with_parameters(info, loaded.model, anatomy, loaded.parameter_counts)
        # Chosen here: later the choice would count into the first time that is measured.
        choose_products(loaded.model)
        vocabulary = Vocabulary(loaded.tokenizer)

        def ids_of(text: str) -> torch.Tensor:
            ids = tokenise(loaded.tokenizer, Prompt(text), False, vocabulary).ids
            return torch.from_numpy(ids).to(execution_device(loaded.model.get_input_embeddings()))

        baselines = Baselines(loaded.model, anatomy, ids_of, self._baseline_texts)
        self._model = ReadyModel(loaded, anatomy, info, vocabulary, baselines)
        self._inspected = None
        self._lenses = Lenses.of(self._model, self._lenses_dir, self._notify)
        self._orders = LayerOrders.of(self._model, self._lenses, self._lenses_dir)
        self._emit(ModelLoaded(info))
        self._emit_memory()
        return info

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        """The number of tokens of a prompt for the loaded model, without a run.

        Raises:
            DepthError: no model is loaded, or it has no chat template.
        """
        model = self._loaded_model()
        return len(tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary))

    def token_before_answer(self, prompt: Prompt, chat_template: bool = False) -> int:
        """The token that predicts a prompt's answer; the last one where there is none.

        Raises:
            DepthError: no model is loaded, or it has no chat template.
        """
        model = self._loaded_model()
        tokens = tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary)
        return max(0, tokens.answer_start - 1)

    @on_every_rank
    def run(
        self,
        prompt: Prompt,
        settings: RunSettings,
        control: Control | None = None,
        run_id: int = 0,
        fresh: bool = False,
        recall: bool = False,
    ) -> RunResult:
        """Run a prompt, or take its result from the cache.

        A run that `control` stops returns its results so far, with `complete` False.

        Args:
            prompt: the prompt.
            settings: what to measure.
            control: stops or halts the run.
            run_id: the id of the run in its events.
            fresh: whether it runs even where the cache has the result.
            recall: whether slower metrics that were not asked for are added where the cache has
                all of them.

        Raises:
            DepthError: no model is loaded, or the prompt cannot be run.
        """
        model = self._freed_model()
        _check_settings(settings, model.info)
        tokens = tokenise(model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        result = empty_result(model.info, prompt, settings, tokens)
        _read_source(model, result)
        _check_patched(result)
        fresh = fresh or (control is not None and control.stepping)
        return self._fill(model, result, self._cache, control, run_id, fresh, recall)

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
        model, control = self._freed_model(), control or Control()
        states = read_served_states(path, model, control.checkpoint)
        info = dataclasses.replace(
            model.info,
            dtype=states.dtype,
            device=ENGINE,
            split_missing="files of states have none between attention and MLP",
            states_from=f"{ENGINE}'s files in {path.parent}",
        )
        model = dataclasses.replace(model, info=info)
        settings = dataclasses.replace(settings.clean, chat_template=False)
        _check_settings(settings, info)
        result = empty_result(info, states.prompt, settings, states.tokens)
        cache = ResultCache(self._no_store, info)
        return self._fill(model, result, cache, control, run_id, states=states.activations)

    def _fill(
        self,
        model: ReadyModel,
        result: RunResult,
        cache: ResultCache,
        control: Control | None,
        run_id: int,
        fresh: bool = False,
        recall: bool = False,
        states: Activations | None = None,
    ) -> RunResult:
        """Fill a result with the metrics that it asks for; `states` replace a pass."""
        run = PromptRun(
            model,
            result,
            control or Control(),
            self._emit,
            run_id,
            self._keep_details,
            self._forget_page,
        )
        memory.check_fits(model.info, run.sizes, model.placement)
        self._emit(RunStarted(run_id, result.tokens))
        measurement = Measurement(
            run,
            model,
            cache,
            self.lenses,
            self._orders_ready(),
            self.activation_limit,
            fresh,
            states,
        )
        with (
            self._errors_noted(model, run.sizes),
            fast_products(model.loaded.model),
            keeping(measurement.keep),
        ):
            measurement.fill(recall)
        self._emit(RunFinished(run_id, result, measurement.keys))
        if not measurement.keep():
            self._emit(Notice("Too little memory was left to put all of the run into the cache."))
        self._emit_memory()
        return result

    @on_every_rank
    def generate(
        self,
        prompt: Prompt,
        settings: GenerationSettings,
        control: Control | None = None,
        run_id: int = 0,
    ) -> Generation:
        """Let the model answer a prompt, or take its answer from the cache.

        The prompt's own answer is left out. Where `control` stops it, the text so far is returned,
        with `complete` False.

        Raises:
            DepthError: no model is loaded, it has no lens or not the lens that is asked for, or
                the prompt cannot be read.
        """
        model = self._freed_model()
        question = Prompt(prompt.question, task=prompt.task, level=prompt.level)
        tokens = tokenise(
            model.loaded.tokenizer, question, settings.chat_template, model.vocabulary
        )
        model.check_ids(tokens.ids)
        memory.check_fits(model.info, model.sizes(len(tokens), len(tokens)), model.placement)
        generation = Generation.empty(model.info, question, settings, tokens)
        self._emit(GenerationStarted(run_id, tokens))
        checkpoint = (control or Control()).checkpoint
        try:
            maps = self._lens_of(settings, checkpoint)
        except RunStopped:
            generation.stopped_by = "user"
            self._emit(GenerationFinished(run_id, generation))
            return generation
        generation.fit = None if maps is None else maps.fit
        started, clock = datetime.now(UTC), time.perf_counter()

        def emit_part(part: Continuation) -> None:
            self._emit(GeneratedTokens(run_id, part, time.perf_counter() - clock))

        cache = self._cache
        cached = cache.generation(generation)
        if cached is not None:
            generation = _with_settings(cached, model.info, question, settings)
            emit_part(generation.continuation)
        else:
            sizes = model.sizes(len(tokens), len(tokens))
            if words := not_applied(model.loaded):
                self._notify(words)
            with self._errors_noted(model, sizes), fast_products(model.loaded.model):
                self._write(model, generation, checkpoint, emit_part, maps)
            generation.provenance = model.provenance(started, time.perf_counter() - clock)
        self._emit(GenerationFinished(run_id, generation))
        if cached is None and generation.complete:
            cache.keep_generation(generation)
        self._emit_memory()
        return generation

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
            tokens = dataclasses.replace(tokens, answer_start=settings.answer_start)
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
        with self._errors_noted(model, sizes), fast_products(model.loaded.model):
            return in_smaller_parts(lambda: inspector.at(layer, token))

    @on_every_rank
    def fit_lens(self, choice: LensChoice, control: Control | None = None) -> LensMaps:
        """Fit a lens of the loaded model, and keep it.

        Raises:
            DepthError: no model is loaded, or the lens cannot be fitted.
            RunStopped: `control` stopped it; a Jacobian lens continues there the next time.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint
        self._forget_page()
        return in_smaller_parts(lambda: lenses.fit(choice, self._emit_stage, check, self._notify))

    @one_process_only
    def prune(
        self,
        left_out: Collection[int],
        folder: Path,
        control: Control | None = None,
        keep_loaded: bool = True,
        repeated: Collection[Repeated] = (),
    ) -> PrunedModel:
        """Write the loaded model without some of its layers to a folder that is not there yet.

        The result is loaded once, and must give the same output for a few tokens as the loaded
        model with its layers so changed; else nothing is written. The recipe lies beside it.

        Args:
            left_out: layers by their indices; for a looped block, those of all its passes.
            folder: the folder to write to.
            control: stops the work.
            keep_loaded: whether the model stays loaded while the result is checked.
            repeated: blocks of layers that the result has twice.

        Raises:
            DepthError: no model is loaded, it has an adapter or cannot be written without these
                layers, the folder cannot be written or is not empty, even at the end, or there is
                too little memory to check the result.
            RunStopped: `control` stopped it; nothing is left behind.
        """
        checkpoint = (control or Control()).checkpoint

        def progress(event: Progress) -> None:
            checkpoint()
            self._emit(event)

        info = self._loaded_model().info
        left_out = info.blocks_of(left_out)
        layers = pruning.layers_kept(info.n_blocks, left_out, repeated)
        pruning.check_source(info.spec)
        pruning.check_target(folder)
        source = resolve(info.spec, self._models_dir)
        trusted = info.spec in self._trusted and source.may_bring_code
        origin = local_folder(source, self._models_dir, progress, trusted)
        progress(Progress("Reading what it says with its layers changed", 0, 0, "layers"))
        stack, expected = pruning.with_layers_changed(self._freed_model(), left_out, repeated)
        with new_folder(folder) as staging:
            config = read_checked_config(origin, trusted)
            write_pruned(origin, staging, config, stack, layers, progress)
            write_whole(staging / RECIPE, mergekit_recipe(info, self._models_dir, layers))
            spec = dataclasses.replace(info.spec, name=str(staging), revision="")
            make_room = free_caches if keep_loaded else self._unload
            off, parameters = pruning.check(
                lambda: load(spec, self._models_dir, progress, make_room, trusted), expected
            )
        return PrunedModel(folder, layers, parameters, off)

    @one_process_only
    def layer_order(
        self,
        settings: RunSettings,
        control: Control | None = None,
        enough: Enough = nothing_less,
    ) -> LayerOrder:
        """The order in which layers can be left out, searched for where it is not stored.

        Args:
            settings: the settings of the search.
            control: stops the search.
            enough: whether an unfinished order is all that is needed.

        Raises:
            DepthError: no model is loaded, or the order cannot be found.
            RunStopped: `control` stopped it; the next search continues there.
        """
        orders, check = self._orders_ready(), (control or Control()).checkpoint
        self._forget_page()
        return in_smaller_parts(
            lambda: orders.find_or_search(settings, self._emit_stage, check, enough)
        )

    @one_process_only
    def whole_outputs(
        self, prompts: Sequence[Prompt], chat_template: bool, control: Control | None = None
    ) -> list[WholeOutput]:
        """The loaded model's outputs on prompts, for a pruned model to be compared with.

        Raises:
            DepthError: no model is loaded, it has no lens, or a prompt cannot be run.
            RunStopped: `control` stopped it.
        """
        model, check = self._working_model(), (control or Control()).checkpoint
        tokens = [held_out_prompts.read_prompt(model, prompt, chat_template) for prompt in prompts]
        return self._of_each(
            "Running the whole model",
            tokens,
            lambda number: held_out_prompts.whole_output(model, tokens[number], check),
        )

    @one_process_only
    def compare(
        self, outputs: Sequence[WholeOutput], control: Control | None = None
    ) -> list[OutputComparison]:
        """Compare the loaded model, a pruned one, with outputs of the whole model.

        Raises:
            DepthError: no model is loaded, or a prompt cannot be run.
            RunStopped: `control` stopped it.
        """
        model, check = self._working_model(), (control or Control()).checkpoint
        return self._of_each(
            "Running the written model",
            [output.tokens for output in outputs],
            lambda number: held_out_prompts.compare(model, outputs[number], check),
        )

    @one_process_only
    def costs(
        self, outputs: Sequence[WholeOutput], order: Sequence[int], control: Control | None = None
    ) -> np.ndarray:
        """The cost of leaving out the first 0, 1, 2, … layers of an order, `[prompts, n + 1]`.

        A cost is the mean KL(p || p~) over the scored tokens of a prompt, in nats.

        Raises:
            DepthError: no model is loaded, or a prompt cannot be run.
            RunStopped: `control` stopped it.
        """
        model, check = self._working_model(), (control or Control()).checkpoint
        tokens = [output.tokens for output in outputs]
        costs = self._of_each(
            "Leaving layers out",
            tokens,
            lambda number: held_out_prompts.costs(model, tokens[number], order, check),
        )
        return np.stack(costs)

    @one_process_only
    def answers_kept(
        self,
        outputs: Sequence[WholeOutput],
        left_out: Collection[int],
        control: Control | None = None,
    ) -> int:
        """How many prompts the loaded model answers correctly without some of its layers.

        Raises:
            DepthError: no model is loaded, or a prompt cannot be run.
            RunStopped: `control` stopped it.
        """
        model, check = self._working_model(), (control or Control()).checkpoint
        tokens = [output.tokens for output in outputs]
        right = self._of_each(
            f"Answering without {len(left_out)} layer{'s' * (len(left_out) > 1)}",
            tokens,
            lambda number: held_out_prompts.answers_rightly(model, tokens[number], left_out, check),
        )
        return sum(map(bool, right))

    def _of_each(
        self, stage: str, prompts: Sequence[PromptTokens], work: Callable[[int], Result]
    ) -> list[Result]:
        """Call `work` for the number of each prompt, with progress."""
        model, results = self._freed_model(), []
        with fast_products(model.loaded.model):
            for number, tokens in enumerate(prompts):
                self._emit(Progress(stage, number, len(prompts), "prompts"))
                sizes = model.sizes(len(tokens), tokens.answer_start)
                memory.check_fits(model.info, sizes, model.placement)
                with self._errors_noted(model, sizes):
                    results.append(in_smaller_parts(functools.partial(work, number)))
        return results

    @one_process_only
    def find_controls(
        self, prompts: Sequence[Prompt], settings: RunSettings, control: Control | None = None
    ) -> Controls:
        """The number of layers that suffice, and its value in controls, where it means nothing.

        The result is stored beside the model's fitted lenses. The model is freed before the
        untrained one is built, and no model is loaded at the end.

        Args:
            prompts: two tokens or more each; shorter ones are left out.
            settings: the seed, and whether prompts are wrapped in the chat template.
            control: stops the work.

        Raises:
            DepthError: no model is loaded, no prompt can be used, or the memory does not suffice.
            RunStopped: `control` stopped it; nothing is kept.
        """
        control = control or Control()
        info, samples = self._loaded_model().info, self._samples(prompts, settings)
        rows = self._rows_of_trained(samples, settings, control)
        untrained, size = self._row_of_untrained(samples, settings, control)
        controls = Controls(
            info.name,
            info.n_layers,
            info.vocab_size,
            tuple(dict.fromkeys(prompt.task for prompt, _ in samples)),
            len(samples),
            sum(len(tokens) - 1 for _, tokens in samples),
            "prompts" if len(samples) >= PROMPTS_AS_UNITS else "blocks",
            settings.seed,
            size,
            (*rows, untrained),
        )
        if self._lenses_dir is not None and info.fingerprint:
            # Where they cannot be stored, they are shown once.
            with suppress(DepthError):
                save_controls(self._lenses_dir, info.fingerprint, controls)
        return controls

    def _samples(self, prompts: Sequence[Prompt], settings: RunSettings) -> list[Sample]:
        model, samples = self._working_model(), []
        for prompt in prompts:
            tokens = tokenise(
                model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary
            )
            model.check_ids(tokens.ids)
            if len(tokens) > 1:
                samples.append((prompt, tokens))
        if not samples:
            raise DepthError("No prompt has a token after the first one.", "Take longer prompts.")
        return samples

    def _rows_of_trained(
        self, samples: Sequence[Sample], settings: RunSettings, control: Control
    ) -> list[ControlRow]:
        order = self._orders_ready().stored_layers(RunSettings())
        with self._bench(samples, settings, control) as bench:
            return rows_of_trained(bench, order)

    def _row_of_untrained(
        self, samples: Sequence[Sample], settings: RunSettings, control: Control
    ) -> tuple[ControlRow, int]:
        """The row of an untrained model, and the bytes of its weights; 0 where there is none."""
        try:
            blueprint = Blueprint.of(self._loaded_model().loaded)
            self._unload()
            self._emit_stage("Drawing random weights", 0, 0)
            info = self.use(blueprint.build(settings.seed))
            with self._bench(samples, settings, control) as bench:
                return row_of_untrained(bench), info.memory_bytes
        except RunStopped:
            raise
        except DepthError as error:
            return ControlRow("untrained", missing=str(error).rstrip(".")), 0
        finally:
            self._unload()

    @contextmanager
    def _bench(
        self, samples: Sequence[Sample], settings: RunSettings, control: Control
    ) -> Iterator[Bench]:
        """The loaded model with prompts on which its layers are left out."""
        model = self._freed_model()
        longest = max(len(tokens) for _, tokens in samples)
        sizes = model.sizes(longest, longest)
        with self._errors_noted(model, sizes), fast_products(model.loaded.model):
            yield Bench(model, samples, settings, control, self._emit_stage)

    @on_every_rank
    def import_lens(self, path: Path, control: Control | None = None) -> LensMaps:
        """Keep a published Jacobian lens for the loaded model.

        Raises:
            DepthError: no model is loaded, or the file holds no lens of the model.
            RunStopped: `control` stopped it.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint
        return lenses.import_published(path, self._emit_stage, check)

    def _lens_of(
        self, settings: GenerationSettings, checkpoint: Callable[[], None]
    ) -> LensMaps | None:
        """The fitted lens to read a text through, fitted if possible; None for the logit lens."""
        if settings.lens == LOGIT:
            return None
        # The settings' seed is that of the text; the lens does not depend on it.
        choice = LensChoice(settings.lens)
        find_lens = functools.partial(self.lenses.find_or_fit, choice, self._emit_stage, checkpoint)
        try:
            return in_smaller_parts(find_lens)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DepthError(
                f"The memory does not suffice to fit the {lens_title(settings.lens)}.",
                "Read through the logit lens, or use a smaller model.",
            ) from error

    def _notify(self, words: str) -> None:
        self._emit(Notice(words))

    def _emit_stage(self, stage: str, steps: int, total: int) -> None:
        self._emit(Progress(stage, steps, total, "steps"))

    @property
    def lenses(self) -> Lenses:
        """The fitted lenses of the loaded model.

        Raises:
            DepthError: no model is loaded.
        """
        self._loaded_model()
        assert self._lenses is not None
        return self._lenses

    def _orders_ready(self) -> LayerOrders:
        self._loaded_model()
        assert self._orders is not None
        return self._orders

    def _write(
        self,
        model: ReadyModel,
        generation: Generation,
        checkpoint: Callable[[], None],
        emit_part: Callable[[Continuation], None],
        maps: LensMaps | None,
    ) -> None:
        """Generate; where the memory runs out, the text so far stays."""
        try:
            if not model.can_read_on():
                self._emit(
                    Notice(
                        f"{model.info.name} cannot go on from a cache of keys and values: "
                        "the whole text is read again for every token, which is slow."
                    )
                )
            generate(model, generation, checkpoint, emit_part, maps)
        except Exception as error:
            if not ran_out(error) or not len(generation.continuation):
                raise
            generation.stopped_by = "memory"
            length = len(generation.tokens) + len(generation.continuation)
            self._emit(Notice(f"The memory ran out after {length:,} tokens."))

    def _loaded_model(self) -> ReadyModel:
        if self._model is None:
            raise DepthError("No model is loaded.", "Choose a model first.")
        return self._model

    def _working_model(self) -> ReadyModel:
        """The model, if all its devices answer."""
        if lost := self.lost_device:
            raise DepthError(
                f"An error on {lost} cost this process the device.",
                "Start depthtui again; what was finished is kept.",
            )
        return self._loaded_model()

    def _freed_model(self) -> ReadyModel:
        """The model of `_working_model`, with the memory of an inspected page freed."""
        self._forget_page()
        return self._working_model()

    def _forget_page(self) -> None:
        """Free the pass of an inspected page."""
        self._inspected = None

    @contextmanager
    def _errors_noted(self, model: ReadyModel, sizes: Sizes) -> Iterator[None]:
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
        self._on_bug(error)

    @property
    def _cache(self) -> ResultCache:
        """The model's cached results; empty for a model without a fingerprint."""
        info = self._loaded_model().info
        return ResultCache(self._store if info.fingerprint else self._no_store, info)

    def _unload(self) -> None:
        self._model = None
        self._lenses = self._orders = self._inspected = None
        free_caches()

    def _emit_memory(self) -> None:
        cpu = (torch.device("cpu"),)
        devices = cpu if self._model is None else self._model.placement.devices
        self._emit(Memory(*memory.used_and_total(devices)))


def _check_settings(settings: RunSettings, info: ModelInfo) -> None:
    """Refuse metrics and layers that do not exist."""
    check_names(settings.metrics)
    check_layer(layers_in(settings.layers, info.n_layers)[-1], info.n_layers)
    if settings.skip_everywhere and settings.skip_positions:
        raise DepthError(
            "Layers are skipped before positions or at all tokens, not both.",
            "Choose positions, or all tokens.",
        )
    for layer, part in settings.changed_parts:
        check_layer(layer, info.n_layers)
        if part != "layer" and info.split_missing:
            raise DepthError(f"Attention and MLP cannot be told apart: {info.split_missing}.")
    if problem := why_not_repeated(settings.repeated, info.n_layers):
        raise DepthError(f"These layers cannot run twice in {info.name}: {problem}.")
    if settings.repeated and info.calls:
        raise DepthError(f"The blocks of {info.name} run several times already.")


def _read_source(model: ReadyModel, result: RunResult) -> None:
    """Read the text that a run is patched from; an unreadable text costs its metric alone."""
    try:
        source = tokenise_source(model.loaded.tokenizer, result, model.vocabulary)
        if source is not None:
            model.check_ids(source.ids)
        result.source = source
        reason = patch.METRIC.why_unavailable(result)
    except DepthError as error:
        reason = str(error).rstrip(".")
    if reason and patch.NAME in result.settings.metrics:
        result.unavailable[patch.NAME] = reason


def _check_patched(result: RunResult) -> None:
    """Refuse states of a text that is missing or whose tokens do not match the prompt's."""
    cells = result.settings.patched
    if not cells:
        return
    reason = patch.why_not_beside(result)
    if reason or result.source is None:
        reason = reason or "the text to patch from cannot be read"
        raise DepthError(f"Nothing can be put into this run: {reason}.")
    n_tokens = min(len(result.tokens), len(result.source))
    for cell in cells:
        if not 0 <= cell.token < n_tokens:
            raise DepthError(f"There is no token {cell.token} to put in.")


def _with_settings(
    cached: Generation, info: ModelInfo, prompt: Prompt, settings: GenerationSettings
) -> Generation:
    """A cached generation with the thresholds that are asked for now."""
    continuation = cached.continuation
    depths = token_depths(continuation.lens, continuation.divergence, settings)
    assert cached.provenance is not None
    return dataclasses.replace(
        cached,
        model=info,
        prompt=prompt,
        settings=settings,
        continuation=dataclasses.replace(continuation, depths=depths),
        provenance=dataclasses.replace(cached.provenance, cached=True),
    )
