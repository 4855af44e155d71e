"""Whether effective depths differ, or grow over levels, with intervals and tests.

Comparisons use the crossing of curves (`DepthEstimate.crossing`), in layers with decimals: a layer
is a whole number, and intervals of it often have no width. Between models of different L they use
the ratio (crossing + 1) / L, and also give the layers.

Each comparison has a claim and a rank test, kept apart. The claim is about a change of the
crossing that a rule finds on the mean curve, each prompt counting once and each task the same,
with an interval bootstrapped over prompts (see `depth.intervals`) at the level of the question's
whole family of comparisons. The rank test is about the crossings of single prompts, its p
Holm-corrected over the same family. The crossing of a mean curve is not the mean of crossings, so
claim and test may differ. A change has a direction only where none of its counts moves as far, a
trend only where the counts of its levels go one way. The change over the paper's mean over tokens
is given too, with its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from depthtui.data.depth import HALF_A_LAYER, PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.data.sentence import Sentence
from depthtui.depth import rules
from depthtui.depth.effective_depth import pool
from depthtui.depth.intervals import Bootstrap, curves_of, resampled_curves, too_few
from depthtui.depth.rule import Rule
from depthtui.depth.rules import kl
from depthtui.depth.weights import WEIGHTINGS, Weighting, task_numbers
from depthtui.metrics.resampling import FEWEST_UNITS, LEVEL, RESAMPLES
from depthtui.sweep.rank_tests import kendall, mann_whitney, signed_rank
from depthtui.sweep.resampled import Resampled, trend_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Interval = tuple[float, float]

SIGNIFICANT = 0.05
"""Single prompts differ where p is below this."""


_TOO_FEW = "too few prompts to say"

UP_AND_DOWN = "goes up and down"
"""The course of levels that do not go one way."""


@dataclass(frozen=True)
class Wording:
    """The words for each claim that a comparison may make."""

    more: str
    fewer: str
    neither: str


DIFFERENT = Wording("more layers", "fewer layers", "no clear difference")
OF_OTHER_SIZE = Wording(
    "a larger share of its layers", "a smaller share of its layers", "no clear difference"
)
HARDER = Wording("more layers at harder levels", "fewer layers at harder levels", "no clear trend")
TRAINED = Wording(
    "more layers with more training", "fewer layers with more training", "no clear trend"
)


@dataclass(frozen=True)
class Claim:
    """A change of the crossing on the mean curve, where each prompt counts once.

    Attributes:
        layers: the change in layers.
        interval: its bootstrap interval.
        level: level of the interval: 1 - 0.05 / m in a family of m comparisons.
        ratio, ratio_interval: where L differs, the change of (crossing + 1) / L, which the claim
            is about then.
        n_tasks: number of tasks, each of the same weight.
    """

    layers: float
    interval: Interval
    level: float = LEVEL
    ratio: float | None = None
    ratio_interval: Interval | None = None
    n_tasks: int = 1

    @property
    def is_of_ratio(self) -> bool:
        """Whether the claim is about the ratio, not the layers."""
        return self.ratio_interval is not None

    @property
    def claimed_change(self) -> tuple[float, Interval]:
        """The change that is claimed, and its interval."""
        if self.ratio is not None and self.ratio_interval is not None:
            return self.ratio, self.ratio_interval
        return self.layers, self.interval

    @property
    def changes(self) -> bool:
        """Whether the interval excludes zero."""
        _, (low, high) = self.claimed_change
        return low > 0 or high < 0

    def direction(self, wording: Wording) -> str:
        """The claim in a few words."""
        if not self.changes:
            return wording.neither
        return wording.more if self.claimed_change[0] > 0 else wording.fewer

    def __str__(self) -> str:
        """The change with its unit, its interval and its weighting."""
        level = f"{100 * self.level:.4g} % interval"
        layers, ends = signed_with_ends(self.layers, self.interval, 1)
        words = f"{layers} layers ({level} {ends})"
        if self.is_of_ratio:
            ratio, ratio_ends = signed_with_ends(*self.claimed_change, 2)
            words = f"ratio {ratio} ({level} {ratio_ends}), {layers} layers ({ends})"
        once = "prompt" if self.n_tasks == 1 else "task"
        return f"{words} where each {once} counts once"


@dataclass(frozen=True)
class ResampledChange:
    """Changes where each prompt counts once, and their resamples: claims are made of them."""

    layers: Bootstrap
    ratio: Bootstrap | None
    n_tasks: int

    def claim(self, level: float) -> Claim | None:
        """The claim at this level; None where there is no interval."""
        interval = self.layers.interval(level)
        if interval is None:
            return None
        claim = Claim(self.layers.value, interval, level, n_tasks=self.n_tasks)
        if self.ratio is None:
            return claim
        return replace(claim, ratio=self.ratio.value, ratio_interval=self.ratio.interval(level))


@dataclass(frozen=True)
class FragileCount:
    """A fragile count that a comparison uses.

    Attributes:
        subject: the model and the task.
        low, high: the fewest and the most layers that the count moves to.
        n_layers: L.
    """

    subject: str
    low: int
    high: int
    n_layers: int

    def width(self, of_ratio: bool) -> float:
        """Range of the count, in layers or as a share of L."""
        return (self.high - self.low) / (self.n_layers if of_ratio else 1)

    def words(self, of_ratio: bool) -> str:
        """A clause that calls the count fragile."""
        of_all = f" of {self.n_layers}" if of_ratio else ""
        return f"the count of {self.subject} is fragile ({self.low} to {self.high}{of_all} layers)"


@dataclass(frozen=True, kw_only=True)
class TestedChange:
    """The claim about a change, its rank test, and a doubt or a problem where there is one.

    Attributes:
        p: two-sided p of the rank test; None with too few prompts.
        effect: the test's effect size, from -1 to 1.
        p_is_least: whether the test allows no smaller p (see `rank_tests.RankTest`).
        p_holm: p after Holm's correction (see `as_one_family`), or None.
        claim: the change where each prompt counts once; None where there is a problem.
        doubt: why no direction is claimed, whatever the interval; None where one may be.
        problem: why there is no claim; None where there is one.
        population: the prompts that interval and p are about, such as
            `draws of this generator`; may be empty.
    """

    p: float | None = None
    effect: float | None = None
    p_is_least: bool = False
    p_holm: float | None = None
    claim: Claim | None = None
    doubt: Sentence | None = None
    problem: Sentence | None = None
    population: str = ""
    resamples: ResampledChange | None = field(default=None, repr=False, compare=False)

    def at_level(self, level: float) -> Self:
        """A copy with the claim of the resamples at a level, or the problem that there is none."""
        if self.resamples is None:
            return self
        claim = self.resamples.claim(level)
        reason = f" (for a {100 * level:.4g} % interval)"
        problem = None if claim else Sentence(_TOO_FEW, (reason,))
        return replace(self, claim=claim, problem=problem)

    def with_doubt_from(self, counts: Iterable[FragileCount]) -> Self:
        """A copy, in doubt where one of these counts may move as far as the change."""
        if self.doubt or self.claim is None:
            return self
        of_ratio, change = self.claim.is_of_ratio, abs(self.claim.claimed_change[0])
        wide = [count for count in counts if count.width(of_ratio) >= change]
        if not wide:
            return self
        worst = max(wide, key=lambda count: count.width(of_ratio))
        doubt = Sentence("no direction holds", (f": {worst.words(of_ratio)}",))
        return replace(self, doubt=doubt)


@dataclass(frozen=True)
class Difference(TestedChange):
    """The difference in depth, b less a, by one rule.

    `p` is of Wilcoxon's signed-rank test (paired) or the Mann-Whitney test on the crossings of
    single prompts, as shares of L where L differs; `effect` the matched-pairs rank-biserial
    correlation (paired) or Cliff's delta, positive where b is deeper.

    Attributes:
        rule: name of the rule.
        paired: whether both ran the same prompts.
        n_prompts: prompts of a and of b.
        layers: crossing of b minus the crossing of a in the mean over tokens, in layers; None
            where one has no layer.
        layers_interval: its 95 % bootstrap interval, or None.
        ratio: the same difference of (crossing + 1) / L, which matters where L differs.
        ratio_interval: its 95 % bootstrap interval, or None.
        same_size: whether both have the same number of layers.
    """

    rule: str
    paired: bool
    n_prompts: tuple[int, int]
    layers: float | None = None
    layers_interval: Interval | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    same_size: bool = True

    @property
    def words(self) -> Sentence:
        """The conclusion; its headline is the claim, or why there is none."""
        wording = DIFFERENT if self.claim is None or not self.claim.is_of_ratio else OF_OTHER_SIZE
        return _words(self, wording, "rank-biserial" if self.paired else "Cliff's delta")


@dataclass(frozen=True)
class Trend(TestedChange):
    """Whether depths grow over ordered levels, by one rule.

    `p` is of Kendall's test of single prompts' crossings against the level's rank, by permutation
    for few prompts; where all levels ran the same prompts, of Wilcoxon's signed-rank test on the
    slopes of single prompts. `effect` is Kendall's tau-b, or the rank-biserial correlation of the
    slopes; None where all are equal.

    Attributes:
        rule: name of the rule.
        n_prompts: prompts of each level, easiest first.
        layers: layer of each level in the mean over tokens; None where a level has none.
        slope: least-squares change of the crossing from the easiest to the hardest level in the
            mean over tokens, levels evenly spaced; None where a level has no layer.
        slope_interval: its 95 % bootstrap interval, prompts resampled within levels, or None.
        paired: whether all levels ran the same prompts.
        wording: the words of the claim.
    """

    rule: str
    n_prompts: tuple[int, ...]
    layers: tuple[float | None, ...] = ()
    slope: float | None = None
    slope_interval: Interval | None = None
    paired: bool = False
    wording: Wording = HARDER

    @property
    def words(self) -> Sentence:
        """The conclusion; its headline is the claim, or why there is none."""
        return _words(self, self.wording, "rank-biserial" if self.paired else "tau")


Comparison = TypeVar("Comparison", bound=TestedChange)


def difference(
    a_parts: Sequence[PromptCurves],
    b_parts: Sequence[PromptCurves],
    settings: SummarySettings,
    paired: bool,
    rule: str = kl.RULE.name,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare b with a: the crossings of mean curves and of single prompts.

    Args:
        a_parts: prompts of one model.
        b_parts: prompts of the same or another model.
        settings: the thresholds, and the seed.
        paired: whether prompt i of a and of b is the same text; paired prompts are resampled
            together.
        rule: name of the rule.
        resamples: how often the prompts are drawn again.

    Raises:
        ValueError: paired prompts differ in number.
    """
    if paired and len(a_parts) != len(b_parts):
        raise ValueError(f"{len(a_parts)} and {len(b_parts)} prompts cannot be paired")
    sides, depth_rule = (a_parts, b_parts), rules.named(rule)
    result = Difference(rule, paired, (len(a_parts), len(b_parts)))
    problem = _too_few(sides) or _no_curve(sides, depth_rule)
    if problem:
        return replace(result, problem=problem)
    curves = _curves(sides, depth_rule)
    n_layers = np.array([depth_rule.n_layers(of_side) for of_side in curves])
    result = replace(result, same_size=bool(n_layers[0] == n_layers[1]))
    by_tokens, by_prompts = (
        _resampled_depths(sides, depth_rule, settings, resamples, paired, weighting)
        for weighting in WEIGHTINGS
    )
    if by_prompts is None:
        return replace(result, problem=Sentence("one side has no layer by this rule"))
    layer_factors, ratio_factors = np.array([-1.0, 1.0]), np.array([-1.0, 1.0]) / n_layers
    if by_tokens is not None:
        layers, ratios = by_tokens.sum(layer_factors), by_tokens.sum(ratio_factors)
        result = replace(
            result,
            layers=layers.value,
            layers_interval=layers.interval(),
            ratio=ratios.value,
            ratio_interval=ratios.interval(),
        )
    test = signed_rank if paired else mann_whitney
    singles = _singles(curves, depth_rule, settings)
    if not result.same_size:
        singles = [(side + 1) / layers for side, layers in zip(singles, n_layers, strict=True)]
    result = replace(result, **test(singles[0], singles[1], settings.seed)._asdict())
    ratio = None if result.same_size else by_prompts.sum(ratio_factors)
    return _with_claim(result, by_prompts.sum(layer_factors), ratio, sides)


def trend(
    levels: Sequence[Sequence[PromptCurves]],
    settings: SummarySettings,
    rule: str = kl.RULE.name,
    resamples: int = RESAMPLES,
    paired: bool = False,
    wording: Wording = HARDER,
) -> Trend:
    """Whether crossings grow over levels of a task, or steps of a training.

    Args:
        levels: the prompts of two or more levels, easiest first.
        settings: the thresholds, and the seed.
        rule: name of the rule.
        resamples: how often the prompts are drawn again.
        paired: whether prompt i of every level is the same text; paired prompts are resampled
            together.
        wording: the words of the claim.

    Raises:
        ValueError: there are fewer than two levels, or paired levels differ in number.
    """
    if len(levels) < 2:
        raise ValueError("a trend needs two or more levels")
    sizes = tuple(len(text) for text in levels)
    if paired and len(set(sizes)) > 1:
        raise ValueError(f"{sizes} prompts cannot be paired")
    result, depth_rule = Trend(rule, sizes, paired=paired, wording=wording), rules.named(rule)
    problem = _too_few(levels, " a level") or _no_curve(levels, depth_rule)
    if problem:
        return replace(result, problem=problem)
    weights = trend_weights(len(levels))
    singles = _singles(_curves(levels, depth_rule), depth_rule, settings)
    if paired:
        slopes = _round_for_ties(weights @ np.stack(singles))
        test = signed_rank(np.zeros(sizes[0]), slopes, settings.seed)
    else:
        test = kendall(singles, settings.seed)
    layers = [_layers(levels, depth_rule, settings, weighting) for weighting in WEIGHTINGS]
    result = replace(
        result,
        layers=tuple(float(layer) if np.isfinite(layer) else None for layer in layers[0]),
        **test._asdict(),
    )
    by_tokens, by_prompts = (
        _resampled_depths(levels, depth_rule, settings, resamples, paired, weighting)
        for weighting in WEIGHTINGS
    )
    if by_prompts is None:
        return replace(result, problem=Sentence("a level has no layer by this rule"))
    if by_tokens is not None:
        slope = by_tokens.sum(weights)
        result = replace(result, slope=slope.value, slope_interval=slope.interval())
    doubts = [doubt for of_levels in layers if (doubt := _unclear_course(of_levels))]
    result = replace(result, doubt=next(iter(doubts), None))
    return _with_claim(result, by_prompts.sum(weights), None, levels)


def _unclear_course(layers: np.ndarray) -> Sentence | None:
    """A sentence where all levels have a layer and these do not go one way, else None."""
    if not np.isfinite(layers).all() or course(layers) != UP_AND_DOWN:
        return None
    counts = ", ".join(f"{layer + 1:g}" for layer in layers)
    return Sentence(UP_AND_DOWN, (f": {counts}",))


def course(values: Sequence[float] | np.ndarray) -> str:
    """Direction of the values from the first to the last, in words."""
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


def as_one_family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons as one family: with `p_holm`, and claims at the family's level.

    Comparisons without a p are unchanged and do not count.
    """
    ps = [comparison.p for comparison in comparisons if comparison.p is not None]
    adjusted = iter(holm(ps))
    level = 1 - (1 - LEVEL) / max(1, len(ps))
    return [
        comparison
        if comparison.p is None
        else replace(comparison.at_level(level), p_holm=float(next(adjusted)))
        for comparison in comparisons
    ]


def numbers(comparison: Difference | Trend) -> dict[str, Any]:
    """A comparison as JSON values, without the resamples and what words alone are made of."""
    values = asdict(replace(comparison, resamples=None))
    for name in ("resamples", "wording", "p_is_least"):
        values.pop(name, None)
    for name in values.keys() & {"doubt", "problem"}:
        values[name] = str(getattr(comparison, name) or "")
    return values


def _too_few(groups: Sequence[Sequence[PromptCurves]], where: str = "") -> Sentence | None:
    fewest = min(len(group) for group in groups)
    if fewest < FEWEST_UNITS:
        reason = f"{fewest}{where}; {FEWEST_UNITS} are needed"
    elif any(map(too_few, groups)):
        reason = "two of each task are needed"
    else:
        return None
    return Sentence(_TOO_FEW, (f" ({reason})",))


def _no_curve(groups: Sequence[Sequence[PromptCurves]], rule: Rule) -> Sentence | None:
    has_curve = all(rule.curve in part.curves for group in groups for part in group)
    return None if has_curve else Sentence("this rule's curve was not measured everywhere")


def _curves(groups: Sequence[Sequence[PromptCurves]], rule: Rule) -> list[np.ndarray]:
    """The rule's curve on each prompt, `[prompts, …]`, of each group."""
    return [curves_of(group, rule) for group in groups]


def _singles(
    curves: Sequence[np.ndarray], rule: Rule, settings: SummarySettings
) -> list[np.ndarray]:
    """The crossings of single prompts, `[prompts]`, of each group."""
    return [_round_for_ties(rule.ranked_crossings(group, settings)) for group in curves]


def _round_for_ties(values: np.ndarray) -> np.ndarray:
    """The values rounded, so that values which differ by a rounding error tie."""
    return np.round(values, 9)


def _layers(
    groups: Sequence[Sequence[PromptCurves]],
    rule: Rule,
    settings: SummarySettings,
    weighting: Weighting,
) -> np.ndarray:
    """The layer of each group on its mean curve, `[groups]`; NaN where it has none."""
    curves = [pool(parts, weighting)[rule.curve] for parts in groups]
    return np.array([rule.layers(curve, settings) for curve in curves], float)


def _resampled_depths(
    groups: Sequence[Sequence[PromptCurves]],
    rule: Rule,
    settings: SummarySettings,
    resamples: int,
    together: bool,
    weighting: Weighting,
) -> Resampled | None:
    """Crossing + 1 of each group's mean curve; None where a group has no layer."""
    if not np.isfinite(_layers(groups, rule, settings, weighting)).all():
        return None

    def depths(parts: Sequence[PromptCurves], counts: np.ndarray) -> np.ndarray:
        curves = resampled_curves(parts, rule, settings, counts, weighting)
        return rule.ranked_crossings(curves, settings) + 1

    return Resampled.of(
        [partial(depths, parts) for parts in groups],
        [task_numbers(parts) for parts in groups],
        settings.seed,
        together,
        HALF_A_LAYER,
        resamples,
    )


def _with_claim(
    comparison: Comparison,
    layers: Bootstrap,
    ratio: Bootstrap | None,
    groups: Sequence[Sequence[PromptCurves]],
) -> Comparison:
    """The comparison with its claim, at the level of a single comparison."""
    n_tasks = int(task_numbers(groups[0]).max()) + 1
    resamples = ResampledChange(layers, ratio, n_tasks)
    return replace(comparison, resamples=resamples).at_level(LEVEL)


def _words(comparison: Difference | Trend, wording: Wording, effect: str) -> Sentence:
    """The claim about the mean curve, then the rank test of single prompts."""
    claim = comparison.claim
    if comparison.problem or claim is None:
        return comparison.problem or Sentence("")
    doubt, tested = comparison.doubt, _test_words(comparison, effect)
    change = f"{claim}; single prompts: {tested}" if tested else str(claim)
    if comparison.population:
        change += f"; over {comparison.population}"
    if claim.changes and doubt:
        return Sentence(doubt.headline, (f"{' '.join(doubt.clauses)}; {change}",))
    return Sentence(claim.direction(wording), (f": {change}",))


def signed_text(value: float, digits: int) -> str:
    """The number with its sign, never a negative zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def signed_with_ends(
    value: float, interval: Interval, digits: int, to: str = " … "
) -> tuple[str, str]:
    """A change and its interval, such as `+2.0` and `+1.4 … +2.6`.

    Both have `digits` digits, or up to two more where the ends would look equal.
    """
    low, high = interval
    for more in range(digits, digits + 3):
        if signed_text(low, more) != signed_text(high, more):
            break
    return signed_text(value, more), to.join(signed_text(end, more) for end in interval)


def _test_words(comparison: Difference | Trend, effect: str) -> str:
    """The effect size and p, and the test's result where the claim disagrees."""
    words = [] if comparison.effect is None else [f"{effect} {signed_text(comparison.effect, 2)}"]
    p = comparison.p if comparison.p_holm is None else comparison.p_holm
    if p is not None:
        at_most = "<= " if comparison.p_is_least and p < 1 else ""
        value = "p < 0.001" if p < 0.001 else f"p {at_most}{p:.2g}"
        words.append(value if comparison.p_holm is None else f"{value} (Holm)")
        if p >= SIGNIFICANT and comparison.p_is_least:
            words.append("the least that so few prompts allow")
        elif disagree(comparison):
            words.append("a change" if p < SIGNIFICANT else "no clear change")
    return ", ".join(words)


def disagree(comparison: Difference | Trend) -> bool:
    """Whether mean curve and single prompts disagree on there being a change.

    False for a claimed change whose p is the least that the test allows.
    """
    p = comparison.p if comparison.p_holm is None else comparison.p_holm
    if comparison.claim is None or p is None:
        return False
    changes = comparison.claim.changes and not comparison.doubt
    return changes != (p < SIGNIFICANT) and not (changes and comparison.p_is_least)
