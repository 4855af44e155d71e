"""Chosen experts against one forward without each, and the router's own arithmetic."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from depthtui.data import codec
from depthtui.data.run_settings import ModelSpec, SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import DepthError
from depthtui.metrics.experts import METRIC, ChosenExperts, ReducedExperts
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.layer_parts import experts_of
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.kernels import chosen_experts
from tests.builders.results import run
from tests.naive import blocks, layer_ends
from tests.tiny_models import fresh, random_ids, tiny, tiny_folder
from tests.tracing.test_layer_parts import EXPERTS

TOKENS = 12


def replayed(model: nn.Module, tokens: int = TOKENS) -> tuple[Replay, Anatomy]:
    anatomy = probe_architecture(model)
    return Replay(model, anatomy, random_ids(tokens)[0]), anatomy


@functools.cache
def found_in(name: str) -> ChosenExperts:
    return chosen_experts(*replayed(tiny(name)))


def assert_same(one: ChosenExperts, other: ChosenExperts) -> None:
    np.testing.assert_array_equal(one.numbers, other.numbers)
    for name in ("weights", "entropy"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-5)
    assert (one.done & other.done).all()
    assert one.n_experts == other.n_experts == 4


def stacks(block: nn.Module) -> list[nn.Module]:
    return [
        module
        for path, module in block.named_modules()
        if path.endswith(("experts", "input_linear", "output_linear"))
        and any(weight.dim() == 3 for weight in module.parameters(recurse=False))
    ]


@pytest.mark.parametrize("name", EXPERTS)
def test_a_token_changes_without_the_experts_that_were_chosen_for_it(name: str) -> None:
    result, model = found_in(name), copy.deepcopy(tiny(name))
    seen = 0
    for layer, block in enumerate(blocks(model)):
        modules = stacks(block)
        if not modules:
            assert (result.numbers[layer] == -1).all()
            assert np.isnan(result.entropy[layer]).all()
            continue
        seen += 1
        whole = torch.from_numpy(layer_ends(model, random_ids(TOKENS), layer)[1])
        for expert in range(4):
            with torch.no_grad(), without(modules, expert):
                lacking = torch.from_numpy(layer_ends(model, random_ids(TOKENS), layer)[1])
            changes = (whole - lacking).abs().amax(dim=-1).numpy() > 1e-6
            chosen = (result.numbers[layer] == expert).any(axis=0)
            np.testing.assert_array_equal(changes, chosen)
    assert seen
    assert result.error < 1e-5
    assert result.notes == ()


@contextlib.contextmanager
def without(modules: list[nn.Module], expert: int) -> Iterator[None]:
    """Let an expert's own weights be 0, while open."""
    weights = [
        weight
        for module in modules
        for weight in module.parameters(recurse=False)
        if len(weight) == 4 and weight.dim() > 1
    ]
    held = [weight[expert].clone() for weight in weights]
    for weight in weights:
        weight[expert] = 0
    yield
    for weight, values in zip(weights, held, strict=True):
        weight[expert] = values


@pytest.mark.parametrize("name", ["mixtral", "olmoe"])
def test_weights_are_the_routers_own(name: str) -> None:
    model, result = tiny(name), found_in(name)
    kept: list[Tensor] = []
    handles = [
        block.mlp.gate.register_forward_pre_hook(
            lambda module, args: kept.append(logits(module, args))
        )
        for block in blocks(model)
    ]
    with torch.no_grad():
        model(input_ids=random_ids(TOKENS), use_cache=False)
    for handle in handles:
        handle.remove()
    for layer, rows in enumerate(kept):
        shares = rows.softmax(dim=-1).topk(2)
        np.testing.assert_array_equal(result.numbers[layer].T, shares.indices)
        by_token = shares.values / shares.values.sum(dim=-1, keepdim=True)
        used = by_token if name == "mixtral" else shares.values
        np.testing.assert_allclose(result.weights[layer].T, used, rtol=1e-4)
        entropy = -(by_token * by_token.log()).sum(dim=-1)
        np.testing.assert_allclose(result.entropy[layer], entropy, rtol=1e-3, atol=1e-6)


def logits(gate: Any, args: tuple[Tensor, ...]) -> Tensor:
    return args[0].reshape(TOKENS, -1) @ gate.weight.T


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "deepseek_v3", "granite_hybrid"])
def test_small_parts_are_the_same(name: str) -> None:
    whole = chosen_experts(*replayed(tiny(name), 64))
    assert_same(chosen_experts(*replayed(tiny(name), 64), tokens_at_once=5), whole)
    assert (np.diff(whole.weights[1], axis=0) <= 0).all()


def test_what_is_known_is_not_run_again() -> None:
    replay, anatomy = replayed(tiny("mixtral"))
    reports: list[Any] = []
    whole = chosen_experts(replay, anatomy, on_rows=lambda *row: reports.append(row))
    assert [row[:2] for row in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    half = reports[1][2]
    before = replay.evaluations
    again = chosen_experts(replay, anatomy, partial=half)
    assert replay.evaluations - before == 2 * TOKENS
    assert_same(again, whole)
    assert half.is_known.tolist() == [True, True, False, False]
    assert (half.numbers[2:] == -1).all()


def test_sixteen_bits() -> None:
    result = chosen_experts(*replayed(copy.deepcopy(tiny("mixtral")).to(torch.bfloat16)))
    exact = found_in("mixtral")
    # In the first layer, behind which rounding has other experts chosen.
    same = (result.numbers[0] == exact.numbers[0]).all(axis=0)
    assert same.mean() > 0.8
    np.testing.assert_allclose(result.weights[0][:, same], exact.weights[0][:, same], atol=0.02)


@pytest.mark.parametrize("name", ["recurrent_gemma", "bamba"])
def test_stacked_weights_that_are_no_experts(name: str) -> None:
    with pytest.raises(DepthError, match="no experts"):
        chosen_experts(*replayed(tiny(name)))


def test_experts_that_do_not_add_up_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(call: Any) -> Any:
        if call.layer == 1:
            raise DepthError("its experts do not add up")
        return experts_of(call)

    monkeypatch.setattr("depthtui.metrics.experts.compute.experts_of", of)
    result = chosen_experts(*replayed(fresh("mixtral")))
    assert (result.numbers[1] == -1).all()
    assert (result.numbers[[0, 2, 3]] >= 0).all()
    assert result.notes == ("its experts do not add up",)


def made(tokens: int = 4) -> ChosenExperts:
    """Two layers, experts in the second: 0 and 1, 0 and 2, 0 and 1, 3 and 0."""
    result = ChosenExperts.unknown(2, tokens, n_experts=8).widened("K", 2)
    result.numbers[1] = [[0, 0, 0, 3], [1, 2, 1, 0]]
    result.entropy[1] = [0.1, 0.2, 0.3, 0.6]
    result.done[:] = True
    return result


def test_what_is_said_of_them() -> None:
    result = run(layers=2, tokens=4)
    reduced = METRIC.reduce(made(), result, slice(None))
    assert isinstance(reduced, ReducedExperts)
    assert reduced.entropy[1] == pytest.approx(0.3)
    assert reduced.used[1] == 4
    assert np.isnan(reduced.used[0])
    assert reduced.largest_share[1] == 1
    two = ReducedExperts.pooled([reduced, METRIC.reduce(made(), result, slice(1, None))])
    assert two.chosen[1].tolist() == [7, 3, 2, 2, 0, 0, 0, 0]
    assert two.tokens == 7
    measure = {measure.name: measure for measure in METRIC.measures}
    result.put("experts", made())
    first = measure["expert_first"].values(result)
    assert first is not None
    assert first[1].tolist() == [0, 0, 0, 3]
    assert np.isnan(first[0]).all()


def test_a_report_says_how_many_are_used() -> None:
    result = run(layers=2, tokens=4)
    result.put("experts", made())
    reading = reading_of([result], SummarySettings(include_first_token=True))
    assert reading is not None
    actual = reading.get(METRIC)
    lines = [(line.title, line.value, line.remark) for line in METRIC.findings(actual, reading)]
    assert lines == [
        ("Experts used", "4 of 8", "in 1 of 2 layers, 4 tokens"),
        ("Most used expert", "expert 0 of layer 1", "100% of tokens"),
    ]
    summary = METRIC.summary(actual, reading)
    assert summary["most_used"].tolist() == [-1, 0]
    assert summary["experts"] == 8


def test_what_is_read_from_the_pipe_is_what_was_sent() -> None:
    again = codec.decode(codec.encode(found_in("mixtral")))
    assert_same(again, found_in("mixtral"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("llama", "no experts that depthtui knows"), ("qwen3_moe", "")],
)
def test_experts_are_offered_only_where_the_model_has_some(
    name: str, reason: str, tmp_path: Path
) -> None:
    engine = make_engine(Storage(tmp_path, tmp_path, save_results=False), lambda event: None, print)
    engine.load(ModelSpec(str(tiny_folder(tmp_path, name)), device="cpu"))
    assert engine.model is not None
    assert METRIC.why_unavailable(dataclasses.replace(run(), model=engine.model)) == reason
