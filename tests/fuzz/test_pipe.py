"""Messages between the explorer and its engine."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

from depthtui.data.codec import CodecError, decode, encode
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
