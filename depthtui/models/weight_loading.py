"""Reads the weights of a model folder into memory, and checks that they are complete."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.data.sentence import plural
from depthtui.errors import DepthError, first_line
from depthtui.models.auto_class import auto_class
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.models.pruning import cut_config
from depthtui.models.tensor_parallel import Plan

Report = Callable[[Progress], None]

_NOT_MISSED = re.compile(
    r"(inv_freq|masked_bias|causal_mask|(attn|attention)\.bias)$"
    r"|(_scale|_scale_inv|_zero_point|g_idx|absmax|quant_map|SCB|weight_format)$|quant_state"
    r"|vision|visual|image|audio|speech|multi_modal|(^|\.)mm_|^(talker|token2wav|code2wav)\."
)
"""Tensors that a file may hold and a language model of text need not use.

Constants that older versions of transformers stored, tensors that a quantiser turns into weights,
and the parts for images, sounds and speech.
"""


@dataclass(frozen=True)
class StoredWeights:
    """The weights of a model folder, and how they are read into memory.

    Attributes:
        folder: the model's.
        config: its configuration.
        spec: what the user asked for.
        dtype: the dtype in memory.
        placement: the device of each module; None for main memory.
        trusted: whether Python code that the model brings may run.
        in_part: leave all layers behind the first one unread.
        plan: the parts that this rank reads alone; None where there is one process.
    """

    folder: Path
    config: PreTrainedConfig
    spec: ModelSpec
    dtype: torch.dtype
    placement: str | dict[str, torch.device] | None
    trusted: bool
    in_part: bool
    plan: Plan | None


def load_weights(stored: StoredWeights, progress: Report) -> PreTrainedModel:
    """Read stored weights into memory.

    Raises:
        DepthError: they cannot be read, some are missing, of another shape, or not used.
    """
    folder, spec = stored.folder, stored.spec
    config = cut_config(stored.config, [0]) if stored.in_part else stored.config
    options: dict[str, Any] = {"device_map": stored.placement} if stored.placement else {}
    if stored.plan is not None:
        options = {"distributed_config": stored.plan.config(spec.tensor_parallel)}
    if spec.quantize:
        options["quantization_config"] = _quantization(spec.quantize, stored.dtype)
    with load_errors(folder), _reporting_weights(progress), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, report = auto_class(config).from_pretrained(
            folder,
            config=config,
            dtype=stored.dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=stored.trusted,
            output_loading_info=True,
            # Refused below, by name: the library's own error refers to a table in its log.
            ignore_mismatched_sizes=True,
            **options,
        )
    _check_shapes(folder, report["mismatched_keys"])
    hint = "The checkpoint is incomplete, or not of a causal language model."
    check_complete(folder, report["missing_keys"], hint)
    if not stored.in_part:
        _check_all_is_used(folder, model, report["unexpected_keys"])
    loaded: PreTrainedModel = model.eval()
    return loaded.requires_grad_(False)


def check_complete(source: Path, missing_names: Iterable[str], hint: str) -> None:
    """Check that files hold every weight of their architecture.

    Raises:
        DepthError: some are missing; transformers would make them up at random.
    """
    names = sorted(missing_names)
    if names:
        raise DepthError(
            f"{source.name} lacks {plural(len(names), 'weight')} of its architecture, such as "
            f"{names[0]}.",
            hint,
        )


def _check_shapes(folder: Path, mismatches: Collection[tuple[str, Any, Any]]) -> None:
    """Check that files hold every weight in the shape of their architecture.

    Args:
        folder: the model's.
        mismatches: names with the shape in the files and the shape of the architecture.

    Raises:
        DepthError: some have another shape; transformers would make them up at random.
    """
    if not mismatches:
        return
    name, shape, expected = min(mismatches)
    raise DepthError(
        f"{folder.name} holds {plural(len(mismatches), 'weight')} of another shape than its "
        f"configuration asks for, such as {name}: {tuple(shape)}, not {tuple(expected)}.",
        "config.json may be of another model, or the files are damaged: fetch them again.",
    )


def untied_weights(folder: Path, model: PreTrainedModel) -> str:
    """A sentence on weights that are tied by the configuration and not in the files, or empty."""
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    untied = {name: tied[name] for name in sorted(tied.keys() - model.all_tied_weights_keys)}
    if not untied:
        return ""
    pairs = ", ".join(f"{name} to {other}" for name, other in untied.items())
    them = "it" if len(untied) == 1 else "them"
    return (
        f"The configuration of {folder.name} ties {pairs}, and the files hold other values for "
        f"{them}: the files' own are used."
    )


def _check_all_is_used(folder: Path, model: PreTrainedModel, unused_names: set[str]) -> None:
    """Check that the model uses all tensors of its files that text needs.

    Raises:
        DepthError: it does not; the measured model would not be the one in the files.
    """
    not_used = sorted(name for name in unused_names if not _NOT_MISSED.search(name))
    if not not_used:
        return
    raise DepthError(
        f"{folder.name} holds {plural(len(not_used), 'weight')} that its configuration does not "
        f"use as a {type(model).__name__}, such as {not_used[0]}.",
        "config.json may name too few layers, or another model than the weights are of. Where the "
        "rest is no part of the language model, load and save it once with transformers.",
    )


def _quantization(quantize: str, dtype: torch.dtype) -> Any:
    if quantize == "8bit":
        options: dict[str, Any] = {"load_in_8bit": True}
    else:
        options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
        options["bnb_4bit_compute_dtype"] = dtype
    return BitsAndBytesConfig(**options)  # type: ignore[no-untyped-call]


@contextmanager
def load_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except DepthError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise DepthError(
                f"The memory ran out while {folder.name} was loading.",
                "Use --dtype bfloat16, --quantize 4bit, or a smaller model.",
            ) from error
        if "dispatched on the CPU or the disk" in str(error):
            raise DepthError(
                f"{folder.name} does not fit on the GPUs: some layers would go into main memory, "
                "where quantised ones cannot be computed.",
                "Use --quantize 4bit, free memory of the GPUs, or choose a smaller model.",
            ) from error
        raise DepthError(
            f"{folder.name} could not be loaded: {first_line(error)}.",
            "Its files may be damaged, or of a form that transformers does not know.",
        ) from error


@contextmanager
def _reporting_weights(progress: Report) -> Iterator[None]:
    """Turn the library's own progress bar into calls of `progress`."""

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("desc") != "Loading weights" or not args or not hasattr(args[0], "__len__"):
            return factory(*args, **kwargs)
        return _report_weights(args[0], progress)

    before = logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _report_weights(weights: Any, progress: Report) -> Iterator[Any]:
    total = len(weights)
    step = max(1, total // 100)
    for weights_done, weight in enumerate(weights):
        if weights_done % step == 0:
            progress(Progress("Loading weights", weights_done, total, "weights"))
        yield weight
    progress(Progress("Loading weights", total, total, "weights"))
