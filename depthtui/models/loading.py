"""Loading a model with its tokenizer: device, dtype, placement, quantisation."""

from __future__ import annotations

import copy
import importlib.util
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depthtui.models import (
    library_output,  # before the libraries: it sets what they read when imported
)

# isort: split
import torch
from accelerate import init_empty_weights
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
)
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.utils import logging

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError, first_line, shown
from depthtui.installing import install_extra, install_package
from depthtui.models.catalog import (
    ModelSource,
    check_weights_are_safe,
    read_config,
    resolve,
    weight_files,
)
from depthtui.models.demo import ensure_demo
from depthtui.models.free_space import free_memory
from depthtui.models.integrity import (
    check_files_are_ordinary,
    check_safetensors,
    converted_folder,
    fingerprint,
    is_whole,
    model_files,
)
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.models.parameters import count_parameters
from depthtui.models.staging import staged
from depthtui.sizes import format_size

Report = Callable[[Progress], None]

_AutoModel: Any = AutoModelForCausalLM  # untyped, or typed as less than it returns
_AutoQuantizer: Any = AutoHfQuantizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTIZE = ("8bit", "4bit")

_FLOAT32_UP_TO = 1_000_000_000
"""Parameters up to which `auto` computes in float32 on a CPU."""

_BFLOAT16_SINCE = (8, 0)
"""Compute capability of the first GPUs with bfloat16 (Ampere)."""

HEADROOM = 1.05
"""What loading takes, as a multiple of the weights."""

SHARE_WHEN_QUANTIZED = 0.9
"""What transformers lets a quantised model take of each GPU: quantising needs some itself."""

_MOST_LAYERS = 10_000
"""Each is built to know what it takes: more of them are a damaged file."""

_BYTES_AFTER_QUANTIZING = {"8bit": 1.0, "4bit": 0.5625}
_ANOTHER_TASK = re.compile(r"For(?!CausalLM|ConditionalGeneration)[A-Z]\w*$")
"""Ends the name of a class whose head is no LM head, such as ForSequenceClassification."""

_NOT_MISSED = re.compile(
    r"(inv_freq|masked_bias|causal_mask|(attn|attention)\.bias)$"
    r"|(_scale|_scale_inv|_zero_point|g_idx|absmax|quant_map|SCB|weight_format)$|quant_state"
    r"|vision|visual|image|audio|speech|multi_modal|(^|\.)mm_"
)
"""What a file may hold without a language model of text having to use it.

Constants that older versions of transformers kept, what a quantiser turns into weights, and what
images and sounds go through.
"""

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Attributes:
        model: in evaluation mode, without gradients, placed on its devices.
        tokenizer: the model's own.
        info: what it is; what depends on its anatomy is not filled in.
        parameter_counts: how many parameters each module holds, by its name.
        notice: what people should know of how it was loaded, in a sentence; may be empty.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    parameter_counts: dict[str, int]
    notice: str = ""


def load(
    spec: ModelSpec,
    models_dir: Path,
    progress: Report,
    make_room: Callable[[], None] = lambda: None,
) -> LoadedModel:
    """Load the model that `spec` asks for, fetching and converting it where necessary.

    An exception raised by `progress` ends the work and leaves nothing half-made.
    `make_room` is called once the files are known to be good, before they take memory.

    Raises:
        DepthError: it cannot be found, fetched, opened safely, or held in memory.
    """
    library_output.silence_libraries()
    _check_spec(spec)
    device = _device(spec.device)
    source = resolve(spec, models_dir)
    folder = local_folder(source, spec, models_dir, progress)
    check_files_are_ordinary(folder)
    config = read_checked_config(folder, spec.trust_remote_code)
    for file_ in weight_files(folder):
        check_safetensors(file_)
    make_room()
    size = _Size.of(config, folder, spec.trust_remote_code, device)
    dtype = _dtype(spec.dtype, device, size.parameters)
    placement = _placement(spec, device, dtype, size)
    _make_current(placement)
    tokenizer = load_tokenizer(folder, spec.trust_remote_code)
    stored = config.get_text_config().dtype or config.dtype
    model = _load_model(folder, config, spec, dtype, placement, progress)
    progress(Progress("Taking the fingerprint", 0, 0, "B"))
    with _load_errors(folder):
        info = _info(spec, source, folder, model, tokenizer, size)
    notice = _rounding(info, stored, dtype) if spec.dtype == "auto" and not spec.quantize else ""
    return LoadedModel(model, tokenizer, info, size.by_module, notice)


def _rounding(info: ModelInfo, stored: object, dtype: torch.dtype) -> str:
    """That weights lost digits on their way into memory, which nobody had asked for."""
    if stored != torch.float32 or dtype == torch.float32:
        return ""
    return (
        f"{info.name} is stored in float32 and was rounded to {info.dtype}; the dtype float32 "
        f"keeps all digits and takes {format_size(4 * info.parameters)}."
    )


def read_checked_config(folder: Path, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration of a model folder, seen to be of a causal language model.

    Raises:
        DepthError: it is damaged, unknown, needs code of its own that is not
            trusted, or belongs to another kind of model.
    """
    raw = read_config(folder)
    kind = str(raw.get("model_type", ""))
    code = raw.get("auto_map")
    has_code = isinstance(code, dict) and "AutoModelForCausalLM" in code
    known = kind in CONFIG_MAPPING
    if has_code and not known and not trust_remote_code:
        raise DepthError(
            f"{folder.name} ({kind or 'unnamed architecture'}) needs Python code of its own, "
            "which could do anything on this machine.",
            "If you have read and trust it, allow it with --trust-remote-code.",
        )
    if not known and not has_code:
        raise DepthError(
            f"The installed transformers does not know the architecture {kind!r}."
            if kind
            else f"{folder / 'config.json'} names no architecture (model_type).",
            f"A newer transformers may: {install_package('transformers', '--upgrade')}"
            if kind
            else "",
        )
    if str(raw.get("transformers_weights") or ".safetensors").endswith(".bin"):
        raise DepthError(f"{folder} names a pickle as its weights.", "Use safetensors.")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        if not (has_code and trust_remote_code):
            _check_is_causal(folder, config)
        layers = config.get_text_config().num_hidden_layers
    except DepthError:
        raise
    except Exception as error:
        raise DepthError(
            f"{folder / 'config.json'} cannot be used: {first_line(error)}.",
            "The file may be damaged: fetch it again.",
        ) from error
    if not isinstance(layers, int) or not 0 < layers <= _MOST_LAYERS:
        raise DepthError(
            f"{folder / 'config.json'} asks for {shown(layers)} layers.",
            "The file may be damaged: fetch it again.",
        )
    return config


def _check_is_causal(folder: Path, config: PreTrainedConfig) -> None:
    classes = [str(architecture) for architecture in config.architectures or ()]
    described = classes[0] if classes else config.model_type
    hint = "Choose a decoder-only model, such as one whose class ends in ForCausalLM."
    if getattr(config, "is_encoder_decoder", False):
        raise DepthError(f"{folder.name} ({described}) is an encoder-decoder.", hint)
    reads_both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not any(
        kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in classes
    )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or reads_both_ways:
        raise DepthError(f"{folder.name} ({described}) is no causal language model.", hint)
    if classes and all(_ANOTHER_TASK.search(kind) for kind in classes):
        raise DepthError(
            f"{folder.name} ({described}) was made for another task than to predict tokens.", hint
        )


def _check_spec(spec: ModelSpec) -> None:
    if spec.dtype != "auto" and spec.dtype not in DTYPES:
        raise DepthError(f"There is no dtype {spec.dtype!r}.", f"Use auto or {_or(DTYPES)}.")
    if not spec.quantize:
        return
    if spec.quantize not in QUANTIZE:
        raise DepthError(f"Cannot quantise to {spec.quantize!r}.", f"Use {_or(QUANTIZE)}.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DepthError(
            "Quantising needs bitsandbytes, which is not installed.",
            f"Install it: {install_extra('quantize')}",
        )


def _device(wanted: str) -> torch.device:
    """The device that a spec's word means; `cuda` without a number may be several."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DepthError(
            f"There is no device {wanted!r}.", "Use auto, cpu, cuda, cuda:1 or mps."
        ) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise DepthError(f"Device {wanted!r} is not supported.", "Use auto, cpu, cuda or mps.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DepthError("There is no CUDA device here.", "Use --device cpu, or auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DepthError(
            f"There is no {wanted} here: {torch.cuda.device_count()} CUDA devices.", "Count from 0."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DepthError("There is no MPS device here.", "Use --device cpu, or auto.")
    return device


def _dtype(wanted: str, device: torch.device, parameters: int) -> torch.dtype:
    return auto_dtype(device, parameters) if wanted == "auto" else DTYPES[wanted]


def auto_dtype(device: torch.device, parameters: int) -> torch.dtype:
    """The dtype of a model of so many parameters where none is asked for."""
    if device.type == "cpu" and parameters <= _FLOAT32_UP_TO:
        return torch.float32
    if device.type == "cuda" and not all(map(_has_bfloat16, _gpus(device))):
        return torch.float16
    return torch.bfloat16


def _has_bfloat16(gpu: int) -> bool:
    """Whether a GPU computes in bfloat16, which older ones only emulate."""
    return torch.cuda.get_device_capability(gpu) >= _BFLOAT16_SINCE


def _gpus(device: torch.device) -> list[int]:
    """The GPUs that a device stands for: `cuda` without a number is all of them."""
    return list(range(torch.cuda.device_count())) if device.index is None else [device.index]


def local_folder(source: ModelSource, spec: ModelSpec, models_dir: Path, progress: Report) -> Path:
    """The folder of a model's safetensors, fetched and converted where necessary."""
    if source.kind == "demo":
        return ensure_demo(models_dir, progress)
    if source.kind == "gguf":
        return _converted(Path(source.location), models_dir, progress)
    if source.kind == "hub":
        from depthtui.models.hub import fetch

        return fetch(
            source.location,
            source.revision,
            progress,
            check=lambda folder: read_checked_config(folder, spec.trust_remote_code),
            with_code=spec.trust_remote_code,
        )
    check_weights_are_safe(Path(source.location))
    return Path(source.location)


def _converted(gguf: Path, models_dir: Path, progress: Report) -> Path:
    """The model store's copy of a GGUF file, converted where it is not there yet."""
    folder = converted_folder(gguf, models_dir)
    if is_whole(folder):
        return folder
    progress(Progress("Starting the conversion", 0, 0, "steps"))
    from depthtui.models.conversion import convert

    with staged(folder) as staging:
        provenance = {"name": gguf.stem, "made_from": str(gguf)}
        convert(gguf, staging, progress, provenance=provenance)
    return folder


@dataclass(frozen=True)
class _Size:
    """How large a model is.

    Attributes:
        parameters: how many it has.
        by_module: how many each module holds, by its name.
        fixed: of these, how many bitsandbytes leaves as they are: all but linear layers.
        on_disk: bytes of its weights.
        prequantized: whether the weights on disk are already quantised.
        dequantized: whether they will not be in memory: nothing here computes with them.
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
    ) -> _Size:
        try:
            with init_empty_weights():
                model: PreTrainedModel = _AutoModel.from_config(
                    config, trust_remote_code=trust_remote_code
                )
            model.tie_weights()
        except Exception as error:
            raise DepthError(
                f"The architecture of {folder.name} cannot be built: {first_line(error)}.",
                "Its config.json may be damaged, or transformers too old for it.",
            ) from error
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
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
            dequantized=_is_dequantized(config, device),
        )

    def bytes_in(self, dtype: torch.dtype, quantize: str) -> int:
        """Bytes of memory that the weights take."""
        if self.prequantized and not self.dequantized:
            return self.on_disk
        return weights_bytes(self.parameters, self.fixed, dtype, quantize)


def weights_bytes(parameters: int, fixed: int, dtype: torch.dtype, quantize: str) -> int:
    """Bytes that weights take, of which `fixed` parameters are not quantised."""
    if not quantize:
        return parameters * dtype.itemsize
    quantized = (parameters - fixed) * _BYTES_AFTER_QUANTIZING[quantize]
    return int(fixed * dtype.itemsize + quantized)


def _is_dequantized(config: PreTrainedConfig, device: torch.device) -> bool:
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
        # Loading says what is wrong with it.
        return False
    return bool(getattr(quantizer.quantization_config, "dequantize", False))


def _placement(
    spec: ModelSpec, device: torch.device, dtype: torch.dtype, size: _Size
) -> str | dict[str, torch.device] | None:
    """The device map: one device where the model fits there, else spread by accelerate.

    Raises:
        DepthError: it fits nowhere; says what would.
    """
    needed = int(size.bytes_in(dtype, spec.quantize) * HEADROOM)
    if device.type != "cuda":
        _check_fits(spec, dtype, size, free_memory(), "of memory")
        if device.type == "cpu" and not spec.quantize:
            return None
        return {"": device}
    free = {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in _gpus(device)}
    roomiest = max(free, key=lambda gpu: free[gpu])
    if device.index is not None:
        _check_fits(spec, dtype, size, free[device.index], f"on cuda:{device.index}")
        return {"": device}
    # Room is left for activations, of which a run keeps some.
    if needed * 1.1 < free[roomiest]:
        return {"": torch.device("cuda", roomiest)}
    if spec.quantize:
        usable = int(sum(free.values()) * SHARE_WHEN_QUANTIZED)
        _check_fits(spec, dtype, size, usable, "on the GPUs together")
    else:
        total = sum(free.values()) + free_memory()
        _check_fits(spec, dtype, size, total, "on the GPUs and in memory together")
    return "auto"


def _make_current(placement: str | dict[str, torch.device] | None) -> None:
    """Make the one GPU of a placement the current one.

    Kernels that do not ask where their tensors lie are launched there.
    """
    if isinstance(placement, dict) and placement[""].type == "cuda":
        torch.cuda.set_device(placement[""])


def _check_fits(spec: ModelSpec, dtype: torch.dtype, size: _Size, room: int, where: str) -> None:
    needed = int(size.bytes_in(dtype, spec.quantize) * HEADROOM)
    if needed <= room:
        return
    options = [("--dtype bfloat16", torch.bfloat16, "")] if dtype.itemsize > 2 else []
    options += [(f"--quantize {bits}", torch.bfloat16, bits) for bits in QUANTIZE]
    fitting = [
        f"{words} ({format_size(size.bytes_in(smaller, quantize))})"
        for words, smaller, quantize in options
        if size.bytes_in(smaller, quantize) * HEADROOM <= room and not size.prequantized
    ]
    raise DepthError(
        f"The model needs {format_size(needed)} in {spec.quantize or _name(dtype)}, "
        f"and {format_size(room)} {where} are free.",
        f"What would fit: {', '.join(fitting)}." if fitting else "Choose a smaller model.",
    )


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        DepthError: there is none, or it cannot be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        found = sorted(path.name for path in folder.glob("*token*"))
        raise DepthError(
            f"{folder.name} has no tokenizer."
            if not found
            else f"The tokenizer of {folder.name} cannot be read: {first_line(error)}.",
            "Its folder should hold a tokenizer.json.",
        ) from error
    if not len(tokenizer):
        raise DepthError(
            f"{folder.name} has no tokenizer.", "Its folder should hold a tokenizer.json."
        )
    return tokenizer


def _load_model(
    folder: Path,
    config: PreTrainedConfig,
    spec: ModelSpec,
    dtype: torch.dtype,
    placement: str | dict[str, torch.device] | None,
    progress: Report,
) -> PreTrainedModel:
    options: dict[str, Any] = {"device_map": placement} if placement else {}
    if spec.quantize:
        options["quantization_config"] = _quantization(spec.quantize, dtype)
    with _load_errors(folder), _reporting_weights(progress), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, report = _AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=spec.trust_remote_code,
            output_loading_info=True,
            **options,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would make them up at random.
        raise DepthError(
            f"{folder.name} lacks {len(missing)} weights of its architecture, "
            f"such as {missing[0]}.",
            "The checkpoint is incomplete, or not of a causal language model.",
        )
    _check_all_is_used(folder, model, report["unexpected_keys"])
    loaded: PreTrainedModel = model.eval()
    return loaded.requires_grad_(False)


def _check_all_is_used(folder: Path, model: PreTrainedModel, unused: set[str]) -> None:
    """See that the model computes with all that its files hold, as far as text needs it.

    Raises:
        DepthError: it does not, and would be measured as another model than it is.
    """
    left = sorted(name for name in unused if not _NOT_MISSED.search(name))
    if not left:
        return
    weights = "1 weight" if len(left) == 1 else f"{len(left)} weights"
    raise DepthError(
        f"{folder.name} holds {weights} that its configuration does not use as a "
        f"{type(model).__name__}, such as {left[0]}.",
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
def _load_errors(folder: Path) -> Iterator[None]:
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
    """Turn the library's own bar into our events."""

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("desc") != "Loading weights" or not args or not hasattr(args[0], "__len__"):
            return factory(*args, **kwargs)
        return _reported(args[0], progress)

    before = logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _reported(weights: Any, progress: Report) -> Iterator[Any]:
    total = len(weights)
    step = max(1, total // 100)
    for done, weight in enumerate(weights):
        if done % step == 0:
            progress(Progress("Loading weights", done, total, "weights"))
        yield weight
    progress(Progress("Loading weights", total, total, "weights"))


def _info(
    spec: ModelSpec,
    source: ModelSource,
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    size: _Size,
) -> ModelInfo:
    return replace(
        describe(spec, source.name, str(source), model, tokenizer, size.parameters),
        revision=folder.name if source.kind == "hub" else "",
        fingerprint=fingerprint(model_files(folder)),
    )


def describe(
    spec: ModelSpec,
    name: str,
    source: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    parameters: int,
) -> ModelInfo:
    """What a model in memory is; revision, fingerprint and anatomy are not filled in."""
    text = model.config.get_text_config()
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
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
        dtype=_name(model.dtype),
        device=", ".join(_devices(model)),
        quantize=spec.quantize,
        memory_bytes=model.get_memory_footprint(),  # type: ignore[no-untyped-call]
        has_chat_template=bool(tokenizer.chat_template),
    )


def _context_length(config: PreTrainedConfig) -> int:
    found = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    return next((int(id_) for id_ in found if id_), 0)


def _devices(model: PreTrainedModel) -> list[str]:
    """The devices on which the layers compute or wait, in order and without repeats."""
    placed = getattr(model, "hf_device_map", None)
    if not placed:
        return [str(_computing_device(model) if model.device.type == "meta" else model.device)]
    names = (
        f"cuda:{device}" if isinstance(device, int) else str(device) for device in placed.values()
    )
    return list(dict.fromkeys(names))


def _computing_device(model: PreTrainedModel) -> torch.device:
    """Where a model that is offloaded by hand computes: accelerate's hooks know."""
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((torch.device(device) for device in devices if device is not None), model.device)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _or(words: Any) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"
