"""Windows of the texts of a file, and their loss by a model with and without each of its layers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.shared_calls import one_process_only
from depthtui.errors import DepthError
from depthtui.metrics.loss_change_kernel import token_losses
from depthtui.tracing.batching import in_smaller_parts, slices
from depthtui.tracing.left_out import LayersToLeave, ShortenedModel
from depthtui.tracing.products import fast_products

WINDOWS, LENGTH, SEED = 10, 128, 1234
"""The number of windows, their length in tokens and the seed that draws them."""


def drawn_windows(tokenizer: Any, texts: Sequence[str], begins: bool) -> list[list[int]]:
    """Windows at drawn places of drawn texts, as Shortened LLaMA draws them.

    Texts are drawn until enough different ones are as long as a window. The same texts, in the same
    order, give the windows of its published tables (`get_examples` of its `src/dataset.py`).

    Args:
        tokenizer: the model's.
        texts: the texts.
        begins: whether each window begins with the first token of a text, and ends a token sooner.

    Returns:
        the token ids of `WINDOWS` windows, `LENGTH` each.

    Raises:
        DepthError: too few texts are long enough.
    """
    draw, tried, windows = random.Random(SEED), set[int](), list[list[int]]()
    while len(windows) < WINDOWS and len(tried) < len(texts):
        number = draw.randrange(len(texts))
        if number in tried:
            continue
        tried.add(number)
        ids = tokenizer(texts[number], add_special_tokens=not begins)["input_ids"]
        if len(ids) >= LENGTH:
            start = draw.randint(0, len(ids) - LENGTH)
            window = ids[start : start + LENGTH]
            windows.append([tokenizer.bos_token_id, *window[:-1]] if begins else window)
    if len(windows) < WINDOWS:
        raise DepthError(
            f"{len(windows)} of the {len(texts)} texts have {LENGTH} tokens or more; {WINDOWS} are "
            "needed.",
            "Give longer texts: a line each, or JSON lines with `text`.",
        )
    return windows


@one_process_only
def losses_without_each(
    model: ReadyModel, windows: Sequence[Sequence[int]], on_window: Callable[[int], None]
) -> np.ndarray:
    """The mean loss of the tokens of each window but its first, whole and without each layer.

    Args:
        model: the model.
        windows: token ids, two or more each.
        on_window: called before each window with the number of those that are done.

    Returns:
        nats a token, `[windows, 1 + L]`: the whole model first.

    Raises:
        DepthError: the model has no such token, no output to read, or weights cut over ranks.
    """
    rows = []
    with fast_products(model.loaded.model), torch.no_grad():
        for done, window in enumerate(windows):
            on_window(done)
            model.check_ids(np.array(window))
            rows.append(in_smaller_parts(partial(_losses_of, model, window)))
    return np.array(rows)


def _losses_of(model: ReadyModel, window: Sequence[int]) -> list[float]:
    """The mean loss of the tokens of one window, whole and without each layer, in nats."""
    unembedding = model.anatomy.unembedding
    if unembedding is None:
        raise DepthError(f"{model.info.name} has no loss: {model.info.lens_missing}.")
    replay = model.replay(torch.tensor(window), lambda: None)
    shortened = ShortenedModel(LayersToLeave([replay]))
    parts = slices(replay.n_layers, model.rows_at_once(replay.n_layers, len(window)))
    without = (shortened.without_each(range(part.start, part.stop))[:, 0] for part in parts)
    losses: list[float] = []
    for ends in (replay.states[-1][None], *without):
        losses += token_losses(unembedding, ends, replay.ids).double().mean(dim=1).tolist()
    return losses
