"""The settling rule: the first layer before which more than half of the tokens have settled."""

from __future__ import annotations

from depthtui.data.explanation import Explanation
from depthtui.depth.rule import Rule, Threshold
from depthtui.metrics.settling import BAR

RULE = Rule(
    name="settled",
    title="settled",
    short="set",
    noun="the share of settled tokens",
    kind="readable",
    meaning=f"until the {{lens}}'s JSD stays below {BAR} at half of the tokens",
    curve="settled",
    unit="of tokens",
    limits=(0.0, 1.0),
    threshold=Threshold(value=0.5),
    figure="{lens} settled",
    axis="share of settled tokens",
    measure="settling",
    explanation=Explanation(
        "Effective depth by settled tokens",
        "How many layers run until half of the tokens have settled.",
        "the first layer e before which more than half of the tokens have settled: from there on "
        f"the divergence of lens and output (JSD) stays below {BAR}; e + 1 layers, since the "
        "first is layer 0",
        "A settled token stays settled, so the curve only rises. The bar is wide: two "
        "distributions with different first choices can lie below it.",
        "A late rise: most tokens settle behind nearly all layers. The KL, a mean, can fall "
        "sooner.",
        "Settling: arXiv 2602.13517; the rule is defined here",
    ),
)
