"""The glossary: a line for every word that a newcomer cannot read."""

from __future__ import annotations

import pytest

from depthtui.depth import rules
from depthtui.metrics.registry import ALL
from depthtui.report.glossary import TERMS, terms_in

JARGON = (
    "nats",
    "H",
    "|c| / |h|",
    "95th percentile",
    "residual erasure",
    "context depth",
    "sequential depth",
    "angular distance",
    "block influence",
    "settling",
    "affine lens",
    "Jacobian lens",
    "DepthScore",
    "teacher-forced",
    "a, m, c",
    "skip effects",
    "kept",
    "holds here",
    "prediction depth",
)


@pytest.mark.parametrize("word", JARGON)
def test_a_word_has_one_line(word: str) -> None:
    found = terms_in(f"by {word}, 3 of 30")
    assert any(word in (term.name, term.name.lower(), *term.spellings) for term in found)


def test_metrics_and_rules_are_explained() -> None:
    for title in (*(metric.title for metric in ALL), *(rule.title for rule in rules.ALL)):
        assert terms_in(title), title


def test_terms_are_single_lines_of_different_names() -> None:
    for term in TERMS:
        assert len(term.meaning) <= 120, term.name
        assert not term.meaning.endswith("."), term.name
        assert "\n" not in term.meaning
    names = [term.name.lower() for term in TERMS]
    assert len(set(names)) == len(names)


def test_only_whole_words_are_found() -> None:
    def named(text: str) -> list[str]:
        return [term.name for term in terms_in(text)]

    assert named("a signature of the fragileness") == []
    assert named("Fragile") == ["fragile"]
    assert named("the H of Hu") == ["entropy, H"]
    assert named("holds\nhere") == ["holds here"]
