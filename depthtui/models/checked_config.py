"""The configuration of a model folder, checked to be of a causal language model."""

from __future__ import annotations

import re
from pathlib import Path

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from depthtui.data.trust import HOW_TO_TRUST
from depthtui.errors import DepthError, NeedsCode, first_line, short_repr
from depthtui.installing import install_package
from depthtui.models.auto_class import has_auto_class, part_that_predicts
from depthtui.models.catalog import check_no_adapter, read_config

_MOST_LAYERS = 10_000
"""Most layers, since each is built to know its size: a file with more is damaged."""

_ANOTHER_TASK = re.compile(r"For(?!CausalLM|ConditionalGeneration)[A-Z]\w*$")
"""The end of a class name whose head is no LM head, such as ForSequenceClassification."""


def read_checked_config(folder: Path, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration of a model folder, checked to be of a causal language model.

    Raises:
        NeedsCode: it needs Python code of its own that is not trusted.
        DepthError: it is damaged, unknown, of another kind of model, has weights in a file of an
            unusual name, or has an adapter beside it.
    """
    check_no_adapter(folder)
    raw = read_config(folder)
    kind = str(raw.get("model_type", ""))
    code = raw.get("auto_map")
    has_code = isinstance(code, dict) and "AutoModelForCausalLM" in code
    is_known = kind in CONFIG_MAPPING
    if has_code and not is_known and not trust_remote_code:
        raise needs_code(folder, kind or "unnamed architecture")
    if not is_known and not has_code:
        if not kind:
            raise DepthError(f"{folder / 'config.json'} names no architecture (model_type).")
        raise DepthError(
            f"The installed transformers does not know the architecture {kind!r}.",
            f"A newer transformers may: {install_package('transformers', '--upgrade')}",
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        if not (has_code and trust_remote_code):
            _check_is_causal(folder, config)
        if not trust_remote_code:
            _check_fetches_no_kernel(folder, config)
        config = part_that_predicts(config)
        text = config.get_text_config()
        layers = getattr(text, "num_hidden_layers", None)
        weights = [getattr(part, "transformers_weights", None) for part in (config, text)]
    except DepthError:
        raise
    except Exception as error:
        raise DepthError(
            f"{folder / 'config.json'} cannot be used: {first_line(error)}.",
            "The file may be damaged: fetch it again.",
        ) from error
    if weights_file := next(filter(None, weights), None):
        # model.safetensors was checked and fingerprinted, and would not be the file loaded.
        raise DepthError(
            f"{folder / 'config.json'} names {short_repr(weights_file)} as the model's weights.",
            "Call that file model.safetensors, and take transformers_weights out of config.json.",
        )
    if layers is None:
        raise DepthError(
            f"The configuration of {folder.name} ({kind}) does not say how many layers read text.",
            "depthtui measures decoders with one list of layers.",
        )
    if not isinstance(layers, int) or not 0 < layers <= _MOST_LAYERS:
        raise DepthError(
            f"{folder / 'config.json'} asks for {short_repr(layers)} layers.",
            "The file may be damaged: fetch it again.",
        )
    return config


def needs_code(folder: Path, part: str) -> NeedsCode:
    """The error for a model that only runs with Python code of its own.

    Args:
        folder: the model's.
        part: what the code implements, such as the architecture's name.
    """
    return NeedsCode(
        f"{folder.name} ({part}) needs Python code of its own, "
        "which could do anything on this machine.",
        HOW_TO_TRUST,
        str(folder),
    )


def _check_fetches_no_kernel(folder: Path, config: PreTrainedConfig) -> None:
    """Check that attention is one of transformers' own, not a program fetched from the hub."""
    parts = (getattr(config, name, None) for name in config.sub_configs)
    for part in (config, *parts):
        name = getattr(part, "_attn_implementation", None)
        if isinstance(name, str) and "/" in name:
            raise DepthError(
                f"{folder / 'config.json'} asks for the attention kernel {short_repr(name)}, a "
                "program that would be fetched from the hub.",
                "Take attn_implementation out of that file, or allow it with --trust-remote-code.",
            )


def _check_is_causal(folder: Path, config: PreTrainedConfig) -> None:
    classes = [str(architecture) for architecture in config.architectures or ()]
    class_name = classes[0] if classes else config.model_type
    hint = "Choose a decoder-only model, such as one whose class ends in ForCausalLM."
    if getattr(config, "is_encoder_decoder", False):
        raise DepthError(f"{folder.name} ({class_name}) is an encoder-decoder.", hint)
    reads_both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not any(
        kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in classes
    )
    if not has_auto_class(config) or reads_both_ways:
        raise DepthError(f"{folder.name} ({class_name}) is no causal language model.", hint)
    if classes and all(_ANOTHER_TASK.search(kind) for kind in classes):
        raise DepthError(
            f"{folder.name} ({class_name}) was made for another task than to predict tokens.", hint
        )
