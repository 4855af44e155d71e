"""The size of a model in memory, and the devices on which it fits."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.quantizers.auto import AutoHfQuantizer

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, first_line
from depthtui.models.auto_class import auto_class
from depthtui.models.catalog import weight_files
from depthtui.models.devices import dtype_name, gpus
from depthtui.models.free_space import free_memory
from depthtui.models.lm_head import lm_head
from depthtui.models.parameter_counts import count_parameters
from depthtui.parallel.group import ranks_here
from depthtui.sizes import format_size

_AutoQuantizer: Any = AutoHfQuantizer

QUANTIZE = ("8bit", "4bit")


HEADROOM = 1.05
"""Memory that loading needs, as a multiple of the weights."""

SHARE_WHEN_QUANTIZED = 0.9
"""Share of each GPU that transformers gives a quantised model: quantising needs some itself."""

_BYTES_AFTER_QUANTIZING = {"8bit": 1.0, "4bit": 0.5625}


@dataclass(frozen=True)
class Size:
    """The size of a model.

    Attributes:
        parameters: the number of its parameters.
        by_module: the number of parameters of each module, by name.
        fixed: parameters that bitsandbytes does not quantise: all but linear layers.
        on_disk: bytes of its weights.
        prequantized: whether the weights on disk are already quantised.
        dequantized: whether they are unquantised in memory: nothing here computes in their format.
    """

    parameters: int
    by_module: dict[str, int]
    fixed: int
    on_disk: int
    prequantized: bool
    dequantized: bool = False

    @classmethod
    def of(
        cls,
        config: PreTrainedConfig,
        folder: Path,
        trust_remote_code: bool,
        device: torch.device,
    ) -> Size:
        try:
            with init_empty_weights():
                model: PreTrainedModel = auto_class(config).from_config(
                    config, trust_remote_code=trust_remote_code
                )
            model.tie_weights()
        except Exception as error:
            raise DepthError(
                f"The architecture of {folder.name} cannot be built: {first_line(error)}.",
                "Its config.json may be damaged, or transformers too old for it.",
            ) from error
        head = lm_head(model)
        linear = {
            id(module.weight): module.weight.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
        by_module = count_parameters(model)
        total = by_module[""]
        return cls(
            parameters=total,
            by_module=by_module,
            fixed=total - sum(linear.values()),
            on_disk=sum(file_.stat().st_size for file_ in weight_files(folder)),
            prequantized=getattr(config, "quantization_config", None) is not None,
            dequantized=is_dequantized(config, device),
        )

    def bytes_in(self, dtype: torch.dtype, quantize: str) -> int:
        """Bytes of memory for the weights."""
        if self.prequantized and not self.dequantized:
            return self.on_disk
        return weights_bytes(self.parameters, self.fixed, dtype, quantize)


def weights_bytes(parameters: int, fixed: int, dtype: torch.dtype, quantize: str) -> int:
    """Bytes of memory for weights, where `fixed` parameters are not quantised."""
    if not quantize:
        return parameters * dtype.itemsize
    quantized = (parameters - fixed) * _BYTES_AFTER_QUANTIZING[quantize]
    return int(fixed * dtype.itemsize + quantized)


def is_dequantized(config: PreTrainedConfig, device: torch.device) -> bool:
    """Whether transformers undoes the quantisation of the weights on disk as it loads them."""
    quantization = copy.deepcopy(getattr(config, "quantization_config", None))
    if quantization is None:
        return False
    try:
        quantizer = _AutoQuantizer.from_config(quantization, pre_quantized=True)
        if device.type == "cpu" and quantizer.quantization_config.quant_method == "mxfp4":
            return True
        quantizer.validate_environment(device_map={"": device}, weights_only=True)
    except Exception:
        # Loading raises the error.
        return False
    return bool(getattr(quantizer.quantization_config, "dequantize", False))


def device_map(
    spec: ModelSpec, device: torch.device, dtype: torch.dtype, size: Size
) -> str | dict[str, torch.device] | None:
    """The device map: one device where the model fits there, else spread by accelerate.

    Raises:
        DepthError: it fits nowhere; the hint names what would.
    """
    needed_bytes = int(size.bytes_in(dtype, spec.quantize) * HEADROOM)
    if spec.tensor_parallel > 1:
        _check_part_fits(spec, device, dtype, size)
        return None
    if device.type != "cuda":
        _check_fits(spec, dtype, size, free_memory(), "of memory")
        if device.type == "cpu" and not spec.quantize:
            return None
        return {"": device}
    free = {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in gpus(device)}
    roomiest = max(free, key=lambda gpu: free[gpu])
    if device.index is not None:
        _check_fits(spec, dtype, size, free[device.index], f"on cuda:{device.index}")
        return {"": device}
    # Leaves room for the activations that a run keeps.
    if needed_bytes * 1.1 < free[roomiest]:
        return {"": torch.device("cuda", roomiest)}
    if spec.quantize:
        usable = int(sum(free.values()) * SHARE_WHEN_QUANTIZED)
        _check_fits(spec, dtype, size, usable, "on the GPUs together")
    else:
        total = sum(free.values()) + free_memory()
        _check_fits(spec, dtype, size, total, "on the GPUs and in memory together")
    return "auto"


def _check_part_fits(spec: ModelSpec, device: torch.device, dtype: torch.dtype, size: Size) -> None:
    """Refuse a model whose part for one rank does not fit."""
    part = replace(size, parameters=size.parameters // spec.tensor_parallel, fixed=0)
    if device.type == "cuda":
        index = torch.cuda.current_device()
        room = torch.cuda.mem_get_info(index)[0]
        _check_fits(spec, dtype, part, room, f"on cuda:{index} for this rank")
        return
    # The ranks of a machine share its memory.
    room = free_memory() // ranks_here()
    _check_fits(spec, dtype, part, room, "of memory for each rank")


def make_current(placement: str | dict[str, torch.device] | None) -> None:
    """Make a placement's GPU the current one, if it is the only one.

    Kernels that ignore the device of their tensors are launched there.
    """
    if isinstance(placement, dict) and placement[""].type == "cuda":
        torch.cuda.set_device(placement[""])


def _check_fits(spec: ModelSpec, dtype: torch.dtype, size: Size, room: int, place: str) -> None:
    needed_bytes = int(size.bytes_in(dtype, spec.quantize) * HEADROOM)
    if needed_bytes <= room:
        return
    options = [("--dtype bfloat16", torch.bfloat16, "")] if dtype.itemsize > 2 else []
    options += [(f"--quantize {bits}", torch.bfloat16, bits) for bits in QUANTIZE]
    fitting = [
        f"{words} ({format_size(size.bytes_in(smaller, quantize))})"
        for words, smaller, quantize in options
        if size.bytes_in(smaller, quantize) * HEADROOM <= room and not size.prequantized
    ]
    raise DepthError(
        f"The model needs {format_size(needed_bytes)} in {spec.quantize or dtype_name(dtype)}, "
        f"and {format_size(room)} {place} are free.",
        f"What would fit: {', '.join(fitting)}." if fitting else "Choose a smaller model.",
    )
