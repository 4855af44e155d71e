"""The forms of answers: where a written one ends, and when it is the same as the right one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = re.compile(r"(?:(?<![\w.])-)?\$?[0-9][0-9,]*(?:\.[0-9]+)?")
_BOX = r"\boxed{"
_MOST_DIGITS = 1_000
_SPARE = 8
"""Tokens beyond those of the right answer: other tokens may have the same text, and a stop ends it.
"""


def last_number(text: str) -> str:
    """The last number in a text, without commas, `$` and needless zeros; empty without one."""
    numbers = _NUMBER.findall(text)
    number = re.sub("[,$]", "", numbers[-1]) if numbers else ""
    return str(Fraction(number)) if 0 < len(number) < _MOST_DIGITS else number


def folded(text: str) -> str:
    """A text in one case, without white space at its ends and without a final full stop."""
    return text.strip().removesuffix(".").rstrip().casefold()


def last_box(text: str) -> str:
    r"""What the last `\boxed{}` of a text has in it, without spaces and `$`; empty without one."""
    _, box, rest = text.rpartition(_BOX)
    depth = 1
    for place, letter in enumerate(rest if box else ""):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if not depth:
            return re.sub(r"[\s$]", "", rest[:place])
    return ""


@dataclass(frozen=True)
class AnswerForm:
    """How answers of a task are written and compared.

    Attributes:
        read: the part of a text that is compared; empty where the text has no answer.
        stops: texts that end a written answer, and are no part of it.
        most_tokens: most tokens of a written answer.
    """

    read: Callable[[str], str]
    stops: tuple[str, ...]
    most_tokens: int

    def tokens_for(self, answer: int) -> int:
        """The most tokens to write where the right answer has so many.

        Where whole texts are compared, one that goes on for longer is wrong, but for a text that
        goes on behind the answer.
        """
        if self is TEXT:
            return answer
        return min(self.most_tokens, answer + _SPARE) if self.read is folded else self.most_tokens

    def is_same(self, written: str, answer: str) -> bool:
        """Whether a written answer, with or without what follows it, is the right one."""
        part = self.read(self.cut(written))
        return bool(part) and part == self.read(answer)

    def cut(self, written: str) -> str:
        """A written text up to its first stop; stops before its first word count for nothing."""
        text = written.lstrip()
        return text[: min((text.find(stop) for stop in self.stops if stop in text), default=None)]


NUMBER = AnswerForm(last_number, ("\n",), 24)
"""A number alone."""

WORKED = AnswerForm(last_number, ("\n\n", "\nProblem:"), 400)
"""A solution that ends in a number."""

BOXED = AnswerForm(last_box, ("\n\nGiven the following", "\nProblem:"), 1_024)
"""A solution with the answer in a box."""

PHRASE = AnswerForm(folded, ("\n",), 64)
"""A few words."""

TEXT = AnswerForm(folded, ("\n\n",), 256)
"""A text that goes on behind the answer."""
