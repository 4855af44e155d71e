"""The paper's protocol as part of a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from depthtui.errors import DepthError
from depthtui.prompts.paper import PAPER_PROTOCOL
from depthtui.sweep.plan import SweepPlan, TaskChoice


def with_paper_protocol(
    plan: SweepPlan, data: Mapping[str, str], left_out: Collection[str] = ()
) -> SweepPlan:
    """The plan with the paper's data sets before its own tasks, and with the paper's settings.

    Args:
        plan: models, and tasks beside the paper's.
        data: files by data set; a data set without a file comes from the hub.
        left_out: data sets of the paper that are unavailable.

    Raises:
        DepthError: every data set of the paper is unavailable.
    """
    paper = PAPER_PROTOCOL
    tasks = tuple(
        TaskChoice(
            dataset.name, "", data.get(dataset.name, ""), dataset.examples, dataset.max_tokens or 0
        )
        for dataset in paper.datasets
        if dataset.name not in left_out
    )
    if not tasks:
        names = ", ".join(dataset.name for dataset in paper.datasets)
        raise DepthError(
            f"None of the paper's data sets can be had here: {names}.",
            "Name a file: --data NAME=FILE.",
        )
    own = tuple(choice for choice in plan.tasks if choice.name not in {task.name for task in tasks})
    return replace(
        plan,
        tasks=(*tasks, *own),
        run=replace(plan.run, chat_template=paper.chat_template),
        summary=replace(paper.summary, seed=plan.summary.seed),
    )
