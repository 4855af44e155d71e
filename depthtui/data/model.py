"""Models: a loaded model, and models that the picker lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from depthtui.data.run_settings import ModelSpec, Skip
from depthtui.errors import DepthError

PART_TITLES = {"layer": "layer", "attention": "attention", "mlp": "MLP"}
"""The parts of a block that can be left out, and their names for people."""

DEMO_NAME = "SmolLM2-135M-Instruct"
"""The name of the demo model."""


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model.

    Attributes:
        spec: the spec that it was loaded by.
        name: a short name to show, such as `SmolLM2-135M-Instruct`.
        source: place of the weights, in words.
        revision: the hub commit, or empty.
        architecture: the class name, such as `LlamaForCausalLM`.
        n_layers: L.
        d_model: width of the residual stream.
        vocab_size: number of logits.
        parameters: number of parameters.
        context_length: longest prompt in tokens; 0 where unknown.
        dtype: dtype of the weights in memory, such as `bfloat16`.
        device: device or devices, such as `cpu` or `cuda:0, cuda:1`.
        quantize: empty, `8bit` or `4bit`.
        fingerprint: a hash that changes with the weights.
        memory_bytes: memory of the weights.
        has_chat_template: whether the tokenizer has a chat template.
        parallel: attention and MLP read the same input, so the MLP's
            contribution is relative to `h` and not to `h + a`.
        split_missing: why the attention/MLP split is unavailable, or empty.
        lens_missing: why the logit lens is unavailable, or empty.
        experts_missing: why no layer has experts to look at, or empty.
        states_from: source of its states, such as `vLLM's files in served`; empty where its
            layers were run here.
        layer_parameters: number of parameters of each layer; empty where unknown.
        attention_parameters, mlp_parameters: number of these that belong to the layer's
            attention or its MLP alone; empty where unknown.
        layer_types: type of each layer, such as `mamba`, `full attention` or `experts`;
            empty where all layers are alike.
        streams: number of residual streams side by side in `d_model`.
        calls: the pass and the block of each layer, where blocks run several times; else empty.
        broken_at: layers that do not read the output of the layer before.
        reads_earlier: whether layers read streams of earlier depths beside the last one.
        mixes_depths: whether the readout reads streams of earlier depths too.
        heads: number of heads of each attention, by the configuration; 0 where it names none.
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
    experts_missing: str = ""
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
    heads: int = 0

    @property
    def short_name(self) -> str:
        """The last part of its name, such as `Qwen2.5-7B`."""
        return self.name.rsplit("/", 1)[-1]

    def is_same_as(self, other: ModelInfo) -> bool:
        """Whether runs of both models have the same values: same weights, dtype and device."""
        # Runs saved by a version without layer types are of the same model.
        comparable = replace(
            self,
            spec=other.spec,
            memory_bytes=other.memory_bytes,
            layer_types=other.layer_types,
        )
        return comparable == other

    @property
    def why_not_healed(self) -> str:
        """Why none of its layers can make up for others that leave; empty where some may."""
        if self.calls:
            return "its blocks run in several passes"
        if self.streams > 1 or self.reads_earlier:
            return "its layers read several residual streams"
        if self.broken_at:
            return "other modules stand between its layers"
        return self.split_missing or self.lens_missing

    def parameters_of(self, skipped: Iterable[Skip]) -> int | None:
        """Number of parameters that a run without these parts does not use; None where unknown."""
        parameters = {
            "layer": self.layer_parameters,
            "attention": self.attention_parameters,
            "mlp": self.mlp_parameters,
        }
        skipped = tuple(skipped)
        if not all(parameters[skip.part] for skip in skipped):
            return None
        chosen = {(skip.layer, skip.part) for skip in skipped}
        # A looped block's parameters are used while one of its layers runs.
        unused = {
            (self.layers_of(layer)[0], part)
            for layer, part in chosen
            if all((other, part) in chosen for other in self.layers_of(layer))
        }
        return sum(parameters[part][layer] for layer, part in unused)

    def layers_of(self, layer: int) -> tuple[int, ...]:
        """All layers that a layer's block runs as: only the layer itself in most models."""
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
        """Number of blocks that run as the layers."""
        return len({block for _turn, block in self.calls}) if self.calls else self.n_layers

    def blocks_of(self, left_out: Collection[int]) -> tuple[int, ...]:
        """The blocks that run as some layers, to be left out of a written model.

        Raises:
            DepthError: a looped block is left out in some of its passes but not in all.
        """
        layers = [layer for layer in left_out if 0 <= layer < self.n_layers]
        if not self.calls or len(layers) < len(left_out):
            return tuple(left_out)
        for layer in layers:
            if not set(self.layers_of(layer)) <= set(layers):
                raise DepthError(
                    f"Layer {layer_number(self, layer)} runs in {len(self.layers_of(layer))} "
                    "passes, and a model can be written without it in all of them alone.",
                    "Leave it out in all passes (X in the explorer's what-if).",
                )
        return tuple(dict.fromkeys(self.calls[layer][1] for layer in layers))

    @cached_property
    def layers_by_type(self) -> dict[str, tuple[int, ...]]:
        """The layers of each type, types in the order of their first layers; empty without any."""
        layers_of: dict[str, list[int]] = {}
        # A file may name more types than there are layers, or fewer.
        for layer, kind in enumerate(self.layer_types[: self.n_layers]):
            layers_of.setdefault(kind, []).append(layer)
        return {kind: tuple(layers) for kind, layers in layers_of.items()}

    @cached_property
    def type_marks(self) -> dict[str, str]:
        """The mark of each type beside a layer's number, such as `M` of `mamba`."""
        marks: dict[str, str] = {}
        parts = dict.fromkeys(part for kind in self.layer_types for part in kind.split(_AND))
        for part in parts:
            letters = (letter for letter in part.upper() if letter in _LETTERS)
            marks[part] = next((letter for letter in letters if letter not in marks.values()), "?")
        return {
            kind: "".join(marks[part] for part in kind.split(_AND)) for kind in self.layers_by_type
        }


_AND = ", "
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Letters that do not look like a digit."""


def joined_type(*parts: str) -> str:
    """The type of a layer with several types, such as `sliding attention, experts`."""
    return _AND.join(filter(None, parts))


def weights_dtype(model: ModelInfo) -> str:
    """The dtype, with the quantisation where there is one, such as `bfloat16, 8bit weights`."""
    return f"{model.dtype}, {model.quantize} weights" if model.quantize else model.dtype


def layer_number(model: ModelInfo, layer: int) -> str:
    """A layer's name in sentences and on axes: `12`, or `12 (2.3)` for block 3 in pass 2."""
    call = _call_words(model, layer)
    return f"{layer} ({call})" if call else str(layer)


def layer_mark(model: ModelInfo, layer: int) -> str:
    """The mark of a layer's type; empty where all layers are alike."""
    return model.type_marks.get(model.type_of(layer), "")


def layer_label(model: ModelInfo, layer: int) -> str:
    """A layer's label for rows: its number, with the mark of its type in a hybrid: `12M`.

    For a looped block such as `12·2.3`, block 3 in pass 2.
    """
    call = _call_words(model, layer)
    return str(layer) + (f"·{call}" if call else "") + layer_mark(model, layer)


def _call_words(model: ModelInfo, layer: int) -> str:
    """The pass and block of a layer, or the block alone; empty where block and layer are equal."""
    if len(model.calls) != model.n_layers:
        return ""
    turn, block = model.calls[layer]
    if len(model.layers_of(layer)) > 1:
        return f"{turn}.{block}"
    return "" if block == layer else str(block)


def label_cells(model: ModelInfo) -> int:
    """Length of the longest label of a layer."""
    return max(len(layer_label(model, layer)) for layer in range(model.n_layers))


def marks_words(model: ModelInfo) -> str:
    """The legend of the marks, such as `M mamba · F full attention`; empty without types."""
    return " · ".join(f"{mark} {kind}" for kind, mark in model.type_marks.items())


@dataclass(frozen=True)
class ModelListing:
    """A model that the picker offers.

    Attributes:
        name: value of `ModelSpec.name` that opens it.
        title: title to show.
        kind: `demo`, `hub`, `store`, `folder` or `gguf`.
        size: bytes on disk, or bytes to fetch where it is not ready.
        ready: whether it opens without the network.
        note: one phrase to show beside it; may be empty.
        revision: the hub revision of the copy on disk, or empty.
        facts: facts from its configuration, in a phrase; empty where it has none.
    """

    name: str
    title: str
    kind: str
    size: int
    ready: bool
    note: str = ""
    revision: str = ""
    facts: str = ""
