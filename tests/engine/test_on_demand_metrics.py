"""The slower metrics through the whole engine: cache, stopping, reasons, what-ifs."""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.protocol import MetricRows, Pace, Rows, RunFinished
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, Repeated, RunSettings, Skip, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine import memory
from depthtui.engine import metric_context as context_module
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.metric_context import Baselines
from depthtui.errors import DepthError
from depthtui.metrics import kept
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.context_depth import ContextDepth
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.needs import clean_run
from depthtui.metrics.order import compute as order_module
from depthtui.metrics.ranking import usefulness
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS, OF_THE_PASS, ON_DEMAND
from depthtui.metrics.repeat import Repeat
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.similarity import Similarity
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.speed import MOST_DRAFTED
from depthtui.prompts.tasks import baseline_texts
from depthtui.sweep.plan import Cell, TaskChoice
from depthtui.sweep.records import record_of
from depthtui.tracing import products
from depthtui.tracing.modules import decoder
from tests.builders.models import HEADS

BASE = ("contributions", "logit_lens")
PROMPT = Prompt(
    "The ferry did not run, and seven plus five is twelve.",
    " twelve.",
    contrast="The river did not run, and seven plus five is seven.",
)


UNASKED = tuple(
    metric
    for metric in METRICS
    if metric.name not in ("jacobian_lens", "adapter", "engine_distance", "task_guess")
)
"""A Jacobian lens is never fitted unasked, and a run has no states of another engine."""


@pytest.fixture
def replays(monkeypatch):
    """Counts the clean passes that interventions begin with."""
    counted = []
    original = context_module.Replay

    def replay(*args, **kwargs):
        counted.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(context_module, "Replay", replay)
    return counted


def test_what_reads_the_clean_pass_wants_a_clean_run():
    others = [metric.name for metric in ON_DEMAND if clean_run not in metric.needs]
    assert others == ["accuracy"], "it runs whole passes of a what-if"


def test_every_metric_of_the_catalog_comes_and_is_cached(engine, events, replays):
    everything = RunSettings(metrics=tuple(metric_.name for metric_ in UNASKED))
    first = engine.run(PROMPT, everything)
    assert first.complete
    assert first.unavailable == {"experts": "no experts that depthtui knows"}
    for metric_ in UNASKED:
        assert (metric_.name in first.measured) == (metric_.name != "experts")
    emitted_metrics = {event.metric for event in events if isinstance(event, MetricRows)}
    asked = {metric.name for metric in ON_DEMAND if metric in UNASKED}
    assert emitted_metrics == asked - {"experts"}

    for value in first.measured.values():
        sizes = value.sizes(first.model.n_layers, len(first.tokens), everything.lens_top_k)
        of_heads = {"M": HEADS * first.model.n_layers, "H": HEADS}
        sizes = {**of_heads, **sizes, "O": 0, "R": 1, "V": MOST_DRAFTED + 1}
        declared = {name: (shape.of(sizes), shape.dtype) for name, shape in value.shapes().items()}
        arrays = {name: (array.shape, array.dtype.type) for name, array in arrays_of(value)}
        assert arrays == declared, type(value)

    replays.clear()
    second = engine.run(PROMPT, everything)
    assert replays == []
    assert second.provenance.cached
    np.testing.assert_array_equal(second.get(SkipEffects).layers, first.get(SkipEffects).layers)
    np.testing.assert_array_equal(
        second.get(ResidualErasure).effect, first.get(ResidualErasure).effect
    )


def test_one_metric_more_computes_only_that_one(engine, events, replays):
    engine.run(PROMPT, RunSettings(metrics=(*BASE, "similarity")))
    events.clear()
    replays.clear()
    result = engine.run(PROMPT, RunSettings(metrics=(*BASE, "similarity", "ablation")))
    assert len(replays) == 1
    assert not result.provenance.cached
    # The screen gets everything that the cache had before the new metric is done.
    other_events = [event for event in events if not isinstance(event, MetricRows)]
    assert [event.metric for event in other_events[1:3]] == list(OF_THE_PASS)
    assert all(isinstance(event, Rows) for event in other_events[1:3])
    assert result.get(Contributions) is not None
    assert result.get(Ablation).loss.mean() == pytest.approx(result.loss, rel=1e-5)


RESIDUALS_ALONE = ("similarity", "neighbours", "settling", "direct_logits")
"""Metrics that run no layer again."""


@contextlib.contextmanager
def counted_passes(engine):
    """How often the decoder is called meanwhile, as a list of ones."""
    calls = []
    model = engine._model.loaded.model
    handle = decoder(model).register_forward_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        handle.remove()


def test_what_needs_the_residuals_alone_takes_them_from_the_run(engine, replays):
    with counted_passes(engine) as passes:
        first = engine.run(PROMPT, RunSettings(metrics=(*BASE, *RESIDUALS_ALONE)), fresh=True)
    assert len(passes) == 1
    assert replays == []
    assert set(RESIDUALS_ALONE) <= set(first.measured)

    with counted_passes(engine) as passes:
        again = engine.run(PROMPT, RunSettings(metrics=RESIDUALS_ALONE), fresh=True)
    assert len(passes) == 1
    np.testing.assert_array_equal(
        again.get(Similarity).block_influence, first.get(Similarity).block_influence
    )


def test_what_needs_the_residuals_alone_takes_them_from_the_cache(engine, replays):
    engine.run(PROMPT, RunSettings(metrics=BASE))
    with counted_passes(engine) as passes:
        engine.run(PROMPT, RunSettings(metrics=(*BASE, *RESIDUALS_ALONE)))
    assert (passes, replays) == ([], [])


def test_a_metric_begins_with_what_it_takes_and_its_own_pace_is_learned(engine, events):
    engine.run(PROMPT, RunSettings(metrics=(*BASE, "ablation")))
    kinds = [type(event) for event in events if isinstance(event, Pace | MetricRows)]
    assert kinds[:2] == [Pace, MetricRows]
    assert kinds[-1] is Pace
    forward, *_, after = [event for event in events if isinstance(event, Pace)]
    assert forward.metrics == {}
    assert after.forward == forward.forward > 0
    begins, *_, whole = [event for event in events if isinstance(event, MetricRows)]
    assert (begins.value, begins.done, begins.total) == (None, 0, 0)
    ablation = METRIC_BY_NAME["ablation"]
    assert whole.value is not None

    events.clear()
    other = engine.run(Prompt("the ferry did not run"), RunSettings(metrics=("ablation",)))
    begins = next(event for event in events if isinstance(event, MetricRows))
    expected = after.metrics["ablation"] * len(other.tokens) * ablation.work(other)
    assert begins.seconds_left == pytest.approx(expected)


def test_pairs_of_layers_are_told_as_they_are_done(engine, events, monkeypatch):
    monkeypatch.setattr("depthtui.engine.prompt_run._SECONDS_BETWEEN_PARTS", 0)
    for metric in ("ablation", "skip_effects"):
        events.clear()
        engine.run(PROMPT, RunSettings(metrics=(metric,)))
        rows = [event for event in events if isinstance(event, MetricRows)]
        _begins, *parts, _whole = rows
        n_layers = engine.model.n_layers
        assert {part.total for part in parts} == {n_layers * (n_layers - 1) // 2}
        done = [part.done for part in parts]
        if metric == "skip_effects":
            assert done == [0, 1, 3, 6]
        # The ablation goes through the layers in parts, the last ones first.
        assert (done, done[0], done[-1]) == (sorted(done), 0, 6)
        # Nothing is left to be said before something was done.
        assert [part.seconds_left >= 0 for part in parts] == [n > 0 for n in done]


def test_a_what_if_says_nothing_of_the_pace(engine, events):
    engine.run(PROMPT, RunSettings(skipped=(Skip(1),)))
    assert not [event for event in events if isinstance(event, Pace)]


@pytest.mark.parametrize("metric", ["residual_erasure", "integrated_gradients"])
def test_a_prompt_without_an_answer_is_told_and_the_rest_comes(engine, metric):
    result = engine.run(Prompt(PROMPT.text), RunSettings(metrics=(*BASE, metric, "similarity")))
    assert "answer" in result.unavailable[metric]
    assert metric not in result.measured
    assert result.get(Similarity) is not None
    assert result.complete
    marked = RunSettings(metrics=(metric,), answer_start=5)
    assert engine.run(Prompt(PROMPT.text), marked).measured[metric].answer_start == 5


def test_a_baseline_on_a_mac_is_summed_on_the_cpu(monkeypatch):
    """MPS has no double precision."""

    class OnMps(torch.Tensor):
        def double(self):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

        def to(self, device):
            return self.as_subclass(torch.Tensor)

    stream = [torch.full((3, 2), depth + 1.0) for depth in range(4)]

    on_mps = [residual.as_subclass(OnMps) for residual in stream]
    recorded = SimpleNamespace(residual=on_mps, layer_inputs={})
    monkeypatch.setattr(context_module, "record_residuals", lambda *args: recorded)
    anatomy = SimpleNamespace(state=lambda depth, stream: stream(depth))
    baselines = Baselines(None, anatomy, lambda text: torch.arange(3), lambda: ("one", "two"))
    means = baselines.mean((), lambda: None)
    assert [mean.tolist() for mean in means] == [[depth + 1.0] * 2 for depth in range(4)]


def test_a_short_prompt_has_no_skip_positions(engine):
    result = engine.run(Prompt("seven"), RunSettings(metrics=("skip_effects",)))
    assert "at least 13" in result.unavailable["skip_effects"]
    everywhere = RunSettings(metrics=("skip_effects",), skip_everywhere=True)
    assert engine.run(Prompt("seven"), everywhere).get(SkipEffects).positions == (0,)


def test_positions_depend_on_the_prompts_before(engine):
    long = Prompt("the ferry did not run " * 6)
    alone = engine.run(long, RunSettings(metrics=("skip_effects",)))
    count = len(alone.tokens)
    after = engine.run(long, RunSettings(metrics=("skip_effects",), lengths_before=(count,)))
    assert alone.get(SkipEffects).positions != after.get(SkipEffects).positions


def test_the_first_count_is_seen_before_the_other_orders_are_read(folder, tmp_path):
    events = []
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path, events.append, baseline_texts=baseline_texts)
    engine.load(ModelSpec(str(folder), device="cpu"))
    prompt = Prompt("the ferry did not run " * 6)
    run = engine.run(prompt, RunSettings(metrics=(*BASE, "kept")))
    values = [event.value for event in events if isinstance(event, MetricRows)]
    with_first_curve = [
        value
        for value in values
        if isinstance(value, Kept)
        and np.isfinite(value.loss[0, :, 1:]).all()
        and np.isnan(value.loss[1:]).all()
    ]
    assert [value.kind for value in with_first_curve] == ["own", "model"]
    for value in with_first_curve:
        run.put("kept", value)
        knowledge = reading_of([run], SummarySettings(), is_draft=True).get(kept.METRIC)
        assert (knowledge.kind, knowledge.curve.read) == (value.kind, [0])


def test_a_stopped_search_leaves_a_draft_and_goes_on_to_the_same_count(folder, tmp_path):
    control, settings = Control(), RunSettings(metrics=(*BASE, "kept"))
    prompt = Prompt("the ferry did not run " * 6)

    def stop_at_the_draft(event):
        if isinstance(event, MetricRows) and event.value is not None:
            control.stop()

    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path, stop_at_the_draft, baseline_texts=baseline_texts)
    engine.load(ModelSpec(str(folder), device="cpu"))
    stopped = engine.run(prompt, settings, control)
    assert not stopped.complete
    draft, whole = stopped.get(Kept), engine.run(prompt, settings).get(Kept)
    assert (draft.kind, draft.is_whole) == ("own", False)
    again = engine.run(prompt, settings, fresh=True).get(Kept)
    assert (whole.kind, whole.own_orders) == ("model", draft.orders)
    np.testing.assert_array_equal(whole.loss, again.loss)


@pytest.mark.parametrize("metric", ["residual_erasure", "integrated_gradients"])
def test_a_stopped_metric_goes_on_where_it_was_left(folder, tmp_path, metric, monkeypatch):
    monkeypatch.setattr("depthtui.engine.prompt_run._SECONDS_BETWEEN_PARTS", 0)
    monkeypatch.setattr("depthtui.metrics.residual_erasure.compute._TOKENS_WORTH_A_BATCH", 1)
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    settings = RunSettings(metrics=(*BASE, metric))
    control, done = Control(), []

    def stop_soon(event):
        if isinstance(event, MetricRows) and event.value is not None:
            done.append(event.done)
            if event.done == 2:
                control.stop()

    engine = Engine(store, tmp_path, stop_soon, baseline_texts=baseline_texts)
    engine.load(ModelSpec(str(folder), device="cpu"))
    stopped = engine.run(PROMPT, settings, control)
    assert not stopped.complete
    assert metric in stopped.measured
    assert stopped.get(LogitLens) is not None
    assert done == [1, 2]
    done.clear()
    control = Control()
    whole = engine.run(PROMPT, settings, Control())
    assert whole.complete
    # The first two are not done again; the second event of this run would stop nothing.
    assert done[0] == 3
    fresh = engine.run(PROMPT, settings, Control(), fresh=True)
    for name, value in vars(fresh.measured[metric]).items():
        np.testing.assert_allclose(getattr(whole.measured[metric], name), value, atol=1e-6)


@pytest.mark.parametrize(
    "metric",
    [
        "ablation",
        "accuracy",
        "context_depth",
        "direct_effects",
        "order",
        "pairs",
        "quantisation",
        "repeat",
        "skip_effects",
        "heads",
    ],
)
def test_what_is_told_of_a_metric_by_and_by_is_kept_as_a_part(
    folder, tmp_path, metric, monkeypatch
):
    monkeypatch.setattr("depthtui.engine.prompt_run._SECONDS_BETWEEN_PARTS", 0)
    monkeypatch.setattr(context_module.MetricContext, "layers_at_once", lambda *_: 1)
    monkeypatch.setattr(context_module.MetricContext, "texts_at_once", lambda *_: 1)
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    settings = RunSettings(metrics=(*BASE, metric), skip_positions=(5,))
    control, parts = Control(), []

    def stop_at_a_part(event):
        if isinstance(event, MetricRows):
            parts.append(event)
            if event.value is not None and event.value.is_known.any():
                control.stop()

    engine = Engine(store, tmp_path, stop_at_a_part, baseline_texts=baseline_texts)
    engine.load(ModelSpec(str(folder), device="cpu"))
    stopped = engine.run(PROMPT, settings, control)
    part = stopped.measured[metric]
    assert not stopped.complete
    assert not part.is_whole
    parts.clear()
    whole = engine.run(PROMPT, settings, Control())
    assert whole.is_whole
    begun = next(event.value for event in parts if event.value is not None)
    fresh = engine.run(PROMPT, settings, Control(), fresh=True).measured[metric]
    for name, values in arrays_of(part):
        expected = getattr(fresh, name)
        np.testing.assert_allclose(getattr(whole.measured[metric], name), expected, 1e-4, 2e-5)
        is_known = {"i": values >= 0, "b": values != 0}
        is_number = is_known.get(values.dtype.kind, np.isfinite(values))
        if name not in type(part).noise:
            np.testing.assert_allclose(values[is_number], expected[is_number], 1e-4, 2e-5)
            # It went on from there.
            np.testing.assert_array_equal(getattr(begun, name)[is_number], values[is_number])


def test_what_the_cache_has_of_slower_metrics_is_recalled_without_computing(engine, replays):
    engine.run(PROMPT, RunSettings(metrics=(*BASE, "ablation", "order"), skip_part="mlp"))
    assert len(replays) == 1
    plain = engine.run(PROMPT, RunSettings(metrics=BASE))
    assert not {"ablation", "order"} & set(plain.measured)
    recalled = engine.run(PROMPT, RunSettings(metrics=BASE), recall=True)
    # Ablation is there for other settings alone.
    assert set(recalled.measured) == {*BASE, "order"}
    assert recalled.settings.metrics == (*BASE, "order")
    assert recalled.complete
    assert recalled.unavailable == {}
    both = engine.run(PROMPT, RunSettings(metrics=BASE, skip_part="mlp"), recall=True)
    assert set(both.measured) == {*BASE, "ablation", "order"}
    assert len(replays) == 1


def test_layers_that_suffice_are_recalled_in_the_models_order_else_in_the_prompts(engine):
    own = RunSettings(metrics=(*BASE, "kept"), order_source="own", order_search="ranked")
    engine.run(PROMPT, own)
    recalled = engine.run(PROMPT, RunSettings(metrics=BASE), recall=True)
    assert recalled.get(Kept).kind == "own"
    assert recalled.settings == own
    engine.run(PROMPT, RunSettings(metrics=own.metrics))
    # The settings may be those of an earlier prompt, whose own order came first.
    recalled = engine.run(PROMPT, dataclasses.replace(own, metrics=BASE), recall=True)
    assert recalled.get(Kept).kind == "model"
    assert recalled.settings == RunSettings(metrics=own.metrics)


def test_a_run_in_the_prompts_order_reports_that_the_models_is_known(engine, events):
    engine.run(PROMPT, RunSettings(metrics=(*BASE, "kept")))
    engine.run(Prompt("Seven plus five."), RunSettings(metrics=BASE, order_source="own"))
    assert "kept" in [event for event in events if isinstance(event, Pace)][-1].prepared


def test_what_is_half_done_is_not_recalled(engine, events, monkeypatch):
    monkeypatch.setattr("depthtui.engine.prompt_run._SECONDS_BETWEEN_PARTS", 0)
    control = Control()

    def stop_at_a_part(event):
        if isinstance(event, MetricRows) and event.value is not None:
            control.stop()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "emit", stop_at_a_part)
        engine.run(PROMPT, RunSettings(metrics=(*BASE, "order")), control)
    recalled = engine.run(PROMPT, RunSettings(metrics=BASE), recall=True)
    assert set(recalled.measured) == set(BASE)


def test_a_what_if_is_a_run_of_its_own(engine, events):
    clean = engine.run(PROMPT, RunSettings())
    without = RunSettings(skipped=(Skip(1), Skip(2, "mlp")))
    changed = engine.run(PROMPT, without)
    assert (changed.get(Contributions).layer_norm_ratio[1] == 0).all()
    assert (changed.get(Contributions).mlp_norm_ratio[2] == 0).all()
    assert (changed.get(Contributions).attention_norm_ratio[2] > 0).all()
    assert changed.loss != clean.loss
    again = engine.run(PROMPT, without)
    assert again.provenance.cached
    assert again.loss == changed.loss
    assert engine.run(PROMPT, RunSettings()).loss == clean.loss
    assert sum(isinstance(event, RunFinished) for event in events) == 4


def test_layers_that_run_twice_are_a_what_if(engine, events):
    clean = engine.run(PROMPT, RunSettings(metrics=(*BASE, "repeat")))
    for first, last in ((0, 0), (1, 2), (3, 3)):
        repeated = (Repeated(first, last),)
        twice = engine.run(PROMPT, RunSettings(metrics=(*BASE, "ablation"), repeated=repeated))
        expected = clean.get(Repeat).loss_change[last - first, first]
        assert twice.loss - clean.loss == pytest.approx(expected, abs=1e-4)
        assert "what-if" in twice.unavailable["ablation"]
    again = engine.run(PROMPT, RunSettings(repeated=repeated))
    assert again.provenance.cached
    assert again.loss == twice.loss
    events.clear()
    more = engine.run(PROMPT, RunSettings(lens_top_k=3, repeated=repeated))
    np.testing.assert_array_equal(
        more.get(Contributions).layer_norm_ratio, twice.get(Contributions).layer_norm_ratio
    )
    assert engine.run(PROMPT, RunSettings()).loss == clean.loss


def test_context_depth_is_kept_by_where_the_answer_begins(engine):
    settings = RunSettings(metrics=("context_depth",))
    answered = engine.run(PROMPT, settings)
    assert answered.get(ContextDepth).start == answered.tokens.answer_start
    marked = dataclasses.replace(settings, answer_start=5)
    assert engine.run(PROMPT, marked).get(ContextDepth).start == 5
    halves = engine.run(Prompt(PROMPT.text), settings)
    assert halves.get(ContextDepth).start == len(halves.tokens) // 2


def test_ablation_is_the_loss_of_the_what_if(engine):
    clean = engine.run(PROMPT, RunSettings(metrics=(*BASE, "ablation")))
    for layer, change in enumerate(usefulness(clean.get(Ablation))):
        without = engine.run(PROMPT, RunSettings(skipped=(Skip(layer),)))
        assert without.loss - clean.loss == pytest.approx(change, abs=1e-4)


def test_causal_metrics_are_of_clean_runs(engine):
    settings = RunSettings(metrics=("ablation",), skipped=(Skip(0),))
    assert "what-if" in engine.run(PROMPT, settings).unavailable["ablation"]


def test_the_faster_product_is_used_and_told(engine, monkeypatch):
    """Every metric agrees with the plain product, and the model stays as it was."""
    everything = RunSettings(metrics=tuple(metric_.name for metric_ in UNASKED))
    expected = engine.run(PROMPT, everything, fresh=True)
    assert expected.provenance.product == "torch"
    used = []
    original = products.one_dnn_product

    def multiply(*args):
        used.append(1)
        return original(*args)

    monkeypatch.setattr(products, "one_dnn_product", multiply)
    monkeypatch.setattr(products, "_one_dnn_is_faster", lambda *shape: True)
    monkeypatch.setattr(products, "_SMALLEST_WEIGHT", 0)
    result = engine.run(PROMPT, everything, fresh=True)
    assert result.provenance.product == "oneDNN"
    assert used
    for name, value in expected.measured.items():
        for field, array in arrays_of(value):
            is_repeated = field != "completeness_error" and not METRIC_BY_NAME[name].is_timed
            if array.dtype.kind == "f" and is_repeated:
                np.testing.assert_allclose(
                    getattr(result.measured[name], field), array, rtol=1e-3, atol=1e-4, err_msg=name
                )
    model = engine._model.loaded.model
    assert not any("forward" in vars(module) for module in model.modules())


LAYERED = ("ablation", "skip_effects", "residual_erasure", "integrated_gradients")
"""Metrics that go through layers."""


@pytest.mark.parametrize(
    ("choice", "chosen", "bisects"),
    [({}, (), False), ({"layers": "/2"}, (0, 2), False), ({"erase_search": "bisect"}, (), True)],
)
def test_the_memory_that_is_asked_for_is_that_of_the_part(
    engine, monkeypatch, choice, chosen, bisects
):
    sizes_checked = []
    monkeypatch.setattr(
        memory,
        "why_not",
        lambda metric, info, sizes, *rest: sizes_checked.append(sizes) or "no room",
    )
    result = engine.run(PROMPT, RunSettings(metrics=("residual_erasure",), **choice))
    assert result.unavailable == {"residual_erasure": "no room"}
    assert [(sizes.chosen, sizes.bisects) for sizes in sizes_checked] == [(chosen, bisects)]


def test_a_part_of_the_slower_metrics_is_computed_and_cached_by_itself(engine, replays):
    whole = engine.run(PROMPT, RunSettings(metrics=LAYERED))
    settings = RunSettings(metrics=LAYERED, layers="1-3/2", skip_positions=(5, 90), erase_tokens=4)
    part = engine.run(PROMPT, settings)
    assert len(replays) == 2
    assert part.complete
    rows, others = [1, 3], [0, 2]
    for name, field in (
        ("ablation", "loss_change"),
        ("skip_effects", "output"),
        ("integrated_gradients", "attribution"),
    ):
        values = getattr(part.measured[name], field)
        assert np.isnan(values[others]).all()
        assert np.isfinite(values[rows]).all()
        assert part.measured[name].chosen == (1, 3)
    np.testing.assert_allclose(
        part.get(Ablation).loss_change[rows], whole.get(Ablation).loss_change[rows], atol=1e-4
    )
    assert part.get(SkipEffects).positions == (5,)
    erasure = part.get(ResidualErasure)
    assert len(erasure.erased) == 4
    places = np.ix_(rows, erasure.erased)
    np.testing.assert_allclose(
        erasure.effect[places], whole.get(ResidualErasure).effect[places], rtol=1e-3, atol=1e-5
    )
    replays.clear()
    engine.run(PROMPT, settings)
    again = engine.run(PROMPT, RunSettings(metrics=LAYERED, layers="0-3"))
    assert replays == []
    assert again.get(Ablation).chosen == ()


@pytest.mark.parametrize("search", ["bisect", "spans"])
def test_a_search_is_computed_and_cached_by_itself(engine, replays, search):
    settings = RunSettings(metrics=("residual_erasure",), erase_search=search, erase_threshold=0.01)
    erasure = engine.run(PROMPT, settings).get(ResidualErasure)
    assert (erasure.threshold, erasure.is_whole) == (0.01, True)
    assert (erasure.span > 0) == (erasure.settled > 0) == (search == "spans")
    assert np.isnan(erasure.effect).any()
    replays.clear()
    engine.run(PROMPT, settings)
    assert replays == []
    engine.run(PROMPT, dataclasses.replace(settings, erase_threshold=0.02))
    assert len(replays) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "2,40"}, "no layer 40"),
        ({"layers": "40/2"}, "no layer 40"),
        ({"skip_everywhere": True, "skip_positions": (8,)}, "not both"),
        ({"skipped": (Skip(99),)}, "no layer 99"),
        ({"repeated": (Repeated(1, 99),)}, "no block of layers 1 to 99"),
        ({"repeated": (Repeated(2, 1),)}, "no block of layers 2 to 1"),
        ({"repeated": (Repeated(2, 3), Repeated(0, 2))}, "layer 2 is in two blocks"),
    ],
)
def test_a_part_that_there_is_not_is_refused(engine, settings, message):
    with pytest.raises(DepthError, match=message):
        engine.run(PROMPT, RunSettings(**settings))


def test_a_metric_of_which_some_values_are_no_numbers_says_so(engine, monkeypatch):
    original = order_module.token_losses

    def overflowing(unembedding, residuals, ids):
        losses = original(unembedding, residuals, ids)
        if len(losses) > 1:
            losses[-1] = torch.nan
        return losses

    monkeypatch.setattr(order_module, "token_losses", overflowing)
    result = engine.run(PROMPT, RunSettings(metrics=(*BASE, "order")))
    assert result.complete
    assert "no numbers" in result.unavailable["order"]
    assert "float32" in result.unavailable["order"]
    assert not result.unavailable["order"].endswith("."), "it stands within a sentence"
    # What there is of it is shown, but no record of a sweep takes it for all.
    assert "order" in result.measured
    cell = Cell(ModelSpec("alpha"), TaskChoice("addition", "2"))
    assert "order" not in record_of(result, "key", cell, 0).every
