"""One short forward pass of a model, with the call of each layer.

A layer is a call of a block: a model with looped blocks runs each of them several times in a pass,
and has as many layers as there are calls.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.errors import DepthError
from depthtui.models.devices import execution_device
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.layer_arguments import LayerArguments, empty_output, idle_calls
from depthtui.tracing.modules import (
    as_called,
    decoder,
    find_blocks,
    first_tensor,
    hidden_states,
    hooks,
    with_hidden_states,
)
from depthtui.tracing.rounding import coarsest_dtype, is_rounding, layer_agrees

_TOKENS = 8


@dataclass(frozen=True)
class ModuleCall:
    """One call of a block's child."""

    args: tuple[Any, ...]
    output: Any


@dataclass
class LayerRun:
    """One layer's call.

    Attributes:
        block: the module.
        args, kwargs: its arguments; mappings as they were at the call.
        before, after: the residual stream, `[1, T, d]`, on the block's device.
        streams: the number of streams side by side in `before`; 0 where it is no residual stream.
        output: all that the block returned.
        calls: the last call of each child that returned a tensor.
        between: modules that ran after the block before this one, in order.
    """

    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    before: Tensor
    streams: int
    between: tuple[nn.Module, ...]
    after: Tensor = field(default_factory=lambda: torch.empty(0))
    output: Any = None
    calls: dict[nn.Module, ModuleCall] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbePass:
    """A pass of a handful of tokens.

    Attributes:
        ids: `[1, T]`.
        runs: the layers, in the order in which they ran.
        behind: modules that ran after the last layer, in order.
        logits: `[1, T, V]`.
    """

    ids: Tensor
    runs: tuple[LayerRun, ...]
    behind: tuple[nn.Module, ...]
    logits: Tensor


def probe_pass(model: nn.Module) -> ProbePass:
    """Run a handful of distinct tokens, and keep the inputs and outputs of layers.

    Raises:
        DepthError: the model has no blocks that can be followed, or they work on no residual
            stream.
    """
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    ids = (torch.arange(_TOKENS) * 7919 + 11) % embedding.num_embeddings
    ids = ids[None].to(execution_device(embedding))
    recorder = _PassRecorder(model)
    with torch.no_grad(), recorder:
        logits = model(input_ids=ids, use_cache=False).logits
    recorder.check(ids)
    return ProbePass(ids, tuple(recorder.runs), tuple(recorder.between), logits)


class _PassRecorder:
    """Records the calls of a model's blocks while open.

    Attributes:
        runs: the calls, in order.
        between: modules outside the blocks that have run since the last call.
    """

    def __init__(self, model: nn.Module) -> None:
        self.runs: list[LayerRun] = []
        self.between: list[nn.Module] = []
        self._blocks = find_blocks(model)
        self._beside = _beside(model, self._blocks)
        self._hooks = contextlib.ExitStack()

    def check(self, ids: Tensor) -> None:
        """Check that every call reads and writes residual streams `[1, T, d]`.

        Raises:
            DepthError: one did not.
        """
        ran = {run.block for run in self.runs}
        for block in self._blocks:
            if block not in ran:
                raise DepthError(
                    f"A layer ({type(block).__name__}) does not run when the model reads text "
                    "alone.",
                    "depthtui measures decoders whose layers all run on text.",
                )
        for run in self.runs:
            is_stream = run.before.shape == run.after.shape
            if not (run.streams and is_stream and run.before.shape[:2] == ids.shape):
                raise DepthError(
                    f"{type(run.block).__name__} does not read and write a residual stream of "
                    "shape [1, tokens, width].",
                    "depthtui measures decoders whose layers hand a residual stream on.",
                )

    def __enter__(self) -> None:
        handles = self._hooks.enter_context(hooks())
        for block in self._blocks:
            handles.append(block.register_forward_pre_hook(self._begin, with_kwargs=True))
            handles.append(block.register_forward_hook(self._end))
            handles.extend(child.register_forward_hook(self._keep) for child in block.children())
        handles.extend(module.register_forward_hook(self._note) for module in self._beside)

    def __exit__(self, *_error: object) -> None:
        self._hooks.close()

    def _begin(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states, copies = as_called(args, kwargs), _snapshot(kwargs)
        streams = states.shape[2] if states.dim() == 4 else int(states.dim() == 3)
        before, between = hidden_states(args, kwargs).clone(), tuple(self.between)
        self.runs.append(LayerRun(block, args, copies, before, streams, between))
        self.between = []

    def _end(self, _block: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        run = self.runs[-1]
        run.output, run.after = output, first_tensor(output).clone()
        # The input is still on the device of the layer before.
        run.before = run.before.to(run.after.device)

    def _keep(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # Cloned: Falcon adds attention into the MLP's output in place afterwards.
        copies = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)
        value = first_tensor(output)
        if isinstance(value, Tensor):
            self.runs[-1].calls[module] = ModuleCall(copies, value.clone())

    def _note(self, module: nn.Module, _args: object, _output: object) -> None:
        self.between.append(module)


def _beside(model: nn.Module, blocks: Sequence[nn.Module]) -> list[nn.Module]:
    """The siblings of lists of blocks."""
    lists = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and any(child in blocks for child in module)
    ]
    parents = [
        module for module in model.modules() if any(child in lists for child in module.children())
    ]
    return [
        child
        for parent in parents
        for child in parent.children()
        if not isinstance(child, nn.ModuleList)
    ]


def _snapshot(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments, with copies of those that layers may still change."""
    return {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in kwargs.items()
    }


def modules_between(runs: Sequence[LayerRun]) -> dict[int, tuple[nn.Module, ...]]:
    """The modules before each layer whose input is not the output of the layer before.

    Empty where these modules do not turn that output into the input.
    """
    modules: dict[int, tuple[nn.Module, ...]] = {}
    for layer, (run, following) in enumerate(itertools.pairwise(runs), start=1):
        state = following.before
        if torch.equal(run.after.to(state.device), state):
            continue
        output = _through(following.between, run.after)
        dtype = torch.promote_types(state.dtype, torch.float32) if output is None else output.dtype
        explained = output is not None and is_rounding(
            output.float() - state.float(), (state,), dtype
        )
        modules[layer] = following.between if explained else ()
    return modules


def _through(modules: Sequence[nn.Module], states: Tensor) -> Tensor | None:
    """Send states through modules, one after the other; None where they do not accept them."""
    try:
        with torch.no_grad():
            for module in modules:
                states = module(states.to(execution_device(module)))
    except (RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return None
    return states if isinstance(states, Tensor) and modules else None


def why_not_alone(model: nn.Module, probe: ProbePass) -> str:
    """Why no layer can be run by itself, or empty.

    Tried in a pass whose layers only pass their input on. Where one of them gets other arguments
    than in the probe, and another output by them, layers pass on more than the residual stream.
    """
    hands_on = "its layers hand on more to each other than the residual stream"
    try:
        outputs = [empty_output(run.output, probe.ids.shape[1]) for run in probe.runs]
        with torch.no_grad():
            calls = idle_calls(
                [run.block for run in probe.runs],
                outputs,
                0,
                lambda: decoder(model)(input_ids=probe.ids, use_cache=False),
            )
    except DepthError:
        # A shorter text may work: each text's replay finds out.
        return ""
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return hands_on
    for run, call in zip(probe.runs, calls, strict=True):
        if not (_is_same_call(run, call) or serves(run, call)):
            return hands_on
    return ""


def _is_same_call(run: LayerRun, call: LayerArguments) -> bool:
    kwargs = {name: value for name, value in run.kwargs.items() if name != "hidden_states"}
    return is_same((run.args[1:], kwargs), (call.args, dict(call.kwargs)))


def is_same(first: Any, second: Any) -> bool:
    """Whether two arguments are the same, tensors by their values."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and torch.equal(first, second.to(first.device))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            is_same(first[key], second[key]) for key in first
        )
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(is_same, first, second))
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return False
    return first is second or bool(first == second)


def serves(run: LayerRun, call: LayerArguments) -> bool:
    """Whether a layer gives the same output for its input with the other arguments of a call."""
    args, kwargs = (*run.args[:1], *call.args), dict(call.kwargs)
    if not run.args:
        kwargs["hidden_states"] = run.kwargs["hidden_states"]
    args, kwargs = with_hidden_states(args, kwargs, run.before)
    try:
        with torch.no_grad():
            output = first_tensor(run.block(*args, **kwargs))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return False
    dtype = coarsest_dtype(run.block, run.before, run.after)
    return layer_agrees(output, run.before, run.after, dtype)
