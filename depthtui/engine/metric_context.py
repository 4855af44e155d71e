"""The context shared by kernels of on-demand metrics: a replayed pass, and room in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from depthtui.data.arrays import MetricResult
from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.engine.memory import Placement
from depthtui.lenses.maps import LensMaps
from depthtui.metrics.choices import layers_per_part
from depthtui.metrics.costs import Sizes, backward
from depthtui.metrics.layer_order import LayerOrder
from depthtui.metrics.part_bytes import part_bytes
from depthtui.metrics.skip_effects.compute import skipped_residuals
from depthtui.models.adapters import BaseWeights
from depthtui.models.devices import execution_device
from depthtui.tracing.activations import Activations, record_residuals
from depthtui.tracing.anatomy import Anatomy, Sublayer, Unembedding
from depthtui.tracing.batching import at_once
from depthtui.tracing.decoding import write_greedily
from depthtui.tracing.left_out import Substitute
from depthtui.tracing.patches import Patches
from depthtui.tracing.replay import Replay, mixes_tokens
from depthtui.tracing.timing import Times, times
from depthtui.tracing.trace import LayerActivations, trace

UntrainedParts = Callable[[Callable[[int, int], None]], tuple[int, ...] | None]
"""Returns parts; calls its argument with the steps done and in all."""

OwnOrders = Callable[[Piece], tuple[LayerOrder, LayerOrder] | None]
"""Returns the orders of a kind of pieces by other prompts, ranked and lazy; None for none."""

_MOST_AT_ONCE = {"cpu": 4096}
_MOST_AT_ONCE_ELSEWHERE = 32768

_ATTENTION_BYTES = 128 << 20
"""Most bytes that tokens with their attention weights take together on a CPU."""


def most_at_once(device: torch.device) -> int:
    """The most tokens that go through a layer of a device in one batch, even with more memory."""
    return _MOST_AT_ONCE.get(device.type, _MOST_AT_ONCE_ELSEWHERE)


@dataclass
class Baselines:
    """Mean residuals of baseline prompts (paper, metric 4), computed once for a model.

    Attributes:
        model, anatomy: the model.
        token_ids: maps a text to its ids `[T]`.
        default: returns the texts of a run that names none.
    """

    model: torch.nn.Module
    anatomy: Anatomy
    token_ids: Callable[[str], Tensor]
    default: Callable[[], Sequence[str]]
    _means_by_texts: dict[tuple[str, ...], tuple[list[Tensor], dict[int, Tensor]]] = field(
        default_factory=dict
    )

    def mean(self, texts: Sequence[str], checkpoint: Callable[[], None]) -> list[Tensor]:
        """The mean state at depths 0 … L over all tokens of the texts, each `[D]` float32."""
        means, _ = self._means(texts, checkpoint)
        return [self.anatomy.state(depth, means.__getitem__) for depth in range(len(means))]

    def _means(
        self, texts: Sequence[str], checkpoint: Callable[[], None]
    ) -> tuple[list[Tensor], dict[int, Tensor]]:
        """The means of streams by depth, and of inputs that are no output of the layer before."""
        key = tuple(texts or self.default())
        if key not in self._means_by_texts:
            sums: list[Tensor] = []
            tokens = 0
            for text in key:
                ids = self.token_ids(text)
                activations = record_residuals(self.model, self.anatomy, ids, checkpoint)
                # On the CPU: MPS has no double precision.
                stream = [*activations.residual, *activations.layer_inputs.values()]
                text_sums = [residual.to("cpu").double().sum(dim=0) for residual in stream]
                sums = [a + b for a, b in zip(sums, text_sums, strict=True)] if sums else text_sums
                tokens += len(ids)
            means = [(total / tokens).float() for total in sums]
            depths = len(activations.residual)
            layer_inputs = dict(zip(activations.layer_inputs, means[depths:], strict=True))
            self._means_by_texts[key] = means[:depths], layer_inputs
        return self._means_by_texts[key]

    def substitute(self, settings: RunSettings, checkpoint: Callable[[], None]) -> Substitute:
        """The substitute for a layer that is left out, by the settings."""
        keeps_first = settings.keep_first_token
        if settings.ablate == "zero":
            return Substitute(keeps_first=keeps_first)
        means, layer_inputs = self._means(settings.baseline, checkpoint)
        return Substitute.of_means(means, keeps_first, layer_inputs)


@dataclass
class MetricContext:
    """The `metrics.context.Context` of one metric of a run.

    Attributes:
        model, anatomy: the model.
        placement: the devices on which the model computes.
        sizes: the sizes that the run's memory depends on.
        result: the run; its metrics are filled in.
        check: raises where the run is to stop.
        emit: called with the metric's value, units done and in all, the share of its work, and
            whether the value is always emitted (see `Context.report`).
        baselines: mean residuals for erasure.
        recorded_pass: returns the activations of the run's pass.
        can_read_on: returns whether the model reads on correctly from its cache.
        answer_ids: returns the token ids of a prompt's answer.
        choices: returns the token ids with each of the prompt's choices, and where it begins.
        end_ids: the ids of tokens that end a text.
        texts: returns the raw texts of token ids.
        lens: returns the fitted lens of a kind.
        order: returns the order in which pieces are left out; None for the prompt's own.
        own_orders: returns the orders beside the model's; None for the prompt's own.
        guess: returns the loss of each token by a guess without context, or by its draft; None
            where there is none.
        known_untrained: returns what an untrained model of this shape knows of a token, in nats;
            None where it is not known.
        untrained_parts: returns the parts with which that model stays within a nat of its output.
        base: the weights of the base of a model with an adapter.
    """

    model: torch.nn.Module
    anatomy: Anatomy
    placement: Placement
    sizes: Sizes
    result: RunResult
    check: Callable[[], None]
    emit: Callable[[str, MetricResult | None, int, int, float, bool], None]
    baselines: Baselines
    recorded_pass: Callable[[], Activations]
    can_read_on: Callable[[], bool]
    answer_ids: Callable[[Prompt], np.ndarray]
    choices: Callable[[], Sequence[tuple[np.ndarray, int]]]
    end_ids: frozenset[int]
    texts: Callable[[Iterable[int]], dict[int, str]]
    lens: Callable[[str], LensMaps]
    order: Callable[[Piece], LayerOrder | None]
    own_orders: OwnOrders
    guess: Callable[..., np.ndarray | None]
    known_untrained: Callable[[], float | None]
    untrained_parts: UntrainedParts
    base: BaseWeights | None = None
    metric: str = ""

    def checkpoint(self) -> None:
        """Raise where the run is to stop."""
        self.check()

    def report(
        self,
        done: int,
        total: int,
        value: MetricResult | None,
        share: float | None = None,
        at_once: bool = False,
    ) -> None:
        """Report the metric's progress; an unfinished value is kept, to be continued later."""
        if value is not None and not value.is_whole:
            self.result.put(self.metric, value)
        share_done = done / max(1, total) if share is None else share
        self.emit(self.metric, value, done, total, share_done, at_once)

    @functools.cached_property
    def residuals(self) -> list[Tensor]:
        """h_0 … h_L of the run, each `[T, d]`."""
        return list(self._activations.residual)

    @property
    def readable(self) -> list[Tensor]:
        """The unembedding's input at depths 0 … L, each `[T, D]`: mostly `residuals`."""
        return self.anatomy.all_readable(self.residuals)

    @property
    def layer_inputs(self) -> Mapping[int, Tensor]:
        """The input `[T, d]` of each layer whose input is not the output of the layer before."""
        return self._activations.layer_inputs

    @functools.cached_property
    def _activations(self) -> Activations:
        return self.recorded_pass()

    @functools.cached_property
    def replay(self) -> Replay:
        """The recorded clean pass."""
        return self._pass_of(self._ids)

    def pass_of(self, ids: np.ndarray) -> Replay:
        """The recorded clean pass of another text's token ids `[T]`."""
        return self._pass_of(torch.from_numpy(ids).to(self._ids.device))

    def changed_readable(self, ids: np.ndarray) -> list[Tensor]:
        """The unembedding's input at depths 0 … L, each `[T, D]`, in another text's pass.

        It has the run's own changes: layers left out, or run twice.
        """
        placed, settings = torch.from_numpy(ids).to(self._ids.device), self.result.settings
        activations = record_residuals(
            self.model, self.anatomy, placed, self.check, settings.skipped, settings.repeated
        )
        return self.anatomy.all_readable(list(activations.residual))

    def _pass_of(self, ids: Tensor) -> Replay:
        most = most_at_once(execution_device(self.anatomy.layers[0]))
        room = self._room // 4 // self.sizes.token_bytes
        return Replay(self.model, self.anatomy, ids, self.check, max(256, min(most, room)))

    def trace(
        self,
        on_layer: Callable[[LayerActivations], None],
        patches: Patches = MappingProxyType({}),
    ) -> None:
        """Trace the model's own pass of the run's tokens, layer by layer; nothing is kept."""
        trace(self.model, self.anatomy, self._ids, on_layer, self.check, patches=patches)

    def without_adapter(self) -> AbstractContextManager[None]:
        """Give a model with an adapter the weights of its base for a while."""
        assert self.base is not None
        return self.base.put_back()

    def sublayers(self, part: str) -> Sequence[Sublayer]:
        """The modules that write each layer's `attention` or `mlp`."""
        return self.anatomy.attention if part == "attention" else self.anatomy.mlp

    @property
    def unembedding(self) -> Unembedding:
        """Final norm and LM head."""
        assert self.anatomy.unembedding is not None
        return self.anatomy.unembedding

    @functools.cached_property
    def substitute(self) -> Substitute:
        """The substitute for a layer that is left out, by the run's settings."""
        return self.baselines.substitute(self.result.settings, self.check)

    @property
    def skipped(self) -> list[Tensor]:
        """For every layer, the residual after it where the settings' part of it is left out."""
        part = self.result.settings.skip_part
        return skipped_residuals(self.anatomy, self.replay, part, self.substitute)

    @property
    def tokens_with_gradients(self) -> int:
        """How many tokens fit in memory with the tensors of every layer for a backward pass."""
        needs, rooms = self.placement.by_device(backward(self.sizes)), self.placement.rooms()
        # A quarter of the free memory: the estimate is a minimum.
        tokens = min(
            rooms[device] * self.sizes.tokens // (4 * max(1, needs[device])) for device in rooms
        )
        return max(1, tokens)

    @property
    def tokens_with_attention(self) -> int:
        """How many tokens fit in memory in a layer whose attention weights are kept."""
        sizes = self.sizes
        room = min(
            self._room // 4, part_bytes(_ATTENTION_BYTES, execution_device(self.anatomy.layers[0]))
        )
        return at_once(sizes.tokens, room, sizes.attention_bytes)

    def baseline(self) -> list[Tensor]:
        """The mean state of the baseline prompts at depths 0 … L, each `[D]` float32."""
        return self.baselines.mean(self.result.settings.baseline, self.check)

    def layers_at_once(self, tokens: int) -> int:
        """How many skipped layers fit in memory, each with this many residuals and their keys."""
        sizes = self.sizes
        layer_bytes = 4 * max(1, tokens) * sizes.width * sizes.item
        return at_once(sizes.layers, self._room // 3, layer_bytes)

    def rows_at_once(self, rows: int, tokens: int) -> int:
        """How many rows run together, as in `Context.rows_at_once`."""
        return min(layers_per_part(rows), self.layers_at_once(tokens))

    def texts_at_once(self, texts: int) -> int:
        """How many texts of the prompt's length fit in memory, each with its keys and values."""
        if mixes_tokens(self.anatomy.layers):
            return 1
        sizes = self.sizes
        keys_and_values = 2 * sizes.layers * sizes.cached_width * sizes.item
        text_bytes = sizes.tokens * (keys_and_values + sizes.token_bytes)
        return at_once(texts, self._room // 3, text_bytes)

    def write(
        self,
        start: int,
        left_out: Sequence[Collection[int]],
        count: int,
        is_over: Callable[[np.ndarray], bool],
    ) -> np.ndarray:
        """Texts that the model writes greedily from a token on.

        Each text leaves out layers, and has the substitute.

        Args:
            start: index of the first token that the model writes itself.
            left_out: for each text, the layers that it is written without.
            count: the most tokens to write.
            is_over: returns whether the texts so far, `[texts, n]`, are long enough.

        Returns:
            `[texts, n]` token ids.
        """
        return write_greedily(
            self.model,
            self.anatomy,
            self._ids[:start],
            count,
            left_out,
            checkpoint=self.check,
            cached=self.can_read_on(),
            substitute=self.substitute,
            is_over=is_over,
        )

    def timed(self, layers: Sequence[int], passes: Sequence[int]) -> Times:
        """The times of the run's tokens where only some layers run, and of passes behind them."""
        self.check()
        return times(self.model, self._ids, layers, passes)

    @property
    def _ids(self) -> Tensor:
        embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return torch.from_numpy(self.result.tokens.ids).to(execution_device(embedding))

    @property
    def _room(self) -> int:
        """Free bytes of the fullest device: a replayed pass moves from device to device."""
        return min(self.placement.rooms().values())
