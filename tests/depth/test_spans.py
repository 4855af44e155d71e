"""Prompt, thinking and answer: which tokens they are, and the verdicts over each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import span_verdicts
from depthtui.depth.spans import spans_of
from depthtui.metrics.settling import Settling
from tests.builders.models import tiny_model
from tests.builders.results import full_result, unanswered

SETTINGS = SummarySettings()


def text_of(texts: list[str], asked: str = "Why?", layers: int = 20) -> RunResult:
    """A run of an answer of these tokens, which a lens alone reads."""
    tokens = PromptTokens(np.arange(1 + len(texts)), [asked, *texts], 1)
    settings = RunSettings(metrics=("logit_lens", "settling"))
    prompt = Prompt(asked + "".join(texts), "".join(texts))
    return full_result(prompt, tiny_model(layers), settings, tokens=tokens)


@pytest.mark.parametrize(
    ("asked", "texts", "thinking", "answer"),
    [
        ([""], ["<think>", "so", "</think>", "4"], (0, 3), (3, 4)),
        ([""], ["\n", "<think>", "so", "</think>", "\n", "4"], (1, 4), (4, 6)),
        (["<think>\n"], ["so", "</", "think", ">\n", "4"], (0, 4), (4, 5)),
        ([""], ["<|begin_of_thought|>", "<|end_of_thought|>", "4"], (0, 2), (2, 3)),
        ([""], ["<thinking>", "so", "</thinking>", "4"], (0, 3), (3, 4)),
        (["<think>"], ["so", " it", " goes"], (0, 3), None),
        ([""], ["<think>", "so", "</think>"], (0, 3), None),
        ([""], ["4", "</think>", "5"], None, (0, 3)),
        (["Why", "<think>"], ["so", "</think>", "4"], (0, 2), (2, 3)),
        (["1", "+", "1"], ["2"], None, (0, 1)),
    ],
)
def test_thinking_is_what_the_marks_hold(
    asked: list[str],
    texts: list[str],
    thinking: tuple[int, int] | None,
    answer: tuple[int, int] | None,
) -> None:
    run, start = text_of(texts), len(asked)
    run.tokens = PromptTokens(np.arange(start + len(texts)), [*asked, *texts], start)
    spans = {name: (tokens.start, tokens.stop) for name, tokens in spans_of(run).items()}
    assert spans.pop("prompt") == (0, start)
    ends = {name: (first - start, stop - start) for name, (first, stop) in spans.items()}
    expected = {"thinking": thinking, "answer": answer}
    assert ends == {name: tokens for name, tokens in expected.items() if tokens}


def test_a_prompt_without_an_answer_has_spans_where_its_thinking_is_marked() -> None:
    run = text_of(["<think>", "so", "</think>", "4"])
    run = unanswered(run)
    assert spans_of(run) == {"prompt": slice(0, 1), "thinking": slice(1, 4), "answer": slice(4, 5)}
    assert spans_of(unanswered(text_of(["1", "+", "1"]))) == {}


def test_thinking_and_answer_are_pooled_apart() -> None:
    run = text_of(["<think>", *["so"] * 10, "</think>", *"3.14159265"])
    lens, settling, depths = run.get(LogitLens), run.get(Settling), np.arange(21)[:, None]
    assert lens is not None
    assert settling is not None
    # Each token is predicted at the position before it.
    for positions, layer in ((slice(0, 12), 15), (slice(12, 22), 4)):
        lens.kl[:, positions] = np.where(depths < layer, 10.0, 0.0)
        lens.overlap[:, positions] = np.where(depths < layer, 0.0, 1.0)
        settling.divergence[:, positions] = np.where(depths < layer, 0.6, 0.0)
    result = span_verdicts(run, SETTINGS)
    counts = {
        name: {measure.measure: measure.count for measure in verdict.evidence}
        for name, verdict in result.items()
    }
    assert counts == {
        "thinking": {"kl": 16, "overlap": 16, "settled": 16},
        "answer": {"kl": 5, "overlap": 5, "settled": 5},
    }


def test_token_0_counts_only_where_a_span_is_read_at_it() -> None:
    without_0 = replace(SETTINGS, include_first_token=False)
    run = text_of(["a"] * 13)
    for start, is_read_at_0 in ((1, True), (2, False)):
        run.tokens = replace(run.tokens, answer_start=start)
        with_0, without = (span_verdicts(run, one)["answer"] for one in (SETTINGS, without_0))
        assert (with_0 != without) == is_read_at_0


def test_a_short_span_has_no_verdict_in_words() -> None:
    for length, words in ((9, "Too short"), (10, "How many of its 20 layers this text takes")):
        assert span_verdicts(text_of(["a"] * length), SETTINGS)["answer"].sentence.startswith(words)


def test_nothing_is_known_of_a_written_text_by_its_loss() -> None:
    run = text_of(["a"] * 12)
    lens = run.get(LogitLens)
    assert lens is not None
    lens.next_log_probability[:] = -20
    assert not span_verdicts(run, SETTINGS)["answer"].warnings
