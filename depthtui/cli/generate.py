"""`depthtui generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.options import (
    NumberRange,
    cache_dir_of,
    cache_options,
    gather_prompts,
    group_options,
    model_options,
    out_options,
    prompt_options,
    read_settings,
    read_spec,
    template_option,
)
from depthtui.cli.output import INTERRUPTED, log_bug, say
from depthtui.settings import Settings

if TYPE_CHECKING:
    from depthtui.data.run_settings import GenerationSettings

MEASURES = ("prediction", "settling", "kl", "overlap", "early_exit")
"""The names in `engine.token_depths.TOKEN_DEPTHS`, without its imports."""

_GIVEN = ("max_tokens", "temperature", "top_p", "confidence", "settling_threshold")

_writing_options = group_options(
    click.option("--max-tokens", type=click.IntRange(1), help="Most tokens.  [default: 256]"),
    click.option(
        "--temperature",
        type=NumberRange(0),
        help="0 always takes the most probable token.  [default: 0]",
    ),
    click.option(
        "--top-p",
        type=NumberRange(0, 1),
        help="Draw from the most probable tokens that reach this share.  [default: 1]",
    ),
    click.option("--seed", type=click.IntRange(0), help="Seed of the random choices."),
    template_option,
    click.option(
        "--measure",
        type=click.Choice(MEASURES),
        default="settling",
        help="What colours the tokens.  [default: settling]",
    ),
    click.option(
        "--confidence",
        type=NumberRange(0, 1),
        help="Early exit: how sure the lens must be.  [default: 0.9]",
    ),
    click.option(
        "--settling-threshold",
        type=NumberRange(0, 1),
        help="Settling depth: divergence in nats to stay below.  [default: 0.5]",
    ),
    click.option("--top-k", type=click.IntRange(1), help="Tokens that the lens lists."),
    click.option(
        "--kl-threshold", type=NumberRange(0, 1), help="KL rule: share of the largest KL."
    ),
    click.option("--overlap-threshold", type=NumberRange(0, 1), help="Overlap rule."),
)


@click.command()
@click.argument("model")
@prompt_options
@_writing_options
@model_options
@cache_options
@out_options
def generate(model: str, **options: Any) -> int:
    """Let MODEL answer prompts, and measure how deep each token was decided.

    MODEL is `demo`, a hub id, a local folder or a GGUF file. The answers that prompts bring
    are left out. Ctrl-c ends the text and keeps what was written.
    """
    if options["formats"] and options["out"] is None:
        raise click.UsageError("--format needs --out FOLDER.")
    settings = read_settings(options)
    # `--max-tokens` is of the text here, not of the prompts.
    prompts = gather_prompts(
        {"data": {}, "sample": False, **options, "max_tokens": None}, settings.seed
    ).prompts

    from rich.console import Console

    from depthtui.cli.streaming import WritingJob, write_texts
    from depthtui.report.generation import generation_table
    from depthtui.report.generation_files import export_generations

    failures: list[str] = []

    def fail(problem: str) -> None:
        failures.append(problem)
        say(problem)

    job = WritingJob(
        spec=read_spec(model, options),
        prompts=prompts,
        settings=_generation_settings(settings, options),
        measure=options["measure"],
        cache_dir=cache_dir_of(settings),
        keep_results=settings.use_cache,
        cache_limit=settings.cache_limit,
    )
    console = Console(highlight=False)
    written = []
    for each in write_texts(job, console, notice=say, fail=fail, on_bug=log_bug):
        console.print("", generation_table(each), "", sep="\n")
        written.append(each)
    if written and options["out"] is not None:
        formats = options["formats"] or ("json",)
        for path in export_generations(written, options["out"], formats):
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
    if any(each.stopped_by == "user" for each in written):
        return INTERRUPTED
    return 1 if failures else 0


def _generation_settings(settings: Settings, options: dict[str, Any]) -> GenerationSettings:
    from depthtui.data.run_settings import GenerationSettings

    return GenerationSettings(
        seed=settings.seed,
        chat_template=settings.chat_template,
        top_k=settings.top_k,
        kl_threshold=settings.kl_threshold,
        overlap_threshold=settings.overlap_threshold,
        **{name: options[name] for name in _GIVEN if options[name] is not None},
    )
