"""Which tokens of a run are the prompt, which are thinking, and which the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthtui.data.run import RunResult

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""The marks of chat templates around a model's thinking."""


def spans_of(run: RunResult) -> dict[str, slice]:
    """The tokens of the `prompt`, of the `thinking` where it is marked, and of the `answer`.

    Empty where a prompt has no answer and no mark of thinking.
    """
    texts, start = run.tokens.texts, run.answer_start
    if not 0 < start < len(texts):
        start = 0
    spans = {
        name: slice(start + span.start, start + span.stop)
        for name, span in marked_spans(texts[start:], "".join(texts[:start])).items()
    }
    text = spans.pop("text")
    if not spans:
        spans = {"answer": text} if start else {}
    first = min((span.start for span in spans.values()), default=0)
    return ({"prompt": slice(0, start or first)} if first else {}) | spans


def marked_spans(texts: Sequence[str], before: str = "") -> dict[str, slice]:
    """The tokens of a whole `text`; of its `thinking` and its `answer` where they are marked.

    The mark that begins the thinking may end the prompt, the text `before`. A text that ends within
    the thinking has no answer; the marks themselves are thinking.
    """
    spans = {"text": slice(0, len(texts))}
    written = "".join(texts)
    for begin, end in MARKS:
        first, last = written.find(begin), written.find(end)
        if first < 0 and not before.rstrip().endswith(begin):
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
