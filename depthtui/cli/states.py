"""`--states DIR`: files of states that vLLM has written, in place of prompts."""

from __future__ import annotations

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.shared_options import DatasetOptions, Folder, Overrides, PromptOptions

states_option = in_section(
    "Prompts",
    click.option(
        "--states",
        type=Folder(),
        metavar="DIR",
        help="Measure the states in the files of vLLM's extract_hidden_states, instead of running "
        "prompts.",
    ),
)


def refuse_prompts(
    prompt_options: PromptOptions,
    dataset: DatasetOptions,
    protocol: str | None,
    overrides: Overrides,
) -> None:
    """Refuse options that choose prompts or how they run: the states come from another program.

    Raises:
        UsageError: there is such an option; the error names it.
    """
    prompt_values = {
        "--prompt": prompt_options.prompts,
        "--answer": prompt_options.answers,
        "--prompt-file": prompt_options.files,
        "--texts": prompt_options.texts,
        "--task": prompt_options.task,
        "--level": prompt_options.level,
        "--examples": prompt_options.examples,
        "--choices": prompt_options.choices,
        "--shots": prompt_options.shots,
        "--data": dataset.data,
        "--sample": dataset.sample,
        "--max-tokens": dataset.max_tokens,
        "--protocol": protocol,
        "--chat-template": overrides.values.get("chat_template"),
    }
    for flag, value in prompt_values.items():
        if value:
            raise click.UsageError(f"--states reads prompts that were served: leave {flag} out.")
