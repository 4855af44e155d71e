"""How often random halves of one cell of a sweep are said to differ, for each number.

    depthtui sweep --model demo --task addition:2 --task facts:2 --examples 48 --out sweep
    python -m tests.tools.benchmarks.halves sweep [--draws 100]

The halves are of the same prompts: alone, at 95 %, at most about 5 of 100 draws may claim a
difference, by the interval of the number or by the rank test of single prompts; in a family of m,
5 / m by its interval. The demo takes ten minutes a task on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from depthtui.depth.reading import Reading
from depthtui.metrics.resampling import LEVEL
from depthtui.sweep.comparisons import SIGNIFICANT, Comparison, compare
from depthtui.sweep.numbers import Number, numbers_by
from depthtui.sweep.saved import open_sweep
from depthtui.sweep.summary import CellSummary, rules_of, summarise_sweep

FAMILIES = (1, 3, 6)
"""Numbers of comparisons, which are corrected together."""


def of_halves(cell: CellSummary, number: Number, seed: int) -> Comparison | None:
    """Halves of a cell's prompts by a number; None where they lack it."""
    (has_it,) = number.has([cell])
    prompts = [one for one, has in zip(cell.prompts, has_it, strict=True) if has]
    order = np.random.default_rng(seed).permutation(len(prompts))
    halves = [
        Reading([prompts[place] for place in half], cell.settings)
        for half in np.array_split(order, 2)
        if len(half)
    ]
    if len(halves) < 2:
        return None
    return compare(number, number.of_groups(halves), paired=False, seed=seed)


def row(cell: CellSummary, number: Number, draws: int) -> str:
    """The claims of so many draws by the size of their family, and the width of their intervals."""
    every = [of_halves(cell, number, seed) for seed in range(draws)]
    measured = [one for one in every if one is not None and one.interval is not None]
    if not measured:
        return ""
    claims = [
        sum(one.at_level(1 - (1 - LEVEL) / size).direction in ("more", "fewer") for one in measured)
        for size in FAMILIES
    ]
    ps = [one.test.p for one in measured if one.test is not None and one.test.p is not None]
    tested = f"{sum(p < SIGNIFICANT for p in ps)}" if ps else "–"
    widths = [high - low for low, high in (one.interval for one in measured if one.interval)]
    cells = [number.title, f"{len(measured)}", *map(str, claims), tested, f"{np.mean(widths):.3f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of a sweep")
    parser.add_argument("--draws", type=int, default=100)
    asked = parser.parse_args()
    for cell in summarise_sweep(open_sweep(asked.folder, print)).cells:
        print(f"\n{cell.title} on {cell.cell.task.title}: {len(cell.records)} prompts in halves\n")
        families = " | ".join(f"family of {size}" for size in FAMILIES)
        print(f"| number | draws | claims, {families} | p < .05 | width |")
        print("|", " | ".join(["---"] * (4 + len(FAMILIES))), "|")
        for number in numbers_by(rules_of([cell])):
            if line := row(cell, number, asked.draws):
                print(line, flush=True)


if __name__ == "__main__":
    main()
