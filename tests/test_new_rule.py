"""A rule of effective depth is one value: a new one is told of everywhere without another line."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from depthtui.data.depth import PromptCurves
from depthtui.data.explanation import Explanation
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.effective_depth import estimate_depths, pool
from depthtui.depth.reading import reading_of
from depthtui.depth.rule import Rule, Threshold
from depthtui.depth.rule_evidence import rule_evidence
from depthtui.metrics.resampling import FEWEST_UNITS
from depthtui.report.explanations import of_rules
from depthtui.report.export import run_report
from depthtui.sweep.questions import questions
from depthtui.sweep.report.export import sweep_report
from depthtui.sweep.summary import summarise_sweep
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.sweep_curves import SweepCurves
from depthtui.tui.panes.sweep_table import ColumnKey, columns_of
from depthtui.tui.panes.view import View
from depthtui.tui.screens.dialogs.run_list import RunTable
from depthtui.tui.state.session import Session, SessionRun
from depthtui.tui.state.sweep_rows import SweepViewBuilder
from tests.builders.engines import ScriptedEngine
from tests.builders.results import random_result
from tests.simulated_prompts import simulated_prompts
from tests.sweep.sweeps import make_plan, sweep
from tests.tui.panes.drawing import framed, lines, summary_of

SETTINGS = SummarySettings()
TOLD = "How many layers run until the lens is certain."
LAYERS = 12


def new_rule(**changes: object) -> Rule:
    """A rule that reads the lens's entropy, with a threshold that no option sets."""
    rule = Rule(
        name="certain",
        title="certainty",
        short="sure",
        kind="readable",
        meaning="until the {lens} is certain",
        curve="entropy",
        noun="the entropy",
        unit="nats of H",
        threshold=Threshold(value=0.9, falls=True, of_largest=True),
        figure="{lens} certainty",
        axis="H(p_l), nats",
        explanation=Explanation("Effective depth by the certainty", TOLD, "", "", "", ""),
    )
    return replace(rule, **changes)  # type: ignore[arg-type]


@pytest.fixture
def certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ALL", (*rules.ALL, new_rule()))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule whose curve is of another metric."""
    threshold = Threshold(value=0.5)
    rule = new_rule(curve="settled", threshold=threshold, noun="the share")
    monkeypatch.setattr(rules, "ALL", (*rules.ALL, rule))


def settling_prompts(n: int = 8) -> list[PromptCurves]:
    """Prompts of 30 layers with a curve of every rule."""
    return simulated_prompts(np.random.default_rng(0), n, depth=14)


def test_a_curve_of_any_name_is_pooled() -> None:
    a, b = ({"settled": np.array([share, 1.0])} for share in (0.0, 0.6))
    pooled = pool([PromptCurves(1, a), PromptCurves(2, b)])
    np.testing.assert_allclose(pooled["settled"], [0.4, 1.0])
    assert pooled.get("kl") is None
    assert "settled" not in pool([PromptCurves(1, a), PromptCurves(2, {})])


@pytest.mark.usefixtures("settled")
def test_it_has_depths_with_intervals() -> None:
    parts = settling_prompts()
    assert len(parts) >= FEWEST_UNITS
    *_, found = estimate_depths(parts, SETTINGS)
    curve = pool(parts)["settled"]
    layer = int(np.argmax(curve > 0.5))
    assert (found.rule, found.layer, found.threshold) == ("certain", layer, 0.5)
    assert found.interval is not None
    assert found.interval[0] <= layer <= found.interval[1]
    assert found.prompt_weighted is not None


@pytest.mark.usefixtures("settled")
def test_it_is_evidence_of_its_kind() -> None:
    parts = settling_prompts()
    curves = pool(parts)
    found = list(rule_evidence(estimate_depths(parts, SETTINGS), curves, SETTINGS, curves))
    names = [one.measure.measure for one in found]
    assert names.index("overlap") < names.index("certain") < names.index("cosine")
    (new,) = (one for one in found if one.measure.measure == "certain")
    assert new.measure.kind == "readable"
    assert re.fullmatch(r"until the lens is certain \(KL \d.* nats\)", new.measure.meaning)
    assert new.count is not None
    assert new.range(LAYERS)[0] <= new.count


@pytest.mark.usefixtures("certain")
def test_reports_of_runs_have_it() -> None:
    result = random_result(LAYERS, 12)
    found = reading_of([result], SETTINGS).verdict
    assert found is not None
    assert "certain" in [evidence.measure for evidence in found.evidence]
    report = run_report([result], SETTINGS)
    page, words = (report.files(name)[""].decode() for name in ("html", "md"))
    assert "Lens certainty" in page
    assert TOLD in page
    assert "first &lt; 0.9 × max" in page
    assert "certainty" in words
    assert '"rule": "certain"' in report.files("json")[""].decode()
    assert TOLD in [explained.description for explained in of_rules()]


@pytest.mark.usefixtures("certain")
def test_a_sweep_has_it(tmp_path: Path) -> None:
    outcome = sweep(make_plan(("alpha", "beta")), tmp_path, ScriptedEngine())
    summary = summarise_sweep(outcome)
    asked = questions(summary)
    assert "certain" in {answer.number.name for question in asked for answer in question.answers}
    report = sweep_report(summary, asked)
    assert "certainty below 0.9 of its largest" in report.files("md")[""].decode()
    assert "Lens certainty, over relative depth" in report.files("html")[""].decode()
    rows = SweepViewBuilder().rows(outcome, "cells")
    columns = {column.key: column for column in columns_of(rows, 200)}
    assert columns[ColumnKey("layer", "certain")].group == "certainty"
    assert columns[ColumnKey("ratio", "certain")].text(rows[0])


@pytest.mark.usefixtures("certain")
async def test_panes_draw_it(tmp_path: Path) -> None:
    result = random_result(LAYERS, 12)
    summary = summary_of(result)
    for pane in (DepthCurves(), EvidencePane()):
        async with framed(pane, (100, 50)):
            pane.show(View(result, summary, verdict=reading_of([result], SETTINGS).verdict))
            shown = "\n".join(lines(pane))
            assert "certainty" in shown
            if isinstance(pane, EvidencePane):
                assert "< 0.9 of max" in shown
            # No key turns a threshold that no option sets.
            assert "certainty" not in str(pane.border_subtitle)
    run = SessionRun(1, 1, result.model, result.prompt, result.settings, datetime.now(), result)
    heads = str(RunTable([run], Session(), SETTINGS, 120).head)
    assert "sure" in heads.split()
    rows = SweepViewBuilder().rows(sweep(make_plan(("alpha",)), tmp_path), "cells")
    curves = SweepCurves()
    async with framed(curves, (100, 50)):
        curves.show_rows(rows, [], rows[0], SETTINGS)
        assert "certainty" in "\n".join(lines(curves))


@pytest.mark.usefixtures("certain")
async def test_the_heads_of_narrow_panels_are_whole(tmp_path: Path) -> None:
    rows = SweepViewBuilder().rows(sweep(make_plan(("alpha",)), tmp_path), "cells")
    n_heads = 0
    for width in range(70, 100, 3):
        async with framed(curves := SweepCurves(), (width, 18)):
            curves.show_rows(rows, [], rows[0], SETTINGS)
            heads = [line for line in lines(curves) if "overlap" in line and "cosine" in line]
            for head in heads:
                low, high = head.split("cosine")[1].split("certainty")[0].split("…")
                assert low.startswith(" ")
                assert float(low.split()[-1]) < float(high)
            n_heads += len(heads)
    assert n_heads
