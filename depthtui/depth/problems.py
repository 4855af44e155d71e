"""The problems of a prompt that make its command end with status 1."""

from __future__ import annotations

from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.effective_depth import NOT_FINITE
from depthtui.depth.reading import Reading
from depthtui.metrics.pooling import PromptReading
from depthtui.metrics.registry import failures_in_words


def problems_of(prompt: PromptReading) -> list[str]:
    """A sentence for each metric that failed, and one for the rules without a finite value."""
    problems = failures_in_words(prompt.failed, prompt.unavailable)
    depths = Reading([prompt], SummarySettings()).depths
    lacking = [rules.named(one.rule).title for one in depths if one.reason == NOT_FINITE]
    if lacking:
        problems.append(f"No value for {', '.join(lacking)}: {NOT_FINITE}.")
    return problems
