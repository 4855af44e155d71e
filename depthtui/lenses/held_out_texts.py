"""How well a lens reads texts that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from depthtui.lenses.maps import LensMaps
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices

TOKENS = 128
"""How many tokens of the held-out texts a lens is tested on."""

_PART_BYTES = 128 << 20


@dataclass(frozen=True)
class HeldOutTokens:
    """Residuals at some tokens on which nothing is fitted.

    Attributes:
        residuals: h_0 … h_L, each `[N, d]`.
        texts: the number of texts.
    """

    residuals: Sequence[Tensor]
    texts: int

    @classmethod
    def read(
        cls,
        texts: Sequence[Tensor],
        residuals_of: Callable[[Tensor], Sequence[Tensor]],
        tokens: int = TOKENS,
    ) -> HeldOutTokens:
        """Read tokens spread over the texts, without the first of each text.

        Args:
            texts: ids, each `[T]`.
            residuals_of: a text's h_0 … h_L, each `[T, d]`.
            tokens: the most tokens to read.
        """
        places = [(text, place) for text, ids in enumerate(texts) for place in range(1, len(ids))]
        sampled = np.unique(np.linspace(0, len(places) - 1, min(tokens, len(places))).astype(int))
        rows: list[list[Tensor]] = []
        for text, ids in enumerate(texts):
            text_places = [places[number][1] for number in sampled if places[number][0] == text]
            if text_places:
                rows.append([residual[text_places].clone() for residual in residuals_of(ids)])
        return cls([torch.cat(parts) for parts in zip(*rows, strict=True)], len(texts))

    def output(self, unembedding: Unembedding) -> Tensor:
        """log p of the model's own output, `[N, V]`."""
        return unembedding.logits(self.residuals[-1]).log_softmax(dim=-1)

    def tested(
        self, maps: LensMaps, unembedding: Unembedding, checkpoint: Callable[[], None]
    ) -> LensMaps:
        """The lens with its KL, and the logit lens's, at these tokens."""
        with torch.inference_mode():
            output = self.output(unembedding)
            through, plain = maps.held_out_kl.copy(), maps.logit_held_out_kl.copy()
            for depth in range(maps.n_layers):
                checkpoint()
                rows, depth_map = self.residuals[depth], maps.at(depth)
                plain[depth] = kl_to_output(unembedding, rows, output)
                if depth_map is not None:
                    through[depth] = kl_to_output(unembedding, depth_map(rows), output)
        fit = replace(maps.fit, held_out_texts=self.texts)
        return replace(maps, fit=fit, held_out_kl=through, logit_held_out_kl=plain)


def kl_to_output(unembedding: Unembedding, residual: Tensor, output: Tensor) -> float:
    """Mean KL(p_l || p) in nats of rows `[N, d]` at one depth; `output` is log p `[N, V]`."""
    return float(kl_by_token(unembedding, residual, output).mean())


def kl_by_token(unembedding: Unembedding, residual: Tensor, output: Tensor) -> Tensor:
    """KL(p_l || p) in nats of each row, `[N]`; arguments as in `kl_to_output`."""
    size = at_once(len(residual), _PART_BYTES, 4 * output.shape[-1])
    kl = []
    with torch.inference_mode():
        for part in slices(len(residual), size):
            lens = unembedding.logits(residual[part]).log_softmax(dim=-1)
            # In place: another `[N, V]` takes as long to allocate as to compute.
            terms = lens.exp().mul_(lens.sub_(output[part].to(lens.device)))
            kl.append(terms.sum(dim=-1).clamp(min=0))
    return torch.cat(kl)
