"""Two runs side by side: the same panes with one cursor, and their difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import Verdict
from depthtui.depth.verdict_words import headline_not_measured, why_not_compared
from depthtui.metrics import kept
from depthtui.metrics.estimates import about_time
from depthtui.metrics.layer_order import MODEL_ORDER
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.spec import Measure
from depthtui.prompts.tasks import prompt_title
from depthtui.report.skips import changes_of
from depthtui.sizes import about
from depthtui.token_text import printable_chars, printable_sentence
from depthtui.tui.commands import compare, moving
from depthtui.tui.commands.command import bindings_of
from depthtui.tui.draw.styles import line_colour
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.depth_pair import DepthPair
from depthtui.tui.panes.difference_heatmap import DifferenceHeatmap
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.kept_pair import KeptPair
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Cursor, Pane
from depthtui.tui.panes.status_line import how_far
from depthtui.tui.panes.view import View
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.export_screen import Exportable, ask_where
from depthtui.tui.screens.live_screen import LiveScreen
from depthtui.tui.screens.model_question import act_with_model_of
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.screens.prompt_question import choose_prompt_beside
from depthtui.tui.screens.reading_question import ask_reading_of_runs
from depthtui.tui.state.alignment import TokenMatch, align, nearest_token
from depthtui.tui.state.comparison import (
    caveat,
    choices_of,
    compared_sentence,
    lacks,
    lacks_headline,
    names_of,
)
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import SessionRun
from depthtui.tui.state.verdicts import LastReading

_SIDE_B = ("lens-b",)
"""Ids of the panes that count layers and tokens in B."""

_MOST_NAMED = 3
"""Metrics that a run lacks and that the line names."""

LACKS_NOTHING = "Neither run lacks a metric of the other that can be computed."

MORE_COUNTS = "On the page Evidence of each run, i computes more counts."
NO_MORE_COUNTS = "No key helps: neither run can have a further count."


class CompareScreen(LiveScreen):
    """What both runs keep and their curves on the left, their table and A - B on the right.

    The cursor is on a layer of the deeper model and on a column of the
    alignment; each pane sees it in its own run's layers and tokens.

    Args:
        explorer: the owner of the settings by which runs are averaged.
        a, b: the runs.
        measure: the first measure of the heatmaps.
        cursor: the first cursor, in A's layers and tokens; for different prompts with answers, the
            cursor begins at the token before the answer.

    Attributes:
        run: the run that a key acted on last, whose model the key may have loaded.
    """

    run: SessionRun | None = None
    KEYS = compare.COMMANDS
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_of(KEYS), *moving.DIGITS]
    CSS_PATH: ClassVar[list[str | Path]] = ["../panes.tcss", "../compare.tcss"]  # type: ignore[assignment]
    AUTO_FOCUS = "#kept-pair"
    PANE_ORDER = ("kept-pair", "depth-pair", "curves", "difference", "lens-a", "lens-b")

    def __init__(
        self, explorer: Explorer, a: SessionRun, b: SessionRun, measure: Measure, cursor: Cursor
    ) -> None:
        super().__init__(explorer)
        self._runs = (a, b)
        first, second = self._results
        answers = first.answer_start, second.answer_start
        self._alignment = align(first.tokens, second.tokens, answers)
        self._first_measure = measure
        self._first_cursor = cursor
        self._readings = (LastReading(), LastReading())
        self._begun: list[SessionRun] = []

    def compose(self) -> ComposeResult:
        yield Static(id="compared", classes="title-line")
        yield Static(id="caveat", classes="title-line")
        yield PaneTabs(id="tabs")
        a, b = self._alignment.a, self._alignment.b
        with Horizontal(id="panes"):
            with Vertical(classes="column", id="both"):
                yield KeptPair(id="kept-pair", name="Kept")
                yield DepthCurves(id="curves", name="Curves")
                with Horizontal(classes="column", id="lenses"):
                    yield LensTable(id="lens-a", name="Lens A")
                    yield LensTable(id="lens-b", name="Lens B")
            with Vertical(classes="column", id="apart"):
                yield DepthPair(id="depth-pair", name="Depth")
                yield DifferenceHeatmap(a, b, id="difference", name="A - B")
        yield KeyFooter()

    def on_mount(self) -> None:
        super().on_mount()
        self.measure = self._first_measure
        self.layer_order = self.explorer.settings.layer_order
        self.redraw()
        self._go_in_a(self._first_cursor)
        if self._alignment.match is TokenMatch.ANSWER:
            self.go(self.cursor.layer, self._alignment.answer - 1)

    @property
    def _results(self) -> tuple[RunResult, RunResult]:
        a, b = (run.result for run in self._runs)
        assert a is not None
        assert b is not None
        return a, b

    @property
    def _settings(self) -> SummarySettings:
        return self.explorer.settings.summary_settings()

    def view(self) -> View:
        (a, b), settings = self._results, self._settings
        reading, other = (
            last.of(run.result, settings, run.state.is_live)
            for last, run in zip(self._readings, self._runs, strict=True)
        )
        return replace(
            super().view(),
            result=a,
            reading=reading,
            other_result=b,
            other_reading=other,
            names=names_of(*self._runs),
            pace=self.explorer.pace_of(self._runs[0]),
        )

    def view_in(self, pane: Pane, view: View) -> View:
        if pane.id in _SIDE_B:
            return replace(
                view,
                pace=self.explorer.pace_of(self._runs[1]),
                result=view.other_result,
                reading=view.other_reading,
                other_result=view.result,
                other_reading=view.reading,
            )
        apart = pane.id == "difference" and self._alignment.match is TokenMatch.NONE
        # Tokens cannot be subtracted one by one; layers can.
        return replace(view, mode="means") if apart and view.mode == "tokens" else view

    def draw(self) -> None:
        """Draw both runs and their caveat."""
        self.show_view()
        self.complete(*self._readings)
        verdicts = self._readings[0].verdict, self._readings[1].verdict
        compared = " ".join(
            filter(
                None,
                (
                    self._without_headline,
                    compared_sentence(*self._results, verdicts, self._settings),
                    self._help_without_key(*verdicts),
                ),
            )
        )
        words = caveat(*self._results, self._alignment, self._settings)
        lines = [Content(compared)] if compared else []
        lines.append(Content.styled(" ".join(filter(None, (words, self._lacking_words))), MUTED))
        self.query_one("#caveat", Static).update(Content("\n").join(lines))
        self._show_names()
        self._begin_headlines()

    def _begin_headlines(self) -> None:
        """Begin the headline of a run that lacks it, once, as behind a run that is shown alone."""
        for run in self._runs:
            if run in self._begun or not lacks_headline(run):
                continue
            if self.explorer.automatic.begin(run):
                self._begun.append(run)

    def set_colours(self, ramp: str, palette: str) -> None:
        super().set_colours(ramp, palette)
        self._show_names()

    def _show_names(self) -> None:
        self.query_one("#compared", Static).update(self._names())

    def _names(self) -> Content:
        lines, dark, (_, palette) = [], self.app.current_theme.dark, self._colours
        for place, (letter, run) in enumerate(zip("AB", self._runs, strict=True)):
            lines.append(
                Content.assemble(
                    (f"{letter} ", f"bold {line_colour(dark, place, palette)}"),
                    (f"run {run.number}  ", MUTED),
                    printable_chars(run.model.name),
                    (f"  {changes_of(run.settings)}".rstrip(), "$text-warning"),
                    (f"  {prompt_title(run.prompt, 80)}", MUTED),
                    (_work_words(run), "$text-accent"),
                )
            )
        return Content("\n").join(lines)

    # The cursor -------------------------------------------------------------

    @property
    def _layers(self) -> tuple[int, int]:
        a, b = self._results
        return a.model.n_layers, b.model.n_layers

    def extent(self) -> tuple[int, int]:
        return max(self._layers), max(len(self._alignment.a), len(self._alignment.b)) - 1

    def shown_result(self) -> RunResult | None:
        return self._results[0]

    @property
    def lens_name(self) -> str:
        """The lens of the settings."""
        return self.explorer.settings.lens

    def _go_in_a(self, cursor: Cursor) -> None:
        """Go to a layer and a token in A."""
        column = int(np.argmax(self._alignment.a == cursor.token))
        self.go(round(cursor.layer * max(self._layers) / self._layers[0]), column)

    def in_pane(self, pane: Pane, cursor: Cursor) -> Cursor:
        layer = round(cursor.layer * self._layers_of(pane) / max(self._layers))
        if isinstance(pane, HeatmapPane):
            return Cursor(layer, cursor.token)
        columns = self._alignment.b if pane.id in _SIDE_B else self._alignment.a
        return Cursor(layer, nearest_token(columns, cursor.token))

    def from_pane(self, pane: Pane | None, cursor: Cursor) -> Cursor:
        assert pane is not None
        layer = round(cursor.layer * max(self._layers) / self._layers_of(pane))
        # A pane that is no heatmap has no column to point at.
        return Cursor(layer, cursor.token if isinstance(pane, HeatmapPane) else self.cursor.token)

    def _layers_of(self, pane: Pane) -> int:
        return max(self._layers) if pane.id == "difference" else self._layers[pane.id in _SIDE_B]

    @property
    def _without_headline(self) -> str:
        """Which runs lack the headline, and the key that computes it; or nothing."""
        lacking: dict[bool, list[str]] = {False: [], True: []}
        for letter, run in zip("AB", self._runs, strict=True):
            if run.result is not None and lacks_headline(run):
                lacking[kept.NAME in run.result.measured].append(letter)
        return " ".join(
            headline_not_measured(letters, ", i computes it", "finished" if begun else "measured")
            for begun, letters in lacking.items()
            if letters
        )

    @property
    def _lacking_words(self) -> str:
        """The metrics that only one run has, and the key that computes them; empty for none."""
        (a, b), sentences, times = self._runs, [], []
        for letter, run, other in (("A", a, b), ("B", b, a)):
            names = [name for name in lacks(run, other) if name != kept.NAME]
            metrics = [METRIC_BY_NAME[name] for name in names]
            if metrics and run.result is not None:
                titles = [metric.title for metric in metrics[:_MOST_NAMED]]
                if len(metrics) > _MOST_NAMED:
                    titles.append(f"{len(metrics) - _MOST_NAMED} more")
                sentences.append(f"{letter} lacks {', '.join(titles)}")
                pace = self.explorer.pace_of(run)
                times += [about_time(metric, run.result, pace) for metric in metrics]
        if not sentences:
            return ""
        # A single time is shown; several would have to be added up.
        time = f", {times[0]}" if len(times) == 1 and times[0] else ""
        return f"{'; '.join(sentences)}: i computes it{time}."

    def _help_without_key(self, first: Verdict | None, second: Verdict | None) -> str:
        """The help where nothing can be compared and no key is named yet; or nothing."""
        if first is None or second is None or first.is_pending or second.is_pending:
            return ""
        if self._without_headline or self._lacking_words or not why_not_compared(first, second):
            return ""
        return MORE_COUNTS if first.missing_metrics or second.missing_metrics else NO_MORE_COUNTS

    # Keys -------------------------------------------------------------------

    def _in_order(self) -> Sequence[tuple[SessionRun, SessionRun]]:
        """Each run with the other one; the pair of the focused pane's run first."""
        a, b = self._runs
        pairs = ((a, b), (b, a))
        return pairs[::-1] if self.active_pane.id in _SIDE_B else pairs

    def compute(self) -> None:
        """Compute what the pane lacks, what only one run has, or the headline."""
        pane, lenses = self.active_pane, self.query(LensTable)
        # The lenses of both sides belong together.
        panes = lenses if isinstance(pane, LensTable) else [pane]
        pane_metrics = list(dict.fromkeys(name for pane in panes for name in pane.computes()))
        pairs = self._in_order()
        answers = [run.to_compute(pane_metrics) for run, _ in pairs]
        requests = [names for names, _ in answers] + [lacks(*pair) for pair in pairs]
        reason = next(filter(None, (why_not for _, why_not in answers)), "")
        if not reason:
            requests += [lacks_headline(run) for run, _ in pairs]
        for (run, other), names in zip(cycle(pairs), requests):
            if names and not run.state.is_live:
                self._compute(run, other, names)
                return
        self.notify(printable_sentence(reason or LACKS_NOTHING), markup=False)

    def _compute(self, run: SessionRun, other: SessionRun, names: Sequence[str]) -> None:
        """Compute metrics of a run, with the other run's settings for those that it has."""
        shared = [name for name in names if other.result is not None and other.result.has_all(name)]
        changes = choices_of(other, shared)
        if kept.NAME in names and kept.NAME not in shared:
            changes |= MODEL_ORDER

        def compute() -> None:
            self.explorer.compute(*names, run=run, **changes)
            self.redraw()

        self._act_with_model_of(run, "compute", compute)

    def _act_with_model_of(self, run: SessionRun, name: str, act: Callable[[], None]) -> None:
        self.run = run
        act_with_model_of(self, run, self.commands[name], act)

    def _open_cell(self, pane: Pane, layer: int, token: int) -> None:
        """Open a layer of the pane's run; its model may have to be loaded."""
        explorer, run = self.explorer, self.explorer.session.run_of(pane.result)
        if pane.id == "difference":
            layer = round(layer * self._layers[0] / max(self._layers))
        show = partial(super()._open_cell, pane, layer, token)
        if run is None or explorer.inspections.of(run, layer, token, pane.view.lens) is not None:
            show()
        else:
            self._act_with_model_of(run, "open", show)

    def _come_back(self, pane: Pane, cursor: Cursor) -> None:
        columns, layers = self._alignment.a, self._layers[0]
        if pane.id in _SIDE_B:
            columns, layers = self._alignment.b, self._layers[1]
        column = int(np.argmax(columns == cursor.token))
        self.go(round(cursor.layer * max(self._layers) / layers), column)

    def choose_prompt(self) -> None:
        """Run another prompt on A's model; the comparison with A opens once it is there."""
        choose_prompt_beside(self, self._runs[0], self.close)

    def choose_reading(self) -> None:
        """Choose how depths are read, on this and the main screen."""
        ask_reading_of_runs(self, *self._results)

    def export(self) -> None:
        """Export both runs and their differences; the lens of each is read at its own token."""
        from depthtui.report.export import comparison_report

        columns = (self._alignment.a, self._alignment.b)
        first, second = (nearest_token(side, self.cursor.token) for side in columns)
        a, b = self.explorer.session.with_remarks(self._results)

        def token_of(result: RunResult) -> int:
            return first if result is a else second

        palette = self.explorer.settings.palette
        report = partial(comparison_report, a, b, self._settings, token_of, palette)
        ask_where(
            self.app, self.explorer, Exportable("both runs", "runs", report, has_several=True)
        )

    def close(self) -> None:
        self.dismiss(None)


def _work_words(run: SessionRun) -> str:
    """The metric that a run computes, how far it is, and its time left; empty for none."""
    work = run.work
    if work is None or not run.state.is_live:
        return ""
    left = f", {about(work.seconds_left)} left" if work.seconds_left > 0 else ""
    return f"  {how_far(work)}{left}"
