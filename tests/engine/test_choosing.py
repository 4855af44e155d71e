"""Layers that are chosen on tiny models, and what a written model is measured to cost."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine import surgery
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.held_out_prompts import WholeOutput, read_prompt
from depthtui.engine.layer_choice import Chooser, Gate, LayerChoice
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.layer_order import LayerOrder
from tests.engine.test_pruning import engine_of
from tests.naive import naive_answer, naive_choice, naive_without, naive_without_parts
from tests.tiny_models import CORPUS, LAYERS, tiny_folder

TEXTS = ("The river was high after a week.", "Seven plus five is twelve.")
PROMPTS = [Prompt(text) for text in TEXTS]

GREEDY = RunSettings(order_search="greedy")


def naive_change(whole, pruned, ids):
    """KL(p || p~) and choices kept, means over all tokens but the first."""
    clean, other = naive_without(whole, ids, ()), naive_without(pruned, ids, ())
    kl = (np.exp(clean) * (clean - other)).sum(-1)
    return kl[1:].mean(), (clean.argmax(-1) == other.argmax(-1))[1:].mean()


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_gate_ends_in_a_model_that_costs_what_was_chosen(name: str, tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "pruned"
    engine = engine_of(folder)
    costs = surgery.layer_order(engine, GREEDY).costs
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    choice = by_gate(engine, Gate("kl", (costs[1] + costs[2]) / 2), outputs)
    assert choice.count == 2
    held_out = choice.held_out.at(2)
    surgery.prune(engine, choice.left_out, out, keep_loaded=False)
    engine.load(ModelSpec(str(out), device="cpu"))
    measured = surgery.compare(engine, outputs)
    np.testing.assert_allclose(measured.kl, held_out.kl, rtol=1e-3)
    np.testing.assert_allclose(measured.loss, held_out.loss, rtol=1e-3)

    whole, pruned = (AutoModelForCausalLM.from_pretrained(at).eval() for at in (folder, out))
    for prompt, output in enumerate(outputs):
        ids = torch.from_numpy(output.tokens.ids)[None]
        kl, same_choices = naive_change(whole, pruned, ids)
        assert measured.kl[prompt].tolist() == [0.0, pytest.approx(kl, rel=1e-3)]
        assert kl > 0.1
        assert measured.choices[prompt].tolist() == [1.0, pytest.approx(same_choices)]
        losses = [naive_scored_loss(model, ids) for model in (whole, pruned)]
        assert measured.loss[prompt].tolist() == pytest.approx(losses, abs=1e-4)
        assert output.right is None


def naive_scored_loss(model, ids) -> float:
    """The mean loss of all tokens but the first two, by one pass."""
    log = naive_without(model, ids, ())
    return float(-np.mean([log[place - 1, ids[0, place]] for place in range(2, ids.shape[1])]))


def by_gate(engine: Engine, gate: Gate, outputs: list[WholeOutput], piece="layer") -> LayerChoice:
    return chooser(engine, outputs, piece).keeping(gate, surgery.order_outputs(engine))


def chooser(engine: Engine, outputs: list[WholeOutput], piece="layer") -> Chooser:
    return Chooser(engine, outputs, GREEDY, Control(), piece)


@pytest.mark.usefixtures("chance_passes")
def test_texts_of_the_order_choose_and_held_out_prompts_check(engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    order = surgery.layer_order(engine, GREEDY)
    choice = by_gate(engine, Gate("kl", 1.0), outputs)
    assert choice.choosing.costs.columns["kl"].values == pytest.approx(
        [0.0, *order.costs], rel=1e-4
    )
    whole = AutoModelForCausalLM.from_pretrained(engine.model.spec.name).eval()
    for count in range(choice.held_out.most_left_out + 1):
        for output, kl in zip(outputs, choice.held_out.kl, strict=True):
            ids = torch.from_numpy(output.tokens.ids)[None]
            clean, other = (naive_without(whole, ids, gone) for gone in ((), order.pieces[:count]))
            expected = (np.exp(clean) * (clean - other)).sum(-1)[1:].mean()
            assert kl[count] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_where_each_prompt_has_an_answer_its_loss_alone_counts(engine: Engine) -> None:
    asked = [Prompt("Seven plus five", " five"), Prompt("She wound the clock", " clock")]
    whole = AutoModelForCausalLM.from_pretrained(engine.model.spec.name).eval()
    for output in surgery.whole_outputs(engine, asked, False):
        ids, start = torch.from_numpy(output.tokens.ids)[None], output.tokens.answer_start
        log, after = naive_without(whole, ids, ()), ids[0, start:].numpy()
        assert output.loss == pytest.approx(
            -log[np.arange(start - 1, ids.shape[1] - 1), after].mean()
        )
    mixed = surgery.whole_outputs(engine, [*asked, *PROMPTS], False)
    assert [output.scored for output in mixed] == [slice(1, None)] * 4


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("piece", ["layer", "part"])
def test_the_table_is_that_of_a_report_on_the_same_prompts(engine: Engine, piece: str) -> None:
    prompts = [Prompt(text) for text in (*CORPUS[:3], *TEXTS)]
    outputs = surgery.whole_outputs(engine, prompts, False)
    choice = chooser(engine, outputs, piece).least(2)
    settings = replace(GREEDY, metrics=("logit_lens", "kept", "parts"))
    reading = reading_of([engine.run(prompt, settings) for prompt in prompts], SummarySettings())
    report = reading.left_out if piece == "layer" else reading.parts_left_out
    assert report.order[: len(choice.order)] == tuple(choice.order)
    costs = choice.held_out
    # Of what is hardly known no share is told: its losses are.
    guess = np.average(costs.guess, weights=costs.scored)
    assert guess == pytest.approx(report.knowledge.curve.mean.guess, rel=1e-5)
    for name in ("loss", "kl", "choices"):
        ours, theirs = costs.columns[name].values, report.columns[name].values[: len(costs.kl[0])]
        is_known = np.isfinite(theirs)
        np.testing.assert_allclose(ours[is_known], theirs[is_known], rtol=1e-3, atol=1e-5)
        assert is_known[:2].all()


@pytest.mark.usefixtures("chance_passes")
def test_the_least_costly_layers_are_the_first_of_the_order_with_a_few_beyond(
    engine: Engine,
) -> None:
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    first = chooser(engine, outputs).least(1)
    order = surgery.layer_order(engine, GREEDY)
    assert (list(first.order), first.left_out) == (order.pieces[:4], order.pieces[:1])
    one_by_one = chooser(engine, outputs).named(order.pieces[:2])
    np.testing.assert_allclose(one_by_one.held_out.kl, first.held_out.kl[:, :3], rtol=1e-5)


def test_no_more_layers_go_than_the_order_has(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.engine.layer_choice.check_not_at_chance", lambda *_: None)
    short = LayerOrder([2], [3.5])
    monkeypatch.setattr(surgery, "layer_order", lambda *_: short)
    with pytest.raises(DepthError, match="The order ends with 1 layer: ") as caught:
        chooser(engine, []).least(2)
    assert "--least 1 leaves the most out" in caught.value.hint


def self_answered(engine: Engine, text: str) -> Prompt:
    """A prompt with the answer that the model writes itself, found by whole forwards."""
    whole, tokenizer = loaded(engine.model.spec.name)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    answer = tokenizer.decode(naive_answer(whole, ids, 2).tolist())
    return Prompt(text + answer, answer)


@functools.cache
def loaded(folder: str):
    """A model and its tokenizer, by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def answers(engine: Engine) -> list[Prompt]:
    """Prompts most of which the model answers rightly, and a last one that it does not."""
    texts = ["The river", "Seven plus", "She wound the clock", "She closed", "The ferry", "Up"]
    texts += ["the week", "rain did not", "twelve minus", "Brot um", "weil", "run"]
    return [*(self_answered(engine, text) for text in texts), Prompt("The rain zzz", " zzz")]


def right_without(engine: Engine, outputs: list[WholeOutput], gone: list[int]) -> list[float]:
    return surgery.answers(engine, outputs, [gone])[:, 0].tolist()


def test_right_answers_are_those_that_the_model_writes(engine: Engine) -> None:
    prompts = answers(engine)
    outputs = surgery.whole_outputs(engine, prompts, False)
    assert sum(bool(output.right) for output in outputs) >= 4
    assert outputs[-1].right is False
    whole, tokenizer = loaded(engine.model.spec.name)
    columns = []
    for layer in range(LAYERS):
        column = []
        for prompt, output in zip(prompts, outputs, strict=True):
            start = output.tokens.answer_start
            question = torch.from_numpy(output.tokens.ids[:start])[None]
            written = naive_answer(whole, question, len(output.tokens) - start, layer)
            column.append(tokenizer.decode(written.tolist()).strip() == prompt.answer.strip())
        columns.append(column)
    right = surgery.answers(engine, outputs, [[layer] for layer in range(LAYERS)])
    assert right.T.tolist() == columns
    assert len(set(map(sum, columns))) > 1


def test_answers_choose_on_one_half_and_check_on_the_other(engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, answers(engine), False)
    choosing, held_out = outputs[1::2], outputs[::2]
    layers = surgery.layer_order(engine, GREEDY).pieces
    gate = Gate("answers", 0.01)
    choice = chooser(engine, held_out).keeping(gate, choosing)
    assert choice.choosing.costs.right[:, 1].tolist() == right_without(engine, choosing, layers[:1])
    tried = max(1, choice.count)
    assert choice.held_out.right[:, tried].tolist() == right_without(
        engine, held_out, layers[:tried]
    )


CHOICES = (" river", " week.", " the clock", " twelve minus")


def asked_with_choices() -> list[Prompt]:
    texts = ["The rain", "Seven plus five", "She wound", "Up"]
    return [
        Prompt(text + answer, answer, choices=CHOICES)
        for text, answer in zip(texts, CHOICES, strict=True)
    ]


@pytest.mark.parametrize(
    ("piece", "naive", "sets"),
    [
        ("layer", naive_without, [[], [0], [1], [2], [3], [1, 2]]),
        ("part", naive_without_parts, [[], [4], [5], [2, 3, 5], [4, 5, 6, 7]]),
    ],
)
def test_a_prompt_with_choices_is_answered_by_the_likeliest(
    engine: Engine, piece: str, naive, sets: list[list[int]]
) -> None:
    prompts = asked_with_choices()
    outputs = surgery.whole_outputs(engine, prompts, False)
    whole, tokenizer = loaded(engine.model.spec.name)

    def is_right(prompt: Prompt, gone: list[int]) -> bool:
        chosen = naive_choice(
            tokenizer, prompt.question, CHOICES, lambda ids: naive(whole, ids, gone)
        )
        return bool(chosen == prompt.answer)

    expected = [[is_right(prompt, gone) for gone in sets] for prompt in prompts]
    assert [output.right for output in outputs] == [row[0] for row in expected]
    assert surgery.answers(engine, outputs, sets, piece=piece).tolist() == expected
    assert len(set(map(sum, zip(*expected, strict=True)))) > 1


def test_an_answer_that_is_the_whole_text_is_none(engine: Engine) -> None:
    (output,) = surgery.whole_outputs(engine, [Prompt("four five six", "four five six")], False)
    assert output.right is None


def test_an_answer_ends_at_the_stop_of_its_task(engine: Engine) -> None:
    """A text of no task has as many tokens as the known answer; a task's has its own most."""
    solution = Prompt("Seven plus twelve.", "twelve.", task="grade_school")
    assert read_prompt(engine.freed_model(), solution, False).most_written == 400
    outputs = surgery.whole_outputs(engine, [Prompt("Seven 12", " 12", task="addition")], False)
    assert outputs[0].question.most_written == 24
    typed = surgery.whole_outputs(engine, [Prompt("The river", " river")], False)[0]
    assert typed.question.most_written == len(typed.tokens) - typed.tokens.answer_start


def test_without_a_right_answer_nothing_is_chosen(engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, [Prompt("The rain zzz", " zzz")] * 2, False)
    with pytest.raises(DepthError, match="that choose, the whole model answers none rightly"):
        chooser(engine, outputs[:1]).keeping(Gate("answers", 0.9), outputs[1:])


def test_a_prompt_of_one_token_cannot_be_measured(engine: Engine) -> None:
    with pytest.raises(DepthError, match="the third token is the first one that is scored"):
        surgery.whole_outputs(engine, [Prompt("T")], False)


@pytest.mark.usefixtures("chance_passes")
def test_a_choice_can_be_stopped(engine: Engine) -> None:
    control, outputs = Control(), surgery.whole_outputs(engine, PROMPTS, False)
    control.stop()
    with pytest.raises(RunStopped):
        Chooser(engine, outputs, GREEDY, control).keeping(Gate("kl", 1.0), outputs)


@pytest.mark.usefixtures("chance_passes")
def test_an_order_is_searched_for_as_far_as_the_gate_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.engine.layer_choice.BEYOND", 1)
    monkeypatch.setattr("depthtui.engine.layer_choice._FEWEST", 2)
    folder = tiny_folder(tmp_path)
    whole = surgery.layer_order(engine_of(folder), GREEDY)
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda _: None, lenses_dir=tmp_path / "lenses")
    engine.load(ModelSpec(str(folder), device="cpu"))
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    choice = by_gate(engine, Gate("kl", whole.costs[0] + 0.01), outputs)
    assert (list(choice.order), choice.count) == (whole.pieces[:2], 1)
    # What was found is kept, and the search goes on there.
    (order_file,) = (tmp_path / "lenses").rglob("*.order.json")
    assert '"whole": false' in order_file.read_text()
    again = surgery.layer_order(engine, GREEDY)
    assert again.pieces == whole.pieces
    assert again.costs == pytest.approx(whole.costs, rel=1e-4)
    assert '"whole": true' in order_file.read_text()


def test_a_model_of_one_layer_keeps_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    model = engine.freed_model()
    one = replace(model, info=replace(model.info, n_layers=1))
    monkeypatch.setattr(Engine, "freed_model", lambda _: one)
    with pytest.raises(DepthError, match="at least one layer"):
        chooser(engine, outputs).least(1)


def test_a_model_at_chance_is_not_pruned_in_its_order(engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    words = "at chance on the prompts to check on: 8"
    with pytest.raises(DepthError, match=words):
        by_gate(engine, Gate("kl", 1.0), outputs)
    with pytest.raises(DepthError, match=words):
        chooser(engine, outputs).least(1)
