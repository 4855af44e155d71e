"""Runs chat templates, which are programs that a model brings, with little memory and time."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import psutil

from depthtui.errors import DepthError, first_line

_MOST_MEMORY = 1 << 30
"""Bytes that a template may add to this process."""

_MOST_SECONDS = 10.0
"""Seconds of computing time, which pass more slowly on a busy machine."""

_MOST_CHARACTERS = 1 << 20
"""Characters by which the text may be longer than the question."""

_HINT = "Turn the chat template off, or use a copy of the model with another one."


def wrapped_question(tokenizer: Any, question: str) -> str:
    """A question as a turn of a conversation, up to the model's answer.

    Raises:
        DepthError: the tokenizer has no chat template, or its template fails, writes far more
            than the question, or takes too long.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise DepthError(
            "This model's tokenizer has no chat template.", "Turn the chat template off."
        )
    messages = [{"role": "user", "content": question}]
    try:
        with _little_memory(), _little_time():
            text = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
    except MemoryError:
        raise DepthError("The model's chat template takes too much memory.", _HINT) from None
    except _TooLong:
        raise DepthError("The model's chat template takes too long.", _HINT) from None
    except Exception as error:
        # A syntax error, or refused by the sandbox or by the template itself.
        raise DepthError(
            f"The model's chat template cannot be used: {first_line(error)}.", _HINT
        ) from error
    if not isinstance(text, str) or len(text) > len(question) + _MOST_CHARACTERS:
        raise DepthError("The model's chat template writes far more than the prompt.", _HINT)
    return text


@contextmanager
def _little_memory() -> Iterator[None]:
    """Make a single operation that asks for gigabytes raise a MemoryError."""
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + _MOST_MEMORY
    if before != resource.RLIM_INFINITY:
        limit = min(limit, before)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError):
        # Some systems have no such limit.
        limit = before
    try:
        yield
    finally:
        if limit != before:
            resource.setrlimit(resource.RLIMIT_AS, (before, hard))


class _TooLong(Exception):
    """The time limit is exceeded."""


@contextmanager
def _little_time() -> Iterator[None]:
    """Raise `_TooLong` in this thread's Python code when the time is over."""
    end = time.thread_time() + _MOST_SECONDS

    def look(_frame: FrameType, _event: str, _argument: object) -> Any:
        if time.thread_time() > end:
            raise _TooLong
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
