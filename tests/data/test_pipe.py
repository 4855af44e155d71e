"""The pipe between the explorer and its engine: the greeting, the lengths, what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest

from depthtui.data import pipe as pipe_module
from depthtui.data.arrays import arrays_of
from depthtui.data.codec import encode
from depthtui.data.lens import LogitLens
from depthtui.data.pipe import LONGEST_MESSAGE, BrokenConnection, Pipe
from depthtui.data.protocol import (
    Event,
    Failed,
    LayerInspected,
    Memory,
    ModelLoaded,
    Notice,
    Quit,
    RunFinished,
    RunStarted,
)
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import ModelSpec
from tests.builders.inspections import inspection
from tests.builders.models import model_info
from tests.builders.results import full_result


@contextmanager
def reading(sent: bytes) -> Iterator[Pipe]:
    """A pipe on which these bytes have arrived, and no more will."""
    with TemporaryFile() as file:
        file.write(sent)
        file.seek(0)
        pipe = Pipe(os.dup(file.fileno()), os.open(os.devnull, os.O_WRONLY))
        yield pipe
        pipe.close()


def sent_by(*messages: Any, greets: bool = True) -> bytes:
    """What an engine sends."""
    with TemporaryFile() as file:
        pipe = Pipe(os.open(os.devnull, os.O_RDONLY), os.dup(file.fileno()))
        if greets:
            pipe.greet()
        for message in messages:
            pipe.send(message)
        pipe.close()
        file.seek(0)
        return file.read()


def why_refused(sent: bytes, greets: bool = False) -> str:
    """Why what is sent is refused; empty where the other side is gone."""
    with reading(sent) as pipe:
        try:
            if greets:
                pipe.await_greeting()
            pipe.receive()
        except BrokenConnection as refusal:
            return str(refusal)
    raise AssertionError("it is not refused")


@pytest.mark.parametrize(
    "printed", [b"", b"Welcome to gpu, depthtui engine {}!\n\x1b[1mNo mining.\x1b[0m\n", b"$ "]
)
def test_messages_come_after_a_greeting_and_whatever_was_printed_before(printed: bytes) -> None:
    with reading(printed + sent_by(Notice("hello"), Quit())) as pipe:
        pipe.await_greeting()
        assert [pipe.receive(), pipe.receive()] == [Notice("hello"), Quit()]
        with pytest.raises(BrokenConnection, match=r"^$"):
            pipe.receive()


def test_what_is_printed_in_place_of_a_greeting_is_kept() -> None:
    with reading(b"depthtui: command not found") as pipe:
        with pytest.raises(BrokenConnection, match=r"^$"):
            pipe.await_greeting()
        assert pipe.printed == "depthtui: command not found"
    assert "other things" in why_refused(b"y\n" * (1 << 20), greets=True)


def test_another_version_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = sent_by()
    monkeypatch.setattr(pipe_module, "__version__", "9.9")
    assert why_refused(sent, greets=True) == (
        "The engine has depthtui 0.1.0 and this explorer 9.9: "
        "install the same version in both places."
    )


def test_other_messages_of_the_same_version_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = sent_by()
    monkeypatch.setattr(pipe_module, "types_by_name", lambda: {"Memory": Memory})
    assert "another depthtui 0.1.0" in why_refused(sent, greets=True)


@pytest.mark.parametrize(
    ("greeting", "why"),
    [
        (sent_by().replace(b"\n", b"\r\n"), "leave out -t"),
        (b"depthtui engine greets: \n", "cannot be read"),
        (b"depthtui engine greets: []\n", "cannot be read"),
        (b"depthtui engine greets: " + b"[" * 100_000 + b"\n", "cannot be read"),
    ],
    ids=["a terminal", "nothing", "a list", "deep"],
)
def test_a_greeting_that_is_none_is_told(greeting: bytes, why: str) -> None:
    assert why in why_refused(greeting, greets=True)


def test_every_truncation_is_the_end() -> None:
    sent = sent_by(Notice("hello"), greets=False)
    for length in range(len(sent)):
        assert why_refused(sent[:length]) == ""


def test_a_length_beyond_all_messages_is_refused_before_anything_is_read() -> None:
    for size in (LONGEST_MESSAGE + 1, 2**64 - 1):
        assert "more than any has" in why_refused(size.to_bytes(8, "little"))
    # As much as it says never comes.
    assert why_refused(LONGEST_MESSAGE.to_bytes(8, "little") + b"x") == ""


def test_a_message_ends_where_it_says() -> None:
    sent = sent_by(Notice("hello"), greets=False)
    size = int.from_bytes(sent[:8], "little")
    for other in (size - 1, size + 1):
        more = other.to_bytes(8, "little") + sent[8:] + b"x"
        assert "another length" in why_refused(more)


RESULT = full_result(Prompt("a b c"))
WRONG_SIZE = full_result(Prompt("a b c"))
WRONG_SIZE.put("logit_lens", full_result(Prompt("a b")).get(LogitLens))  # type: ignore[arg-type]
SOUND: tuple[Event, ...] = (
    ModelLoaded(model_info(ModelSpec("demo"))),
    RunStarted(1, RESULT.tokens),
    RunFinished(1, RESULT, {"logit_lens": "key"}),
    LayerInspected(1, 0, 0, inspection(0, 0, ("a", "b"))),
    LayerInspected(1, 0, 0, None, "busy"),
    Memory(1, 2),
    Failed("No.", "Yes."),
)
ODD: tuple[tuple[Any, str], ...] = (
    (Notice(3), "Notice.message"),  # type: ignore[arg-type]
    (Memory(1, None), "Memory.total"),  # type: ignore[arg-type]
    (Memory(True, 1), "Memory.used"),
    (Failed("", "", 1.5), "Failed.run_id"),  # type: ignore[arg-type]
    (Failed("", "", 1, Prompt("")), "Failed.still_loaded"),  # type: ignore[arg-type]
    (RunFinished(1, None), "RunFinished.result"),  # type: ignore[arg-type]
    (RunFinished(1, RESULT, {"a": 1}), "RunFinished.keys"),  # type: ignore[dict-item]
    (RunStarted(1, PromptTokens(np.zeros(1), [1], 0)), "PromptTokens.texts"),  # type: ignore[list-item]
    (RunStarted(1, PromptTokens([1], ["a"], 0)), "PromptTokens.ids"),  # type: ignore[arg-type]
    (RunFinished(1, WRONG_SIZE), "LogitLens.kl"),
)


def test_messages_hold_what_they_declare() -> None:
    with reading(sent_by(*SOUND, greets=False)) as pipe:
        assert [type(pipe.receive()) for _ in SOUND] == [type(message) for message in SOUND]


@pytest.mark.parametrize(("message", "field"), ODD, ids=[field for _, field in ODD])
def test_a_value_of_another_type_is_refused_by_its_field(message: Any, field: str) -> None:
    assert field in why_refused(sent_by(message, greets=False))


def test_arrays_cross_as_they_are() -> None:
    """A message is little more than its arrays."""
    arrays = sum(array.nbytes for part in RESULT.measured.values() for _, array in arrays_of(part))
    assert arrays < len(encode(RunFinished(1, RESULT))) < arrays + 60_000
