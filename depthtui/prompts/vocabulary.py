"""The words that generated prompts are made of; most are in `vocabulary.toml`.

Braces are filled in: `{name}`, `{they}`, `{them}`, `{their}`, `{things}`,
the starting number `{n}`, an event's operand `{x}`, and `{times}`, the operand in words.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files

INSTRUCTION = (
    'Solve the problem step by step. Close with "The final answer is" followed by the number.'
)
"""The instruction before every worked problem."""


@dataclass(frozen=True)
class Event:
    """Something that changes a story's quantity by one operation."""

    sign: str
    sentence: str
    reason: str


@dataclass(frozen=True)
class Story:
    """A setting in which one quantity can change any number of times."""

    things: tuple[str, ...]
    opening: str
    events: tuple[Event, ...]
    question: str


@dataclass(frozen=True)
class Person:
    """A name with its pronouns."""

    name: str
    they: str
    them: str
    their: str

    def fields(self) -> dict[str, str]:
        """The words for the person in a sentence, by brace."""
        return dict(vars(self))


@dataclass(frozen=True)
class Ending:
    """The last fact of a chain: a property of a person, and the question for it."""

    fact: str
    question: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Country:
    """Facts about a country, in single words."""

    name: str
    city: str
    capital: str
    language: str


_WORDS = tomllib.loads((files(__package__) / "vocabulary.toml").read_text("utf-8"))

TIMES: dict[int, str] = {2: "twice", 3: "three times", 4: "four times"}
"""Factors in words."""

PEOPLE: tuple[Person, ...] = (
    *(Person(name, "she", "her", "her") for name in _WORDS["women"]),
    *(Person(name, "he", "him", "his") for name in _WORDS["men"]),
)
"""People in a story."""

STORIES: tuple[Story, ...] = tuple(
    Story(
        tuple(story["things"]),
        story["opening"],
        tuple(Event(*event) for event in story["events"]),
        story["question"],
    )
    for story in _WORDS["stories"]
)
"""Settings for word problems; each has all four operations, so that every level has enough."""

ENDINGS: tuple[Ending, ...] = tuple(
    Ending(ending["fact"], ending["question"], tuple(ending["values"]))
    for ending in _WORDS["endings"]
)
"""The last facts of chains."""

RELATIONS: tuple[str, ...] = tuple(_WORDS["relations"])
"""Relations between people in a chain of facts."""

INVENTED_NAMES: tuple[str, ...] = tuple(_WORDS["invented_names"])
"""People in a chain of facts."""

COUNTRIES = tuple(Country(*country) for country in _WORDS["countries"])
"""Countries with a city that is not the capital."""

HOPS = (
    ("The capital of {name} is", "name", "capital"),
    ("The capital of the country where {name} lies is", "city", "capital"),
    (
        "The language that most people speak in the capital of the country where {name} lies is",
        "city",
        "language",
    ),
)
"""Questions of one, two and three facts: the words, the named field, the requested field."""
