"""The KL rule: the first layer before which the lens's KL is below a share of its largest."""

from __future__ import annotations

from depthtui.data.explanation import Explanation
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.rule import Rule, Threshold

RULE = Rule(
    name="kl",
    title="KL",
    short="KL",
    noun="KL",
    kind="readable",
    meaning="until the {lens}'s KL first falls below {threshold} of its largest",
    curve="kl",
    unit="nats",
    threshold=Threshold(
        value=SummarySettings.kl_threshold,
        option="kl_threshold",
        falls=True,
        of_largest=True,
        keys="+ -",
    ),
    figure="{lens} KL",
    axis="KL(p_l || p), nats",
    measure="kl",
    of_token=True,
    of_paper=True,
    explanation=Explanation(
        "Effective depth by the KL",
        "How many layers run until the lens's KL first falls below a share of its largest.",
        "the first layer e where p_e, read before it, has a KL to the output below a share "
        "(0.5) of the largest; e + 1 layers, since the first is layer 0",
        "+ and - change the share. A share is not nearness: where the largest KL is 15 nats, 7 "
        "are below half of it. The verdict shows the KL at that layer, and how many first choices "
        "are the output's.",
        "A flat curve beside the threshold: a slightly different threshold gives another count.",
        "Hu, Zhou, Zhang, arXiv 2512.14064",
    ),
)
