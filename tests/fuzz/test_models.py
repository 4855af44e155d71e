"""The files of a model: weights, configuration, tokenizer, GGUF."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError
from depthtui.models.catalog import on_disk, weight_files
from depthtui.models.checked_config import read_checked_config
from depthtui.models.conversion import convert
from depthtui.models.integrity import check_safetensors
from depthtui.models.loading import load_tokenizer
from tests.fuzz.fuzzing import MANY, examples, fuzz, mutated, mutated_json, with_each_piece
from tests.tiny_gguf import tiny_gguf
from tests.tiny_models import tiny_folder

SMALL = 20_000
"""Bytes; changes of longer files would mostly hit weights."""


def use(folder: Path) -> None:
    """Load a model and run a prompt through it."""
    nothing = open_store(None, 0, lambda notice: None)
    engine = Engine(nothing, folder.parent / "models", lambda event: None, on_bug=lambda error: 0)
    with suppress(DepthError):
        engine.load(ModelSpec(str(folder)))
        engine.run(Prompt("The river was high"), RunSettings())


@examples
def test_headers_of_safetensors(count: int, home: Path) -> None:
    folder = tiny_folder(home)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")

    header = json.loads(whole[8:length])

    def read(changed: bytes) -> None:
        path.write_bytes(changed + whole[length:])
        with suppress(DepthError):
            check_safetensors(path)
            if count == MANY:
                use(folder)

    def with_length(text: bytes) -> bytes:
        return len(text).to_bytes(8, "little") + text

    changed = mutated_json([header]).map(lambda value: json.dumps(value).encode())
    inputs = mutated([whole[:length]]) | changed.map(with_length)
    first = [with_length(text) for text in with_each_piece(whole[8:length])]
    fuzz(read, inputs, count, first)


@examples
def test_headers_of_gguf(count: int, home: Path) -> None:
    tiny_gguf(home / "whole.gguf")
    whole = (home / "whole.gguf").read_bytes()

    def read(header: bytes) -> None:
        (home / "model.gguf").write_bytes(header + whole[SMALL:])
        shutil.rmtree(home / "out", ignore_errors=True)
        (home / "out").mkdir()
        with suppress(DepthError):
            convert(home / "model.gguf", home / "out", lambda event: None)

    fuzz(read, mutated([whole[:SMALL]]), count)


@examples
def test_configurations(count: int, home: Path) -> None:
    folder = tiny_folder(home)
    path = folder / "config.json"
    original = json.loads(path.read_text())

    def read(body: Any) -> None:
        path.write_text(json.dumps(body))
        with suppress(DepthError):
            read_checked_config(folder)
        if count == MANY:
            use(folder)

    fuzz(read, mutated_json([original]), count)


@examples
@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json"])
def test_tokenizers(count: int, name: str, home: Path) -> None:
    folder = tiny_folder(home)
    path = folder / name
    original = json.loads(path.read_text())

    def read(body: Any) -> None:
        path.write_text(json.dumps(body))
        with suppress(DepthError):
            tokenizer = load_tokenizer(folder)
            vocabulary = Vocabulary(tokenizer)
            for chat_template in (False, True):
                with suppress(DepthError):
                    tokenise(tokenizer, Prompt("The river was high"), chat_template, vocabulary)

    fuzz(read, mutated_json([original]), count)


@examples
def test_lists_of_weights(count: int, home: Path) -> None:
    folder = tiny_folder(home / "models")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    path = folder / "model.safetensors.index.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DepthError):
            assert all(file.parent == folder for file in weight_files(folder))
        on_disk(home / "models")

    original = json.dumps(index).encode()
    fuzz(read, mutated([original]), count, with_each_piece(original))
