"""Reads weights that are cut over ranks as if they were whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor


def is_cut(weight: object) -> TypeGuard[DTensor]:
    """Whether a weight is cut over ranks; its `shape` is that of the whole."""
    return isinstance(weight, DTensor)


def full_weight(weight: Tensor) -> Tensor:
    """A weight as an ordinary tensor; where it is cut, all ranks gather their parts."""
    return weight.full_tensor() if is_cut(weight) else weight


def rows_of(weight: Tensor, ids: Tensor) -> Tensor:
    """Some rows `[n, d]` of a weight `[m, d]`; other ranks may have some of them."""
    if not is_cut(weight):
        return weight[ids.to(weight.device)]
    ids = ids.to(weight.device)
    everywhere = DTensor.from_local(ids, weight.device_mesh, [Replicate()], run_check=False)
    rows: DTensor = torch.nn.functional.embedding(everywhere, weight)  # type: ignore[assignment]
    return rows.full_tensor()


def sum_of_rows(weight: Tensor, rows_at_once: int) -> Tensor:
    """The sum `[d]` of the rows of a weight `[m, d]`, in float32.

    Args:
        weight: the weight.
        rows_at_once: rows that are made float32 together.
    """
    is_by_rows = is_cut(weight) and _is_by_rows(weight)
    own_part = weight.to_local() if is_by_rows and is_cut(weight) else full_weight(weight)
    total = torch.zeros(own_part.shape[1], device=own_part.device)
    for part in torch.split(own_part, rows_at_once):
        total += part.float().sum(dim=0)
    if is_by_rows and is_cut(weight):
        return DTensor.from_local(
            total, weight.device_mesh, [Partial()], run_check=False
        ).full_tensor()
    return total


def product_with(weight: Tensor, multiply: Callable[[Tensor], Tensor]) -> Tensor:
    """The product `[n, m]` with a weight `[m, d]`, of whose rows each rank may have some.

    Args:
        weight: the weight.
        multiply: returns the product `[n, k]` with k rows of it.
    """
    if not is_cut(weight) or not _is_by_rows(weight):
        return multiply(full_weight(weight))
    own_product = multiply(weight.to_local())
    outputs = weight.shape[0]
    return DTensor.from_local(
        own_product,
        weight.device_mesh,
        [Shard(1)],
        run_check=False,
        shape=torch.Size((len(own_product), outputs)),
        stride=(outputs, 1),
    ).full_tensor()


def cut_like(value: Tensor, weight: Tensor) -> Tensor:
    """Cut a whole value to the part of the weight that this rank has."""
    if not is_cut(weight):
        return value
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)


def _is_by_rows(weight: DTensor) -> bool:
    return tuple(weight.placements) == (Shard(0),)


def joined_inputs(value: Tensor, weight: object) -> Tensor:
    """The inputs `[…, inputs]` of all ranks, each of which reads the part for its own weight."""
    if not is_cut(weight) or value.shape[-1] == weight.shape[-1]:
        return value
    return joined_parts(value, weight.device_mesh, -1)


def joined_parts(value: Tensor, mesh: DeviceMesh, axis: int) -> Tensor:
    """Concatenate the ranks' parts of a tensor, which have equal lengths."""
    axis %= value.dim()
    parts = DTensor.from_local(value.contiguous(), mesh, [Shard(axis)], run_check=False)
    return parts.full_tensor()
