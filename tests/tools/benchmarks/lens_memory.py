"""Peak extra memory of the logit lens at T = 1,024 and a vocabulary of 152,000.

    python -m tests.tools.benchmarks.lens_memory [--layers 8]

The residual stream itself is not counted: it is there before the lens begins.
Anonymous memory is read from /proc/self/status while the lens runs (Linux).
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from depthtui.metrics.logit_lens.compute import read_lens
from depthtui.tracing.anatomy import Unembedding
from tests.tools.benchmarks.peak_memory import watch_memory

TOKENS, VOCAB, WIDTH = 1024, 152_000, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    unembedding = Unembedding((nn.RMSNorm(WIDTH),), nn.Linear(WIDTH, VOCAB, bias=False))
    residuals = [torch.randn(TOKENS, WIDTH) for _ in range(options.layers + 1)]
    ids = torch.randint(VOCAB, (TOKENS,))
    with watch_memory() as peak:
        read_lens(unembedding, residuals, ids, 10, lambda *_: None)
    print(f"{options.layers} layers: peak extra memory {peak.extra:.0f} MiB")


if __name__ == "__main__":
    main()
