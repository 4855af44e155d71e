"""Prompt files, good and bad."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts import prompt_files
from depthtui.prompts.asking import Asking
from depthtui.prompts.prompt_files import ask_prompts, parse_prompts, read_prompts
from depthtui.prompts.tasks import make_prompts
from tests.hostile import BROKEN, HOSTILE
from tests.odd_files import ODD_FILES, put_odd_file


def write(folder: Path, data: bytes | str, name: str = "prompt.txt") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


CHOICES = '["b", "c"]'


def choices_line(choices: str) -> str:
    return f'{{"text": "ab", "answer": "b", "choices": {choices}}}'


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("The sky is", "The sky is"),
        ("The sky is\n", "The sky is"),
        ("The sky is\r\n", "The sky is"),
        ("a\nb\n\n", "a\nb\n"),
        ("  indented \n", "  indented "),
        ("\ufeffmark", "mark"),
        ('{"text": "not JSON lines"}', '{"text": "not JSON lines"}'),
    ],
)
def test_plain_text_is_one_prompt(tmp_path: Path, data: str, text: str) -> None:
    assert read_prompts(write(tmp_path, data)) == [Prompt(text, task="file")]


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"text": "2 + 2 = 4", "answer": "4", "task": "sums", "level": "1"},
        {"text": "a\u2028b", "level": 3, "id": "ignored"},
        {"text": "x", "answer": None},
        {"text": "1 + 1 = 2", "answer": "2", "contrast": "1 + 2 = 3"},
    ]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n"
    for name in ("prompts.jsonl", "prompts.JSONL", "prompts.ndjson"):
        assert read_prompts(str(write(tmp_path, "\ufeff" + lines, name))) == [
            Prompt("2 + 2 = 4", "4", "sums", "1"),
            Prompt("a\u2028b", "", "file", "3"),
            Prompt("x", task="file"),
            Prompt("1 + 1 = 2", "2", "file", contrast="1 + 2 = 3"),
        ]


def test_ladder_files_are_prompt_files() -> None:
    path = Path(prompt_files.__file__).with_name("grade_school.jsonl")
    read = read_prompts(path)
    prompts = make_prompts("grade_school", count=len(read))
    assert [(prompt.text, prompt.answer) for prompt in read] == [
        (text.text, text.answer) for text in prompts
    ]


def test_hostile_text_survives(tmp_path: Path) -> None:
    for text in HOSTILE.values():
        data = json.dumps({"text": "x" + text, "answer": text})
        # JSON reads two escaped halves of a character as that character.
        whole = text.replace("\ud83d\ude00", "\U0001f600")
        assert parse_prompts(data, "p", True) == [Prompt("x" + whole, whole, "file")]
        if text not in BROKEN.values():
            path = write(tmp_path, f"x{text}y\n")
            assert [prompt.text for prompt in read_prompts(path)] == [f"x{text}y"]


def test_choices_are_options_beside_the_answer() -> None:
    assert parse_prompts(choices_line('["c", "b"]'), "p", True) == [
        Prompt("ab", "b", "file", choices=("c", "b"))
    ]
    assert parse_prompts(choices_line("null"), "p", True) == [Prompt("ab", "b", "file")]


def test_every_prompt_of_a_file_needs_choices_where_they_are_asked_for() -> None:
    prompts = parse_prompts(f'{choices_line(CHOICES)}\n{{"text": "ab"}}', "p", True)
    assert ask_prompts(prompts[:1], "p", Asking(choices=True)) == prompts[:1]
    with pytest.raises(DepthError, match="p: prompt 2 has no choices") as caught:
        ask_prompts(prompts, "p", Asking(choices=True))
    assert '"choices": [' in caught.value.hint
    assert ask_prompts(prompts, "p", Asking()) == prompts


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "p, line 2 is not JSON"),
        ("[" * 100_000, "p, line 2 is not JSON"),
        ("[1]", "p, line 2 is not a JSON object"),
        ('"text"', "p, line 2 is not a JSON object"),
        ("{}", "p, line 2 has no text"),
        ('{"text": ""}', "p, line 2 has no text"),
        ('{"text": 3}', "p, line 2: `text` is not a string"),
        ('{"text": ["a"]}', "p, line 2: `text` is not a string"),
        ('{"text": "ab", "answer": "a"}', "p, line 2: the answer is not the end of the text"),
        ('{"text": "ab", "answer": 5}', "p, line 2: `answer` is not a string"),
        ('{"text": "ab", "task": {}}', "p, line 2: `task` is not a string"),
        ('{"text": "ab", "level": 1.5}', "p, line 2: `level` is not a string"),
        ('{"text": "ab", "level": true}', "p, line 2: `level` is not a string"),
        (choices_line('"b"'), "p, line 2: `choices` is not a list of texts"),
        (choices_line('["b", 3]'), "p, line 2: `choices` is not a list of texts"),
        (choices_line("[]"), "p, line 2: `choices` is empty"),
        (choices_line('["b"]'), "p, line 2: there is one choice, not two or more"),
        (choices_line('["b", " "]'), "p, line 2: a choice is empty"),
        (choices_line('["b", "c", "c"]'), "p, line 2: two choices are 'c'"),
        (choices_line('["b", "bc"]'), "p, line 2: the choice 'b' is the beginning of 'bc'"),
        (choices_line('["c", "d"]'), "p, line 2: the answer 'b' is none of the choices"),
        (
            '{"text": "b", "answer": "b", "choices": ["b", "c"]}',
            "p, line 2: there is no question before the choices",
        ),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(DepthError) as caught:
        parse_prompts('{"text": "good"}\n' + line, "p", True)
    assert message in caught.value.message
    assert caught.value.hint
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("jsonl", [True, False])
@pytest.mark.parametrize("data", ["", "\n", " \n\t\r\n"])
def test_nothing_in_it(data: str, jsonl: bool) -> None:
    with pytest.raises(DepthError, match="p holds no prompt"):
        parse_prompts(data, "p", jsonl)


def test_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match=r"prompt\.txt, line 2 is not UTF-8"):
        read_prompts(write(tmp_path, b"good\nb\xe4d\n"))
    with pytest.raises(DepthError, match="not UTF-8"):
        read_prompts(write(tmp_path, "text".encode("utf-16"), "p.jsonl"))


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_files, "LARGEST_FILE", 1 << 20)
    assert len(read_prompts(write(tmp_path, b"x" * (1 << 20)))[0].text) == 1 << 20
    with pytest.raises(DepthError, match="larger than 1 MiB"):
        read_prompts(write(tmp_path, b"x" * ((1 << 20) + 1)))


@pytest.mark.parametrize("kind", ODD_FILES)
def test_what_is_no_ordinary_file(tmp_path: Path, kind: str) -> None:
    put_odd_file(tmp_path / "odd.jsonl", kind)
    with pytest.raises(DepthError, match=r"odd\.jsonl"):
        read_prompts(tmp_path / "odd.jsonl")


def test_folder_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="is a folder"):
        read_prompts(tmp_path)
    with pytest.raises(DepthError, match="There is no file"):
        read_prompts(tmp_path / "none.txt")
    with pytest.raises(DepthError, match="cannot be read"):
        read_prompts(write(tmp_path, "x") / "below-a-file.txt")
    with pytest.raises(DepthError):
        read_prompts(str(tmp_path / "nul\0inside"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path, "x")
    path.chmod(0)
    with pytest.raises(DepthError, match="cannot be read"):
        read_prompts(path)
