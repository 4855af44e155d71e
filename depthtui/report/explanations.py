"""Explanations of each measure, rule and column: meaning, how to read it, source."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.explanation import Explanation
from depthtui.data.model import ModelInfo
from depthtui.data.verdict import Verdict
from depthtui.depth import rules
from depthtui.depth.published import PROTOCOL
from depthtui.metrics import kept, logit_lens
from depthtui.metrics.registry import ALL, METRIC_BY_NAME
from depthtui.metrics.spec import Measure, Metric
from depthtui.report.phrases import rule_title
from depthtui.report.reading_guide import MARKS

_PAPER = "Hu, Zhou, Zhang, arXiv 2512.14064"

VERDICT = Explanation(
    "The verdict",
    "The number of layers that the model uses here, with the evidence.",
    "counts of three kinds, side by side and never averaged: what a lens reads, how the residual "
    "stream moves, what changes when layers are left out. A band is the range of the count with a "
    "threshold a fifth lower or higher, with and without token 0, by other lenses, and with "
    "prompts and tokens drawn again",
    "Firm: the count stays within a tenth of the layers, whatever is varied, other prompts like "
    "these included. Holds here: the same with fewer than five prompts, which allow no conclusion "
    "on others. Fragile: it moves further, and the reason names the cause. "
    + " ".join(f"{marks} {meaning}." for marks, meaning in MARKS),
    "Warnings, which come first, then the layers that keep what the model knows. A depth is a "
    "place, not a number of used layers: a depth of 3 ends after layer 2, since layers are "
    "numbered from 0.",
    "The rules: " + _PAPER,
)

LENS_TABLE = Explanation(
    "Logit lens at a token",
    "The model's next tokens after the selected one, read before each layer.",
    "p_l = softmax(W N(h_l)); H is its entropy in nats",
    "Row l is what enters layer l, before that layer has run; what layer l adds is seen in row "
    "l + 1, and `out` is the output. Each row has its most probable tokens and their "
    "probabilities; H near 0 is certain of one.",
    "The row where the final token is first seen, and from where on it stays first.",
    logit_lens.METRIC.source,
)

_COLUMNS = {
    "model": Explanation("Model", "Which model this row is of, or how many are pooled in it."),
    "task": Explanation("Task", "Which task and difficulty, or how many are pooled in the row."),
    "done": Explanation(
        "Prompts done", "How many prompts have been run, of all where some are missing."
    ),
    "right": Explanation(
        "Right answers",
        "How many of the known answers the model gives itself.",
        "each token of the answer is the model's first choice after those before it "
        "(teacher-forced); with right answers measured, the model chooses the right option, else "
        "writes the answer",
        "A worked solution counts as one answer, and is rarely given word for word.",
        "Levels with few right answers: their depth is that of failures. The trend over levels is "
        "given again over right answers alone.",
    ),
    "failed": Explanation(
        "Failures",
        "Prompts and metrics that could not be done.",
        look_for="`r` tries them again; `failures.json` has the reasons.",
    ),
    "layers": Explanation(
        "Layers",
        "L, the number of the model's layers.",
        reading="Counts of models of different depth are compared by their ratio.",
    ),
}


def of_rules() -> tuple[Explanation, ...]:
    """Explanations of every rule."""
    return tuple(rule.explanation for rule in rules.ALL)


def of_metric(metric: Metric) -> Explanation:
    """The explanation of a metric."""
    return Explanation(
        metric.title,
        metric.description,
        _plain(metric.formula),
        metric.reading,
        metric.look_for,
        metric.source,
    )


def of_metrics(*names: str) -> tuple[Explanation, ...]:
    """Explanations of metrics, derived ones included."""
    return tuple(of_metric(metric) for metric in ALL if metric.name in names)


def of_measure(measure: Measure) -> tuple[Explanation, ...]:
    """Explanations of a heatmap's measure, and of the rule of effective depth that reads it."""
    if measure.explained is not None:
        return (measure.explained,)
    metric = METRIC_BY_NAME[measure.metric]
    explanation = replace(
        of_metric(metric),
        title=measure.title,
        formula=measure.formula,
        reading=measure.reading or metric.reading,
    )
    # A plug-in's rule may be left out, and its metric not.
    rule = [rule.explanation for rule in rules.ALL if rule.name == measure.rule]
    return (explanation, *rule)


def of_verdict(verdict: Verdict | None) -> tuple[Explanation, ...]:
    """Explanations of a verdict and of each of its measures."""
    explanations = [VERDICT]
    for measure in verdict.evidence if verdict else ():
        explanations += [rule.explanation for rule in rules.ALL if rule.name == measure.measure]
        explanations += of_metrics(measure.measure)
    return tuple(explanations)


def of_column(part: str, rule: str = "") -> Explanation:
    """The explanation of a column of a sweep's table, such as the `interval` of a rule."""
    if explanations := of_metrics(part):
        return explanations[0]
    if part == "mean":
        return replace(of_metric(kept.METRIC), title="Mean depth")
    if not rule:
        return _COLUMNS[part]
    explanation = rules.named(rule).explanation
    match part:
        case "interval":
            return replace(
                explanation,
                title=f"95 % interval of the depth by {rule_title(rule)}",
                reading="Between which counts it lies for other draws of a task's generator, or "
                "other prompts of its data set: prompts are drawn anew from these, the curves "
                "pooled again. ±½: every one of these has the same count.",
                look_for="Intervals that lie apart: there the models or tasks differ.",
            )
        case "paper":
            return replace(
                explanation,
                title=f"The paper's depth by {rule_title(rule)}",
                reading="The number of layers that the paper reports for this model; with ≈ on "
                f"the data set that is most like this task. {PROTOCOL}",
                look_for="How far ours is from it. Other weights, prompts or bits may be why, and "
                "by the KL rule a curve that is flat beside its threshold.",
            )
        case "ratio":
            return replace(
                explanation,
                title=f"Ratio of the depth by {rule_title(rule)}",
                reading="The count over L: what models of different depth are compared by.",
            )
    return explanation


def of_types(model: ModelInfo | None) -> tuple[Explanation, ...]:
    """Explanations of the marks of a hybrid's layers; none where all layers are alike."""
    if model is None or not model.layer_types:
        return ()
    counts = {model.type_marks[kind]: len(of) for kind, of in model.layers_by_type.items()}
    marks = ", ".join(f"{mark} {kind} ({counts[mark]})" for kind, mark in model.type_marks.items())
    return (
        Explanation(
            "Types of layers",
            f"The model mixes layers of several types: {marks}.",
            reading="The letter behind a layer's number is the mark of its type.",
            look_for="The table by type of layer: what a layer of each does by itself, and how "
            "many of each are used.",
        ),
    )


def _plain(formula: str) -> str:
    """Markdown as plain text."""
    return formula.replace("`", "")
