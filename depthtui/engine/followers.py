"""Every rank of a model makes the same engine calls: rank 0 sends each call to the others.

A call is sent as JSON before it starts, and the others make it too, on an engine of their own whose
events are discarded and which keeps nothing. So commands, sweeps and the explorer run at rank 0
alone. A program whose ranks all make the same calls themselves, as with `analyze`, sends none.
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
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run_settings import ModelSpec
from depthtui.engine.control import Control
from depthtui.errors import DepthError
from depthtui.log import log_bug
from depthtui.parallel.agreements import any_rank, first_rank_bytes
from depthtui.parallel.ending import (
    STOPPED,
    end_group,
    end_unless_met_by_all,
    forget_interrupt,
    handles_ctrl_c,
    steered,
)
from depthtui.parallel.group import is_led, join, joined, ranks_started

if TYPE_CHECKING:
    from depthtui.engine.engine import Engine
    from depthtui.engine.factory import Storage

Method = TypeVar("Method", bound=Callable[..., Any])

_CALL = "the next call"
_FOLDERS = ("cache_dir", "models_dir")

_depth = 0
"""The nesting depth of engine calls that all ranks make."""


def on_every_rank(method: Method) -> Method:
    """Wrap a method of the engine that runs the model: the other ranks call it too.

    Its control and its callbacks stay at rank 0.
    """
    signature = inspect.signature(method)
    has_checkpoints = "readout_only" not in signature.parameters

    @functools.wraps(method)
    def called_everywhere(self: Any, *args: Any, **kwargs: Any) -> Any:
        group = joined()
        if group is None or not group.sends_calls or _depth:
            return method(self, *args, **kwargs)
        if group.rank == 0:
            arguments = signature.bind(self, *args, **kwargs).arguments
            _send({"name": method.__name__, "arguments": _plain_arguments(arguments)})
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


def share_engine(storage: Storage) -> None:
    """Let the other ranks make an engine too, which finds models in the same folders."""
    if is_led() and join().rank == 0:
        folders = {name: str(getattr(storage, name)) for name in _FOLDERS}
        _send({"storage": vars(storage) | folders})


def _follower(storage: dict[str, Any]) -> Engine:
    """The engine of a rank other than rank 0."""
    from depthtui.engine.factory import Storage, make_engine

    folders = {name: Path(storage[name]) for name in _FOLDERS}
    engine_storage = Storage(**storage | folders | {"keep_results": False})
    return make_engine(engine_storage, lambda event: None, lambda notice: None, log_bug)


def dismiss() -> None:
    """Tell the other ranks that no more calls come."""
    group = joined()
    if group is not None and group.sends_calls and group.rank == 0:
        first_rank_bytes(_CALL, lambda: None, patient=True)


def follow() -> None:
    """Make the calls that rank 0 sends, until it announces that no more come."""
    engine: Engine | None = None
    while (data := first_rank_bytes(_CALL, lambda: None, patient=True)) is not None:
        message = json.loads(data)
        if "storage" in message:
            engine = _follower(message["storage"])
            continue
        assert engine is not None
        # Rank 0 reports errors.
        with contextlib.suppress(DepthError):
            method = getattr(engine, message["name"])
            method(**_arguments(method, message["arguments"]))


def _send(call: dict[str, Any]) -> None:
    first_rank_bytes(_CALL, lambda: json.dumps(call).encode(), patient=True)


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


def _arguments(method: Callable[..., Any], plain: dict[str, Any]) -> dict[str, Any]:
    """A method's arguments, from JSON values."""
    hints = get_type_hints(method)
    arguments: dict[str, Any] = {}
    for name, value in plain.items():
        kind: Any = hints[name]
        if name == "control":
            arguments[name] = Control(step=True)
        elif kind is Path:
            arguments[name] = Path(value)
        else:
            is_plain = not is_dataclass(kind)
            arguments[name] = value if is_plain else from_plain(kind, value)
    return arguments
