"""The formats of reports: a new one needs a line here and a module that renders it.

A renderer, such as `as_markdown`, is a function from a `Document` of `report.blocks` to bytes, in
which every text goes through one escaping function. A line of `_BUILT_IN` names it; `begins` is
the pattern by which depthtui knows its own files, the only ones that it replaces. A format for
programs has no renderer: each `Report` makes its bytes, and its line names the subjects in `data`.
One of figures has a function from a `Figure` and its `Look` to bytes in `report.figures`. The
manual's page of reports and the docstring of `Runs.export` name the formats; `python -m
tests.golden.renew` writes every case in a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from depthtui.data.lazy import LazyDict
from depthtui.errors import DepthError
from depthtui.files import check_place, check_writable, write_over
from depthtui.plugins import PluginError, plugin_of
from depthtui.report.format import Format, Subject
from depthtui.report.plugin_formats import with_plugins

if TYPE_CHECKING:
    from depthtui.report.blocks import Document
    from depthtui.report.long_table import TableRows

FILE_NAMES: Mapping[Subject, str] = {
    "runs": "summary",
    "sweeps": "report",
}
"""Default names of a report's files, without their endings."""

FIGURES = "figures"
"""Folder of the figures beside a report of the default name; else the report's name precedes it."""

Files: TypeAlias = Mapping[str, bytes]
"""Content by suffix; the suffix, mostly empty, goes between a file's name and its ending."""


_BUILT_IN = (
    Format(
        "md",
        "Markdown",
        rb"# Effective depth over models and tasks\n"
        rb"|# (Effective depth|Depth of generated text)\n.* layers of width \d"
        rb"|# Effective depth: ",
        "depthtui.report.as_markdown:markdown_bytes",
    ),
    Format(
        "csv",
        "CSV, the numbers as tables",
        rb'"[xy]: |'
        rb"model,source,revision,parameters,n_layers,dtype,device,task,level,prompts,tokens,rule,",
        data=["sweeps"],
        figure="depthtui.report.figures:csv_bytes",
    ),
    Format(
        "json",
        "JSON, for programs",
        rb'\{\n "schema": \d+,\n "(model": \{\n  "name|depthtui": ")',
        data=["runs", "sweeps"],
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
        data=["runs"],
        subjects=["runs"],
    ),
    Format(
        "parquet",
        "Parquet, one long table",
        b"PAR1",
        data=["runs", "sweeps"],
        libraries=["pyarrow"],
        extra="datasets",
        knows="depthtui.report.long_table:is_table",
    ),
    Format(
        "svg",
        "SVG, a file for each figure",
        rb'<svg xmlns="http://www\.w3\.org/2000/svg" viewBox="0 0 [\d.]+ [^>]*aria-label="',
        figure="depthtui.report.figures:svg_bytes",
    ),
    Format(
        "png",
        "PNG, a file for each figure",
        rb"\x89PNG\r\n\x1a\n.{29}tEXtSoftware\0depthtui",
        figure="depthtui.report.figures:png_bytes",
        libraries=["typst"],
        extra="figures",
    ),
    Format(
        "pdf",
        "PDF, a file for each figure",
        b"%PDF-",
        figure="depthtui.report.figures:pdf_bytes",
        libraries=["typst"],
        extra="figures",
        knows="depthtui.report.figures:is_pdf",
    ),
)

FORMATS = LazyDict(lambda: with_plugins(_BUILT_IN))
"""Every format by its name; those of plug-ins are loaded at the first look."""


def format_titles(subject: Subject) -> dict[str, str]:
    """The formats of a subject, name -> title."""
    return {name: format_.title for name, format_ in FORMATS.items() if subject in format_.subjects}


def default_formats(subject: Subject) -> list[str]:
    """The formats of a subject that are written where none is named.

    Those that need no extra, and are no plug-in's.
    """
    names = (name for name in format_titles(subject) if not FORMATS[name].libraries)
    return [name for name in names if plugin_of("format", name) is None]


def format_help(subject: Subject) -> str:
    """The formats for a sentence, such as `md, json or html`."""
    *others, last = format_titles(subject)
    return f"{', '.join(others)} or {last}"


def check_folder(folder: Path, subject: Subject, formats: Iterable[str] | None = None) -> None:
    """Check that a report can be written, and would replace earlier reports alone.

    Args:
        folder: folder of the report; need not exist.
        subject: subject of the report.
        formats: names of the formats; None for the default ones.

    Raises:
        DepthError: the folder cannot be written, another file has the name of a report, or a
            format needs a library that is not installed.
    """
    check_writable(folder)
    for format_ in _formats(default_formats(subject) if formats is None else formats):
        if format_.has_whole(subject):
            check_place(folder / f"{FILE_NAMES[subject]}.{format_.name}", is_report, "report")
        if format_.figure:
            _check_figures_folder(folder / FIGURES)


def _formats(names: Iterable[str]) -> list[Format]:
    """The formats of these names, all of which can be written here.

    Raises:
        DepthError: one needs a library that is not installed.
    """
    formats = [FORMATS[name] for name in names]
    for format_ in formats:
        check_installed(format_)
    return formats


def check_installed(format_: Format) -> None:
    """Check that a format can be written here.

    Raises:
        DepthError: it needs a library that is not installed.
    """
    if format_.install:
        raise DepthError(
            f"The format {format_.name} needs libraries that are not installed.",
            f"Install them: {format_.install}",
        )


def _check_figures_folder(folder: Path) -> None:
    """Check that figures can be written to their folder, existing or not.

    Raises:
        DepthError: it cannot be written, or is a link: the figures would be elsewhere.
    """
    if folder.is_symlink():
        raise DepthError(
            f"{folder} is a link, and was not followed.", "Move it away, or choose another folder."
        )
    check_writable(folder)


@dataclass(frozen=True)
class Report:
    """Something that can be written in several formats.

    Attributes:
        subject: subject of the report.
        document: makes the document to render.
        data: makes the files of the formats of arrays or records, by format.
        rows, about: make the rows of readings and the metadata of its long table.
    """

    subject: Subject
    document: Callable[[], Document]
    data: Mapping[str, Callable[[], Files]]
    rows: Callable[[], Iterable[TableRows]] = lambda: ()
    about: Callable[[], Mapping[str, Any]] = dict

    def files(self, name: str) -> Files:
        """The files in one format, without those of the figures."""
        if name in self.data:
            return self.data[name]()
        format_ = FORMATS[name]
        return {"": format_.render(self.document())} if format_.renderer else {}

    def write(
        self, folder: Path, formats: Iterable[str] | None = None, name: str = ""
    ) -> list[Path]:
        """Write files, all or none; of existing files, only reports are replaced.

        Args:
            folder: folder of the files; made where missing.
            formats: names of the formats; None for the default ones.
            name: name of the files, without their endings; empty for the subject's default.

        Returns:
            The files written, then the folder of figures.

        Raises:
            DepthError: the folder cannot be written, another file has the name of a report, a
                format needs a library that is not installed, there is nothing to write, since
                the report has no figures; or, once all others are written, a plug-in's format
                raised.
        """
        check_writable(folder)
        stem = name or FILE_NAMES[self.subject]
        chosen = _formats(default_formats(self.subject) if formats is None else formats)
        figures_folder = FIGURES if stem == FILE_NAMES[self.subject] else f"{stem}-{FIGURES}"
        contents: dict[str, bytes] = {}
        figures: dict[str, bytes] = {}
        failures: list[PluginError] = []
        for format_ in chosen:
            try:
                files, pictures = self.files(format_.name), format_.figures(self.document())
            except PluginError as error:
                failures.append(error)
                continue
            contents |= {f"{stem}{part}.{format_.name}": file for part, file in files.items()}
            figures |= {f"{figures_folder}/{name}": picture for name, picture in pictures.items()}
        if figures:
            _check_figures_folder(folder / figures_folder)
        if chosen and not contents and not figures and not failures:
            raise DepthError("The report has no figures.", "Choose another format.")
        for file_name in (*contents, *figures):
            check_place(folder / file_name, is_report, "report")
        hint = "Move that file away, or choose another folder."
        paths = write_over(folder, contents | figures, is_report, hint)
        if failures:
            others = f"The other files are in {folder}." if paths else ""
            raise DepthError(" ".join(map(str, failures)), others)
        return [*paths[: len(contents)], *([folder / figures_folder] if figures else [])]


def is_report(path: Path) -> bool:
    """Whether depthtui wrote a report or a figure, in the format that its ending names."""
    return FORMATS[path.suffix.removeprefix(".")].is_report(path)
