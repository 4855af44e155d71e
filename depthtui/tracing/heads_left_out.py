"""Texts with some attention heads left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from depthtui.errors import DepthError
from depthtui.models.cut_weights import is_cut
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.layer_call import call_at
from depthtui.tracing.layer_parts import heads_of, own_sinks
from depthtui.tracing.left_out import NOTHING, LayersToLeave, Substitute
from depthtui.tracing.modules import hooks
from depthtui.tracing.replay import Replay

_MOST_TOKENS = 64
"""The most tokens at which heads are taken apart, the last ones of a text."""


@dataclass(frozen=True)
class LayerHeads:
    """The heads of a layer: equal parts of the input of its attention's last projection.

    Attributes:
        projection: the module.
        sinks: each head's mean attention to token 0, together with a sink of its own, `[heads]`.
    """

    projection: nn.Module
    sinks: Tensor

    @classmethod
    def of(cls, replay: Replay, anatomy: Anatomy, layer: int) -> LayerHeads:
        """Take a layer's attention apart at the last tokens of a text.

        Raises:
            DepthError: its heads cannot be told apart, or ranks share them.
        """
        start = max(0, replay.n_tokens - _MOST_TOKENS) if replay.can_resume else 0
        try:
            call = call_at(replay, anatomy, layer, start, replay.n_tokens)
            heads, _ = heads_of(call, anatomy.attention[layer])
        except DepthError as error:
            reason = error.message.rstrip(".")
            raise DepthError(
                f"The heads of layer {layer} cannot be told apart: {reason}."
            ) from error
        projection, weights = heads.writer.projection, call.weights
        if is_cut(getattr(projection, "weight", None)):
            raise DepthError("Heads cannot be left out where several ranks share a layer.")
        assert weights is not None
        # Token 0 reads nothing else.
        sinks = (weights[..., 0] + own_sinks(weights, call.before.dtype))[
            :, -(len(call.before) - 1) :
        ]
        return cls(projection, sinks.mean(dim=-1))

    def __len__(self) -> int:
        return len(self.sinks)

    def silence(self, heads: Sequence[int]) -> RemovableHandle:
        """Let some heads pass on zeros until the handle is removed."""

        def without_heads(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            inputs = args[0].unflatten(-1, (len(self), -1)).clone()
            inputs[..., list(heads), :] = 0
            return inputs.flatten(-2), *args[1:]

        return self.projection.register_forward_pre_hook(without_heads)


class HeadsToLeave(LayersToLeave):
    """The attention heads of N texts, to run without some of them.

    Piece H l + h is head h of layer l. With grouped keys and values, a head is that of the query.
    A head that is left out passes zeros on to the last projection of its attention, whose biases
    stay.

    Args:
        replays: as in `LayersToLeave`.
        anatomy: the model taken apart; it has a split.
        substitute: whether token 0 keeps every head; heads have no mean update.

    Attributes:
        heads: the heads of each layer.

    Raises:
        DepthError: the heads of a layer cannot be told apart, or layers differ in their number.
    """

    def __init__(
        self, replays: Sequence[Replay], anatomy: Anatomy, substitute: Substitute = NOTHING
    ) -> None:
        super().__init__(replays, Substitute(keeps_first=substitute.keeps_first))
        longest = max(replays, key=lambda replay: replay.n_tokens)
        self.heads = [LayerHeads.of(longest, anatomy, layer) for layer in range(longest.n_layers)]
        self.per_layer = len(self.heads[0])
        if any(len(heads) != self.per_layer for heads in self.heads):
            raise DepthError(
                "Heads cannot be left out of a model whose layers differ in their number."
            )

    @property
    def sinks(self) -> Tensor:
        """The mean attention of each head to token 0, `[L, H]`."""
        # One transfer, since each waits for a GPU.
        device = self.clean[0].device
        return torch.stack([heads.sinks.to(device) for heads in self.heads]).to("cpu")

    def after(self, layer: int, states: Tensor, out: Sequence[int]) -> Tensor:
        if not out:
            return self.replay.run_layer(layer, states.flatten(0, -3)).view_as(states)
        with hooks() as handles:
            handles.append(self.heads[layer].silence([piece % self.per_layer for piece in out]))
            after = self.after(layer, states, ())
        return self._substitute.with_first(after, self.clean[layer + 1])
