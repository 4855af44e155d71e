"""A model without some of its layers, or with some twice, written as a model of its own.

Weights are copied as they are on the disk, in their own dtype and under the names of their new
layers; the configuration's entries for layers are cut likewise. Only a forward pass can show
whether the result computes the same as the model with these layers: `engine.pruning`.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig

from depthtui.data.model import ModelInfo
from depthtui.data.pieces import NO_PARTS, NumberedParts
from depthtui.data.protocol import Progress
from depthtui.errors import DepthError
from depthtui.files import open_regular, write_whole
from depthtui.models.card import CARD, model_card
from depthtui.models.catalog import MADE_FROM, WEIGHTS_INDEX, weight_files
from depthtui.models.free_space import check_disk
from depthtui.models.integrity import read_header
from depthtui.models.recipe import RECIPE, mergekit_recipe
from depthtui.models.silent_parts import SKIP_LAYERS, skip_layers

Report = Callable[[Progress], None]

_COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")
_NOT_COPIED = re.compile(
    rf"config\.json|.*\.index\.json|{re.escape(MADE_FROM)}|{re.escape(SKIP_LAYERS)}|README.*"
)

_COUNTS_OF_LEADING = ("first_k_dense_replace", "num_dense_layers", "max_window_layers")
"""Fields that count the leading layers of one kind, before layers of another kind."""

_INDICES = re.compile(r"layers|_idxs$|_indices$|^drop_(attn|mlp)_list$")
"""Fields that may list layers by their numbers."""

_BESIDE = re.compile(r"vision|visual|image|audio|speech|encoder|mtp")
"""Stacks of layers that are not the language model's."""

_CHUNK = 1 << 24

DTYPES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
}
"""Names in safetensors of the types of weights that can be changed."""

BIAS_SETTINGS = {"attention": "attention_bias", "mlp": "mlp_bias"}
"""The field of a configuration with which the projections of a part have biases."""


class LayerTensor(NamedTuple):
    """A tensor of a layer, such as `mlp.down_proj.weight` of layer 3."""

    layer: int
    name: str


def write_pruned(
    source: Path,
    target: Path,
    config: PreTrainedConfig,
    stack: str,
    layers: Sequence[int],
    report: Report,
    replaced: Mapping[LayerTensor, Tensor] = MappingProxyType({}),
) -> None:
    """Write the model in the folder `source` into the empty folder `target`, with these layers.

    Args:
        source: has safetensors and a tokenizer.
        target: the folder to write.
        config: the model's.
        stack: the name of its list of layers, such as `layers`.
        layers: the layers of the result, in order; some may come twice.
        report: called with the progress; an exception of it ends the work.
        replaced: tensors that replace those of `source`, in their dtype and shape, or are
            added.

    Raises:
        DepthError: the layers cannot be found in its files or its configuration.
    """
    pruned_config = cut_config(config, layers)
    headers = {file: read_header(file)[0] for file in weight_files(source)}
    names = [name for header in headers.values() for name in header]
    places = _places_of(names, stack, config)
    renamed = _new_names(names, places, layers)
    replaced_names = {
        name: replaced[place.tensor] for name, place in places.items() if place.tensor in replaced
    }
    added = _added(replaced, places, layers)
    total = sum(value.nbytes for value in added.values())
    total += sum(
        (end - start) * len(renamed[name])
        for header in headers.values()
        for name, (start, end) in _offsets(header).items()
        if name in renamed
    )
    bytes_done = 0
    check_disk(target, total, "Writing the model")

    def copied(n_bytes: int) -> None:
        nonlocal bytes_done
        report(Progress("Writing the model", bytes_done, total, "B"))
        bytes_done += n_bytes

    file_of_tensor: dict[str, str] = {}
    for file, header in headers.items():
        of_file = {name: renamed[name] for name in header if name in renamed}
        if of_file:
            copy_tensors(file, target / file.name, of_file, copied, replaced_names, added)
            file_of_tensor |= dict.fromkeys([*chain(*of_file.values()), *added], file.name)
            added = {}
    if len(headers) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": file_of_tensor}
        (target / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
    _copy_other_files(source, target)
    pruned_config.save_pretrained(target)


def _copy_other_files(source: Path, target: Path) -> None:
    """Copy what a model's folder has beside weights and configuration."""
    for path in {path for pattern in _COPIED for path in source.glob(pattern)}:
        if not _NOT_COPIED.fullmatch(path.name):
            shutil.copyfile(path, target / path.name)


def cut_config(config: PreTrainedConfig, layers: Sequence[int]) -> PreTrainedConfig:
    """The configuration of a model with these layers alone, in order; some may come twice.

    A list with an entry for each layer is reduced to these layers; lists of layer numbers, and
    entries for single layers, are renumbered; a count of leading layers counts those that are left.

    Raises:
        DepthError: it refers to layers by number in a way that cannot be cut.
    """
    pruned_config = copy.deepcopy(config)
    text: Any = pruned_config.get_text_config(decoder=True)
    n_layers = text.num_hidden_layers
    if re.search(
        r"\.\d+\.", json.dumps(getattr(pruned_config, "quantization_config", None), default=str)
    ):
        raise DepthError("Its quantisation names layers by their numbers, which change.")
    for name, value in list(vars(text).items()):
        if name in _COUNTS_OF_LEADING and isinstance(value, int):
            setattr(text, name, _leading(name, [layer < value for layer in layers]))
        if not isinstance(value, list | tuple) or not value or "token_id" in name:
            continue
        if _INDICES.search(name) and _are_indices(value, n_layers):
            setattr(text, name, [number for number, layer in enumerate(layers) if layer in value])
        elif len(value) == n_layers:
            setattr(text, name, [value[layer] for layer in layers])
    of_single_layers = text.to_dict().get("per_layer_config", {})
    text.num_hidden_layers = len(layers)
    if of_single_layers:
        values_of = {int(layer): values for layer, values in of_single_layers.items()}
        text.per_layer_config = {
            number: values_of[layer] for number, layer in enumerate(layers) if layer in values_of
        }
    return pruned_config


def _leading(name: str, is_of_kind: Sequence[bool]) -> int:
    """The number of leading layers of a kind; the others must come after all of them."""
    count = sum(is_of_kind)
    if not all(is_of_kind[:count]):
        raise DepthError(
            f"Its configuration counts the first layers of a kind ({name}), and one of them would "
            "come after layers of another.",
            "Repeat layers of one kind.",
        )
    return count


def _are_indices(values: Sequence[Any], n_layers: int) -> bool:
    """Whether a list names layers by their numbers."""
    numbers = [value for value in values if type(value) is int and 0 <= value < n_layers]
    return len(set(numbers)) == len(values)


def with_biases(config: PreTrainedConfig, parts: Collection[str]) -> PreTrainedConfig:
    """The configuration in which the projections of parts have biases, where a field gives them."""
    config = copy.deepcopy(config)
    text: Any = config.get_text_config(decoder=True)
    for part in parts:
        if hasattr(text, BIAS_SETTINGS[part]):
            setattr(text, BIAS_SETTINGS[part], True)
    return config


def added_tensors(
    model: nn.Module, stack: str, config: PreTrainedConfig
) -> dict[LayerTensor, torch.Size]:
    """The tensors of layers that a model has with this configuration and lacks with its own."""
    with torch.device("meta"):
        other = type(model)(config)
    own = {name for name, _ in model.named_parameters()}
    sizes = {name: value.shape for name, value in other.named_parameters() if name not in own}
    places = _places_of([*sizes], stack, config) if sizes else {}
    return {place.tensor: sizes[name] for name, place in places.items()}


def read_tensors(
    source: Path, stack: str, config: PreTrainedConfig, tensors: Collection[LayerTensor]
) -> dict[LayerTensor, Tensor]:
    """Tensors of layers as the model's files have them; those with other names are missing.

    Args:
        source, stack, config: as in `write_pruned`.
        tensors: the tensors.

    Raises:
        DepthError: the layers cannot be found in the files, or these are damaged.
    """
    names = {name: file for file in weight_files(source) for name in read_header(file)[0]}
    values = {}
    for name, place in _places_of(list(names), stack, config).items():
        if place.tensor in tensors:
            with safe_open(names[name], "pt") as file:
                values[place.tensor] = file.get_tensor(name)
    return values


class _Place(NamedTuple):
    """The place of a tensor in the files: the name of the list of layers, and the tensor in it."""

    prefix: str
    tensor: LayerTensor


def _places_of(names: Sequence[str], stack: str, config: PreTrainedConfig) -> dict[str, _Place]:
    """The places of the tensors that belong to layers, by their names."""
    n_layers = config.get_text_config(decoder=True).num_hidden_layers
    # In some model types the list has another name in the files than in memory.
    for name_of_list in (rf"(?:.*\.)?{re.escape(stack)}", r".*?"):
        of_layer = re.compile(rf"({name_of_list}\.)(\d+)(\..+)")
        matches = {name: match for name in names if (match := of_layer.fullmatch(name))}
        layers: dict[str, set[int]] = {}
        for match in matches.values():
            layers.setdefault(match[1], set()).add(int(match[2]))
        stacks = [
            prefix
            for prefix, numbers in layers.items()
            if numbers >= set(range(n_layers)) and not _BESIDE.search(prefix)
        ]
        if stacks:
            break
    if len(stacks) != 1:
        raise DepthError(f"Its files do not name the {n_layers} layers one by one.")
    return {
        name: _Place(match[1], LayerTensor(int(match[2]), match[3].removeprefix(".")))
        for name, match in matches.items()
        if match[1] == stacks[0]
    }


def _added(
    replaced: Mapping[LayerTensor, Tensor], places: Mapping[str, _Place], layers: Sequence[int]
) -> dict[str, Tensor]:
    """The tensors that the files lack, by their new names."""
    in_files = {place.tensor for place in places.values()}
    prefix = next(place.prefix for place in places.values())
    return {
        f"{prefix}{number}.{tensor.name}": value
        for tensor, value in replaced.items()
        for number, layer in enumerate(layers)
        if tensor not in in_files and layer == tensor.layer
    }


def _new_names(
    names: Sequence[str], places: Mapping[str, _Place], kept_layers: Sequence[int]
) -> dict[str, list[str]]:
    """The names of the tensors that are kept, old -> new; two new names for a layer kept twice.

    Layers after the last one, which predict further tokens, are left out: transformers does not
    load them.
    """
    numbers_of: dict[int, list[int]] = {}
    for number, layer in enumerate(kept_layers):
        numbers_of.setdefault(layer, []).append(number)
    renamed = {}
    for name in names:
        place = places.get(name)
        if place is None:
            renamed[name] = [name]
        elif numbers := numbers_of.get(place.tensor.layer):
            renamed[name] = [f"{place.prefix}{number}.{place.tensor.name}" for number in numbers]
    return renamed


def copy_tensors(
    source: Path,
    target: Path,
    names: Mapping[str, Sequence[str]],
    copied: Callable[[int], None],
    replaced: Mapping[str, Tensor],
    added: Mapping[str, Tensor],
) -> None:
    """Copy tensors from one safetensors file to another, byte by byte.

    Args:
        source, target: the files; `target` is created.
        names: the tensors to copy, name in `source` -> one or more names in `target`.
        copied: called with the bytes of each tensor before it is copied.
        replaced: tensors that are written in place of those of `source`, by their names there; of
            the same dtype and shape.
        added: tensors that come behind them, by their names in `target`.
    """
    header, begin = read_header(source)
    offsets = _offsets(header)
    order = [
        (name, new) for name in sorted(names, key=lambda name: offsets[name]) for new in names[name]
    ]
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, new in order:
        start, end = offsets[name]
        entries[new] = header[name] | {"data_offsets": [place, place + end - start]}
        place += end - start
    for name, value in added.items():
        ends = [place, place := place + value.nbytes]
        entries[name] = {
            "dtype": DTYPES[value.dtype],
            "shape": [*value.shape],
            "data_offsets": ends,
        }
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open_regular(source) as reader, target.open("wb") as writer:
        writer.write(len(head).to_bytes(8, "little") + head)
        for name, _ in order:
            start, end = offsets[name]
            copied(end - start)
            if name in replaced:
                writer.write(_bytes(replaced[name]))
                continue
            reader.seek(begin + start)
            bytes_left = end - start
            while bytes_left:
                chunk = reader.read(min(bytes_left, _CHUNK))
                if not chunk:
                    raise DepthError(f"{source} is cut short.", "Fetch it again.")
                writer.write(chunk)
                bytes_left -= len(chunk)
        for value in added.values():
            copied(value.nbytes)
            writer.write(_bytes(value))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def _offsets(header: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: tuple(entry["data_offsets"]) for name, entry in header.items()}


def write_beside(
    folder: Path,
    info: ModelInfo,
    models_dir: Path,
    layers: Sequence[int],
    parts: NumberedParts,
    is_healed: bool,
) -> None:
    """Write the card of a model, and its recipe, or the lists of the parts that it lacks."""
    write_whole(folder / CARD, model_card(info, models_dir, layers, parts))
    if parts == NO_PARTS:
        write_whole(folder / RECIPE, mergekit_recipe(info, models_dir, layers, is_healed))
    else:
        write_whole(folder / SKIP_LAYERS, skip_layers(info, parts))
