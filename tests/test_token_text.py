"""Tokens become safe and printable_line, and exactly as wide as they say."""

from __future__ import annotations

import ast
import unicodedata
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from depthtui.token_text import CONTINUED, fit, printable, whole_characters
from tests.hostile import HOSTILE

LEFT_TO_RIGHT_MARK = "\u200e"

NAMES = {"name", "title", "words", "folder", "path", "place"}
"""Last words of values that a user, a file or another package has named."""


def unsafe_prints(module: ast.AST) -> Iterator[str]:
    """Calls that give rich's print or a toast a text with markup, or print a name as it is."""
    for call in ast.walk(module):
        function = call.func if isinstance(call, ast.Call) else call
        name = getattr(function, "attr", getattr(function, "id", ""))
        if not isinstance(call, ast.Call) or name not in ("print", "echo", "notify"):
            continue
        parts = [part for text in call.args for part in getattr(text, "values", [])]
        values = [part.value for part in parts if isinstance(part, ast.FormattedValue)]
        has_markup = name != "echo" and all(word.arg != "markup" for word in call.keywords)
        is_of_rich = isinstance(function, ast.Attribute) and has_markup
        last = {ast.unparse(value).rpartition(".")[2] for value in values}
        if values and (is_of_rich or (name != "notify" and last & NAMES)):
            yield ast.unparse(call)


def test_what_others_have_named_is_printed_without_markup_and_escapes(
    package: dict[str, ast.Module],
) -> None:
    drawn = [module for path, module in package.items() if path.startswith(("cli/", "tui/"))]
    assert [call for module in drawn for call in unsafe_prints(module)] == []
    for code in ("console.print(f'{x}')", "click.echo(f'{file.name}')", "print(f'{path}')"):
        assert list(unsafe_prints(ast.parse(code)))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (" is", "·is"),
        ("\n", "↵"),
        ("a\tb\r\n", "a⇥b␍↵"),
        ("\x1b[31m", "␛[31m"),
        ("\x00\x07\x7f", "␀␇␡"),
        ("\x9b2J", "\\u009b2J"),
        ("\u200b", "\\u200b"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud83d", "\\ud83d"),
        ("\ufffd", "\ufffd"),
        ("\u00a0", "⍽"),
        ("\udcf0\udc9f", "\\xf0\\x9f"),
        ("\U000e0001", "\\U000e0001"),
        ("", "∅"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        (" \u0301", "·◌\u0301"),
        ("[/bold]", "[/bold]"),
        ("深度", "深度"),
        ("😀", "😀"),
    ],
)
def test_what_a_token_looks_like(raw, shown):
    assert printable(raw) == shown


def test_right_to_left_text_cannot_reorder_the_row():
    assert printable("\u05d0\u05d1") == f"{LEFT_TO_RIGHT_MARK}\u05d0\u05d1{LEFT_TO_RIGHT_MARK}"


def test_piled_up_marks_are_cut():
    assert printable("Z" + "\u0300" * 40).count("\u0300") <= 3


def test_nothing_dangerous_comes_out():
    for text in HOSTILE.values():
        output = printable(text)
        assert output, text
        output.encode()
        for char in output.replace(LEFT_TO_RIGHT_MARK, ""):
            kind = unicodedata.category(char)
            assert kind not in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}, text
            assert char != " ", text


@pytest.mark.parametrize("width", [0, 1, 2, 3, 7, 20])
def test_fit_is_exactly_as_wide_as_asked(width):
    for text in HOSTILE.values():
        output = fit(text, width)
        assert cell_len(output) == width
        assert cell_len(output) == sum(map(cell_len, output))


def test_fit_cuts_with_an_ellipsis_and_pads():
    assert fit("abcdef", 4) == "abc…"
    assert fit("ab", 4) == "ab  "
    assert fit("深度学习", 4) == "深… "
    assert fit("abcd", 4) == "abcd"


def test_a_character_of_several_tokens_stands_in_the_first() -> None:
    def bytes_of(text: str) -> list[str]:
        return [bytes([byte]).decode(errors="surrogateescape") for byte in text.encode()]

    assert whole_characters(bytes_of("日")) == ["日", CONTINUED, CONTINUED]
    assert whole_characters([" a", *bytes_of("é"), "b"]) == [" a", "é", CONTINUED, "b"]
    # A token may end one character and begin the next.
    first, second, third = bytes_of("日本")[:2], bytes_of("日本")[2:4], bytes_of("日本")[4:]
    tokens = ["".join(first), "".join(second), "".join(third)]
    assert whole_characters(tokens) == ["日", "本", CONTINUED]
    assert whole_characters(["a", "", "b"]) == ["a", "", "b"]


def test_bytes_that_make_no_character_stay_as_they_are() -> None:
    broken = ["\udce6", "a", "\udc97"]
    assert whole_characters(broken) == broken
    joined = whole_characters(["\udce6\udc97", "x"])
    assert joined == ["\udce6\udc97", "x"]
    half = ["\ud83d", "\udce6"]
    assert whole_characters(half) == half
