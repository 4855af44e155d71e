"""A corpus: a long text that a model reads in windows of as many tokens, one behind the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depthtui.data.run import Prompt, PromptTokens, joined_text
from depthtui.data.sentence import plural
from depthtui.errors import DepthError
from depthtui.prompts.datasets import WITH_COLUMNS, DatasetRows, rows_of_columns, rows_of_json
from depthtui.prompts.prompt_files import decode_text, read_bytes

LARGEST = 64 << 20
"""Most bytes that are read of a file of text or JSON; what follows is left out."""

BETWEEN = "\n\n"
"""The text between two rows, as in the usual protocol of WikiText-2 (GPTQ, SparseGPT, SLEB)."""

_BEHIND = 256
"""Tokens behind the windows that are read too: a cut through a long text changes its last ones."""


@dataclass(frozen=True)
class Corpus:
    """A text, and the windows to read of it.

    Attributes:
        name: the name of its file, for errors.
        text: the text.
        window: tokens of a window.
        count: the most windows, from the beginning of the text.
    """

    name: str
    text: str
    window: int
    count: int

    def windows(
        self, tokens_of: Callable[[Prompt], PromptTokens], notice: Callable[[str], None]
    ) -> list[Prompt]:
        """The windows as prompts, which have their tokens.

        The text becomes tokens as a whole: a special token stands at its beginning alone, and a
        window may begin within a word. Tokens behind the last whole window are left out.

        Args:
            tokens_of: returns the tokens of a prompt.
            notice: called where there are fewer windows than `count`.

        Raises:
            DepthError: there is no whole window.
        """
        size = n_tokens = self.window * self.count + _BEHIND
        while len(tokens := tokens_of(Prompt(self.text[:size]))) < n_tokens:
            if size >= len(self.text):
                break
            size *= 4
        count = min(self.count, len(tokens) // self.window)
        words = f"{self.name} has {plural(count, 'window')} of {self.window} tokens"
        if not count:
            raise DepthError(f"{words}.", "Give a longer text, or a smaller --window.")
        if count < self.count:
            notice(f"{words}, not {self.count}.")
        parts = [slice(place * self.window, (place + 1) * self.window) for place in range(count)]
        return [
            Prompt(
                joined_text(tokens.texts[part]), task="file", ids=tuple(tokens.ids[part].tolist())
            )
            for part in parts
        ]


def read_corpus(path: Path, window: int, count: int) -> Corpus:
    """The corpus of a file: plain text as it is, or the column `text` of all rows.

    Rows are those of JSON lines, a JSON list, Parquet or Arrow, as WikiText-2 and C4 come. A file
    that ends in `.gz` is unpacked.

    Args:
        path: the file.
        window, count: as in `Corpus`.

    Raises:
        DepthError: the file cannot be read, has no such column, or no text.
    """
    name = path.name.lower()
    if path.suffix.lower() in WITH_COLUMNS:
        text = _joined(rows_of_columns(path))
    else:
        data = read_bytes(path, LARGEST, is_packed=name.endswith(".gz"))
        if len(data) > LARGEST:
            data = data.rpartition(b"\n")[0] or data.rpartition(b" ")[0]
        text = decode_text(data, str(path), LARGEST)
        if name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson")):
            text = _joined(rows_of_json(text, str(path)))
    if not text.strip():
        raise DepthError(f"{path} has no text.", "Give a file with a text in it.")
    return Corpus(str(path), text, window, count)


def _joined(rows: DatasetRows) -> str:
    """The texts of all rows."""
    texts = [rows.row(number).get("text") for number in range(rows.n_rows)]
    if not all(isinstance(text, str) for text in texts):
        raise DepthError(
            f"{rows.where} has a row without `text`.", "Name a column of texts `text`."
        )
    return BETWEEN.join(map(str, texts))
