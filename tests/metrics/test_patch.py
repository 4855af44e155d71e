"""Patching between two prompts: the naive way, planted truth, and the words made of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from depthtui.data.run import PromptTokens
from depthtui.data.run_settings import PatchedCell, SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.reading import reading_of
from depthtui.errors import DepthError
from depthtui.metrics.patch import METRIC, Patch, PatchPair, pair_of, sentence
from depthtui.metrics.patch.compute import Patching, patch
from depthtui.tracing.activations import ActivationRecorder, record_patches
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from depthtui.tracing.trace import LayerActivations, trace
from tests.builders.metrics import smooth_metric
from tests.builders.results import run
from tests.naive import blocks, naive_patched_logits
from tests.planted import without_writes
from tests.tiny_models import TINY, WITHOUT_SPLIT, fresh, on_few_models, random_ids, tiny

TOKENS = 10
PLACE = 8
AT = (2, 3, 6)


def two_prompts(tokens: int = TOKENS) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids `[1, T]` of a prompt and of one that differs at three tokens."""
    target = random_ids(tokens)
    source = target.clone()
    source[0, list(AT)] = random_ids(len(AT), seed=5)[0]
    assert (source != target)[0].nonzero().flatten().tolist() == list(AT)
    return target, source


@functools.cache
def answers(
    model: torch.nn.Module, ids: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[int, int]:
    """The two tokens between which the prompts differ most."""
    with torch.no_grad():
        outputs = [model(input_ids=each, use_cache=False).logits for each in ids or two_prompts()]
    ends = [logits[0, PLACE] for logits in outputs]
    moved = ends[1] - ends[0]
    return int(moved.argmax()), int(moved.argmin())


def patching(
    model: torch.nn.Module,
    part: str = "layer",
    ids: tuple[torch.Tensor, torch.Tensor] | None = None,
    at: tuple[int, ...] = AT,
    **options: Any,
) -> Patching:
    anatomy = probe_architecture(model)
    target, source = (Replay(model, anatomy, each[0]) for each in ids or two_prompts())
    sublayers = {"layer": (), "attention": anatomy.attention, "mlp": anatomy.mlp}[part]
    assert anatomy.unembedding is not None
    pair = PatchPair(PLACE, at, answers(model, ids))
    return Patching(target, source, anatomy.unembedding, pair, sublayers, **options)


def naive(model: torch.nn.Module, part: str, tokens: list[int], row: int) -> float:
    """The margin of one cell, by one ordinary forward."""
    target, source = two_prompts()
    logits = naive_patched_logits(model, target, source, row, tokens, part)
    ours, theirs = answers(model)
    return float(logits[PLACE, ours] - logits[PLACE, theirs])


def margins_of(actual: Patching, result: Patch) -> tuple[np.ndarray, np.ndarray]:
    """The margins that a result stands for: of each cell, and of all tokens together."""
    of_source, of_target = actual.margins
    values = (result.recovered, result.differing)
    cells, together = (of_target + share * (of_source - of_target) for share in values)
    return cells, together


@on_few_models()
def test_against_one_forward_a_cell(name: str) -> None:
    model = tiny(name)
    actual = patching(model)
    result, resumes = patch(actual), actual.target.can_resume
    depths = range(actual.target.n_layers + 1)
    cells, together = margins_of(actual, result)
    expected = [[naive(model, "layer", [t], depth) for t in range(TOKENS)] for depth in depths]
    np.testing.assert_allclose(cells, expected, atol=1e-5, rtol=1e-5)
    expected = [naive(model, "layer", list(AT), depth) for depth in depths]
    np.testing.assert_allclose(together, expected, atol=1e-5, rtol=1e-5)
    assert result.is_whole
    assert result.floor < 1e-4
    assert np.ptp(result.recovered) > 0.5
    # Nothing lies before the first token that differs, and nothing is read behind the place.
    assert (result.recovered[:, 9] == 0).all()
    np.testing.assert_allclose(result.recovered[:, :2], 0, atol=0 if resumes else 1e-5)
    assert result.last_token[-1] == pytest.approx(1, abs=1e-4)


PARTS = {
    "llama": ("self_attn", "mlp"),
    "gpt2": ("attn", "mlp"),
    "gpt_neox": ("attention", "mlp"),
    "bloom": ("self_attention.dense", "mlp.dense_4h_to_h"),
    "mixtral": ("self_attn", "mlp"),
    "gpt_oss": ("self_attn", "mlp"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "deepseek_v3": ("self_attn", "mlp"),
    "granite": ("self_attn", "mlp"),
    "falcon": ("self_attention", "mlp"),
    "phi3": ("self_attn", "mlp"),
}
"""The modules of a layer that write its attention and its MLP."""


@pytest.mark.parametrize("part", ["attention", "mlp"])
@on_few_models(PARTS)
def test_a_sublayer_against_one_forward_a_cell(name: str, part: str) -> None:
    model = tiny(name)
    actual = patching(model, part)
    result = patch(actual, part=part)
    cells, together = margins_of(actual, result)
    module, layers = PARTS[name][part == "mlp"], range(actual.target.n_layers)
    expected = [[naive(model, module, [t], layer) for t in range(TOKENS)] for layer in layers]
    np.testing.assert_allclose(cells[:-1], expected, atol=2e-5, rtol=2e-5)
    expected = [naive(model, module, list(AT), layer) for layer in layers]
    np.testing.assert_allclose(together[:-1], expected, atol=2e-5, rtol=2e-5)
    assert np.isnan(result.recovered[-1]).all()
    assert result.is_whole
    assert np.nanmax(np.abs(result.recovered)) > 0.01


@on_few_models(set(TINY) - WITHOUT_SPLIT)
def test_a_sublayer_can_be_put_in_wherever_there_is_one(name: str) -> None:
    for part in ("attention", "mlp"):
        result = patching(tiny(name), part)
        assert patch(result, part=part).is_whole


def patched_pass(model: torch.nn.Module, cells: Sequence[PatchedCell]) -> torch.Tensor:
    """The logits `[T, V]` of the prompt's traced pass with states of the source put in."""
    anatomy = probe_architecture(model)
    target, source = (ids[0] for ids in two_prompts())
    recorder = ActivationRecorder(len(anatomy.layers), keep_writes=False)
    patches = record_patches(model, anatomy, source, cells)

    def on_layer(layer: LayerActivations) -> None:
        recorder.add(layer)
        if layer.attention is not None and layer.mlp is not None:
            total = layer.h + layer.attention + layer.mlp
            torch.testing.assert_close(total, layer.h_next, atol=1e-5, rtol=1e-4)

    trace(model, anatomy, target, on_layer, patches=patches)
    assert anatomy.unembedding is not None
    with torch.no_grad():
        return anatomy.unembedding.logits(recorder.activations().residual[-1])


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_traced_pass_with_states_put_in_is_that_of_an_ordinary_forward(name: str) -> None:
    model, tokens = tiny(name), list(AT)
    cells = [PatchedCell(1, token) for token in tokens]
    expected = naive_patched_logits(model, *two_prompts(), 1, tokens)
    torch.testing.assert_close(patched_pass(model, cells), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", ["attention", "mlp"])
@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_traced_pass_with_a_sublayer_put_in_is_that_of_a_forward(name: str, part: str) -> None:
    model, module = tiny(name), PARTS[name][part == "mlp"]
    expected = naive_patched_logits(model, *two_prompts(), 2, [3], module)
    actual = patched_pass(model, [PatchedCell(2, 3, part)])
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-5)


def test_both_prompts_begin_alike_and_nothing_runs_there() -> None:
    result = patching(tiny("llama"))
    before = result.target.evaluations
    patch(result)
    # Tokens 2 to 8, and all that differ together: an unchanged row and one for each depth below.
    rows = 4 + 4 + 3 + 2 + 1
    assert result.target.evaluations - before == rows * (7 + sum(range(1, 8)))


@pytest.mark.parametrize("name", ["llama", "mamba", "mixtral"])
def test_a_prompt_put_into_itself_changes_nothing(name: str) -> None:
    model = tiny(name)
    result = patching(model)
    result.source = result.target
    for tokens in ([PLACE], [3], AT, range(PLACE + 1)):
        margins, unchanged = result.patched(list(tokens))
        np.testing.assert_allclose(margins, result.margins[1], atol=1e-5)
        np.testing.assert_allclose(unchanged, result.margins[1], atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "mamba", "gpt2", "gemma3"])
def test_all_tokens_of_the_embedding_are_the_other_prompt(name: str) -> None:
    result = patching(tiny(name))
    shares, _ = result.shares(range(PLACE + 1))
    np.testing.assert_allclose(shares, 1, atol=1e-4)
    # Those that differ are enough at depth 0, and the last token is at the output.
    assert patch(result).differing[0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("part", ["layer", "attention"])
@pytest.mark.parametrize("at_once", [1, 3])
def test_groups_and_small_batches_are_the_same(part: str, at_once: int) -> None:
    whole = patch(patching(tiny("llama"), part), part=part)
    parts = patch(patching(tiny("llama"), part, rows_at_once=at_once), part=part)
    np.testing.assert_allclose(parts.recovered, whole.recovered, atol=1e-5)
    np.testing.assert_allclose(parts.differing, whole.differing, atol=1e-5)


def test_what_is_known_is_not_run_again() -> None:
    result = patching(tiny("llama"))
    reports: list[tuple[int, int, Patch]] = []
    whole = patch(result, lambda *one: reports.append(one))
    first, second, *_ = (partial for *_, partial in reports)
    # The last token comes first, then all that differ.
    assert np.flatnonzero(first.is_known).tolist() == [0, 1, 8, 9]
    assert np.flatnonzero(second.is_known).tolist() == [0, 1, 8, 9, 10]
    done = [count for count, _total, _partial in reports]
    assert done == sorted(done)
    assert done[-1] == reports[-1][1]
    before = result.target.evaluations
    again: list[int] = []
    resumed = patch(result, lambda count, *_: again.append(count), second)
    assert again == done[2:]
    assert result.target.evaluations - before == 14 * sum(range(2, 8))
    np.testing.assert_array_equal(resumed.recovered, whole.recovered)
    np.testing.assert_array_equal(resumed.differing, whole.differing)
    assert resumed.floor == whole.floor
    # What was told of and gone on from stays as it was.
    assert not second.is_whole


def test_prompts_that_the_model_answers_alike_do_not_part() -> None:
    result = patching(tiny("llama"))
    result.margins = 0.5, 0.45
    with pytest.raises(DepthError, match=r"do not differ: .* moves by 0\.05 nats"):
        patch(result)
    result.answers = 3, 3
    with pytest.raises(DepthError, match="do not differ: the model answers both alike"):
        patch(result)


def test_rounding_is_told_and_may_be_all_there_is() -> None:
    actual = patching(tiny("llama"))
    of_source, of_target = actual.margins
    actual.margins = of_source, of_target + 0.25
    result = patch(actual)
    assert result.floor == pytest.approx(abs(0.25 / (of_source - of_target - 0.25)), rel=1e-3)
    actual.margins = of_target + 1.25, of_target + 1
    with pytest.raises(DepthError, match="do not differ: rounding alone"):
        actual.shares([PLACE])


def test_half_precision_has_the_same_map() -> None:
    exact = patch(patching(tiny("llama")))
    model = fresh("llama").to(torch.bfloat16)
    result = patch(patching(model))
    assert result.floor < 0.1
    np.testing.assert_allclose(result.recovered, exact.recovered, atol=0.1)


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_fact_that_one_layer_moves_is_found_there(layer: int) -> None:
    """That layer alone works: at each token it writes the mean of what lies up to there."""
    model = without_writes(tiny("llama"), [other for other in range(4) if other != layer])
    with torch.no_grad():
        block = blocks(model)[layer]
        block.self_attn.q_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    target, source = random_ids(TOKENS), random_ids(TOKENS)
    source[0, 4] = 3 + (int(target[0, 4]) + 40) % 100
    actual = patching(model, ids=(target, source), at=(4,))
    result = patch(actual, at_texts=(" France",))
    expected = np.zeros((5, TOKENS))
    expected[: layer + 1, 4] = expected[layer + 1 :, PLACE] = 1
    np.testing.assert_allclose(result.recovered, expected, atol=1e-4)
    np.testing.assert_allclose(result.differing, expected[:, 4], atol=1e-4)
    ends = f"from {layer + 1} on" if layer < 3 else "only at the output"
    assert result.sentence == (
        f"the fact sits at ' France' until layer {layer} and at the last token {ends}"
    )


def curve(*shares: float) -> np.ndarray:
    return np.array(shares, np.float32)


@pytest.mark.parametrize(
    ("differing", "last_token", "words"),
    [
        (
            curve(1, 0.9, 0.4, 0),
            curve(0, 0.2, 0.6, 1),
            "the fact sits at X until layer 1 and at the last token from 2 on",
        ),
        # It is at the last token for good only where it stays there.
        (
            curve(1, 0.2, 0.7, 0),
            curve(0, 0.7, 0.2, 1),
            "the fact sits at X until layer 0 and at the last token only at the output",
        ),
        (
            curve(0.4, 0.2, 0.1, 0),
            curve(0, 0.7, 0.8, 1),
            "no depth has half of the fact at X; it sits at the last token from 1 on",
        ),
        (
            curve(1, 1, 1, 1),
            curve(1, 1, 1, 1),
            "the fact sits at X at every depth and at the last token at every depth",
        ),
        (curve(1, 1, np.nan, 0), curve(0, 0, 1, 1), "where the fact sits is not known yet"),
    ],
)
def test_where_the_fact_is_in_words(
    differing: np.ndarray, last_token: np.ndarray, words: str
) -> None:
    assert sentence("layer", "X", differing, last_token) == words


def test_a_sublayer_is_named_by_its_layer() -> None:
    nothing = curve(np.nan, np.nan, np.nan)
    result = sentence("mlp", "X", nothing, curve(0.1, 0.625, np.nan))
    assert result == "the MLP of layer 1 brings most of the fact to the last token: 62%"
    result = sentence("attention", "X", nothing, curve(-0.1, -0.2, np.nan))
    assert result == "no layer's attention brings the fact to the last token"


def two_runs(
    target: Sequence[int], source: Sequence[int], start: int, source_start: int | None = None
) -> PatchPair | str:
    """How two prompts of these ids lie beside each other, their answers from `start` on."""
    result = run(tokens=len(target))
    texts = [f" {id_}" for id_ in target]
    result.tokens = PromptTokens(np.array(target), texts, start)
    end = len(source) if source_start is None else source_start
    result.source = PromptTokens(np.array(source), [f" {id_}" for id_ in source], end)
    return pair_of(result)


def test_the_answers_part_where_their_first_tokens_differ() -> None:
    assert two_runs([1, 2, 3, 8, 9], [1, 5, 3, 8, 7], 3) == PatchPair(3, (1,), (7, 9))
    assert two_runs([1, 2, 3, 9], [1, 5, 3, 7], 3) == PatchPair(2, (1,), (7, 9))
    # Their answers may be of different length; the model answers where the source has none.
    assert two_runs([1, 2, 3, 9], [1, 5, 3, 7, 7], 3, 3) == PatchPair(2, (1,), (7, 9))
    assert two_runs([1, 2, 3, 9], [1, 5, 3], 3) == PatchPair(2, (1,), (None, 9))
    assert two_runs([1, 2, 3], [1, 2, 5], 3) == PatchPair(2, (2,), (None, None))
    assert PatchPair(2, (2,), (7, 9)).at == (2,)
    assert PatchPair(2, (0, 1, 2), (7, 9)).at == (0, 1)


def test_prompts_that_cannot_be_compared_say_why() -> None:
    assert two_runs([1, 2, 3, 9], [1, 5, 3, 9], 3) == (
        "the two prompts do not differ: both have the same answer"
    )
    assert two_runs([1, 2, 3], [1, 2, 3], 3) == (
        "the two prompts do not differ: they are the same until the answer"
    )
    assert two_runs([1, 2, 3, 9], [1, 5, 5, 5, 3, 7], 3) == (
        "the source has 6 tokens and the prompt 4 tokens, 3 without its answer: they differ from "
        "token 1 on, ' 5 5 5' and ' 2 3 9'; choose words of as many tokens"
    )
    assert two_runs([1, 2], [3, 2], 0) == (
        "the answer begins at the first token, so nothing predicts it"
    )


def test_the_summary_of_one_prompt_and_of_two() -> None:
    runs = []
    for seed in range(2):
        result = run(f"text {seed}", tokens=5)
        result.put("patch", smooth_metric("patch", result))
        runs.append(result)
    actual = runs[0].get(Patch)
    assert actual is not None
    alone = reading_of(runs[:1], SummarySettings())
    one = METRIC.summary(alone.get(METRIC), alone)
    assert (one["source"], one["target"], one["part"]) == ("not text 0", "text 0", "layer")
    np.testing.assert_array_equal(one["recovered"], actual.recovered)
    np.testing.assert_array_equal(one["last_token"], actual.last_token)
    assert one["floor"] == 0.001
    both = reading_of(runs, SummarySettings())
    two = METRIC.summary(both.get(METRIC), both)
    assert [prompt["target"] for prompt in two["prompts"]] == ["text 0", "text 1"]
    assert "recovered" not in two
    line, noise = METRIC.findings(both.get(METRIC), both)
    assert line.value.startswith("the fact sits at the tokens that differ until layer")
    assert line.remark == "from other prompts, over 2"
    assert noise.value == "0.001 of the margin"


def patched(*curves: list[float], part: str = "layer") -> list[Evidence]:
    """The evidence of prompts with these shares at the last token."""
    runs = []
    for seed, shares in enumerate(curves):
        result = run(f"text {seed}", tokens=5, layers=len(shares) - 1)
        value = smooth_metric("patch", result)
        assert isinstance(value, Patch)
        value.part, value.recovered[:, value.place] = part, shares
        result.put("patch", value)
        runs.append(result)
    evidence = reading_of(runs, SummarySettings()).evidence
    return [actual for actual in evidence if actual.measure == "patch"]


def test_the_depth_of_the_last_token_is_a_row_of_the_verdict() -> None:
    (result,) = patched([0, 0.1, 0.45, 0.9, 1])
    assert (result.kind, result.counts, result.count, result.low, result.high) == (
        *("causal", "depth", 3),
        *(2, 3),
    )
    assert result.meaning == "until the last token has half of the fact"
    assert result.reason == "the last token has 40% of it from 2 on"
    assert result.is_fragile
    (result,) = patched([0, 0.1, 0.2, 0.9, 1])
    assert (result.count, result.reliability) == (3, "holds here")
    (result,) = patched([0.6, 0.1, 0.2, 0.3, 1])
    assert result.count == 4
    assert patched([0, 0.1, 0.2, 0.9, np.nan], part="mlp") == []
    (result,) = patched([0, 0.1, np.nan, np.nan, np.nan])
    assert (result.count, result.reason) == (None, "1 of 4 depths so far")


def test_a_fact_of_many_prompts_is_never_firm() -> None:
    (result,) = patched(*[[0, 0.1, 0.2, 0.9, 1]] * 12)
    assert result.interval == (2.5, 3.5)
    assert (result.count, result.reliability) == (3, "holds here")
    assert result.reason == "it is of these facts, and others may move elsewhere"
    halves = [[0, 0.1, 0.2, 0.9, 1], [0.9, 0.9, 0.9, 1, 1]] * 6
    (result,) = patched(*halves)
    assert result.interval is not None
    assert result.interval[0] < 2
    assert result.is_fragile


def test_hostile_tokens_are_legible() -> None:
    result = run(tokens=5)
    actual = smooth_metric("patch", result)
    assert isinstance(actual, Patch)
    actual.at, actual.at_texts = (1, 2, 4), (" \x1b[31m", "[/]", "\u202e")
    assert actual.where == "' ␛[31m[/]', '\\u202e'"


@pytest.mark.parametrize("first", [1, 5])
def test_the_work_is_what_is_run(first: int) -> None:
    result = run(tokens=TOKENS, vocab_size=0)
    result.tokens.ids[:] = np.arange(TOKENS)
    result.tokens = PromptTokens(result.tokens.ids, result.tokens.texts, PLACE + 1)
    ids = result.tokens.ids.copy()
    ids[[first, PLACE + 1]] += 20
    result.source = PromptTokens(ids, result.tokens.texts, PLACE + 1)
    both = tuple(torch.from_numpy(each.ids)[None] + 3 for each in (result.tokens, result.source))
    actual = patching(tiny("llama"), ids=both, at=(first,))
    before = actual.target.evaluations
    patch(actual)
    # The source's pass is one forward more.
    forwards = 1 + (actual.target.evaluations - before) / (4 * TOKENS)
    assert METRIC.work(result) == pytest.approx(forwards)
