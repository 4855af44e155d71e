"""The model's answers to a question, chosen and written, with layers left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.accuracy.answer_reader import AnswerReader
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.prompts.written_answers import form_of, is_written
from depthtui.tracing.batching import slices


def compute(context: Context, partial: Accuracy | None) -> Accuracy:
    """Compute the metric of a run; rows in `partial` are not computed again."""
    with torch.no_grad():
        answers = _begun(context) if partial is None else partial
        if context.result.prompt.choices:
            answers = _choose(context, answers)
        return _write(context, answers) if answers.is_written else answers


def _begun(context: Context) -> Accuracy:
    """A result of which nothing is known but the order."""
    result, prompt = context.result, context.result.prompt
    n_layers, order = result.model.n_layers, context.order()
    unknown = Accuracy.unknown(
        n_layers,
        len(result.tokens),
        right=prompt.right_choice,
        order=() if order is None else order.whole(n_layers),
        chosen=chosen_layers(result),
        is_written=is_written(prompt),
        written="",
    )
    return unknown.widened("O", len(prompt.choices))


def _choose(context: Context, answers: Accuracy) -> Accuracy:
    """Choose with layers left out: without each, and along the order."""
    result = context.result
    rows: list[tuple[str, int, tuple[int, ...]]] = [
        ("without", layer, (layer,)) for layer in measured_layers(result)
    ]
    if answers.order:
        counts = range(result.model.n_layers + 1)
        rows += [("along", count, answers.order[:count]) for count in counts]
    unknown_rows = [row for row in rows if not np.isfinite(getattr(answers, row[0])[row[1]]).all()]
    if not unknown_rows:
        return answers
    texts, starts = zip(*context.choices(), strict=True)
    continuations = Continuations(
        texts, starts, context.pass_of, context.anatomy, context.substitute
    )
    if not np.isfinite(answers.clean).all():
        lengths = [len(choice.removeprefix(" ")) for choice in result.prompt.choices]
        answers = replace(
            answers,
            lengths=np.array(lengths, np.int32),
            clean=continuations.clean().numpy().astype(np.float32),
            by_depth=continuations.by_depth().numpy().astype(np.float32),
            unchanged=continuations.without([()]).numpy()[0].astype(np.float32),
        )
    at_once = context.layers_at_once(continuations.row_tokens)
    for part in slices(len(unknown_rows), at_once):
        scores = continuations.without([layers for _, _, layers in unknown_rows[part]])
        # Copied: the listener keeps a reference to a reported result.
        answers = answers.copied()
        for (name, index, _), score in zip(unknown_rows[part], scores.numpy(), strict=True):
            getattr(answers, name)[index] = score
        _report(context, answers)
    return answers


def _write(context: Context, answers: Accuracy) -> Accuracy:
    """Let the model write along the order; the whole model alone where there is none."""
    result, form = context.result, form_of(context.result.prompt)
    start, longest = result.answer_start, result.model.context_length
    most = min(form.most_tokens, longest - start) if longest else form.most_tokens
    rows = len(answers.order) + 1
    unknown = np.flatnonzero(np.isnan(answers.written_right[:rows])).tolist()
    reader = AnswerReader(form, context.end_ids, context.texts)
    for part in slices(len(unknown), context.texts_at_once(len(unknown))):
        left_out = [answers.order[:count] for count in unknown[part]]
        texts = context.write(start, left_out, count=most, is_over=reader.are_over).tolist()
        answers = answers.copied()
        for count, ids in zip(unknown[part], texts, strict=True):
            text = reader.answer(ids)
            answers.written_right[count] = form.is_same(text, result.prompt.answer)
            if not count:
                answers = replace(answers, written=text)
        _report(context, answers)
    return answers


def _report(context: Context, answers: Accuracy) -> None:
    is_known = answers.is_known
    context.report(int(is_known.sum()), len(is_known), answers)
