"""The model's answer to a question: in sentences, and its options with their likelihoods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.metrics.accuracy import Accuracy, chances
from depthtui.report.blocks import Block, Column, Note, Paragraph, Table
from depthtui.report.tables import ValueTable
from depthtui.token_text import shortened

LONGEST_ANSWER = 40
"""Characters of an answer in a sentence."""


@dataclass(frozen=True)
class ScoredOption:
    """An option of a question.

    Attributes:
        text: its raw text.
        score: its log-likelihood at the output, in nats.
        chance: its chance among the options.
        by_depth: the same, as final norm and LM head read it at depths 0 … L, `[L+1]`.
        is_right, is_chosen: whether it is the right one, and the model's.
    """

    text: str
    score: float
    chance: float
    by_depth: np.ndarray
    is_right: bool
    is_chosen: bool

    @property
    def remark(self) -> str:
        """Whether it is chosen and right, in words."""
        words = ("chosen" if self.is_chosen else "", "right" if self.is_right else "")
        return ", ".join(filter(None, words))


def options_of(result: RunResult) -> list[ScoredOption]:
    """The options of a run's question, in their order; none where their likelihoods are unknown."""
    answers = result.get(Accuracy)
    if answers is None or not _is_scored(answers):
        return []
    chosen, shares = int(answers.clean.argmax()), chances(answers.clean)
    by_depth = chances(answers.by_depth)
    texts = result.prompt.choices
    return [
        ScoredOption(
            text.strip(),
            float(answers.clean[place]),
            float(shares[place]),
            by_depth[:, place],
            place == answers.right,
            place == chosen,
        )
        for place, text in zip(range(len(answers.clean)), texts, strict=False)
    ]


def answer_words(result: RunResult) -> str:
    """The model's answers, chosen and written, and whether they are right; empty where unknown."""
    answers, options = result.get(Accuracy), options_of(result)
    if answers is None:
        return ""
    verbs: dict[tuple[str, str], list[str]] = {}
    right = next((option.text for option in options if option.is_right), "")
    for option in options:
        if option.is_chosen:
            ending = _ending(option.is_right, right)
            verbs.setdefault((option.text, ending), []).append("chooses")
    if np.isfinite(answers.written_right[:1]).all():
        ending = _ending(bool(answers.written_right[0]), result.answer)
        verbs.setdefault((answers.written.strip(), ending), []).append("writes")
    sentences = [
        f"{' and '.join(names)} {_quoted(text) if text else 'nothing'}{ending}"
        for (text, ending), names in verbs.items()
    ]
    return f"The model {' It '.join(sentences)}" if sentences else ""


def _ending(is_right: bool, right: str) -> str:
    """The end of a sentence on an answer."""
    return ", which is right." if is_right else f"; right is {_quoted(right)}."


def _quoted(text: str) -> str:
    return f"'{shortened(text.strip(), LONGEST_ANSWER)}'"


def turning_words(answers: Accuracy) -> list[str]:
    """The layers whose absence turns each kind of answer, in sentences; none where unknown."""
    chosen = ""
    if _is_scored(answers):
        before, clean = answers.is_right(answers.unchanged), answers.is_right(answers.clean)
        chosen = _turning(answers, before, answers.is_right(answers.without))
        if chosen and before != clean:
            chosen = "is turned by rounding alone, so no layer is compared with it"
    return _of_kinds(
        answers, chosen, _turning(answers, answers.written_right[0], answers.written_without)
    )


def _turning(answers: Accuracy, before: np.ndarray, without: np.ndarray) -> str:
    """The layers without which `[L]` an answer turns, from the verb on; empty where unknown."""
    is_known, is_right = np.isfinite(without) & np.isfinite(before), bool(before)
    if not is_known.any():
        return ""
    layers = np.flatnonzero(is_known & (without != before)).tolist()
    n_layers, remark = len(answers.chosen) or len(is_known), ""
    if not is_known[list(answers.chosen) or slice(None)].all():
        remark = f", as far as known ({is_known.sum()} of {n_layers} layers)"
    elif answers.chosen:
        remark = f", of the {n_layers} left out by themselves"
    if not layers:
        return f"stays {_verdict(is_right)} without any one layer{remark}"
    one = "layer" if len(layers) == 1 else "any one of the layers"
    return f"turns {_verdict(not is_right)} without {one} {numbers_text(layers)}{remark}"


def order_words(answers: Accuracy) -> list[str]:
    """How far along the order each kind of answer stays as it is, in sentences."""
    chosen = _along(answers.is_right(answers.along), answers.order) if _is_scored(answers) else ""
    return _of_kinds(answers, chosen, _along(answers.written_right, answers.order))


def _of_kinds(answers: Accuracy, chosen: str, written: str) -> list[str]:
    """Sentences on the chosen and the written answer; one where both have the same words."""
    if chosen == written:
        return [f"Chosen and written, it {chosen}."] if chosen else []
    subject = "Written, it" if _is_scored(answers) else "It"
    sentences = (chosen and f"It {chosen}.", written and f"{subject} {written}.")
    return [sentence for sentence in sentences if sentence]


def _along(right: np.ndarray, order: tuple[int, ...]) -> str:
    """How far along the order an answer stays as it is, from the verb on; empty where unknown."""
    counts = int(np.append(np.isfinite(right), False).argmin())
    if not order or counts < 2:
        return ""
    is_right, turned = bool(right[0]), np.flatnonzero(right[:counts] != right[0])
    stays = f"stays {_verdict(is_right)}"
    if not len(turned):
        first = counts - 1
        return f"{stays} all along the order" if first == len(order) else _without(stays, first)
    first = int(turned[0]) - 1
    if not first:
        turns = f"turns {_verdict(not is_right)}"
        return f"{turns} without the first layer of the order, layer {order[0]}"
    return f"{_without(stays, first)}, until layer {order[first]} goes too"


def _without(stays: str, count: int) -> str:
    layers = "first layer" if count == 1 else f"first {count} layers"
    return f"{stays} without the {layers} of the order"


def _verdict(is_right: bool) -> str:
    return "right" if is_right else "wrong"


def _is_scored(answers: Accuracy) -> bool:
    """Whether the likelihoods of options are known."""
    return bool(len(answers.clean)) and bool(np.isfinite(answers.clean).all())


def answer_blocks(result: RunResult) -> Iterator[Block]:
    """The answer in sentences, and a row for each option."""
    answers, options = result.get(Accuracy), options_of(result)
    words = answer_words(result)
    if answers is None or not words:
        return
    yield Paragraph(words)
    if options:
        columns = [
            Column("option", style="name"),
            Column("log-likelihood, nats", number=True),
            Column("chance among them", number=True),
            Column("", style="soft"),
        ]
        rows = [
            [option.text, f"{option.score:.2f}", f"{option.chance:.0%}", option.remark]
            for option in options
        ]
        yield Table(columns, rows)
    if notes := [*turning_words(answers), *order_words(answers)]:
        yield Note(" ".join(notes))


def answer_table(result: RunResult) -> ValueTable:
    """The options by depth, in long form; without options, the written answers along the order.

    Log-likelihoods are in nats.
    """
    answers, options = result.get(Accuracy), options_of(result)
    assert answers is not None
    if not options:
        rows = [[count, right] for count, right in enumerate(answers.written_right)]
        return ValueTable(["layers of the order left out", "written answer, 1 is right"], rows)
    depths = len(answers.by_depth)
    heads = [f"depth, {depths - 1} is the output", "option", "remark"]
    heads += ["log-likelihood, nats", "chance among the options"]
    return ValueTable(
        heads,
        [
            [depth, option.text, option.remark, answers.by_depth[depth, place], share]
            for depth in range(depths)
            for place, option in enumerate(options)
            for share in [option.by_depth[depth]]
        ],
    )
