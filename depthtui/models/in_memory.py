"""A model that is loaded already: its description, and how it is restored after a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.loading import LoadedModel, describe
from depthtui.models.parameter_counts import count_parameters
from depthtui.models.tensor_parallel import check_cut, ranks_of

_PLAIN_OUTPUTS = {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
}
"""Fields of a configuration for outputs, with values that make these small and named."""


def adopt(model: Any, tokenizer: Any, name: str = "") -> LoadedModel:
    """A model in memory and its tokenizer, as `load` would return them, without a fingerprint.

    Args:
        model: a causal language model of transformers.
        tokenizer: the one that it was trained with.
        name: its name; empty for the name that it was loaded by.

    Raises:
        DepthError: it cannot be traced as it is; the hint names what to pass instead.
    """
    check_model(model)
    _check_tokenizer(tokenizer)
    origin = str(getattr(model, "name_or_path", "") or "")
    counts = count_parameters(_unquantised_model(model))
    info = describe(
        ModelSpec(
            origin or type(model).__name__,
            quantize=_quantize(model),
            tensor_parallel=ranks_of(model),
        ),
        name or Path(origin).name or type(model).__name__,
        f"in memory, from {origin}" if origin else "in memory",
        model,
        tokenizer,
        counts[""],
    )
    return LoadedModel(model, tokenizer, info, counts)


@contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode, without gradients and with plain outputs, for a while.

    At the end, on success or error, every module is in its former mode, and every parameter is the
    same object and requires a gradient as before. A run removes its own hooks; other hooks stay,
    and run as well.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(_put_back_modes, {module: module.training for module in model.modules()})
        stack.callback(_put_back_parameters, _parameters_of(model))
        stack.callback(_free_buffers, model)
        for config in _configs_of(model):
            values = {
                name: getattr(config, name) for name in _PLAIN_OUTPUTS if hasattr(config, name)
            }
            stack.callback(_set_all, config, values)
            _set_all(config, {name: _PLAIN_OUTPUTS[name] for name in values})
        model.eval()
        model.requires_grad_(False)
        # Gradients are computed for tensors that are made in the block.
        with torch.inference_mode(False):
            yield


_ParameterState = tuple[nn.Module, str, nn.Parameter, bool]
"""A module, a parameter's name there, the parameter, and whether it requires a gradient."""


def _parameters_of(model: nn.Module) -> list[_ParameterState]:
    return [
        (module, name, parameter, parameter.requires_grad)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    ]


def _put_back_modes(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training


def _put_back_parameters(states: list[_ParameterState]) -> None:
    for module, name, parameter, requires_grad in states:
        # accelerate replaces the parameters that it offloads.
        if getattr(module, name) is not parameter:
            setattr(module, name, parameter)
        parameter.requires_grad_(requires_grad)


def _free_buffers(model: nn.Module) -> None:
    """Copy buffers made in inference mode, such as a longer rotary table, so they stay usable."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(module, name, buffer.clone())


def _configs_of(model: nn.Module) -> list[Any]:
    configs = (getattr(module, "config", None) for module in model.modules())
    return list({id(config): config for config in configs if config is not None}.values())


def _set_all(config: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if getattr(config, name) != value:
            setattr(config, name, value)


def check_model(model: Any) -> None:
    """Check that a model in memory is a causal language model whose passes hooks can follow.

    Raises:
        DepthError: it is none; the hint names what to pass instead.
    """
    kind = type(model).__name__
    if isinstance(model, nn.Module) and any(map(_is_compiled, model.modules())):
        raise DepthError(
            "The model is compiled, and a compiled model runs past the hooks that measure it.",
            "Pass the model as it was before torch.compile.",
        )
    if isinstance(model, nn.Module) and _is_sharded(model):
        raise DepthError(
            f"The weights of this {kind} are sharded over processes, and brought together where "
            "they are used.",
            "Load it whole in one process: from_pretrained(..., device_map='auto'); or over ranks: "
            "from_pretrained(..., distributed_config=DistributedConfig(tp_size=...)).",
        )
    if isinstance(model, nn.Module):
        check_cut(model)
    if not isinstance(model, PreTrainedModel):
        raise DepthError(
            f"A model is a name or a loaded transformers model, and this is a {kind}.",
            "Of a model in a wrapper pass what it wraps, such as model.module or "
            "model.get_base_model()."
            if isinstance(model, nn.Module)
            else "",
        )
    if getattr(model.config, "is_encoder_decoder", False) or not model.can_generate():
        raise DepthError(
            f"{kind} is no causal language model.", "Load it with AutoModelForCausalLM."
        )
    hooked = any(hasattr(module, "_hf_hook") for module in model.modules())
    if not hooked and any(weight.is_meta for weight in model.parameters()):
        raise DepthError(f"This {kind} has no weights: they are on the meta device.")


def _check_tokenizer(tokenizer: Any) -> None:
    if tokenizer is None:
        raise DepthError(
            "A loaded model needs its tokenizer.", "Pass it: analyze(model, prompts, tokenizer)."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise DepthError(
            f"The tokenizer is no tokenizer of transformers but a {type(tokenizer).__name__}.",
            "Of a processor pass its tokenizer: processor.tokenizer."
            if hasattr(tokenizer, "tokenizer")
            else "AutoTokenizer.from_pretrained loads one.",
        )


def _is_compiled(module: nn.Module) -> bool:
    """Whether `torch.compile` made the module, or compiled its call in place, or its `forward`."""
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(
        module.forward, "_torchdynamo_orig_callable"
    )


def _is_sharded(model: nn.Module) -> bool:
    """Whether weights are gathered at each use: FSDP or DeepSpeed."""
    return any(
        hasattr(weight, "ds_id") or hasattr(weight, "_is_flat_param")
        for weight in model.parameters()
    ) or any(hasattr(module, "unshard") for module in model.modules())


def _quantize(model: PreTrainedModel) -> str:
    for bits in ("8bit", "4bit"):
        if getattr(model, f"is_loaded_in_{bits}", False):
            return bits
    return ""


def _unquantised_model(model: PreTrainedModel) -> nn.Module:
    """An unquantised model with the same parameters; packed weights have fewer elements."""
    if getattr(model, "hf_quantizer", None) is None:
        return model
    with init_empty_weights():
        empty: PreTrainedModel = type(model)(model.config)
    empty.tie_weights()
    return empty
