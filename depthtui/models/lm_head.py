"""The LM head of a model."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def lm_head(model: PreTrainedModel) -> nn.Module | None:
    """The module that makes logits, the model's own or that of a model inside it, or None."""
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            head: nn.Module | None = part.get_output_embeddings()  # type: ignore[no-untyped-call]
            if head is not None:
                return head
    return None
