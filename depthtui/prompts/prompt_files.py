"""Prompts from a file: plain text, or JSON lines."""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path
from typing import Any

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.files import open_regular, parse_json, system_reason
from depthtui.prompts.asking import Asking
from depthtui.prompts.choices import problem_of

LARGEST_FILE = 16 * 1024 * 1024
"""Most bytes of a file; a longer one is hardly a prompt."""


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read the prompts of a file.

    A `.jsonl` file has one prompt per line (see `parse_prompts`), any other file
    is one prompt as a whole.

    Raises:
        DepthError: the file cannot be read, is too large, is not UTF-8, is
            empty, or has a line that is no prompt.
    """
    path = Path(path)
    data = read_bytes(path, LARGEST_FILE)
    return parse_prompts(decode_text(data, str(path)), str(path), is_jsonl(path))


def ask_prompts(prompts: list[Prompt], name: str, asking: Asking) -> list[Prompt]:
    """The prompts of a file as they are asked.

    Args:
        prompts: the prompts.
        name: name of the file in errors.
        asking: how they are asked.

    Raises:
        DepthError: a prompt has no options to choose from where these are asked for, or there
            are too few others.
    """
    for number, prompt in enumerate(prompts, start=1):
        if asking.choices and not prompt.choices:
            raise DepthError(f"{name}: prompt {number} has no choices.", _CHOICES_HINT)
    return asking.ask_stored(prompts, name)


def read_standard_input() -> list[Prompt]:
    """Read the prompts of standard input: JSON lines where each line is an object, or one prompt.

    Raises:
        DepthError: as `read_prompts`.
    """
    name = "standard input"
    text = decode_text(sys.stdin.buffer.read(LARGEST_FILE + 1), name)
    lines = [line for line in text.splitlines() if line.strip()]
    return parse_prompts(text, name, bool(lines) and all(line[0] == "{" for line in lines))


def is_jsonl(path: str | Path) -> bool:
    """Whether a file's name has the ending of JSON lines."""
    return Path(path).suffix.lower() in {".jsonl", ".ndjson"}


def read_bytes(path: Path, largest: int, is_packed: bool = False) -> bytes:
    """A file's bytes, at most one more than `largest`; unpacked where gzip has packed them.

    Raises:
        DepthError: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return (gzip.open(file) if is_packed else file).read(largest + 1)
    except FileNotFoundError as error:
        raise DepthError(f"There is no file {path}.", "Check its name.") from error
    except IsADirectoryError as error:
        raise DepthError(f"{path} is a folder.", "Give a file with a prompt in it.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DepthError(f"{path} cannot be read: {system_reason(error)}.") from error


def decode_text(data: bytes, name: str, largest: int | None = None) -> str:
    """The text of a file's bytes: UTF-8, a byte-order mark dropped.

    Args:
        data: the bytes.
        name: name of the file in errors.
        largest: most bytes, or None for the limit of a prompt file.

    Raises:
        DepthError: there are more bytes than `largest`, or they are not UTF-8.
    """
    largest = LARGEST_FILE if largest is None else largest
    if len(data) > largest:
        raise DepthError(
            f"{name} is larger than {largest >> 20} MiB.",
            "Give a smaller file, or split it.",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DepthError(f"{name}, line {line} is not UTF-8.", "Save the file as UTF-8.") from error


def parse_prompts(data: str, name: str, jsonl: bool) -> list[Prompt]:
    """The prompts in a text.

    Args:
        data: the text.
        name: name of the text in errors, such as the file's path.
        jsonl: whether the text is JSON lines, each an object with `text` (the whole
            text that the model reads) and optionally `answer` (a suffix of
            `text`), `task`, `level`, `contrast` and `choices` (texts, one
            of them the answer); other keys are ignored.
            Otherwise it is one prompt, without the newline at its end.

    Raises:
        DepthError: the text has no prompt, or a line is no prompt.
    """
    if not jsonl:
        text = data.removesuffix("\n").removesuffix("\r")
        prompts = [Prompt(text=text, task="file")] if text.strip() else []
    else:
        prompts = [
            _prompt(line, f"{name}, line {number}")
            for number, line in enumerate(data.split("\n"), start=1)
            if line.strip()
        ]
    if not prompts:
        raise DepthError(f"{name} holds no prompt.", "Write one into it, or give another file.")
    return prompts


def _prompt(line: str, where: str) -> Prompt:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DepthError(f"{where} is not JSON: {error}.", _LINE_HINT) from error
    if not isinstance(row, dict):
        raise DepthError(f"{where} is not a JSON object.", _LINE_HINT)
    text = _string(row, "text", where)
    answer = _string(row, "answer", where)
    if not text:
        raise DepthError(f"{where} has no text.", _LINE_HINT)
    if not text.endswith(answer):
        raise DepthError(
            f"{where}: the answer is not the end of the text.",
            "`text` is the whole text that the model reads, the answer included.",
        )
    others = (_string(row, key, where) for key in ("task", "level", "contrast"))
    task, level, contrast = others
    choices = _choices(row, where)
    prompt = Prompt(text, answer, task or "file", level, contrast, choices=choices)
    if problem := problem_of(prompt):
        raise DepthError(f"{where}: {problem}.", _CHOICES_HINT)
    return prompt


def _choices(row: dict[str, Any], where: str) -> tuple[str, ...]:
    choices = row.get("choices")
    if choices is None:
        return ()
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise DepthError(f"{where}: `choices` is not a list of texts.", _CHOICES_HINT)
    if not choices:
        raise DepthError(f"{where}: `choices` is empty.", _CHOICES_HINT)
    return tuple(choices)


def _string(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if key == "level" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DepthError(f"{where}: `{key}` is not a string.", _LINE_HINT)
    return value


_LINE_HINT = 'A line is an object such as {"text": "2 + 2 = 4", "answer": "4"}.'
_CHOICES_HINT = (
    'A line with choices is an object such as {"text": "2 + 2 = 4", "answer": "4", '
    '"choices": ["3", "4"]}.'
)
