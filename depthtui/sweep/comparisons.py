"""Whether effective depths differ, or grow over levels, and how sure that is.

Layers are compared as the rules give them: whole numbers, pooled over the
tokens of all prompts. Intervals are bootstrapped over prompts (see
`engine.uncertainty`); the rank tests look at the layers of single prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.effective_depth import pool
from depthtui.depth.intervals import (
    FEWEST_PROMPTS,
    LEVEL,
    RESAMPLES,
    curves_of,
    draw,
    expanded_interval,
    resampled_layers,
)
from depthtui.depth.rules import RULE_CURVES, layers_by, ranked_layers
from depthtui.depth.weights import task_numbers
from depthtui.sweep.rank_tests import kendall, mann_whitney, signed_rank

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Interval = tuple[float, float]

SIGNIFICANT = 0.05
"""A p below this counts as confirmation by the rank test."""


_DIFFERENT = ("more layers", "fewer layers", "no clear difference")
_GROWING = (
    "more layers at harder levels",
    "fewer layers at harder levels",
    "no clear trend",
)


@dataclass(frozen=True)
class Difference:
    """How much deeper b is than a, by one rule.

    Attributes:
        rule: `cosine`, `kl` or `overlap`.
        paired: whether both ran the same prompts.
        n_prompts: prompts of a and of b.
        layers: pooled layer of b less that of a; None where one has no layer.
        layers_interval: its bootstrap interval, or None.
        ratio: the same of (e + 1) / L, which matters where L differs.
        ratio_interval: its bootstrap interval, or None.
        same_size: whether both have the same number of layers.
        p: of Wilcoxon's signed-rank test (paired) or the Mann-Whitney test on the layers of
            single prompts, two-sided; None with too few prompts that have a layer.
        effect: matched-pairs rank-biserial correlation (paired) or Cliff's delta, from -1 to 1,
            positive where b is deeper.
        p_holm: p after Holm's correction (see `corrected`), or None.
        problem: why there is no interval; empty where there is one.
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
    problem: str = ""

    @property
    def sentence(self) -> str:
        """What the data support, in words."""
        if self.problem or self.layers is None or self.layers_interval is None:
            return self.problem
        name = "rank-biserial" if self.paired else "Cliff's delta"
        about = [_change(self.layers, self.layers_interval, *_DIFFERENT)]
        if not self.same_size and self.ratio is not None and self.ratio_interval is not None:
            about.append(f"ratio {self.ratio:+.2f} ({_span(self.ratio_interval, 2)})")
        about += _test_words(self, self.layers_interval, name)
        return ", ".join(about)


@dataclass(frozen=True)
class Trend:
    """Whether layers grow over ordered levels, by one rule.

    Attributes:
        rule: `cosine`, `kl` or `overlap`.
        n_prompts: prompts of each level, easiest first.
        layers: pooled layer of each level; None where it has none.
        slope: least-squares change of the pooled layer from the easiest to the hardest level,
            levels evenly spaced; None where a level has no layer.
        slope_interval: its bootstrap interval, prompts resampled within levels, or None.
        p: of Kendall's test of single prompts' layers against the level's rank, two-sided; by
            permutation for few prompts.
        effect: Kendall's tau-b; None where all layers are equal.
        p_holm: p after Holm's correction (see `corrected`), or None.
        problem: why there is no interval; empty where there is one.
    """

    rule: str
    n_prompts: tuple[int, ...]
    layers: tuple[float | None, ...] = ()
    slope: float | None = None
    slope_interval: Interval | None = None
    p: float | None = None
    effect: float | None = None
    p_holm: float | None = None
    problem: str = ""

    @property
    def sentence(self) -> str:
        """What the data support, in words."""
        if self.problem or self.slope is None or self.slope_interval is None:
            return self.problem
        about = _change(self.slope, self.slope_interval, *_GROWING)
        return ", ".join([about, *_test_words(self, self.slope_interval, "tau")])


Comparison = TypeVar("Comparison", Difference, Trend)


def difference(
    a_parts: Sequence[PromptCurves],
    b_parts: Sequence[PromptCurves],
    settings: SummarySettings,
    paired: bool,
    rule: str = "kl",
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare b with a: pooled layers by a rule, and the layers of single prompts.

    Args:
        a_parts: prompts of one model.
        b_parts: prompts of the same or another model.
        settings: the thresholds, and the seed.
        paired: whether prompt i of a and of b is the same text: they are resampled together.
        rule: `cosine`, `kl` or `overlap`.
        resamples: how often the prompts are drawn again.

    Raises:
        ValueError: paired prompts differ in number.
    """
    if paired and len(a_parts) != len(b_parts):
        raise ValueError(f"{len(a_parts)} and {len(b_parts)} prompts cannot be paired")
    sides = (a_parts, b_parts)
    found = Difference(rule, paired, (len(a_parts), len(b_parts)))
    problem = _too_few(sides) or _no_curve(sides, rule)
    if problem:
        return replace(found, problem=problem)
    n_layers = np.array([_n_layers(side, rule) for side in sides])
    found = replace(found, same_size=bool(n_layers[0] == n_layers[1]))
    pooled = np.array([_pooled(side, rule, settings) for side in sides])
    if not np.isfinite(pooled).all():
        return replace(found, problem="one side has no layer by this rule")
    drawn = _resample(sides, rule, settings, resamples, paired)
    found = replace(
        found,
        layers=float(pooled[1] - pooled[0]),
        ratio=float(np.diff((pooled + 1) / n_layers)[0]),
        layers_interval=_interval(drawn, np.array([-1.0, 1.0]), sides, paired),
        ratio_interval=_interval(drawn + 1, np.array([-1.0, 1.0]) / n_layers, sides, paired),
    )
    test = signed_rank if paired else mann_whitney
    singles = [_single(side, rule, settings) for side in sides]
    p, effect = test(singles[0], singles[1], settings.seed)
    return replace(found, p=p, effect=effect)


def trend(
    levels: Sequence[Sequence[PromptCurves]],
    settings: SummarySettings,
    rule: str = "kl",
    resamples: int = RESAMPLES,
) -> Trend:
    """Whether the layers of one model grow over levels of a task.

    Args:
        levels: the prompts of two or more levels, easiest first.
        settings: the thresholds, and the seed.
        rule: `cosine`, `kl` or `overlap`.
        resamples: how often the prompts are drawn again.

    Raises:
        ValueError: there are fewer than two levels.
    """
    if len(levels) < 2:
        raise ValueError("a trend needs two or more levels")
    found = Trend(rule, tuple(len(text) for text in levels))
    problem = _too_few(levels, " a level") or _no_curve(levels, rule)
    if problem:
        return replace(found, problem=problem)
    pooled = np.array([_pooled(text, rule, settings) for text in levels])
    layers = tuple(float(value) if np.isfinite(value) else None for value in pooled)
    p, tau = kendall([_single(text, rule, settings) for text in levels], settings.seed)
    found = replace(found, layers=layers, p=p, effect=tau)
    if not np.isfinite(pooled).all():
        return replace(found, problem="a level has no layer by this rule")
    ranks = np.arange(len(levels)) - (len(levels) - 1) / 2
    weights = ranks / (ranks**2).sum() * (len(levels) - 1)
    drawn = _resample(levels, rule, settings, resamples, together=False)
    interval = _interval(drawn, weights, levels, together=False)
    return replace(
        found,
        slope=float(weights @ pooled),
        slope_interval=interval,
    )


def holm(ps: ArrayLike) -> np.ndarray:
    """p values after Holm's step-down correction (Holm 1979), in the order given."""
    values = np.asarray(ps, np.float64)
    order = np.argsort(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with `p_holm`, as one family; those without a p stay as they are."""
    ps = iter(holm([comparison.p for comparison in comparisons if comparison.p is not None]))
    return [
        comparison if comparison.p is None else replace(comparison, p_holm=float(next(ps)))
        for comparison in comparisons
    ]


def _too_few(groups: Sequence[Sequence[PromptCurves]], where: str = "") -> str:
    fewest = min(len(group) for group in groups)
    if fewest >= FEWEST_PROMPTS:
        return ""
    return f"too few prompts to say ({fewest}{where}; {FEWEST_PROMPTS} are needed)"


def _no_curve(groups: Sequence[Sequence[PromptCurves]], rule: str) -> str:
    missing = any(curves_of(group, rule) is None for group in groups)
    return "this rule's curve was not measured everywhere" if missing else ""


def _n_layers(parts: Sequence[PromptCurves], rule: str) -> int:
    curves = curves_of(parts, rule)
    assert curves is not None
    return curves.shape[1] - (0 if rule == "cosine" else 1)


def _pooled(parts: Sequence[PromptCurves], rule: str, settings: SummarySettings) -> float:
    return float(layers_by(rule, getattr(pool(parts), RULE_CURVES[rule]), settings))


def _single(parts: Sequence[PromptCurves], rule: str, settings: SummarySettings) -> np.ndarray:
    """Each prompt's own layer as it is ranked, `[prompts]`; NaN where it is unknown."""
    curves = curves_of(parts, rule)
    assert curves is not None
    return ranked_layers(rule, curves, settings)


def _resample(
    groups: Sequence[Sequence[PromptCurves]],
    rule: str,
    settings: SummarySettings,
    resamples: int,
    together: bool,
) -> np.ndarray:
    """Pooled layers of resampled prompts, `[resamples, groups]`."""
    columns = []
    for number, parts in enumerate(groups):
        seed = settings.seed if together else settings.seed + number
        counts = draw(task_numbers(parts), resamples, seed)
        columns.append(resampled_layers(parts, rule, settings, counts))
    return np.stack(columns, axis=1)


def _interval(
    drawn: np.ndarray,
    weights: np.ndarray,
    groups: Sequence[Sequence[PromptCurves]],
    together: bool,
) -> Interval | None:
    """Interval of a weighted sum of the groups' layers.

    Independent groups have the degrees of freedom of Welch and Satterthwaite.
    """
    n = np.array([len(group) for group in groups], np.float64)
    freedom, inflation = n.min() - 1, n.min() / (n.min() - 1)
    variances = np.nanvar(drawn, axis=0) * weights**2 if np.isfinite(drawn).any(axis=0).all() else 0
    if not together and np.sum(variances) > 0:
        unbiased = variances * n / (n - 1)
        freedom = unbiased.sum() ** 2 / (unbiased**2 / (n - 1)).sum()
        inflation = unbiased.sum() / np.sum(variances)
    return expanded_interval(drawn @ weights, LEVEL, freedom, inflation)


def _change(value: float, interval: Interval, more: str, fewer: str, none: str) -> str:
    claim = more if interval[0] > 0 else fewer if interval[1] < 0 else none
    return f"{claim}: {signed(value, 1)} layers ({_span(interval, 1)})"


def _span(interval: Interval, digits: int) -> str:
    low, high = (signed(end, digits) for end in interval)
    return f"{100 * LEVEL:.0f} % interval {low} … {high}"


def signed(value: float, digits: int) -> str:
    """The number with its sign, never a negative zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _test_words(comparison: Difference | Trend, interval: Interval, effect: str) -> list[str]:
    """The effect size and p, and whether the rank test says the same as the interval."""
    words = [] if comparison.effect is None else [f"{effect} {comparison.effect:+.2f}"]
    p = comparison.p if comparison.p_holm is None else comparison.p_holm
    if p is None:
        return words
    value = "p < 0.001" if p < 0.001 else f"p {p:.2g}"
    if comparison.p_holm is not None:
        value += " (Holm)"
    found = interval[0] > 0 or interval[1] < 0
    if found and p >= SIGNIFICANT and abs(comparison.effect or 0) == 1:
        value += ": no rank test of so few prompts can tell more"
    elif found and p >= SIGNIFICANT:
        value += ": the rank test does not confirm it"
    elif not found and p < SIGNIFICANT:
        value += ": the rank test sees one"
    return [*words, value]
