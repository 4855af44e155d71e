"""How often a count that is called firm on some prompts is true of others, on a real model.

    python -m tests.tools.benchmarks.firm [--model demo] [--tasks addition:2,commonsense]
        [--prompts 10] [--metrics ablation,kept] [--keep FOLDER] [--own 5]

Ten prompts of each task are measured once, in float32 on the CPU: a few minutes a task. Then they
are parted in halves, or in a few prompts and all others: in every way there is, or in 252 of more.
The count on the second part is compared with the range on the first. Of the layers that keep what
the model knows, `kept` is rounded up, as a user reads it; N90 and the mean depth D are not, and are
called as it is. With --own, so many halvings are measured again, each half in an order that its own
prompts chose: a few minutes each. Two halves differ by chance as well: the other half lies outside
a true 95 % interval of the one in about one of six cases. The halves of ten prompts share prompts:
the shares are of so many cases, which are not independent of each other.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.engine.engine import Engine
from depthtui.engine.factory import Storage, make_engine
from depthtui.metrics import kept
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from tests.tools.benchmarks.verdicts import METRICS

TASKS = (
    "addition:2",
    "multiplication:2",
    "word_problem:1",
    "facts:2",
    "commonsense",
    "grade_school",
)
"""Tasks of six templates; the last two are written, not drawn from one."""

SIZES = (1, 3)
"""Prompts of the first part, beside half of them."""

MOST_PARTS = 252
"""Ways to part prompts: all halves of ten."""

_CACHE_BYTES = 4 << 30


class Number(NamedTuple):
    """A number of layers on some prompts, its range, and how sure it is."""

    value: float
    low: float
    high: float
    reliability: str


class Case(NamedTuple):
    """A number on some prompts beside that on the others.

    Attributes:
        outside: whether the others' lies outside its range.
        far: whether it lies more than a tenth of L away from the number.
        width: of the range, in layers.
    """

    outside: bool
    far: bool
    width: float


Cases = Mapping[tuple[str, str], Sequence[Case]]
"""By measure, and by how its number holds."""


def engine_of(model: str, keep: Path | None) -> Engine:
    """An engine with a model; its runs are kept in a folder, if any."""
    cache = default_cache_dir()
    storage = Storage(keep or cache, models_dir(cache), keep is not None, _CACHE_BYTES)
    engine = make_engine(storage, lambda event: None, print)
    engine.load(ModelSpec(model, device="cpu", dtype="float32"))
    return engine


def reading_on(engine: Engine, prompts: Sequence[Prompt], settings: RunSettings) -> Reading:
    """The reading of prompts; an own order is that of these prompts alone."""
    runs = [
        engine.run(prompt, with_other_prompts(settings, prompts, number))
        for number, prompt in enumerate(prompts)
    ]
    return reading_of(runs, SummarySettings())


def parts_of(prompts: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """The ways to part prompts in two, by their indices; drawn where there are too many."""
    if comb(prompts, size) <= MOST_PARTS:
        ways = list(combinations(range(prompts), size))
    else:
        rng = np.random.default_rng(0)
        ways = [tuple(rng.permutation(prompts)[:size].tolist()) for _ in range(MOST_PARTS)]
    for chosen in ways:
        yield [*chosen], [place for place in range(prompts) if place not in chosen]


def numbers_of(reading: Reading) -> dict[str, Number]:
    """The numbers of layers on some prompts, by measure; of those that are known."""
    numbers = {
        row.measure: Number(row.count, row.low or 0, row.high or 0, row.reliability)
        for row in reading.evidence
        if row.count is not None
    }
    knowledge = reading.get(kept.METRIC)
    if kept.NAME in numbers and knowledge is not None:
        curve, reliability = knowledge.curve, numbers[kept.NAME].reliability
        ends, depth = curve.range(), curve.depth_range
        if ends is not None and depth is not None:
            numbers["kept: N90"] = Number(curve.layers(), ends[0], ends[1], reliability)
            # No place calls a mean depth firm: its own width decides here.
            is_narrow = depth[1] - depth[0] <= reading.n_layers / 10
            of_depth = reliability if is_narrow else "wider than L/10"
            numbers["kept: D"] = Number(curve.mean_depth, depth[0], depth[1], of_depth)
    return numbers


def cases_beside(
    ours: Mapping[str, Number], theirs: Mapping[str, Number], n_layers: int
) -> Iterator[tuple[tuple[str, str], Case]]:
    """The numbers on some prompts beside those on the others."""
    for measure, number in ours.items():
        if measure in theirs:
            other = theirs[measure].value
            far = abs(other - number.value) > n_layers / 10
            outside = not number.low <= other <= number.high
            case = Case(outside, far, number.high - number.low)
            yield (measure, number.reliability), case


def cases_of(reading: Reading, size: int) -> Cases:
    """The numbers on so many prompts, beside those on the others."""
    found = defaultdict(list)

    @cache
    def numbers(*places: int) -> dict[str, Number]:
        some = [reading.prompts[place] for place in places]
        return numbers_of(Reading(some, reading.settings))

    for chosen, others in parts_of(len(reading.prompts), size):
        for key, case in cases_beside(numbers(*chosen), numbers(*others), reading.n_layers):
            found[key].append(case)
    return found


def cases_in_own_orders(engine: Engine, prompts: Sequence[Prompt], ways: int) -> Cases:
    """The numbers on halves, each in its own order, of so many ways to part prompts in two."""
    settings = RunSettings(metrics=("contributions", "kept"), order_source="own")
    found = defaultdict(list)
    parts = list(parts_of(len(prompts), len(prompts) // 2))
    for place in np.random.default_rng(0).permutation(len(parts))[:ways]:
        one, other = (
            reading_on(engine, [prompts[number] for number in part], settings)
            for part in parts[place]
        )
        ours, theirs = numbers_of(one), numbers_of(other)
        for beside in ((ours, theirs), (theirs, ours)):
            for key, case in cases_beside(*beside, one.n_layers):
                found[key].append(case)
    return found


def of_all_tasks(cases: Sequence[Cases]) -> Cases:
    """The cases of several tasks as one."""
    joint: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for of_task in cases:
        for key, found in of_task.items():
            joint[key] += found
    return joint


def print_table(title: str, cases: Cases) -> None:
    print(f"\n{title}\n")
    print("| measure | called | cases | outside its range | by more than L/10 | width |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (measure, holds), found in sorted(cases.items()):
        outside, far, width = np.array(found, float).T
        shares = f"{outside.mean():.0%} ({outside.sum():.0f}) | {far.mean():.0%}"
        print(f"| {measure} | {holds} | {len(found)} | {shares} | {width.mean():.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tasks", default=",".join(TASKS), help="separated by commas")
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--metrics", default=",".join(METRICS), help="separated by commas")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the runs for another time")
    parser.add_argument("--own", type=int, default=0, help="halvings in each half's own order")
    asked = parser.parse_args()
    engine = engine_of(asked.model, asked.keep)
    settings = RunSettings(metrics=tuple(asked.metrics.split(",")))
    half, halves, in_own_orders = asked.prompts // 2, [], []
    for task in asked.tasks.split(","):
        name, _, level = task.partition(":")
        prompts = make_prompts(name, level, asked.prompts)
        reading = reading_on(engine, prompts, settings)
        for size in (*SIZES, half):
            found = cases_of(reading, size)
            print_table(f"{task}: {size} of {asked.prompts} prompts, then the others", found)
        halves.append(found)
        if asked.own:
            found = cases_in_own_orders(engine, prompts, asked.own)
            print_table(f"{task}: halves, each in its own order", found)
            in_own_orders.append(found)
    print_table("all tasks: halves", of_all_tasks(halves))
    if asked.own:
        print_table("all tasks: halves, each in its own order", of_all_tasks(in_own_orders))


if __name__ == "__main__":
    main()
