"""The knowledge of an untrained model of a model's shape: a control of the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthtui.engine.guess import gain_over_guess
from depthtui.engine.ready_model import ReadyModel, make_ready
from depthtui.errors import DepthError, RunStopped
from depthtui.models.free_space import free_memory
from depthtui.models.untrained import Blueprint
from depthtui.parallel.group import joined

_ROOM = 2
"""The free memory that the control takes at most, in sizes of the model: it stays loaded."""

_SEED = 0
"""The seed of the weights."""


def known_untrained(
    model: ReadyModel, texts: Sequence[Tensor], checkpoint: Callable[[], None]
) -> float | None:
    """The knowledge that an untrained model of this shape has of a token of some texts, in nats.

    Weights are drawn on the CPU: for a model on another device, longer than its order takes.

    Args:
        model: the trained model, which stays as it is.
        texts: `[T]` token ids of each text.
        checkpoint: called after every layer.

    Returns:
        None for a model that is not on the CPU alone, or where none like it can be built.

    Raises:
        RunStopped: `checkpoint` stopped it.
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
            replays = [untrained.replay(text, checkpoint) for text in texts if len(text) > 1]
            nats = gain_over_guess(unembedding, replays)
    except RunStopped:
        raise
    except DepthError:
        return None
    return nats if math.isfinite(nats) else None
