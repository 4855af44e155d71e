"""Until which layer each input token still matters for the answer (paper, metric 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import (
    Finding,
    LayerValues,
    Measure,
    MemoryNeed,
    Metric,
    Sizes,
    answer,
    array,
    clean_run,
    floor_of,
    head,
    lens,
    noise_floor,
    row_of_logits,
)


@dataclass
class ResidualErasure(MetricResult):
    """What the answer loses when a token is erased at a depth (paper, metric 4).

    Attributes:
        effect: the largest |p - p~|_2 over the answer's tokens; NaN not done yet.
        answer_start: index of the answer's first token.
        floor: the largest effect in runs that go the same way with nothing erased: what is not
            larger is not told apart from rounding.
    """

    effect: Annotated[np.ndarray, Shape("L+1", "T")]
    answer_start: int
    floor: float

    @property
    def is_whole(self) -> bool:
        return bool(np.isfinite(self.effect).all())


def _work(result: RunResult) -> float:
    """Each token runs with those behind it, from every depth on; the last one is never erased."""
    count, stop = result.model.n_layers, len(result.tokens) - 1
    layers = sum(count - depth for depth in range(count + 1)) / count
    tokens = layers * sum(stop - token for token in range(stop))
    reads = (count + 1) * stop * (len(result.tokens) - result.answer_start)
    return (tokens + reads * head(result)) / len(result.tokens)


def _pool(pooled: Pooled) -> list[ResidualErasure | None] | None:
    return pooled.by_prompt(ResidualErasure)


def _summary(by_prompt: list[ResidualErasure | None], pooled: Pooled) -> dict[str, Any]:
    return {"residual_erasure": [None if found is None else vars(found) for found in by_prompt]}


def _findings(by_prompt: list[ResidualErasure | None], pooled: Pooled) -> list[Finding]:
    floor = max(found.floor for found in by_prompt if found is not None)
    return [noise_floor(METRIC.title, f"{floor:.2g}")]


def _per_layer(by_prompt: list[ResidualErasure | None]) -> list[LayerValues]:
    """The largest effect on the answer of erasing one token of the question."""
    known = [found for found in by_prompt if found is not None]
    # The question's last token is left out: it says the answer's first, at any depth.
    parts = [found.effect[:, : max(0, found.answer_start - 1)] for found in known]
    effects = [effect.max(axis=1) for effect in parts if effect.size]
    return [LayerValues("erasure", np.max(effects, axis=0))] if effects else []


def _memory(sizes: Sizes) -> MemoryNeed:
    """One token is erased at every depth: after the last layer, so many streams are there."""
    streams = (sizes.layers + 1) * sizes.residual_bytes
    return MemoryNeed(head=streams) + row_of_logits(sizes)


def _answer_begins(result: RunResult, row: int) -> str:
    return f"answer from token {result.answer_start}"


METRIC = Metric(
    name="residual_erasure",
    title="Residual erasure",
    tells="Until which layer each token of the prompt still matters for the answer.",
    formula=(
        "replace one token's residual at one depth by the mean over baseline prompts; largest "
        "change of the answer's probabilities"
    ),
    cost="L x T forwards, about a quarter of each and resumed",
    work=_work,
    result=ResidualErasure,
    compute="depthtui.metrics.residual_erasure.compute:compute",
    needs=(clean_run, lens, answer),
    memory=_memory,
    depends_on=("answer_start", "baseline"),
    measures=(
        Measure(
            "residual_erasure",
            "Residual erasure",
            "|p - p~| of the answer",
            array(ResidualErasure, "effect"),
            reads_residual=True,
            floor=floor_of(ResidualErasure),
            leading=True,
            note=_answer_begins,
        ),
    ),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
)
