"""Until which layer each input token still matters (paper, metric 4).

At depth l, token t of the residual stream is replaced by the mean residual at
that depth, and the change of the answer's probabilities is measured. Tokens
before t do not change: the clean run's keys and values are used. Several
tokens can be erased at once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.choices import chosen_layers
from depthtui.metrics.context import Context
from depthtui.metrics.output_distance import OutputDistance
from depthtui.metrics.residual_erasure import (
    ResidualErasure,
    erased_tokens,
    span_of,
    threshold_of,
)
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once
from depthtui.tracing.replay import Replay

_TOKENS_WORTH_A_BATCH = 512
"""About how many tokens a batch of erasures has."""

_PARTS = 4
"""Parts that a span with an effect is split into. Where all its tokens have the effect, a third of
the erasures are needless; with two parts, half."""

_TOKENS_A_CHECK = 8
"""The results of spans are checked on one in this many tokens."""

Place = tuple[int, tuple[int, ...]]
"""A depth and the tokens that are erased there together, in order."""


@torch.no_grad()
def compute(context: Context, partial: ResidualErasure | None) -> ResidualErasure:
    """Erase tokens at depths.

    Tokens already in `partial`, which is filled in, are not computed again. A search bisects each
    token's depths for the last one whose effect reaches the threshold: its result is right where
    the effect falls with depth. One by spans erases neighbouring tokens together at first. Where
    their effect does not reach the threshold, none of them counts as reaching it; else they are
    split, down to single tokens. This finds the bisection's result where a span has at least the
    effect of each of its tokens.

    Returns:
        the effects; the last token's is 0, since nothing after it predicts the answer.
    """
    replay, seed = context.replay, context.result.settings.seed
    result = _begun(context) if partial is None else partial
    erased, depths = result.erased, result.depths
    # The later a token, the fewer tokens run behind it.
    costs = [replay.n_tokens - 1 - token for token in erased]
    remaining_tokens = sorted({*erased}.difference(result.finished_tokens))
    eraser = _Eraser(replay, context.unembedding, context.baseline(), result.answer_start)
    while remaining_tokens:
        count = result.span or eraser.tokens_at_once(len(depths), remaining_tokens)
        block, remaining_tokens = remaining_tokens[:count], remaining_tokens[count:]
        if result.threshold:
            _Search(eraser, block, result, random.Random(f"{seed} {block[0]}")).run()
        else:
            places = [(depth, (token,)) for depth in depths for token in block]
            effects = eraser.effects(places).view(len(depths), count)
            result.effect[np.ix_(depths, block)] = effects.numpy()
        result.floor = max(result.floor, eraser.floor)
        done = len(erased) - len(remaining_tokens)
        context.report(done, len(erased), result, sum(costs[:done]) / sum(costs))
    return result


def _begun(context: Context) -> ResidualErasure:
    """A result of which only the last token is known."""
    run = context.result
    effect = np.full((run.model.n_layers + 1, len(run.tokens)), np.nan, np.float32)
    effect[:, -1] = 0.0
    return ResidualErasure(
        effect,
        run.answer_start,
        floor=0.0,
        chosen=chosen_layers(run),
        tokens=erased_tokens(run),
        threshold=threshold_of(run),
        span=span_of(run),
    )


@dataclass(eq=False)
class _Search:
    """Finds, for some tokens, the last depth whose effect reaches the threshold, and checks it.

    Depths are given as indices of the chosen depths.

    Attributes:
        eraser: measures effects.
        block: the tokens; a span, where spans are erased first.
        result: the settings of the search, and the result to fill in once all is done: a token
            that is half done must not look done.
        rng: draws the tokens on which spans are checked.
    """

    eraser: _Eraser
    block: Sequence[int]
    result: ResidualErasure
    rng: random.Random
    _has_floor: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._depths = self.result.depths
        # The last place that reaches the threshold is not before `low`, the first one that does not
        # is not after `high`.
        self._low = dict.fromkeys(self.block, -1)
        self._high = dict.fromkeys(self.block, len(self._depths))
        # The effects of tokens that were erased by themselves, by place.
        self._effects: dict[int, dict[int, float]] = {token: {} for token in self.block}

    def run(self) -> None:
        """Search, check and put the effects into the result."""
        while groups := self._groups():
            self._halve(groups)
        # Where a span set the first depth that does not reach the threshold, a token may reach it.
        by_span = [t for t in self.block if self._high[t] not in self._effects[t]]
        by_span = [t for t in by_span if self._high[t] < len(self._depths)]
        counts = [self._check({t: self._high[t] for t in self._drawn(by_span)})]
        checked = self._drawn(self.block)
        counts += [self._check(self._untried(is_above, checked)) for is_above in (False, True)]
        self.result.checks += sum(n_checks for n_checks, _ in counts)
        self.result.disagreeing += sum(disagreeing for _, disagreeing in counts)
        for token, effects in self._effects.items():
            for place, effect in effects.items():
                self.result.effect[self._depths[place], token] = effect
        if self.result.span:
            self.result.settled += len(self.block)

    def _groups(self) -> list[tuple[int, ...]]:
        """The tokens that are not found yet, grouped by depths to search where spans are erased."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for token in self.block:
            low, high = self._low[token], self._high[token]
            if high - low > 1:
                group_key = (low, high) if self.result.span else (token,)
                groups.setdefault(group_key, []).append(token)
        # Few tokens are hardly cheaper together, and their effects can cancel.
        return [
            part
            for group in map(tuple, groups.values())
            for part in (_parts(group) if len(group) < _PARTS else [group])
        ]

    def _halve(self, groups: Sequence[tuple[int, ...]]) -> None:
        """Test the middle of each group's remaining depths, and of its parts where needed."""
        remaining = [((self._low[group[0]] + self._high[group[0]]) // 2, group) for group in groups]
        while remaining:
            split: list[Place] = []
            for (place, group), effect in self._measure(remaining):
                reaches = effect >= self.result.threshold
                if reaches and len(group) > 1:
                    split += [(place, part) for part in _parts(group)]
                else:
                    (self._low if reaches else self._high).update(dict.fromkeys(group, place))
            remaining = split

    def _measure(self, places: Sequence[Place]) -> list[tuple[Place, float]]:
        """The effects of erasing groups of tokens at places."""
        results: list[tuple[Place, float]] = []
        remaining = sorted(places, key=lambda item: item[1])
        while remaining:
            count = self.eraser.at_once(len(remaining), remaining[0][1][0])
            batch, remaining = sorted(remaining[:count]), remaining[count:]
            where = [(self._depths[place], group) for place, group in batch]
            effects = self.eraser.effects(where, not self._has_floor).tolist()
            self._has_floor = True
            results += zip(batch, effects, strict=True)
        for (place, group), effect in results:
            if len(group) == 1:
                self._effects[group[0]][place] = effect
        return results

    def _drawn(self, tokens: Sequence[int]) -> Sequence[int]:
        """The tokens to check, drawn from some; without spans, all of these."""
        if not self.result.span:
            return tokens
        count = -(-len(self.block) // _TOKENS_A_CHECK)
        return sorted(self.rng.sample(tokens, min(count, len(tokens))))

    def _untried(self, is_above: bool, tokens: Sequence[int]) -> dict[int, int]:
        """For each token an untested place: the middle one of those on one side."""
        places = {}
        for token in tokens:
            high = self._high[token]
            stretch = range(high, len(self._depths)) if is_above else range(high)
            unknown = [place for place in stretch if place not in self._effects[token]]
            if unknown:
                places[token] = unknown[len(unknown) // 2]
        return places

    def _check(self, places: dict[int, int]) -> tuple[int, int]:
        """The number of checked tokens, and of those whose check disagrees with the search."""
        results = self._measure([(place, (token,)) for token, place in places.items()])
        disagreeing = sum(
            (effect >= self.result.threshold) == (place >= self._high[group[0]])
            for (place, group), effect in results
        )
        return len(results), disagreeing


def _parts(group: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Split a group evenly."""
    size = -(-len(group) // _PARTS)
    return [group[first : first + size] for first in range(0, len(group), size)]


class _Eraser:
    """Erases tokens at depths, one or several together, and measures the change of the answer.

    Attributes:
        floor: the largest change so far in runs computed the same way with nothing erased.
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
        self._distance = OutputDistance(unembedding, replay.states[-1][self._reads])

    def tokens_at_once(self, n_depths: int, remaining: Sequence[int]) -> int:
        """How many of the remaining tokens to erase in one sweep."""
        tokens = (n_depths // 2 + 1) * (self._stop - remaining[0])
        return at_once(len(remaining), _TOKENS_WORTH_A_BATCH, tokens)

    def at_once(self, count: int, first: int) -> int:
        """How many of `count` erasures to run in one batch, none of a token before `first`."""
        return at_once(count, _TOKENS_WORTH_A_BATCH, self._stop - first)

    def effects(self, places: Sequence[Place], with_floor: bool = True) -> Tensor:
        """The largest change of the answer for each depth and its tokens, ordered by depth.

        With the floor, an unchanged run is the first of the batch.
        """
        replay, stop = self._replay, self._stop
        starts = torch.tensor([tokens[0] for _, tokens in places])
        begin, end = int(starts.min()) if replay.can_resume else 0, replay.end_for(stop)
        first = places[0][0]
        rows = replay.states[first][None, begin:end][: int(with_floor)]
        for layer in range(first, replay.n_layers + 1):
            groups = [tokens for depth, tokens in places if depth == layer]
            if groups:
                new = replay.states[layer][begin:end].repeat(len(groups), 1, 1)
                row_of = torch.tensor([row for row, tokens in enumerate(groups) for _ in tokens])
                columns = torch.tensor([token for tokens in groups for token in tokens]) - begin
                new[row_of, columns] = self._baseline[layer].to(new)
                rows = torch.cat([rows, new.to(rows.device)])
            if layer < replay.n_layers:
                past = replay.keys_values_before(layer, begin) if begin > 0 else None
                rows = replay.run_layer(layer, rows, begin, past)
        first_read = max(self._reads.start, begin)
        far = self._distance(
            rows[:, first_read - begin : stop - begin], first_read - self._reads.start
        )
        if with_floor:
            self.floor = max(self.floor, float(far[0].max()))
            far = far[1:]
        # An erased token cannot change earlier tokens, and rounding must not seem to.
        far = far.masked_fill(torch.arange(first_read, stop) < starts[:, None], 0.0)
        return far.amax(dim=-1)
