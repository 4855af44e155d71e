"""What each measure, rule and column is, how to read it, and where it comes from."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.explanation import Explanation
from depthtui.data.verdict import Verdict
from depthtui.depth.published import PROTOCOL
from depthtui.depth.token_depths import TOKEN_DEPTHS
from depthtui.metrics import ALL, METRIC_BY_NAME
from depthtui.metrics.spec import Measure, Metric
from depthtui.report.phrases import rule_title

_PAPER = "Hu, Zhou, Zhang, arXiv 2512.14064"

RULES = {
    "cosine": Explanation(
        "Effective depth by the cosine",
        "How many layers erase or write before the others only strengthen what is there.",
        "the last layer e where the mean of the three cosines is below 0 and at e + 1 is not; "
        "e + 1 layers, since the first is layer 0",
        "A count of 20, say: up to layer 19 the mean layer works against the stream or across it.",
        "How near 0 the curve runs: where it only grazes 0, the count hangs on a hair.",
        _PAPER,
    ),
    "kl": Explanation(
        "Effective depth by the KL",
        "How many layers run until the lens comes close to the output.",
        "the first layer e where p_e, read before it, has a KL to the output below a share "
        "(0.5) of the largest; e + 1 layers, since the first is layer 0",
        "+ and - turn the share. Few layers: the lens soon reads much of the output.",
        "A flat curve beside the threshold: a slightly different one gives another count.",
        _PAPER,
    ),
    "overlap": Explanation(
        "Effective depth by the overlap",
        "How many layers run until the lens reads the output's tokens.",
        "the first layer e before which more than 0.3 of the output's five first tokens are read; "
        "e + 1 layers, since the first is layer 0",
        "< and > turn the threshold. Late is normal: the tokens themselves come up last.",
        "Whether the curve stays above it, or falls back once more. A fitted lens may say 1: it "
        "has learned what often follows a token, before any layer.",
        _PAPER,
    ),
}
"""By the rule's name."""

VERDICT = Explanation(
    "The verdict",
    "How many of its layers the model uses here, and how that is known.",
    "counts of three kinds, side by side and never averaged: what a lens reads, how the residual "
    "stream moves, what changes where layers are left out. A band is what the count becomes with "
    "a threshold a fifth lower or higher, with and without token 0, by other lenses, over prompts",
    "◆ is a depth: all layers up to it. ■ are layers by themselves, where they lie, ◧ only some of "
    "those that share the place. Solid is firm: whatever is varied, the count stays within a tenth "
    "of the layers. Hollow, broken and ! are fragile, and the reason says what the count hangs on.",
    "Whether the kinds agree. Readable late and causally early: the last layers refine. Readable "
    "early and causally late: layers compute what the lens cannot see.",
    "The rules: " + _PAPER,
)

LENS_TABLE = replace(
    RULES["kl"],
    title="Logit lens at a token",
    tells="What the model would say after the selected token, at each depth.",
    formula="p_l = softmax(W N(h_l)); H is its entropy in nats",
    reading="A row's most probable tokens and their probabilities; H near 0 is certain of one.",
    look_for="The row where the final token is first seen, and from where on it stays first.",
    source=METRIC_BY_NAME["logit_lens"].source,
)

_COLUMNS = {
    "model": Explanation("Model", "Which model this row is of, or how many are pooled in it."),
    "task": Explanation("Task", "Which task and difficulty, or how many are pooled in the row."),
    "done": Explanation(
        "Prompts done", "How many prompts have been run, of all where some are missing."
    ),
    "failed": Explanation(
        "What failed",
        "Prompts and metrics that could not be done.",
        look_for="`r` tries them again; `failures.json` has the reasons.",
    ),
    "layers": Explanation(
        "Layers",
        "L, the number of the model's layers.",
        reading="Counts of models of different depth are compared by their ratio.",
    ),
}

_OF_TOKENS = {
    "prediction": "prediction_depth",
    "settling": "settling",
    "early_exit": "early_exit",
}
"""The metric that a token's depth comes from, where it is no rule."""


def of_metric(metric: Metric) -> Explanation:
    """What a metric is."""
    return Explanation(
        metric.title,
        metric.tells,
        _plain(metric.formula),
        metric.reading,
        metric.look_for,
        metric.source,
    )


def of_metrics(*names: str) -> tuple[Explanation, ...]:
    """What metrics are, derived ones too."""
    return tuple(of_metric(metric) for metric in ALL if metric.name in names)


def of_measure(measure: Measure) -> tuple[Explanation, ...]:
    """What a measure of a heatmap is, and the rule of effective depth that reads it."""
    metric = METRIC_BY_NAME.get(measure.metric)
    if metric is None:
        return (of_token_depth(measure.name),)
    found = replace(
        of_metric(metric),
        title=measure.title,
        formula=measure.formula,
        reading=measure.reading or metric.reading,
    )
    return (found, RULES[measure.rule]) if measure.rule else (found,)


def of_token_depth(name: str) -> Explanation:
    """What one measure of a generated token's depth is."""
    depth = next(depth for depth in TOKEN_DEPTHS if depth.name == name)
    if name in RULES:
        return replace(RULES[name], title=depth.title, tells=f"{depth.meaning}.")
    return replace(of_metrics(_OF_TOKENS[name])[0], title=depth.title, tells=f"{depth.meaning}.")


def of_verdict(verdict: Verdict | None) -> tuple[Explanation, ...]:
    """What a verdict is, and each of its measures."""
    found = [VERDICT]
    for measure in verdict.evidence if verdict else ():
        found += [RULES[measure.measure]] if measure.measure in RULES else []
        found += of_metrics(measure.measure)
    return tuple(found)


def of_column(part: str, rule: str = "") -> Explanation:
    """What a column of a sweep's table is, such as the `interval` of a rule."""
    if not rule:
        return _COLUMNS[part]
    shown = RULES[rule]
    match part:
        case "interval":
            return replace(
                shown,
                title=f"95 % interval of the depth by {rule_title(rule)}",
                reading="Between which counts it lies for other prompts of the same kind: prompts "
                "are drawn anew from these, the curves pooled again.",
                look_for="Intervals that lie apart: there the models or tasks differ.",
            )
        case "paper":
            return replace(
                shown,
                title=f"The paper's depth by {rule_title(rule)}",
                reading="The number of layers that the paper reports for this model; with ≈ on "
                f"the data set that is most like this task. {PROTOCOL}",
                look_for="How far ours is from it: by other weights, prompts or bits, or by the "
                "KL rule where the curve is flat beside its threshold.",
            )
        case "ratio":
            return replace(
                shown,
                title=f"Ratio of the depth by {rule_title(rule)}",
                reading="The count over L: what models of different depth are compared by.",
            )
    return shown


def _plain(formula: str) -> str:
    """Markdown as plain text."""
    return formula.replace("`", "")
