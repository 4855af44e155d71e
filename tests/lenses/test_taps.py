"""Depths to tap against truth that was planted, and the ridge against a least-squares solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.lenses.affine import RIDGES
from depthtui.lenses.taps import choose_taps, usual_depths
from depthtui.metrics.resampling import mean_interval
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.probe import probe_architecture
from tests.tiny_models import HIDDEN, random_ids, tiny

LAYERS, TOKENS = 9, 60
TEXTS = [random_ids(TOKENS, seed)[0] for seed in range(24)]
PLANTED = (1, 4, 7)
GIVEN = torch.tensor((3.0, 2.0, 1.0))


def unembedding(name: str = "llama") -> Unembedding:
    anatomy = probe_architecture(tiny(name))
    assert anatomy.unembedding is not None
    return anatomy.unembedding


def residuals_of(ids: Tensor, ahead: int = 1, layers: int = LAYERS) -> list[Tensor]:
    """Random h_0 … h_{L-1}; h_L is of those of PLANTED, `ahead` tokens earlier, and its h_0."""
    random = torch.Generator().manual_seed(int(ids.sum()))
    states = [torch.randn(len(ids), HIDDEN, generator=random) for _ in range(layers)]
    turns = torch.randn(len(PLANTED), HIDDEN, HIDDEN, generator=torch.Generator().manual_seed(0))
    planted = [
        weight * states[depth] @ turn
        for weight, depth, turn in zip(GIVEN, PLANTED, turns, strict=True)
        if depth < layers
    ]
    last = sum(planted, torch.zeros(len(ids), HIDDEN)).roll(ahead, 0)
    return [*states, last + ahead * states[0]]


def chosen(texts=TEXTS, ahead=1, room=1 << 30, name="llama", layers=LAYERS, report=None):
    return choose_taps(
        texts,
        lambda ids: residuals_of(ids, ahead, layers),
        unembedding(name),
        ahead,
        room,
        torch.device("cpu"),
        mean_interval,
        report or (lambda done, total: None),
    )


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_depths_that_write_the_output_are_found_in_the_order_of_their_weight(ahead):
    usual, *found = chosen(ahead=ahead)
    assert usual.depths == usual_depths(LAYERS) == (2, 4, 6)
    assert [taps.depths for taps in found] == [(1,), (1, 4), PLANTED]
    assert (usual.above, usual.interval) == (0, (0, 0))
    for taps in found:
        assert taps.above == pytest.approx(taps.kl - usual.kl, abs=1e-6)
        assert taps.interval[0] < taps.above < taps.interval[1]
    assert found[2].kl < 0.1 * usual.kl
    assert found[2].interval[1] < 0


def test_the_usual_depths_against_least_squares():
    def rows(texts: list[Tensor]) -> tuple[np.ndarray, Tensor]:
        x, last = [], []
        for ids in texts:
            states = [np.asarray(state) for state in residuals_of(ids)]
            parts = [states[depth][1:-1] for depth in (2, 4, 6)] + [states[0][2:]]
            x.append(np.concatenate([scaled(part) for part in parts], axis=1))
            last.append(states[-1][2:])
        return np.concatenate(x), np.concatenate(last)

    def scaled(part: np.ndarray) -> np.ndarray:
        return part / np.sqrt((part**2).mean(-1, keepdims=True))

    x, last = rows(TEXTS[0::4] + TEXTS[1::4])

    def kl(ridge: float, texts: list[Tensor]) -> float:
        pull = np.sqrt(ridge * len(x)) * np.eye(x.shape[1])
        above = np.block([[x, np.ones((len(x), 1))], [pull, np.zeros((len(pull), 1))]])
        below = np.concatenate([scaled(last), np.zeros((len(pull), HIDDEN))])
        weight = np.linalg.lstsq(above, below, rcond=None)[0]
        tried, output = rows(texts)
        predicted = (tried @ weight[:-1] + weight[-1]).astype(np.float32)
        head = unembedding()
        p, q = (
            head.logits(torch.from_numpy(state)).log_softmax(-1).detach()
            for state in (predicted, output)
        )
        return float((p.exp() * (p - q)).sum(-1).mean())

    ridge = min(RIDGES, key=lambda tried: kl(tried, TEXTS[2::4]))
    assert chosen()[0].kl == pytest.approx(kl(ridge, TEXTS[3::4]), rel=1e-3)


def test_with_less_room_fewer_tokens_are_read_and_the_same_depths_found():
    whole = len(TEXTS) * TOKENS * (LAYERS + 1) * HIDDEN * 4
    steps: list[tuple[int, int]] = []
    assert chosen(room=whole // 2, report=lambda *step: steps.append(step))[3].depths == PLANTED
    total = len(TEXTS) + len(RIDGES) + LAYERS + (LAYERS - 1) + (LAYERS - 2)
    assert steps[-1] == (total, total)


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(DepthError, match="16 texts of 3 tokens or more, and there are 15"):
        chosen(texts=[*TEXTS[:15], TEXTS[15][:2]])
    with pytest.raises(DepthError, match="7 layers or more"):
        chosen(layers=6)
    with pytest.raises(DepthError, match="norm before the LM head"):
        chosen(name="opt_post_norm")
