"""From an adapter's name to its files and configuration, without torch.

An adapter is LoRA (arXiv 2106.09685) as peft saves it, rank-stabilised (arXiv 2312.03732) or
weight-decomposed (DoRA, arXiv 2402.09353) or neither.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthtui.errors import DepthError, short_repr
from depthtui.files import expand_home
from depthtui.models.catalog import (
    ADAPTER_CONFIG,
    ADAPTER_PICKLE,
    ADAPTER_WEIGHTS,
    MERGE_WITH_PEFT,
    ModelSource,
    hub_snapshot,
    is_hub_id,
    looks_like_a_path,
    read_config,
)
from depthtui.models.integrity import check_safetensors, read_header

_MOST_RANKS = 1 << 20
_PREFIX = "base_model.model."
"""Prefix of the name of each adapter weight; the name of its module in the model follows."""

_NAME = re.compile(r"\^?[\w.-]+\$?", re.ASCII)
"""Names that are allowed: peft reads them as regular expressions, which may take years."""

_CHECKPOINT = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class Adapter:
    """An adapter on this disk, whose files are whole.

    Attributes:
        name: a short name to show.
        source: where it comes from, in words.
        folder: the folder of its files.
        base: the model that it names as its base; empty for none.
        lora: the fields of peft's `LoraConfig`.
    """

    name: str
    source: str
    folder: Path
    base: str
    lora: Mapping[str, Any]

    @property
    def files(self) -> list[Path]:
        """The adapter's files."""
        return [self.folder / ADAPTER_CONFIG, self.folder / ADAPTER_WEIGHTS]


def resolve_adapter(name: str) -> ModelSource:
    """Resolve an adapter's name to a folder or a hub id.

    Raises:
        DepthError: the name is neither.
    """
    name = name.strip()
    path = expand_home(name) if name and "\0" not in name else Path()
    if name and os.path.isdir(path):
        if not (path / ADAPTER_CONFIG).is_file():
            raise DepthError(
                f"{path} is no adapter: it has no {ADAPTER_CONFIG}.",
                "Name the folder that peft's save_pretrained has written.",
            )
        return ModelSource("folder", str(path.absolute()))
    if name and os.path.exists(path):
        raise DepthError(f"{path} is no adapter.", "Name the folder that it lies in.")
    if looks_like_a_path(name):
        raise DepthError(
            f"{short_repr(name)} does not exist.", "Check the path for a typing error."
        )
    if not is_hub_id(name):
        raise DepthError(
            f"{short_repr(name)} is no adapter.", "Name a folder or a Hugging Face id."
        )
    return ModelSource("hub", name)


def cached_adapter(adapter_id: str) -> Path | None:
    """The complete copy of a hub adapter in the hub cache, or None."""
    snapshot = hub_snapshot(adapter_id)
    is_complete = all((snapshot / name).is_file() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
    return snapshot if is_complete and snapshot.parent.name == "snapshots" else None


def adapter_on_disk(name: str) -> Adapter | None:
    """The adapter of a name; None where it is on the hub and not in the hub cache.

    Raises:
        DepthError: no adapter has that name, or it cannot be opened safely.
    """
    source = resolve_adapter(name)
    in_cache = source.kind == "hub"
    folder = cached_adapter(source.location) if in_cache else Path(source.location)
    return None if folder is None else read_adapter(source, folder)


def read_adapter(source: ModelSource, folder: Path) -> Adapter:
    """The adapter in a folder.

    Raises:
        DepthError: a file is missing, damaged or a pickle, or the adapter is of another kind.
    """
    config = read_adapter_config(folder)
    weights = folder / ADAPTER_WEIGHTS
    if not weights.exists() and (folder / ADAPTER_PICKLE).exists():
        raise DepthError(
            f"{folder} holds its adapter as a pickle ({ADAPTER_PICKLE}), "
            "and opening a pickle can run any program hidden in it.",
            "Use a copy with safetensors, or save it anew where you trust it.",
        )
    check_safetensors(weights)
    lora = _lora(folder, config)
    if isinstance(lora.get("target_modules"), str) or isinstance(lora.get("exclude_modules"), str):
        lora = _with_modules_of(weights, lora)
    base = config.get("base_model_name_or_path")
    return Adapter(_title(source), str(source), folder, base if isinstance(base, str) else "", lora)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """An adapter's configuration.

    Raises:
        DepthError: it cannot be read, or belongs to another kind of adapter.
    """
    config = read_config(folder, ADAPTER_CONFIG)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise DepthError(
            f"{folder / ADAPTER_CONFIG} is of an adapter of the kind {short_repr(kind)}, "
            "and only LoRA is merged here.",
            MERGE_WITH_PEFT,
        )
    return config


def _title(source: ModelSource) -> str:
    """A short name; a training checkpoint's names its parent folder too."""
    path = Path(source.location)
    return f"{path.parent.name} {path.name}" if _CHECKPOINT.fullmatch(path.name) else path.name


def _lora(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration that define how its weights are merged.

    Raises:
        DepthError: a field has an invalid value, or asks for something that is not supported.
    """
    path = folder / ADAPTER_CONFIG
    for name, value in config.items():
        fits = _FIELDS.get(name)
        if fits is not None and not (value is None or fits(value)):
            raise DepthError(
                f"{path}: {name} cannot be {short_repr(value)}.",
                f"The file may be damaged: fetch it again. {MERGE_WITH_PEFT}",
            )
        if fits is None and name not in _OF_TRAINING and value:
            raise DepthError(
                f"{path} asks for {short_repr(name)}, without which its merged weights would be "
                "others, and which depthtui does not know.",
                MERGE_WITH_PEFT,
            )
    if config.get("init_lora_weights") not in _KEEPS_BASE:
        raise DepthError(
            f"{path}: this adapter began with {short_repr(config['init_lora_weights'])}, which "
            "changes the weights of the base, too.",
            "Save it anew with peft's path_initial_model_for_weight_conversion, or merge it there.",
        )
    return {name: config[name] for name in _FIELDS if config.get(name) is not None}


def _with_modules_of(weights: Path, lora: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, with the names of the modules that have weights in place of any pattern."""
    names = [name.removeprefix(_PREFIX) for name in read_header(weights)[0]]
    modules = sorted({name.partition(".lora_")[0] for name in names if ".lora_" in name})
    patterns = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
    other_fields = {name: value for name, value in lora.items() if name not in patterns}
    return {**other_fields, "target_modules": modules}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MOST_RANKS


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_name, value))


def _are_modules(value: Any) -> bool:
    """Whether this is module names, or a pattern, which is never evaluated."""
    return isinstance(value, str) or _are_names(value)


def _are_places(value: Any) -> bool:
    return isinstance(value, list) and all(type(place) is int and place >= 0 for place in value)


def _by_name(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def fit(value: Any) -> bool:
        return (
            isinstance(value, dict) and all(map(_is_name, value)) and all(map(fits, value.values()))
        )

    return fit


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "r": _is_count,
    "lora_alpha": _is_number,
    "rank_pattern": _by_name(_is_count),
    "alpha_pattern": _by_name(_is_number),
    "target_modules": _are_modules,
    "exclude_modules": _are_modules,
    "target_parameters": _are_names,
    "layers_to_transform": lambda value: type(value) is int or _are_places(value),
    "layers_pattern": lambda value: _is_name(value) or _are_names(value),
    "modules_to_save": _are_names,
    "trainable_token_indices": lambda value: _are_places(value) or _by_name(_are_places)(value),
    "bias": ("none", "all", "lora_only").__contains__,
    "fan_in_fan_out": _is_switch,
    "use_rslora": _is_switch,
    "use_dora": _is_switch,
    "lora_bias": _is_switch,
    "ensure_weight_tying": _is_switch,
}
"""The fields of peft's `LoraConfig` on which merged weights depend, and a check of each."""

_OF_TRAINING = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "init_lora_weights",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
        "velora_config",
    }
)
"""Fields that describe an adapter's origin and training."""

_KEEPS_BASE = (None, True, False, "gaussian", "eva", "orthogonal")
"""Initialisations of an adapter that leave the weights of its base unchanged."""
