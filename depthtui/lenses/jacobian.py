"""The Jacobian lens: the mean derivative of the last residuals by the residual at each depth.

J_l = mean over prompts and source positions p of sum over p' >= p of dh_L[p'] / dh_l[p], the first
positions and the last left out (transformer-circuits.pub/2026/workspace).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.errors import DepthError
from depthtui.lenses.maps import DepthMap
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.batching import at_once
from depthtui.tracing.modules import decoder, first_tensor, hidden_states, hooks, with_hidden_states

PROMPT_TOKENS = 128
"""The number of tokens read of a prompt."""

SKIPPED = 16
"""The number of first positions, with attention sinks, that are left out."""

PROMPTS = 60
"""The number of prompts after which the lens hardly changes."""

_TOKENS_AT_ONCE = 4096


@dataclass
class JacobianSums:
    """The Jacobians of a lens, summed over the prompts fitted so far; a later fit continues them.

    Attributes:
        sums: `[L, d, d]`, float32 on the CPU: sums of each prompt's mean over positions.
        prompts: the number of prompts.
        tokens: the number of source positions of all prompts.
    """

    sums: Tensor
    prompts: int = 0
    tokens: int = 0

    @classmethod
    def empty(cls, n_layers: int, width: int) -> JacobianSums:
        """The sums over no prompt."""
        return cls(torch.zeros(n_layers, width, width))

    def at(self, depth: int) -> DepthMap:
        """The map of a depth."""
        return DepthMap(self.sums[depth] / max(1, self.prompts))


def usable_prompts(texts: Sequence[Tensor]) -> list[Tensor]:
    """The beginnings of the texts that have a position left.

    Raises:
        DepthError: no text is long enough.
    """
    usable = [ids[:PROMPT_TOKENS] for ids in texts if len(ids) > SKIPPED + 1]
    if not usable:
        raise DepthError(
            f"The Jacobian lens needs prompts of {SKIPPED + 2} tokens or more; there are none.",
            "Give longer texts.",
        )
    return usable


def add_prompt(
    sums: JacobianSums,
    model: nn.Module,
    anatomy: Anatomy,
    ids: Tensor,
    skipped: int = SKIPPED,
    report: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Callable[[], None] = lambda: None,
) -> None:
    """Add one prompt `[T]`, by d backward passes, several output dimensions at a time.

    `sums` do not change where `checkpoint` raises.

    Args:
        sums: the sums to add to.
        model, anatomy: the model.
        ids: the prompt.
        skipped: how many of the first positions are left out.
        report: called with the output dimensions done and in all.
        checkpoint: called before every backward pass.
    """
    width = sums.sums.shape[-1]
    positions = slice(skipped, len(ids) - 1)
    size = at_once(width, _TOKENS_AT_ONCE, len(ids))
    residuals = _record(model, anatomy, ids.expand(size, -1))
    prompt_sums = torch.empty_like(sums.sums)
    for first in range(0, width, size):
        checkpoint()
        dimensions = range(first, min(first + size, width))
        gradients = _gradients(residuals, positions, dimensions, dimensions.stop < width)
        for depth, gradient in enumerate(gradients):
            rows = gradient[: len(dimensions), positions].float().mean(dim=1)
            prompt_sums[depth, dimensions.start : dimensions.stop] = rows.to("cpu")
        report(dimensions.stop, width)
    sums.sums += prompt_sums
    sums.prompts += 1
    sums.tokens += positions.stop - positions.start


def seconds_of_prompt(width: int, model: nn.Module, anatomy: Anatomy, ids: Tensor) -> float:
    """About how long `add_prompt` takes, estimated from one of its backward passes.

    The first of two is not timed: it loads kernels and allocates memory.

    Args:
        width: output dimensions, d.
        model, anatomy, ids: as in `add_prompt`.
    """
    size = at_once(width, _TOKENS_AT_ONCE, len(ids))
    residuals = _record(model, anatomy, ids.expand(size, -1))
    seconds = 0.0
    for is_last in (False, True):
        began = time.perf_counter()
        gradient, *_ = _gradients(residuals, slice(SKIPPED, len(ids) - 1), range(size), not is_last)
        # Reading a value waits until the device has finished.
        gradient[0, -1, 0].item()
        seconds = time.perf_counter() - began
    # The forward pass, once per prompt, takes about half of a backward pass.
    return seconds * (-(-width // size) + 0.5)


def _gradients(
    residuals: Sequence[Tensor], positions: slice, dimensions: range, retain: bool
) -> Sequence[Tensor]:
    """Gradients of some output dimensions, summed over positions, by h_0 … h_L-1: `[rows, T, d]`.

    Args:
        residuals: the result of `_record`.
        positions: the positions of the output that count.
        dimensions: the dimensions, one per row.
        retain: whether more gradients of the same residuals follow.
    """
    last = residuals[-1]
    direction = torch.zeros_like(last)
    for row, dimension in enumerate(dimensions):
        direction[row, positions, dimension] = 1
    return torch.autograd.grad(last, residuals[:-1], direction, retain_graph=retain)


def _record(model: nn.Module, anatomy: Anatomy, ids: Tensor) -> list[Tensor]:
    """h_0 … h_L of the same prompt side by side, each `[rows, T, d]`, joined by gradients."""
    residuals: list[Tensor] = []

    def begin(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        start = hidden_states(args, kwargs).detach().requires_grad_()
        residuals.append(start)
        return with_hidden_states(args, kwargs, start)

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        residuals.append(hidden_states(args, kwargs))

    def end(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        residuals.append(first_tensor(output))

    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    with torch.enable_grad(), hooks() as handles:
        first, *later_layers = anatomy.layers
        handles.append(first.register_forward_pre_hook(begin, with_kwargs=True))
        for layer in later_layers:
            handles.append(layer.register_forward_pre_hook(keep, with_kwargs=True))
        handles.append(anatomy.layers[-1].register_forward_hook(end))
        decoder(model)(input_ids=ids.to(execution_device(embedding)), use_cache=False)
    return residuals
