"""Which tokens of a generated text are thinking, and which the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthtui.data.generation import Generation

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""The marks of chat templates around a model's thinking."""


def spans_of(generation: Generation) -> dict[str, slice]:
    """The tokens of the whole `text`; of its `thinking` and its `answer` where they are marked.

    The mark that begins the thinking may end the prompt. A text that ends within the thinking has
    no answer; the marks themselves are thinking.
    """
    texts = generation.continuation.texts
    spans = {"text": slice(0, len(texts))}
    written, prompt = "".join(texts), "".join(generation.tokens.texts)
    for begin, end in MARKS:
        first, last = written.find(begin), written.find(end)
        if first < 0 and not prompt.rstrip().endswith(begin):
            continue
        stop = len(texts) if last < 0 else _token_at(texts, last + len(end) - 1) + 1
        spans["thinking"] = slice(0 if first < 0 else _token_at(texts, first), stop)
        if stop < len(texts):
            spans["answer"] = slice(stop, len(texts))
        return spans
    return spans


def _token_at(texts: Sequence[str], place: int) -> int:
    """The token of a character of the whole text."""
    return int(np.searchsorted(np.cumsum([*map(len, texts)]), place, side="right"))
