"""Right answers as rows, numbers by layer and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from depthtui.data.selection import numbers_text
from depthtui.data.sentence import noun_for, plural
from depthtui.metrics import kept
from depthtui.metrics.accuracy.pooled_accuracy import (
    NEAR,
    Answers,
    PooledAccuracy,
    with_counted_layers,
)
from depthtui.metrics.choices import chosen_key, left_out_words
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, LayerValues


def summary(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, Any]:
    return {
        **summary_by_kind(accuracy, pooled),
        "right_per_character": accuracy.n_right_per_character,
    }


def summary_by_kind(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, Any]:
    """The answers of each kind as JSON values."""
    return {answers.kind: _kind_summary(answers, pooled) for answers in accuracy.kinds}


def _kind_summary(answers: Answers, pooled: Pooled) -> dict[str, Any]:
    fewest, raising, pairs = answers.fewest, answers.raising, answers.pairs
    return {
        "questions": answers.questions,
        "right": answers.n_right,
        "interval": list(answers.interval),
        "guesses": sum(answers.chances),
        "unchanged_differs": answers.n_moved,
        "without_each": {
            name: [None if pair is None else getattr(pair, name) for pair in pairs]
            for name in ("lost", "gained", "p_value")
        }
        | chosen_key(answers.layers_alone)
        if any(pairs)
        else None,
        "raising": None if raising is None else asdict(raising),
        "margin": answers.margin,
        "n": answers.layers,
        "questions_for_one_fewer": None if fewest is None else fewest.questions,
        "with_layers_of": {
            name: {
                "layers": counted.layers,
                "right": counted.n_right,
                "lost": counted.pair.lost,
                "gained": counted.pair.gained,
                "change": counted.pair.change,
                "interval": list(counted.pair.interval()),
                "p_value": counted.pair.p_value,
            }
            for name, counted in with_counted_layers(answers, pooled).items()
        },
    }


_TITLES = {"chosen": "Right answers, chosen", "written": "Right answers, written"}


def findings(accuracy: PooledAccuracy, pooled: Pooled) -> list[Finding]:
    lines = []
    for answers in accuracy.kinds:
        remark = answers.share_words
        if answers.kind == "chosen":
            guesses = sum(answers.chances) / answers.questions
            remark += f"; guesses {guesses:.0%}"
            remark += f"; {accuracy.n_right_per_character} by the likelihood per character"
        lines.append(Finding(_TITLES[answers.kind], answers.counts, remark))
        lines += [*_with_layers_of_others(answers, pooled), *_along(answers)]
        lines += _without_one(answers, pooled)
    if accuracy.chosen is None:
        return lines
    moved = accuracy.chosen.n_moved
    floor = Finding(
        "Right answers, nothing left out",
        f"{moved} of {accuracy.chosen.questions} differ" if moved else "the same answers",
        "in a batch with those without a layer; rounding alone changes what differs",
    )
    return [*lines, floor]


_COUNTED = {
    kept.NAME: "that keep nine tenths",
    NEAR: "of an output within a nat, N(1)",
}
"""The layers of other counts, in words."""


def _with_layers_of_others(answers: Answers, pooled: Pooled) -> Iterator[Finding]:
    """Rows of the answers with the layers that other counts keep in the same order."""
    for name, counted in with_counted_layers(answers, pooled).items():
        title = f"{_TITLES[answers.kind]}, {counted.layers} layers"
        remark = f"with the layers {_COUNTED[name]}; {counted.pair.words()}"
        yield Finding(title, counted.counts, remark)


def _along(answers: Answers) -> Iterator[Finding]:
    """The row of the layers that the answers need, where the order is known."""
    if answers.fewest is None or answers.questions == 1:
        return
    title = "Layers that the answers need"
    if answers.kind == "written":
        title += ", written"
    n_layers = answers.along.shape[1] - 1
    value = "–" if answers.layers is None else f"{answers.layers} of {n_layers}"
    yield Finding(title, value, "; ".join(_along_words(answers)))


def _along_words(answers: Answers) -> Iterator[str]:
    fewest = answers.fewest
    assert fewest is not None
    if reason := answers.why_at_chance:
        yield f"the whole model is at chance: {reason}"
        return
    if fewest.left_out:
        pair = answers.without_first(fewest.left_out).words()
        yield f"without {plural(fewest.left_out, 'layer')} {pair}, within {answers.margin_words}"
    if fewest.failed is None:
        return
    one_more = f"without {plural((fewest.left_out or 0) + 1, 'layer')} {fewest.failed.words()}"
    if fewest.left_out is None:
        yield f"too few questions to say whether one layer may go: {one_more}"
    else:
        yield one_more
    if fewest.questions is not None:
        yield f"about {fewest.questions} questions would tell"


def _without_one(answers: Answers, pooled: Pooled) -> Iterator[Finding]:
    """The row of the layers without which, each by itself, fewer answers are right, or more."""
    raising = answers.raising
    if raising is None:
        return
    left_out = left_out_words("layer", answers.layers_alone, pooled.n_layers, pooled.stand_in)
    if answers.progress_words:
        left_out += f"; {answers.progress_words}"
    title = f"{_TITLES[answers.kind]}, without one layer"
    lost = [layer for layer, pair in enumerate(answers.pairs) if pair and pair.change < 0]
    fewer, more = (
        f"{noun_for(len(layers), 'layer')} {numbers_text(layers)}" if layers else "none"
        for layers in (lost, raising.layers)
    )
    remark = f"fewer is counted here, more is tested: {raising.words}{left_out}"
    yield Finding(title, f"fewer without {fewer}, more without {more}", remark)


def per_layer(accuracy: PooledAccuracy) -> list[LayerValues]:
    answers = accuracy.lead
    lost, gained = np.array(
        [(np.nan, np.nan) if pair is None else (pair.lost, pair.gained) for pair in answers.pairs]
    ).T
    # Where no answer is right with all layers, a figure would show every layer as vital.
    caption = "share of answers right without the layer" if answers.n_right else ""
    reading = "1: every answer is right without the layer; 0: none is."
    share = answers.without.mean(axis=0)
    return [
        LayerValues("right answers", share, caption, reading, of_layer=True),
        LayerValues("answers lost", lost),
        LayerValues("answers gained", gained),
    ]


def means(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, float]:
    layers = accuracy.lead.layers
    shares = {
        f"answers right, {answers.kind}": answers.n_right / answers.questions
        for answers in accuracy.kinds
    }
    return {**shares, "layers that the answers need": math.nan if layers is None else layers}
