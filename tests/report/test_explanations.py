"""Everything that is shown is explained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from depthtui.data.depth import DepthEstimate
from depthtui.data.explanation import Explanation
from depthtui.data.verdict import Evidence, Headline
from depthtui.depth import rules
from depthtui.depth.right_answers import RightAnswers
from depthtui.depth.verdict import verdict_of
from depthtui.depth.verdict_words import Facts
from depthtui.metrics.registry import ALL, ALL_MEASURES
from depthtui.report.explanations import (
    LENS_TABLE,
    VERDICT,
    of_column,
    of_measure,
    of_metric,
    of_rules,
    of_types,
    of_verdict,
)
from depthtui.sweep.summary import PublishedDepth
from depthtui.tui.panes.sweep_table import columns_of
from tests.builders.models import tiny_model


def is_whole(explanation: Explanation) -> bool:
    """Whether it has its five lines, as sentences and without Markdown."""
    names = [name for name, _ in explanation.lines]
    assert names == ["tells", "formula", "read it", "look for", "source"]
    assert explanation.title
    assert "`" not in explanation.formula
    for text in (explanation.description, explanation.reading, explanation.look_for):
        assert text.endswith(".")
    return True


def test_every_metric_is_explained() -> None:
    assert [metric.name for metric in ALL if not is_whole(of_metric(metric))] == []


def test_every_measure_is_explained_with_its_own_formula() -> None:
    for measure in ALL_MEASURES:
        first, *others = of_measure(measure)
        assert is_whole(first), measure.name
        assert (first.title, first.formula) == (measure.title, measure.formula)
        assert others == ([rules.named(measure.rule).explanation] if measure.rule else [])


def test_every_rule_is_explained() -> None:
    assert all(is_whole(rule) for rule in (*of_rules(), VERDICT, LENS_TABLE))


def test_every_column_of_a_sweep_is_explained() -> None:
    row: Any = SimpleNamespace(
        failures=("one",),
        accuracy=RightAnswers(3, 10),
        headline=Headline("kept", 18.0, 17.0, 19.0, 9.5, 12.0, 4.0),
        depth=lambda rule: DepthEstimate(rule, 3, 0.5, None, interval=(2.0, 4.0)),
        published=lambda rule: PublishedDepth("gsm8k", True, 20, 28, 2),
    )
    columns = [column for width in (60, 120) for column in columns_of([row], width)]
    keys = {column.key for column in columns}
    of_rule = {("layer", "kl"), ("interval", "kl"), ("ratio", "kl"), ("paper", "kl")}
    plain = {("model", ""), ("right", ""), ("kept", ""), ("failed", ""), ("layers", "")}
    assert plain | of_rule <= keys
    for part, rule in keys:
        explained = of_column(part, rule)
        assert explained.title
        assert explained.description.endswith(".")
        if rule:
            assert is_whole(explained)


def test_a_verdict_is_explained_with_its_measures() -> None:
    evidence = (
        Evidence("readable", "kl", "KL", 3, 3, 3),
        Evidence("causal", "ablation", "ablation", 4, 4, 4),
    )
    verdict = verdict_of(Facts(evidence=evidence, n_layers=10))
    titles = [explanation.title for explanation in of_verdict(verdict)]
    assert titles == ["The verdict", "Ablation", "Effective depth by the KL"]
    assert of_verdict(None) == (VERDICT,)


def test_the_marks_of_types():
    types = ("mamba", "mamba", "full attention")
    (explanation,) = of_types(tiny_model(3, layer_types=types))
    assert explanation.description == (
        "The model mixes layers of several types: M mamba (2), F full attention (1)."
    )
    assert of_types(tiny_model(3)) == of_types(None) == ()
