"""The change of the output when a block of layers runs twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import head, row_of_logits
from depthtui.metrics.evidence import progress_words
from depthtui.metrics.loss_change import InRows
from depthtui.metrics.measures import floor_of, values_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.reduced import Reduced, largest
from depthtui.metrics.spec import Finding, LayerMap, LayerValues, Measure, Metric, noise_floor

NAME = "repeat"

LONGEST = 8
"""The number of layers of the longest block that runs twice."""

_NAMED_LENGTHS = (1, 4, LONGEST)
"""The lengths of the blocks that findings name."""

ByBlock: TypeAlias = Annotated[np.ndarray, Shape("8", "L")]
MeanByBlock: TypeAlias = Annotated[np.ndarray, Shape("8", "L", dtype=np.float64)]


def lengths_from(layer: int, n_layers: int) -> range:
    """The lengths of the blocks that begin with a layer."""
    return range(1, min(LONGEST, n_layers - layer) + 1)


def block_words(first: int, length: int) -> str:
    """A block of layers, such as `layers 12 to 15`."""
    return f"layer {first}" if length == 1 else f"layers {first} to {first + length - 1}"


@dataclass
class Repeat(InRows):
    """The output where a block of layers runs twice, one pass after the other.

    Row n - 1, column l is the block of n layers that begins with layer l; NaN where there is none,
    or where it has not run yet. Means over every token but token 0, p the model's own output.

    Attributes:
        kl: KL(p || p~), in nats.
        choices: the share of tokens after which the most probable next one stays the same.
        loss_change: change of these tokens' mean loss, in nats; negative where it falls.
        floor: the largest `kl` in runs computed the same way with nothing repeated.
        loss_floor: the largest mean size of the loss's change in these runs.
    """

    kl: ByBlock
    choices: ByBlock
    loss_change: ByBlock
    floor: float = 0.0
    loss_floor: float = 0.0

    @property
    def known_rows(self) -> np.ndarray:
        """Whether the blocks that begin with each layer are known, `[L]`."""
        return np.isfinite(self.kl[0])

    def filled(
        self, layers: list[int], loss: np.ndarray, kl: np.ndarray, same_choices: np.ndarray
    ) -> Repeat:
        """A copy with the blocks that begin with some layers filled in.

        Args:
            layers: their indices.
            loss, kl, same_choices: changes of the output, `[1 + blocks, tokens]`: first of the
                unchanged run, then of each block, by its first layer and its length.
        """
        repeat, n_layers = self.copied(), self.kl.shape[1]
        of_kl, of_choices, of_loss = (
            values.mean(axis=1, dtype=np.float64)
            for values in (kl[:, 1:], same_choices[:, 1:], loss)
        )
        repeat.floor = max(repeat.floor, float(of_kl[0]))
        repeat.loss_floor = max(repeat.loss_floor, float(np.abs(loss[0]).mean(dtype=np.float64)))
        blocks = [(n - 1, layer) for layer in layers for n in lengths_from(layer, n_layers)]
        places = tuple(np.array(blocks).T)
        repeat.kl[places], repeat.choices[places] = of_kl[1:], of_choices[1:]
        repeat.loss_change[places] = of_loss[1:]
        return repeat


@dataclass(frozen=True, kw_only=True)
class ReducedRepeat(Reduced):
    """Blocks that run twice, means over the tokens of one or more prompts, as in `Repeat`."""

    pools: ClassVar = {"floor": largest, "loss_floor": largest}

    kl: MeanByBlock
    choices: MeanByBlock
    loss_change: MeanByBlock
    floor: float
    loss_floor: float

    def best(self, length: int) -> RepeatedBlock | None:
        """The block of this length whose second pass changes the output least; None without one."""
        return self._least(self.kl[length - 1 : length], length)

    @property
    def most_gained(self) -> RepeatedBlock | None:
        """The block whose second pass lowers the loss most; None where the change is rounding."""
        block = self._least(self.loss_change)
        return block if block and block.loss_change < -2 * self.loss_floor else None

    def _least(self, values: np.ndarray, length: int = 1) -> RepeatedBlock | None:
        """The block with the least value; the first row is of blocks of `length` layers."""
        if not np.isfinite(values).any():
            return None
        row, first = np.unravel_index(int(np.nanargmin(values)), values.shape)
        place = int(row) + length - 1, int(first)
        return RepeatedBlock(
            place[1],
            place[0] + 1,
            *(float(mean[place]) for mean in (self.kl, self.choices, self.loss_change)),
        )


@dataclass(frozen=True)
class RepeatedBlock:
    """A block of layers and the effect of running it twice.

    Attributes:
        first: its first layer.
        length: how many layers it has.
        kl, choices, loss_change: as in `Repeat`.
    """

    first: int
    length: int
    kl: float
    choices: float
    loss_change: float

    @property
    def words(self) -> str:
        """Its layers, such as `layers 12 to 15`."""
        return block_words(self.first, self.length)


def _reduce(result: Repeat, run: RunResult, tokens: slice) -> ReducedRepeat | None:
    """Reduce in the same way whether or not token 0 counts elsewhere: it is never scored here."""
    return ReducedRepeat.of(result, tokens=len(run.tokens) - 1)


def _summary(repeat: ReducedRepeat, pooled: Pooled) -> dict[str, Any]:
    lengths = range(1, LONGEST + 1)
    return {
        "kl": repeat.kl,
        "choices": repeat.choices,
        "loss_change": repeat.loss_change,
        "best_blocks": [_block_summary(block) for n in lengths if (block := repeat.best(n))],
        "most_gained": _block_summary(gained) if (gained := repeat.most_gained) else None,
        "floor": repeat.floor,
        "loss_floor": repeat.loss_floor,
    }


def _block_summary(block: RepeatedBlock) -> dict[str, Any]:
    return {
        "n": block.length,
        "first_layer": block.first,
        "kl": block.kl,
        "choices": block.choices,
        "loss_change": block.loss_change,
    }


def _findings(repeat: ReducedRepeat, pooled: Pooled) -> Iterator[Finding]:
    progress = progress_words(np.isfinite(repeat.kl[0]))
    for length in _NAMED_LENGTHS:
        if block := repeat.best(length):
            noun = "Layer" if length == 1 else f"Block of {length}"
            remark = (
                f"KL {block.kl:.3g} nats, {block.choices:.0%} of first choices stay; "
                f"loss {block.loss_change:+.3g}"
            )
            yield Finding(
                f"{noun} that bears running twice best",
                block.words,
                remark + (f"; {progress}" if progress else ""),
            )
    if gaining_block := repeat.most_gained:
        remark = f"loss {gaining_block.loss_change:+.3g} nats, KL {gaining_block.kl:.3g}"
        yield Finding("Loss falls most when run twice", gaining_block.words, remark)
    floors = f"KL {repeat.floor:.2g} nats, loss {repeat.loss_floor:.2g}"
    yield noise_floor(METRIC.title, floors)


def _per_layer(repeat: ReducedRepeat) -> list[LayerValues]:
    return [
        LayerValues(
            "twice, KL",
            repeat.kl[0],
            "KL(p ‖ p with the layer run twice), nats",
            METRIC.reading,
            of_layer=True,
        ),
        LayerValues("twice, loss", repeat.loss_change[0]),
    ]


def by_ends(values: np.ndarray) -> np.ndarray:
    """The values of blocks `[8, L]` by first and last layer, `[L, L]`; NaN where there is none."""
    n_layers = values.shape[1]
    by_layers = np.full((n_layers, n_layers), np.nan, values.dtype)
    for first in range(n_layers):
        for length in lengths_from(first, n_layers):
            by_layers[first, first + length - 1] = values[length - 1, first]
    return by_layers


def _maps(repeat: ReducedRepeat) -> list[LayerMap]:
    axes = "first layer that runs twice", "last layer that runs twice"
    noise = f"; noise up to {repeat.floor:.2g}" if repeat.floor >= 0.001 else ""
    loss, caption = by_ends(repeat.loss_change), f"{LOSS_MAP.formula}; negative: the loss falls"
    return [
        LayerMap(MAP, by_ends(repeat.kl), MAP.title, f"{MAP.formula}{noise}", *axes),
        LayerMap(LOSS_MAP, loss, LOSS_MAP.title, caption, *axes),
    ]


MAP = Measure(
    NAME,
    "Repeated blocks",
    "KL(p || p~), nats",
    values_of(Repeat, lambda repeat: by_ends(repeat.kl)),
    columns="layers",
    floor=floor_of(Repeat),
)
"""First layers x last layers of the blocks that run twice."""

LOSS_MAP = Measure(
    "repeat_loss",
    "Repeated blocks, loss",
    "loss change, nats",
    values_of(Repeat, lambda repeat: by_ends(repeat.loss_change)),
    diverging=True,
    columns="layers",
    floor=lambda run: float(getattr(run.get(Repeat), "loss_floor", 0.0)),
)
"""The change of the loss, by first layers x last layers of the blocks."""


def _work(result: RunResult) -> float:
    """The work: a block's run begins at its first layer; an unchanged run goes through all."""
    count = result.model.n_layers
    blocks = [len(lengths_from(layer, count)) for layer in range(count)]
    layers = count + sum(n * (count - layer) for layer, n in enumerate(blocks))
    return layers / count + (sum(blocks) + 1) * head(result)


METRIC = Metric(
    name=NAME,
    title="Repeated blocks",
    description="The layers that can run twice, and those whose second run lowers the loss.",
    formula=(
        "every block of 1 to 8 layers twice, one pass after the other: `KL(p ‖ p~)` of the output, "
        "the share of first choices that stay, change of the loss"
    ),
    reading="Nats of KL where a block runs twice: 0 leaves the output as it is, more changes it.",
    look_for=(
        "Dark blocks can run twice: candidates for a deeper model made of itself. A second pass"
        " that lowers the loss of one text is no gain yet: try it on a task."
    ),
    source="Self-merges of layers: mergekit's passthrough; RYS",
    cost="8 L forwards, half of each",
    work=_work,
    result=Repeat,
    needs=(needs.clean_run, needs.lens, needs.last_stream_alone, needs.second_token),
    memory=row_of_logits,
    measures=(MAP, LOSS_MAP),
    reduced=ReducedRepeat,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    per_layer=_per_layer,
    maps=_maps,
)
