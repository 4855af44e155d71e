"""What some prompts show of a model without the first pieces of an order, by their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.lazy import lazy_value
from depthtui.data.pieces import PER_LAYER, Piece
from depthtui.depth.left_out import CHOICES, CHOSEN, KL, KNOWLEDGE, LOSS, PERPLEXITY, LeftOut
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.metrics.column import LeftOutColumn
from depthtui.metrics.kept.curve import LEAST_GAIN, share_kept
from depthtui.metrics.perplexity import perplexities
from depthtui.metrics.resampling import drawn_interval

ANSWERS = "answers"
"""The name of the column of right answers, as a share of the whole model's."""

SHARES = (KNOWLEDGE, CHOICES, ANSWERS)
"""The columns that a gate keeps at a share at least; the others are nats, at most."""

GATE_COLUMNS = (KNOWLEDGE, LOSS, KL, CHOICES, ANSWERS)
"""The columns that a gate can limit."""


@dataclass(frozen=True)
class LeftOutCosts:
    """What prompts show of a model without the first 0, 1, 2, … pieces of an order.

    A model that is written or healed has two columns: the whole model, and itself.

    Attributes:
        kl: KL(p || p~), p the whole model's output, a mean over the tokens of each prompt, in nats,
            `[prompts, n + 1]`.
        choices: the share of first choices that stay.
        loss: in nats a token: of the answers where every prompt has one, else of the texts.
        right: 1 for a right answer, 0 for a wrong one, NaN where none was asked for.
        guess: the loss of the same tokens by the guess without context, `[prompts]`; NaN where
            there is none.
        scored: how many tokens `loss` is of, `[prompts]`.
        tokens: how many tokens `choices` are of, `[prompts]`.
        is_corpus: whether all prompts are windows of a corpus.
    """

    kl: np.ndarray
    choices: np.ndarray
    loss: np.ndarray
    right: np.ndarray
    guess: np.ndarray
    scored: np.ndarray
    tokens: np.ndarray
    is_corpus: bool = False

    def __len__(self) -> int:
        return len(self.kl)

    @property
    def most_left_out(self) -> int:
        """The largest number of pieces that are left out, n."""
        return self.kl.shape[1] - 1

    def at(self, count: int) -> LeftOutCosts:
        """The whole model and the one without so many pieces."""
        kl, choices, loss, right = (
            values[:, [0, count]] for values in (self.kl, self.choices, self.loss, self.right)
        )
        return replace(self, kl=kl, choices=choices, loss=loss, right=right)

    @lazy_value
    def columns(self) -> Mapping[str, LeftOutColumn]:
        """The numbers that a gate can limit, by name: means over prompts, or over their tokens."""
        ones = np.ones(len(self))
        return {
            KNOWLEDGE: self._column("known", ".2f", self._knowledge, falls=True),
            LOSS: self._column("nats", "+.2f", self._loss),
            KL: self._column("KL", ".2f", lambda drawn: _mean(self.kl, drawn * ones)),
            CHOICES: self._column(
                "choices",
                ".2f",
                lambda drawn: _mean(self.choices, drawn * self.tokens),
                falls=True,
                of=int(self.tokens.sum()),
            ),
            ANSWERS: LeftOutColumn(ANSWERS, self._share_of_answers, ".2f", True),
        }

    @lazy_value
    def table(self) -> Mapping[str, LeftOutColumn]:
        """The columns that are shown: those of a gate that are known, and the right answers."""
        columns = {name: column for name, column in self.columns.items() if name != ANSWERS}
        if self.knows_too_little:
            del columns[KNOWLEDGE]
        if self.is_corpus:
            columns[PERPLEXITY] = perplexities(self.loss, self.scored)
        if self.answers(0) is not None:
            right = self.right[np.isfinite(self.right[:, 0])]
            columns[CHOSEN] = LeftOutColumn("right", right.mean(axis=0), ".2f", True, of=len(right))
        return columns

    def left_out(self, order: Sequence[int], n_layers: int, piece: Piece, search: str) -> LeftOut:
        """The table of these costs, of all pieces; NaN where more leave than were tried.

        Args:
            order: the pieces, the first to go first; others may follow.
            n_layers: L.
            piece: their kind.
            search: how the order was found.
        """
        n_pieces = PER_LAYER[piece] * n_layers
        others = (number for number in range(n_pieces) if number not in order)
        missing = np.full(n_pieces - self.most_left_out, np.nan)
        columns = {
            name: replace(column, values=np.concatenate([column.values, missing]))
            for name, column in self.table.items()
        }
        return LeftOut(piece, n_layers, "model", search, (*order, *others), columns)

    @property
    def gain(self) -> float:
        """What the whole model knows of a token, in nats: the loss that context saves."""
        return float(np.average(self.guess - self.loss[:, 0], weights=self.scored))

    @property
    def knows_too_little(self) -> bool:
        """Whether the whole model knows too little of these prompts for a share of it to count."""
        return not self.gain >= LEAST_GAIN * float(np.average(self.guess, weights=self.scored))

    def answers(self, count: int) -> PairedAnswers | None:
        """The right answers of the whole model and without so many pieces; None without any."""
        pairs = self.right[:, [0, count]]
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        return PairedAnswers.of(*pairs.T) if len(pairs) else None

    def _knowledge(self, drawn: np.ndarray) -> np.ndarray:
        weights = drawn * self.scored
        share = share_kept(_mean(self.loss, weights), _mean(self.guess[:, None], weights)[:, 0])
        return np.full_like(share, np.nan) if self.knows_too_little else share

    def _loss(self, drawn: np.ndarray) -> np.ndarray:
        return _mean(self.loss - self.loss[:, :1], drawn * self.scored)

    @property
    def _share_of_answers(self) -> np.ndarray:
        """The right answers as a share of the whole model's, `[n + 1]`."""
        pairs = map(self.answers, range(self.right.shape[1]))
        return np.array(
            [
                (pair.both + pair.gained) / (pair.both + pair.lost)
                if pair is not None and pair.both + pair.lost
                else np.nan
                for pair in pairs
            ]
        )

    def _column(
        self,
        title: str,
        form: str,
        means: Callable[[np.ndarray], np.ndarray],
        falls: bool = False,
        of: int = 0,
    ) -> LeftOutColumn:
        """The column of a mean, a function of how often prompts are drawn, `[means, prompts]`."""
        values = means(np.ones((1, len(self))))[0]

        def ends(count: int) -> tuple[float, float] | None:
            return drawn_interval([len(self)], lambda drawn: means(drawn[0])[:, count], seed=0)

        def interval() -> np.ndarray | None:
            intervals = list(map(ends, range(len(values))))
            return None if None in intervals else np.array(intervals).T

        return LeftOutColumn(title, values, form, falls, of=of, find_interval=interval)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The means of prompts' values `[prompts, n + 1]` by weights `[means, prompts]`."""
    return np.asarray(weights @ values / weights.sum(axis=1, keepdims=True))
