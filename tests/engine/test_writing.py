"""A text that a model writes: its tokens, and the readings at each of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LensFit
from depthtui.data.protocol import Notice, Rows, RunFinished, RunStarted, TokensWritten
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import ModelSpec, RunSettings, Skip, Writing
from depthtui.data.store import open_store
from depthtui.engine import writing as writing_module
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.prompt_run import PromptRun
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.sampling import Sampler
from depthtui.engine.tokens import Vocabulary
from depthtui.engine.writing import write
from depthtui.errors import DepthError
from depthtui.lenses.maps import DepthMap, LensMaps
from depthtui.metrics.registry import METRIC_BY_NAME, empty_result
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


def written(model, maps=None, top_k=10, tokens=6, checkpoint=lambda: None, **choices):
    """A run of random tokens that the model has continued, and the reason of the end."""
    ids = random_ids(tokens)[0].numpy()
    texts = [model.vocabulary.text(int(id_)) for id_ in ids]
    settings = RunSettings(lens_top_k=top_k, metrics=("logit_lens",))
    run = empty_result(model.info, Prompt("?"), settings, PromptTokens(ids, texts, len(ids)))
    choices = Writing(**{"max_tokens": 14, **choices})
    run.end_writing(choices, write(model, run, choices, maps, checkpoint))
    return run


def ids_of(run):
    return list(run.prompt.written.ids)


def readings_of(run, lens="logit_lens"):
    """The columns from which the written tokens were predicted."""
    columns = slice(run.answer_start - 1, -1)
    arrays = {
        name: values[:, columns]
        for name, values in arrays_of(run.measured[lens])
        if values.ndim > 1
    }
    if "settling" in run.measured:
        arrays["divergence"] = run.measured["settling"].divergence[:, columns]
    return arrays


def measured_again(model, run, maps=None):
    """The same tokens, measured in one pass."""
    names = ("logit_lens", "settling") if maps is None else (f"{maps.fit.kind}_lens",)
    settings = replace(run.settings, metrics=names)
    result = empty_result(model.info, run.prompt, settings, run.tokens)
    prompt_run = PromptRun(model, result, Control(), lambda event: None, 0)
    prompt_run.forward(keep_writes=False)
    context = prompt_run.context(lambda: None, lambda kind: maps, lambda: None)
    prompt_run.compute(METRIC_BY_NAME[names[-1]], context, None)
    return result


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        if name == "top_ids":
            np.testing.assert_array_equal(values[:, :, 0], other[name][:, :, 0])
        else:
            np.testing.assert_allclose(values, other[name], rtol=2e-3, atol=2e-4, err_msg=name)


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
def test_the_model_writes_its_own_text_which_a_pass_reads_alike(name):
    model = ready(tiny(name))
    run = written(model)
    ids = torch.from_numpy(run.tokens.ids[:6])[None]
    expected = model.loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=14
    )
    assert run.tokens.ids.tolist() == expected[0].tolist()
    assert model.reads_on, "the cache is not used"
    assert_close(readings_of(run), readings_of(measured_again(model, run)))
    assert np.isnan(run.measured["logit_lens"].kl[:, [*range(5), -1]]).all(), "not read yet"


def planted(scale, width=HIDDEN):
    weight = scale * torch.randn(LAYERS, width, width, generator=torch.manual_seed(3))
    weight += torch.eye(width)
    unknown = np.full(LAYERS, np.nan, np.float32)
    fit = LensFit("jacobian", "planted", 0, 0, digest=f"{scale}")
    return LensMaps(fit, lambda depth: DepthMap(weight[depth]), unknown, unknown, unknown)


@pytest.mark.parametrize("scale", [0.0, 0.2])
def test_a_fitted_lens_reads_each_token_as_a_pass_does(scale):
    model, maps = ready(tiny("llama")), planted(scale)
    plain, fitted = written(model), written(model, maps)
    assert ids_of(fitted) == ids_of(plain)
    readings = readings_of(fitted, "jacobian_lens")
    assert_close(readings, readings_of(measured_again(model, fitted, maps), "jacobian_lens"))
    assert np.array_equal(readings["kl"], readings_of(plain)["kl"]) == (scale == 0)


def test_the_chosen_token_is_drawn_from_the_lens_row_of_the_output():
    run = written(ready(tiny("llama")))
    readings = readings_of(run)
    np.testing.assert_array_equal(ids_of(run), readings["top_ids"][-1, :, 0])
    np.testing.assert_allclose(
        np.exp(readings["next_log_probability"][-1]), readings["top_probabilities"][-1, :, 0], 1e-5
    )
    assert (readings["kl"][-1] == 0).all()
    assert (readings["divergence"][-1] == 0).all()


def test_a_model_without_a_working_cache_reads_all_again(monkeypatch):
    fast = written(ready(tiny("llama")))
    monkeypatch.setattr(decoding, "cache_in", lambda outputs: {})
    model = ready(tiny("llama"))
    slow = written(model)
    assert model.reads_on is False
    assert ids_of(slow) == ids_of(fast)
    assert_close(readings_of(slow), readings_of(fast))


def test_the_vocabulary_may_be_read_in_parts_and_the_lens_be_short(monkeypatch):
    whole = written(ready(tiny("llama")), top_k=3)
    monkeypatch.setattr("depthtui.metrics.logit_lens.token_lens.PART_BYTES", 2 * 4 * VOCAB)
    monkeypatch.setattr("depthtui.metrics.settling.compute._BLOCK", 50)
    parts = written(ready(tiny("llama")), top_k=3)
    assert readings_of(parts)["top_ids"].shape[2] == 3
    assert_close(readings_of(parts), readings_of(whole))


def test_an_end_token_ends_the_text_and_is_no_part_of_its_words():
    model = fresh("llama")
    first = written(ready(model), max_tokens=3)
    model.generation_config.eos_token_id = [ids_of(first)[1]]
    ended = written(ready(model), max_tokens=9)
    assert first.prompt.written.stopped_by == "limit"
    assert ended.prompt.written.stopped_by == "end"
    assert ids_of(ended) == ids_of(first)[:2]
    assert ended.prompt.answer == ended.tokens.texts[-2]


def test_the_context_is_a_limit():
    model = ready(tiny("llama"))
    model.info = replace(model.info, context_length=8)
    full = written(model)
    assert (len(ids_of(full)), full.prompt.written.stopped_by) == (2, "context")
    model.info = replace(model.info, context_length=6)
    with pytest.raises(DepthError, match="reads at most 6"):
        written(model)


def test_without_a_lens_there_is_no_depth_to_tell():
    model = ready(tiny("llama"))
    model.anatomy = replace(model.anatomy, unembedding=None, lens_missing="no head")
    with pytest.raises(DepthError, match="no head"):
        written(model)


def test_a_seed_chooses_the_same_and_another_does_not():
    model = ready(tiny("llama"))
    options = {"temperature": 1.5, "top_p": 0.95}
    one, same, other = (ids_of(written(model, seed=seed, **options)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


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


def test_a_written_text_is_a_run_like_any_other(engine, events):
    writing = Writing(max_tokens=6, temperature=0.8, seed=4)
    run = engine.run(Prompt(f"{TEXT} twelve.", " twelve."), RunSettings(), run_id=7, write=writing)
    kinds = [type(event) for event in events if getattr(event, "run_id", None) == 7]
    assert kinds[:2] == [RunStarted, TokensWritten]
    assert kinds[-1] is RunFinished
    assert run.complete
    assert run.prompt.unanswered == Prompt(TEXT), "the prompt's own answer is not read"
    parts = [event for event in events if isinstance(event, TokensWritten)]
    assert [text for part in parts for text in part.texts] == run.tokens.texts[run.answer_start :]
    fresh = engine.run(run.prompt, run.settings, fresh=True)
    assert fresh.tokens.ids.tolist() == run.tokens.ids.tolist()
    for name, value in run.measured.items():
        for array, values in arrays_of(value):
            np.testing.assert_array_equal(values, getattr(fresh.measured[name], array))


def test_a_text_is_written_once(engine, events):
    writing = Writing(max_tokens=6, temperature=0.8, seed=4)
    first = engine.run(Prompt(TEXT), RunSettings(), write=writing)
    events.clear()
    again = engine.run(Prompt(TEXT), RunSettings(), write=writing)
    assert again.provenance.cached
    assert again.prompt == first.prompt
    (whole,) = (event for event in events if isinstance(event, TokensWritten))
    assert (whole.readings, whole.stopped_by) == ({}, "limit")
    assert whole.ids.tolist() == ids_of(first)
    for other in (replace(writing, seed=5), replace(writing, top_k=2)):
        assert not engine.run(Prompt(TEXT), RunSettings(), write=other).provenance.cached


def test_slower_metrics_of_a_text_are_recalled(engine):
    writing = Writing(max_tokens=3)
    run = engine.run(Prompt(TEXT), RunSettings(), write=writing)
    settings = replace(run.settings, metrics=(*run.settings.metrics, "ablation"))
    assert engine.run(run.prompt, settings).complete
    assert engine.run(Prompt(TEXT), RunSettings(), write=writing, recall=True).has_all("ablation")


def test_a_stopped_pass_over_a_text_from_the_cache_keeps_its_readings(engine, monkeypatch):
    writing, control = Writing(max_tokens=3), Control()
    engine.run(Prompt(TEXT), RunSettings(), write=writing)

    def stop(event):
        if isinstance(event, Rows) and event.metric == "logit_lens":
            control.stop()

    monkeypatch.setattr(engine, "emit", stop)
    run = engine.run(Prompt(TEXT), RunSettings(lens_top_k=7), control, write=writing)
    assert not run.complete
    assert np.isfinite(run.measured["logit_lens"].entropy).any()


def test_a_text_can_be_patched_from_another(engine):
    settings = RunSettings(metrics=("patch",), patch_from=TEXT.replace("seven", "eight"))
    run = engine.run(Prompt(TEXT), settings, write=Writing(max_tokens=2))
    again = engine.run(run.prompt, run.settings)
    assert run.unavailable == again.unavailable
    assert run.measured.keys() == again.measured.keys()


def test_the_ids_are_kept_where_a_tokenizer_would_make_others(engine):
    run = engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=2))
    tokenizer, vocabulary = engine._model.loaded.tokenizer, engine._model.vocabulary
    id_of = {vocabulary.text(id_): id_ for id_ in range(VOCAB)}
    longest = max(tokenizer(TEXT)["input_ids"], key=lambda id_: len(vocabulary.text(id_)))
    word = vocabulary.text(longest).strip()
    apart = tuple(id_of[letter] for letter in word)
    spelt = replace(
        run.prompt, text=TEXT + word, answer=word, written=replace(run.prompt.written, ids=apart)
    )
    assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) < len(apart)
    kept = engine.run(spelt, RunSettings())
    assert kept.tokens.ids[kept.answer_start :].tolist() == list(apart)
    # Ids of another tokenizer make another text: the text is tokenised.
    other = replace(spelt, written=replace(spelt.written, ids=(1, 2)))
    assert engine.run(other, RunSettings()).tokens.ids[kept.answer_start :].tolist() != [1, 2]


def test_a_text_is_written_by_the_whole_model(engine):
    with pytest.raises(DepthError, match="whole model"):
        engine.run(Prompt(TEXT), RunSettings(skipped=(Skip(1),)), write=Writing())


def test_penalties_that_are_not_applied_are_named(engine, events):
    config = engine.freed_model().loaded.model.generation_config
    engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=1))
    assert not [event for event in events if isinstance(event, Notice)]
    config.repetition_penalty, config.temperature = 1.25, 0.5
    engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=2))
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert "asks for repetition_penalty 1.25, which depthtui does not apply" in notice.message


def test_tokens_stay_where_the_writing_is_stopped(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(writing_module, "_SECONDS_BETWEEN_PARTS", 0)
    control, parts = Control(), []

    def emit(event):
        parts.append(event)
        if sum(isinstance(event, TokensWritten) for event in parts) == 3:
            control.stop()

    engine = Engine(open_store(tmp_path / "c", 1 << 30, pytest.fail), tmp_path, emit)
    engine.load(ModelSpec(str(folder), device="cpu"))
    run = engine.run(Prompt(TEXT), RunSettings(), control, write=Writing(max_tokens=50))
    assert (len(run.prompt.written.ids), run.prompt.written.stopped_by) == (3, "user")
    assert not run.complete
    assert np.isfinite(readings_of(run)["kl"]).all(), "the readings are lost"
    rest = engine.run(run.prompt, run.settings)
    assert rest.complete
    assert rest.tokens.ids.tolist() == run.tokens.ids.tolist()
    again = engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=50))
    assert len(again.prompt.written.ids) > 3, "a stopped text was kept"


def test_tokens_stay_where_the_memory_ends(engine, events, monkeypatch):
    read = writing_module.read_token
    count = iter(range(9))

    def short_of_memory(*args):
        if next(count) == 2:
            raise torch.OutOfMemoryError
        return read(*args)

    monkeypatch.setattr(writing_module, "read_token", short_of_memory)
    run = engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=5))
    assert (len(run.prompt.written.ids), run.prompt.written.stopped_by) == (2, "memory")
    assert run.complete
    assert any(isinstance(event, Notice) and "memory ran out" in event.message for event in events)


def test_readings_stay_where_the_text_is_too_long_for_one_pass(engine, events, monkeypatch):
    def does_not_fit(*_, **__):
        raise DepthError("Too long.", "Shorten it.")

    monkeypatch.setattr(engine, "_fill", does_not_fit)
    run = engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=3))
    assert len(run.prompt.written.ids) == 3
    assert not run.complete
    assert np.isfinite(readings_of(run)["kl"]).all()
    assert isinstance(events[-1], RunFinished)


def test_a_slow_model_is_said_to_be_slow(engine, events):
    engine._model.reads_on = False
    engine.run(Prompt(TEXT), RunSettings(), write=Writing(max_tokens=2))
    assert any(isinstance(event, Notice) and "slow" in event.message for event in events)
