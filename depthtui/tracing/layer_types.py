"""The type of each layer of a model that mixes several, such as attention and mamba."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from depthtui.data.model import joined_type
from depthtui.tracing.modules import text_config

_EXPERTS = "experts"

_STANDARD = {
    "conv": "convolution",
    "moe": _EXPERTS,
    "mlp": "MLP",
    "global": "full attention",
    "local": "sliding attention",
}
"""Standard words for the types that models name otherwise."""

_LISTS = ("layer_types", "attention_layers")
"""Fields in which a configuration names the type of each layer."""

_LINEAR = "linear attention"
"""The type that transformers gives every layer with a recurrent state."""

_RECURRENT = {"mamba": {"A_log", "D"}, "recurrent": {"recurrent_param"}}
"""Two kinds of such layers, by the parameters of their state: a state-space model has a decay A and
a skip D, a gated linear recurrence has a decay alone."""


def layer_types(model: nn.Module, layers: Sequence[nn.Module]) -> tuple[str, ...]:
    """The type of each of a model's layers, in short standard words; empty where all are alike.

    The configuration names the token mixers. The parameters tell kinds of recurrences apart, and
    layers with experts from dense ones.
    """
    width = text_config(model).hidden_size
    # A looped block is several layers.
    blocks = list(dict.fromkeys(layers))
    mixers, experts = _mixers(model, blocks), [_has_experts(block, width) for block in blocks]
    # The configuration already names a layer that consists of experts alone.
    if len(set(experts)) == 1 or _EXPERTS in mixers:
        makes = [""] * len(blocks)
    else:
        makes = [_EXPERTS if has_experts else "dense" for has_experts in experts]
    types = dict(zip(blocks, map(joined_type, mixers, makes), strict=True))
    return tuple(types[layer] for layer in layers) if len(set(types.values())) > 1 else ()


def _mixers(model: nn.Module, layers: Sequence[nn.Module]) -> list[str]:
    """The kind of token mixer in each layer; empty strings where all are alike."""
    config = text_config(model)
    lists = (getattr(config, name, None) for name in _LISTS)
    names = next((list(types) for types in lists if types and len(types) == len(layers)), None)
    if names is None:
        return [""] * len(layers)
    mixers = [_mixer(str(name), layer) for name, layer in zip(names, layers, strict=True)]
    return mixers if len(set(mixers)) > 1 else [""] * len(layers)


def _mixer(name: str, layer: nn.Module) -> str:
    words = _STANDARD.get(name, name.replace("_", " "))
    own = {path.rpartition(".")[2] for path, _ in layer.named_parameters()}
    kind = next((kind for kind, names in _RECURRENT.items() if names <= own), "")
    if words == _LINEAR:
        return kind or words
    return f"attention and {kind}" if words == "hybrid" and kind else words


def _has_experts(layer: nn.Module, width: int) -> bool:
    """Whether a layer has several equal matrices or modules, and a router from `width` to them."""
    counts, routers = set(), set()
    for module in layer.modules():
        if isinstance(module, nn.ModuleList):
            counts.add(len(module))
        if getattr(module, "in_features", 0) == width:
            routers.add(getattr(module, "out_features", 0))
        for weight in module.parameters(recurse=False):
            if weight.dim() == 3 and not isinstance(module, nn.Conv1d):
                counts.add(len(weight))
            if weight.dim() == 2 and weight.shape[1] == width:
                routers.add(len(weight))
    return any(count > 1 for count in counts & routers)
