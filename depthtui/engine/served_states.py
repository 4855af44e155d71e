"""States that another engine has served, in place of states that a run records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from depthtui.data.run import Prompt, PromptTokens
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.state_files import ENGINE, STATES, TOKEN_IDS, StateFile, read_state_file
from depthtui.errors import DepthError, first_line
from depthtui.models.devices import execution_device
from depthtui.tracing.activations import ActivationRecorder, Activations
from depthtui.tracing.norms import norm
from depthtui.tracing.trace import LayerActivations, trace

_LEAST_COSINE = 0.5
"""The least cosine: states of one model before a layer are parallel, of two models orthogonal."""

_MOST_FARTHER = 2.0
"""How many times as far from layer 0's output as another state its own may be: engines round."""


@dataclass(frozen=True)
class ServedStates:
    """One request that another engine has served.

    Attributes:
        prompt: its text; its level is the file's name.
        tokens: its tokens as they were served.
        dtype: the dtype of the states, such as `bfloat16`.
        activations: the residual stream, as if it had been recorded here.
    """

    prompt: Prompt
    tokens: PromptTokens
    dtype: str
    activations: Activations

    def model_of(self, model: ReadyModel, folder: Path) -> ReadyModel:
        """The model as these states show it: without what lies within a layer."""
        info = replace(
            model.info,
            dtype=self.dtype,
            device=ENGINE,
            split_missing="files of states have none between attention and MLP",
            states_from=f"{ENGINE}'s files in {folder}",
        )
        return replace(model, info=info)


def read_served_states(
    path: Path, model: ReadyModel, checkpoint: Callable[[], None]
) -> ServedStates:
    """Read a file of states of a model.

    Args:
        path: the file.
        model: has at least embedding, first layer, final norm and head.
        checkpoint: called between layers; raising there ends the work.

    Raises:
        DepthError: it is damaged, of another model, or lacks layers.
    """
    file = read_state_file(path)
    _check_sizes(file, model)
    try:
        with safe_open(path, "pt") as tensors:
            ids, states = tensors.get_tensor(TOKEN_IDS).long(), tensors.get_tensor(STATES)
            _check_ids(path, ids, model)
            first = _ends_of_first_layer(model, ids)
            stream = _stream(file, states, first, model)
            _check_order(file, stream, first[1], model)
            activations = _activations_of(path, stream, model, checkpoint)
    except (OSError, SafetensorError) as error:
        raise DepthError(f"{path} cannot be read: {first_line(error)}.") from error
    numbers = ids.tolist()
    text = model.loaded.tokenizer.decode(numbers, clean_up_tokenization_spaces=False)
    texts = [model.vocabulary.text(id_) for id_ in numbers]
    return ServedStates(
        Prompt(str(text), task="file", level=path.name),
        PromptTokens(ids.numpy(), texts, len(numbers)),
        file.dtype,
        activations,
    )


def _check_sizes(file: StateFile, model: ReadyModel) -> None:
    name, n_layers, width = model.info.name, model.info.n_layers, model.info.d_model
    if model.info.calls or model.info.streams > 1 or model.info.broken_at:
        raise DepthError(
            f"{name} runs its blocks several times, or in several residual streams, and a file has "
            "one state a layer.",
            "Run its prompts by transformers, without --states.",
        )
    if file.width != width:
        raise DepthError(
            f"{file.path} has states of width {file.width:,}, and {name} is {width:,} wide.",
            "Name the model that they are of.",
        )
    if file.states not in (n_layers, n_layers + 1):
        raise DepthError(
            f"{file.path} has {file.states} states of each token, and the {n_layers} layers of "
            f"{name} have {n_layers + 1}: before each layer, and after the last.",
            f"Ask vLLM for all of them, as eagle_aux_hidden_state_layer_ids 0 to {n_layers}.",
        )


def _check_ids(path: Path, ids: Tensor, model: ReadyModel) -> None:
    if int(ids.min()) < 0:
        raise DepthError(f"{path} has the token id {int(ids.min())}.", "It is damaged.")
    n_embeddings: int = model.loaded.model.get_input_embeddings().num_embeddings  # type: ignore[assignment]
    if int(ids.max()) >= n_embeddings:
        raise DepthError(
            f"{path} has the token id {int(ids.max()):,}, and the vocabulary of {model.info.name} "
            f"ends at {n_embeddings - 1:,}.",
            "Name the model that the states are of.",
        )


def _stream(
    file: StateFile, states: Tensor, first: tuple[Tensor, Tensor], model: ReadyModel
) -> list[Tensor]:
    """h_0 … h_L, each `[T, d]`; where layer 0 was not asked for, h_0 is the model's embedding.

    Args:
        file: has the states.
        states: `[T, L+1, d]` or `[T, L, d]`.
        first: layer 0's input and output for these tokens here.
        model: the states' model.

    Raises:
        DepthError: they are of another model, or lack another layer than the first.
    """
    stream = list(states.unbind(dim=1))
    as_input, as_output = (_cosine(stream[0], state) for state in first)
    n_layers, name = model.info.n_layers, model.info.name
    if len(stream) > n_layers and as_input >= _LEAST_COSINE:
        return stream
    if len(stream) == n_layers and as_input > as_output:
        raise DepthError(
            f"{file.path} lacks a state: of the {n_layers + 1} of {name} it has {n_layers}.",
            f"Ask vLLM for all of them, as eagle_aux_hidden_state_layer_ids 0 to {n_layers}.",
        )
    if len(stream) == n_layers and as_output >= _LEAST_COSINE:
        return [first[0].to(stream[0]), *stream]
    raise DepthError(
        f"{file.path} does not begin with what {name} makes of its tokens: the first state is at "
        f"a cosine of {as_input:.2f} to their embedding.",
        "Name the model that the states are of.",
    )


def _check_order(
    file: StateFile, stream: Sequence[Tensor], output: Tensor, model: ReadyModel
) -> None:
    """Check that no other state is layer 0's output rather than h_1.

    Args:
        file: has the states.
        stream: h_0 … h_L, each `[T, d]`.
        output: layer 0's output for these tokens here, `[T, d]`.
        model: the states' model.

    Raises:
        DepthError: another one is.
    """
    expected = output.cpu().float()
    # A state that is no number is refused where it is placed: no comparison with NaN is true.
    misses = [float(norm(state.float() - expected).median()) for state in stream]
    nearest = min(range(len(misses)), key=misses.__getitem__)
    if misses[1] > _MOST_FARTHER * misses[nearest]:
        raise DepthError(
            f"{file.path} has its states in another order than {model.info.name}: state {nearest} "
            "is nearer to what layer 0 makes of its tokens than state 1.",
            "Have it written again, with the ids of the layers in ascending order.",
        )


def _cosine(file_state: Tensor, model_state: Tensor) -> float:
    """The median over tokens of the cosine of states `[T, d]`; -1 where there is none."""
    cosines = torch.cosine_similarity(file_state.float(), model_state.cpu().float(), dim=-1)
    return float(cosines.nan_to_num(-1.0).median())


class _FirstLayerDone(Exception):
    """Ends a pass once its first layer has run."""


def _ends_of_first_layer(model: ReadyModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Layer 0's input and output for tokens, each `[T, d]`."""
    states: list[Tensor] = []

    def keep(layer: LayerActivations) -> None:
        states.extend((layer.h.clone(), layer.h_next.clone()))
        raise _FirstLayerDone

    embedding = model.loaded.model.get_input_embeddings()
    with contextlib.suppress(_FirstLayerDone):
        ids_on_device = ids.to(execution_device(embedding))
        trace(model.loaded.model, model.anatomy, ids_on_device, keep)
    return states[0], states[1]


def _activations_of(
    path: Path, stream: list[Tensor], model: ReadyModel, checkpoint: Callable[[], None]
) -> Activations:
    """The activations, in the dtype and on the device of the head.

    Raises:
        DepthError: a value is no finite number.
    """
    recorder = ActivationRecorder(len(stream) - 1, keep_writes=False)

    def placed(depth: int) -> Tensor:
        checkpoint()
        state = stream[depth]
        bad = (~state.isfinite().all(dim=-1)).nonzero()
        if len(bad):
            where = f"before layer {depth}" if depth < len(stream) - 1 else "after the last layer"
            raise DepthError(
                f"{path} has infinite values or no numbers {where}, first at token {int(bad[0])}.",
                "vLLM read another cache there: a newer one may not, or turn chunked prefill off.",
            )
        return state.to(model.placement.head, model.loaded.model.dtype)

    before = placed(0)
    for layer in range(len(stream) - 1):
        after = placed(layer + 1)
        recorder.add(LayerActivations(layer, before, None, None, after))
        before = after
    return recorder.activations()
