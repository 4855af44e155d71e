"""Where two runs part: a layer that was changed, against rounding."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from depthtui import analyze
from depthtui.data.lens import LogitLens
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import parting as module
from depthtui.depth.parting import first_other_choice, parting, parting_sentence
from depthtui.metrics.contributions import Contributions
from depthtui.tracing import rounding
from tests.builders.results import random_result
from tests.naive import blocks
from tests.tiny_models import with_tokenizer

TEXT = "The river was high after a week of rain, and the ferry did not run."
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@cache
def changed_run(dtype: str, layer: int = -1, part: str = "") -> RunResult:
    """A run of a tiny model, with other weights in a part of a layer."""
    model, tokenizer = with_tokenizer("llama")
    model = copy.deepcopy(model).to(DTYPES[dtype])
    if part:
        block = blocks(model)[layer]
        generator = torch.Generator().manual_seed(7)
        for weight in getattr(block, {"attention": "self_attn", "mlp": "mlp"}[part]).parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            weight.data.copy_(weight.data + 0.5 * weight.data.float().std() * drawn)
    metrics = ["contributions", "logit_lens"]
    return analyze(model, [TEXT], tokenizer, metrics, progress=False)[0]


@pytest.mark.parametrize("dtypes", [("float32",) * 2, ("bfloat16",) * 2, ("float32", "bfloat16")])
@pytest.mark.parametrize("part", ["attention", "mlp"])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_part_that_was_changed_is_named(dtypes: tuple[str, str], part: str, layer: int) -> None:
    a, b = changed_run(dtypes[0]), changed_run(dtypes[1], layer, part)
    for result in (parting(a, b), parting(b, a)):
        assert result is not None
        assert (result.layer, result.part) == (layer, part)
        assert result.difference > result.floor
        assert not result.differs_before
    title = {"attention": "attention", "mlp": "MLP"}[part]
    assert f"They part at layer {layer}, by {title}:" in parting_sentence(a, b, SummarySettings())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_parts_nowhere(dtype: str) -> None:
    a, b = changed_run(dtype), changed_run("bfloat16")
    result = parting(a, b)
    assert result is not None
    assert result.layer is None
    assert (result.difference > 0) == (dtype == "float32")
    said = parting_sentence(a, b, SummarySettings())
    assert said.startswith("They part nowhere: ")
    assert ("rounding (bfloat16)" in said) == (dtype == "float32")


def test_the_same_weights_that_round_alike_have_no_floor() -> None:
    a = random_result(fingerprint="x")
    b = copy.deepcopy(a)
    assert parting(a, b).floor == 0
    # One token of one layer is enough.
    b.get(Contributions).mlp_cosine[2, 3] += 1e-7
    assert (parting(a, b).layer, parting(a, b).part) == (2, "mlp")
    # Other software or another device rounds otherwise, and so do other weights.
    for other in (
        replace(b, provenance=replace(b.provenance, torch="another")),
        replace(b, model=replace(b.model, device="cuda:0")),
        replace(b, model=replace(b.model, fingerprint="y")),
    ):
        result = parting(a, other)
        assert result.layer is None
        assert result.floor > 1e-7


def test_what_the_lens_reads_before_layer_0_tells_of_the_embedding() -> None:
    a, b = random_result(seed=1), random_result(seed=1)
    b.get(Contributions).attention_cosine[:] = -a.get(Contributions).attention_cosine
    assert not parting(a, b).differs_before
    b.get(LogitLens).entropy[0] *= 2
    assert parting(a, b).differs_before
    said = parting_sentence(a, b, SummarySettings())
    assert "at layer 0, by attention, or before it in the embedding: " in said


def test_layers_alone_are_compared_where_there_is_no_split() -> None:
    a, b = (random_result(seed=1, split_missing="it has none") for _ in "ab")
    for run in (a, b):
        for name in ("attention", "mlp"):
            getattr(run.get(Contributions), f"{name}_cosine")[:] = np.nan
    b.get(Contributions).layer_norm_ratio[1:] *= 2
    assert (parting(a, b).layer, parting(a, b).part) == (1, "layer")
    assert "They part at layer 1: its work" in parting_sentence(a, b, SummarySettings())


def test_a_value_of_one_run_alone_sets_them_apart() -> None:
    a, b = random_result(seed=1), random_result(seed=1)
    b.get(Contributions).attention_cosine[1] = np.nan
    assert (parting(a, b).layer, parting(a, b).part) == (1, "attention")
    assert "differs wholly" in parting_sentence(a, b, SummarySettings())


def test_layers_that_have_not_run_and_those_of_one_model_alone_do_not_count() -> None:
    a, b = random_result(seed=1), random_result(seed=1)
    b.layers_done = 2
    b.get(Contributions).attention_cosine[2:] = np.nan
    assert (parting(a, b).layer, parting(a, b).layers) == (None, 2)


@pytest.mark.parametrize("change", [{"architecture": "Other"}, {"d_model": 17}, {"parallel": True}])
def test_models_of_other_makes_are_not_compared(change: dict[str, object]) -> None:
    a = random_result()
    assert parting(a, replace(a, model=replace(a.model, **change))) is None


def choices(*ids: int) -> LogitLens:
    lens = LogitLens.unknown(len(ids) - 1, 3, 2)
    lens.top_ids[:] = 0
    lens.top_ids[:, 1, 0] = ids
    return lens


@pytest.mark.parametrize(
    ("a", "b", "depth"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), None),
        ((1, 2, 3, 4), (9, 9, 9, 4), None),
        ((1, 2, 3, 4), (9, 2, 9, 9), 2),
        ((1, 2, 3, 4), (1, 2, 3, 9), 3),
        ((1, 2, 3, 4), (9, 9, 9, 9), 0),
    ],
)
def test_first_choices_part_for_good(
    a: tuple[int, ...], b: tuple[int, ...], depth: int | None
) -> None:
    assert first_other_choice(choices(*a), choices(*b), (1, 1)) == depth


def test_other_prompts_are_compared_at_the_token_before_the_answer() -> None:
    a, b = random_result(layers=4, tokens=5, seed=1), random_result(layers=4, tokens=7, seed=1)
    ours, theirs = a.get(LogitLens), b.get(LogitLens)
    before = a.answer_start - 1, b.answer_start - 1
    ours.top_ids[:, before[0], 0] = 3
    theirs.top_ids[:, before[1], 0] = [3, 4, 3, 4, 4]
    settings = SummarySettings()
    assert parting_sentence(a, b, settings) == (
        "From layer 3 on the lens's first choices before the answer differ."
    )
    theirs.top_ids[3, before[1], 0] = 3
    assert parting_sentence(a, b, settings).startswith("Only the outputs'")
    theirs.top_ids[4, before[1], 0] = 3
    assert "end alike" in parting_sentence(a, b, settings)
    # Other answers part in any case; so do other prompts without one.
    b.prompt = Prompt("b c", " c")
    assert parting_sentence(a, b, settings) == ""
    b.tokens.texts[-1] = a.tokens.texts[-1]
    assert "end alike" in parting_sentence(a, b, settings)
    b.prompt = a.prompt
    # Without an answer it is the last token of each.
    b = replace(b, tokens=replace(b.tokens, answer_start=7))
    ours.top_ids[:, -1, 0], theirs.top_ids[:, -1, 0] = 3, [3, 4, 4, 4, 4]
    assert parting_sentence(a, b, settings).startswith(
        "From layer 1 on the lens's first choices at the last token"
    )
    assert parting_sentence(a, replace(b, model=replace(b.model, vocab_size=7)), settings) == ""


def test_a_rounding_is_counted_as_in_tracing() -> None:
    assert module.MOST_ROUNDINGS < rounding.MOST_ROUNDINGS
    assert module._COARSEST_PRODUCT == rounding._COARSEST_PRODUCT
    for name in ("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
        assert module._SPACING[name] == torch.finfo(getattr(torch, name)).eps
