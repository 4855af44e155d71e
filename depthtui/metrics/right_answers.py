"""Right answers among the prompts that have one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from depthtui.metrics.pooling import PromptReading

# By name: metrics that have answers may count right ones themselves.
_WITH_ANSWERS = ("accuracy", "answers_kept")
"""The metrics that have a model's answers, the first that counts first."""


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

    Where right answers were measured, it is the answer that the model chooses, else the one that it
    writes; where answers kept was, its own answer is compared with the known one; otherwise each
    token of the known answer must be its first choice after the tokens before.
    """
    if prompt.prompt.written is not None:
        return None
    measured = (prompt.every[name] for name in _WITH_ANSWERS if name in prompt.every)
    answers = (answer.is_right for answer in measured)
    return next((right for right in answers if right is not None), prompt.says_answer)


def right_answers_of(prompts: Iterable[PromptReading]) -> RightAnswers | None:
    """Right answers among all; None where they are known of no prompt."""
    answers = [right for prompt in prompts if (right := is_right(prompt)) is not None]
    return RightAnswers(sum(answers), len(answers)) if answers else None
