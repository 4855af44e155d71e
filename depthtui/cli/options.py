"""Options that commands share, and what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.output import say
from depthtui.errors import DepthError
from depthtui.settings import Settings, default_cache_dir, load_settings
from depthtui.sizes import parse_size

if TYPE_CHECKING:
    from depthtui.data.run import Prompt
    from depthtui.data.run_settings import ModelSpec, RunSettings

_SETTINGS = ("cache_dir", "cache_limit", "top_k", "kl_threshold", "overlap_threshold", "seed")
"""Options that stand for a setting of the same name."""

_Callback = Callable[[click.Context, click.Parameter, Any], Any]


class NumberRange(click.FloatRange):
    """Numbers in a range: nan, which every comparison lets pass, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number in a text."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return float(number)


def read_size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Reads a size such as `10GiB`, in bytes."""
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


def _data_files(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Files by the data set that they hold."""
    from depthtui.prompts.dataset_formats import DATASETS

    files = {}
    for each in values:
        name, sign, file = each.partition("=")
        if name not in DATASETS:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(DATASETS)}.")
        if not sign or not file:
            raise click.BadParameter(f"write {name}=FILE.")
        files[name] = Path(file)
    return files


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
    from depthtui.metrics import METRIC_BY_NAME

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
        callback=read_size,
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
dataset_options = group_options(
    click.option(
        "--data",
        multiple=True,
        callback=_data_files,
        metavar="NAME=FILE",
        help="File of the data set that --task names; without it, the set comes from the hub.",
    ),
    click.option(
        "--sample", is_flag=True, help="Draw a data set's prompts by the seed, not its first ones."
    ),
    click.option(
        "--max-tokens",
        type=click.IntRange(1),
        help="Leave longer prompts out; of a data set, later ones come instead.",
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
        type=NumberRange(0, 1, min_open=True),
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
        "--kl-threshold", type=NumberRange(0, 1), help="KL rule: share of the largest KL."
    ),
    click.option("--overlap-threshold", type=NumberRange(0, 1), help="Overlap rule."),
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
    from depthtui.data.run_settings import ModelSpec

    return ModelSpec(
        name=name,
        revision=options["revision"],
        device=options["device"],
        dtype=options["dtype"],
        quantize=options["quantize"] or "",
        trust_remote_code=options["trust_remote_code"],
    )


@dataclass(frozen=True)
class Gathered:
    """The prompts of a command.

    Attributes:
        prompts: in order.
        more: of a data set, where only those that are short enough are wanted.
        n_more: how many of `more` are wanted.
    """

    prompts: list[Prompt]
    more: Iterable[Prompt] = ()
    n_more: int = 0


def gather_prompts(options: dict[str, Any], seed: int) -> Gathered:
    """Typed prompts, then those of files, then those of a task or a data set."""
    from depthtui.data.run import Prompt
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.files import read_prompts
    from depthtui.prompts.tasks import make_prompts

    task = options["task"]
    if task is None and (options["level"] or options["examples"]):
        raise click.UsageError("--level and --examples need --task NAME.")
    if set(options["data"]) - {task}:
        raise click.UsageError("--data NAME=FILE needs --task NAME.")
    if options["sample"] and task not in DATASETS:
        raise click.UsageError("--sample needs a data set as --task.")
    prompts = [Prompt(text) for text in options["prompts"]]
    count = options["examples"] or 1
    try:
        for path in options["files"]:
            prompts += read_prompts(path)
        if task in DATASETS:
            return _with_dataset(prompts, options, count, seed)
        if task is not None:
            prompts += make_prompts(task, options["level"], count, seed)
    except DepthError as error:
        raise click.UsageError(str(error)) from error
    if not prompts:
        raise click.UsageError("Give a prompt: --prompt TEXT, --prompt-file FILE or --task NAME.")
    return Gathered(prompts)


def _with_dataset(
    prompts: list[Prompt], options: dict[str, Any], count: int, seed: int
) -> Gathered:
    """Prompts, and `count` of a data set."""
    from depthtui.prompts.datasets import read_dataset, rows

    task, level = options["task"], options["level"]
    source = options["data"].get(task)
    sample_seed = seed if options["sample"] else None
    if options["max_tokens"] is None:
        return Gathered(prompts + read_dataset(task, source, count, sample_seed, level))
    # Which of them are short enough, only the model's tokenizer can say.
    return Gathered(prompts, rows(task, source, sample_seed, level), count)
