"""The card of a model that `depthtui prune` wrote and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from depthtui.cli.pruning import Pruning, compared_answers, compared_rows, healing_words
from depthtui.engine.pruning import PrunedModel
from depthtui.files import write_whole
from depthtui.metrics.accuracy.answer_statistics import share_range, wilson
from depthtui.metrics.resampling import drawn_interval
from depthtui.models.card import CARD, NOT_MEASURED, model_card


def write_card(pruning: Pruning, pruned: PrunedModel, models_dir: Path, command: str) -> Path:
    """Write the card into the model's folder: how its pieces were chosen, the table, the command.

    Raises:
        DepthError: the folder cannot be written.
    """
    protocol = pruning.protocol if pruning.choice is None else pruning.choice.protocol
    sections = [
        f"How they were chosen:\n\n```\n{protocol}\n```" if protocol else "",
        healing_words(pruning, pruning.healing) if pruning.healing else "",
        _table(pruning) or NOT_MEASURED,
        f"Right answers: {pruning.answers.words()}." if pruning.answers else "",
        f"The command:\n\n```\n{command}\n```",
    ]
    sections = [section for section in sections if section]
    content = model_card(pruning.info, models_dir, pruned.layers, pruned.parts, sections)
    return write_whole(pruned.folder / CARD, content)


def _table(pruning: Pruning) -> str:
    """The whole model, the one that is cut, and the healed one, in Markdown; empty without any."""
    models = {"cut": pruning.cut, "healed": pruning.healed}
    compared = {name: pairs for name, pairs in models.items() if pairs}
    if not compared:
        return ""
    of_models = list(compared.values())
    lines = [["", "whole", *compared], ["---"] * (2 + len(compared))]
    for row in compared_rows(of_models):
        values = [row.whole, *row.smaller]
        lines.append([row.title, *(_mean(numbers, row.form) for numbers in values)])
    if rights := compared_answers(of_models):
        lines.append(["answers right", *(_share(right) for right in rights)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    count = len(of_models[0])
    title = (
        f"Means over {count} held-out prompts with 95 % intervals over them (bootstrap; Wilson's "
        "for answers right)"
    )
    return f"{title if count > 1 else 'On one held-out prompt'}:\n\n{table}"


def _mean(numbers: Sequence[float], form: str) -> str:
    values = np.array(numbers)
    interval = drawn_interval(
        [len(values)], lambda counts: counts[0] @ values / len(values), seed=0
    )
    mean = format(fmean(numbers), form)
    # The whole model beside itself has no interval.
    if interval is None or not np.ptp(values):
        return mean
    return f"{mean} ({format(interval[0], form)} to {format(interval[1], form)})"


def _share(right: Sequence[bool]) -> str:
    return f"{sum(right)} of {len(right)} ({share_range(wilson(sum(right), len(right)))})"
