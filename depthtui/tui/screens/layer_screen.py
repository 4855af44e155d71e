"""Inside a layer: the page of one layer at one token, live under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from depthtui.data.explanation import Explanation
from depthtui.data.inspection import Inspection
from depthtui.data.run import RunResult
from depthtui.metrics.spec import Measure
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.inspection_document import (
    inspection_document,
    notes_of,
    sentence_of,
    title_of,
)
from depthtui.token_text import printable, printable_chars
from depthtui.tui.commands import layer, moving
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.layer_part import PARTS, CellValues, LayerPart
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.view import View
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.screens.stepped_screen import SteppedScreen
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import SessionRun

_LEFT = 2
"""Parts in the left column."""

TOKENS_READ = Explanation(
    "Tokens read",
    "How much the layer reads of each token of the prompt, at the token under the cursor.",
    "sum over heads of ||alpha W_O v||, as a share of all tokens; where a model does not give the "
    "values, its mean attention",
    "Darker: more of the layer's write here comes from that token. Later tokens are not read.",
    "A darker token far back: the layer fetches something from there.",
    "Kobayashi et al., Attention is Not Only a Weight, 2020.emnlp-main.574",
)


class LayerScreen(SteppedScreen):
    """The parts of the layer under the cursor; prompt colours show the tokens that the layer reads.

    Args:
        explorer: asks the engine for pages.
        run: the run.
        cursor: the first cursor.
        layer_order: `up` has layer 0 at the bottom.
        lens: the lens of the page, by its name in `LENSES`.
        on_leave: called with the place at the end.
    """

    KEYS = layer.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of(KEYS), *moving.DIGITS]
    footer_commands = layer.FOOTER
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../layer.tcss"]  # type: ignore[assignment]
    AUTO_FOCUS = "#page-ends"
    PANE_ORDER = (*(part.id for part in PARTS), "values")

    def __init__(
        self,
        explorer: Explorer,
        run: SessionRun,
        cursor: Cursor,
        layer_order: str,
        lens: str,
        on_leave: Callable[[Cursor], object] = lambda cursor: None,
    ) -> None:
        super().__init__(explorer)
        self._run = run
        self._halted_at = run.halted_at
        self._first_order = layer_order
        self._lens = lens
        self._return_place = on_leave
        self._shown_page: Inspection | None = None
        last_layer, last_token = self.extent()
        place = Cursor(min(cursor.layer, last_layer), min(cursor.token, last_token))
        self.set_reactive(LayerScreen.cursor, place)

    def compose(self) -> ComposeResult:
        yield Static(id="place", classes="title-line")
        yield PromptPane(id="prompt", name="Prompt", classes="always")
        yield PaneTabs(id="tabs")
        parts = [LayerPart(part) for part in PARTS]
        with Horizontal(id="panes"):
            with Vertical(classes="column"):
                yield from parts[:_LEFT]
                yield CellValues(id="values", name="Values")
            with Vertical(classes="column"):
                yield from parts[_LEFT:]
        yield KeyFooter()

    def on_mount(self) -> None:
        super().on_mount()
        self.layer_order = self._first_order
        self.measure = _reads_measure(lambda: self._shown_page)
        self.watch_cursor(self.cursor)

    # Showing ------------------------------------------------------------------

    @property
    def page(self) -> Inspection | None:
        """The page at the cursor; None where it is not here."""
        return self.explorer.inspections.of(self._run, *self.cursor, self._lens)

    @property
    def problem(self) -> str:
        """Why there is no page; empty while it is being computed."""
        return self.explorer.inspections.problem(self._run, *self.cursor, self._lens)

    @property
    def lens_name(self) -> str:
        return self._lens

    @property
    def run(self) -> SessionRun:
        return self._run

    def extent(self) -> tuple[int, int]:
        result = self._run.result
        if result is None:
            return 0, 0
        return result.model.n_layers - 1, len(result.tokens) - 1

    def shown_result(self) -> RunResult | None:
        return self._run.result

    def view(self) -> View:
        page, problem = self.page, self.problem
        # The former page stays until the next one is here: a held-down key would flicker.
        self._shown_page = None if problem else page or self._shown_page
        return replace(
            super().view(), result=self._run.result, page=self._shown_page, page_problem=problem
        )

    def view_in(self, pane: Pane, view: View) -> View:
        # The values of the run are drawn with the cursor, the page comes after it.
        return replace(view, page=None, page_problem="") if pane.id == "values" else view

    def watch_cursor(self, cursor: Cursor) -> None:
        super().watch_cursor(cursor)
        self.redraw()

    def draw(self) -> None:
        self.go(self.layer_to_show(self._run), self.cursor.token)
        self.explorer.inspections.request(self._run, *self.cursor, self._lens)
        self.show_view()
        self._show_place()

    def _show_place(self) -> None:
        result, page = self._run.result, self._shown_page
        if result is None:
            return
        at, token = self.cursor
        if page is not None and (page.layer, page.token) == self.cursor:
            notes = " ".join(notes_of(page))
            words = Content.assemble(
                (f"{printable_chars(title_of(page))}  ", "bold"),
                printable_chars(sentence_of(page)),
                (f"  {printable_chars(notes)}", MUTED),
            )
        else:
            text = printable(result.tokens.readable_texts[token])
            place = f"Layer {at} at token {token} '{text}'"
            words = Content.assemble((place, "bold"), (f"  {self.problem or '…'}", MUTED))
        # Its height is fixed: the widgets beneath need no new layout.
        self.query_one("#place", Static).update(words, layout=False)

    # Commands -------------------------------------------------------------------

    def close(self) -> None:
        """Close the screen, and put the cursor of the screen beneath at this place."""
        self._return_place(self.cursor)
        self.dismiss(None)

    def why_no_page(self) -> str:
        """Why there is no page to copy."""
        return "" if self._shown_page is not None else self.problem or "The layer is being run."

    def copy_page(self) -> None:
        """Copy the page that is shown as Markdown."""
        page = self._shown_page
        if page is not None:
            text = markdown_bytes(inspection_document(page)).decode()
            words = f"{title_of(page)}: {sentence_of(page)}"
            self.app.copy(text, words, "Copied with its tables")


def _reads_measure(page: Callable[[], Inspection | None]) -> Measure:
    """The share of the attention's output that is written for each token, along the prompt."""

    def values(result: RunResult) -> np.ndarray | None:
        inspection = page()
        if inspection is None or inspection.reads is None:
            return None
        norms = inspection.reads.value_weighted
        weights = inspection.reads.heads.mean(axis=0) if norms is None else norms
        total = float(weights.sum())
        row = np.full(len(result.tokens), np.nan, np.float32)
        row[: len(weights)] = weights / total if total > 0 else 0
        return np.broadcast_to(row, (result.model.n_layers, len(row)))

    return Measure(
        "reads",
        "Tokens read",
        "share of ||alpha W_O v||",
        values,
        limits=(0.0, 1.0),
        explained=TOKENS_READ,
    )
