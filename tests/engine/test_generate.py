"""Generated text: the tokens, and what is measured at each of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from depthtui.data import codec
from depthtui.data.arrays import arrays_of
from depthtui.data.generation import Continuation, Generation
from depthtui.data.lens import LensFit
from depthtui.data.protocol import (
    GeneratedTokens,
    GenerationFinished,
    GenerationStarted,
    Notice,
)
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import GenerationSettings, ModelSpec
from depthtui.data.store import open_store
from depthtui.engine import generate as generate_module
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.generate import generate, replayed
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.sampling import Sampler
from depthtui.engine.tokens import Vocabulary
from depthtui.errors import DepthError
from depthtui.lenses.maps import DepthMap, LensMaps
from depthtui.tracing import decoding
from depthtui.tracing.decoding import Decoding, reads_on
from depthtui.tracing.probe import probe_architecture
from tests.builders.models import tiny_model
from tests.tiny_models import HIDDEN, LAYERS, VOCAB, fresh, random_ids, tiny, tiny_tokenizer

ARCHITECTURES = (
    "llama_tied",
    "mistral",
    "cohere",
    "gpt_oss",
    "gpt2",
    "gpt_neo",
    "gpt_neox",
    "gemma2",
    "qwen3_5",
    "falcon",
    "bloom",
    "opt_post_norm",
    "mpt",
    "granite",
    "deepseek_v3",
    "mamba",
)
TEXT = "The ferry did not run, and seven plus five is"


def ready(model):
    """A tiny model as the engine holds it."""
    tokenizer = tiny_tokenizer()
    anatomy = probe_architecture(model)
    info = replace(tiny_model(LAYERS), vocab_size=VOCAB, lens_missing=anatomy.lens_missing)
    loaded = SimpleNamespace(model=model, tokenizer=tokenizer, base=None)
    return ReadyModel(loaded, anatomy, info, Vocabulary(tokenizer), baselines=None)


def empty_generation(model, settings, tokens=6):
    ids = random_ids(tokens)[0].numpy()
    texts = [model.vocabulary.text(int(id_)) for id_ in ids]
    return Generation.empty(model.info, Prompt("?"), settings, PromptTokens(ids, texts, len(ids)))


def generated(model, **settings):
    generation = empty_generation(model, GenerationSettings(**{"max_tokens": 14, **settings}))
    generate(model, generation)
    return generation


def assert_close(one: Continuation, other: Continuation):
    expected = {**dict(arrays_of(other.lens)), "divergence": other.divergence}
    for name, values in (*arrays_of(one.lens), ("divergence", one.divergence)):
        if name != "top_ids":
            np.testing.assert_allclose(values, expected[name], rtol=2e-3, atol=2e-4, err_msg=name)
    first = one.lens.top_ids[:, :, 0], other.lens.top_ids[:, :, 0]
    np.testing.assert_array_equal(*first)
    for name, values in arrays_of(one.depths):
        np.testing.assert_array_equal(values, getattr(other.depths, name), err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "granite_hybrid", "falcon_h1", "mixtral", "gemma4"])
def test_a_cache_that_works_is_found_to_in_every_dtype(name, dtype):
    model = fresh(name).to(dtype)
    assert reads_on(model, probe_architecture(model))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "granite"])
def test_a_cache_that_mistakes_one_token_is_not_used_in_any_dtype(name, dtype, monkeypatch):
    model = fresh(name).to(dtype)
    anatomy, read = probe_architecture(model), Decoding.read

    def mistaken(self, ids):
        if 1 < len(ids) < 8:
            ids = np.concatenate([ids[:3], [(ids[3] + 5) % VOCAB], ids[4:]])
        return read(self, ids)

    monkeypatch.setattr(Decoding, "read", mistaken)
    assert not reads_on(model, anatomy)


@pytest.mark.parametrize("name", ["bamba", "minimax", "openai_gpt", "recurrent_gemma"])
def test_a_cache_that_does_not_work_is_found_out_in_half_precision_too(name):
    model = fresh(name).to(torch.bfloat16)
    assert not reads_on(model, probe_architecture(model))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_generated_is_what_the_model_generates_and_a_replay_measures(name):
    model = ready(tiny(name))
    generation = generated(model)
    ids = torch.from_numpy(generation.tokens.ids)[None]
    expected = model.loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=14
    )
    assert generation.continuation.ids.tolist() == expected[0, len(generation.tokens) :].tolist()
    assert generation.complete
    assert generation.continuation.lens.kl.shape == (LAYERS + 1, len(generation.continuation))
    assert model.reads_on, "the cache is not used"
    assert_close(generation.continuation, replayed(model, generation))


def planted(scale, width=HIDDEN):
    weight = scale * torch.randn(LAYERS, width, width, generator=torch.manual_seed(3))
    weight += torch.eye(width)
    unknown = np.full(LAYERS, np.nan, np.float32)
    fit = LensFit("jacobian", "planted", 0, 0, digest=f"{scale}")
    return LensMaps(fit, lambda depth: DepthMap(weight[depth]), unknown, unknown, unknown)


@pytest.mark.parametrize("scale", [0.0, 0.2])
def test_a_fitted_lens_reads_each_token_as_a_replay_does(scale):
    model, maps = ready(tiny("llama")), planted(scale)
    plain = generated(model).continuation
    generation = empty_generation(model, GenerationSettings(max_tokens=14, lens="jacobian"))
    generate(model, generation, maps=maps)
    assert generation.continuation.ids.tolist() == plain.ids.tolist()
    assert_close(generation.continuation, replayed(model, generation, maps))
    assert np.array_equal(generation.continuation.lens.kl, plain.lens.kl) == (scale == 0)


def test_the_chosen_token_is_drawn_from_the_lens_row_of_the_output():
    written = generated(ready(tiny("llama"))).continuation
    np.testing.assert_array_equal(written.ids, written.lens.top_ids[-1, :, 0])
    np.testing.assert_allclose(written.probability, written.lens.top_probabilities[-1, :, 0], 1e-5)
    assert (written.lens.kl[-1] == 0).all()
    assert (written.divergence[-1] == 0).all()


def test_a_model_without_a_working_cache_reads_all_again(monkeypatch):
    model = ready(tiny("llama"))
    fast = generated(model)
    monkeypatch.setattr(decoding, "cache_in", lambda outputs: {})
    model = ready(tiny("llama"))
    slow = generated(model)
    assert model.reads_on is False
    assert slow.continuation.ids.tolist() == fast.continuation.ids.tolist()
    assert_close(slow.continuation, fast.continuation)


def test_the_vocabulary_may_be_read_in_parts_and_the_lens_be_short(monkeypatch):
    whole = generated(ready(tiny("llama")), lens_top_k=3).continuation
    monkeypatch.setattr("depthtui.metrics.logit_lens.token_lens.PART_BYTES", 2 * 4 * VOCAB)
    monkeypatch.setattr("depthtui.metrics.settling.compute._BLOCK", 50)
    parts = generated(ready(tiny("llama")), lens_top_k=3).continuation
    assert parts.lens.top_ids.shape[2] == 3
    assert_close(parts, whole)


def test_tokens_come_in_parts_that_join_to_the_whole(monkeypatch):
    monkeypatch.setattr(generate_module, "_SECONDS_BETWEEN_PARTS", 0)
    model, parts = ready(tiny("llama")), []
    generation = empty_generation(model, GenerationSettings(max_tokens=5))
    generate(model, generation, on_part=parts.append)
    assert [len(part) for part in parts] == [1] * 5
    assert_close(Continuation.joined(parts), generation.continuation)
    assert codec.decode(codec.encode(generation)).continuation.text == generation.continuation.text


def test_an_end_token_ends_the_text_and_belongs_to_it():
    model = fresh("llama")
    first = generated(ready(model), max_tokens=3)
    model.generation_config.eos_token_id = [int(first.continuation.ids[1])]
    ended = generated(ready(model), max_tokens=9)
    assert ended.stopped_by == "end"
    assert ended.continuation.ids.tolist() == first.continuation.ids[:2].tolist()
    assert first.stopped_by == "limit"


def test_the_context_is_a_limit():
    model = ready(tiny("llama"))
    model.info = replace(model.info, context_length=8)
    full = generated(model)
    assert (len(full.continuation), full.stopped_by) == (2, "context")
    model.info = replace(model.info, context_length=6)
    with pytest.raises(DepthError, match="reads at most 6"):
        generated(model)


def test_without_a_lens_there_is_no_depth_to_tell():
    model = ready(tiny("llama"))
    model.anatomy = replace(model.anatomy, unembedding=None, lens_missing="no head")
    with pytest.raises(DepthError, match="no head"):
        generated(model)


def test_a_seed_chooses_the_same_and_another_does_not():
    model = ready(tiny("llama"))
    options = {"temperature": 1.5, "top_p": 0.95}
    one, same, other = (generated(model, seed=seed, **options) for seed in (1, 1, 2))
    assert one.continuation.ids.tolist() == same.continuation.ids.tolist()
    assert one.continuation.ids.tolist() != other.continuation.ids.tolist()


def test_tokens_are_drawn_as_often_as_they_are_probable():
    """Within four standard errors of the closed form, at a temperature and cut by top_p."""
    logits = torch.tensor([0.3, 2.0, 1.0, -1.0])
    sampler = Sampler(temperature=0.7, top_k=0, top_p=0.9, seed=5)
    drawn = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=4) / 4000
    expected = (logits / 0.7).softmax(-1).numpy()
    assert expected[1] < 0.9 < expected[1] + expected[2]
    expected[[0, 3]] = 0
    expected /= expected.sum()
    assert (np.abs(drawn - expected) <= 4 * np.sqrt(expected * (1 - expected) / 4000)).all()
    assert Sampler(0.0, 0, 1.0, 0).choose(logits) == 1
    assert Sampler(1.0, 0, 0.0, 0).choose(logits) == 1
    assert Sampler(1e-320, 0, 1.0, 0).choose(logits) == 1
    assert Sampler(1.0, 0, 1.0, 10**30).choose(logits) in range(4)


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (5, 0.7), (1, 1.0), (0, 0.7), (99, 1.0)])
def test_tokens_are_drawn_as_the_warpers_of_transformers_leave_them(top_k, top_p):
    """Tokens and shares of a tiny model's output after temperature, top-k and top-p."""
    with torch.no_grad():
        output = tiny("llama")(random_ids(6)).logits[:, -1]
    output[0, :6] = output.max() + torch.tensor([3.0, 2.5, 2.5, 2.5, 2.0, 1.5])
    warpers = [TemperatureLogitsWarper(0.8)]
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    scores = output
    for warper in warpers:
        scores = warper(None, scores)
    expected = scores[0].softmax(-1).numpy()
    sampler = Sampler(0.8, top_k, top_p, seed=1)
    drawn = [sampler.choose(output[0]) for _ in range(2000)]
    shares = np.bincount(drawn, minlength=len(expected)) / len(drawn)
    assert not shares[expected == 0].any()
    error = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(shares - expected) <= 4.5 * error + 3 / len(drawn)).all()


def test_the_engine_tells_of_tokens_and_keeps_them(engine, events):
    settings = GenerationSettings(max_tokens=6, temperature=0.8, seed=4)
    first = engine.generate(Prompt(TEXT), settings, run_id=7)
    kinds = [type(event) for event in events if getattr(event, "run_id", None) == 7]
    assert kinds[0] is GenerationStarted
    assert kinds[-1] is GenerationFinished
    continuation = Continuation.joined([e.part for e in events if isinstance(e, GeneratedTokens)])
    assert continuation.texts == first.continuation.texts
    again = engine.generate(Prompt(TEXT), replace(settings, confidence=0.01))
    assert again.provenance.cached
    assert again.continuation.texts == first.continuation.texts
    assert (again.continuation.depths.early_exit == 1).all(), "an old threshold"
    for other in (replace(settings, seed=5), replace(settings, top_k=2)):
        assert not engine.generate(Prompt(TEXT), other).provenance.cached


def test_penalties_that_are_not_applied_are_named(engine, events):
    config = engine.freed_model().loaded.model.generation_config
    settings = GenerationSettings(max_tokens=1)
    engine.generate(Prompt(TEXT), settings)
    assert not [event for event in events if isinstance(event, Notice)]
    config.repetition_penalty, config.temperature = 1.25, 0.5
    engine.generate(Prompt(TEXT), replace(settings, max_tokens=2))
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert "asks for repetition_penalty 1.25. Texts are written without" in notice.message


def test_the_answer_of_a_prompt_is_not_read(engine):
    settings = GenerationSettings(max_tokens=1)
    generation = engine.generate(Prompt(f"{TEXT} twelve.", " twelve."), settings)
    assert generation.prompt.text == TEXT
    assert "".join(generation.tokens.texts) == TEXT


def test_what_was_written_stays_where_it_is_stopped(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(generate_module, "_SECONDS_BETWEEN_PARTS", 0)
    control, parts = Control(), []

    def emit(event):
        parts.append(event)
        if sum(isinstance(event, GeneratedTokens) for event in parts) == 3:
            control.stop()

    engine = Engine(open_store(tmp_path / "c", 1 << 30, pytest.fail), tmp_path, emit)
    engine.load(ModelSpec(str(folder), device="cpu"))
    generation = engine.generate(Prompt(TEXT), GenerationSettings(max_tokens=50), control)
    assert (len(generation.continuation), generation.stopped_by) == (3, "user")
    assert not generation.complete
    again = engine.generate(Prompt(TEXT), GenerationSettings(max_tokens=4))
    assert not again.provenance.cached


def test_what_was_written_stays_where_the_memory_ends(engine, events, monkeypatch):
    read = generate_module.read_token
    count = iter(range(9))

    def short_of_memory(*args):
        if next(count) == 2:
            raise torch.OutOfMemoryError
        return read(*args)

    monkeypatch.setattr(generate_module, "read_token", short_of_memory)
    generation = engine.generate(Prompt(TEXT), GenerationSettings(max_tokens=5))
    assert (len(generation.continuation), generation.stopped_by) == (2, "memory")
    assert any(isinstance(event, Notice) and "memory ran out" in event.message for event in events)


def test_a_slow_model_is_said_to_be_slow(engine, events):
    engine._model.reads_on = False
    engine.generate(Prompt(TEXT), GenerationSettings(max_tokens=2))
    assert any(isinstance(event, Notice) and "slow" in event.message for event in events)
