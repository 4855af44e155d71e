"""What a metric costs: the memory that it takes, and the time of the LM head."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from depthtui.data.run import RunResult

_WIDTHS_AT_ONCE = 24
"""How many vectors of the residual stream's width a block holds per token: MLPs are the widest."""


_WIDTHS_SAVED = 12
"""How many of them a layer keeps per token for a backward pass, at least: Llamas 13, GPT-2 22."""


@dataclass(frozen=True)
class Sizes:
    """What the memory of a run depends on.

    Attributes:
        layers: L.
        tokens: T, those of the prompt.
        answer: how many of them are the answer.
        width: d, of the residual stream.
        vocabulary: number of logits.
        item: bytes of a number in the model's dtype.
        cached_width: numbers that a layer keeps of a token, in keys and in values each.
        scores: attention scores that a block holds for each pair of tokens; 0 where it
            never holds them all.
        heads: attention heads of a layer; 0 where unknown.
        chosen: the layers that slower metrics go through, in order; empty for all of them.
        bisects: whether residual erasure searches for a depth, instead of going through all.
        layer_parameters: those of the largest layer; 0 where unknown.
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
        """About how much one token takes while it is in a block."""
        # Scores are held once in the model's dtype, and once in the softmax's.
        scores = self.scores * self.tokens * (self.item + 4)
        return self.width * self.item * _WIDTHS_AT_ONCE + scores

    @property
    def attention_bytes(self) -> int:
        """About how much one token takes in a block whose attention weights are all kept."""
        # Scores, with their mask and as weights, and what is worked out of these in float32.
        weights = self.heads * self.tokens * (3 * self.item + 3 * 4)
        return self.width * self.item * _WIDTHS_AT_ONCE + weights

    @property
    def saved_bytes(self) -> int:
        """How much a layer keeps of one token for a backward pass, at least."""
        # In float32 the softmax's own result is what the values are multiplied with.
        scores = self.scores * self.tokens * (4 if self.item == 4 else self.item + 4)
        return self.width * self.item * _WIDTHS_SAVED + scores

    @property
    def residual_bytes(self) -> int:
        """The residual stream at one depth, `[T, d]`."""
        return self.tokens * self.width * self.item

    def of_layers(self, bytes_: int, first: int = 0) -> tuple[int, ...]:
        """So much for each layer from the first one on, `[L]`."""
        return (0,) * first + (bytes_,) * (self.layers - first)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that something takes at least, working in the smallest parts.

    Attributes:
        first: on the device of the first layer.
        layers: for each layer, on its device; empty for nothing.
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
    """The memory of what compares a few outputs, one position at a time."""
    return MemoryNeed(head=4 * 4 * sizes.vocabulary)


def saving_backward(sizes: Sizes) -> MemoryNeed:
    """The memory of a backward pass that keeps the residuals alone, and one block at a time.

    It ends at the first of the chosen layers.
    """
    logits = sizes.vocabulary * (sizes.item + 4 * 4)
    layers = sizes.of_layers(sizes.residual_bytes, min(sizes.chosen, default=0))
    return MemoryNeed(layers=layers, block=sizes.tokens * sizes.saved_bytes, head=logits)


def backward(sizes: Sizes) -> MemoryNeed:
    """The memory of one backward pass from the answer's probability through all layers."""
    # Logits are there once in the model's dtype and four times in float32: with their
    # logarithms, and the gradients of both.
    logits = sizes.answer * sizes.vocabulary * (sizes.item + 4 * 4)
    return MemoryNeed(layers=sizes.of_layers(sizes.tokens * sizes.saved_bytes), head=logits)


def head(result: RunResult) -> float:
    """What the LM head costs at every token, in forward passes of the prompt through all layers.

    Each costs a multiplication a parameter and token.
    """
    model = result.model
    in_layers = sum(model.layer_parameters) or model.parameters
    return model.vocab_size * model.d_model / max(1, in_layers)
