"""How questions are asked: with options to choose from, behind solved others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from depthtui.data.run import Prompt
from depthtui.errors import DepthError

BETWEEN_SHOTS = "\n\n"


@dataclass(frozen=True)
class Asking:
    """How questions are asked.

    Attributes:
        choices: whether they have options to choose from.
        shots: number of solved others before each.
        seed: seed of these others.
        in_halves: whether the questions at even and at odd places are two halves, of which none
            is a shot of the other.
    """

    choices: bool = False
    shots: int = 0
    seed: int = 123
    in_halves: bool = False

    def may_precede(self, other: int, place: int) -> bool:
        """Whether the question at another place may be a shot of the one at this place."""
        return other != place and not (self.in_halves and (other - place) % 2)

    def behind_shots(
        self, prompt: Prompt, others: Iterable[Prompt], where: str, heading: str = ""
    ) -> Prompt:
        """A prompt behind a heading and the first of other prompts, each with its answer.

        Raises:
            DepthError: there are too few others; the error names their source, `where`.
        """
        shots = list(islice(others, self.shots))
        if len(shots) < self.shots:
            raise DepthError(
                f"{where} has {len(shots)} other prompts with answers, not {self.shots}.",
                "Ask for fewer --shots.",
            )
        front = heading + "".join(other.text + BETWEEN_SHOTS for other in shots)
        return behind(front, prompt) if front else prompt

    def other_rows(self, row: int, n_rows: int, prompt: Prompt) -> Iterator[int]:
        """The other rows that may be shots, in this order.

        Those of the last quarter come first, which are asked last. The order depends on the
        prompt and the seed.
        """
        rng = Random(f"{self.seed} {prompt.text}")
        first = max(0, n_rows - max(n_rows // 4, self.shots + 1))
        for part in (range(first, n_rows), range(first)):
            for other in rng.sample(part, len(part)):
                if self.may_precede(other, row):
                    yield other

    def ask_stored(self, prompts: Sequence[Prompt], where: str) -> list[Prompt]:
        """The prompts of a source, each behind others of it.

        Raises:
            DepthError: there are too few others.
        """
        return [
            self.behind_shots(prompt, self._others(row, prompts), where)
            for row, prompt in enumerate(prompts)
        ]

    def _others(self, row: int, prompts: Sequence[Prompt]) -> Iterator[Prompt]:
        prompt = prompts[row]
        others = (prompts[other] for other in self.other_rows(row, len(prompts), prompt))
        return (other for other in others if other.answer and other.question != prompt.question)


def behind(front: str, prompt: Prompt) -> Prompt:
    """A prompt behind another text; question and answer stay at the end."""
    return replace(
        prompt, text=front + prompt.text, contrast=prompt.contrast and front + prompt.contrast
    )
