"""The affine lens against a least-squares solver, and truth that was planted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.lenses.affine import RIDGES, AffineFit, fit_affine
from depthtui.lenses.calibration import Calibration
from depthtui.tracing.activations import record_residuals
from depthtui.tracing.probe import probe_architecture
from tests.naive import layer_ends, naive_lens
from tests.tiny_models import HIDDEN, LAYERS, TINY, on_few_models, random_ids, tiny

TEXTS = [random_ids(14 + seed % 5, seed)[0] for seed in range(20)]
CPU = torch.device("cpu")


def fitted(model, ridge=0.0, texts=TEXTS, room=1 << 30, calibration=None, turned=None) -> AffineFit:
    anatomy = probe_architecture(model)
    assert anatomy.unembedding is not None

    def residuals_of(ids: Tensor) -> Sequence[Tensor]:
        residuals = list(record_residuals(model, anatomy, ids).residual)
        return residuals if turned is None else turned(residuals)

    calibration = calibration or Calibration.of(texts, "here", "0")
    return fit_affine(calibration, residuals_of, anatomy.unembedding, room, CPU, ridge)


def scaled(rows):
    return rows / np.sqrt((rows**2).mean(-1, keepdims=True))


def naive_fit(model, texts, layer, ridge):
    """Ridge regression as least squares with more rows, by NumPy's solver."""
    x, y = [], []
    for ids in texts:
        x.append(scaled(layer_ends(model, ids[None], layer)[0])[1:])
        y.append(scaled(layer_ends(model, ids[None], LAYERS - 1)[1])[1:])
    x, y = np.concatenate(x), np.concatenate(y)
    width = x.shape[1]
    weight = np.sqrt(ridge * len(x)) * np.eye(width)
    rows = np.block([[x, np.ones((len(x), 1))], [weight, np.zeros((width, 1))]])
    return np.linalg.lstsq(rows, np.concatenate([y, weight]), rcond=None)[0]


WITHOUT_NORM = ("openai_gpt", "opt_post_norm")


@pytest.mark.parametrize("name", WITHOUT_NORM)
def test_an_output_that_hangs_on_the_residuals_size_is_refused(name):
    with pytest.raises(DepthError, match="norm before the LM head"):
        fitted(tiny(name), 0.05)


@on_few_models(TINY.keys() - set(WITHOUT_NORM))
def test_against_least_squares(name):
    model, ridge = tiny(name), 0.05
    calibration = Calibration(TEXTS[:6], TEXTS[6:8], "here", "0")
    fit = fitted(model, ridge, calibration=calibration)
    for layer in (0, LAYERS - 1):
        expected = naive_fit(model, calibration.fitting_texts, layer, ridge)
        np.testing.assert_allclose(fit.weight[layer].T, expected[:-1], atol=2e-4)
        np.testing.assert_allclose(fit.bias[layer], expected[-1], atol=2e-4)


def test_the_kl_of_held_out_texts():
    """That of the logit lens is the naive lens's at the same tokens."""
    model, held_out = tiny("llama"), TEXTS[8:10]
    fit = fitted(model, 0.05, calibration=Calibration(TEXTS[:6], held_out, "here", "0"))
    kl = [naive_lens(model, ids[None], 5)["kl"][:, 1:] for ids in held_out]
    expected = np.concatenate(kl, axis=1).mean(axis=1)[:LAYERS]
    np.testing.assert_allclose(fit.logit_held_out_kl, expected, rtol=1e-3)


def test_groups_of_depths_change_nothing():
    """With room for the sums of one depth alone the texts are read for every depth."""
    model = tiny("llama")
    whole = fitted(model, 0.05)
    one = 8 * (HIDDEN + 1) * (3 * HIDDEN + 1)
    parts = fitted(model, 0.05, room=2 * one)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    for name in ("held_out_kl", "logit_held_out_kl", "nonlinear"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DepthError, match="for one depth"):
        fitted(tiny("llama"), room=1000)


def test_the_ridge_that_reads_held_out_texts_best():
    model = tiny("llama")
    by_ridge = {ridge: fitted(model, ridge).held_out_kl.sum() for ridge in RIDGES}
    assert fitted(model).ridge == min(by_ridge, key=by_ridge.get)
    assert len({round(float(kl), 4) for kl in by_ridge.values()}) == len(RIDGES)


def test_an_early_change_of_basis_fools_the_logit_lens_alone():
    """Early layers speak in a turned basis; the lens that is fitted turns it back."""
    model = tiny("llama")
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=random))[0]

    def turned(residuals: list[Tensor]) -> list[Tensor]:
        # The depths before the last hold h_L itself in another basis.
        last = residuals[-1]
        return [last @ turn if depth < LAYERS - 1 else last for depth in range(LAYERS + 1)]

    fit = fitted(model, 1e-4, texts=[random_ids(40, seed)[0] for seed in range(10)], turned=turned)
    assert (fit.logit_held_out_kl[: LAYERS - 1] > 0.5).all()
    assert (fit.held_out_kl[: LAYERS - 1] < 0.01).all()
    np.testing.assert_allclose(fit.weight[0] @ turn.T, np.eye(HIDDEN), atol=0.02)


def test_a_layer_that_is_affine_has_no_nonlinear_share():
    """c of layer 0 is a matrix times h / rms(h); that of layer 1 has nothing to do with it."""
    model = tiny("llama")
    random = torch.Generator().manual_seed(1)
    matrix = torch.randn(HIDDEN, HIDDEN, generator=random)

    def planted(residuals: list[Tensor]) -> list[Tensor]:
        start = residuals[0]
        x = start / start.pow(2).mean(-1, keepdim=True).sqrt()
        first = start + x @ matrix
        return [start, first, first + torch.randn(start.shape, generator=random), *residuals[3:]]

    texts = [random_ids(60, seed)[0] for seed in range(20)]
    fit = fitted(model, 1e-6, texts=texts, turned=planted)
    assert fit.nonlinear[0] < 1e-3
    assert fit.nonlinear[1] > 0.95


def test_texts_that_cannot_be_held_out_are_refused():
    with pytest.raises(DepthError, match="fewer than two"):
        Calibration.of(TEXTS[:1], "here", "0")


def test_no_text_is_fitted_on_and_held_out():
    calibration = Calibration.of(TEXTS, "here", "0")
    assert (len(calibration.fitting_texts), len(calibration.held_out)) == (18, 2)
    fitted_on = {tuple(ids.tolist()) for ids in calibration.fitting_texts}
    assert not fitted_on & {tuple(ids.tolist()) for ids in calibration.held_out}
    assert calibration.tokens == sum(len(ids) - 1 for ids in calibration.fitting_texts)
