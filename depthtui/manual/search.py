"""Searches the manual: the passages that explain words, or in which they occur."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

_HEADING = re.compile(r"^#+ (.+)$")
_ROW = re.compile(r"^\| (?P<name>(?:`.+?`|[^|])+) \| (?P<text>.+) \|$")
_ITEM = re.compile(r"^- \*\*(?P<name>.+?)\*\*: (?P<text>.+)$")
_CODE = re.compile(r"`([^`]+)`")
_SENTENCE = re.compile(r"(?<=[.?!]) +(?=[A-Z`*])")
_RULE_OF_A_TABLE = re.compile(r"^\|[ :]*-[ :-]*\|")

_FILLER = re.compile(
    "and|are|can|could|did|does|for|from|get|had|has|have|how|into|its|may|much|need|not|one|out|"
    "should|some|than|that|the|their|them|then|there|these|they|this|too|use|was|what|when|where|"
    "which|who|why|will|with|would|you|your"
)
"""Words of a question that say nothing of its subject."""

_ENDING = re.compile(r"(?<=...)(?:ing|ed|es|s|e)$")

_LONGEST_WORDS = 200
"""More characters occur in no passage, and would be searched in every sentence."""

_EXACT, _IN_NAME, _IN_TEXT = range(3)


@dataclass(frozen=True)
class Match:
    """A passage of the manual.

    Attributes:
        page: name of the page.
        section: heading of the section; the page's title before the first heading.
        name: term that the passage explains, such as a key, a symbol or the section's heading;
            empty where the words only occur in the text.
        sentence: the passage in one sentence of Markdown; the first of a section.
        body: the whole section in Markdown, without its heading.
    """

    page: str
    section: str
    name: str
    sentence: str
    body: str


def search(words: str, pages: Mapping[str, str]) -> list[Match]:
    """Search the manual: explanations first, then sections with the phrase.

    Where no section has the phrase, such as a question, those with most stems of its words are
    found. A single ASCII character is a key: its case counts, and only names and code are searched.

    Args:
        words: a word, a phrase, a key, a symbol or an option; the name of a page before them
            searches this page first.
        pages: the Markdown of each page by its name, in order.

    Returns:
        The matches, best first.
    """
    words = " ".join(words.split())
    if len(words) > _LONGEST_WORDS:
        return []
    page, _, rest = words.partition(" ")
    if rest and page.lower() in pages:
        matches = search(rest, {page.lower(): pages[page.lower()]})
        if matches:
            return matches
    ranked = [
        (rank, match)
        for name, text in pages.items()
        for section, lines in _sections(text)
        for rank, match in _in_section(words, name, section, lines)
    ]
    if not ranked:
        return _answers(words, pages)
    return [match for _, match in sorted(ranked, key=lambda pair: pair[0])]


def _in_section(
    words: str, page: str, section: str, lines: list[str]
) -> Iterator[tuple[int, Match]]:
    """The matches of a section with their ranks: its heading, its entries, else one sentence."""
    body, sentences = "\n".join(lines).strip(), list(_sentences(lines))
    names = [(section, next(iter(sentences), "")), *_entries(lines)]
    ranked_entries = [(_rank_of_name(words, name), name, sentence) for name, sentence in names]
    for rank, name, sentence in ranked_entries:
        if rank is not None:
            yield rank, Match(page, section, name, sentence, body)
    if any(rank is not None for rank, _, _ in ranked_entries):
        return
    mentions = [sentence for sentence in sentences if _occurs(words, sentence)]
    if mentions:
        yield _IN_TEXT, Match(page, section, "", mentions[0], body)


def _answers(words: str, pages: Mapping[str, str]) -> list[Match]:
    """The sections with most stems of a question's words; page titles count most."""
    parts = re.findall(r"[a-z-]{3,}", words.lower())
    stems = {_stem(part) for part in parts if not _FILLER.fullmatch(part)}

    def count(text: str) -> int:
        return sum(_begins(stem, text) for stem in stems)

    ranked = []
    for page, text in pages.items():
        sections = list(_sections(text))
        title = f"{page} {sections[0][0]}"
        for section, lines in sections:
            sentences = list(_sentences(lines))
            whole = " ".join([title, section, *sentences])
            rank = count(whole), count(title), count(section), count(" ".join(sentences))
            if sentences and rank[0]:
                nearest = max(sentences, key=count)
                match = Match(page, section, "", nearest, "\n".join(lines).strip())
                ranked.append((rank, match))
    most = max((n_found for (n_found, *_), _ in ranked), default=0)
    best = [pair for pair in ranked if pair[0][0] == most]
    return [match for _, match in sorted(best, key=lambda pair: pair[0], reverse=True)]


def _stem(word: str) -> str:
    """The beginning that a word shares with its other forms: `drop` of `dropped`."""
    return re.sub(r"([bdgmnprt])\1$", r"\1", _ENDING.sub("", word))


def _begins(stem: str, text: str) -> bool:
    """Whether a word of a text begins with a stem."""
    return _beginning(stem).search(text) is not None


@lru_cache(maxsize=256)
def _beginning(stem: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(stem)}", re.IGNORECASE)


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The names that a section's lists and tables explain, each with its explanation."""
    for line in lines:
        entry = _ITEM.match(line) or _ROW.match(line)
        if entry:
            yield entry["name"], entry["text"].partition(" | ")[0]


def _rank_of_name(words: str, name: str) -> int | None:
    plain = re.sub("[`*]", "", name)
    terms = [plain, *_CODE.findall(name), *plain.split(", ")]
    if all(len(part) == 1 for part in plain.split()):
        terms += plain.split()
    if words in terms or (len(words) > 1 and words.lower() in map(str.lower, terms)):
        return _EXACT
    return _IN_NAME if len(words) > 1 and _occurs(words, plain) else None


def _occurs(words: str, text: str) -> bool:
    """Whether a text has words as whole words; a single ASCII character only as code."""
    if len(words) == 1 and words.isascii():
        return f"`{words}`" in text
    return _whole_words(words).search(text) is not None


@lru_cache(maxsize=256)
def _whole_words(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(words)}(?![\w-])", re.IGNORECASE)


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The headings of a page, with the lines beneath each."""
    heading, lines, is_code = "", list[str](), False
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        begins = None if is_code else _HEADING.match(line)
        if begins:
            if heading:
                yield heading, lines
            heading, lines = begins[1], []
        else:
            lines.append(line)
    yield heading, lines


def _sentences(lines: list[str]) -> Iterator[str]:
    """The sentences of a section, each in Markdown; a row of a table or a line of code is one."""
    paragraph, is_code = "", False
    for line in [*lines, ""]:
        if line.startswith("```"):
            is_code = not is_code
            continue
        if not is_code and line and not line.startswith(("|", "- ")):
            paragraph += f" {line.removeprefix('> ').strip()}"
            continue
        yield from filter(None, _SENTENCE.split(paragraph.strip()))
        paragraph = line.removeprefix("- ") if line.startswith("- ") and not is_code else ""
        if is_code and line.strip():
            yield f"`{line.strip()}`"
        elif line.startswith("|") and not _RULE_OF_A_TABLE.match(line):
            yield ": ".join(re.split(r" +\| +", line.strip("| "), maxsplit=1))
