"""The share of a model's knowledge of a text that is kept with more and more layers left out.

What a model knows of a text is the loss that context saves: the gain over a guess without context.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.choices import STAND_INS
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import CountMeasure, LayerCount
from depthtui.metrics.kept import pool, words
from depthtui.metrics.kept.curve import share_kept
from depthtui.metrics.kept.output import second_value
from depthtui.metrics.kept.pool import PooledKept, ReducedKept
from depthtui.metrics.kept.result import Kept, answer_tokens, has_draft, is_short, reads_own
from depthtui.metrics.layer_order import LENGTH, RECALLED_ORDERS, TEXTS, expected_trials
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Finding, Metric

NAME = pool.NAME

_DRAWN_READ = 0.4
"""The share of a drawn order's rows that is read before nothing is kept (measured)."""

COUNT_MEASURE = CountMeasure("causal", NAME, NAME, "that keep nine tenths of what it knows")


def why_not_pooled(pooled: Pooled) -> str:
    """Why prompts are not counted together, in a clause; empty where they are."""
    return pool.why_not_pooled(pooled.reduced(METRIC))


def _pool(reduced: Sequence[ReducedKept], pooled: Pooled) -> PooledKept | None:
    return pool.pool_prompts(pooled.reduced(METRIC), pooled)


def _findings(knowledge: PooledKept, pooled: Pooled) -> Iterable[Finding]:
    return words.findings(knowledge, output_of(pooled), pooled)


def _evidence(knowledge: PooledKept, pooled: Pooled) -> list[LayerCount]:
    measure = replace(COUNT_MEASURE, meaning=f"that keep {knowledge.curve.stop.kept_words}")
    return [words.counted(measure, knowledge, pooled, knowledge.kept_layers)]


def _means(knowledge: PooledKept, pooled: Pooled) -> dict[str, float]:
    curve = knowledge.curve
    if curve.why_too_little:
        return {}
    return {"layers that keep nine tenths": curve.count(), "mean depth": curve.mean_depth}


def work(run: RunResult, per_layer: int = 1) -> float:
    """The work in passes of one token: a curve and a ranking take half a pass for each piece."""
    settings, curves = run.settings, 1.0
    if settings.order_source == "own":
        # A ranking of the prompt's tokens, two queues, and another curve.
        curves += 0 if settings.order_texts else 4
    if reads_own(run):
        # Two curves; of the prompt's own tokens also a ranking, two queues, and two more curves.
        curves += 2 if settings.order_texts else 7
    if is_short(len(run.tokens)):
        curves += 2 * _DRAWN_READ
    return curves * per_layer * run.model.n_layers * (1 / 2 + head(run))


def search_work(run: RunResult, per_layer: int = 1) -> float:
    """The cost of the model's order, in passes of one token; 0 where none is searched for.

    A trial runs half of the layers and the LM head on all text tokens.
    """
    settings = run.settings
    if settings.order_source != "model" or not settings.is_clean:
        return 0.0
    trials = expected_trials(per_layer * run.model.n_layers, settings.order_search)
    return TEXTS * LENGTH * trials * (1 / 2 + head(run))


DEPENDS_ON = (
    *("order_source", "order_search", "order_texts", "order_answers", "answer_start"),
    *STAND_INS,
)
"""The settings that change what is kept."""

METRIC = Metric(
    name=NAME,
    title="Knowledge kept",
    description="The number of layers that keep nine tenths of what the model knows of a text.",
    formula=(
        "leave layers out together, those that cost least first; `1 - (loss_m - loss_0) / G` on "
        "the true tokens, `G` the loss that the whole model saves over a guess without context"
    ),
    reading=(
        "What a model knows of a token is the loss that context saves, in nats: the guess is the "
        "model's mean output on texts of its own. Layers are counted where they keep nine tenths "
        "of it, and half; the mean depth is the layers that a nat of it takes on average."
    ),
    look_for=(
        "Where an answer is known, its tokens alone are counted: the frame of a question is not "
        "what is asked. Orders that are drawn show how much of the count is the search's."
    ),
    source="Greedy depth pruning, verified on other tokens (see arXiv 2604.24938); defined here",
    cost="L forwards for each of up to eight orders, half of each; the model's order once, longer",
    work=work,
    result=Kept,
    needs=(needs.clean_run, needs.lens, needs.second_token),
    needs_order="layer",
    has_draft=has_draft,
    preparation=search_work,
    memory=row_of_logits,
    recalled_with=RECALLED_ORDERS,
    depends_on=DEPENDS_ON,
    reduced=ReducedKept,
    reduce=pool.reduce,
    pool=_pool,
    findings=_findings,
    means=_means,
    evidence=_evidence,
)

output_of = partial(second_value, METRIC)
"""How near the output stays without layers, pooled once; None where it is not known."""


def share_so_far(run: RunResult) -> np.ndarray | None:
    """The share of a run's gain that is kept without 0, 1, … layers, `[L + 1]`; NaN where unknown.

    Of the answer's tokens where there are some, else of all; None before anything is known.
    """
    result = run.get(Kept)
    if result is None or not result.orders:
        return None
    losses = pool.losses_of(result, run, answer_tokens(run) or slice(1, None))
    if losses is None or not np.isfinite([losses.loss[0, 0], losses.guess]).all():
        return None
    return share_kept(losses.loss[0], np.array(losses.guess))
