"""Attention heads at all tokens, one layer at a time and as many tokens at once as fit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.direct_logits.compute import most_probable
from depthtui.metrics.heads import AttentionHeads
from depthtui.tracing.anatomy import Anatomy, Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.layer_call import LayerCall, call_at
from depthtui.tracing.layer_parts import attention_weights, heads_of, own_sinks
from depthtui.tracing.norms import norm
from depthtui.tracing.output_direction import freeze, mean_row, output_directions
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: AttentionHeads | None) -> AttentionHeads:
    """Take the attention of every layer apart at all tokens.

    Layers already in `partial` do not run again. Where tokens cannot be run behind others, all go
    through a layer together.

    Raises:
        DepthError: no layer has attention weights.
    """
    replay, anatomy = context.replay, context.anatomy
    count, tokens = replay.n_layers, replay.n_tokens
    at_once = context.tokens_with_attention if replay.can_resume else tokens
    with torch.no_grad():
        output = _OutputDirections.of(anatomy.unembedding, replay.states[-1])
        result = partial or AttentionHeads.unknown(count, tokens, notes=output.notes)
        result = replace(result, token_ids=output.token_ids)
        for layer in np.flatnonzero(~result.done).tolist():
            layer_heads = _Layer(replay, anatomy, layer, output.directions)
            for part in slices(tokens, at_once):
                layer_heads.add(part)
            result = layer_heads.put_into(result)
            context.report(int(result.done.sum()), count, result)
    if not np.isfinite(result.sink).any():
        raise DepthError(result.notes[-1] if result.notes else "no layer has attention weights")
    return result


@dataclass(frozen=True)
class _OutputDirections:
    """The model's first choice after each token.

    Attributes:
        token_ids: the first choice, `[T]`; -1 without a lens.
        directions: directions in which its logit minus the mean logit rises, `[T, d]`; None where
            the logit is no sum of the writes.
        notes: why there are no directions.
    """

    token_ids: np.ndarray
    directions: Tensor | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, unembedding: Unembedding | None, final: Tensor) -> _OutputDirections:
        """The output for the last states `[T, D]`."""
        if unembedding is None:
            return cls(np.full(len(final), -1), None, ("there is no lens for direct logits",))
        ids = most_probable(unembedding, final)[0]
        try:
            frozen = freeze(unembedding, final, unembedding.normed(final).float())
            directions = output_directions(unembedding, frozen, ids, mean_row(unembedding))
        except DepthError as error:
            return cls(ids.cpu().numpy(), None, (error.message.rstrip("."),))
        return cls(ids.cpu().numpy(), directions.vectors)


@dataclass
class _Layer:
    """The heads of one layer, as its tokens run: rows of `[heads, n]` by array."""

    replay: Replay
    anatomy: Anatomy
    layer: int
    directions: Tensor | None
    error: float = 0.0
    _rows: dict[str, list[Tensor]] = field(default_factory=dict)
    _notes: dict[str, None] = field(default_factory=dict)

    def add(self, part: slice) -> None:
        """Run further tokens through the layer."""
        if self._notes and not self._rows:
            # The layer had no weights at the tokens before, so it has none here.
            return
        call = call_at(self.replay, self.anatomy, self.layer, part.start, part.stop)
        try:
            weights = attention_weights(call)
        except DepthError as error:
            self._note(error)
            return
        sinks = own_sinks(weights, call.before.dtype)
        entropy = torch.special.entr(weights).sum(dim=-1) + torch.special.entr(sinks)
        self._keep("sink", weights[..., 0] + sinks)
        self._keep("entropy", entropy)
        del weights
        self._add_writes(call, part)

    def _add_writes(self, call: LayerCall, part: slice) -> None:
        try:
            heads, off = heads_of(call, self.anatomy.attention[self.layer])
        except DepthError as error:
            self._note(error)
            return
        # Free the weights of all pairs of tokens: nothing below needs them.
        call.weights = None
        self.error = max(self.error, off)
        size = norm(call.before).clamp(min=1e-30)
        norms, shares = [], []
        for head in range(len(heads)):
            write = heads.write(head)
            # Divided first: squares of the write may be beyond float32.
            norms.append((write / size.to(write.device)[:, None]).norm(dim=-1))
            if self.directions is not None:
                shares.append((write * self.directions[part].to(write.device)).sum(dim=-1))
        self._keep("norm", torch.stack(norms))
        if shares:
            self._keep("direct", torch.stack(shares))

    def _keep(self, name: str, values: Tensor) -> None:
        self._rows.setdefault(name, []).append(values)

    def _note(self, error: DepthError) -> None:
        self._notes[error.message.rstrip(".")] = None

    def put_into(self, result: AttentionHeads) -> AttentionHeads:
        """A copy of a result with this layer."""
        tokens = len(result.token_ids)
        arrays = {name: torch.cat(rows, dim=1) for name, rows in self._rows.items()}
        complete_arrays = {name: rows for name, rows in arrays.items() if rows.shape[1] == tokens}
        if complete_arrays:
            device = next(iter(complete_arrays.values())).device
            # One transfer for all arrays: one for each would make a GPU wait.
            values = (
                torch.stack([rows.to(device) for rows in complete_arrays.values()]).cpu().numpy()
            )
            result = result.widened("H", values.shape[1])
            for name, rows in zip(complete_arrays, values, strict=True):
                getattr(result, name)[self.layer, : len(rows)] = rows
        else:
            result = result.copied()
        result.done[self.layer] = True
        result.notes = tuple(dict.fromkeys((*result.notes, *self._notes)))
        result.error = max(result.error, self.error)
        return result
