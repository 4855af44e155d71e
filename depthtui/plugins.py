"""Plug-ins: metrics, rules, tasks and formats of other packages, which their entry points name.

An entry point of the group `depthtui.metrics`, `depthtui.rules`, `depthtui.tasks` or
`depthtui.formats` has the name of its value. A plug-in that cannot be used costs itself alone, and
is reported.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, fields
from functools import cache, wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from depthtui.errors import ENDS, DepthError, first_line, named_line, short_repr
from depthtui.returned import fits, hints_of, type_words

GROUPS = {
    "metric": "depthtui.metrics",
    "rule": "depthtui.rules",
    "task": "depthtui.tasks",
    "format": "depthtui.formats",
}
"""The groups of entry points by the kind of value."""

OFF = "DEPTHTUI_NO_PLUGINS"
"""The environment variable that leaves plug-ins out, here and in every process begun from here."""

_Value = TypeVar("_Value")
if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _DataclassValue = TypeVar("_DataclassValue", bound=DataclassInstance)


@dataclass(frozen=True)
class Plugin:
    """A value of another package.

    Attributes:
        kind: kind of the value, a key of `GROUPS`.
        name: its name.
        package, version: the package that it comes from.
        place: where it is, as `module:attribute`.
    """

    kind: str
    name: str
    package: str
    version: str
    place: str

    @property
    def distribution(self) -> str:
        """The package and its version, such as `depthtui-gain 0.1`."""
        return f"{self.package} {self.version}".rstrip()

    def __str__(self) -> str:
        name = self.name if self.name.isidentifier() else short_repr(self.name)
        return f"the {self.kind} {name} of {self.distribution}"


class PluginError(DepthError):
    """A plug-in raised, or made a wrong value.

    Attributes:
        plugin: the plug-in.
        clause: the error, such as `raised ValueError`.
    """

    def __init__(self, plugin: Plugin, clause: str) -> None:
        super().__init__(f"{_capitalised(plugin)} {clause}.")
        self.plugin = plugin
        self.clause = clause


def _capitalised(plugin: Plugin) -> str:
    words = str(plugin)
    return words[0].upper() + words[1:]


@dataclass(frozen=True)
class PluginFailure:
    """A plug-in that cannot be used, or that raised.

    Attributes:
        plugin: the plug-in.
        reason: the reason, as a clause.
        error: the unexpected error behind it; None where there is none.
        is_of_part: whether a part alone is left out, which the reason begins with.
    """

    plugin: Plugin
    reason: str
    error: BaseException | None = None
    is_of_part: bool = False

    def is_like(self, other: PluginFailure) -> bool:
        """Whether another failure is of the same plug-in, for the same reason."""
        return (self.plugin, self.reason) == (other.plugin, other.reason)

    @property
    def sentence(self) -> str:
        """The plug-in and the reason."""
        if self.is_of_part:
            return f"{_capitalised(self.plugin)}: {self.reason}, and is left out."
        return f"{_capitalised(self.plugin)} is left out: {self.reason}."


class _Failures:
    """The failures of this process, each of which is reported once."""

    def __init__(self) -> None:
        self.all: list[PluginFailure] = []
        self._report: Callable[[PluginFailure], None] = _warn

    def add(self, failure: PluginFailure) -> None:
        """Keep and report a failure, where its plug-in has no other for the same reason."""
        if any(failure.is_like(earlier) for earlier in self.all):
            return
        self.all.append(failure)
        self._report(failure)

    def report_to(self, report: Callable[[PluginFailure], None]) -> None:
        """Report failures to another function from here on."""
        self._report = report


def _warn(failure: PluginFailure) -> None:
    from depthtui.token_text import printable_sentence

    warnings.warn(printable_sentence(failure.sentence), stacklevel=2)


_failures = _Failures()


def report_failures_to(report: Callable[[PluginFailure], None]) -> None:
    """Report failures to a function from here on, in the thread of each; they are warnings else."""
    _failures.report_to(report)


def plugin_failures() -> tuple[PluginFailure, ...]:
    """The failures until now."""
    return tuple(_failures.all)


_in_use: dict[tuple[str, str], Plugin] = {}


def plugin_of(kind: str, name: str) -> Plugin | None:
    """The plug-in that a value in use comes from; None for depthtui's own."""
    return _in_use.get((kind, name))


def turn_off() -> None:
    """Leave plug-ins out, here and in every process begun from here."""
    os.environ[OFF] = "1"


def are_off() -> bool:
    """Whether plug-ins are left out."""
    return bool(os.environ.get(OFF))


@cache
def installed_plugins() -> tuple[Plugin, ...]:
    """Every plug-in that is installed, by package and name; none is loaded."""
    return tuple(
        sorted(_plugins(), key=lambda plugin: (plugin.distribution, plugin.kind, plugin.name))
    )


def _plugins() -> Iterator[Plugin]:
    entry_points = importlib.metadata.entry_points()
    for kind, group in GROUPS.items():
        for entry_point in entry_points.select(group=group):
            package = entry_point.dist
            name, version = (package.name, package.version) if package else ("unknown", "")
            yield Plugin(kind, entry_point.name, name, version, entry_point.value)


def plugin_names(kind: str) -> set[str]:
    """The names of the installed plug-ins of a kind, even where they are left out."""
    return {plugin.name for plugin in installed_plugins() if plugin.kind == kind}


def load_plugins(
    kind: str,
    taken: Collection[str],
    accept: Callable[[Any, Plugin], _Value],
) -> list[_Value]:
    """The values of all plug-ins of a kind that can be used, in the order of `installed_plugins`.

    Args:
        kind: a key of `GROUPS`.
        taken: names that plug-ins cannot have.
        accept: checks a loaded value, and returns the one to use.

    Returns:
        The values; none where plug-ins are left out. Each failure is reported.
    """
    if are_off():
        return []
    values: list[_Value] = []
    owners = dict.fromkeys(taken, "depthtui")
    for plugin in installed_plugins():
        if plugin.kind != kind:
            continue
        if plugin.name in owners:
            reason = f"{owners[plugin.name]} has a {kind} of this name"
            _failures.add(PluginFailure(plugin, reason))
            continue
        part = "import"
        try:
            value, part = _loaded(plugin), "check"
            values.append(accept(value, plugin))
            owners[plugin.name] = plugin.distribution
            _in_use[kind, plugin.name] = plugin
        except DepthError as error:
            _failures.add(PluginFailure(plugin, first_line(error), error.__cause__))
        except ENDS:
            raise
        except BaseException as error:
            reason = f"its {part} raised {named_line(error)}"
            _failures.add(PluginFailure(plugin, reason, error))
    return values


def _loaded(plugin: Plugin) -> Any:
    """The value of a plug-in, whose import may raise anything."""
    entry_point = importlib.metadata.EntryPoint(plugin.name, plugin.place, GROUPS[plugin.kind])
    # What it prints is no part of a report on standard output.
    with redirect_stdout(sys.stderr):
        return entry_point.load()


def check_value(value: Any, kind: type[_DataclassValue], plugin: Plugin) -> _DataclassValue:
    """Return a plug-in's value, which must be of a type and have the entry point's name.

    Raises:
        DepthError: it is not, or has another name.
    """
    if not isinstance(value, kind):
        raise DepthError(f"{plugin.place} is of type {type(value).__name__}, not {kind.__name__}")
    name = getattr(value, "name", None)
    if name != plugin.name:
        raise DepthError(f"its entry point is named {plugin.name}, and the value {name}")
    if not re.fullmatch("[a-z][a-z0-9_]*", plugin.name):
        raise DepthError("its name has other characters than small letters, digits and _")
    hints = hints_of(kind)
    for field in fields(kind):
        part = getattr(value, field.name)
        if not fits(part, hints[field.name]):
            raise DepthError(f"its {field.name} is {short_repr(part)}, not of type {field.type}")
    return value


def check_place(place: str, field: str) -> None:
    """Check that a place such as `module:function` has a module, without loading it.

    Raises:
        DepthError: it has none; `field` is the field that names it.
    """
    module, _, function = place.partition(":")
    with suppress(ModuleNotFoundError):
        if function and find_spec(module) is not None:
            return
    raise DepthError(f"its {field} is {place!r}, not the place of a function, as `module:function`")


def raising(plugin: Plugin, function: Callable[..., _Value]) -> Callable[..., _Value]:
    """A function of a plug-in, whose errors are a `PluginError`."""

    @wraps(function)
    def call(*arguments: Any) -> _Value:
        try:
            return function(*arguments)
        except ENDS:
            raise
        except BaseException as error:
            raise PluginError(plugin, f"raised {named_line(error)}") from error

    return call


def no_check(value: Any, *arguments: Any) -> None:
    """A check that every value passes."""


def guarded(
    plugin: Plugin,
    part: str,
    function: Callable[..., _Value],
    instead: Callable[..., Any],
    returns: Any = Any,
    check: Callable[..., None] = no_check,
) -> Callable[..., _Value]:
    """A function of a plug-in that reports an error, and returns the value of another one then.

    Args:
        plugin: the plug-in.
        part: name of the function in the plug-in's value.
        function: the function.
        instead: function of the same arguments.
        returns: the declared type of its values; another one is an error too.
        check: called with a value of this type and the arguments; raises where it is wrong.
    """

    reported: list[PluginFailure] = []

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        failure: BaseException | None = None
        try:
            value: Any = function(*arguments, **options)
            value = list(value) if isinstance(value, Iterator) else value
            if fits(value, returns):
                check(value, *arguments)
                return value
            shown = " ".join(short_repr(value).split())
            clause = f"returned {shown}, not of type {type_words(returns)}"
        except ENDS:
            raise
        except BaseException as error:
            clause, failure = f"raised {named_line(error)}", error
        # Once is enough: it may be called for every cell of a heatmap.
        if not reported:
            reported.append(PluginFailure(plugin, f"its {part} {clause}", failure, True))
            _failures.add(reported[0])
        return instead(*arguments, **options)

    return call


def leave_out(kind: str, name: str, reason: str) -> None:
    """Report that a plug-in in use is left out after all; the reason is a clause."""
    _failures.add(PluginFailure(_in_use.pop((kind, name)), reason))
