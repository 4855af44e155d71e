"""A sweep's questions answered by the layers that keep what the models know.

The mean depth as a share of all layers compares groups of prompts: it depends on no threshold, and
models of other sizes have it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from depthtui.data.sentence import listed
from depthtui.depth.intervals import Bootstrap, too_few
from depthtui.depth.reading import Reading
from depthtui.depth.right_answers import RightAnswers
from depthtui.depth.weights import task_numbers
from depthtui.metrics import kept
from depthtui.metrics.column import rounded_up_count
from depthtui.metrics.kept.curve import Guess, KeptCurve, Scored, mean_depth, share_kept
from depthtui.metrics.resampling import FEWEST_UNITS, LEVEL
from depthtui.report.phrases import by_statement
from depthtui.sweep.comparisons import Interval
from depthtui.sweep.plan import Cell, population
from depthtui.sweep.resampled import Resampled, Statistic, trend_weights
from depthtui.sweep.subjects import Subject

_YES, _NO, _LESS, _UNKNOWN = "Yes", "No", "No, less", "Not known"

ALIKE = 0.1
"""Groups take as many layers where the interval of the change is within so much of all layers."""

_OTHER_LENGTH = 1.1
"""Prompts are of other lengths where the mean lengths of two groups have this ratio."""

_MOSTLY_RIGHT = 0.9
"""The share of right answers below which the depth is of wrong ones, too."""

_KINDS: tuple[tuple[Scored, Guess], ...] = (
    ("answer", "task"),
    ("answer", "text"),
    ("text", "text"),
)
"""What is counted, the most telling first; all groups are compared by the same."""

_KNOWN = {
    ("answer", "task"): "the answers beyond the task",
    ("answer", "text"): "the answers",
    ("text", "text"): "the text",
}
"""The tokens and the guess, in words."""


@dataclass(frozen=True)
class KeptGroup:
    """One group of prompts.

    Attributes:
        name: the model, the level, or the origin of the text.
        n_layers: L.
        prompts: number of prompts.
        tokens: tokens of a prompt, on average.
        mean_depth: the layers that a nat of what the model knows needs; None where too little is
            known, like the next.
        nine_tenths: the layers that keep nine tenths.
        gain: what the model knows of a token, in nats.
        accuracy: right answers; None where unknown.
    """

    name: str
    n_layers: int
    prompts: int
    tokens: float
    mean_depth: float | None
    nine_tenths: float | None
    gain: float
    accuracy: RightAnswers | None


@dataclass(frozen=True)
class KeptAnswer:
    """The answer of a sweep to a question by the mean depth as a share of the layers.

    Attributes:
        compared, on: as in `questions.Answer`.
        names: the model, or all models, in words.
        of_one_model: whether all groups are of one model.
        scored, guess: what is counted, as in `KeptCurve`.
        groups: the groups that are compared.
        verdict: the answer in a word or two, such as `No`.
        sentence: the answer and its numbers.
        problem: why there is no answer; empty where there is one.
        confounds: other differences between the groups, in clauses.
        change: from the first group to the last, as a share of the layers; for a trend by a
            straight line. None where there is none.
        interval: its interval, corrected for the question's comparisons; it reaches as far as the
            change in the order of either half of the texts, and in the prompts' own. None with
            `change`.
        level: the level of the interval.
        cells: the cells that it is about.
    """

    compared: str
    on: str
    names: str
    of_one_model: bool
    scored: Scored
    guess: Guess
    groups: tuple[KeptGroup, ...]
    verdict: str = ""
    sentence: str = ""
    problem: str = ""
    confounds: tuple[str, ...] = ()
    change: float | None = None
    interval: Interval | None = None
    level: float = LEVEL
    cells: tuple[Cell, ...] = ()

    @property
    def is_clear(self) -> bool:
        """Whether the verdict is yes or no."""
        return self.verdict in (_YES, _NO, _LESS)

    @property
    def subject(self) -> str:
        """The tasks and the models, such as `on gsm8k, for a and b`."""
        return f"on {self.on}, for {self.names}"

    def __str__(self) -> str:
        return f"{self.verdict}: {self.sentence}"


def sentences_of(answers: Sequence[KeptAnswer]) -> list[str]:
    """The answers in words; those without an answer for the same reason together."""
    by_problem = by_statement((answer.problem, answer) for answer in answers)
    sentences = [str(answer) for answer in by_problem.pop("", [])]
    for problem, unknown in by_problem.items():
        subjects = "; ".join(answer.subject for answer in unknown)
        several = f"{_UNKNOWN}: {problem}: {subjects}."
        sentences.append(str(unknown[0]) if len(unknown) == 1 else several)
    return sentences


@dataclass(frozen=True)
class _Compared:
    """A subject before its correction.

    Attributes:
        subject: what is compared.
        curves: the curve of each group.
        groups: the numbers of each group.
        problem: why they are not compared; empty where they are.
        change: the change, with its resamples; None with a problem.
        in_other_orders: the change in the order of each half of the texts, and in the prompts' own
            orders, where these are read.
    """

    subject: Subject
    curves: Sequence[KeptCurve]
    groups: tuple[KeptGroup, ...]
    problem: str
    change: Bootstrap | None
    in_other_orders: tuple[float, ...]


def kept_answers(subjects: Sequence[Subject], has_direction: bool) -> list[KeptAnswer]:
    """The answers of a question's subjects, their intervals corrected as one family.

    Args:
        subjects: what the question compares.
        has_direction: whether it asks for more depth, not for other depth.
    """
    every = (_compare(subject) for subject in subjects)
    comparisons = [comparison for comparison in every if comparison is not None]
    tested = sum(comparison.change is not None for comparison in comparisons)
    level = 1 - (1 - LEVEL) / max(1, tested)
    return [_answer(comparison, level, has_direction) for comparison in comparisons]


def _compare(subject: Subject) -> _Compared | None:
    """A subject's groups; None where it is unknown what is kept in one."""
    names = [name for name, cells in zip(subject.names, subject.groups, strict=True) if cells]
    every = subject.readings()
    readings = _measured([reading for reading in every if reading is not None], subject.paired)
    curves = _curves_of_one_kind(readings)
    if not curves or len(curves) < len(names):
        return None
    groups = tuple(
        _group(name, reading, curve)
        for name, reading, curve in zip(names, readings, curves, strict=True)
    )
    fewest = min(0 if reading is None else len(reading.prompts) for reading in [*every, *readings])
    if problem := _problem(groups, curves, readings, fewest):
        return _Compared(subject, curves, groups, problem, None, ())
    factors = _factors(subject)
    change = _change(subject, readings, curves, factors)
    return _Compared(subject, curves, groups, "", change, _in_other_orders(curves, factors))


def _measured(readings: Sequence[Reading], paired: bool) -> list[Reading]:
    """The prompts of each group of which it is known what is kept; where paired, in every group."""
    curves = _curves_of_one_kind(readings)
    is_measured = [[part is not None for part in curve.parts] for curve in curves]
    if paired and is_measured:
        is_measured = [[all(of_text) for of_text in zip(*is_measured, strict=True)]] * len(curves)
    return [
        reading
        if all(of_group)
        else Reading(list(compress(reading.prompts, of_group)), reading.settings)
        for reading, of_group in zip(readings, is_measured, strict=bool(curves))
        if any(of_group)
    ]


def _curves_of_one_kind(readings: Sequence[Reading]) -> list[KeptCurve]:
    """The curve of each group, all of one kind; none where a group has no such curve."""
    knowledge = [reading.get(kept.METRIC) for reading in readings]
    for kind in _KINDS:
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


def _group(name: str, reading: Reading, curve: KeptCurve) -> KeptGroup:
    is_counted = not curve.why_too_little
    return KeptGroup(
        name,
        reading.n_layers,
        len(reading.prompts),
        float(np.mean([prompt.n_tokens for prompt in reading.prompts])),
        curve.mean_depth if is_counted else None,
        curve.layers() if is_counted else None,
        curve.gain,
        reading.accuracy,
    )


def _problem(
    groups: Sequence[KeptGroup],
    curves: Sequence[KeptCurve],
    readings: Sequence[Reading],
    fewest: int,
) -> str:
    """Why the groups are not compared; empty where they are."""
    unknown = [
        f"{group.name} ({curve.why_too_little})"
        for group, curve in zip(groups, curves, strict=True)
        if curve.why_too_little
    ]
    if unknown:
        return f"too little is known of {listed(unknown)}"
    if fewest < FEWEST_UNITS:
        return f"too few prompts ({fewest}; {FEWEST_UNITS} are needed)"
    if any(too_few(reading.prompts) for reading in readings):
        return "too few prompts (two of each task are needed)"
    return ""


def _factors(subject: Subject) -> np.ndarray:
    """The weight of each group in the change from the first to the last, `[groups]`."""
    count = len(subject.groups)
    if subject.is_trend:
        return trend_weights(count)
    factors = np.zeros(count)
    factors[[0, -1]] = -1, 1
    return factors


def _in_other_orders(curves: Sequence[KeptCurve], factors: np.ndarray) -> tuple[float, ...]:
    """The change in each other order in which every group is read.

    A group that takes more in its own order than in the model's counts with the model's: an order
    of few tokens may be a bad one.
    """
    shares = [
        np.array([*curve.depths_of_halves(), _least_depth(curve)]) / curve.pooled.n_layers
        for curve in curves
    ]
    return tuple(float(change) for change in factors @ np.stack(shares) if np.isfinite(change))


def _least_depth(curve: KeptCurve) -> float:
    """The mean depth in the own order or the model's, the lower one; NaN where one is not read."""
    own = curve.own_mean_depth
    return np.nan if own is None else min(own, curve.mean_depth)


def _change(
    subject: Subject,
    readings: Sequence[Reading],
    curves: Sequence[KeptCurve],
    factors: np.ndarray,
) -> Bootstrap:
    """The change of the mean depth as a share of the layers, with its resamples."""
    tasks = [task_numbers(reading.prompts) for reading in readings]
    statistics = [
        _statistic(curve, reading.n_layers) for curve, reading in zip(curves, readings, strict=True)
    ]
    seed = readings[0].settings.seed
    return Resampled.of(statistics, tasks, seed, subject.paired).sum(factors)


def _statistic(curve: KeptCurve, n_layers: int) -> Statistic:
    """The mean depth of a group as a share of the layers, by how often each prompt is drawn."""
    parts = [part for part in curve.parts if part is not None]
    losses, guesses = np.stack([part.loss for part in parts]), [part.guess for part in parts]
    tokens = np.array([part.tokens for part in parts])

    def share(counts: np.ndarray) -> np.ndarray:
        weights = counts * tokens
        weights = weights / weights.sum(axis=1, keepdims=True)
        kept_share = share_kept(weights @ losses, weights @ np.array(guesses))
        return mean_depth(kept_share) / n_layers

    return share


def _answer(comparison: _Compared, level: float, has_direction: bool) -> KeptAnswer:
    subject, curve = comparison.subject, comparison.curves[0]
    cells = tuple(cell.cell for cell in subject.cells)
    titles = list(dict.fromkeys(cell.title for cell in subject.cells))
    answer = KeptAnswer(
        subject.compared,
        subject.on,
        listed(titles),
        subject.of_one_model,
        curve.scored,
        curve.guess_of,
        comparison.groups,
        cells=cells,
    )
    if comparison.change is None:
        return _unknown(answer, comparison.problem)
    drawn = comparison.change.interval(level)
    if drawn is None:
        return _unknown(answer, "too few prompts")
    ends = (*drawn, *comparison.in_other_orders)
    interval = min(ends), max(ends)
    answer = replace(answer, change=comparison.change.value, interval=interval, level=level)
    answer = replace(answer, confounds=tuple(_confounds(answer, subject.paired)))
    verdict = _verdict(answer, has_direction)
    return replace(answer, verdict=verdict, sentence=_sentence(answer))


def _unknown(answer: KeptAnswer, problem: str) -> KeptAnswer:
    sentence = f"{answer.subject}: {problem}."
    return replace(answer, verdict=_UNKNOWN, sentence=sentence, problem=problem)


def _verdict(answer: KeptAnswer, has_direction: bool) -> str:
    """The answer in a word or two."""
    assert answer.interval is not None
    low, high = answer.interval
    shares = [(group.mean_depth or 0) / group.n_layers for group in answer.groups]
    if _goes_both_ways(shares):
        return "Not in one direction"
    if low > 0 or high < 0:
        return _YES if low > 0 or not has_direction else _LESS
    return _NO if low >= -ALIKE and high <= ALIKE else "Not clear"


def _goes_both_ways(shares: Sequence[float]) -> bool:
    """Whether the shares rise, and fall, by more than `ALIKE` from one group to a later one."""
    steps = np.subtract.outer(shares, shares)[np.tril_indices(len(shares), -1)]
    return bool(steps.max() > ALIKE and steps.min() < -ALIKE)


def _sentence(answer: KeptAnswer) -> str:
    """The mean depths, the layers for nine tenths, the change, and the confounds."""
    assert answer.change is not None
    assert answer.interval is not None
    change, low, high = (f"{round(100 * end):+d}" for end in (answer.change, *answer.interval))
    over = population(cell.task for cell in answer.cells)
    tenths = listed([f"{rounded_up_count(group.nine_tenths or 0)}" for group in answer.groups])
    sentences = [
        f"{_depths(answer)}.",
        f"Nine tenths of it are there with {tenths}.",
        f"From the first to the last the share of all layers changes by {change} "
        f"points ({100 * answer.level:.4g} % interval {low} … {high}, over {over}).",
    ]
    if answer.confounds:
        sentences.append(f"But {'; '.join(answer.confounds)}.")
    return " ".join(sentences)


def _depths(answer: KeptAnswer) -> str:
    """The mean depth of each group."""
    groups = answer.groups
    depths = listed([f"{group.mean_depth:.1f}" for group in groups])
    takes = "takes" if answer.of_one_model else "take"
    counted = f"{depths} of {groups[0].n_layers}"
    if len({group.n_layers for group in groups}) > 1:
        counted = listed([f"{group.mean_depth:.1f} of {group.n_layers}" for group in groups])
    knowledge = _KNOWN[answer.scored, answer.guess]
    return f"on {answer.on}, {answer.names} {takes} {counted} layers on average to know {knowledge}"


def _confounds(answer: KeptAnswer, paired: bool) -> Iterator[str]:
    """The other differences between the groups, each in a clause."""
    groups = answer.groups
    tokens = [group.tokens for group in groups]
    if max(tokens) > _OTHER_LENGTH * min(tokens):
        lengths = listed([f"{length:.0f}" for length in tokens])
        yield f"the prompts have {lengths} tokens"
    if not paired and answer.guess != "task":
        yield "the tokens that count differ"
    shares = [group.accuracy.share for group in groups if group.accuracy is not None]
    if len(shares) == len(groups) and min(shares) < _MOSTLY_RIGHT:
        right = listed([f"{100 * share:.0f}" for share in shares])
        yield f"{right} % of their answers are right"
