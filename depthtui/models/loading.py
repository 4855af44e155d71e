"""Loads a model with its tokenizer."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, first_line
from depthtui.installing import install_extra
from depthtui.models import adapters, tensor_parallel
from depthtui.models.adapter_files import Adapter
from depthtui.models.adapters import BaseWeights
from depthtui.models.auto_class import reads_more_than_text
from depthtui.models.catalog import ModelSource, check_weights_are_safe, resolve, weight_files
from depthtui.models.checked_config import needs_code, read_checked_config
from depthtui.models.demo import ensure_demo
from depthtui.models.devices import DTYPES, device_named, dtype_name, dtype_named, execution_device
from depthtui.models.fingerprints import (
    fingerprint_beside,
    fingerprint_with,
    reading,
    stored_fingerprint,
)
from depthtui.models.integrity import (
    check_files_are_ordinary,
    check_safetensors,
    converted_folder,
    hash_file_in,
    is_whole,
    model_files,
)
from depthtui.models.library_output import silence_libraries
from depthtui.models.lm_head import lm_head
from depthtui.models.placement import QUANTIZE, Size, device_map, make_current
from depthtui.models.pruning import cut_config
from depthtui.models.staging import store_folder
from depthtui.models.weight_loading import (
    Report,
    StoredWeights,
    load_errors,
    load_weights,
    untied_weights,
)
from depthtui.parallel.agreements import all_or_none, first_rank, first_rank_first
from depthtui.parallel.group import is_first
from depthtui.sizes import format_size

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        model: the model, in evaluation mode, without gradients, placed on its devices.
        tokenizer: the model's own.
        info: its description; fields that depend on its anatomy are not filled in.
        parameter_counts: the number of parameters of each module, by name.
        notice: a sentence for the user on how it was loaded; may be empty.
        is_readout: whether `model` has embedding, first layer, final norm and LM head alone;
            `info` describes the whole model.
        base: the weights of its base, where an adapter is merged into it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    parameter_counts: dict[str, int]
    notice: str = ""
    is_readout: bool = False
    base: BaseWeights | None = None


def load(
    spec: ModelSpec,
    models_dir: Path,
    progress: Report,
    make_room: Callable[[], None] = lambda: None,
    trust_remote_code: bool = False,
    readout_only: bool = False,
) -> LoadedModel:
    """Load the model that `spec` asks for, fetching and converting it where necessary.

    An adapter that `spec` names is merged into the weights, so that every layer is an ordinary one.

    An exception raised by `progress` ends the work and leaves nothing half-made.
    `make_room` is called once the files are known to be good, before they are read into memory.
    Python code that the model brings runs only with `trust_remote_code`.

    With `readout_only`, only final norm and LM head are read of the weights, with embedding and
    first layer to check these, so that a model may be larger than the memory. It has a fingerprint
    only where its files were read for one before.

    Raises:
        NeedsCode: it needs such code.
        DepthError: it cannot be found, fetched or opened safely, does not fit into memory, or its
            first layer cannot be loaded by itself.
    """
    silence_libraries()
    _check_spec(spec)
    device = device_named(spec.device)
    source = resolve(spec, models_dir)
    adapter = adapters.local_adapter(spec.adapter, progress) if spec.adapter else None
    trusted = trust_remote_code and source.may_bring_code
    folder = first_rank_first(
        "the model's folder", lambda: local_folder(source, models_dir, progress, trusted)
    )
    with all_or_none("what the folder holds"):
        tokenizer, config, plan = _checked(folder, spec, adapter, trusted)
    make_room()
    # An adapter is merged into all layers of its base.
    in_part = readout_only and adapter is None
    whole = part = Size.of(config, folder, trusted, device)
    if in_part:
        part = Size.of(cut_config(config, [0]), folder, trusted, device)
    with all_or_none("where it fits"):
        dtype = dtype_named(spec.dtype, device, part.parameters)
        placement = device_map(spec, device, dtype, part)
        make_current(placement)
    stored = StoredWeights(folder, config, spec, dtype, placement, trusted, in_part, plan)
    loaded = _read(stored, source, tokenizer, (whole, part), models_dir, progress)
    if adapter is None:
        return loaded
    progress(Progress("Merging the adapter", 0, 0, "weights"))
    with load_errors(folder):
        return _with_adapter(loaded, adapter, models_dir, replace(stored, placement=None), progress)


def _checked(
    folder: Path, spec: ModelSpec, adapter: Adapter | None, trusted: bool
) -> tuple[PreTrainedTokenizerBase, PreTrainedConfig, tensor_parallel.Plan | None]:
    """The tokenizer and the configuration of a folder whose files are good, and its ranks' plan."""
    check_files_are_ordinary(folder)
    config, plan = read_checked_config(folder, trusted), None
    for file_ in weight_files(folder):
        check_safetensors(file_)
    tokenizer = load_tokenizer(folder, trusted)
    if adapter is not None:
        adapters.check_fits(adapter, config, trusted)
    if spec.tensor_parallel > 1:
        plan = tensor_parallel.plan_for(folder.name, config, spec.tensor_parallel, trusted)
    return tokenizer, config, plan


def _read(
    stored: StoredWeights,
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase,
    sizes: tuple[Size, Size],
    models_dir: Path,
    progress: Report,
) -> LoadedModel:
    """The model of these weights, and its fingerprint; `sizes` of the whole and of what is read."""
    spec, folder, config = stored.spec, stored.folder, stored.config
    stored_dtype = config.get_text_config().dtype or config.dtype
    # Both read all weights in order: the second finds them in the file cache.
    fingerprinting = stored_fingerprint if stored.in_part else fingerprint_beside
    # The other ranks use rank 0's fingerprint.
    files = model_files(folder) if is_first() else []
    with fingerprinting(files, hash_file_in(models_dir)) as fingerprint:
        with all_or_none("the weights"):
            model = load_weights(stored, progress)
        with load_errors(folder):
            info = replace(
                describe(spec, source.name, str(source), model, tokenizer, sizes[0].parameters),
                revision=folder.name if source.kind == "hub" else "",
                n_layers=config.get_text_config().num_hidden_layers,
                fingerprint=first_rank(
                    "the fingerprint", lambda: fingerprint(progress), patient=True
                ),
            )
    sentences = (
        untied_weights(folder, model),
        _rounding(info, stored_dtype, stored.dtype),
        _text_alone(info, config),
    )
    notice = " ".join(filter(None, sentences))
    return LoadedModel(model, tokenizer, info, sizes[1].by_module, notice, stored.in_part)


def _with_adapter(
    loaded: LoadedModel,
    adapter: Adapter,
    models_dir: Path,
    stored: StoredWeights,
    progress: Report,
) -> LoadedModel:
    """The model with an adapter merged into its weights, which are stored without it."""
    with fingerprint_beside(adapter.files, hash_file_in(models_dir)) as fingerprint:
        model = adapters.merge(loaded.model, adapter)
        of_adapter = fingerprint(lambda progress: None)
    info = loaded.info
    merged = replace(
        info,
        name=f"{info.name} + {adapter.name}",
        source=f"{info.source} with the adapter {adapter.source}",
        fingerprint=fingerprint_with(info.fingerprint, of_adapter),
    )
    base_warning = adapters.trained_on_another(adapter, info.name)
    notice = " ".join(filter(None, (loaded.notice, base_warning)))
    base = adapters.BaseWeights(model, functools.partial(load_weights, stored, progress))
    return replace(loaded, model=model, info=merged, notice=notice, base=base)


def _text_alone(info: ModelInfo, config: PreTrainedConfig) -> str:
    """A sentence that the model is measured on text alone, if it reads more."""
    if not reads_more_than_text(config):
        return ""
    return f"{info.name} reads images or sounds too; it is measured on text alone."


def _rounding(info: ModelInfo, stored_dtype: object, dtype: torch.dtype) -> str:
    """A sentence on float32 weights that were rounded on loading; empty where none were."""
    is_asked_for = info.spec.dtype != "auto" or info.spec.quantize
    if is_asked_for or stored_dtype != torch.float32 or dtype == torch.float32:
        return ""
    return (
        f"{info.name} is stored in float32 and was rounded to {info.dtype}; the dtype float32 "
        f"keeps all digits and takes {format_size(4 * info.parameters)}."
    )


def _check_spec(spec: ModelSpec) -> None:
    tensor_parallel.check_spec(spec)
    if spec.dtype != "auto" and spec.dtype not in DTYPES:
        raise DepthError(
            f"There is no dtype {spec.dtype!r}.", f"Use auto or {_joined_by_or(DTYPES)}."
        )
    if spec.adapter:
        adapters.check_can_merge(spec)
    if not spec.quantize:
        return
    if spec.quantize not in QUANTIZE:
        raise DepthError(
            f"Cannot quantise to {spec.quantize!r}.", f"Use {_joined_by_or(QUANTIZE)}."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DepthError(
            "Quantising needs bitsandbytes, which is not installed.",
            f"Install it: {install_extra('quantize')}",
        )


def local_folder(
    source: ModelSource, models_dir: Path, progress: Report, trust_remote_code: bool
) -> Path:
    """The folder of a model's safetensors, fetched and converted where necessary.

    Python code that the model brings is fetched only with `trust_remote_code`.
    """
    if source.kind == "demo":
        return ensure_demo(models_dir, progress)
    if source.kind == "gguf":
        return _convert_once(Path(source.location), models_dir, progress)
    if source.kind == "hub":
        from depthtui.models.hub import fetch

        return fetch(
            source.location,
            source.revision,
            progress,
            check=lambda folder: read_checked_config(folder, trust_remote_code),
            with_code=trust_remote_code,
        )
    check_weights_are_safe(Path(source.location))
    return Path(source.location)


def _convert_once(gguf: Path, models_dir: Path, progress: Report) -> Path:
    """The model store's conversion of a GGUF file, made where it does not exist yet."""
    folder = converted_folder(gguf, models_dir, lambda done, total: progress(reading(done, total)))
    if is_whole(folder):
        return folder
    progress(Progress("Starting the conversion", 0, 0, "steps"))
    from depthtui.models.conversion import convert

    with store_folder(folder) as staging:
        provenance = {"name": gguf.stem, "made_from": str(gguf)}
        convert(gguf, staging, progress, provenance=provenance)
    return folder


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        NeedsCode: it cannot be read without Python code of its own.
        DepthError: there is none, or it cannot be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        if "trust_remote_code=True" in str(error):
            raise needs_code(folder, "its tokenizer") from error
        token_files = sorted(path.name for path in folder.glob("*token*"))
        raise DepthError(
            f"{folder.name} has no tokenizer."
            if not token_files
            else f"The tokenizer of {folder.name} cannot be read: {first_line(error)}.",
            "Its folder should hold a tokenizer.json.",
        ) from error
    if not len(tokenizer):
        raise DepthError(
            f"{folder.name} has no tokenizer.", "Its folder should hold a tokenizer.json."
        )
    return tokenizer


def describe(
    spec: ModelSpec,
    name: str,
    source: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    parameters: int,
) -> ModelInfo:
    """The description of a model in memory, without revision, fingerprint and anatomy."""
    text = model.config.get_text_config()
    head: Any = lm_head(model)
    return ModelInfo(
        spec=spec,
        name=name,
        source=source,
        revision="",
        architecture=type(model).__name__,
        n_layers=text.num_hidden_layers,
        d_model=text.hidden_size,
        vocab_size=text.vocab_size if head is None else head.weight.shape[0],
        parameters=parameters,
        context_length=_context_length(text),
        dtype=dtype_name(model.dtype),
        device=", ".join(_devices(model)),
        quantize=spec.quantize,
        memory_bytes=model.get_memory_footprint(),  # type: ignore[no-untyped-call]
        has_chat_template=bool(tokenizer.chat_template),
        heads=_heads(text),
    )


def _context_length(config: PreTrainedConfig) -> int:
    lengths = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    return next((int(id_) for id_ in lengths if id_), 0)


def _heads(config: PreTrainedConfig) -> int:
    """The number of heads of each attention; 0 where layers differ, or there is no attention."""
    heads = getattr(config, "num_attention_heads", 0)
    return heads if isinstance(heads, int) else 0


def _devices(model: PreTrainedModel) -> list[str]:
    """The devices on which the layers compute or are offloaded, in order and without repeats."""
    placed = getattr(model, "hf_device_map", None)
    if not placed:
        return [str(execution_device(model) if model.device.type == "meta" else model.device)]
    names = (
        f"cuda:{device}" if isinstance(device, int) else str(device) for device in placed.values()
    )
    return list(dict.fromkeys(names))


def _joined_by_or(words: Any) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"
