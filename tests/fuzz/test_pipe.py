"""Messages between the explorer and its engine."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

from depthtui.data.codec import CodecError, decode, encode
from depthtui.data.pipe import BrokenConnection, Pipe
from depthtui.data.protocol import (
    Configure,
    LoadModel,
    PromptDone,
    RunFinished,
    RunStarted,
    StartRun,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from tests.builders.results import full_result
from tests.fuzz.fuzzing import examples, fuzz, mutated, with_each_piece
from tests.hostile import HOSTILE_PROMPT

RESULT = full_result(Prompt("a b c"))
MESSAGES = (
    Configure("cache", "models", 1 << 30),
    LoadModel(ModelSpec("demo")),
    StartRun(1, Prompt(HOSTILE_PROMPT), RunSettings()),
    RunStarted(1, RESULT.tokens),
    RunFinished(1, RESULT),
    PromptDone(1, 0, "{}"),
)


@examples
def test_messages(count: int) -> None:
    def read(data: bytes) -> None:
        with suppress(CodecError):
            assert dataclasses.is_dataclass(decode(data))

    originals = [encode(message) for message in MESSAGES]
    fuzz(read, mutated(originals), count, with_each_piece(originals[2]))


@examples
def test_what_an_engine_sends(count: int) -> None:
    """Messages with their lengths, from an engine that is not trusted."""

    def read(data: bytes) -> None:
        Path("sent").write_bytes(data)
        pipe = Pipe(os.open("sent", os.O_RDONLY), os.open(os.devnull, os.O_WRONLY))
        with suppress(BrokenConnection):
            pipe.await_greeting()
            while True:
                assert dataclasses.is_dataclass(pipe.receive())
        pipe.close()

    with open("sound", "wb") as file:
        pipe = Pipe(os.open(os.devnull, os.O_RDONLY), os.dup(file.fileno()))
        pipe.greet()
        for message in MESSAGES:
            pipe.send(message)
        pipe.close()
    fuzz(read, mutated([Path("sound").read_bytes()]), count)
