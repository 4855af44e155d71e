"""The overlap rule: the first layer before which the lens shares the output's top five enough."""

from __future__ import annotations

from depthtui.data.explanation import Explanation
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rule import Rule, Threshold

RULE = Rule(
    name="overlap",
    title="overlap",
    short="ovl",
    noun="the overlap",
    kind="readable",
    meaning="until the {lens} first shares over {threshold} of the output's top five",
    curve="overlap",
    unit="of top 5",
    limits=(0.0, 1.0),
    threshold=Threshold(value=SummarySettings.overlap_threshold, option="overlap_threshold"),
    figure="{lens} overlap",
    axis="share of the five first tokens",
    measure="overlap",
    of_token=True,
    of_paper=True,
    explanation=Explanation(
        "Effective depth by the overlap",
        "How many layers run until the lens first shares enough of the output's top five tokens.",
        "the first layer e before which more than 0.3 of the output's five first tokens are read; "
        "e + 1 layers, since the first is layer 0",
        "u changes the threshold. Two of five may be shared while the first choice is another: "
        "the verdict shows how many first choices are the output's. A late depth is normal.",
        "Whether the curve stays above the threshold, or falls back. A fitted lens may find layer "
        "0: it has learned what often follows a token, before any layer.",
        "Hu, Zhou, Zhang, arXiv 2512.14064",
    ),
)
