"""Leave layers out or run them twice, by keyboard, and see the model's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical

from depthtui.data.explanation import Explanation
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import LOGIT, lens_of
from depthtui.data.pieces import Piece
from depthtui.data.run import RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.metrics.patch import NO_SOURCE, why_not_beside
from depthtui.metrics.spec import Measure
from depthtui.prompts.tasks import prompt_title
from depthtui.token_text import printable_sentence
from depthtui.tui.commands import moving, what_if
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.panes.depth_pair import DepthPair
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.lens_pair import LensPair
from depthtui.tui.panes.output_bars import OptionBars, OutputBars
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.stack_pane import StackPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.view import View
from depthtui.tui.panes.what_if_summary import WhatIfPrompts, WhatIfSummary
from depthtui.tui.screens.dialogs.export_screen import open_export
from depthtui.tui.screens.dialogs.what_if_export import pruned_model
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import SessionRun
from depthtui.tui.state.status import status_of
from depthtui.tui.state.verdicts import LastReading
from depthtui.tui.state.what_if import CHEAPEST_RANKING, Stack, WhatIf, next_metric

ALL_ON = "Every layer is on already."
ALL_RANKED = "The cost of every layer and the order of its parts are there already."
PRUNES: Mapping[Piece, str] = {
    "layer": "p prunes layers.",
    "part": "p prunes parts: attentions and MLPs, each by itself.",
}
RUN_ONCE = "The layers of this model run once."
RUN_OFTEN = "The blocks of this model run several times already."

LIKELIHOOD_CHANGE = Explanation(
    "Likelihood change",
    "How much likelier the changed model makes each token of the prompt, given the tokens before "
    "it.",
    "log p~ - log p, nats: p of the clean run, p~ of the changed one",
    "Below 0: the token has become less likely. The first token is predicted by none.",
    "The tokens that need the layers that are off: the change of the loss is minus the mean of "
    "these values.",
)


class WhatIfScreen(LiveScreen):
    """The stack of layers on the left, the output without some of them on the right.

    Args:
        explorer: runs things.
        run: the clean run.
        cursor: the first cursor.
        layer_order: `up` has layer 0 at the bottom.
        changes: settings with the first layers to be off, or run twice.
    """

    KEYS = what_if.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of(KEYS), *moving.DIGITS]
    footer_commands = what_if.FOOTER
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../what_if.tcss"]  # type: ignore[assignment]
    AUTO_FOCUS = "StackPane"
    what_if: WhatIf
    PANE_ORDER = ("stack", "lens", "output", "depths", "what-if-prompts", "prompt")

    def __init__(
        self,
        explorer: Explorer,
        run: SessionRun,
        cursor: Cursor,
        layer_order: str,
        changes: RunSettings,
    ) -> None:
        super().__init__(explorer)
        self.what_if = WhatIf(explorer, run, self.show_words)
        self._first_changes = changes
        self._first_cursor = cursor
        self._first_order = layer_order
        self._readings = (LastReading(), LastReading())
        self._likelihood = likelihood_change(self.what_if.clean)

    def compose(self) -> ComposeResult:
        yield StatusLine(id="status", classes="title-line")
        yield PromptPane(id="prompt", name="Prompt", classes="always")
        yield PaneTabs(id="tabs")
        with Horizontal(id="panes"):
            with Vertical(classes="column", id="stack-column"):
                yield StackPane(id="stack", name="Layers", classes="always")
            with Container(id="changes"):
                with Vertical(classes="column", id="lens-column"):
                    yield LensPair(id="lens", name="Lens")
                with Vertical(classes="column", id="summary-column"):
                    yield WhatIfSummary(id="what-if-summary", name="What if", classes="always")
                    has_options = bool(self.what_if.clean.prompt.choices)
                    kind, name = (OptionBars, "Options") if has_options else (OutputBars, "Output")
                    yield kind(id="output", name=name)
                    yield DepthPair(("changed", "clean"), id="depths", name="Depth")
                    yield WhatIfPrompts(id="what-if-prompts", name="Session")
        yield KeyFooter()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(WhatIfSummary).can_focus = False
        self.layer_order = self._first_order
        n_layers = self.what_if.clean.model.n_layers
        self.what_if.change(Stack.of(n_layers, self._first_changes))
        self.redraw()
        self.go(*self._first_cursor)
        if self.explorer.session.live is None:
            # This ranking takes one forward pass, and orders the layers from the start.
            self.what_if.request_quietly(CHEAPEST_RANKING)

    # Showing ----------------------------------------------------------------

    def extent(self) -> tuple[int, int]:
        clean = self.what_if.clean
        return clean.model.n_layers, len(clean.tokens) - 1

    def shown_result(self) -> RunResult | None:
        return self.what_if.changed

    def changed(self) -> None:
        """Start the next task, and redraw with the next frame."""
        self.what_if.proceed()
        super().changed()

    @property
    def _settings(self) -> SummarySettings:
        """How both runs are read, by one lens: fitted lenses read clean runs alone."""
        settings = self.explorer.settings.summary_settings()
        runs = (self.what_if.changed, self.what_if.clean)
        read = all(lens_of(run, settings.lens) is not None for run in runs)
        return settings if read else replace(settings, lens=LOGIT)

    def view(self) -> View:
        what_if, settings = self.what_if, self._settings
        is_live = self.explorer.session.live is not None
        runs = (what_if.changed, what_if.clean)
        changed, clean = (
            reading.of(run, settings, is_live)
            for reading, run in zip(self._readings, runs, strict=True)
        )
        return replace(
            super().view(),
            result=what_if.changed,
            reading=changed,
            other_result=what_if.clean,
            other_reading=clean,
            names=("changed", "clean"),
            measure=self._likelihood,
            lens=settings.lens,
        )

    def view_in(self, pane: Pane, view: View) -> View:
        match pane.id:
            case "stack":
                return replace(view, result=view.other_result)
            case "output":
                # The model's output is read without a lens.
                return replace(view, lens=LOGIT)
        return view

    def draw(self) -> None:
        what_if = self.what_if
        self.pace = self.explorer.engine.pace_of(what_if.clean.model)
        self.show_view()
        self.query_one(StackPane).show_stack(
            what_if.stack,
            what_if.measured,
            self._settings.tokens,
            what_if.kept_parts,
            what_if.piece,
        )
        writing = self.explorer.work.writing
        kl = writing.healed_kl(what_if.stack.skipped_layers) if writing is not None else ()
        self.query_one(WhatIfSummary).show_effect(what_if.stack, what_if.effect, kl)
        self.query_one(WhatIfPrompts).show_effects(what_if.effects, what_if.rule)
        self._show_status()

    def _show_status(self) -> None:
        clean, status = self.what_if.clean, status_of(self.explorer)
        self.query_one(StatusLine).show(
            replace(
                status,
                model=clean.model,
                task=f"what if · {printable_sentence(prompt_title(clean.prompt, 60))}",
                number="",
                is_wrapped=clean.settings.chat_template,
                # A run that was stopped is not this one.
                state="ready" if status.state == "stopped" else status.state,
                origin="",
                memory=0,
            )
        )

    def show_words(self, words: str) -> None:
        """Show a notice; its words may be untrusted."""
        self.notify(printable_sentence(words), markup=False)

    def watch_measure(self, measure: Measure) -> None:
        """Do nothing: only the prompt shows a measure here, its own."""

    def _activate(self, pane: Pane) -> None:
        """On a narrow screen, show the stack and one other pane."""
        super()._activate(pane)
        if pane.has_class("always"):
            pane = next(iter(self.query(".beside").results(Pane)), self.query_one(LensPair))
        for other in self.query("#changes Pane"):
            other.set_class(other is pane, "beside")
        for column in self.query("#changes .column"):
            column.set_class(pane in column.query(Pane), "beside")

    # Commands ---------------------------------------------------------------

    def counted_layers(self) -> range:
        """The layer at the cursor, or as many from it on as the count."""
        last = self.what_if.clean.model.n_layers - 1
        first = min(self.cursor.layer, last)
        return range(first, min(first + self.pop_count(), last + 1))

    @property
    def is_writing(self) -> bool:
        """Whether a model is being written."""
        return self.explorer.phase is Phase.WRITING

    def why_not_in_passes(self) -> str:
        """Why blocks cannot be turned off in every pass."""
        return "" if self.what_if.clean.model.calls else RUN_ONCE

    def why_not_twice(self) -> str:
        """Why blocks cannot be run twice."""
        return RUN_OFTEN if self.what_if.clean.model.calls else ""

    def why_not_patched(self) -> str:
        """Why no state can be patched in."""
        reason = why_not_beside(self.what_if.clean)
        if not reason:
            return ""
        hint = "esc, then L, names one." if reason == NO_SOURCE else ""
        return f"{reason[0].upper()}{reason[1:]}. {hint}".rstrip()

    def switch(self, part: str) -> None:
        """Turn the layers at the cursor, or one of their sublayers, off or on."""
        missing = self.what_if.clean.model.split_missing
        if part != "layer" and missing:
            self.show_words(f"Only whole layers can be turned off: {missing}")
            return
        self.change(self.what_if.stack.switch(self.counted_layers(), part))

    def switch_in_all_passes(self) -> None:
        """Turn the blocks at the cursor off or on, in each pass that runs them."""
        model = self.what_if.clean.model
        layers = [other for layer in self.counted_layers() for other in model.layers_of(layer)]
        self.change(self.what_if.stack.switch(layers, "layer"))

    def repeat(self) -> None:
        """Run the layers at the cursor twice, one block after itself, or once again."""
        self.change(self.what_if.stack.repeat(self.counted_layers()))

    def patch(self) -> None:
        """Patch the other prompt's states in at the cursor's token, or remove them."""
        clean, token = self.what_if.clean, self.cursor.token
        part = "layer" if clean.model.split_missing else clean.settings.patch_part
        self.change(self.what_if.stack.patch(self.counted_layers(), token, part))

    def exit_early(self) -> None:
        """Turn every layer from the cursor's on off."""
        last = self.what_if.clean.model.n_layers - 1
        self.change(self.what_if.stack.exit_at(min(self.cursor.layer, last)))

    def all_on(self) -> None:
        """Turn every layer on."""
        stack = self.what_if.stack
        full = stack.full(len(stack.off))
        if full == stack:
            self.show_words(ALL_ON)
        self.change(full)

    def undo(self) -> None:
        """Take the last change back, or as many as the count."""
        self.what_if.undo(self.pop_count())
        self.redraw()

    def redo(self) -> None:
        """Make the change again, or as many as the count."""
        self.what_if.redo(self.pop_count())
        self.redraw()

    def prune(self) -> None:
        """Turn the least useful layer or part off, or as many as the count."""
        self.what_if.prune(self.pop_count())
        self.redraw()

    def switch_pieces(self) -> None:
        """Let the key that prunes turn parts of layers off, or layers again."""
        missing = self.what_if.clean.model.split_missing
        if missing:
            self.show_words(f"Only whole layers can be turned off: {missing}")
            return
        self.what_if.switch_pieces()
        self.show_words(PRUNES[self.what_if.piece])
        self.redraw()

    def keep(self) -> None:
        """Keep the changed run in the session's list."""
        self.what_if.keep()

    def rank_layers(self) -> None:
        """Compute the ablation of every layer; then the order of their parts."""
        metric = next_metric(self.what_if.clean)
        if metric is None:
            self.show_words(ALL_RANKED)
        elif reason := metric.why_unavailable(self.what_if.clean):
            self.show_words(f"{metric.title} is unavailable: {reason}.")
        else:
            self.what_if.request(metric.name)
        self.redraw()

    def change(self, stack: Stack) -> None:
        """Run this stack of layers, and show it."""
        self.what_if.change(stack)
        self.redraw()

    def export(self) -> None:
        """Save the clean runs and the changed ones."""
        results = self.what_if.results
        title = "the clean run" if self.what_if.stack.is_clean else "clean and changed"
        extras = pruned_model(self.explorer, self.what_if)
        open_export(self.app, self.explorer, title, results, self.cursor.token, extras)

    def close(self) -> None:
        self.what_if.close()
        self.dismiss(None)


def likelihood_change(clean: RunResult) -> Measure:
    """How much likelier each token of the prompt became, in nats; negative where less likely."""

    def values(changed: RunResult) -> np.ndarray | None:
        before, after = (_output_log_probabilities(run) for run in (clean, changed))
        if before is None or after is None or changed.settings.is_clean:
            return None
        # A token's prediction is shown at the token that is predicted.
        return np.concatenate([np.full((1, 1), np.nan), after - before], axis=1)

    return Measure(
        "likelihood_change",
        "Likelihood change",
        "log p~ - log p, nats",
        values,
        diverging=True,
        explained=LIKELIHOOD_CHANGE,
    )


def _output_log_probabilities(run: RunResult) -> np.ndarray | None:
    """The log probability of every token but the first, `[1, T-1]`."""
    lens = run.get(LogitLens)
    return None if lens is None else lens.next_log_probability[-1:, :-1]
