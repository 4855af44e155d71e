"""Choose the models and tasks of a sweep."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Label, Static
from textual.widgets.selection_list import Selection

from depthtui.data.model import ModelListing
from depthtui.data.run_settings import DEFAULT_METRICS, EXAMPLES, Drawing, ModelSpec
from depthtui.errors import DepthError
from depthtui.options import WrongValue, options_of
from depthtui.prompts.tasks import TASKS
from depthtui.settings import Settings
from depthtui.sizes import format_size
from depthtui.sweep.plan import (
    SweepPlan,
    TaskChoice,
    check_plan,
    choose_levels,
    parse_data,
    parse_task,
    with_absolute_paths,
    with_written,
)
from depthtui.token_text import printable_chars
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.dialog import MUTED, QUICK, WRONG, Dialog
from depthtui.tui.screens.dialogs.toggles import Checkbox, SelectionList

FIRST_LEVELS = "1-3"
"""The first levels of a task with levels: enough for a trend."""


class SweepDialog(Dialog[SweepPlan]):
    """Asks for the models and tasks of a sweep; dismissed with its plan.

    Args:
        spec: the open model; others are loaded with its options.
        settings: the runs' settings.
        on_disk: finds the models on disk; slow, so it runs in a thread.
    """

    heading = "New sweep: every model on every task"
    hint = "space chooses · tab moves on · F5 starts · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "start", "start", tooltip="Start", id="sweep.start", priority=True),
    ]

    def __init__(
        self, spec: ModelSpec, settings: Settings, on_disk: Callable[[], Sequence[ModelListing]]
    ) -> None:
        super().__init__()
        self._spec = spec
        self._settings = settings
        self._on_disk = on_disk
        self._listings: dict[str, ModelListing] = {}

    def body(self) -> ComposeResult:
        yield Label("Models on disk", classes="head")
        yield SelectionList(id="models", compact=True)
        yield SafeInput(
            placeholder="more: hub ids, folders, GGUF files, with commas between",
            id="more-models",
            compact=True,
        )
        with Horizontal(classes="row"):
            yield Label("prompts of each task ")
            yield SafeInput(
                str(EXAMPLES), id="examples", type="integer", classes=QUICK, compact=True
            )
            yield Checkbox("also with answers that the models write", id="write", compact=True)
        with Horizontal(classes="row head"):
            yield Label("Tasks, and at which levels")
            yield Checkbox("with options to choose from", id="choices", compact=True)
        with VerticalScroll(id="tasks-chosen", can_focus=False):
            for number, task in enumerate(TASKS.values()):
                with Horizontal(classes="task"):
                    yield Checkbox(task.title, number == 0, id=f"task-{task.name}", compact=True)
                    if task.levels:
                        yield SafeInput(
                            FIRST_LEVELS,
                            name=task.name,
                            id=f"levels-{task.name}",
                            classes=QUICK,
                            compact=True,
                        )
                        levels = f"of {task.all_levels}"
                        yield Static(Content.styled(levels, MUTED), classes="of")
        yield SafeInput(
            placeholder="more: gsm8k, math:1-5, hellaswag, or NAME=FILE of your prompts",
            id="more-tasks",
            compact=True,
        )
        with Horizontal(classes="row"):
            yield Static(id="count")
            yield Button("Start (F5)", id="start", variant="primary", compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        self.query_one("#models", SelectionList).loading = True
        self.run_worker(self._list())
        self._count()

    async def _list(self) -> None:
        """List the models on disk; where that fails, a name can still be typed."""
        with suppress(Exception):
            listings = await asyncio.to_thread(self._on_disk)
            self._listings = {listing.name: listing for listing in listings}
        listing = self.query_one("#models", SelectionList)
        listing.loading = False
        if self._spec.name not in self._listings:
            open_model = Content.assemble(printable_chars(self._spec.name), ("  open now", MUTED))
            listing.add_option(Selection(open_model, self._spec.name, True))
        for model in self._listings.values():
            listing.add_option(
                Selection(_model_line(model), model.name, model.name == self._spec.name)
            )
        listing.highlighted = 0
        listing.focus()
        self._count()

    @on(Input.Changed)
    @on(Checkbox.Changed)
    @on(SelectionList.SelectedChanged)
    def _count(self) -> None:
        """Show the number of prompts, or the mistake in the choices."""
        count = self.query_one("#count", Static)
        try:
            plan = self._plan()
        except DepthError as error:
            count.update("")
            self.note(str(error))
            return
        total = sum(cell.task.examples for cell in plan.cells)
        words = f"{len(plan.models)} x {len(plan.tasks)} cells, {total} prompts"
        count.update(Content.styled(words, "bold"))
        few = "Intervals and comparisons need five prompts."
        self.note(few if self._examples() < 5 else "")

    @on(Input.Changed)
    def _choose_task(self, event: Input.Changed) -> None:
        """Choose a task when its levels are typed."""
        name = event.input.name
        if name is not None and event.input.has_focus:
            self.query_one(f"#task-{name}", Checkbox).value = bool(event.value.strip())

    @on(Button.Pressed)
    @on(Input.Submitted)
    def action_start(self) -> None:
        """Return the plan, or show the mistake in it."""
        try:
            self.dismiss(self._plan())
        except DepthError as error:
            self._count()
            self.note(str(error), WRONG)

    def _plan(self) -> SweepPlan:
        """The chosen plan.

        Raises:
            DepthError: the choices are no plan.
        """
        settings = self._settings
        models = self._models()
        if not models:
            raise DepthError("Choose a model, or more.")
        tasks = self._tasks()
        if not tasks:
            raise DepthError("Choose a task, or more.")
        run = settings.run_settings(DEFAULT_METRICS)
        plan = SweepPlan(models, tasks, run, settings.summary_settings())
        if self.query_one("#write", Checkbox).value:
            plan = with_written(plan, settings.writing())
        return check_plan(with_absolute_paths(plan))

    def _models(self) -> tuple[ModelSpec, ...]:
        listed_models = list(self.query_one("#models", SelectionList).selected)
        more = _words(self.query_one("#more-models", Input).value, spaces=False)
        return tuple(self._spec_of(name) for name in [*listed_models, *more])

    def _spec_of(self, name: str) -> ModelSpec:
        if name == self._spec.name:
            return self._spec
        listed = self._listings.get(name)
        revision = listed.revision if listed is not None else ""
        return replace(self._spec, name=name, revision=revision)

    def _tasks(self) -> tuple[TaskChoice, ...]:
        drawing = Drawing(self._examples(), choices=self.query_one("#choices", Checkbox).value)
        choices: list[TaskChoice] = []
        for name, task in TASKS.items():
            if not self.query_one(f"#task-{name}", Checkbox).value:
                continue
            levels = [""]
            if task.levels:
                levels = _words(self.query_one(f"#levels-{name}", Input).value) or [""]
            choices += choose_levels(name, levels, "", drawing)
        for word in _words(self.query_one("#more-tasks", Input).value):
            data = parse_data([word]) if "=" in word else {}
            choices += parse_task(word.partition("=")[0], data, drawing)
        return tuple(choices)

    def _examples(self) -> int:
        text = self.query_one("#examples", Input).value.strip()
        try:
            examples: int = options_of(Drawing)["examples"].parse_text(text)
        except WrongValue as error:
            raise DepthError(f"How many prompts of each task? {str(error).capitalize()}.") from None
        return examples


def _words(text: str, spaces: bool = True) -> list[str]:
    return [word for word in re.split(r"[,\s]+" if spaces else r"\s*,\s*", text.strip()) if word]


def _model_line(listing: ModelListing) -> Content:
    size = format_size(listing.size)
    size = size if listing.ready else f"{size} to fetch"
    return Content.assemble(printable_chars(listing.title), (f"  {size}", MUTED))
