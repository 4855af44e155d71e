"""Until which layer each input token still matters for the answer (paper, metric 4)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.data.selection import numbers_text
from depthtui.metrics import needs
from depthtui.metrics.choices import chosen_layers, key_parts, with_choices
from depthtui.metrics.costs import MemoryNeed, Sizes, head, row_of_logits
from depthtui.metrics.evidence import (
    FIFTH,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
    not_of_others,
)
from depthtui.metrics.measures import array, floor_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import counts_by_depth
from depthtui.metrics.reduced import ByDepth, Reduced
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric, noise_floor

SPAN = 64
"""The number of neighbouring tokens that a search by spans erases together at first."""


@dataclass
class ResidualErasure(MetricResult):
    """The change of the answer when a token is erased at a depth (paper, metric 4).

    Attributes:
        effect: the largest |p - p~|_2 over the answer's tokens; NaN where not done yet, or not
            requested.
        answer_start: index of the answer's first token.
        floor: the largest effect in runs computed the same way with nothing erased; effects that
            are not larger cannot be distinguished from rounding.
        chosen: the depths at which tokens are erased, in order; empty for every one.
        tokens: the tokens that are erased, in order; empty for every one.
        threshold: where positive, depths are bisected for the last one whose effect reaches it.
        checks: number of places that the bisection did not need, computed to check its result.
        disagreeing: number of checks that disagree: the effect does not fall steadily with depth,
            or a span has a smaller effect than one of its tokens.
        span: where positive, the number of neighbouring tokens that were at first erased together,
            and split only where their effect reached the threshold. `effect` has only tokens
            erased by themselves.
        settled: the number of erased tokens, from the first on, that such a search has finished.
    """

    effect: Annotated[np.ndarray, Shape("L+1", "T")]
    answer_start: int
    floor: float
    chosen: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    threshold: float = 0.0
    checks: int = 0
    disagreeing: int = 0
    span: int = 0
    settled: int = 0

    @property
    def depths(self) -> list[int]:
        """The depths at which tokens are erased, in order."""
        return list(self.chosen) or list(range(len(self.effect)))

    @property
    def erased(self) -> list[int]:
        """The tokens that are erased, in order; nothing after the last one predicts the answer."""
        return list(self.tokens) or list(range(self.effect.shape[1] - 1))

    @property
    def finished_tokens(self) -> list[int]:
        """The erased tokens that are fully computed, in order."""
        if self.span:
            return self.erased[: self.settled]
        is_known = np.isfinite(self.effect[self.depths])
        is_done = is_known.any(axis=0) if self.threshold else is_known.all(axis=0)
        return [token for token in self.erased if is_done[token]]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each erased token is fully computed."""
        return np.isin(self.erased, self.finished_tokens)

    def until(self, threshold: float) -> np.ndarray:
        """The last depth at which erasing each token has at least this effect, `[T]`.

        -1 where no known depth has.
        """
        reaches = np.nan_to_num(self.effect, nan=-1.0) >= threshold
        last = len(reaches) - 1 - np.argmax(reaches[::-1], axis=0)
        return np.where(reaches.any(axis=0), last, -1)

    @property
    def choice_words(self) -> str:
        """The computed part, such as `8 of 30 tokens, depths 0-4 (5 of 31)`; empty for all.

        For a search, also how often it was checked.
        """
        n_depths, n_tokens = self.effect.shape
        words = []
        if self.tokens:
            words.append(f"{len(self.tokens)} of {n_tokens - 1:,} tokens, drawn by seed")
        if self.chosen:
            words.append(f"depths {numbers_text(self.chosen)} ({len(self.chosen)} of {n_depths})")
        if self.span:
            words.append(f"spans of {self.span} tokens erased first")
        if self.threshold:
            words.append(
                f"depths bisected for |p - p~| of {self.threshold:g}: "
                f"{self.disagreeing} of {self.checks} checks elsewhere disagree"
            )
        return ", ".join(words)


def erased_tokens(result: RunResult) -> tuple[int, ...]:
    """The tokens that a run's settings draw, in order; empty for all of them.

    One token is drawn at random from each of equal stretches of the prompt.
    """
    count, stop = result.settings.erase_tokens, len(result.tokens) - 1
    if not 0 < count < stop:
        return ()
    rng = random.Random(result.settings.seed)
    ends = [place * stop // count for place in range(count + 1)]
    return tuple(rng.randrange(ends[place], ends[place + 1]) for place in range(count))


def threshold_of(result: RunResult) -> float:
    """The effect that a run's settings search for; 0 without a search, for every depth."""
    return result.settings.erase_threshold if result.settings.erase_search else 0.0


def span_of(result: RunResult) -> int:
    """How many neighbouring tokens a run's settings erase together at first; 0 for single ones."""
    return SPAN if result.settings.erase_search == "spans" else 0


def _cache_key(result: RunResult) -> dict[str, Any]:
    parts = key_parts(result, ["answer_start", "baseline", "layers"])
    if erased_tokens(result):
        parts["tokens"] = list(erased_tokens(result))
    if threshold_of(result):
        parts["threshold"] = threshold_of(result)
    if span_of(result):
        # The tokens to check are drawn at random.
        parts |= {"span": span_of(result), "seed": result.settings.seed}
    return parts


def _work(result: RunResult) -> float:
    """The work: each token runs with the tokens behind it, from each depth on, beside one unchanged
    run.

    The last token is never erased.
    """
    count, stop = result.model.n_layers, len(result.tokens) - 1
    depths = chosen_layers(result) or range(count + 1)
    tokens = erased_tokens(result) or range(stop)
    rows = float(len(depths))
    if threshold_of(result):
        # The bisection and two checks. How much of it spans save is known only afterwards.
        rows = min(rows, float(np.ceil(np.log2(len(depths) + 1))) + 2)
    layers = rows * float(np.mean([count - depth for depth in depths])) + count - depths[0]
    reads = (rows + 1) * len(tokens) * (len(result.tokens) - result.answer_start)
    runs = layers / count * sum(stop - token for token in tokens)
    return (runs + reads * head(result)) / len(result.tokens)


@dataclass(frozen=True, kw_only=True)
class ReducedErasure(Reduced):
    """The effects of erasing a token of the question on the answer of one prompt.

    The question's last token, which predicts the answer's first at any depth, is left out.

    Attributes:
        tokens: the number of tokens of the question that count.
        largest: the largest effect of these tokens; NaN where an effect is unknown.
        known: the largest known effect of all tokens of the question; NaN where none is known.
        floor, choice_words: as in `ResidualErasure`.
        is_part: whether tokens or depths were chosen or searched.
        until: for a search, how many tokens of the question, including its last one, matter at no
            depth, and how many matter last at each depth. None without a search.
    """

    largest: ByDepth
    known: ByDepth
    floor: float
    is_part: bool
    choice_words: str
    until: Annotated[np.ndarray, Shape("L+2", dtype=np.int64)] | None


def _reduce(result: ResidualErasure, run: RunResult, tokens: slice) -> ReducedErasure:
    question = result.effect[:, : max(0, result.answer_start - 1)].astype(np.float64)
    effects = question[:, tokens]
    until = None
    if result.threshold:
        done = [token for token in result.finished_tokens if token < result.answer_start]
        until = counts_by_depth(1 + result.until(result.threshold)[done], len(result.effect) + 1)
    return ReducedErasure.of(
        result,
        tokens=effects.shape[1],
        largest=effects.max(axis=1, initial=-np.inf if effects.size else np.nan),
        known=np.fmax.reduce(question, axis=1, initial=np.nan),
        is_part=bool(result.threshold or result.chosen or result.tokens),
        until=until,
    )


def _summary(erased: Sequence[ReducedErasure], pooled: Pooled) -> list[Any]:
    names = ("chosen", "tokens", "threshold", "checks", "disagreeing", "span", "settled")
    return [
        None if erasure is None else with_choices(erasure, *names) | _until(erasure)
        for erasure in pooled.measured(ResidualErasure)
    ]


def _until(erasure: ResidualErasure) -> dict[str, Any]:
    """The search's last depth, by token; null where it was not requested, or is not done."""
    if not erasure.threshold:
        return {}
    done = set(erasure.finished_tokens)
    until = erasure.until(erasure.threshold).tolist()
    return {"until": [depth if t in done else None for t, depth in enumerate(until)]}


def _findings(erased: Sequence[ReducedErasure], pooled: Pooled) -> list[Finding]:
    """Findings of the noise floor, and of the computed part where that differs by prompt."""
    words = dict.fromkeys(erasure.choice_words for erasure in erased if erasure.choice_words)
    floor = max(erasure.floor for erasure in erased)
    return [
        *(Finding(METRIC.title, text) for text in words),
        *_last_depths(erased),
        noise_floor(METRIC.title, f"{floor:.2g}"),
    ]


def _last_depths(erased: Sequence[ReducedErasure]) -> Iterator[Finding]:
    """Findings of a search, over the tokens of the questions."""
    searched = [erasure.until for erasure in erased if erasure.until is not None]
    count, by_depth = int(np.sum(searched)), np.sum([until[1:] for until in searched], axis=0)
    if count:
        matters = np.repeat(np.arange(by_depth.size), by_depth)
        value = (
            f"median depth {np.median(matters):.0f}, last {matters.max()}"
            if len(matters)
            else "none"
        )
        remark = f"where a token of the question last matters; {len(matters)} of {count} do"
        yield Finding(f"{METRIC.title}, until", value, remark)


def _per_layer(erased: Sequence[ReducedErasure]) -> list[LayerValues]:
    """The largest effect on the answer of erasing one token of the question.

    None for a search, which erases different tokens at each depth.
    """
    effects = [
        erasure.known
        for erasure in erased
        if erasure.until is None and np.isfinite(erasure.known).any()
    ]
    return [LayerValues("erasure", np.fmax.reduce(effects))] if effects else []


def _memory(sizes: Sizes) -> MemoryNeed:
    """The memory for the last layer's states of every depth at which a token is erased.

    A search erases it at one depth at a time.
    """
    depths = 1 if sizes.bisects else len(sizes.chosen) or sizes.layers + 1
    return MemoryNeed(head=depths * sizes.residual_bytes) + row_of_logits(sizes)


def _answer_begins(result: RunResult, row: int) -> str:
    erasure = result.get(ResidualErasure)
    words = "" if erasure is None else erasure.choice_words
    return ", ".join(filter(None, (f"answer from token {result.answer_start}", words)))


COUNT_MEASURE = CountMeasure(
    "causal", "residual_erasure", "residual erasure", "until the question is no longer read"
)


def _evidence(erased: Sequence[ReducedErasure], pooled: Pooled) -> list[LayerCount]:
    """How many layers still read the question: no token matters that is erased before a later one.

    The largest effect of erasing a token of the question, a mean over the prompts, reaches
    `RunSettings.erase_threshold` at depths up to d: d + 1 layers. A threshold below the noise
    floor is raised to it. The question's last token is left out, since it predicts the answer's
    first at any depth. There is no evidence from a search, which knows few effects, or from a
    part of the tokens or depths.
    """
    effects = _question_effects(erased)
    if effects is None or any(erasure.is_part for erasure in erased):
        return []
    if not np.isfinite(effects).all():
        return [COUNT_MEASURE.unknown("not every token has been erased yet")]
    floor = max(erasure.floor for erasure in erased)
    least = max(RunSettings.erase_threshold, floor)
    count, variants = int(_reached(effects, least)), []
    for share in (1 - FIFTH, 1 + FIFTH):
        threshold = max(share * RunSettings.erase_threshold, floor)
        other = int(_reached(effects, threshold))
        words = f"effects of {least:.2g} reach {count} layers, those of {threshold:.2g} {other}"
        variants.append(Variant(other, words))
    others = _question_effects(pooled.other.get(METRIC))
    if others is not None:
        other = int(_reached(others, least))
        variants.append(Variant(other, f"token 0 alone moves it from {count} to {other} layers"))
    curve = evidence_curve(effects[1:], least, f"≥ {least:.2g}")
    # Each prompt's question counts once, whatever its length.
    by_prompt = pooled.reduced(METRIC)
    equally_weighted = [
        replace(erasure, tokens=1) if erasure and erasure.tokens else None for erasure in by_prompt
    ]
    interval = pooled.interval(
        equally_weighted, lambda largest: _reached(largest, least), "largest"
    )
    # The largest effect decides the count, and may be larger on other prompts.
    why_here = not_of_others(interval)
    return [
        COUNT_MEASURE.counted(count, variants, curve=curve, interval=interval, why_here=why_here)
    ]


def _reached(effects: np.ndarray, threshold: float) -> np.ndarray:
    """Layers up to the last depth at which effects reach a threshold, `[...]` of `[..., L+1]`."""
    n_layers = effects.shape[-1] - 1
    layers = np.where(effects >= threshold, np.arange(1, n_layers + 2), 0).max(axis=-1)
    return np.minimum(layers, n_layers)


def _question_effects(erased: Sequence[ReducedErasure]) -> np.ndarray | None:
    """The largest effect over the question's tokens that count, mean over prompts, `[L+1]`."""
    largest = [erasure.largest for erasure in erased if erasure.tokens]
    return np.mean(largest, axis=0) if largest else None


METRIC = Metric(
    name="residual_erasure",
    title="Residual erasure",
    description="The depth up to which each token of the prompt still matters for the answer.",
    formula=(
        "replace one token's residual at one depth by the mean over baseline prompts; largest "
        "change of the answer's probabilities"
    ),
    reading=(
        "How far the answer's probabilities move, from 0 to 1.41, when a token is erased at "
        "that depth."
    ),
    look_for=(
        "The depth above which the question's tokens are dark: from there on the answer no "
        "longer reads them."
    ),
    source="Csordás, Manning, Potts, arXiv 2505.13898",
    cost="L x T forwards, about a quarter of each and resumed",
    work=_work,
    result=ResidualErasure,
    needs=(needs.clean_run, needs.lens, needs.answer),
    memory=_memory,
    depends_on=(
        "answer_start",
        "baseline",
        "layers",
        "erase_tokens",
        "erase_search",
        "erase_threshold",
        "seed",
    ),
    cache_key=_cache_key,
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
    reduced=ReducedErasure,
    reduce=_reduce,
    pool=lambda reduced, pooled: reduced,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    evidence=_evidence,
)
