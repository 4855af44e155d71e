"""`depthtui figure`: one figure of results that are there, for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.command_help import SectionedCommand, in_section
from depthtui.cli.completion import complete_results
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import print_notice, print_written
from depthtui.cli.sessions import read_session
from depthtui.cli.shared_options import Overrides, cache_dir_option, palette_option
from depthtui.data.figure_kind import FIGURE_KINDS, OF_ONE, FigureKind
from depthtui.data.pool import POOLS, Pool
from depthtui.errors import DepthError

if TYPE_CHECKING:
    from depthtui.report.look import Length
    from depthtui.report.one_figure import NamedReading

_ARRAYS = Path("summary.safetensors")
"""The file of a run's folder that has its arrays."""

_FONT_SIZES = (3, 72)
"""The smallest and the largest size of a font, in points."""


class LengthType(click.ParamType["Length"]):
    """A length with its unit, such as `3.25in`."""

    name = "length"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Length:
        """The length in a text."""
        from depthtui.report.look import Length

        try:
            return value if isinstance(value, Length) else Length.of(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def _font_size(context: click.Context, parameter: click.Parameter, size: Length) -> Length:
    """A size that people can read."""
    least, most = _FONT_SIZES
    if not least <= size.points <= most:
        raise click.BadParameter(f"{size} is not from {least}pt to {most}pt.")
    return size


@click.command(
    cls=SectionedCommand,
    examples=[
        "depthtui figure left-out 20261127-0942 --out fig.pdf",
        "depthtui figure curves mine/ --measure kl --out fig.svg --width 6.75in",
        "depthtui figure heatmap 20261127-0942 --only 2 --measure overlap \\",
        "    --out fig.pdf --font 'Times New Roman' --font-size 9pt",
    ],
)
@click.argument("kind", type=OneOf(FIGURE_KINDS), metavar="KIND")
@click.argument("source", shell_complete=complete_results)
@in_section(
    "Values",
    click.option(
        "--measure", default="", metavar="NAME", help="The measure, where there are several."
    ),
    click.option(
        "--only",
        "choices",
        multiple=True,
        metavar="N|TEXT",
        help="The run of this number in SOURCE, or results with a text in their title. Again for "
        "more.",
    ),
    click.option(
        "--pool",
        type=OneOf(list(POOLS)),
        default="none",
        help="Prompts of a session that are one line.  [default: none]",
    ),
)
@in_section(
    "Files",
    click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        metavar="FILE",
        help="A file that ends in .pdf, .svg, .png or .csv; its numbers are beside it, in a .csv.",
    ),
    click.option(
        "--width",
        type=LengthType(),
        default="3.25in",
        metavar="LENGTH",
        help="Its width, in in, cm, mm or pt.  [default: 3.25in]",
    ),
    click.option(
        "--font",
        default="",
        metavar="NAME",
        help="Family of its text, which this machine has.",
    ),
    click.option(
        "--font-size",
        type=LengthType(),
        default="8pt",
        callback=_font_size,
        metavar="LENGTH",
        help="Size of its text as printed.  [default: 8pt]",
    ),
)
@palette_option
@cache_dir_option
def figure(
    kind: FigureKind,
    source: str,
    measure: str,
    choices: tuple[str, ...],
    pool: Pool,
    out: Path,
    width: Length,
    font: str,
    font_size: Length,
    overrides: Overrides,
) -> int:
    """Draw one figure of results that are there, for a paper.

    KIND is `curves` (a measure over depth), `left-out` (what is kept with fewer layers), `heatmap`
    (a measure by layer and token) or `patch`. SOURCE is a session of `depthtui sessions list`, the
    folder of a sweep, or that of a run with --format safetensors. No model is loaded.
    """
    from depthtui.report.figure_file import FigureFile
    from depthtui.report.look import Look
    from depthtui.report.one_figure import one_figure, only

    look = Look(overrides.settings().palette, True, width, font_size, font)
    file = FigureFile(out, look)
    file.check()
    readings, is_whole = _readings(source, "none" if kind in OF_ONE else pool, overrides)
    notices: list[str] = []
    drawn = one_figure(kind, only(readings, choices), measure, notices.append)
    print_written(file.write(drawn))
    for words in notices:
        print_notice(words)
    return 0 if is_whole and not notices else 1


def _readings(source: str, pool: Pool, overrides: Overrides) -> tuple[list[NamedReading], bool]:
    """The readings of a source, and whether all of its runs are there."""
    from depthtui.report.one_figure import readings_of
    from depthtui.report.read_arrays import read_runs
    from depthtui.sweep.folder import MANIFEST

    path = Path(source)
    file = path / _ARRAYS if path.is_dir() else path
    if file.suffix == _ARRAYS.suffix and file.exists():
        runs = read_runs(file)
        return readings_of(runs.results, runs.settings, pool), True
    if path.is_dir() and any(path.glob(f"{MANIFEST}*.json")):
        return _of_sweep(path), True
    if path.exists():
        raise DepthError(
            f"{path} has neither a sweep nor the arrays of a run.",
            "Measure with `depthtui run --format safetensors`, and name its folder.",
        )
    session = read_session(source, overrides)
    readings = readings_of(session.results, session.pooling, pool)
    return readings, not session.missing_runs


def _of_sweep(folder: Path) -> list[NamedReading]:
    """The reading of each cell of a sweep."""
    from depthtui.report.one_figure import NamedReading
    from depthtui.sweep.saved import open_sweep
    from depthtui.sweep.summary import summarise_sweep

    cells = summarise_sweep(open_sweep(folder, print_notice)).cells
    if not cells:
        raise DepthError(f"The sweep in {folder} has no results yet.", "Run it first.")
    return [
        NamedReading((cell.title, cell.cell.task.title), cell, (number,))
        for number, cell in enumerate(cells, start=1)
    ]
