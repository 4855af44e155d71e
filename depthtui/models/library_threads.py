"""Lets the threads of a matrix product sleep while they wait for each other.

A thread that spins keeps its core from the terminal and from other processes. Where one of these
takes a core all the same, the spinning threads wait for the one that lost it: beside another
process on two cores, a search took 90 s in place of 32.
"""

from __future__ import annotations

import os

# torch's OpenMP reads them as it is loaded: GCC's, and that of LLVM and Intel.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("KMP_BLOCKTIME", "0")
