"""A step of a halted run as a sentence: the change that a layer made at a token."""

from __future__ import annotations

import math

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.contributions import Contributions
from depthtui.report.inspection_document import chance_words
from depthtui.token_text import printable


def step_words(result: RunResult, layer: int, token: int) -> str:
    """The change that a layer made at a token, if the layer has run.

    Names the prompt's next token, or after the last one the lens's first choice after the layer,
    with rank and probability before and after, and the sizes of the layer's outputs.
    """
    parts = [
        part for part in (_reading(result, layer, token), _sizes(result, layer, token)) if part
    ]
    text = printable(result.tokens.readable_texts[token])
    return f"Layer {layer} at '{text}': {'; '.join(parts)}" if parts else ""


def _reading(result: RunResult, layer: int, token: int) -> str:
    lens = result.get(LogitLens)
    if lens is None or lens.top_ids[layer + 1, token, 0] < 0:
        return ""
    last = token + 1 >= len(result.tokens)
    target = int(lens.top_ids[layer + 1, token, 0] if last else result.tokens.ids[token + 1])
    name = lens.vocabulary.get(target, "?") if last else result.tokens.readable_texts[token + 1]
    ranks = [_rank(lens, depth, token, target) for depth in (layer, layer + 1)]
    words = f"rank of '{printable(name)}' {ranks[0]} -> {ranks[1]}"
    chances = [_probability(lens, depth, token, last) for depth in (layer, layer + 1)]
    if all(not math.isnan(chance) for chance in chances):
        words += f", p {chance_words(chances[0])} -> {chance_words(chances[1])}"
    return words


def _rank(lens: LogitLens, depth: int, token: int, target: int) -> str:
    """The target's rank among the k tokens that the lens lists, 1 the first; `>k` beyond them."""
    listed = lens.top_ids[depth, token]
    places = np.flatnonzero(listed == target)
    return str(places[0] + 1) if len(places) else f">{len(listed)}"


def _probability(lens: LogitLens, depth: int, token: int, last: bool) -> float:
    if last:
        return math.nan
    return math.exp(float(lens.next_log_probability[depth, token]))


def _sizes(result: RunResult, layer: int, token: int) -> str:
    """The norms of the outputs of attention and MLP, or of the layer, over their inputs'."""
    contributions = result.get(Contributions)
    if contributions is None:
        return ""
    arrays = (
        contributions.attention_norm_ratio,
        contributions.mlp_norm_ratio,
        contributions.layer_norm_ratio,
    )
    attention, mlp, layer_ratio = (float(array[layer, token]) for array in arrays)
    if math.isnan(attention) or math.isnan(mlp):
        return "" if math.isnan(layer_ratio) else f"layer {layer_ratio:.2f} of |h|"
    mlp_reads = "|h|" if result.model.parallel else "|h+a|"
    return f"attention {attention:.2f} of |h|, MLP {mlp:.2f} of {mlp_reads}"
