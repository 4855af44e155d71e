"""Several continuations of one context, run together with layers or their parts left out.

The tokens with which all texts begin run once, and the others behind their keys and values. Where
an architecture cannot run tokens behind others, each whole text runs by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthtui.data.pieces import Piece
from depthtui.metrics.output_change import log_probabilities
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.left_out import NOTHING, Substitute
from depthtui.tracing.parts_left_out import pieces_of
from depthtui.tracing.replay import Replay

_SHARED = -1
"""The source of the states of the shared tokens, beside those of each text."""


class Continuations:
    """The log-likelihoods of K continuations of a context, with layers left out.

    The last token of a text, which predicts none, does not run.

    Args:
        texts: ids of each whole text, context and continuation, `[T_k]`.
        starts: index of each continuation's first token, at least 1.
        replay_of: returns the clean pass of token ids.
        anatomy: the model's, with an unembedding.
        substitute: the substitute for a piece that is left out.
        piece: the kind of pieces that are left out.

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
        piece: Piece = "layer",
    ) -> None:
        self._anatomy, self._substitute, self._piece = anatomy, substitute, piece
        # Continuations of a single token have the same input.
        inputs = {text[:-1].tobytes(): text[:-1] for text in texts}
        numbers = {key: number for number, key in enumerate(inputs)}
        self._replays = [replay_of(ids) for ids in inputs.values()]
        self._longest = max(self._replays, key=lambda replay: replay.n_tokens)
        shared = _begin_alike(list(inputs.values()))
        # Behind shared tokens whole layers alone are left out.
        can_share = (
            piece == "layer" and len(inputs) > 1 and self._longest.shares(self._replays, shared)
        )
        self.shared = shared if can_share else 0
        self._tails = self._clean_tails() if self.shared else []
        sources = [numbers[text[:-1].tobytes()] for text in texts]
        # Two passes round the tokens that they share differently: the clean scores, which equal
        # those of a harness, are of each text's own.
        self._own = _Scored.of(texts, starts, sources)
        self._scored = _Scored.of(texts, starts, sources, self.shared) if self.shared else self._own

    @property
    def row_tokens(self) -> int:
        """Tokens that run of one row."""
        if not self.shared:
            return sum(replay.n_tokens for replay in self._replays)
        return self.shared + len(self._replays) * (self._longest.n_tokens - self.shared)

    def clean(self) -> Tensor:
        """The log-likelihoods of the clean passes of the whole texts, `[K]` float64, in nats."""
        return self._scores(self._own, lambda source: self._replays[source].states[-1][None])[0]

    def by_depth(self) -> Tensor:
        """The log-likelihoods that final norm and LM head read at depths 0 … L, `[L + 1, K]`."""

        def readable(source: int) -> Tensor:
            depths = self._anatomy.all_readable(self._replays[source].residual)
            return torch.stack([depth.to(depths[-1].device) for depth in depths])

        return self._scores(self._own, readable)

    def without(self, rows: Sequence[Collection[int]]) -> Tensor:
        """The log-likelihoods without the pieces of each row, `[rows, K]` float64, in nats.

        A row that leaves nothing out runs from the first layer on where tokens are shared.
        """
        if self.shared:
            contexts, tails = self._run_shared(rows)
            return self._scores(
                self._scored, lambda source: contexts if source == _SHARED else tails[:, source]
            )

        def without_pieces(source: int) -> Tensor:
            replays = [self._replays[source]]
            pieces = pieces_of(self._piece, replays, self._anatomy, self._substitute)
            return pieces.without(rows)[:, 0]

        return self._scores(self._own, without_pieces)

    def _clean_tails(self) -> list[Tensor]:
        """The clean states behind the shared tokens at depths 0 … L, `[texts, tokens, D]` each.

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

    def _run_shared(self, rows: Sequence[Collection[int]]) -> tuple[Tensor, Tensor]:
        """The last states of the shared tokens, and of each text's tokens behind them.

        `[rows, shared, D]` and `[rows, texts, tokens, D]`.
        """
        replay, first, substitute = self._longest, self.shared, self._substitute
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
                before = replay.layer_input(layer, contexts[row])
                contexts[row] = substitute(layer, before, clean)
                tails[row] = substitute.updated(layer, replay.layer_input(layer, tails[row]))
        order = range(len(rows))
        return torch.stack([contexts[row] for row in order]), torch.stack(
            [tails[row] for row in order]
        )

    def _run_tails(
        self, layer: int, tails: Sequence[Tensor], past: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Send the tokens behind each context through a layer, `[rows, texts, tokens, D]`."""
        before = torch.stack(tuple(tails))
        count = before.shape[1]
        keys, values = (part.repeat_interleave(count, dim=0) for part in past)
        after = self._longest.run_layer(layer, before.flatten(0, 1), self.shared, (keys, values))
        return after.view_as(before)

    def _scores(self, scored: _Scored, states_of: Callable[[int], Tensor]) -> Tensor:
        """The log-likelihoods by last states of each source, `[rows, tokens, D]`: `[rows, K]`."""
        parts = [states_of(source)[:, rows] for source, rows in scored.rows_of.items()]
        states = torch.cat([part.to(parts[0].device) for part in parts], dim=1)
        unembedding = self._anatomy.unembedding
        assert unembedding is not None, self._anatomy.lens_missing
        rows = len(states)
        tokens = log_probabilities(unembedding, states.flatten(0, 1), scored.ids.repeat(rows, 1))
        places, columns, texts = (list(numbers) for numbers in zip(*scored.predicted, strict=True))
        chosen = tokens.view(rows, *scored.ids.shape)[:, places, columns].double()
        scores = torch.zeros(rows, 1 + max(texts), dtype=torch.float64)
        return scores.index_add_(1, torch.tensor(texts), chosen)


@dataclass(frozen=True)
class _Scored:
    """The states that predict the tokens of the continuations.

    Attributes:
        rows_of: the rows of each source's states that predict a token.
        ids: the tokens that each of these rows predicts, filled up with token 0, `[rows, most]`.
        predicted: row and column in `ids` of each token of a text, and the text's number.
    """

    rows_of: dict[int, list[int]]
    ids: Tensor
    predicted: list[tuple[int, int, int]]

    @classmethod
    def of(
        cls,
        texts: Sequence[np.ndarray],
        starts: Sequence[int],
        sources: Sequence[int],
        shared: int = 0,
    ) -> _Scored:
        """The states of texts whose first `shared` tokens are those of `_SHARED`.

        `sources` are the numbers of each text's other states.
        """
        rows_of: dict[int, list[int]] = {}
        targets: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for number, (text, start) in enumerate(zip(texts, starts, strict=True)):
            for place in range(start - 1, len(text) - 1):
                is_shared = place < shared
                key = (_SHARED, place) if is_shared else (sources[number], place - shared)
                if key not in targets:
                    rows_of.setdefault(key[0], []).append(key[1])
                targets.setdefault(key, []).append((int(text[place + 1]), number))
        keys = [(source, row) for source, rows in rows_of.items() for row in rows]
        ids = torch.zeros(len(keys), max(map(len, targets.values())), dtype=torch.int64)
        predicted: list[tuple[int, int, int]] = []
        for row, key in enumerate(keys):
            for column, (target, number) in enumerate(targets[key]):
                ids[row, column] = target
                predicted.append((row, column, number))
        return cls(rows_of, ids, predicted)


def _begin_alike(texts: Sequence[np.ndarray]) -> int:
    """How many first tokens all texts have in common."""
    length = 0
    for tokens in zip(*(text.tolist() for text in texts), strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return length
