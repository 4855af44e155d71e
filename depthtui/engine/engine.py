"""The engine: a loaded model, a cache, and runs of prompts through both."""

from __future__ import annotations

import dataclasses
import gc
import platform
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import depthtui
from depthtui.engine import codec, memory
from depthtui.engine.activations import ActivationRecorder, Activations
from depthtui.engine.anatomy import Anatomy, execution_device, study
from depthtui.engine.control import Control
from depthtui.engine.loading import LoadedModel, load
from depthtui.engine.metrics.contributions import contributions
from depthtui.engine.metrics.logit_lens import LensRows as DeviceLensRows
from depthtui.engine.metrics.logit_lens import read_depth, read_lens
from depthtui.engine.protocol import (
    ContributionRows,
    Event,
    Halted,
    LensRows,
    Memory,
    ModelLoaded,
    Progress,
    RunFinished,
    RunStarted,
)
from depthtui.engine.results import (
    Contributions,
    LogitLens,
    ModelInfo,
    ModelSpec,
    Prompt,
    Provenance,
    RunResult,
    RunSettings,
)
from depthtui.engine.store import Store, make_key
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.engine.trace import LayerActivations, trace
from depthtui.errors import DepthError, RunStopped

METRICS = ("contributions", "logit_lens")

_SECONDS_BETWEEN_ROWS = 0.04
"""Rows wait for each other this long, so that a GPU is not synchronised after every layer."""


class Engine:
    """Loads models and runs prompts.

    Args:
        store: the disk cache.
        models_dir: where converted models lie.
        emit: receives every event.
        activation_limit: most bytes of activations to cache for one run; 0 for none.
    """

    def __init__(
        self,
        store: Store,
        models_dir: Path,
        emit: Callable[[Event], None],
        activation_limit: int = 1 << 30,
    ) -> None:
        self._store = store
        self._models_dir = models_dir
        self._emit = emit
        self._activation_limit = activation_limit
        self._model: _Model | None = None

    @property
    def model(self) -> ModelInfo | None:
        """The loaded model."""
        return None if self._model is None else self._model.info

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
        anatomy = study(loaded.model)
        info = dataclasses.replace(
            loaded.info,
            parallel=anatomy.parallel,
            split_missing=anatomy.split_missing,
            lens_missing=anatomy.lens_missing,
        )
        self._model = _Model(loaded, anatomy, info, Vocabulary(loaded.tokenizer))
        self._emit(ModelLoaded(info))
        self._emit_memory()
        return info

    def run(
        self,
        prompt: Prompt,
        settings: RunSettings,
        control: Control | None = None,
        run_id: int = 0,
        fresh: bool = False,
    ) -> RunResult:
        """Run a prompt, or take its result from the cache.

        A run that `control` stops returns what was done, with `complete` False.

        Raises:
            DepthError: no model is loaded, or the prompt cannot be run.
        """
        model = self._model
        if model is None:
            raise DepthError("No model is loaded.", "Choose a model first.")
        unknown = set(settings.metrics) - set(METRICS)
        if unknown:
            raise DepthError(
                f"There is no metric named {', '.join(sorted(unknown))}.",
                f"Choose from {', '.join(METRICS)}.",
            )
        tokens = tokenise(model.loaded.tokenizer, prompt, settings.chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        memory.check_fits(model.info, settings, len(tokens), model.device)
        result = RunResult.empty(model.info, prompt, settings, tokens)
        self._emit(RunStarted(run_id, tokens))
        control = control or Control()
        if not (fresh or control.stepping) and self._take_from_cache(model, result):
            self._emit(RunFinished(run_id, result))
            return result
        run = _Run(model, result, control, self._emit, run_id)
        kept = self._compute(run, model, fresh)
        self._emit(RunFinished(run_id, result))
        if result.complete:
            self._keep(model, result, kept)
        self._emit_memory()
        return result

    def _unload(self) -> None:
        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _compute(self, run: _Run, model: _Model, fresh: bool) -> Activations | None:
        """Fill the run's result; returns activations that are new and worth keeping."""
        started = datetime.now(UTC)
        result = run.result
        found = None if fresh or run.control.stepping else self._cached_activations(model, result)
        kept = None
        try:
            if found is not None:
                run.read_activations(found)
            else:
                size = _activation_bytes(model.info, len(result.tokens))
                kept = run.forward(keep_writes=size <= self._activation_limit)
            result.complete = True
        except RunStopped:
            pass
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            room = memory.available(model.device)
            raise memory.does_not_fit(
                model.info, result.settings, len(result.tokens), room
            ) from error
        finally:
            run.flush()
        result.provenance = _provenance(started, run.seconds)
        return kept

    def _take_from_cache(self, model: _Model, result: RunResult) -> bool:
        data = self._store.get(_result_key(model.info, result))
        if data is None:
            return False
        try:
            cached = codec.decode(data)
        except codec.CodecError:
            return False
        result.contributions = cached.contributions
        result.logit_lens = cached.logit_lens
        result.layers_done = cached.layers_done
        result.complete = True
        result.provenance = dataclasses.replace(cached.provenance, cached=True)
        return True

    def _cached_activations(self, model: _Model, result: RunResult) -> Activations | None:
        data = self._store.get(_activations_key(model.info, result))
        return None if data is None else Activations.from_bytes(data)

    def _keep(self, model: _Model, result: RunResult, kept: Activations | None) -> None:
        title = f"{model.info.name} · {len(result.tokens)} tokens · {result.prompt.task}"
        self._store.put(_result_key(model.info, result), codec.encode(result), title, "result")
        size = _activation_bytes(model.info, len(result.tokens))
        if kept is not None and size <= self._activation_limit:
            key = _activations_key(model.info, result)
            self._store.put(key, kept.to_bytes(), title, "activations")

    def _emit_memory(self) -> None:
        device = torch.device("cpu") if self._model is None else self._model.device
        self._emit(Memory(*memory.used_and_total(device)))


@dataclasses.dataclass
class _Model:
    """A model that is ready for runs."""

    loaded: LoadedModel
    anatomy: Anatomy
    info: ModelInfo
    vocabulary: Vocabulary

    @property
    def device(self) -> torch.device:
        """Where the first layer computes."""
        return execution_device(self.anatomy.layers[0])

    def check_ids(self, ids: np.ndarray) -> None:
        """Refuse a token that the tokenizer knows and the model does not.

        Raises:
            DepthError: there is one.
        """
        known: int = self.loaded.model.get_input_embeddings().num_embeddings  # type: ignore[assignment]
        beyond = ids[ids >= known]
        if len(beyond):
            text = ascii(self.vocabulary.text(int(beyond[0])))
            raise DepthError(
                f"The tokenizer makes the token {text} (id {beyond[0]}), but the model's "
                f"embedding ends at {known - 1}.",
                "Leave that token out of the prompt.",
            )


class _Run:
    """One run: fills the result row by row, and tells of each."""

    def __init__(
        self,
        model: _Model,
        result: RunResult,
        control: Control,
        emit: Callable[[Event], None],
        run_id: int,
    ) -> None:
        self.result = result
        self.control = control
        self._model = model
        self._emit = emit
        self._run_id = run_id
        self._ids = torch.from_numpy(result.tokens.ids)
        self._started = time.perf_counter()
        self._waiting: list[torch.Tensor] = []
        self._told = self._started

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def forward(self, keep_writes: bool) -> Activations:
        """Run the model, each layer reduced as it comes, then read the lens."""
        recorder = ActivationRecorder(self._model.info.n_layers, keep_writes)

        def on_layer(layer: LayerActivations) -> None:
            recorder.add(layer)
            self._add_contributions(layer)
            if self.control.stepping:
                self._halt(layer.layer, recorder)

        embedding = self._model.loaded.model.get_input_embeddings()
        ids = self._ids.to(execution_device(embedding))
        trace(self._model.loaded.model, self._model.anatomy, ids, on_layer, self.control.checkpoint)
        self.flush()
        activations = recorder.activations()
        self._read_lens(activations.residual)
        return activations

    def read_activations(self, activations: Activations) -> None:
        """Take the layers from the cache instead of the model."""
        for layer in activations.layers():
            self.control.checkpoint()
            self._add_contributions(layer)
        self.flush()
        self._read_lens(activations.residual)

    def flush(self) -> None:
        """Tell of the contribution rows that wait."""
        if not self._waiting:
            return
        first = self.result.layers_done
        values = torch.stack([each.to("cpu") for each in self._waiting]).numpy()
        self._waiting = []
        rows = Contributions(*(values[:, place] for place in range(values.shape[1])))
        self.result.put_contributions(first, rows)
        self._told = time.perf_counter()
        self._emit(ContributionRows(self._run_id, first, rows, self.seconds))

    def _add_contributions(self, layer: LayerActivations) -> None:
        if self.result.contributions is None:
            self.result.layers_done = layer.layer + 1
            return
        self._waiting.append(contributions(layer, self._model.info.parallel))
        if time.perf_counter() - self._told >= _SECONDS_BETWEEN_ROWS:
            self.flush()

    def _halt(self, layer: int, recorder: ActivationRecorder) -> None:
        """Show what there is of this layer, then wait for a key."""
        self.flush()
        unembedding = self._model.anatomy.unembedding
        if self.result.logit_lens is not None and unembedding is not None:
            for depth in (0, 1) if layer == 0 else (layer + 1,):
                rows = read_depth(
                    unembedding, recorder.residual(depth), self._ids, self.result.settings.top_k
                )
                self._add_lens(depth, rows)
        self._emit(Halted(self._run_id, layer))
        self.control.wait()

    def _read_lens(self, residual: torch.Tensor) -> None:
        unembedding = self._model.anatomy.unembedding
        if self.result.logit_lens is None or unembedding is None:
            return
        read_lens(
            unembedding,
            list(residual),
            self._ids,
            self.result.settings.top_k,
            self._add_lens,
            self.control.checkpoint,
        )

    def _add_lens(self, first: int, rows: DeviceLensRows) -> None:
        arrays = {name: value.numpy().copy() for name, value in vars(rows).items()}
        lens = LogitLens(**arrays, vocabulary=self._texts(arrays["top_ids"]))
        self.result.put_lens(first, lens)
        self._emit(LensRows(self._run_id, first, lens, self.seconds))

    def _texts(self, ids: np.ndarray) -> dict[int, str]:
        """Texts of the ids that this run has not told yet."""
        assert self.result.logit_lens is not None
        known = self.result.logit_lens.vocabulary
        new: Iterable[int] = (each for each in np.unique(ids).tolist() if each >= 0)
        return self._model.vocabulary.texts(each for each in new if each not in known)


def _key_parts(info: ModelInfo, result: RunResult) -> dict[str, Any]:
    return {
        "fingerprint": info.fingerprint,
        "revision": info.revision,
        "dtype": info.dtype,
        "quantize": info.quantize,
        "device": info.device,
        "token_ids": result.tokens.ids,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _result_key(info: ModelInfo, result: RunResult) -> str:
    settings = {"top_k": result.settings.top_k, "metrics": sorted(result.settings.metrics)}
    return make_key("result", **_key_parts(info, result), **settings)


def _activations_key(info: ModelInfo, result: RunResult) -> str:
    return make_key("activations", **_key_parts(info, result))


def _activation_bytes(info: ModelInfo, n_tokens: int) -> int:
    size = 4 if info.dtype == "float32" else 2
    return (3 * info.n_layers + 1) * n_tokens * info.d_model * size


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _provenance(started: datetime, seconds: float) -> Provenance:
    return Provenance(
        depthtui=depthtui.__version__,
        torch=torch.__version__,
        transformers=transformers.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        started=started.isoformat(timespec="seconds"),
        seconds=seconds,
    )
