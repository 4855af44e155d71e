"""The places of words in a run: in its prompt's tokens, or in the lens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from depthtui.data.lens_view import LOGIT, lens_of
from depthtui.data.run import RunResult

Scope: TypeAlias = Literal["tokens", "lens"]

SCOPES: dict[Scope, str] = {"tokens": "the prompt's tokens", "lens": "the lens's top tokens"}
"""The scopes of a search, in words."""


@dataclass
class Search:
    """The searched words, and the match that the cursor is on.

    Case matters where the words have an upper-case letter.

    Attributes:
        words: the words as they were typed.
        scope: the texts in which they are searched.
        at: the match, from 0.
    """

    words: str
    scope: Scope
    at: int = 0

    def places(self, result: RunResult, lens: str = LOGIT) -> list[tuple[int | None, int]]:
        """Every match as a layer and a token; the layer is None for a match in the tokens.

        In the lens, the lowest layers come first: in each, the tokens whose k most probable next
        tokens contain the words.
        """
        if not self.words:
            return []
        if self.scope == "tokens":
            return [(None, token) for token in _tokens_with(self._matcher(), self.words, result)]
        values = lens_of(result, lens)
        if values is None:
            return []
        matches = self._matcher()
        ids = [id_ for id_, text in values.vocabulary.items() if matches(text)]
        places = np.argwhere(np.isin(values.top_ids, ids).any(axis=2))
        return [(int(layer), int(token)) for layer, token in places]

    def step(
        self, result: RunResult, steps: int, lens: str = LOGIT
    ) -> tuple[int | None, int] | None:
        """Go this many matches further, starting over after the last; None if there is none."""
        places = self.places(result, lens)
        if not places:
            return None
        self.at = (self.at + steps) % len(places)
        return places[self.at]

    def begin(
        self, result: RunResult, token: int, lens: str = LOGIT
    ) -> tuple[int | None, int] | None:
        """Go to the first match; among the tokens, the first match from a token on."""
        places = self.places(result, lens)
        behind = (place for place, (layer, at) in enumerate(places) if layer is None and at < token)
        self.at = sum(1 for _ in behind) % len(places) if places else 0
        return self.step(result, 0, lens)

    def _matcher(self) -> Callable[[str], bool]:
        """A function that returns whether a text contains the words."""
        words = self.words
        if words == words.lower():
            return lambda text: words in text.lower()
        return lambda text: words in text


def _tokens_with(matches: Callable[[str], bool], words: str, result: RunResult) -> list[int]:
    """The tokens in which the words begin; the words may span several tokens."""
    texts, following = result.tokens.texts, len(words) - 1
    # The appended text of later tokens is too short to contain the words by itself.
    return [
        token
        for token, text in enumerate(texts)
        if matches(text + "".join(texts[token + 1 : token + 1 + following])[:following])
    ]
