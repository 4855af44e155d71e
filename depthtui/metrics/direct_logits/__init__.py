"""Which layer wrote the model's next token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.metrics import needs
from depthtui.metrics.costs import row_of_logits
from depthtui.metrics.measures import array
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Measure, Metric


@dataclass
class DirectLogits(MetricResult):
    """Each layer's share of the logit of the model's most probable next token.

    Attributes:
        token_ids: the model's most probable next token.
        attribution: row 0 is the embedding's, row l + 1 layer l's share of the token's logit,
            with the final norm's scale fixed.
    """

    token_ids: Annotated[np.ndarray, Shape("T", dtype=np.int64)]
    attribution: Annotated[np.ndarray, Shape("L+1", "T")]


def _summary(by_run: list[DirectLogits | None], pooled: Pooled) -> list[Any]:
    return [None if logits is None else vars(logits) for logits in by_run]


METRIC = Metric(
    name="direct_logits",
    title="Direct logit attribution",
    description="The layers that write the model's first choice.",
    formula=(
        "`W[token] N'(c_l)`, the final norm's scale held fixed: each layer's share of the logit of "
        "the model's first choice"
    ),
    reading=(
        "Above 0 a layer writes towards the model's first choice, below 0 against it. Layers and "
        "embedding add up to its logit."
    ),
    look_for="The few layers that write most of it. They read what earlier layers have made.",
    source="Elhage et al., A Mathematical Framework for Transformer Circuits, 2021",
    cost="1 forward",
    result=DirectLogits,
    reruns_layers=False,
    needs=(needs.clean_run, needs.lens, needs.unbroken_stream),
    memory=row_of_logits,
    measures=(
        Measure(
            "direct_logits",
            "Direct logits",
            "W[top-1] N'(c)",
            # Row 0 is the embedding's share, which no layer wrote.
            array(DirectLogits, "attribution", slice(1, None)),
            diverging=True,
        ),
    ),
    reduced=Reduced,
    # Attributions to different tokens have no mean: only a single run's are shown.
    reduce=lambda result, run, tokens: Reduced(tokens=len(result.token_ids)),
    pool=lambda reduced, pooled: pooled.measured(DirectLogits) or None,
    summary=_summary,
)
