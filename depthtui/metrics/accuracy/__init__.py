"""Right answers of the whole model, without each layer, and along the order of layers kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.metrics import needs
from depthtui.metrics.accuracy.answer_statistics import (
    FewestLayers,
    PairedAnswers,
    RaisingLayers,
    fewest_layers,
    is_above_chance,
    raising_layers,
    wilson,
)
from depthtui.metrics.choices import (
    STAND_INS,
    chosen_key,
    left_out_words,
    measured_layers,
)
from depthtui.metrics.costs import MemoryNeed, Sizes, head, row_of_logits
from depthtui.metrics.evidence import CountMeasure, LayerCount, Variant, progress_words
from depthtui.metrics.layer_order import (
    LENGTH,
    RECALLED_ORDERS,
    TEXTS,
    expected_trials,
    staying_layers,
)
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Finding, LayerValues, Metric

NAME = "accuracy"

COUNT_MEASURE = CountMeasure("causal", NAME, "right answers", "that the right answers need")


@dataclass
class Accuracy(MetricResult):
    """The likelihoods of a question's choices, with layers left out.

    A choice's log-likelihood is the sum over its tokens; the model chooses the likeliest, the first
    of equals, as lm-evaluation-harness does (`acc`).

    Attributes:
        right: index of the right choice.
        order: the order in which layers are left out together; empty where there is none.
        chosen: the layers that were left out by themselves; empty for every one.
        lengths: characters of each choice, by which `acc_norm` divides its log-likelihood.
        clean: the log-likelihoods of the whole model, in nats, each text run by itself.
        by_depth: the log-likelihoods that final norm and LM head read at depths 0 … L.
        unchanged: those of a run with nothing left out, in a batch with the others.
        without: those without layer l; NaN for a layer that was not chosen.
        along: those without the first 0, 1, 2, … layers of the order; NaN where there is none.
    """

    right: int
    order: tuple[int, ...]
    chosen: tuple[int, ...]
    lengths: Annotated[np.ndarray, Shape("O", dtype=np.int32)]
    clean: Annotated[np.ndarray, Shape("O")]
    by_depth: Annotated[np.ndarray, Shape("L+1", "O")]
    unchanged: Annotated[np.ndarray, Shape("O")]
    without: Annotated[np.ndarray, Shape("L", "O")]
    along: Annotated[np.ndarray, Shape("L+1", "O")]

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row is known: those without each chosen layer, then those of the order."""
        rows = [self.without[list(self.chosen) or slice(None)]]
        if self.order:
            rows.append(self.along)
        return np.asarray(np.isfinite(np.concatenate(rows)).all(axis=1))

    def is_right(self, scores: np.ndarray) -> np.ndarray:
        """1 where the right choice is the likeliest of `[..., O]`, else 0; NaN where unknown."""
        is_first = scores.argmax(axis=-1) == self.right
        return np.where(np.isfinite(scores).all(axis=-1), is_first, np.nan)

    @property
    def turning_layers(self) -> list[int]:
        """The layers without which the answer turns, from right to wrong or from wrong to right."""
        without = self.is_right(self.without)
        is_turned = np.isfinite(without) & (without != self.is_right(self.unchanged))
        return np.flatnonzero(is_turned).tolist()


@dataclass(frozen=True, kw_only=True)
class ReducedAccuracy(Reduced):
    """The answers to P questions: 1 for a right one, 0 for a wrong one, NaN where unknown.

    Attributes:
        tokens: the number of questions.
        order, chosen: as in `Accuracy`.
        options: the number of options of each question.
        right: of the whole model.
        right_per_character: of the whole model, by the log-likelihood per character.
        unchanged: with nothing left out, in a batch.
        without: without layer l.
        along: without the first 0, 1, 2, … layers of the order.
    """

    pools: ClassVar = dict.fromkeys(
        ("options", "right", "right_per_character", "unchanged", "without", "along"),
        np.concatenate,
    )

    order: tuple[int, ...]
    chosen: tuple[int, ...]
    options: Annotated[np.ndarray, Shape("P", dtype=np.int64)]
    right: Annotated[np.ndarray, Shape("P", dtype=np.float64)]
    right_per_character: Annotated[np.ndarray, Shape("P", dtype=np.float64)]
    unchanged: Annotated[np.ndarray, Shape("P", dtype=np.float64)]
    without: Annotated[np.ndarray, Shape("P", "L", dtype=np.float64)]
    along: Annotated[np.ndarray, Shape("P", "L+1", dtype=np.float64)]


def _reduce(result: Accuracy, run: RunResult, tokens: slice) -> ReducedAccuracy:
    per_character = result.clean / np.maximum(1, result.lengths)
    return ReducedAccuracy(
        tokens=1,
        order=result.order,
        chosen=result.chosen,
        options=np.array([len(result.clean)]),
        right=result.is_right(result.clean)[None].astype(np.float64),
        right_per_character=result.is_right(per_character)[None].astype(np.float64),
        unchanged=result.is_right(result.unchanged)[None].astype(np.float64),
        without=result.is_right(result.without)[None].astype(np.float64),
        along=result.is_right(result.along)[None].astype(np.float64),
    )


@dataclass(frozen=True)
class PooledAccuracy:
    """The right answers to one or more questions.

    Attributes:
        answers: the answers to each question.
        n_layers: the number of layers, L.
        margin: the share by which right answers may be fewer.
        seed: seed of the draws; None to draw nothing.
    """

    answers: ReducedAccuracy
    n_layers: int
    margin: float
    seed: int | None

    @property
    def questions(self) -> int:
        """The number of questions."""
        return len(self.answers.right)

    @property
    def n_right(self) -> int:
        """Right answers of the whole model."""
        return int(self.answers.right.sum())

    @property
    def n_right_per_character(self) -> int:
        """Right answers of the whole model, by the log-likelihood per character."""
        return int(self.answers.right_per_character.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share of right answers."""
        return wilson(self.n_right, self.questions)

    @property
    def chance(self) -> float:
        """The share of right answers by guesses."""
        return float((1 / self.answers.options).mean())

    @property
    def why_at_chance(self) -> str:
        """Why the whole model is at chance, in a clause; empty where it is above."""
        if is_above_chance(self.n_right, (1 / self.answers.options).tolist()):
            return ""
        guesses = f"guesses would have {self.chance * self.questions:.0f}"
        return f"{self.n_right} of {self.questions} answers are right, and {guesses}"

    @property
    def n_moved(self) -> int:
        """How many answers with nothing left out differ from those of the texts run alone."""
        return int((self.answers.unchanged != self.answers.right).sum())

    @property
    def progress_words(self) -> str:
        """For how many of the layers there are answers, in words; empty for all of them."""
        layers = list(self.answers.chosen) or slice(None)
        return progress_words(np.isfinite(self.answers.without[:, layers]).all(axis=0))

    @property
    def has_order(self) -> bool:
        """Whether the answers along the order are known."""
        return bool(np.isfinite(self.answers.along).all())

    def without(self, layer: int) -> PairedAnswers:
        """The answers of the whole model, and those without a layer."""
        return PairedAnswers.of(self.answers.unchanged, self.answers.without[:, layer])

    def without_first(self, count: int) -> PairedAnswers:
        """The answers of the whole model, and those without the first layers of the order."""
        return PairedAnswers.of(self.answers.along[:, 0], self.answers.along[:, count])

    @cached_property
    def fewest(self) -> FewestLayers | None:
        """How many layers of the order may go; None where the answers along it are not known."""
        return self.fewest_within(self.margin) if self.has_order else None

    def fewest_within(self, margin: float) -> FewestLayers:
        """How many layers of the order may go, within another margin."""
        return fewest_layers(self.answers.along, margin)

    @cached_property
    def raising(self) -> RaisingLayers | None:
        """The layers without which more answers are right; None in a draft, or of one question."""
        if self.seed is None:
            return None
        return raising_layers(self.answers.unchanged, self.answers.without, self.seed)

    @property
    def margin_words(self) -> str:
        """The margin, such as `5 points`."""
        points = 100 * self.margin
        return f"{points:g} point{'s' * (points != 1)}"


def _pool(reduced: Sequence[ReducedAccuracy], pooled: Pooled) -> PooledAccuracy | None:
    if len({answers.order for answers in reduced}) > 1:
        return None
    answers = ReducedAccuracy.pooled(reduced)
    margin = pooled.settings.answer_margin / 100
    return PooledAccuracy(answers, pooled.n_layers, margin, pooled.seed)


def _summary(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, Any]:
    answers, fewest, raising = accuracy.answers, accuracy.fewest, accuracy.raising
    is_measured = np.isfinite(answers.without).all(axis=0)
    pairs = [
        accuracy.without(layer) if is_measured[layer] else None
        for layer in range(accuracy.n_layers)
    ]
    return {
        "questions": accuracy.questions,
        "right": accuracy.n_right,
        "interval": list(accuracy.interval),
        "right_per_character": accuracy.n_right_per_character,
        "chance": accuracy.chance,
        "lost": [None if pair is None else pair.lost for pair in pairs],
        "gained": [None if pair is None else pair.gained for pair in pairs],
        "p_value": [None if pair is None else pair.p_value for pair in pairs],
        "raising": None
        if raising is None
        else {"p_value": raising.p_value, "layers": list(raising.layers), "gain": raising.gain},
        "order": list(answers.order),
        "along": answers.along.sum(axis=0) if accuracy.has_order else None,
        "margin": accuracy.margin,
        "n": None if fewest is None else _count(accuracy, fewest),
        "questions_for_one_fewer": None if fewest is None else fewest.questions,
        "unchanged_differs": accuracy.n_moved,
        **chosen_key(answers.chosen),
    }


def _count(accuracy: PooledAccuracy, fewest: FewestLayers) -> int | None:
    """N(answers); None where the questions are too few, or the whole model is at chance."""
    if fewest.left_out is None or accuracy.why_at_chance:
        return None
    return accuracy.n_layers - fewest.left_out


def _findings(accuracy: PooledAccuracy, pooled: Pooled) -> list[Finding]:
    low, high = (f"{end:.0%}" for end in accuracy.interval)
    share = accuracy.n_right / accuracy.questions
    per_character = f"{accuracy.n_right_per_character} by the likelihood per character"
    remark = f"{share:.0%} ({low} to {high}); guesses have {accuracy.chance:.0%}; {per_character}"
    counts = f"{accuracy.n_right} of {accuracy.questions}"
    floor = f"{accuracy.n_moved} of {accuracy.questions} differ"
    return [
        Finding("Right answers", counts, remark),
        *_along(accuracy),
        *_raising(accuracy, pooled),
        Finding(
            "Right answers, nothing left out",
            floor if accuracy.n_moved else "the same answers",
            "in a batch with those without a layer; rounding alone changes what differs",
        ),
    ]


def _along(accuracy: PooledAccuracy) -> Iterator[Finding]:
    """The row of the layers that the answers need, where the order is known."""
    fewest = accuracy.fewest
    if fewest is None:
        return
    count = _count(accuracy, fewest)
    value = "–" if count is None else f"{count} of {accuracy.n_layers}"
    yield Finding("Layers that right answers need", value, "; ".join(_along_words(accuracy)))


def _along_words(accuracy: PooledAccuracy) -> Iterator[str]:
    fewest = accuracy.fewest
    assert fewest is not None
    if reason := accuracy.why_at_chance:
        yield f"the whole model is at chance: {reason}"
        return
    if fewest.left_out:
        answers = accuracy.without_first(fewest.left_out).words()
        yield f"without {_layers(fewest.left_out)} {answers}; within {accuracy.margin_words}"
    if fewest.failed is None:
        return
    one_more = f"without {_layers((fewest.left_out or 0) + 1)} {fewest.failed.words()}"
    if fewest.left_out is None:
        yield f"too few questions to say whether one layer may go: {one_more}"
    else:
        yield one_more
    if fewest.questions is not None:
        yield f"about {fewest.questions} questions would tell"


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _raising(accuracy: PooledAccuracy, pooled: Pooled) -> Iterator[Finding]:
    """The row of the layers without which more answers are right."""
    title, raising = "Layers that cost right answers", accuracy.raising
    left_out = left_out_words("layer", accuracy.answers.chosen, pooled.n_layers, pooled.stand_in)
    if accuracy.progress_words:
        left_out += f"; {accuracy.progress_words}"
    if raising is None:
        return
    if not raising.layers:
        words = f"no layer raises the answers beyond chance (p = {raising.p_value:.2g})"
        yield Finding(title, "none", words + left_out)
        return
    words = f"more answers are right without one (p = {raising.p_value:.2g}, all layers at once)"
    if raising.gain is not None:
        gain = f"{100 * raising.gain:+.0f} points on one half of the questions"
        words += f"; {gain} where it is chosen on the other"
    yield Finding(title, numbers_text(raising.layers), words + left_out)


def _per_layer(accuracy: PooledAccuracy) -> list[LayerValues]:
    answers = accuracy.answers
    before = answers.unchanged[:, None]
    is_known = np.isfinite(answers.without).all(axis=0)
    lost = np.where(is_known, ((before == 1) & (answers.without == 0)).sum(axis=0), np.nan)
    gained = np.where(is_known, ((before == 0) & (answers.without == 1)).sum(axis=0), np.nan)
    share, caption = answers.without.mean(axis=0), "share right without the layer"
    return [
        LayerValues("right answers", share, caption, of_layer=True),
        LayerValues("answers lost", lost),
        LayerValues("answers gained", gained),
    ]


def _means(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, float]:
    fewest = accuracy.fewest
    count = None if fewest is None else _count(accuracy, fewest)
    return {
        "right answers": accuracy.n_right / accuracy.questions,
        "layers that right answers need": float("nan") if count is None else count,
    }


_OTHER_MARGINS = (0.5, 2.0)
"""The factors of the margin by which the count is varied."""


def _evidence(accuracy: PooledAccuracy, pooled: Pooled) -> list[LayerCount]:
    fewest = accuracy.fewest
    if fewest is None:
        return [COUNT_MEASURE.unknown("its answers along the order are not known")]
    if reason := accuracy.why_at_chance:
        return [COUNT_MEASURE.unknown(f"the whole model is at chance: {reason}")]
    if fewest.left_out is None:
        few = f"{accuracy.questions} questions are too few to say"
        enough = f": about {fewest.questions} would tell" if fewest.questions else ""
        return [COUNT_MEASURE.unknown(few + enough)]
    count = accuracy.n_layers - fewest.left_out
    variants = []
    for factor in _OTHER_MARGINS:
        other = accuracy.fewest_within(accuracy.margin * factor)
        if other.left_out is not None:
            takes = accuracy.n_layers - other.left_out
            points = f"{100 * accuracy.margin * factor:g} points"
            variants.append(Variant(takes, f"by the margin: within {points} it takes {takes}"))
    layers = staying_layers(accuracy.answers.order, accuracy.n_layers, count)
    return [COUNT_MEASURE.counted(count, variants, layers)]


def _work(result: RunResult) -> float:
    """The work in passes of the prompt: half of all layers for each layer, and for the order.

    Each choice adds its tokens, about as many as the answer has.
    """
    n_tokens, choices = len(result.tokens), max(1, len(result.prompt.choices))
    answer = max(1, n_tokens - result.answer_start)
    texts = (n_tokens + (choices - 1) * answer) / n_tokens
    rows = len(measured_layers(result)) + result.model.n_layers
    reads = rows * choices * answer / n_tokens * head(result)
    return choices + rows / 2 * texts + reads


def _preparation(result: RunResult) -> float:
    """The cost of the model's order, as for `kept`."""
    settings = result.settings
    if settings.sufficient_order != "model":
        return 0.0
    trials = expected_trials(result.model.n_layers, settings.sufficient_search)
    return TEXTS * LENGTH * trials * (1 / 2 + head(result))


def _memory(sizes: Sizes) -> MemoryNeed:
    """The memory of a few outputs, and of one text's keys and values."""
    keys_and_values = 2 * sizes.tokens * sizes.cached_width * sizes.item
    return MemoryNeed(layers=sizes.of_layers(keys_and_values)) + row_of_logits(sizes)


METRIC = Metric(
    name=NAME,
    title="Right answers",
    description=(
        "Whether the right one of several choices is the likeliest: of the whole model, without "
        "each layer, and along the order of layers kept."
    ),
    formula=(
        "the largest sum of the log-likelihoods of a choice's tokens is the model's answer (`acc` "
        "of lm-evaluation-harness); right or not without each layer, and without the first n"
    ),
    reading=(
        "Answers lost and answers gained are counted apart. N(answers) is the fewest layers, kept "
        "in the order, at which right answers are not fewer by more than the margin "
        "(`--answer-margin`; one-sided, 95 %, the same questions)."
    ),
    look_for=(
        "A layer without which more answers are right is named only after a test that pays for a "
        "look at all layers. With few questions little can be said: the number that would tell is "
        "named."
    ),
    source="After lm-evaluation-harness; the tests are defined here",
    cost="2 L resumed forwards of context and choices",
    work=_work,
    result=Accuracy,
    needs=(needs.clean_run, needs.lens, needs.choices),
    needs_order=True,
    preparation=_preparation,
    memory=_memory,
    recalled_with=RECALLED_ORDERS,
    depends_on=("sufficient_order", "sufficient_search", "order_texts", "layers", *STAND_INS),
    reduced=ReducedAccuracy,
    reduce=_reduce,
    pool=_pool,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    means=_means,
    evidence=_evidence,
    moved_by_rounding=True,
)
