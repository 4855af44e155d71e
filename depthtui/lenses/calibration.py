"""The texts that a lens is fitted on, and the texts that it is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from depthtui.errors import DepthError
from depthtui.files import open_regular, parse_json, system_reason

WRITTEN = "written by the model"
"""The source of texts that are not from a file."""


LONGEST = 1024
"""The most tokens of a text that are read; further tokens add little but time."""

_ONE_IN = 10
"""One text in this many is held out."""

_LARGEST_FILE = 64 << 20


@dataclass(frozen=True)
class Calibration:
    """Texts as token ids, each `[T]`.

    Attributes:
        fitting_texts: the texts that a lens is fitted on.
        held_out: the texts that it is tested on.
        source: where they come from, in words.
        digest: changes with the texts.
    """

    fitting_texts: Sequence[Tensor]
    held_out: Sequence[Tensor]
    source: str
    digest: str

    @classmethod
    def of(cls, texts: Sequence[Tensor], source: str, digest: str) -> Calibration:
        """Hold out every tenth text, or one of fewer than ten.

        Raises:
            DepthError: there are fewer than two texts of two tokens or more.
        """
        usable = [ids[:LONGEST] for ids in texts if len(ids) > 1]
        if len(usable) < 2:
            raise DepthError(
                f"The texts of a lens ({source}) are fewer than two of two tokens or more.",
                "It is tried on texts that it is not fitted on: give more of them.",
            )
        every = min(_ONE_IN, len(usable))
        held_out = usable[every - 1 :: every]
        fitting_texts = [ids for place, ids in enumerate(usable) if place % every != every - 1]
        return cls(fitting_texts, held_out, source, digest)

    @property
    def tokens(self) -> int:
        """How many tokens a map is fitted on: token 0 of each text is left out."""
        return sum(len(ids) - 1 for ids in self.fitting_texts)


def read_texts(path: Path, largest: int = _LARGEST_FILE) -> tuple[list[str], str]:
    """The texts of a file, and a digest of it.

    A `.jsonl` file has one object with `text` per line; in any other file each line is a text.

    Args:
        path: the file.
        largest: most bytes that it may have.

    Raises:
        DepthError: the file cannot be read, or has other contents.
    """
    try:
        with open_regular(path) as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise DepthError(
            f"The calibration texts {path} cannot be read: {system_reason(error)}.",
            "Give a file of JSON lines with `text`, or of plain lines.",
        ) from error
    if len(data) > largest:
        raise DepthError(f"{path} is larger than {largest >> 20} MiB.", "Give a part of it.")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DepthError(f"{path} is not UTF-8.", "Save the file as UTF-8.") from error
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        texts = [_text_of(line, f"{path}, line {number}") for number, line in numbered]
    else:
        texts = [line for line in lines if line.strip()]
    return texts, hashlib.sha256(data).hexdigest()[:16]


def _text_of(line: str, place: str) -> str:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DepthError(f"{place} is not JSON.", 'A line is such as {"text": "…"}.') from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text:
        raise DepthError(f"{place} has no `text`.", 'A line is such as {"text": "…"}.')
    return text
