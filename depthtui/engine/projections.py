"""The last projections of a model's layers: those that maps are folded into, or set to zero."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from depthtui.data.model import PART_TITLES
from depthtui.data.pieces import part_of, piece_words
from depthtui.data.selection import check_layer
from depthtui.engine.pruning import probe_ids, stack_name
from depthtui.engine.ready_model import ReadyModel
from depthtui.errors import DepthError
from depthtui.models.pruning import DTYPES, LayerTensor, added_tensors, read_tensors, with_biases
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.layer_call import call_at
from depthtui.tracing.layer_parts import last_projection, output_projections
from depthtui.tracing.replay import Replay


@dataclass(frozen=True)
class Projection:
    """The last projection of a part of a layer.

    Attributes:
        layer: the layer.
        name: its name in the layer, such as `mlp.down_proj`.
        outputs_last: whether its weight is `[inputs, d]`, not `[d, inputs]`.
        parameters: its weight and its bias, if it has one, as the model's files have them.
    """

    layer: int
    name: str
    outputs_last: bool
    parameters: Mapping[str, Tensor]

    @property
    def tensors(self) -> dict[LayerTensor, Tensor]:
        """Its parameters by their names in the layer."""
        return {
            LayerTensor(self.layer, f"{self.name}.{name}"): value
            for name, value in self.parameters.items()
        }

    def folded(self, linear_map: Tensor) -> Projection:
        """The projection behind which a map `[d, d]` is applied, in the dtype of the files.

        Raises:
            DepthError: it is beyond this dtype.
        """
        parameters = {}
        for name, value in self.parameters.items():
            values = value.to(linear_map.device, linear_map.dtype)
            is_transposed = self.outputs_last and value.dim() == 2
            image = values @ linear_map.T if is_transposed else linear_map @ values
            parameters[name] = image.to("cpu", value.dtype)
            if not parameters[name].isfinite().all():
                raise DepthError(
                    f"The healed weights of layer {self.layer} are beyond {value.dtype}."
                )
        return Projection(self.layer, self.name, self.outputs_last, parameters)


class Projections:
    """The projections of a model, as its files have them.

    Args:
        model: the loaded model.
        origin: the folder of its files.
        config: its configuration.
    """

    def __init__(self, model: ReadyModel, origin: Path, config: PreTrainedConfig) -> None:
        self._model, self._origin, self._config = model, origin, config
        self._replay = probe_replay(model)

    def of_layer(self, layer: int) -> Projection:
        """The projection of a layer that a map can be folded into.

        Raises:
            DepthError: there is none.
        """
        module = map_target(self._model.anatomy, self._replay, layer)
        projection = self._in_files(layer, module)
        if not all(
            _is_same(projection.parameters[name], value)
            for name, value in module.named_parameters(recurse=False)
        ):
            raise DepthError("its files have other weights than the loaded model")
        return projection

    def zeros(self, parts: Collection[int]) -> dict[LayerTensor, Tensor]:
        """The tensors of the files that are zero in a model whose parts write nothing.

        Raises:
            DepthError: a part cannot write nothing.
        """
        tensors: dict[LayerTensor, Tensor] = {}
        for part in parts:
            try:
                for module in _writers_of(self._model.anatomy, self._replay, part):
                    tensors |= self._in_files(part_of(part).layer, module).tensors
            except DepthError as error:
                raise _not_written(part, error) from error
        return {name: torch.zeros_like(value) for name, value in tensors.items()}

    def with_constants(
        self, replaced: Mapping[LayerTensor, Tensor], constants: Mapping[int, Tensor]
    ) -> dict[LayerTensor, Tensor]:
        """Tensors, and the biases with which parts write constants `[d]` more at every token.

        Where a field of the configuration gives a part biases, the others of it are zero.

        Raises:
            DepthError: a part has no room for a bias.
        """
        tensors = dict(replaced)
        for part, constant in constants.items():
            skip = part_of(part)
            anatomy, title = self._model.anatomy, PART_TITLES[skip.part]
            call = call_at(self._replay, anatomy, skip.layer, 0, self._replay.n_tokens)
            try:
                writer = last_projection(call, anatomy.sublayer(part), title)
                projection = self._in_files(skip.layer, writer.projection)
            except DepthError as error:
                raise _no_bias(part, error.message) from error
            name = LayerTensor(skip.layer, f"{projection.name}.bias")
            dtype = projection.parameters["weight"].dtype
            if name not in projection.tensors:
                tensors = self._zero_biases(skip.part, dtype) | tensors
            bias = (projection.tensors | tensors).get(name)
            if bias is None:
                raise _no_bias(part, "its last projection has none")
            tensors[name] = (bias.float() + constant.cpu() / writer.factor).to(dtype)
        return tensors

    def _zero_biases(self, part: str, dtype: torch.dtype) -> dict[LayerTensor, Tensor]:
        """The biases that the configuration can give a part of each layer, at zero."""
        model, config = self._model, with_biases(self._config, [part])
        sizes = added_tensors(model.loaded.model, stack_name(model), config)
        return {name: torch.zeros(size, dtype=dtype) for name, size in sizes.items()}

    def _in_files(self, layer: int, module: nn.Module) -> Projection:
        """A module of a layer.

        Raises:
            DepthError: the files have no plain weights of it.
        """
        block = self._model.anatomy.layers[layer]
        name = next(name for name, part in block.named_modules() if part is module)
        names = [parameter for parameter, _ in module.named_parameters(recurse=False)]
        in_files = read_tensors(
            self._origin,
            stack_name(self._model),
            self._config,
            [LayerTensor(layer, f"{name}.{parameter}") for parameter in names],
        )
        parameters = {tensor.name.rpartition(".")[2]: value for tensor, value in in_files.items()}
        if not names or any(value.dtype not in DTYPES for value in parameters.values()):
            raise DepthError("its weights are quantised")
        if parameters.keys() != set(names):
            raise DepthError("its files have other weights than the loaded model")
        return Projection(layer, name, isinstance(module, Conv1D), parameters)


def probe_replay(model: ReadyModel) -> Replay:
    """The pass of a few tokens in which the projections are found."""
    with torch.no_grad():
        return model.replay(probe_ids(model.loaded.model), lambda: None)


def map_target(anatomy: Anatomy, replay: Replay, layer: int) -> nn.Module:
    """The module of a layer that a map can be folded into.

    Raises:
        DepthError: there is none.
    """
    call = call_at(replay, anatomy, layer, 0, replay.n_tokens)
    module = last_projection(call, anatomy.mlp[layer], "MLP").projection
    if not isinstance(module, nn.Linear | Conv1D) or module.weight.dtype not in DTYPES:
        raise DepthError("its weights are quantised")
    if module.weight.is_meta:
        raise DepthError("its weights do not fit in memory")
    return module


def check_parts(model: ReadyModel, parts: Collection[int]) -> None:
    """Check that parts can write nothing in a model that is written.

    Raises:
        DepthError: one cannot, with the reason.
    """
    info, anatomy = model.info, model.anatomy
    problem = "its blocks run in several passes" if info.calls else info.split_missing
    if problem or anatomy.replay_missing:
        raise DepthError(
            f"No part of a layer of {info.name} can be left out of a model that is written: "
            f"{problem or anatomy.replay_missing}.",
            "Leave whole layers out.",
        )
    for part in parts:
        check_layer(part_of(part).layer, info.n_layers)
    replay = probe_replay(model)
    for part in parts:
        try:
            _writers_of(anatomy, replay, part)
        except DepthError as error:
            raise _not_written(part, error) from error


def _writers_of(anatomy: Anatomy, replay: Replay, part: int) -> list[nn.Module]:
    """The last projections of a part."""
    skip = part_of(part)
    call = call_at(replay, anatomy, skip.layer, 0, replay.n_tokens)
    return output_projections(call, anatomy.sublayer(part), PART_TITLES[skip.part])


def _not_written(part: int, error: DepthError) -> DepthError:
    return DepthError(
        f"The {piece_words(part, 'part')} cannot be zero in a model that is written: "
        f"{error.message}.",
        "Leave out other parts (--drop 3a names an attention), or whole layers.",
    )


def _no_bias(part: int, problem: str) -> DepthError:
    return DepthError(
        f"The {piece_words(part, 'part')} has no room for a mean as its bias: {problem}.",
        "Leave --instead out, and nothing stands in for what goes.",
    )


def _is_same(in_file: Tensor, in_memory: Tensor) -> bool:
    """Whether a tensor of the files is the loaded one, but for the dtype."""
    return in_file.shape == in_memory.shape and torch.equal(in_file.to(in_memory), in_memory)
