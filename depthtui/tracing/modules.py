"""A model's modules: its layers, their arguments and outputs, and hooks on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from depthtui.errors import DepthError


def first_tensor(output: Any) -> Tensor:
    """A module's hidden states `[batch, T, d]`, of a tensor or a tuple that begins with one.

    Residual streams side by side, `[batch, T, streams, width]`, are joined into one.
    """
    while isinstance(output, tuple | list):
        output = output[0]
    return _joined(output)


def with_first_tensor(output: Any, value: Tensor) -> Any:
    """`output` with its hidden states replaced by `value`, in the shape of its own."""
    if isinstance(output, tuple | list):
        return type(output)((with_first_tensor(output[0], value), *output[1:]))
    return _like(output, value)


def as_called(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A block's input in its own shape, positional or not."""
    return args[0] if args else kwargs["hidden_states"]


def hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A block's input `[batch, T, d]`; streams side by side as in `first_tensor`."""
    return _joined(as_called(args, kwargs))


def with_hidden_states(
    args: tuple[Any, ...], kwargs: dict[str, Any], value: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A block's arguments with its input replaced by `value`, in the shape of its own."""
    value = _like(as_called(args, kwargs), value)
    if args:
        return (value, *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": value}


def _joined(states: Any) -> Any:
    """Join streams that lie side by side into one."""
    has_streams = isinstance(states, Tensor) and states.dim() == 4
    return states.flatten(2) if has_streams else states


def _like(states: Any, value: Tensor) -> Tensor:
    """Reshape a value so that its streams lie side by side where those of the states do."""
    has_streams = isinstance(states, Tensor) and states.dim() == 4 and value.dim() == 3
    return value.reshape(*value.shape[:2], *states.shape[2:]) if has_streams else value


def return_input(
    _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    """The hook by which a block leaves the residual stream as it is."""
    residual = hidden_states(args, kwargs)
    return with_first_tensor(output, residual.to(first_tensor(output).device))


@contextmanager
def hooks() -> Iterator[list[Any]]:
    """A list for hook handles, all removed at the end."""
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced(
    module: nn.Module, function: Callable[..., Any], name: str = "forward"
) -> Iterator[None]:
    """Give a module another method of a name for a while."""
    former = vars(module).get(name)
    setattr(module, name, function)
    try:
        yield
    finally:
        delattr(module, name)
        if former is not None:
            setattr(module, name, former)


@contextmanager
def with_parameters(module: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a module other parameters for a while, by their names; its own do not change."""
    originals = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, nn.Parameter(value, requires_grad=False))
        yield
    finally:
        for name, original in originals.items():
            setattr(module, name, original)


@contextmanager
def unhooked(module: nn.Module) -> Iterator[None]:
    """Let a module call none of its forward hooks for a while."""
    hooks_before = {name: vars(module)[name] for name in ("_forward_hooks", "_forward_pre_hooks")}
    vars(module).update({name: OrderedDict() for name in hooks_before})
    try:
        yield
    finally:
        vars(module).update(hooks_before)


def decoder(model: nn.Module) -> nn.Module:
    """The model without its LM head."""
    causal: Any = model
    base = causal.get_decoder() if hasattr(causal, "get_decoder") else None
    # Some models call their LM head a decoder.
    if base is None or base is model or isinstance(base, nn.Linear):
        base = getattr(causal, getattr(causal, "base_model_prefix", ""), None)
    return model if base is None else base


def text_config(model: nn.Module) -> Any:
    """The configuration of a model's part that reads text; the model may read more."""
    config: Any = model.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def find_blocks(model: nn.Module) -> tuple[nn.Module, ...]:
    """The model's blocks, in order: a list of as many modules as the config has layers.

    Where the config counts a looped block several times, the blocks of all outermost lists.

    Raises:
        DepthError: there is no such list.
    """
    expected = getattr(text_config(model), "num_hidden_layers", None)
    lists = [stack for stack in decoder(model).modules() if isinstance(stack, nn.ModuleList)]
    for stack in lists:
        if len(stack) == expected:
            return tuple(stack)
    inner = {part for stack in lists for block in stack for part in block.modules()}
    blocks = tuple(block for stack in lists if stack not in inner for block in stack)
    if not blocks or not isinstance(expected, int) or len(blocks) > expected:
        raise DepthError(
            f"{type(model).__name__} has no list of {expected} layers that depthtui can follow.",
            "Decoder-only models with a residual stream are supported.",
        )
    return blocks
