"""Calls of the engine that every rank of a model makes: rank 0 sends each to the others.

A call is sent as JSON before it starts, and the others make it too, on an engine of their own whose
events are discarded and which keeps nothing (`engine.followers`). So commands, sweeps and the
explorer run at rank 0 alone. A program whose ranks all make the same calls themselves, as with
`analyze`, sends none.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from depthtui.data.plain import to_plain
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.parallel.agreements import any_rank, first_rank_bytes
from depthtui.parallel.ending import (
    STOPPED,
    end_group,
    end_unless_met_by_all,
    forget_interrupt,
    handles_ctrl_c,
    steered,
)
from depthtui.parallel.group import join, joined, ranks_started

Method = TypeVar("Method", bound=Callable[..., Any])

_CALL = "the next call"

_depth = 0
"""The nesting depth of engine calls that all ranks make."""


def on_every_rank(method: Method, has_checkpoints: bool = True) -> Method:
    """Wrap a method of the engine that runs the model: the other ranks call it too.

    Its control and its callbacks stay at rank 0. `has_checkpoints` is whether all ranks reach its
    checkpoints together, so that it can be stopped there.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def called_everywhere(self: Any, *args: Any, **kwargs: Any) -> Any:
        group = joined()
        if group is None or not group.sends_calls or _depth:
            return method(self, *args, **kwargs)
        if group.rank == 0:
            arguments = signature.bind(self, *args, **kwargs).arguments
            del arguments["self"]
            send({"name": method.__name__, "arguments": _plain_arguments(arguments)})
        with _one_call(has_checkpoints):
            return method(self, *args, **kwargs)

    return cast("Method", called_everywhere)


@contextmanager
def _one_call(has_checkpoints: bool) -> Iterator[None]:
    """Wrap a call that all ranks begin and end together."""
    global _depth
    _depth += 1
    try:
        with steered() if has_checkpoints else contextlib.nullcontext():
            yield
    except DepthError:
        _end_call()
        raise
    except KeyboardInterrupt:
        end_group(STOPPED, by_ctrl_c=True)
    except Exception as error:
        end_unless_met_by_all(error)
        _end_call()
        raise
    else:
        _end_call()
    finally:
        _depth -= 1


def _end_call() -> None:
    """Wait for the other ranks, and stop where ctrl-c was pressed at any of them."""
    was_interrupted = any_rank("ctrl-c", forget_interrupt())
    group = joined()
    if was_interrupted and group is not None and group.rank == 0 and handles_ctrl_c():
        raise KeyboardInterrupt


def loading_on_every_rank(method: Method) -> Method:
    """Wrap a method that loads a model: each rank reads its own part, in its own time."""
    return on_every_rank(method, has_checkpoints=False)


def one_process_only(method: Method) -> Method:
    """Wrap a method that needs a whole model: ranks are refused."""

    @functools.wraps(method)
    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        if joined() is not None:
            raise DepthError(
                "This needs a model whose weights are whole in one process.",
                "Start it without ranks.",
            )
        return method(self, *args, **kwargs)

    return cast("Method", refused)


def over_ranks(spec: ModelSpec) -> ModelSpec:
    """Spread a model over all ranks that were started, unless it asks for a number of ranks."""
    group = joined()
    if spec.tensor_parallel > 1:
        if group is None and spec.tensor_parallel == ranks_started():
            join()
        return spec
    return replace(spec, tensor_parallel=group.size) if group is not None else spec


def send(message: dict[str, Any]) -> None:
    """Send a message from rank 0 to the others, which wait for it in `next_message`."""
    first_rank_bytes(_CALL, lambda: json.dumps(message, default=str).encode(), patient=True)


def next_message() -> Any:
    """Wait for the next message of rank 0; None where no more come."""
    data = first_rank_bytes(_CALL, lambda: None, patient=True)
    return None if data is None else json.loads(data)


def dismiss() -> None:
    """Tell the other ranks that no more calls come."""
    group = joined()
    if group is not None and group.sends_calls and group.rank == 0:
        first_rank_bytes(_CALL, lambda: None, patient=True)


def _plain_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call as JSON values, without those that belong to rank 0 alone."""
    plain: dict[str, Any] = {}
    for name, value in arguments.items():
        if name == "control" and value is not None and value.stepping:
            plain["control"] = True
        elif is_dataclass(value) or isinstance(value, str | int | float):
            plain[name] = to_plain(value)
        elif isinstance(value, Path):
            plain[name] = str(value)
    return plain
