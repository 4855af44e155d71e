"""The panes of the main screen, and their places."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import NamedTuple

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from depthtui.token_text import printable_chars
from depthtui.tui.panes.answers_pane import AnswersPane
from depthtui.tui.panes.curves import DepthCurves
from depthtui.tui.panes.evidence_pane import EvidencePane
from depthtui.tui.panes.exit_pane import ExitPane
from depthtui.tui.panes.heatmap import HeatmapPane
from depthtui.tui.panes.key_footer import KeyFooter
from depthtui.tui.panes.layer_bars import LayerBars
from depthtui.tui.panes.left_out_pane import LeftOutPane
from depthtui.tui.panes.lens_table import LensTable
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.progress_pane import ProgressPane
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.token_depths_pane import TokenDepthsPane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.dialog import MUTED
from depthtui.tui.screens.dialogs.run_list import run_card
from depthtui.tui.screens.pane_screen import PaneTabs
from depthtui.tui.state.phase import Problem
from depthtui.tui.state.session import Session


class Place(NamedTuple):
    """A pane of the screen: its class, its id, its name in the tabs, its CSS classes."""

    kind: type[Pane]
    id: str
    name: str
    classes: str = ""

    def pane(self) -> Pane:
        """A new pane for this place."""
        return self.kind(id=self.id, name=self.name, classes=self.classes)


PROMPT = Place(PromptPane, "prompt", "Prompt", "always")
PAGES = (
    Place(DepthCurves, "curves", "Curves", "page"),
    Place(EvidencePane, "evidence", "Evidence", "page"),
    Place(LeftOutPane, "left-out", "Left out", "page"),
    Place(AnswersPane, "answers", "Answers", "page"),
    Place(TokenDepthsPane, "tokens", "Tokens", "page"),
    Place(ExitPane, "exits", "Exit", "page"),
)
"""The pages, one of which is shown at a time, in the order of turning."""

LEFT = (Place(HeatmapPane, "heatmap", "Heatmap"), *PAGES)
RIGHT = (Place(LensTable, "lens", "Lens"), Place(VerdictPane, "verdict", "Verdict"))
SPARE = (
    Place(HeatmapPane, "means", "Means", "spare"),
    Place(LayerBars, "useful", "Usefulness", "spare"),
)
"""Panes of the wide screen."""

_ACROSS = [place for places in zip_longest(LEFT, RIGHT) for place in places if place]
TAB_ORDER = tuple(place.id for place in (*_ACROSS, *SPARE, PROMPT))
"""Ids of all panes: the columns line by line, then the panes around them."""

PAGE_ORDER = tuple(page.id for page in PAGES)


class SessionList(Static):
    """The runs of the session, newest first."""

    def show(self, session: Session) -> None:
        """List the session's runs, unless there is no room for the list."""
        if self.display:
            cards = [run_card(run, session) for run in reversed(list(session.runs_with_result()))]
            empty = Content.styled("Every run stays here.", MUTED)
            self.update(Content("\n").join(cards) if cards else empty, layout=False)


class ProblemText(Static):
    """Why there is no engine or no model, and what to do about it."""

    def show(self, problem: Problem) -> None:
        """Show this problem."""
        message, hint = printable_chars(problem.message), printable_chars(problem.hint)
        self.update(Content.assemble((message, "bold $text-error"), "\n", hint))


def layout(lines: Iterable[Widget]) -> ComposeResult:
    """The widgets of the screen; `lines` are those at its lower edge."""
    yield StatusLine(id="status", classes="title-line")
    yield PROMPT.pane()
    yield PaneTabs(id="tabs")
    with Horizontal(id="panes"):
        with Vertical(classes="column", id="left"):
            yield from _panes(LEFT)
        with Vertical(classes="column", id="right"):
            yield from _panes(RIGHT)
        with Vertical(classes="column", id="extra"):
            yield from _panes(SPARE)
            session = SessionList(id="session")
            session.border_title = "Session"
            yield session
    yield ProgressPane(id="progress", name="Loading")
    yield ProblemText(id="problem")
    yield from lines
    yield Static(id="offer", classes="title-line")
    yield KeyFooter()


def _panes(places: Iterable[Place]) -> ComposeResult:
    return (place.pane() for place in places)
