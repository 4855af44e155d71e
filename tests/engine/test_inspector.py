"""A layer at a token: readouts, sums, experts, targets; on every architecture that has them."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from depthtui.data import codec
from depthtui.data.inspection import Inspection
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, Skip
from depthtui.data.store import open_store
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError, RunStopped
from depthtui.models.in_memory import adopt
from depthtui.prompts.tasks import baseline_texts
from tests.naive import blocks, layer_ends
from tests.planted import induction_model
from tests.tiny_models import FEW, OTHERS, WITHOUT_SPLIT, on_few_models, with_tokenizer

PROMPT = Prompt("Seven plus five is twelve", " twelve")
SETTINGS = RunSettings()

SOFT_CAPPED = {"gemma2", "recurrent_gemma"}
EXPERTS = ("mixtral", "qwen2_moe", "gpt_oss", "deepseek_v3", "granite_moe", "lfm2_moe")


def engine_of(name, tmp_path):
    model, tokenizer = with_tokenizer(name)
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, tmp_path, lambda event: None, baseline_texts=baseline_texts)
    engine.use(adopt(model, tokenizer))
    return engine, model


def ids_of(engine, prompt=PROMPT):
    return engine._model.loaded.tokenizer(prompt.text, return_tensors="pt").input_ids


def test_readouts_are_what_the_model_says_from_there(engine):
    model = engine._model.loaded.model
    page = engine.inspect(PROMPT, SETTINGS, 1, -2)
    h, h_next = layer_ends(model, ids_of(engine), 1)
    place = len(h) - 2
    assert (page.layer, page.token, page.n_layers) == (1, place, 4)
    with torch.no_grad():
        for readout, states in ((page.before, h), (page.after, h_next)):
            row = torch.from_numpy(states[place]).float()
            p = model.lm_head(model.model.norm(row)).softmax(dim=-1)
            values, ids = p.topk(SETTINGS.lens_top_k)
            assert [value for _, value in readout.top] == pytest.approx(values.tolist(), rel=1e-4)
            target = ids_of(engine)[0, place + 1]
            assert readout.probability == pytest.approx(float(p[target]), rel=1e-4)
            assert readout.rank == int((p > p[target]).sum()) + 1
            best = p[torch.arange(len(p)) != target].max()
            assert readout.margin == pytest.approx(float((p[target] / best).log()), abs=1e-4)
            assert ids[0] >= 0
    assert page.target_is == "answer"
    assert page.tokens == tuple(page.tokens)
    assert len(page.tokens) == place + 1


def test_the_target_is_the_answers_token_or_the_outputs_first_choice(engine):
    ids = ids_of(engine)[0]
    tokenizer = engine._model.loaded.tokenizer
    start = len(tokenizer(PROMPT.question).input_ids)
    early, late = (engine.inspect(PROMPT, SETTINGS, 0, token) for token in (0, start - 1))
    assert early.target == late.target == tokenizer.decode(ids[start])
    last = engine.inspect(PROMPT, SETTINGS, 0, -1)
    final = engine.inspect(PROMPT, SETTINGS, 3, -1)
    assert last.target_is == "output"
    assert final.after.rank == 1
    plain = engine.inspect(Prompt(PROMPT.text), SETTINGS, 3, 2)
    assert plain.target_is == "output"
    assert plain.after.rank == 1
    marked = dataclasses.replace(SETTINGS, answer_start=3)
    assert engine.inspect(Prompt(PROMPT.text), marked, 3, 2).target == tokenizer.decode(ids[3])


@on_few_models(few=[*FEW, "mamba", "mixtral"])
def test_parts_add_up_on_every_architecture(name, tmp_path):
    engine, model = engine_of(name, tmp_path)
    n_layers = len(blocks(model))
    for layer in (0, n_layers - 1):
        page = engine.inspect(PROMPT, SETTINGS, layer, -2)
        for part, error in page.closure.items():
            assert error < 2e-5, part
        assert page.before is not None
        assert page.after is not None
        if name in WITHOUT_SPLIT:
            assert "split" in page.unavailable
            assert not page.heads
            continue
        assert set(page.written) == {"attention", "mlp", "layer"}
        if page.heads and name not in SOFT_CAPPED:
            assert "logit" in page.closure
            attention = page.written["attention"].direct
            heads = sum(head.direct for head in page.heads)
            assert attention is not None
            assert abs(heads) < 1e3
        if name in SOFT_CAPPED:
            assert "softly" in page.unavailable["direct"]
        assert bool(page.heads) == (page.reads is not None)
        assert page.neurons or page.experts
        # The page goes through the pipe and into JSON.
        again = codec.decode(codec.encode(page))
        assert isinstance(again, Inspection)
        assert again.to_json() == json.loads(json.dumps(page.to_json()))


@pytest.mark.parametrize("name", EXPERTS)
def test_the_loss_without_an_expert_is_that_of_a_forward_without_it(name, tmp_path):
    engine, model = engine_of(name, tmp_path)
    ids, layer = ids_of(engine), len(blocks(model)) - 2
    page = engine.inspect(PROMPT, SETTINGS, layer, -2)
    place = page.token
    module = next(
        module
        for module in blocks(model)[layer].modules()
        if any(weight.dim() == 3 for weight in module.parameters(recurse=False))
        and type(module).__name__.endswith("Experts")
    )

    def loss(expert: int) -> float:
        def before(_module, args, kwargs):
            states, numbers, weights = [*args, *kwargs.values()]
            weights = weights.clone()
            if weights.shape == numbers.shape:
                weights[place][numbers[place] == expert] = 0
            else:
                weights[place, expert] = 0
            return (states, numbers, weights), {}

        handle = module.register_forward_pre_hook(before, with_kwargs=True)
        try:
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0, place]
        finally:
            handle.remove()
        return -float(logits.float().log_softmax(dim=-1)[ids[0, place + 1]])

    whole = loss(-1)
    assert len(page.experts) == 2
    for expert in page.experts:
        assert expert.loss_without == pytest.approx(loss(expert.expert) - whole, abs=2e-5)
    assert any(abs(expert.loss_without) > 1e-3 for expert in page.experts)


def test_promoted_tokens_are_those_of_the_write_through_the_frozen_norm(engine):
    model = engine._model.loaded.model
    page = engine.inspect(PROMPT, SETTINGS, 2, 3)
    h, h_next = (torch.from_numpy(end).float() for end in layer_ends(model, ids_of(engine), 2))
    final = torch.from_numpy(layer_ends(model, ids_of(engine), 3)[1]).float()[3]
    change = h_next[3] - h[3]
    scale = (final.square().mean() + model.model.norm.variance_epsilon).rsqrt()
    with torch.no_grad():
        logits = model.lm_head(change * scale * model.model.norm.weight)
    values, ids = logits.topk(5)
    written = page.written["layer"]
    assert [value for _, value in written.promoted] == pytest.approx(values.tolist(), abs=1e-4)
    assert written.promoted[0][0] == engine._model.vocabulary.text(int(ids[0]))
    assert written.norm == pytest.approx(float(change.norm() / h[3].norm()), rel=1e-4)
    lowest = (-logits).topk(5).values
    assert [-value for _, value in written.suppressed] == pytest.approx(lowest.tolist(), abs=1e-4)


def test_a_layer_that_reads_other_layers_shows_its_ends(tmp_path):
    """Where no layer can be run by itself, what was recorded stays."""
    engine, _ = engine_of("gemma4_shared", tmp_path)
    page = engine.inspect(PROMPT, SETTINGS, 3, -2)
    assert "gemma4_shared" in OTHERS
    assert "layer" in page.unavailable
    assert page.before is not None
    assert page.after is not None
    assert list(page.written) == ["layer"]
    assert not page.heads
    assert page.reads is None


def test_what_cannot_be_looked_into_says_why(engine):
    for layer, token, words in ((4, 0, "no layer 4"), (0, 99, "no token 99"), (-1, 0, "no layer")):
        with pytest.raises(DepthError, match=words):
            engine.inspect(PROMPT, SETTINGS, layer, token)
    skipped = dataclasses.replace(SETTINGS, skipped=(Skip(1),))
    with pytest.raises(DepthError, match="what-if"):
        engine.inspect(PROMPT, skipped, 0, 0)
    with pytest.raises(DepthError, match="affine lens of this model has not been fitted"):
        engine.inspect(PROMPT, SETTINGS, 0, 0, "affine")
    stopped = Control()
    stopped.stop()
    with pytest.raises(RunStopped):
        engine.inspect(Prompt("Another prompt"), SETTINGS, 0, 0, control=stopped)


def test_the_next_look_runs_one_layer_alone(engine):
    engine.inspect(PROMPT, SETTINGS, 0, -1)
    inspector = engine._inspected[1]
    done = inspector._replay.evaluations
    engine.inspect(PROMPT, SETTINGS, 1, -2)
    assert engine._inspected[1] is inspector
    assert inspector._replay.evaluations == done + 1
    engine.run(PROMPT, RunSettings(metrics=("contributions",)))
    assert engine._inspected is None


def test_entropy_is_that_of_each_heads_attention(engine):
    page = engine.inspect(PROMPT, SETTINGS, 0, 4)
    weights = page.reads.heads.astype(float)
    expected = -(weights * np.log(weights)).sum(axis=1)
    np.testing.assert_allclose(page.entropy, expected, atol=1e-5)
    first = engine.inspect(PROMPT, SETTINGS, 0, 0)
    np.testing.assert_allclose(first.entropy, 0, atol=1e-6)
    assert first.reads.sink == pytest.approx(1)


def test_the_page_finds_a_planted_induction_head(tmp_path):
    model, tokenizer = induction_model()
    engine = Engine(
        open_store(None, 0, pytest.fail),
        tmp_path,
        lambda event: None,
        baseline_texts=baseline_texts,
    )
    engine.use(adopt(model, tokenizer))
    prompt = Prompt("h a b c d a")
    page = engine.inspect(prompt, SETTINGS, 1, -1)
    assert (page.target, page.target_is) == ("b", "output")
    strongest = max(page.heads, key=lambda head: head.direct)
    assert strongest.head == 1
    assert page.heads[0].norm == pytest.approx(0, abs=1e-6)
    # It attends to the token behind the first "a", and writes that.
    assert page.reads.heads[1].argmax() == 2
    assert page.reads.heads[1, 2] > 0.9
    assert int(np.argmax(page.reads.value_weighted)) == 2
    assert page.after_attention.rank == 1
    assert page.written["attention"].promoted[0][0] == "b"
    # The head that it rests on reads the token before, at each place.
    below = engine.inspect(prompt, SETTINGS, 0, 3)
    assert below.reads.heads[0].argmax() == 2
    assert below.reads.heads[0, 2] > 0.9
