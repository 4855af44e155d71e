"""Corpora: every format of file, and windows of exact tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from depthtui.data.run import Prompt
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError
from depthtui.prompts import corpus
from depthtui.prompts.corpus import Corpus, read_corpus
from tests.tiny_models import CORPUS, tiny_tokenizer

ROWS = ["", " = Rivers = \n", "", " The river was high .\n"]
LINES = "\n".join(json.dumps({"text": text, "url": "a.example"}) for text in ROWS)
JOINED = "\n\n".join(ROWS)


def parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ROWS}), path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("wiki.test.raw", b"One.\n\nTwo.\n", "One.\n\nTwo.\n"),
        ("rows.jsonl", LINES.encode(), JOINED),
        ("c4-train.00000-of-00512.json.gz", gzip.compress(LINES.encode()), JOINED),
        ("test-00000-of-00001.parquet", parquet, JOINED),
    ],
    ids=["text", "lines", "packed", "parquet"],
)
def test_a_file_is_read_as_it_comes(name: str, content: object, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content(path) if callable(content) else path.write_bytes(content)  # type: ignore[arg-type]
    assert read_corpus(path, 7, 9) == Corpus(str(path), text, 7, 9)


def test_the_beginning_of_a_large_file_is_read_in_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "LARGEST", 60)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": word}) for word in ("one", "two", "six") * 9))
    assert read_corpus(path, 7, 9).text.split() == ["one", "two", "six"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"content": "a"}', "row without `text`"),
        ("a.txt", b" \n", "has no text"),
        ("a.json.gz", b"{", "cannot be read"),
    ],
)
def test_a_file_without_texts_is_refused(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DepthError, match=words):
        read_corpus(tmp_path / name, 7, 9)


def test_windows_are_the_tokens_of_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each reading but the last one has too few tokens for the windows.
    monkeypatch.setattr(corpus, "_BEHIND", 3)
    tokenizer, text, notices = tiny_tokenizer(), " ".join(CORPUS) * 9, list[str]()
    vocabulary = Vocabulary(tokenizer)

    def read(count: int) -> list[Prompt]:
        whole = Corpus("a.txt", text, 7, count)
        return whole.windows(
            lambda one: tokenise(tokenizer, one, False, vocabulary), notices.append
        )

    ids, windows = tokenizer(text)["input_ids"], read(50)
    again = [tokenise(tokenizer, window, True, vocabulary).ids.tolist() for window in windows]
    assert again == [ids[first : first + 7] for first in range(0, 350, 7)]
    assert any(tokenizer(window.text)["input_ids"] != list(window.ids) for window in windows)
    assert not notices
    assert len(read(len(ids))) == len(ids) // 7
    assert notices == [f"a.txt has {len(ids) // 7} windows of 7 tokens, not {len(ids)}."]
    text = "a"
    with pytest.raises(DepthError, match="has 0 windows of 7 tokens"):
        read(1)
