"""Layers that write nothing, planted into models and into curves: counts stay, depths move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from depthtui import Prompt, analyze
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Evidence
from depthtui.depth.certainty import evidence_of
from depthtui.depth.reading import Reading, reading_of
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.evidence import CountMeasure, Variant
from tests.builders.metrics import ablation
from tests.builders.readings import summary_of
from tests.builders.results import full_run, lacking, make_result
from tests.planted import with_idle
from tests.tiny_models import CORPUS, LAYERS, with_tokenizer

SETTINGS = SummarySettings()
METRICS = ("contributions", "similarity", "ablation", "order")

PLACES = {"start": [0, 0], "middle": [3, 3], "end": [LAYERS, LAYERS], "between": [0, 2, 3, LAYERS]}
"""Where idle layers are put, by name: before which layer of the model each stands."""


@cache
def tiny_model() -> tuple[torch.nn.Module, object]:
    """A model whose cosine turns at layer 2."""
    return with_tokenizer("mistral")


@cache
def prompts() -> list[Prompt]:
    """Two prompts that the model answers rightly: it wrote the answers itself."""
    model, tokenizer = tiny_model()
    return list(_answered(model, tokenizer))[:2]


def _answered(model, tokenizer) -> Iterator[Prompt]:
    for text in CORPUS:
        for words in range(2, 8):
            question = " ".join(text.split()[:words])
            ids = tokenizer(question, return_tensors="pt").input_ids
            answer = model(ids).logits[0, -1].argmax()
            whole = [*ids[0].tolist(), int(answer)]
            written = tokenizer.decode(whole)
            if tokenizer(written).input_ids == whole and written.startswith(question):
                yield Prompt(written, written[len(question) :])


@cache
def reading(place: str = "") -> tuple[Reading, list[int]]:
    """The reading of the model with idle layers in some place, and their numbers."""
    model, tokenizer = tiny_model()
    planted, idle = with_idle(model, PLACES[place] if place else [])
    runs = analyze(planted, prompts(), tokenizer, METRICS, progress=False)
    return reading_of(list(runs), SETTINGS), idle


def counts(result: Reading) -> dict[str, Evidence]:
    return {one.measure: one for one in result.evidence}


def test_a_model_without_idle_layers_has_none() -> None:
    result, _ = reading()
    assert (result.known_idle, result.idle) == ((), ())
    base = counts(result)
    assert {"cosine", "similarity", "ablation", "order"} == {*base}
    assert all(one.count for one in base.values())


@pytest.mark.parametrize("place", PLACES)
def test_planted_layers_are_found_and_are_in_no_count_but_move_the_turn(place: str) -> None:
    result, idle = reading(place)
    assert result.idle == tuple(idle)
    base, planted = counts(reading()[0]), counts(result)
    own = [layer for layer in range(result.n_layers) if layer not in idle]
    for measure in ("similarity", "ablation", "order"):
        theirs, ours = base[measure], planted[measure]
        assert (ours.count, ours.low, ours.high) == (theirs.count, theirs.low, theirs.high)
        assert ours.layers == tuple(own[layer] for layer in theirs.layers or ())
    turn = base["cosine"].count
    assert turn
    assert planted["cosine"].count == own[turn - 1] + 1


@pytest.mark.parametrize("place", PLACES)
def test_idle_layers_cost_nothing_together_with_others(place: str) -> None:
    whole, planted = (
        summary_of(result.runs, settings=SETTINGS) for result in (reading()[0], reading(place)[0])
    )
    assert (whole["idle"], planted["idle"]) == ([], reading(place)[1])
    for key in ("count", "kl", "choices"):
        ours, theirs = (summary["ablation"]["together"][key] for summary in (planted, whole))
        assert ours == pytest.approx(theirs, rel=1e-3)
    own = np.delete(planted["ablation"]["kl"], planted["idle"])
    np.testing.assert_allclose(own, whole["ablation"]["kl"], rtol=1e-3)


def inserted(result: RunResult, idle: Sequence[int]) -> RunResult:
    """The same run, where what some of its layers write is nothing."""
    actual = result.get(Contributions)
    assert actual is not None
    silent = replace(actual)
    for name, values in vars(actual).items():
        changed = values.copy()
        changed[list(idle)] = 0
        setattr(silent, name, changed)
    result = replace(result)
    result.drop(["contributions"])
    result.put("contributions", silent)
    return result


def test_the_papers_rule_takes_an_idle_layer_as_it_is_and_our_evidence_does_not() -> None:
    """Layers 3 and 4 turn against the stream, 5 does not; 6 and 7 write nothing."""
    result = make_result(layers=8)
    actual = result.get(Contributions)
    assert actual is not None
    for name in ("attention_cosine", "mlp_cosine", "layer_cosine"):
        getattr(actual, name)[:] = np.array([0.3, 0.2, 0.1, -0.4, -0.3, 0.5, -0.2, -0.1])[:, None]
    for idle, published in (([6, 7], 5), ([5], None), ([5, 6, 7], 5), ([0, 1], 5)):
        reading = reading_of([inserted(result, idle)], SETTINGS)
        depth = reading.depth("cosine")
        assert depth is not None
        assert (depth.count if published else None) == published
        assert reading.idle == tuple(idle)
    # With layer 5 idle the stream turns nowhere, the layer after it being negative as well.
    reading = reading_of([inserted(result, [5])], SETTINGS)
    assert reading.depth("cosine").count == 5  # type: ignore[union-attr]
    assert counts(reading)["cosine"].count is None
    # An idle layer at the end, after layers that are negative to it, is no turn.
    reading = reading_of([inserted(result, [7])], SETTINGS)
    assert reading.depth("cosine").count == 7  # type: ignore[union-attr]
    assert counts(reading)["cosine"].count == 5


def test_an_idle_layer_is_no_turn_over_prompts_either() -> None:
    """The interval and the count without token 0 are those of the layers that write."""
    noise = np.random.default_rng(1)
    results = []
    for _ in range(6):
        result = make_result(layers=8, tokens=6)
        actual = result.get(Contributions)
        assert actual is not None
        for name in ("attention_cosine", "mlp_cosine", "layer_cosine"):
            values = np.array([0.3, -0.2, -0.3, 0.4, -0.3, -0.5, -0.2, -0.1])[:, None]
            getattr(actual, name)[:] = values + noise.normal(0, 0.02, (8, 6))
        results.append(inserted(result, [7]))
    reading = reading_of(results, SETTINGS)
    depth, evidence = reading.depth("cosine"), counts(reading)["cosine"]
    assert depth is not None
    assert (depth.count, depth.interval) == (7, (6, 6))
    assert (evidence.count, evidence.low, evidence.high) == (3, 3, 3)


def test_a_layer_that_writes_at_token_0_alone_is_not_idle() -> None:
    result = make_result(layers=6)
    actual = result.get(Contributions)
    assert actual is not None
    actual.layer_norm_ratio[2, 1:] = 0
    settings = replace(SETTINGS, include_first_token=False)
    assert reading_of([result], settings).idle == ()
    actual.layer_norm_ratio[2] = 0
    assert reading_of([result], settings).idle == (2,)
    # It must be idle on every prompt.
    assert reading_of([result, make_result(layers=6)], settings).idle == ()


def test_a_layer_that_ablation_or_the_angle_says_is_used_is_not_idle() -> None:
    silent = inserted(lacking(full_run(), "similarity", "ablation"), [1])
    assert reading_of([silent], SETTINGS).idle == (1,)
    for kl, idle in (([1.0, 0.0, 1.0, 1.0], (1,)), ([1.0, 0.2, 1.0, 1.0], ())):
        result = replace(silent)
        result.put("ablation", ablation(np.repeat(np.array(kl)[:, None], 23, axis=1)))
        assert reading_of([result], SETTINGS).idle == idle
    turning = inserted(lacking(full_run(), "ablation"), [1])
    assert reading_of([turning], SETTINGS).idle == ()


def test_where_updates_were_not_measured_it_is_not_known() -> None:
    result = reading_of([lacking(make_result(), "contributions")], SETTINGS)
    assert (result.known_idle, result.idle) == (None, ())
    some = reading_of([make_result(), lacking(make_result(), "contributions")], SETTINGS)
    assert some.known_idle is None
    assert "idle" not in summary_of(some.runs, settings=SETTINGS)
    assert "idle" in summary_of([make_result()], settings=SETTINGS)


def test_a_count_of_layers_is_capped_and_a_depth_is_not() -> None:
    measure, fewer = CountMeasure("causal", "x", "x"), [Variant(5, "fewer")]
    capped = evidence_of(measure.counted(6, fewer, range(6)), 6, (5, 5), idle=(1, 2))
    assert (capped.count, capped.low, capped.high) == (4, 4, 4)
    assert capped.layers == (0, 3, 4, 5)
    depth = evidence_of(measure.counted(6, fewer), 6, (5, 5), idle=(1, 2))
    assert (depth.count, depth.low, depth.high, depth.layers) == (6, 5, 6, None)
    assert evidence_of(measure.unknown("why"), 6, (5, 5), idle=(1, 2)).count is None
