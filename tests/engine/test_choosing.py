"""Layers that are chosen on tiny models, and what a written model is measured to cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine import surgery
from depthtui.engine.choosing import keeping_answers, least_costly, within_budget
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.metrics.layer_order import LayerOrder
from depthtui.tracing.left_out import without_first
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.engine.test_pruning import CANNOT_BE_LOADED, QUICK, engine_of
from tests.naive import naive_answer, naive_choice, naive_loss, naive_without
from tests.tiny_models import LAYERS, TINY, random_ids, tiny_folder

TEXTS = ("The river was high after a week.", "Seven plus five is twelve.")
PROMPTS = [Prompt(text) for text in TEXTS]

GREEDY = RunSettings(sufficient_search="greedy")


def naive_change(whole, pruned, ids):
    """KL(p || p~) and choices kept, means over all tokens but the first."""
    clean, other = naive_without(whole, ids, ()), naive_without(pruned, ids, ())
    kl = (np.exp(clean) * (clean - other)).sum(-1)
    return kl[1:].mean(), (clean.argmax(-1) == other.argmax(-1))[1:].mean()


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.by_hand)
        for name in TINY
        if name not in CANNOT_BE_LOADED
    ],
)
def test_a_written_model_computes_what_the_replay_does(name: str, tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "pruned"
    surgery.prune(engine_of(folder), [1], out)
    whole, pruned = (
        AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32).eval() for at in (folder, out)
    )
    ids, anatomy = random_ids(20), probe_architecture(whole)
    with torch.no_grad():
        residual = without_first(Replay(whole, anatomy, ids[0]), [1], [1])[0]
        expected = anatomy.unembedding.logits(residual)
        logits = pruned(input_ids=ids, use_cache=False).logits[0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_budget_ends_in_a_model_that_costs_what_was_chosen(name: str, tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "pruned"
    engine = engine_of(folder)
    settings, control = GREEDY, Control()
    costs = surgery.layer_order(engine, settings).costs
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    choice = within_budget(engine, (costs[1] + costs[2]) / 2, outputs, settings, control)
    assert choice.count == 2
    surgery.prune(engine, choice.left_out, out, keep_loaded=False)
    engine.load(ModelSpec(str(out), device="cpu"))
    measured = surgery.compare(engine, outputs)
    assert np.mean([one.kl for one in measured]) == pytest.approx(choice.held_out[2], rel=1e-3)

    whole, pruned = (AutoModelForCausalLM.from_pretrained(at).eval() for at in (folder, out))
    for output, one in zip(outputs, measured, strict=True):
        ids = torch.from_numpy(output.tokens.ids)[None]
        kl, same_choices = naive_change(whole, pruned, ids)
        assert one.kl == pytest.approx(kl, rel=1e-3)
        assert one.kl > 0.1
        assert one.same_choices == pytest.approx(same_choices)
        assert one.loss_before == pytest.approx(naive_loss(whole, ids), abs=1e-4)
        assert one.loss == pytest.approx(naive_loss(pruned, ids), abs=1e-4)
        assert one.right is None


@pytest.mark.usefixtures("chance_passes")
def test_costs_of_the_order_choose_and_held_out_prompts_check(engine: Engine) -> None:
    settings = GREEDY
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    order = surgery.layer_order(engine, settings)
    choice = within_budget(engine, 1.0, outputs, settings, Control())
    assert list(choice.choosing) == [0.0, *order.costs]
    whole = AutoModelForCausalLM.from_pretrained(engine.model.spec.name).eval()
    for count in range(len(order.pieces) + 1):
        kl = []
        for output in outputs:
            ids = torch.from_numpy(output.tokens.ids)[None]
            clean, other = (naive_without(whole, ids, gone) for gone in ((), order.pieces[:count]))
            kl.append((np.exp(clean) * (clean - other)).sum(-1)[1:].mean())
        assert choice.held_out[count] == pytest.approx(np.mean(kl), rel=1e-3, abs=1e-6)


@pytest.mark.usefixtures("chance_passes")
def test_the_least_costly_layers_are_the_first_of_the_order_with_a_few_beyond(
    engine: Engine,
) -> None:
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    first = least_costly(engine, 1, outputs, GREEDY, Control())
    order = surgery.layer_order(engine, GREEDY)
    assert list(first.order) == order.pieces[:4]
    assert list(first.costs) == order.costs[:4]
    assert first.left_out == order.pieces[:1]
    by_budget = within_budget(engine, 1.0, outputs, GREEDY, Control()).held_out
    assert list(first.held_out) == pytest.approx([by_budget[n] for n in (1, 2, 3)])
    assert least_costly(engine, 1, [], GREEDY, Control()).held_out == []


def test_no_more_layers_go_than_the_order_has(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = LayerOrder([2], [3.5])
    monkeypatch.setattr(surgery, "layer_order", lambda *_: short)
    with pytest.raises(DepthError) as caught:
        least_costly(engine, 2, [], GREEDY, Control())
    assert "The order has 1 layer: without them the output is 3.50 nats away." in str(caught.value)
    assert "--least 1 leaves the most out" in caught.value.hint


def self_answered(engine: Engine, text: str) -> Prompt:
    """A prompt with the answer that the model writes itself, found by whole forwards."""
    whole, tokenizer = loaded(engine)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    answer = tokenizer.decode(naive_answer(whole, ids, 2).tolist())
    return Prompt(text + answer, answer)


def loaded(engine: Engine):
    """The model and its tokenizer, by transformers alone."""
    folder = engine.model.spec.name
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def answers(engine: Engine) -> list[Prompt]:
    """Prompts most of which the model answers rightly, and a last one that it does not."""
    texts = ["The river", "Seven plus", "She wound the clock", "She closed", "The ferry", "Up"]
    texts += ["the week", "rain did not", "twelve minus", "Brot um", "weil", "run"]
    return [*(self_answered(engine, text) for text in texts), Prompt("The rain zzz", " zzz")]


def test_right_answers_are_those_that_the_model_writes(engine: Engine) -> None:
    prompts = answers(engine)
    outputs = surgery.whole_outputs(engine, prompts, False)
    assert sum(bool(output.right) for output in outputs) >= 4
    assert outputs[-1].right is False
    whole, tokenizer = loaded(engine)
    counts = []
    for layer in range(LAYERS):
        right_answers = 0
        for prompt, output in zip(prompts, outputs, strict=True):
            start = output.tokens.answer_start
            question = torch.from_numpy(output.tokens.ids[:start])[None]
            written = naive_answer(whole, question, len(output.tokens) - start, layer)
            right_answers += tokenizer.decode(written.tolist()).strip() == prompt.answer.strip()
        counts.append(right_answers)
        (pair,) = surgery.paired_answers(engine, outputs, [[layer]])
        assert pair.both + pair.gained == right_answers
        assert pair.both + pair.lost == sum(bool(output.right) for output in outputs)
        assert pair.questions == len(prompts)
    assert len(set(counts)) > 1


def test_answers_choose_on_one_half_and_check_on_the_other(engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, answers(engine), False)
    choosing, held_out = outputs[1::2], outputs[::2]
    settings, control = GREEDY, Control()
    layers = surgery.layer_order(engine, settings).pieces
    (first,) = surgery.paired_answers(engine, choosing, [layers[:1]])
    share = (first.both + first.gained) / (first.both + first.lost)
    choice = keeping_answers(engine, max(share, 0.01), choosing, held_out, settings, control)
    assert choice.choosing[1] == first
    tried = max(1, choice.count)
    assert choice.held_out[tried] == surgery.paired_answers(engine, held_out, [layers[:tried]])[0]
    assert choice.held_out[tried].questions == len(held_out)


CHOICES = (" river", " week.", " the clock", " twelve minus")


def asked_with_choices() -> list[Prompt]:
    texts = ["The rain", "Seven plus five", "She wound", "Up"]
    return [
        Prompt(text + answer, answer, choices=CHOICES)
        for text, answer in zip(texts, CHOICES, strict=True)
    ]


def test_a_prompt_with_choices_is_answered_by_the_likeliest(engine: Engine) -> None:
    prompts = asked_with_choices()
    outputs = surgery.whole_outputs(engine, prompts, False)
    whole, tokenizer = loaded(engine)

    def is_right(prompt: Prompt, gone: list[int]) -> bool:
        chosen = naive_choice(
            tokenizer, prompt.question, CHOICES, lambda ids: naive_without(whole, ids, gone)
        )
        return bool(chosen == prompt.answer)

    sets = [[], [0], [1], [2], [3], [1, 2]]
    expected = np.array([[is_right(prompt, gone) for gone in sets] for prompt in prompts])
    assert [output.right for output in outputs] == expected[:, 0].tolist()
    pairs = surgery.paired_answers(engine, outputs, sets)
    assert pairs == [PairedAnswers.of(expected[:, 0], column) for column in expected.T]
    assert len({pair.both + pair.gained for pair in pairs}) > 1


def test_choices_choose_by_one_pass_for_several_numbers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, whole = [], surgery.whole_outputs(engine, asked_with_choices(), False)
    outputs = [replace(output, right=True) for output in whole]

    def paired(_engine, part, left_out, *_others):
        calls.append([len(gone) for gone in left_out])
        return [PairedAnswers(len(part), 0, 0, 0)] * len(left_out)

    monkeypatch.setattr(surgery, "paired_answers", paired)
    choice = keeping_answers(engine, 1.0, outputs[1:], outputs[:1], GREEDY, Control())
    assert calls[0] == list(range(1, len(choice.order) + 1))
    assert choice.count == len(choice.order)
    assert "1 held-out prompt, 1 answered rightly, no more than by guesses" in choice.protocol


def test_an_answer_that_is_the_whole_text_is_none(engine: Engine) -> None:
    (output,) = surgery.whole_outputs(engine, [Prompt("four five six", "four five six")], False)
    assert output.right is None


def test_an_answer_ends_at_the_stop_of_its_task(engine: Engine) -> None:
    """A text of no task has as many tokens as the known answer; a task's has its own most."""
    outputs = surgery.whole_outputs(engine, [Prompt("Seven 12", " 12", task="addition")], False)
    assert outputs[0].question.most_written == 24
    typed = surgery.whole_outputs(engine, [Prompt("The river", " river")], False)[0]
    assert typed.question.most_written == len(typed.tokens) - typed.tokens.answer_start


@pytest.mark.parametrize(
    ("stay", "hint"),
    [
        # One layer is chosen, and fails on the held-out prompts.
        ({(2, 1): 2, (2, 2): 1, (3, 1): 2}, "--keep-answers 0.66 would pass, with 1 layer"),
        # None is chosen.
        ({(2, 1): 1, (2, 2): 0, (3, 1): 3}, "--keep-answers 0.5 would pass, with 1 layer"),
    ],
)
def test_a_share_that_is_named_passes(
    stay: dict[tuple[int, int], int], hint: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = [one for one in surgery.whole_outputs(engine, answers(engine), False) if one.right]
    assert len(right) >= 4

    def paired(_engine, part, left_out, *_others):
        kept = [stay[len(part), len(gone)] for gone in left_out]
        return [PairedAnswers(right, len(part) - right, 0, 0) for right in kept]

    monkeypatch.setattr(surgery, "paired_answers", paired)
    with pytest.raises(DepthError) as caught:
        keeping_answers(engine, 0.9, right[:2], right[1:4], GREEDY, Control()).check()
    assert hint in caught.value.hint


def test_without_a_right_answer_nothing_is_chosen(engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, [Prompt("The rain zzz", " zzz")] * 2, False)
    with pytest.raises(DepthError, match="that choose, the whole model answers none rightly"):
        keeping_answers(engine, 0.9, outputs[1:], outputs[:1], GREEDY, Control())


def test_a_prompt_of_one_token_cannot_be_measured(engine: Engine) -> None:
    with pytest.raises(DepthError, match="no token after the first"):
        surgery.whole_outputs(engine, [Prompt("T")], False)


@pytest.mark.usefixtures("chance_passes")
def test_a_choice_can_be_stopped(engine: Engine) -> None:
    control, outputs = Control(), surgery.whole_outputs(engine, PROMPTS, False)
    control.stop()
    with pytest.raises(RunStopped):
        within_budget(engine, 1.0, outputs, GREEDY, control)


@pytest.mark.usefixtures("chance_passes")
def test_an_order_is_searched_for_as_far_as_the_budget_goes(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    whole = surgery.layer_order(engine_of(folder), GREEDY)
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda _: None, lenses_dir=tmp_path / "lenses")
    engine.load(ModelSpec(str(folder), device="cpu"))
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    choice = within_budget(engine, whole.costs[0] + 0.01, outputs, GREEDY, Control())
    assert list(choice.order) == whole.pieces[:2]
    assert list(choice.choosing) == [0.0, *whole.costs[:2]]
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
        within_budget(engine, 1.0, outputs, GREEDY, Control())


@pytest.mark.parametrize(("choose", "amount"), [(within_budget, 1.0), (least_costly, 1)])
def test_a_model_at_chance_is_not_pruned_in_its_order(choose, amount, engine: Engine) -> None:
    outputs = surgery.whole_outputs(engine, PROMPTS, False)
    with pytest.raises(DepthError, match="at chance on the prompts to check on: 8"):
        choose(engine, amount, outputs, GREEDY, Control())
