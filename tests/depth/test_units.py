"""The interval of any count, over prompts or blocks of tokens: against plain loops."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from depthtui.data.run_settings import LENSES, SummarySettings
from depthtui.depth import units
from depthtui.depth.reading import reading_of
from depthtui.depth.units import TOKEN_RESAMPLES, count_interval
from depthtui.metrics.contributions import BRANCHES
from depthtui.metrics.order import pairs_side_by_side, step_counts
from depthtui.metrics.reduced import BlocksByLayer, ByLayer, Reduced
from depthtui.metrics.resampling import RESAMPLES, draw
from depthtui.metrics.token_blocks import block_means, block_sizes
from tests.builders.metrics import ablation, random_metric
from tests.builders.results import full_run, random_result

SETTINGS = SummarySettings()


@dataclass(frozen=True, kw_only=True)
class Costs(Reduced):
    """What each layer costs."""

    block_fields: ClassVar = {"cost": "cost_blocks"}

    cost: ByLayer
    cost_blocks: BlocksByLayer = None


def costs(tokens: int, seed: int, layers: int = 12) -> Costs:
    """Costs about 1, which differ by token."""
    values = np.random.default_rng([tokens, seed]).normal(1, 2, (layers, tokens))
    return Costs(tokens=tokens, cost=values.mean(axis=1), cost_blocks=block_means(values))


def costly(means: np.ndarray) -> np.ndarray:
    return np.asarray((means >= 1).sum(axis=1))


def slow_ends(curves: list[np.ndarray], tokens: list[int], counts: np.ndarray) -> tuple[int, int]:
    """The expanded percentile interval, resample by resample."""
    result = []
    for row in counts:
        total = sum(n * t * curve for n, t, curve in zip(row, tokens, curves, strict=True))
        weight = sum(n * t for n, t in zip(row, tokens, strict=True))
        result.append(sum(1 for value in total / weight if value >= 1))
    n, ordered = len(curves), sorted(result)
    tail = ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975))
    place = int(np.ceil(tail * len(ordered))) - 1
    return ordered[max(0, place)], ordered[-1 - max(0, place)]


def test_from_five_prompts_on_they_are_drawn_again_and_so_are_their_tokens() -> None:
    prompts = [costs(tokens, seed) for seed, tokens in enumerate((8, 30, 12, 9, 21, 16))]
    whole = [replace(one, cost_blocks=None) for one in prompts]
    result = count_interval([(one, "sums") for one in whole], costly, ["cost"], seed=3)
    assert result is not None
    assert result.over == "prompts"
    counts = draw(np.zeros(6, int), RESAMPLES, 3)
    ends = slow_ends([one.cost for one in prompts], [one.tokens for one in prompts], counts)
    assert (result.low, result.high) == ends
    assert result.low < result.high
    both = count_interval([(one, "sums") for one in prompts], costly, ["cost"], seed=3)
    blocks = slow_block_ends(prompts, seed=3)
    assert both is not None
    assert both.over == "prompts and tokens"
    assert (both.low, both.high) == (min(ends[0], blocks[0]), max(ends[1], blocks[1]))


def slow_block_ends(prompts: list[Costs], seed: int) -> tuple[int, int]:
    blocks = [block for one in prompts for block in one.cost_blocks]
    tokens = [size for one in prompts for size in block_sizes(one.tokens).tolist()]
    counts = draw(np.zeros(len(blocks), int), TOKEN_RESAMPLES, seed)
    return slow_ends(blocks, tokens, counts)


def test_below_five_prompts_blocks_of_their_tokens_are() -> None:
    prompts = [costs(tokens, seed) for seed, tokens in enumerate((14, 9, 40))]
    result = count_interval([(one, "sums") for one in prompts], costly, ["cost"], seed=5)
    assert result is not None
    assert result.over == "tokens"
    assert (result.low, result.high) == slow_block_ends(prompts, seed=5)


def test_fewer_than_five_units_have_no_interval() -> None:
    def interval(*tokens: int) -> bool:
        prompts = [costs(count, seed) for seed, count in enumerate(tokens)]
        return count_interval([(one, "") for one in prompts], costly, ["cost"], 0) is not None

    assert interval(20)
    assert not interval(19)
    assert interval(10, 10, 4)
    assert not interval(8, 8)
    assert interval(*[1] * 5)


def test_the_seed_decides_and_each_task_is_drawn_as_often_as_it_is() -> None:
    prompts = [(costs(9, seed), task) for seed, task in enumerate("aaaabbb")]
    result = [count_interval(prompts, costly, ["cost"], seed) for seed in (1, 1, 2, 3, 4, 5)]
    assert result[0] == result[1]
    # One prompt of a task has nothing to be drawn instead.
    assert count_interval([*prompts, (costs(9, 9), "c")], costly, ["cost"], 1) is None
    whole = [replace(costs(9, seed), cost_blocks=None) for seed in (1, 2)]
    alike = [(whole[0], "a")] * 3 + [(whole[1], "b")] * 3
    same = count_interval(alike, costly, ["cost"], 1)
    assert same is not None
    assert same.low == same.high


@pytest.mark.parametrize("prompts", [1, 3, 6])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("lens", LENSES)
def test_drawn_once_each_every_measure_gives_its_count(
    prompts: int, first: bool, lens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "draw", lambda tasks, resamples, seed: np.ones((7, len(tasks)), int))
    runs = [full_run(f"text {seed}", seed, 50 + 3 * seed) for seed in range(prompts)]
    for run in runs:
        for branch in BRANCHES:
            getattr(run.measured["contributions"], f"{branch}_cosine")[:2] = [[-0.5], [0.5]]
        run.measured["settling"].divergence[1:, :40] = 0.1
        run.put("ablation", replace(run.measured["ablation"], part="layer"))
        run.tokens = replace(run.tokens, answer_start=20)
        context = random_metric("context_depth", run, np.random.default_rng(len(run.tokens)))
        run.put("context_depth", context)
    settings = SummarySettings(
        kl_threshold=0.999, overlap_threshold=0.05, include_first_token=first, lens=lens
    )
    reading = reading_of(runs, settings)
    evidence = {actual.measure: actual for actual in reading.evidence if actual.count is not None}
    expected = {"ablation", "context_depth", "order", "similarity", "kl", "settled"}
    expected |= {"residual_erasure", "cosine", "overlap"}
    for measure, actual in evidence.items():
        if measure in ("residual_erasure", "margin", "patch") and prompts < 5:
            assert actual.interval is None  # what is of a prompt has no blocks of tokens
        elif measure not in ("accuracy", "kept", "parts"):  # drawn by themselves
            assert actual.count is not None
            ends = max(0, actual.count - 0.5), min(reading.n_layers, actual.count + 0.5)
            assert actual.interval == ends, measure
    assert expected <= evidence.keys()


def test_many_rows_of_pairs_at_once_agree_with_one_at_a_time() -> None:
    rows = np.array([*itertools.product((0.0, 1.0), repeat=7)])
    one_by_one = [8 - len(pairs_side_by_side(row)) for row in rows]
    assert step_counts(rows, 8).tolist() == one_by_one


def test_a_count_that_differs_by_prompt_is_not_firm() -> None:
    """Ten of twenty layers are missed by one prompt much, by the others a little less than felt."""
    runs = []
    for number in range(6):
        change = np.zeros((20, 9), np.float32)
        change[:5], change[5:15] = 1.0, 0.5 if number == 0 else 0.03
        run = random_result(layers=20, tokens=10, text=f"text {number}")
        run.put("ablation", ablation(change))
        runs.append(run)
    evidence = {result.measure: result for result in reading_of(runs, SETTINGS).evidence}
    row = evidence["ablation"]
    # Without the first prompt, in a third of the resamples, five are left.
    assert (row.count, row.low, row.high, row.interval) == (15, 5, 15, (4.5, 15.5))
    assert row.reliability == "fragile"
    assert row.reason == "the 95% interval over prompts and tokens is 4.5 to 15.5 layers"
