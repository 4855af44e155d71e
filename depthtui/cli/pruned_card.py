"""The card of a model that `depthtui prune` wrote and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depthtui.cli.pruned_words import compared_answers, compared_rows, healing_words
from depthtui.cli.pruning import Pruning
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
    smaller = pruning.smaller
    answers = None if smaller is None else smaller.answers(1)
    sections = [
        f"How they were chosen:\n\n```\n{pruning.choice.protocol}\n```",
        healing_words(pruning, pruning.healing) if pruning.healing else "",
        _table(pruning) or NOT_MEASURED,
        f"Right answers: {answers.words()}." if answers else "",
        f"The command:\n\n```\n{command}\n```",
    ]
    sections = [section for section in sections if section]
    content = model_card(pruning.info, models_dir, pruned.layers, pruned.parts, sections)
    return write_whole(pruned.folder / CARD, content)


def _table(pruning: Pruning) -> str:
    """The whole model, the one that is cut, and the healed one, in Markdown; empty without any."""
    models = pruning.models
    if not models:
        return ""
    costs = list(models.values())
    lines = [["", "whole", *models], ["---"] * (2 + len(models))]
    for row in compared_rows(costs):
        lines.append([row.title, *(_mean(values, row.form) for values in row.models)])
    if rights := compared_answers(costs):
        lines.append(["answers right", *map(_share, rights)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    count = len(costs[0])
    title = (
        f"Means over {count} held-out prompts with 95 % intervals over them (bootstrap; Wilson's "
        "for answers right)"
    )
    return f"{title if count > 1 else 'On one held-out prompt'}:\n\n{table}"


def _mean(values: np.ndarray, form: str) -> str:
    interval = drawn_interval(
        [len(values)], lambda counts: counts[0] @ values / len(values), seed=0
    )
    mean = format(float(values.mean()), form)
    # The whole model beside itself has no interval.
    if interval is None or not np.ptp(values):
        return mean
    return f"{mean} ({format(interval[0], form)} to {format(interval[1], form)})"


def _share(right: np.ndarray) -> str:
    count = int(right.sum())
    return f"{count} of {len(right)} ({share_range(wilson(count, len(right)))})"
