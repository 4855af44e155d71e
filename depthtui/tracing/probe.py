"""Finds where an architecture writes to its residual stream, checked by arithmetic.

Names only propose which modules' outputs are the attention's and the MLP's; one
probe forward decides: `h + a + m` must be `h_next` at every layer. Where nothing
proposed adds up, the layer level stays and the split is unavailable, with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.errors import DepthError
from depthtui.models.devices import execution_device
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import Anatomy, Sublayer, Tap, Unembedding
from depthtui.tracing.modules import find_layers, first_tensor, hidden_states, hooks, text_config
from depthtui.tracing.rounding import MOST_ROUNDINGS, one_rounding, roundings

_SANDWICH = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),
    ("post_self_attn_layernorm", "post_mlp_layernorm"),
    ("post_attention_layernorm", "post_mlp_layernorm"),
    ("post_norm1", "post_norm2"),
)
"""Norms after the sublayers, tried first: what follows them is what is added."""

_ATTENTION = (
    "self_attn",
    "attn",
    "attention",
    "self_attention",
    "linear_attn",
    "mixer",
    "mamba",
    "conv",
    "temporal_block",
)
_MLP = (
    "mlp",
    "feed_forward",
    "ffn",
    "block_sparse_moe",
    "moe",
    "shared_mlp",
    "mlp_block",
    "fc2",
)
_BESIDE = {
    "self_attn": "mamba",
    "block_sparse_moe": "shared_mlp",
    "post_feedforward_layernorm": "post_per_layer_input_norm",
}
"""A second module that may write for the same sublayer as the first."""

_FINAL_NORM = (
    "norm",
    "final_layernorm",
    "final_layer_norm",
    "ln_f",
    "norm_f",
    "final_norm",
    "embedding_norm",
    "layer_norm",
)
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")

_PROBE_TOKENS = 8

_MOST_ADDED = 2.0
"""What a handful of additions may miss, in roundings; measured up to 1.3 in 16 bits."""


def probe_architecture(model: nn.Module) -> Anatomy:
    """Take a causal LM apart and check every part on one probe forward.

    Raises:
        DepthError: the layers do not read and write one residual stream `[1, T, d]`.
    """
    layers = find_layers(model)
    probe = _probe(model, layers)
    split = _find_split(layers, probe)
    unembedding, lens_missing = _find_unembedding(model, probe)
    parallel = bool(split.attention) and _is_parallel(model, split, probe.ids)
    modules = [
        _modules_of(*writers, tuple(probe.calls), parallel)
        for writers in zip(layers, split.attention, split.mlp, strict=bool(split.attention))
    ]
    return Anatomy(
        layers=layers,
        attention=split.attention,
        mlp=split.mlp,
        split_missing=split.missing,
        parallel=parallel,
        attention_modules=tuple(attention for attention, _ in modules),
        mlp_modules=tuple(mlp for _, mlp in modules),
        unembedding=unembedding,
        lens_missing=lens_missing,
        replay_missing=probe.replay_missing,
        closure_error=split.error,
    )


@dataclass
class _Call:
    """One module's call in the probe."""

    args: tuple[Any, ...]
    output: Any


@dataclass
class _Probe:
    ids: Tensor
    before: list[Tensor]
    after: list[Tensor]
    calls: dict[nn.Module, _Call]
    logits: Tensor
    replay_missing: str


def _probe(model: nn.Module, layers: tuple[nn.Module, ...]) -> _Probe:
    """One forward that keeps every layer's ends and every candidate's output.

    Raises:
        DepthError: a layer runs more than once, not on one residual stream, or gives what is
            no number.
    """
    ids, recorded = _probe_ids(model), _Recorder(layers)
    with torch.no_grad(), recorded:
        logits = model(input_ids=ids, use_cache=False).logits
    for layer, read, written in zip(layers, recorded.read, recorded.written, strict=True):
        _check_stream(type(layer).__name__, ids, read, written)
    outputs = [written[0] for written in recorded.written]
    _check_numbers(layers, outputs, logits)
    # A layer's input still lies on the device of the layer before.
    inputs = [read[0].to(end.device) for read, end in zip(recorded.read, outputs, strict=True)]
    replay_missing = ""
    if recorded.grown and _read_each_other(model, layers, ids, logits, recorded.grown):
        replay_missing = "its layers hand on more to each other than the residual stream"
    return _Probe(ids, inputs, outputs, recorded.calls, logits, replay_missing)


def _probe_ids(model: nn.Module) -> Tensor:
    """A handful of tokens `[1, T]`, all different, where the model reads them."""
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    steps = torch.arange(_PROBE_TOKENS)
    ids = (steps * 7919 + 11) % embedding.num_embeddings
    return ids[None].to(execution_device(embedding))


class _Recorder:
    """Records what layers read and write, and what their children are called with, while open.

    Attributes:
        read, written: of each layer, its input and its output, once for each time that it ran.
        calls: of each child that gave a tensor, its last call.
    """

    def __init__(self, layers: tuple[nn.Module, ...]) -> None:
        self.read: list[list[Tensor]] = [[] for _ in layers]
        self.written: list[list[Tensor]] = [[] for _ in layers]
        self.calls: dict[nn.Module, _Call] = {}
        self._layers = layers
        self._mapping_sizes: list[dict[str, int]] = []
        self._hooks = contextlib.ExitStack()

    @property
    def grown(self) -> set[str]:
        """The arguments that are mappings which layers put something into."""
        sizes = self._mapping_sizes
        return {name for size in sizes for name in size if size[name] != sizes[0].get(name)}

    def __enter__(self) -> None:
        handles = self._hooks.enter_context(hooks())
        for index, layer in enumerate(self._layers):
            read = functools.partial(self._keep_read, index)
            written = functools.partial(self._keep_written, index)
            handles.append(layer.register_forward_pre_hook(read, with_kwargs=True))
            handles.append(layer.register_forward_hook(written))
            children = layer.children()
            handles.extend(child.register_forward_hook(self._keep_call) for child in children)

    def __exit__(self, *_error: object) -> None:
        self._hooks.close()

    def _keep_read(
        self, index: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.read[index].append(hidden_states(args, kwargs).clone())
        mappings = {k: len(v) for k, v in kwargs.items() if isinstance(v, MutableMapping)}
        self._mapping_sizes.append(mappings)

    def _keep_written(
        self, index: int, _layer: nn.Module, _args: tuple[Any, ...], output: Any
    ) -> None:
        self.written[index].append(first_tensor(output).clone())

    def _keep_call(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # Cloned: Falcon adds attention into the MLP's output in place afterwards.
        copies = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)
        value = first_tensor(output)
        if isinstance(value, Tensor):
            self.calls[module] = _Call(copies, value.clone())


def _read_each_other(
    model: nn.Module, layers: tuple[nn.Module, ...], ids: Tensor, logits: Tensor, names: set[str]
) -> bool:
    """Whether layers use what others have left in mappings, their arguments `names`.

    Some models of Gemma 4 share keys and values so; others only leave them there.
    """

    def empty(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs | {name: type(kwargs[name])() for name in names & kwargs.keys()}

    with torch.no_grad(), hooks() as handles:
        handles.extend(layer.register_forward_pre_hook(empty, with_kwargs=True) for layer in layers)
        try:
            found = model(input_ids=ids, use_cache=False).logits
        except (AttributeError, KeyError, TypeError):
            return True
    return not _is_rounding(found, logits, _coarsest(logits), MOST_ROUNDINGS)


def _check_stream(name: str, ids: Tensor, read: list[Tensor], written: list[Tensor]) -> None:
    """See that a layer `name` ran once, from one residual stream `[1, T, d]` to the same.

    Raises:
        DepthError: it did not.
    """
    hint = "depthtui measures decoders whose layers run once, on one residual stream."
    if len(read) > 1:
        raise DepthError(
            f"A layer ({name}) runs {len(read)} times in one forward pass: "
            "how deep it is has no one answer.",
            hint,
        )
    shapes = [tuple(states[0].shape) for states in (read, written) if states]
    tokens = tuple(ids.shape)
    if len(shapes) == 2 and all(len(shape) == 4 and shape[:2] == tokens for shape in shapes):
        raise DepthError(
            f"{name} reads and writes {shapes[0][2]} residual streams side by side.", hint
        )
    if len(shapes) < 2 or shapes[0] != shapes[1] or shapes[0][:-1] != tokens:
        raise DepthError(
            f"{name} does not read and write a residual stream of shape [1, tokens, width].", hint
        )


def _check_numbers(layers: tuple[nn.Module, ...], outputs: list[Tensor], logits: Tensor) -> None:
    """See that what the layers write are finite numbers, and the logits numbers.

    A logit may be infinite: some models rule tokens out by it.

    Raises:
        DepthError: they are not; the first such layer is named.
    """
    help_text = (
        "Where --dtype is float16, use --dtype float32; else the model's weights or config.json "
        "are damaged: fetch them again."
    )
    for index, (layer, output) in enumerate(zip(layers, outputs, strict=True)):
        if not output.isfinite().all():
            name = f"layer {index} ({type(layer).__name__})"
            raise DepthError(f"What {name} writes is infinite or no number.", help_text)
    if logits.isnan().any():
        raise DepthError("What the model puts out is no number.", help_text)


@dataclass
class _Split:
    attention: tuple[Sublayer, ...] = ()
    mlp: tuple[Sublayer, ...] = ()
    missing: str = ""
    error: float = float("nan")


@dataclass
class _Attempt:
    """The sublayers of one layer under one proposal, and by how much they miss closure."""

    attention: Sublayer
    mlp: Sublayer
    error: float
    closes: bool


_Modules = tuple[nn.Module, ...]


def _find_split(layers: tuple[nn.Module, ...], probe: _Probe) -> _Split:
    attempts: list[_Attempt] = []
    for index, layer in enumerate(layers):
        tried: list[_Attempt] = []
        for attempt in _attempts(layer, probe, index):
            tried.append(attempt)
            if attempt.closes:
                break
        if not tried:
            name = type(layer).__name__
            return _Split(missing=f"{name} has no attention and MLP modules that depthtui knows")
        if not tried[-1].closes:
            best = min(tried, key=lambda attempt: attempt.error)
            names = [_child_name(layer, tap.module) for tap in (*best.attention, *best.mlp)]
            return _Split(
                missing=f"what {', '.join(names[:-1])} and {names[-1]} write in layer {index} does "
                f"not add up to the layer's change (off by {best.error:.1%})"
            )
        attempts.append(tried[-1])
    return _Split(
        attention=tuple(attempt.attention for attempt in attempts),
        mlp=tuple(attempt.mlp for attempt in attempts),
        error=max(attempt.error for attempt in attempts),
    )


def _proposals(layer: nn.Module) -> Iterator[tuple[_Modules, _Modules]]:
    """Which modules may write the attention and the MLP: each alone first, then in company."""
    children = dict(layer.named_children())
    pairs = [*_SANDWICH, *itertools.product(_ATTENTION, _MLP)]
    present = [pair for pair in pairs if all(name in children for name in pair)]
    for pair in present:
        yield (children[pair[0]],), (children[pair[1]],)
    for pair in present:
        attention, mlp = (
            tuple(children[name] for name in (first, _BESIDE.get(first)) if name in children)
            for first in pair
        )
        if len(attention) + len(mlp) > 2:
            yield attention, mlp


def _child_name(layer: nn.Module, module: nn.Module) -> str:
    return next(name for name, child in layer.named_children() if child is module)


def _attempts(layer: nn.Module, probe: _Probe, index: int) -> Iterator[_Attempt]:
    h, h_next = probe.before[index], probe.after[index]
    for attention, mlp in _proposals(layer):
        modules = (*attention, *mlp)
        if not all(module in probe.calls for module in modules):
            continue
        calls = [probe.calls[module] for module in modules]
        if any(call.output.numel() != h.numel() for call in calls):
            continue
        for taps in _readings(modules, calls, h, h_next):
            error, closes = _closure(taps, calls, h, h_next)
            yield _Attempt(taps[: len(attention)], taps[len(attention) :], error, closes)


def _readings(
    modules: _Modules, calls: list[_Call], h: Tensor, h_next: Tensor
) -> Iterator[tuple[Tap, ...]]:
    """The ways in which the modules' outputs may hold what is added."""
    including = [
        (False, True) if _second_argument_is_residual(call, h) else (False,) for call in calls
    ]
    for flags in itertools.product(*including):
        yield tuple(
            Tap(module, holds_residual=flag) for module, flag in zip(modules, flags, strict=True)
        )
    dtype = _coarsest(h, h_next, *(call.output for call in calls))
    scales = _least_squares([call.output for call in calls], h, h_next, dtype)
    yield tuple(Tap(module, scale=scale) for module, scale in zip(modules, scales, strict=True))


def _second_argument_is_residual(call: _Call, like: Tensor) -> bool:
    return len(call.args) > 1 and getattr(call.args[1], "shape", None) == like.shape


def _coarsest(*tensors: Tensor) -> torch.dtype:
    return max((tensor.dtype for tensor in tensors), key=lambda dtype: torch.finfo(dtype).eps)


def _least_squares(
    outputs: list[Tensor], h: Tensor, h_next: Tensor, dtype: torch.dtype
) -> list[float]:
    """The constants that best explain the layer's change by the modules' outputs."""
    columns = torch.stack([output.reshape(-1).cpu().double() for output in outputs], dim=1)
    change = (h_next.cpu().double() - h.cpu().double()).reshape(-1, 1)
    sizes = [part.reshape(h.shape).cpu() for part in (h, *outputs, h_next)]
    rounding = one_rounding(sizes, dtype).double().reshape(-1, 1)
    solution = torch.linalg.lstsq(columns / rounding, change / rounding).solution.flatten()
    # Five digits: a constant of the architecture, not a fit of the rounding.
    return [float(f"{value:.5g}") for value in solution.tolist()]


def _closure(
    taps: tuple[Tap, ...], calls: list[_Call], h: Tensor, h_next: Tensor
) -> tuple[float, bool]:
    """By how much of |h_next| the writes miss it, and whether rounding explains that."""
    writes = [tap.write(call.args, call.output, h) for tap, call in zip(taps, calls, strict=True)]
    parts = [part.cpu().double() for part in (h, *writes, h_next)]
    miss = sum(parts[1:-1], parts[0]) - parts[-1]
    error = float(miss.abs().max() / parts[-1].abs().max().clamp(min=1e-30))
    off = roundings(miss, parts, _coarsest(h, *writes, h_next)).max()
    return error, bool(off <= _MOST_ADDED)


def _is_rounding(found: Tensor, expected: Tensor, dtype: torch.dtype, most: float) -> bool:
    """Whether two ways to the same numbers `[..., d]` differ by rounding alone, at every token."""
    typical = expected.float().square().mean(dim=-1, keepdim=True).sqrt()
    miss = found.float() - expected.float()
    return bool(roundings(miss, (expected, typical), dtype).max() <= most)


def _modules_of(
    layer: nn.Module, attention: Sublayer, mlp: Sublayer, called: _Modules, parallel: bool
) -> tuple[_Modules, _Modules]:
    """A layer's modules that lead to what its attention writes, and those to what its MLP does.

    What runs before both, and is read by both in a parallel block, belongs to neither.
    """
    children = set(layer.children())
    inside = [module for module in called if module in children]
    places = [[inside.index(tap.module) for tap in sublayer] for sublayer in (attention, mlp)]
    first, second = sorted(places, key=max)
    earlier = tuple(inside[min(first) if parallel else 0 : max(first) + 1])
    later = tuple(inside[max(first) + 1 : max(second) + 1])
    return (earlier, later) if places[0] == first else (later, earlier)


class _LayerDone(Exception):
    """Ends the probe once its first layer has run."""


def _is_parallel(model: nn.Module, split: _Split, ids: Tensor) -> bool:
    """Whether layer 0's MLP is deaf to its attention: skip one, see if the other changes."""
    attention, mlp = split.attention[0], split.mlp[0][0]

    def mlp_output(skip: bool) -> Tensor:
        kept: list[Tensor] = []

        def keep(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            value = first_tensor(output).clone()
            kept.append(value - args[1] if mlp.holds_residual else value)
            raise _LayerDone

        with torch.no_grad(), hooks() as handles:
            if skip:
                handles.extend(tap.silence() for tap in attention)
            handles.append(mlp.module.register_forward_hook(keep))
            with contextlib.suppress(_LayerDone):
                model(input_ids=ids, use_cache=False)
        return kept[0]

    heard, deaf = mlp_output(skip=False), mlp_output(skip=True)
    return _is_rounding(deaf, heard, _coarsest(heard), MOST_ROUNDINGS)


def _find_unembedding(model: nn.Module, probe: _Probe) -> tuple[Unembedding | None, str]:
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        return None, "the model has no LM head"
    target = probe.logits.float()
    dtype = _coarsest(probe.logits, probe.after[-1])
    for candidate in _unembeddings(model, head):
        with torch.no_grad():
            try:
                logits = candidate.logits(probe.after[-1])
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                continue
        if logits.shape != target.shape:
            continue
        if _is_rounding(logits.to(target.device), target, dtype, _MOST_ADDED):
            return candidate, ""
    return None, "final norm and LM head do not reproduce the model's own logits"


def _unembeddings(model: nn.Module, head: nn.Module) -> Iterator[Unembedding]:
    """Candidates, first those that the config hints at: rounding can hide a soft-cap."""
    config = text_config(model)
    parents = [module for module in model.modules() if _holds_layers(module, config)]
    norms: list[tuple[nn.Module, ...]] = []
    for parent in parents:
        children = dict(parent.named_children())
        after = tuple(children[name] for name in ("project_out",) if children.get(name))
        norms += [(children[name], *after) for name in _FINAL_NORM if children.get(name)]
        norms.append(after)
    scales = []
    if getattr(config, "logit_scale", None):
        scales.append(float(config.logit_scale))
    for name in ("logits_scaling", "lm_head_multiplier"):
        value = getattr(config, name, None)
        if value:
            scales += [1.0 / float(value), float(value)]
    caps = [float(cap) for name in _SOFT_CAPS if (cap := getattr(config, name, None))]
    for norm in norms:
        for scale in (*scales, 1.0):
            for cap in (*caps, 0.0):
                yield Unembedding(norm, head, scale, cap)


def _holds_layers(module: nn.Module, config: Any) -> bool:
    expected = getattr(config, "num_hidden_layers", None)
    return any(
        isinstance(child, nn.ModuleList) and len(child) == expected for child in module.children()
    )
