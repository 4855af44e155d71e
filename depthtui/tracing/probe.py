"""Finds where an architecture writes to its residual stream, checked by arithmetic.

Names only propose which modules' outputs are the attention's and the MLP's; one
probe forward decides: `h + a + m` must be `h_next` at every layer. Where no proposal
adds up, whole layers are still measured and the split is unavailable, with the reason.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from depthtui.errors import DepthError
from depthtui.models.lm_head import lm_head
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import Anatomy, Sublayer, Tap, Unembedding
from depthtui.tracing.carried import CarriedStreams
from depthtui.tracing.earlier_reads import find_carried
from depthtui.tracing.layer_runs import (
    LayerRun,
    ModuleCall,
    ProbePass,
    modules_between,
    probe_pass,
    why_not_alone,
)
from depthtui.tracing.modules import first_tensor, hooks, text_config
from depthtui.tracing.products import raw_logits
from depthtui.tracing.rounding import MOST_ROUNDINGS, one_rounding, roundings
from depthtui.tracing.states_readout import StatesReadout

_SANDWICH = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),
    ("post_self_attn_layernorm", "post_mlp_layernorm"),
    ("post_attention_layernorm", "post_mlp_layernorm"),
    ("post_norm1", "post_norm2"),
    ("post_operator_norm", "post_ffn_norm"),
    ("attn_sconv", "mlp_sconv"),
)
"""Modules after the sublayers, tried first: their outputs are added to the stream."""

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
    "multi_head_attention",
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
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")

_READS_MORE = "a layer reads more than what the one before it has written"

_RULED_OUT = -1e30
"""Logits below this are no output of an LM head: the model has set them itself."""

_MOST_ADDED = 2.0
"""Largest error of a handful of additions, in roundings; measured up to 1.3 in 16 bits."""


def probe_architecture(model: nn.Module) -> Anatomy:
    """Take a causal LM apart and check every part on one probe forward.

    Raises:
        DepthError: the layers do not read and write residual streams `[1, T, d]`.
    """
    probe = probe_pass(model)
    runs = probe.runs
    _check_numbers(runs, probe.logits)
    between = modules_between(runs)
    _check_layers_follow(runs, between)
    replay_missing = why_not_alone(model, probe)
    if () in between.values():
        replay_missing = _READS_MORE
    carried = find_carried(model, probe) if replay_missing else None
    if carried is not None:
        replay_missing = ""
    split = _find_split(runs)
    unembedding, lens_missing = _find_unembedding(model, probe, carried)
    if unembedding is None and carried is None and not replay_missing:
        # Layers may read only the last stream where the readout reads more.
        carried_for_readout = find_carried(model, probe)
        if carried_for_readout is not None and carried_for_readout.readout_reads:
            carried = carried_for_readout
            unembedding, lens_missing = _find_unembedding(model, probe, carried)
    parallel = bool(split.attention) and _is_parallel(model, split, probe.ids)
    modules = [
        _modules_of(run, attention, mlp, parallel)
        for run, attention, mlp in zip(
            runs, split.attention, split.mlp, strict=bool(split.attention)
        )
    ]
    return Anatomy(
        layers=tuple(run.block for run in runs),
        attention=split.attention,
        mlp=split.mlp,
        split_missing=split.problem,
        parallel=parallel,
        attention_modules=tuple(attention for attention, _ in modules),
        mlp_modules=tuple(mlp for _, mlp in modules),
        unembedding=unembedding,
        lens_missing=lens_missing,
        replay_missing=replay_missing,
        closure_error=split.error,
        streams=runs[0].streams,
        between=between,
        calls=_calls(runs),
        width=runs[0].before.shape[-1],
        carried=carried,
    )


def _calls(runs: Sequence[LayerRun]) -> tuple[tuple[int, int], ...]:
    """The pass and the block of each layer; empty where every block runs once."""
    blocks = list(dict.fromkeys(run.block for run in runs))
    if len(blocks) == len(runs):
        return ()
    passes = dict.fromkeys(blocks, 0)
    calls = []
    for run in runs:
        passes[run.block] += 1
        calls.append((passes[run.block], blocks.index(run.block)))
    return tuple(calls)


def _check_layers_follow(
    runs: Sequence[LayerRun], between: Mapping[int, tuple[nn.Module, ...]]
) -> None:
    """Check that the modules are layers: any of them reads the output of the module before.

    Raises:
        DepthError: no layer does; the list may be one of attentions alone.
    """
    if len(runs) > 1 and all(between.get(layer) == () for layer in range(1, len(runs))):
        raise DepthError(
            f"No layer ({type(runs[0].block).__name__}) reads what the one before has written.",
            "depthtui measures decoders whose layers hand a residual stream on.",
        )


def _check_numbers(runs: Sequence[LayerRun], logits: Tensor) -> None:
    """Check that the layers' outputs are finite numbers, and the logits numbers.

    A logit may be infinite: some models rule tokens out in this way.

    Raises:
        DepthError: a value is not; the error names the first such layer.
    """
    help_text = (
        "Where --dtype is float16, use --dtype float32; else the model's weights or config.json "
        "are damaged: fetch them again, or return to a checkpoint from before training diverged."
    )
    for index, run in enumerate(runs):
        if not run.after.isfinite().all():
            name = f"layer {index} ({type(run.block).__name__})"
            raise DepthError(f"What {name} writes is infinite or no number.", help_text)
    if logits.isnan().any():
        raise DepthError("What the model puts out is no number.", help_text)


@dataclass
class _Split:
    attention: tuple[Sublayer, ...] = ()
    mlp: tuple[Sublayer, ...] = ()
    problem: str = ""
    error: float = float("nan")


@dataclass
class _Attempt:
    """The sublayers of one layer under one proposal, and their closure error."""

    attention: Sublayer
    mlp: Sublayer
    error: float
    closes: bool


_Modules = tuple[nn.Module, ...]


def _find_split(runs: Sequence[LayerRun]) -> _Split:
    if runs[0].streams > 1:
        return _Split(problem=f"its layers mix {runs[0].streams} residual streams")
    attempts: list[_Attempt] = []
    for index, run in enumerate(runs):
        layer, layer_attempts = run.block, list[_Attempt]()
        for attempt in _attempts(run):
            layer_attempts.append(attempt)
            if attempt.closes:
                break
        if not layer_attempts:
            name = type(layer).__name__
            return _Split(problem=f"{name} has no attention and MLP modules that depthtui knows")
        if not layer_attempts[-1].closes:
            best = min(layer_attempts, key=lambda attempt: attempt.error)
            names = [_child_name(layer, tap.module) for tap in (*best.attention, *best.mlp)]
            return _Split(
                problem=f"what {', '.join(names[:-1])} and {names[-1]} write in layer {index} does "
                f"not add up to the layer's change (off by {best.error:.1%})"
            )
        attempts.append(layer_attempts[-1])
    return _Split(
        attention=tuple(attempt.attention for attempt in attempts),
        mlp=tuple(attempt.mlp for attempt in attempts),
        error=max(attempt.error for attempt in attempts),
    )


def _proposals(layer: nn.Module) -> Iterator[tuple[_Modules, _Modules]]:
    """Which modules may write the attention and the MLP: each alone first, then with a second."""
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


def _attempts(run: LayerRun) -> Iterator[_Attempt]:
    h, h_next = run.before, run.after
    for attention, mlp in _proposals(run.block):
        modules = (*attention, *mlp)
        if not all(module in run.calls for module in modules):
            continue
        calls = [run.calls[module] for module in modules]
        if any(call.output.numel() != h.numel() for call in calls):
            continue
        for taps in _readings(modules, calls, h, h_next):
            error, closes = _closure(taps, calls, h, h_next)
            yield _Attempt(taps[: len(attention)], taps[len(attention) :], error, closes)


def _readings(
    modules: _Modules, calls: list[ModuleCall], h: Tensor, h_next: Tensor
) -> Iterator[tuple[Tap, ...]]:
    """The ways in which the modules' outputs may contain the writes."""
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


def _second_argument_is_residual(call: ModuleCall, like: Tensor) -> bool:
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
    # Five digits give a constant of the architecture, not a fit of the rounding.
    return [float(f"{value:.5g}") for value in solution.tolist()]


def _closure(
    taps: tuple[Tap, ...], calls: list[ModuleCall], h: Tensor, h_next: Tensor
) -> tuple[float, bool]:
    """The error of h plus the writes, over |h_next|, and whether rounding explains it."""
    writes = [tap.write(call.args, call.output, h) for tap, call in zip(taps, calls, strict=True)]
    parts = [part.cpu().double() for part in (h, *writes, h_next)]
    miss = sum(parts[1:-1], parts[0]) - parts[-1]
    error = float(miss.abs().max() / parts[-1].abs().max().clamp(min=1e-30))
    off = roundings(miss, parts, _coarsest(h, *writes, h_next)).max()
    return error, bool(off <= _MOST_ADDED)


def _is_rounding(values: Tensor, expected: Tensor, dtype: torch.dtype, most: float) -> bool:
    """Whether two computations of `[..., d]` differ by rounding alone, at every token."""
    typical = expected.float().square().mean(dim=-1, keepdim=True).sqrt()
    miss = values.float() - expected.float()
    return bool(roundings(miss, (expected, typical), dtype).max() <= most)


def _modules_of(
    run: LayerRun, attention: Sublayer, mlp: Sublayer, parallel: bool
) -> tuple[_Modules, _Modules]:
    """A layer's modules that lead to its attention's write, and those that lead to its MLP's.

    A module that runs before both, and whose output both read in a parallel block, is in neither.
    """
    inside = list(run.calls)
    places = [[inside.index(tap.module) for tap in sublayer] for sublayer in (attention, mlp)]
    first, second = sorted(places, key=max)
    earlier = tuple(inside[min(first) if parallel else 0 : max(first) + 1])
    later = tuple(inside[max(first) + 1 : max(second) + 1])
    return (earlier, later) if places[0] == first else (later, earlier)


class _LayerDone(Exception):
    """Ends the probe once its first layer has run."""


def _is_parallel(model: nn.Module, split: _Split, ids: Tensor) -> bool:
    """Whether layer 0's MLP ignores its attention: skip the attention, see if the MLP changes."""
    attention, mlp = split.attention[0], split.mlp[0][0]

    def mlp_output(skip: bool) -> Tensor:
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            value = first_tensor(output).clone()
            outputs.append(value - args[1] if mlp.holds_residual else value)
            raise _LayerDone

        with torch.no_grad(), hooks() as handles:
            if skip:
                handles.extend(tap.silence() for tap in attention)
            handles.append(mlp.module.register_forward_hook(keep))
            with contextlib.suppress(_LayerDone):
                model(input_ids=ids, use_cache=False)
        return outputs[0]

    with_attention, without_attention = mlp_output(skip=False), mlp_output(skip=True)
    return _is_rounding(
        without_attention, with_attention, _coarsest(with_attention), MOST_ROUNDINGS
    )


def _find_unembedding(
    model: nn.Module, probe: ProbePass, carried: CarriedStreams | None
) -> tuple[Unembedding | None, str]:
    assert isinstance(model, PreTrainedModel)
    head = lm_head(model)
    if head is None:
        return None, "the model has no LM head"
    target, last = probe.logits.float(), _last_state(probe, carried)
    if (target.isfinite() & (target < _RULED_OUT)).any():
        return None, "the model rules out tokens that its LM head has logits of"
    dtype = _coarsest(probe.logits, last)
    for candidate in _unembeddings(model, head, probe, carried):
        raw = _raw_logits(candidate, last)
        if raw is None or raw.shape != target.shape:
            continue
        for scale in _scales(text_config(model), candidate, raw, target):
            scaled_candidate = replace(candidate, scale=scale)
            logits = scaled_candidate.finish(raw.clone())
            if _is_rounding(logits.to(target.device), target, dtype, _MOST_ADDED):
                return scaled_candidate, ""
    return None, "final norm and LM head do not reproduce the model's own logits"


def _last_state(probe: ProbePass, carried: CarriedStreams | None) -> Tensor:
    """The readout's input, `[1, T, D]`."""
    streams = [probe.runs[0].before, *(run.after for run in probe.runs)]
    last = len(streams) - 1
    return streams[last] if carried is None else carried.state(last, streams.__getitem__)


def _raw_logits(candidate: Unembedding, residual: Tensor) -> Tensor | None:
    """The head's own output, or None where the candidate's modules do not fit together."""
    with torch.no_grad():
        try:
            return raw_logits(candidate.head, candidate.normed(residual)).float()
        except (RuntimeError, TypeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            return None


def _scales(config: Any, candidate: Unembedding, raw: Tensor, target: Tensor) -> list[float]:
    """Constants by which the head's output may be multiplied before its soft-cap, best first.

    The logits decide between constants of the configuration. Where none of these fits, the
    constant is the best fit, to five digits.
    """
    expected, logits = target.to(raw.device).double(), raw.double()
    if cap := candidate.soft_cap:
        expected = cap * torch.atanh((expected / cap).clamp(-1 + 1e-7, 1 - 1e-7))
    is_finite = expected.isfinite() & logits.isfinite()
    size = float(logits[is_finite].square().sum())
    best = float((expected[is_finite] * logits[is_finite]).sum()) / size if size else 1.0
    values = [float(value) for value in vars(config).values() if type(value) in (int, float)]
    constants = {1.0, *values, *(1 / value for value in values if value)}
    near = [constant for constant in constants if abs(constant - best) < 0.01 * abs(best)]
    return [*sorted(near, key=lambda constant: abs(constant - best)), float(f"{best:.5g}")]


def _unembeddings(
    model: nn.Module, head: nn.Module, probe: ProbePass, carried: CarriedStreams | None
) -> Iterator[Unembedding]:
    """Candidates, those that the config suggests first: rounding can hide a soft-cap.

    Last the modules that ran after the layers, which may join several streams.
    """
    config, streams = text_config(model), probe.runs[-1].streams
    parents = [module for module in model.modules() if _has_layers(module, config)]
    beside = _siblings_of(model, head, probe)
    between = [(), *((module,) for module in beside), beside]
    norms: list[tuple[nn.Module, ...]] = []
    for parent in parents:
        children = dict(parent.named_children())
        after = tuple(children[name] for name in ("project_out",) if children.get(name))
        norms += [(children[name], *after) for name in _FINAL_NORM if children.get(name)]
        norms.append(after)
    norms = [probe.behind] if streams > 1 else [*norms, probe.behind]
    width = 0 if carried is None else carried.width
    mixes = carried is not None and carried.readout_reads
    if carried is not None and mixes:
        norms, width = [(StatesReadout(model, probe, carried),)], 0
    caps = [float(cap) for name in _SOFT_CAPS if (cap := getattr(config, name, None))]
    for norm, last, cap in itertools.product(norms, between, (*caps, 0.0)):
        yield Unembedding(
            (*norm, *last),
            head,
            soft_cap=cap,
            streams=streams,
            width=width,
            mixes_depths=mixes,
        )


def _has_layers(module: nn.Module, config: Any) -> bool:
    expected = getattr(config, "num_hidden_layers", None)
    return any(
        isinstance(child, nn.ModuleList) and len(child) == expected for child in module.children()
    )


def _siblings_of(model: nn.Module, head: nn.Module, probe: ProbePass) -> tuple[nn.Module, ...]:
    """The siblings of the LM head; they may run before it."""
    parents = [module for module in model.modules() if head in module.children()]
    siblings = [child for parent in parents for child in parent.children() if child is not head]
    block = probe.runs[0].block
    return tuple(
        sibling for sibling in siblings if all(part is not block for part in sibling.modules())
    )
