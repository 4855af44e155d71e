"""Right answers with layers left out: whole forwards, planted truth, written answers."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import Repeated, RunSettings, Skip, SummarySettings
from depthtui.data.selection import numbers_text
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine import measurement, metric_context
from depthtui.engine.engine import Engine
from depthtui.engine.tokens import tokenise_choices
from depthtui.errors import DepthError
from depthtui.metrics.accuracy import METRIC, Accuracy, compute
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.metrics.ranking import usefulness
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.prompts.answer_forms import AnswerForm, folded
from depthtui.tracing.left_out import Substitute
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.answers import answered_runs
from tests.engine.test_controls import engine_with, loaded
from tests.naive import blocks, naive_without
from tests.planted import working_only_in
from tests.tiny_models import CORPUS, fresh, on_few_models, random_ids, tiny, with_tokenizer

CONTEXT = 6
WORDS = sorted({word for text in CORPUS for word in text.split()})
SETTINGS = RunSettings(metrics=(METRIC.name,), order_search="ranked")


def options_of(*lengths, seed=1):
    """Texts of one context and continuations of these lengths; the first two begin alike."""
    ids = random_ids(CONTEXT + sum(lengths), seed)[0].numpy()
    context, rest = ids[:CONTEXT], ids[CONTEXT:]
    tails = np.split(rest, np.cumsum(lengths)[:-1])
    if len(tails) > 1:
        tails[1][0] = tails[0][0]
    return [np.concatenate([context, tail]) for tail in tails]


def continuations_of(model, texts, **options):
    anatomy = probe_architecture(model)

    def replay_of(ids):
        return Replay(model, anatomy, torch.from_numpy(ids))

    return Continuations(texts, [CONTEXT] * len(texts), replay_of, anatomy, **options)


def naive_scores(model, texts, left_out):
    """The log-likelihood of each continuation, by a whole forward of its text."""
    scores = []
    for text in texts:
        log = naive_without(model, torch.from_numpy(text)[None], left_out)
        places = np.arange(CONTEXT - 1, len(text) - 1)
        scores.append(log[places, text[places + 1]].sum())
    return np.array(scores)


@on_few_models()
def test_against_whole_forwards(name):
    model = tiny(name)
    texts, count = options_of(2, 3, 1, 3), len(blocks(model))
    rows = [(), *((layer,) for layer in range(count)), (0, count - 1), tuple(range(count))]
    with torch.no_grad():
        continuations = continuations_of(model, texts)
        actual = continuations.without(rows).numpy()
        clean, by_depth = continuations.clean().numpy(), continuations.by_depth().numpy()
    for row, scores in zip(rows, actual, strict=True):
        np.testing.assert_allclose(scores, naive_scores(model, texts, row), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(clean, naive_scores(model, texts, ()), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_depth[-1], clean, atol=1e-5)
    assert by_depth.shape == (count + 1, 4)
    assert np.ptp(actual[1:], axis=0).min() > 0.01
    # The first two continuations share their first token too, but the third ends before it.
    assert continuations.shared in (0, CONTEXT)


def test_whole_scores_in_bfloat16_are_those_of_each_text_by_itself():
    """Two texts round the tokens that they share differently."""
    model = fresh("llama").to(torch.bfloat16)
    texts = options_of(3, 40, 17, seed=4)
    with torch.no_grad():
        scores = continuations_of(model, texts).clean().numpy()
        for text, score in zip(texts, scores, strict=True):
            log = model(torch.from_numpy(text[None, :-1])).logits[0].float().log_softmax(-1)
            places = np.arange(CONTEXT - 1, len(text) - 1)
            assert score == pytest.approx(log[places, text[places + 1]].sum().item(), abs=1e-4)


def test_continuations_that_begin_alike_run_once():
    model = tiny("llama")
    texts = options_of(2, 3)
    assert continuations_of(model, texts).shared == CONTEXT + 1
    # Those of one token need a single run of the context.
    single = continuations_of(model, options_of(1, 1, 1, 1, seed=3))
    assert single.row_tokens == CONTEXT
    np.testing.assert_allclose(
        single.without([(1,)])[0],
        naive_scores(model, options_of(1, 1, 1, 1, seed=3), (1,)),
        atol=1e-4,
    )


def test_outputs_are_read_in_parts(monkeypatch):
    model = tiny("llama")
    texts = options_of(2, 3, 1, 3)
    rows = [(), (0,), (1, 2)]
    whole = continuations_of(model, texts).without(rows)
    module = "depthtui.metrics.output_change.outputs_at_once"
    for size in (1, 3):
        monkeypatch.setattr(module, lambda unembedding, count, size=size: size)
        torch.testing.assert_close(continuations_of(model, texts).without(rows), whole)


def test_token_0_keeps_a_layer_where_it_is_to(monkeypatch):
    model, texts = tiny("llama"), options_of(2, 3)
    keeping, rows = Substitute(keeps_first=True), [(0,), (1, 2)]
    shared = continuations_of(model, texts, substitute=keeping)
    plain = continuations_of(model, texts).without(rows)
    monkeypatch.setattr(Replay, "shares", lambda *others: False)
    whole = continuations_of(model, texts, substitute=keeping)
    assert shared.shared
    assert not whole.shared
    torch.testing.assert_close(shared.without(rows), whole.without(rows), atol=1e-4, rtol=1e-4)
    assert (shared.without(rows) - plain).abs().max() > 1e-3


def questions_of(count, seed=0):
    """Questions of words that the tiny tokenizer knows, each with four options."""
    rng = random.Random(seed)
    prompts = []
    while len(prompts) < count:
        question = " ".join(rng.sample(WORDS, 5))
        choices = tuple(f" {word}" for word in rng.sample(WORDS, 4))
        if any(a != b and b.startswith(a) for a in choices for b in choices):
            continue
        prompts.append(Prompt(question + choices[0], choices[0], "piqa", choices=choices))
    return prompts


def answered_as(runs, layer=None):
    """The runs, where the likeliest choice without a layer (None: of all) is the right one."""
    for run in runs:
        result = run.get(Accuracy)
        scores = result.clean if layer is None else result.without[layer]
        run.put(METRIC.name, replace(result, right=int(scores.argmax()), is_written=False))
    return runs


def pooled_of(runs, **settings):
    return reading_of(runs, SummarySettings(**settings)).get(METRIC)


def test_a_layer_that_alone_has_the_answers(tmp_path):
    """All layers but one may go; without that one answers are lost."""
    model, tokenizer = with_tokenizer("llama")
    planted = working_only_in(model, {2: 1.0})
    engine = engine_with(planted, tokenizer, tmp_path)
    runs = answered_as([engine.run(prompt, SETTINGS) for prompt in questions_of(60)])
    pooled = pooled_of(runs)
    chosen = pooled.chosen
    assert chosen.n_right == chosen.questions == 60
    assert pooled.reduced.order[-1] == 2
    assert chosen.layers == 1
    lost = [pair.lost for pair in chosen.pairs]
    assert lost[2] > 10
    assert [layer for layer, count in enumerate(lost) if count] == [2]
    # With a sixth of the questions, nothing can be said.
    few = pooled_of(runs[:10])
    assert few.chosen.layers is None
    (evidence,) = METRIC.evidence(few, reading_of(runs[:10], SummarySettings()))
    assert evidence.count is None
    assert "10 questions are too few to say: about 52 would tell" in evidence.why_none


def test_a_layer_of_noise_is_named(tmp_path):
    """The right answers are those of the model without it."""
    model, tokenizer = with_tokenizer("llama")
    noisy = working_only_in(model, {0: 1.0, 1: 1.0, 2: 40.0, 3: 1.0})
    engine = engine_with(noisy, tokenizer, tmp_path)
    runs = answered_as([engine.run(prompt, SETTINGS) for prompt in questions_of(60)], layer=2)
    chosen = pooled_of(runs).chosen
    assert chosen.raising.layers == (2,)
    assert chosen.raising.gain > 0.2
    assert chosen.pairs[2].lost == 0
    titles = {
        finding.title: finding
        for finding in METRIC.findings(pooled_of(runs), reading_of(runs, SummarySettings()))
    }
    lost = [layer for layer in (0, 1, 3) if chosen.pairs[layer].change < 0]
    assert titles["Right answers, chosen, without one layer"].value == (
        f"fewer without layers {numbers_text(lost)}, more without layer 2"
    )


def test_answers_are_known_in_parts_and_go_on_from_them(tmp_path, monkeypatch):
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    (prompt,) = questions_of(1)
    together = engine.run(prompt, SETTINGS).get(Accuracy)
    assert together.is_whole
    monkeypatch.setattr(metric_context.MetricContext, "_room", 1)
    alone = engine.run(prompt, SETTINGS).get(Accuracy)
    for name, values in vars(together).items():
        if isinstance(values, np.ndarray):
            np.testing.assert_allclose(getattr(alone, name), values, atol=1e-5, err_msg=name)


def test_a_what_if_chooses_without_its_own_layers(tmp_path, monkeypatch):
    """Whole passes agree with those that are resumed; no order of layers is found for them."""
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    (prompt,) = questions_of(1)
    clean = engine.run(prompt, SETTINGS).get(Accuracy)

    def fail(*_args):
        raise AssertionError("an order is looked for")

    monkeypatch.setattr(measurement.Measurement, "_has_order", fail)
    for layers, expected in (
        ((1,), clean.without[1]),
        (clean.order[:2], clean.along[2]),
        (clean.order, clean.along[-1]),
    ):
        skipped = tuple(map(Skip, layers))
        changed = engine.run(prompt, replace(SETTINGS, skipped=skipped)).get(Accuracy)
        assert changed.is_whole
        np.testing.assert_allclose(changed.clean, expected, atol=1e-4)
        np.testing.assert_array_equal(changed.by_depth[-1], changed.clean)
        assert np.isnan(changed.without).all()
    twice = engine.run(prompt, replace(SETTINGS, repeated=(Repeated(1, 2),))).get(Accuracy)
    assert np.abs(twice.clean - clean.clean).max() > 1e-3
    typed = engine.run(Prompt("the cat sat", " sat"), replace(SETTINGS, skipped=(Skip(1),)))
    assert "the prompt has none" in typed.unavailable[METRIC.name]


def test_written_answers_end_at_a_stop_and_are_compared_by_their_task(tmp_path, monkeypatch):
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    prompt = Prompt("the cat sat on the mat", " mat", "facts")
    result = engine.run(prompt, SETTINGS).get(Accuracy)
    assert result.is_whole
    assert len(result.clean) == 0
    assert set(result.written_right) == {0.0}
    # A stop in the text that the model writes: the text before it is its answer.
    text = result.written.strip()
    form = AnswerForm(folded, (text[6],), 24)
    monkeypatch.setattr(compute, "form_of", lambda prompt: form)
    answer = " " + form.cut(text)
    assert 1 < len(answer) < 8
    right = engine.run(Prompt(prompt.question + answer, answer, "facts"), SETTINGS)
    found = right.get(Accuracy)
    assert found.written.strip() == answer.strip()
    assert found.written_right[0] == 1
    assert found.written_right[-1] == 0
    pooled = pooled_of([right])
    assert pooled.chosen is None
    assert pooled.written.n_right == 1


def naive_text(model, tokenizer, ids, count, left_out):
    """The likeliest `count` tokens after `ids` as a text: a whole forward for each of them."""
    for _ in range(count):
        log = naive_without(model, ids, left_out)
        ids = torch.cat([ids, torch.tensor([[int(log[-1].argmax())]])], dim=1)
    return tokenizer.decode(ids[0, -count:].tolist())


def question_of(model, tokenizer):
    """A question, an answer of two tokens that the model writes, and the question's ids."""
    for text in CORPUS:
        for words in range(2, 8):
            question = " ".join(text.split()[:words])
            ids = torch.tensor([tokenizer(question)["input_ids"]])
            answer = naive_text(model, tokenizer, ids, 2, ())
            again = tokenizer(question + answer)["input_ids"]
            if len(again) == ids.shape[1] + 2 and again[: ids.shape[1]] == ids[0].tolist():
                changed = naive_text(model, tokenizer, ids, 2, (1,))
                if folded(changed) != folded(answer):
                    return question, answer, ids
    raise AssertionError("no text has an answer that a layer changes")


@pytest.mark.parametrize("name", ["llama", "falcon", "mixtral"])
def test_written_answers_are_those_of_a_whole_forward_a_token(name, tmp_path):
    """Typed, without a task and without options: as texts, but for case."""
    model, tokenizer = with_tokenizer(name)
    question, answer, ids = question_of(model, tokenizer)
    engine = engine_with(model, tokenizer, tmp_path)
    run = engine.run(Prompt(question + answer, answer), SETTINGS)
    actual = run.get(Accuracy)

    def is_right(left_out):
        return folded(naive_text(model, tokenizer, ids, 2, left_out)) == folded(answer)

    count = len(blocks(model))
    assert actual.order
    assert actual.written_without.tolist() == [is_right((layer,)) for layer in range(count)]
    assert actual.written_right.tolist() == [
        is_right(actual.order[:gone]) for gone in range(count + 1)
    ]
    assert (actual.written_right[0], actual.written_without[1]) == (1, 0)
    # The layers whose absence loses the answer would be missed, and are those of the heatmap.
    lost = 1 - actual.written_without
    np.testing.assert_array_equal(usefulness(actual), lost)
    drawn = MEASURE_BY_NAME[METRIC.name].values(run)
    assert np.isnan(drawn[:, : run.answer_start]).all()
    np.testing.assert_array_equal(1 - drawn[:, run.answer_start :].T, [lost, lost])


def test_a_marked_answer_is_written_too(tmp_path):
    model, tokenizer = with_tokenizer("llama")
    question, answer, ids = question_of(model, tokenizer)
    marked = replace(SETTINGS, answer_start=ids.shape[1])
    result = engine_with(model, tokenizer, tmp_path).run(Prompt(question + answer), marked)
    assert result.answer.strip() == answer.strip()
    assert result.get(Accuracy).written_right[0] == 1


def test_a_layer_that_alone_has_what_is_written(tmp_path):
    model, tokenizer = with_tokenizer("llama")
    planted = working_only_in(model, {1: 1.0})
    question, answer, _ = question_of(planted, tokenizer)
    engine = engine_with(planted, tokenizer, tmp_path)
    run = engine.run(Prompt(question + answer, answer), SETTINGS)
    actual, written = run.get(Accuracy), pooled_of([run]).written
    assert actual.written_without.tolist() == [1, 0, *[1] * (len(blocks(model)) - 2)]
    assert [pair.lost for pair in written.pairs] == [0, 1, *[0] * (len(blocks(model)) - 2)]
    assert actual.order[-1] == 1
    assert actual.written_right.tolist() == [1] * len(blocks(model)) + [0]


def test_chosen_layers_alone_are_written_without(tmp_path, monkeypatch):
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    prompt = Prompt("the cat sat on the mat", " mat", "facts")
    told = []

    def report(context, done, total, value, *_others):
        if isinstance(value, Accuracy):
            told.append((done, total))

    monkeypatch.setattr(metric_context.MetricContext, "report", report)
    monkeypatch.setattr(metric_context.MetricContext, "texts_at_once", lambda self, texts: 2)
    actual = engine.run(prompt, replace(SETTINGS, layers="1")).get(Accuracy)
    assert np.isfinite(actual.written_without).tolist() == [False, True, False, False]
    assert actual.is_whole
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_a_prompt_without_choices_and_answer_has_none(tmp_path):
    engine = engine_with(*with_tokenizer("llama"), tmp_path)
    result = engine.run(Prompt("the cat sat"), SETTINGS)
    reason = "the prompt has no options to choose from (--choices), and no known answer"
    assert result.unavailable[METRIC.name] == reason
    # What is still being written is no answer.
    result.write_on(result.tokens.ids[:1], result.tokens.texts[:1], {})
    assert METRIC.why_unavailable(result) == reason


class Merging:
    """A tokenizer of letters that has one token for `ab`."""

    is_fast = False

    def __call__(self, text, **options):
        letters = text.replace("ab", "#")
        return {"input_ids": [ord(letter) for letter in letters]}


def test_tokens_that_reach_over_the_border_are_context():
    """As lm-evaluation-harness counts them: those behind as many as the context has."""
    prompt = Prompt("xa c", " c", choices=(" c", "bcc"))
    (spaced, spaced_start), (merged, merged_start) = tokenise_choices(Merging(), prompt, False)
    assert (spaced_start, merged_start) == (2, 2)
    assert "".join(map(chr, spaced)) == "xa c"
    assert "".join(map(chr, merged)) == "x#cc"
    # White space at the end of a context belongs to the choice.
    ((ids, start),) = tokenise_choices(Merging(), Prompt("x y", "y", choices=("y",)), False)
    assert "".join(map(chr, ids[start:])) == " y"


class Chatting(Merging):
    """The same with a chat template, and a first token that it puts before a text."""

    bos_token = "<"
    chat_template = "yes"

    def __call__(self, text, add_special_tokens=True, **options):
        return super().__call__("<" * add_special_tokens + text)

    def apply_chat_template(self, messages, **options):
        return f"[{messages[0]['content']}] "


def scored(prompt, chat_template):
    texts = tokenise_choices(Chatting(), prompt, chat_template)
    return ["".join(map(chr, ids[start:])) for ids, start in texts]


def test_the_whole_choice_is_scored_in_a_chat_and_out_of_it():
    prompt = Prompt("q it x", " it x", choices=(" it x", " he x"))
    assert scored(prompt, False) == [" it x", " he x"]
    # The template's own space stays with it.
    assert scored(prompt, True) == ["it x", "he x"]
    common = replace(prompt, common_ending=" x")
    assert scored(common, False) == scored(common, True) == [" x", " x"]


def test_a_context_with_the_first_token_gets_no_second_one():
    (ids, start), _ = tokenise_choices(
        Chatting(), Prompt("<q 1", " 1", choices=(" 1", " 2")), False
    )
    assert ("".join(map(chr, ids)), start) == ("<q 1", 2)


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        (Prompt("xab", "b", choices=("b", "c")), "no token of its own of the choice 'b'"),
        (Prompt(" b", "b", choices=("b", "c")), "needs a text before it"),
    ],
)
def test_a_choice_without_a_token_of_its_own_is_refused(prompt, problem):
    with pytest.raises(DepthError, match=problem):
        tokenise_choices(Merging(), prompt, False)


def test_other_choices_are_another_result(tmp_path):
    model, tokenizer = with_tokenizer("llama")
    engine = Engine(open_store(tmp_path / "cache", 1 << 24, pytest.fail), tmp_path, lambda _: None)
    engine.use(loaded(model, tokenizer, fingerprint="f" * 8))
    (prompt,) = questions_of(1)
    first, *others = prompt.choices
    assert len(engine.run(prompt, SETTINGS).get(Accuracy).clean) == 4
    fewer = replace(prompt, choices=(first, others[0]))
    assert len(engine.run(fewer, SETTINGS).get(Accuracy).clean) == 2
    assert len(engine.run(prompt, SETTINGS).get(Accuracy).clean) == 4


def test_chosen_layers_do_not_stand_in_the_place_of_chosen_answers():
    runs = answered_runs(2, 0, 0, 1)
    for run in runs:
        run.get(Accuracy).chosen = (0, 2)
    reading = reading_of(runs, SummarySettings())
    summary = METRIC.summary(reading.get(METRIC), reading)
    assert (summary["chosen"]["right"], summary["chosen"]["questions"]) == (2, 3)
    assert summary["chosen"]["without_each"]["chosen"] == [0, 2]
