"""Which model, and what it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from depthtui.data.run_settings import ModelSpec, Skip
from depthtui.errors import DepthError

PART_TITLES = {"layer": "layer", "attention": "attention", "mlp": "MLP"}
"""The parts of a block that can be left out, and what people call them."""


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model.

    Attributes:
        spec: what was asked for.
        name: a short name to show, such as `SmolLM2-135M-Instruct`.
        source: where the weights are, in words.
        revision: the hub commit, or empty.
        architecture: the class name, such as `LlamaForCausalLM`.
        n_layers: L.
        d_model: width of the residual stream.
        vocab_size: number of logits.
        parameters: number of parameters.
        context_length: longest prompt in tokens; 0 where unknown.
        dtype: of the weights in memory, such as `bfloat16`.
        device: such as `cpu` or `cuda:0, cuda:1`.
        quantize: empty, `8bit` or `4bit`.
        fingerprint: a hash that changes with the weights.
        memory_bytes: what the weights take.
        has_chat_template: whether the tokenizer brings a chat template.
        parallel: attention and MLP read the same input, so the MLP's
            contribution is relative to `h` and not to `h + a`.
        split_missing: why the attention/MLP split is unavailable, or empty.
        lens_missing: why the logit lens is unavailable, or empty.
        states_from: where its states were read from, such as `vLLM's files in served`; empty where
            its layers were run here.
        layer_parameters: how many parameters each layer holds; empty where unknown.
        attention_parameters, mlp_parameters: how many of these work for its attention or its
            MLP alone; empty where unknown.
        layer_types: what each layer is made of, such as `mamba`, `full attention` or `experts`;
            empty where all layers are alike.
        streams: how many residual streams lie side by side in `d_model`.
        calls: the pass and the block of each layer, where blocks run several times; else empty.
        broken_at: layers that read something else than the one before has written.
        reads_earlier: whether layers read streams of earlier depths beside the last one.
        mixes_depths: whether its readout reads them too.
    """

    spec: ModelSpec
    name: str
    source: str
    revision: str
    architecture: str
    n_layers: int
    d_model: int
    vocab_size: int
    parameters: int
    context_length: int
    dtype: str
    device: str
    quantize: str = ""
    fingerprint: str = ""
    memory_bytes: int = 0
    has_chat_template: bool = False
    parallel: bool = False
    split_missing: str = ""
    lens_missing: str = ""
    states_from: str = ""
    layer_parameters: tuple[int, ...] = ()
    attention_parameters: tuple[int, ...] = ()
    mlp_parameters: tuple[int, ...] = ()
    layer_types: tuple[str, ...] = ()
    streams: int = 1
    calls: tuple[tuple[int, int], ...] = ()
    broken_at: tuple[int, ...] = ()
    reads_earlier: bool = False
    mixes_depths: bool = False

    def is_same_as(self, other: ModelInfo) -> bool:
        """Whether runs of both have the same values: weights, dtype and device are the same."""
        # Runs that were kept by a version without layer types are of the same model.
        asked = replace(
            self,
            spec=other.spec,
            memory_bytes=other.memory_bytes,
            layer_types=other.layer_types,
        )
        return asked == other

    def parameters_of(self, skipped: Iterable[Skip]) -> int | None:
        """How many parameters a run without these does not use; None where unknown."""
        held = {
            "layer": self.layer_parameters,
            "attention": self.attention_parameters,
            "mlp": self.mlp_parameters,
        }
        skipped = tuple(skipped)
        if not all(held[skip.part] for skip in skipped):
            return None
        chosen = {(skip.layer, skip.part) for skip in skipped}
        # A looped block's parameters are used while one of its layers runs.
        unused = {
            (self.layers_of(layer)[0], part)
            for layer, part in chosen
            if all((other, part) in chosen for other in self.layers_of(layer))
        }
        return sum(held[part][layer] for layer, part in unused)

    def layers_of(self, layer: int) -> tuple[int, ...]:
        """All layers that a layer's block runs as: itself alone in most models."""
        # A file may name more calls than there are layers, or fewer.
        if len(self.calls) != self.n_layers:
            return (layer,)
        block = self.calls[layer][1]
        return tuple(other for other, call in enumerate(self.calls) if call[1] == block)

    def type_of(self, layer: int) -> str:
        """The type of a layer; empty where all are alike."""
        return next(iter(self.layer_types[layer : layer + 1]), "")

    @property
    def n_blocks(self) -> int:
        """How many blocks run as the layers."""
        return len({block for _turn, block in self.calls}) if self.calls else self.n_layers

    def blocks_of(self, left_out: Collection[int]) -> tuple[int, ...]:
        """The blocks that run as some layers, to be left out of a model that is written.

        Raises:
            DepthError: a looped block is among them in some of its passes alone.
        """
        there = [layer for layer in left_out if 0 <= layer < self.n_layers]
        if not self.calls or len(there) < len(left_out):
            return tuple(left_out)
        for layer in there:
            if not set(self.layers_of(layer)) <= set(there):
                raise DepthError(
                    f"Layer {layer_number(self, layer)} runs in {len(self.layers_of(layer))} "
                    "passes, and a model can be written without it in all of them alone.",
                    "Leave it out in all passes (X in the explorer's what-if).",
                )
        return tuple(dict.fromkeys(self.calls[layer][1] for layer in there))

    @cached_property
    def layers_by_type(self) -> dict[str, tuple[int, ...]]:
        """The layers of each type, types in the order of their first layers; empty without any."""
        found: dict[str, list[int]] = {}
        # A file may name more types than there are layers, or fewer.
        for layer, kind in enumerate(self.layer_types[: self.n_layers]):
            found.setdefault(kind, []).append(layer)
        return {kind: tuple(layers) for kind, layers in found.items()}

    @cached_property
    def type_marks(self) -> dict[str, str]:
        """The mark of each type beside a layer's number, such as `M` of `mamba`."""
        taken: dict[str, str] = {}
        parts = dict.fromkeys(part for kind in self.layer_types for part in kind.split(_AND))
        for part in parts:
            letters = (letter for letter in part.upper() if letter in _LETTERS)
            taken[part] = next((one for one in letters if one not in taken.values()), "?")
        return {
            kind: "".join(taken[part] for part in kind.split(_AND)) for kind in self.layers_by_type
        }


_AND = ", "
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Those that no digit looks like."""


def joined_type(*parts: str) -> str:
    """The type of a layer that has several, such as `sliding attention, experts`."""
    return _AND.join(filter(None, parts))


def layer_number(model: ModelInfo, layer: int) -> str:
    """A layer as sentences and axes name it: `12`, or `12 (2.3)` for block 3 in pass 2."""
    call = _call_words(model, layer)
    return f"{layer} ({call})" if call else str(layer)


def layer_mark(model: ModelInfo, layer: int) -> str:
    """The mark of a layer's type; empty where all layers are alike."""
    return model.type_marks.get(model.type_of(layer), "")


def layer_label(model: ModelInfo, layer: int) -> str:
    """A layer as rows are labelled: its number, with the mark of its type in a hybrid: `12M`.

    Of a looped block `12·2.3`, of block 3 in pass 2.
    """
    call = _call_words(model, layer)
    return str(layer) + f"·{call}" * bool(call) + layer_mark(model, layer)


def _call_words(model: ModelInfo, layer: int) -> str:
    """The pass and the block of a layer, or a block's own number; empty where it is the layer's."""
    if len(model.calls) != model.n_layers:
        return ""
    turn, block = model.calls[layer]
    if len(model.layers_of(layer)) > 1:
        return f"{turn}.{block}"
    return "" if block == layer else str(block)


def label_cells(model: ModelInfo) -> int:
    """How long the longest label of a layer is."""
    return max(len(layer_label(model, layer)) for layer in range(model.n_layers))


def layer_words(model: ModelInfo, layer: int) -> str:
    """A layer with its type where types differ, such as `layer 12 (mamba)`."""
    kind = model.type_of(layer)
    return f"layer {layer_number(model, layer)}" + f" ({kind})" * bool(kind)


def marks_words(model: ModelInfo) -> str:
    """The legend of the marks, such as `M mamba · F full attention`; empty without types."""
    return " · ".join(f"{mark} {kind}" for kind, mark in model.type_marks.items())


@dataclass(frozen=True)
class ModelListing:
    """A model that the picker offers.

    Attributes:
        name: what `ModelSpec.name` has to be to open it.
        title: what to show.
        kind: `demo`, `hub`, `store`, `folder` or `gguf`.
        size: bytes on disk, or bytes to fetch where it is not ready.
        ready: whether it opens without the network.
        note: one phrase to show beside it; may be empty.
        revision: the hub revision of the copy on disk, or empty.
        facts: what its configuration says of it, in a phrase; empty where there is none.
    """

    name: str
    title: str
    kind: str
    size: int
    ready: bool
    note: str = ""
    revision: str = ""
    facts: str = ""
