"""The commands. What a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui import __version__
from depthtui.errors import DepthError
from depthtui.settings import (
    Settings,
    default_cache_dir,
    load_settings,
    log_path,
    models_dir,
    settings_path,
)
from depthtui.sizes import format_size, parse_size

if TYPE_CHECKING:
    from depthtui.engine.results import ModelSpec, Prompt, RunResult, RunSettings
    from depthtui.engine.store import Store

INTERRUPTED = 130

_SETTINGS = ("cache_dir", "cache_limit", "top_k", "kl_threshold", "overlap_threshold", "seed")
"""Options that stand for a setting of the same name."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 a failure, 2 bad usage, 130 ctrl-c."""
    try:
        status = commands.main(args, prog_name="depthtui", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" See `{where} --help`." if where else ""
        say(f"{error.format_message()}{hint}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except DepthError as error:
        say(str(error))
        return 1
    except BrokenPipeError:
        # Whoever read the output has gone; what is still buffered would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        say(log_bug(error))
        return 1


def say(message: str) -> None:
    """Print one line on stderr."""
    from depthtui.report.legible import legible

    # `print`, unlike `click.echo`, goes above a progress bar.
    print(f"depthtui: {legible(' '.join(message.split()))}", file=sys.stderr, flush=True)


def log_bug(error: Exception) -> str:
    """Append the traceback to the log, and return what to tell people."""
    path = log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            traceback.print_exception(error, file=log)
        where = f"The details are in {path}."
    except OSError:
        where = f"The details could not be written to {path}."
    return f"Something unexpected went wrong ({type(error).__name__}: {error}). {where}"


_Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value!r} is not auto, cpu, cuda, cuda:N or mps.")
    return value


def _names(known: Callable[[], Sequence[str]]) -> _Callback:
    """Reads names from a list, with commas between them, or `all` of them.

    None given is an empty tuple.
    """

    def read(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> tuple[str, ...]:
        if value is None:
            return ()
        if value.strip() == "all":
            return tuple(known())
        names = tuple(dict.fromkeys(each.strip() for each in value.split(",")))
        for each in names:
            if each not in known():
                raise click.BadParameter(f"{each!r} is not one of {', '.join(known())}.")
        return names

    return read


def _metrics() -> Sequence[str]:
    from depthtui.engine.metrics.catalog import METRIC_BY_NAME

    return tuple(METRIC_BY_NAME)


def _formats() -> Sequence[str]:
    from depthtui.report.export import FORMATS

    return tuple(FORMATS)


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of models and results.",
)
_model_options = _options(
    click.option("--revision", default="", help="Revision of a model from the hub."),
    click.option(
        "--device", callback=_device, default="auto", help="auto, cpu, cuda, cuda:N or mps."
    ),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        help="Type of the weights in memory.",
    ),
    click.option(
        "--quantize",
        type=click.Choice(["8bit", "4bit"]),
        help="Load the weights in fewer bits, with bitsandbytes.",
    ),
    click.option("--trust-remote-code", is_flag=True, help="Let the model's own Python code run."),
)
_cache_options = _options(
    _cache_dir_option,
    click.option(
        "--cache-limit",
        callback=_size,
        metavar="SIZE",
        help="What results may take on disk, such as 10GiB or 500MB.",
    ),
    click.option("--no-cache", is_flag=True, help="Neither read nor keep results on disk."),
)


class _Commands(click.Group):
    """The commands, whose help names the settings file."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where settings, theme and keys are read from."""
        formatter.write(f"\nSettings, theme and keys: {settings_path()}\n")


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--model", help="A hub id, a local folder or a GGUF file; `demo` is built in.")
@_model_options
@_cache_options
@click.version_option(__version__, message="depthtui %(version)s")
@click.pass_context
def commands(context: click.Context, /, model: str | None, **options: Any) -> int:
    """Explore how a language model uses its depth.

    Without a command, opens the explorer in this terminal.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise DepthError(
            "The explorer needs a terminal.", "`depthtui run MODEL` works without one."
        )
    settings = _settings(options)
    from depthtui.tui.app import main as explore

    return explore(_spec(model or settings.last_model, options), settings)


@commands.command()
@click.argument("model")
@click.option("--prompt", "prompts", multiple=True, help="A prompt; may be given again.")
@click.option(
    "--prompt-file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Plain text (one prompt) or JSONL with `text` and optionally `answer`, `task`, `level`.",
)
@click.option("--task", help="Prompts of a task; `depthtui tasks` lists them.")
@click.option("--level", help="How hard the task's prompts are.")
@click.option(
    "--examples", type=click.IntRange(1), help="How many prompts of the task.  [default: 1]"
)
@click.option(
    "--metrics",
    callback=_names(_metrics),
    metavar="all|NAME,…",
    help="What to compute; `depthtui metrics` lists them.  [default: contributions,logit_lens]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1, min_open=True),
    help="Completeness error that integrated gradients stop at.  [default: 0.01]",
)
@click.option(
    "--riemann-steps",
    type=click.IntRange(1),
    help="Integrate in so many left-Riemann steps (the paper: 256), whatever the error.",
)
@click.option(
    "--skip-part",
    type=click.Choice(["layer", "attention", "mlp"]),
    help="What skip effects and ablation leave out of a layer.  [default: layer]",
)
@click.option(
    "--skip-everywhere", is_flag=True, help="Skip layers at all tokens, not only at earlier ones."
)
@click.option(
    "--baseline-file",
    type=click.Path(path_type=Path),
    help="Prompts whose mean residual erasure puts in.  [default: ten grade-school problems]",
)
@click.option("--top-k", type=click.IntRange(1), help="Tokens that the lens lists at each layer.")
@click.option(
    "--kl-threshold", type=click.FloatRange(0, 1), help="KL rule: share of the largest KL."
)
@click.option("--overlap-threshold", type=click.FloatRange(0, 1), help="Overlap rule.")
@click.option("--skip-first-token", is_flag=True, help="Leave token 0 out of the means.")
@click.option("--seed", type=click.IntRange(0), help="Seed of everything random.")
@click.option("--chat-template", is_flag=True, help="Wrap prompts in the model's chat template.")
@_model_options
@_cache_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write the summary to.",
)
@click.option(
    "--format",
    "formats",
    callback=_names(_formats),
    metavar="NAME,…",
    help="md, json, html or safetensors.  [default: json]",
)
def run(model: str, **options: Any) -> int:
    """Measure MODEL's effective depth on prompts, which are pooled.

    MODEL is `demo`, a hub id, a local folder or a GGUF file.
    """
    if options["formats"] and options["out"] is None:
        raise click.UsageError("--format needs --out FOLDER.")
    settings = _settings(options)
    prompts = _prompts(options, settings.seed)
    run_settings = _run_settings(settings, options)

    from depthtui.headless import Job, run_job

    failures: list[str] = []

    def fail(problem: str) -> None:
        failures.append(problem)
        say(problem)

    job = Job(
        spec=_spec(model, options),
        prompts=prompts,
        settings=run_settings,
        cache_dir=_cache_dir(settings),
        keep_results=settings.use_cache,
        cache_limit=settings.cache_limit,
        activation_limit=settings.activation_limit if settings.cache_activations else 0,
    )
    results = run_job(job, notice=say, fail=fail, on_bug=log_bug)
    if results:
        _report(results, settings, options["out"], options["formats"] or ("json",))
    return 1 if failures else 0


def _report(
    results: Sequence[RunResult], settings: Settings, out: Path | None, formats: Sequence[str]
) -> None:
    from rich.console import Console

    from depthtui.report.export import export
    from depthtui.report.groups import group_runs
    from depthtui.report.table import depth_table, findings_table

    console = Console(highlight=False)
    for group in group_runs(results):
        console.print(depth_table(group, settings.summary_settings()))
        others = findings_table(group, settings.summary_settings())
        if others is not None:
            console.print("", others, sep="\n")
    if out is not None:
        for path in export(results, settings.summary_settings(), out, formats):
            console.print(f"wrote {path}", markup=False, soft_wrap=True)


@commands.command()
@_cache_dir_option
def models(cache_dir: Path | None) -> None:
    """List the models that are on this disk."""
    from depthtui.engine.catalog import on_disk

    found = on_disk(models_dir(_cache_dir(_settings({"cache_dir": cache_dir}))))
    _print_table(
        ("model", "kind", "size"),
        [
            (each.name, each.kind, format_size(each.size) + ("" if each.ready else " to fetch"))
            for each in found
        ],
    )


@commands.command()
def tasks() -> None:
    """List the tasks and how hard they can be made."""
    from depthtui.prompts.tasks import TASKS

    rows = []
    for each in TASKS.values():
        levels = f"{each.levels[0]} to {each.levels[-1]} {each.dial}" if each.levels else "–"
        rows.append((each.name, levels, each.sentence))
    _print_table(("task", "levels", "what it is"), rows)


@commands.command()
def metrics() -> None:
    """List the metrics, what they tell and what they cost.

    L is the number of layers, T that of tokens; a forward is one pass through the model.
    """
    from depthtui.engine.metrics.catalog import FREE, METRICS

    rows = [
        (each.name, each.tells + (" Needs an answer." if each.needs_answer else ""), each.cost)
        for each in METRICS
    ]
    _print_table(("metric", "what it tells", "cost"), rows)
    click.echo("\nFree with these:\n")
    _print_table(("with", "what it tells"), [(each.comes_with, each.tells) for each in FREE])


@commands.group()
def cache() -> None:
    """Look after the results on disk."""


@cache.command()
@_cache_dir_option
def info(cache_dir: Path | None) -> None:
    """Say where the cache is and how full."""
    folder, store = _store(cache_dir)
    found = store.info()
    rows = [(kind, str(count), format_size(size)) for kind, (count, size) in found.kinds.items()]
    rows.append(("all", str(found.entries), format_size(found.bytes)))
    click.echo(f"{format_size(found.bytes)} of {format_size(found.limit)} in {folder}\n")
    _print_table(("kind", "entries", "size"), rows, numbers=(1, 2))


@cache.command("list")
@_cache_dir_option
def list_(cache_dir: Path | None) -> None:
    """List what is kept, the latest used first."""
    from datetime import datetime

    rows = [
        (
            datetime.fromtimestamp(each.last_used).strftime("%Y-%m-%d %H:%M"),
            format_size(each.size),
            each.kind,
            each.description,
        )
        for each in _store(cache_dir)[1].entries()
    ]
    _print_table(("last used", "size", "kind", "what it is"), rows, numbers=(1,))


@cache.command()
@_cache_dir_option
def clear(cache_dir: Path | None) -> None:
    """Delete all results; models stay."""
    folder, store = _store(cache_dir, even_broken=True)
    try:
        count = store.clear()
    except OSError as error:
        raise DepthError(f"{folder} cannot be emptied ({error.strerror}).") from None
    click.echo("1 entry deleted." if count == 1 else f"{count} entries deleted.")


@cache.command()
@_cache_dir_option
def verify(cache_dir: Path | None) -> None:
    """Compare every checksum and drop what is damaged."""
    report = _store(cache_dir)[1].verify()
    click.echo(
        f"{report.checked} entries checked, {report.damaged} damaged ones dropped, "
        f"{report.orphans} stray files removed."
    )


def _settings(options: dict[str, Any]) -> Settings:
    """The settings file, with what the command line says instead."""
    given: dict[str, Any] = {
        name: options[name] for name in _SETTINGS if options.get(name) is not None
    }
    if options.get("skip_first_token"):
        given["include_first_token"] = False
    if options.get("chat_template"):
        given["chat_template"] = True
    if options.get("no_cache"):
        given["use_cache"] = False
    return replace(load_settings(on_notice=say), **given)


def _run_settings(settings: Settings, options: dict[str, Any]) -> RunSettings:
    """What a run's arrays depend on, from the settings file and the command line."""
    from depthtui.prompts.files import read_prompts

    names = ("metrics", "tolerance", "riemann_steps", "skip_part", "skip_everywhere")
    given = {name: options[name] for name in names if options[name]}
    if options["baseline_file"] is not None:
        try:
            given["baseline"] = tuple(each.text for each in read_prompts(options["baseline_file"]))
        except DepthError as error:
            raise click.UsageError(str(error)) from error
    return replace(settings.run_settings(), **given)


def _cache_dir(settings: Settings) -> Path:
    return settings.cache_dir or default_cache_dir()


def _spec(name: str, options: dict[str, Any]) -> ModelSpec:
    from depthtui.engine.results import ModelSpec

    return ModelSpec(
        name=name,
        revision=options["revision"],
        device=options["device"],
        dtype=options["dtype"],
        quantize=options["quantize"] or "",
        trust_remote_code=options["trust_remote_code"],
    )


def _prompts(options: dict[str, Any], seed: int) -> list[Prompt]:
    """Typed prompts, then those of files, then those of a task."""
    from depthtui.engine.results import Prompt
    from depthtui.prompts.files import read_prompts
    from depthtui.prompts.tasks import make_prompts

    if options["task"] is None and (options["level"] or options["examples"]):
        raise click.UsageError("--level and --examples need --task NAME.")
    prompts = [Prompt(text) for text in options["prompts"]]
    try:
        for path in options["files"]:
            prompts += read_prompts(path)
        if options["task"] is not None:
            count = options["examples"] or 1
            prompts += make_prompts(options["task"], options["level"], count, seed)
    except DepthError as error:
        raise click.UsageError(str(error)) from error
    if not prompts:
        raise click.UsageError("Give a prompt: --prompt TEXT, --prompt-file FILE or --task NAME.")
    return prompts


def _refuse_options(context: click.Context) -> None:
    for name in context.params:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "--" + name.replace("_", "-")
            where = "name the model after it" if name == "model" else "give it after"
            raise click.UsageError(f"{option} before a command is the explorer's; {where}.")


def _store(cache_dir: Path | None, even_broken: bool = False) -> tuple[Path, Store]:
    """The results folder and its store, which is not made where there is none.

    Raises:
        DepthError: the folder cannot be used, and not `even_broken`.
    """
    from depthtui.engine.store import open_store

    settings = _settings({"cache_dir": cache_dir})
    folder = _cache_dir(settings)
    problems: list[str] = []
    is_there = (folder / "results").is_dir()
    store = open_store(folder if is_there else None, settings.cache_limit, problems.append)
    if problems and not even_broken:
        raise DepthError(problems[0])
    return folder / "results", store


def _print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from depthtui.report.legible import legible

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in numbers else "left")
    for row in rows:
        table.add_row(*(Text(legible(cell)) for cell in row))
    # A pipe has no width: lines that are read by programs must not be cut.
    width = None if sys.stdout.isatty() else 10_000
    Console(highlight=False, width=width).print(table)
