"""A text that the model writes, with the parts received so far."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from depthtui.data.generation import Continuation, Generation
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Event,
    Failed,
    GeneratedTokens,
    GenerationFinished,
    GenerationStarted,
    Progress,
)
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import GenerationSettings
from depthtui.depth.reading import text_verdicts
from depthtui.report.generation import trend_sentence

Stage: TypeAlias = Literal["waiting", "writing", "done", "failed"]


class GenerationState:
    """A text and its progress.

    Args:
        run_id: the engine's id of the text.
        model: the model that writes.
        prompt: the prompt to answer; its own answer is not read.
        settings: settings of the writing.

    Attributes:
        stage: its progress.
        generation: the text, with the parts received so far.
        seconds: time in the engine so far.
        problem: why it failed, in words; may be empty.
        preparing: the progress of fitting its lens, in words; empty for none.
    """

    def __init__(
        self, run_id: int, model: ModelInfo, prompt: Prompt, settings: GenerationSettings
    ) -> None:
        self.run_id = run_id
        self.prompt = prompt
        self.stage: Stage = "waiting"
        self.seconds = 0.0
        self.problem = ""
        self.preparing = ""
        no_tokens = PromptTokens(np.zeros(0, np.int64), [], 0)
        self._generation = Generation.empty(model, prompt, settings, no_tokens)
        self._unjoined: list[Continuation] = []

    @property
    def is_live(self) -> bool:
        """Whether the engine writes it or will next."""
        return self.stage in ("waiting", "writing")

    @property
    def settings(self) -> GenerationSettings:
        return self._generation.settings

    @property
    def model(self) -> ModelInfo:
        return self._generation.model

    @property
    def generation(self) -> Generation:
        if self._unjoined:
            # Joined only when they are read: parts come faster than frames.
            parts = [self._generation.continuation, *self._unjoined]
            parts = [part for part in parts if len(part)]
            self._unjoined = []
            if parts:
                self._generation.continuation = Continuation.joined(parts)
        return self._generation

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second; 0 where unknown, as for a text from the cache."""
        provenance = self._generation.provenance
        if provenance is not None and provenance.cached:
            return 0.0
        return len(self.generation.continuation) / self.seconds if self.seconds else 0.0

    def handle(self, event: Event) -> bool:
        """Update the text; returns whether the event was about it."""
        if getattr(event, "run_id", -1) != self.run_id:
            return False
        match event:
            case GenerationStarted(tokens=tokens):
                self.stage = "writing"
                self._generation = replace(self._generation, tokens=tokens)
            case GeneratedTokens(part=part, seconds=seconds):
                self.seconds = seconds
                self._unjoined.append(part)
            case GenerationFinished(generation=generation):
                self.stage, self._generation, self._unjoined = "done", generation, []
                if generation.provenance is not None:
                    self.seconds = generation.provenance.seconds
            case Failed():
                self.end(event.words)
        return True

    def prepare(self, progress: Progress) -> None:
        """Update the progress of fitting the text's lens."""
        if self.stage == "writing" and not len(self.generation.continuation):
            share = progress.done / max(1, progress.total)
            self.preparing = f"{progress.stage} {share:.0%}"

    def end(self, problem: str) -> None:
        """End the writing; the text so far stays."""
        if self.is_live:
            self.stage, self.problem = "failed", problem
            self._generation.stopped_by = "user"

    def verdict_words(self) -> str:
        """How many layers its tokens need, once it is written; thinking and answer separately.

        Empty until then.
        """
        if self.is_live or not len(self.generation.continuation):
            return ""
        verdicts = text_verdicts(self.generation)
        if len(verdicts) > 1:
            # The whole text's count lies between those of its parts.
            verdicts.pop("text", None)
            return " ".join(
                f"{name.capitalize()}: {verdict.text}" for name, verdict in verdicts.items()
            )
        return next((verdict.text for verdict in verdicts.values()), "")

    def trend_words(self) -> str:
        """Whether depth rises or falls as the text goes on, once written; empty until then."""
        continuation = self.generation.continuation
        return "" if self.is_live or not len(continuation) else trend_sentence(continuation)

    def as_prompt(self) -> Prompt:
        """Prompt and text as one prompt, to be read teacher-forced; the text is the answer."""
        continuation = self.generation.continuation
        if self._generation.stopped_by == "end":
            # The token that ends a text is not part of its words.
            continuation = replace(
                continuation, texts=continuation.texts[:-1], ids=continuation.ids[:-1]
            )
        question = self.prompt.question
        # This is no prompt of its task: it must not be pooled with those.
        return Prompt(question + continuation.text, continuation.text, task="written")
