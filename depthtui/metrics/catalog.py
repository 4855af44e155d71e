"""The metrics by name: what each tells and what it costs. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric that a run can compute.

    Attributes:
        name: its name on the command line and in results.
        title: a short title.
        tells: what it tells, one sentence.
        cost: what it costs, in words.
        needs_answer: whether the prompt must have an answer.
    """

    name: str
    title: str
    tells: str
    cost: str
    needs_answer: bool = False


METRICS: tuple[Metric, ...] = (
    Metric(
        "contributions",
        "Contributions",
        "How much attention, MLP and layer add to the residual stream, and in which direction.",
        "1 forward",
    ),
    Metric(
        "logit_lens",
        "Logit lens",
        "What the model would say at each depth, and how far that is from its output.",
        "1 forward and the LM head at every depth",
    ),
    Metric(
        "skip_effects",
        "Skip effects",
        "How much later layers and the output change when a layer is skipped for earlier tokens.",
        "L forwards, about half of each and resumed",
    ),
    Metric(
        "residual_erasure",
        "Residual erasure",
        "Until which layer each token of the prompt still matters for the answer.",
        "L x T forwards, about a quarter of each and resumed",
        needs_answer=True,
    ),
    Metric(
        "integrated_gradients",
        "Integrated gradients",
        "Which tokens the answer's probability comes from, at each depth, with its error.",
        "10 to 500 forwards and backwards a layer",
        needs_answer=True,
    ),
    Metric(
        "ablation",
        "Ablation loss",
        "What the loss gains when a layer is left out: the ground truth for pruning.",
        "L forwards, half of each",
    ),
    Metric(
        "similarity",
        "Block influence, angular distance",
        "How little layers turn the residual stream, and the best block of n layers to prune.",
        "1 forward",
    ),
    Metric(
        "settling",
        "Settling depth",
        "From which depth on each token's prediction stays close to the final one.",
        "1 forward and the LM head at every depth",
    ),
    Metric(
        "direct_logits",
        "Direct logit attribution",
        "Which layer wrote the token that the model says.",
        "1 forward",
    ),
)

METRIC_BY_NAME: dict[str, Metric] = {each.name: each for each in METRICS}


@dataclass(frozen=True)
class Free:
    """What follows from a metric's arrays without running the model again.

    Attributes:
        title: a short title.
        tells: what it tells, one sentence.
        comes_with: the name of the metric that it follows from.
    """

    title: str
    tells: str
    comes_with: str


FREE: tuple[Free, ...] = (
    Free("DepthScore", "DepthScore, the centre of mass of useful depth.", "skip_effects"),
    Free("Prediction depth", "Prediction depth, where each token is decided.", "logit_lens"),
    Free("Early exit", "What early exit would gain at a confidence, and lose.", "logit_lens"),
    Free("Entropy and margin", "Lens entropy and margin: how sure each depth is.", "logit_lens"),
)
