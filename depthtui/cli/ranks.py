"""The commands that several ranks can run together."""

from __future__ import annotations

from collections.abc import Callable

from depthtui.cli.output import print_notice
from depthtui.engine.rank_process import as_rank

COMMANDS = ("run", "sweep", "generate", "inspect", "lens", "engine", "doctor")
"""The commands that run a model whose weights are cut."""


def run_as_rank(command: str, run: Callable[[], int]) -> int:
    """Run a command at rank 0, and its calls of the model at every rank.

    Args:
        command: its name; empty for the explorer.
        run: runs it.

    Returns:
        the exit status.
    """

    def refuse() -> int:
        subject = f"`depthtui {command}`" if command else "The explorer"
        print_notice(f"{subject} runs in one process. Start it without torchrun.")
        return 2

    return as_rank(
        run if command in COMMANDS else refuse, print_notice, restarts=command != "engine"
    )
