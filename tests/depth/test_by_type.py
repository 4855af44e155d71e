"""Layers pooled by their type: means of what is pooled by layer, counts of what is counted."""

from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.by_type import by_type
from depthtui.depth.reading import reading_of
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.report.layer_types import type_blocks, types_dict
from tests.builders.models import tiny_model
from tests.builders.results import full_result

TYPES = ("mamba", "full attention", "mamba", "mamba", "full attention")
LAYERS = {"mamba": (0, 2, 3), "full attention": (1, 4)}
METRICS = ("contributions", "ablation", "skip_effects", "similarity", "settling", "context_depth")
TEXTS = ("Ferries go to Paris", "Water boils at noon here", "Snow")


def read(types=TYPES, texts=TEXTS, **settings):
    model = tiny_model(len(TYPES), layer_types=types)
    run_settings = RunSettings(metrics=METRICS)
    runs = [full_result(Prompt(text), model, run_settings) for text in texts]
    return runs, reading_of(runs, SummarySettings(**settings))


@pytest.mark.parametrize("include_first_token", [True, False])
def test_means_are_over_all_tokens_of_all_prompts_and_layers(include_first_token):
    runs, reading = read(include_first_token=include_first_token)
    first = 0 if include_first_token else 1
    for result in by_type(reading):
        layers = list(LAYERS[result.name])
        assert result.layers == LAYERS[result.name]
        ratios = np.concatenate(
            [run.get(Contributions).layer_norm_ratio[layers, first:] for run in runs], axis=1
        )
        assert result.means["contribution"] == pytest.approx(ratios.mean(), rel=1e-6)
        loss = reading.get(METRIC_BY_NAME["ablation"]).loss_change
        assert result.means["loss change"] == pytest.approx(loss[layers].mean())
    assert set(result.means) == {
        "contribution",
        "block influence",
        "loss change",
        "output KL",
        "choices kept",
        "output effect",
    }, "a depth has no mean over the layers of a type"


def test_used_layers_are_those_that_a_measure_counts():
    _, reading = read()
    counted = {one.measure: one for one in reading.evidence if one.layers is not None}
    assert {"ablation", "similarity"} <= set(counted)
    mamba, attention = by_type(reading)
    for measure, evidence in counted.items():
        assert mamba.used[measure] == len({0, 2, 3} & set(evidence.layers))
        assert mamba.used[measure] + attention.used[measure] == evidence.count


def test_an_unknown_layer_has_no_part_in_the_mean():
    runs, _ = read(texts=TEXTS[:1])
    skip = runs[0].get(SkipEffects)
    skip.output[[0, 1, 4]] = np.nan
    mamba, attention = by_type(reading_of(runs, SummarySettings()))
    assert mamba.means["output effect"] == pytest.approx(float(skip.output[[2, 3]].mean()))
    assert np.isnan(attention.means["output effect"])
    rows = {row[0]: row[1:] for row in table_of(reading_of(runs, SummarySettings())).rows}
    assert rows["output effect"][1] == "–"
    assert rows["layers"] == ["3", "2"]


def table_of(reading):
    (chapter,) = type_blocks(reading)
    return chapter.blocks[0]


def test_layers_that_are_alike_have_no_table():
    _, reading = read(types=())
    assert by_type(reading) == []
    assert list(type_blocks(reading)) == []
    assert types_dict(reading) == {}


def test_a_damaged_file_may_name_too_few_types():
    runs, _ = read(texts=TEXTS[:1])
    runs[0].model = replace(runs[0].model, layer_types=TYPES[:2])
    names = [result.layers for result in by_type(reading_of(runs, SummarySettings()))]
    assert names == [(0,), (1,)]
