"""The file of one figure, and the file of its numbers beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depthtui.errors import DepthError
from depthtui.files import check_place, check_writable, write_over
from depthtui.report.blocks import Figure
from depthtui.report.figures import check_font
from depthtui.report.format import Format
from depthtui.report.formats import FORMATS, check_installed, is_report
from depthtui.report.look import Look

_NUMBERS = "csv"


@dataclass(frozen=True)
class FigureFile:
    """The file that a figure is written to, in the format that its ending names.

    Attributes:
        path: the file.
        look: the look of the figure.
    """

    path: Path
    look: Look

    @property
    def format(self) -> Format:
        """The format.

        Raises:
            DepthError: no figure has this ending.
        """
        ending = self.path.suffix.removeprefix(".")
        names = [name for name, format_ in FORMATS.items() if format_.figure]
        if ending not in names:
            raise DepthError(
                f"{self.path.name} has not the ending of a figure.",
                f"End it in .{', .'.join(names[:-1])} or .{names[-1]}.",
            )
        return FORMATS[ending]

    @property
    def formats(self) -> list[Format]:
        """The formats of the figure and of its numbers."""
        numbers = FORMATS[_NUMBERS]
        return [self.format] if self.format is numbers else [self.format, numbers]

    def check(self) -> None:
        """Check, before anything is read, that the files can be written.

        Raises:
            DepthError: they cannot, the figure is too narrow, or its font is not there.
        """
        self.look.check()
        check_installed(self.format)
        check_font(self.look.font, is_embedded=bool(self.format.libraries))
        check_writable(self.path.parent)
        for format_ in self.formats:
            check_place(self.path.with_suffix(f".{format_.name}"), is_report, "figure")

    def write(self, figure: Figure) -> list[Path]:
        """Write both files, or none.

        Raises:
            DepthError: they cannot be written, or another file has such a name.
        """
        contents = {
            self.path.with_suffix(f".{format_.name}").name: format_.draw(figure, self.look)
            for format_ in self.formats
        }
        return write_over(self.path.parent, contents, is_report)
