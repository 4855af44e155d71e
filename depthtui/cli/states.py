"""`--states DIR`: files of states that vLLM has served, in the place of prompts."""

from __future__ import annotations

import click

from depthtui.cli.help import in_section
from depthtui.cli.options import DatasetOptions, Folder, Given, PromptOptions

states_option = in_section(
    "Prompts",
    click.option(
        "--states",
        type=Folder(),
        metavar="DIR",
        help="Measure the states that vLLM's extract_hidden_states has written there, instead of "
        "running prompts.",
    ),
)


def refuse_prompts(
    asked: PromptOptions, dataset: DatasetOptions, protocol: str | None, given: Given
) -> None:
    """Refuse what says which prompts are run, or how: these have been.

    Raises:
        UsageError: says which option does.
    """
    said = {
        "--prompt": asked.prompts,
        "--answer": asked.answers,
        "--prompt-file": asked.files,
        "--task": asked.task,
        "--level": asked.level,
        "--examples": asked.examples,
        "--data": dataset.data,
        "--sample": dataset.sample,
        "--max-tokens": dataset.max_tokens,
        "--protocol": protocol,
        "--chat-template": given.values.get("chat_template"),
    }
    for flag, value in said.items():
        if value:
            raise click.UsageError(
                f"--states reads prompts that have been served: leave {flag} out."
            )
