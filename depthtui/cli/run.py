"""`depthtui run`: the effective depth of a model on prompts."""

from __future__ import annotations

from pathlib import Path

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.compare_answers import LOG
from depthtui.cli.output import OutOptions, noted_in, print_notice, report_runs
from depthtui.cli.paper_protocol import protocol_option, under_paper_protocol
from depthtui.cli.prompt_command import PromptCommand
from depthtui.cli.shared_options import (
    CommandPrompts,
    DatasetOptions,
    Overrides,
    PromptOptions,
    cache_options,
    corpus_options,
    dataset_options,
    gather_prompts,
    model_argument_or_option,
    model_options,
    out_options,
    palette_option,
    run_options,
    run_prompt_options,
)
from depthtui.cli.shortened_llama import SHORTENED_LLAMA, measure_perplexities
from depthtui.cli.states import refuse_prompts, states_option
from depthtui.data.run_settings import DEFAULT_METRICS, ModelSpec, RunSettings
from depthtui.data.trust import TrustedModels
from depthtui.log import log_bug
from depthtui.models.catalog import resolve
from depthtui.settings import models_dir


@click.command(
    cls=PromptCommand,
    common=(
        *("model", "by_option", "device", "dtype", "quantize", "trust_remote_code"),
        *("prompts", "answers", "files", "texts", "task", "level", "examples"),
        *("metrics", "lens", "layers", "chat_template", "seed"),
        *("cache_dir", "use_cache", "out", "formats"),
    ),
    examples=[
        "depthtui run demo --prompt 'The capital of France is Paris.'",
        "depthtui run demo --task grade_school --out summary/",
        "depthtui run Qwen/Qwen2.5-7B --protocol paper --data gsm8k=gsm8k.jsonl",
        "depthtui run Qwen/Qwen2.5-7B --prompt-file prompts.jsonl --metrics ablation \\",
        "    --layers 0-5,20 --format json,html --out summary/",
        "depthtui run google/gemma-2b --protocol shortened-llama --texts books.txt",
        "depthtui run Qwen/Qwen2.5-7B --texts wikitext-2.parquet --window 2048",
        "depthtui run --states /dev/shm/states --model Qwen/Qwen2.5-7B",
    ],
)
@model_argument_or_option
@run_prompt_options
@corpus_options
@states_option
@dataset_options
@protocol_option
@run_options
@model_options
@cache_options
@out_options
@palette_option
@in_section(
    "Files",
    click.option(
        "--lm-eval",
        "log",
        type=LOG,
        metavar="FILE",
        help="Right answers of the model in a results_….json of lm_eval, for the report.",
    ),
)
def run(
    states: Path | None,
    prompt_options: PromptOptions,
    dataset: DatasetOptions,
    protocol: str | None,
    overrides: Overrides,
    spec: ModelSpec,
    trusted: TrustedModels,
    output: OutOptions,
    log: Path | None,
) -> int:
    """Measure MODEL's effective depth on prompts, which are pooled.

    MODEL is `demo`, a hub id, a local folder or a GGUF file. With --states, the prompts are those
    that vLLM has served, and its states are measured.
    """
    if protocol == SHORTENED_LLAMA:
        return measure_perplexities(spec, trusted, overrides, prompt_options.texts)
    output.check("runs")
    if states is not None:
        refuse_prompts(prompt_options, dataset, protocol, overrides)
    elif protocol is not None:
        prompt_options, dataset, overrides = under_paper_protocol(
            prompt_options, dataset, overrides
        )
    settings = overrides.settings()
    resolve(spec, models_dir(settings.cache_folder))  # Its error precedes the prompt's question.
    prompts = CommandPrompts([]) if states else gather_prompts(prompt_options, settings, dataset)

    from depthtui.cli.headless import RunJob, run_job
    from depthtui.data.lm_eval_results import read_answers
    from depthtui.engine.factory import Storage
    from depthtui.engine.state_files import find_state_files
    from depthtui.metrics.needed_settings import with_adapter_metric, with_lens_metric
    from depthtui.metrics.registry import named_metrics

    logged = [] if log is None else read_answers(log)
    failures: list[str] = []
    usual = DEFAULT_METRICS if states is None and protocol is None else RunSettings.metrics
    run_settings = overrides.run_settings(settings, prompts.metrics or usual)
    if states is None:
        run_settings = with_adapter_metric(run_settings, spec)
    run_settings = with_lens_metric(run_settings, settings.lens)
    job = RunJob(
        spec=spec,
        prompts=prompts.prompts,
        settings=run_settings,
        storage=Storage.of(settings),
        trusted=trusted,
        corpus=prompts.corpus,
        max_tokens=dataset.max_tokens,
        more=prompts.more,
        n_more=prompts.n_more,
        named_metrics=overrides.values.get("metrics") or named_metrics(run_settings),
        states=() if states is None else find_state_files(states),
    )
    results = run_job(job, print_notice, noted_in(failures), log_bug)
    pooling = overrides.over(settings.summary_settings())
    is_logged = not results or report_runs(results, settings, pooling, output, logged=logged)
    return 1 if failures or not is_logged else 0
