"""The formats of reports: whoever adds one adds a line here and the file that renders it."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from depthtui.errors import DepthError
from depthtui.files import check_writable, open_regular, write_over

if TYPE_CHECKING:
    from depthtui.report.blocks import Document

Subject: TypeAlias = Literal["runs", "generations", "sweeps"]
"""What reports are about."""

FILE_NAMES: Mapping[Subject, str] = {
    "runs": "summary",
    "generations": "generation",
    "sweeps": "report",
}
"""What the files of a report are called, without their endings, where nobody names them."""

Files: TypeAlias = Mapping[str, bytes]
"""What stands between a file's name and its ending, mostly nothing -> content."""

_BEGINNING = 1 << 16
"""Bytes; names of models come before what a report is known by."""


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line, and the ending of its files.
        title: for people.
        begins: a pattern that the beginning of its files matches, in every version: depthtui
            replaces no other file.
        renderer: what makes bytes of a document, as `module:function`; empty for a format of
            arrays or records, which each subject makes of itself.
        subjects: what can be written in it.
    """

    name: str
    title: str
    begins: bytes
    renderer: str = ""
    subjects: Collection[Subject] = ("runs", "generations", "sweeps")

    def render(self, document: Document) -> bytes:
        """The document in this format."""
        module, _, name = self.renderer.partition(":")
        content: bytes = getattr(importlib.import_module(module), name)(document)
        return content

    def is_report(self, path: Path) -> bool:
        """Whether a file is one that depthtui wrote in this format; a link is none."""
        try:
            with open_regular(path) as file:
                beginning = file.read(_BEGINNING)
        except OSError:
            return False
        return not path.is_symlink() and re.match(self.begins, beginning, re.DOTALL) is not None

    def check_place(self, path: Path) -> None:
        """See that a file can be written without replacing another than an earlier report.

        Raises:
            DepthError: another file is there.
        """
        if os.path.lexists(path) and not self.is_report(path):
            raise DepthError(
                f"{path} is no report of depthtui, and was left as it is.",
                "Move it away, or choose another folder.",
            )


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
            rb'\{\n "schema": \d+,\n "(model": \{\n  "name|generations": \[|depthtui": ")',
        ),
        Format(
            "html",
            "HTML with the figures, one file",
            rb"<!doctype html>.*http-equiv=.Content-Security-Policy.*"
            rb"<title>(Effective depth|Depth of generated text)",
            "depthtui.report.as_html:html_bytes",
        ),
        Format(
            "safetensors",
            "safetensors, every array",
            rb'.{8}\{"__metadata__":\{"(runs|generations)":"\[',
            subjects=["runs", "generations"],
        ),
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


def check_folder(folder: Path, subject: Subject, formats: Iterable[str] | None = None) -> None:
    """See that a report can be written, and would replace earlier reports alone.

    Args:
        folder: where it is to be written; it need not be there.
        subject: what it is about.
        formats: their names; None for all.

    Raises:
        DepthError: the folder cannot be written, or another file has the name of one.
    """
    check_writable(folder)
    for format_ in format_titles(subject) if formats is None else formats:
        FORMATS[format_].check_place(folder / f"{FILE_NAMES[subject]}.{format_}")


@dataclass(frozen=True)
class Report:
    """Something that can be written in several formats.

    Attributes:
        subject: what it is about.
        document: makes what is rendered.
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
        """Write files, all or none; of those that are there, only reports are replaced.

        Args:
            folder: made where missing.
            formats: their names; None for all.
            name: of the files, without their endings; empty for the subject's own.

        Returns:
            The files written.

        Raises:
            DepthError: the folder cannot be written, or another file has the name of one.
        """
        check_writable(folder)
        stem = name or FILE_NAMES[self.subject]
        files = [
            (FORMATS[format_], folder / f"{stem}{part}.{format_}", content)
            for format_ in (format_titles(self.subject) if formats is None else formats)
            for part, content in self.files(format_).items()
        ]
        for format_, path, _ in files:
            format_.check_place(path)
        hint = "Move that file away, or choose another folder."
        return [
            write_over(path, content, format_.is_report, hint) for format_, path, content in files
        ]
