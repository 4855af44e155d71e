"""The formats of reports: whoever adds one adds a line here and the file that renders it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from depthtui.files import write_whole

if TYPE_CHECKING:
    from depthtui.report.blocks import Document

Subject: TypeAlias = Literal["runs", "generations", "sweeps"]
"""What reports are about."""

Files: TypeAlias = Mapping[str, bytes]
"""What stands between a file's name and its ending, mostly nothing -> content."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line, and the ending of its files.
        title: for people.
        renderer: what makes bytes of a document, as `module:function`; empty for a format of
            arrays or records, which each subject makes of itself.
        subjects: what can be written in it.
    """

    name: str
    title: str
    renderer: str = ""
    subjects: Collection[Subject] = ("runs", "generations", "sweeps")

    def render(self, document: Document) -> bytes:
        """The document in this format."""
        module, _, name = self.renderer.partition(":")
        content: bytes = getattr(importlib.import_module(module), name)(document)
        return content


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("md", "Markdown", "depthtui.report.as_markdown:markdown_bytes"),
        Format("csv", "CSV, a line for each cell and rule", subjects=["sweeps"]),
        Format("json", "JSON, for programs"),
        Format("html", "HTML with the figures, one file", "depthtui.report.as_html:html_bytes"),
        Format("safetensors", "safetensors, every array", subjects=["runs", "generations"]),
    )
}
"""Every format by its name."""


def format_titles(subject: Subject) -> dict[str, str]:
    """The formats that a subject can be written in, name -> title."""
    return {name: found.title for name, found in FORMATS.items() if subject in found.subjects}


def format_help(subject: Subject) -> str:
    """The formats in a sentence's words, such as `md, json or html`."""
    *others, last = format_titles(subject)
    return f"{', '.join(others)} or {last}"


@dataclass(frozen=True)
class Report:
    """Something that can be written in several formats.

    Attributes:
        subject: what it is about.
        name: of its files, where nobody says another.
        document: makes what is rendered.
        data: makes the files of the formats that are not rendered, by format.
    """

    subject: Subject
    name: str
    document: Callable[[], Document]
    data: Mapping[str, Callable[[], Files]]

    def files(self, name: str) -> Files:
        """The files in one format."""
        if name in self.data:
            return self.data[name]()
        return {"": FORMATS[name].render(self.document())}

    def write(
        self, folder: Path, formats: Iterable[str] | None = None, name: str = ""
    ) -> list[Path]:
        """Write files, replacing those of the same name.

        Args:
            folder: made where missing.
            formats: their names; None for all.
            name: of the files, without their endings; empty for the report's own.

        Returns:
            The files written.

        Raises:
            DepthError: the folder cannot be written.
        """
        return [
            write_whole(folder / f"{name or self.name}{part}.{format_}", content)
            for format_ in (format_titles(self.subject) if formats is None else formats)
            for part, content in self.files(format_).items()
        ]
