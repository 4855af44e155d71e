"""The formats of reports: a new one needs a line here and a module that renders it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from depthtui.files import begins_with, check_place, check_writable, write_over

if TYPE_CHECKING:
    from depthtui.report.blocks import Document

Subject: TypeAlias = Literal["runs", "sweeps"]
"""Subject of a report."""

FILE_NAMES: Mapping[Subject, str] = {
    "runs": "summary",
    "sweeps": "report",
}
"""Default names of a report's files, without their endings."""

Files: TypeAlias = Mapping[str, bytes]
"""Content by suffix; the suffix, mostly empty, goes between a file's name and its ending."""


@dataclass(frozen=True)
class Format:
    """A format in which results are written to a file.

    Attributes:
        name: name on the command line, and ending of its files.
        title: title for people.
        begins: a pattern that the beginning of its files matches, in every version: depthtui
            replaces no other file.
        renderer: function that turns a document into bytes, as `module:function`; empty for a
            format of arrays or records, which each subject makes itself.
        subjects: subjects that can be written in it.
    """

    name: str
    title: str
    begins: bytes
    renderer: str = ""
    subjects: Collection[Subject] = ("runs", "sweeps")

    def render(self, document: Document) -> bytes:
        """The document in this format."""
        module, _, name = self.renderer.partition(":")
        content: bytes = getattr(importlib.import_module(module), name)(document)
        return content

    def is_report(self, path: Path) -> bool:
        """Whether depthtui wrote a file in this format; False for a link."""
        return begins_with(path, self.begins)


FORMATS = {
    format_.name: format_
    for format_ in (
        Format(
            "md",
            "Markdown",
            rb"# Effective depth over models and tasks\n"
            rb"|# (Effective depth|Depth of generated text)\n.* layers of width \d",
            "depthtui.report.as_markdown:markdown_bytes",
        ),
        Format(
            "csv",
            "CSV, a line for each cell and rule",
            rb"model,source,revision,parameters,n_layers,dtype,device,task,level,prompts,tokens,rule,",
            subjects=["sweeps"],
        ),
        Format(
            "json",
            "JSON, for programs",
            rb'\{\n "schema": \d+,\n "(model": \{\n  "name|depthtui": ")',
        ),
        Format(
            "html",
            "HTML with the figures, one file",
            rb"<!doctype html>.*http-equiv=.Content-Security-Policy.*"
            rb"<title>Effective depth",
            "depthtui.report.as_html:html_bytes",
        ),
        Format(
            "safetensors",
            "safetensors, every array",
            rb'.{8}\{"__metadata__":\{"runs":"\[',
            subjects=["runs"],
        ),
    )
}
"""Every format by its name."""


def format_titles(subject: Subject) -> dict[str, str]:
    """The formats of a subject, name -> title."""
    return {name: format_.title for name, format_ in FORMATS.items() if subject in format_.subjects}


def format_help(subject: Subject) -> str:
    """The formats for a sentence, such as `md, json or html`."""
    *others, last = format_titles(subject)
    return f"{', '.join(others)} or {last}"


def check_folder(folder: Path, subject: Subject, formats: Iterable[str] | None = None) -> None:
    """Check that a report can be written, and would replace earlier reports alone.

    Args:
        folder: folder of the report; need not exist.
        subject: subject of the report.
        formats: names of the formats; None for all.

    Raises:
        DepthError: the folder cannot be written, or another file has the name of a report.
    """
    check_writable(folder)
    for format_ in format_titles(subject) if formats is None else formats:
        check_place(folder / f"{FILE_NAMES[subject]}.{format_}", _is_report, "report")


@dataclass(frozen=True)
class Report:
    """Something that can be written in several formats.

    Attributes:
        subject: subject of the report.
        document: makes the document to render.
        data: makes the files of the formats that are not rendered, by format.
    """

    subject: Subject
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
        """Write files, all or none; of existing files, only reports are replaced.

        Args:
            folder: folder of the files; made where missing.
            formats: names of the formats; None for all.
            name: name of the files, without their endings; empty for the subject's default.

        Returns:
            The files written.

        Raises:
            DepthError: the folder cannot be written, or another file has the name of a report.
        """
        check_writable(folder)
        stem = name or FILE_NAMES[self.subject]
        contents = {
            f"{stem}{part}.{format_}": content
            for format_ in (format_titles(self.subject) if formats is None else formats)
            for part, content in self.files(format_).items()
        }
        for file_name in contents:
            check_place(folder / file_name, _is_report, "report")
        hint = "Move that file away, or choose another folder."
        return write_over(folder, contents, _is_report, hint)


def _is_report(path: Path) -> bool:
    """Whether depthtui wrote a report, in the format that its ending names."""
    return FORMATS[path.suffix.removeprefix(".")].is_report(path)
