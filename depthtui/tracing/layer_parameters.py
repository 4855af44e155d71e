"""How many of a model's parameters each layer holds, and each of its sublayers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from depthtui.data.model import ModelInfo
from depthtui.tracing.anatomy import Anatomy


def with_parameters(
    info: ModelInfo, model: nn.Module, anatomy: Anatomy, counts: dict[str, int]
) -> ModelInfo:
    """Add each layer's and sublayer's number of parameters to a model's description.

    Args:
        info: the description.
        model: the loaded model.
        anatomy: the model's.
        counts: parameters by module, from `models.parameter_counts.count_parameters`.
    """
    names = {module: name for name, module in model.named_modules()}

    def parameters_of(modules: Iterable[nn.Module]) -> int:
        return sum(counts.get(names[module], 0) for module in modules)

    return replace(
        info,
        layer_parameters=tuple(parameters_of([layer]) for layer in anatomy.layers),
        attention_parameters=tuple(parameters_of(module) for module in anatomy.attention_modules),
        mlp_parameters=tuple(parameters_of(module) for module in anatomy.mlp_modules),
    )
