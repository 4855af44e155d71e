"""`--protocol paper`: the paper's prompts and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import print_notice
from depthtui.cli.shared_options import DatasetOptions, Overrides, PromptOptions
from depthtui.cli.shortened_llama import SHORTENED_LLAMA

_SET = {
    "kl_threshold": "--kl-threshold",
    "overlap_threshold": "--overlap-threshold",
    "include_first_token": "--skip-first-token",
    "chat_template": "--chat-template",
    "skip_positions": "--skip-positions",
    "skip_everywhere": "--skip-everywhere",
    "lens": "--lens",
}
"""Settings that the protocol fixes, and their options."""

protocol_option = in_section(
    "Prompts",
    click.option(
        "--protocol",
        type=OneOf(["paper", SHORTENED_LLAMA]),
        help="paper: the paper's examples of the data set that --task or --data names, its "
        "thresholds and positions. shortened-llama: perplexity of --texts without each layer.",
    ),
)


def under_paper_protocol(
    prompt_options: PromptOptions, dataset: DatasetOptions, overrides: Overrides
) -> tuple[PromptOptions, DatasetOptions, Overrides]:
    """Options of a run under the paper's protocol; prints the settings that it fixes.

    Raises:
        UsageError: an option contradicts the protocol, or no data set of the paper is named.
    """
    from depthtui.prompts.paper import PAPER_PROTOCOL

    choices = {choice.name: choice for choice in PAPER_PROTOCOL.datasets}
    name = prompt_options.task or (next(iter(dataset.data)) if len(dataset.data) == 1 else "")
    if prompt_options.prompts or prompt_options.files or name not in choices:
        *other_names, last = choices
        raise click.UsageError(
            "--protocol paper needs one of the paper's data sets: --task "
            f"{', '.join(other_names)} or {last}."
        )
    fixed = {
        "--level": prompt_options.level,
        "--examples": prompt_options.examples,
        "--choices": prompt_options.choices,
        "--texts": prompt_options.texts,
        "--shots": prompt_options.shots,
        "--max-tokens": dataset.max_tokens,
        "--sample": dataset.sample,
        **{flag: name in overrides.values for name, flag in _SET.items()},
    }
    for flag, value in fixed.items():
        if value:
            raise click.UsageError(f"--protocol paper fixes {flag}: leave it out.")
    paper, choice = PAPER_PROTOCOL, choices[name]
    settings = {
        "kl_threshold": paper.summary.kl_threshold,
        "overlap_threshold": paper.summary.overlap_threshold,
        "include_first_token": paper.summary.include_first_token,
        "lens": paper.summary.lens,
        "chat_template": paper.chat_template,
    }
    overrides = Overrides({**overrides.values, **settings})
    print_notice(paper.in_words([name], overrides.settings().seed))
    return (
        replace(prompt_options, task=name, examples=choice.examples),
        replace(dataset, max_tokens=choice.max_tokens),
        overrides,
    )


def missing_datasets(names: Sequence[str], folder: Path) -> list[str]:
    """The data sets that are not on this disk and cannot be fetched.

    Args:
        names: names of data sets.
        folder: the folder that is searched first.
    """
    from depthtui.models.reach import hub_endpoint, is_forbidden, reaches
    from depthtui.prompts.local_datasets import local_file

    absent = [name for name in names if local_file(name, folder) is None]
    can_fetch = find_spec("datasets") is not None and not is_forbidden()
    return [] if absent and can_fetch and reaches(hub_endpoint()) else absent
