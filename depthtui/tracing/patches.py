"""States of one pass that stand in another's place, at some layers and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class PatchedRows:
    """Rows of a layer's input, or of what one of its sublayers writes.

    Attributes:
        tokens: where they stand.
        values: one for each of the tokens, `[tokens, d]`.
    """

    tokens: list[int]
    values: Tensor

    def put_into(self, states: Tensor) -> Tensor:
        """States `[1, T, d]` with these rows in place of their own."""
        states = states.clone()
        states[0, self.tokens] = self.values.to(states)
        return states

    def nothing(self) -> PatchedRows:
        """The same tokens with nothing written."""
        return PatchedRows(self.tokens, torch.zeros_like(self.values))


def at_all_tokens(part: str, states: Sequence[Tensor] | Tensor) -> Patches:
    """States `[T, d]` of each layer in the place of a part's own, at all tokens."""
    return {
        (layer, part): PatchedRows(list(range(len(rows))), rows)
        for layer, rows in enumerate(states)
    }


Patches: TypeAlias = Mapping[tuple[int, str], PatchedRows]
"""By layer and part: `layer` for what the layer reads, else what `attention` or `mlp` writes."""
