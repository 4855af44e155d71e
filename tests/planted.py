"""Models whose use of depth is known, since it was planted: copies of Llama-like ones."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Mapping, Sequence

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tests.naive import blocks


def with_idle(model: PreTrainedModel, before: Sequence[int]) -> tuple[PreTrainedModel, list[int]]:
    """A copy with layers that write nothing put between its own.

    Args:
        model: stays as it is.
        before: for each new layer, the layer of the model that it stands before; L for one at the
            end.

    Returns:
        the copy, and the numbers of its new layers.
    """
    planted = copy.deepcopy(model)
    layers: list[nn.Module] = []
    numbers = []
    own = list(blocks(planted))
    for place in range(len(own) + 1):
        for _ in range(list(before).count(place)):
            numbers.append(len(layers))
            layers.append(_silent(own[min(place, len(own) - 1)]))
        layers += own[place : place + 1]
    return _of_layers(planted, layers), numbers


def working_only_in(model: PreTrainedModel, gains: Mapping[int, float]) -> PreTrainedModel:
    """A copy in which some layers write so many times as much, and all others nothing."""
    planted = copy.deepcopy(model)
    for number, block in enumerate(blocks(planted)):
        _scale(block, gains.get(number, 0.0))
    return planted


def without_writes(model: PreTrainedModel, layers: Collection[int]) -> PreTrainedModel:
    """A copy in which some layers write nothing."""
    own = range(len(blocks(model)))
    return working_only_in(model, {number: 1.0 for number in own if number not in layers})


def in_halves(model: PreTrainedModel, layer: int) -> PreTrainedModel:
    """A copy in which a layer stands twice in a row, and each writes half."""
    planted = copy.deepcopy(model)
    own = list(blocks(planted))
    _scale(own[layer], 0.5)
    return _of_layers(planted, [*own[:layer], copy.deepcopy(own[layer]), *own[layer:]])


def with_neighbours_swapped(model: PreTrainedModel, layer: int) -> PreTrainedModel:
    """A copy in which a layer and the next one stand in each other's place."""
    planted = copy.deepcopy(model)
    own = list(blocks(planted))
    own[layer : layer + 2] = reversed(own[layer : layer + 2])
    return _of_layers(planted, own)


def rotated(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """A copy whose residual stream has another basis: what it computes stays the same.

    Norms weigh each direction of the stream, so that their weights go into the matrices behind
    them before these are turned.
    """
    planted = copy.deepcopy(model)
    inner = planted.model
    width = planted.config.hidden_size
    noise = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=noise, dtype=torch.float64))[0]

    def read_by(norm: nn.Module, *readers: nn.Linear) -> None:
        for reader in readers:
            reader.weight.copy_((reader.weight.double() * norm.weight.double()) @ turn)
        norm.weight.fill_(1.0)

    def written_by(*writers: nn.Linear) -> None:
        for writer in writers:
            writer.weight.copy_(turn.T @ writer.weight.double())
            if writer.bias is not None:
                writer.bias.copy_(writer.bias.double() @ turn)

    with torch.no_grad():
        if planted.lm_head.weight is inner.embed_tokens.weight:
            planted.lm_head.weight = nn.Parameter(inner.embed_tokens.weight.clone(), False)
            planted.config.tie_word_embeddings = False
        for block in blocks(planted):
            attention, mlp = block.self_attn, block.mlp
            read_by(block.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj)
            read_by(block.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
            written_by(attention.o_proj, mlp.down_proj)
        read_by(inner.norm, planted.lm_head)
        inner.embed_tokens.weight.copy_(inner.embed_tokens.weight.double() @ turn)
    return planted


def _drawn_direction(model: PreTrainedModel) -> torch.Tensor:
    """A direction of the residual stream, always the same of a width; of length 1."""
    noise = torch.Generator().manual_seed(0)
    drawn = torch.randn(model.config.hidden_size, generator=noise)
    return drawn / drawn.norm()


def with_cancelling_pair(model: PreTrainedModel, before: int, size: float) -> PreTrainedModel:
    """A copy with two layers that undo each other: one adds a vector, the next takes it away.

    Either alone is missed, both together are not.

    Args:
        model: stays as it is.
        before: the layer that they stand before.
        size: the vector's length.
    """
    planted, (first, second) = with_idle(model, [before, before])
    vector = size * _drawn_direction(planted)
    for number, written in ((first, vector), (second, -vector)):
        _write_always(blocks(planted)[number], written)
    return planted


def with_spare(model: PreTrainedModel, before: int, size: float) -> PreTrainedModel:
    """A copy with two layers of which one suffices: both write a vector, the second if it lacks.

    Args:
        model: stays as it is.
        before: the layer that they stand before.
        size: the vector's length.
    """
    planted, (first, second) = with_idle(model, [before, before])
    direction = _drawn_direction(planted)
    _write_always(blocks(planted)[first], size * direction)
    block = blocks(planted)[second]
    mlp = block.mlp
    with torch.no_grad():
        for module in (mlp.gate_proj, mlp.up_proj, mlp.down_proj):
            module.weight.zero_()
        # The gate closes where the vector is there: a neuron reads how much of the stream it is.
        steep, open_ = 40.0, 60.0
        mlp.gate_proj.weight[0] = -steep * direction / block.post_attention_layernorm.weight
        mlp.gate_proj.bias = _bias(len(mlp.gate_proj.weight), open_)
        mlp.up_proj.bias = _bias(len(mlp.up_proj.weight), 1.0)
        mlp.down_proj.weight[:, 0] = size * direction / open_
    return planted


def blind_to(model: PreTrainedModel, direction: int) -> PreTrainedModel:
    """A copy in which nothing reads one direction of the residual stream."""
    planted = copy.deepcopy(model)
    norms = [planted.model.norm]
    for block in blocks(planted):
        norms += [block.input_layernorm, block.post_attention_layernorm]
    with torch.no_grad():
        for norm in norms:
            norm.weight[direction] = 0.0
    return planted


def with_unread_layer(
    model: PreTrainedModel, direction: int, before: int, size: float
) -> PreTrainedModel:
    """A copy of `blind_to` with a layer that writes there, where nothing reads."""
    planted, (number,) = with_idle(blind_to(model, direction), [before])
    vector = torch.zeros(planted.config.hidden_size)
    vector[direction] = size
    _write_always(blocks(planted)[number], vector)
    return planted


def with_facts(
    model: PreTrainedModel,
    before: int,
    keys: torch.Tensor,
    others: torch.Tensor,
    written: torch.Tensor,
) -> PreTrainedModel:
    """A copy with a layer that alone knows some facts.

    Args:
        model: stays as it is.
        before: the layer that it stands before.
        keys: the states in front of that layer where a fact is asked for, `[facts, d]`.
        others: states at which the layer writes nothing, as at all that are like them, `[n, d]`.
        written: the vector that it adds at each of the `keys`, `[facts, d]`.
    """
    planted, (number,) = with_idle(model, [before])
    block, count = blocks(planted)[number], len(keys)
    read = block.post_attention_layernorm(torch.cat([keys, others])).double()
    # A neuron a fact: 1 where it is asked for, -1 elsewhere.
    wanted = torch.full((len(read), count), -1.0, dtype=torch.float64)
    wanted[:count].fill_diagonal_(1.0)
    weights = torch.ones(len(read), 1, dtype=torch.float64)
    weights[:count] = 100.0
    left, right = read * weights, wanted * weights
    ridge = torch.eye(read.shape[1], dtype=torch.float64)
    neurons = torch.linalg.solve(left.T @ left + ridge, left.T @ right).T.float()
    steep = 100.0
    with torch.no_grad():
        block.mlp.gate_proj.weight[:count] = steep * neurons
        block.mlp.up_proj.weight[:count] = neurons
        block.mlp.down_proj.weight[:, :count] = written.T / steep
    return planted


def _silent(block: nn.Module) -> nn.Module:
    """A copy of a layer that writes exactly nothing."""
    silent = copy.deepcopy(block)
    _scale(silent, 0.0)
    return silent


def _scale(block: nn.Module, gain: float) -> None:
    """Multiply what a layer's attention and MLP write."""
    mixer = block.linear_attn.out_proj if hasattr(block, "linear_attn") else block.self_attn.o_proj
    with torch.no_grad():
        for module in (mixer, block.mlp.down_proj):
            module.weight.mul_(gain)
            if module.bias is not None:
                module.bias.mul_(gain)


def _write_always(block: nn.Module, vector: torch.Tensor) -> None:
    """Let a silent layer add one vector to every token."""
    block.self_attn.o_proj.bias = nn.Parameter(vector, requires_grad=False)


def _bias(width: int, first: float) -> nn.Parameter:
    """A bias of one neuron alone."""
    bias = torch.zeros(width)
    bias[0] = first
    return nn.Parameter(bias, requires_grad=False)


def _of_layers(model: PreTrainedModel, layers: Sequence[nn.Module]) -> PreTrainedModel:
    """The model with other layers, numbered anew."""
    for number, block in enumerate(layers):
        block.self_attn.layer_idx = number
    model.model.layers = nn.ModuleList(layers)
    model.config.num_hidden_layers = len(layers)
    if kinds := getattr(model.config, "layer_types", None):
        model.config.layer_types = [kinds[0]] * len(layers)
    return model


def knowing_pairs(model: PreTrainedModel, ids: Sequence[int]) -> PreTrainedModel:
    """A copy without a working layer that knows which token follows each of a text.

    Args:
        model: stays as it is.
        ids: a text in which the same token follows a token each time.
    """
    planted = without_writes(model, range(len(blocks(model))))
    following = dict(itertools.pairwise(ids))
    read = planted.model.norm(planted.model.embed_tokens(torch.tensor(list(following))))
    head = torch.zeros_like(planted.lm_head.weight)
    # Each row alone answers to the token before it.
    head[list(following.values())] = 20.0 * torch.linalg.pinv(read).T
    planted.lm_head.weight = nn.Parameter(head, requires_grad=False)
    return planted


WORDS = ("a", "b", "c", "d", "e", "f", "g", "h")


def induction_model(
    layers: tuple[int, int] = (0, 1), fact: int | None = None, n_layers: int = 2, places: int = 16
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Two layers of two heads that go on as the text did before: after `a b … a` comes `b`.

    Head 0 of the first writes each token's predecessor beside it; head 1 of the second looks for
    the place whose predecessor is the token at hand, and writes the token that is there. All other
    weights are zero, those of a third layer aside, which knows that `h` follows `g`.

    Args:
        layers: the two layers.
        fact: the layer that knows what follows `g`; None for none.
        n_layers: all of them; the others are idle.
        places: the longest text, in tokens, 24 at most.
    """
    count = len(WORDS)
    token, place, before, output = (
        slice(0, count),
        slice(count, count + places),
        slice(count + places, 2 * count + places),
        slice(2 * count + places, 3 * count + places),
    )
    width, head = 3 * count + places, (3 * count + places) // 2
    config = GPT2Config(
        vocab_size=count,
        n_positions=places,
        n_embd=width,
        n_layer=n_layers,
        n_head=2,
        bos_token_id=0,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
        eye = torch.eye(max(count, places))
        model.transformer.wte.weight[:, token] = eye[:count, :count]
        model.transformer.wpe.weight[:, place] = eye[:places, :places]
        model.lm_head.weight[:, output] = eye[:count, :count]
        first, second = (model.transformer.h[layer].attn for layer in layers)
        queries, keys, values = (slice(n * width, n * width + head) for n in range(3))
        # A place looks for the one before: its key is that of the next.
        first.c_attn.weight[place, queries][:, :places] = 8 * eye[:places, :places]
        first.c_attn.weight[place, keys][:, :places] = 8 * eye[:places, :places].roll(1, dims=1)
        first.c_attn.weight[token, values][:, :count] = eye[:count, :count]
        first.c_proj.weight[:count, before] = 4 * eye[:count, :count]
        queries, keys, values = (slice(n * width + head, (n + 1) * width) for n in range(3))
        second.c_attn.weight[token, queries][:, :count] = 20 * eye[:count, :count]
        second.c_attn.weight[before, keys][:, :count] = 20 * eye[:count, :count]
        second.c_attn.weight[token, values][:, :count] = eye[:count, :count]
        second.c_proj.weight[head : head + count, output] = 8 * eye[:count, :count]
        if fact is not None:
            known, following = WORDS.index("g"), WORDS.index("h")
            mlp = model.transformer.h[fact].mlp
            mlp.c_fc.weight[known, 0] = 4.0
            mlp.c_fc.bias[0] = -4.0
            mlp.c_proj.weight[0, output][following] = 4.0
    return model.eval().requires_grad_(False), tokenizer_of(WORDS)


def tokenizer_of(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each word, between spaces."""
    core = Tokenizer(WordLevel(dict(zip(words, itertools.count())), unk_token=words[0]))
    core.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core)
