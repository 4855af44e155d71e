"""The losses of other prompts' answers in place of a prompt's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.output_change import log_probabilities
from depthtui.metrics.task_guess import TaskGuess


def compute(context: Context, partial: TaskGuess | None) -> TaskGuess:
    """Compute the metric of a run."""
    result, unembedding = context.result, context.unembedding
    prompt, start = result.prompt, result.answer_start
    answers = [
        context.answer_ids(replace(prompt, text=prompt.question + answer, answer=answer))
        for answer in result.settings.task_answers
    ]
    own, by_texts = result.tokens.ids[start:], context.guess()
    if by_texts is None:
        raise DepthError("the model writes no texts, so there is no guess without context")
    length, most = len(own), max(map(len, answers))
    # An answer behind its end has the loss of token 0, which is then replaced.
    ids = np.stack([np.pad(answer, (0, most - len(answer))) for answer in answers])
    is_known = np.arange(most) < np.array([[len(answer)] for answer in answers])
    shared = min(length, most)
    loss = np.full((length, len(answers)), np.nan, np.float32)
    states = context.readable[-1][start - 1 : start - 1 + shared]
    tokens = torch.from_numpy(ids[:, :shared].T.copy())
    loss[:shared] = -log_probabilities(unembedding, states, tokens, context.checkpoint).numpy()
    loss[:shared][~is_known[:, :shared].T] = np.nan
    place = result.settings.task_answers.index(prompt.answer)
    return TaskGuess(loss, by_texts[0, own].astype(np.float32), place)
