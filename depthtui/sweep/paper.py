"""The paper's protocol as part of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from depthtui.prompts.paper import PAPER_PROTOCOL
from depthtui.sweep.plan import SweepPlan, TaskChoice


def with_paper_protocol(plan: SweepPlan, data: Mapping[str, str]) -> SweepPlan:
    """The plan on the paper's data sets, before its own tasks, and with the paper's settings.

    Args:
        plan: models, and tasks beside the paper's.
        data: files by data set; without one, it comes from the hub.
    """
    paper = PAPER_PROTOCOL
    tasks = tuple(
        TaskChoice(
            dataset.name, "", data.get(dataset.name, ""), dataset.examples, dataset.max_tokens or 0
        )
        for dataset in paper.datasets
    )
    own = tuple(choice for choice in plan.tasks if choice.name not in {task.name for task in tasks})
    return replace(
        plan,
        tasks=(*tasks, *own),
        run=replace(plan.run, chat_template=paper.chat_template),
        summary=replace(paper.summary, seed=plan.summary.seed),
    )
