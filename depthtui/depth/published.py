"""The effective depths that the paper reports, for comparison.

Source: Hu, Zhou, Zhang, "What Affects the Effective Depth of Large Language
Models?" (arXiv 2512.14064). Layers are 0-based indices e; the ratio is
(e + 1) / L. The KL rule, the overlap rule and the sign of the cosine are sound
in the published code, so a faithful run should give these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from depthtui.data.model import ModelInfo
from depthtui.depth import rules

RULES = tuple(rule.name for rule in rules.ALL if rule.of_paper)
"""The paper's three rules."""

DATASETS: dict[str, str] = {"hellaswag": "HellaSwag", "gsm8k": "GSM8K", "aime24": "AIME24"}
"""The paper's data sets, with their names in texts."""

PROTOCOL = (
    "First 10 examples of HellaSwag validation (context and gold ending) and of GSM8K test "
    "(instruction, question and gold solution), 5 examples of AIME24 of at most 400 tokens; "
    "teacher-forced, no chat template, every token counted, 8-bit weights with bfloat16 "
    "arithmetic, KL threshold 0.5, overlap threshold 0.3."
)
"""How the published values were obtained, in words."""

PAPER = f"Paper: layers used on {' / '.join(DATASETS.values())}."
"""The meaning of the published numbers, in a sentence."""

NEAREST: dict[str, str] = {
    "commonsense": "hellaswag",
    "grade_school": "gsm8k",
    "word_problem": "gsm8k",
    "competition": "aime24",
}
"""The paper's data set that is most like each task of depthtui, by the task's name."""


@dataclass(frozen=True)
class PublishedModel:
    """One row of the paper's table.

    Attributes:
        name: the last part of the hub id, such as `Qwen2.5-7B`.
        n_layers: L.
        depths: rule -> data set -> 0-based layer.
    """

    name: str
    n_layers: int
    depths: Mapping[str, Mapping[str, int]]

    def counts(self, rule: str) -> list[int]:
        """The published numbers of layers on the data sets, e + 1, in the paper's order."""
        return [layer + 1 for layer in self.depths[rule].values()]


# name, layers, then HellaSwag/GSM8K/AIME24 by the cosine, KL and overlap rules
_TABLE = """
DeepSeek-R1-Distill-Qwen-1.5B  28  17/16/17  20/1/24   23/23/24
Qwen2.5-1.5B-Instruct          28  16/20/19  21/22/23  23/23/23
Qwen2.5-Math-1.5B              28  16/16/16  20/22/23  23/23/23
DeepSeek-R1-Distill-Qwen-7B    28  16/16/16  24/24/24  25/25/24
Qwen2.5-7B-Instruct            28  17/20/18  25/25/25  26/26/26
Qwen2.5-Math-7B                28  16/11/16  23/23/23  24/24/24
DeepSeek-R1-Distill-Qwen-14B   48  26/30/30  40/39/41  44/44/44
Qwen2.5-14B-Instruct           48  27/32/30  40/41/42  45/45/45
Qwen2.5-14B                    48  27/30/30  40/40/42  45/45/45
DeepSeek-R1-Distill-Qwen-32B   64  42/42/46  58/55/57  61/58/58
Qwen2.5-32B-Instruct           64  43/46/43  60/58/58  61/60/60
Qwen2.5-32B                    64  43/46/46  60/57/59  61/59/60
"""


def _read(line: str) -> PublishedModel:
    name, n_layers, *cells = line.split()
    depths = {
        rule: dict(zip(DATASETS, map(int, cell.split("/")), strict=True))
        for rule, cell in zip(RULES, cells, strict=True)
    }
    return PublishedModel(name, int(n_layers), depths)


PUBLISHED: dict[str, PublishedModel] = {
    model.name: model for model in map(_read, _TABLE.strip().splitlines())
}
"""The paper's table, by model name."""

_BY_LOWER_NAME = {name.lower(): model for name, model in PUBLISHED.items()}


def published_for(model_name_or_id: str) -> PublishedModel | None:
    """The paper's row for a model name, a hub id or a local folder of that name, or None.

    Only the last part is compared, ignoring case, so `Qwen/Qwen2.5-7B-Instruct` and
    `models/qwen2.5-7b-instruct/` are the same model.
    """
    parts = model_name_or_id.replace("\\", "/").rstrip("/").split("/")
    return _BY_LOWER_NAME.get(parts[-1].strip().lower())


def published_row(model: ModelInfo) -> PublishedModel | None:
    """The paper's row for a model, or None."""
    if model.spec.adapter:
        return None
    row = published_for(model.spec.name) or published_for(model.name)
    return row if row is not None and row.n_layers == model.n_layers else None
