"""Texts that a model writes by itself, many at a time: calibration without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.models.devices import execution_device
from depthtui.tracing.batching import at_once
from depthtui.tracing.decoding import cache_in

LENGTH = 128
"""The most tokens of a text."""

VERSION = 2
"""The version of the texts, to be raised when a seed gives different texts than before."""

_TEXTS_AT_ONCE = 96

_USUAL_SHARE = 0.65
"""The expected share of a text's tokens before an end, until the model's share is known.

Better too low than too high: another round takes as many steps, surplus texts are left out.
"""

_ENOUGH = 0.95
"""The share of the requested tokens that is enough: a round of few texts takes as many steps."""

_FEW_LEFT = 0.9
"""Ended texts are left out once at most this share of the texts is left."""

_MOST_DRAWN = 20
"""Writing ends after this many times the requested tokens: nearly every text ends at once."""


def write_texts(
    model: nn.Module,
    start: int,
    tokens: int,
    ends: Collection[int],
    seed: int,
    cached: bool = True,
    length: int = LENGTH,
    report: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """Sample texts at temperature 1 until they have about `tokens` tokens together.

    One seed gives the same texts on every device, within rounding.

    Args:
        model: a causal language model.
        start: the token that every text begins with.
        tokens: how many to write, or a few fewer, not counting the first of each text.
        ends: tokens that end a text.
        seed: seed of the random numbers, drawn on the CPU.
        cached: whether the model continues from its cache; else it reads all tokens again each
            time.
        length: most tokens of a text.
        report: called with the tokens written and requested.
        checkpoint: called before every token.

    Returns:
        Texts `[T]` that begin with `start` and contain no end; empty texts are left out.
    """
    random = torch.Generator("cpu").manual_seed(seed % 2**64)
    stops = torch.tensor(sorted(ends), dtype=torch.int64)
    texts: list[Tensor] = []
    n_written = n_drawn = 0
    while n_written < _ENOUGH * tokens and n_drawn < _MOST_DRAWN * tokens:
        # The texts needed if the share of their tokens before an end is the same as so far.
        share = max(n_written, 1) / n_drawn if n_drawn else _USUAL_SHARE
        texts_needed = math.ceil((tokens - n_written) / (share * (length - 1)))
        count = at_once(texts_needed, _TEXTS_AT_ONCE, 1)

        def report_step(steps: int, before: int = n_written, new: float = count * share) -> None:
            report(min(tokens, round(before + steps * new)), tokens)

        begun = torch.full((count, 1), start)
        rows = _continued(model, begun, length, stops, random, cached, report_step, checkpoint)
        row_texts = [_before_end(row, stops) for row in rows]
        n_drawn += count * (length - 1)
        for text in row_texts:
            if len(text) > 1 and n_written < tokens:
                texts.append(text)
                n_written += len(text) - 1
    return texts


def _continued(
    model: nn.Module,
    ids: Tensor,
    length: int,
    ends: Tensor,
    random: torch.Generator,
    cached: bool,
    report: Callable[[int], None],
    checkpoint: Callable[[], None],
) -> Tensor:
    """Texts that go on from `ids`, `[texts, length]`, shorter where all end; any tokens may follow
    an end."""
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    device = execution_device(embedding)
    count = len(ids)
    rows, has_ended = torch.arange(count), torch.zeros(count, dtype=torch.bool)
    cache: dict[str, Any] = {}
    with torch.inference_mode():
        while ids.shape[1] < length and len(rows):
            checkpoint()
            unread = ids[rows, -1:] if cached else ids[rows]
            outputs = model(input_ids=unread.to(device), use_cache=cached, **cache)
            # A text's random numbers do not depend on how many others have ended.
            chances = torch.rand(count, 1, generator=random)[rows]
            drawn_ids = ids[:, -1:].clone()
            drawn_ids[rows] = _draw(outputs.logits[:, -1], chances)
            ids = torch.cat([ids, drawn_ids], dim=1)
            cache = cache_in(outputs) if cached else {}
            has_ended |= torch.isin(drawn_ids[:, 0], ends)
            going_on = ~has_ended[rows]
            if going_on.sum() <= _FEW_LEFT * len(rows) and _select(cache, going_on):
                rows = rows[going_on]
            report(ids.shape[1] - 1)
    return ids


def _select(cache: dict[str, Any], chosen_rows: Tensor) -> bool:
    """Leave only the rows `chosen_rows` in a cache; return whether the cache allows it."""
    if not all(hasattr(state, "reorder_cache") for state in cache.values()):
        return False
    for state in cache.values():
        state.reorder_cache(chosen_rows.nonzero()[:, 0])
    return True


def _draw(logits: Tensor, chances: Tensor) -> Tensor:
    """Draw one token for each row of logits `[rows, V]`: `[rows, 1]`, on the CPU.

    Args:
        logits: logits on any device.
        chances: random numbers from 0 to 1, `[rows, 1]`.
    """
    cumulative = logits.to("cpu").float().softmax(dim=-1).cumsum(dim=-1)
    places = chances * cumulative[:, -1:]
    return torch.searchsorted(cumulative, places, right=True).clamp(max=logits.shape[-1] - 1)


def _before_end(row: Tensor, ends: Tensor) -> Tensor:
    """The tokens before the first end that follows the start."""
    end_places = torch.isin(row[1:], ends).nonzero()
    return row[: int(end_places[0]) + 1] if len(end_places) else row
