"""Several continuations of one context, run together with layers left out.

The context runs once for all continuations: their tokens run behind its keys and values. Where an
architecture cannot run tokens behind others, each whole text runs by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.output_change import outputs_at_once
from depthtui.tracing.anatomy import Anatomy, Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.left_out import NOTHING, Substitute, without_layers
from depthtui.tracing.replay import Replay


class Continuations:
    """The log-likelihoods of K continuations of a context, with layers left out.

    Args:
        texts: ids of each whole text, context and continuation, `[T_k]`.
        starts: index of each continuation's first token, at least 1.
        replay_of: returns the clean pass of a text.
        anatomy: the model's, with an unembedding.
        substitute: the substitute for a layer that is left out.

    Attributes:
        shared: how many tokens run once for all texts; 0 where whole texts run.
    """

    def __init__(
        self,
        texts: Sequence[np.ndarray],
        starts: Sequence[int],
        replay_of: Callable[[np.ndarray], Replay],
        anatomy: Anatomy,
        substitute: Substitute = NOTHING,
    ) -> None:
        assert anatomy.unembedding is not None, anatomy.lens_missing
        self._anatomy, self._unembedding = anatomy, anatomy.unembedding
        self._substitute = substitute
        self._replays = [replay_of(text) for text in texts]
        pairs = list(zip(texts, starts, strict=True))
        # The last token of the context predicts the first one of each continuation.
        self._scored = [slice(start - 1, len(text) - 1) for text, start in pairs]
        self._targets = torch.from_numpy(np.concatenate([text[start:] for text, start in pairs]))
        self._longest = max(self._replays, key=lambda replay: replay.n_tokens)
        shared = min(_begin_alike(texts), *(start - 1 for start in starts))
        self.shared = shared if self._longest.shares(self._replays, shared) else 0
        self._tails = self._clean_tails() if self.shared else []

    @property
    def row_tokens(self) -> int:
        """Tokens that run of one row."""
        longest, count = self._longest.n_tokens, len(self._replays)
        return self.shared + count * (longest - self.shared)

    def clean(self) -> Tensor:
        """The log-likelihoods of the clean passes of the whole texts, `[K]` float64, in nats."""
        return self._scores([replay.states[-1][None] for replay in self._replays])[0]

    def by_depth(self) -> Tensor:
        """The log-likelihoods that the unembedding reads at depths 0 … L, `[L + 1, K]`."""
        readable = [self._anatomy.all_readable(replay.residual) for replay in self._replays]
        depths = zip(*readable, strict=True)
        return torch.cat([self._scores([state[None] for state in states]) for states in depths])

    def without(self, rows: Sequence[Collection[int]]) -> Tensor:
        """The log-likelihoods without the layers of each row, `[rows, K]` float64, in nats.

        A row that leaves nothing out runs from the first layer on where the context is shared.
        """
        if not self.shared:
            return self._scores(
                [without_layers(replay, rows, self._substitute) for replay in self._replays]
            )
        ends = self._run_shared(rows)
        width = self.shared
        return self._scores(
            [ends[:, place] for place in range(len(self._replays))],
            [slice(part.start - width, part.stop - width) for part in self._scored],
        )

    def _clean_tails(self) -> list[Tensor]:
        """The clean states behind the shared tokens at depths 0 … L, `[K, tokens, D]` each.

        Shorter texts are filled up with their last token, which no scored token reads.
        """
        tokens = self._longest.n_tokens

        def filled(states: Tensor) -> Tensor:
            missing = tokens - len(states)
            return torch.cat([states, states[-1:].expand(missing, -1)])[self.shared :]

        depths = range(self._longest.n_layers + 1)
        return [
            torch.stack([filled(replay.states[depth]) for replay in self._replays])
            for depth in depths
        ]

    def _run_shared(self, rows: Sequence[Collection[int]]) -> Tensor:
        """The last states of the tokens that are not shared, `[rows, K, tokens, D]`."""
        replay, first = self._longest, self.shared
        contexts: dict[int, Tensor] = {}
        tails: dict[int, Tensor] = {}
        for layer in range(replay.n_layers):
            for row, layers in enumerate(rows):
                if min(layers, default=0) == layer:
                    contexts[row] = replay.states[layer][:first]
                    tails[row] = self._tails[layer]
            running = [row for row in contexts if layer not in rows[row]]
            if running:
                before = torch.stack([contexts[row] for row in running])
                after, past = replay.run_layer_recording(layer, before)
                ends = self._run_tails(layer, [tails[row] for row in running], past)
                contexts |= dict(zip(running, after, strict=True))
                tails |= dict(zip(running, ends, strict=True))
            clean = replay.states[layer + 1][:first]
            for row in contexts.keys() - set(running):
                substitute = self._substitute
                read = replay.layer_input(layer, contexts[row])
                contexts[row] = substitute(layer, read, clean)
                tails[row] = substitute.updated(layer, replay.layer_input(layer, tails[row]))
        return torch.stack([tails[row] for row in range(len(rows))])

    def _run_tails(
        self, layer: int, tails: Sequence[Tensor], past: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Send the tokens behind each context through a layer, `[rows, K, tokens, D]`."""
        before = torch.stack(tuple(tails))
        count = before.shape[1]
        keys, values = (part.repeat_interleave(count, dim=0) for part in past)
        after = self._longest.run_layer(layer, before.flatten(0, 1), self.shared, (keys, values))
        return after.view_as(before)

    def _scores(self, ends: Sequence[Tensor], scored: Sequence[slice] | None = None) -> Tensor:
        """The log-likelihoods by last states of each text, `[rows, T_k, D]` each: `[rows, K]`."""
        parts = [states[:, part] for states, part in zip(ends, scored or self._scored, strict=True)]
        joined = torch.cat([part.to(parts[0].device) for part in parts], dim=1)
        tokens = _log_probabilities(self._unembedding, joined, self._targets)
        places = np.cumsum([part.shape[1] for part in parts])[:-1].tolist()
        of_texts = torch.tensor_split(tokens, places, dim=1)
        return torch.stack([part.sum(dim=1) for part in of_texts], dim=1)


def _log_probabilities(unembedding: Unembedding, states: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of each target by its states `[rows, N, D]`: `[rows, N]`, on the CPU."""
    rows, count, width = states.shape
    flat, ids = states.reshape(-1, width), targets.repeat(rows)
    parts = []
    with torch.no_grad():
        for part in slices(len(flat), outputs_at_once(unembedding, len(flat))):
            log = unembedding.logits(flat[part]).log_softmax(dim=-1)
            chosen = log.gather(-1, ids[part, None].to(log.device))[:, 0]
            parts.append(chosen.to("cpu").double())
    return torch.cat(parts).view(rows, count)


def _begin_alike(texts: Sequence[np.ndarray]) -> int:
    """How many first tokens all texts have in common."""
    first, *others = (text.tolist() for text in texts)
    length = 0
    for tokens in zip(first, *others, strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return length
