"""The knowledge of an untrained model of a model's shape: a control of the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from depthtui.data.pieces import PER_LAYER
from depthtui.engine.guess import gain_over_guess
from depthtui.engine.held_out_prompts import without
from depthtui.engine.ready_model import ReadyModel, make_ready
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.column import crossing_above, rounded_up_count
from depthtui.metrics.kept.order_search import Texts, ranked
from depthtui.metrics.kept.output import TOLERANCE
from depthtui.models.free_space import free_memory
from depthtui.models.untrained import Blueprint
from depthtui.parallel.group import joined
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.parts_left_out import pieces_of

Value = TypeVar("Value")

_ROOM = 2
"""The free memory that the control takes at most, in sizes of the model: it stays loaded."""

_SEED = 0
"""The seed of the weights."""


def known_untrained(
    model: ReadyModel, texts: Sequence[Tensor], checkpoint: Callable[[], None]
) -> float | None:
    """The knowledge that an untrained model of this shape has of a token of some texts, in nats.

    Args:
        model: the trained model, which stays as it is.
        texts: `[T]` token ids of each text.
        checkpoint: called after every layer.

    Returns:
        None where there is no untrained model (see `_of_untrained`).

    Raises:
        RunStopped: `checkpoint` stopped it.
    """

    def knowledge(untrained: ReadyModel, unembedding: Unembedding) -> float | None:
        replays = [untrained.replay(text, checkpoint) for text in texts if len(text) > 1]
        nats = gain_over_guess(unembedding, replays)
        return nats if math.isfinite(nats) else None

    return _of_untrained(model, knowledge)


def untrained_parts(
    model: ReadyModel,
    texts: Sequence[Tensor],
    checkpoint: Callable[[], None],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, ...] | None:
    """The parts with which an untrained model of this shape stays within a nat of its own output.

    Their ranked order is found on every second text, and read on the others. `report` is called
    with the number of texts done and in all; the other arguments, None and errors as in
    `known_untrained`.
    """
    texts = [text for text in texts if len(text) > 1]

    def staying(untrained: ReadyModel, unembedding: Unembedding) -> tuple[int, ...] | None:
        count = PER_LAYER["part"] * untrained.info.n_layers
        of_texts: list[np.ndarray] = []
        curves: list[np.ndarray] = []
        for text in texts[::2]:
            report(len(of_texts), len(texts))
            pieces = pieces_of("part", [untrained.replay(text, checkpoint)], untrained.anatomy)
            weights = np.full(len(text), 1 / (len(text) - 1))
            weights[0] = 0.0
            at_once = untrained.rows_at_once(count, len(text))
            of_texts.append(Texts(pieces, unembedding, weights, at_once).costs(range(count)))
        order = ranked(np.sum(of_texts, axis=(0, 2)))
        rows = [order[:number] for number in range(count + 1)]
        for text in texts[1::2]:
            report(len(of_texts) + len(curves), len(texts))
            curves.append(without(untrained, text, rows, checkpoint, "part")[0])
        (left_out,) = crossing_above(np.mean(curves, axis=0)[None], TOLERANCE)
        stay = rounded_up_count(count - left_out)
        return tuple(order[count - stay :])

    return _of_untrained(model, staying) if len(texts) > 1 else None


def _of_untrained(
    model: ReadyModel, work: Callable[[ReadyModel, Unembedding], Value | None]
) -> Value | None:
    """A value of an untrained model of this shape, from it and its final norm and LM head.

    Weights are drawn on the CPU: for a model on another device, longer than its order takes.

    None for a model that is not on the CPU alone, or where none like it can be built.
    """
    devices = {device.type for device in model.placement.devices}
    if devices != {"cpu"} or joined() is not None:
        return None
    if free_memory() < _ROOM * model.info.memory_bytes:
        return None
    try:
        loaded = Blueprint.of(model.loaded).build(_SEED)
        untrained = make_ready(loaded, lambda: (), lambda error: None)
        trained, unembedding = model.anatomy.unembedding, untrained.anatomy.unembedding
        # A head that was widened for more tokens may be built without them.
        if not (trained and unembedding) or unembedding.vocab_size != trained.vocab_size:
            return None
        with torch.no_grad():
            return work(untrained, unembedding)
    except RunStopped:
        raise
    except DepthError:
        return None
