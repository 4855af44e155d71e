"""The perplexity of texts: whole, without more and more layers of an order, and without each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import kept, needs
from depthtui.metrics.choices import STAND_INS
from depthtui.metrics.column import LeftOutColumn
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import ByLayer, Reduced
from depthtui.metrics.resampling import FEWEST_UNITS, LEVEL
from depthtui.metrics.spec import Finding, LayerValues, Metric

NAME = "perplexity"

_NAMES = ("along", "alone")
"""The losses, by the names of their fields."""


@dataclass
class Perplexity(MetricResult):
    """The losses of every token but the first with layers left out at all tokens, in nats.

    Attributes:
        order: the model's order of its layers, the first to leave out first.
        along: without the first 0, 1, 2, … of them.
        alone: without each layer.
    """

    order: tuple[int, ...]
    along: Annotated[np.ndarray, Shape("M+1", "T-1")]
    alone: Annotated[np.ndarray, Shape("L", "T-1")]


@dataclass(frozen=True, kw_only=True)
class ReducedPerplexity(Reduced):
    """The mean losses of one prompt, as in `Perplexity`."""

    order: tuple[int, ...]
    along: Annotated[np.ndarray, Shape("M+1", dtype=np.float64)]
    alone: ByLayer


@dataclass(frozen=True)
class PooledPerplexity:
    """The perplexity of the tokens of one or more prompts.

    Attributes:
        order: as in `Perplexity`.
        along: without the first 0, 1, 2, … layers of the order.
        alone: without each layer.
        tokens: how many tokens are scored.
    """

    order: tuple[int, ...]
    along: LeftOutColumn
    alone: LeftOutColumn
    tokens: int


def perplexities(losses: np.ndarray, tokens: np.ndarray) -> LeftOutColumn:
    """Perplexities, and their 95 % intervals by Student's t over prompts.

    The interval is of the mean loss, where it is symmetric; with fewer than `FEWEST_UNITS` prompts
    there is none. A prompt weighs as its tokens; where numbers of tokens differ, the standard error
    is that of a ratio.

    Args:
        losses: mean losses of each prompt, in nats, `[prompts, n]`.
        tokens: how many tokens they are of, `[prompts]`.
    """
    mean, n = np.average(losses, axis=0, weights=tokens), len(tokens)
    ends = None
    if n >= FEWEST_UNITS:
        from scipy.special import stdtrit

        apart = (losses - mean) * (tokens / tokens.mean())[:, None]
        error = np.sqrt((apart**2).sum(axis=0) / (n * (n - 1)))
        ends = np.exp(mean + stdtrit(n - 1, (1 + LEVEL) / 2) * np.array([-error, error]))
    return LeftOutColumn(NAME, np.exp(mean), ".4g", find_interval=lambda: ends)


def _pool(reduced: Sequence[ReducedPerplexity], pooled: Pooled) -> PooledPerplexity | None:
    if len({prompt.order for prompt in reduced}) > 1:
        return None
    tokens = np.array([prompt.tokens for prompt in reduced])
    along, alone = (np.array([getattr(prompt, name) for prompt in reduced]) for name in _NAMES)
    columns = perplexities(along, tokens), perplexities(alone, tokens)
    return PooledPerplexity(reduced[0].order, *columns, int(tokens.sum()))


def _words(column: LeftOutColumn, place: int) -> str:
    """A perplexity with its interval, such as `21.3 (19.8-23.1)`."""
    ends = "" if column.interval is None else " ({:.4g}-{:.4g})".format(*column.interval[:, place])
    return column.text(place) + ends


def _findings(perplexity: PooledPerplexity, pooled: Pooled) -> Iterator[Finding]:
    along, alone, order = perplexity.along, perplexity.alone, perplexity.order
    nats, half = f"{np.log(along.values[0]):.3f} nats a token", len(order) // 2
    of = f"{nats}, of {perplexity.tokens} tokens: all but the first of each prompt"
    yield Finding("Perplexity", _words(along, 0), of)
    words = f"without its first layer, {order[0]}; without {half}: {_words(along, half)}"
    yield Finding("Perplexity along the order", _words(along, 1), words)
    least, most = int(alone.values.argmin()), int(alone.values.argmax())
    words = f"without layer {least}, the least; without layer {most}, the most: "
    yield Finding("Perplexity without a layer", _words(alone, least), words + _words(alone, most))


def _summary(perplexity: PooledPerplexity, pooled: Pooled) -> dict[str, Any]:
    summary: dict[str, Any] = {"tokens": perplexity.tokens, "order": perplexity.order}
    for name in _NAMES:
        column: LeftOutColumn = getattr(perplexity, name)
        low, high = (None, None) if column.interval is None else column.interval
        summary[name] = {"values": column.values, "low": low, "high": high}
    return summary


def _model_order(result: RunResult) -> str:
    """A need: layers leave in the model's order, which is one for all prompts."""
    is_own = result.settings.order_source != "model"
    return "it is measured in the model's order: --order-source model" if is_own else ""


METRIC = Metric(
    name=NAME,
    title="Perplexity",
    description="The perplexity of a text: whole, along the order of layers, without each layer.",
    formula="`exp` of the mean loss of all tokens but the first of each prompt, layers left out",
    reading="Among as many equally likely tokens one is as unsure as the model. Lower is better.",
    look_for="It depends on text, window and tokenizer: compare it where all three are the same.",
    source="Without each block as in Shortened LLaMA, arXiv 2402.02834",
    cost="2 L forwards, half of each; the model's order once",
    work=lambda run: run.model.n_layers * (1 + 2 * head(run)),
    result=Perplexity,
    needs=(needs.clean_run, needs.lens, needs.second_token, _model_order),
    needs_order="layer",
    preparation=kept.search_work,
    memory=row_of_logits,
    depends_on=("order_source", "order_search", *STAND_INS),
    reduced=ReducedPerplexity,
    reduce=lambda result, run, tokens: ReducedPerplexity.over(result, run, slice(0, None)),
    pool=_pool,
    summary=_summary,
    findings=_findings,
    means=lambda perplexity, pooled: {NAME: float(perplexity.along.values[0])},
    per_layer=lambda perplexity: [LayerValues(NAME, perplexity.alone.values, of_layer=True)],
)
