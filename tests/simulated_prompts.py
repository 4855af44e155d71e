"""Made-up prompts with a curve of every rule, which cross at depths that tests choose."""

from __future__ import annotations

import numpy as np

from depthtui.data.depth import PromptCurves
from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.intervals import depth_interval
from depthtui.depth.weights import Weighting, task_numbers
from depthtui.metrics.resampling import RESAMPLES, draw


def simulated_prompts(
    rng: np.random.Generator,
    n: int,
    depth: float,
    spread: float = 1.5,
    rough: float = 0.1,
    layers: int = 30,
    length_spread: float = 0.6,
    length_depth: float = 0.0,
) -> list[PromptCurves]:
    """Prompts that vary in where, how high and how smoothly their curves run.

    Args:
        rng: where the variation comes from.
        n: how many prompts.
        depth: the layer around which every curve turns, on average over prompts.
        spread: its standard deviation between prompts, in layers.
        rough: standard deviation of noise that neighbouring layers share in part.
        layers: L.
        length_spread: standard deviation of the logarithm of a prompt's length.
        length_depth: by how many layers a prompt is deeper for each such deviation that it is
            longer.
    """
    longer = rng.normal(size=n)
    lengths = np.maximum(10, np.round(150 * np.exp(length_spread * longer))).astype(int)
    heights = np.exp(0.3 * rng.normal(size=(n, 1)))
    turns = depth + spread * rng.normal(size=(n, 1)) + length_depth * longer[:, None]
    where = (np.arange(layers) - turns) / 2
    noise = rng.normal(size=(3, n, layers))
    for layer in range(1, layers):
        noise[..., layer] = 0.8 * noise[..., layer - 1] + 0.6 * noise[..., layer]
    noise *= rough
    end = np.zeros((n, 1))
    kl = np.hstack([4 * heights / (1 + np.exp(where)) * np.exp(noise[0]), end])
    overlap = np.hstack([1 / (1 + np.exp(0.85 - where - noise[1])), end + 1])
    cosine = 0.1 * heights * (np.tanh(where / 2) + noise[2])
    margin = np.hstack([cosine, cosine[:, -1:]])
    curves = {"mean_cosine": cosine, "kl": kl, "overlap": overlap, "answer_margin": margin}
    for rule in rules.ALL:
        curves.setdefault(rule.curve, kl if rule.threshold.falls else overlap)
    return [
        PromptCurves(int(lengths[i]), {name: rows[i] for name, rows in curves.items()})
        for i in range(n)
    ]


def intervals(
    parts: list[PromptCurves],
    settings: SummarySettings,
    weighting: Weighting = "tokens",
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float] | None]:
    """The interval of every rule's layer."""
    counts = draw(task_numbers(parts), resamples, settings.seed)
    return {
        rule.name: depth_interval(parts, rule, settings, counts, weighting) for rule in rules.ALL
    }
