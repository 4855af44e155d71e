"""`depthtui run` on one rank of several, at which rank 1 fails in the midst of a metric.

    python -m tests.parallel.failing_rank HOW [ARGUMENT …]

Arguments are those of the command; HOW is a key of `FAILURES`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from depthtui import cli
from depthtui.engine.metric_context import MetricContext
from depthtui.parallel.ending import divisor
from depthtui.parallel.group import rank_started


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def meet_an_error() -> None:
    raise ValueError("a flaw at one rank")


def run_out_of_memory() -> None:
    if divisor() == 1:
        raise MemoryError


def always_run_out_of_memory() -> None:
    raise MemoryError


def hang() -> None:
    time.sleep(600)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def miss_a_collective() -> None:
    import torch

    all_gather = torch.distributed.all_gather_into_tensor

    def missed(output: torch.Tensor, mine: torch.Tensor, group: Any) -> None:
        torch.distributed.all_gather_into_tensor = all_gather
        output.copy_(mine.repeat(len(output) // len(mine)))

    torch.distributed.all_gather_into_tensor = missed


FAILURES: dict[str, Callable[[], None]] = {
    found.__name__: found
    for found in (
        die,
        meet_an_error,
        run_out_of_memory,
        always_run_out_of_memory,
        hang,
        press_ctrl_c,
        miss_a_collective,
    )
}


def main() -> int:
    how, *arguments = sys.argv[1:]
    reports = MetricContext.report
    began: list[bool] = []

    def report(context: MetricContext, done: int, *rest: Any, **named: Any) -> None:
        reports(context, done, *rest, **named)
        # Once some of the metric is done that can be kept.
        if context.metric == "integrated_gradients" and done == 2 and not began:
            began.append(True)
            if rank_started() == 1:
                FAILURES[how]()

    MetricContext.report = report  # type: ignore[method-assign]
    return cli.main(["run", *arguments])


if __name__ == "__main__":
    sys.exit(main())
