"""States of one pass that replace another's, at some layers and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class PatchedRows:
    """Rows of a layer's input, or of a sublayer's write.

    Attributes:
        tokens: the tokens of the rows.
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
        """The same tokens with zeros as values."""
        return PatchedRows(self.tokens, torch.zeros_like(self.values))


def at_all_tokens(part: str, states: Sequence[Tensor] | Tensor) -> Patches:
    """Patches that replace a part's states by `[T, d]` of each layer, at all tokens."""
    return {
        (layer, part): PatchedRows(list(range(len(rows))), rows)
        for layer, rows in enumerate(states)
    }


Patches: TypeAlias = Mapping[tuple[int, str], PatchedRows]
"""By layer and part: `layer` for the layer's input, `attention` or `mlp` for a sublayer's write."""
