"""Watch the model write: its text as it grows, and the depth of each token."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from depthtui.data.lens_view import LOGIT
from depthtui.data.run import PromptTokens, RunResult
from depthtui.data.run_settings import GenerationSettings, RunSettings
from depthtui.metrics import logit_lens
from depthtui.metrics.spec import Measure
from depthtui.metrics.token_depths import DECIDED, TOKEN_DEPTHS, TokenDepthMeasure
from depthtui.report.explanations import of_token_depth
from depthtui.tui.commands import generation, moving
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.panes.generated_text import GeneratedText
from depthtui.tui.panes.generation_line import GenerationLine
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.token_depth_curve import TokenDepthCurve
from depthtui.tui.panes.token_lens import TokenLens
from depthtui.tui.panes.view import View
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.generation import GenerationState

STILL_WRITING = "The text is still being written: esc ends it, then enter opens it as a run."
NOTHING_WRITTEN = "Nothing is written yet: the first token is still to come."

_WARM = 0.7
"""The temperature of a new seed after a greedy text."""


class GenerationScreen(LiveScreen):
    """The text and its depth curve on the left, the lens of one token on the right.

    Args:
        explorer: writes; its `generation_state` is shown.
        layer_order: `up` has layer 0 at the bottom.
    """

    KEYS = generation.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of(KEYS), *moving.DIGITS]
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../generation.tcss"]  # type: ignore[assignment]
    AUTO_FOCUS = "GeneratedText"
    PANE_ORDER = ("generated-text", "depth-curve", "choice")

    def __init__(self, explorer: Explorer, layer_order: str) -> None:
        super().__init__(explorer)
        self._first_order = layer_order
        self._depth = DECIDED
        self._follows = True
        self._shown_text: RunResult | None = None
        self._stage: tuple[bool, bool] | None = None

    def compose(self) -> ComposeResult:
        yield GenerationLine(id="status", classes="title-line")
        yield Static(id="verdict-words", classes="title-line")
        yield Static(id="trend-words", classes="title-line")
        yield PaneTabs(id="tabs")
        with Horizontal(id="panes"):
            with Vertical(id="writing"):
                yield GeneratedText(id="generated-text", name="Text", classes="always")
                yield TokenDepthCurve(id="depth-curve", name="Depth")
            yield TokenLens(id="choice", name="Lens")
        yield KeyFooter()

    def on_mount(self) -> None:
        super().on_mount()
        settings = self.explorer.settings
        self.set_colours(settings.ramp, settings.palette)
        self.layer_order = self._first_order
        generation_state = self.explorer.work.text
        if generation_state is None or not self.explorer.generates_for(generation_state):
            former = generation_state.settings if generation_state else None
            wrapped = self.explorer.chat_template
            self.begin(replace(former, chat_template=wrapped) if former else None)
        self._show_measure()
        self.redraw()
        self.go(*self.extent())

    # Showing ----------------------------------------------------------------

    @property
    def generation_state(self) -> GenerationState | None:
        return self.explorer.work.text

    def extent(self) -> tuple[int, int]:
        if self._shown_text is None:
            return 0, 0
        return self._shown_text.model.n_layers, len(self._shown_text.tokens) - 1

    def shown_result(self) -> RunResult | None:
        return self._shown_text

    def view(self) -> View:
        state = self.generation_state
        written_through = state.settings.lens if state else LOGIT
        return replace(super().view(), result=self._shown_text, written_through=written_through)

    def draw(self) -> None:
        generation_state = self.generation_state
        if generation_state is None:
            return
        self._shown_text = as_result(generation_state)
        self.show_view()
        if self._follows:
            self.go(self.cursor.layer or self.extent()[0], self.extent()[1])
        self.query_one(GenerationLine).show_generation(generation_state, self._depth)
        stage = (generation_state.is_live, self._shown_text is None)
        if stage != self._stage:
            self._stage = stage
            self._show_sentence("#verdict-words", generation_state.verdict_words())
            self._show_sentence("#trend-words", generation_state.trend_words())

    def _show_sentence(self, where: str, words: str) -> None:
        """Show a sentence above the panes; without one, the panes get its line."""
        line = self.query_one(where, Static)
        line.update(Content(words))
        line.set_class(bool(words), "said")

    def _show_measure(self) -> None:
        self.measure = depth_measure(self._depth, lambda: self.generation_state)

    def _activate(self, pane: Pane) -> None:
        """On a narrow screen, show either the lens or the curve."""
        super()._activate(pane)
        if not pane.has_class("always"):
            self.set_class(pane.id == "choice", "lens")

    # Commands ---------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether the text is being written."""
        return self.generation_state is not None and self.generation_state.is_live

    @property
    def is_over(self) -> bool:
        """Whether no text is being written."""
        return not self.is_live

    def why_empty(self) -> str:
        """Why there is no text to act on."""
        return NOTHING_WRITTEN if self._shown_text is None else ""

    def why_not_open_run(self) -> str:
        """Why the text cannot be opened as a run."""
        return self.why_empty() or (STILL_WRITING if self.is_live else "")

    def write_again(self) -> None:
        """Write the text again with the same settings."""
        self.begin(self.generation_state.settings if self.generation_state else None)

    def write_with_new_seed(self) -> None:
        """Write the text again with a new random seed; greedy texts get a temperature."""
        state = self.generation_state
        settings = state.settings if state else GenerationSettings()
        warm = settings.temperature or _WARM
        self.begin(replace(settings, seed=random.randrange(1000), temperature=warm))

    def open_as_run(self) -> None:
        """Read prompt and text teacher-forced, on the main screen, at the token at the cursor."""
        state = self.generation_state
        assert state is not None
        self.explorer.run(state.as_prompt(), chat_template=state.settings.chat_template)
        self.dismiss(self.cursor)

    def begin(self, settings: GenerationSettings | None = None) -> None:
        """Write the text again, from the start."""
        user = self.explorer.generation_settings()
        self._follows = True
        self.explorer.generate(
            replace(
                settings or user,
                lens_top_k=user.lens_top_k,
                kl_threshold=user.kl_threshold,
                overlap_threshold=user.overlap_threshold,
            )
        )
        self.redraw()

    def choose_settings(self) -> None:
        """Choose how the text is written, and write it again."""
        from depthtui.tui.screens.dialogs.generation_form import GenerationForm

        state = self.generation_state
        if state is None:
            return
        settings = state.settings

        def chosen(values: dict[str, Any] | None) -> None:
            if values is not None:
                self.act("write_again", partial(self.begin, replace(settings, **values)))

        self.app.push_screen(GenerationForm(settings, state.model.has_chat_template), chosen)

    def close(self) -> None:
        self.dismiss(None)

    def move(self, rows: int, tokens: int) -> None:
        super().move(rows, tokens)
        if tokens:
            self._follows = self.cursor.token == self.extent()[1]

    def go_to_edge(self, where: str) -> None:
        super().go_to_edge(where)
        self._follows = self._follows or where == "last_token"

    def go_to_first_token(self) -> None:
        self._follows = self._follows and self._count > 0
        super().go_to_first_token()

    def go(self, layer: int, token: int) -> None:
        super().go(layer, token)
        self._follows = self._follows and self.cursor.token == self.extent()[1]

    def turn_measure(self, step: int) -> None:
        """Colour by the next measure of depth."""
        place = TOKEN_DEPTHS.index(self._depth) + step
        self._depth = TOKEN_DEPTHS[place % len(TOKEN_DEPTHS)]
        self._show_measure()
        self.redraw()

    def export(self) -> None:
        from depthtui.report.generation_files import generation_report

        if self.generation_state is not None:
            # The export has the text so far, without tokens written while the dialog is open.
            text_so_far = replace(self.generation_state.generation)
            report = partial(generation_report, [text_so_far], self.explorer.settings.palette)
            ask_where(self.app, self.explorer, Exportable("this text", "generations", report))


def as_result(generation_state: GenerationState) -> RunResult | None:
    """The text as a result for panes: token n with the lens that chose it; None while empty."""
    continuation = generation_state.generation.continuation
    if not len(continuation):
        return None
    result = RunResult(
        model=generation_state.model,
        prompt=generation_state.prompt,
        settings=RunSettings(),
        tokens=PromptTokens(continuation.ids, continuation.texts, len(continuation)),
    )
    result.put(logit_lens.METRIC.name, continuation.lens)
    return result


def depth_measure(
    depth: TokenDepthMeasure, generation_state: Callable[[], GenerationState | None]
) -> Measure:
    """A measure of depth, one row of values on the scale from the first layer to the output."""

    def values(result: RunResult) -> np.ndarray | None:
        state = generation_state()
        if state is None:
            return None
        depths = getattr(state.generation.continuation.depths, depth.name)
        return np.asarray(depths, np.float64)[None, : len(result.tokens)]

    current = generation_state()
    limits = (0.0, float(current.model.n_layers)) if current else None
    return Measure(
        depth.name,
        depth.title,
        depth.meaning,
        values,
        limits=limits,
        reads_residual=True,
        explained=of_token_depth(depth.name),
    )
