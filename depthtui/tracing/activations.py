"""The residual stream and the writes of one run, kept while they are needed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from depthtui.data.run_settings import PatchedCell, Repeated, Skip
from depthtui.errors import DepthError
from depthtui.sizes import format_size
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.patches import PatchedRows, Patches
from depthtui.tracing.trace import LayerActivations, trace

_READ = "read."

MEMORY_BYTES = 256 << 20
"""A stack larger than this lies in an unlinked file that the system pages in and out."""


@dataclass
class Activations:
    """The residual stream and the writes recorded in one run.

    Attributes:
        residual: `[L+1, T, d]`, h_0 … h_L.
        attention, mlp: `[L, T, d]`, or None where they were not kept.
        layer_inputs: the input `[T, d]` of each layer whose input is not the output of the layer
            before.
    """

    residual: Tensor
    attention: Tensor | None = None
    mlp: Tensor | None = None
    layer_inputs: dict[int, Tensor] = field(default_factory=dict)

    def layers(self) -> Iterator[LayerActivations]:
        """Yield the layers as `trace` would have passed them on."""
        for layer in range(len(self.residual) - 1):
            yield LayerActivations(
                layer=layer,
                h=self.layer_inputs.get(layer, self.residual[layer]),
                attention=None if self.attention is None else self.attention[layer],
                mlp=None if self.mlp is None else self.mlp[layer],
                h_next=self.residual[layer + 1],
            )

    def to_bytes(self) -> bytes:
        """Encode as a safetensors file."""
        stacks = {"residual": self.residual, "attention": self.attention, "mlp": self.mlp}
        tensors = {name: value for name, value in stacks.items() if value is not None}
        tensors |= {f"{_READ}{layer}": value for layer, value in self.layer_inputs.items()}
        # safetensors ends the process where it gets no memory; this allocation raises instead.
        torch.empty(2 * sum(value.nbytes for value in tensors.values()), dtype=torch.uint8)
        return save({name: value.cpu().contiguous() for name, value in tensors.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Activations | None:
        """Decode the bytes of `to_bytes`; None for other bytes."""
        try:
            tensors = load(data)
            layer_inputs = {
                int(name.removeprefix(_READ)): value
                for name, value in tensors.items()
                if name.startswith(_READ)
            }
            return cls(
                tensors["residual"], tensors.get("attention"), tensors.get("mlp"), layer_inputs
            )
        except (SafetensorError, KeyError, ValueError):
            return None


@dataclass(eq=False)
class ActivationRecorder:
    """Collects activations as the layers run.

    Attributes:
        n_layers: L.
        keep_writes: whether to keep attention and MLP writes too.
        scratch_dir: the folder of large stacks; None for the system's.
        between: layers whose input is not the output of the layer before.
    """

    n_layers: int
    keep_writes: bool
    scratch_dir: str | None = None
    between: Collection[int] = ()
    _stacks: dict[str, Tensor] = field(default_factory=dict, init=False)
    _has_writes: bool = field(default=True, init=False)
    _layer_inputs: dict[int, Tensor] = field(default_factory=dict, init=False)

    def add(self, layer: LayerActivations) -> None:
        """Keep one layer."""
        if layer.layer == 0:
            self._put("residual", self.n_layers + 1, 0, layer.h)
        if layer.layer in self.between:
            self._layer_inputs[layer.layer] = layer.h.clone()
        self._put("residual", self.n_layers + 1, layer.layer + 1, layer.h_next)
        if layer.attention is None or layer.mlp is None:
            self._has_writes = False
        elif self.keep_writes:
            self._put("attention", self.n_layers, layer.layer, layer.attention)
            self._put("mlp", self.n_layers, layer.layer, layer.mlp)

    def put_residual(self, depth: int, value: Tensor) -> None:
        """Put h_depth `[T, d]` in place of the output of the layer below."""
        self._stacks["residual"][depth] = value

    def residual(self, depth: int) -> Tensor:
        """h_depth `[T, d]`, as recorded so far."""
        return self._stacks["residual"][depth]

    def activations(self) -> Activations:
        """All that was recorded, once every layer has run."""
        writes = self._stacks if self._has_writes else {}
        stacks = self._stacks["residual"], writes.get("attention"), writes.get("mlp")
        return Activations(*stacks, self._layer_inputs)

    def _put(self, name: str, count: int, place: int, value: Tensor) -> None:
        if name not in self._stacks:
            self._stacks[name] = _stack(count, value, self.scratch_dir)
        self._stacks[name][place] = value


def record_residuals(
    model: nn.Module,
    anatomy: Anatomy,
    ids: Tensor,
    checkpoint: Callable[[], None] = lambda: None,
    skipped: Collection[Skip] = (),
    repeated: Collection[Repeated] = (),
) -> Activations:
    """The residual stream of the pass of `ids` `[T]`, clean or with changes, and nothing else."""
    recorder = ActivationRecorder(
        len(anatomy.layers), keep_writes=False, between=anatomy.between.keys()
    )
    trace(model, anatomy, ids, recorder.add, checkpoint, skipped, repeated)
    return recorder.activations()


def record_patches(
    model: nn.Module,
    anatomy: Anatomy,
    ids: Tensor,
    cells: Collection[PatchedCell],
    checkpoint: Callable[[], None] = lambda: None,
) -> Patches:
    """The states that the clean pass of `ids` `[T]` has at some cells."""
    tokens: dict[tuple[int, str], list[int]] = {}
    for cell in sorted(cells):
        tokens.setdefault((cell.layer, cell.part), []).append(cell.token)
    patches: dict[tuple[int, str], PatchedRows] = {}

    def keep(layer: LayerActivations) -> None:
        states = {"layer": layer.h, "attention": layer.attention, "mlp": layer.mlp}
        for part, values in states.items():
            at = tokens.get((layer.layer, part))
            if at is not None and values is not None:
                patches[layer.layer, part] = PatchedRows(at, values[at].clone())

    trace(model, anatomy, ids, keep, checkpoint)
    return patches


def _stack(count: int, like: Tensor, scratch_dir: str | None) -> Tensor:
    """Room for `count` tensors: beside `like` where small, else in an unlinked file.

    Raises:
        DepthError: the file's disk has no room for it.
    """
    size = count * like.numel()
    if size * like.element_size() <= MEMORY_BYTES:
        return torch.empty((count, *like.shape), dtype=like.dtype, device=like.device)
    handle, name = tempfile.mkstemp(dir=scratch_dir, prefix="activations-")
    try:
        _reserve(handle, size * like.element_size(), os.path.dirname(name))
        flat = torch.from_file(name, shared=True, size=size, dtype=like.dtype)
    finally:
        os.close(handle)
        os.unlink(name)
    return flat.view(count, *like.shape)


def _reserve(handle: int, size: int, folder: str) -> None:
    """Reserve the disk space: a mapped page without any would end the process (SIGBUS)."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        raise DepthError(
            f"The residual stream of this prompt takes {format_size(size)}, "
            f"and {folder} has no room for it ({error.strerror}).",
            "Free some space, name another folder in TMPDIR, or shorten the prompt.",
        ) from error
