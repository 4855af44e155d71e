"""The card of a model that `depthtui prune` wrote and measured."""

from __future__ import annotations

from pathlib import Path

from depthtui.cli.pruned_words import healing_words, models_table
from depthtui.cli.pruning import Pruning
from depthtui.engine.pruning import PrunedModel
from depthtui.files import write_whole
from depthtui.metrics.accuracy.answer_statistics import share_range, wilson
from depthtui.metrics.column import LeftOutColumn
from depthtui.models.card import CARD, NOT_MEASURED, model_card

_COLUMNS = (
    "Known: the share of what the model knows that is kept. Nats: a token's loss above the whole "
    "model's. KL: to its output, in nats. Choices: its first choices that stay. "
    "Perplexity: of all tokens but the first of each window."
)


def write_card(pruning: Pruning, pruned: PrunedModel, models_dir: Path, command: str) -> Path:
    """Write the card into the model's folder: how its pieces were chosen, the table, the command.

    Raises:
        DepthError: the folder cannot be written.
    """
    answers = pruning.smaller.answers(1)
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
    headings, rows = models_table(pruning, _cell)
    if not rows:
        return ""
    lines = [["", *headings[1:]], ["---"] * len(headings), *rows]
    count = len(pruning.held_out)
    title = (
        f"Over {count} held-out prompts, with 95 % intervals over them (bootstrap; Wilson's for "
        "right answers)"
    )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{title if count > 1 else 'On one held-out prompt'}. {_COLUMNS}\n\n{table}"


def _cell(column: LeftOutColumn, place: int) -> str:
    """A value with its interval; that of the whole model beside itself has none."""
    if column.title == "right":
        right = column.values[place] * column.of
        return f"{column.text(place)} ({share_range(wilson(right, column.of))})"
    if column.interval is None or not place:
        return column.text(place)
    low, high = (format(end, column.form) for end in column.interval[:, place])
    return f"{column.text(place)} ({low} to {high})"
