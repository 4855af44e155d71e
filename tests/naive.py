"""The metrics the slow and obvious way: one ordinary forward pass for each intervention.

Nothing here uses depthtui. A sublayer's write is measured by silencing, not by
reading its output: with the MLP's parameters at zero a layer's change is its
attention's write, and what is missing is the MLP's. The lens lets the model
itself speak from a depth: its last layer is made to return that residual.
"""

from __future__ import annotations

import copy
import functools
from contextlib import contextmanager

import gguf
import numpy as np
import torch

MLP_NAMES = (
    "mlp",
    "feed_forward",
    "ffn",
    "block_sparse_moe",
    "shared_mlp",
    "mlp_block",
    "fc2",
    "per_layer_input_gate",
)

ATTENTION_NAMES = (
    "self_attn",
    "self_attention",
    "attention",
    "attn",
    "linear_attn",
    "mamba",
    "conv",
    "temporal_block",
)


class Turn:
    """One of the calls of a block that runs several times in a pass."""

    def __init__(self, block, turn, turns):
        self.block, self.turn, self.turns = block, turn, turns

    def register_forward_pre_hook(self, function, **options):
        return self.block.register_forward_pre_hook(self._in_turn(function), **options)

    def register_forward_hook(self, function, **options):
        return self.block.register_forward_hook(self._in_turn(function), **options)

    def _in_turn(self, function):
        calls = iter(range(10**6))
        return lambda *call: function(*call) if next(calls) % self.turns == self.turn else None


def turns_of(order):
    """The calls of blocks, in the order in which they run."""
    return [
        Turn(block, order[:place].count(block), order.count(block))
        for place, block in enumerate(order)
    ]


def blocks(model):
    """The model's layers: the first list of the configured length, once for each pass.

    A model whose `order` is known has these calls of its blocks.
    """
    if hasattr(model, "order"):
        return turns_of(model.order)
    text = model.config.get_text_config(decoder=True)
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    # LongCat counts its layers twice: each has two attentions.
    counts = (text.num_hidden_layers, getattr(text, "num_layers", None))
    found = next(found for count in counts for found in lists if len(found) == count)
    passes = getattr(model, "passes", 1)
    if passes == 1:
        return found
    return turns_of([*found] * passes)


def states(output):
    """A layer's hidden states `[1, T, d]`; streams side by side as one, one behind the other."""
    return (output[0] if isinstance(output, tuple | list) else output).flatten(2)


def with_states(output, value):
    """A layer's output with other hidden states, in the shape of its own."""
    if isinstance(output, tuple | list):
        return type(output)((value.reshape(output[0].shape), *output[1:]))
    return value.reshape(output.shape)


def read_states(args, kwargs):
    """What a layer reads, as `states`."""
    return (args[0] if args else kwargs["hidden_states"]).flatten(2)


def with_read_states(args, kwargs, value):
    """A layer's arguments with other hidden states to read."""
    if args:
        return (value.reshape(args[0].shape), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": value.reshape(kwargs["hidden_states"].shape)}


@contextmanager
def hook(module, function, **options):
    handle = module.register_forward_hook(function, **options)
    try:
        yield
    finally:
        handle.remove()


def layer_ends(model, ids, layer):
    """What layer `layer` reads and what leaves it, each `[T, d]`, float64."""
    kept = {}

    def keep(_module, args, kwargs, output):
        kept["in"] = read_states(args, kwargs)[0].double().numpy().copy()
        kept["out"] = states(output)[0].double().numpy().copy()

    with torch.no_grad(), hook(blocks(model)[layer], keep, with_kwargs=True):
        model(input_ids=ids, use_cache=False)
    return kept["in"], kept["out"]


def mlp_parameters(model, layer):
    """The parameters of the MLP of layer `layer`."""
    block = blocks(model)[layer]
    writing = [module for name in MLP_NAMES if (module := getattr(block, name, None))]
    return [*torch.nn.ModuleList(writing).parameters()]


@contextmanager
def silent_mlp(model, layer):
    """Let layer `layer` have an MLP of zeros for a while."""
    parameters = mlp_parameters(model, layer)
    values = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.zero_()
        try:
            yield
        finally:
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)


def without_mlp(model, layer):
    """A copy of the model whose layer `layer` has an MLP of zeros."""
    silent = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in mlp_parameters(silent, layer):
            parameter.zero_()
    return silent


def layer_writes(model, ids, layer):
    """h, a, m and h_next of one layer, each `[T, d]`, float64."""
    h, h_next = layer_ends(model, ids, layer)
    with silent_mlp(model, layer):
        _, after_attention = layer_ends(model, ids, layer)
    return h, after_attention - h, h_next - after_attention, h_next


def naive_writes(model, ids):
    """h, a, m and h_next of every layer, each `[L, T, d]`, float64."""
    rows = [layer_writes(model, ids, layer) for layer in range(len(blocks(model)))]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def cosine(x, y):
    return (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))


def naive_contributions(h, a, m, h_next, parallel):
    """The paper's metric 1 from the writes, `[L, T]` each."""
    norm = np.linalg.norm
    before_mlp = h if parallel else h + a
    change = h_next - h

    def ratio(x, y):
        return norm(x, axis=-1) / np.maximum(norm(y, axis=-1), 1e-6)

    return {
        "attention_norm_ratio": ratio(a, h),
        "attention_cosine": cosine(a, h),
        "mlp_norm_ratio": ratio(m, before_mlp),
        "mlp_cosine": cosine(m, before_mlp),
        "layer_norm_ratio": ratio(change, h),
        "layer_cosine": cosine(change, h),
    }


def speak_from(model, ids, depth):
    """The model's log-probabilities `[T, V]` when its last layer returns h_depth, float64."""
    layers = blocks(model)
    if depth == len(layers):
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
    else:
        kept = {}

        def keep(_module, args, kwargs):
            kept["h"] = read_states(args, kwargs).clone()

        def replace(_module, _args, output):
            return with_states(output, kept["h"])

        handle = layers[depth].register_forward_pre_hook(keep, with_kwargs=True)
        with torch.no_grad(), hook(layers[-1], replace):
            logits = model(input_ids=ids, use_cache=False).logits
        handle.remove()
    return torch.log_softmax(logits[0].double(), dim=-1).numpy()


def naive_lens(model, ids, top_k):
    """KL, overlap, entropy, log-probability of the next token `[L+1, T]`; top ids `[L+1, T, k]`."""
    depths = [speak_from(model, ids, depth) for depth in range(len(blocks(model)) + 1)]
    final = depths[-1]
    best = [np.argsort(-estimate, axis=-1, kind="stable") for estimate in depths]
    following = [*ids[0, 1:].tolist(), 0]
    next_token = np.stack([q[np.arange(len(q)), following] for q in depths])
    next_token[:, -1] = np.nan
    return {
        "next_log_probability": next_token,
        "kl": np.stack([(np.exp(q) * (q - final)).sum(-1) for q in depths]),
        "entropy": np.stack([-(np.exp(q) * q).sum(-1) for q in depths]),
        "overlap": np.stack(
            [
                [
                    len(set(mine[:5]) & set(last[:5])) / 5
                    for mine, last in zip(b, best[-1], strict=True)
                ]
                for b in best
            ]
        ),
        "top_ids": np.stack([top[:, :top_k] for top in best]),
        "top_probabilities": np.stack(
            [
                np.exp(np.take_along_axis(q, b[:, :top_k], -1))
                for q, b in zip(depths, best, strict=True)
            ]
        ),
    }


def probabilities(model, ids, changes=(), dtype=torch.float64):
    """`[T, V]`, with changes: (layer, function of its input and output residuals)."""
    layers, handles, inputs = blocks(model), [], {}

    def keep(index):
        def pre(_module, args, kwargs):
            inputs[index] = read_states(args, kwargs).clone()

        return pre

    def change(index, function):
        def post(_module, _args, output):
            value = function(inputs[index], states(output).clone())
            return with_states(output, value)

        return post

    for index, function in changes:
        handles.append(layers[index].register_forward_pre_hook(keep(index), with_kwargs=True))
        handles.append(layers[index].register_forward_hook(change(index, function)))
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return torch.softmax(logits.to(dtype), dim=-1)


def layer_changes(model, ids, changes=(), dtype=torch.float64):
    """c_l of every layer under changes, `[L, T, d]`, and the output `[T, V]`."""
    layers, found = blocks(model), [None] * len(blocks(model))

    def watch(index):
        # Registered after the changes' hooks, so it sees what they made of the output.
        def post(_module, args, kwargs, output):
            before = read_states(args, kwargs)
            found[index] = states(output)[0].to(dtype) - before[0].to(dtype)

        return post

    changed = dict(changes)
    handles = []
    for index, layer in enumerate(layers):
        if index in changed:

            def skip(_module, args, kwargs, output, function=changed[index]):
                before = read_states(args, kwargs)
                value = function(before, states(output).clone())
                return with_states(output, value)

            handles.append(layer.register_forward_hook(skip, with_kwargs=True))
        handles.append(layer.register_forward_hook(watch(index), with_kwargs=True))
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found), torch.softmax(logits.to(dtype), dim=-1)


def skipping(position):
    """Skip at tokens 1 … t-1, or at all of them for t = 0."""

    def function(before, after):
        if position == 0:
            return before.clone()
        after[:, 1:position] = before[:, 1:position]
        return after

    return function


def naive_skip_effects(model, ids, positions, dtype=torch.float64):
    """E `[L, L]` and O `[L]`, one full forward for each layer and position."""
    count = len(blocks(model))
    clean, output = layer_changes(model, ids, (), dtype)
    effect, moved = torch.zeros(count, count), torch.zeros(count)
    for skipped in range(count):
        for position in positions:
            skip = [(skipped, skipping(position))]
            changed, changed_output = layer_changes(model, ids, skip, dtype)
            far = (changed - clean)[:, position:].norm(dim=-1)
            far = (far / clean[:, position:].norm(dim=-1).clamp(min=1e-6)).amax(dim=1).float()
            far[: skipped + 1] = 0
            effect[skipped] = torch.maximum(effect[skipped], far)
            away = (changed_output - output)[position:].norm(dim=-1).max().float()
            moved[skipped] = torch.maximum(moved[skipped], away)
    return effect.numpy(), moved.numpy()


def erased(model, ids, baseline, depth, tokens, dtype=torch.float64):
    """The output `[T, V]` with these tokens erased together at a depth."""

    def erase(value):
        value = value.clone()
        value[0, tokens] = baseline[depth]
        return value

    if depth > 0:
        change = [(depth - 1, lambda _before, after: erase(after))]
        return probabilities(model, ids, change, dtype)

    def pre(_module, args, kwargs):
        return with_read_states(args, kwargs, erase(read_states(args, kwargs)))

    handle = blocks(model)[0].register_forward_pre_hook(pre, with_kwargs=True)
    try:
        return probabilities(model, ids, (), dtype)
    finally:
        handle.remove()


def naive_erasures(model, ids, baseline, answer_start, places, dtype=torch.float64):
    """The effect of each depth and tokens erased together there: one full forward each."""
    clean = probabilities(model, ids, (), dtype)
    outputs = [erased(model, ids, baseline, *place, dtype) for place in places]
    return np.array(
        [float((output - clean)[answer_start - 1 : -1].norm(dim=-1).max()) for output in outputs]
    )


def naive_erasure(model, ids, baseline, answer_start, dtype=torch.float64):
    """R `[L+1, T]`, one full forward for each depth and token."""
    depths, tokens = len(blocks(model)) + 1, ids.shape[1]
    places = [(depth, [token]) for depth in range(depths) for token in range(tokens)]
    effects = naive_erasures(model, ids, baseline, answer_start, places, dtype)
    return effects.reshape(depths, tokens)


def naive_loss(model, ids, changes=()):
    """Mean negative log-likelihood in nats."""
    output = probabilities(model, ids, changes)
    return -float(output[:-1].gather(1, ids[0, 1:, None]).log().mean())


def token_losses(model, ids):
    """Negative log-likelihood of tokens 1 … T-1 in nats, `[T-1]`, float64."""
    return -probabilities(model, ids)[:-1].gather(1, ids[0, 1:, None])[:, 0].log().numpy()


@contextmanager
def hooks(handles):
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def naive_context_losses(model, ids, start, depth):
    """Losses `[T-1]` where the tokens before `start` skip the layers from `depth` on."""

    def stay(_module, args, kwargs, output):
        before = read_states(args, kwargs)
        after = states(output).clone()
        after[:, :start] = before[:, :start]
        return with_states(output, after)

    handles = [
        layer.register_forward_hook(stay, with_kwargs=True) for layer in blocks(model)[depth:]
    ]
    with hooks(handles):
        return token_losses(model, ids)


def naive_reordered_losses(model, ids, layer, swapped):
    """Losses `[T-1]` where a layer and the next one run side by side, or swapped.

    The first of the two does not work in its place: what the second is called with calls it too.
    """
    first, second = blocks(model)[layer : layer + 2]
    forwards, calls = (first.forward, second.forward), {}

    def pass_on(*args, **kwargs):
        output = forwards[0](*args, **kwargs)
        calls["first"] = args, kwargs
        return with_states(output, read_states(args, kwargs))

    def again(place, hidden):
        args, kwargs = calls[place]
        args, kwargs = with_read_states(args, kwargs, hidden)
        return states(forwards[place == "second"](*args, **kwargs))

    def both(*args, **kwargs):
        output = forwards[1](*args, **kwargs)
        calls["second"] = args, kwargs
        h = read_states(args, kwargs)
        after = states(output)
        value = again("first", after) if swapped else after + again("first", h) - h
        return with_states(output, value)

    first.forward, second.forward = pass_on, both
    try:
        return token_losses(model, ids)
    finally:
        first.forward, second.forward = forwards


def call_alone(model, ids, layer, change):
    """What layer `layer` adds, `[T, d]`, where its input alone is changed; nothing runs on."""
    kept = {}

    def pre(_module, args, kwargs):
        before = change(read_states(args, kwargs).clone())
        kept["in"] = before[0]
        return with_read_states(args, kwargs, before)

    def post(_module, _args, output):
        kept["out"] = states(output)[0].clone()

    block = blocks(model)[layer]
    handle = block.register_forward_pre_hook(pre, with_kwargs=True)
    with torch.no_grad(), hook(block, post):
        model(input_ids=ids, use_cache=False)
    handle.remove()
    return kept["out"] - kept["in"]


def naive_direct_effects(model, ids, positions):
    """D `[L, L]`: one ordinary forward for each source, reading layer and position."""
    count = len(blocks(model))
    written = [call_alone(model, ids, layer, lambda before: before) for layer in range(count)]
    effect = torch.zeros(count, count)
    for reader in range(count):
        for source in range(reader):
            for position in positions:

                def without(before, source=source, position=position):
                    unread = slice(1, position) if position else slice(None)
                    before[:, unread] -= written[source][unread]
                    return before

                found = call_alone(model, ids, reader, without)
                far = (found - written[reader])[position:].norm(dim=-1)
                far = far / written[reader][position:].norm(dim=-1).clamp(min=1e-6)
                effect[source, reader] = max(effect[source, reader], far.max())
    return effect.numpy()


def naive_answer(model, ids, count, left_out=None, part="layer"):
    """The most probable `count` tokens after `ids`: the whole text runs again for each.

    `left_out` is the layer that writes nothing; of its part `mlp`, a model without it runs.
    """
    model = without_mlp(model, left_out) if part == "mlp" and left_out is not None else model
    skipped = part == "layer" and left_out is not None
    changes = [(left_out, lambda before, _after: before)] if skipped else []
    for _ in range(count):
        chosen = probabilities(model, ids, changes)[-1].argmax()
        ids = torch.cat([ids, chosen[None, None]], dim=1)
    return ids[0, -count:].numpy()


def naive_without(model, ids, left_out):
    """Log-probabilities `[T, V]` with some layers left out at all tokens, float64."""

    def pass_through(_module, args, kwargs, output):
        return with_states(output, read_states(args, kwargs))

    layers = blocks(model)
    handles = [
        layers[layer].register_forward_hook(pass_through, with_kwargs=True) for layer in left_out
    ]
    with torch.no_grad(), hooks(handles):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return logits.double().log_softmax(dim=-1).numpy()


def naive_without_parts(model, ids, parts, means=None):
    """Log-probabilities `[T, V]` with some parts writing nothing, or means `[d]`, float64.

    Part 2l is the attention of layer l, part 2l + 1 its MLP; norms behind them have no bias.
    """

    def write_nothing(_module, args, output, mean=0):
        value = output[0] if isinstance(output, tuple) else output
        # BLOOM and MPT give a part the stream, to add its write to.
        beside = args[1] if len(args) > 1 and isinstance(args[1], torch.Tensor) else None
        is_stream = beside is not None and beside.shape == value.shape
        nothing = beside.clone() if is_stream else torch.zeros_like(value)
        return with_states(output, nothing + mean)

    layers = blocks(model)
    silent = [
        (module, 0 if means is None else torch.from_numpy(means[number]))
        for number, part in enumerate(parts)
        for name in (ATTENTION_NAMES, MLP_NAMES)[part % 2]
        if (module := getattr(layers[part // 2], name, None)) is not None
    ]
    handles = [
        module.register_forward_hook(functools.partial(write_nothing, mean=mean))
        for module, mean in silent
    ]
    with torch.no_grad(), hooks(handles):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return logits.double().log_softmax(dim=-1).numpy()


def naive_repeated(model, ids, first, last):
    """Log-probabilities `[T, V]` where layers `first` … `last` run twice, float64.

    The last of them does not return before all of them were called once more, in order, each with
    what it was called with at first, and the residual that comes now.
    """
    chosen = blocks(model)[first : last + 1]
    forwards, calls = [layer.forward for layer in chosen], {}

    def noting(place):
        def forward(*args, **kwargs):
            calls[place] = args, kwargs
            return forwards[place](*args, **kwargs)

        return forward

    def twice(*args, **kwargs):
        output = noting(len(chosen) - 1)(*args, **kwargs)
        hidden = states(output)
        for place, original in enumerate(forwards):
            args, kwargs = calls[place]
            args, kwargs = with_read_states(args, kwargs, hidden)
            hidden = states(original(*args, **kwargs))
        return with_states(output, hidden)

    for place, layer in enumerate(chosen):
        layer.forward = twice if layer is chosen[-1] else noting(place)
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        for layer, forward in zip(chosen, forwards, strict=True):
            layer.forward = forward
    return logits.double().log_softmax(dim=-1).numpy()


def naive_patched_logits(model, target, source, row, tokens, part="layer"):
    """The logits `[T, V]` of `target` with what `source` has in place at some tokens.

    Args:
        model: the model.
        target, source: ids `[1, T]`.
        row: the depth whose residual is put in; of a sublayer, its layer.
        tokens: where.
        part: `layer`, or the names of the modules of the layer that write the sublayer.
    """
    layers, kept = blocks(model), {}

    def keep_input(_module, args, kwargs):
        kept["h"] = read_states(args, kwargs).clone()

    def put_input(_module, args, kwargs):
        value = read_states(args, kwargs).clone()
        value[:, tokens] = kept["h"][:, tokens]
        return with_read_states(args, kwargs, value)

    def keep_output(_module, _args, output):
        kept["h"] = states(output).clone()

    def put_output(_module, _args, output):
        value = states(output).clone()
        value[:, tokens] = kept["h"][:, tokens]
        return with_states(output, value)

    def run(ids, at_input, at_output):
        if part != "layer":
            module = layers[row].get_submodule(part)
            handle = module.register_forward_hook(at_output)
        elif row < len(layers):
            handle = layers[row].register_forward_pre_hook(at_input, with_kwargs=True)
        else:
            handle = layers[-1].register_forward_hook(at_output)
        with torch.no_grad(), hooks([handle]):
            return model(input_ids=ids, use_cache=False).logits[0]

    run(source, keep_input, keep_output)
    return run(target, put_input, put_output)


_NOT_ROUNDED = (
    "norm",
    "router",
    "mlp.gate.weight",
    "shared_expert_gate",
    "feed_forward.gate.weight",
    "block_sparse_moe.gate",
)
_TURNED, _TURNED_STACKS = {"gpt2", "openai-gpt"}, {"gpt_oss"}
"""Models whose weights, or whose experts' stacked ones, have inputs before outputs."""


def naive_quantised(model, layer, bits):
    """A copy of the model one of whose layers has the weights that the gguf package stores."""
    kind = gguf.GGMLQuantizationType.Q8_0 if bits == 8 else gguf.GGMLQuantizationType.Q4_0
    found = copy.deepcopy(model)
    for name, weight in blocks(found)[layer].named_parameters():
        named = name.endswith(("weight", "gate_up_proj", "down_proj"))
        if weight.dim() < 2 or not named or any(word in name for word in _NOT_ROUNDED):
            continue
        is_turned = model.config.model_type in (_TURNED_STACKS if weight.dim() == 3 else _TURNED)
        rows = weight.detach().transpose(-1, -2) if is_turned else weight.detach()
        if rows.shape[-1] % 32 == 0:
            stored = gguf.quants.quantize(rows.contiguous().numpy(), kind)
            values = torch.from_numpy(gguf.quants.dequantize(stored, kind))
            weight.data = (values.transpose(-1, -2) if is_turned else values).contiguous()
    return found


def naive_choice(tokenizer, question, choices, logs_of):
    """The likeliest of some choices behind a question.

    Args:
        tokenizer: the model's.
        question, choices: texts.
        logs_of: returns log-probabilities `[T, V]` of token ids `[1, T]`.
    """
    scores, start = [], len(tokenizer(question)["input_ids"])
    for choice in choices:
        ids = torch.tensor([tokenizer(question + choice)["input_ids"]])
        log = logs_of(ids)
        scores.append(sum(log[t - 1, ids[0, t]] for t in range(start, ids.shape[1])))
    return choices[int(np.argmax(scores))]
