"""How far the engine is, in words."""

from __future__ import annotations

import pytest

from depthtui.data.protocol import (
    ContributionRows,
    Event,
    LensRows,
    Memory,
    MetricRows,
    ModelLoaded,
    Progress,
)
from depthtui.report.progress import EngineProgress, Step
from tests.builders.models import tiny_model
from tests.builders.results import full_run

RUN = full_run()
L = RUN.model.n_layers


@pytest.mark.parametrize(
    ("event", "step"),
    [
        (Progress("Loading", 0, 0, "B"), Step("Loading", 0, 0, "")),
        (Progress("Loading", 1500, 0, "B"), Step("Loading", 1500, 0, "1.50 kB")),
        (Progress("Loading", 1500, 3000, "B"), Step("Loading", 1500, 3000, "1.50 kB of 3.00 kB")),
        (Progress("Reading", 1000, 0, "rows"), Step("Reading", 1000, 0, "1,000 rows")),
        (Progress("Reading", 1, 2, "rows"), Step("Reading", 1, 2, "1 of 2 rows")),
        (ContributionRows(0, 0, RUN.contributions, 0.0), Step("", L, L, f"layer {L} of {L}")),
        (LensRows(0, 0, RUN.logit_lens, 0.0), Step("", L, L, f"lens, layer {L} of {L}")),
        (
            MetricRows(0, "ablation", RUN.ablation, 1, 4, 0.0),
            Step("", 1, 4, "ablation loss 1 of 4"),
        ),
        (Memory(1, 2), None),
    ],
)
def test_events_in_words(event: Event, step: Step | None) -> None:
    assert EngineProgress(L).step(event) == step


def test_the_model_that_is_loaded_says_how_many_layers_there_are() -> None:
    progress, rows = EngineProgress(), ContributionRows(0, 0, RUN.contributions, 0.0)
    assert progress.step(rows) == Step("", L, 0, f"layer {L}")
    assert progress.step(ModelLoaded(tiny_model())) is None
    step = progress.step(rows)
    assert step is not None
    assert step.total == tiny_model().n_layers
