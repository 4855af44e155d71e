"""The lens's sums over the vocabulary in one pass, where that is faster on a GPU.

torch reads `[rows, V]` logits about eight times for the sums, which on a GPU takes longer
than the arithmetic. Triton comes with torch's builds for CUDA; where it is missing, or cannot
compile, torch's passes are used. The choice is made by comparing and timing both.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from depthtui.metrics.logit_lens.row_sums import (
    GROUP,
    AddColumns,
    RowSums,
    Scratch,
    add_columns,
    padded,
)
from depthtui.parallel.agreements import every_rank

_LOG = logging.getLogger(__name__)

_GROUPS_AT_ONCE = 64
_WARPS = 8

_TOLERANCE = 1e-5
"""The largest difference of two orders of float32 addition, as a share of a sum."""

_WORTH_IT = 1.2
"""How many times faster the one pass must be, so that noise does not decide."""

_TIMINGS = 5

_TIMED = (8, 64, 32000)
"""Depths, tokens and columns that are timed: whole groups, and more than a GPU's cache holds."""


@functools.cache
def add_columns_on(device: torch.device) -> AddColumns:
    """The fastest implementation of `add_columns` on a device; chosen once."""
    if device.type != "cuda":
        return add_columns
    add = chosen(add_columns_fused, device)
    return add if every_rank("sums in one pass", add is not add_columns) else add_columns


def add_columns_fused(
    sums: RowSums, logits: Tensor, reference: Tensor | None, columns: slice, scratch: Scratch
) -> None:
    """`add_columns` in one pass, by Triton; it needs no scratch memory."""
    from depthtui.metrics.logit_lens.fused_kernel import add_columns_kernel

    first, stop = columns.start, padded(columns.stop)
    block, maxima = logits[:, first:stop], sums.maxima[:, first // GROUP : stop // GROUP]
    others = block if reference is None else reference[:, columns]
    # Triton launches on the current device, whichever device the tensors are on.
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        add_columns_kernel[(len(block),)](
            block,
            others,
            sums.shift,
            sums.total,
            sums.logit,
            sums.reference,
            maxima,
            block.stride(0),
            others.stride(0),
            maxima.stride(0),
            columns.stop - first,
            maxima.shape[1],
            len(others),
            len(block) // len(others),
            compared=reference is not None,
            group=GROUP,
            at_once=_GROUPS_AT_ONCE,
            num_warps=_WARPS,
        )


def chosen(candidate: AddColumns, device: torch.device) -> AddColumns:
    """The candidate if its sums are right and faster on a device, else `add_columns`."""
    try:
        with torch.inference_mode():
            if not _agrees(candidate, device):
                _LOG.debug("On %s the lens's sums in one pass are wrong.", device)
            elif not _is_faster(candidate, device):
                _LOG.debug("On %s the lens's sums in one pass take longer.", device)
            else:
                return candidate
    except Exception:
        # No Triton, no compiler for it, an unsupported GPU or version, or no memory left.
        _LOG.debug("On %s the lens's sums cannot be had in one pass.", device, exc_info=True)
    return add_columns


def _agrees(candidate: AddColumns, device: torch.device) -> bool:
    """Whether the candidate gives the same sums but for rounding, and the same maxima."""
    for logits, reference in _samples(device):
        vocab = logits.shape[1]
        padded_logits = torch.nn.functional.pad(
            logits, (0, padded(vocab) - vocab), value=-torch.inf
        )
        sums, expected = (
            _sums(add, padded_logits, reference, vocab) for add in (candidate, add_columns)
        )
        for name, value in vars(expected).items():
            tolerance = 0.0 if name in ("shift", "maxima") else _TOLERANCE
            if not torch.allclose(getattr(sums, name), value, rtol=tolerance, atol=0.0):
                return False
    return True


def _is_faster(candidate: AddColumns, device: torch.device) -> bool:
    depths, tokens, vocab = _TIMED
    logits = torch.randn(depths * tokens, vocab, device=device, generator=_generator(device))
    reference = logits[:tokens]
    fused, plain = [], []
    for _ in range(_TIMINGS):
        fused.append(_seconds(candidate, logits, reference))
        plain.append(_seconds(add_columns, logits, reference))
    return min(plain) > _WORTH_IT * min(fused)


def _samples(device: torch.device) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Logits of two depths and three tokens, and the logits to compare them with.

    Few columns and many, which fill neither a group nor a pass of the kernel's loop. No sum
    has terms that cancel, so that rounding stays a small share of it.
    """
    generator = _generator(device)
    for vocab in (101, 9001):
        normal = torch.randn(6, vocab, device=device, generator=generator)
        reference = torch.randn(3, vocab, device=device, generator=generator) - 20
        yield normal, None
        yield 3 * normal, reference
        yield 10 * normal - 1e4, reference
        yield 100 * normal + 1e4, reference
        yield 30 * (3 * normal).tanh(), reference
        # The largest logit grows from block to block.
        yield normal + torch.linspace(-300, 50, vocab, device=device), reference


def _sums(add: AddColumns, logits: Tensor, reference: Tensor | None, vocab: int) -> RowSums:
    """The sums over all columns of `[rows, padded(V)]` logits."""
    sums = RowSums.of_nothing(logits.new_empty(len(logits), padded(vocab) // GROUP))
    add(sums, logits, reference, slice(0, vocab), logits.new_empty)
    return sums


def _seconds(add: AddColumns, logits: Tensor, reference: Tensor) -> float:
    """How long the sums over whole groups of columns take."""
    start = time.perf_counter()
    # Reading a value waits for all queued work of a GPU.
    _sums(add, logits, reference, logits.shape[1]).total[0].item()
    return time.perf_counter() - start


def _generator(device: torch.device) -> torch.Generator:
    """A generator of its own, which leaves the global random state unchanged."""
    return torch.Generator(device).manual_seed(0)
