"""Published values, for comparison: the paper's effective depths; others' layers and perplexities.

Source of the depths: Hu, Zhou, Zhang, "What Affects the Effective Depth of Large Language
Models?" (arXiv 2512.14064). Layers are 0-based indices e; the ratio is
(e + 1) / L. The KL rule, the overlap rule and the sign of the cosine are sound
in the published code, so a faithful run should give these values.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from depthtui.data.model import DEMO_NAME, ModelInfo
from depthtui.data.run import Prompt
from depthtui.data.selection import numbers_text
from depthtui.depth import rules
from depthtui.metrics.ranking import lowest

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))

RULES = tuple(rule.name for rule in rules.BUILT_IN if rule.of_paper)
"""The paper's three rules."""

DATASETS: dict[str, str] = {"hellaswag": "HellaSwag", "gsm8k": "GSM8K", "aime24": "AIME24"}
"""The paper's data sets, with their names in texts."""

PROTOCOL = (
    "First 10 examples of HellaSwag validation (context and gold ending) and of GSM8K test "
    "(instruction, question and gold solution), 5 examples of AIME24 of at most 400 tokens; "
    "teacher-forced, no chat template, every token counted, 8-bit weights with bfloat16 "
    "arithmetic, KL threshold 0.5, overlap threshold 0.3."
)
"""How the published values were obtained, in words."""

PAPER = f"Paper: layers used on {' / '.join(DATASETS.values())}."
"""The meaning of the published numbers, in a sentence."""

NEAREST: dict[str, str] = _DATA["nearest"]
"""The paper's data set that is most like each task of depthtui, by the task's name."""

DEMO_COUNTS: dict[tuple[str, str], tuple[int, int, int]] = {
    (task, level): tuple(counts)
    for task, levels in _DATA["demo"].items()
    for level, counts in levels.items()
}
"""By task and level, the layers of the demo model that keep nine tenths, and their range."""


def demo_words(prompts: Iterable[Prompt], model: str) -> str:
    """The demo model's count on such prompts; empty where unknown, or for the demo itself."""
    kinds = {(prompt.task, prompt.level) for prompt in prompts}
    if model == DEMO_NAME or len(kinds) > 1 or not kinds <= DEMO_COUNTS.keys():
        return ""
    count, low, high = DEMO_COUNTS[kinds.pop()]
    return f"The demo model takes {count} of its 30 layers ({low} to {high})."


@dataclass(frozen=True)
class PublishedModel:
    """One row of the paper's table.

    Attributes:
        name: the last part of the hub id, such as `Qwen2.5-7B`.
        n_layers: L.
        depths: rule -> data set -> 0-based layer.
    """

    name: str
    n_layers: int
    depths: Mapping[str, Mapping[str, int]]

    def counts(self, rule: str) -> list[int]:
        """The published numbers of layers on the data sets, e + 1, in the paper's order."""
        return [layer + 1 for layer in self.depths[rule].values()]


def _read(name: str, row: Mapping[str, Any]) -> PublishedModel:
    depths = {rule: dict(zip(DATASETS, row[rule], strict=True)) for rule in RULES}
    return PublishedModel(name, row["layers"], depths)


PUBLISHED: dict[str, PublishedModel] = {
    name: _read(name, row) for name, row in _DATA["depths"].items()
}
"""The paper's table, by model name."""

_BY_LOWER_NAME = {name.lower(): model for name, model in PUBLISHED.items()}


def published_for(model_name_or_id: str) -> PublishedModel | None:
    """The paper's row for a model name, a hub id or a local folder of that name, or None.

    Only the last part is compared, ignoring case, so `Qwen/Qwen2.5-7B-Instruct` and
    `models/qwen2.5-7b-instruct/` are the same model.
    """
    return _BY_LOWER_NAME.get(_last_part(model_name_or_id))


def _last_part(model_name_or_id: str) -> str:
    """The last part of a name, in lower case."""
    parts = model_name_or_id.replace("\\", "/").rstrip("/").split("/")
    return parts[-1].strip().lower()


def published_row(model: ModelInfo) -> PublishedModel | None:
    """The paper's row for a model; None also for another number of layers, or an adapter."""
    if model.spec.adapter:
        return None
    row = published_for(model.spec.name) or published_for(model.name)
    return row if row is not None and row.n_layers == model.n_layers else None


LIKE = 2 / 3
"""The least share of the published layers that are among as many here where both are alike."""


@dataclass(frozen=True)
class PublishedLayers:
    """Layers of a model that another publication names by a measure.

    Attributes:
        model: the last part of the hub id.
        n_layers: L.
        metric: the metric of the same measure; empty where there is none.
        measure: the measure; that of a metric is the title of its values by layer.
        statement: a name in `STATEMENTS`.
        layers: the 0-based layers; those of an order in this order.
        source: an arXiv id, or a repository with the number of a thread.
        is_base: whether `model` is the base of the model that is asked about.
    """

    model: str
    n_layers: int
    metric: str
    measure: str
    statement: str
    layers: tuple[int, ...]
    source: str
    is_base: bool = False

    def shared(self, values: np.ndarray) -> int:
        """How many of the layers are among as many of the lowest of `values`, `[L]`."""
        return len(set(self.layers) & set(lowest(values, len(self.layers))))

    def is_like(self, values: np.ndarray) -> bool:
        """Whether at least `LIKE` of the layers are among as many of the lowest of `values`."""
        return self.shared(values) >= LIKE * len(self.layers)


STATEMENTS = {
    "least": "least over layers {}",
    "order": "least over layers {}, in this order",
    "block": "least of all blocks of this length over layers {}",
    "worst": "worst for layers {}",
    "better": "better than the whole model's for layers {}",
}
"""The statements about layers, in words."""

_MEASURES = {
    "influence": ("similarity", "block influence"),
    # The abstract names neither the texts nor the way in which a layer is left out.
    "perplexity": ("", "perplexity without a layer"),
    "angle": ("", "angular distance at the last token, in 4 bits"),
}
"""Metric and name of each measure of the layers."""

_OTHER_NAMES: dict[str, str] = _DATA["other_names"]
"""Other names of models of the tables, in lower case."""

_BASES: dict[str, str] = _DATA["bases"]
"""The base model of tuned ones, in lower case."""


def _read_layers(row: dict[str, Any]) -> PublishedLayers:
    metric, measure = _MEASURES[row["measure"]]
    changes = {"metric": metric, "measure": measure, "layers": tuple(row["layers"])}
    return PublishedLayers(**row | changes)


PUBLISHED_LAYERS = tuple(map(_read_layers, _DATA["layers"]))
"""Every publication's layers of every model; those of one publication on a model together."""


def published_layers(model: ModelInfo) -> list[PublishedLayers]:
    """The published layers of a model or of its base; none of other models or with an adapter."""
    if model.spec.adapter:
        return []
    names = {_last_part(name) for name in (model.spec.name, model.name)}
    names |= {_OTHER_NAMES.get(name, name) for name in names}
    bases = {_BASES[name] for name in names if name in _BASES}
    return [
        replace(row, is_base=row.model.lower() not in names)
        for row in PUBLISHED_LAYERS
        if row.n_layers == model.n_layers and row.model.lower() in names | bases
    ]


PERPLEXITY_SOURCE = "arXiv 2402.02834, Nota-NetsPresso/shortened-llm"
"""The source of the published perplexities: `output_block_sensitivity/*/ppl_n10` of it."""

TIED = 1.05
"""Perplexities up to this many times the least are ties."""


@dataclass(frozen=True)
class PublishedPerplexity:
    """Perplexities of a model without each of its layers, by Shortened LLaMA's protocol.

    Attributes:
        model: the last part of the hub id.
        dtype: the dtype that they were measured in.
        perplexity: the perplexity without layer l, `[L]`; infinite where it overflowed.
    """

    model: str
    dtype: str
    perplexity: np.ndarray


def _read_perplexity(line: str) -> PublishedPerplexity:
    model, dtype, *values = line.split()
    return PublishedPerplexity(model, dtype, np.array(values, np.float64))


_ROWS = Path(__file__).with_name("published_perplexity.txt").read_text("utf-8").splitlines()

PUBLISHED_PERPLEXITY = {row.model.lower(): row for row in map(_read_perplexity, _ROWS)}
"""Perplexities without each layer, by the model's name in lower case."""


def perplexity_named(model_name_or_id: str) -> PublishedPerplexity | None:
    """The published perplexities for a name, a hub id or a local folder of that name, or None."""
    name = _last_part(model_name_or_id)
    return PUBLISHED_PERPLEXITY.get(_OTHER_NAMES.get(name, name))


def published_perplexity(model: ModelInfo) -> PublishedPerplexity | None:
    """The published perplexities of a model; None for others, and with an adapter."""
    row = perplexity_named(model.spec.name) or perplexity_named(model.name)
    is_same = row is not None and len(row.perplexity) == model.n_layers and not model.spec.adapter
    return row if is_same else None


def rank_correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Kendall's tau-b of two costs without each layer, and its two-sided p.

    Costs near the least are ties. NaN where all layers of one are.

    Args:
        a, b: losses, or changes of it, in nats, `[L]`; a layer that is NaN in one is left out.
    """
    from scipy.stats import kendalltau

    is_known = ~(np.isnan(a) | np.isnan(b))
    ranked = (np.maximum(costs[is_known], _tied_up_to(costs)) for costs in (a, b))
    tau, p = kendalltau(*ranked)
    return float(tau), float(p)


def _tied_up_to(costs: np.ndarray) -> float:
    """The cost, in nats, up to which layers are ties with the least one."""
    return float(np.nanmin(costs)) + math.log(TIED)


def cost_order_words(costs: np.ndarray) -> str:
    """The layers by their costs in nats, `[L]`, the least first, in words with the ties."""
    order = np.argsort(costs, kind="stable").tolist()
    n_ties = int((costs <= _tied_up_to(costs)).sum())
    ties, others = sorted(order[:n_ties]), ", ".join(map(str, order[n_ties:]))
    tied = f" (ties, within {TIED - 1:.0%}), then" if n_ties > 1 else ","
    return f"layers {numbers_text(ties)}{tied} {others}"


def perplexity_sentences(
    published: PublishedPerplexity, costs: np.ndarray | None, measure: str
) -> str:
    """The published order of a model's layers, and its rank correlation with ours.

    Args:
        published: the published perplexities.
        costs: our costs without each layer, in nats, `[L]`; None for none.
        measure: the measure of these, in words.
    """
    theirs = np.log(published.perplexity)
    words = (
        f"Published for {published.model}, by perplexity without a layer: from the least, "
        f"{cost_order_words(theirs)} ({PERPLEXITY_SOURCE})."
    )
    if costs is None:
        return words
    tau, p = rank_correlation(costs, theirs)
    words += f" Here, by {measure}: from the least, {cost_order_words(costs)}."
    words += f" Rank correlation (Kendall's tau-b) {tau:.2f}, p = {p:.1g}"
    rows = [np.log(row.perplexity) for row in PUBLISHED_PERPLEXITY.values() if row is not published]
    others = [rank_correlation(row, theirs)[0] for row in rows if len(row) == len(theirs)]
    if others:
        words += f"; {min(others):.2f} to {max(others):.2f} of other models of as many layers"
    return f"{words}."
