"""Right answers of the whole model, without each layer, and along the order of layers kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.run import RunResult
from depthtui.metrics import kept, needs
from depthtui.metrics.accuracy.findings import findings, means, per_layer, summary
from depthtui.metrics.accuracy.pooled_accuracy import PooledAccuracy, pool
from depthtui.metrics.accuracy.reduced_accuracy import ReducedAccuracy
from depthtui.metrics.choices import key_parts, measured_layers
from depthtui.metrics.costs import head, text_in_the_cache
from depthtui.metrics.evidence import CountMeasure, LayerCount, Variant
from depthtui.metrics.layer_order import RECALLED_ORDERS, staying_layers
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import Ranked
from depthtui.metrics.spec import Measure, Metric
from depthtui.prompts.written_answers import form_of, is_written

NAME = "accuracy"

COUNT_MEASURE = CountMeasure("causal", NAME, "right answers", "that the right answers need")


def chances(scores: np.ndarray) -> np.ndarray:
    """The chance of each option among all of them, from log-likelihoods `[..., O]`."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@dataclass
class Accuracy(MetricResult, Ranked):
    """The model's answers to a question, chosen and written, with layers left out.

    Chosen: a choice's log-likelihood is the sum over its tokens; the model chooses the likeliest,
    the first of equals, as lm-evaluation-harness does (`acc`). Written: always the most probable
    token, up to the end of an answer of the task, by whose own rule it is right
    (`prompts.answer_forms`).

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
        written_without: 1 where the answer that is written without layer l is right, 0 where it is
            not; NaN where it is not written.
        written_right: 1 where the answer that is written without the first 0, 1, 2, … layers is
            right, 0 where it is not; NaN where it is not written.
        is_changed: whether the run is a what-if, whose own layers are left out of `clean`,
            `by_depth` and `unchanged`: nothing else is known then.
    """

    rule = "right answers"
    of_one = "chance of the right answer lost"

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
    written_without: Annotated[np.ndarray, Shape("L")]
    written_right: Annotated[np.ndarray, Shape("M+1")]
    is_changed: bool = False

    @property
    def is_known(self) -> np.ndarray:
        """Whether each row is known.

        Those without each chosen layer, then those of the order, chosen and then written; in a
        what-if its options.
        """
        if self.is_changed:
            return np.isfinite(self.clean)
        layers = list(self.chosen) or slice(None)
        rows = []
        if len(self.clean):
            rows.append(self.without[layers].sum(axis=1))
        if len(self.clean) and self.order:
            rows.append(self.along.sum(axis=1))
        if self.is_written:
            rows += [self.written_without[layers], self.written_right[: len(self.order) + 1]]
        return np.isfinite(np.concatenate(rows))

    def is_right(self, scores: np.ndarray) -> np.ndarray:
        """1 where the right choice is the likeliest of `[..., O]`, else 0; NaN where unknown."""
        if not scores.shape[-1]:
            return np.full(scores.shape[:-1], np.nan)
        is_first = scores.argmax(axis=-1) == self.right
        return np.where(np.isfinite(scores).all(axis=-1), is_first, np.nan)

    @property
    def chance_without(self) -> np.ndarray:
        """The chance of the right answer without layer l, `[L]`; NaN where unknown.

        Among the options, where there are any; else 1 where the answer is written, and 0 where not.
        """
        has_choices = bool(len(self.clean))
        return chances(self.without)[:, self.right] if has_choices else self.written_without

    @property
    def useful(self) -> np.ndarray:
        """By how much the chance of the right answer falls without each layer, `[L, 2]`.

        Both columns are equal: an answer is of the whole prompt.
        """
        has_choices = bool(len(self.clean))
        before = chances(self.unchanged)[self.right] if has_choices else self.written_right[0]
        return np.repeat(before - self.chance_without[:, None], 2, axis=1)


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
        written_without=result.written_without[None].astype(np.float64),
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

    Each choice adds its tokens, about as many as the answer has. Written answers are at most as
    long as their task allows.
    """
    n_tokens, choices = len(result.tokens), len(result.prompt.choices)
    if not result.settings.is_clean:
        return choices
    answer, n_layers = max(1, n_tokens - result.answer_start), result.model.n_layers
    rows, chosen, written = len(measured_layers(result)) + n_layers, 0.0, 0.0
    if choices:
        texts = (n_tokens + (choices - 1) * answer) / n_tokens
        chosen = choices + rows * (texts / 2 + choices * answer / n_tokens * head(result))
    if is_written(result):
        most = form_of(result.prompt).tokens_for(answer)
        written = (rows + 1) * (1 + most / n_tokens * (1 + head(result)))
    return chosen + written


_DEPENDS_ON = (*kept.DEPENDS_ON, "layers")


def _cache_key(result: RunResult) -> dict[str, Any]:
    """The cache key: the same text may be asked with other choices, or as another task."""
    prompt = result.prompt
    question = {"choices": prompt.choices, "ending": prompt.common_ending, "task": prompt.task}
    return {**key_parts(result, _DEPENDS_ON), **question, "answer": result.answer}


def _by_token(run: RunResult) -> np.ndarray | None:
    """The chance of the right answer without each layer, at the answer's tokens, `[L, T]`."""
    answers = run.get(Accuracy)
    if answers is None:
        return None
    chance = np.repeat(answers.chance_without[:, None], len(run.tokens), axis=1)
    chance[:, : run.answer_start] = np.nan
    return chance


METRIC = Metric(
    name=NAME,
    title="Right answers",
    description=(
        "Whether the right option is chosen, or the right answer written, with layers left out."
    ),
    formula=(
        "the largest sum of the log-likelihoods of a choice's tokens is the model's answer (`acc` "
        "of lm-evaluation-harness); a written answer is right by its task's own rule; both without "
        "each layer, and without the first n layers of the order"
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
    source="After lm-evaluation-harness and arXiv 2510.02091; the tests are defined here",
    cost="2 L resumed forwards of context and choices, 2 L texts written",
    work=_work,
    result=Accuracy,
    needs=(needs.own_states, needs.lens, needs.choices_or_answer, _choices_of_what_if),
    needs_order="layer",
    preparation=kept.search_work,
    memory=text_in_the_cache,
    recalled_with=RECALLED_ORDERS,
    depends_on=_DEPENDS_ON,
    cache_key=_cache_key,
    measures=(
        Measure(
            NAME,
            "Chance of the right answer",
            "p(right) without layer l",
            _by_token,
            limits=(0.0, 1.0),
            reading="The chance of the right option among all, without that layer. With no options "
            "1 where the model writes the right answer, 0 where it does not.",
        ),
    ),
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
