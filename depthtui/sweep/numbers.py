"""Numbers of a group of prompts, which a sweep's questions compare.

Each is a share: of the layers, or of the answers. Layers of models of any depth are comparable so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from depthtui.data.depth import HALF_A_LAYER, PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.data.sentence import listed
from depthtui.depth import rules
from depthtui.depth.effective_depth import pool
from depthtui.depth.intervals import curves_of, resampled_curves
from depthtui.depth.reading import Reading
from depthtui.depth.right_answers import are_right
from depthtui.depth.rule import Rule
from depthtui.depth.weights import task_numbers
from depthtui.metrics import kept
from depthtui.metrics.accuracy.answer_statistics import wilson
from depthtui.metrics.column import rounded_up_count
from depthtui.metrics.kept.curve import (
    AT_NINE_TENTHS,
    LITTLE_BETTER,
    Guess,
    KeptCurve,
    OfLosses,
    Scored,
    depth_of,
)

Interval: TypeAlias = tuple[float, float]

Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""A number of one group, such as the crossing of its mean curve.

Returns its values, `[samples]`, by how often each prompt is drawn, `[samples, prompts]`.
"""

_KINDS: dict[tuple[Scored, Guess], str] = {
    ("answer", "task"): "the answers beyond the task",
    ("answer", "text"): "the answers",
    ("text", "text"): "the text",
}
"""The tokens and the guess in words, the most telling first; all groups are read by the same."""

_RULE_OF_THREE = 3.0
"""None of n answers is right, or wrong: so many of n may be (at 95 %, Hanley 1983)."""


@dataclass(frozen=True)
class GroupNumber:
    """A number of one group of prompts.

    Attributes:
        statistic: its values on resamples of the prompts.
        tasks: the number of each prompt's task, `[prompts]`.
        n_layers: L.
        singles: the number of each single prompt, `[prompts]`, NaN where unknown; None where single
            prompts have none.
        resolution: how closely it can be known at all.
        range: its 95 % interval where the number has one of its own; None for the bootstrap's.
        by_half_guesses: the number by the guess of each half of the model's texts, `[2]`; NaN
            where it has none. Empty for a number without a guess.
        at_random: the number with layers left out in each order that is drawn and read.
        why_unknown: why there is no number; empty where there is one.
        of_other_tokens: whether its tokens are others than those of other prompts.
        is_beyond_task: whether it is of what is known beyond the task.
        known: what is known with the layers, such as `the answers`; may be empty.
        gain: how much of a token is known, in nats; 0 for a number without a guess.
    """

    statistic: Statistic
    tasks: np.ndarray
    n_layers: int
    singles: np.ndarray | None = None
    resolution: float = 0.0
    range: Interval | None = None
    by_half_guesses: np.ndarray = field(default_factory=lambda: np.empty(0))
    at_random: tuple[float, ...] = ()
    why_unknown: str = ""
    of_other_tokens: bool = False
    is_beyond_task: bool = False
    known: str = ""
    gain: float = 0.0

    @property
    def value(self) -> float:
        """The number, 0 to 1."""
        return float(self.statistic(np.ones((1, len(self.tasks))))[0])

    @property
    def is_no_better_than_random(self) -> bool:
        """Whether a drawn order takes at most half a layer more."""
        return min(self.at_random, default=np.inf) - self.value <= LITTLE_BETTER / self.n_layers


@dataclass(frozen=True)
class Number:
    """A number that groups of prompts are compared by.

    Attributes:
        name, title: its name in files, and on screens.
        words: the predicate of a sentence; `{s}` stands for the ending of a verb, `{values}` for
            the groups' numbers, `{known}` for what is known.
        has: returns which prompts of each group have it.
        of_groups: returns the number of each group, of whose prompts all have it.
        is_of_layers: whether it is a share of the layers.
        rounds_up: whether its layers are counted whole, rounded up.
    """

    name: str
    title: str
    words: str
    has: Callable[[Sequence[Reading]], list[list[bool]]]
    of_groups: Callable[[Sequence[Reading]], list[GroupNumber]]
    is_of_layers: bool = True
    rounds_up: bool = False

    def each_in_words(
        self, groups: Sequence[GroupNumber], ranges: Sequence[Interval | None] = ()
    ) -> list[str]:
        """The number of each group, such as `8.0 (7.5 to 8.6)` layers, or `88` % of the answers."""

        def words(share: float, n_layers: int) -> str:
            if not self.is_of_layers:
                return f"{100 * share:.0f}"
            layers = share * n_layers
            return f"{rounded_up_count(layers)}" if self.rounds_up else f"{layers:.1f}"

        each = []
        for group, ends in zip(groups, ranges or [None] * len(groups), strict=True):
            between = (
                "" if ends is None else " to ".join(words(end, group.n_layers) for end in ends)
            )
            each.append(words(group.value, group.n_layers) + (between and f" ({between})"))
        return each

    def in_words(
        self, groups: Sequence[GroupNumber], ranges: Sequence[Interval | None] = ()
    ) -> str:
        """The numbers with their unit, such as `8.0, 12.0 and 16.0 of 20`, or `88 and 61 %`."""
        each = self.each_in_words(groups, ranges)
        if not self.is_of_layers:
            return f"{listed(each)} %"
        if are_of_one_size(groups):
            return f"{listed(each)} of {groups[0].n_layers}"
        of_all = zip(each, groups, strict=True)
        return listed([f"{text} of {group.n_layers}" for text, group in of_all])

    def change_in_words(
        self, groups: Sequence[GroupNumber], change: float, interval: Interval
    ) -> tuple[str, str]:
        """A change with its unit, and the ends of its interval, such as `+4.0 layers`.

        In layers between models of one L; else in points, hundredths of the share.
        """
        if self.is_of_layers and are_of_one_size(groups):
            factor, digits, unit = groups[0].n_layers, 1, "layers"
        else:
            factor, digits, unit = 100, 0, "points"
        low, high = interval
        text, ends = signed_with_ends(factor * change, (factor * low, factor * high), digits)
        return f"{text} {unit}", ends


def are_of_one_size(groups: Sequence[GroupNumber]) -> bool:
    """Whether the models of all groups have as many layers."""
    return len({group.n_layers for group in groups}) == 1


def signed_text(value: float, digits: int) -> str:
    """The number with its sign, never a negative zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def signed_with_ends(value: float, interval: Interval, digits: int) -> tuple[str, str]:
    """A change and its interval, such as `+2.0` and `+1.4 … +2.6`.

    Both have `digits` digits, or up to two more where the ends would look equal.
    """
    low, high = interval
    for more in range(digits, digits + 3):
        if signed_text(low, more) != signed_text(high, more):
            break
    else:
        more = digits
    return signed_text(value, more), " … ".join(signed_text(end, more) for end in interval)


# Knowledge that is kept without layers ------------------------------------------------------------


def _with_kept(readings: Sequence[Reading]) -> list[list[bool]]:
    curves = _curves_of_one_kind(readings)
    if not curves:
        return [[False] * len(reading.prompts) for reading in readings]
    return [[part is not None for part in curve.parts] for curve in curves]


def _curves_of_one_kind(
    readings: Sequence[Reading], kinds: Sequence[tuple[Scored, Guess]] = tuple(_KINDS)
) -> list[KeptCurve]:
    """The curve of each group, all of one kind; none where a group has no such curve."""
    knowledge = [reading.get(kept.METRIC) for reading in readings]
    for kind in kinds:
        curves = [
            curve
            for of_group in knowledge
            if of_group is not None
            for curve in of_group.curves
            if (curve.scored, curve.guess_of) == kind
        ]
        if len(curves) == len(readings):
            return curves
    return []


def _of_kept(
    number: OfLosses,
    range_of: Callable[[KeptCurve], Interval | None],
    readings: Sequence[Reading],
    kinds: Sequence[tuple[Scored, Guess]] = tuple(_KINDS),
) -> list[GroupNumber]:
    """A number of layers that is read from the curve of what is kept.

    Args:
        number: returns the layers, `[curves]`, by losses `[curves, L + 1]` and the guess's.
        range_of: returns the range of the number of a group.
        readings: the groups.
        kinds: the tokens and the guess, the first that every group has.
    """
    return [
        _of_curve(curve, reading, number, range_of(curve))
        for curve, reading in zip(_curves_of_one_kind(readings, kinds), readings, strict=True)
    ]


def _of_curve(
    curve: KeptCurve,
    reading: Reading,
    number: OfLosses,
    ends: Interval | None,
) -> GroupNumber:
    parts, n_layers = [part for part in curve.parts if part is not None], reading.n_layers
    losses, guesses = np.stack([part.loss for part in parts]), [part.guess for part in parts]
    tokens = np.array([part.tokens for part in parts])

    def statistic(counts: np.ndarray) -> np.ndarray:
        weights = counts * tokens
        weights = weights / weights.sum(axis=1, keepdims=True)
        guess = weights @ np.array(guesses)
        in_orders = [number(weights @ losses[:, place], guess) for place in curve.read]
        return np.asarray(np.min(in_orders, axis=0)) / n_layers

    by_half_guesses = [curve.least(number, guess) for guess in curve.half_guesses]
    return GroupNumber(
        statistic,
        task_numbers(reading.prompts),
        n_layers,
        range=None if ends is None else (ends[0] / n_layers, ends[1] / n_layers),
        by_half_guesses=np.array([*by_half_guesses, *[np.nan] * 2][:2]) / n_layers,
        at_random=tuple(np.array(curve.at_random(number)) / n_layers),
        why_unknown=curve.why_too_little and f"too little is known ({curve.why_too_little})",
        of_other_tokens=curve.guess_of != "task",
        is_beyond_task=curve.guess_of == "task",
        known=_KINDS[curve.scored, curve.guess_of],
        gain=curve.gain,
    )


MEAN_DEPTH = Number(
    "mean_depth",
    "mean depth",
    "take{s} at most {values} layers on average to know {known}",
    _with_kept,
    partial(_of_kept, depth_of, lambda curve: curve.depth_range),
)
"""The layers that a nat of what the model knows takes on average: the headline's answer."""

WITH_TASK = replace(
    MEAN_DEPTH,
    name="mean_depth_with_task",
    of_groups=partial(
        _of_kept, depth_of, lambda curve: curve.depth_range, kinds=[("answer", "text")]
    ),
)
"""The same of all that it knows of the answers, with what the task tells."""

NINE_TENTHS = Number(
    "nine_tenths",
    "nine tenths",
    "take{s} at most {values} layers to keep nine tenths of {known}",
    _with_kept,
    partial(_of_kept, AT_NINE_TENTHS.layers, lambda curve: curve.range(AT_NINE_TENTHS)),
    rounds_up=True,
)
"""The layers that keep nine tenths of what the model knows."""


# Right answers ------------------------------------------------------------------------------------


def _with_answers(readings: Sequence[Reading]) -> list[list[bool]]:
    """Which prompts have an answer; none where all are right, or all wrong: nothing differs."""
    every = are_right([prompt for reading in readings for prompt in reading.prompts])
    differ = len(set(every) - {None}) > 1
    of_every = iter(every)
    return [
        [differ and next(of_every) is not None for _ in reading.prompts] for reading in readings
    ]


def _right_of(reading: Reading) -> GroupNumber:
    right = np.array(are_right(reading.prompts), float)
    return GroupNumber(
        lambda counts: counts @ right / counts.sum(axis=1),
        task_numbers(reading.prompts),
        reading.n_layers,
        singles=right,
        resolution=_RULE_OF_THREE / len(right),
        range=wilson(right.sum(), len(right)),
    )


RIGHT_ANSWERS = Number(
    "right_answers",
    "right answers",
    "give{s} {values} right answers",
    _with_answers,
    lambda readings: list(map(_right_of, readings)),
    is_of_layers=False,
)
"""The share of right answers."""


# Rules --------------------------------------------------------------------------------------------


def _with_curve(rule: Rule, readings: Sequence[Reading]) -> list[list[bool]]:
    has_it = []
    for reading in readings:
        ids = {id(prompt) for prompt, part in reading.by_prompt if rule.curve in part.curves}
        has_it.append([id(prompt) in ids for prompt in reading.prompts])
    return has_it


def crossing_of(
    parts: Sequence[PromptCurves], rule: Rule, settings: SummarySettings
) -> GroupNumber:
    """The paper's ratio between layers: (crossing + 1) / L of the mean curve.

    Each prompt counts once in the mean, and each task the same. A single prompt that never crosses
    is ranked as the deepest.

    Args:
        parts: the prompts, which all have the rule's curve.
        rule: the rule.
        settings: the thresholds.
    """
    curves = curves_of(parts, rule)
    n_layers = rule.n_layers(curves)

    def ratios(of_curves: np.ndarray) -> np.ndarray:
        return (rule.ranked_crossings(of_curves, settings) + 1) / n_layers

    has_layer = np.isfinite(rule.layers(pool(parts, "prompts")[rule.curve], settings))
    return GroupNumber(
        lambda counts: ratios(resampled_curves(parts, rule, settings, counts, "prompts")),
        task_numbers(parts),
        n_layers,
        singles=ratios(curves),
        resolution=HALF_A_LAYER / n_layers,
        why_unknown="" if has_layer else "there is no layer by this rule",
    )


def _crossings(rule: Rule, readings: Sequence[Reading]) -> list[GroupNumber]:
    return [crossing_of(reading.parts, rule, reading.settings) for reading in readings]


def by_rule(name: str) -> Number:
    """The number of layers by a rule, which is the ratio of the paper with decimals."""
    rule = rules.named(name)
    return Number(
        name,
        rule.title,
        f"take{{s}} {{values}} layers by {rule.title}",
        partial(_with_curve, rule),
        partial(_crossings, rule),
    )


def numbers_by(names: Sequence[str]) -> list[Number]:
    """All numbers, the headline's first, then those by the named rules."""
    return [MEAN_DEPTH, NINE_TENTHS, RIGHT_ANSWERS, *map(by_rule, names)]
