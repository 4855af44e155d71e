"""The words of the explorer and of reports that need a meaning, each in one line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from depthtui.data.lazy import LazyTuple
from depthtui.metrics.registry import ALL


@dataclass(frozen=True)
class Term:
    """A word or a sign with its meaning.

    Attributes:
        name: the word.
        meaning: a line, without a full stop.
        spellings: the spellings by which a text is searched; empty for the name alone. Only
            capitals and signs are searched for as they are.
    """

    name: str
    meaning: str
    spellings: tuple[str, ...] = ()

    def is_in(self, text: str) -> bool:
        """Whether a text has the word."""
        return self._pattern.search(text) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(_spelt, self.spellings or (self.name,))))


def _spelt(spelling: str) -> str:
    """A pattern for a spelling: whole words, with or without a capital, over a line's end too."""
    words = re.escape(spelling).replace(r"\ ", r"\s+")
    first = spelling[0]
    if first.islower():
        words = f"[{first}{first.upper()}]{words[1:]}"
    before, after = (r"\b" if end.isalnum() else "" for end in (first, spelling[-1]))
    return f"{before}{words}{after}"


def _of_file() -> tuple[Term, ...]:
    """The terms of `glossary.toml`."""
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return tuple(
        Term(name, term["meaning"], tuple(term.get("spellings", ())))
        for name, term in tomllib.loads(text).items()
    )


def _with_metrics(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The terms, and one for each metric that none of them explains."""
    names = {term.name.lower() for term in terms}
    of_metrics = (
        Term(metric.title, _as_meaning(metric.description), (metric.title, metric.title.lower()))
        for metric in ALL
        if metric.title.lower() not in names
    )
    return (*terms, *of_metrics)


def _as_meaning(sentence: str) -> str:
    sentence = sentence.rstrip(".").replace("`", "")
    second = sentence[1:2]
    return sentence if second.isupper() else sentence[:1].lower() + sentence[1:]


TERMS = LazyTuple(
    lambda: sorted(_with_metrics(_of_file()), key=lambda term: term.name.lower().lstrip("|"))
)
"""Every term, by name."""


def terms_in(text: str) -> tuple[Term, ...]:
    """The terms that a text uses."""
    return tuple(term for term in TERMS if term.is_in(text))
