"""The interface of a run for the kernels of its metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol

import numpy as np
from torch import Tensor

from depthtui.data.arrays import MetricResult
from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt, RunResult
from depthtui.lenses.maps import LensMaps
from depthtui.metrics.layer_order import LayerOrder
from depthtui.tracing.anatomy import Anatomy, Sublayer, Unembedding
from depthtui.tracing.left_out import Substitute
from depthtui.tracing.patches import Patches
from depthtui.tracing.replay import Replay
from depthtui.tracing.timing import Times
from depthtui.tracing.trace import LayerActivations


class Context(Protocol):
    """One run while its on-demand metrics are computed; the engine implements it."""

    result: RunResult
    """The run: tokens, settings, and the results so far."""

    @property
    def residuals(self) -> Sequence[Tensor]:
        """h_0 … h_L of the run, each `[T, d]`: enough for a metric that runs no layer again.

        They were recorded with the run's pass; large ones are in a file.
        """

    @property
    def readable(self) -> Sequence[Tensor]:
        """The unembedding's input at depths 0 … L, each `[T, D]`: mostly `residuals`."""

    @property
    def layer_inputs(self) -> Mapping[int, Tensor]:
        """The input `[T, d]` of each layer that does not read the output of the one before."""

    @property
    def replay(self) -> Replay:
        """The recorded clean pass: h_0 … h_L, and layers that run on from them.

        It takes a forward pass, and has the keys and values of all layers in memory.
        """

    def pass_of(self, ids: np.ndarray) -> Replay:
        """The recorded clean pass of another text's token ids `[T]`."""

    def changed_readable(self, ids: np.ndarray) -> Sequence[Tensor]:
        """The unembedding's input at depths 0 … L, each `[T, D]`, in another text's pass.

        It has the run's own changes: layers left out, or run twice.
        """

    def without_adapter(self) -> AbstractContextManager[None]:
        """Give a model with an adapter the weights of its base while the context is open.

        Raises:
            DepthError: there is no memory for these weights.
        """

    def sublayers(self, part: str) -> Sequence[Sublayer]:
        """The modules that write each layer's `attention` or `mlp`."""

    def trace(
        self,
        on_layer: Callable[[LayerActivations], None],
        patches: Patches = MappingProxyType({}),
    ) -> None:
        """Run the model's own pass of the run's tokens, layer by layer, and keep nothing of it.

        Args:
            on_layer: called after each layer.
            patches: states that take the place of the pass's own.
        """

    @property
    def anatomy(self) -> Anatomy:
        """The model taken apart."""

    @property
    def unembedding(self) -> Unembedding:
        """Final norm and LM head."""

    def lens(self, kind: str) -> LensMaps:
        """The fitted lens of a kind that the settings name.

        Raises:
            DepthError: there is none.
        """

    def order(self, piece: Piece) -> LayerOrder | None:
        """The order in which pieces are left out; None for an order of the prompt's own tokens."""

    def own_orders(self, piece: Piece) -> tuple[LayerOrder, LayerOrder] | None:
        """The prompts' own order beside the model's, ranked and by a lazy queue.

        None for orders of the prompt's own tokens.
        """

    def guess(self, is_draft: bool = False) -> np.ndarray | None:
        """The loss of each token by the model's mean output without context, `[3, V]` in nats.

        The second and third are of half of the texts that it is a mean over; a draft has fewer.
        None where the model cannot write texts by itself.
        """

    def known_untrained(self) -> float | None:
        """The knowledge that an untrained model of this shape has of a token, in nats.

        Of the texts of the model's order. None where this costs more than that order, or there can
        be no such model.
        """

    def untrained_parts(self, report: Callable[[int, int], None]) -> tuple[int, ...] | None:
        """The parts with which an untrained model of this shape stays within a nat of its output.

        None where `known_untrained` is None.

        Args:
            report: called with the steps done and in all.
        """

    def answer_ids(self, prompt: Prompt) -> np.ndarray:
        """The token ids of another prompt's answer, `[A]`."""

    def choices(self) -> Sequence[tuple[np.ndarray, int]]:
        """For each choice of the prompt the token ids of the whole text, and where it begins.

        Raises:
            DepthError: the tokenizer makes no token of a choice.
        """

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids of tokens that end a text."""

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The raw texts of tokens."""

    @property
    def substitute(self) -> Substitute:
        """The substitute for a layer that is left out, by the settings."""

    @property
    def skipped(self) -> Sequence[Tensor]:
        """For every layer, the residual after it where the settings' part of it is left out.

        The substitute for the part is included.
        """

    @property
    def tokens_with_gradients(self) -> int:
        """How many tokens fit in memory with all that a backward pass needs of each layer."""

    @property
    def tokens_with_attention(self) -> int:
        """How many tokens fit in memory in a layer whose attention weights are kept."""

    def baseline(self) -> Sequence[Tensor]:
        """The mean state of the baseline prompts at depths 0 … L, each `[D]` float32."""

    def layers_at_once(self, tokens: int) -> int:
        """How many skipped layers fit in memory, each with `tokens` residuals and their keys."""

    def rows_at_once(self, rows: int, tokens: int) -> int:
        """How many of a result's rows to run together, each of `tokens` tokens.

        A part of them, so that the first are shown soon; fewer where the memory is too small.
        """

    def texts_at_once(self, texts: int) -> int:
        """How many texts of the prompt's length fit in memory, each with its keys and values."""

    def write(
        self,
        start: int,
        left_out: Sequence[Collection[int]],
        count: int,
        is_over: Callable[[np.ndarray], bool],
    ) -> np.ndarray:
        """Let the model write from a token on, `[texts, n]` token ids.

        Always the most probable token. Each text is written without some layers, and with the
        substitute for them.

        Args:
            start: index of the first token that the model writes itself.
            left_out: the layers that each text is written without.
            count: the most tokens to write.
            is_over: returns whether the texts so far, `[texts, n]`, are long enough.
        """

    def timed(self, layers: Sequence[int], passes: Sequence[int]) -> Times:
        """The times of the run's tokens where only some layers run, and of passes behind them.

        Args:
            layers: the layers that run.
            passes: how many tokens each pass behind the run's tokens reads.
        """

    def checkpoint(self) -> None:
        """Raise an error where the run is to stop."""

    def report(
        self,
        done: int,
        total: int,
        value: MetricResult | None,
        share: float | None = None,
        at_once: bool = False,
    ) -> None:
        """Report the progress of the metric.

        Args:
            done, total: units done and in all, such as layers.
            value: the result so far, kept while it is partial for a later run to continue from;
                None where there is none.
            share: the share of all work that is done; None where every unit costs the same.
            at_once: whether the value is always emitted, as before a pause; other values are
                dropped where they follow each other fast.
        """
