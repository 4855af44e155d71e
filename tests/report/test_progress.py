"""How far the engine is, in words."""

from __future__ import annotations

import math

import pytest

from depthtui.data.protocol import (
    Event,
    Memory,
    MetricRows,
    ModelLoaded,
    Progress,
    Rows,
)
from depthtui.report import progress
from depthtui.report.progress import EngineProgress, LogLines, WorkProgress
from tests.builders.models import tiny_model
from tests.builders.results import full_run

RUN = full_run()
L = RUN.model.n_layers
CONTRIBUTIONS, LENS = (
    Rows(0, metric, 0, RUN.measured[metric], L, 0.0) for metric in ("contributions", "logit_lens")
)


@pytest.mark.parametrize(
    ("event", "step"),
    [
        (Progress("Loading", 0, 0, "B"), WorkProgress("Loading", 0, 0, "")),
        (Progress("Loading", 1500, 0, "B"), WorkProgress("Loading", 1500, 0, "1.50 kB")),
        (
            Progress("Loading", 1500, 3000, "B"),
            WorkProgress("Loading", 1500, 3000, "1.50 kB of 3.00 kB"),
        ),
        (Progress("Reading", 1000, 0, "rows"), WorkProgress("Reading", 1000, 0, "1,000 rows")),
        (Progress("Reading", 1, 2, "rows"), WorkProgress("Reading", 1, 2, "1 of 2 rows")),
        (CONTRIBUTIONS, WorkProgress("", L, L, f"contributions, layer {L} of {L}")),
        (LENS, WorkProgress("", L, L, f"logit lens, layer {L} of {L}")),
        (
            MetricRows(0, "ablation", RUN.measured["ablation"], 1, 4, 0.0),
            WorkProgress("", 1, 4, "ablation 1 of 4"),
        ),
        (
            MetricRows(0, "ablation", None, 0, 0, 0.0, 130.0),
            WorkProgress("", 0, 0, "ablation, about 2 min left"),
        ),
        (
            MetricRows(0, "ablation", None, 1, 4, 0.0, 12.0),
            WorkProgress("", 1, 4, "ablation 1 of 4, about 10 s left"),
        ),
        (Memory(1, 2), None),
    ],
)
def test_events_in_words(event: Event, step: WorkProgress | None) -> None:
    assert EngineProgress(L).of(event) == step


def test_the_model_that_is_loaded_says_how_many_layers_there_are() -> None:
    progress, rows = EngineProgress(), CONTRIBUTIONS
    assert progress.of(rows) == WorkProgress("", L, 0, f"contributions, layer {L}")
    assert progress.of(ModelLoaded(tiny_model())) is None
    step = progress.of(rows)
    assert step is not None
    assert step.total == tiny_model().n_layers


def test_a_log_hears_of_each_stage_but_not_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    lines: list[str] = []
    log = LogLines(lines.append, is_shown=True)
    for now in (1.0, 10.0, 12.0, 19.9, 24.0):
        log.report("Converting", f"{now:.0f} of 30 tensors")
    now = 40.0
    log.report("prompt 1 of 2", "")
    assert lines == [
        "Converting, 10 of 30 tensors",
        "Converting, 24 of 30 tensors",
        "prompt 1 of 2",
    ]


def test_a_terminal_has_no_log() -> None:
    lines: list[str] = []
    log = LogLines(lines.append, is_shown=False)
    log._printed_at = -math.inf
    log.report("Converting", "")
    assert lines == []
