"""Right answers among the prompts that have one: one rule for reports, sweeps and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from depthtui.metrics import accuracy
from depthtui.metrics.accuracy.reduced_accuracy import ReducedAccuracy
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


def are_right(prompts: Sequence[PromptReading]) -> list[bool | None]:
    """Whether the model answers each prompt rightly; None where there is no answer, or unknown.

    An answer is right where the metric `accuracy` says so: the answer that the model chooses, else
    the one that it writes, by its task's own rule. Where it was measured on none of the prompts, an
    answer is right where each of its tokens is the model's first choice after the tokens before
    (teacher-forced): then the model writes this very text, which is right by every rule; a right
    one in other words is not seen. The two are never mixed: where some prompts were measured, the
    others are unknown.
    """
    measured = [_measured(prompt) for prompt in prompts]
    is_measured = any(right is not None for right in measured)
    rights = measured if is_measured else [prompt.says_answer for prompt in prompts]
    # A text that the model wrote is its own answer.
    return [
        None if prompt.prompt.written is not None else right
        for prompt, right in zip(prompts, rights, strict=True)
    ]


def _measured(prompt: PromptReading) -> bool | None:
    answers = prompt.every.get(accuracy.NAME)
    return answers.is_right if isinstance(answers, ReducedAccuracy) else None


def right_answers_of(prompts: Sequence[PromptReading]) -> RightAnswers | None:
    """Right answers among all; None where they are known of no prompt."""
    answers = [right for right in are_right(prompts) if right is not None]
    return RightAnswers(sum(answers), len(answers)) if answers else None
