"""`depthtui --record` and `--play`: the explorer's keys, mouse and sizes in a file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.shared_options import Overrides
from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings

if TYPE_CHECKING:
    from depthtui.tui.scene import Recorder


class _Size(click.ParamType[tuple[int, int]]):
    """Columns and lines, such as `120x40`."""

    name = "COLUMNSxLINES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Both numbers of a text."""
        match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", str(value))
        if match is None or not all(map(int, match.groups())):
            self.fail(f"{value!r} is no size such as 120x40.", param, ctx)
        return int(match[1]), int(match[2])


_FILE = click.Path(path_type=Path, dir_okay=False)

scene_options = in_section(
    "Scenes",
    click.option("--record", type=_FILE, help="Write keys, mouse and sizes into a new file."),
    click.option("--with-texts", is_flag=True, help="Record typed texts, too, instead of x and 1."),
    click.option("--play", type=_FILE, help="Play a scene, with results and settings aside."),
    click.option(
        "--until-end",
        type=_FILE,
        metavar="PICTURE",
        help="Play without a terminal, and write the last screen into an .svg or a .txt.",
    ),
    click.option("--size", type=_Size(), help="Columns and lines of that screen."),
)


def check_scene_options(options: dict[str, Any], has_other_engine: bool) -> None:
    """Refuse options of scenes that do not go together, or with an engine or code of one's own.

    Raises:
        click.UsageError: they do not.
    """
    if options["play"] and has_other_engine:
        raise click.UsageError("--play is without --engine-command and --trust-remote-code.")
    for name, needed in (("with_texts", "record"), ("until_end", "play"), ("size", "until_end")):
        if options[name] and not options[needed]:
            words = (f"--{option.replace('_', '-')}" for option in (name, needed))
            raise click.UsageError(" is for ".join(words) + ".")
    if options["record"] and options["play"]:
        raise click.UsageError("--record and --play exclude each other.")
    if options["until_end"] and options["until_end"].suffix not in (".svg", ".txt"):
        raise click.UsageError("--until-end writes an .svg or a .txt.")


def recorder_for(options: dict[str, Any], settings: Settings) -> Recorder | None:
    """The writer of `--record`; None without it."""
    if not options["record"]:
        return None
    from depthtui.tui.scene import Recorder

    return Recorder(options["record"], options["with_texts"], settings.theme, settings.keys)


def play(options: dict[str, Any], model: str | None, spec: ModelSpec, overrides: Overrides) -> int:
    """Play the scene of `--play`; settings are the defaults, and those of the command line."""
    from depthtui.tui.player import play_scene
    from depthtui.tui.scene import read_scene

    scene = read_scene(options["play"])
    settings = overrides.over(Settings(cache_dir=overrides.settings().cache_folder))
    spec = replace(spec, name=model or settings.last_model)
    return play_scene(scene, spec, settings, options["until_end"], options["size"])
