"""Options that commands share, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.output import say
from depthtui.errors import DepthError
from depthtui.settings import Settings, default_cache_dir, load_settings
from depthtui.sizes import parse_size

if TYPE_CHECKING:
    from depthtui.engine.results import ModelSpec, Prompt, RunSettings

_SETTINGS = ("cache_dir", "cache_limit", "top_k", "kl_threshold", "overlap_threshold", "seed")
"""Options that stand for a setting of the same name."""

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


def names_from(known: Callable[[], Sequence[str]]) -> _Callback:
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


def _metric_names() -> Sequence[str]:
    from depthtui.engine.metrics.catalog import METRIC_BY_NAME

    return tuple(METRIC_BY_NAME)


def _format_names() -> Sequence[str]:
    from depthtui.report.export import FORMATS

    return tuple(FORMATS)


def group_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator for several options."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


cache_dir_option = click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of models and results.",
)
model_options = group_options(
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
cache_options = group_options(
    cache_dir_option,
    click.option(
        "--cache-limit",
        callback=_size,
        metavar="SIZE",
        help="What results may take on disk, such as 10GiB or 500MB.",
    ),
    click.option("--no-cache", is_flag=True, help="Neither read nor keep results on disk."),
)
prompt_options = group_options(
    click.option("--prompt", "prompts", multiple=True, help="A prompt; may be given again."),
    click.option(
        "--prompt-file",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Plain text (one prompt) or JSONL with `text` and optionally `answer`, `task`, "
        "`level`.",
    ),
    click.option("--task", help="Prompts of a task; `depthtui tasks` lists them."),
    click.option("--level", help="How hard the task's prompts are."),
    click.option(
        "--examples", type=click.IntRange(1), help="How many prompts of the task.  [default: 1]"
    ),
)
metric_options = group_options(
    click.option(
        "--metrics",
        callback=names_from(_metric_names),
        metavar="all|NAME,…",
        help="What to compute; `depthtui metrics` lists them.  [default: contributions,logit_lens]",
    ),
    click.option(
        "--tolerance",
        type=click.FloatRange(0, 1, min_open=True),
        help="Completeness error that integrated gradients stop at.  [default: 0.01]",
    ),
    click.option(
        "--riemann-steps",
        type=click.IntRange(1),
        help="Integrate in so many left-Riemann steps (the paper: 256), whatever the error.",
    ),
    click.option(
        "--skip-part",
        type=click.Choice(["layer", "attention", "mlp"]),
        help="What skip effects and ablation leave out of a layer.  [default: layer]",
    ),
    click.option(
        "--skip-everywhere",
        is_flag=True,
        help="Skip layers at all tokens, not only at earlier ones.",
    ),
    click.option(
        "--baseline-file",
        type=click.Path(path_type=Path),
        help="Prompts whose mean residual erasure puts in.  [default: ten grade-school problems]",
    ),
)
summary_options = group_options(
    click.option(
        "--top-k", type=click.IntRange(1), help="Tokens that the lens lists at each layer."
    ),
    click.option(
        "--kl-threshold", type=click.FloatRange(0, 1), help="KL rule: share of the largest KL."
    ),
    click.option("--overlap-threshold", type=click.FloatRange(0, 1), help="Overlap rule."),
    click.option("--skip-first-token", is_flag=True, help="Leave token 0 out of the means."),
    click.option("--seed", type=click.IntRange(0), help="Seed of everything random."),
)
template_option = click.option(
    "--chat-template", is_flag=True, help="Wrap prompts in the model's chat template."
)
out_options = group_options(
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder to write the summary to.",
    ),
    click.option(
        "--format",
        "formats",
        callback=names_from(_format_names),
        metavar="NAME,…",
        help="md, json, html or safetensors.  [default: json]",
    ),
)


def read_settings(options: dict[str, Any]) -> Settings:
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


def read_run_settings(settings: Settings, options: dict[str, Any]) -> RunSettings:
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


def cache_dir_of(settings: Settings) -> Path:
    """Folder of models and results."""
    return settings.cache_dir or default_cache_dir()


def read_spec(name: str, options: dict[str, Any]) -> ModelSpec:
    """A model's name, and how to load it."""
    from depthtui.engine.results import ModelSpec

    return ModelSpec(
        name=name,
        revision=options["revision"],
        device=options["device"],
        dtype=options["dtype"],
        quantize=options["quantize"] or "",
        trust_remote_code=options["trust_remote_code"],
    )


def gather_prompts(options: dict[str, Any], seed: int) -> list[Prompt]:
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
