"""The one pass over rows of logits, in Triton. Importing this module needs triton."""

# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl


def _add_columns(
    logits,  # [depths * tokens, groups of columns]
    reference,  # [tokens, columns], where compared
    shift,
    total,
    logit,
    against,
    maxima,
    logits_stride,
    reference_stride,
    maxima_stride,
    n_columns,
    n_groups,
    n_tokens,
    n_depths,
    compared: tl.constexpr,
    group: tl.constexpr,
    at_once: tl.constexpr,
):
    """Each program adds the columns of one row to its sums, some groups at a time.

    Sums are relative to the largest logit so far, and are scaled when it grows (Milakov and
    Gimelshein, Online normalizer calculation for softmax, 2018).
    """
    # The depths of a token follow each other, so that its reference is still in the cache.
    token = tl.program_id(0) // n_depths
    row = ((tl.program_id(0) % n_depths) * n_tokens + token).to(tl.int64)
    logits += row * logits_stride
    reference += token.to(tl.int64) * reference_stride
    maxima += row * maxima_stride
    before = tl.load(shift + row)
    largest = before
    totals = tl.zeros((at_once,), tl.float32)
    logit_sums = tl.zeros((at_once,), tl.float32)
    reference_sums = tl.zeros((at_once,), tl.float32)
    groups = tl.arange(0, at_once)
    places = groups[:, None] * group + tl.arange(0, group)[None, :]
    for first in range(0, n_groups, at_once):
        columns = first * group + places
        # Whole groups, padded with -inf: loads are wide where the mask is aligned.
        x = tl.load(logits + columns, mask=columns < n_groups * group, other=-float("inf"))
        # NaN counts as the largest, as in torch: a maximum here would skip it.
        highest = tl.max(tl.where(x == x, x, float("inf")), axis=1)
        tl.store(maxima + first + groups, highest, mask=first + groups < n_groups)
        grown = tl.maximum(largest, tl.max(highest, axis=0))
        scale = tl.exp(largest - grown)
        weights = tl.exp(x - grown)
        is_column = columns < n_columns
        totals = totals * scale + tl.sum(weights, axis=1)
        logit_sums = logit_sums * scale + tl.sum(weights * tl.where(is_column, x, 0.0), axis=1)
        if compared:
            r = tl.load(reference + columns, mask=is_column, other=0.0)
            reference_sums = reference_sums * scale + tl.sum(weights * r, axis=1)
        largest = grown
    scale = tl.exp(before - largest)
    tl.store(shift + row, largest)
    tl.store(total + row, tl.load(total + row) * scale + tl.sum(totals, axis=0))
    tl.store(logit + row, tl.load(logit + row) * scale + tl.sum(logit_sums, axis=0))
    if compared:
        tl.store(against + row, tl.load(against + row) * scale + tl.sum(reference_sums, axis=0))


_VARIED = ["maxima_stride", "n_groups", "n_tokens", "n_depths"]
"""Arguments whose values do not make the kernel compile again."""

add_columns_kernel = triton.jit(_add_columns, do_not_specialize=_VARIED)
