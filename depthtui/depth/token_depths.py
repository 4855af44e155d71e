"""The depth of each token: the rules applied to every token's own curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depthtui.data.generation import TokenDepths
from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import GenerationSettings
from depthtui.depth import rules
from depthtui.metrics.early_exit import early_exit
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.settling import BAR, settling_depth


@dataclass(frozen=True)
class TokenDepthMeasure:
    """One measure of the depth of a token.

    Attributes:
        name: its attribute of `TokenDepths`.
        title: its common name.
        meaning: the meaning of a depth, in words.
    """

    name: str
    title: str
    meaning: str


DECIDED = TokenDepthMeasure("prediction", "prediction depth", "from here on the first choice stays")
"""The depth at which a token is decided. It may settle before: a lens that is close to the output
may still have another first choice."""

TOKEN_DEPTHS = (
    DECIDED,
    TokenDepthMeasure(
        "settling",
        "settling depth",
        f"from here on the divergence stays below its bar ({BAR} if not set)",
    ),
    *(
        TokenDepthMeasure(rule.name, f"{rule.title} depth", rule.of_token)
        for rule in rules.ALL
        if rule.of_token
    ),
    TokenDepthMeasure("early_exit", "early exit", "the lens is sure enough to stop here"),
)


def token_depths(
    lens: LogitLens, divergence: np.ndarray, settings: GenerationSettings
) -> TokenDepths:
    """The depths of the N tokens of a lens's columns; `divergence` is `[L+1, N]`."""
    leave = early_exit(lens, settings.confidence)
    return TokenDepths(
        prediction=prediction_depth(lens).astype(np.float32),
        settling=settling_depth(divergence, settings.settling_threshold).astype(np.float32),
        early_exit=leave.depths.astype(np.float32),
        exit_agrees=leave.agrees,
        **{
            rule.name: rule.layers(getattr(lens, rule.curve).T, settings).astype(np.float32)
            for rule in rules.ALL
            if rule.of_token
        },
    )
