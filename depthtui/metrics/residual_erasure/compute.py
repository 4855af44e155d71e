"""Until which layer each input token still matters (paper, metric 4).

At depth l, token t of the residual stream is replaced by the mean residual at
that depth, and the change of the answer's probabilities is measured. Tokens
before t are untouched: the clean run's keys and values stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.choices import chosen_layers
from depthtui.metrics.context import Context
from depthtui.metrics.output_distance import OutputDistance
from depthtui.metrics.residual_erasure import ResidualErasure, erased_tokens, threshold_of
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.parts import at_once
from depthtui.tracing.replay import Replay

_TOKENS_WORTH_A_BATCH = 512
"""Neighbouring tokens are erased together until a batch has about so many tokens."""


def compute(context: Context, partial: ResidualErasure | None) -> ResidualErasure:
    """The metric of a run; what `partial` has is not computed again."""
    result = context.result
    tokens = erased_tokens(result)
    # The later a token, the fewer run behind it.
    stop = context.replay.n_tokens - 1
    costs = [stop - token for token in tokens or range(stop)]

    def report(done: int, value: ResidualErasure) -> None:
        context.report(value, done, len(costs), sum(costs[:done]) / sum(costs))

    return residual_erasure(
        context.replay,
        context.unembedding,
        context.baseline(),
        result.answer_start,
        report,
        partial,
        chosen_layers(result),
        tokens,
        threshold_of(result),
    )


def residual_erasure(
    replay: Replay,
    unembedding: Unembedding,
    baseline: Sequence[Tensor],
    answer_start: int,
    on_tokens: Callable[[int, ResidualErasure], None] = lambda done, result: None,
    result: ResidualErasure | None = None,
    chosen: Sequence[int] = (),
    tokens: Sequence[int] = (),
    threshold: float = 0.0,
) -> ResidualErasure:
    """Erase tokens at depths.

    Args:
        replay: the clean run.
        unembedding: final norm and LM head.
        baseline: the mean residual at depths 0 … L, each `[d]`.
        answer_start: index of the answer's first token, at least 1.
        on_tokens: called with the number of tokens done and what is known by then.
        result: columns that are done already are not computed again.
        chosen: the depths, in order; none for every one.
        tokens: those to erase, in order, but the last one; none for every one.
        threshold: if positive, bisect each token's depths for the last one whose effect
            reaches it, which is the right one where the effect falls with depth.

    Returns:
        the effects; the last token's is 0, since nothing after it predicts the answer.
    """
    if not 0 < answer_start < replay.n_tokens:
        raise ValueError("the answer must begin after the first token and before the end")
    if result is None:
        shape = (replay.n_layers + 1, replay.n_tokens)
        effect = np.full(shape, np.nan, np.float32)
        effect[:, -1] = 0.0
        result = ResidualErasure(effect, answer_start, 0.0, tuple(chosen), tuple(tokens), threshold)
    erased, depths = result.erased, result.depths
    waiting = [token for token in erased if not result.is_done(token)]
    eraser = _Eraser(replay, unembedding, baseline, answer_start)
    with torch.no_grad():
        while waiting:
            count = eraser.together(len(depths), waiting)
            block, waiting = waiting[:count], waiting[count:]
            if threshold:
                _search(eraser, block, result)
            else:
                places = [(depth, token) for depth in depths for token in block]
                found = eraser.effects(places).view(len(depths), count)
                result.effect[np.ix_(depths, block)] = found.numpy()
            result.floor = max(result.floor, eraser.floor)
            on_tokens(len(erased) - len(waiting), result)
    return result


def _search(eraser: _Eraser, block: Sequence[int], result: ResidualErasure) -> None:
    """Find, for some tokens, the last depth whose effect reaches the threshold, and check it."""
    depths, threshold = result.depths, result.threshold
    # Kept apart until the end: a token that is half done must not look done.
    found: dict[int, dict[int, float]] = {token: {} for token in block}

    def measure(places: Mapping[int, int], with_floor: bool = False) -> None:
        """The effect of each token at one of the depths, by its place among them."""
        ordered = sorted(places, key=lambda token: places[token])
        where = [(depths[places[token]], token) for token in ordered]
        effects = eraser.effects(where, with_floor)
        for token, effect in zip(ordered, effects.tolist(), strict=True):
            found[token][places[token]] = effect

    # The last place that reaches it lies at `low`, or the first that does not at `high`.
    low, high = dict.fromkeys(block, -1), dict.fromkeys(block, len(depths))
    while between := [token for token in block if high[token] - low[token] > 1]:
        middles = {token: (low[token] + high[token]) // 2 for token in between}
        measure(middles, with_floor=not any(found.values()))
        for token, place in middles.items():
            reaches = found[token][place] >= threshold
            (low if reaches else high)[token] = place

    n_checks = disagreeing = 0
    for is_above in (False, True):
        checks = {}
        for token in block:
            stretch = range(high[token], len(depths)) if is_above else range(high[token])
            unknown = [place for place in stretch if place not in found[token]]
            if unknown:
                checks[token] = unknown[len(unknown) // 2]
        if checks:
            measure(checks)
        n_checks += len(checks)
        disagreeing += sum(
            (found[token][place] >= threshold) == is_above for token, place in checks.items()
        )
    # Together with the effects: what is stopped before is done again.
    result.checks += n_checks
    result.disagreeing += disagreeing
    for token, effects in found.items():
        for place, effect in effects.items():
            result.effect[depths[place], token] = effect


class _Eraser:
    """Erases tokens at depths, and measures what the answer loses.

    Attributes:
        floor: the largest change so far in runs that go the same way with nothing erased.
    """

    def __init__(
        self,
        replay: Replay,
        unembedding: Unembedding,
        baseline: Sequence[Tensor],
        answer_start: int,
    ) -> None:
        self.floor = 0.0
        self._replay = replay
        self._baseline = baseline
        # The positions answer_start - 1 … T - 2 predict the answer's tokens.
        self._stop = replay.n_tokens - 1
        self._reads = slice(answer_start - 1, self._stop)
        self._distance = OutputDistance(unembedding, replay.residual[-1][self._reads])

    def together(self, n_depths: int, waiting: Sequence[int]) -> int:
        """How many of the waiting tokens to erase in one sweep."""
        tokens = (n_depths // 2 + 1) * (self._stop - waiting[0])
        return at_once(len(waiting), _TOKENS_WORTH_A_BATCH, tokens)

    def effects(self, places: Sequence[tuple[int, int]], with_floor: bool = True) -> Tensor:
        """The largest change of the answer for each depth and token, ordered by depth.

        With the floor, an unchanged run is the first of the batch.
        """
        replay, stop = self._replay, self._stop
        erased = torch.tensor([token for _, token in places])
        begin, end = int(erased.min()) if replay.can_resume else 0, replay.end_for(stop)
        first = places[0][0]
        rows = replay.residual[first][None, begin:end][: int(with_floor)]
        for layer in range(first, replay.n_layers + 1):
            tokens = [token for depth, token in places if depth == layer]
            if tokens:
                new = replay.residual[layer][begin:end].repeat(len(tokens), 1, 1)
                columns = torch.tensor(tokens) - begin
                new[torch.arange(len(tokens)), columns] = self._baseline[layer].to(new)
                rows = torch.cat([rows, new.to(rows.device)])
            if layer < replay.n_layers:
                past = None
                if begin > 0:
                    keys, values = replay.keys_values(layer)
                    past = keys[:, :, :begin], values[:, :, :begin]
                rows = replay.run_layer(layer, rows, begin, past)
        seen = max(self._reads.start, begin)
        far = self._distance(rows[:, seen - begin : stop - begin], seen - self._reads.start)
        if with_floor:
            self.floor = max(self.floor, float(far[0].max()))
            far = far[1:]
        # An erased token cannot change what came before it, and rounding must not pretend so.
        far = far.masked_fill(torch.arange(seen, stop) < erased[:, None], 0.0)
        return far.amax(dim=-1)
