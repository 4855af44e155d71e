"""Tiny models that run their blocks several times in one pass, in the shapes that are published.

Ouro (arXiv 2510.25741) runs all blocks in each pass, and its final norm between passes. Huginn
(arXiv 2502.05171) runs a prelude once, mixes what it writes into the state before each pass of the
core, and runs a coda behind.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

PASSES = 3


class LoopedLayer(LlamaDecoderLayer):
    """A block whose keys and values lie apart for each pass."""

    def forward(self, hidden_states, slot=0, **kwargs):
        self.self_attn.layer_idx = slot
        return super().forward(hidden_states, **kwargs)


class NormedModel(LlamaModel):
    """All blocks run in each pass, with the final norm behind each pass."""

    passes = PASSES

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(
            LoopedLayer(config, index) for index in range(config.num_hidden_layers)
        )

    def forward(self, input_ids=None, cache=None, use_cache=None, **kwargs):
        cache = DynamicCache() if use_cache and cache is None else cache
        states = self.embed_tokens(input_ids)
        beside = self._beside(states, cache)
        for turn in range(PASSES):
            for index, layer in enumerate(self.layers):
                slot = turn * len(self.layers) + index
                states = layer(states, slot=slot, cache=cache, **beside)
            states = self.norm(states)
        return BaseModelOutputWithPast(last_hidden_state=states, cache=cache)

    def _beside(self, states, cache):
        past = cache.get_seq_length() if cache is not None else 0
        position_ids = (torch.arange(states.shape[1]) + past)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=states,
            attention_mask=None,
            cache=cache,
            position_ids=position_ids,
        )
        return {
            "attention_mask": mask,
            "position_embeddings": self.rotary_emb(states, position_ids=position_ids),
        }


class InjectedModel(NormedModel):
    """A block before, a block behind, and those between in passes that read the first one again."""

    passes = 1  # of the whole list

    def __init__(self, config):
        super().__init__(config)
        width = config.hidden_size
        self.adapter = nn.Linear(2 * width, width, bias=False)

    def forward(self, input_ids=None, cache=None, use_cache=None, **kwargs):
        cache = DynamicCache() if use_cache and cache is None else cache
        embedded = self.embed_tokens(input_ids)
        beside = self._beside(embedded, cache)
        first, *core, last = self.layers
        injected = first(embedded, slot=0, cache=cache, **beside)
        states, slot = injected, 1
        for _ in range(PASSES):
            states = self.adapter(torch.cat([states, injected], dim=-1))
            for layer in core:
                states, slot = layer(states, slot=slot, cache=cache, **beside), slot + 1
        states = self.norm(last(states, slot=slot, cache=cache, **beside))
        return BaseModelOutputWithPast(last_hidden_state=states, cache=cache)


class LoopedForCausalLM(LlamaForCausalLM):
    """A causal LM on one of these."""

    def __init__(self, config: LlamaConfig, kind: type[NormedModel] = NormedModel) -> None:
        super().__init__(config)
        self.model = kind(config)
        self.passes = kind.passes
        self.post_init()
