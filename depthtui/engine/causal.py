"""The slower metrics of one run: each from the cache, or computed on a replayed prompt."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from depthtui.data.results import (
    CausalMetric,
    IntegratedGradients,
    ResidualErasure,
    RunResult,
)
from depthtui.engine import memory
from depthtui.metrics.ablation_loss import ablation_loss
from depthtui.metrics.catalog import METRIC_BY_NAME
from depthtui.metrics.integrated_gradients import integrated_gradients
from depthtui.metrics.residual_erasure import residual_erasure
from depthtui.metrics.skip_effects import choose_positions, skip_effects, skipped_residuals
from depthtui.tracing.anatomy import Anatomy, Unembedding, execution_device
from depthtui.tracing.replay import Replay

CAUSAL = (
    "similarity",
    "direct_logits",
    "settling",
    "ablation",
    "skip_effects",
    "residual_erasure",
    "integrated_gradients",
)
"""The metrics of this module, the quick ones first."""

_MOST_AT_ONCE = {"cpu": 4096}
_MOST_AT_ONCE_ELSEWHERE = 32768


class Tell(Protocol):
    """Tells how far a metric is: its name, what is known, units done and in all."""

    def __call__(self, metric: str, value: CausalMetric, done: int, total: int) -> None: ...


@dataclass
class Baselines:
    """Mean residuals of baseline prompts (paper, metric 4), computed once for a model.

    Attributes:
        model, anatomy: the model.
        token_ids: text -> its ids `[T]`.
    """

    model: torch.nn.Module
    anatomy: Anatomy
    token_ids: Callable[[str], Tensor]
    _held: dict[tuple[str, ...], list[Tensor]] = field(default_factory=dict)

    def mean(self, texts: Sequence[str], checkpoint: Callable[[], None]) -> list[Tensor]:
        """The mean residual at depths 0 … L over all tokens of the texts, each `[d]` float32."""
        key = tuple(texts)
        if key not in self._held:
            sums: list[Tensor] | None = None
            tokens = 0
            for text in texts:
                ids = self.token_ids(text)
                stream = Replay(self.model, self.anatomy, ids, checkpoint).residual
                here = [each.double().sum(dim=0).cpu() for each in stream]
                sums = here if sums is None else [a + b for a, b in zip(sums, here, strict=True)]
                tokens += len(ids)
            assert sums is not None
            self._held[key] = [(each / tokens).float() for each in sums]
        return self._held[key]


@dataclass
class CausalRun:
    """What the slower metrics of one run share.

    Attributes:
        model, anatomy: the model.
        result: the run; its metrics are filled in.
        checkpoint: raises where the run is to stop.
        tell: called as work gets done.
        baselines: mean residuals for erasure.
    """

    model: torch.nn.Module
    anatomy: Anatomy
    result: RunResult
    checkpoint: Callable[[], None]
    tell: Tell
    baselines: Baselines

    def parts(self, metric: str) -> dict[str, Any]:
        """What a metric's value depends on, beside the model, the tokens and their versions."""
        settings = self.result.settings
        parts: dict[str, Any] = {"metric": metric}
        if metric == "skip_effects":
            parts |= {"part": settings.skip_part, "positions": self._positions()}
        if metric == "ablation":
            parts |= {"part": settings.skip_part}
        if METRIC_BY_NAME[metric].needs_answer:
            parts |= {"answer_start": self._answer_start()}
        if metric == "residual_erasure":
            parts |= {"baseline": settings.baseline}
        if metric == "integrated_gradients":
            parts |= {"tolerance": settings.tolerance, "riemann_steps": settings.riemann_steps}
        return parts

    def why_not(self, metric: str) -> str:
        """Why a metric cannot be had for this run; empty where it can."""
        settings, missing = self.result.settings, self.anatomy.lens_missing
        if settings.silenced:
            return "it is measured on clean runs, not in a what-if"
        if metric != "similarity" and missing:
            return missing
        splits = metric in ("skip_effects", "ablation") and settings.skip_part != "layer"
        if splits and self.anatomy.split_missing:
            return self.anatomy.split_missing
        if metric == "skip_effects" and not self._positions():
            return f"the prompt has {len(self.result.tokens)} tokens, and needs at least 13"
        if METRIC_BY_NAME[metric].needs_answer:
            if self._answer_start() >= len(self.result.tokens):
                return "the prompt has no known answer"
            if self._answer_start() < 1:
                return "the answer begins at the first token, so nothing predicts it"
        return ""

    def compute(self, metric: str, partial: CausalMetric | None = None) -> None:
        """Fill in one metric, going on from a partial value where there is one.

        Raises:
            RunStopped: `checkpoint` stopped it; what is done stays in the result.
            DepthError: the model's form does not allow it.
        """
        value = getattr(self, f"_{metric}")(partial)
        setattr(self.result, metric, value)
        self.tell(metric, value, 1, 1)

    @functools.cached_property
    def _replay(self) -> Replay:
        device = execution_device(self.anatomy.layers[0])
        most = _MOST_AT_ONCE.get(device.type, _MOST_AT_ONCE_ELSEWHERE)
        room = memory.available(device) // 4 // memory.block_bytes(self.result.model)
        ids = torch.from_numpy(self.result.tokens.ids).to(
            execution_device(self.model.get_input_embeddings())  # type: ignore[operator]
        )
        return Replay(
            self.model, self.anatomy, ids, self.checkpoint, max(256, min(most, int(room)))
        )

    @property
    def _unembedding(self) -> Unembedding:
        assert self.anatomy.unembedding is not None
        return self.anatomy.unembedding

    def _layers_at_once(self, tokens: int) -> int:
        """How many skipped layers fit in memory, each with so many residuals and their keys."""
        device = execution_device(self.anatomy.layers[0])
        size = 4 if self.result.model.dtype == "float32" else 2
        each = 4 * max(1, tokens) * self.result.model.d_model * size
        return max(1, int(memory.available(device) // 3 // each))

    def _tokens_with_gradients(self) -> int:
        """How many tokens fit in memory with what a backward pass needs of every layer."""
        device, model = execution_device(self.anatomy.layers[0]), self.result.model
        # What a layer keeps is about twice what runs through it at a time.
        each = 2 * model.n_layers * memory.block_bytes(model)
        return max(1, int(memory.available(device) // 2 // each))

    def _positions(self) -> list[int]:
        settings, tokens = self.result.settings, len(self.result.tokens)
        if settings.skip_everywhere:
            return [0]
        rng = random.Random(settings.seed)
        for length in settings.lengths_before:
            choose_positions(length, rng)
        return choose_positions(tokens, rng)

    def _answer_start(self) -> int:
        marked = self.result.settings.answer_start
        return marked if marked >= 0 else self.result.tokens.answer_start

    def _skipped(self) -> list[Tensor]:
        part = self.result.settings.skip_part
        return skipped_residuals(self.model, self.anatomy, self._replay, part)

    def _similarity(self, _partial: object) -> CausalMetric:
        from depthtui.metrics.similarity import similarity

        return similarity(self._replay.residual)

    def _direct_logits(self, _partial: object) -> CausalMetric:
        from depthtui.metrics.direct_logits import direct_logits

        return direct_logits(self._unembedding, self._replay.residual)

    def _settling(self, _partial: object) -> CausalMetric:
        from depthtui.metrics.settling import divergence

        return divergence(self._unembedding, self._replay.residual, self.checkpoint)

    def _ablation(self, _partial: object) -> CausalMetric:
        at_once = self._layers_at_once(self._replay.n_tokens)
        part = self.result.settings.skip_part
        return ablation_loss(self._replay, self._unembedding, self._skipped(), part, at_once)

    def _skip_effects(self, _partial: object) -> CausalMetric:
        replay, positions = self._replay, self._positions()
        tokens = max(positions) + sum(replay.n_tokens - each for each in positions)
        return skip_effects(
            replay,
            self._unembedding,
            self._skipped(),
            positions,
            self.result.settings.skip_part,
            lambda layer, value: self.tell("skip_effects", value, layer + 1, replay.n_layers),
            self._layers_at_once(tokens),
        )

    def _residual_erasure(self, partial: CausalMetric | None) -> CausalMetric:
        texts = self.result.settings.baseline or default_baseline()
        baseline = self.baselines.mean(texts, self.checkpoint)
        total = len(self.result.tokens) - 1

        def on_tokens(done: int, value: ResidualErasure) -> None:
            self.result.residual_erasure = value
            self.tell("residual_erasure", value, done, total)

        return residual_erasure(
            self._replay,
            self._unembedding,
            baseline,
            self._answer_start(),
            on_tokens,
            partial if isinstance(partial, ResidualErasure) else None,
        )

    def _integrated_gradients(self, partial: CausalMetric | None) -> CausalMetric:
        def on_layer(layer: int, value: IntegratedGradients) -> None:
            self.result.integrated_gradients = value
            self.tell("integrated_gradients", value, layer + 1, self._replay.n_layers)

        return integrated_gradients(
            self._replay,
            self._unembedding,
            self._answer_start(),
            self.result.settings.tolerance,
            steps=self.result.settings.riemann_steps,
            on_layer=on_layer,
            result=partial if isinstance(partial, IntegratedGradients) else None,
            most_tokens=self._tokens_with_gradients(),
        )


def default_baseline() -> tuple[str, ...]:
    """Ten grade-school prompts, as many as the paper takes."""
    from depthtui.prompts.tasks import make_prompts

    return tuple(prompt.text for prompt in make_prompts("grade_school", None, 10))


def is_whole(value: CausalMetric) -> bool:
    """Whether nothing of a metric is left to be computed."""
    if isinstance(value, ResidualErasure):
        return bool(np.isfinite(value.effect).all())
    if isinstance(value, IntegratedGradients):
        return bool(np.isfinite(value.completeness_error).all())
    return True
