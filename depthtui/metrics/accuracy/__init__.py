"""Right answers of the whole model, without each layer, and along the order of layers kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.data.verdict import AnswerKind, HeadlineAnswers, margin_words
from depthtui.metrics import kept, needs, sufficient
from depthtui.metrics.accuracy.answer_statistics import (
    FewestLayers,
    PairedAnswers,
    RaisingLayers,
    fewest_layers,
    is_above_chance,
    raising_layers,
    share_range,
    wilson,
)
from depthtui.metrics.choices import (
    STAND_INS,
    chosen_key,
    key_parts,
    left_out_words,
    measured_layers,
)
from depthtui.metrics.costs import MemoryNeed, Sizes, head, row_of_logits
from depthtui.metrics.evidence import CountMeasure, LayerCount, Variant, progress_words
from depthtui.metrics.layer_order import RECALLED_ORDERS, staying_layers
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.spec import Finding, LayerValues, Metric
from depthtui.prompts.written_answers import form_of, is_written

NAME = "accuracy"

COUNT_MEASURE = CountMeasure("causal", NAME, "right answers", "that the right answers need")


@dataclass
class Accuracy(MetricResult):
    """The model's answers to a question, chosen and written, with layers left out.

    Chosen: a choice's log-likelihood is the sum over its tokens; the model chooses the likeliest,
    the first of equals, as lm-evaluation-harness does (`acc`). Written: always the most probable
    token, up to the end of an answer of the task (`prompts.answer_forms`).

    Attributes:
        right: index of the right choice; -1 where there are no choices.
        order: the order in which layers are left out together; empty where there is none.
        chosen: the layers that were left out by themselves; empty for every one.
        lengths: characters of each choice, by which `acc_norm` divides its log-likelihood.
        clean: the log-likelihoods of the whole model, in nats, each text run by itself.
        by_depth: the log-likelihoods that final norm and LM head read at depths 0 … L.
        unchanged: those of a run with nothing left out, in a batch with the others.
        without: those without layer l; NaN for a layer that was not chosen.
        along: those without the first 0, 1, 2, … layers of the order; NaN where there is none.
        is_written: whether the answers are written too.
        written: the text that the whole model writes.
        written_right: 1 where the answer that is written without the first 0, 1, 2, … layers is
            right, 0 where it is not; NaN where it is not written.
        is_changed: whether the run is a what-if, whose own layers are left out of `clean`,
            `by_depth` and `unchanged`: nothing else is known then.
    """

    right: int
    order: tuple[int, ...]
    chosen: tuple[int, ...]
    is_written: bool
    written: str
    lengths: Annotated[np.ndarray, Shape("O", dtype=np.int32)]
    clean: Annotated[np.ndarray, Shape("O")]
    by_depth: Annotated[np.ndarray, Shape("L+1", "O")]
    unchanged: Annotated[np.ndarray, Shape("O")]
    without: Annotated[np.ndarray, Shape("L", "O")]
    along: Annotated[np.ndarray, Shape("L+1", "O")]
    written_right: Annotated[np.ndarray, Shape("L+1")]
    is_changed: bool = False

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row is known.

        Those without each chosen layer, then those of the order, then the written answers; in a
        what-if its options.
        """
        if self.is_changed:
            return np.isfinite(self.clean)
        rows = [self.without[list(self.chosen) or slice(None)].sum(axis=1)]
        if self.order:
            rows.append(self.along.sum(axis=1))
        if self.is_written:
            rows.append(self.written_right[: len(self.order) + 1])
        return np.isfinite(np.concatenate(rows))

    def is_right(self, scores: np.ndarray) -> np.ndarray:
        """1 where the right choice is the likeliest of `[..., O]`, else 0; NaN where unknown."""
        if not scores.shape[-1]:
            return np.full(scores.shape[:-1], np.nan)
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
        options: the number of options of each question; 0 for none.
        right: chosen by the whole model.
        right_per_character: the same, by the log-likelihood per character.
        unchanged: chosen with nothing left out, in a batch.
        without: chosen without layer l.
        along: chosen without the first 0, 1, 2, … layers of the order.
        written: written without the first 0, 1, 2, … layers of the order.
    """

    pools: ClassVar = dict.fromkeys(
        ("options", "right", "right_per_character", "unchanged", "without", "along", "written"),
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
    written: Annotated[np.ndarray, Shape("P", "L+1", dtype=np.float64)]

    @property
    def is_right(self) -> bool | None:
        """Whether every answer is right: those that are chosen, else those that are written."""
        kinds = (self.right, self.written[:, 0])
        answers = (bool(right.all()) for right in kinds if np.isfinite(right).all())
        return next(answers, None)


def _reduce(result: Accuracy, run: RunResult, tokens: slice) -> ReducedAccuracy:
    per_character = result.clean / np.maximum(1, result.lengths)
    scores = {
        "right": result.clean,
        "right_per_character": per_character,
        "unchanged": result.unchanged,
        "without": result.without,
        "along": result.along,
    }
    return ReducedAccuracy(
        tokens=1,
        order=result.order,
        chosen=result.chosen,
        options=np.array([len(result.clean)]),
        written=result.written_right[None].astype(np.float64),
        **{name: result.is_right(values)[None] for name, values in scores.items()},
    )


@dataclass(frozen=True)
class Answers:
    """Answers of one kind to one or more questions: 1 for a right one, 0 for a wrong one.

    Attributes:
        kind: `chosen` or `written`.
        order: the order in which layers are left out.
        right: of the whole model, `[questions]`.
        along: without the first 0, 1, 2, … layers of the order, `[questions, L + 1]`; NaN where
            unknown.
        chances: the chance of a right guess at each question.
        margin: the share by which right answers may be fewer.
    """

    kind: AnswerKind
    order: tuple[int, ...]
    right: np.ndarray
    along: np.ndarray
    chances: tuple[float, ...]
    margin: float

    @property
    def questions(self) -> int:
        """The number of questions."""
        return len(self.right)

    @property
    def n_right(self) -> int:
        """Right answers of the whole model."""
        return int(self.right.sum())

    @property
    def counts(self) -> str:
        """Right answers among all, such as `34 of 50`."""
        return f"{self.n_right} of {self.questions}"

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the share of right answers."""
        return wilson(self.n_right, self.questions)

    @property
    def share_words(self) -> str:
        """The share of right answers with its interval, such as `68% (54% to 79%)`."""
        return f"{self.n_right / self.questions:.0%} ({share_range(self.interval)})"

    @property
    def why_at_chance(self) -> str:
        """Why the whole model is at chance, in a clause; empty where it is above."""
        if is_above_chance(self.n_right, self.chances):
            return ""
        guesses = round(sum(self.chances))
        return f"{self.counts} answers are right" + (
            f", and guesses have {guesses}" * (guesses > 0)
        )

    @property
    def has_order(self) -> bool:
        """Whether the answers along the order are known."""
        return bool(np.isfinite(self.along).all())

    def without_first(self, count: int) -> PairedAnswers:
        """The answers of the whole model, and those without the first layers of the order."""
        return PairedAnswers.of(self.along[:, 0], self.along[:, count])

    @cached_property
    def fewest(self) -> FewestLayers | None:
        """How many layers of the order may go; None where the answers along it are not known."""
        return self.fewest_within(self.margin) if self.has_order else None

    def fewest_within(self, margin: float) -> FewestLayers:
        """How many layers of the order may go, within another margin."""
        return fewest_layers(self.along, margin)

    @property
    def layers(self) -> int | None:
        """N(answers); None where the questions are too few, or the whole model is at chance."""
        fewest = self.fewest
        if fewest is None or fewest.left_out is None or self.why_at_chance:
            return None
        return self.along.shape[1] - 1 - fewest.left_out

    @property
    def why_no_count(self) -> str:
        """Why it is unknown how many layers the answers need, in a clause; empty where known."""
        if self.fewest is None:
            return "its answers along the order are not known"
        if reason := self.why_at_chance:
            return f"the whole model is at chance: {reason}"
        if self.layers is not None:
            return ""
        if self.questions == 1:
            return "one question is too few to say"
        few, enough = f"{self.questions} questions are too few to say", self.fewest.questions
        return few + (f": about {enough} would tell" if enough else "")

    @property
    def margin_words(self) -> str:
        """The margin, such as `5 points`."""
        return margin_words(self.margin)


@dataclass(frozen=True)
class PooledAccuracy:
    """The right answers to one or more questions.

    Attributes:
        reduced: the answers to each question.
        chosen, written: the answers of each kind; None where there are none.
        n_layers: the number of layers, L.
        seed: seed of the draws; None to draw nothing.
    """

    reduced: ReducedAccuracy
    chosen: Answers | None
    written: Answers | None
    n_layers: int
    seed: int | None

    @property
    def kinds(self) -> list[Answers]:
        """The answers of each kind, those that lead first."""
        return [answers for answers in (self.chosen, self.written) if answers is not None]

    @property
    def lead(self) -> Answers:
        """The answers that count: the chosen ones, else the written ones."""
        return self.kinds[0]

    @property
    def has_choices(self) -> np.ndarray:
        """Whether each question has options."""
        return self.reduced.options > 0

    @property
    def n_right_per_character(self) -> int:
        """Right answers of the whole model, by the log-likelihood per character."""
        return int(self.reduced.right_per_character[self.has_choices].sum())

    @property
    def n_moved(self) -> int:
        """How many answers with nothing left out differ from those of the texts run alone."""
        moved = self.reduced.unchanged != self.reduced.right
        return int(moved[self.has_choices].sum())

    @property
    def progress_words(self) -> str:
        """For how many of the layers there are answers, in words; empty for all of them."""
        layers = list(self.reduced.chosen) or slice(None)
        without = self.reduced.without[self.has_choices]
        return progress_words(np.isfinite(without[:, layers]).all(axis=0))

    def without(self, layer: int) -> PairedAnswers | None:
        """The chosen answers of the whole model, and those without a layer; None where unknown."""
        before = self.reduced.unchanged[self.has_choices]
        after = self.reduced.without[self.has_choices, layer]
        if not len(after) or not np.isfinite(after).all():
            return None
        return PairedAnswers.of(before, after)

    @cached_property
    def raising(self) -> RaisingLayers | None:
        """The layers without which more answers are right; None in a draft, or of one question."""
        if self.seed is None or self.chosen is None:
            return None
        has_choices = self.has_choices
        unchanged, without = self.reduced.unchanged[has_choices], self.reduced.without[has_choices]
        return raising_layers(unchanged, without, self.seed)


def _pool(reduced: Sequence[ReducedAccuracy], pooled: Pooled) -> PooledAccuracy | None:
    if len({answers.order for answers in reduced}) > 1:
        return None
    answers, margin = ReducedAccuracy.pooled(reduced), pooled.settings.answers_within / 100
    chosen = written = None
    if (has_choices := answers.options > 0).any():
        right, along = answers.right[has_choices], answers.along[has_choices]
        chances = tuple((1 / answers.options[has_choices]).tolist())
        chosen = Answers("chosen", answers.order, right, along, chances, margin)
    if (is_written := np.isfinite(answers.written[:, 0])).any():
        right, along = answers.written[is_written, 0], answers.written[is_written]
        chances = (0.0,) * len(right)
        written = Answers("written", answers.order, right, along, chances, margin)
    if chosen is None and written is None:
        return None
    return PooledAccuracy(answers, chosen, written, pooled.n_layers, pooled.seed)


@dataclass(frozen=True)
class WithLayers:
    """Right answers with the layers that another count keeps in the same order.

    Attributes:
        layers: the number of layers that stay.
        pair: the answers of the whole model, and those with these layers.
    """

    layers: int
    pair: PairedAnswers

    @property
    def n_right(self) -> int:
        """Right answers with these layers."""
        return int(self.pair.both + self.pair.gained)

    @property
    def counts(self) -> str:
        """Right answers among all, such as `31 of 50`."""
        return f"{self.n_right} of {self.pair.questions:.0f}"


def with_counted_layers(answers: Answers, pooled: Pooled) -> dict[str, WithLayers]:
    """The answers with the layers of other counts in the same order, by the name of their metric.

    These are the layers that keep nine tenths (`kept`) and those of an output within a nat
    (`sufficient`); one that is not known is absent.
    """
    knowledge, suffice = pooled.get(kept.METRIC), pooled.get(sufficient.METRIC)
    counts = []
    if knowledge is not None and not knowledge.curve.why_too_little:
        counts.append((kept.NAME, knowledge.order, knowledge.layers))
    if suffice is not None:
        counts.append((sufficient.METRIC.name, suffice.ways[0].order, suffice.layers))
    return {
        name: WithLayers(layers, answers.without_first(pooled.n_layers - layers))
        for name, order, layers in counts
        if answers.has_order and order == answers.order
    }


def headline_answers(accuracy: PooledAccuracy, pooled: Pooled) -> HeadlineAnswers | None:
    """The right answers beside a verdict's headline; None of a single question."""
    answers = accuracy.lead
    if answers.questions == 1:
        return None
    with_headline = with_counted_layers(answers, pooled).get(kept.NAME)
    fewest = answers.fewest
    return HeadlineAnswers(
        kind=answers.kind,
        right=answers.n_right,
        questions=answers.questions,
        interval=answers.interval,
        margin=answers.margin,
        layers=answers.layers,
        at_chance=answers.why_at_chance,
        has_order=answers.has_order,
        enough=None if fewest is None else fewest.questions,
        with_headline=None
        if with_headline is None
        else (with_headline.layers, with_headline.n_right),
    )


def _summary(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, Any]:
    pairs = [accuracy.without(layer) for layer in range(accuracy.n_layers)]
    raising, has_pairs = accuracy.raising, any(pairs)
    of_pairs: dict[str, Callable[[PairedAnswers], float]] = {
        "lost": lambda pair: pair.lost,
        "gained": lambda pair: pair.gained,
        "p_value": lambda pair: pair.p_value,
    }
    return {
        **summary_by_kind(accuracy, pooled),
        "right_per_character": accuracy.n_right_per_character,
        "order": list(accuracy.reduced.order),
        "without_each": {
            name: [None if pair is None else value(pair) for pair in pairs]
            for name, value in of_pairs.items()
        }
        | chosen_key(accuracy.reduced.chosen)
        if has_pairs
        else None,
        "raising": None if raising is None else asdict(raising),
        "unchanged_differs": accuracy.n_moved,
    }


def summary_by_kind(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, Any]:
    """The answers of each kind as JSON values."""
    return {answers.kind: _kind_summary(answers, pooled) for answers in accuracy.kinds}


def _kind_summary(answers: Answers, pooled: Pooled) -> dict[str, Any]:
    fewest = answers.fewest
    return {
        "questions": answers.questions,
        "right": answers.n_right,
        "interval": list(answers.interval),
        "guesses": sum(answers.chances),
        "along": answers.along.sum(axis=0) if answers.has_order else None,
        "margin": answers.margin,
        "n": answers.layers,
        "questions_for_one_fewer": None if fewest is None else fewest.questions,
        "with_layers_of": {
            name: {
                "layers": counted.layers,
                "right": counted.n_right,
                "lost": counted.pair.lost,
                "gained": counted.pair.gained,
                "change": counted.pair.change,
                "interval": list(counted.pair.interval()),
                "p_value": counted.pair.p_value,
            }
            for name, counted in with_counted_layers(answers, pooled).items()
        },
    }


_TITLES = {"chosen": "Right answers, chosen", "written": "Right answers, written"}


def _findings(accuracy: PooledAccuracy, pooled: Pooled) -> list[Finding]:
    lines = []
    for answers in accuracy.kinds:
        remark = answers.share_words
        if answers.kind == "chosen":
            guesses = sum(answers.chances) / answers.questions
            remark += f"; guesses {guesses:.0%}"
            remark += f"; {accuracy.n_right_per_character} by the likelihood per character"
        lines.append(Finding(_TITLES[answers.kind], answers.counts, remark))
        lines += [*_with_layers_of_others(answers, pooled), *_along(answers)]
    if accuracy.chosen is None:
        return lines
    floor = f"{accuracy.n_moved} of {accuracy.chosen.questions} differ"
    return [
        *lines,
        *_raising(accuracy, pooled),
        Finding(
            "Right answers, nothing left out",
            floor if accuracy.n_moved else "the same answers",
            "in a batch with those without a layer; rounding alone changes what differs",
        ),
    ]


_COUNTED = {
    kept.NAME: "that keep nine tenths",
    sufficient.METRIC.name: "of an output within a nat, N(1)",
}
"""The layers of other counts, in words."""


def _with_layers_of_others(answers: Answers, pooled: Pooled) -> Iterator[Finding]:
    """Rows of the answers with the layers that other counts keep in the same order."""
    for name, counted in with_counted_layers(answers, pooled).items():
        title = f"{_TITLES[answers.kind]}, {counted.layers} layers"
        remark = f"with the layers {_COUNTED[name]}; {counted.pair.words()}"
        yield Finding(title, counted.counts, remark)


def _along(answers: Answers) -> Iterator[Finding]:
    """The row of the layers that the answers need, where the order is known."""
    if answers.fewest is None or answers.questions == 1:
        return
    title = "Layers that the answers need"
    if answers.kind == "written":
        title += ", written"
    n_layers = answers.along.shape[1] - 1
    value = "–" if answers.layers is None else f"{answers.layers} of {n_layers}"
    yield Finding(title, value, "; ".join(_along_words(answers)))


def _along_words(answers: Answers) -> Iterator[str]:
    fewest = answers.fewest
    assert fewest is not None
    if reason := answers.why_at_chance:
        yield f"the whole model is at chance: {reason}"
        return
    if fewest.left_out:
        pair = answers.without_first(fewest.left_out).words()
        yield f"without {_layers(fewest.left_out)} {pair}, within {answers.margin_words}"
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
    left_out = left_out_words("layer", accuracy.reduced.chosen, pooled.n_layers, pooled.stand_in)
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
    if accuracy.chosen is None:
        return []
    pairs = [accuracy.without(layer) for layer in range(accuracy.n_layers)]
    share = accuracy.reduced.without[accuracy.has_choices].mean(axis=0)
    lost = np.array([np.nan if pair is None else pair.lost for pair in pairs])
    gained = np.array([np.nan if pair is None else pair.gained for pair in pairs])
    caption = "share of answers right without the layer"
    return [
        LayerValues("right answers", share, caption, of_layer=True),
        LayerValues("answers lost", lost),
        LayerValues("answers gained", gained),
    ]


def _means(accuracy: PooledAccuracy, pooled: Pooled) -> dict[str, float]:
    layers = accuracy.lead.layers
    shares = {
        f"answers right, {answers.kind}": answers.n_right / answers.questions
        for answers in accuracy.kinds
    }
    return {**shares, "layers that the answers need": math.nan if layers is None else layers}


_OTHER_MARGINS = (0.5, 2.0)
"""The factors of the margin by which the count is varied."""


def _evidence(accuracy: PooledAccuracy, pooled: Pooled) -> list[LayerCount]:
    answers = accuracy.lead
    count = answers.layers
    if answers.questions == 1:
        return []
    if count is None:
        return [COUNT_MEASURE.unknown(answers.why_no_count)]
    variants = []
    for factor in _OTHER_MARGINS:
        other = answers.fewest_within(answers.margin * factor)
        if other.left_out is not None:
            takes = accuracy.n_layers - other.left_out
            points = f"{100 * answers.margin * factor:g} points"
            variants.append(Variant(takes, f"by the margin: within {points} it takes {takes}"))
    if len(accuracy.kinds) > 1 and (others := accuracy.kinds[1].layers) is not None:
        variants.append(Variant(others, f"by the answers: written ones need {others}"))
    layers = staying_layers(accuracy.reduced.order, accuracy.n_layers, count)
    return [COUNT_MEASURE.counted(count, variants, layers)]


def _choices_of_what_if(result: RunResult) -> str:
    """A need: the prompt of a what-if has choices."""
    is_missing = not (result.settings.is_clean or result.prompt.choices)
    return "a what-if compares options, and the prompt has none" if is_missing else ""


def _work(result: RunResult) -> float:
    """The work in passes of the prompt: half of all layers for each layer, and for the order.

    Each choice adds its tokens, about as many as the answer has. Answers are written along the
    order alone, each at most as long as its task allows.
    """
    n_tokens, choices = len(result.tokens), len(result.prompt.choices)
    if not result.settings.is_clean:
        return choices
    answer, n_layers = max(1, n_tokens - result.answer_start), result.model.n_layers
    chosen = written = 0.0
    if choices:
        texts = (n_tokens + (choices - 1) * answer) / n_tokens
        rows = len(measured_layers(result)) + n_layers
        chosen = choices + rows * (texts / 2 + choices * answer / n_tokens * head(result))
    if is_written(result.prompt):
        most = form_of(result.prompt).tokens_for(answer)
        written = (n_layers + 1) * (1 + most / n_tokens * (1 + head(result)))
    return chosen + written


def _memory(sizes: Sizes) -> MemoryNeed:
    """The memory of a few outputs, and of one text's keys and values."""
    keys_and_values = 2 * sizes.tokens * sizes.cached_width * sizes.item
    return MemoryNeed(layers=sizes.of_layers(keys_and_values)) + row_of_logits(sizes)


_DEPENDS_ON = (
    "sufficient_order",
    "sufficient_search",
    "order_texts",
    "layers",
    "answer_start",
    *STAND_INS,
)


def _cache_key(result: RunResult) -> dict[str, Any]:
    """The cache key: the same text may be asked with other choices, or as another task."""
    prompt = result.prompt
    question = {"choices": prompt.choices, "ending": prompt.common_ending, "task": prompt.task}
    return {**key_parts(result, _DEPENDS_ON), **question, "answer": prompt.answer}


METRIC = Metric(
    name=NAME,
    title="Right answers",
    description=(
        "Whether the right option is chosen, or the right answer written, with layers left out."
    ),
    formula=(
        "the largest sum of the log-likelihoods of a choice's tokens is the model's answer (`acc` "
        "of lm-evaluation-harness); a written answer is right by its task's own rule; both without "
        "the first n layers of the order, the chosen ones without each layer too"
    ),
    reading=(
        "Answers lost and answers gained are counted apart. N(answers) is the fewest layers, kept "
        "in the order, at which right answers are not fewer by more than the margin "
        "(`--answers-within`; one-sided, 95 %, the same questions)."
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
    needs=(needs.own_states, needs.lens, needs.choices_or_answer, _choices_of_what_if),
    needs_order="layer",
    preparation=kept.order_search,
    memory=_memory,
    recalled_with=RECALLED_ORDERS,
    depends_on=_DEPENDS_ON,
    cache_key=_cache_key,
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
