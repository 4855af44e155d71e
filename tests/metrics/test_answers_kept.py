"""Answers that a model writes without a layer: against a text written one forward a token."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.data.verdict import Evidence
from depthtui.depth.reading import Reading, reading_of
from depthtui.engine import metric_context
from depthtui.engine.engine import Engine
from depthtui.metrics.answers_kept import METRIC, AnswersKept
from depthtui.metrics.answers_kept.compute import compute, same_answer
from depthtui.metrics.ranking import usefulness
from depthtui.metrics.registry import RANKINGS, empty_result
from depthtui.tracing.decoding import reads_on, write_greedily
from depthtui.tracing.probe import probe_architecture
from tests.builders.models import tiny_model
from tests.builders.readings import evidence_by
from tests.builders.results import run
from tests.naive import blocks, naive_answer
from tests.tiny_models import LAYERS, fresh, on_few_models, random_ids, tiny, tiny_folder

EVERY = [None, *range(LAYERS)]
EACH = [(), *((layer,) for layer in range(LAYERS))]


STUBBORN = {"biogpt", "gemma", "gemma2", "gemma3", "xglm"}
"""Those that say one token again and again, whatever layer is missing."""


@on_few_models()
def test_what_is_written_without_a_layer_is_what_the_model_writes_by_itself(name: str) -> None:
    model, ids = tiny(name), random_ids(9)
    anatomy = probe_architecture(model)
    # A longer text has other rotary tables there, to its first token.
    cached = reads_on(model, anatomy) and name != "phi3_longrope"
    actual = write_greedily(model, anatomy, ids[0], 5, EACH, cached=cached)
    expected = [naive_answer(model, ids, 5, layer) for layer in EVERY]
    np.testing.assert_array_equal(actual, expected)
    assert (len({tuple(answer) for answer in expected}) > 2) == (name not in STUBBORN)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", ["llama", "bloom", "falcon", "mixtral", "granite_moe", "opt"])
def test_what_is_written_without_an_mlp_is_what_a_model_without_it_writes(
    name: str, cached: bool
) -> None:
    model, ids = tiny(name), random_ids(9)
    anatomy = probe_architecture(model)
    actual = write_greedily(model, anatomy, ids[0], 4, EACH, "mlp", cached=cached)
    expected = [naive_answer(model, ids, 4, layer, "mlp") for layer in EVERY]
    np.testing.assert_array_equal(actual, expected)


def test_attention_alone_can_be_left_out_too() -> None:
    """Without its MLP a layer's attention is the layer: leaving out either is the same."""
    model, ids = fresh("llama"), random_ids(9)
    with torch.no_grad():
        for block in blocks(model):
            block.mlp.down_proj.weight.zero_()
    anatomy = probe_architecture(model)
    layers, attention, mlp = (
        write_greedily(model, anatomy, ids[0], 4, EACH, part)
        for part in ("layer", "attention", "mlp")
    )
    np.testing.assert_array_equal(attention, layers)
    np.testing.assert_array_equal(mlp, layers[[0] * len(EVERY)])
    assert len({tuple(answer) for answer in layers}) > 2


def test_the_writing_leaves_the_model_as_it_was_and_can_be_stopped() -> None:
    model, ids = fresh("llama"), random_ids(9)
    anatomy = probe_architecture(model)
    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_greedily(model, anatomy, ids[0], 9, EACH, on_token=stop)
    assert done == [1, 2, 3]
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_run_writes_its_answer_without_each_layer(tmp_path) -> None:
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda event: None)
    engine.load(ModelSpec(str(tiny_folder(tmp_path)), device="cpu"))
    prompt = Prompt("Seven plus five is twelve, and", " twelve, and")
    result: RunResult = engine.run(prompt, RunSettings(metrics=("answers_kept",)))
    model = engine._model.loaded.model
    actual, start = result.get(AnswersKept), result.answer_start
    count = len(result.tokens) - start
    assert count > 2
    ids = torch.from_numpy(result.tokens.ids[:start])[None]
    clean = naive_answer(model, ids, count)
    np.testing.assert_array_equal(actual.clean[start:], clean)
    assert (actual.clean[:start] == -1).all()
    assert actual.is_unchanged
    for layer in range(LAYERS):
        answer = naive_answer(model, ids, count, layer)
        np.testing.assert_array_equal(actual.without[layer, start:], answer)
        others = np.flatnonzero(answer != clean)
        assert actual.differs_after[layer] == (others[0] if len(others) else count)
    assert (actual.differs_after < count).any()
    assert not actual.clean_right
    assert (actual.right == 0).all()


@pytest.mark.parametrize("why", ["rows depend on each other", "memory is short"])
def test_texts_are_written_alone_where_they_must_be(
    why: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(open_store(None, 0, pytest.fail), tmp_path / "models", lambda event: None)
    engine.load(ModelSpec(str(tiny_folder(tmp_path)), device="cpu"))
    prompt = Prompt("Seven plus five is twelve, and", " twelve, and")
    asked = RunSettings(metrics=("answers_kept",))
    together = engine.run(prompt, asked).get(AnswersKept)
    batches: list[int] = []
    write = metric_context.write_greedily

    def counted(model, anatomy, ids, count, left_out, *others):
        batches.append(len(left_out))
        return write(model, anatomy, ids, count, left_out, *others)

    monkeypatch.setattr(metric_context, "write_greedily", counted)
    if why == "memory is short":
        monkeypatch.setattr(metric_context.MetricContext, "_room", 1)
    else:
        monkeypatch.setattr(metric_context, "mixes_tokens", lambda layers: True)
    alone = engine.run(prompt, asked).get(AnswersKept)
    assert batches == [1] * (LAYERS + 2)
    np.testing.assert_array_equal(alone.without, together.without)
    np.testing.assert_array_equal(alone.unchanged, together.clean)


class Written:
    """A context whose model writes what it is told to, at most two texts at once."""

    TEXTS = (" ", "1", "3", "13", "x")

    def __init__(self, answers: dict[int | None, list[int]], **settings: object) -> None:
        tokens = PromptTokens(np.array([4, 4, 1, 2]), ["x", "x", "1", "3"], 2)
        asked = RunSettings(**settings)  # type: ignore[arg-type]
        self.result = empty_result(tiny_model(3), Prompt("xx13", "13"), asked, tokens)
        self.answers = answers
        self.asked: list[list[int | None]] = []
        self.told: list[tuple[int, int]] = []
        self.known: list[AnswersKept | None] = []

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        return {token_id: self.TEXTS[token_id] for token_id in ids}

    def texts_at_once(self, texts: int) -> int:
        return min(2, texts)

    def write(self, start, left_out, on_token=lambda count: None):
        assert start == 2
        layers = [next(iter(row), None) for row in left_out]
        self.asked.append(layers)
        for count in (1, 2):
            on_token(count)
        return np.array([self.answers[layer] for layer in layers])

    def report(self, done, total, value, share=None) -> None:
        self.told.append((done, total))
        self.known.append(value)


ANSWERS: dict[int | None, list[int]] = {None: [1, 2], 0: [1, 4], 1: [0, 3], 2: [1, 2]}
"""Without layer 1 the same text, but for white space, in other tokens."""


def test_an_answer_is_right_where_its_text_is() -> None:
    reports = Written(ANSWERS)
    result = compute(reports, None)
    assert reports.asked == [[None], [None, 0], [1, 2]]
    assert reports.told[-1] == (8, 8)
    assert [done for done, _total in reports.told] == [2, 4, 6, 8]
    assert result.clean_right
    assert result.right.tolist() == [0, 1, 1]
    assert result.differs_after.tolist() == [1, 0, 2]
    np.testing.assert_array_equal(result.differs[0], [np.nan, np.nan, 0, 1])
    assert result.clean.tolist() == result.unchanged.tolist() == [-1, -1, 1, 2]
    assert result.is_unchanged
    assert result.chosen == ()


def test_answers_are_known_in_parts_and_go_on_from_them() -> None:
    reports = Written(ANSWERS)
    whole = compute(reports, None)
    assert reports.known[:2] == [None, None]
    begun = reports.known[2]
    assert begun is not None
    np.testing.assert_array_equal(begun.right, [0, np.nan, np.nan])
    np.testing.assert_array_equal(begun.without[0], whole.without[0])
    np.testing.assert_array_equal(np.isnan(begun.differs_after), [False, True, True])
    assert not begun.is_whole
    assert whole.is_whole
    reports = Written(ANSWERS)
    again = compute(reports, begun)
    assert reports.asked == [[1, 2]]
    assert reports.told == [(6, 8), (8, 8)]
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(again, name), values)


def test_with_some_layers_there_is_no_count_yet() -> None:
    prompts = pooled(answered([0, 1, np.nan], [1, 4, 4]))
    value = prompts.get(METRIC)
    (evidence,) = evidence_by(METRIC, prompts)
    assert (evidence.count, evidence.reason) == (None, "2 of 3 layers so far")
    assert METRIC.findings(value, prompts)[0].remark.endswith("; 2 of 3 layers so far")


def test_chosen_layers_are_left_out_alone() -> None:
    reports = Written(ANSWERS, layers="1")
    result = compute(reports, None)
    assert reports.asked == [[None], [None, 1]]
    assert result.chosen == (1,)
    np.testing.assert_array_equal(result.right, [np.nan, 1, np.nan])
    np.testing.assert_array_equal(result.differs_after, [np.nan, 0, np.nan])
    assert np.isnan(result.differs[[0, 2]]).all()


def test_texts_are_compared_by_their_bytes() -> None:
    # The first two tokens are two bytes of one letter.
    assert same_answer(["\udcc3", "\udca9", "t"], ["é", "t\n"])
    assert same_answer([" 13"], ["1", "3"])
    assert not same_answer(["1", " 3"], ["1", "3"])
    assert not same_answer(["13", "0"], ["13"])


def answered(
    right: list[float], after: list[int], clean: bool = True, tokens: int = 4
) -> AnswersKept:
    """One prompt's answers: right or not, and the tokens until they differ, by layer."""
    start = np.array([-1, -1])
    without = [[7] * same + [8] * (tokens - same) for same in after]
    return AnswersKept(
        "layer",
        np.concatenate([start, [7] * tokens]),
        np.concatenate([np.tile(start, (len(after), 1)), without], axis=1),
        np.concatenate([start, [7] * tokens]),
        np.array(right, float),
        clean,
    )


def pooled(*answers: AnswersKept) -> Reading:
    results = []
    for index, actual in enumerate(answers):
        result = run(seed=index, layers=len(actual.right))
        result.put("answers_kept", actual)
        results.append(result)
    return reading_of(results, SummarySettings())


def test_layers_are_ranked_by_how_much_of_the_answer_changes() -> None:
    result = answered([0, 1, 0], [1, 4, 2])
    for tokens in (slice(0, None), slice(1, None)):
        np.testing.assert_allclose(usefulness(result, tokens), [0.75, 0, 0.5])
    # The surest first, and `i` computes the cheapest where there is none yet.
    assert [ranking.name for ranking in RANKINGS] == ["ablation", "answers_kept", "similarity"]


FIRST = answered([0, 1, 1, 0], [0, 4, 4, 2])
SECOND = answered([0, 0, 1, 1], [0, 1, 4, 4])
WRONG = answered([0, 0, 0, 1], [4, 4, 2, 3], clean=False)


def test_prompts_are_taken_together() -> None:
    together = pooled(FIRST, SECOND, WRONG)
    result = together.get(METRIC)
    summary = METRIC.summary(result, together)
    assert summary["clean"] == pytest.approx(2 / 3)
    np.testing.assert_allclose(summary["without"], [0, 1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(summary["differs_after"], [4 / 3, 3, 10 / 3, 3])
    assert summary["needed"] == [0, 1, 3]
    assert (summary["needed_mean"], summary["needed_interval"]) == (2, None)
    assert (summary["prompts"], summary["tokens"], summary["unchanged_differs"]) == (3, 4, 0)
    line, raising, floor = METRIC.findings(result, together)
    assert line.value == "2 of 3 right"
    assert line.remark == (
        "one needs, on average, 2.0 of 4 layers; an answer is lost without any one of layers 0-1, 3"
    )
    assert floor.value == "the same texts"
    # Layer 3 loses the first answer and gains the third.
    np.testing.assert_array_equal(summary["lost"], [2, 1, 0, 1])
    np.testing.assert_array_equal(summary["gained"], [0, 0, 0, 1])
    assert (raising.value, summary["raising"]["layers"]) == ("none", ())
    assert raising.remark.startswith("no layer raises the answers beyond chance (p = ")
    means = METRIC.means(result, together)
    assert means == {"answers right": pytest.approx(2 / 3), "layers that answers need": 2}


def test_a_layer_without_which_more_answers_are_right_is_named() -> None:
    hurt = answered([0, 1, 0], [4, 2, 4], clean=False)
    together = pooled(*[hurt] * 12)
    result = together.get(METRIC)
    assert METRIC.findings(result, together)[1].value == "1"
    assert METRIC.summary(result, together)["raising"]["gain"] == 1
    assert result.raising(None) is None


def test_a_layer_that_was_not_left_out_is_not_needed() -> None:
    some = answered([0, float("nan"), 1], [0, 0, 4])
    some.without[1] = -1
    some.chosen = (0, 2)
    together = pooled(some)
    result = together.get(METRIC)
    assert result.needed_layers.tolist() == [0]
    assert result.is_changed.tolist() == [[True, False, False]]
    summary = METRIC.summary(result, together)
    np.testing.assert_array_equal(summary["without"], [0, np.nan, 1])
    np.testing.assert_array_equal(summary["differs_after"], [0, np.nan, 4])
    line, _floor = METRIC.findings(result, together)
    assert line.remark.endswith("; of layers 0, 2 (2 of 3)")


def test_what_the_batch_alone_changes_is_told() -> None:
    moved = answered([1, 1], [4, 4])
    moved.unchanged = moved.unchanged.copy()
    moved.unchanged[-1] = 9
    together = pooled(answered([1, 1], [4, 4]), moved)
    result = together.get(METRIC)
    line, _raising, floor = METRIC.findings(result, together)
    assert line.remark == "no answer is lost without any one layer"
    assert floor.value == "1 of 2 differ"
    assert METRIC.summary(result, together)["unchanged_differs"] == 1


def evidence_of(*answers: AnswersKept) -> Evidence:
    together = pooled(*answers)
    (row,) = evidence_by(METRIC, together)
    assert (row.kind, row.measure) == ("causal", "answers_kept")
    return row


def test_the_evidence_is_the_mean_number_of_layers_that_a_right_answer_needs() -> None:
    row = evidence_of(FIRST, SECOND)
    # 0 is needed by both, 1 and 3 by one each: two by each, not three.
    assert (row.count, row.low, row.high, row.holds_here) == (2, 2, 2, True)
    assert row.layers == (0, 1)
    assert row.curve is not None
    assert row.curve.values == (1, 0.5, 0, 0.5)
    # What the model does not know needs no layer.
    assert evidence_of(FIRST, SECOND, WRONG).count == 2


def test_one_more_prompt_makes_no_more_layers() -> None:
    """Each of eight answers needs another layer: all together eight, each of them one."""
    answers = [answered([float(layer != own) for layer in range(8)], [4] * 8) for own in range(8)]
    for count in (2, 4, 8):
        assert evidence_of(*answers[:count]).count == 1
    together = pooled(*answers)
    assert METRIC.summary(together.get(METRIC), together)["needed"] == list(range(8))


def test_one_answer_that_needs_more_moves_the_mean() -> None:
    most = answered([0, 0, 0, 0], [0, 0, 0, 0])
    none = answered([1, 1, 1, 1], [4, 4, 4, 4])
    row = evidence_of(most, none, none)
    # 4 / 3; without the first 0, without another 2.
    assert (row.count, row.low, row.high, row.firm) == (1, 0, 2, False)
    assert row.reason == "one answer moves it from 1.3 to 0.0 layers"


def test_the_interval_is_of_right_answers_drawn_again() -> None:
    needs = np.array([1, 3, 2, 5, 4, 1])
    answers = [answered([float(layer >= n) for layer in range(6)], [4] * 6) for n in needs]
    together = pooled(*answers, replace(answers[0], clean_right=False))
    result = together.get(METRIC)
    low, high = METRIC.summary(result, together)["needed_interval"]
    # Plain quantiles of draws of its own are narrower than the expanded ones.
    rng = np.random.default_rng(1)
    means = rng.choice(needs, (4000, len(needs))).mean(axis=1)
    inner, outer = np.quantile(means, [[0.025, 0.975], [0.001, 0.999]])
    assert outer[0] <= low <= inner[0] < needs.mean() < inner[1] <= high <= outer[1]
    (evidence,) = evidence_by(METRIC, together)
    assert (evidence.low, evidence.high) == (math.floor(low + 0.5), math.floor(high + 0.5))
    ends = f"{round(low, 1):g} to {round(high, 1):g} layers"
    assert evidence.reason == f"the 95% interval over prompts is {ends}"
    assert evidence.interval == (low, high)
    assert result.needed_interval(0) == result.needed_interval(0)
    four = pooled(*answers[:4])
    assert METRIC.summary(four.get(METRIC), four)["needed_interval"] is None


def test_the_highest_count_is_of_layers_that_change_the_text_of_a_right_answer() -> None:
    longer = answered([0, 1, 1, 0], [0, 3, 3, 2])
    row = evidence_of(longer, longer, longer)
    assert (row.count, row.low, row.high) == (2, 2, 4)
    assert row.reason == "without 4 layers its text changes, without 2 it is wrong"


def test_one_right_answer_is_no_range() -> None:
    row = evidence_of(FIRST)
    assert (row.count, row.low, row.high, row.firm) == (2, 2, 2, False)
    assert row.reason == "it rests on a single answer"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clean_right": False}, "the model answers none of these prompts rightly"),
        ({"part": "mlp"}, "only the MLP was left out"),
        ({"chosen": (0, 1)}, "only layers 0-1 (2 of 4) were left out"),
    ],
)
def test_where_there_is_no_count_it_says_why(changes: dict[str, object], reason: str) -> None:
    row = evidence_of(replace(FIRST, **changes))  # type: ignore[arg-type]
    assert (row.count, row.low, row.high, row.reason) == (None, None, None, reason)


def test_answers_of_a_model_that_knows_none() -> None:
    together = pooled(WRONG)
    line, _floor = METRIC.findings(together.get(METRIC), together)
    assert line.value == "0 of 1 right"
    assert line.remark == "none to lose; texts differ after 3.2 of 4.0 tokens"
    means = METRIC.means(together.get(METRIC), together)
    assert means["answers right"] == 0
    assert np.isnan(means["layers that answers need"])


def test_the_figure_is_of_right_answers_and_says_how_to_read_them() -> None:
    for answers, is_drawn in ((FIRST, True), (WRONG, False)):
        together = pooled(answers)
        values = METRIC.per_layer(together.get(METRIC))[0]
        assert bool(values.caption) is is_drawn
        assert values.reading.startswith("1: every answer stays right")


def test_a_layer_that_writes_nothing_loses_nothing() -> None:
    model, ids = fresh("llama"), random_ids(9)
    with torch.no_grad():
        blocks(model)[2].self_attn.o_proj.weight.zero_()
        blocks(model)[2].mlp.down_proj.weight.zero_()
    anatomy = probe_architecture(model)
    result = write_greedily(model, anatomy, ids[0], 5, EACH)
    np.testing.assert_array_equal(result[3], result[0])
    assert (result[[1, 2]] != result[0]).any()
