"""What a kernel needs of the run that it works for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol

import numpy as np
from torch import Tensor

from depthtui.data.arrays import MetricResult
from depthtui.data.run import RunResult
from depthtui.lenses.maps import LensMaps
from depthtui.tracing.anatomy import Anatomy, Sublayer, Unembedding
from depthtui.tracing.left_out import Substitute
from depthtui.tracing.patches import Patches
from depthtui.tracing.replay import Replay
from depthtui.tracing.trace import LayerActivations


class Context(Protocol):
    """One run while its on-demand metrics are computed; the engine brings it."""

    result: RunResult
    """The run: tokens, settings, and what was measured so far."""

    @property
    def residuals(self) -> Sequence[Tensor]:
        """h_0 … h_L of the run, each `[T, d]`: all that a metric needs which runs no layer again.

        They were recorded with the run's pass; large ones lie in a file.
        """

    @property
    def readable(self) -> Sequence[Tensor]:
        """What the unembedding reads at depths 0 … L, each `[T, D]`: mostly `residuals`."""

    @property
    def read(self) -> Mapping[int, Tensor]:
        """`[T, d]` of each layer that reads something else than the one before has written."""

    @property
    def replay(self) -> Replay:
        """The recorded clean pass: h_0 … h_L, and layers that run on from them.

        A forward pass of its own, with the keys and values of all layers in memory.
        """

    def pass_of(self, ids: np.ndarray) -> Replay:
        """The recorded clean pass of another text's token ids `[T]`."""

    def without_adapter(self) -> AbstractContextManager[None]:
        """A while in which a model with an adapter has the weights of its base.

        Raises:
            DepthError: there is no memory for these.
        """

    def sublayers(self, part: str) -> Sequence[Sublayer]:
        """The modules that write each layer's `attention` or `mlp`."""

    def trace(
        self,
        on_layer: Callable[[LayerActivations], None],
        patches: Patches = MappingProxyType({}),
    ) -> None:
        """The model's own pass of the run's tokens, layer by layer, of which nothing is kept.

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

    def order(self) -> Sequence[int] | None:
        """The order in which layers are left out; None for one of the prompt's own tokens."""

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The raw texts of tokens."""

    @property
    def substitute(self) -> Substitute:
        """What stands in for a layer that is left out, as the settings have it."""

    @property
    def skipped(self) -> Sequence[Tensor]:
        """For every layer, the residual after it where the settings' part of it is left out.

        What stands in for it is in there.
        """

    @property
    def tokens_with_gradients(self) -> int:
        """How many tokens fit in memory with what a backward pass needs of every layer."""

    @property
    def tokens_with_attention(self) -> int:
        """How many tokens fit in memory in a layer whose attention weights are kept."""

    def baseline(self) -> Sequence[Tensor]:
        """The mean state of the baseline prompts at depths 0 … L, each `[D]` float32."""

    def layers_at_once(self, tokens: int) -> int:
        """How many skipped layers fit in memory, each with so many residuals and their keys."""

    def texts_at_once(self, texts: int) -> int:
        """How many texts of the prompt's length fit in memory, each with its keys and values."""

    def write(
        self,
        start: int,
        left_out: Sequence[int | None],
        on_token: Callable[[int], None] = lambda count: None,
    ) -> np.ndarray:
        """What the model writes from a token on, as far as the prompt goes, `[texts, T - start]`.

        Always the most probable token; each text without a layer, or the settings' part of it, and
        with what stands in for that.

        Args:
            start: index of the first token that the model writes itself.
            left_out: the layer that each text is written without; None where there is none.
            on_token: called with how many tokens of each text are written.
        """

    def checkpoint(self) -> None:
        """Raises where the run is to stop."""

    def report(
        self, done: int, total: int, value: MetricResult | None, share: float | None = None
    ) -> None:
        """Say how far the metric is.

        Args:
            done, total: units done and in all, such as layers.
            value: what is known, which is kept while it is not whole, for a later run to go on
                from; None where nothing is.
            share: of all work that is done; None where every unit costs the same.
        """
