"""The likelihoods of a question's choices, with layers left out."""

from __future__ import annotations

import numpy as np
import torch

from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.metrics.choices import chosen_layers, measured_layers
from depthtui.metrics.context import Context
from depthtui.tracing.batching import slices


def compute(context: Context, partial: Accuracy | None) -> Accuracy:
    """Compute the metric of a run; rows in `partial` are not computed again."""
    result = context.result
    with torch.no_grad():
        texts, starts = zip(*context.choices(), strict=True)
        continuations = Continuations(
            texts, starts, context.pass_of, context.anatomy, context.substitute
        )
        answers = _begun(context, continuations) if partial is None else partial
        rows: list[tuple[str, int, tuple[int, ...]]] = [
            ("without", layer, (layer,)) for layer in measured_layers(result)
        ]
        if answers.order:
            counts = range(result.model.n_layers + 1)
            rows += [("along", count, answers.order[:count]) for count in counts]
        unknown_rows = [rows[place] for place in np.flatnonzero(~answers.is_known)]
        at_once = context.layers_at_once(continuations.row_tokens)
        for part in slices(len(unknown_rows), at_once):
            scores = continuations.without([layers for _, _, layers in unknown_rows[part]])
            # Copied: the listener keeps a reference to a reported result.
            answers = answers.copied()
            for (name, index, _), score in zip(unknown_rows[part], scores.numpy(), strict=True):
                getattr(answers, name)[index] = score
            context.report(int(answers.is_known.sum()), len(rows), answers)
    return answers


def _begun(context: Context, continuations: Continuations) -> Accuracy:
    """A result of which the whole model's likelihoods alone are known."""
    result, prompt = context.result, context.result.prompt
    n_layers, count = result.model.n_layers, len(prompt.choices)
    order = context.order()
    return Accuracy(
        right=prompt.right_choice,
        order=() if order is None else order.whole(n_layers),
        chosen=chosen_layers(result),
        lengths=np.array([len(choice.removeprefix(" ")) for choice in prompt.choices], np.int32),
        clean=continuations.clean().numpy().astype(np.float32),
        by_depth=continuations.by_depth().numpy().astype(np.float32),
        unchanged=continuations.without([()]).numpy()[0].astype(np.float32),
        without=np.full((n_layers, count), np.nan, np.float32),
        along=np.full((n_layers + 1, count), np.nan, np.float32),
    )
