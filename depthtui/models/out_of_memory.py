"""Memory that ran out: how libraries report it, and how to free some."""

from __future__ import annotations

import errno
import gc

import torch

_WORDS = (
    "out of memory",  # CUDA's allocator and driver, HIP, MPS
    "ALLOC_FAILED",  # cuBLAS, cuDNN, cuSOLVER, cuFFT and their kin
    "invalid buffer size",  # MPS: larger than a buffer can be
    "can't allocate memory",  # torch's allocator on a CPU
    "not enough memory",  # the same on Windows
    "cannot allocate memory",  # the system
    "bad_alloc",
)
"""Words of errors without a class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device's memory, or main memory, ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if type(error).__name__ == "PanicException":
        # From safetensors, and no Exception: Python could not allocate the bytes that it asked for.
        return "PyObject pointer is null" in str(error)
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word.lower() in words for word in _WORDS)


def free_caches() -> None:
    """Free memory that is cached and no longer used, so that others can allocate it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
