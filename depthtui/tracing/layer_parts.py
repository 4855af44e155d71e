"""A layer's work at some tokens, taken apart: heads, reads, neurons, experts.

Each kind of part must add up to a whole: heads and bias to the attention's write, weights times
values to the input of the output projection, experts to their block's output.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from depthtui.errors import DepthError
from depthtui.models.cut_weights import full_weight, is_cut
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Sublayer
from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.frozen_norm import FrozenNorm
from depthtui.tracing.layer_call import LayerCall, ModuleTensors
from depthtui.tracing.norms import norm

_MOST_OFF, _MOST_OFF_FLOAT32 = 4.0, 16.0
"""How far two computations of the same value may differ, in units of the dtype's epsilon.

Sums of many terms lose more epsilons in float32 than in 16 bits.
"""

_CANDIDATES = 64
"""Neurons whose writes are computed for each list of the largest writes."""

_MOST_ELEMENTS = 1 << 24
"""Most elements of a part of the writes of single tokens or neurons."""


@dataclass(frozen=True)
class Writer:
    """A sublayer's last projection, and the way from its output to the residual stream.

    Attributes:
        projection: the module.
        input: its input at the n tokens, `[n, inputs]`.
        factor: the constant that its output is multiplied by.
        norm: the norm after it, frozen at these tokens, or None.
    """

    projection: nn.Module
    input: Tensor
    factor: float
    norm: FrozenNorm | None

    def outputs(self, rows: Tensor) -> Tensor:
        """The projection of rows `[r, inputs]`: `[r, d]` float32, its bias included."""
        device = execution_device(self.projection)
        if is_cut(self.projection.weight):
            bias = getattr(self.projection, "bias", None)
            added = 0.0 if bias is None else full_weight(bias)
            return (rows.to(device, self.input.dtype) @ self._weight.T + added).float()
        output: Tensor = self.projection(rows.to(device, self.input.dtype)[None])
        return output[0].float()

    @functools.cached_property
    def _weight(self) -> Tensor:
        """The projection's weight `[d, inputs]`, whole."""
        return full_weight(cast("Tensor", self.projection.weight))

    def to_stream(self, outputs: Tensor) -> Tensor:
        """Map changes of the projection's output `[…, n, d]` to changes of the residual stream."""
        outputs = outputs.float()
        return self.factor * (outputs if self.norm is None else self.norm.change(outputs))

    def at_last(self, outputs: Tensor) -> Tensor:
        """Like `to_stream`, of changes `[r, d]`, each at the last of the tokens."""
        norm = None if self.norm is None else replace(self.norm, scale=self.norm.scale[-1:])
        return replace(self, norm=norm).to_stream(outputs)

    def offset(self, outputs: Tensor) -> Tensor:
        """The norm's own bias: the share of the write that does not depend on the output."""
        if self.norm is None:
            return torch.zeros_like(outputs)
        return self.factor * self.norm.offset.to(outputs.device)

    def columns(self, places: slice | Tensor) -> Tensor:
        """The change of the output by one unit of each of some inputs, `[inputs, d]` float32."""
        weight = getattr(self.projection, "weight", None)
        if isinstance(weight, Tensor) and weight.is_floating_point() and not weight.is_meta:
            if type(self.projection) is nn.Linear:
                return self._weight[:, places].T.float()
            if type(self.projection).__name__ == "Conv1D":
                return weight[places].float()
        inputs, device = self.input.shape[-1], self.input.device
        numbers = torch.arange(inputs, device=device)[places]
        rows = torch.zeros(len(numbers) + 1, inputs, device=device)
        rows[torch.arange(len(numbers)), numbers] = 1
        outputs = self.outputs(rows)
        return outputs[:-1] - outputs[-1]


@dataclass(frozen=True)
class Heads:
    """The heads of a layer at the n tokens.

    Attributes:
        writer: their projection.
        blocks: its input head by head, `[heads, n, width]`.
        biases: the attention's write that comes from no head, its biases, `[n, d]` float32.
    """

    writer: Writer
    blocks: Tensor
    biases: Tensor

    def __len__(self) -> int:
        return len(self.blocks)

    def write(self, head: int) -> Tensor:
        """A head's write to the residual stream, `[n, d]` float32."""
        width = self.blocks.shape[-1]
        columns = self.writer.columns(slice(head * width, (head + 1) * width))
        return self.writer.to_stream(self.blocks[head].to(columns) @ columns)

    def writes(self) -> Tensor:
        """The writes of all heads, `[heads, n, d]`."""
        return torch.stack([self.write(head) for head in range(len(self))])


@dataclass(frozen=True)
class Reads:
    """The tokens that a layer reads at a token.

    Attributes:
        weights: attention of each head to each token up to this one, `[heads, token + 1]`; it
            adds up to less than 1 where a head has a sink of its own.
        value_weighted: `[token + 1]`, the sum over heads of the norm of the write from each
            token, ||alpha W_O v|| (Kobayashi et al., 2020.emnlp-main.574); None where the
            values are not known.
        error: largest difference between weights times values and the projection's input, over
            the input's largest element; NaN where a gate lies between them.
    """

    weights: Tensor
    value_weighted: Tensor | None
    error: float


@dataclass(frozen=True)
class Neurons:
    """The neurons of an MLP that write most at a token.

    Attributes:
        numbers: `[n]`, the largest write first.
        activations: `[n]`.
        writes: each neuron's write to the residual stream, `[n, d]` float32.
    """

    numbers: Tensor
    activations: Tensor
    writes: Tensor


@dataclass(frozen=True)
class Experts:
    """The experts that a router chose at a token.

    Attributes:
        numbers, weights: `[k]`.
        outputs: the weighted output of each, `[k, d]` float32, before the block processes it.
        error: largest difference between their sum and the output of all, over the largest
            element of the latter.
    """

    numbers: Tensor
    weights: Tensor
    outputs: Tensor
    error: float


def attention_weights(call: LayerCall) -> Tensor:
    """The attention of each head at each of the tokens, `[heads, n, start + n]`.

    Raises:
        DepthError: the layer returns none.
    """
    if call.weights is None:
        raise DepthError("this layer has no attention weights to take apart")
    return call.weights


def own_sinks(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """The share of a head's attention `[…, tokens]` that its own sink takes, `[…]`; 0 without one.

    Args:
        weights: the attention.
        dtype: the dtype of its computation, whose rounding is no sink.
    """
    sink_share = 1 - weights.sum(dim=-1)
    return torch.where(sink_share > torch.finfo(dtype).eps, sink_share, 0.0)


def heads_of(call: LayerCall, sublayer: Sublayer) -> tuple[Heads, float]:
    """The attention's write, head by head.

    Returns:
        the heads; and the largest difference between their sum with the rest and the attention's
        write, over the largest element of the write.

    Raises:
        DepthError: the attention has no heads that add up to its write.
    """
    writer, weights = _writer(call, sublayer, "attention"), attention_weights(call)
    blocks = _by_head(writer.input, len(weights))
    bias = writer.outputs(torch.zeros_like(writer.input[:1]))
    bias_write = writer.to_stream(bias.expand(len(writer.input), -1))
    heads = Heads(writer, blocks, bias_write + writer.offset(bias_write))
    total = sum((heads.write(head) for head in range(len(heads))), heads.biases)
    own_write = _write_with(call, sublayer, writer).to(total.device)
    error = _off(total, own_write)
    if not error <= _tolerance(call):
        raise DepthError(f"its heads do not add up to what it writes (off by {error:.1%})")
    other_taps = sum(write.to(own_write.device).float() for write in call.attention) - own_write
    return replace(heads, biases=heads.biases + other_taps), error


def reads_of(call: LayerCall, sublayer: Sublayer) -> Reads:
    """The tokens that the layer reads at the last of the tokens.

    Raises:
        DepthError: it returns no attention weights.
    """
    weights = attention_weights(call)[:, -1]
    if call.values is None:
        return Reads(weights, None, float("nan"))
    writer = _writer(call, sublayer, "attention")
    blocks = _by_head(writer.input, len(weights))[:, -1].float().to(weights.device)
    values = call.values.float().to(weights.device)
    values = values.repeat_interleave(len(weights) // len(values), dim=0)
    if values.shape[-1] != blocks.shape[-1]:
        return Reads(weights, None, float("nan"))
    mixed = torch.einsum("ht,htv->hv", weights, values)
    error = _off(mixed, blocks)
    gate: Tensor | None = None
    if not error <= _tolerance(call):
        gate = blocks / mixed
        # A gate's share of each element is in this range; any other difference soon leaves it.
        if not bool(((gate > 0) & (gate < 1)).all()):
            return Reads(weights, None, error)
        error = float("nan")
    norms = _norms_by_token(writer, weights, values, gate)
    return Reads(weights, norms, error)


def neurons_of(call: LayerCall, sublayer: Sublayer, most: int = 8) -> Neurons:
    """The neurons that write most at the last of the tokens.

    Raises:
        DepthError: the MLP does not end in one projection.
    """
    writer = _writer(call, sublayer, "MLP")
    activations, norms = writer.input[-1].float(), []
    size = at_once(len(activations), _MOST_ELEMENTS, call.before.shape[-1])
    for part in slices(len(activations), size):
        norms.append(norm(writer.columns(part)))
    sizes = torch.cat(norms) * activations.abs().to(norms[0].device)
    candidates = sizes.topk(min(_CANDIDATES, len(sizes))).indices
    candidate_activations = activations.to(sizes.device)[candidates]
    outputs = writer.columns(candidates) * candidate_activations[:, None]
    writes = writer.at_last(outputs)
    best = norm(writes).topk(min(most, len(writes))).indices
    return Neurons(candidates[best], candidate_activations[best], writes[best])


def output_projections(call: LayerCall, sublayer: Sublayer, name: str) -> list[nn.Module]:
    """The modules without whose outputs a sublayer writes nothing.

    Args:
        call: the layer's work.
        sublayer: its attention or its MLP.
        name: which of these, in words.

    Raises:
        DepthError: there is none for some of its modules, or their write has another bias.
    """
    modules = []
    for tap in sublayer:
        writer = _writer(call, (tap,), name)
        if writer.norm is not None and bool(writer.norm.offset.any()):
            raise DepthError(
                f"a norm with a bias stands between its {name} and the residual stream"
            )
        modules.append(writer.projection)
    return modules


def last_projection(call: LayerCall, sublayer: Sublayer, name: str) -> Writer:
    """The module whose output is a sublayer's write, but for a constant factor.

    Args:
        call: the layer's work.
        sublayer: its attention or its MLP.
        name: which of these, in words.

    Raises:
        DepthError: there is none.
    """
    if len(sublayer) > 1:
        raise DepthError(f"{len(sublayer)} modules write for its {name}")
    writer = _writer(call, sublayer, name)
    if writer.norm is not None:
        raise DepthError(f"a norm stands between its {name} and the residual stream")
    return writer


def experts_of(call: LayerCall) -> Experts:
    """The experts chosen at the last of the tokens, each by itself.

    Raises:
        DepthError: there are none, or they do not add up.
    """
    experts = call.experts
    if experts is None:
        raise DepthError("this layer has no experts that depthtui knows")
    outputs = torch.stack(
        [
            experts.run(experts.numbers[:, [place]], experts.weights[:, [place]])[-1].float()
            for place in range(experts.numbers.shape[-1])
        ]
    )
    error = _off(outputs.sum(dim=0), experts.output[-1].float())
    if not error <= _tolerance(call):
        raise DepthError(f"its experts do not add up to their block's output (off by {error:.1%})")
    return Experts(experts.numbers[-1], experts.weights[-1].float(), outputs, error)


def _writer(call: LayerCall, sublayer: Sublayer, name: str) -> Writer:
    """The way from a sublayer's last projection to the stream: unchanged, by a norm, or scaled.

    Tried in this order: a norm whose gain is nearly uniform passes for a scale in 16 bits.
    """
    for tap in sublayer:
        tap_tensors, tolerance = call.outputs[tap.module], _tolerance(call)
        if tap.holds_residual:
            # The residual was added to the output, and subtracted again.
            size = call.before.abs().max() / tap_tensors.output.abs().max().clamp(min=1e-30)
            tolerance *= 1 + float(size)
        projections = list(reversed(call.projections))
        # By identity, then by value: a tensor copied to another device is another tensor.
        for is_one in (_is_one, _is_equal):
            for projection in projections:
                if is_one(projection, tap_tensors, "output"):
                    return Writer(projection.module, projection.input, tap.scale, None)
            for projection in projections:
                if not is_one(projection, tap_tensors, "input"):
                    continue
                norm = FrozenNorm.at(
                    tap.module, tap_tensors.input, tap_tensors.output, tap_tensors.input.device
                )
                if norm is not None:
                    return Writer(projection.module, projection.input, tap.scale, norm)
        for projection in projections:
            factor = _factor(projection.output, tap_tensors.output, tolerance)
            if factor is not None:
                return Writer(projection.module, projection.input, factor * tap.scale, None)
    modules = " and ".join(type(tap.module).__name__ for tap in sublayer)
    raise DepthError(f"its {name} ({modules}) does not end in one projection")


End = Literal["input", "output"]


def _is_one(projection: ModuleTensors, tap_tensors: ModuleTensors, end: End) -> bool:
    """Whether a projection's output is the same tensor as a module's input or output."""
    return projection.output_id == (
        tap_tensors.input_id if end == "input" else tap_tensors.output_id
    )


def _is_equal(projection: ModuleTensors, tap_tensors: ModuleTensors, end: End) -> bool:
    """Like `_is_one`, by value."""
    tensor = tap_tensors.input if end == "input" else tap_tensors.output
    same = tensor.shape == projection.output.shape
    return same and torch.equal(projection.output, tensor.to(projection.output.device))


def _write_with(call: LayerCall, sublayer: Sublayer, writer: Writer) -> Tensor:
    """The write of the module that holds the projection, among modules that write together."""
    for tap, write in zip(sublayer, call.attention, strict=True):
        inside = set(tap.module.modules())
        if writer.projection in inside or writer.norm is not None or len(sublayer) == 1:
            return write.float()
    return call.attention[0].float()


def _by_head(inputs_by_token: Tensor, heads: int) -> Tensor:
    """A projection's input `[n, inputs]` as `[heads, n, width]`."""
    inputs = inputs_by_token.shape[-1]
    if inputs % heads:
        raise DepthError(f"its {heads} heads do not share the {inputs} inputs of its projection")
    return inputs_by_token.view(len(inputs_by_token), heads, -1).transpose(0, 1)


def _factor(vector: Tensor, target: Tensor, tolerance: float) -> float | None:
    """The constant that scales one vector to another; None where none does."""
    if vector.shape != target.shape:
        return None
    a, b = vector.float(), target.to(vector.device).float()
    factor = float((a * b).sum() / (a * a).sum().clamp(min=1e-30))
    if abs(factor - 1) < 1e-3:
        factor = 1.0
    return factor if _off(factor * a, b) <= tolerance else None


def _off(values: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest expected element."""
    values, expected = values.to(expected.device).float(), expected.float()
    # Read together, since a GPU waits for each value that is read.
    largest = torch.stack([(values - expected).abs().max(), expected.abs().max()])
    miss, size = largest.cpu().tolist()
    return miss / max(size, 1e-30)


def _tolerance(call: LayerCall) -> float:
    """The rounding error of a sum, over its largest element."""
    eps = torch.finfo(call.before.dtype).eps
    return max(_MOST_OFF * eps, _MOST_OFF_FLOAT32 * torch.finfo(torch.float32).eps)


def _norms_by_token(writer: Writer, weights: Tensor, values: Tensor, gate: Tensor | None) -> Tensor:
    """Sum over heads of the norm of the write from each token, `[tokens]`."""
    heads, tokens, width = values.shape
    norms = torch.zeros(tokens, device=weights.device)
    for head in range(heads):
        columns = writer.columns(slice(head * width, (head + 1) * width))
        size = at_once(tokens, _MOST_ELEMENTS, columns.shape[-1])
        for part in slices(tokens, size):
            rows = weights[head, part, None] * values[head, part]
            rows = rows if gate is None else rows * gate[head]
            writes = writer.at_last(rows.to(columns.device) @ columns)
            norms[part] += norm(writes).to(norms.device)
    return norms
