"""Right answers among the prompts that have one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from depthtui.metrics.answers_kept import NAME as ANSWERS_KEPT
from depthtui.metrics.answers_kept import ReducedAnswers
from depthtui.metrics.pooling import PromptReading


@dataclass(frozen=True)
class RightAnswers:
    """Right answers of a model among the prompts that have an answer.

    Attributes:
        right: number of right answers.
        answers: number of prompts with an answer.
    """

    right: int
    answers: int

    @property
    def share(self) -> float:
        """Right answers as a share of all, 0 … 1."""
        return self.right / self.answers

    def __str__(self) -> str:
        return f"{self.right}/{self.answers}"


def is_right(prompt: PromptReading) -> bool | None:
    """Whether the model answers rightly; None where there is no given answer, or it is unknown.

    Where answers kept was measured, the model's own answer is compared with the known one;
    otherwise each token of the known answer must be its first choice after the tokens before.
    """
    if prompt.prompt.written is not None:
        return None
    answers = prompt.every.get(ANSWERS_KEPT)
    if isinstance(answers, ReducedAnswers):
        return bool(answers.clean_right.all())
    return prompt.says_answer


def right_answers_of(prompts: Iterable[PromptReading]) -> RightAnswers | None:
    """Right answers among all; None where they are known of no prompt."""
    answers = [right for prompt in prompts if (right := is_right(prompt)) is not None]
    return RightAnswers(sum(answers), len(answers)) if answers else None
