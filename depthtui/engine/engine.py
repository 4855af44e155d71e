"""The engine: a loaded model, a cache, and runs of prompts through both."""

from __future__ import annotations

import dataclasses
import functools
import platform
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

import depthtui
from depthtui.data import codec
from depthtui.data.generation import Continuation, Generation
from depthtui.data.lens import LENSES
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
from depthtui.data.run import Prompt, Provenance, RunResult
from depthtui.data.run_settings import GenerationSettings, ModelSpec, RunSettings
from depthtui.data.selection import layers_in
from depthtui.data.store import Store, make_key, open_store
from depthtui.depth.token_depths import token_depths
from depthtui.engine import memory, pruning
from depthtui.engine.context import Baselines
from depthtui.engine.control import Control
from depthtui.engine.generate import generate
from depthtui.engine.lenses import LensChoice, Lenses
from depthtui.engine.pruning import PrunedModel
from depthtui.engine.run import ReadyModel, Run
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError, RunStopped, first_line
from depthtui.files import write_whole
from depthtui.lenses.maps import LensMaps
from depthtui.metrics import (
    OF_THE_PASS,
    ON_DEMAND,
    check_names,
    empty_result,
    logit_lens,
    settling,
)
from depthtui.metrics.choices import key_parts
from depthtui.metrics.spec import Metric, Sizes
from depthtui.models.catalog import resolve
from depthtui.models.checked_config import read_checked_config
from depthtui.models.devices import answers, execution_device, hardware
from depthtui.models.loading import LoadedModel, load, local_folder
from depthtui.models.out_of_memory import free_caches, is_out_of_memory
from depthtui.models.pruning import write_pruned
from depthtui.models.recipe import RECIPE, mergekit_recipe
from depthtui.models.staging import staged
from depthtui.tracing.activations import Activations
from depthtui.tracing.parameters import with_parameters
from depthtui.tracing.parts import in_smaller_parts
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.products import fast_products, product_of

_QUICKER_THAN_DISK = ("cuda",)
"""Devices that run a prompt again sooner than its activations are read; a CPU takes six times
as long and more."""


class Engine:
    """Loads models and runs prompts.

    Args:
        store: the disk cache.
        models_dir: where converted models lie.
        emit: receives every event.
        activation_limit: most bytes of activations to cache for one run; 0 for none.
        baseline_texts: the prompts whose mean residual erasure puts in where a run names none.
        on_bug: keeps the details of an error that a metric met, and that the run goes on after.
        lenses_dir: where fitted lenses lie; None to keep them while their model is loaded.

    Attributes:
        activation_limit: the same; it may be changed between runs.
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
    ) -> None:
        self._on_bug = on_bug
        self._met_error = False
        self._lenses_dir = lenses_dir
        self._lenses: Lenses | None = None
        self._baseline_texts = baseline_texts
        self._store = store
        self._no_store = open_store(None, 0, lambda notice: None)
        self._models_dir = models_dir
        self._emit = emit
        self.activation_limit = activation_limit
        self._model: ReadyModel | None = None

    @property
    def model(self) -> ModelInfo | None:
        """The loaded model."""
        return None if self._model is None else self._model.info

    @property
    def lost_device(self) -> str:
        """The device that an error has cost this process, such as `cuda:0`; empty for none.

        Looked for after an error alone, since a look waits for the device.
        """
        if self._model is None or not self._met_error:
            return ""
        devices = self._model.placement.devices
        lost = next((str(device) for device in devices if not answers(device)), "")
        self._met_error = bool(lost)
        return lost

    def load(self, spec: ModelSpec, control: Control | None = None) -> ModelInfo:
        """Load a model in place of the one before, which stays where the new one's files are bad.

        Raises:
            DepthError: it cannot be found, read, held or followed.
            RunStopped: `control` stopped it.
        """

        def progress(event: Progress) -> None:
            if control is not None:
                control.checkpoint()
            self._emit(event)

        loaded = load(spec, self._models_dir, progress, self._unload)
        progress(Progress("Checking where the layers write", 0, 0, "layers"))
        info = self.use(loaded)
        if loaded.notice:
            self._emit(Notice(loaded.notice))
        return info

    def use(self, loaded: LoadedModel) -> ModelInfo:
        """Take a model that is in memory, in place of the one before.

        Nothing is cached of a model without a fingerprint: two such would share keys.

        Raises:
            DepthError: its layers cannot be followed, or too little memory is left to try.
        """
        try:
            anatomy = probe_architecture(loaded.model)
        except DepthError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                self._keep_details(error)
                raise DepthError(
                    f"{loaded.info.name} is loaded and cannot be run: {first_line(error)}.",
                    "Its config.json may be damaged, or of a form that transformers does not know.",
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
        )
        info = with_parameters(info, loaded.model, anatomy, loaded.parameter_counts)
        vocabulary = Vocabulary(loaded.tokenizer)

        def ids_of(text: str) -> torch.Tensor:
            ids = tokenise(loaded.tokenizer, Prompt(text), False, vocabulary).ids
            return torch.from_numpy(ids).to(execution_device(loaded.model.get_input_embeddings()))

        baselines = Baselines(loaded.model, anatomy, ids_of, self._baseline_texts)
        self._model = ReadyModel(loaded, anatomy, info, vocabulary, baselines)
        self._lenses = Lenses.of(self._model, self._lenses_dir)
        self._emit(ModelLoaded(info))
        self._emit_memory()
        return info

    def count_tokens(self, prompt: Prompt, chat_template: bool = False) -> int:
        """How many tokens the loaded model reads a prompt as, without running it.

        Raises:
            DepthError: no model is loaded, or it has no chat template.
        """
        model = self._ready()
        return len(tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary))

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

        A run that `control` stops returns what was done, with `complete` False.

        Args:
            prompt: the prompt.
            settings: what to measure.
            control: stops or halts it.
            run_id: by which the listener knows the run.
            fresh: whether it runs even where the cache has the result.
            recall: whether slower metrics that were not asked for are added where the cache has
                all of them.

        Raises:
            DepthError: no model is loaded, or the prompt cannot be run.
        """
        model = self._able()
        _check_settings(settings, model.info)
        tokens = tokenise(model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        result = empty_result(model.info, prompt, settings, tokens)
        run = Run(model, result, control or Control(), self._emit, run_id, self._keep_details)
        memory.check_fits(model.info, run.sizes, model.placement)
        self._emit(RunStarted(run_id, tokens))
        with fast_products(model.loaded.model):
            keep_later = self._compute(run, model, fresh or run.control.stepping, recall)
        self._emit(RunFinished(run_id, result))
        kept = [_kept(keep) for keep in keep_later]
        if not all(kept):
            self._emit(Notice("Too little memory was left to put all of the run into the cache."))
        self._emit_memory()
        return result

    def generate(
        self,
        prompt: Prompt,
        settings: GenerationSettings,
        control: Control | None = None,
        run_id: int = 0,
    ) -> Generation:
        """Let the model answer a prompt, or take what it wrote from the cache.

        The prompt's own answer is left out. What `control` stops returns what was written,
        with `complete` False.

        Raises:
            DepthError: no model is loaded, it has no lens or not the one that is asked for, or
                the prompt cannot be read.
        """
        model = self._able()
        asked = Prompt(prompt.question, task=prompt.task, level=prompt.level)
        tokens = tokenise(model.loaded.tokenizer, asked, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        memory.check_fits(model.info, model.sizes(len(tokens), len(tokens)), model.placement)
        generation = Generation.empty(model.info, asked, settings, tokens)
        self._emit(GenerationStarted(run_id, tokens))
        checkpoint = (control or Control()).checkpoint
        try:
            maps = self._lens_of(settings, checkpoint)
        except RunStopped:
            generation.stopped_by = "user"
            self._emit(GenerationFinished(run_id, generation))
            return generation
        generation.fit = None if maps is None else maps.fit
        key = _generation_key(model.info, generation)
        started, clock = datetime.now(UTC), time.perf_counter()

        def emit_part(part: Continuation) -> None:
            self._emit(GeneratedTokens(run_id, part, time.perf_counter() - clock))

        cached = self._cached(key, Generation)
        if cached is not None:
            generation = _with_settings(cached, model.info, asked, settings)
            emit_part(generation.continuation)
        else:
            with fast_products(model.loaded.model):
                self._write(model, generation, checkpoint, emit_part, maps)
            generation.provenance = _provenance(model, started, time.perf_counter() - clock)
        self._emit(GenerationFinished(run_id, generation))
        if cached is None and generation.complete:
            words = f"{model.info.name} · {len(tokens)} + {len(generation.continuation)} tokens"
            self._cache.put(
                key, codec.encode(generation), f"{words} · {asked.task} · generated", "result"
            )
        self._emit_memory()
        return generation

    def fit_lens(self, choice: LensChoice, control: Control | None = None) -> LensMaps:
        """Fit a lens of the loaded model, and keep it.

        Raises:
            DepthError: no model is loaded, or the lens cannot be fitted.
            RunStopped: `control` stopped it; a Jacobian lens goes on there the next time.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint

        def notify(words: str) -> None:
            self._emit(Notice(words))

        return in_smaller_parts(lambda: lenses.fit(choice, self._emit_stage, check, notify))

    def prune(
        self,
        left_out: Collection[int],
        folder: Path,
        control: Control | None = None,
        keep_loaded: bool = True,
    ) -> PrunedModel:
        """Write the loaded model without some of its layers to a folder that is not there yet.

        What is written is loaded once, and must say the same to a few tokens as the loaded model
        without these layers; else nothing is written. The recipe lies beside it.

        Args:
            left_out: layers by their numbers.
            folder: where to.
            control: stops it.
            keep_loaded: whether the model stays in memory while the other one is checked.

        Raises:
            DepthError: no model is loaded, it cannot be written without these layers, there is
                something in the folder, or no memory to check what was written.
            RunStopped: `control` stopped it; nothing is left behind.
        """
        checkpoint = (control or Control()).checkpoint

        def progress(event: Progress) -> None:
            checkpoint()
            self._emit(event)

        info = self._ready().info
        kept = pruning.layers_kept(info.n_layers, left_out)
        pruning.check_is_free(folder)
        source = resolve(info.spec, self._models_dir)
        origin = local_folder(source, info.spec, self._models_dir, progress)
        progress(Progress("Reading what it says without these layers", 0, 0, "layers"))
        stack, expected = pruning.without_layers(self._able(), left_out)
        with staged(folder, elsewhere="Choose another folder.") as staging:
            config = read_checked_config(origin, info.spec.trust_remote_code)
            write_pruned(origin, staging, config, stack, kept, progress)
            write_whole(staging / RECIPE, mergekit_recipe(info, self._models_dir, kept))
            spec = dataclasses.replace(info.spec, name=str(staging), revision="")
            make_room = free_caches if keep_loaded else self._unload
            off, parameters = pruning.check(
                lambda: load(spec, self._models_dir, progress, make_room), expected
            )
        return PrunedModel(folder, kept, parameters, off)

    def import_lens(self, path: Path, control: Control | None = None) -> LensMaps:
        """Keep a published Jacobian lens for the loaded model.

        Raises:
            DepthError: no model is loaded, or the file holds no lens of it.
            RunStopped: `control` stopped it.
        """
        lenses, check = self.lenses, (control or Control()).checkpoint
        return lenses.take_published(path, self._emit_stage, check)

    def _lens_of(
        self, settings: GenerationSettings, checkpoint: Callable[[], None]
    ) -> LensMaps | None:
        """The fitted lens that a text is read through, fitted where it can be; None for none."""
        if settings.lens == LOGIT:
            return None
        # The seed draws the text, whose lens stays the same.
        choice = LensChoice(settings.lens)
        take = functools.partial(self.lenses.take, choice, self._emit_stage, checkpoint)
        try:
            return in_smaller_parts(take)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DepthError(
                f"The memory does not suffice to fit the {lens_title(settings.lens)}.",
                "Read through the logit lens, or use a smaller model.",
            ) from error

    def _emit_stage(self, stage: str, done: int, total: int) -> None:
        self._emit(Progress(stage, done, total, "steps"))

    @property
    def lenses(self) -> Lenses:
        """The fitted lenses of the loaded model.

        Raises:
            DepthError: no model is loaded.
        """
        self._ready()
        assert self._lenses is not None
        return self._lenses

    def _write(
        self,
        model: ReadyModel,
        generation: Generation,
        checkpoint: Callable[[], None],
        emit_part: Callable[[Continuation], None],
        maps: LensMaps | None,
    ) -> None:
        """Generate; where the memory ends, what was written until then stays."""
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
            if not is_out_of_memory(error):
                self._met_error = True
                raise
            length = len(generation.tokens) + len(generation.continuation)
            if not len(generation.continuation):
                raise _does_not_fit(model, model.sizes(length, length)) from error
            generation.stopped_by = "memory"
            self._emit(Notice(f"The memory ran out after {length:,} tokens."))

    def _ready(self) -> ReadyModel:
        if self._model is None:
            raise DepthError("No model is loaded.", "Choose a model first.")
        return self._model

    def _able(self) -> ReadyModel:
        """The model, on devices that answer."""
        if lost := self.lost_device:
            raise DepthError(
                f"An error on {lost} cost this process the device.",
                "Start depthtui again; what was finished is kept.",
            )
        return self._ready()

    def _keep_details(self, error: Exception) -> None:
        self._met_error = True
        self._on_bug(error)

    @property
    def _cache(self) -> Store:
        """The cache, or one that keeps nothing for a model that no key could tell from others."""
        return self._store if self._ready().info.fingerprint else self._no_store

    def _unload(self) -> None:
        self._model = None
        self._lenses = None
        free_caches()

    def _compute(
        self, run: Run, model: ReadyModel, fresh: bool, recall: bool
    ) -> list[Callable[[], None]]:
        """Fill the run's result; returns what is left to do for the cache."""
        started = datetime.now(UTC)
        result = run.result
        keep_later: list[Callable[[], None]] = []
        try:
            self._measure(run, model, fresh, keep_later)
            if recall:
                self._recall(run, model)
            self._measure_on_demand(run, model, fresh, keep_later)
            result.complete = True
        except RunStopped:
            pass
        except Exception as error:
            if not is_out_of_memory(error):
                self._met_error = True
                raise
            raise _does_not_fit(model, run.sizes) from error
        finally:
            run.flush()
        if keep_later or result.provenance is None:
            result.provenance = _provenance(model, started, run.seconds)
        return keep_later

    def _measure(
        self, run: Run, model: ReadyModel, fresh: bool, keep_later: list[Callable[[], None]]
    ) -> None:
        """Contributions and lens: from the cached result, the cached activations or a forward."""
        result = run.result
        if not set(OF_THE_PASS) & set(result.settings.metrics):
            return
        key = _result_key(model.info, result)
        cached = None if fresh else self._cached(key, RunResult)
        if cached is not None:
            run.emit_cached(cached)
            assert cached.provenance is not None
            result.provenance = dataclasses.replace(cached.provenance, cached=True)
            return
        keeps = self._keeps_activations(model, result)
        found = self._cached_activations(model, result) if keeps and not fresh else None
        settles = self._lens_settles(run, model, fresh)
        if found is not None:
            run.read_activations(found, settles)
        else:
            activations, keeps = _forward(run, keeps, settles)
            if keeps:
                keep_later.append(lambda: self._keep_activations(model, result, activations))
        provenance = _provenance(model, datetime.now(UTC), run.seconds)
        base = dataclasses.replace(
            result, complete=True, unavailable={}, failed=(), provenance=provenance
        )
        # Without what failed it is the result of a run that was not asked for that.
        key = _result_key(model.info, result)
        if base.measured:
            keep_later.append(lambda: self._keep(key, base, result))
        if run.settling is not None:
            run.emit_whole(settling.METRIC, run.settling)
            apart = _metric_key(model.info, result, settling.METRIC)
            keep_later.append(functools.partial(self._keep, apart, run.settling, result))

    def _lens_settles(self, run: Run, model: ReadyModel, fresh: bool) -> bool:
        """Whether the lens is to bring settling: it is asked for, can be had and is not known."""
        metric, result = settling.METRIC, run.result
        asked = {metric.name, logit_lens.METRIC.name} <= set(result.settings.metrics)
        if not asked or metric.why_unavailable(result):
            return False
        key = _metric_key(model.info, result, metric)
        if not fresh and self._cached(key, metric.result) is not None:
            return False
        placement = model.placement
        return not memory.why_not(metric, model.info, run.sizes, placement, placement.rooms())

    def _recall(self, run: Run, model: ReadyModel) -> None:
        """Take what the cache has whole of slower metrics that were not asked for."""
        result = run.result
        for metric in ON_DEMAND:
            if metric.name in result.settings.metrics or metric.why_unavailable(result):
                continue
            fit = ""
            if metric.through:
                maps = self._lens_at_hand(LensChoice.of(metric.through, result.settings))
                if maps is None:
                    continue
                fit = maps.fit.digest
            held = self._cached(_metric_key(model.info, result, metric, fit), metric.result)
            if held is not None and held.is_whole:
                metrics = (*result.settings.metrics, metric.name)
                result.settings = dataclasses.replace(result.settings, metrics=metrics)
                run.emit_whole(metric, held)

    def _lens_at_hand(self, choice: LensChoice) -> LensMaps | None:
        """A fitted lens that is there; None also where it cannot be read: nobody asked for it."""
        try:
            return self.lenses.at_hand(choice)
        except DepthError:
            return None

    def _measure_on_demand(
        self, run: Run, model: ReadyModel, fresh: bool, keep_later: list[Callable[[], None]]
    ) -> None:
        """The slower metrics, each from the cache or computed; unfinished ones are kept too."""
        result = run.result
        settings = result.settings
        choices = {kind: LensChoice.of(kind, settings) for kind in LENSES[1:]}

        def lens(kind: str) -> LensMaps:
            return self.lenses.take(choices[kind], lambda *_: None, run.control.checkpoint)

        context = run.context(
            lambda: None if fresh else self._cached_activations(model, result), lens
        )
        # Before the recorded pass takes its share.
        rooms = model.placement.rooms()
        for metric in ON_DEMAND:
            if metric.name not in result.settings.metrics or metric.name in result.measured:
                continue
            reason = metric.why_unavailable(result)
            if reason:
                result.unavailable[metric.name] = reason
                continue
            fit = ""
            if metric.through:
                if not self._has_lens(run, metric, choices[metric.through]):
                    continue
                fit = lens(metric.through).fit.digest
            key = _metric_key(model.info, result, metric, fit)
            held = None if fresh else self._cached(key, metric.result)
            if held is not None and held.is_whole:
                run.emit_whole(metric, held)
                continue
            reason = memory.why_not(metric, model.info, run.sizes, model.placement, rooms)
            if reason:
                result.fail(metric.name, reason)
                continue
            try:
                run.attempt(metric.name, functools.partial(run.compute, metric, context, held))
            finally:
                value = result.measured.get(metric.name)
                if value is not None:
                    keep_later.append(functools.partial(self._keep, key, value, result))

    def _has_lens(self, run: Run, metric: Metric, choice: LensChoice) -> bool:
        """Find or fit the lens that a metric reads through; False where there is none."""
        stages: list[str] = []
        told = run.preparation(metric)

        def report(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages.append(stage)
            # Writing texts and fitting take about as long.
            told((len(stages) - 1 + done / max(1, total)) / 2)

        def work() -> None:
            self.lenses.take(choice, report, run.control.checkpoint)

        return run.attempt(metric.name, work)

    def _cached(self, key: str, kind: Any) -> Any:
        data = self._cache.get(key)
        if data is None:
            return None
        try:
            value = codec.decode(data)
        except codec.CodecError:
            return None
        return value if isinstance(value, kind) else None

    def _cached_activations(self, model: ReadyModel, result: RunResult) -> Activations | None:
        data = self._cache.get(_activations_key(model.info, result))
        return None if data is None else Activations.from_bytes(data)

    def _keeps_activations(self, model: ReadyModel, result: RunResult) -> bool:
        """Whether activations are read and kept: where that is quicker, and they are few enough."""
        fits = _activation_bytes(model.info, len(result.tokens)) <= self.activation_limit
        return fits and model.placement.layers[0].type not in _QUICKER_THAN_DISK

    def _keep(self, key: str, value: object, result: RunResult) -> None:
        self._cache.put(key, codec.encode(value), _title(result), "result")

    def _keep_activations(
        self, model: ReadyModel, result: RunResult, activations: Activations
    ) -> None:
        key = _activations_key(model.info, result)
        self._cache.put(key, activations.to_bytes(), _title(result), "activations")

    def _emit_memory(self) -> None:
        cpu = (torch.device("cpu"),)
        devices = cpu if self._model is None else self._model.placement.devices
        self._emit(Memory(*memory.used_and_total(devices)))


def _forward(run: Run, keep_writes: bool, settles: bool) -> tuple[Activations, bool]:
    """The forward pass, and whether it kept what sublayers write: not where memory is short."""
    try:
        return run.forward(keep_writes, settles), keep_writes
    except Exception as error:
        if not keep_writes or not is_out_of_memory(error):
            raise
    free_caches()
    run.start_over()
    return run.forward(False, settles), False


def _kept(keep: Callable[[], None]) -> bool:
    """Put something into the cache; False where the memory does not suffice."""
    try:
        keep()
    except BaseException as error:  # safetensors panics
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _does_not_fit(model: ReadyModel, sizes: Sizes) -> DepthError:
    placement = model.placement
    return memory.does_not_fit(model.info, sizes, placement, placement.rooms())


def _check_settings(settings: RunSettings, info: ModelInfo) -> None:
    """Refuse metrics and layers that do not exist."""
    check_names(settings.metrics)
    last = layers_in(settings.layers, info.n_layers)[-1]
    if last >= info.n_layers:
        raise DepthError(
            f"There is no layer {last} in {info.name}.",
            f"Its layers are 0 to {info.n_layers - 1}.",
        )
    if settings.skip_everywhere and settings.skip_positions:
        raise DepthError(
            "Layers are skipped before positions or at all tokens, not both.",
            "Choose positions, or all tokens.",
        )
    for skip in settings.skipped:
        if not 0 <= skip.layer < info.n_layers:
            raise DepthError(f"There is no layer {skip.layer} in {info.name}.")
        if skip.part != "layer" and info.split_missing:
            raise DepthError(f"Attention and MLP cannot be told apart: {info.split_missing}.")


def _title(result: RunResult) -> str:
    changed = " · what-if" if result.settings.skipped else ""
    return f"{result.model.name} · {len(result.tokens)} tokens · {result.prompt.task}{changed}"


def _with_settings(
    cached: Generation, info: ModelInfo, prompt: Prompt, settings: GenerationSettings
) -> Generation:
    """A cached generation under the thresholds that are asked for now."""
    written = cached.continuation
    depths = token_depths(written.lens, written.divergence, settings)
    assert cached.provenance is not None
    return dataclasses.replace(
        cached,
        model=info,
        prompt=prompt,
        settings=settings,
        continuation=dataclasses.replace(written, depths=depths),
        provenance=dataclasses.replace(cached.provenance, cached=True),
    )


def _generation_key(info: ModelInfo, generation: Generation) -> str:
    settings, fit = generation.settings, generation.fit
    lens = {} if fit is None else {"lens": settings.lens, "fit": fit.digest}
    return make_key(
        "result",
        **_model_parts(info),
        token_ids=generation.tokens.ids,
        generated=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p if settings.temperature else 1.0,
        seed=settings.seed if settings.temperature else 0,
        top_k=settings.top_k,
        **lens,
    )


def _key_parts(info: ModelInfo, result: RunResult) -> dict[str, Any]:
    return {
        **_model_parts(info),
        "token_ids": result.tokens.ids,
        "silenced": sorted(result.settings.skipped, key=lambda skip: (skip.layer, skip.part)),
    }


def _model_parts(info: ModelInfo) -> dict[str, Any]:
    return {
        "fingerprint": info.fingerprint,
        "revision": info.revision,
        "dtype": info.dtype,
        "quantize": info.quantize,
        "device": hardware(info.device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _result_key(info: ModelInfo, result: RunResult) -> str:
    wanted = sorted(set(OF_THE_PASS) & set(result.settings.metrics) - set(result.failed))
    parts = {"top_k": result.settings.top_k, "metrics": wanted}
    return make_key("result", **_key_parts(info, result), **parts)


def _metric_key(info: ModelInfo, result: RunResult, metric: Metric, fit: str = "") -> str:
    make_parts = metric.cache_key or (lambda result: key_parts(result, metric.depends_on))
    parts = make_parts(result)
    if fit:
        parts = {**parts, "fit": fit}
    return make_key("result", **_key_parts(info, result), metric=metric.name, **parts)


def _activations_key(info: ModelInfo, result: RunResult) -> str:
    return make_key("activations", **_key_parts(info, result))


def _activation_bytes(info: ModelInfo, n_tokens: int) -> int:
    size = 4 if info.dtype == "float32" else 2
    return (3 * info.n_layers + 1) * n_tokens * info.d_model * size


def _provenance(model: ReadyModel, started: datetime, seconds: float) -> Provenance:
    return Provenance(
        depthtui=depthtui.__version__,
        torch=torch.__version__,
        transformers=transformers.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        started=started.isoformat(timespec="seconds"),
        seconds=seconds,
        product=product_of(model.loaded.model),
        device=hardware(model.info.device),
    )
