"""Heals a model that loses layers: a linear map, folded into the projection before each block.

Blocks of layers leave, from layer a to layer b. With m the write of the MLP of layer a - 1, y the
residual stream before it, and h the stream behind layer b of the whole model, the map is

    A = argmin sum |A m + y - h|^2 + lambda |A|^2

over the tokens of calibration texts but for the first of each (ReplaceMe, arXiv 2505.02819).
A m is a write of the same MLP with A W in place of the weight W of its last projection, and A c in
place of its bias c: nothing is added to the model.

A mean stands in for pieces otherwise: that of what they write in the whole model, over the same
tokens, added to the bias of the MLP before a block, or of the part itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.data.pieces import Piece, parts_of, piece_words
from depthtui.data.run_settings import Skip
from depthtui.data.selection import ranges_of
from depthtui.data.sentence import noun_for
from depthtui.engine.held_out_prompts import last_residual, unembedding_of
from depthtui.engine.memory import available
from depthtui.engine.projections import Projection, Projections, map_target, probe_replay
from depthtui.engine.ready_model import ReadyModel
from depthtui.errors import DepthError
from depthtui.lenses.calibration import Calibration
from depthtui.lenses.least_squares import SecondMoments
from depthtui.metrics.output_change import OutputChange
from depthtui.models.devices import execution_device
from depthtui.models.pruning import LayerTensor
from depthtui.sizes import format_size
from depthtui.tracing.anatomy import Anatomy, Tap
from depthtui.tracing.modules import first_tensor, hooks, with_first_tensor, with_parameters
from depthtui.tracing.trace import LayerActivations, trace

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The ridges that are tried, as multiples of the mean of the diagonal of sum m m^T."""

Report = Callable[[int, int], None]
"""Called with the steps done and in all."""

Check = Callable[[], None]


@dataclass(frozen=True)
class HealedBlock:
    """A block of layers that leaves, and the projection that makes up for it.

    Attributes:
        first, last: the layers of the block.
        ridge: the ridge of its map.
        projection: the projection of the layer before it, with the map folded in.
    """

    first: int
    last: int
    ridge: float
    projection: Projection


@dataclass(frozen=True)
class Means:
    """The means that stand in for pieces that leave.

    Attributes:
        constants: what is written more at every token, by the part that writes it, `[d]` each.
        stand_in: whether these parts write nothing else.
        words: the texts of the means, as a clause.
    """

    constants: Mapping[int, Tensor] = field(default_factory=dict)
    stand_in: bool = False
    words: str = ""

    @contextlib.contextmanager
    def applied(self, anatomy: Anatomy) -> Iterator[None]:
        """Let a model write them for a while."""
        with hooks() as handles:
            for part, constant in self.constants.items():
                tap = anatomy.sublayer(part)[0]

                def write(
                    _: nn.Module,
                    args: tuple[Any, ...],
                    output: Any,
                    tap: Tap = tap,
                    constant: Tensor = constant,
                ) -> Any:
                    output = tap.skip(args, output) if self.stand_in else output
                    value = first_tensor(output)
                    return with_first_tensor(output, value + (constant / tap.scale).to(value))

                handles.append(tap.module.register_forward_hook(write))
            yield


def mean_writes(
    model: ReadyModel,
    left_out: Collection[int],
    piece: Piece,
    texts: Sequence[Tensor],
    report: Report,
    checkpoint: Check,
) -> Means:
    """The means that stand in for layers or parts that leave, over texts `[T]` of the model.

    Raises:
        DepthError: no layer stands before a block that leaves.
    """
    sums: dict[int, Tensor] = {}
    blocks = [*ranges_of(sorted(left_out))] if piece == "layer" else []
    if any(first == 0 for first, _ in blocks):
        raise DepthError(
            "No mean can stand in for layer 0: no layer stands before it.", "Keep layer 0."
        )

    def add(activations: LayerActivations) -> None:
        layer, writes = activations.layer, {}
        if piece == "part":
            both = zip(parts_of([layer]), (activations.attention, activations.mlp), strict=True)
            writes = {part: write for part, write in both if part in left_out}
        for first, last in blocks:
            if first <= layer <= last:
                # The part behind which the block stood: the MLP of the layer before.
                writes = {parts_of([first - 1])[-1]: activations.h_next - activations.h}
        for part, write in writes.items():
            assert write is not None
            total = write[1:].cpu().double().sum(dim=0)
            sums[part] = sums[part] + total if part in sums else total

    module = model.loaded.model
    for number, ids in enumerate(texts):
        report(number, len(texts))
        ids = ids.to(execution_device(module.get_input_embeddings()))
        trace(module, model.anatomy, ids, add, checkpoint)
    tokens = sum(len(ids) - 1 for ids in texts)
    words = f"the mean over {tokens:,} tokens of {len(texts)} texts that the model writes"
    means = {part: (total / tokens).float() for part, total in sums.items()}
    return Means(means, piece == "part", words)


@dataclass(frozen=True)
class Healing:
    """The healing of a model that loses layers, or the means that stand in for its pieces.

    Attributes:
        blocks: the blocks that are healed, from the bottom.
        problems: why each other block is not, by its first and last layer.
        tokens: how many tokens the maps were fitted on; 0 where no block could be healed.
        texts: the number of texts that they belong to.
        source: where the texts come from, in words.
        held_out: the number of further texts, on which the ridges were chosen.
        kl_cut, kl_healed: mean KL(p || p~) on these further texts, p the whole model's output,
            without the layers and healed, in nats; NaN where there are none.
        means: the means, where these stand in.
    """

    blocks: tuple[HealedBlock, ...] = ()
    problems: Mapping[tuple[int, int], str] = field(default_factory=dict)
    tokens: int = 0
    texts: int = 0
    source: str = ""
    held_out: int = 0
    kl_cut: float = float("nan")
    kl_healed: float = float("nan")
    means: Means = field(default_factory=Means)

    @property
    def name(self) -> str:
        """What the model is called beside the one that is cut alone."""
        return "with means" if self.means.constants else "healed"

    @property
    def changes_weights(self) -> bool:
        """Whether anything makes up for the pieces."""
        return bool(self.blocks or self.means.constants)

    @property
    def helps(self) -> bool:
        """Whether it lowers the KL on the further texts; means are not asked."""
        return bool(self.means.constants) or self.kl_healed < self.kl_cut

    def lines(self, is_used: bool) -> list[str]:
        """Which blocks are healed and how, or why not, in lines.

        Args:
            is_used: whether the model that is written is healed.
        """
        lines = [
            f"{'healed' if is_used else 'not healed'}: "
            f"{_block_words(block.first, block.last)}, by a map in {block.projection.name} of "
            f"layer {block.projection.layer} (ridge {block.ridge:g})"
            for block in self.blocks
        ]
        lines += [
            f"{self.means.words}, in the bias of the {piece_words(part, 'part')}"
            for part in self.means.constants
        ]
        lines += [
            f"not healed: {_block_words(first, last)}: {problem}"
            for (first, last), problem in sorted(self.problems.items())
        ]
        if self.blocks and not is_used:
            lines.append("not healed: that does not help on held-out texts")
        return lines

    @property
    def fit_words(self) -> str:
        """The texts of the fit and the KL on further ones, as a line; empty without a fit."""
        if not self.tokens:
            return ""
        return (
            f"fitted on {self.tokens:,} tokens of {self.texts:,} texts ({self.source}); on "
            f"{self.held_out:,} {noun_for(self.held_out, 'further one')} the KL is "
            f"{self.kl_cut:.3f} nats cut, "
            f"{self.kl_healed:.3f} healed"
        )

    @property
    def tensors(self) -> dict[LayerTensor, Tensor]:
        """The tensors that replace those of the model's files."""
        return {
            name: value for block in self.blocks for name, value in block.projection.tensors.items()
        }


NOT_HEALED = Healing()


def _block_words(first: int, last: int) -> str:
    return f"layer {first}" if first == last else f"layers {first}-{last}"


@contextlib.contextmanager
def healed(
    anatomy: Anatomy, blocks: Sequence[HealedBlock], means: Means = NOT_HEALED.means
) -> Iterator[None]:
    """Give a model the healed projections, or the means, for a while."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(means.applied(anatomy))
        for projection in (block.projection for block in blocks):
            module = anatomy.layers[projection.layer].get_submodule(projection.name)
            values = {
                name: value.to(getattr(module, name))
                for name, value in projection.parameters.items()
            }
            stack.enter_context(with_parameters(module, values))
        yield


def why_not_healed(model: ReadyModel) -> str:
    """Why no layer of a model can make up for others that leave; empty where one can."""
    anatomy = model.anatomy
    if problem := model.info.why_not_healed or anatomy.replay_missing:
        return problem
    replay = probe_replay(model)
    for layer in range(len(anatomy.layers)):
        try:
            map_target(anatomy, replay, layer)
        except DepthError as error:
            problem = error.message
        else:
            return ""
    return problem


def heal(
    model: ReadyModel,
    projections: Projections,
    left_out: Collection[int],
    calibrate: Callable[[], Calibration],
    report: Report,
    checkpoint: Check,
) -> Healing:
    """Fit a map for each block of layers that leaves, in order from the bottom.

    Each is fitted in the model that is healed below. It is kept where it lowers the mean KL to the
    whole model's output on texts that it was not fitted on.

    Args:
        model: the loaded model.
        projections: its projections.
        left_out: the layers that leave.
        calibrate: returns the texts; called where a block can be healed.
        report: called with the steps done and in all.
        checkpoint: called before every layer.

    Raises:
        DepthError: the texts cannot be read or written, or there is too little memory.
    """
    before: dict[tuple[int, int], Projection] = {}
    problems: dict[tuple[int, int], str] = {}
    for first, last in ranges_of(sorted(left_out)):
        if first == 0:
            problems[first, last] = "no layer stands before it"
            continue
        try:
            before[first, last] = projections.of_layer(first - 1)
        except DepthError as error:
            problems[first, last] = f"layer {first - 1} cannot be healed: {error.message}"
    if not before:
        return Healing(problems=problems)
    fit = _Fit(model, calibrate(), len(before), report, checkpoint)
    kl_cut = fit.kl(left_out, [])
    blocks: list[HealedBlock] = []
    for (first, last), projection in before.items():
        block = fit.block(first, last, projection, left_out, blocks)
        if block is None:
            problems[first, last] = "no map lowers the KL on texts that it was not fitted on"
        else:
            blocks.append(block)
    calibration = fit.calibration
    return Healing(
        tuple(blocks),
        problems,
        calibration.tokens,
        len(calibration.fitting_texts),
        calibration.source,
        len(calibration.held_out),
        kl_cut,
        fit.kl(left_out, blocks),
    )


class _LayerReached(Exception):
    """Ends a pass once the layer that it was for has run."""


class _Fit:
    """The fit of a model's maps."""

    def __init__(
        self,
        model: ReadyModel,
        calibration: Calibration,
        n_blocks: int,
        report: Report,
        checkpoint: Check,
    ) -> None:
        self.calibration = calibration
        self._model, self._report, self._checkpoint = model, report, checkpoint
        texts, held_out = len(calibration.fitting_texts), len(calibration.held_out)
        self._steps = n_blocks * texts + ((len(RIDGES) + 1) * n_blocks + 3) * held_out
        self._done = 0
        self._whole = [
            (ids, self._last_residual(ids, ()).to("cpu")) for ids in calibration.held_out
        ]

    def block(
        self,
        first: int,
        last: int,
        projection: Projection,
        left_out: Collection[int],
        below: Sequence[HealedBlock],
    ) -> HealedBlock | None:
        """Heal a block, with those below it healed; None where no map is better than none."""
        moments = self._moments(first, last, left_out, below)
        gone = [layer for layer in left_out if layer <= last]
        best, least = None, self.kl(gone, below)
        for ridge in RIDGES:
            folded = projection.folded(moments.map(ridge))
            block = HealedBlock(first, last, ridge, folded)
            if (kl := self.kl(gone, [*below, block])) < least:
                best, least = block, kl
        return best

    def kl(self, left_out: Collection[int], blocks: Sequence[HealedBlock]) -> float:
        """The mean KL to the whole model's output on the held-out texts, in nats."""
        unembedding, means = unembedding_of(self._model), []
        with healed(self._model.anatomy, blocks), torch.no_grad():
            for ids, whole in self._whole:
                changed = self._last_residual(ids, left_out)
                change = OutputChange(unembedding, whole.to(changed.device), ids)
                means.append(change(changed[None]).kl[0, 1:].mean(dtype=torch.float64))
        return float(torch.stack(means).mean())

    def _moments(
        self,
        first: int,
        last: int,
        left_out: Collection[int],
        below: Sequence[HealedBlock],
    ) -> SecondMoments:
        """The sums over the fitting texts of m m^T and m (h - y)^T."""
        model, width = self._model, self._model.info.d_model
        head = execution_device(unembedding_of(model).head)
        # Some other devices have no double precision.
        device = head if head.type == "cuda" else torch.device("cpu")
        _check_room(width, device)
        moments = SecondMoments.empty(width, device)
        gone = [layer for layer in left_out if layer < first]
        for ids in self.calibration.fitting_texts:
            whole = self._at(ids, last, ())
            with healed(model.anatomy, below):
                cut = self._at(ids, first - 1, gone)
            assert cut.mlp is not None
            write, after = (part[1:].to(device).double() for part in (cut.mlp, cut.h_next))
            moments.add(write, whole.h_next[1:].to(device).double() - (after - write))
            self._count()
        return moments

    def _at(self, ids: Tensor, layer: int, left_out: Collection[int]) -> LayerActivations:
        """A layer's activations in the pass without some layers, which ends there."""
        recorded_layers: list[LayerActivations] = []

        def keep(activations: LayerActivations) -> None:
            if activations.layer == layer:
                recorded_layers.append(activations)
                raise _LayerReached

        with contextlib.suppress(_LayerReached):
            trace(
                self._model.loaded.model,
                self._model.anatomy,
                ids.to(execution_device(self._model.loaded.model.get_input_embeddings())),
                keep,
                self._checkpoint,
                [Skip(layer) for layer in left_out],
            )
        return recorded_layers[0]

    def _last_residual(self, ids: Tensor, left_out: Collection[int]) -> Tensor:
        residual = last_residual(self._model, ids, self._checkpoint, left_out)
        self._count()
        return residual

    def _count(self) -> None:
        self._done += 1
        self._report(self._done, self._steps)


def _check_room(width: int, device: torch.device) -> None:
    """Check that the sums and their solution fit in memory.

    Raises:
        DepthError: they do not.
    """
    # Two sums, and three matrices while they are solved.
    size, room = 5 * 8 * width * width, available(device)
    if size > room:
        raise DepthError(
            f"Healing a model of width {width:,} takes {format_size(size)}, and "
            f"{format_size(max(0, room))} are free.",
            "Free some memory, or leave --heal out.",
        )
