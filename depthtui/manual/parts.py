"""The parts of the manual that are made from the program's values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from depthtui.data.explanation import Explanation
from depthtui.data.own_commands import PLACEHOLDERS
from depthtui.depth import rules
from depthtui.installing import install_extra
from depthtui.metrics.registry import ALL
from depthtui.metrics.spec import Metric
from depthtui.options import options_of
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS, WITH_CHOICES
from depthtui.report.explanations import VERDICT, of_metric
from depthtui.report.glossary import TERMS
from depthtui.report.reading_guide import GUIDE
from depthtui.settings import SHOWN_ONCE, Settings

EXTRAS = {
    "adapters": "merging LoRA adapters",
    "datasets": "data sets from the hub or Parquet, and tables as Parquet",
    "figures": "figures as PNG and PDF",
    "inspect": "models without layers in Inspect",
    "lm-eval": "models without layers in lm-evaluation-harness",
    "mlflow": "results in MLflow",
    "notebook": "frames of results, and progress bars in notebooks",
    "quantize": "8- and 4-bit weights",
    "serve": "the explorer in a browser",
    "tensorboard": "results in TensorBoard",
    "trackio": "results in Trackio",
    "wandb": "results in Weights & Biases",
}
"""Purpose of each extra."""

_WRITTEN_BY_ITSELF = ("last_model", "recent_models", *SHOWN_ONCE, "keys", "commands")
"""Settings that have a separate line in the page, or are written by the explorer."""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; cells are Markdown, with `|` escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |" for cells in lines
    )


def metrics_table() -> str:
    """Every metric: its name, its meaning, its cost."""
    rows = [(_name(metric), meaning(metric), _cost(metric)) for metric in ALL]
    return table(("metric", "what it tells", "cost"), rows)


def metric_sections() -> str:
    """Every metric as `I` explains it in the explorer."""
    return "\n\n".join(map(metric_section, ALL))


def metric_section(metric: Metric) -> str:
    """One metric as `I` explains it, with its name on the command line, cost and measures."""
    explanation = of_metric(metric)
    measures = "; ".join(f"{measure.title} `{measure.formula}`" for measure in metric.measures)
    heading = (
        f"### {metric.title}" if metric.derived_from else f"### {metric.title}: `{metric.name}`"
    )
    # A metric's formula is Markdown; its explanation has the formula as plain text.
    lines = [
        (name, metric.formula if name == "formula" else text)
        for name, text in _details(explanation)
    ]
    lines += [("cost", _cost(metric)), ("in the heatmap", measures)]
    return _section(heading, meaning(metric), lines)


def rule_sections() -> str:
    """Every rule as `I` explains it in the explorer."""
    return "\n\n".join(explanation_section(rule.explanation) for rule in rules.ALL)


def verdict_section() -> str:
    """The verdict as `I` explains it in the explorer, without its title, which the page has."""
    return _section("", VERDICT.description, _details(VERDICT))


def explanation_section(explanation: Explanation) -> str:
    """An explanation in Markdown."""
    return _section(f"### {explanation.title}", explanation.description, _details(explanation))


def screen_guide() -> str:
    """The panes, words and symbols of the explorer's screen."""
    return "\n\n".join(
        "\n".join(
            [f"## {part.title}", "", *(f"- **{name}**: {meaning}" for name, meaning in part.lines)]
        )
        for part in GUIDE
    )


def words() -> str:
    """Every word of the glossary."""
    return "\n".join(f"- **{term.name}**: {term.meaning}." for term in TERMS)


def tasks_table() -> str:
    """Every built-in task."""
    rows = [
        (f"`{task.name}`", task.all_levels, task.default_in_words, task.sentence)
        for task in TASKS.values()
    ]
    return table(("task", "levels", "default", "what it is"), rows)


def datasets_table() -> str:
    """Every data set that can be read as a task."""
    rows = [
        (f"`{dataset.name}`", dataset.sentence, dataset.hub_id) for dataset in DATASETS.values()
    ]
    return table(("data set", "what it is", "on the hub"), rows)


def with_choices_sentence() -> str:
    """The tasks and data sets that can be asked with options."""
    *others, last = (f"`{name}`" for name in WITH_CHOICES)
    return f"Those that have options are {', '.join(others)} and {last}."


def settings_table() -> str:
    """Every line of the settings file."""
    rows = [
        (f"`{name}`", f"`{option.text(option.default)}`", option.sentence)
        for name, option in options_of(Settings).items()
        if name not in _WRITTEN_BY_ITSELF
    ]
    return table(("setting", "default", "meaning"), rows)


def placeholders_table() -> str:
    """The placeholders of the user's own commands."""
    rows = [(f"`{{{name}}}`", words) for name, words in PLACEHOLDERS.items()]
    return table(("placeholder", "value"), rows)


def meaning(metric: Metric) -> str:
    """A metric's meaning, and whether it needs an answer."""
    return metric.description + (" Needs an answer." if metric.needs_answer else "")


def extras_table() -> str:
    """The purpose of each extra, and the command that installs it here."""
    rows = [(f"`{extra}`", use, f"`{install_extra(extra)}`") for extra, use in EXTRAS.items()]
    return table(("extra", "for", "install it"), rows)


def _details(explanation: Explanation) -> list[tuple[str, str]]:
    """The lines of an explanation without the first."""
    return [(name, text) for name, text in explanation.lines if name != "tells"]


def _name(metric: Metric) -> str:
    return metric.title if metric.derived_from else f"`{metric.name}`"


def _cost(metric: Metric) -> str:
    return f"none, comes with `{metric.derived_from}`" if metric.derived_from else metric.cost


def _section(heading: str, sentence: str, lines: Iterable[tuple[str, str]]) -> str:
    items = [f"- *{name}*: {text}" for name, text in lines if text]
    return "\n".join([heading, "", sentence, "", *items]).strip()
