"""Adapters for tiny models, with weights that change what the model says; peft is an extra."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.tiny_models import tiny_tokenizer


def adapter_of(base: Path, folder: Path, **lora: Any) -> Path:
    """Save an adapter of the model in a folder, of LoRA on attention and MLP where not said."""
    from peft import LoraConfig, get_peft_model

    if not lora.keys() & {"target_modules", "target_parameters"}:
        lora["target_modules"] = ["q_proj", "v_proj", "down_proj"]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        config = LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, **lora)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                weight.data += 0.1 * torch.randn_like(weight)
        model.save_pretrained(folder)
    return folder


def merged_folder(
    base: Path, adapter: Path, folder: Path, dtype: torch.dtype = torch.float32
) -> Path:
    """Save a model with an adapter's weights merged, as peft's users do."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        model = PeftModel.from_pretrained(model, adapter)
        model.merge_and_unload().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def change_adapter(folder: Path, **changes: Any) -> Path:
    """Change fields of an adapter's configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder
