"""Formats of other packages: what they must be, and whose error it is where they raise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from depthtui.errors import DepthError
from depthtui.plugins import Plugin, PluginError, check_place, check_value, load_plugins, raising
from depthtui.report.format import Format, Subject

if TYPE_CHECKING:
    from depthtui.report.blocks import Document, Figure
    from depthtui.report.look import Look

_OTHER_FILES = (b"", b"#!/bin/sh\necho a file of the user's own\n", b"\x00\x01 9 \xff" * 9)
"""Files of other programs, which no pattern of a format may match."""

SUBJECTS: tuple[Subject, ...] = ("runs", "sweeps")


@dataclass(frozen=True)
class PluginFormat(Format):
    """A format of another package, whose errors name it.

    Attributes:
        plugin: the plug-in that it comes from.
    """

    plugin: Plugin | None = None

    def render(self, document: Document) -> bytes:
        """The document in this format.

        Raises:
            PluginError: the renderer raised, or made a file that depthtui would not know again.
        """
        assert self.plugin is not None
        content = raising(self.plugin, super().render)(document)
        return self._checked(content)

    def draw(self, figure: Figure, look: Look) -> bytes:
        """A figure with a look in this format.

        Raises:
            PluginError: as by `render`.
        """
        assert self.plugin is not None
        return self._checked(raising(self.plugin, super().draw)(figure, look))

    def _checked(self, content: Any) -> bytes:
        assert self.plugin is not None
        if not isinstance(content, bytes):
            raise PluginError(
                self.plugin, f"made a value of type {type(content).__name__}, not bytes"
            )
        if not re.match(self.begins, content, re.DOTALL):
            raise PluginError(self.plugin, "made a file that does not begin as its `begins` has it")
        return content


def with_plugins(built_in: Iterable[Format]) -> dict[str, Format]:
    """The formats by name, and behind them those of plug-ins."""
    formats: Mapping[str, Format] = {format_.name: format_ for format_ in built_in}
    others = load_plugins("format", formats, _accepted)
    return {**formats, **{other.name: other for other in others}}


def _accepted(value: Any, plugin: Plugin) -> PluginFormat:
    """The format of a plug-in.

    Raises:
        DepthError: it cannot be one; the error is a clause.
    """
    format_ = check_value(value, Format, plugin)
    if format_.data or format_.knows:
        raise DepthError("its `data` or `knows` is set, which is for depthtui's own formats")
    if not (format_.renderer or format_.figure):
        raise DepthError("it has neither a renderer nor a figure")
    for field in ("renderer", "figure"):
        if place := getattr(format_, field):
            check_place(place, field)
    if any(re.match(format_.begins, other, re.DOTALL) for other in _OTHER_FILES):
        raise DepthError("its `begins` matches any file, so that it might replace any")
    if not set(format_.subjects) <= set(SUBJECTS):
        raise DepthError(f"its subjects are not among {', '.join(SUBJECTS)}")
    values = {field.name: getattr(format_, field.name) for field in fields(Format)}
    return PluginFormat(**values, plugin=plugin)
