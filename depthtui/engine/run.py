"""One run through a loaded model: fills its result row by row, and tells of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from depthtui.data.protocol import ContributionRows, Event, Halted, LensRows, MetricRows
from depthtui.data.results import (
    CausalMetric,
    Contributions,
    LogitLens,
    ModelInfo,
    RunResult,
)
from depthtui.engine.causal import Baselines, CausalRun
from depthtui.engine.control import Control
from depthtui.engine.tokens import Vocabulary
from depthtui.errors import DepthError
from depthtui.metrics.contributions import contributions
from depthtui.metrics.logit_lens import LensRows as DeviceLensRows
from depthtui.metrics.logit_lens import read_depth, read_lens
from depthtui.models.loading import LoadedModel
from depthtui.tracing.activations import ActivationRecorder, Activations
from depthtui.tracing.anatomy import Anatomy, execution_device
from depthtui.tracing.trace import LayerActivations, trace

_SECONDS_BETWEEN_ROWS = 0.04
"""Rows wait for each other this long, so that a GPU is not synchronised after every layer."""

_SECONDS_BETWEEN_PARTS = 0.2
"""Partial values of the slower metrics come at most this often."""


@dataclass
class ReadyModel:
    """A model that is ready for runs.

    `reads_on` is whether it goes on right from its cache of keys and values, None where that
    has not been tried yet.
    """

    loaded: LoadedModel
    anatomy: Anatomy
    info: ModelInfo
    vocabulary: Vocabulary
    baselines: Baselines
    reads_on: bool | None = None

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


class Run:
    """One run: fills the result row by row, and tells of each."""

    def __init__(
        self,
        model: ReadyModel,
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
        trace(
            self._model.loaded.model,
            self._model.anatomy,
            ids,
            on_layer,
            self.control.checkpoint,
            self.result.settings.silenced,
        )
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

    def tell_cached(self, cached: RunResult) -> None:
        """Take contributions and lens from a cached result, and tell of them."""
        result = self.result
        result.contributions, result.logit_lens = cached.contributions, cached.logit_lens
        result.layers_done = cached.layers_done
        if result.contributions is not None:
            self._emit(ContributionRows(self._run_id, 0, result.contributions, self.seconds))
        if result.logit_lens is not None:
            self._emit(LensRows(self._run_id, 0, result.logit_lens, self.seconds))

    def causal(self) -> CausalRun:
        """The slower metrics of this run."""
        return CausalRun(
            self._model.loaded.model,
            self._model.anatomy,
            self.result,
            self.control.checkpoint,
            self._tell_metric,
            self._model.baselines,
        )

    def _tell_metric(self, metric: str, value: CausalMetric, done: int, total: int) -> None:
        now = time.perf_counter()
        if done == total or now - self._told >= _SECONDS_BETWEEN_PARTS:
            self._told = now
            self._emit(MetricRows(self._run_id, metric, value, done, total, self.seconds))

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
                    unembedding,
                    recorder.residual(depth),
                    self._ids,
                    self.result.settings.top_k,
                    self.control.checkpoint,
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
