"""Texts with the attention or the MLP of some layers left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from depthtui.data.pieces import Piece
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Anatomy, Sublayer, Tap
from depthtui.tracing.heads_left_out import HeadsToLeave
from depthtui.tracing.left_out import NOTHING, LayersToLeave, Substitute, stacked
from depthtui.tracing.modules import hidden_states, hooks
from depthtui.tracing.replay import LayerOutput, Replay


class PartsToLeave(LayersToLeave):
    """The attention and the MLP of each layer of N texts, to run without some of them.

    Piece 2l is the attention of layer l, piece 2l + 1 its MLP. One that is left out writes nothing;
    a layer without both is left out.

    Args:
        replays: as in `LayersToLeave`.
        anatomy: the model taken apart; it has a split.
        substitute: whether token 0 keeps every part; parts have no mean update.
    """

    per_layer = 2

    def __init__(
        self, replays: Sequence[Replay], anatomy: Anatomy, substitute: Substitute = NOTHING
    ) -> None:
        super().__init__(replays, Substitute(keeps_first=substitute.keeps_first))
        self._parts = tuple(zip(anatomy.attention, anatomy.mlp, strict=True))
        clean_parts = [
            [_CleanParts.of(replay, layer, parts) for replay in replays]
            for layer, parts in enumerate(self._parts)
        ]
        self._without_mlp = [stacked([text.without_mlp for text in texts]) for texts in clean_parts]
        # One transfer, since each waits for a GPU.
        device = self.clean[0].device
        writes = torch.stack(
            [torch.stack([text.writes.to(device) for text in texts]) for texts in clean_parts]
        )
        self._idle = frozenset(
            piece
            for piece, has_written in enumerate(writes.any(dim=1).flatten().to("cpu").tolist())
            if not has_written
        )

    def after(self, layer: int, states: Tensor, out: Sequence[int]) -> Tensor:
        if len(out) != 1:
            return super().after(layer, states, out)
        (attention, mlp), is_mlp = self._parts[layer], out[0] % 2 == 1
        with hooks() as handles:
            handles.extend(tap.silence() for tap in (mlp if is_mlp else attention))
            if is_mlp:
                handles.extend(_end_behind(attention, self.replay.layers[layer]))
            after = super().after(layer, states, ())
        return self._substitute.with_first(after, self.clean[layer + 1])

    def clean_after(self, layer: int, out: Sequence[int]) -> Tensor | None:
        if self._idle.issuperset(out):
            return None
        if out == (2 * layer + 1,):
            # The attention reads what it read in the clean run, where its write is known.
            after = self._without_mlp[layer]
            return self._substitute.with_first(after, self.clean[layer + 1])
        return super().clean_after(layer, out)


def pieces_of(
    piece: Piece, replays: Sequence[Replay], anatomy: Anatomy, substitute: Substitute = NOTHING
) -> LayersToLeave:
    """The pieces of a kind in some texts.

    Args:
        piece: the kind.
        replays: the clean run of each text; the first one serves them all (see `Replay.serves`).
        anatomy: the model taken apart.
        substitute: the substitute for what is left out; a part has no mean update.

    Raises:
        DepthError: the pieces are heads, and those of a layer cannot be told apart.
    """
    if piece == "layer":
        return LayersToLeave(replays, substitute)
    if piece == "head":
        return HeadsToLeave(replays, anatomy, substitute)
    return PartsToLeave(replays, anatomy, substitute)


def _end_behind(sublayer: Sublayer, layer: nn.Module) -> Iterator[RemovableHandle]:
    """Let a layer end once a sublayer has written, with its input and this write as the output."""
    stream: list[Tensor] = []

    def begin(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stream[:] = [hidden_states(args, kwargs)]

    def add(tap: Tap) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            stream.append(stream[-1] + tap.write(args, output, stream[0]))
            if len(stream) > len(sublayer):
                raise LayerOutput(stream[-1])

        return hook

    yield layer.register_forward_pre_hook(begin, with_kwargs=True)
    for tap in sublayer:
        yield tap.module.register_forward_hook(add(tap))


@dataclass(frozen=True)
class _CleanParts:
    """The parts of a layer in the clean run of a text.

    Attributes:
        without_mlp: the states after the layer without its MLP's write, `[T, D]`.
        writes: whether the attention writes anything, and whether the MLP does, `[2]`.
    """

    without_mlp: Tensor
    writes: Tensor

    @classmethod
    def of(cls, replay: Replay, layer: int, parts: Sequence[Sublayer]) -> _CleanParts:
        """Run the layer again, and keep the writes of its parts."""
        device = execution_device(replay.layers[layer])
        before = replay.input_of(layer)[None].to(device)
        writes = [torch.zeros_like(before) for _ in parts]

        def add_to(write: Tensor, tap: Tap) -> Callable[..., None]:
            def hook(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                write.add_(tap.write(args, output, before))

            return hook

        with torch.no_grad(), hooks() as handles:
            for sublayer, write in zip(parts, writes, strict=True):
                for tap in sublayer:
                    handles.append(tap.module.register_forward_hook(add_to(write, tap)))
            replay.run_layer(layer, replay.states[layer][None])
            stream = (before + writes[0])[0]
            return cls(
                replay.next_states(layer, replay.states[layer], stream),
                torch.stack([write.any() for write in writes]),
            )
