"""The direction of the last residual stream along which a token's logit rises.

With fixed statistics the final norm is affine, so a logit is a sum over all writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from depthtui.errors import DepthError
from depthtui.models.cut_weights import full_weight, rows_of, sum_of_rows
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.frozen_norm import FrozenNorm

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class OutputDirections:
    """A logit at each of some positions, as an affine function of the last residual stream.

    Attributes:
        vectors: `[n, d]` float32, the direction along which each logit rises.
        constants: `[n]`, the contribution of the biases of norm and head.
    """

    vectors: Tensor
    constants: Tensor


def output_directions(
    unembedding: Unembedding, frozen: FrozenNorm, targets: Tensor, mean_row: Tensor | None = None
) -> OutputDirections:
    """The directions of the logits of one token a position.

    Args:
        unembedding: final norm and LM head.
        frozen: the norm with its statistics at the `[n, d]` residuals of these positions.
        targets: `[n]`, ids of the tokens.
        mean_row: the head's `mean_row`: the mean of all tokens is then subtracted from the logits.

    Raises:
        DepthError: logits are no sum in this architecture.
    """
    weight, bias = head_weight(unembedding), getattr(unembedding.head, "bias", None)
    rows = rows_of(weight, targets).float().to(frozen.gain.device)
    if mean_row is not None:
        rows = rows - mean_row.to(rows.device)
    constants = rows @ frozen.offset
    if isinstance(bias, Tensor):
        bias = full_weight(bias)
        mean = 0.0 if mean_row is None else bias.float().mean()
        constants += (bias[targets.to(bias.device)].float() - mean).to(constants.device)
    return OutputDirections(
        frozen.pull_back(rows) * unembedding.scale, constants * unembedding.scale
    )


def mean_row(unembedding: Unembedding) -> Tensor:
    """The mean over the vocabulary of the LM head's rows, `[d]` float32.

    Raises:
        DepthError: logits are no sum in this architecture.
    """
    weight = head_weight(unembedding)
    # A part at a time: a whole copy in float32 would be twice as large as a large head.
    return sum_of_rows(weight, _ROWS_AT_ONCE) / len(weight)


def head_weight(unembedding: Unembedding) -> Tensor:
    """The LM head's rows, `[V, d]`.

    Raises:
        DepthError: there are none to read, or logits are no products with them.
    """
    if unembedding.soft_cap:
        raise no_sum("it caps its logits softly")
    weight = unembedding.head.weight
    if not isinstance(weight, Tensor) or weight.is_meta or not weight.is_floating_point():
        raise no_sum("the LM head's weights are quantised or not in memory")
    return weight


def freeze(unembedding: Unembedding, final: Tensor, normed: Tensor) -> FrozenNorm:
    """The final norm with its statistics at `final` `[T, d]`, `normed` its output there.

    Raises:
        DepthError: the frozen norm is no affine map.
    """
    if unembedding.streams > 1:
        raise no_sum("it makes one of several residual streams first")
    if unembedding.mixes_depths:
        raise no_sum("its final norm mixes the streams of several depths")
    if normed.shape[-1] != final.shape[-1]:
        raise no_sum("what follows its final norm changes the width")
    device = execution_device(unembedding.norm[0]) if unembedding.norm else normed.device
    frozen = FrozenNorm.at(unembedding.normed, final, normed, device)
    if frozen is None:
        raise no_sum("its final norm is neither an RMS norm nor a layer norm")
    return frozen


def no_sum(reason: str) -> DepthError:
    """The error where logits are no sum over writes."""
    return DepthError(f"The model's logits are not a sum over layers: {reason}.")
