"""The words that generated prompts are made of.

Braces are filled in: `{name}`, `{they}`, `{them}`, `{their}`, `{things}`,
the starting number `{n}`, an event's operand `{x}`, and `{times}`, the operand in words.
"""

from __future__ import annotations

from dataclasses import dataclass

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


_WOMEN = ["Amara", "Celine", "Esra", "Greta", "Ines", "Keiko", "Mina", "Oksana", "Rosa", "Tilda"]
_MEN = ["Bruno", "Dario", "Farid", "Hugo", "Jonas", "Luka", "Niklas", "Pavel", "Samir", "Viktor"]

TIMES: dict[int, str] = {2: "twice", 3: "three times", 4: "four times"}
"""Factors in words."""

PEOPLE: tuple[Person, ...] = (
    *(Person(name, "she", "her", "her") for name in _WOMEN),
    *(Person(name, "he", "him", "his") for name in _MEN),
)
"""People in a story."""

STORIES: tuple[Story, ...] = (
    Story(
        ("marbles", "seashells", "old coins", "postcards", "buttons", "bottle caps"),
        "{name} keeps {n} {things} in a tin.",
        (
            Event("+", "At a flea market {they} buys {x} more.", "With the ones bought"),
            Event("+", "A cousin sends {them} {x} more.", "With the cousin's"),
            Event("-", "{name} gives {x} of them to a friend.", "Without the ones given away"),
            Event("-", "On the way to school {x} of them get lost.", "Without the lost ones"),
            Event(
                "*",
                "A year later the collection is {times} as large.",
                "The larger collection",
            ),
            Event(
                "/",
                "{name} sorts them into {x} equal heaps and keeps only one heap.",
                "One of the heaps",
            ),
        ),
        "How many {things} does {name} have now?",
    ),
    Story(
        ("loaves", "rolls", "pretzels", "buns"),
        "There are {n} {things} on the counter of {name}'s bakery at dawn.",
        (
            Event("+", "The next tray out of the oven adds {x}.", "After the tray"),
            Event("+", "{name} carries {x} more up from the cellar.", "With those from below"),
            Event("-", "A hotel picks up {x} of them.", "After the hotel's order"),
            Event("-", "Early customers buy {x}.", "After the early customers"),
            Event(
                "*",
                "For the holiday, {name} bakes until there are {times} as many.",
                "After the extra baking",
            ),
            Event(
                "/",
                "They are shared equally among {x} shops, and only {name}'s share stays here.",
                "The share that stays",
            ),
        ),
        "How many {things} are on the counter at the end?",
    ),
    Story(
        ("tomato plants", "rose bushes", "strawberry plants", "young trees"),
        "{name} looks after a field with {n} {things}.",
        (
            Event("+", "In spring {they} sets out {x} new ones.", "After planting"),
            Event("+", "A neighbor brings {x} more.", "With the neighbor's"),
            Event("-", "A late frost kills {x} of them.", "After the frost"),
            Event("-", "{name} sells {x} of them at the market.", "After the sale"),
            Event(
                "*",
                "With the help of the village the field grows to {times} as many.",
                "The grown field",
            ),
            Event(
                "/",
                "The field is split into {x} equal parts, and {name} keeps one of them.",
                "The part that is kept",
            ),
        ),
        "How many {things} does {name} look after in the end?",
    ),
    Story(
        ("points",),
        "{name} starts the last round of a board game with {n} {things}.",
        (
            Event("+", "A lucky card brings {them} {x} {things}.", "After the card"),
            Event("+", "For a finished road {they} earns {x} {things}.", "With the road"),
            Event("-", "A toll costs {them} {x} {things}.", "After the toll"),
            Event("-", "For a wrong guess {they} loses {x} {things}.", "After the guess"),
            Event(
                "*",
                "A golden field multiplies all of {their} {things} by {x}.",
                "On the golden field",
            ),
            Event(
                "/",
                "A dark field divides all of {their} {things} by {x}.",
                "On the dark field",
            ),
        ),
        "How many {things} does {name} finish with?",
    ),
    Story(
        ("passengers",),
        "A ferry leaves the first island with {n} {things}, and {name} keeps the count.",
        (
            Event("+", "At the next pier {x} people come on board.", "After boarding"),
            Event("+", "A school class of {x} joins them.", "With the class"),
            Event("-", "At the lighthouse {x} people get off.", "After the lighthouse"),
            Event("-", "A small boat takes {x} of them ashore.", "Without those ashore"),
            Event(
                "*",
                "In the busy harbor the number of {things} becomes {times} as large.",
                "After the harbor",
            ),
            Event(
                "/",
                "They are divided equally among {x} ferries, and {name} stays with one of these.",
                "On one of the ferries",
            ),
        ),
        "How many {things} does {name} count on board at the end?",
    ),
    Story(
        ("photos", "songs", "recipes", "sketches"),
        "{name} has {n} {things} in a folder.",
        (
            Event("+", "{name} adds {x} from {their} phone.", "With those from the phone"),
            Event("+", "A friend shares {x} more.", "With the friend's"),
            Event("-", "{name} deletes {x} of them.", "After deleting"),
            Event("-", "{name} moves {x} of them elsewhere.", "After moving"),
            Event(
                "*",
                "Over the summer the folder grows to {times} its size.",
                "After the summer",
            ),
            Event(
                "/",
                "{name} divides the folder into {x} equal albums and goes on with one of them.",
                "In one album",
            ),
        ),
        "How many {things} does {name} have there in the end?",
    ),
    Story(
        ("liters of water",),
        "A rain barrel in {name}'s yard holds {n} {things}.",
        (
            Event("+", "A shower adds {x} liters.", "After the shower"),
            Event("+", "{name} pours in {x} liters from the well.", "With the well's water"),
            Event("-", "The goats drink {x} liters.", "After the goats"),
            Event("-", "{name} uses {x} liters on the beans.", "After the beans"),
            Event(
                "*",
                "After a night of storm it holds {times} as much.",
                "After the storm",
            ),
            Event(
                "/",
                "{name} spreads the water evenly over {x} barrels and goes on with one of them.",
                "In one barrel",
            ),
        ),
        "How many {things} does {name} find in it?",
    ),
    Story(
        ("boxes", "parcels", "crates", "sacks"),
        "{name} begins a shift with {n} {things} in the store room.",
        (
            Event("+", "The morning truck delivers {x} more.", "After the morning truck"),
            Event("+", "{name} finds {x} more behind a door.", "With those behind the door"),
            Event("-", "A courier takes {x} away.", "After the courier"),
            Event("-", "{name} sends {x} back as damaged.", "Without the damaged ones"),
            Event(
                "*",
                "By noon the stock has grown to {times} that number.",
                "At noon",
            ),
            Event(
                "/",
                "The stock is spread evenly over {x} rooms, and {name} works on in one of them.",
                "In one room",
            ),
        ),
        "How many {things} are in {name}'s room when the shift ends?",
    ),
)
"""Settings for word problems; each has all four operations, so that every level has enough."""


@dataclass(frozen=True)
class Ending:
    """The last fact of a chain: a property of a person, and the question for it."""

    fact: str
    question: str
    values: tuple[str, ...]


ENDINGS: tuple[Ending, ...] = (
    Ending(
        "{name} lives in {value}.",
        "In which town does {name} live?",
        ("Arlen", "Bremholt", "Caldora", "Dunmere", "Eskvale", "Farrow", "Glint", "Harne"),
    ),
    Ending(
        "{name} plays the {value}.",
        "Which instrument does {name} play?",
        ("violin", "trumpet", "piano", "flute", "drums", "harp", "cello", "guitar"),
    ),
    Ending(
        "{name} has a pet {value}.",
        "Which animal does {name} have?",
        ("parrot", "rabbit", "turtle", "hamster", "goat", "pony", "lizard", "owl"),
    ),
    Ending(
        "{name} always wears {value}.",
        "Which color does {name} always wear?",
        ("red", "blue", "green", "yellow", "purple", "white", "black", "orange"),
    ),
    Ending(
        "{name} grows {value}.",
        "What does {name} grow?",
        ("pumpkins", "lemons", "cabbages", "grapes", "onions", "cherries", "peas", "melons"),
    ),
)
"""The last facts of chains."""

RELATIONS: tuple[str, ...] = (
    "teacher",
    "neighbor",
    "doctor",
    "boss",
    "cousin",
    "coach",
    "landlord",
    "best friend",
    "lawyer",
    "barber",
)
"""Relations between people in a chain of facts."""

INVENTED_NAMES: tuple[str, ...] = (
    "Abrin",
    "Belka",
    "Corvan",
    "Delmi",
    "Edran",
    "Fenna",
    "Gorlo",
    "Hesta",
    "Iskar",
    "Jorva",
    "Kelm",
    "Lumi",
    "Marsk",
    "Nelda",
    "Orfin",
    "Petra",
    "Quill",
    "Rasko",
    "Selwin",
    "Tamsa",
    "Ulric",
    "Vesna",
    "Wendo",
    "Yarrik",
    "Zelia",
    "Anselm",
    "Birra",
    "Dovan",
)
"""People in a chain of facts."""


@dataclass(frozen=True)
class Country:
    """Facts about a country, in single words."""

    name: str
    city: str
    capital: str
    language: str


COUNTRIES = (
    Country("France", "Lyon", "Paris", "French"),
    Country("Italy", "Milan", "Rome", "Italian"),
    Country("Germany", "Munich", "Berlin", "German"),
    Country("Spain", "Seville", "Madrid", "Spanish"),
    Country("Japan", "Osaka", "Tokyo", "Japanese"),
    Country("China", "Shanghai", "Beijing", "Chinese"),
    Country("Russia", "Kazan", "Moscow", "Russian"),
    Country("Greece", "Patras", "Athens", "Greek"),
    Country("Egypt", "Luxor", "Cairo", "Arabic"),
    Country("Turkey", "Istanbul", "Ankara", "Turkish"),
    Country("Poland", "Gdansk", "Warsaw", "Polish"),
    Country("Sweden", "Uppsala", "Stockholm", "Swedish"),
    Country("Norway", "Bergen", "Oslo", "Norwegian"),
    Country("Denmark", "Aarhus", "Copenhagen", "Danish"),
    Country("Portugal", "Porto", "Lisbon", "Portuguese"),
    Country("Hungary", "Szeged", "Budapest", "Hungarian"),
    Country("Finland", "Turku", "Helsinki", "Finnish"),
    Country("Korea", "Busan", "Seoul", "Korean"),
    Country("Vietnam", "Hue", "Hanoi", "Vietnamese"),
    Country("Thailand", "Phuket", "Bangkok", "Thai"),
    Country("Ukraine", "Odessa", "Kiev", "Ukrainian"),
    Country("Romania", "Cluj", "Bucharest", "Romanian"),
    Country("Bulgaria", "Varna", "Sofia", "Bulgarian"),
    Country("Croatia", "Split", "Zagreb", "Croatian"),
    Country("Iran", "Shiraz", "Tehran", "Persian"),
    Country("Iraq", "Basra", "Baghdad", "Arabic"),
    Country("Austria", "Graz", "Vienna", "German"),
    Country("Peru", "Cusco", "Lima", "Spanish"),
    Country("Cuba", "Santiago", "Havana", "Spanish"),
    Country("Kenya", "Mombasa", "Nairobi", "Swahili"),
)
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
