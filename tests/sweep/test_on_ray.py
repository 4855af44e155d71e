"""A sweep on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from depthtui import cli
from depthtui.installing import install_extra
from depthtui.prompts.tasks import make_prompts
from depthtui.sweep.folder import SweepFolder
from depthtui.sweep.on_ray import NodeNeeds, connect, run_on_ray
from depthtui.sweep.plan import Cell, Drawing, SweepPlan
from depthtui.sweep.state import Outcome
from tests.builders.results import tokens_of
from tests.sweep.ray_engines import MakeNodeEngine, open_gate, runs_of
from tests.sweep.sweeps import QuietWatcher, contents, count_prompts, make_plan, sweep
from tests.tiny_models import tiny_folder

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parent.parent.parent
STORE = 80 * 1024 * 1024


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without a core, for the driver, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            started.add_node(num_cpus=1, object_store_memory=STORE)
        connect(started.address)
        yield started
        ray.shutdown()
        started.shutdown()


class Watcher(QuietWatcher):
    """Calls back at every prompt that ends."""

    def __init__(self, at_end: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._at_end = at_end

    def prompt_ends(self, cell: Cell, record: Any, seconds: float) -> None:
        super().prompt_ends(cell, record, seconds)
        self._at_end()


def nodes_of(folder: Path) -> set[str]:
    return {node for node, _ in runs_of(folder)}


def run(
    plan: SweepPlan,
    folder: Path,
    at_end: Callable[[], None] = lambda: None,
    notices: list[str] | None = None,
    log: Path | None = None,
) -> Outcome:
    notices = [] if notices is None else notices
    return run_on_ray(
        plan,
        SweepFolder(folder, notices.append),
        MakeNodeEngine(log or folder),
        NodeNeeds(),
        Watcher(at_end),
        notices.append,
    )


def open_gates(folder: Path) -> None:
    """Let everybody go on as soon as both nodes have run a prompt."""
    nodes = nodes_of(folder)
    if len(nodes) == 2:
        for node in nodes:
            open_gate(folder, node)


def test_both_nodes_give_what_one_process_gives(cluster: Any, tmp_path: Path) -> None:
    plan = make_plan(("alpha", "missing"), ("addition:1-2", "commonsense"), Drawing(4))
    folder = tmp_path / "ray"
    folder.mkdir()
    outcome = run(plan, folder, lambda: open_gates(folder))
    assert len(nodes_of(folder)) == 2
    local = sweep(plan, tmp_path / "local")
    assert contents(folder) == contents(tmp_path / "local")
    assert {
        cell: [record.key for record in of_cell] for cell, of_cell in outcome.records.items()
    } == {cell: [record.key for record in of_cell] for cell, of_cell in local.records.items()}
    assert {failure.model for failure in outcome.failures} == {"missing"}
    again = run(plan, folder)
    assert len(runs_of(folder)) == 12
    assert sum(map(len, again.records.values())) == 12


def test_a_limit_of_tokens_is_applied_on_the_nodes(cluster: Any, tmp_path: Path) -> None:
    lengths = [len(tokens_of(prompt)) for prompt in make_prompts("commonsense", count=17)]
    limit = min(lengths)
    assert lengths[0] > limit
    plan = make_plan(("alpha",), ("commonsense",), Drawing(1, max_tokens=limit))
    outcome = run(plan, tmp_path)
    local = sweep(plan, tmp_path / "local")
    assert contents(tmp_path) == contents(tmp_path / "local")
    assert not outcome.failures
    assert [len(record) for record in local.records.values()] == [1]
    run(plan, tmp_path)
    assert len(runs_of(tmp_path)) == 1


def test_a_driver_that_dies_goes_on(cluster: Any, tmp_path: Path) -> None:
    plan = make_plan(("alpha",), ("addition:1-2",), Drawing(3))

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path, die)
    assert len(contents(tmp_path)) == 1
    log = tmp_path / "second"
    log.mkdir()
    for node in cluster.list_all_nodes():
        open_gate(log, node.node_id)
    outcome = run(plan, tmp_path, log=log)
    assert sum(map(len, outcome.records.values())) == count_prompts(plan)
    assert len(runs_of(log)) == count_prompts(plan) - 1


def test_a_process_that_dies_again_and_again_is_given_up(cluster: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "crash"}\n{"text": "fine"}\n')
    plan = make_plan(("alpha",), ("mine", "addition:1"), Drawing(1), {"mine": str(path)})
    notices: list[str] = []
    outcome = run(plan, tmp_path, notices=notices)
    (failure,) = outcome.failures
    assert failure.task == "mine"
    assert [len(record) for record in outcome.records.values()] == [0, 1]
    assert "lost 3 times" in failure.message
    assert len([text for _, text in runs_of(tmp_path) if "crash" in text]) == 3


def test_the_command_runs_a_real_model_on_a_node(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(tmp_path / "cache"))
    model = tiny_folder(tmp_path)
    command = ["sweep", "--model", str(model), "--task", "addition:1", "--examples", "2"]
    command += ["--device", "cpu", "--no-cache"]
    assert cli.main([*command, "--out", str(tmp_path / "local")]) == 0
    assert cli.main([*command, "--out", str(tmp_path / "ray"), "--ray", cluster.address]) == 0
    one, other = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("local", "ray")
    )
    assert one == other


def test_needs_that_no_node_meets_are_told(cluster: Any) -> None:
    from depthtui.sweep.on_ray import _fits

    nodes = ray.nodes()
    assert _fits(NodeNeeds(), nodes)
    assert not _fits(NodeNeeds(gpus=1), nodes)
    assert not _fits(NodeNeeds(memory=1 << 50), nodes)


def test_a_node_that_dies_loses_only_what_it_had_begun(cluster: Any, tmp_path: Path) -> None:
    plan = make_plan(("alpha",), ("addition:1-2",), Drawing(3))
    lost: list[str] = []
    notices: list[str] = []

    def kill_one() -> None:
        nodes = nodes_of(tmp_path)
        if lost or len(nodes) < 2:
            return
        workers = {node.node_id: node for node in cluster.worker_nodes}
        victim, survivor = sorted(nodes)
        lost.append(victim)
        cluster.remove_node(workers[victim], allow_graceful=False)
        open_gate(tmp_path, survivor)

    outcome = run(plan, tmp_path, kill_one, notices)
    assert len(lost) == 1
    assert [len(record) for record in outcome.records.values()] == [3, 3]
    assert not outcome.failures
    assert any("Its node was lost" in event for event in notices)
    runs = [text for _, text in runs_of(tmp_path)]
    # A prompt that ran and whose record was still on its way may run again.
    assert 6 <= len(runs) <= 7
    assert [node for node, _ in runs_of(tmp_path)].count(lost[0]) == 1
    sweep(plan, tmp_path / "local")
    assert contents(tmp_path) == contents(tmp_path / "local")


def test_no_cluster_is_said(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPTHTUI_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["sweep", "--model", "a", "--task", "facts", "--out", str(tmp_path), "--ray"]
    assert cli.main(command) == 1
    assert install_extra("ray") in capsys.readouterr().err
