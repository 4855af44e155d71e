"""Right answers of the whole model, without each layer, and along the order of layers kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import kept, needs
from depthtui.metrics.accuracy.findings import (
    findings,
    means,
    per_layer,
    summary,
)
from depthtui.metrics.accuracy.pooled_accuracy import PooledAccuracy, pool
from depthtui.metrics.accuracy.reduced_accuracy import ReducedAccuracy
from depthtui.metrics.choices import STAND_INS, key_parts, measured_layers
from depthtui.metrics.costs import head, text_in_the_cache
from depthtui.metrics.evidence import CountMeasure, LayerCount, Variant
from depthtui.metrics.layer_order import RECALLED_ORDERS, staying_layers
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.spec import Metric
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
    along: Annotated[np.ndarray, Shape("M+1", "O")]
    written_right: Annotated[np.ndarray, Shape("M+1")]
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
    preparation=kept.search_work,
    memory=text_in_the_cache,
    recalled_with=RECALLED_ORDERS,
    depends_on=_DEPENDS_ON,
    cache_key=_cache_key,
    reduced=ReducedAccuracy,
    reduce=_reduce,
    pool=pool,
    summary=summary,
    findings=findings,
    per_layer=per_layer,
    means=means,
    evidence=_evidence,
    moved_by_rounding=True,
)
