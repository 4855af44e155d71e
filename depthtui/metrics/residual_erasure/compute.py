"""Until which layer each input token still matters (paper, metric 4).

At depth l, token t of the residual stream is replaced by the mean residual at
that depth, and the change of the answer's probabilities is measured. Tokens
before t are untouched: the clean run's keys and values stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.output_distance import OutputDistance
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.parts import at_once
from depthtui.tracing.replay import Replay

_TOKENS_WORTH_A_BATCH = 512
"""Neighbouring tokens are erased together until a batch has about so many tokens."""


def compute(context: Context, partial: ResidualErasure | None) -> ResidualErasure:
    """The metric of a run; what `partial` has is not computed again."""
    total = context.replay.n_tokens - 1

    def report(done: int, value: ResidualErasure) -> None:
        # The later a token, the fewer run behind it.
        left = total - done
        share = 1 - left * (left + 1) / (total * (total + 1))
        context.report(value, done, total, share)

    return residual_erasure(
        context.replay,
        context.unembedding,
        context.baseline(),
        context.result.answer_start,
        report,
        partial,
    )


def residual_erasure(
    replay: Replay,
    unembedding: Unembedding,
    baseline: Sequence[Tensor],
    answer_start: int,
    on_tokens: Callable[[int, ResidualErasure], None] = lambda done, result: None,
    result: ResidualErasure | None = None,
) -> ResidualErasure:
    """Erase every token at every depth.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        baseline: the mean residual at depths 0 … L, each `[d]`.
        answer_start: index of the answer's first token, at least 1.
        on_tokens: called with the number of tokens done and what is known by then.
        result: columns that are done already are not computed again.

    Returns:
        the effects; the last token's is 0, since nothing after it predicts the answer.
    """
    if not 0 < answer_start < replay.n_tokens:
        raise ValueError("the answer must begin after the first token and before the end")
    # The positions answer_start - 1 … T - 2 predict the answer's tokens.
    stop = replay.n_tokens - 1
    reads = slice(answer_start - 1, stop)
    distance = OutputDistance(unembedding, replay.residual[-1][reads])
    if result is None:
        shape = (replay.n_layers + 1, replay.n_tokens)
        result = ResidualErasure(np.full(shape, np.nan, np.float32), answer_start, floor=0.0)
        result.effect[:, stop] = 0.0
    start = int(np.isfinite(result.effect[0, :stop]).sum())
    with torch.no_grad():
        while start < stop:
            count = _together(replay.n_layers, start, stop)
            block, floor = _erase(replay, distance, baseline, start, count, stop, reads)
            result.effect[:, start : start + count] = block.numpy()
            result.floor = max(result.floor, floor)
            start += count
            on_tokens(start, result)
    return result


def _together(n_layers: int, start: int, stop: int) -> int:
    """How many neighbouring tokens to erase in one sweep."""
    tokens = (n_layers // 2 + 1) * (stop - start)
    return at_once(stop - start, _TOKENS_WORTH_A_BATCH, tokens)


def _erase(
    replay: Replay,
    distance: OutputDistance,
    baseline: Sequence[Tensor],
    start: int,
    count: int,
    stop: int,
    reads: slice,
) -> tuple[Tensor, float]:
    """Erase tokens `start` … `start + count - 1`, `[L+1, count]`.

    The first row is an unchanged run; what it is off by comes second.
    """
    begin = start if replay.can_resume else 0
    end = replay.end_for(stop)
    rows = replay.residual[0][None, begin:end]
    for layer in range(replay.n_layers + 1):
        clean = replay.residual[layer][begin:end]
        new = clean.repeat(count, 1, 1)
        erased = torch.arange(count)
        new[erased, erased + start - begin] = baseline[layer].to(clean)
        rows = torch.cat([rows, new.to(rows.device)])
        if layer < replay.n_layers:
            past = None
            if begin > 0:
                keys, values = replay.keys_values(layer)
                past = keys[:, :, :begin], values[:, :, :begin]
            rows = replay.run_layer(layer, rows, begin, past)
    seen = max(reads.start, begin)
    distances = distance(rows[:, seen - begin : stop - begin], seen - reads.start)
    far = distances[1:].view(replay.n_layers + 1, count, -1)
    # An erased token cannot change what came before it, and rounding must not pretend so.
    position = torch.arange(seen, stop)
    far = far.masked_fill(position < torch.arange(start, start + count)[:, None], 0.0)
    return far.amax(dim=-1), float(distances[0].max())
