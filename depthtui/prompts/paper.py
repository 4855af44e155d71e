"""The prompts and settings of the paper's effective depths."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from depthtui.data.run_settings import SummarySettings
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.datasets import DatasetChoice


@dataclass(frozen=True)
class MeasuringProtocol:
    """Prompts, and how effective depths are computed from their runs.

    Attributes:
        datasets: the prompts; prompts of one set are pooled.
        chat_template: whether prompts are wrapped in the model's chat template.
        summary: how the runs of one set are pooled, and the thresholds of the rules.
    """

    datasets: tuple[DatasetChoice, ...]
    chat_template: bool
    summary: SummarySettings

    def in_words(self, names: Collection[str], seed: int) -> str:
        """The protocol for these data sets, in a sentence.

        Args:
            names: names of data sets.
            seed: seed of the positions.
        """
        sets = []
        for choice in self.datasets:
            if choice.name in names:
                title = DATASETS[choice.name].title
                most = f" of at most {choice.max_tokens} tokens" if choice.max_tokens else ""
                sets.append(f"the first {choice.examples} examples of {title}{most}")
        return (
            f"The paper's protocol: {', '.join(sets)}; teacher-forced, without a chat template, "
            f"every token counted, KL threshold {self.summary.kl_threshold:g}, overlap threshold "
            f"{self.summary.overlap_threshold:g}, layers skipped before four of the positions 8, "
            f"16, … drawn by the seed {seed}. Its weights had 8 bits: --quantize 8bit."
        )


PAPER_PROTOCOL = MeasuringProtocol(
    datasets=(
        DatasetChoice("hellaswag", 10),
        DatasetChoice("gsm8k", 10),
        DatasetChoice("aime24", 5, max_tokens=400),
    ),
    chat_template=False,
    summary=SummarySettings(kl_threshold=0.5, overlap_threshold=0.3, include_first_token=True),
)
"""The protocol of Hu, Zhou, Zhang (arXiv 2512.14064).

The paper counts the 400 tokens with the tokenizer of Qwen2.5, whichever model
is measured; another tokenizer may keep other problems of AIME 2024.
"""
