"""Passages of the manual by words, a key, a symbol or an option."""

from __future__ import annotations

import re

import pytest

from depthtui.manual.search import search

PAGES = {
    "first": """# The first page

It has a word. Nothing is firm. Another sentence
has the rare `--option`.

## Firm, holds here

- **firm**: True of others. `x` is a key.
- **◆ ◇**: a depth.

```text
# no heading
program --flag a
```
""",
    "second": """# Another page

| keys | what they do |
| --- | --- |
| `x` `space` | Leave layers out |
| `X` | All passes |
| `+` | Raise a + b |

A firm word.
""",
}


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("x", [("second", "`x` `space`", "Leave layers out"), ("first", "", "`x` is a key.")]),
        ("X", [("second", "`X`", "All passes")]),
        ("+", [("second", "`+`", "Raise a + b")]),
        ("a", []),
        ("◇", [("first", "◆ ◇", "a depth.")]),
        ("--option", [("first", "", "Another sentence has the rare `--option`.")]),
        ("option", [("first", "", "Another sentence has the rare `--option`.")]),
        (
            "which pages have a key?",
            [("second", "", "keys: what they do"), ("first", "", "`x` is a key.")],
        ),
        ("--flag", [("first", "", "`program --flag a`")]),
        ("no heading", [("first", "", "`# no heading`")]),
        ("Holds  HERE", [("first", "Firm, holds here", "**firm**: True of others.")]),
        (
            "firm",
            [
                ("first", "Firm, holds here", "**firm**: True of others."),
                ("first", "firm", "True of others. `x` is a key."),
                ("first", "", "Nothing is firm."),
                ("second", "", "A firm word."),
            ],
        ),
        ("second firm", [("second", "", "A firm word.")]),
        ("firm word", [("second", "", "A firm word.")]),
        ("depth others", [("first", "", "**firm**: True of others.")]),
        ("xyz", []),
    ],
)
def test_explanations_come_before_sentences(words: str, places: list[tuple[str, str, str]]) -> None:
    matches = search(words, PAGES)
    assert [(match.page, match.name, match.sentence) for match in matches] == places


def test_a_match_has_its_whole_section() -> None:
    match = search("firm", PAGES)[0]
    assert match.section == "Firm, holds here"
    assert match.body.startswith("- **firm**")
    assert match.body.endswith("```")


def test_a_long_phrase_is_read_once_a_search_and_not_once_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    escaped: list[str] = []
    escape = re.escape
    monkeypatch.setattr(re, "escape", lambda text: escaped.append(text) or escape(text))
    phrase = " ".join(f"the lens of layer {number}" for number in range(8))
    search(phrase, PAGES)
    assert escaped
    assert len(escaped) == len(set(escaped))
