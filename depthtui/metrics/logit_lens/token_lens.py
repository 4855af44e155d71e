"""The lens on one token while it is generated: every depth at once, the output among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from depthtui.data.lens import OVERLAP_K, LensValues
from depthtui.metrics.settling.compute import PART_BYTES, blocks_of, jensen_shannon
from depthtui.tracing.anatomy import Unembedding


@dataclass
class TokenReading(LensValues[Tensor]):
    """The lens's values where one token was predicted; `[L+1]` or `[L+1, k]`, on the CPU.

    Attributes:
        divergence: Jensen-Shannon divergence of p_l and p, in nats.
    """

    divergence: Tensor


def read_token(
    unembedding: Unembedding,
    residuals: Tensor,
    top_k: int,
    choose: Callable[[Tensor], int],
) -> tuple[int, TokenReading]:
    """Choose the next token, and read every depth at the position that predicts it.

    Args:
        unembedding: final norm and LM head.
        residuals: h_0 … h_L of one position, `[L+1, d]`.
        top_k: how many tokens to list.
        choose: returns the token's id for the output's log-probabilities `[V]`, with which the
            other depths are compared.
    """
    at_once = max(1, PART_BYTES // (4 * unembedding.vocab_size))
    final, chosen = None, -1
    readings = []
    # From the output downwards: the other depths are compared with it.
    for stop in range(len(residuals), 0, -at_once):
        log_p = unembedding.logits(residuals[max(0, stop - at_once) : stop])
        log_p -= log_p.logsumexp(dim=-1, keepdim=True)
        if final is None:
            final, chosen = log_p[-1].clone(), choose(log_p[-1])
        readings.append(_read(log_p, final, chosen, top_k))
    values = {
        name: torch.cat([vars(reading)[name] for reading in readings[::-1]]).to("cpu")
        for name in vars(readings[0])
    }
    reading = TokenReading(**values)
    reading.kl[-1], reading.divergence[-1] = 0.0, 0.0
    return chosen, reading


def _read(log_p: Tensor, output: Tensor, chosen: int, top_k: int) -> TokenReading:
    """Values of some depths, from their log-probabilities `[depths, V]`.

    `output` is the model's own, `[V]`, and `chosen` the token chosen from them.
    """
    n_listed = min(max(top_k, OVERLAP_K), log_p.shape[-1])
    top, ids = log_p.topk(n_listed, dim=-1)
    final = output.topk(min(OVERLAP_K, n_listed)).indices
    shared = (ids[:, : len(final), None] == final).any(dim=-1).sum(dim=-1)
    kl, entropy, divergence = log_p.new_zeros(3, len(log_p))
    for columns in blocks_of(log_p):
        here, there = log_p[:, columns], output[columns]
        p = here.exp()
        kl += torch.linalg.vecdot(p, here - there)
        entropy -= torch.linalg.vecdot(p, here)
        divergence += jensen_shannon(p, there.exp())
    return TokenReading(
        kl=kl.clamp(min=0),
        overlap=shared.float() / len(final),
        entropy=entropy.clamp(min=0),
        top_ids=ids[:, :top_k].int(),
        top_probabilities=top[:, :top_k].exp(),
        next_log_probability=log_p[:, chosen].clone(),
        divergence=divergence,
    )
