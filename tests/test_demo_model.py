"""The demo model: an independent oracle's values, planted truth, and the naive way."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from depthtui.data.codec import decode
from depthtui.data.lens import AffineLens, LensFit, LogitLens
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth import rules
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.lenses.affine import fit_affine
from depthtui.lenses.calibration import Calibration
from depthtui.lenses.maps import LensMaps
from depthtui.metrics import context_depth, kept
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.layer_order import LayerOrder
from depthtui.metrics.order import Order
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.prompts.tasks import make_prompts
from depthtui.tracing.activations import record_residuals
from tests.naive import naive_lens, naive_reordered_losses, token_losses
from tests.oracle import files as oracle
from tests.tools.first_run import FILE


@pytest.fixture(scope="module")
def engine(demo_folder):
    store = open_store(None, 0, lambda message: None)
    made = Engine(store, demo_folder.parent, lambda event: None)
    made.load(ModelSpec("demo", device="cpu", dtype="float32"))
    return made


def test_the_first_run_that_is_shipped_is_of_this_model(engine) -> None:
    shipped = decode(FILE.read_bytes())
    fresh = engine.run(shipped.prompt, RunSettings(metrics=("contributions",)))
    assert shipped.model.fingerprint == fresh.model.fingerprint
    values = [run.measured["contributions"].layer_norm_ratio for run in (shipped, fresh)]
    np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-4)


def test_the_oracle_agrees(engine, capsys):
    prompts = oracle.prompts().values()
    settings = RunSettings(metrics=("contributions", "logit_lens"))
    results = [engine.run(Prompt(prompt["text"]), settings) for prompt in prompts]
    summary = reading_of(results, SummarySettings())
    contributions, lens = oracle.values("contributions"), oracle.values("logit_lens")
    names = {
        "attention_norm_ratio": "rc_att",
        "mlp_norm_ratio": "rc_mlp",
        "layer_norm_ratio": "rc_layer",
        "attention_cosine": "att_cos",
        "mlp_cosine": "mlp_cos",
        "layer_cosine": "layer_cos",
    }
    figures = {}
    for ours, theirs in names.items():
        expected = np.array(contributions[theirs])
        figures[ours] = np.abs(summary.curves[ours] / expected - 1).max()
    kl = np.array(lens["kl"])
    figures["kl"] = np.abs(summary.curves["kl"][:-1] / kl - 1).max()
    overlap = np.array(lens["overlap"])
    figures["overlap"] = np.abs(summary.curves["overlap"][:-1] - overlap).max()
    with capsys.disabled():
        print("\nlargest difference from the oracle (relative; absolute for overlap)")
        print("\n".join(f"  {name:22} {value:.1e}" for name, value in figures.items()))

    assert max(value for name, value in figures.items() if name != "overlap") < 1e-4
    assert figures["overlap"] < 1e-3
    assert {depth.rule: depth.layer for depth in summary.depths} == {
        "cosine": 20,
        "kl": 16,
        "overlap": 23,
    }


@pytest.mark.by_hand
def test_the_oracle_agrees_on_what_is_kept(engine, monkeypatch):
    """In its order, over the guess of its texts."""
    expected = oracle.values("kept")
    settings = RunSettings(metrics=("kept",), order_search="ranked")
    orders = engine.orders
    texts = [tokens_of(orders.model, text) for text in expected["texts"]]
    monkeypatch.setattr(orders, "_written", texts)
    monkeypatch.setattr(orders, "_guess", None)
    monkeypatch.setitem(orders._in_memory, orders._key(settings), LayerOrder(expected["order"]))
    for module in ("depthtui.metrics.kept", "depthtui.metrics.kept.compute"):
        monkeypatch.setattr(f"{module}.is_short", lambda tokens: False)
    prompts = [oracle.prompts()[name] for name in expected["prompts"]]
    runs = [engine.run(Prompt(prompt["text"], prompt["a"]), settings) for prompt in prompts]
    answer, text = reading_of(runs, SummarySettings()).get(kept.METRIC).curves
    for curve, values in ((answer, expected["answer"]), (text, expected["all"])):
        loss, whole = np.array(values["loss_by_count"]), values["loss"]
        share = np.clip(1 - (loss - whole) / values["gain"], 0, 1)
        np.testing.assert_allclose(curve.share, share, atol=1e-4)
        assert curve.gain == pytest.approx(values["gain"], abs=1e-4)
        assert curve.layers() == pytest.approx(values["n90"], abs=1e-3)
        assert curve.layers(0.5) == pytest.approx(values["n50"], abs=1e-3)
        assert curve.mean_depth == pytest.approx(values["mean_depth"], abs=1e-3)


@pytest.mark.by_hand
def test_the_oracle_agrees_on_the_affine_lens(engine, capsys):
    """The same calibration texts and ridge, every text fitted on."""
    expected = oracle.values("affine")
    model = engine.lenses.model
    residuals_of = functools.partial(residuals, model)
    texts = [tokens_of(model, text) for text in oracle.calibration()]
    calibration = Calibration(texts, texts[:1], "oracle", "")
    unembedding, info, cpu = model.anatomy.unembedding, model.info, torch.device("cpu")
    found = fit_affine(calibration, residuals_of, unembedding, 1 << 30, cpu, expected["lam"])
    assert calibration.tokens == expected["fit_tokens"]
    unknown = np.full(info.n_layers, np.nan)
    maps = LensMaps(LensFit("affine", "", 0, 0), found.at, unknown, unknown, unknown)
    engine.lenses.take = lambda *_: maps
    try:
        settings = RunSettings(metrics=("affine_lens",))
        prompts = oracle.prompts().values()
        runs = [engine.run(Prompt(prompt["text"]), settings) for prompt in prompts]
    finally:
        del engine.lenses.take
    lenses = [run.get(AffineLens) for run in runs]
    kl = np.concatenate([lens.kl for lens in lenses], axis=1).mean(axis=1)
    overlap = np.concatenate([lens.overlap for lens in lenses], axis=1).mean(axis=1)
    figures = {
        "kl": np.abs(kl[:-1] / expected["kl"] - 1).max(),
        "overlap": np.abs(overlap[:-1] - expected["overlap"]).max(),
    }
    with capsys.disabled():
        print("\nlargest difference from the oracle's affine lens (relative; absolute for overlap)")
        print("\n".join(f"  {name:22} {value:.1e}" for name, value in figures.items()))
    assert figures["kl"] < 1e-4
    assert figures["overlap"] < 2e-3
    layers = expected["effective_depth"]
    for name, curve in (("kl", kl), ("overlap", overlap)):
        assert rules.named(name).layers(curve, SummarySettings()) == layers[name]["ed"]


def tokens_of(model, text):
    return torch.tensor(model.loaded.tokenizer(text)["input_ids"])


def residuals(model, ids):
    return list(record_residuals(model.loaded.model, model.anatomy, ids).residual)


def share_off(found, expected):
    """The largest difference as a share of the largest value: products round in several ways."""
    expected = np.array(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()


def from_oracle(metric):
    """The oracle's values of a metric, by the prompt's name."""
    return {found["id"]: found for found in oracle.values(metric)["per_prompt"]}


def skip_effects_off(engine, asked):
    """How far skip effects of some of the oracle's prompts are off, at its positions."""
    lengths, figures = (), {}
    for name, prompt in oracle.prompts().items():
        if name in asked:
            before = RunSettings(metrics=("skip_effects",), lengths_before=lengths)
            found = engine.run(Prompt(prompt["text"]), before).get(SkipEffects)
            expected = from_oracle("layer_effects")[name]
            assert list(found.positions) == expected["positions"]
            assert min(found.layers.max(), found.output.max()) > 0.1
            figures[f"skip effects, {name}"] = share_off(found.layers, expected["max_future_layer"])
            figures[f"output effect, {name}"] = share_off(found.output, expected["max_future_out"])
        lengths = (*lengths, prompt["n_tokens"])
    return figures


def assert_small(figures, capsys):
    with capsys.disabled():
        print("\nlargest difference from the oracle (share of the largest value)")
        print("\n".join(f"  {name:22} {value:.1e}" for name, value in figures.items()))
    assert max(figures.values()) < 1e-4


@pytest.mark.by_hand
def test_the_oracle_agrees_on_skip_effects(engine, capsys):
    assert_small(skip_effects_off(engine, ["add0"]), capsys)


@pytest.mark.by_hand
def test_the_oracle_agrees_on_longer_interventions(engine, capsys):
    figures = skip_effects_off(engine, ["mul0"])
    prompts = oracle.prompts()
    baseline = tuple(prompt["text"] for prompt in prompts.values() if prompt["kind"] == "gsm8k")
    asked = prompts["mul0"]
    erased = engine.run(
        Prompt(asked["text"], answer=asked["a"]),
        RunSettings(metrics=("residual_erasure",), baseline=baseline),
    ).get(ResidualErasure)
    expected = from_oracle("erasure")["mul0"]["effect"]
    figures["residual erasure, mul0"] = share_off(erased.effect, expected)
    assert_small(figures, capsys)


@pytest.mark.by_hand
def test_the_oracle_agrees_on_the_context(engine, capsys):
    prompts = oracle.prompts().values()
    settings = RunSettings(metrics=("context_depth",))
    asked = [Prompt(prompt["text"], answer=prompt["a"]) for prompt in prompts]
    pooled = reading_of([engine.run(prompt, settings) for prompt in asked], SummarySettings())
    found = context_depth.METRIC.summary(pooled.get(context_depth.METRIC), pooled)
    expected = oracle.values("context")
    apart = np.abs(found["loss"] - np.array(expected["loss"]))
    with capsys.disabled():
        print(f"\nlargest difference of context depth from the oracle: {apart.max():.1e} nats")
    assert found["starts"] == list(expected["starts"].values())
    assert apart.max() < 1e-3
    # Its floor is not 0, and far below what it measures.
    assert found["floor"] < 1e-3 < found["loss"][-2]


@pytest.mark.by_hand
def test_the_order_of_layers_the_naive_way(engine):
    prompt = oracle.prompts()["add0"]
    result = engine.run(Prompt(prompt["text"]), RunSettings(metrics=("order",)))
    ids = torch.from_numpy(result.tokens.ids)[None]
    model, found = engine._model.loaded.model, result.get(Order)
    clean = token_losses(model, ids)
    for layer in (0, 11, 28):
        for values, swapped in ((found.parallel, False), (found.swapped, True)):
            expected = naive_reordered_losses(model, ids, layer, swapped) - clean
            np.testing.assert_allclose(values[layer], expected, atol=1e-3)
            assert np.abs(expected).max() > 0.1
    assert found.floor < 1e-3


@pytest.mark.by_hand
def test_the_oracle_agrees_on_direct_effects(engine, capsys):
    """The oracle has the largest of six prompts: two of them never exceed it, and often are it.

    `tests/tools/benchmarks/oracle.py` runs all six.
    """
    expected = np.array(oracle.values("direct")["effect"])
    lengths, largest = (), 0.0
    for name, prompt in oracle.prompts().items():
        if name in ("add0", "mul0"):
            asked = RunSettings(metrics=("direct_effects",), lengths_before=lengths)
            found = engine.run(Prompt(prompt["text"]), asked).get(DirectEffects)
            largest = np.maximum(largest, found.layers)
            assert found.floor < 1e-4
        lengths = (*lengths, prompt["n_tokens"])
    beyond = (largest - expected).max() / expected.max()
    pairs = np.triu_indices(len(expected), 1)
    reached = np.isclose(largest[pairs], expected[pairs], rtol=1e-4).mean()
    with capsys.disabled():
        print(f"\ndirect effects: {reached:.0%} of the pairs are the oracle's, none is beyond it")
    assert beyond < 1e-5
    assert reached > 0.05


@pytest.mark.by_hand
@pytest.mark.parametrize("skipped", [1, 15])
def test_planted_truth(engine, skipped):
    """With the last layers' output projections at zero, they add nothing and decide nothing."""
    layers = engine._model.loaded.model.model.layers[-skipped:]
    projections = [
        module.weight
        for layer in layers
        for module in (layer.self_attn.o_proj, layer.mlp.down_proj)
    ]
    saved = [weight.clone() for weight in projections]
    try:
        for weight in projections:
            weight.zero_()
        result = engine.run(make_prompts("commonsense", None, 1)[0], RunSettings())
    finally:
        for weight, copy in zip(projections, saved, strict=True):
            weight.copy_(copy)
    contributions, lens = result.get(Contributions), result.get(LogitLens)
    for field in dataclasses.fields(contributions):
        assert (getattr(contributions, field.name)[-skipped:] == 0).all(), field.name
    # Rows 30 - k … 30 hold one and the same residual: the output's.
    assert (lens.kl[-skipped - 1 :] == 0).all()
    assert (lens.overlap[-skipped - 1 :] == 1).all()
    assert lens.kl[-skipped - 2].mean() > 0


@pytest.mark.by_hand
def test_a_prompt_of_the_ladder_the_naive_way(engine):
    """A prompt of ours, where no oracle is at hand: the whole lens, one forward a depth."""
    result = engine.run(make_prompts("commonsense", None, 2)[1], RunSettings(lens_top_k=5))
    ids = torch.from_numpy(result.tokens.ids)[None]
    lens = naive_lens(engine._model.loaded.model, ids, 5)
    np.testing.assert_allclose(result.get(LogitLens).kl, lens["kl"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.get(LogitLens).entropy, lens["entropy"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.get(LogitLens).overlap, lens["overlap"], atol=1e-6)
