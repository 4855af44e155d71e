"""An error costs one metric, never the run: each metric fails, at several stages, in each way."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depthtui.data.arrays import arrays_of
from depthtui.data.protocol import MetricRows, RunFinished
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine import engine as engine_module
from depthtui.engine import prompt_run as run_module
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS, OF_THE_PASS
from depthtui.metrics.settling.compute import Divergence
from depthtui.metrics.spec import Metric
from depthtui.prompts.tasks import baseline_texts
from depthtui.tracing import batching

pytestmark = pytest.mark.usefixtures("short_texts")

PROMPT = Prompt(
    "seven plus five is twelve.", answer=" twelve.", contrast="seven plus twelve is five."
)
# A Jacobian lens is never fitted unasked, the nonlinear share is read off the affine fit, this
# model has no experts, and a prompt that is run has no states of another engine.
NAMES = tuple(
    metric.name
    for metric in METRICS
    if metric.name
    not in ("jacobian_lens", "nonlinear", "experts", "adapter", "engine_distance", "task_guess")
)
EVERYTHING = RunSettings(metrics=NAMES, tolerance=0.5, skip_everywhere=True)
GOES_ON = {
    "heads",
    "residual_erasure",
    "integrated_gradients",
    "ablation",
    "context_depth",
    "order",
    "pairs",
    "repeat",
    "kept",
    "parts",
    "quantisation",
    "patch",
    "direct_effects",
    "skip_effects",
}
"""Metrics that go on from where they were left."""

TELLS_LATE = {"heads"}
"""Those of them of which half the work tells no part of so few layers and tokens.

They are the first to need the recorded pass, which is most of their work here.
"""


OFTEN = ("logit_lens", "order")
"""One of the pass itself, one that goes on; all go through one loop."""

SELDOM = [pytest.param(name, marks=pytest.mark.by_hand) for name in NAMES if name not in OFTEN]


ERRORS = {
    "memory": lambda: RuntimeError("CUDA error: out of memory"),
    "bug": lambda: ValueError("it was not foreseen"),
}


class Operations(TorchDispatchMode):
    """Sees every operation on tensors: counts it, and may let it fail.

    Args:
        fails_at: the operation, from 1, at which memory or luck ends for good; 0 for none.
        error: makes what is raised.
        most: numbers in the largest tensor that can be made; 0 for any.
    """

    def __init__(self, fails_at=0, error=ERRORS["memory"], most=0):
        super().__init__()
        self.count = self.largest = 0
        self._fails_at, self._error, self._most = fails_at, error, most

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        if self._fails_at and self.count >= self._fails_at:
            raise self._error()
        made = function(*args, **kwargs or {})
        given = {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        new = [
            leaf for leaf in tree_leaves(made) if _is_tensor(leaf) and _memory(leaf) not in given
        ]
        self.largest = max(self.largest, *(leaf.numel() for leaf in new), 0)
        if self._most and self.largest > self._most:
            self.largest = 0
            raise self._error()
        return made


def _is_tensor(leaf):
    return isinstance(leaf, torch.Tensor)


def _memory(tensor):
    return tensor.untyped_storage().data_ptr()


@pytest.fixture(scope="module")
def loaded(folder, tmp_path_factory):
    """One engine for all: what a failure leaves behind must not be in the way of the next run."""
    store = open_store(None, 0, pytest.fail)
    made = Engine(store, tmp_path_factory.mktemp("models"), print, baseline_texts=baseline_texts)
    made.load(ModelSpec(str(folder), device="cpu"))
    with pytest.MonkeyPatch.context() as patch:
        # Collecting garbage takes longer than all else here.
        patch.setattr(batching, "free_caches", lambda: None)
        # So that there are several blocks of tokens to go on behind.
        patch.setattr("depthtui.metrics.residual_erasure.compute._TOKENS_WORTH_A_BATCH", 30)
        yield made


@pytest.fixture
def bugs():
    return []


@pytest.fixture
def engine(loaded, tmp_path, events, bugs):
    loaded.store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    loaded.emit, loaded.on_bug = events.append, bugs.append
    return loaded


@pytest.fixture(scope="module")
def healthy(loaded):
    """What nothing failed in, and how many operations each metric takes."""
    # Computed once for a model, so that later runs do not count it.
    loaded._model.baselines.mean((), lambda: None)
    loaded._model.can_read_on()
    with pytest.MonkeyPatch.context() as patch:
        seen = {name: watch(patch, name, Operations()) for name in NAMES}
        return loaded.run(PROMPT, EVERYTHING), seen


def watch(patch, metric, operations):
    """Let operations be seen while a metric's kernel works."""

    def watched(kernel):
        def work(*args, **kwargs):
            with operations:
                return kernel(*args, **kwargs)

        return work

    if metric == "logit_lens":
        patch.setattr(run_module, "read_lens", watched(run_module.read_lens))
        return operations
    original = Metric.kernel

    def kernel(self):
        function = original(self)
        return watched(function) if self.name == metric else function

    patch.setattr(Metric, "kernel", kernel)
    if metric == "settling":
        # It comes with the logit lens where both are asked for.
        beside = type("Watched", (Divergence,), {"add": watched(Divergence.add)})
        patch.setattr(Metric, "reducer", lambda self: beside)
    return operations


def assert_same(one, other, names):
    for name in names:
        if METRIC_BY_NAME[name].is_timed:
            continue
        for (array, a), (_, b) in zip(
            arrays_of(one.measured[name]), arrays_of(other.measured[name]), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=f"{name}.{array}")


@pytest.mark.parametrize(
    ("name", "stage", "kind"),
    [
        *product(OFTEN, ["start", "middle", "end"], ["memory"]),
        *product(["logit_lens", "order"], ["middle"], ["bug"]),
        *(pytest.param(*each.values, "middle", "memory", marks=each.marks) for each in SELDOM),
    ],
)
def test_an_error_costs_one_metric(engine, healthy, events, bugs, monkeypatch, name, stage, kind):
    reference, seen = healthy
    n_operations = seen[name].count
    # In the middle of what is kept a control is computed, which an error costs alone.
    middle = n_operations // (4 if name in ("kept", "parts") else 2)
    fails_at = {"start": 1, "middle": middle, "end": n_operations}[stage]
    monkeypatch.setattr(run_module, "_SECONDS_BETWEEN_PARTS", 0)
    others = [other for other in NAMES if other != name]
    with monkeypatch.context() as patch:
        watch(patch, name, Operations(fails_at, ERRORS[kind]))
        result = engine.run(PROMPT, EVERYTHING)

    assert result.complete
    assert result.failed == tuple(result.unavailable) == (name,)
    assert ("memory ran out" if kind == "memory" else "not foreseen") in result.unavailable[name]
    assert [type(bug) for bug in bugs] == ([] if kind == "memory" else [ValueError])
    assert_same(result, reference, others)
    assert sum(isinstance(event, RunFinished) for event in events) == 1
    begun = result.measured.get(name)
    untold = ("start", "middle") if name in TELLS_LATE else ("start",)
    assert (begun is not None) == (name in GOES_ON and stage not in untold)

    # The next run has all, and computes only what this one lacked.
    events.clear()
    with monkeypatch.context() as patch:
        again = {other: watch(patch, other, Operations()) for other in NAMES}
        whole = engine.run(PROMPT, EVERYTHING)
    assert (whole.complete, whole.unavailable, whole.failed) == (True, {}, ())
    assert_same(whole, reference, NAMES)
    computed = {other for other in NAMES if again[other].count}
    assert computed == (set(OF_THE_PASS) if name in OF_THE_PASS else {name})
    if begun is not None:
        emitted = (event for event in events if isinstance(event, MetricRows) and event.value)
        # A part of these may be one pair of layers; skipped layers that are not done begin anew.
        least = {"ablation": 1, "context_depth": 1, "skip_effects": 0}.get(name, 2)
        assert next(event.done for event in emitted if event.metric == name) >= least


@pytest.mark.parametrize("name", [*OFTEN, *(each for each in SELDOM if each.values[0] != "speed")])
def test_memory_that_suffices_for_smaller_parts_is_enough(engine, healthy, monkeypatch, name):
    """A pass that is timed is a whole one, of no smaller parts."""
    reference, seen = healthy
    alone = replace(EVERYTHING, metrics=(*OF_THE_PASS, name))
    with monkeypatch.context() as patch:
        smallest = watch(patch, name, Operations())
        # Every module asks by its own name.
        patch.setattr(
            batching, "_parts", type("", (), {"get": lambda self: batching._Parts(1 << 60)})()
        )
        patch.setattr(run_module, "in_smaller_parts", lambda work: work())
        assert engine.run(PROMPT, alone, fresh=True).unavailable == {}
    assert smallest.largest < seen[name].largest, "it cannot do with less"
    with monkeypatch.context() as patch:
        watch(patch, name, Operations(most=smallest.largest))
        result = engine.run(PROMPT, alone, fresh=True)
    assert result.unavailable == {}
    assert_same(result, reference, alone.metrics)


def test_a_lost_device_is_told_after_what_was_measured(engine, healthy, monkeypatch):
    _, seen = healthy
    monkeypatch.setattr(engine_module, "responds", lambda device: False)
    assert engine.lost_device == "", "it is asked after an error alone"
    with monkeypatch.context() as patch:
        watch(patch, "order", Operations(seen["order"].count, ERRORS["bug"]))
        result = engine.run(PROMPT, EVERYTHING)
    assert result.failed == ("order",)
    assert engine.lost_device == "cpu"
    with pytest.raises(DepthError, match="cost this process the device"):
        engine.run(PROMPT, EVERYTHING)
    # The engine is this module's: let it see that the device is back.
    monkeypatch.undo()
    assert engine.lost_device == ""
