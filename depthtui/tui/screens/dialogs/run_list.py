"""The runs of the session: go back to one, compare with one, forget one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from depthtui.data.run_settings import SummarySettings
from depthtui.depth import rules
from depthtui.depth.reading import reading_of
from depthtui.metrics import kept
from depthtui.prompts.tasks import prompt_title
from depthtui.report.skips import changes_of
from depthtui.token_text import cut_in_the_middle, fit_shown, printable_chars
from depthtui.tui.draw.styles import fit_right
from depthtui.tui.screens.dialogs.ask import confirm
from depthtui.tui.screens.dialogs.dialog import MUTED, line_cells
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import RunState, Session, SessionRun
from depthtui.tui.state.task_prompts import task_title


class Purpose(Enum):
    """The purpose for which a run is chosen from the list."""

    SHOW = "show"
    COMPARE = "compare"
    OTHER_MODEL = "other model"
    OTHER_PROMPT = "other prompt"
    GRID = "grid"


@dataclass(frozen=True)
class SessionChoice:
    """The purpose, and the run under the cursor; None where there is none."""

    purpose: Purpose
    run: SessionRun | None = None


class RunList(Picker[SessionChoice]):
    """Lists the runs, newest first; marks and deletes at once, dismissed with a choice.

    Args:
        explorer: the owner of the session.
        start: the run that is highlighted at first.
    """

    heading = "Session"
    hint = "enter shows · C compares · m other model · p other prompt · esc closes"
    noun = "run"
    empty_words = "No runs yet: r runs the prompt."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark", tooltip="Mark a run to compare with", id="session.mark"),
        Binding("d,delete", "delete", "delete", tooltip="Forget a run", id="session.delete"),
        Binding(
            "C,c",
            "compare",
            "compare",
            tooltip="Compare the run on the screen with this one",
            id="session.compare",
        ),
        Binding(
            "m",
            "ask_for('OTHER_MODEL')",
            "another model",
            tooltip="Run the prompt on the screen on another model and compare",
            id="compare.model",
        ),
        Binding(
            "p",
            "ask_for('OTHER_PROMPT')",
            "another prompt",
            tooltip="Run another prompt on the model of the run on the screen and compare",
            id="compare.prompt",
        ),
        Binding("S", "ask_for('GRID')", "grid", tooltip="Show the grid", id="session.grid"),
        Binding("R", "sessions", "sessions", show=False, id="session.sessions"),
    ]

    def __init__(self, explorer: Explorer, start: SessionRun | None = None) -> None:
        super().__init__()
        self._explorer = explorer
        self._session = explorer.session
        self.start = start or self._session.current

    def below(self) -> ComposeResult:
        words = "space marks B to compare · d forgets · / finds · S grid"
        if self._explorer.sessions.is_on:
            words += " · R other sessions"
        yield Static(id="legend")
        yield Static(Content.styled(words, MUTED), id="note")

    # The list ---------------------------------------------------------------

    def fill(self, value: Any = None) -> None:
        runs = list(reversed(list(self._session.listed())))
        settings = self._explorer.settings.summary_settings()
        width = line_cells(self.app.size.width, WIDEST_RUNS)
        self._runs, self._table = runs, RunTable(runs, self._session, settings, width)
        legend = self._table.legend if runs else ""
        self.query_one("#legend", Static).update(Content.styled(legend, MUTED))
        super().fill(value)

    def head(self) -> Content:
        return self._table.head

    def rows(self) -> Iterator[PickerRow]:
        for run in self._runs:
            words = f"{run.number} {run.prompt.text} {run.model.name} {task_title(run.prompt)}"
            yield PickerRow(run, self._table.line(run), words)

    def choose(self, value: SessionRun) -> None:
        self.dismiss(SessionChoice(Purpose.SHOW, value))

    def action_ask_for(self, name: str) -> None:
        self.dismiss(SessionChoice(Purpose[name], self.highlighted_value))

    def action_sessions(self) -> None:
        if self.tabs:
            self.action_turn(1)

    def action_mark(self) -> None:
        run = self.highlighted_value
        if run is self._session.current:
            self.notify("This run is on the screen; mark another.", markup=False)
        elif run is not None and run.result is None:
            self.notify("This run is not opened yet: enter opens it.", markup=False)
        elif run is not None:
            self._session.mark(run)
            self.fill()

    def action_delete(self) -> None:
        run = self.highlighted_value
        if run is None:
            return

        def forget() -> None:
            if run in self._session.runs:
                self._explorer.delete(run)
                self.fill()

        confirm(self.app, f"Forget run {run.number}?", "forgets it", forget)

    def action_compare(self) -> None:
        """Compare with the run under the cursor; if that is the shown run, with the marked one."""
        session, other = self._session, self.highlighted_value
        if other is session.current:
            other = session.marked or session.neighbour_of(session.current)
        if other is not None and other.result is None:
            self.notify("This run is not opened yet: enter opens it.", markup=False)
        elif other is None:
            self.notify("There is no other run: m runs the prompt on another model.", markup=False)
        else:
            self.dismiss(SessionChoice(Purpose.COMPARE, other))


STATE_STYLES = {
    RunState.RUNNING: "$text-accent",
    RunState.HALTED: "$text-warning",
    RunState.STOPPED: "$text-warning",
    RunState.FAILED: "$text-error",
}


_NUMBER_CELLS = 6
_LEAST_PROMPT, _LEAST_CUT_PROMPT = 28, 6
WIDEST, WIDEST_RUNS = 100, 140
"""Cells of the widest dialog, and of one with a list of runs, as in the style sheet."""

_LONGEST_NAME = 28
_NOTHING = "–"


class RunTable:
    """Lines about runs in columns under a head; the prompt gets the remaining width.

    Where little remains, columns are left out: time, state, task, and the model of all runs.

    Args:
        runs: the runs to list.
        session: has the runs that are shown and marked.
        settings: settings of effective depths.
        width: cells of a line.
    """

    def __init__(
        self, runs: Sequence[SessionRun], session: Session, settings: SummarySettings, width: int
    ) -> None:
        self._session = session
        self._texts = {run.number: _texts(run, settings) for run in runs}
        # The paper's rules always have a column.
        names = {
            name for texts in self._texts.values() for name in texts if texts[name] != _NOTHING
        }
        shown_rules = [rule for rule in rules.ALL if rule.of_paper or rule.name in names]
        counts = {kept.NAME: "kept"} if kept.NAME in names else {}
        counts |= {rule.name: rule.short for rule in shown_rules}
        self._counts = list(counts)
        self._heads = {"time": "time", "state": "", "prompt": "prompt", **counts}
        self._heads |= {"layers": "of", "model": "model", "task": "task"}
        models = {texts["model"] for texts in self._texts.values()}
        leave = ["time", "state", "task"] + ["model"] * (len(models) == 1)
        for count in range(len(leave) + 1):
            self._columns = [name for name in self._heads if name not in leave[:count]]
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
        """The heads of the columns."""
        cells = "".join(self._cell(name, self._heads[name]) for name in self._columns)
        return Content.styled(" " * _NUMBER_CELLS + cells, MUTED)

    @property
    def legend(self) -> str:
        """The meaning of the heads that are abbreviations."""
        of_rules = [rule for rule in rules.ALL if rule.name in self._counts]
        heads = " ".join(rule.short for rule in of_rules)
        parts = [
            f"{heads}: depth by {', '.join(rule.title for rule in of_rules)}",
            "of: all layers",
        ]
        if kept.NAME in self._counts:
            parts.insert(0, "kept: layers that keep nine tenths")
        return " · ".join(parts)

    def line(self, run: SessionRun) -> Content:
        """A run's line: its mark and number, then the columns."""
        texts, (state, style) = dict(self._texts[run.number]), _state(run)
        if "state" not in self._columns and run.state is not RunState.FINISHED:
            texts["prompt"] = f"{state} · {texts['prompt']}"
        styles = {"prompt": "", "state": style, **dict.fromkeys(self._counts, "")}
        return Content.assemble(
            _head(run, self._session),
            *((self._cell(name, texts[name]), styles.get(name, MUTED)) for name in self._columns),
        )

    def _cell(self, name: str, text: str) -> str:
        width = self._widths[name]
        if name in (*self._counts, "layers"):
            return fit_right(text, width) + self._gap(name)
        # The prompts of a session often begin alike.
        return fit_shown(cut_in_the_middle(text, width), width) + self._gap(name)

    def _gap(self, name: str) -> str:
        """The gap after a column: narrower after numbers than after words."""
        return " " if name in self._counts else "" if name == "task" else "  "


def _texts(run: SessionRun, settings: SummarySettings) -> dict[str, str]:
    """The texts of a run in each column."""
    counts: dict[str, int | None] = {}
    if run.result is not None:
        reading = reading_of([run.result], settings)
        counts = {depth.rule: depth.count for depth in reading.depths}
        knowledge = reading.get(kept.METRIC)
        is_counted = knowledge is not None and not knowledge.curve.why_too_little
        has_count = is_counted and not reading.is_too_short
        counts[kept.NAME] = knowledge.layers if has_count else None
    return {
        "time": f"{run.started:%H:%M}",
        "state": _state(run)[0],
        "prompt": run_title(run, 200),
        **{
            name: _NOTHING if counts.get(name) is None else str(counts[name])
            for name in (kept.NAME, *(rule.name for rule in rules.ALL))
        },
        "layers": str(run.model.n_layers),
        "model": printable_chars(run.model.name),
        "task": task_title(run.prompt),
    }


def run_card(run: SessionRun, session: Session) -> Content:
    """A run in two lines, for a narrow list."""
    return Content.assemble(
        _head(run, session),
        run_title(run, 80),
        "\n      ",
        _state(run),
        (f" · {printable_chars(run.model.name)}", MUTED),
    )


def _head(run: SessionRun, session: Session) -> Content:
    sign = "▶" if run is session.current else "±" if run is session.marked else " "
    return Content.assemble((f"{sign} ", "bold $text-accent"), (f"{run.number:>2}  ", MUTED))


def run_title(run: SessionRun, width: int) -> str:
    """A run's prompt in one line, after its skipped layers and its template."""
    title = prompt_title(run.prompt, width)
    template = "chat template" if run.settings.chat_template else ""
    words = [words for words in (changes_of(run.settings), template) if words]
    return fit_shown(" · ".join([*words, title]), width) if words else title


def _state(run: SessionRun) -> tuple[str, str]:
    state = run.state.value if run.origin in ("", "computed") else run.origin
    if run.state is not RunState.FINISHED and run.result is not None:
        state += f" {run.layers_done}/{run.model.n_layers}"
    return state, STATE_STYLES.get(run.state, MUTED)
