"""The logit lens: the model's output as read at each depth (paper, metric 3).

p_l = softmax(W N(h_l)) is compared with the model's own output p. Vocabulary-
sized values are in two buffers of fixed size, so the memory that the lens
needs depends on neither the number of layers nor the length of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from depthtui.data.lens import OVERLAP_K, LensValues, LogitLens
from depthtui.metrics.logit_lens.fused import add_columns_on
from depthtui.metrics.logit_lens.row_sums import GROUP, RowSums, padded
from depthtui.metrics.part_bytes import part_bytes
from depthtui.models.cut_weights import is_cut
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.products import linear_into, raw_logits

OUTPUT_BYTES = 512 << 20
"""Most bytes of the model's own logits at a time; longer prompts are read in parts."""

ROW_BYTES = 128 << 20
"""Most bytes of the lens's logits at a time on a CPU."""

_BLOCK = 2048
"""Vocabulary block on a CPU: its logits are still in the cache when they are reduced."""


def unknown_rows(depths: int, tokens: int, top_k: int) -> LensValues[Tensor]:
    """Make rows `[depths, tokens]` (`[depths, tokens, k]`) of unknown values, on the CPU."""
    sizes = {"L": depths - 1, "T": tokens, "k": top_k}
    shapes = LogitLens.shapes().items()
    return LensValues(**{name: torch.from_numpy(shape.unknown(sizes)) for name, shape in shapes})


@dataclass
class Logits:
    """Logits of some rows, and the values that turn them into probabilities.

    Attributes:
        values: `[..., V]` float32.
        shift: `[...]`, near the largest of each row.
        total: `[...]`, the sum of exp(values - shift).
    """

    values: Tensor
    shift: Tensor
    total: Tensor

    @property
    def log_normaliser(self) -> Tensor:
        """The logarithm of the sum of exp(values), `[...]`."""
        return self.shift + self.total.log()

    def probabilities(self, columns: slice = slice(None)) -> Tensor:
        """The softmax of the values, `[..., V]`, or some columns of it."""
        # Subtract the shift first: added to it, the normaliser's logarithm would be rounded.
        shifted = self.values[..., columns] - self.shift[..., None]
        return shifted.exp_().div_(self.total[..., None])

    def __getitem__(self, rows: slice | tuple[int | slice, slice]) -> Logits:
        """The logits of some rows; they share memory."""
        return Logits(self.values[rows], self.shift[rows], self.total[rows])


OnLogits: TypeAlias = Callable[[int, int, Logits, Logits], None]
"""Called with the first depth, the first token, the lens's logits of a part, `[depths, tokens, V]`,
and the model's own at its tokens, `[tokens, V]`. Both are overwritten after it returns."""


def read_lens(
    unembedding: Unembedding,
    residuals: Sequence[Tensor],
    ids: Tensor,
    top_k: int,
    on_rows: Callable[[int, int, LensValues[Tensor]], None] | None,
    checkpoint: Callable[[], None] = lambda: None,
    on_logits: OnLogits = lambda *part: None,
) -> None:
    """Read every depth of the residual stream.

    Args:
        unembedding: final norm and LM head.
        residuals: h_0 … h_L, each `[T, d]`.
        ids: the prompt's tokens `[T]`.
        top_k: how many tokens to list.
        on_rows: called with the first depth, the first token and the new rows, for each part
            of the prompt depth L first and then upwards; None where only the logits are needed.
        checkpoint: called often; an error raised there ends the reading.
        on_logits: reduces the logits of each part of the depths below L while they are in
            memory.
    """
    with torch.inference_mode():
        reader = _LensReader(unembedding, ids, top_k, checkpoint)
        n_layers, n_tokens = len(residuals) - 1, len(residuals[0])
        for tokens in slices(n_tokens, reader.rows_within(OUTPUT_BYTES, n_tokens)):
            output = reader.read_output(residuals[-1][tokens], tokens)
            n_part = tokens.stop - tokens.start
            if on_rows is not None:
                rows = unknown_rows(1, n_part, top_k)
                _put(rows, slice(None), output.values)
                on_rows(n_layers, tokens.start, rows)
            size = reader.rows_at_once(n_layers * n_part)
            for depths in slices(n_layers, max(1, size // n_part)):
                rows = unknown_rows(depths.stop - depths.start, n_part, top_k)
                for part in slices(n_part, size):
                    here = slice(tokens.start + part.start, tokens.start + part.stop)
                    stacked = torch.stack([residual[here] for residual in residuals[depths]])
                    reading = reader.read(stacked, here, output, part)
                    on_logits(depths.start, here.start, reading.logits, output.logits[0, part])
                    if on_rows is not None:
                        _put(rows, part, reading.values)
                if on_rows is not None:
                    on_rows(depths.start, tokens.start, rows)


def read_depth(
    unembedding: Unembedding,
    residual: Tensor,
    ids: Tensor,
    top_k: int,
    checkpoint: Callable[[], None] = lambda: None,
) -> LensValues[Tensor]:
    """Read one depth while the output is still unknown: `[1, T]` rows without KL and overlap."""
    with torch.inference_mode():
        reader = _LensReader(unembedding, ids, top_k, checkpoint)
        rows = unknown_rows(1, len(residual), top_k)
        for part in slices(len(residual), reader.rows_at_once(len(residual))):
            _put(rows, part, reader.read(residual[None, part], part).values)
        return rows


@dataclass
class _Reading:
    """Logits of a few rows, `[depths, tokens, V]`, and the values read from them.

    KL and overlap are NaN where there is no output to compare with.
    """

    logits: Logits
    values: LensValues[Tensor]


def _joined(parts: list[_Reading], logits: Tensor) -> _Reading:
    """Readings of one depth at tokens that follow each other in `logits` `[tokens, V]`."""
    values = {
        name: torch.cat([getattr(part.values, name) for part in parts], dim=1)
        for name in vars(parts[0].values)
    }
    shift, total = (
        torch.cat([getattr(part.logits, name) for part in parts], dim=1)
        for name in ("shift", "total")
    )
    return _Reading(Logits(logits[None], shift, total), LensValues(**values))


def _put(rows: LensValues[Tensor], tokens: slice, values: LensValues[Tensor]) -> None:
    """Fill in all depths of some tokens."""
    for name, target in vars(rows).items():
        value, place = getattr(values, name), target[:, tokens]
        if target.dim() == 3:
            # No more tokens can be listed than the vocabulary has.
            n_listed = min(target.shape[-1], value.shape[-1])
            place, value = place[..., :n_listed], value[..., :n_listed]
        place.copy_(value)


class _LensReader:
    """Turns residuals into lens values, in blocks of the vocabulary."""

    def __init__(
        self, unembedding: Unembedding, ids: Tensor, top_k: int, checkpoint: Callable[[], None]
    ) -> None:
        self._unembedding = unembedding
        self._checkpoint = checkpoint
        weight = _plain_weight(unembedding)
        self._weight = weight
        self._device = execution_device(unembedding.head)
        self._vocab = unembedding.vocab_size
        self._k = min(max(top_k, OVERLAP_K), self._vocab)
        on_cpu = weight is not None and self._device.type == "cpu"
        self._block = _BLOCK if on_cpu else padded(self._vocab)
        # The last token has no next one in the prompt: its value is NaN.
        self._next_ids = torch.cat([ids[1:], ids[-1:]]).to(self._device)
        self._has_next = torch.arange(len(ids), device=self._device) < len(ids) - 1
        self._add_columns = add_columns_on(self._device)
        self._buffers: dict[str, Tensor] = {}

    def rows_at_once(self, count: int) -> int:
        """How many of `count` rows of the lens are read together."""
        return self.rows_within(part_bytes(ROW_BYTES, self._device), count)

    def rows_within(self, limit: int, count: int) -> int:
        """How many of `count` rows of logits fit in `limit` bytes."""
        return at_once(count, limit, 4 * padded(self._vocab))

    def read_output(self, residual: Tensor, tokens: slice) -> _Reading:
        """Read the model's own output at some tokens, `[tokens, d]`; KL is 0, overlap 1."""
        logits = self._buffer("output", len(residual), padded(self._vocab))
        parts = []
        for part in slices(len(residual), self.rows_at_once(len(residual))):
            here = slice(tokens.start + part.start, tokens.start + part.stop)
            normed = self._normed(residual[None, part])
            parts.append(self._reduce(normed, here, logits[part], None, 1))
        reading = _joined(parts, logits[:, : self._vocab])
        reading.values.kl.zero_()
        reading.values.overlap.fill_(1.0)
        return reading

    def read(
        self,
        residuals: Tensor,
        tokens: slice,
        output: _Reading | None = None,
        part: slice = slice(None),
    ) -> _Reading:
        """Read `residuals` `[depths, tokens, d]`; `part` is the tokens' slice of `output`."""
        depths, count, _ = residuals.shape
        logits = self._buffer("rows", depths * count, padded(self._vocab))
        reference = None if output is None else output.logits.values[0, part]
        reading = self._reduce(self._normed(residuals), tokens, logits, reference, depths)
        if output is not None:
            values = reading.values
            # Until here the mean of the log-ratio of unnormalised probabilities under p_l.
            difference = output.logits.log_normaliser[:, part] - reading.logits.log_normaliser
            values.kl = (values.kl + difference).clamp(min=0.0)
            mine = values.top_ids[..., :OVERLAP_K, None]
            final = output.values.top_ids[:, part, None, :OVERLAP_K]
            shared = (mine == final).any(dim=-1).sum(dim=-1)
            values.overlap = shared.float() / min(OVERLAP_K, self._vocab)
        return reading

    def _normed(self, residuals: Tensor) -> Tensor:
        return self._unembedding.normed(residuals).flatten(0, 1)

    def _reduce(
        self,
        normed: Tensor,
        tokens: slice,
        logits: Tensor,
        reference: Tensor | None,
        depths: int,
    ) -> _Reading:
        """Fill `logits` `[rows, V]` block by block, reducing each while it is in the cache."""
        n_rows = len(normed)
        unfinished = (
            None if self._weight is not None else raw_logits(self._unembedding.head, normed)
        )
        sums = RowSums.of_nothing(self._buffer("maxima", n_rows, padded(self._vocab) // GROUP))
        scratch = partial(self._buffer, "weights")
        for columns in slices(self._vocab, self._block):
            self._checkpoint()
            stop = columns.stop
            self._fill(logits[:, columns], normed, unfinished, columns)
            logits[:, stop : padded(stop)] = -torch.inf
            self._add_columns(sums, logits, reference, columns, scratch)
        normalised = Logits(logits[:, : self._vocab], sums.shift, sums.total)
        log_normaliser = normalised.log_normaliser
        mean_logit = sums.logit / sums.total
        top_logits, top_ids = self._top(logits, sums.maxima)
        next_ids = self._next_ids[tokens].repeat(depths)
        next_logits = logits.gather(1, next_ids[:, None]).squeeze(1)
        next_logits[~self._has_next[tokens].repeat(depths)] = torch.nan

        def by_depth(value: Tensor) -> Tensor:
            return value.view(depths, -1, *value.shape[1:])

        unknown = torch.full_like(log_normaliser, torch.nan)
        kl = unknown if reference is None else mean_logit - sums.reference / sums.total
        values = LensValues(
            kl=by_depth(kl),
            overlap=by_depth(unknown.clone()),
            entropy=by_depth((log_normaliser - mean_logit).clamp(min=0.0)),
            top_ids=by_depth(top_ids),
            top_probabilities=by_depth((top_logits - log_normaliser[:, None]).exp()),
            next_log_probability=by_depth(next_logits - log_normaliser),
        )
        all_logits = Logits(*map(by_depth, (normalised.values, normalised.shift, normalised.total)))
        return _Reading(all_logits, values)

    def _fill(
        self, block: Tensor, normed: Tensor, unfinished: Tensor | None, columns: slice
    ) -> None:
        """Compute the logits of some columns into `block` `[rows, columns]`."""
        if unfinished is not None:
            block.copy_(self._unembedding.finish(unfinished[:, columns]))
            return
        assert self._weight is not None
        bias = getattr(self._unembedding.head, "bias", None)
        part = None if bias is None else bias[columns]
        linear_into(block, normed, self._weight[columns], part)
        self._unembedding.finish(block)

    def _top(self, logits: Tensor, maxima: Tensor) -> tuple[Tensor, Tensor]:
        """The k largest logits and their ids, `[rows, k]`, found among the k best groups."""
        groups = maxima.topk(min(self._k, maxima.shape[1]), dim=1).indices
        columns = groups[:, :, None] * GROUP + torch.arange(GROUP, device=groups.device)
        columns = columns.flatten(1)
        top, place = logits.gather(1, columns).topk(self._k, dim=1)
        return top, columns.gather(1, place)

    def _buffer(self, name: str, rows: int, width: int) -> Tensor:
        """Memory that is reused for every part, `[rows, width]` float32."""
        needed = rows * width
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < needed:
            buffer = self._buffers[name] = torch.empty(needed, device=self._device)
        return buffer[:needed].view(rows, width)


def _plain_weight(unembedding: Unembedding) -> Tensor | None:
    """The head's weight `[V, d]` where it can be multiplied in blocks, else None.

    A quantised head, one that accelerate moves between devices, and one split over ranks are
    called as they are.
    """
    head = unembedding.head
    if type(head) is not nn.Linear or hasattr(head, "_hf_hook") or head.weight.is_meta:
        return None
    if is_cut(head.weight):
        return None
    return head.weight
