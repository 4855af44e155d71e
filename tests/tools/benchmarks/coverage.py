"""How often intervals hold the truth, on simulated prompts whose depth is known.

    python -m tests.tools.benchmarks.coverage [--samples 200] [--only longer]

Prints Markdown tables of the share of samples whose interval, nominally of 95 %, holds
the layer (or the difference, or the slope) that a very large sample has, for
depths between two layers as well as on one, and the mean width in layers. The
expanded interval is the one in use; the plain percentile interval is for
comparison. A table is of prompts that are deeper the longer they are, as
the mean over tokens and as the mean over prompts have them. The last is of few
prompts at the levels of families of 1, 3 and 6 comparisons: means, and crossings of
mean curves, of one group and as the difference of two. All of it takes about
ten minutes on one core.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from depthtui.data.depth import Curves, PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.effective_depth import pool
from depthtui.depth.intervals import depth_interval, resampled_curves
from depthtui.depth.weights import WEIGHTINGS, effective_prompts
from depthtui.metrics.resampling import LEVEL, draw, expanded_interval
from depthtui.sweep.comparisons import Resampled, compare
from depthtui.sweep.numbers import GroupNumber, by_rule, crossing_of
from tests.simulated_prompts import intervals, simulated_prompts

SETTINGS = SummarySettings()
SIZES = (5, 10, 12, 30)
PROMPTS = {
    "alike": {"spread": 0.5},
    "usual": {"spread": 1.5},
    "different": {"spread": 4.0},
    "rough curves": {"rough": 0.3},
}
LONGER = {
    "not": {},
    "2 layers, lengths x 1.8": {"length_spread": 0.6, "length_depth": 2.0},
    "2 layers, lengths x 3.3": {"length_spread": 1.2, "length_depth": 2.0},
}
"""By how much prompts are deeper that are longer by a standard deviation."""

LAYERS = 30
PHASES = 10
"""How many depths between two layers are tried in turn."""

FEW = (5, 8, 10)
FAMILIES = (1, 3, 6)
"""Numbers of comparisons, which are corrected together."""

Hits = dict[tuple[str, ...], list[tuple[bool, float]]]


def true_layers(depth: float, how: dict[str, float]) -> dict[str, float]:
    """The layer by each rule of 20,000 prompts."""
    parts = simulated_prompts(np.random.default_rng(2**31), 20_000, depth, **how)  # type: ignore[arg-type]
    return layers_on(pool(parts))


def layers_on(curves: Curves) -> dict[str, float]:
    """The layer by each rule on its curve."""
    return {
        rule.name: float(rule.layers(curve, SETTINGS))
        for rule in rules.ALL
        if (curve := curves.get(rule.curve)) is not None
    }


def samples(
    n: int, count: int, how: dict[str, float], shift: float = 0.0, phases: int = PHASES
) -> Iterator[tuple[int, int, list[PromptCurves]]]:
    """Number, phase and prompts of each sample."""
    for number in range(count):
        phase = number % phases
        seed = np.random.default_rng([number, n, round(10 * shift)])
        depth = 15 + phase / PHASES + shift
        yield number, phase, simulated_prompts(seed, n, depth, **how)  # type: ignore[arg-type]


def score(hits: Hits, key: tuple[str, ...], ends: tuple[float, float] | None, truth: float) -> None:
    if ends is not None:
        hits[key].append((bool(ends[0] <= truth <= ends[1]), ends[1] - ends[0]))


def print_table(head: list[str], hits: Hits, sizes: Sequence[int] = SIZES) -> None:
    """One row for each key but its last part, one column for each size."""
    print("|", " | ".join([*head, *(f"n = {n}" for n in sizes)]), "|")
    print("|", " | ".join(["---"] * (len(head) + len(sizes))), "|")
    for row in dict.fromkeys(key[:-1] for key in hits):
        cells = []
        for n in sizes:
            found = hits.get((*row, str(n)), [])
            share = np.mean([hit for hit, _ in found]) if found else np.nan
            width = np.mean([width for _, width in found]) if found else np.nan
            cells.append(f"{share:.1%} ({width:.1f})")
        print("|", " | ".join([*row, *cells]), "|")
    print(flush=True)


def depths(count: int) -> None:
    hits: Hits = defaultdict(list)
    for kind, how in PROMPTS.items():
        truths = [true_layers(15 + phase / PHASES, how) for phase in range(PHASES)]
        for n in SIZES:
            for number, phase, parts in samples(n, count, how):
                counts = draw(np.zeros(n, int), 1000, number)
                for rule in rules.ALL:
                    truth = truths[phase][rule.name]
                    ends = depth_interval(parts, rule, SETTINGS, counts)
                    curves = resampled_curves(parts, rule, SETTINGS, counts)
                    layers = rule.ranked_layers(curves, SETTINGS)
                    low, high = np.nanquantile(layers, [0.025, 0.975], method="inverted_cdf")
                    score(hits, (kind, rule.name, "expanded", str(n)), ends, truth)
                    score(hits, (kind, rule.name, "percentile", str(n)), (low, high), truth)
    print_table(["prompts", "rule", "interval"], hits)


def longer(count: int) -> None:
    """Longer prompts are deeper: lengths and depths of each mean, and the prompts it is worth."""
    hits: Hits = defaultdict(list)
    worth: dict[tuple[str, int], list[float]] = defaultdict(list)
    for kind, how in LONGER.items():
        parts = simulated_prompts(np.random.default_rng(2**31), 20_000, 15, **how)  # type: ignore[arg-type]
        for n in SIZES:
            for _, _, drawn in samples(n, count, how, phases=1):
                worth[kind, n].append(effective_prompts(drawn))
        for weighting in WEIGHTINGS:
            truths = layers_on(pool(parts, weighting))
            for n in SIZES:
                for number, _, drawn in samples(n, count, how, phases=1):
                    found = intervals(drawn, replace(SETTINGS, seed=number), weighting, 1000)
                    for rule, ends in found.items():
                        score(hits, (kind, weighting, rule, str(n)), ends, truths[rule])
    print_table(["longer is deeper", "counts once", "rule"], hits)
    for kind in LONGER:
        shares = ", ".join(f"{np.mean(worth[kind, n]):.1f} of {n}" for n in SIZES)
        print(f"Worth, {kind}: {shares}")


def comparisons(count: int) -> None:
    """Two models two layers apart, and three levels each one layer deeper."""
    hits: Hits = defaultdict(list)
    how = PROMPTS["usual"]
    truths = {
        (phase, shift): true_layers(15 + phase / PHASES + shift, how)
        for phase in range(PHASES)
        for shift in (0, 1, 2)
    }
    for n in SIZES:
        streams = [samples(n, count, how, shift) for shift in (0, 1, 2)]
        for (_, phase, easy), (_, _, middle), (_, _, hard) in zip(*streams, strict=True):
            for rule in truths[phase, 0]:
                truth = truths[phase, 2][rule] - truths[phase, 0][rule]
                parts = [easy, middle, hard]
                groups = [in_layers(crossing_of(of, rules.named(rule), SETTINGS)) for of in parts]
                for kind, some in {"difference": groups[::2], "trend": groups}.items():
                    found = compare(by_rule(rule), some, paired=False, is_trend=True, resamples=500)
                    score(hits, (kind, rule, str(n)), found.interval, truth)
    print_table(["comparison", "rule"], hits)


def levels(count: int) -> None:
    """Means and crossings of few prompts, at the levels of families of comparisons."""
    kinds: dict[
        tuple[str, str], tuple[Callable[[np.random.Generator, int], GroupNumber], float]
    ] = {
        ("normal", "mean"): (lambda rng, n: mean_of(rng.normal(size=n)), 0),
        ("exponential", "mean"): (lambda rng, n: mean_of(rng.exponential(size=n)), 1),
    }
    for kind in ("usual", "different", "rough curves"):
        for name in ("cosine", "kl", "overlap"):
            of_many = simulated(kind, name, np.random.default_rng(2**31), 20_000)
            kinds[kind, name] = partial(simulated, kind, name), of_many.value
    hits: Hits = defaultdict(list)
    for (kind, name), (draw_statistic, truth) in kinds.items():
        for n, number in product(FEW, range(count)):
            rng = np.random.default_rng([number, n])
            groups = [draw_statistic(rng, n) for _ in range(2)]
            resampled = Resampled.of(groups, number, together=False)
            for shape, factors in {"one group": [1.0, 0.0], "difference": [1.0, -1.0]}.items():
                change, of = resampled.sum(np.array(factors)), sum(factors) * truth
                for family in FAMILIES:
                    level = 1 - (1 - LEVEL) / family
                    key = (kind, name, shape, f"{level:.2%}")
                    expanded = expanded_interval(
                        change.values, level, change.freedom, change.inflation
                    )
                    score(hits, (*key, "in use", str(n)), change.interval(level), of)
                    score(hits, (*key, "expanded", str(n)), expanded, of)
    print_table(["prompts", "number", "of", "level", "interval"], hits, FEW)


def mean_of(sample: np.ndarray) -> GroupNumber:
    tasks = np.zeros(len(sample), int)
    return GroupNumber(lambda counts: counts @ sample / counts.sum(axis=1), tasks, LAYERS)


def simulated(kind: str, name: str, rng: np.random.Generator, n: int) -> GroupNumber:
    """The crossing of the mean curve of simulated prompts, where each counts once."""
    parts = simulated_prompts(rng, n, 15.4, **PROMPTS[kind])  # type: ignore[arg-type]
    return in_layers(crossing_of(parts, rules.named(name), SETTINGS))


def in_layers(number: GroupNumber) -> GroupNumber:
    """A share of the layers as a number of them."""
    resolution = LAYERS * number.resolution
    statistic = number.statistic
    return replace(
        number, statistic=lambda counts: LAYERS * statistic(counts), resolution=resolution
    )


TABLES = {"depths": depths, "comparisons": comparisons, "longer": longer, "levels": levels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200, help="samples a cell")
    parser.add_argument("--only", choices=TABLES, help="one of the tables")
    asked = parser.parse_args()
    print("Coverage of intervals (mean width in layers)\n")
    for name, table in TABLES.items():
        if asked.only in (None, name):
            table(asked.samples)


if __name__ == "__main__":
    main()
