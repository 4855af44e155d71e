"""A format in which results are written to a file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal, TypeAlias

from depthtui.files import begins_with
from depthtui.installing import install_extra

if TYPE_CHECKING:
    from depthtui.report.blocks import Document, Figure
    from depthtui.report.look import Look

Subject: TypeAlias = Literal["runs", "sweeps"]
"""Subject of a report."""


@dataclass(frozen=True)
class Format:
    """A format in which results are written to a file.

    Attributes:
        name: name on the command line, and ending of its files.
        title: title for people.
        begins: a pattern that the beginning of its files matches, in every version: depthtui
            replaces no other file.
        renderer: function that turns a document into bytes, as `module:function`; empty for a
            format without a file of the whole, or of arrays or records.
        data: subjects that make such a file of arrays or records themselves.
        figure: function that turns a figure and its `Look` into bytes, as `module:function`;
            empty where figures have no files of their own.
        subjects: subjects that can be written in it.
        libraries: modules that it needs.
        extra: the extra that installs them; empty for the one of its name.
        knows: function of a path that begins so, whether depthtui wrote it, as `module:function`;
            empty where the beginning tells.
    """

    name: str
    title: str
    begins: bytes
    renderer: str = ""
    data: Collection[Subject] = ()
    figure: str = ""
    subjects: Collection[Subject] = ("runs", "sweeps")
    libraries: Collection[str] = ()
    extra: str = ""
    knows: str = ""

    @property
    def install(self) -> str:
        """The command that installs the libraries that it needs; empty where they are there."""
        return "" if all(map(find_spec, self.libraries)) else install_extra(self.extra or self.name)

    def has_whole(self, subject: Subject) -> bool:
        """Whether a report has a file of the whole, not of its figures alone."""
        return bool(self.renderer) or subject in self.data

    def render(self, document: Document) -> bytes:
        """The document in this format."""
        content: bytes = resolve_name(self.renderer)(document)
        return content

    def figures(self, document: Document, most: int | None = None) -> dict[str, bytes]:
        """The content of each figure's file by its name, `overlap.svg`; `most` limits them."""
        if not self.figure:
            return {}
        from depthtui.report.figures import figure_files

        contents = figure_files(document, self.draw, most)
        return {f"{name}.{self.name}": content for name, content in contents.items()}

    def draw(self, figure: Figure, look: Look) -> bytes:
        """A figure with a look in this format, which has figures."""
        content: bytes = resolve_name(self.figure)(figure, look)
        return content

    def is_report(self, path: Path) -> bool:
        """Whether depthtui wrote a file in this format; False for a link."""
        is_one: bool = begins_with(path, self.begins) and (
            not self.knows or resolve_name(self.knows)(path)
        )
        return is_one
