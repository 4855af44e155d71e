"""Written answers as token ids: their text, and where they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from depthtui.data.run import joined_text
from depthtui.prompts.answer_forms import AnswerForm


@dataclass(frozen=True)
class AnswerReader:
    """Reads answers while a model writes them.

    Attributes:
        form: the form of the answers.
        end_ids: the ids of tokens that end a text.
        texts: returns the raw texts of tokens.
    """

    form: AnswerForm
    end_ids: frozenset[int]
    texts: Callable[[Iterable[int]], Mapping[int, str]]

    def answer(self, ids: Sequence[int]) -> str:
        """The answer with which a text begins, up to its first stop."""
        return self.form.cut(self._text(ids))

    def are_over(self, texts: np.ndarray) -> bool:
        """Whether every text `[texts, n]` has an answer that has ended."""
        return all(self._is_over(ids) for ids in texts.tolist())

    def _is_over(self, ids: list[int]) -> bool:
        """Whether a text has a token that ends it, or a stop behind its first word."""
        return not self.end_ids.isdisjoint(ids) or self.answer(ids) != self._text(ids).lstrip()

    def _text(self, ids: Sequence[int]) -> str:
        """A text up to the token that ends it, if any."""
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), None)
        texts = self.texts(ids)
        return joined_text(texts[token] for token in ids[:end])
