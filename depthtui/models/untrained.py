"""A model with another's shape and with random weights, as its architecture draws them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import dispatch_model
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from depthtui.data.model import ModelInfo
from depthtui.errors import DepthError, first_line
from depthtui.models.free_space import free_memory
from depthtui.models.loading import LoadedModel
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.sizes import format_size


@dataclass(frozen=True)
class Blueprint:
    """A model without its weights; the model can be freed.

    Attributes:
        kind: its class.
        config: a copy of its configuration.
        placed: each module's device by name, if the model is on several; else empty.
        tokenizer: the model's own.
        info: its description.
        counts: number of parameters by module.
    """

    kind: type[PreTrainedModel]
    config: PreTrainedConfig
    placed: dict[str, Any]
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    counts: dict[str, int]

    @classmethod
    def of(cls, loaded: LoadedModel) -> Blueprint:
        """The blueprint of a loaded model.

        Raises:
            DepthError: no untrained model like it can be built.
        """
        model, info = loaded.model, loaded.info
        if info.quantize or getattr(model.config, "quantization_config", None) is not None:
            raise DepthError("its weights are quantised, and an untrained model has none to round")
        placed = dict(getattr(model, "hf_device_map", None) or {})
        if "disk" in map(str, placed.values()):
            raise DepthError("some of its layers wait on the disk, where there is no room for more")
        several = placed if len(set(map(str, placed.values()))) > 1 else {}
        config = copy.deepcopy(model.config)
        return cls(
            type(model), config, several, loaded.tokenizer, info, dict(loaded.parameter_counts)
        )

    def build(self, seed: int) -> LoadedModel:
        """Build the untrained model on the trained one's devices; nothing of it is cached.

        Weights are drawn on the CPU, so that a seed gives the same model on every device.

        Raises:
            DepthError: it does not fit, or its class cannot be built from its configuration.
        """
        size = format_size(self.info.memory_bytes)
        if (free := free_memory()) < self.info.memory_bytes:
            raise DepthError(f"it takes {size}, and {format_size(free)} are free")
        try:
            with _drawing(getattr(torch, self.info.dtype), seed):
                model: Any = self.kind(copy.deepcopy(self.config))
            model = model.eval().requires_grad_(False)
            if self.placed:
                model = dispatch_model(model, device_map=self.placed)
            else:
                model = model.to(self.info.device)
        except Exception as error:
            if is_out_of_memory(error):
                raise DepthError(f"the memory does not suffice for its {size}") from error
            raise DepthError(
                f"its architecture cannot be built without weights ({first_line(error)})"
            ) from error
        info = replace(self.info, name=f"untrained {self.info.name}", fingerprint="")
        return LoadedModel(model, self.tokenizer, info, self.counts)


@contextmanager
def _drawing(dtype: torch.dtype, seed: int) -> Iterator[None]:
    """Draw weights of a dtype by a seed; other random numbers are not affected."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
