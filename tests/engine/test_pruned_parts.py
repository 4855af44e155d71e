"""A model that is written without attentions and MLPs, against naive hooks on the whole one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from depthtui.data.pieces import NumberedParts
from depthtui.data.run_settings import ModelSpec
from depthtui.engine import surgery
from depthtui.engine.layer_choice import Gate
from depthtui.engine.projections import check_parts
from depthtui.errors import DepthError
from depthtui.tracing.probe import probe_architecture
from tests.engine.test_choosing import (
    GREEDY,
    PROMPTS,
    answers,
    by_gate,
    chooser,
)
from tests.engine.test_pruning import engine_of
from tests.naive import naive_answer, naive_without_parts
from tests.tiny_models import LAYERS, TINY, on_few_models, random_ids, tiny_folder

ATTENTION_1, MLP_1, ATTENTION_2, MLP_2 = 2, 3, 4, 5

SOME = ("llama", "gpt_neox", "qwen3_5", "gpt2", "gemma2", "bloom", "falcon_h1")
"""Plain with few heads for keys, parallel, hybrid, with biases, a norm behind each part, a part
that is given the stream, attention and mixer side by side."""

EXPERTS = "mixtral"


def loaded(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@on_few_models(SOME, SOME[:3])
def test_a_written_model_computes_what_is_left_without_the_parts(name: str, tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "pruned"
    engine, parts = engine_of(folder), [ATTENTION_1, MLP_2]
    written = surgery.prune(engine, parts, out, piece="part")
    assert written.layers == tuple(range(LAYERS))
    whole, ids = loaded(folder), random_ids(20)
    expected = naive_without_parts(whole, ids, parts)
    np.testing.assert_allclose(naive_without_parts(loaded(out), ids, ()), expected, atol=1e-5)
    assert abs(expected - naive_without_parts(whole, ids, ())).max() > 0.1
    weights = loaded(out).state_dict()
    silent = [key for key, value in weights.items() if ".1." in key and not value.any()]
    assert silent, "the output projection of an attention"
    assert engine.load(ModelSpec(str(out), device="cpu")).n_layers == LAYERS


def test_other_tools_find_the_parts_in_lists(tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path), tmp_path / "pruned"
    engine = engine_of(folder)
    surgery.prune(engine, [ATTENTION_2, ATTENTION_1, MLP_1], out, piece="part")
    config = json.loads((out / "config.json").read_text())
    assert (config["drop_attn_list"], config["drop_mlp_list"]) == ([1, 2], [1])
    skip = json.loads((out / "skip_layers.json").read_text())
    assert skip == {"tiny-llama": {"attention": [1, 2], "mlp": [1]}}
    assert not (out / "mergekit_config.yml").exists()
    # Those of a model that has such lists stay in them, by the numbers of its own layers.
    engine.load(ModelSpec(str(out), device="cpu"))
    surgery.prune(engine, [0], tmp_path / "shorter")
    config = json.loads((tmp_path / "shorter" / "config.json").read_text())
    assert (config["drop_attn_list"], config["drop_mlp_list"]) == ([0, 1], [0])
    assert not (tmp_path / "shorter" / "skip_layers.json").exists()
    more = surgery.prune(engine, [0], tmp_path / "more", piece="part")
    config = json.loads((tmp_path / "more" / "config.json").read_text())
    assert (config["drop_attn_list"], config["drop_mlp_list"]) == ([0, 1, 2], [1])
    assert more.parts == NumberedParts((0, 1, 2), (1,))
    (skip,) = json.loads((tmp_path / "more" / "skip_layers.json").read_text()).values()
    assert skip == {"attention": [0, 1, 2], "mlp": [1]}


def test_both_parts_of_layers_alone_are_cut_as_layers(tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path), tmp_path / "pruned"
    written = surgery.prune(engine_of(folder), [ATTENTION_1, MLP_1], out, piece="part")
    assert written.layers == (0, 2, 3)
    config = json.loads((out / "config.json").read_text())
    assert "drop_attn_list" not in config
    assert (out / "mergekit_config.yml").exists()
    with pytest.raises(DepthError, match="at least one layer"):
        surgery.prune(engine_of(folder), range(2 * LAYERS), tmp_path / "none", piece="part")


@pytest.mark.parametrize(
    ("name", "parts", "words"),
    [
        (EXPERTS, [MLP_1, ATTENTION_2], r"MLP of layer 1 .*MixtralSparseMoeBlock.* one projection"),
        ("mamba", [ATTENTION_1], "no attention and MLP modules"),
        ("llama", [2 * LAYERS], "There is no layer 4"),
    ],
)
def test_what_cannot_be_zero_is_refused_with_its_reason(
    name: str, parts: list[int], words: str, tmp_path: Path
) -> None:
    engine = engine_of(tiny_folder(tmp_path, name))
    for refused in (
        lambda: surgery.check_can_write(engine, parts),
        lambda: surgery.prune(engine, parts, tmp_path / "out" / "pruned", piece="part"),
    ):
        with pytest.raises(DepthError, match=words):
            refused()
    assert not (tmp_path / "out").exists()


def test_a_part_of_a_looped_block_is_refused(tmp_path: Path) -> None:
    model = engine_of(tiny_folder(tmp_path)).freed_model()
    looped = replace(model, info=replace(model.info, calls=((0, 0), (0, 1), (1, 0), (1, 1))))
    with pytest.raises(DepthError, match="its blocks run in several passes"):
        check_parts(looped, [ATTENTION_1])


def test_attentions_beside_experts_are_written(tmp_path: Path) -> None:
    engine = engine_of(tiny_folder(tmp_path, EXPERTS))
    surgery.check_can_write(engine, [ATTENTION_1])
    with pytest.raises(DepthError, match="MLP of layer 0"):
        surgery.check_can_write(engine)
    assert surgery.prune(engine, [ATTENTION_1], tmp_path / "out", piece="part").parts.mlp == ()


def test_a_norm_with_a_bias_behind_a_part_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path, "gemma2")
    engine = engine_of(folder)
    layer = engine.freed_model().anatomy.layers[1]
    width = engine.freed_model().info.d_model
    norm = torch.nn.LayerNorm(width).requires_grad_(False)
    layer.post_attention_layernorm = norm
    model = engine.freed_model()
    without_bias = replace(model, anatomy=probe_architecture(model.loaded.model))
    check_parts(without_bias, [ATTENTION_1])
    norm.bias.fill_(0.5)
    with pytest.raises(DepthError, match="a norm with a bias stands between its attention"):
        check_parts(replace(model, anatomy=probe_architecture(model.loaded.model)), [ATTENTION_1])


@pytest.mark.usefixtures("chance_passes")
def test_an_attention_of_zeros_leaves_first_and_costs_nothing(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    planted = loaded(folder)
    with torch.no_grad():
        planted.model.layers[2].self_attn.o_proj.weight.zero_()
    planted.save_pretrained(folder)
    engine = engine_of(folder)
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    first = chooser(engine, outputs, "part").least(1)
    assert (first.left_out, first.held_out.kl[:, 1].max()) == ([ATTENTION_2], 0.0)
    written = surgery.prune(engine, first.left_out, tmp_path / "out", piece="part")
    assert (written.parts.attention, written.off) == ((2,), 0.0)
    words = "left out: 1 part (attention 2), by the model's order, greedy: 2a; 7 of 8 parts kept"
    assert first.protocol == words


@pytest.mark.usefixtures("chance_passes")
def test_a_gate_chooses_parts(tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path), tmp_path / "pruned"
    engine = engine_of(folder)
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    order = surgery.layer_order(engine, GREEDY, piece="part")
    choice = by_gate(engine, Gate("kl", (order.costs[1] + order.costs[2]) / 2), outputs, "part")
    assert (choice.count, choice.left_out) == (2, sorted(order.pieces[:2]))
    assert choice.protocol.splitlines()[0].endswith("; 6 of 8 parts kept")
    surgery.prune(engine, choice.left_out, out, keep_loaded=False, piece="part")
    whole, kl = loaded(folder), []
    for output in outputs:
        ids = torch.from_numpy(output.tokens.ids)[None]
        clean, other = (
            naive_without_parts(whole, ids, ()),
            naive_without_parts(loaded(out), ids, ()),
        )
        kl.append((np.exp(clean) * (clean - other)).sum(-1)[1:].mean())
    assert choice.held_out.kl[:, 2] == pytest.approx(kl, rel=1e-3)
    engine.load(ModelSpec(str(out), device="cpu"))
    assert surgery.compare(engine, outputs).kl[:, 1] == pytest.approx(kl, rel=1e-3)


def test_answers_written_without_parts_are_those_of_naive_hooks(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    engine, whole = engine_of(folder), loaded(folder)
    tokenizer, prompts = AutoTokenizer.from_pretrained(folder), answers(engine)
    outputs = surgery.whole_outputs(engine, prompts, False)
    sets = [[2 * layer + 1] for layer in range(LAYERS)]
    columns = surgery.answers(engine, outputs, [*sets, [MLP_1, ATTENTION_2]], piece="part").T
    for (part,), column in zip(sets, columns, strict=False):
        for right, prompt, output in zip(column, prompts, outputs, strict=True):
            start = output.tokens.answer_start
            question = torch.from_numpy(output.tokens.ids[:start])[None]
            most = len(output.tokens) - start
            written = naive_answer(whole, question, most, part // 2, "mlp")
            assert right == (tokenizer.decode(written.tolist()).strip() == prompt.answer.strip())
    assert len(set(columns.sum(axis=1))) > 1
    # Several parts together are those of a model whose projections are zero.
    surgery.prune(engine, [MLP_1, ATTENTION_2], tmp_path / "out", piece="part", keep_loaded=False)
    engine.load(ModelSpec(str(tmp_path / "out"), device="cpu"))
    assert surgery.compare(engine, outputs).right[:, 1].tolist() == columns[-1].tolist()


@pytest.mark.parametrize(("name", "is_draft"), [("llama", True), ("gpt2", False)])
def test_first_layers_are_a_draft_where_transformers_runs_them_alone(
    name: str, is_draft: bool, tmp_path: Path
) -> None:
    folder = tiny_folder(tmp_path, name)
    engine, count = engine_of(folder), LAYERS - 1
    assert surgery.prune(engine, [count], tmp_path / "last").exits_early == is_draft
    assert not surgery.prune(engine, [1], tmp_path / "other").exits_early
    whole, ids = loaded(folder), random_ids(8)
    greedily = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    if is_draft:
        early = whole.generate(ids, assistant_early_exit=count, **greedily)
        assert torch.equal(early, whole.generate(ids, **greedily))


@pytest.mark.by_hand
@pytest.mark.parametrize("name", TINY)
def test_every_architecture_is_written_or_refused(name: str, tmp_path: Path) -> None:
    folder, whole, ids = tiny_folder(tmp_path, name), None, random_ids(20)
    engine = engine_of(folder)
    for number, parts in enumerate(([ATTENTION_1], [MLP_1], [ATTENTION_1, MLP_2])):
        out = tmp_path / str(number)
        try:
            surgery.prune(engine, parts, out, piece="part")
        except DepthError:
            assert not out.exists()
            continue
        whole = whole or loaded(folder)
        expected = naive_without_parts(whole, ids, parts)
        np.testing.assert_allclose(naive_without_parts(loaded(out), ids, ()), expected, atol=1e-5)
