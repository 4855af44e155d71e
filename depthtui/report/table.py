"""The effective-depth table of the command line."""

from __future__ import annotations

from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from depthtui.data.depth import DepthEstimate
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.effective_depth import summarise
from depthtui.depth.intervals import FEWEST_PROMPTS
from depthtui.depth.published import DATASETS, published_for
from depthtui.report.findings import findings, pool_runs
from depthtui.report.groups import Group
from depthtui.report.legible import legible
from depthtui.report.phrases import (
    criterion,
    interval,
    no_depths,
    pooling,
    published_layers,
    rule_title,
)

_BAR = 12


def depth_table(group: Group, settings: SummarySettings) -> Lines:
    """Each rule's layer and ratio; the paper's values beside it where it has the model."""
    published = published_for(group.model.name)
    summary = summarise(group.results, settings)
    with_intervals = summary is not None and summary.n_prompts >= FEWEST_PROMPTS
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("rule", style="bold")
    table.add_column("layer", justify="right")
    if with_intervals:
        table.add_column("interval", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("")
    table.add_column("criterion")
    if published is not None:
        table.add_column("paper")
    for each in summary.depths if summary else ():
        layer, *others = _cells(each, group.model.n_layers)
        doubt = [Text(interval(each))] if with_intervals else []
        cells = [layer, *doubt, *others, Text(criterion(each))]
        if published is not None:
            cells.append(Text(published_layers(published, each.rule)))
        table.add_row(rule_title(each.rule), *cells)
    lines: list[Text | Table] = [Text(legible(group.title), style="bold"), Text("")]
    if summary is None or not summary.depths:
        lines.append(Text(no_depths(group)))
    else:
        lines.append(table)
        lines += [
            Text(f"{rule_title(e.rule)}: {e.reason or e.warning}.", style="dim")
            for e in summary.depths
            if e.reason or e.warning
        ]
    lines += [Text(""), Text(pooling(group, summary, settings), style="dim")]
    if published is not None:
        lines.append(Text(f"Paper: layers on {' / '.join(DATASETS.values())}.", style="dim"))
    return Lines(*lines)


def findings_table(group: Group, settings: SummarySettings) -> Table | None:
    """The other metrics that were computed, or None where there are none."""
    lines = findings(pool_runs(group.results, settings))
    if not lines:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_column(style="dim")
    for each in lines:
        table.add_row(*(Text(legible(cell)) for cell in (each.title, each.value, each.remark)))
    return table


def _cells(estimate: DepthEstimate, n_layers: int) -> list[Text]:
    if estimate.layer is None or estimate.ratio is None:
        return [Text("–"), Text("–"), Text("")]
    filled = round(estimate.ratio * _BAR)
    bar = Text("█" * filled + "░" * (_BAR - filled))
    return [Text(f"{estimate.layer} of {n_layers}"), Text(f"{estimate.ratio:.2f}"), bar]
