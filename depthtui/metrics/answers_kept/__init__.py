"""Whether the model still answers correctly without a layer (as in arXiv 2510.02091)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.data.selection import numbers_text
from depthtui.metrics import needs
from depthtui.metrics.accuracy.answer_statistics import RaisingLayers, raising_layers
from depthtui.metrics.choices import (
    STAND_INS,
    chosen_key,
    layers_words,
    left_out_words,
    measured_layers,
)
from depthtui.metrics.costs import head, text_in_the_cache
from depthtui.metrics.evidence import (
    CountInterval,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
    progress_words,
    rounded_count,
)
from depthtui.metrics.measures import array
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.ranking import Ranked
from depthtui.metrics.reduced import Reduced
from depthtui.metrics.resampling import LEVEL, drawn_interval
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric

NAME = "answers_kept"

COUNT_MEASURE = CountMeasure("causal", NAME, "answers kept", "that a right answer needs on average")


@dataclass
class AnswersKept(MetricResult, Ranked):
    """The answers of a model when a layer is left out at all tokens.

    The model writes as many tokens as the known answer has, always the most probable one. An
    answer is right where its text equals the known one, but for white space around it: other
    tokens may have the same text.

    Attributes:
        part: the part that was left out: `layer`, `attention` or `mlp`.
        clean: the tokens of the answer with nothing left out; -1 before it.
        without: the answer without layer l; also -1 for a layer that was not chosen.
        unchanged: the answer with nothing left out, written in a batch with those without a layer.
        right: 1 where the answer without layer l is right, 0 where it is not; NaN for a layer
            that was not chosen, or that has not been left out yet.
        clean_right: whether the clean answer is right.
        chosen: the layers that were left out; empty for every one.
    """

    rule = "answers kept"
    of_one = "answer changed"

    part: str
    clean: Annotated[np.ndarray, Shape("T", dtype=np.int32)]
    without: Annotated[np.ndarray, Shape("L", "T", dtype=np.int32)]
    unchanged: Annotated[np.ndarray, Shape("T", dtype=np.int32)]
    right: Annotated[np.ndarray, Shape("L")]
    clean_right: bool
    chosen: tuple[int, ...] = ()

    @property
    def is_known(self) -> np.ndarray:
        """Whether each chosen layer is known."""
        return np.asarray(np.isfinite(self.right[list(self.chosen) or slice(None)]))

    @property
    def n_tokens(self) -> int:
        """The number of tokens of the answer."""
        return int((self.clean >= 0).sum())

    @property
    def differs(self) -> np.ndarray:
        """1 from the first token on that differs from the clean answer, 0 before it, `[L, T]`.

        NaN outside of the answer, and for a layer that was not chosen.
        """
        other = np.maximum.accumulate(self.without != self.clean, axis=1)
        return np.where(self.without >= 0, other, np.nan).astype(np.float32)

    @property
    def differs_after(self) -> np.ndarray:
        """Tokens before the answer differs from the clean one, `[L]`; all where it never does."""
        same = (self.differs == 0).sum(axis=1)
        return np.where(np.isfinite(self.right), same, np.nan).astype(np.float32)

    @property
    def is_unchanged(self) -> bool:
        """Whether the answer with nothing left out is the clean one in a batch, too."""
        return bool((self.unchanged == self.clean).all())

    @property
    def useful(self) -> np.ndarray:
        """The share of the answer from the first token that differs from the clean one, `[L, 2]`.

        Both columns are equal: the answer never includes token 0.
        """
        return np.repeat(1 - self.differs_after[:, None] / max(1, self.n_tokens), 2, axis=1)


@dataclass(frozen=True, kw_only=True)
class ReducedAnswers(Reduced):
    """The answers of P prompts.

    Attributes:
        tokens: the number of tokens of all answers; token 0 is never among them.
        part, chosen: as in `AnswersKept`.
        clean_right: whether the clean answer is right.
        right: 1 where the answer without layer l is right; NaN for a layer that was not chosen.
        differs_after: tokens until the answer differs from the clean one.
        lengths: tokens of each answer.
        moved: the number of answers with nothing left out that are not the clean ones.
    """

    pools: ClassVar = dict.fromkeys(
        ("clean_right", "right", "differs_after", "lengths"), np.concatenate
    )

    part: str
    chosen: tuple[int, ...]
    clean_right: Annotated[np.ndarray, Shape("P", dtype=np.bool_)]
    right: Annotated[np.ndarray, Shape("P", "L", dtype=np.float64)]
    differs_after: Annotated[np.ndarray, Shape("P", "L", dtype=np.float64)]
    lengths: Annotated[np.ndarray, Shape("P", dtype=np.int64)]
    moved: int

    @property
    def is_right(self) -> bool:
        return bool(self.clean_right.all())

    @property
    def progress_words(self) -> str:
        """For how many of the layers there are answers, in words; empty for all of them."""
        layers = list(self.chosen) or slice(None)
        return progress_words(np.isfinite(self.right[:, layers]).all(axis=0))

    @property
    def is_lost(self) -> np.ndarray:
        """Whether a right answer becomes wrong without layer l, `[P, L]`."""
        return np.asarray(self.clean_right[:, None] & (self.right == 0))

    @property
    def is_changed(self) -> np.ndarray:
        """Whether the text without layer l differs from the clean one, right or not, `[P, L]`."""
        return np.asarray(self.differs_after < self.lengths[:, None])

    @property
    def is_gained(self) -> np.ndarray:
        """Whether a wrong answer becomes right without layer l, `[P, L]`."""
        return np.asarray(~self.clean_right[:, None] & (self.right == 1))

    def raising(self, seed: int | None) -> RaisingLayers | None:
        """The layers without which more answers are right; None of one prompt or without a seed."""
        if seed is None:
            return None
        return raising_layers(self.clean_right.astype(np.float64), self.right, seed)

    @property
    def needed_layers(self) -> np.ndarray:
        """The layers without which at least one right answer is lost."""
        return np.flatnonzero(self.is_lost.any(axis=0))

    @property
    def needed_counts(self) -> np.ndarray:
        """The number of layers that each right answer needs, one at a time, `[right answers]`."""
        return np.asarray(self.is_lost[self.clean_right].sum(axis=1))

    @property
    def needed_mean(self) -> float:
        """The mean number of layers that a right answer needs; NaN where no answer is right."""
        return float(self.needed_counts.mean()) if self.clean_right.any() else math.nan

    def needed_interval(self, seed: int | None) -> tuple[float, float] | None:
        """The bootstrap interval of `needed_mean` over right answers.

        None for fewer than five, or without a seed.
        """
        counts = self.needed_counts

        def means(drawn: Sequence[np.ndarray]) -> np.ndarray:
            return np.asarray(drawn[0] @ counts / len(counts))

        return drawn_interval([len(counts)], means, seed)


def _work(result: RunResult) -> float:
    """The work: question and answer without each layer, and twice with all; the head at the end."""
    n_tokens = len(result.tokens)
    texts = len(measured_layers(result)) + 2
    reads = max(0, n_tokens - result.answer_start) * head(result)
    return texts * (n_tokens - 1 + reads) / n_tokens


def _reduce(result: AnswersKept, run: RunResult, tokens: slice) -> ReducedAnswers:
    return ReducedAnswers.of(
        result,
        tokens=result.n_tokens,
        clean_right=np.array([result.clean_right]),
        right=result.right[None].astype(np.float64),
        differs_after=result.differs_after[None].astype(np.float64),
        lengths=np.array([result.n_tokens]),
        moved=int(not result.is_unchanged),
    )


def _summary(answers: ReducedAnswers, pooled: Pooled) -> dict[str, Any]:
    raising = answers.raising(pooled.seed)
    return {
        "part": answers.part,
        "prompts": len(answers.right),
        "tokens": float(answers.lengths.mean()),
        "clean": float(answers.clean_right.mean()),
        "without": answers.right.mean(axis=0, dtype=np.float64),
        "differs_after": answers.differs_after.mean(axis=0, dtype=np.float64),
        "lost": answers.is_lost.sum(axis=0),
        "gained": answers.is_gained.sum(axis=0),
        "raising": None if raising is None else asdict(raising),
        "needed": answers.needed_layers.tolist(),
        "needed_mean": answers.needed_mean,
        "needed_interval": answers.needed_interval(pooled.seed),
        "unchanged_differs": answers.moved,
        **chosen_key(answers.chosen),
    }


def _findings(answers: ReducedAnswers, pooled: Pooled) -> list[Finding]:
    n_right, count = int(answers.clean_right.sum()), len(answers.right)
    if not n_right:
        after, tokens = float(np.nanmean(answers.differs_after)), float(answers.lengths.mean())
        remark = f"none to lose; texts differ after {after:.1f} of {tokens:.1f} tokens"
    elif needed := answers.needed_layers.tolist():
        interval = answers.needed_interval(pooled.seed)
        mean = f"{answers.needed_mean:.1f} of {pooled.n_layers} layers"
        ends = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
        subject = "it needs" if n_right == 1 else "one needs, on average,"
        lost = f"an answer is lost without any one of layers {numbers_text(needed)}"
        remark = f"{subject} {mean}{ends}; {lost}"
    else:
        remark = "no answer is lost without any one layer"
    left_out = left_out_words(answers.part, answers.chosen, pooled.n_layers, pooled.stand_in)
    if answers.progress_words:
        left_out += f"; {answers.progress_words}"
    lines = [Finding(METRIC.title, f"{n_right} of {count} right", remark + left_out)]
    if (raising := answers.raising(pooled.seed)) is not None:
        value = numbers_text(raising.layers) or "none"
        lines.append(Finding(f"{METRIC.title}, layers that cost some", value, raising.words))
    floor = Finding(
        f"{METRIC.title}, nothing left out",
        f"{answers.moved} of {count} differ" if answers.moved else "the same texts",
        "written among those without a layer; rounding alone changes what differs",
    )
    return [*lines, floor]


def _per_layer(answers: ReducedAnswers) -> list[LayerValues]:
    # Where no answer is right with all layers, a figure would show every layer as vital.
    caption = "share of answers right without the layer" if answers.clean_right.any() else ""
    reading = "1: every answer stays right without the layer; 0: none does."
    return [
        LayerValues("answers kept", answers.right.mean(axis=0), caption, reading, of_layer=True),
        LayerValues("answer differs after", answers.differs_after.mean(axis=0)),
    ]


def _means(answers: ReducedAnswers, pooled: Pooled) -> dict[str, float]:
    """The share of right answers, and how many layers a right answer needs."""
    accuracy = float(answers.clean_right.mean())
    return {"answers right": accuracy, "layers that answers need": answers.needed_mean}


def _evidence(answers: ReducedAnswers, pooled: Pooled) -> LayerCount:
    """How many layers a right answer needs: the mean, rounded.

    Its layers are the same number of layers that most answers need. The range covers the mean with
    one prompt left out, the interval over prompts, and the mean number of layers without which the
    text of a right answer changes at all.
    """
    n_layers = pooled.n_layers
    if answers.part != "layer":
        return COUNT_MEASURE.unknown(f"only the {PART_TITLES[answers.part]} was left out")
    if answers.chosen:
        return COUNT_MEASURE.unknown(f"only {layers_words(answers.chosen, n_layers)} were left out")
    if not answers.clean_right.any():
        return COUNT_MEASURE.unknown("the model answers none of these prompts rightly")
    if answers.progress_words:
        return COUNT_MEASURE.unknown(answers.progress_words)
    is_lost, counts = answers.is_lost[answers.clean_right], answers.needed_counts
    count = rounded_count(counts.mean())
    variants = _other_prompts(counts)
    changing = (is_lost | answers.is_changed[answers.clean_right]).sum(axis=1).mean()
    more = f"without {rounded_count(changing)} layers its text changes, without {count} it is wrong"
    variants.append(Variant(rounded_count(changing), more))
    share = is_lost.mean(axis=0)
    most = np.argsort(-share, kind="stable")[:count]
    least = float(share[most].min(initial=1.0))
    curve = evidence_curve(share, least, f"≥ {least:.0%} of answers lost")
    interval = _interval(answers, pooled.seed)
    return COUNT_MEASURE.counted(count, variants, np.sort(most), curve, interval)


def _other_prompts(counts: np.ndarray) -> list[Variant]:
    """The mean with one right answer left out, the lowest and the highest."""
    if len(counts) == 1:
        return [Variant(None, "it rests on a single answer")]
    others = (counts.sum() - counts) / (len(counts) - 1)
    return [
        Variant(
            rounded_count(mean),
            f"one answer moves it from {counts.mean():.1f} to {mean:.1f} layers",
        )
        for mean in (others.min(), others.max())
    ]


def _interval(answers: ReducedAnswers, seed: int | None) -> CountInterval | None:
    """The interval over prompts, where there is one."""
    interval = answers.needed_interval(seed)
    if interval is None:
        return None
    return CountInterval(*interval, LEVEL, "prompts", resolution=0)


METRIC = Metric(
    name=NAME,
    title="Answers kept",
    description=(
        "Whether the model still answers rightly without a layer, and when its text changes."
    ),
    formula=(
        "leave a layer out everywhere, let the model write the answer itself, always the most "
        "probable token: right or not, and the tokens until it differs from the clean one"
    ),
    reading=(
        "1 from the token on at which the text written without that layer differs; 0 as long as it"
        " is the same."
    ),
    look_for=(
        "Layers without which a right answer turns wrong. By the loss most layers look "
        "removable; when the model writes, fewer are."
    ),
    source="After arXiv 2510.02091",
    cost="L forwards, and a token at a time",
    work=_work,
    result=AnswersKept,
    needs=(
        needs.layers_here,
        needs.clean_run,
        needs.lens,
        needs.split,
        needs.mean_update,
        needs.answer,
    ),
    reruns_layers=False,
    memory=text_in_the_cache,
    depends_on=("skip_part", "layers", "answer_start", *STAND_INS),
    measures=(
        Measure(
            NAME,
            "Answer differs",
            "1 from the first other token on",
            array(AnswersKept, "differs"),
            limits=(0.0, 1.0),
        ),
    ),
    reduced=ReducedAnswers,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    means=_means,
    evidence=lambda answers, pooled: [_evidence(answers, pooled)],
    moved_by_rounding=True,
)
