"""Inspects a layer at a token of a recorded pass: see `data/inspection.py`."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from depthtui.data.inspection import (
    Expert,
    Head,
    Inspection,
    Listed,
    Neuron,
    Readout,
    TokensRead,
    Written,
)
from depthtui.data.lens_view import LOGIT
from depthtui.data.run import PromptTokens
from depthtui.data.selection import check_layer
from depthtui.engine.ready_model import ReadyModel
from depthtui.errors import DepthError
from depthtui.lenses.maps import DepthMap, LensMaps
from depthtui.tracing.anatomy import Sublayer, Unembedding
from depthtui.tracing.frozen_norm import FrozenNorm
from depthtui.tracing.layer_call import LayerCall, call_at
from depthtui.tracing.layer_parts import (
    Experts,
    Neurons,
    Reads,
    experts_of,
    heads_of,
    neurons_of,
    own_sinks,
    reads_of,
)
from depthtui.tracing.modules import hooks
from depthtui.tracing.norms import norm
from depthtui.tracing.output_direction import freeze, mean_row, output_directions
from depthtui.tracing.products import raw_logits
from depthtui.tracing.replay import Replay

Result = TypeVar("Result")

_PROMOTED = 5
_PROMOTED_BY_NEURON = 3


@dataclass
class Inspector:
    """One prompt's recorded pass, whose layers are inspected.

    Args:
        model: the loaded model.
        tokens: the prompt.
        lens, maps: the lens of the readouts; no maps for the logit lens.
        top_k: the most tokens of a readout.
        checkpoint: raises where the work is to stop.
    """

    model: ReadyModel
    tokens: PromptTokens
    lens: str = LOGIT
    maps: LensMaps | None = None
    top_k: int = 5
    checkpoint: Callable[[], None] = lambda: None
    _outputs: dict[int, OutputAt] = field(default_factory=dict)

    @functools.cached_property
    def _replay(self) -> Replay:
        return self.model.replay(torch.from_numpy(self.tokens.ids), lambda: self.checkpoint())

    def at(self, layer: int, token: int) -> Inspection:
        """Inspect a layer at a token.

        A part that the model does not have is missing, with the reason.

        Raises:
            DepthError: there is no such layer or token.
        """
        check_layer(layer, self.model.info.n_layers)
        n_tokens = len(self.tokens)
        if not -n_tokens <= token < n_tokens:
            raise DepthError(f"There is no token {token}.", f"Tokens are 0 to {n_tokens - 1}.")
        with torch.no_grad():
            return _Page(self, self._replay, layer, token % n_tokens).inspection()

    def output_at(self, token: int) -> OutputAt:
        """The model's output at a token; kept for the next layer."""
        if token not in self._outputs:
            self._outputs = {token: self._output_at(token)}
        return self._outputs[token]

    def _output_at(self, token: int) -> OutputAt:
        unembedding = self.model.anatomy.unembedding
        if unembedding is None:
            return OutputAt(lens_missing=self.model.anatomy.lens_missing)
        final = self._replay.states[-1][token][None]
        normed = unembedding.normed(final)
        logits = unembedding.finish(raw_logits(unembedding.head, normed))[0]
        answer = self._answer_at(token)
        output = OutputAt(int(logits.argmax()) if answer is None else answer, answer is not None)
        try:
            final = self._replay.residual[-1][token][None]
            output.frozen = freeze(unembedding, final, normed.float())
            targets = torch.tensor([output.target])
            direct = output_directions(unembedding, output.frozen, targets, self._mean_row)
        except DepthError as error:
            output.direction_missing = error.message.rstrip(".")
            return output
        output.direction, output.constant = direct.vectors[0], float(direct.constants[0])
        centred = logits - logits.mean()
        output.logit, output.largest = float(centred[output.target]), float(centred.abs().max())
        return output

    def _answer_at(self, token: int) -> int | None:
        """The answer's token to predict at a token; before the answer, its first token."""
        start, count = self.tokens.answer_start, len(self.tokens)
        place = max(start, token + 1)
        return int(self.tokens.ids[place]) if start < count and place < count else None

    @functools.cached_property
    def _mean_row(self) -> Tensor:
        """The mean over the vocabulary of the LM head's rows, kept for the next token."""
        assert self.model.anatomy.unembedding is not None
        return mean_row(self.model.anatomy.unembedding)


@dataclass
class OutputAt:
    """The model's output at a token, and the target token in it.

    Attributes:
        target: the target's id; -1 without a lens.
        is_answer: whether the target is the answer's token, not the output's first choice.
        lens_missing: why there is no lens, or empty.
        frozen: the final norm with its statistics here.
        direction: `[d]`, along which the target's logit minus the mean of all logits rises.
        direction_missing: why there is no direction, or empty.
        constant: the contribution of biases to that logit.
        logit, largest: the target's logit minus the mean, and the largest absolute one of all.
    """

    target: int = -1
    is_answer: bool = False
    lens_missing: str = ""
    frozen: FrozenNorm | None = None
    direction: Tensor | None = None
    direction_missing: str = ""
    constant: float = 0.0
    logit: float = float("nan")
    largest: float = float("nan")

    def direct(self, writes: Tensor) -> Tensor | None:
        """The share of each write `[n, d]` in the target's logit minus the mean, `[n]`."""
        if self.direction is None:
            return None
        return writes.to(self.direction.device).float() @ self.direction


class _Page:
    """The work of one inspection."""

    def __init__(self, inspector: Inspector, replay: Replay, layer: int, token: int) -> None:
        self._inspector = inspector
        self._model = inspector.model
        self._anatomy = inspector.model.anatomy
        self._replay = replay
        self._layer = layer
        self._token = token
        self._unavailable: dict[str, str] = {}
        self._closure: dict[str, float] = {}
        self._output = inspector.output_at(token)
        self._before, self._after = replay.input_of(layer)[token], replay.residual[layer + 1][token]

    def inspection(self) -> Inspection:
        """The whole page."""
        self._note_reason("lens", self._output.lens_missing)
        self._note_reason("direct", self._output.direction_missing)
        call = self._part("layer", lambda: call_at(self._replay, self._anatomy, *self._span))
        writes, split = {"layer": self._change}, call is not None and bool(call.attention)
        heads = reads = neurons = between = None
        if call is not None and split:
            writes = {"attention": _total(call.attention), "mlp": _total(call.mlp), **writes}
            between = self._before.float() + writes["attention"].to(self._before.device)
            heads = self._part("heads", lambda: heads_of(call, self._sublayers[0]))
            reads = self._part("reads", lambda: reads_of(call, self._sublayers[0]))
            neurons = self._part("neurons", lambda: neurons_of(call, self._sublayers[1]))
        elif call is not None:
            self._note_reason("split", self._anatomy.split_missing)
        experts = self._part("experts", lambda: experts_of(call)) if call is not None else None
        if heads is not None:
            self._closure["heads"] = heads[1]
            by_head, biases = heads[0].writes()[:, 0], heads[0].biases[0]
            self._close_logit([*by_head, biases, writes["mlp"]])
        readouts, promoted = self._read_states(between, writes, neurons)
        texts, info = self._inspector.tokens.readable_texts, self._model.info
        target = self._output.target
        return Inspection(
            layer=self._layer,
            token=self._token,
            n_layers=info.n_layers,
            kind=self._model.info.type_of(self._layer),
            tokens=tuple(texts[: self._token + 1]),
            target=self._text(target) if target >= 0 else "",
            target_is="answer" if self._output.is_answer else "output",
            lens=self._inspector.lens,
            before=readouts.get("before"),
            after_attention=readouts.get("between"),
            after=readouts.get("after"),
            written=self._described_writes(writes, promoted),
            reads=None if reads is None else self._tokens_read(reads),
            heads=() if heads is None else self._heads(by_head),
            neurons=() if neurons is None else self._neurons(neurons, promoted[len(writes) :]),
            experts=() if experts is None or call is None else self._experts(experts, call),
            closure=self._closure,
            unavailable=self._unavailable,
        )

    # The pieces ---------------------------------------------------------------

    @property
    def _span(self) -> tuple[int, int, int]:
        return self._layer, self._token, self._token + 1

    @property
    def _sublayers(self) -> tuple[Sublayer, Sublayer]:
        return self._anatomy.attention[self._layer], self._anatomy.mlp[self._layer]

    @property
    def _change(self) -> Tensor:
        return self._after.float() - self._before.to(self._after.device).float()

    def _text(self, token_id: int) -> str:
        return self._model.vocabulary.text(token_id)

    def _note_reason(self, name: str, reason: str) -> None:
        if reason:
            self._unavailable[name] = reason

    def _part(self, name: str, work: Callable[[], Result]) -> Result | None:
        """A part's result; None where the model lacks it, with the reason noted."""
        try:
            return work()
        except DepthError as error:
            self._note_reason(name, error.message.rstrip("."))
        return None

    def _tokens_read(self, reads: Reads) -> TokensRead:
        if not math.isnan(reads.error):
            self._closure["attention"] = reads.error
        weights, norms = reads.weights, reads.value_weighted
        sink = float((weights[:, 0] + own_sinks(weights, self._before.dtype)).mean())
        return TokensRead(
            weights.cpu().numpy(), None if norms is None else norms.cpu().numpy(), sink
        )

    def _heads(self, writes: Tensor) -> tuple[Head, ...]:
        norms, direct = self._shares(writes), self._output.direct(writes)
        values = [None] * len(norms) if direct is None else direct.tolist()
        return tuple(map(Head, range(len(norms)), norms, values))

    def _neurons(
        self, neurons: Neurons, promoted: Sequence[tuple[Listed, Listed]]
    ) -> tuple[Neuron, ...]:
        norms = self._shares(neurons.writes)
        numbers, values = neurons.numbers.tolist(), neurons.activations.tolist()
        tokens = [raised[:_PROMOTED_BY_NEURON] for raised, _ in promoted]
        return tuple(map(Neuron, numbers, values, norms, tokens or [()] * len(norms)))

    def _experts(self, experts: Experts, call: LayerCall) -> tuple[Expert, ...]:
        self._closure["experts"] = experts.error
        total = norm(experts.outputs.sum(dim=0)).clamp(min=1e-30)
        norms = (norm(experts.outputs) / total).tolist()
        numbers, weights = experts.numbers.tolist(), experts.weights.tolist()
        losses = self._losses_without(call, experts.outputs)
        return tuple(map(Expert, numbers, weights, norms, losses))

    def _described_writes(
        self, writes: dict[str, Tensor], promoted: Sequence[tuple[Listed, Listed]]
    ) -> dict[str, Written]:
        stack = torch.stack([write.to(self._after.device) for write in writes.values()])
        shares, direct = self._shares(stack), self._output.direct(stack)
        values = [None] * len(shares) if direct is None else direct.tolist()
        tokens = promoted[: len(writes)] or [((), ())] * len(writes)
        return {
            name: Written(*listed, share, value)
            for name, listed, share, value in zip(writes, tokens, shares, values, strict=True)
        }

    def _shares(self, writes: Tensor) -> list[float]:
        """Norms of writes `[n, d]` over the norm of the residual stream before the layer."""
        norms = norm(writes)
        size = norm(self._before).to(norms.device).clamp(min=1e-30)
        shares: list[float] = (norms / size).tolist()
        return shares

    # Readouts -----------------------------------------------------------------

    def _read_states(
        self, between: Tensor | None, writes: dict[str, Tensor], neurons: Neurons | None
    ) -> tuple[dict[str, Readout], list[tuple[Listed, Listed]]]:
        """The readouts by name, and the tokens promoted and suppressed by writes, then neurons.

        One product with the LM head gives all of them.
        """
        unembedding = self._anatomy.unembedding
        if unembedding is None:
            return {}, []
        states = {"before": self._before, "between": between, "after": self._after}
        names = [name for name, state in states.items() if state is not None]
        mapped = [
            self._map(self._layer + (name == "after"), state)
            for name, state in states.items()
            if state is not None
        ]
        rows = [unembedding.normed(torch.stack(mapped))]
        frozen = self._frozen_here(unembedding, mapped[-1])
        if frozen is not None:
            changes = torch.stack([write.to(self._after.device) for write in writes.values()])
            if neurons is not None:
                changes = torch.cat([changes, neurons.writes.to(changes.device)])
            # The last row is the contribution of the head's bias to each.
            changes = torch.cat([self._map_writes(changes), torch.zeros_like(changes[:1])])
            rows.append(frozen.change(changes).to(rows[0]))
        logits = raw_logits(unembedding.head, torch.cat(rows))
        readouts = unembedding.finish(logits[: len(names)].clone()).log_softmax(dim=-1)
        readouts_by_name = {
            name: self._readout(logs) for name, logs in zip(names, readouts, strict=True)
        }
        changes_of_logits = logits[len(names) :].float()
        changes_of_logits = (changes_of_logits[:-1] - changes_of_logits[-1:]) * unembedding.scale
        return readouts_by_name, self._extremes(changes_of_logits)

    def _map(self, depth: int, residual: Tensor) -> Tensor:
        """A residual stream `[d]`, mapped to the last depth by the lens."""
        residual, depth_map = residual.to(self._after), self._map_at(depth)
        if depth_map is not None:
            return depth_map.to(residual.device)(residual)
        streams, token = self._replay.residual, self._token
        return self._anatomy.readable(
            depth, lambda place: residual if place == depth else streams[place][token].to(residual)
        )

    def _map_writes(self, writes: Tensor) -> Tensor:
        """Writes of this layer, mapped to the last depth by the lens."""
        depth_map = self._map_at(self._layer + 1)
        return writes.float() if depth_map is None else depth_map.of_change(writes, self._after)

    def _map_at(self, depth: int) -> DepthMap | None:
        """The lens's map of a depth; None for the logit lens and at the last depth."""
        maps = self._inspector.maps
        return maps.at(depth) if maps is not None and depth < maps.n_layers else None

    def _frozen_here(self, unembedding: Unembedding, mapped: Tensor) -> FrozenNorm | None:
        """The final norm with the scale for reading writes: the output's, or the lens's."""
        if self._inspector.maps is None or self._output.frozen is None:
            return self._output.frozen
        normed = unembedding.normed(mapped[None]).float()
        return self._part("promoted", lambda: freeze(unembedding, mapped[None], normed))

    def _readout(self, logs: Tensor) -> Readout:
        top = logs.topk(min(self._inspector.top_k, len(logs)))
        target = logs[self._output.target]
        best_two = logs.topk(2)
        best = best_two.values[int(best_two.indices[0] == self._output.target)]
        return Readout(
            self._tokens_with_values(top.indices, top.values.exp()),
            int((logs > target).sum()) + 1,
            float(target.exp()),
            float(target - best),
        )

    def _extremes(self, logits: Tensor) -> list[tuple[Listed, Listed]]:
        """The tokens whose logits are raised and lowered most in each row."""
        up, down = logits.topk(_PROMOTED), logits.topk(_PROMOTED, largest=False)
        return [
            (self._tokens_with_values(*raised), self._tokens_with_values(*lowered))
            for raised, lowered in zip(
                zip(up.indices, up.values, strict=True),
                zip(down.indices, down.values, strict=True),
                strict=True,
            )
        ]

    def _tokens_with_values(self, ids: Tensor, values: Tensor) -> Listed:
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        return tuple((self._text(token), value) for token, value in pairs)

    # Sums -----------------------------------------------------------------------

    def _close_logit(self, parts: Sequence[Tensor]) -> None:
        """Note the logit's difference from embedding, other layers and this layer's parts."""
        output, residuals = self._output, self._replay.residual
        if output.direction is None:
            return
        device = output.direction.device
        # The writes of the embedding and of all other layers: h_L minus this layer's change.
        other_writes = residuals[-1][self._token].to(device).float() - self._change.to(device)
        direct = output.direct(torch.stack([other_writes, *(part.to(device) for part in parts)]))
        assert direct is not None
        total = float(direct.sum()) + output.constant
        self._closure["logit"] = abs(total - output.logit) / max(output.largest, 1e-30)

    # Without an expert ----------------------------------------------------------

    def _losses_without(self, call: LayerCall, outputs: Tensor) -> list[float | None]:
        """The rise of the target's loss without each expert's output `[k, d]` at this token."""
        unembedding, experts_call = self._anatomy.unembedding, call.experts
        if unembedding is None or experts_call is None:
            return [None] * len(outputs)
        rows = []
        for output in outputs:
            with _subtracting(
                experts_call.module, output, 0 if self._replay.can_resume else self._token
            ):
                rows.append(self._replay.run_span(*self._span)[0][0])
        finals = self._replay.run_on(self._layer + 1, self._token, torch.stack(rows))
        finals = torch.cat([finals, self._replay.states[-1][None, self._token].to(finals.device)])
        logs = unembedding.logits(finals).log_softmax(dim=-1)[:, self._output.target]
        losses: list[float | None] = (logs[-1] - logs[:-1]).tolist()
        return losses


def _total(writes: tuple[Tensor, ...]) -> Tensor:
    """The sum of the taps' writes at one token, `[d]` float32."""
    total = writes[0][0].float()
    for write in writes[1:]:
        total = total + write[0].to(total.device).float()
    return total


@contextlib.contextmanager
def _subtracting(module: nn.Module, output: Tensor, row: int) -> Iterator[None]:
    """Subtract a vector from a module's output at a row, while open."""

    def subtract(_module: nn.Module, _args: object, outputs: Tensor) -> Tensor:
        changed = outputs.clone()
        rows = changed.view(-1, changed.shape[-1])
        rows[row] -= output.to(rows)
        return changed

    with hooks() as handles:
        handles.append(module.register_forward_hook(subtract))
        yield
