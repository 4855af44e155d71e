"""The line on top of a generated text: its sampling, its speed, its depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.metrics.token_depths import TokenDepthMeasure
from depthtui.report.generation import ENDS
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import Piece, number
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.state.generation import GenerationState
from depthtui.tui.state.status import Status


class GenerationLine(StatusLine):
    """A status line for a text."""

    _words: Sequence[str] = ()
    _stage = "waiting"

    def show_generation(
        self, generation_state: GenerationState, measure: TokenDepthMeasure
    ) -> None:
        """Show this text's state."""
        self._stage = generation_state.stage
        self._words = _words(generation_state, measure)
        self.show(Status(model=generation_state.model, task=_how(generation_state)))
        self.refresh()

    def _left_pieces(self, room: int) -> list[Piece]:
        """The sampling settings matter more than the model's details, and than its whole name."""
        pieces, how = super()._left_pieces(room), self.status.task
        if any(how in text for text, _ in pieces) or self.status.model is None:
            return pieces
        name = fit_shown(printable_sentence(self.status.model.name), max(0, room - len(how) - 2))
        return [(name, self.pane_styles.strong), (f"  {how}", self.pane_styles.text)]

    def _state(self) -> list[Piece]:
        styles = self.pane_styles
        sign: dict[str, Piece] = {
            "waiting": ("◌ ", styles.muted),
            "writing": ("▸ ", styles.good),
            "done": ("● ", styles.good),
            "failed": ("■ ", styles.warning),
        }
        # A narrow line has only the first words.
        words = self._words[: 2 if self.size.width < 100 else None]
        return [sign[self._stage], (" · ".join(words), styles.text)]


def _how(generation_state: GenerationState) -> str:
    settings = generation_state.settings
    lens = "" if settings.lens == LOGIT else f" · {lens_title(settings.lens)}"
    ends = f"{lens}{' · chat template' * settings.chat_template}"
    if not settings.temperature:
        return f"greedy{ends}"
    top = f" · top-k {settings.top_k}" if settings.top_k else ""
    top += f" · top-p {settings.top_p:g}" if settings.top_p < 1 else ""
    return f"temperature {settings.temperature:g}{top} · seed {settings.seed}{ends}"


def _words(generation_state: GenerationState, measure: TokenDepthMeasure) -> list[str]:
    generation = generation_state.generation
    depths = getattr(generation.continuation.depths, measure.name)
    finite, count = depths[np.isfinite(depths)], len(generation.continuation)
    if generation_state.stage == "waiting" or (generation_state.stage == "writing" and not count):
        return [generation_state.preparing or "reading the prompt"]
    of_limit = f" of {generation_state.settings.max_tokens}" if generation_state.is_live else ""
    speed = (
        f"{generation_state.tokens_per_second:.1f} tokens/s"
        if generation_state.tokens_per_second
        else "cached"
    )
    mean = f"mean {measure.title} {number(float(finite.mean()))}" if len(finite) else ""
    end = "" if generation_state.is_live else ENDS.get(generation.stopped_by, "stopped")
    return [words for words in (f"{count}{of_limit} tokens", mean, speed, end) if words]
