"""What every report of a sweep says in the same words."""

from __future__ import annotations

from collections.abc import Iterable

from depthtui.data.depth import DepthEstimate
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.intervals import LEVEL
from depthtui.depth.published import DATASETS, PROTOCOL
from depthtui.depth.rules import RULE_CURVES
from depthtui.report.phrases import interval, rule_title
from depthtui.report.summary import weights_dtype
from depthtui.sweep.folder import model_title
from depthtui.sweep.plan import Cell
from depthtui.sweep.summary import CellSummary, PublishedDepth, SweepSummary


def rules_of(summary: SweepSummary) -> list[str]:
    """The rules by which any cell was measured."""
    found = {each.rule for cell in summary.cells for each in cell.depths}
    return [rule for rule in RULE_CURVES if rule in found]


def depth_words(estimate: DepthEstimate | None) -> str:
    """Layer, ratio and interval, such as `22 · 0.82 (20 … 24)`, or a dash."""
    if estimate is None or estimate.layer is None or estimate.ratio is None:
        return "–"
    words = f"{estimate.layer} · {estimate.ratio:.2f}"
    return words if estimate.interval is None else f"{words} ({interval(estimate)})"


def published_words(published: PublishedDepth | None) -> str:
    """The paper's layer and what ours is beyond it, such as `paper 21, +1`; may be empty."""
    if published is None:
        return ""
    near = "" if published.same_dataset else "≈ "
    beyond = "" if published.difference is None else f", {published.difference:+d}"
    return f"{near}paper {published.layer}{beyond}"


def how_run(cell: CellSummary) -> str:
    """Dtypes, devices and revisions of a cell's runs; several where its records differ."""
    models = [each.model for each in cell.records]
    found = [
        [weights_dtype(each) for each in models],
        [f"on {each.device}" for each in models],
        [f"revision {each.revision[:8]}" for each in models if each.revision],
    ]
    return " ".join("/".join(dict.fromkeys(each)) for each in found if each)


def model_heading(cells: list[CellSummary]) -> str:
    """A model, how deep it is and how it was run."""
    first = cells[0]
    how = ", ".join(dict.fromkeys(how_run(each) for each in cells))
    return f"{first.title}: {first.model.n_layers} layers, {how}"


def cautions(summary: SweepSummary) -> list[str]:
    """Sentences about what to doubt: rules without a layer, fragile crossings, mixed weights."""
    found = []
    for cell in summary.cells:
        where = f"{cell.title} on {cell.cell.task.title}"
        for each in cell.depths:
            if each.reason or each.warning:
                found.append(f"{where}, {rule_title(each.rule)}: {each.reason or each.warning}.")
        if len({each.model.fingerprint for each in cell.records}) > 1:
            found.append(f"{where}: the prompts were run with weights that differ, or copies.")
    return found


def absences(summary: SweepSummary) -> list[str]:
    """Sentences about what is not there, and why."""
    found = [f"{each}" for each in summary.failures]
    told = {(each.model, each.task) for each in summary.failures}
    for cell in summary.missing:
        if not {(model_title(cell.model), ""), _names(cell)} & told:
            found.append(f"{model_title(cell.model)} · {cell.task.title}: not run yet.")
    return found


def method(summary: SweepSummary) -> str:
    """What the numbers are, in a few sentences."""
    settings = summary.plan.summary
    return (
        "Each cell is the effective depth as a layer counted from 0, its ratio (layer + 1) / L "
        f"and its {LEVEL:.0%} bootstrap interval over prompts, where five or more were run. "
        f"{_pooling(settings)}"
    )


def published_note(summary: SweepSummary) -> str:
    """What the published values are; empty where none is shown."""
    found = [cell.published(each.rule) for cell in summary.cells for each in cell.depths]
    shown = [each for each in found if each is not None]
    if not shown:
        return ""
    near = dict.fromkeys(DATASETS[each.dataset] for each in shown if not each.same_dataset)
    others = f" ≈ is on another task than the paper's {' and '.join(near)}." if near else ""
    return (
        "Paper: Hu, Zhou, Zhang, arXiv 2512.14064, and by how many layers ours is deeper."
        f"{others} {PROTOCOL}"
    )


def other_titles(cells: Iterable[CellSummary]) -> list[str]:
    """What else was measured in any of the cells."""
    return list(dict.fromkeys(title for each in cells for title in each.means))


def _names(cell: Cell) -> tuple[str, str]:
    return model_title(cell.model), cell.task.title


def _pooling(settings: SummarySettings) -> str:
    first = "token 0 counted" if settings.include_first_token else "token 0 left out"
    return (
        f"Means over all tokens of a cell's prompts, {first}; KL below "
        f"{settings.kl_threshold:g} of its largest, overlap above {settings.overlap_threshold:g}."
    )
