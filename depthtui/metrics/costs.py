"""The costs of a metric: the memory that it takes, and the time of the LM head."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from depthtui.data.run import RunResult

_WIDTHS_AT_ONCE = 24
"""Vectors of the residual stream's width that a block needs per token: MLPs are the widest."""


_WIDTHS_SAVED = 12
"""The fewest such vectors that a layer keeps per token for a backward pass: Llamas 13, GPT-2 22."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that the memory of a run depends on.

    Attributes:
        layers: L.
        tokens: T, tokens of the prompt.
        answer: tokens of the answer among them.
        width: d, of the residual stream.
        vocabulary: number of logits.
        item: bytes of a number in the model's dtype.
        cached_width: numbers that a layer keeps of a token, in keys and in values each.
        scores: attention scores that a block has in memory for each pair of tokens; 0 where it
            never has them all.
        heads: attention heads of a layer; 0 where unknown.
        chosen: the layers that slower metrics go through, in order; empty for all of them.
        bisects: whether residual erasure searches for a depth instead of computing all.
        layer_parameters: parameters of the largest layer; 0 where unknown.
    """

    layers: int
    tokens: int
    answer: int
    width: int
    vocabulary: int
    item: int
    cached_width: int = 0
    scores: int = 0
    heads: int = 0
    chosen: tuple[int, ...] = ()
    bisects: bool = False
    layer_parameters: int = 0

    @property
    def token_bytes(self) -> int:
        """About how many bytes one token takes in a block."""
        # Scores are in memory once in the model's dtype, and once in the softmax's.
        scores = self.scores * self.tokens * (self.item + 4)
        return self.width * self.item * _WIDTHS_AT_ONCE + scores

    @property
    def cache_bytes(self) -> int:
        """Bytes of a layer's keys and values of the whole prompt."""
        return 2 * self.tokens * self.cached_width * self.item

    @property
    def attention_bytes(self) -> int:
        """About how many bytes one token takes in a block that keeps all attention weights."""
        # Scores, with their mask and as weights, and the values computed from these in float32.
        weights = self.heads * self.tokens * (3 * self.item + 3 * 4)
        return self.width * self.item * _WIDTHS_AT_ONCE + weights

    @property
    def saved_bytes(self) -> int:
        """The fewest bytes that a layer keeps of one token for a backward pass."""
        # In float32 the values are multiplied with the softmax's own result.
        scores = self.scores * self.tokens * (4 if self.item == 4 else self.item + 4)
        return self.width * self.item * _WIDTHS_SAVED + scores

    @property
    def residual_bytes(self) -> int:
        """Bytes of the residual stream at one depth, `[T, d]`."""
        return self.tokens * self.width * self.item

    def of_layers(self, bytes_: int, first: int = 0) -> tuple[int, ...]:
        """`bytes_` for each layer from the first one on, `[L]`."""
        return (0,) * first + (bytes_,) * (self.layers - first)


@dataclass(frozen=True)
class MemoryNeed:
    """The least bytes that a computation takes, working in the smallest parts.

    Attributes:
        first: on the device of the first layer.
        layers: for each layer, on its device; empty for none.
        block: on each device with layers, while one of them runs.
        head: on the LM head's device.
    """

    first: int = 0
    layers: tuple[int, ...] = ()
    block: int = 0
    head: int = 0

    def __add__(self, other: MemoryNeed) -> MemoryNeed:
        return MemoryNeed(
            self.first + other.first,
            tuple(map(sum, zip_longest(self.layers, other.layers, fillvalue=0))),
            max(self.block, other.block),
            self.head + other.head,
        )


def attention_of_a_token(sizes: Sizes) -> MemoryNeed:
    """The memory of a layer whose attention weights are kept, one token at a time."""
    return MemoryNeed(block=sizes.attention_bytes)


def row_of_logits(sizes: Sizes) -> MemoryNeed:
    """The memory to compare a few outputs, one position at a time."""
    return MemoryNeed(head=4 * 4 * sizes.vocabulary)


def text_in_the_cache(sizes: Sizes) -> MemoryNeed:
    """The memory of one text with its keys and values, and to compare a few outputs."""
    return MemoryNeed(layers=sizes.of_layers(sizes.cache_bytes)) + row_of_logits(sizes)


def saving_backward(sizes: Sizes) -> MemoryNeed:
    """The memory of a backward pass that keeps the residuals alone, and one block at a time.

    It ends at the first of the chosen layers.
    """
    logits = sizes.vocabulary * (sizes.item + 4 * 4)
    layers = sizes.of_layers(sizes.residual_bytes, min(sizes.chosen, default=0))
    return MemoryNeed(layers=layers, block=sizes.tokens * sizes.saved_bytes, head=logits)


def backward(sizes: Sizes) -> MemoryNeed:
    """The memory of one backward pass from the answer's probability through all layers."""
    # Logits are in memory once in the model's dtype and four times in float32: with their
    # logarithms, and the gradients of both.
    logits = sizes.answer * sizes.vocabulary * (sizes.item + 4 * 4)
    return MemoryNeed(layers=sizes.of_layers(sizes.tokens * sizes.saved_bytes), head=logits)


def head(result: RunResult) -> float:
    """The cost of the LM head at every token, in forward passes of the prompt through all layers.

    Head and layers cost one multiplication per parameter and token.
    """
    model = result.model
    in_layers = sum(model.layer_parameters) or model.parameters
    return model.vocab_size * model.d_model / max(1, in_layers)
