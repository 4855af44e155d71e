"""The kernels of metrics that run layers again, called with what a test gives for the engine's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from depthtui.data.run_settings import RunSettings
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.context_depth import ContextDepth
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.experts import ChosenExperts
from depthtui.metrics.heads import AttentionHeads
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.order import Order
from depthtui.metrics.pairs import LayerPairs
from depthtui.metrics.quantisation import Quantisation
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.repeat import Repeat
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.tracing.left_out import NOTHING, Substitute
from depthtui.tracing.replay import Replay

Report = Callable[[int, int, Any], object]


def ignore(done: int, total: int, partial: Any) -> None:
    """Listen to no report."""


@dataclass
class KernelContext:
    """The part of `Context` that such kernels ask for.

    Attributes:
        replay: the clean run.
        unembedding: final norm and LM head.
        on_rows: called with each report.
        at_once: how many rows or tokens to run together; 0 for all.
        anatomy: the anatomy of the replay's model.
        skipped: for every layer, the residual after it where it is left out.
        substitute: the substitute for a layer that is left out.
        start: the answer's first token.
        means: the mean residual at each depth, which erased tokens have.
        settings: the settings of the run.
    """

    replay: Replay
    unembedding: Any = None
    on_rows: Report = ignore
    at_once: int = 0
    anatomy: Any = None
    skipped: Sequence[Tensor] = ()
    substitute: Substitute = NOTHING
    start: int = 0
    means: Sequence[Tensor] = ()
    settings: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        self.tokens_with_attention = self.at_once or self.replay.n_tokens
        self.result = SimpleNamespace(
            model=SimpleNamespace(n_layers=self.replay.n_layers, heads=4),
            settings=self.settings,
            tokens=range(self.replay.n_tokens),
            answer_start=self.start,
        )

    @property
    def tokens_with_gradients(self) -> int:
        return self.at_once or self.replay.tokens_at_once

    def layers_at_once(self, tokens: int) -> int:
        return self.at_once or self.replay.n_layers

    def rows_at_once(self, rows: int, tokens: int) -> int:
        return self.at_once or rows

    def baseline(self) -> Sequence[Tensor]:
        return self.means

    def report(self, done: int, total: int, value: Any, share: float = 0.0) -> None:
        self.on_rows(done, total, value)


def compute(name: str, partial: Any, *given: Any, **more: Any) -> Any:
    """A metric's result in such a context."""
    return METRIC_BY_NAME[name].kernel()(KernelContext(*given, **more), partial)


def through(layers: Sequence[int], **settings: Any) -> RunSettings:
    """Settings of a run whose slower metrics go through some layers; none stands for all."""
    return RunSettings(layers=",".join(map(str, layers)), **settings)


def skip_effects(
    replay: Replay,
    unembedding: Any,
    skipped: Sequence[Tensor],
    positions: Sequence[int],
    part: str = "layer",
    on_rows: Report = ignore,
    layers_at_once: int = 0,
    chosen: Sequence[int] = (),
    partial: SkipEffects | None = None,
) -> SkipEffects:
    settings = through(chosen, skip_positions=tuple(positions), skip_part=part)
    given = replay, unembedding, on_rows, layers_at_once
    return compute("skip_effects", partial, *given, skipped=skipped, settings=settings)


def direct_effects(
    replay: Replay,
    skipped: Sequence[Tensor],
    positions: Sequence[int],
    part: str = "layer",
    on_rows: Report = ignore,
    sources_at_once: int = 0,
    chosen: Sequence[int] = (),
    partial: DirectEffects | None = None,
) -> DirectEffects:
    settings = through(chosen, skip_positions=tuple(positions), skip_part=part)
    given = replay, None, on_rows, sources_at_once
    return compute("direct_effects", partial, *given, skipped=skipped, settings=settings)


def ablation_loss(
    replay: Replay,
    unembedding: Any,
    skipped: Sequence[Tensor],
    part: str = "layer",
    layers_at_once: int = 0,
    on_rows: Report = ignore,
    chosen: Sequence[int] = (),
    partial: Ablation | None = None,
    substitute: Substitute = NOTHING,
) -> Ablation:
    given = replay, unembedding, on_rows, layers_at_once
    settings = through(chosen, skip_part=part)
    more: dict[str, Any] = {"substitute": substitute, "settings": settings}
    return compute("ablation", partial, *given, skipped=skipped, **more)


def context_depth(
    replay: Replay,
    unembedding: Any,
    start: int,
    layers_at_once: int = 0,
    on_rows: Report = ignore,
    partial: ContextDepth | None = None,
    substitute: Substitute = NOTHING,
) -> ContextDepth:
    given = replay, unembedding, on_rows, layers_at_once
    return compute("context_depth", partial, *given, start=start, substitute=substitute)


def order(
    replay: Replay,
    unembedding: Any,
    pairs_at_once: int = 0,
    on_rows: Report = ignore,
    partial: Order | None = None,
) -> Order:
    return compute("order", partial, replay, unembedding, on_rows, pairs_at_once)


def repeat(
    replay: Replay,
    unembedding: Any,
    layers_at_once: int = 0,
    on_rows: Report = ignore,
    partial: Repeat | None = None,
) -> Repeat:
    return compute("repeat", partial, replay, unembedding, on_rows, layers_at_once)


def pairs(
    replay: Replay,
    unembedding: Any,
    pairs_at_once: int = 0,
    on_rows: Report = ignore,
    chosen: Sequence[int] = (),
    partial: LayerPairs | None = None,
    substitute: Substitute = NOTHING,
) -> LayerPairs:
    given = replay, unembedding, on_rows, pairs_at_once or replay.n_layers**2
    return compute("pairs", partial, *given, substitute=substitute, settings=through(chosen))


def quantisation(
    replay: Replay,
    unembedding: Any,
    layers_at_once: int = 0,
    on_rows: Report = ignore,
    chosen: Sequence[int] = (),
    partial: Quantisation | None = None,
) -> Quantisation:
    given = replay, unembedding, on_rows, layers_at_once
    anatomy = SimpleNamespace(layers=replay.layers)
    return compute("quantisation", partial, *given, anatomy, settings=through(chosen))


def attention_heads(
    replay: Replay,
    anatomy: Any,
    tokens_at_once: int = 0,
    on_rows: Report = ignore,
    partial: AttentionHeads | None = None,
) -> AttentionHeads:
    return compute("heads", partial, replay, None, on_rows, tokens_at_once, anatomy)


def chosen_experts(
    replay: Replay,
    anatomy: Any,
    tokens_at_once: int = 0,
    on_rows: Report = ignore,
    partial: ChosenExperts | None = None,
) -> ChosenExperts:
    return compute("experts", partial, replay, None, on_rows, tokens_at_once, anatomy)


def integrated_gradients(
    replay: Replay,
    unembedding: Any,
    answer_start: int,
    tolerance: float = 0.01,
    steps: int = 0,
    layers: Sequence[int] = (),
    most_tokens: int = 0,
    on_rows: Report = ignore,
    partial: IntegratedGradients | None = None,
) -> IntegratedGradients:
    settings = through(layers, tolerance=tolerance, riemann_steps=steps)
    given = replay, unembedding, on_rows, most_tokens
    return compute("integrated_gradients", partial, *given, start=answer_start, settings=settings)


def residual_erasure(
    replay: Replay,
    unembedding: Any,
    baseline: Sequence[Tensor],
    answer_start: int,
    on_rows: Report = ignore,
    partial: ResidualErasure | None = None,
    seed: int = 0,
    **how: Any,
) -> ResidualErasure:
    """The erasure that fields of its result, such as `tokens`, say."""
    if partial is None:
        effect = np.full((replay.n_layers + 1, replay.n_tokens), np.nan, np.float32)
        effect[:, -1] = 0.0
        partial = ResidualErasure(effect, answer_start, 0.0, **how)
    given = replay, unembedding, on_rows
    settings = RunSettings(seed=seed)
    return compute("residual_erasure", partial, *given, means=baseline, settings=settings)
