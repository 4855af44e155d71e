"""What two ranks measure together is what one process measures, and they end together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from depthtui.data.store import open_store
from tests.parallel.two_ranks import differences, environment, free_port, measure, on_ranks, read
from tests.tiny_models import tiny_folder

MODELS = (
    "granite",  # logits are scaled
    "qwen3_moe",  # each rank has some of the experts
)

MOST_OFF = 2e-4
"""Sums across ranks are added in another order; paths of gradients are long."""


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.by_hand)])
def every(request: pytest.FixtureRequest) -> bool:
    """Whether every metric is measured."""
    return bool(request.param)


@pytest.fixture(scope="module")
def ranks_folder(every: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks have measured of all models, beside the models' folders."""
    parent = tmp_path_factory.mktemp("ranks")
    folders = {tiny_folder(parent, name): every for name in MODELS}
    on_ranks(folders, parent / "cache", parent / "found", 2)
    return parent


@pytest.mark.parametrize("name", MODELS)
def test_two_ranks_measure_what_one_process_does(
    name: str, every: bool, ranks_folder: Path
) -> None:
    folder = ranks_folder / f"tiny-{name}"
    there = ranks_folder / "found" / folder.name
    assert not (there / "problem").exists(), (there / "problem").read_text()
    expected = measure(folder, ranks_folder / "one", every)
    off = dict(differences(read(there), expected))
    assert len(off) > (20 if every else 10)
    assert {what: by for what, by in off.items() if not by <= MOST_OFF} == {}


def test_analyze_measures_a_model_that_a_user_has_cut(ranks_folder: Path) -> None:
    """Of the first model."""
    there = ranks_folder / "found"
    here, on_ranks = read(there / "analyzed"), read(there / f"tiny-{MODELS[0]}")
    off = dict(differences(here, {what: on_ranks[what] for what in here}))
    assert len(off) == 4
    assert max(off.values()) <= MOST_OFF


def fail(how: str, tmp_path: Path) -> tuple[list[int], str]:
    """Run a command on two ranks of which one fails; the exit statuses, and what was printed."""
    port = free_port()
    # Details of errors go into a log of their own.
    own = {"DEPTHTUI_RANKS_TIMEOUT": "20", "XDG_STATE_HOME": str(tmp_path)}
    arguments = ["--prompt", "Seven plus five is twelve.", "--answer", " twelve."]
    arguments += ["--metrics", "contributions,integrated_gradients", "--cache-dir", str(tmp_path)]
    command = [sys.executable, "-m", "tests.parallel.failing_rank", how]
    ranks = [
        subprocess.Popen(
            [*command, str(tiny_folder(tmp_path)), *arguments],
            env=environment(rank, 2, port) | own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        words = [rank.communicate(timeout=90)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], "".join(words)


def saved_results(tmp_path: Path) -> str:
    """What the cache has, in words."""
    store = open_store(tmp_path, 1 << 30, pytest.fail)
    return "\n".join(entry.description for entry in store.entries())


@pytest.mark.by_hand
def test_a_rank_that_dies_costs_nothing_that_was_computed(tmp_path: Path) -> None:
    (first, other), words = fail("die", tmp_path)
    assert (first, other) == (1, -9)
    assert words.count("A rank of the model has ended, or does not answer.") == 1
    # The pass, and half a metric.
    assert len(saved_results(tmp_path).splitlines()) >= 2


@pytest.mark.by_hand
def test_ranks_start_again_in_smaller_parts_where_the_memory_ran_out(tmp_path: Path) -> None:
    statuses, words = fail("run_out_of_memory", tmp_path)
    assert statuses == [0, 0]
    assert words.count("The memory ran out on rank 1: the ranks start again") == 1


@pytest.mark.by_hand
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("meet_an_error", "Rank 1 met an error (ValueError: a flaw at one rank)."),
        ("always_run_out_of_memory", "The memory ran out on rank 1 in small parts too."),
        ("press_ctrl_c", "The ranks were stopped by ctrl-c."),
        ("miss_a_collective", "A rank of the model has ended, or does not answer."),
        ("hang", "A rank of the model has ended, or does not answer."),
    ],
)
def test_ranks_end_together(how: str, words: str, tmp_path: Path) -> None:
    (first, _other), output = fail(how, tmp_path)
    assert first == (130 if how == "press_ctrl_c" else 1)
    assert words in output
    assert saved_results(tmp_path)
