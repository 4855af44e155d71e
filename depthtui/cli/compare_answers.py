"""`depthtui compare-answers`: two logs of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthtui.cli.command_help import SectionedCommand
from depthtui.cli.output import print_notice, print_table

if TYPE_CHECKING:
    from depthtui.report.logged_answers import LoggedPair

LOG = click.Path(path_type=Path)
"""A log of lm-evaluation-harness."""


@click.command(
    "compare-answers",
    cls=SectionedCommand,
    examples=["depthtui compare-answers whole/results_*.json pruned/results_*.json"],
)
@click.argument("before", type=LOG)
@click.argument("after", type=LOG)
def compare_answers(before: Path, after: Path) -> None:
    """Compare right answers in two logs of lm-evaluation-harness, question by question.

    BEFORE and AFTER are files `results_….json` with the samples beside them, or files
    `samples_….jsonl`, as `lm_eval --log_samples --output_path DIR` writes them.
    """
    from depthtui.data.lm_eval_results import read_answers
    from depthtui.report.logged_answers import logged_pairs, model_words

    logs = [read_answers(path) for path in (before, after)]
    pairs = logged_pairs(*logs)
    rows = [
        (
            pair.before.title,
            pair.before.metric,
            pair.before.words,
            pair.after.words,
            pair.pair.words(),
            f"{pair.pair.p_value:.2g}",
        )
        for pair in pairs
    ]
    for name, log in zip(("before", "after"), logs, strict=True):
        if words := model_words(log):
            print_notice(f"{name}: {words}")
    for words in _partly(pairs):
        print_notice(words)
    print_table(("task", "metric", "before", "after", "change in points", "p (McNemar)"), rows)


def _partly(pairs: Sequence[LoggedPair]) -> list[str]:
    """The tasks of which not both logs have every document, each in a sentence."""
    sentences = (
        f"{pair.before.title}: {pair.before.questions} documents are in both logs, of "
        f"{pair.documents[0]} and {pair.documents[1]}."
        for pair in pairs
        if max(pair.documents) > pair.before.questions
    )
    return list(dict.fromkeys(sentences))
