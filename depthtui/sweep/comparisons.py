"""Whether effective depths differ, or grow over levels, and how sure that is.

Two things are asked of the data, and kept apart. A claim is about a change of the layer that a
rule finds on the mean curve, each prompt counting once and each task the same, with an interval
that is bootstrapped over prompts (see `depth.intervals`) at the level of the question's whole
family of comparisons. A rank test is about the layers of single prompts, its p corrected after
Holm over the same family. The crossing of a mean curve is not the mean of crossings, so the two
may differ. A trend has a direction only where its levels go one way, and where no count that it
rests on moves as far as the trend does. Beside them stands the change over the paper's mean over
tokens, with its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.data.sentence import Sentence
from depthtui.depth import rules
from depthtui.depth.effective_depth import pool
from depthtui.depth.intervals import (
    FEWEST_PROMPTS,
    LEVEL,
    RESAMPLES,
    Bootstrap,
    curves_of,
    draw,
    freedom_of,
    resampled_layers,
    too_few,
)
from depthtui.depth.rules import kl
from depthtui.depth.rules.rule import Rule
from depthtui.depth.weights import WEIGHTINGS, Weighting, task_numbers
from depthtui.sweep.rank_tests import kendall, mann_whitney, signed_rank

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Interval = tuple[float, float]

SIGNIFICANT = 0.05
"""A p below this says that single prompts differ."""


UP_AND_DOWN = "goes up and down"
"""What is said of levels that do not go one way."""


@dataclass(frozen=True)
class Wording:
    """What a comparison may claim, in words."""

    more: str
    fewer: str
    neither: str


DIFFERENT = Wording("more layers", "fewer layers", "no clear difference")
HARDER = Wording("more layers at harder levels", "fewer layers at harder levels", "no clear trend")
TRAINED = Wording(
    "more layers with more training", "fewer layers with more training", "no clear trend"
)


@dataclass(frozen=True)
class Claim:
    """A change of the layer on the mean curve, where each prompt counts once.

    Attributes:
        layers: the change.
        interval: its bootstrap interval.
        level: of the interval: 1 - 0.05 / m in a family of m comparisons.
        ratio, ratio_interval: the same of (e + 1) / L, where that says something else.
        n_tasks: with several, each has the same weight.
    """

    layers: float
    interval: Interval
    level: float = LEVEL
    ratio: float | None = None
    ratio_interval: Interval | None = None
    n_tasks: int = 1

    @property
    def changes(self) -> bool:
        """Whether the interval leaves zero out."""
        low, high = self.interval
        return low > 0 or high < 0

    def direction(self, wording: Wording) -> str:
        """What is claimed, in a few words."""
        if not self.changes:
            return wording.neither
        return wording.more if self.layers > 0 else wording.fewer

    def __str__(self) -> str:
        """The change with its interval, and what it is of."""
        words = f"{signed(self.layers, 1)} layers ({self._span(self.interval, 1)})"
        if self.ratio is not None and self.ratio_interval is not None:
            words += f", ratio {signed(self.ratio, 2)} ({self._span(self.ratio_interval, 2)})"
        once = "prompt" if self.n_tasks == 1 else "task"
        return f"{words} where each {once} counts once"

    def _span(self, interval: Interval, digits: int) -> str:
        low, high = (signed(end, digits) for end in interval)
        return f"{100 * self.level:.4g} % interval {low} … {high}"


@dataclass(frozen=True)
class Drawn:
    """What claims are made of: changes where each prompt counts once, and their resamples."""

    layers: Bootstrap
    ratio: Bootstrap | None
    n_tasks: int

    def claim(self, level: float) -> Claim | None:
        """The claim at this level."""
        interval = self.layers.interval(level)
        if interval is None:
            return None
        claim = Claim(self.layers.value, interval, level, n_tasks=self.n_tasks)
        if self.ratio is None:
            return claim
        return replace(claim, ratio=self.ratio.value, ratio_interval=self.ratio.interval(level))


@dataclass(frozen=True)
class Difference:
    """How much deeper b is than a, by one rule.

    Attributes:
        rule: name of the rule.
        paired: whether both ran the same prompts.
        n_prompts: prompts of a and of b.
        layers: layer of b less that of a in the mean over tokens; None where one has no layer.
        layers_interval: its 95 % bootstrap interval, or None.
        ratio: the same of (e + 1) / L, which matters where L differs.
        ratio_interval: its 95 % bootstrap interval, or None.
        same_size: whether both have the same number of layers.
        p: of Wilcoxon's signed-rank test (paired) or the Mann-Whitney test on the layers of
            single prompts, two-sided; None with too few prompts.
        effect: matched-pairs rank-biserial correlation (paired) or Cliff's delta, from -1 to 1,
            positive where b is deeper.
        p_holm: p after Holm's correction (see `corrected`), or None.
        claim: the change where each prompt counts once; None where there is a problem.
        problem: why there is no claim; None where there is one.
    """

    rule: str
    paired: bool
    n_prompts: tuple[int, int]
    layers: float | None = None
    layers_interval: Interval | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    same_size: bool = True
    p: float | None = None
    effect: float | None = None
    p_holm: float | None = None
    claim: Claim | None = None
    problem: Sentence | None = None
    drawn: Drawn | None = field(default=None, repr=False, compare=False)
    doubt: ClassVar[None] = None

    @property
    def words(self) -> Sentence:
        """What the data support; the headline is the claim, or why there is none."""
        return _words(self, DIFFERENT, "rank-biserial" if self.paired else "Cliff's delta")


@dataclass(frozen=True)
class Trend:
    """Whether layers grow over ordered levels, by one rule.

    Attributes:
        rule: name of the rule.
        n_prompts: prompts of each level, easiest first.
        layers: layer of each level in the mean over tokens; None where it has none.
        slope: least-squares change of that layer from the easiest to the hardest level,
            levels evenly spaced; None where a level has no layer.
        slope_interval: its 95 % bootstrap interval, prompts resampled within levels, or None.
        p: of Kendall's test of single prompts' layers against the level's rank, two-sided, by
            permutation for few prompts; where all levels ran the same prompts, of Wilcoxon's
            signed-rank test on the slopes of single prompts.
        effect: Kendall's tau-b, or the rank-biserial correlation of the slopes; None where all
            layers are equal.
        p_holm: p after Holm's correction (see `corrected`), or None.
        paired: whether all levels ran the same prompts.
        wording: what may be claimed.
        claim: the slope where each prompt counts once; None where there is a problem.
        doubt: why no direction is claimed, whatever the interval says; None where it may be.
        problem: why there is no claim; None where there is one.
    """

    rule: str
    n_prompts: tuple[int, ...]
    layers: tuple[float | None, ...] = ()
    slope: float | None = None
    slope_interval: Interval | None = None
    p: float | None = None
    effect: float | None = None
    p_holm: float | None = None
    paired: bool = False
    wording: Wording = HARDER
    claim: Claim | None = None
    doubt: Sentence | None = None
    problem: Sentence | None = None
    drawn: Drawn | None = field(default=None, repr=False, compare=False)

    @property
    def words(self) -> Sentence:
        """What the data support; the headline is the claim, or why there is none."""
        return _words(self, self.wording, "rank-biserial" if self.paired else "tau")

    def resting_on(self, ranges: Mapping[str, Interval]) -> Trend:
        """The same, in doubt where a fragile count may move as far as the trend goes.

        Args:
            ranges: from which count to which, of those that are fragile, by what they are of.
        """
        if self.doubt or self.claim is None:
            return self
        change = abs(self.claim.layers)
        wide = {of: (low, high) for of, (low, high) in ranges.items() if high - low >= change}
        if not wide:
            return self
        worst, (low, high) = max(wide.items(), key=lambda item: item[1][1] - item[1][0])
        fragile = f": the count of {worst} is fragile ({low:g} to {high:g} layers)"
        return replace(self, doubt=Sentence("no direction holds", (fragile,)))


Comparison = TypeVar("Comparison", Difference, Trend)


def difference(
    a_parts: Sequence[PromptCurves],
    b_parts: Sequence[PromptCurves],
    settings: SummarySettings,
    paired: bool,
    rule: str = kl.RULE.name,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare b with a: pooled layers by a rule, and the layers of single prompts.

    Args:
        a_parts: prompts of one model.
        b_parts: prompts of the same or another model.
        settings: the thresholds, and the seed.
        paired: whether prompt i of a and of b is the same text: they are resampled together.
        rule: name of the rule.
        resamples: how often the prompts are drawn again.

    Raises:
        ValueError: paired prompts differ in number.
    """
    if paired and len(a_parts) != len(b_parts):
        raise ValueError(f"{len(a_parts)} and {len(b_parts)} prompts cannot be paired")
    sides, by = (a_parts, b_parts), rules.named(rule)
    found = Difference(rule, paired, (len(a_parts), len(b_parts)))
    problem = _too_few(sides) or _no_curve(sides, by)
    if problem:
        return replace(found, problem=problem)
    curves = _curves(sides, by)
    n_layers = np.array([by.n_layers(of_side) for of_side in curves])
    found = replace(found, same_size=bool(n_layers[0] == n_layers[1]))
    by_tokens, by_prompts = (
        _Resampled.of(sides, by, settings, resamples, paired, weighting) for weighting in WEIGHTINGS
    )
    if by_prompts is None:
        return replace(found, problem=Sentence("one side has no layer by this rule"))
    less, of_all = np.array([-1.0, 1.0]), np.array([-1.0, 1.0]) / n_layers
    if by_tokens is not None:
        layers, ratios = by_tokens.sum(less), by_tokens.sum(of_all)
        found = replace(
            found,
            layers=layers.value,
            layers_interval=layers.interval(),
            ratio=ratios.value,
            ratio_interval=ratios.interval(),
        )
    test = signed_rank if paired else mann_whitney
    singles = [by.ranked_layers(of_side, settings) for of_side in curves]
    p, effect = test(singles[0], singles[1], settings.seed)
    ratio = None if found.same_size else by_prompts.sum(of_all)
    return _claiming(replace(found, p=p, effect=effect), by_prompts.sum(less), ratio, sides)


def trend(
    levels: Sequence[Sequence[PromptCurves]],
    settings: SummarySettings,
    rule: str = kl.RULE.name,
    resamples: int = RESAMPLES,
    paired: bool = False,
    wording: Wording = HARDER,
) -> Trend:
    """Whether the layers grow over levels of a task, or steps of a training.

    Args:
        levels: the prompts of two or more levels, easiest first.
        settings: the thresholds, and the seed.
        rule: name of the rule.
        resamples: how often the prompts are drawn again.
        paired: whether prompt i of every level is the same text: they are resampled together.
        wording: what may be claimed.

    Raises:
        ValueError: there are fewer than two levels, or paired ones differ in number.
    """
    if len(levels) < 2:
        raise ValueError("a trend needs two or more levels")
    sizes = tuple(len(text) for text in levels)
    if paired and len(set(sizes)) > 1:
        raise ValueError(f"{sizes} prompts cannot be paired")
    found, by = Trend(rule, sizes, paired=paired, wording=wording), rules.named(rule)
    problem = _too_few(levels, " a level") or _no_curve(levels, by)
    if problem:
        return replace(found, problem=problem)
    pooled = [_pooled(text, by, settings, "tokens") for text in levels]
    ranks = np.arange(len(levels)) - (len(levels) - 1) / 2
    weights = ranks / (ranks**2).sum() * (len(levels) - 1)
    singles = [by.ranked_layers(curves, settings) for curves in _curves(levels, by)]
    if paired:
        slopes = np.round(weights @ singles, 9)  # Equal slopes are to tie.
        p, effect = signed_rank(np.zeros(sizes[0]), slopes, settings.seed)
    else:
        p, effect = kendall(singles, settings.seed)
    found = replace(
        found,
        layers=tuple(float(value) if np.isfinite(value) else None for value in pooled),
        p=p,
        effect=effect,
    )
    by_tokens, by_prompts = (
        _Resampled.of(levels, by, settings, resamples, paired, weighting)
        for weighting in WEIGHTINGS
    )
    if by_prompts is None:
        return replace(found, problem=Sentence("a level has no layer by this rule"))
    if by_tokens is not None:
        slope = by_tokens.sum(weights)
        found = replace(found, slope=slope.value, slope_interval=slope.interval())
    doubts = [doubt for means in (by_tokens, by_prompts) if means and (doubt := _wavers(means))]
    found = replace(found, doubt=next(iter(doubts), None))
    return _claiming(found, by_prompts.sum(weights), None, levels)


def _wavers(means: _Resampled) -> Sentence | None:
    """That the counts of the levels do not go one way; None where they do."""
    if course(means.counts) != UP_AND_DOWN:
        return None
    listed = ", ".join(f"{count:g}" for count in means.counts)
    return Sentence(UP_AND_DOWN, (f": {listed}",))


def course(values: Sequence[float] | np.ndarray) -> str:
    """How values go from the first to the last."""
    steps = np.diff(values)
    if not steps.any():
        return "stays the same"
    if steps.min() >= 0:
        return "grows"
    return "falls" if steps.max() <= 0 else UP_AND_DOWN


def holm(ps: ArrayLike) -> np.ndarray:
    """p values after Holm's step-down correction (Holm 1979), in the order given."""
    values = np.asarray(ps, np.float64)
    order = np.argsort(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons as one family: with `p_holm`, and claims at the family's level.

    Those without a p stay as they are, and do not count.
    """
    ps = [comparison.p for comparison in comparisons if comparison.p is not None]
    adjusted = iter(holm(ps))
    level = 1 - (1 - LEVEL) / max(1, len(ps))
    return [
        comparison
        if comparison.p is None
        else replace(
            comparison,
            p_holm=float(next(adjusted)),
            claim=comparison.drawn.claim(level) if comparison.drawn else comparison.claim,
        )
        for comparison in comparisons
    ]


def numbers(comparison: Difference | Trend) -> dict[str, Any]:
    """A comparison as JSON values, without the resamples."""
    values = asdict(replace(comparison, drawn=None))
    for name in ("drawn", "wording"):
        values.pop(name, None)
    for name in values.keys() & {"doubt", "problem"}:
        values[name] = str(getattr(comparison, name) or "")
    return values


def _too_few(groups: Sequence[Sequence[PromptCurves]], where: str = "") -> Sentence | None:
    fewest = min(len(group) for group in groups)
    if fewest < FEWEST_PROMPTS:
        needed = f"{fewest}{where}; {FEWEST_PROMPTS} are needed"
    elif any(map(too_few, groups)):
        needed = "two of each task are needed"
    else:
        return None
    return Sentence("too few prompts to say", (f" ({needed})",))


def _no_curve(groups: Sequence[Sequence[PromptCurves]], rule: Rule) -> Sentence | None:
    known = all(rule.curve in part.curves for group in groups for part in group)
    return None if known else Sentence("this rule's curve was not measured everywhere")


def _curves(groups: Sequence[Sequence[PromptCurves]], rule: Rule) -> list[np.ndarray]:
    """The rule's curve on each prompt, `[prompts, …]`, of each group."""
    return [curves_of(group, rule) for group in groups]


def _pooled(
    parts: Sequence[PromptCurves], rule: Rule, settings: SummarySettings, weighting: Weighting
) -> float:
    return float(rule.layers(pool(parts, weighting)[rule.curve], settings))


@dataclass(frozen=True)
class _Resampled:
    """The counts of layers of some groups of prompts, and those of their resamples.

    Attributes:
        counts: layer + 1 of each group, `[groups]`.
        drawn: the same of every resample, `[resamples, groups]`.
        tasks: the tasks of each group's prompts.
        together: whether the groups have the same prompts, drawn together.
    """

    counts: np.ndarray
    drawn: np.ndarray
    tasks: list[np.ndarray]
    together: bool

    @classmethod
    def of(
        cls,
        groups: Sequence[Sequence[PromptCurves]],
        rule: Rule,
        settings: SummarySettings,
        resamples: int,
        together: bool,
        weighting: Weighting,
    ) -> _Resampled | None:
        """None where a group has no layer."""
        pooled = np.array([_pooled(parts, rule, settings, weighting) for parts in groups])
        if not np.isfinite(pooled).all():
            return None
        tasks = [task_numbers(parts) for parts in groups]
        columns = []
        for number, parts in enumerate(groups):
            seed = settings.seed + (0 if together else number)
            counts = draw(tasks[number], resamples, seed)
            columns.append(resampled_layers(parts, rule, settings, counts, weighting))
        return cls(pooled + 1, np.stack(columns, axis=1) + 1, tasks, together)

    def sum(self, factors: np.ndarray) -> Bootstrap:
        """A weighted sum over the groups.

        Independent groups have the degrees of freedom of Welch and Satterthwaite.
        """
        freedoms, inflations = np.array([freedom_of(tasks) for tasks in self.tasks]).T
        freedom, inflation = freedoms.min(), inflations.max()
        variances = self.drawn.var(axis=0) * factors**2
        if not self.together and variances.sum() > 0:
            unbiased = variances * inflations
            freedom = unbiased.sum() ** 2 / (unbiased**2 / freedoms).sum()
            inflation = unbiased.sum() / variances.sum()
        # As a product of matrices, equal counts would at times differ by a rounding.
        value = float((self.counts * factors).sum())
        drawn = (self.drawn * factors).sum(axis=-1)
        return Bootstrap(value, drawn, float(freedom), float(inflation))


def _claiming(
    found: Comparison,
    layers: Bootstrap,
    ratio: Bootstrap | None,
    groups: Sequence[Sequence[PromptCurves]],
) -> Comparison:
    """The comparison with its claim, at the level of a single one."""
    n_tasks = int(task_numbers(groups[0]).max()) + 1
    drawn = Drawn(layers, ratio, n_tasks)
    return replace(found, claim=drawn.claim(LEVEL), drawn=drawn)


def _words(comparison: Difference | Trend, wording: Wording, effect: str) -> Sentence:
    """What is claimed of the mean curve, then what the rank test says of single prompts."""
    claim = comparison.claim
    if comparison.problem or claim is None:
        return comparison.problem or Sentence("")
    doubt, tested = comparison.doubt, _test_words(comparison, effect)
    change = f"{claim}; single prompts: {tested}" if tested else str(claim)
    if claim.changes and doubt:
        return Sentence(doubt.headline, (f"{' '.join(doubt.clauses)}; {change}",))
    return Sentence(claim.direction(wording), (f": {change}",))


def signed(value: float, digits: int) -> str:
    """The number with its sign, never a negative zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _test_words(comparison: Difference | Trend, effect: str) -> str:
    """The effect size and p, and what they say where the claim says something else."""
    words = [] if comparison.effect is None else [f"{effect} {signed(comparison.effect, 2)}"]
    p = comparison.p if comparison.p_holm is None else comparison.p_holm
    if p is not None:
        value = "p < 0.001" if p < 0.001 else f"p {p:.2g}"
        words.append(value if comparison.p_holm is None else f"{value} (Holm)")
        if p >= SIGNIFICANT and _utmost(comparison):
            words.append("the least that so few prompts allow")
        elif disagree(comparison):
            words.append("a change" if p < SIGNIFICANT else "no clear change")
    return ", ".join(words)


def disagree(comparison: Difference | Trend) -> bool:
    """Whether mean curve and single prompts say different things of there being a change.

    Not where the test is as sure as so few prompts allow.
    """
    p = comparison.p if comparison.p_holm is None else comparison.p_holm
    if comparison.claim is None or p is None:
        return False
    changes = comparison.claim.changes and not comparison.doubt
    return changes != (p < SIGNIFICANT) and not (changes and _utmost(comparison))


def _utmost(comparison: Difference | Trend) -> bool:
    return abs(comparison.effect or 0) == 1
