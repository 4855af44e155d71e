"""The model's answers to a question, chosen and written, with layers left out."""

from __future__ import annotations

from dataclasses import replace
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor

from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.accuracy.answer_reader import AnswerReader
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.metrics.output_change import log_probabilities
from depthtui.prompts.written_answers import form_of, is_written
from depthtui.tracing.batching import slices


def compute(context: Context, partial: Accuracy | None) -> Accuracy:
    """Compute the metric of a run; rows in `partial` are not computed again."""
    with torch.no_grad():
        answers = _begun(context) if partial is None else partial
        if answers.is_changed:
            return _choose_changed(context, answers)
        if context.result.prompt.choices:
            answers = _choose(context, answers)
        return _write(context, answers) if answers.is_written else answers


def _begun(context: Context) -> Accuracy:
    """A result of which nothing is known but the order."""
    result, prompt = context.result, context.result.prompt
    n_layers, is_changed = result.model.n_layers, not result.settings.is_clean
    order = None if is_changed else context.order("layer")
    unknown = Accuracy.unknown(
        n_layers,
        len(result.tokens),
        right=prompt.right_choice,
        order=() if order is None else order.whole(n_layers),
        chosen=chosen_layers(result),
        is_written=is_written(result) and not is_changed,
        written="",
        is_changed=is_changed,
    )
    return unknown.widened("O", len(prompt.choices))


def _choose_changed(context: Context, answers: Accuracy) -> Accuracy:
    """Choose with the layers of a what-if left out: whole passes of every text."""
    texts = [_changed_scores(context, *text) for text in context.choices()]
    scores = torch.stack(texts, dim=1).numpy().astype(np.float32)
    return replace(
        answers,
        lengths=_lengths(context),
        clean=scores[-1],
        unchanged=scores[-1].copy(),
        by_depth=scores,
    )


def _changed_scores(context: Context, ids: np.ndarray, start: int) -> Tensor:
    """The log-likelihood of a text from a token on, as read at depths 0 … L, `[L+1]` float64."""
    targets = torch.from_numpy(ids[start:])[:, None]
    scores = [
        log_probabilities(context.unembedding, state[start - 1 :], targets, context.checkpoint)
        for state in context.changed_readable(ids[:-1])
    ]
    return torch.stack([tokens.double().sum() for tokens in scores])


def _lengths(context: Context) -> np.ndarray:
    """Characters of each choice, `[O]`."""
    choices = context.result.prompt.choices
    return np.array([len(choice.removeprefix(" ")) for choice in choices], np.int32)


def _choose(context: Context, answers: Accuracy) -> Accuracy:
    """Choose with layers left out: without each, and along the order."""
    result = context.result
    # A row of one array, and the layers that it leaves out.
    rows: list[tuple[str, int | EllipsisType, tuple[int, ...]]] = [("unchanged", ..., ())]
    rows += [("without", layer, (layer,)) for layer in measured_layers(result)]
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
        answers = replace(
            answers,
            lengths=_lengths(context),
            clean=continuations.clean().numpy().astype(np.float32),
            by_depth=continuations.by_depth().numpy().astype(np.float32),
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
    """Let the model write with layers left out: without each, and along the order.

    Where there is no order, the whole model writes in its place.
    """
    result, form = context.result, form_of(context.result.prompt)
    start, longest = result.answer_start, result.model.context_length
    most = form.tokens_for(len(result.tokens) - start)
    most = min(most, longest - start) if longest else most
    # A place in one array, and the layers that its text leaves out.
    rows = [
        ("written_right", count, answers.order[:count]) for count in range(len(answers.order) + 1)
    ]
    rows += [("written_without", layer, (layer,)) for layer in measured_layers(result)]
    unknown_rows = [row for row in rows if np.isnan(getattr(answers, row[0])[row[1]])]
    reader = AnswerReader(form, context.end_ids, context.texts)
    for part in slices(len(unknown_rows), context.texts_at_once(len(unknown_rows))):
        left_out = [layers for _, _, layers in unknown_rows[part]]
        texts = context.write(start, left_out, most, reader.are_over).tolist()
        answers = answers.copied()
        for (name, place, layers), ids in zip(unknown_rows[part], texts, strict=True):
            text = reader.answer(ids)
            getattr(answers, name)[place] = form.is_same(text, result.answer)
            if not layers:
                answers = replace(answers, written=text)
        _report(context, answers)
    return answers


def _report(context: Context, answers: Accuracy) -> None:
    is_known = answers.is_known
    context.report(int(is_known.sum()), len(is_known), answers)
