"""Taps: the depths whose states together predict the output best, as a draft model reads them.

Rows x = (h_l / rms(h_l) of each tapped depth l at token t, and h_0 / rms(h_0) of token t + ahead),
y = h_L / rms(h_L) at token t + ahead: the affine map with least sum |A x - y|^2 + ridge n |A|^2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.lenses.affine import RIDGES, check_ignores_scale, with_one
from depthtui.lenses.held_out_texts import kl_by_token
from depthtui.lenses.least_squares import solve_ridge
from depthtui.lenses.maps import unit
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding

MOST = 3
"""The most depths that are tapped."""

_FEWEST_LAYERS = 7
_FEWEST_TEXTS = 16
_TOKENS_TRIED = 512


Interval = tuple[float, float] | None
"""The ends of an interval; None where there are too few texts."""

IntervalOfMean = Callable[[np.ndarray, np.ndarray], Interval]
"""The 95 % interval of a mean over texts, from their sums and their numbers of tokens."""


@dataclass(frozen=True)
class Taps:
    """Depths, and how well their states together predict the output of tokens not fitted on.

    Attributes:
        depths: the depths, ascending; 0 is the embedding.
        kl: mean KL of the prediction to the output, in nats.
        above: `kl` minus that of `usual_depths`.
        interval: 95 % interval of `above` over texts; None for fewer than five.
    """

    depths: tuple[int, ...]
    kl: float
    above: float
    interval: Interval


def usual_depths(n_layers: int) -> tuple[int, ...]:
    """The depths that EAGLE-3 taps in a model of any kind."""
    return 2, n_layers // 2, n_layers - 3


@dataclass(frozen=True)
class _Tokens:
    """States at the tokens of some texts.

    Attributes:
        states: h_0 … h_{L-1} at token t, each `[N, d]`.
        next: h_0 at token t + ahead, `[N, d]`, or `[N, 0]` where ahead is 0.
        last: h_L at token t + ahead, `[N, d]`.
        texts: the number of each token's text, `[N]`.
    """

    states: Sequence[Tensor]
    next: Tensor
    last: Tensor
    texts: np.ndarray

    def rows(self, depths: Sequence[int]) -> Tensor:
        """x of a prediction from some depths, with a 1 at the end, float32."""
        parts = [unit(self.states[depth]) for depth in depths]
        if self.next.shape[1]:
            parts.append(unit(self.next))
        return with_one(torch.cat(parts, dim=1))

    def part(self, most: int) -> _Tokens:
        """At most this many of the tokens, spread over them."""
        step = -(-len(self.last) // most)
        states = [state[::step] for state in self.states]
        return _Tokens(states, self.next[::step], self.last[::step], self.texts[::step])


@dataclass(frozen=True)
class _Fitted:
    """Predictions of the output from states, fitted on some tokens."""

    tokens: _Tokens
    unembedding: Unembedding

    def kl(self, depths: Sequence[int], ridge: float, judged: _Tokens) -> np.ndarray:
        """KL of the prediction from some depths to the output, for other tokens, `[N]`."""
        head = execution_device(self.unembedding.head)
        output = self.unembedding.logits(judged.last.to(head)).log_softmax(dim=-1)
        predicted = judged.rows(depths) @ self._map(depths, ridge)
        return kl_by_token(self.unembedding, predicted.to(head), output).cpu().numpy()

    def _map(self, depths: Sequence[int], ridge: float) -> Tensor:
        """A, transposed, with the bias below: `[p + 1, d]`."""
        rows, targets = self.tokens.rows(depths).double(), unit(self.tokens.last).double()
        width = rows.shape[1] - 1
        return solve_ridge(rows.T @ rows, rows.T @ targets, ridge * len(rows), width).float()


def choose_taps(
    texts: Sequence[Tensor],
    residuals_of: Callable[[Tensor], Sequence[Tensor]],
    unembedding: Unembedding,
    ahead: int,
    room: int,
    device: torch.device,
    interval: IntervalOfMean,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Taps]:
    """Choose one, two and three depths, each added to those before it, after `usual_depths`.

    Half of the texts is fitted on, a quarter chooses ridge and depths, a quarter judges.

    Args:
        texts: ids, each `[T]`.
        residuals_of: a text's h_0 … h_L, each `[T, d]`.
        unembedding: final norm and LM head.
        ahead: number of tokens from the tapped one to the predicted output: 0, or 1 in a draft.
        room: bytes that the states may take, on `device`.
        device: the device of the products; it must have double precision.
        interval: returns the interval of a mean over texts.
        report: called with the steps done and in all.

    Raises:
        DepthError: there are too few texts or layers, or the model has no norm before its head.
    """
    texts = _long_enough(texts, 1 + ahead)
    first_states = residuals_of(texts[0][:1])
    n_layers = _enough_layers(len(first_states) - 1)
    steps = len(texts) + len(RIDGES) + sum(range(n_layers, n_layers - MOST, -1))
    done = iter(range(1, steps + 1))

    def step() -> None:
        report(next(done), steps)

    with torch.inference_mode():
        every = _one_token_of(sum(map(len, texts)), first_states, room)
        read = [_read(texts[n::4], residuals_of, ahead, every, device, step) for n in range(4)]
        fitted, judging = _Fitted(_joined(read[:2]), unembedding), read[3]
        choosing = read[2].part(_TOKENS_TRIED)
        check_ignores_scale(unembedding, judging.last)

        def kl_choosing(depths: Sequence[int], ridge: float) -> float:
            step()
            return float(fitted.kl(depths, ridge, choosing).mean())

        usual = usual_depths(n_layers)
        ridge = min(RIDGES, key=lambda tried: kl_choosing(usual, tried))
        greedy = _greedy(n_layers, lambda depths: kl_choosing(depths, ridge))
        compared = fitted.kl(usual, ridge, judging)

        def judged(depths: tuple[int, ...]) -> Taps:
            kl = fitted.kl(depths, ridge, judging)
            above, tokens = kl - compared, np.bincount(judging.texts)
            of_mean = interval(np.bincount(judging.texts, above), tokens)
            return Taps(depths, float(kl.mean()), float(above.mean()), of_mean)

        return [judged(depths) for depths in (usual, *greedy)]


def _enough_layers(n_layers: int) -> int:
    """The number of layers.

    Raises:
        DepthError: there are too few.
    """
    if n_layers < _FEWEST_LAYERS:
        raise DepthError(f"Taps are chosen in models of {_FEWEST_LAYERS} layers or more.")
    return n_layers


def _one_token_of(tokens: int, states: Sequence[Tensor], room: int) -> int:
    """Of how many tokens one is read, so that all states fit; `states` are those of one token."""
    return max(1, -(-tokens * sum(state.nbytes for state in states) // room))


def _long_enough(texts: Sequence[Tensor], before: int) -> list[Tensor]:
    """The texts with a token after this many.

    Raises:
        DepthError: there are too few of them.
    """
    enough = [ids for ids in texts if len(ids) > before]
    if len(enough) < _FEWEST_TEXTS:
        raise DepthError(
            f"Choosing taps needs {_FEWEST_TEXTS} texts of {before + 1} tokens or more, and there "
            f"are {len(enough)}.",
            "Give more of them.",
        )
    return enough


def _greedy(n_layers: int, kl: Callable[[Sequence[int]], float]) -> list[tuple[int, ...]]:
    """One, two and more depths, each with that added whose KL is least."""
    greedy: list[tuple[int, ...]] = [()]
    for _ in range(MOST):
        others = set(range(n_layers)) - {*greedy[-1]}
        added = [tuple(sorted((*greedy[-1], depth))) for depth in sorted(others)]
        greedy.append(min(added, key=kl))
    return greedy[1:]


def _read(
    texts: Sequence[Tensor],
    residuals_of: Callable[[Tensor], Sequence[Tensor]],
    ahead: int,
    every: int,
    device: torch.device,
    step: Callable[[], None],
) -> _Tokens:
    """One token of `every` of some texts, without the first of each text."""
    read = []
    for number, ids in enumerate(texts):
        *states, last = (residual.to(device) for residual in residuals_of(ids))
        places = torch.arange(1, len(ids) - ahead, every)
        later = places + ahead
        next_states = states[0][later][:, : None if ahead else 0]
        tapped = [state[places] for state in states]
        read.append(_Tokens(tapped, next_states, last[later], np.full(len(places), number)))
        step()
    return _joined(read)


def _joined(read: Sequence[_Tokens]) -> _Tokens:
    """Tokens of several texts as one."""
    states = [torch.cat(parts) for parts in zip(*(tokens.states for tokens in read), strict=True)]
    return _Tokens(
        states,
        torch.cat([tokens.next for tokens in read]),
        torch.cat([tokens.last for tokens in read]),
        np.concatenate([tokens.texts for tokens in read]),
    )
