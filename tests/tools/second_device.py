"""Devices that are only pretended, for tests of placement on a machine without a GPU.

A tensor on a pretended device is a wrapper that holds a CPU tensor and carries the device
`pretend:0`, `pretend:1`, … Every operation runs on the CPU, after a check that its tensors
lie on one device, by a GPU's rules: a 0-dimensional CPU tensor, and CPU indices, may mix in.
What would make a GPU wait for the CPU is counted by the line that asks for it.

Limits: torch knows one device of a Python backend for autograd, so gradients work on
`pretend:0` and across `pretend:0` and the CPU, not on `pretend:1`. Wrappers cannot be views in
inference mode, so `torch.inference_mode` is `torch.no_grad` meanwhile. Kernels, speed, memory
and rounding of a real GPU are not simulated. The device type must be known before a process's
first backward pass: importing this module says it, which pytest does before it runs a test.
"""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

KIND = "pretend"
CPU = torch.device("cpu")

_ATEN = torch.ops.aten
_MOVES = {_ATEN._to_copy.default, _ATEN.copy_.default}
"""Operations between devices."""

_INDEXED = {
    _ATEN.index.Tensor,
    _ATEN._unsafe_index.Tensor,
    _ATEN.index_put.default,
    _ATEN.index_put_.default,
}
_WAITS = {
    _ATEN._local_scalar_dense.default,  # .item(), float(), bool()
    _ATEN.equal.default,
    _ATEN.nonzero.default,
    _ATEN.masked_select.default,
    _ATEN._unique2.default,
}
_LIBRARY = torch.library.Library("aten", "IMPL")


class Transfers:
    """Counts by the innermost line of a file whose path has `watched` in it.

    Attributes:
        waits: what the CPU waits for: copies to it, `.item()`, `bool()`.
        uploads: copies from it.
    """

    def __init__(self, watched: str) -> None:
        self._watched = watched
        self.waits: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def line(self) -> str:
        """Where the running code was called from."""
        frames = reversed(traceback.extract_stack(limit=60))
        found = next((frame for frame in frames if self._watched in frame.filename), None)
        if found is None:
            return "elsewhere"
        return f"{found.filename.rpartition(self._watched)[2].strip('/')}:{found.lineno}"


_transfers: Transfers | None = None


class Pretended(torch.Tensor):
    """A tensor on a device that is only pretended."""

    held: torch.Tensor

    @staticmethod
    def __new__(
        cls, held: torch.Tensor, device: torch.device | None = None, requires_grad: bool = False
    ) -> Any:
        if device is None:  # accelerate makes a parameter by the class of the one before
            return torch.nn.Parameter(held, requires_grad=requires_grad)
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device,
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Pretended({self.held!r}, {self.device})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the CPU, after the checks."""
    leaves: list[Any] = []
    _each(leaves.append, (*args, *kwargs.values()))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    indices = {id(leaf) for leaf in args[1]} if func in _INDEXED else set()
    target = _target(kwargs.get("device"))
    source = tensors[0].device if func in _MOVES else _common_device(func, tensors, indices)
    if _transfers is not None:
        _count(_transfers, func, tensors, indices, target)
    device = source if target is None else target
    inside = {name: _each(_held, value) for name, value in kwargs.items()}
    if "device" in inside and device.type == KIND:
        inside["device"] = CPU
    if func is _ATEN.histc.default:  # a GPU counts integers too
        args = (args[0].float(), *args[1:])
    result = func(*_each(_held, args), **inside)
    if func is _ATEN._to_copy.default and device != source:
        result = _unshared(result, _held(args[0]))
    if func._schema.is_mutable and func._schema.returns:
        written = [value for spec, value in _bound(func, args, kwargs) if _is_written(spec)]
        return written[0] if len(func._schema.returns) == 1 else tuple(written)
    if device.type != KIND:
        return result
    return _each(lambda leaf: _wrapped(leaf, device), result)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """A value with a change of each that lies in its lists: torch's own way takes half the time."""
    if isinstance(value, list | tuple):
        return type(value)([_each(change, one) for one in value])
    return change(value)


def _target(device: Any) -> torch.device | None:
    """The device that an operation asks for; `pretend` alone is the first one."""
    if device is None:
        return None
    found = torch.device(device)
    return torch.device(KIND, 0) if found.type == KIND and found.index is None else found


def _common_device(func: Any, tensors: list[torch.Tensor], indices: set[int]) -> torch.device:
    """The one device of the tensors that must share one.

    Raises:
        RuntimeError: they lie on several.
    """
    bound = [
        tensor.device
        for tensor in tensors
        if not (tensor.device.type == "cpu" and (tensor.dim() == 0 or id(tensor) in indices))
    ]
    found = list(dict.fromkeys(bound))
    if len(found) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{found[0]} and {found[1]}! ({func})"
        )
    return found[0] if found else CPU


def _count(
    transfers: Transfers,
    func: Any,
    tensors: list[torch.Tensor],
    indices: set[int],
    target: torch.device | None,
) -> None:
    kinds = [tensor.device.type for tensor in tensors]
    is_far, wanted = KIND in kinds, None if target is None else target.type
    copies, moves = func is _ATEN.copy_.default, func is _ATEN._to_copy.default
    downloads = (moves and wanted == "cpu") or (copies and kinds[0] == "cpu")
    if is_far and (func in _WAITS or downloads):
        transfers.waits[transfers.line()] += 1
    cpu_index = any(id(tensor) in indices and tensor.device.type == "cpu" for tensor in tensors)
    uploads = (moves and wanted == KIND and not is_far) or (
        copies and kinds[0] == KIND and "cpu" in kinds
    )
    if uploads or (is_far and cpu_index):
        transfers.uploads[transfers.line()] += 1


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def _wrapped(value: Any, device: torch.device) -> Any:
    plain = isinstance(value, torch.Tensor) and not isinstance(value, Pretended)
    return Pretended(value, device) if plain else value


def _unshared(result: Any, source: torch.Tensor) -> Any:
    """The result in memory of its own: what moves between devices never shares any."""
    shares = isinstance(result, torch.Tensor) and result.data_ptr() == source.data_ptr()
    return result.clone() if shares and source.numel() else result


def _bound(func: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The declared arguments of an operation that were given, with their values."""
    for place, spec in enumerate(func._schema.arguments):
        if place < len(args):
            yield spec, args[place]
        elif spec.name in kwargs:
            yield spec, kwargs[spec.name]


def _is_written(spec: Any) -> bool:
    return spec.alias_info is not None and spec.alias_info.is_write


class _Backend:
    """What torch asks a backend for."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 2

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_accelerator = torch.accelerator.current_accelerator


def _real_accelerator(check_available: bool = False) -> torch.device | None:
    """The accelerator of this machine; accelerate would free the memory of a pretended one."""
    found = _accelerator(check_available)
    return None if found is not None and found.type == KIND else found


def _register() -> None:
    """Make the device type known to torch, and to accelerate as none that it looks after."""
    _setup_privateuseone_for_python_backend(KIND, backend_module=_Backend())
    torch.accelerator.current_accelerator = _real_accelerator

    # What torch makes beneath every dispatch mode, such as the index of `x[..., [1]]`.
    def empty_strided(
        size: Any, stride: Any, *, dtype: Any = None, device: Any = None, **_: Any
    ) -> torch.Tensor:
        made = torch.empty_strided(size, stride, dtype=dtype, device=CPU)
        return Pretended(made, _target(device or KIND))

    def empty(size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> torch.Tensor:
        return Pretended(torch.empty(size, dtype=dtype, device=CPU), _target(device or KIND))

    def copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
        _held(target).copy_(_held(source))
        return target

    _LIBRARY.impl("empty_strided", empty_strided, "PrivateUse1")
    _LIBRARY.impl("empty.memory_format", empty, "PrivateUse1")
    _LIBRARY.impl("_copy_from", copy_from, "PrivateUse1")


@contextlib.contextmanager
def pretended_devices(transfers: Transfers | None = None) -> Iterator[None]:
    """A machine with as many pretended devices as anybody names."""
    global _transfers
    make = torch.tensor

    def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        # `torch.tensor` fills its result beneath the dispatch mode.
        made = make(data, *args, **kwargs)
        return made if device is None else made.to(device)

    with (
        patch.object(torch, "inference_mode", torch.no_grad),
        patch.object(torch, "tensor", tensor),
    ):
        _transfers = transfers
        try:
            with _Mode():
                yield
        finally:
            _transfers = None


_register()
