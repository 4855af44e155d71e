"""`depthtui generate`: texts, measured token by token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import (
    INTERRUPTED,
    OutOptions,
    is_plain,
    noted_in,
    print_document,
    print_notice,
    report_runs,
)
from depthtui.cli.prompt_command import PromptCommand
from depthtui.cli.shared_options import (
    Overrides,
    PromptOptions,
    cache_options,
    gather_prompts,
    generate_prompt_options,
    model_argument_or_option,
    model_options,
    out_options,
    palette_option,
    reading_options,
    writing_options,
)
from depthtui.cli.streams import work_without_output
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels
from depthtui.log import log_bug


class Measures(OneOf):
    """The names in `TOKEN_DEPTHS`, imported on first access: most commands need none."""

    def __init__(self) -> None:
        self.case_sensitive = True
        self.aliases = {}

    @cached_property
    def choices(self) -> Sequence[str]:  # type: ignore[override]
        """The names of the measures of a token's depth."""
        from depthtui.metrics.token_depths import TOKEN_DEPTHS

        return [measure.name for measure in TOKEN_DEPTHS]


@click.command(
    cls=PromptCommand,
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
@reading_options
@writing_options
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
    output.check("runs")
    settings = overrides.settings()
    writing = overrides.over(settings.writing())
    if not writing.temperature and (writing.top_k or writing.top_p < 1):
        print_notice("--top-k and --top-p only matter with --temperature above 0.")
    prompts = gather_prompts(prompt_options, settings).prompts

    from rich.console import Console

    from depthtui.cli.headless import RunJob
    from depthtui.cli.streaming import TokenPrinter, was_stopped, write_texts
    from depthtui.engine.factory import Storage
    from depthtui.metrics.needed_settings import with_lens_metric
    from depthtui.report.run_document import text_document

    failures: list[str] = []
    pooling = overrides.over(settings.summary_settings())
    run_settings = overrides.over(settings.run_settings())
    job = RunJob(
        spec=spec,
        prompts=prompts,
        settings=with_lens_metric(run_settings, pooling.lens),
        storage=Storage.of(settings),
        trusted=trusted,
    )
    if output.out is not None:
        work_without_output()
    console = Console(highlight=False, force_terminal=False if is_plain() else None)
    runs = []
    printer = TokenPrinter(console, measure, settings.palette, pooling)
    for run in write_texts(job, writing, printer, print_notice, noted_in(failures), log_bug):
        print()
        print_document(text_document(run, pooling))
        print()
        runs.append(run)
    is_logged = not runs or report_runs(runs, settings, pooling, output)
    if any(map(was_stopped, runs)):
        return INTERRUPTED
    return 1 if failures or not is_logged or not all(run.complete for run in runs) else 0
