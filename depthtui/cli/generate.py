"""`depthtui generate`: texts, measured token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import click

from depthtui.cli.command_help import SectionedCommand, in_section
from depthtui.cli.output import INTERRUPTED, OutOptions, print_notice, print_written
from depthtui.cli.shared_options import (
    Overrides,
    PromptOptions,
    cache_options,
    gather_prompts,
    generate_prompt_options,
    generation_options,
    model_argument_or_option,
    model_options,
    out_options,
    palette_option,
)
from depthtui.cli.streams import work_without_output
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels
from depthtui.log import log_bug


class Measures(click.Choice[str]):
    """The names in `TOKEN_DEPTHS`, imported on first access: most commands need none."""

    def __init__(self) -> None:
        self.case_sensitive = True

    @cached_property
    def choices(self) -> Sequence[str]:  # type: ignore[override]
        """The names of the measures of a token's depth."""
        from depthtui.metrics.token_depths import TOKEN_DEPTHS

        return [measure.name for measure in TOKEN_DEPTHS]


@click.command(
    cls=SectionedCommand,
    common=(
        *("model", "by_option", "device", "dtype", "quantize", "trust_remote_code"),
        *("prompts", "files", "task", "examples"),
        *(
            "max_tokens",
            "temperature",
            "top_k",
            "top_p",
            "seed",
            "chat_template",
            "lens",
            "measure",
        ),
        *("cache_dir", "use_cache", "out", "formats"),
    ),
    examples=[
        'depthtui generate demo --prompt "Why is the sky blue?" --chat-template',
        "depthtui generate demo --task grade_school --temperature 0.7 --out text/",
    ],
)
@model_argument_or_option
@generate_prompt_options
@generation_options
@in_section(
    "Writing",
    click.option(
        "--measure",
        type=Measures(),
        default="prediction",
        help="The depth that colours the tokens.  [default: prediction]",
    ),
)
@model_options
@cache_options
@out_options
@palette_option
def generate(
    model: str,
    prompt_options: PromptOptions,
    overrides: Overrides,
    measure: str,
    spec: ModelSpec,
    trusted: TrustedModels,
    output: OutOptions,
) -> int:
    """Let MODEL answer prompts, and measure the depth of each token.

    MODEL is `demo`, a hub id, a local folder or a GGUF file. The answers that prompts bring
    are left out. Ctrl-c ends the text and keeps its tokens.
    """
    output.check("generations")
    settings = overrides.settings()
    writing = overrides.over(settings.generation_settings())
    if not writing.temperature and (writing.top_k or writing.top_p < 1):
        print_notice("--top-k and --top-p only matter with --temperature above 0.")
    prompts = gather_prompts(prompt_options, settings).prompts

    from rich.console import Console

    from depthtui.cli.streaming import GenerationJob, generate_texts
    from depthtui.engine.factory import Storage
    from depthtui.report.as_rich import rich_lines
    from depthtui.report.generation_document import generation_document
    from depthtui.report.generation_files import generation_report

    failures: list[str] = []

    def fail(problem: str) -> None:
        failures.append(problem)
        print_notice(problem)

    job = GenerationJob(
        spec=replace(spec, name=model),
        prompts=prompts,
        settings=writing,
        measure=measure,
        palette=settings.palette,
        storage=Storage.of(settings),
        trusted=trusted,
    )
    if output.out is not None:
        work_without_output()
    console = Console(highlight=False)
    texts = []
    for text in generate_texts(job, console, notice=print_notice, fail=fail, on_bug=log_bug):
        console.print("", rich_lines(generation_document([text])), "", sep="\n")
        texts.append(text)
    if texts and output.out is not None:
        report = generation_report(texts, settings.palette)
        print_written(report.write(output.out, output.formats or ["json"]), console)
    if any(text.stopped_by == "user" for text in texts):
        return INTERRUPTED
    return 1 if failures else 0
