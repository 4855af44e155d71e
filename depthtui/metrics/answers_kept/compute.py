"""Whether the model still writes the right answer itself when a layer is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from depthtui.metrics.answers_kept import AnswersKept
from depthtui.metrics.choices import chosen_layers, layers_per_part, measured_layers
from depthtui.metrics.context import Context


def compute(context: Context, partial: AnswersKept | None) -> AnswersKept:
    """Compute the metric of a run; answers in `partial` are not written again."""
    result = context.result
    start, layers = result.answer_start, measured_layers(result)
    count = len(result.tokens) - start
    answers = _clean(context) if partial is None else partial
    unknown_layers = [layer for layer in layers if not np.isfinite(answers.right[layer])]
    # The answer with nothing left out is written twice: alone, and in a batch with the others.
    texts = [*([None] if partial is None else []), *unknown_layers]
    size = min(1 + layers_per_part(len(unknown_layers)), context.texts_at_once(len(texts)))
    total = (1 + len(layers)) * count
    done = total - len(texts) * count
    for first in range(0, len(texts), size):
        part = texts[first : first + size]

        def on_token(
            written: int,
            done: int = done,
            texts: int = len(part),
            partial: AnswersKept | None = partial,
        ) -> None:
            context.report(done + written * texts, total, partial)

        left_out = [() if layer is None else (layer,) for layer in part]
        rows = context.write(start, left_out, on_token)
        done += len(part) * count
        # Copied: the listener keeps a reference to the partial result.
        answers = partial = answers.copied()
        for layer, answer in zip(part, rows, strict=True):
            if layer is None:
                answers.unchanged[start:] = answer
            else:
                answers.without[layer, start:] = answer
                answers.right[layer] = _is_right(context, answer)
    return answers


def _clean(context: Context) -> AnswersKept:
    """The answer with nothing left out, written alone."""
    result = context.result
    (clean,) = context.write(result.answer_start, [()])
    answers = AnswersKept.unknown(
        result.model.n_layers,
        len(result.tokens),
        part=result.settings.skip_part,
        clean_right=_is_right(context, clean),
    )
    answers.clean[result.answer_start :] = clean
    return replace(answers, chosen=chosen_layers(result))


def _is_right(context: Context, answer: np.ndarray) -> bool:
    texts = context.texts(answer.tolist())
    answer_texts = context.result.tokens.texts[context.result.answer_start :]
    return same_answer([texts[token] for token in answer.tolist()], answer_texts)


def same_answer(written_texts: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether two texts, given as tokens' texts, are equal but for white space around them."""
    ours, theirs = (_bytes(texts) for texts in (written_texts, answer))
    return ours.strip() == theirs.strip()


def _bytes(texts: Sequence[str]) -> bytes:
    """The bytes of a text whose tokens may end within a character, as lone surrogates."""
    return "".join(texts).encode("utf-8", "surrogateescape")
