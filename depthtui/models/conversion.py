"""From a GGUF file to a folder of safetensors and tokenizer files."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gguf
import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers import modeling_gguf_pytorch_utils as gguf_reading

from depthtui.data.protocol import Progress
from depthtui.errors import DepthError
from depthtui.models.catalog import MADE_FROM
from depthtui.models.free_space import check_disk, free_memory
from depthtui.models.library_output import silence_libraries
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.models.weight_loading import check_complete
from depthtui.sizes import format_size

Report = Callable[[Progress], None]


def convert(
    source: Path, folder: Path, progress: Report, *, provenance: dict[str, str] | None = None
) -> None:
    """Write the model in the GGUF file `source` into the empty folder `folder`, as float32.

    `provenance` is kept beside it, in `depthtui.json`.

    Raises:
        DepthError: the file is damaged, or of an architecture that cannot be converted.
    """
    silence_libraries()
    try:
        with (
            _reading_once(),
            _reporting_tensors(progress),
            _folder_with(source, folder.parent) as alone,
        ):
            progress(Progress("Reading the GGUF file", 0, 0, "tensors"))
            _check_room(alone, folder)
            model = _read_model(alone)
            progress(Progress("Reading the tokenizer", 0, 0, "tokens"))
            tokenizer = AutoTokenizer.from_pretrained(
                str(alone.parent),
                gguf_file=alone.name,
                local_files_only=True,
                trust_remote_code=False,
            )
    except DepthError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise DepthError(f"The memory ran out while {source.name} was converted.") from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DepthError(
            f"{source.name} could not be converted: {reason}",
            "The file may be damaged, or of an architecture that transformers cannot read as GGUF.",
        ) from error
    progress(Progress("Saving", 0, 0, "B"))
    _dense(model).save_pretrained(folder, max_shard_size="1000GB")
    tokenizer.save_pretrained(folder)
    for path in folder.glob("*config.json"):
        # Another version of transformers converts to the same files, with the same fingerprint.
        settings = json.loads(path.read_text("utf-8"))
        settings.pop("transformers_version", None)
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")
    for path in folder.iterdir():
        # safetensors makes files for their owner alone; a model store may be shared.
        path.chmod(path.stat().st_mode | 0o044)
    (folder / MADE_FROM).write_text(json.dumps(provenance or {}, indent=2), encoding="utf-8")


@contextmanager
def _folder_with(source: Path, scratch: Path) -> Iterator[Path]:
    """Link the file into a folder of its own: other files beside it are no part of the model.

    transformers would read a chat template, the tokenizer's settings and an adapter beside it.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        link = Path(folder) / source.name
        link.symlink_to(source.absolute())
        yield link


def _check_room(source: Path, folder: Path) -> None:
    """Check that the model fits on the disk and in memory as float32."""
    tensors = gguf.GGUFReader(str(source)).tensors
    needed_bytes = 4 * sum(int(tensor.n_elements) for tensor in tensors)
    check_disk(folder, needed_bytes, f"Converting {source.name}")
    free = free_memory()
    if needed_bytes > free:
        raise DepthError(
            f"Converting {source.name} needs {format_size(needed_bytes)} of memory; "
            f"{format_size(free)} are free.",
            "Convert it on a larger machine, or open a safetensors copy of the model.",
        )


def _read_model(source: Path) -> PreTrainedModel:
    auto: Any = AutoModelForCausalLM  # its annotations leave out the second value
    model, report = auto.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    hint = "It may be one part of several: merge them first."
    check_complete(source, report["missing_keys"], hint)
    loaded: PreTrainedModel = model
    return loaded


def _dense(model: PreTrainedModel) -> PreTrainedModel:
    """Copy the weights into a model without any mark that they came from a quantised file."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with init_empty_weights():
        dense = type(model)(config)
    dense.load_state_dict(model.state_dict(), assign=True)
    return dense


@contextmanager
def _reading_once() -> Iterator[None]:
    """Let transformers parse the file once, not three times, and build each name table once."""
    with (
        patch.object(gguf, "GGUFReader", functools.cache(gguf.GGUFReader)),
        patch.object(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
    ):
        yield


@contextmanager
def _reporting_tensors(progress: Report) -> Iterator[None]:
    """Turn the conversion's own progress bar into calls of `progress`."""

    class ReportingTensors:
        def __init__(self, tensors: Any, *_: Any, **__: Any) -> None:
            self.tensors = tensors

        def __iter__(self) -> Iterator[Any]:
            total = len(self.tensors)
            for tensors_done, tensor in enumerate(self.tensors):
                progress(Progress("Converting to safetensors", tensors_done, total, "tensors"))
                yield tensor
            progress(Progress("Converting to safetensors", total, total, "tensors"))

    with patch.object(gguf_reading, "tqdm", ReportingTensors):
        yield
