"""The runs of the session: go back to one, mark one to compare, forget one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.reading import reading_of
from depthtui.prompts import prompt_title
from depthtui.report.skips import changes_of
from depthtui.token_text import fit_shown, printable_chars
from depthtui.tui.draw.styles import fit_right
from depthtui.tui.screens.dialogs.confirm import Confirm
from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog, line_cells
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import Run, RunState, Session
from depthtui.tui.state.task_prompts import task_title


@dataclass(frozen=True)
class SessionChoice:
    """The run to go to, or the wish to compare, or to see the other sessions."""

    run: Run | None = None
    compare: bool = False
    others: bool = False


class SessionScreen(ListDialog[SessionChoice]):
    """Lists the runs, newest first; marks and deletes at once, dismissed with a choice."""

    heading = "Session"
    hint = "enter shows · space marks to compare · C compares · d deletes · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark", tooltip="Mark a run to compare with", id="session.mark"),
        Binding("d,delete", "delete", "delete", tooltip="Forget a run", id="session.delete"),
        Binding(
            "C", "compare", "compare", tooltip="Compare with the marked run", id="session.compare"
        ),
        Binding("R", "sessions", "sessions", show=False, id="session.sessions"),
    ]

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self._session = explorer.session

    def body(self) -> ComposeResult:
        yield Static(id="runs-head")
        yield OptionList(compact=True)
        yield Static("No runs yet: r runs the prompt.", id="no-runs")
        if self._explorer.sessions.is_on:
            yield Static(Content.styled("R lists other sessions.", MUTED), id="other-sessions")

    def on_mount(self) -> None:
        self._fill()
        runs = self._runs
        current = self._session.current
        self.start_at(runs.index(current) if current in runs else None)

    @property
    def _runs(self) -> list[Run]:
        return list(reversed(list(self._session.listed())))

    @property
    def _chosen(self) -> Run | None:
        index = self.listing.highlighted
        return self._runs[index] if index is not None and index < len(self._runs) else None

    def _fill(self) -> None:
        listing = self.listing
        kept = listing.highlighted or 0
        listing.clear_options()
        settings = self._explorer.settings.summary_settings()
        table = RunTable(
            self._runs, self._session, settings, line_cells(self.app.size.width, WIDEST)
        )
        head = self.query_one("#runs-head", Static)
        head.update(table.head)
        head.display = bool(self._runs)
        listing.add_options(Option(table.line(run)) for run in self._runs)
        listing.highlighted = min(kept, len(self._runs) - 1) if self._runs else None
        listing.display = bool(self._runs)
        self.query_one("#no-runs").display = not self._runs

    def take(self, place: int) -> None:
        self.dismiss(SessionChoice(self._runs[place]))

    def action_mark(self) -> None:
        run = self._chosen
        if run is self._session.current:
            self.notify("This run is on the screen; mark another.", markup=False)
        elif run is not None and run.result is None:
            self.notify("This run is not opened yet: enter opens it.", markup=False)
        elif run is not None:
            self._session.mark(run)
            self._fill()

    def action_sessions(self) -> None:
        if self._explorer.sessions.is_on:
            self.dismiss(SessionChoice(others=True))

    def action_delete(self) -> None:
        run = self._chosen
        if run is None:
            return

        def answer(agreed: bool | None) -> None:
            if agreed and run in self._session.runs:
                self._explorer.delete(run)
                self._fill()

        self.app.push_screen(Confirm(Content(f"Forget run {run.number}?")), answer)

    def action_compare(self) -> None:
        if self._session.marked is None and self._chosen not in (None, self._session.current):
            self.action_mark()
        self.dismiss(SessionChoice(compare=True))


STATE_STYLES = {
    RunState.RUNNING: "$text-accent",
    RunState.HALTED: "$text-warning",
    RunState.STOPPED: "$text-warning",
    RunState.FAILED: "$text-error",
}


_NUMBER_CELLS = 6
_LEAST_PROMPT, _LEAST_CUT_PROMPT = 16, 6
WIDEST = 140
"""Cells of the widest dialog with a list of runs, as the style sheet has it."""

_LONGEST_NAME = 28
_NOTHING = "–"


class RunTable:
    """Lines about runs in columns under a head; the prompt has what the others leave.

    Where that is little, time and state are left out before another column is cut.

    Args:
        runs: what is listed.
        session: says which run is on the screen and which is marked.
        settings: by which effective depths are found.
        width: cells of a line.
    """

    def __init__(
        self, runs: Sequence[Run], session: Session, settings: SummarySettings, width: int
    ) -> None:
        self._session = session
        self._texts = {run.number: _texts(run, settings) for run in runs}
        # The paper's rules have a column in any case.
        known = {
            name for texts in self._texts.values() for name in texts if texts[name] != _NOTHING
        }
        shown = [rule for rule in rules.ALL if rule.of_paper or rule.name in known]
        self._rules = [rule.name for rule in shown]
        self._heads = {"time": "time", "state": "", "prompt": "prompt"}
        self._heads |= {rule.name: rule.short for rule in shown}
        self._heads |= {"layers": "of", "model": "model", "task": "task"}
        for dropped in ((), ("time",), ("time", "state")):
            self._columns = [name for name in self._heads if name not in dropped]
            self._widths = {name: self._needed(name) for name in self._columns}
            gaps = sum(len(self._gap(name)) for name in self._columns)
            used = sum(self._widths.values()) - self._widths["prompt"]
            room = width - _NUMBER_CELLS - gaps - used
            if room >= _LEAST_PROMPT:
                break
        self._widths["prompt"] = max(_LEAST_CUT_PROMPT, room)

    def _needed(self, name: str) -> int:
        """Cells of a column."""
        longest = max((cell_len(texts[name]) for texts in self._texts.values()), default=0)
        return max(len(self._heads[name]), min(longest, _LONGEST_NAME))

    @property
    def head(self) -> Content:
        """What the columns are."""
        cells = "".join(self._cell(name, self._heads[name]) for name in self._columns)
        return Content.styled(" " * _NUMBER_CELLS + cells, MUTED)

    def line(self, run: Run) -> Content:
        """One run: its mark and number, then the columns."""
        texts, (state, style) = dict(self._texts[run.number]), _state(run)
        if "state" not in self._columns and run.state is not RunState.FINISHED:
            texts["prompt"] = f"{state} · {texts['prompt']}"
        styles = {"prompt": "", "state": style, **dict.fromkeys(self._rules, "")}
        return Content.assemble(
            _head(run, self._session),
            *((self._cell(name, texts[name]), styles.get(name, MUTED)) for name in self._columns),
        )

    def _cell(self, name: str, text: str) -> str:
        fitted = fit_right if name in (*self._rules, "layers") else fit_shown
        return fitted(text, self._widths[name]) + self._gap(name)

    def _gap(self, name: str) -> str:
        """What follows a column: its numbers stand closer than its words."""
        return " " if name in self._rules else "" if name == "task" else "  "


def _texts(run: Run, settings: SummarySettings) -> dict[str, str]:
    """What a run has in each column."""
    depths = reading_of([run.result], settings).depths if run.result else ()
    counts = {depth.rule: depth.count for depth in depths}
    return {
        "time": f"{run.started:%H:%M}",
        "state": _state(run)[0],
        "prompt": run_title(run, 200),
        **{
            rule.name: _NOTHING if counts.get(rule.name) is None else str(counts[rule.name])
            for rule in rules.ALL
        },
        "layers": str(run.model.n_layers),
        "model": printable_chars(run.model.name),
        "task": task_title(run.prompt),
    }


def run_card(run: Run, session: Session) -> Content:
    """The same in two lines, for a narrow list."""
    return Content.assemble(
        _head(run, session),
        run_title(run, 80),
        "\n      ",
        _state(run),
        (f" · {printable_chars(run.model.name)}", MUTED),
    )


def _head(run: Run, session: Session) -> Content:
    sign = "▶" if run is session.current else "±" if run is session.marked else " "
    return Content.assemble((f"{sign} ", "bold $text-accent"), (f"{run.number:>2}  ", MUTED))


def run_title(run: Run, width: int) -> str:
    """A run's prompt in one line, after what it leaves out and what it is wrapped in."""
    title = prompt_title(run.prompt, width)
    template = "chat template" * run.settings.chat_template
    words = [words for words in (changes_of(run.settings), template) if words]
    return fit_shown(" · ".join([*words, title]), width) if words else title


def _state(run: Run) -> tuple[str, str]:
    state = "cached" if run.cached and run.state is RunState.FINISHED else run.state.value
    if run.state is not RunState.FINISHED and run.result is not None:
        state += f" {run.layers_done}/{run.model.n_layers}"
    return state, STATE_STYLES.get(run.state, MUTED)
