"""Whether the model still answers rightly when a layer is left out: it writes the answer itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthtui.metrics.answers_kept import AnswersKept
from depthtui.metrics.choices import chosen_layers, layers_gone_through
from depthtui.metrics.context import Context


def compute(context: Context, _partial: object) -> AnswersKept:
    """The metric of a run."""
    result = context.result
    n_layers, start = result.model.n_layers, result.answer_start
    layers = layers_gone_through(result)
    # The first text is written alone, the second among the others with nothing left out.
    (clean,) = context.write(start, [None])
    rows = written(context, [None, *layers])

    def right(answer: np.ndarray) -> bool:
        texts = context.texts(answer.tolist())
        return same_answer([texts[token] for token in answer.tolist()], result.tokens.texts[start:])

    def at_answer(answer: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full(start, -1), answer]).astype(np.int32)

    without = np.full((n_layers, len(result.tokens)), -1, np.int32)
    kept = np.full(n_layers, np.nan, np.float32)
    for layer, answer in zip(layers, rows[1:], strict=True):
        without[layer] = at_answer(answer)
        kept[layer] = right(answer)
    return AnswersKept(
        result.settings.skip_part,
        at_answer(clean),
        without,
        at_answer(rows[0]),
        kept,
        right(clean),
        chosen_layers(result),
    )


def written(context: Context, left_out: Sequence[int | None]) -> np.ndarray:
    """The answers without these layers, `[texts, T - start]`, as many at once as fit."""
    start = context.result.answer_start
    count = len(context.result.tokens) - start
    size = context.texts_at_once(len(left_out))
    total = len(left_out) * count
    parts = []
    for first in range(0, len(left_out), size):
        rows = left_out[first : first + size]

        def on_token(done: int, before: int = first * count, texts: int = len(rows)) -> None:
            context.report(None, before + done * texts, total)

        parts.append(context.write(start, rows, on_token))
    return np.concatenate(parts)


def same_answer(written: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether two texts, given as their tokens' texts, are one but for white space around them."""
    ours, theirs = (_bytes(texts) for texts in (written, answer))
    return ours.strip() == theirs.strip()


def _bytes(texts: Sequence[str]) -> bytes:
    """Tokens may end within a character, whose bytes are lone surrogates then."""
    return "".join(texts).encode("utf-8", "surrogateescape")
