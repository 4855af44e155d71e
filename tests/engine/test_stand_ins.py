"""What stands in for layers left out: chosen, computed, kept and found by itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine import layer_orders as orders_module
from depthtui.engine import metric_context as context_module
from depthtui.engine.engine import Engine
from depthtui.engine.layer_orders import LayerOrders
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.kept.result import Kept
from depthtui.prompts.tasks import baseline_texts
from depthtui.tracing.replay import Replay
from tests.metrics.test_stand_ins import VARIANTS

PROMPT = Prompt("Seven plus five is twelve, and twelve minus five is seven.")

RANKED = RunSettings(metrics=("kept",), order_search="ranked")


def orders_of(engine) -> LayerOrders:
    assert engine._orders is not None
    return engine._orders


def test_a_variant_is_computed_and_cached_by_itself(engine, monkeypatch):
    replays = []

    def replay(*args, **kwargs):
        replays.append(1)
        return Replay(*args, **kwargs)

    monkeypatch.setattr(context_module, "Replay", replay)
    settings = RunSettings(metrics=("ablation",))
    every = [settings, *(replace(settings, **variant) for variant in VARIANTS)]
    ablations = [engine.run(PROMPT, each).get(Ablation) for each in every]
    assert len(replays) == len(every)
    for one, other in pairwise(ablations):
        assert not np.allclose(one.kl[:, 1:], other.kl[:, 1:], rtol=1e-3)
    again = [engine.run(PROMPT, each).get(Ablation) for each in every]
    assert len(replays) == len(every)
    for one, other in zip(ablations, again, strict=True):
        np.testing.assert_array_equal(one.kl, other.kl)


def test_other_baseline_prompts_have_another_mean(engine):
    settings = RunSettings(metrics=("ablation",), ablate="mean")
    other = replace(settings, baseline=("The river was high.",))
    means = [engine.run(PROMPT, each).get(Ablation).kl[:, 1:] for each in (settings, other)]
    assert not np.allclose(*means, rtol=1e-3)


def test_an_order_is_kept_for_each_variant(folder, tmp_path):
    store = open_store(None, 0, pytest.fail)
    engine = Engine(
        store, tmp_path, lambda _: None, baseline_texts=baseline_texts, lenses_dir=tmp_path
    )
    engine.load(ModelSpec(str(folder), device="cpu"))
    every = [RANKED, *(replace(RANKED, **variant) for variant in VARIANTS)]
    orders_used = [engine.run(PROMPT, each).get(Kept) for each in every]
    orders = orders_of(engine)
    files = {tmp_path / f"{orders._key(each)}.order.json" for each in every}
    assert len(files) == 4
    assert files == set(tmp_path.rglob("*.order.json"))
    for one, each in zip(orders_used, every, strict=True):
        assert one.orders == (tuple(orders.stored(each).pieces),)
    assert not np.allclose(orders_used[0].kl[1:, 1:], orders_used[1].kl[1:, 1:], rtol=1e-3)


def test_the_order_of_the_default_keeps_its_file(engine):
    """Kept orders are found by this name, which a change of it would lose."""
    orders = orders_of(engine)
    version, writing = orders_module._VERSION, orders_module.WRITING_VERSION
    made_of = [orders.model.info.fingerprint, "ranked", version, 8, 32, RunSettings.seed, writing]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    assert orders._key(RANKED) == digest[:16]
    same = replace(RANKED, baseline=("The river was high.",))
    assert orders._key(same) == orders._key(RANKED)
    mean = replace(RANKED, ablate="mean")
    assert orders._key(replace(same, ablate="mean")) != orders._key(mean) != orders._key(RANKED)


def test_an_own_order_is_found_with_the_same_stand_in(engine):
    settings = replace(RANKED, order_source="own")
    for variant in VARIANTS:
        sufficient = engine.run(PROMPT, replace(settings, **variant)).get(Kept)
        alone = engine.run(PROMPT, RunSettings(metrics=("ablation",), **variant)).get(Ablation)
        even = sufficient.way == 1
        first = sufficient.orders[1][0]
        # Its cheapest layer costs what ablation finds.
        np.testing.assert_allclose(
            sufficient.kl[1, even], alone.kl[first, even], rtol=2e-3, atol=2e-5
        )


@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_a_sublayer_has_no_mean_and_says_so(engine, part):
    settings = RunSettings(metrics=("ablation",), ablate="mean", skip_part=part)
    result = engine.run(PROMPT, settings)
    assert "only a whole layer has a mean update" in result.unavailable["ablation"]
    zero_result = engine.run(PROMPT, replace(settings, ablate="zero", keep_first_token=True))
    assert zero_result.get(Ablation).is_whole
