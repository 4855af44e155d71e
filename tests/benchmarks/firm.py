"""How often a count that is called firm on some prompts is true of others, on a real model.

    python -m tests.benchmarks.firm [--model demo] [--tasks addition:2,commonsense] [--prompts 10]
        [--metrics ablation,order] [--keep FOLDER]

Ten prompts of each task are measured once, in float32 on the CPU: a few minutes a task. Then they
are parted in halves, or in a few prompts and all others: in every way there is, or in 252 of more.
The count on the second part is compared with the range on the first. Two halves differ by chance as
well: the other half lies outside a true 95 % interval of the one in about one of six cases. The
halves of ten prompts share prompts: the shares are of so many cases, which are not independent of
each other.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np

from depthtui.data.run import RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.reading import Reading, reading_of
from depthtui.engine.factory import Storage, make_engine
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from tests.benchmarks.verdicts import METRICS

SIZES = (1, 3)
"""Prompts of the first part, beside half of them."""

MOST_PARTS = 252
"""Ways to part prompts: all halves of ten."""

_CACHE_BYTES = 4 << 30


class Case(NamedTuple):
    """A count on some prompts beside that on the others.

    Attributes:
        outside: whether the others' lies outside its range.
        far: whether it lies more than a tenth of L away from the count.
        width: of the range, in layers.
    """

    outside: bool
    far: bool
    width: int


Cases = Mapping[tuple[str, str], Sequence[Case]]
"""By measure, and by how its count holds."""


def measured(
    model: str, task: str, prompts: int, metrics: Sequence[str], keep: Path | None
) -> list[RunResult]:
    """So many prompts of a task, such as `addition:2`."""
    name, _, level = task.partition(":")
    cache = default_cache_dir()
    storage = Storage(keep or cache, models_dir(cache), keep is not None, _CACHE_BYTES)
    engine = make_engine(storage, lambda event: None, print)
    engine.load(ModelSpec(model, device="cpu", dtype="float32"))
    settings = RunSettings(metrics=tuple(metrics))
    return [engine.run(prompt, settings) for prompt in make_prompts(name, level, prompts)]


def parts_of(prompts: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """The ways to part prompts in two, by their indices; drawn where there are too many."""
    if comb(prompts, size) <= MOST_PARTS:
        ways = list(combinations(range(prompts), size))
    else:
        rng = np.random.default_rng(0)
        ways = [tuple(rng.permutation(prompts)[:size].tolist()) for _ in range(MOST_PARTS)]
    for chosen in ways:
        yield [*chosen], [place for place in range(prompts) if place not in chosen]


def evidence_of(reading: Reading, chosen: Sequence[int]) -> dict[str, Evidence]:
    """The evidence of some of the prompts, by measure; that with a count."""
    some = Reading([reading.prompts[place] for place in chosen], reading.settings)
    return {found.measure: found for found in some.evidence if found.count is not None}


def cases_of(reading: Reading, size: int) -> Cases:
    """The counts on so many prompts, beside those on the others."""
    found = defaultdict(list)
    for chosen, others in parts_of(len(reading.prompts), size):
        theirs = evidence_of(reading, others)
        for measure, ours in evidence_of(reading, chosen).items():
            count, low, high = ours.count or 0, ours.low or 0, ours.high or 0
            other = theirs[measure].count if measure in theirs else None
            if other is not None:
                far = abs(other - count) > reading.n_layers / 10
                case = Case(not low <= other <= high, far, high - low)
                found[measure, ours.reliability].append(case)
    return found


def print_table(title: str, size: int, prompts: int, cases: Cases) -> None:
    print(f"\n{title}: {size} of {prompts} prompts, then the others\n")
    print("| measure | called | cases | outside its range | by more than L/10 | width |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (measure, holds), found in sorted(cases.items()):
        outside, far, width = np.array(found, float).T
        shares = f"{outside.mean():.0%} ({outside.sum():.0f}) | {far.mean():.0%}"
        print(f"| {measure} | {holds} | {len(found)} | {shares} | {width.mean():.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tasks", default="addition:2,commonsense", help="separated by commas")
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--metrics", default=",".join(METRICS), help="separated by commas")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the runs for another time")
    asked = parser.parse_args()
    for task in asked.tasks.split(","):
        results = measured(asked.model, task, asked.prompts, asked.metrics.split(","), asked.keep)
        reading = reading_of(results, SummarySettings())
        for size in (*SIZES, asked.prompts // 2):
            print_table(task, size, asked.prompts, cases_of(reading, size))


if __name__ == "__main__":
    main()
