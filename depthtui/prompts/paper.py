"""What the paper measures its effective depths on."""

from __future__ import annotations

from dataclasses import dataclass

from depthtui.data.run_settings import SummarySettings
from depthtui.prompts.datasets import DatasetChoice


@dataclass(frozen=True)
class MeasuringProtocol:
    """Prompts, and how effective depths are read from their runs.

    Attributes:
        datasets: the prompts; those of one set are pooled.
        chat_template: whether prompts are wrapped in the model's chat template.
        summary: how the runs of one set are pooled, and the thresholds of the rules.
    """

    datasets: tuple[DatasetChoice, ...]
    chat_template: bool
    summary: SummarySettings


PAPER_PROTOCOL = MeasuringProtocol(
    datasets=(
        DatasetChoice("hellaswag", 10),
        DatasetChoice("gsm8k", 10),
        DatasetChoice("aime24", 5, max_tokens=400),
    ),
    chat_template=False,
    summary=SummarySettings(kl_threshold=0.5, overlap_threshold=0.3, include_first_token=True),
)
"""That of Hu, Zhou, Zhang (arXiv 2512.14064).

The paper counts the 400 tokens with the tokenizer of Qwen2.5, whichever model
is measured; who counts with another one may keep other problems of AIME 2024.
"""
