"""A layer run again at some tokens, with its projections, attention and experts observed.

The layer runs by itself on the recorded residual, behind the recorded keys and values where it can.
It uses the attention that is written out in the model's own code (`written_out_attention.py`):
other attention functions return no weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.models.cut_weights import joined_inputs, joined_parts
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.parallel.group import mesh_of
from depthtui.tracing.anatomy import Anatomy, Sublayer, Tap
from depthtui.tracing.modules import first_tensor, hidden_states, hooks
from depthtui.tracing.replay import KeysValues, Replay
from depthtui.tracing.rounding import coarsest_dtype, layer_agrees
from depthtui.tracing.written_out_attention import AttentionTensors, written_out

NO_EXPERTS = "no experts that depthtui knows"
"""Why a model has no experts to look at."""


@dataclass(frozen=True)
class ModuleTensors:
    """The input and the output of one module at the n tokens, each `[n, width]`.

    Attributes:
        module: the module.
        input, output: its first argument and its hidden states.
        input_id, output_id: the identities of the tensors that were copied: comparing values
            would make a GPU wait.
    """

    module: nn.Module
    input: Tensor
    output: Tensor
    input_id: int = 0
    output_id: int = 0


@dataclass(frozen=True)
class ExpertsCall:
    """The call of a layer's experts at the n tokens.

    Attributes:
        run: returns the weighted sum of some experts' outputs `[n, width]`, from their numbers
            and weights, each `[n, k]`.
        numbers, weights: numbers and weights of the chosen experts, `[n, k]`.
        output: the weighted sum of their outputs, `[n, width]`.
        module: the experts.
    """

    run: Callable[[Tensor, Tensor], Tensor]
    numbers: Tensor
    weights: Tensor
    output: Tensor
    module: nn.Module

    @property
    def count(self) -> int:
        """The number of experts to choose from."""
        return max(len(stack) for stack in _stacks(self.module))


@dataclass
class LayerCall:
    """One layer's work at the n tokens from `start` on.

    Attributes:
        layer, start: indices of the layer and of the first token.
        before, after: the residual stream, `[n, d]`.
        attention, mlp: the writes of its sublayers, `[n, d]` a tap; empty where the split is
            unavailable.
        projections: the linear modules in the order in which they ran.
        outputs: each tap's module's input, and its hidden states without the residual.
        weights: attention to each token up to the last of the n, `[heads, n, start + n]` float32;
            None where the layer returns none.
        values: the values of these tokens, `[key heads, start + n, width]`; None where unknown.
        experts: the call of the experts; None where there is none.
    """

    layer: int
    start: int
    before: Tensor
    after: Tensor
    attention: tuple[Tensor, ...] = ()
    mlp: tuple[Tensor, ...] = ()
    projections: list[ModuleTensors] = field(default_factory=list)
    outputs: dict[nn.Module, ModuleTensors] = field(default_factory=dict)
    weights: Tensor | None = None
    values: Tensor | None = None
    experts: ExpertsCall | None = None


def call_at(replay: Replay, anatomy: Anatomy, layer: int, start: int, stop: int) -> LayerCall:
    """Run a layer at some tokens of the recorded pass; keep its modules' inputs and outputs.

    Raises:
        DepthError: no layer of this architecture can be run by itself.
    """
    # Before the hooks, which must see these tokens alone.
    replay.prepare_span(start)
    module, expected = replay.layers[layer], replay.residual[layer + 1][start:stop]
    for attention in (written_out, _unchanged):
        recorder = _LayerRecorder(replay, anatomy, layer, start, stop)
        with torch.no_grad(), attention(module) as attended, recorder:
            try:
                after, keys_values = replay.run_span(layer, start, stop)
            except (TypeError, RuntimeError, AttributeError) as error:
                if attention is _unchanged or is_out_of_memory(error):
                    raise
                continue
        before = replay.input_of(layer)[start:stop]
        dtype = coarsest_dtype(module, before, expected)
        if layer_agrees(after, before, expected, dtype):
            break
    return recorder.finish(after, keys_values, attended)


class _LayerRecorder:
    """Hooks on all modules of a layer, while open; see `LayerCall`."""

    def __init__(self, replay: Replay, anatomy: Anatomy, layer: int, start: int, stop: int) -> None:
        self._module = replay.layers[layer]
        before, after = replay.input_of(layer)[start:stop], replay.residual[layer + 1][start:stop]
        self.call = LayerCall(layer, start, before, after)
        self._sublayers: tuple[Sublayer, ...] = ()
        if anatomy.attention:
            self._sublayers = anatomy.attention[layer], anatomy.mlp[layer]
        self._writes: dict[Tap, Tensor] = {}
        self._referenced: list[Tensor] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        handles = self._stack.enter_context(hooks())
        taps = {tap.module: tap for sublayer in self._sublayers for tap in sublayer}
        handles.append(self._module.register_forward_pre_hook(self._start, with_kwargs=True))
        for module in self._module.modules():
            if module in taps:
                handles.append(module.register_forward_hook(self._keep_tap(taps[module])))
            if is_projection(module):
                handles.append(module.register_forward_hook(self._keep_projection))
            handles.append(module.register_forward_hook(self._keep_experts, with_kwargs=True))

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def finish(
        self,
        after: Tensor,
        keys_values: KeysValues | None,
        attended: AttentionTensors | None,
    ) -> LayerCall:
        """Return the call, once the layer has run."""
        call = self.call
        call.after = after
        if self._sublayers:
            call.attention, call.mlp = (
                tuple(self._writes[tap] for tap in sublayer) for sublayer in self._sublayers
            )
        weights = None if attended is None else attended.weights
        if attended is not None and weights is not None and self._is_attention(weights):
            values = attended.values
            if values is None and keys_values is not None:
                values = keys_values[1]
            count = call.start + len(call.before)
            call.weights = weights[0, :, self._rows, :count].float()
            call.values = None if values is None else values[0, :, :count]
            self._join_heads()
        return call

    def _join_heads(self) -> None:
        """Gather the heads of all ranks, where each has computed some."""
        call, mesh = self.call, mesh_of(self._module)
        if mesh is None or call.weights is None or len(call.weights) == _heads_of(self._module):
            return
        call.weights = joined_parts(call.weights, mesh, 0)
        if call.values is not None:
            call.values = joined_parts(call.values, mesh, 0)

    def _start(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._tokens = hidden_states(args, kwargs).shape[1]
        count = len(self.call.before)
        first = 0 if self._tokens == count else self.call.start
        self._rows = slice(first, first + count)

    def _at(self, values: Tensor) -> Tensor:
        """The tokens' rows of a module's input or output, `[n, width]`."""
        return values.reshape(-1, values.shape[-1])[self._rows].clone()

    def _is_of_tokens(self, values: object) -> bool:
        return (
            isinstance(values, Tensor)
            and values.is_floating_point()
            and values.dim() > 1
            and values.numel() == self._tokens * values.shape[-1]
        )

    def _keep_tap(self, tap: Tap) -> Callable[..., None]:
        def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            value = first_tensor(output)
            like = value.reshape(1, self._tokens, -1)
            self._writes[tap] = self._at(tap.write(args, output, like))
            module_input = args[0] if args and self._is_of_tokens(args[0]) else value
            if tap.holds_residual:
                value = value - args[1]
            self.call.outputs[module] = self._module_tensors(module, module_input, value)

        return keep

    def _module_tensors(
        self, module: nn.Module, module_input: Tensor, module_output: Tensor
    ) -> ModuleTensors:
        # Referenced until the layer is done: Python may give a freed tensor's identity to another.
        self._referenced += [module_input, module_output]
        rows = joined_inputs(self._at(module_input), getattr(module, "weight", None))
        return ModuleTensors(
            module, rows, self._at(module_output), id(module_input), id(module_output)
        )

    def _keep_projection(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and self._is_of_tokens(args[0]) and self._is_of_tokens(output):
            self.call.projections.append(self._module_tensors(module, args[0], output))

    def _keep_experts(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Keep a call with the numbers of the chosen experts and their weights."""
        if not _stacks(module):
            return
        arguments = [*args, *kwargs.values()]
        numbers = next((value for value in arguments if self._is_choice(value)), None)
        if numbers is None or not isinstance(output, Tensor) or not self._is_of_tokens(output):
            return
        states = next((value for value in arguments if self._is_of_tokens(value)), None)
        of_choice = (
            value
            for value in arguments
            if isinstance(value, Tensor) and value.is_floating_point() and value is not states
        )
        weights = next((v for v in of_choice if v.shape[0] == numbers.shape[0]), None)
        if states is None or weights is None:
            return
        is_sparse = weights.shape == numbers.shape
        rows, chosen_numbers = self._rows, numbers[self._rows]
        shares = weights[rows] if is_sparse else weights[rows].gather(-1, chosen_numbers)
        places = [_place(arguments, value) for value in (states, numbers, weights)]
        at = self._at(states)

        def run(expert_numbers: Tensor, expert_shares: Tensor) -> Tensor:
            if not is_sparse:
                spread = torch.zeros_like(weights[rows])
                expert_shares = spread.scatter(-1, expert_numbers, expert_shares)
            changed = list(arguments)
            shaped_states = at.reshape(*[1] * (states.dim() - 2), *at.shape)
            for place, value in zip(
                places, (shaped_states, expert_numbers, expert_shares), strict=True
            ):
                changed[place] = value
            keywords = dict(zip(kwargs, changed[len(args) :], strict=True))
            output = first_tensor(module.forward(*changed[: len(args)], **keywords))
            return output.reshape(-1, output.shape[-1])

        experts_output = self._at(output)
        self.call.experts = ExpertsCall(run, chosen_numbers, shares, experts_output, module)

    def _is_attention(self, weights: Tensor) -> bool:
        """Whether these are attention weights, not the state that another kind of layer returns."""
        count = self.call.start + len(self.call.before)
        return weights.shape[2] == self._tokens and weights.shape[3] >= count

    def _is_choice(self, value: object) -> bool:
        return (
            isinstance(value, Tensor)
            and value.dtype in (torch.int64, torch.int32)
            and value.dim() == 2
            and value.shape[0] == self._tokens
        )


def _heads_of(layer: nn.Module) -> int:
    """How many heads the attention of a layer has, on all ranks together; 0 where unknown."""
    configs = (getattr(module, "config", None) for module in layer.modules())
    counts = (getattr(config, "num_attention_heads", None) for config in configs)
    return next((heads for heads in counts if heads), 0)


def why_no_experts(layers: Iterable[nn.Module]) -> str:
    """`NO_EXPERTS`; empty where some layer may hold some."""
    return "" if any(map(may_have_experts, layers)) else NO_EXPERTS


def may_have_experts(layer: nn.Module) -> bool:
    """Whether some module of a layer may hold experts; running it decides."""
    return any(_stacks(module) for module in layer.modules())


def _stacks(module: nn.Module) -> list[nn.Parameter]:
    """A module's own stacked matrices, such as those of experts."""
    return [weight for weight in module.parameters(recurse=False) if weight.dim() == 3]


@contextlib.contextmanager
def _unchanged(_layer: nn.Module) -> Iterator[None]:
    """Leave a layer's attention as it is."""
    yield None


def _place(values: list[Any], target: object) -> int:
    """The index of an object in a list, by identity."""
    return next(index for index, value in enumerate(values) if value is target)


def is_projection(module: nn.Module) -> bool:
    """Whether a module multiplies by a matrix: a linear layer, whole or quantised."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and (weight.dim() == 2 or hasattr(module, "in_features"))
