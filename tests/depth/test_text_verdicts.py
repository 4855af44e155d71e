"""Verdicts over generated texts: thinking and answer apart where they are marked."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.generation import Continuation, Generation
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import GenerationSettings
from depthtui.depth.reading import text_verdicts
from depthtui.depth.spans import spans_of
from tests.builders.generations import full_generation
from tests.builders.models import tiny_model


def text_of(texts: list[str], asked: str = "Why?", layers: int = 20) -> Generation:
    """A text of these tokens."""
    settings = GenerationSettings(max_tokens=len(texts))
    generation = full_generation(Prompt(asked), tiny_model(layers), settings)
    generation.tokens = PromptTokens(np.arange(1), [asked], 1)
    generation.continuation.texts = texts
    return generation


@pytest.mark.parametrize(
    ("texts", "asked", "thinking", "answer"),
    [
        (["<think>", "so", "</think>", "4"], "", (0, 3), (3, 4)),
        (["\n", "<think>", "so", "</think>", "\n", "4"], "", (1, 4), (4, 6)),
        (["so", "</", "think", ">\n", "4"], "<think>\n", (0, 4), (4, 5)),
        (["<|begin_of_thought|>", "<|end_of_thought|>", "4"], "", (0, 2), (2, 3)),
        (["<thinking>", "so", "</thinking>", "4"], "", (0, 3), (3, 4)),
        (["so", " it", " goes"], "<think>", (0, 3), None),
        (["<think>", "so", "</think>"], "", (0, 3), None),
        (["4", "</think>", "5"], "", None, None),
        (["4"], "", None, None),
    ],
)
def test_thinking_is_what_the_marks_hold(
    texts: list[str],
    asked: str,
    thinking: tuple[int, int] | None,
    answer: tuple[int, int] | None,
) -> None:
    spans = spans_of(texts, asked)
    assert spans.pop("text") == slice(0, len(texts))
    ends = {name: (tokens.start, tokens.stop) for name, tokens in spans.items()}
    expected = {"thinking": thinking, "answer": answer}
    assert ends == {name: tokens for name, tokens in expected.items() if tokens}


def test_thinking_and_answer_are_pooled_apart() -> None:
    generation = text_of(["<think>", *["so"] * 10, "</think>", *"3.14159265"])
    lens, divergence = generation.continuation.lens, generation.continuation.divergence
    for tokens, layer in ((slice(0, 12), 15), (slice(12, 22), 4)):
        lens.kl[:, tokens] = np.where(np.arange(21) < layer, 10.0, 0.0)[:, None]
        lens.overlap[:, tokens] = np.where(np.arange(21) < layer, 0.0, 1.0)[:, None]
        divergence[:, tokens] = np.where(np.arange(21) < layer, 0.6, 0.0)[:, None]
    result = text_verdicts(generation)
    counts = {
        name: {measure.measure: measure.count for measure in verdict.evidence}
        for name, verdict in result.items()
    }
    assert counts["thinking"] == {"kl": 16, "overlap": 16, "settled": 16}
    assert counts["answer"] == {"kl": 5, "overlap": 5, "settled": 5}
    # KL 5.5 of 10 and overlap 0.45 from layer 4 on, where 10 of the 22 tokens have settled.
    assert counts["text"] == {"kl": 16, "overlap": 5, "settled": 16}
    near = "(KL 0 nats, 100% of choices agree)"
    assert result["thinking"].sentence == (
        "By a lens alone, depths of 20: until the lens's KL first falls below 0.5 of its largest "
        f"{near}, 16 (KL); until the lens first shares over 0.3 of the output's top five {near}, "
        f"16 (overlap); until the lens's JSD stays below 0.5 of at most 0.69 nats at half of the "
        f"tokens {near}, 16 (settled). No count is firm: one prompt alone was read."
    )


def test_an_empty_text_has_no_verdict() -> None:
    generation = text_of(["a"])
    generation.continuation = Continuation.empty(20, 3)
    assert text_verdicts(generation) == {}
