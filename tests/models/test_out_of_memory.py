"""Every name that running out of memory goes by, and what only looks like it."""

import errno

import numpy as np
import pytest
import torch

from depthtui.models import out_of_memory
from depthtui.models.out_of_memory import free_caches, is_out_of_memory

PanicException = type("PanicException", (BaseException,), {})
"""What safetensors raises, by another type of that name."""

RAN_OUT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be …"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.50 GB, other allocations: …)"),
    RuntimeError("Invalid buffer size: 24.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    PanicException("PyObject pointer is null"),
]

OTHERWISE = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    RuntimeError("out of resource: shared memory, Required: 114688, Hardware limit: 101376"),
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    ValueError("the prompt says: out of memory"),
    KeyError("out of memory"),
    PanicException("index out of bounds"),
    KeyboardInterrupt(),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", RAN_OUT, ids=str)
def test_memory_that_ran_out(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERWISE, ids=str)
def test_what_is_no_lack_of_memory(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("library", [torch, np])
def test_what_libraries_really_raise(library):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        library.empty(1 << 55)
    assert is_out_of_memory(caught.value)


def test_caches_of_every_device_are_freed(monkeypatch):
    freed = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(out_of_memory.gc, "collect", lambda: freed.append("objects"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: freed.append("mps"))
    free_caches()
    assert freed == ["objects", "cuda", "mps"]
