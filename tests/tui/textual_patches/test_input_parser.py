"""Answers of a terminal, and what means nothing, among keys; pastes, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from types import SimpleNamespace

import pytest
from textual.events import Key, Paste, Resize
from textual.message import Message

from depthtui.tui.messages import TerminalShade
from depthtui.tui.textual_patches import input_parser
from depthtui.tui.textual_patches.input_parser import (
    MOST_PASTED,
    PASTE_PATIENCE,
    TolerantParser,
)
from tests.hostile import HOSTILE


def parsed(data: str) -> list[Message]:
    return list(TolerantParser().feed(data))


def words(messages: Iterable[Message]) -> list[str]:
    """The names of keys and the texts of pastes, and nothing else among them."""
    return [each.text if isinstance(each, Paste) else each.key for each in messages]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[1114112u",
        "\x1b[99999999999;1u",
        "\x1b[97;1;1114112u",
        "\x1b[97:65;1u",
        "\x1b[:u",
        "\x1b[999~",
        "\x1b[9A",
        "\x1b[27;5;200~",
    ],
)
def test_a_key_that_means_nothing_is_no_key(sequence: str) -> None:
    assert words(parsed(f"a{sequence}b")) == ["a", "b"]


@pytest.mark.parametrize("window", ["\x1b[48;40;80;0;0t", "\x1b[48;0;0;400;800t"])
def test_a_mouse_in_a_window_of_no_size_is_nowhere(window: str) -> None:
    size, key = parsed(f"{window}\x1b[<0;3;3Mb")
    assert isinstance(size, Resize)
    assert words([key]) == ["b"]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one number."""
    moment = [0.0]
    monkeypatch.setattr(input_parser, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


def test_keys_that_mean_something_are_kept(now: list[float]) -> None:
    assert words(parsed("\x1b[97;5u\x1b[57441u\x1b[A")) == ["ctrl+a", "left_shift", "up"]
    assert words(parsed("\x1bxj\x1b[3$\x1bOP\x1b[[A")) == ["alt+x", "j", "shift+delete", "f1", "f1"]
    for begun, key in {
        "\x1b": "escape",
        "\x1bO": "alt+shift+o",
        "\x1b]": "right_square_bracket",
    }.items():
        parser = TolerantParser()
        assert list(parser.feed(begun)) == []
        now[0] += 0.2
        assert words([*parser.tick(), *parser.feed("j")]) == [key, "j"]


def an_answer(random: Random) -> str:
    """A sequence that no key sends."""

    def some(letters: str, most: int = 40) -> str:
        return "".join(random.choices(letters, k=random.randint(1, most)))

    printable = "".join(map(chr, range(32, 127))) + "é語"
    parameters, ends = "0123456789;:", "".join(map(chr, range(64, 127)))
    match random.randrange(5):
        case 0:
            return f"\x1b[<{random.choice(['NaN', '-', '35;NaN', some(parameters)])};NaN;2M"
        case 1:
            return f"\x1b[{random.choice('=>?')}{some(parameters)}{random.choice(ends)}"
        case 2:
            return f"\x1b[{some(parameters)}{random.choice(' !#%&')}{random.choice(ends)}"
        case 3:
            start, end = random.choice("]PX^_"), random.choice(["\x07", "\x1b\\"])
            return f"\x1b{start}{some(printable, 80)}{end}"
        case _:
            return "\x1b[M" + "".join(random.choices(printable + "\ufffd", k=3))


def test_answers_of_a_terminal_press_no_key_in_whatever_parts_they_come(now: list[float]) -> None:
    random, parser, keys = Random(1), TolerantParser(), list[str]()
    for _ in range(10_000):
        data = an_answer(random)
        place = random.randrange(3, len(data))
        is_cut = random.random() < 0.3
        parts = [data[:place], "" if is_cut else data[place:]]
        for part in filter(None, parts):
            now[0] += 0.5
            keys += [
                each.key for each in (*parser.feed(part), *parser.tick()) if isinstance(each, Key)
            ]
        now[0] += 1.5 * is_cut
        keys += words([*parser.tick(), *parser.feed("q")])
    assert keys == ["q"] * 10_000
    # A control character ends what has no end.
    assert words(parser.feed("\x1b]11;rgb:00\x03")) == ["ctrl+c"]


# Pastes -----------------------------------------------------------------------

START, END = "\x1b[200~", "\x1b[201~"
HOSTILE_PASTES = {
    **HOSTILE,
    "keys": "\x1bx\x1b[A\x1bOP\r\x03q",
    "a key, then many characters": "\x1bx" + " " * 40,
    "escapes alone": "\x1b" * 50,
    "mouse": "\x1b[<0;3;3M\x1b[<0;3;3m\x1b[M !!",
    "focus and reports": "\x1b[I\x1b[O\x1b[24;80R\x1b[?2026;2$y\x1b[48;1;1;0;0t",
    "keyboard protocol": "\x1b[97;5u\x1b[57441u\x1b[1114112u",
    "a start": START,
    "nearly an end": "\x1b[201\x1b[201 ~\x1b\x1b[20\x1b[2001~",
    "an unended sequence": "\x1b[20",
    "an unended string": "\x1b]52;c;",
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_a_paste_is_its_text_in_whatever_parts_it_comes(size: int) -> None:
    for text in HOSTILE_PASTES.values():
        parser = TolerantParser()
        data = f"a{START}{text}{END}b"
        messages: list[Message] = []
        for place in range(0, len(data), size):
            messages += [*parser.feed(data[place : place + size]), *parser.tick()]
        assert words(messages) == ["a", text, "b"]


def test_a_terminal_says_whether_it_is_dark() -> None:
    answers = {
        "\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\": True,
        "\x1b]11;rgb:ff/fb/e0\x07": False,
        "\x1b]11;rgba:0000/0000/0000/ffff\x07": True,
        "\x1b[?997;1n": True,
        "\x1b[?997;2n": False,
    }
    for answer, is_dark in answers.items():
        (message,) = parsed(answer)
        assert isinstance(message, TerminalShade)
        assert message.is_dark == is_dark, answer
    assert parsed("\x1b]11;rgb:dark\x07\x1b[?997;3n\x1b]10;rgb:1/2/3\x07") == []


def test_two_pastes_are_two_and_a_stray_end_is_nothing() -> None:
    messages = parsed(f"{END}{START}one{END}{START}{END}q{END}{START}two{END}")
    assert words(messages) == ["one", "", "q", "two"]


def test_a_paste_without_an_end_takes_no_memory_and_gives_the_keyboard_back(
    now: list[float],
) -> None:
    parser = TolerantParser()
    for _ in range(300):
        assert list(parser.feed(START + "\x1bq words " * 500)) == []
    assert list(parser.feed("\x03")) == []
    now[0] += 0.5
    pasted, *keys = words(parser.feed("\x03q"))
    assert len(pasted) == MOST_PASTED
    assert keys == ["ctrl+c", "q"]
    # Keys that are held down: ctrl-c ends it soon, others within the patience.
    for key, name, pressed in (("\x03", "ctrl+c", 30), ("j", "j", 260)):
        assert list(parser.feed(START)) == []
        keys = []
        for _ in range(pressed):
            now[0] += 0.02
            keys += words([*parser.tick(), *parser.feed(key)])
        assert keys[1:] == [name] * (len(keys) - 1)
        assert len(keys) > 5


def test_a_slow_paste_goes_on_after_a_pause(now: list[float]) -> None:
    messages = [*(parser := TolerantParser()).feed(f"{START}one ")]
    for part in ("two, a part longer than a key ", f"mq x{END}", "q"):
        now[0] += PASTE_PATIENCE + 0.1
        messages += [*parser.tick(), *parser.tick(), *parser.feed(part)]
    assert words(messages) == ["one ", "two, a part longer than a key ", "mq x", "q"]


def test_what_follows_once_the_app_was_waited_for_is_no_pause(now: list[float]) -> None:
    for begun, rest, name in ((f"{START}on", f"e{END}", "one"), ("\x1b[", "A", "up")):
        parser, messages = TolerantParser(), list[Message]()
        for message in parser.feed(f"a{begun}"):
            messages.append(message)
            now[0] += PASTE_PATIENCE + 0.1
        messages += [*parser.tick(), *parser.feed(rest[:1]), *parser.feed(rest[1:])]
        assert words(messages) == ["a", name]


def test_the_input_ends_within_a_paste() -> None:
    parser = TolerantParser()
    assert list(parser.feed(f"{START}words")) == []
    assert list(parser.feed("")) == []
