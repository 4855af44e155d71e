"""The naive interventions through nnsight, which is not part of the test extra: pip install it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Traced:
    """A model whose layers are read and changed in nnsight's traces."""

    def __init__(self, model: Any) -> None:
        from nnsight import NNsight

        self._model = NNsight(model)
        self._count = model.config.num_hidden_layers

    def skip_effects(self, ids: Tensor, positions: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """E `[L, L]` and O `[L]`."""
        clean, output = self._changes(ids, -1, 0)
        effect, moved = np.zeros((self._count, self._count)), np.zeros(self._count)
        for skipped in range(self._count):
            for position in positions:
                changed, changed_output = self._changes(ids, skipped, position)
                far = (changed - clean)[:, position:].norm(dim=-1)
                far = (far / clean[:, position:].norm(dim=-1).clamp(min=1e-6)).amax(dim=1)
                far[: skipped + 1] = 0
                effect[skipped] = np.maximum(effect[skipped], far.numpy())
                away = (changed_output - output)[position:].norm(dim=-1).max()
                moved[skipped] = max(moved[skipped], float(away))
        return effect, moved

    def erasure(self, ids: Tensor, baseline: list[Tensor], answer: int) -> np.ndarray:
        """R `[L+1, T]`."""
        clean = self._erased(ids, -1, 0, baseline)
        effect = np.zeros((self._count + 1, ids.shape[1]))
        for depth in range(self._count + 1):
            for token in range(ids.shape[1]):
                changed = self._erased(ids, depth, token, baseline)
                effect[depth, token] = (changed - clean)[answer - 1 : -1].norm(dim=-1).max()
        return effect

    def _changes(self, ids: Tensor, skipped: int, position: int) -> tuple[Tensor, Tensor]:
        """c_l `[L, T, d]` and the output `[T, V]`; layer `skipped` only from `position` on."""
        model = self._model
        with torch.no_grad(), model.trace(input_ids=ids, use_cache=False):
            found = [].save()  # type: ignore[attr-defined]
            for index, layer in enumerate(model.model.layers):
                before = layer.input
                if index == skipped:
                    after = layer.output.clone()
                    after[:, 1:position] = before[:, 1:position]
                    layer.output = after
                found.append((layer.output - before)[0])
            output = model.lm_head.output[0].softmax(dim=-1).save()
        return torch.stack(list(found)), output

    def _erased(self, ids: Tensor, depth: int, token: int, baseline: list[Tensor]) -> Tensor:
        """The output `[T, V]` with h_depth at a token replaced; depth -1 changes nothing."""
        model = self._model
        with torch.no_grad(), model.trace(input_ids=ids, use_cache=False):
            if depth == 0:
                changed = model.model.layers[0].input.clone()
                changed[0, token] = baseline[0]
                model.model.layers[0].input = changed
            elif depth > 0:
                changed = model.model.layers[depth - 1].output.clone()
                changed[0, token] = baseline[depth]
                model.model.layers[depth - 1].output = changed
            output = model.lm_head.output[0].softmax(dim=-1).save()
        return output  # noqa: RET504 (the trace must end before the value is there)
