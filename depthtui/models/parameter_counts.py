"""How many parameters a model's modules hold."""

from __future__ import annotations

from collections import Counter

from torch import nn


def count_parameters(model: nn.Module) -> dict[str, int]:
    """How many parameters each module holds, by its name; the model's own name is empty.

    Count on a model that is not quantised: packed weights have fewer elements than parameters.
    """
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        path = name.split(".")
        for depth in range(len(path)):
            counts[".".join(path[:depth])] += parameter.numel()
    return dict(counts)
