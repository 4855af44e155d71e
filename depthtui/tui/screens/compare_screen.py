"""Two runs side by side: the same panes with one cursor, and their difference."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Footer, Static

from depthtui.engine.effective_depth import summarise
from depthtui.engine.measures import Measure
from depthtui.engine.results import RunResult
from depthtui.prompts import prompt_title
from depthtui.settings import Settings
from depthtui.tui import keymap
from depthtui.tui.screens.dialog import MUTED
from depthtui.tui.screens.pane_screen import PaneScreen, PaneTabs
from depthtui.tui.screens.safe_text_area import stand_ins
from depthtui.tui.session import Run
from depthtui.tui.widgets.curves import DepthCurves
from depthtui.tui.widgets.depth_table import DepthTable
from depthtui.tui.widgets.heatmap import Heatmap
from depthtui.tui.widgets.heatmap_views import HeatmapMode
from depthtui.tui.widgets.lens_table import LensTable
from depthtui.tui.widgets.pane import Pane


class CompareScreen(PaneScreen):
    """Run A on the left, run B in the middle, A - B on the right.

    Args:
        a: the current run.
        b: the run it is compared with.
        settings: how runs are averaged.
        measure: what the heatmaps show first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.COMPARE]
    CSS_PATH = "../main.tcss"
    PANE_ORDER = ("heatmap-a", "heatmap-b", "difference", "lens-a", "lens-b", "curves", "depths")

    def __init__(self, a: Run, b: Run, settings: Settings, measure: Measure) -> None:
        super().__init__()
        assert a.result is not None
        assert b.result is not None
        self._runs = (a, b)
        self._results = (a.result, b.result)
        self._settings = settings
        self._first_measure = measure

    def compose(self) -> ComposeResult:
        yield Static(self._names(), id="compared", classes="title-line")
        yield PaneTabs(id="tabs")
        with Horizontal(id="panes"):
            for side in ("a", "b"):
                with Vertical(classes="column", id=f"side-{side}"):
                    yield Heatmap(id=f"heatmap-{side}", name=f"Heatmap {side.upper()}")
                    yield LensTable(id=f"lens-{side}", name=f"Lens {side.upper()}")
            with Vertical(classes="column", id="both"):
                yield Heatmap(id="difference", name="A - B")
                yield Static(self._caveat(), id="caveat")
                yield DepthCurves(id="curves", name="Curves")
                yield DepthTable(id="depths", name="Depth")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.measure = self._first_measure
        self.layer_order = self._settings.layer_order
        for pane in self.query(Pane):
            pane.ramp = self._settings.ramp  # type: ignore[assignment]
        a, b = self._results
        settings = self._settings.summary_settings()
        summary_a, summary_b = summarise([a], settings), summarise([b], settings)
        for name, result, summary in (("a", a, summary_a), ("b", b, summary_b)):
            for pane in self.query(f"#heatmap-{name}, #lens-{name}").results(Pane):
                pane.show(result, summary)
        for pane in self.query("#difference, #curves, #depths").results(Pane):
            pane.show(a, summary_a, b, summary_b)
        for heatmap in self.query(Heatmap):
            heatmap.how_to_compute = ""
        self._set_modes()
        last_layer, last_token = self.extent()
        self.go(last_layer, last_token)

    def extent(self) -> tuple[int, int]:
        layers = max(each.model.n_layers for each in self._results)
        return layers, max(len(each.tokens) for each in self._results) - 1

    def shown_result(self) -> RunResult | None:
        return self._results[0]

    def _mode_of(self, heatmap: Heatmap) -> HeatmapMode:
        mode = super()._mode_of(heatmap)
        apart = heatmap.id == "difference" and self._same_layers and not self._same_tokens
        # Token by token there is nothing to subtract; layer by layer there is.
        return "means" if apart and mode == "tokens" else mode

    @property
    def _same_layers(self) -> bool:
        a, b = self._results
        return a.model.n_layers == b.model.n_layers

    @property
    def _same_tokens(self) -> bool:
        a, b = self._results
        return len(a.tokens) == len(b.tokens)

    def _names(self) -> Content:
        lines = []
        for letter, run in zip("AB", self._runs, strict=True):
            lines.append(
                Content.assemble(
                    (f"{letter} ", "bold $text-accent"),
                    (f"run {run.number}  ", MUTED),
                    stand_ins(run.model.name),
                    (f"  {prompt_title(run.prompt, 80)}", MUTED),
                )
            )
        return Content("\n").join(lines)

    def _caveat(self) -> Content:
        a, b = self._results
        if not self._same_layers:
            words = (
                f"{a.model.n_layers} and {b.model.n_layers} layers: the heatmaps cannot be "
                "subtracted; the curves and ratios can be compared."
            )
        elif not self._same_tokens:
            words = (
                f"{len(a.tokens)} and {len(b.tokens)} tokens: the difference is of the means "
                "over tokens."
            )
        elif a.tokens.texts != b.tokens.texts:
            words = "The texts differ: the difference is token by token, by position."
        else:
            words = "The same tokens: the difference is token by token."
        return Content.styled(words, MUTED)

    def action_close(self) -> None:
        self.dismiss(None)
