"""The commands. A command imports its libraries when it runs, so that `--help` is quick."""

from __future__ import annotations

import codecs
import gc
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from depthtui import __version__
from depthtui.cli.cache import cache
from depthtui.cli.command_help import SectionedGroup, in_section
from depthtui.cli.compare_answers import compare_answers
from depthtui.cli.completion import complete_models, completion
from depthtui.cli.diff import diff
from depthtui.cli.doctor import doctor
from depthtui.cli.engine import engine
from depthtui.cli.everywhere import add_everywhere, print_failure
from depthtui.cli.figure import figure
from depthtui.cli.generate import generate
from depthtui.cli.inspect import inspect
from depthtui.cli.lens import lens
from depthtui.cli.lists import metrics, models, tasks
from depthtui.cli.manual import manual
from depthtui.cli.no_argument import lines_for_model, sentence_on
from depthtui.cli.output import INTERRUPTED, PLAIN, print_notice, terminal_that_cannot_draw
from depthtui.cli.prune import prune
from depthtui.cli.run import run
from depthtui.cli.scene import check_scene_options, play, recorder_for, scene_options
from depthtui.cli.serve import serve
from depthtui.cli.sessions import sessions
from depthtui.cli.shared_options import (
    Overrides,
    cache_options,
    model_options,
    refuse_trust_in_last_model,
)
from depthtui.cli.streams import open_streams, output_failure, written_out
from depthtui.cli.sweep import sweep
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError
from depthtui.log import log_bug
from depthtui.models.catalog import may_be_a_model
from depthtui.parallel.group import ranks_started
from depthtui.plugins import report_failures_to
from depthtui.settings import settings_path

_BY_EAR = "`depthtui run MODEL --prompt TEXT --plain`"
"""The command line for those who cannot see the explorer, or have no terminal for it."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 a failure, 2 bad usage, 130 ctrl-c."""
    open_streams()
    report_failures_to(print_failure)
    if ranks_started() == 1:
        return written_out(_status(args))
    from depthtui.cli.ranks import run_as_rank

    words = sys.argv[1:] if args is None else args
    return run_as_rank(next(iter(words), ""), lambda: written_out(_status(args)))


def _status(args: Sequence[str] | None) -> int:
    try:
        status = commands.main(args, prog_name="depthtui", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" See `{where} --help`." if where else ""
        message = _suggested(error).format_message()
        end = "" if message.endswith((".", "?", "?)")) else "."
        print_notice(f"{message}{end}{hint}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except DepthError as error:
        print_notice(str(error))
        return 1
    except SystemExit as error:
        # Rich and click exit like this when the reader of their output has gone.
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        if output_failure() is None:
            print_notice(log_bug(error))
        return 1


def _suggested(error: click.ClickException) -> click.ClickException:
    """The error; an unknown option's suggests those that are like it without their dashes."""
    from difflib import get_close_matches

    if not isinstance(error, click.NoSuchOption):
        return error
    by_name = {option.lstrip("-"): option for option in error.possibilities or ()}
    alike = get_close_matches(error.option_name.lstrip("-"), by_name)
    options = [by_name[name] for name in alike]
    return click.NoSuchOption(error.option_name, error.message, options, error.ctx)


class _Commands(SectionedGroup):
    """The commands, whose help names the settings file."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for a model in its place, explain how to open one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not may_be_a_model(args[0]):
                raise
            sentence = sentence_on(lines_for_model(args[0]), ctx)
            raise click.UsageError(f"{args[0]} is no command. {sentence}", ctx) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, and the sources of settings, theme and keys."""
        super().format_epilog(ctx, formatter)
        formatter.write("\nThe manual: depthtui help\n")
        formatter.write(f"Settings, theme and keys: {settings_path()}\n")


def _engine_command(context: click.Context, parameter: click.Parameter, command: str) -> str:
    """The command line of an engine, whose program must exist on this machine."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(f"{command!r} is no command: {error}.") from None
    if words and shutil.which(words[0]) is None:
        raise click.BadParameter(f"there is no program {words[0]!r} on this machine.")
    return command


@click.group(
    cls=_Commands,
    examples=["depthtui", "depthtui --model Qwen/Qwen2.5-1.5B-Instruct --device cuda:1"],
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@in_section(
    "Model",
    click.option(
        "--model",
        shell_complete=complete_models,
        help="A hub id, a local folder or a GGUF file; `demo` is built in.",
    ),
)
@model_options
@cache_options
@in_section(
    "Engine",
    click.option(
        "--engine-command",
        default="",
        callback=_engine_command,
        metavar="COMMAND",
        help='Reaches an engine elsewhere, as in "ssh gpu depthtui engine".',
    ),
)
@click.option("--new", is_flag=True, help="Begin a session with a prompt, not the last session.")
@scene_options
@click.version_option(__version__, message="depthtui %(version)s")
@click.pass_context
def commands(
    context: click.Context,
    /,
    model: str | None,
    spec: ModelSpec,
    trusted: TrustedModels,
    overrides: Overrides,
    engine_command: str,
    new: bool,
    **scene: Any,
) -> int:
    """Explore how a language model uses its depth.

    Without a command, opens the explorer in this terminal.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return 0
    if PLAIN in context.meta:
        raise click.UsageError(f"The explorer draws, and --plain is for commands: {_BY_EAR}.")
    refuse_trust_in_last_model(context.params)
    check_scene_options(scene, bool(engine_command or trusted.every))
    if "TEXTUAL_DRIVER" not in os.environ and not scene["until_end"]:
        _check_terminal()
    if scene["play"]:
        return play(scene, model, spec, overrides)
    settings = overrides.settings()
    recorder = recorder_for(scene, settings)
    # Objects made before the first screen stay; the app collects garbage from there on.
    gc.disable()
    try:
        from depthtui.tui.app import main as explore

        spec = replace(spec, name=model or settings.last_model)
        return explore(
            spec,
            settings,
            overrides.values,
            [spec] if trusted.every else [],
            engine_command,
            recorder,
            # A scene begins with what anyone has.
            lambda last: not (new or recorder) and model in (None, last.name),
            new,
        )
    finally:
        gc.enable()


def _check_terminal() -> None:
    """Check that the explorer can be drawn here.

    Raises:
        DepthError: it cannot.
    """
    instead = f"{_BY_EAR} works anywhere."
    # Keys come from standard input, and the screen goes to standard error.
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise DepthError("The explorer needs a terminal.", instead)
    if not sys.stderr.isatty():
        raise DepthError(
            "The explorer draws on standard error, which goes elsewhere.",
            f"Leave out 2>; {instead}",
        )
    if kind := terminal_that_cannot_draw():
        raise DepthError(
            f"The explorer cannot draw on a terminal of the kind {kind}.",
            f"Set TERM where it can more, as in TERM=xterm-256color; {instead}",
        )
    encoding = sys.stderr.encoding or "ascii"
    if codecs.lookup(encoding).name != "utf-8":
        raise DepthError(
            f"The explorer draws in UTF-8, and the encoding of the locale is {encoding}.",
            f"Set LC_ALL=C.UTF-8 where the terminal shows UTF-8; {instead}",
        )


def _refuse_options(context: click.Context) -> None:
    named = click.core.ParameterSource.COMMANDLINE
    for option in context.command.params:
        name = option.name or ""
        if option.expose_value and context.get_parameter_source(name) is named:
            where = "name the model after it" if name == "model" else "give it after"
            raise click.UsageError(
                f"{option.opts[0]} before a command is for the explorer; {where}."
            )


_MEASURING = (run, inspect, sweep, generate, lens, prune, compare_answers, diff, serve, engine)
_MANAGING = (models, tasks, metrics, sessions, figure, cache, doctor, completion, manual)
for command in (*_MEASURING, *_MANAGING):
    commands.add_command(command)
add_everywhere(commands)
