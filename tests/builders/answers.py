"""Runs of questions whose answers change once some layers are left out."""

from __future__ import annotations

import numpy as np

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.metrics.accuracy import Accuracy
from depthtui.metrics.kept.result import Kept
from tests.builders.results import full_result

SETTINGS = RunSettings(metrics=("contributions", "logit_lens", "kept", "accuracy"))
CHOICES = (" 12", " 13", " 14", " 15")


def answered_runs(
    both: int = 30, lost: int = 4, gained: int = 1, neither: int = 15, at: int = 1
) -> list[RunResult]:
    """Runs of questions in the order of what is kept; without any layer each answer is wrong.

    Args:
        both: right answers that stay right.
        lost: right answers that turn wrong.
        gained: wrong answers that turn right.
        neither: wrong answers that stay wrong.
        at: the number of layers without which they turn.
    """
    answers = [(1, 1)] * both + [(1, 0)] * lost + [(0, 1)] * gained + [(0, 0)] * neither
    return [_answered(number, *answer, at) for number, answer in enumerate(answers)]


def _answered(number: int, before: int, after: int, at: int) -> RunResult:
    text = f"Question {number} of some words, whose answer is 12"
    prompt = Prompt(text, " 12", "addition", "2", choices=CHOICES)
    run = full_result(prompt, settings=SETTINGS)
    knowledge, accuracy = run.get(Kept), run.get(Accuracy)
    assert knowledge is not None
    assert accuracy is not None
    left_out = np.arange(run.model.n_layers + 1)
    is_right = np.where(left_out < at, before, after) * (left_out < run.model.n_layers)
    accuracy.order = knowledge.orders[0]
    accuracy.along[:] = _scores(is_right, accuracy.right)
    accuracy.clean[:] = accuracy.unchanged[:] = accuracy.along[0]
    accuracy.written_right[:] = is_right
    accuracy.written_without[:] = before
    return run


def _scores(is_right: np.ndarray, choice: int) -> np.ndarray:
    """Log-likelihoods by which the right choice is the likeliest, or is not, `[rows, O]`."""
    scores = np.full((len(is_right), len(CHOICES)), -2, np.float32)
    scores[:, choice] = np.where(is_right, -1, -3)
    return scores
