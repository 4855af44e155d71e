"""Tensor parallel: into how many parts transformers can cut a model's weights, and by which plan.

An architecture brings a plan: which weights are cut along their outputs and which along their
inputs. A mixture of experts may bring a second one, which gives every rank some of the experts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.auto_class import auto_class
from depthtui.parallel.group import mesh_of, ranks_started

MOST = 64
"""The largest number of ranks that is suggested."""

_OF_LAYERS = re.compile(r"\.(layers|h|blocks)\.")
_HEADS = re.compile(r"(q_proj|q_b_proj|query_key_value|qkv_proj)$")
_KEY_HEADS = re.compile(r"(k_proj|v_proj)$")
_CUT_OUTPUTS = ("colwise", "packed_colwise")
_OTHERS = ("rowwise",)


@dataclass(frozen=True)
class Plan:
    """How a model can be cut.

    Attributes:
        pieces: the number of pieces by kind, such as `attention heads`: every rank takes equally
            many of each kind.
        by_expert: whether every rank takes some whole experts, not a part of each.
    """

    pieces: Mapping[str, int]
    by_expert: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of ranks for which the model can be cut, from 2 on."""
        most = math.gcd(*self.pieces.values()) if self.pieces else MOST
        return tuple(size for size in range(2, min(most, MOST) + 1) if most % size == 0)

    def config(self, ranks: int) -> Any:
        """The plan as transformers' configuration."""
        from transformers.distributed import DistributedConfig  # type: ignore[attr-defined]

        if self.by_expert:
            return DistributedConfig(tp_size=ranks, ep_size=ranks)
        return DistributedConfig(tp_size=ranks)


def plans_of(config: PreTrainedConfig, trust_remote_code: bool = False) -> list[Plan]:
    """The plans that an architecture brings, the plan by experts first; many bring none.

    A plan by tensors alone leaves every rank a copy of all experts.
    """
    with init_empty_weights():
        model: PreTrainedModel = auto_class(config).from_config(
            config, trust_remote_code=trust_remote_code
        )
    by_tensor: Mapping[str, str] = getattr(model, "tp_plan", None) or {}
    by_expert: Mapping[str, str] = getattr(model, "ep_plan", None) or {}
    plans = []
    if any(map(_OF_LAYERS.search, by_expert)):
        # Where both plans name a module, the plan of experts applies.
        by_tensor_alone = {
            name: style
            for name, style in by_tensor.items()
            if name not in by_expert and not _lies_in(name, by_expert)
        }
        pieces = _pieces(model, by_tensor_alone) | {"experts": _experts(model, by_expert)}
        plans.append(Plan(pieces, by_expert=True))
    if any(map(_OF_LAYERS.search, by_tensor)):
        plans.append(Plan(_pieces(model, by_tensor)))
    return plans


def plan_for(
    name: str, config: PreTrainedConfig, ranks: int, trust_remote_code: bool = False
) -> Plan:
    """The plan by which a model is cut for this many ranks.

    Raises:
        DepthError: there is none; the hint names the sizes that work.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise DepthError(
            f"{name} is quantised, and quantised weights cannot be cut for tensor parallel.",
            "Take the model whose weights are not quantised, or start one process.",
        )
    plans = plans_of(config, trust_remote_code)
    if not plans:
        raise DepthError(
            f"transformers has no tensor parallel plan for the layers of {name} "
            f"({config.model_type}).",
            "Start one process: it spreads the layers over all GPUs of a machine.",
        )
    fitting = next((plan for plan in plans if ranks in plan.sizes), None)
    if fitting is not None:
        return fitting
    pieces = ", ".join(
        f"{count:,} {kind}" for kind, count in plans[0].pieces.items() if count % ranks
    )
    raise DepthError(
        f"{name} cannot be cut for {ranks} ranks: it has {pieces}.",
        f"{_sizes_words(plans)}.",
    )


def sizes_that_work(plans: Iterable[Plan]) -> list[int]:
    """All numbers of ranks for which any of the plans can cut a model."""
    return sorted({size for plan in plans for size in plan.sizes})


def _sizes_words(plans: Iterable[Plan]) -> str:
    sizes = sizes_that_work(plans)
    if not sizes:
        return "No number of ranks works"
    return f"Numbers of ranks that work: {', '.join(map(str, sizes))}"


def check_spec(spec: ModelSpec) -> None:
    """Refuse options that exclude tensor parallel, before anything is read.

    Raises:
        DepthError: one is set.
    """
    ranks, started = spec.tensor_parallel, ranks_started()
    if ranks == 1:
        return
    if ranks != started:
        raise DepthError(
            f"Tensor parallel over {ranks} ranks needs {ranks} processes, and there "
            f"{'is' if started == 1 else 'are'} {started}.",
            f"Start it with torchrun --nproc-per-node {ranks} -m depthtui.",
        )
    if spec.quantize:
        raise DepthError(
            "Quantised weights cannot be cut for tensor parallel.",
            f"Leave --quantize {spec.quantize} out, or start one process.",
        )
    if spec.adapter:
        raise DepthError(
            "An adapter is merged into a model that is whole.",
            "Leave --adapter out, or start one process.",
        )
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    if spec.device not in ("auto", device_type):
        raise DepthError(
            f"Ranks compute on {device_type} here, each on its own device.",
            f"Leave --device {spec.device} out.",
        )


def ranks_of(model: nn.Module) -> int:
    """The number of ranks over which a loaded model's weights are cut; 1 where they are whole."""
    mesh = mesh_of(model)
    return 1 if mesh is None else int(mesh.size())


def check_cut(model: nn.Module) -> None:
    """Refuse a model that was not cut by tensors, or of which this rank has no part.

    Raises:
        DepthError: the model is one of these.
    """
    config = getattr(getattr(model, "config", None), "distributed_config", None)
    if config is not None and (getattr(config, "pp_size", None) or 1) > 1:
        raise DepthError(
            f"The layers of this {type(model).__name__} are spread over ranks, and each sees its "
            "own alone.",
            "Cut its weights instead: DistributedConfig(tp_size=...).",
        )
    mesh = mesh_of(model)
    if mesh is None:
        return
    if not torch.distributed.is_initialized() or mesh.get_coordinate() is None:
        raise DepthError(
            f"The weights of this {type(model).__name__} are cut over ranks, and this process is "
            "none of them.",
            "Start the script with torchrun, and call this on every rank.",
        )


def _pieces(model: PreTrainedModel, plan: Mapping[str, str]) -> dict[str, int]:
    """The number of pieces of each kind that a plan cuts."""
    config = model.config.get_text_config()
    cut_modules = {name for name, style in plan.items() if style in _CUT_OUTPUTS}
    heads: int = getattr(config, "num_attention_heads", None) or 1
    key_heads: int = getattr(config, "num_key_value_heads", None) or heads
    pieces: dict[str, int] = {}
    if any(map(_HEADS.search, cut_modules)):
        pieces["attention heads"] = heads
    if any(map(_KEY_HEADS.search, cut_modules)):
        pieces["key and value heads"] = key_heads
    for pattern in cut_modules | {name for name, style in plan.items() if style in _OTHERS}:
        if not _OF_LAYERS.search(pattern) or "attn" in pattern or "attention" in pattern:
            continue
        for size in _cut_sizes(model, pattern, plan[pattern]):
            pieces["inner dimensions"] = math.gcd(pieces.get("inner dimensions", 0), size)
    return pieces


def _cut_sizes(model: PreTrainedModel, pattern: str, style: str) -> set[int]:
    """The lengths of the axes along which weights with names of a pattern are cut."""
    pattern_of_names = _pattern(pattern)
    sizes = set()
    for name, module in model.named_modules():
        if pattern_of_names.fullmatch(name) and isinstance(module, nn.Linear):
            is_output = style in _CUT_OUTPUTS
            sizes.add(module.out_features if is_output else module.in_features)
    for name, parameter in model.named_parameters():
        if pattern_of_names.fullmatch(name) and parameter.dim() == 3 and style == "rowwise":
            sizes.add(parameter.shape[-1])
    return sizes


def _experts(model: PreTrainedModel, plan: Mapping[str, str]) -> int:
    """The number of experts in the layers that have some."""
    counts = [
        len(parameter)
        for pattern, style in plan.items()
        if style == "grouped_gemm"
        for name, parameter in model.named_parameters()
        if _pattern(pattern).fullmatch(name)
    ]
    return math.gcd(*counts) if counts else 1


def _lies_in(name: str, plan: Mapping[str, str]) -> bool:
    return any(name.startswith(f"{module}.") for module in plan)


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
