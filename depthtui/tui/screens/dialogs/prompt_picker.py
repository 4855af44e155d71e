"""Choose a prompt: from a task, a data set or a file, or by writing it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.widgets import (
    Button,
    Input,
    OptionList,
    Static,
    TabbedContent,
    TabPane,
    TextArea,
)
from textual.widgets.option_list import Option

from depthtui.data.run import Prompt
from depthtui.data.sentence import plural
from depthtui.errors import DepthError
from depthtui.files import expand_home
from depthtui.prompts.answers import with_answer
from depthtui.prompts.dataset_formats import DATASETS, Dataset
from depthtui.prompts.prompt_files import read_prompts
from depthtui.prompts.task import Task
from depthtui.prompts.tasks import TASKS, prompt_title
from depthtui.token_text import printable_chars
from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, Dialog, is_there
from depthtui.tui.screens.dialogs.listing import Listing
from depthtui.tui.screens.dialogs.path_suggester import PathSuggester
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.screens.dialogs.toggles import Checkbox
from depthtui.tui.state.dataset_prompts import OFFERED, Datasets, SetPrompts
from depthtui.tui.state.pasted import LONGEST_TEXT
from depthtui.tui.state.task_prompts import prompts_of
from depthtui.tui.state.token_count import TokenCount

PREVIEW_CHARACTERS = 4000
NOTHING_WRITTEN = "Write a prompt first: the text is empty."
LONGEST_ANSWER = 200
"""Characters of an answer that can be edited in one line."""

FIRST_FOCUS = {"tasks": "task-list", "write": "text"}
"""The widget that is focused when the dialog opens with a tab."""

HINTS = {
    "task-list": "j k choose · enter lists its prompts · + - level · o options · esc closes",
    "prompts": "j k choose · enter runs it · + - level · o options · esc closes",
    "path": "enter opens it · → completes · tab moves on · esc closes",
    "tasks": "F5 runs it · tab moves on · + - change the level · esc closes",
    "text": "F5 runs it · ctrl+e editor · tab answer · ctrl+t tasks, files · esc closes",
    "answer": "enter runs it · ctrl+t tasks and files · esc closes",
    "write": "F5 runs it · tab moves on · ctrl+t tasks and files · esc closes",
}
"""The keys of the focused widget, or else of the tab."""


@dataclass(frozen=True)
class PromptChoice:
    """A prompt to run, and whether it is wrapped in the chat template."""

    prompt: Prompt
    chat_template: bool


class PromptPicker(Dialog[PromptChoice]):
    """Two tabs for a prompt: from a list, or written.

    Args:
        token_count: counts tokens.
        datasets: the published data sets that are here.
        prompt: the prompt to begin with.
        chat_template: whether it is wrapped in the chat template.
        seed: the generators' seed.
        has_template: whether the model has a template; None while there is no model.
    """

    heading = "Prompt"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "dial(1)", "harder", tooltip="Harder", id="prompt.harder"),
        Binding("minus", "dial(-1)", "easier", tooltip="Easier", id="prompt.easier"),
        Binding("o", "options", "options", tooltip="With options or without", id="prompt.options"),
        Binding("ctrl+t", "next_way", "next tab", show=False, priority=True),
        Binding("ctrl+u", "clear", "clear", show=False, priority=True),
        Binding("f5", "submit", "run", tooltip="Run the prompt", id="prompt.run", priority=True),
    ]

    def __init__(
        self,
        token_count: TokenCount,
        datasets: Datasets,
        prompt: Prompt,
        chat_template: bool,
        seed: int,
        has_template: bool | None = None,
    ) -> None:
        super().__init__()
        self._token_count = token_count
        self._datasets = datasets
        self._prompt = prompt
        self._editable = prompt.text if len(prompt.text) <= LONGEST_TEXT else ""
        is_line = len(prompt.answer) <= LONGEST_ANSWER and prompt.answer.isprintable()
        self._answer = prompt.answer.strip() if is_line else ""
        self._is_former_answer = True
        self._seed = seed
        self._chat_template = chat_template
        self._has_template = has_template
        self._tab = "write"
        self.hint = HINTS[FIRST_FOCUS[self._tab]]
        is_known = prompt.task in TASKS or prompt.task in DATASETS
        self._task_name = prompt.task if is_known else next(iter(TASKS))
        self._levels: dict[str, int | None] = {
            task.name: task.default_level for task in TASKS.values()
        }
        # A prompt from a file may name a level that its task lacks.
        levels = {str(level): level for level in self._chosen_task.levels}
        if self._task_name in TASKS and prompt.level in levels:
            self._levels[self._task_name] = levels[prompt.level]
        self._wants_choices = bool(prompt.choices)
        self._prompts: Sequence[Prompt] = ()
        self._file = ""
        self._is_path_chosen = False

    def body(self) -> ComposeResult:
        with TabbedContent(id="ways", initial=self._tab):
            with TabPane("Tasks and files", id="tasks"):
                with Horizontal(id="task-columns"):
                    yield Listing(
                        *(Option(task.title, id=task.name) for task in TASKS.values()),
                        Option(Content.styled("Data sets", f"bold {MUTED}"), disabled=True),
                        *(self._dataset_option(dataset) for dataset in DATASETS.values()),
                        id="task-list",
                        compact=True,
                    )
                    with Vertical(id="task-prompts"):
                        yield Static(id="dial")
                        yield Listing(id="prompts", compact=True)
                with VerticalScroll(id="preview-box", can_focus=False):
                    yield Static(id="preview")
                yield SafeInput(
                    placeholder="or the path of a text or .jsonl file",
                    suggester=PathSuggester(),
                    id="path",
                    compact=True,
                )
            with TabPane("Write or paste", id="write"):
                yield SafeTextArea(
                    self._editable,
                    id="text",
                    soft_wrap=True,
                    compact=True,
                    placeholder=self._too_long_to_edit(),
                )
                yield SafeInput(
                    self._answer,
                    placeholder="the answer: the end of the text, or words to add; may be empty",
                    id="answer",
                    compact=True,
                )
        with Horizontal(classes="row"):
            yield Checkbox(
                "chat template",
                self._chat_template and self._has_template is not False,
                id="template",
                compact=True,
                disabled=self._has_template is False,
            )
            note = "the model has none" if self._has_template is False else ""
            yield Static(note, id="template-note")
            yield Static(id="token-note")
            yield Button("Run (F5)", id="run", variant="primary", compact=True)

    def _too_long_to_edit(self) -> str:
        """The text in place of a prompt that is too long to be edited."""
        if self._editable:
            return ""
        length = len(self._prompt.text)
        return f"F5 runs the prompt of {length:,} characters; it is too long to be edited here."

    def on_mount(self) -> None:
        tasks = self.query_one("#task-list", OptionList)
        tasks.highlighted = tasks.get_option_index(self._task_name)
        self._fill_prompts(self._prompt)
        self.run_worker(self._look())
        self.watch(self.query_one("#answer", Input), "value", self._own_answer, init=False)
        # All of it is selected, so that typing or pasting begins a new prompt.
        self.query_one("#text", SafeTextArea).select_all()
        self.query_one(f"#{FIRST_FOCUS[self._tab]}").focus()
        self._count()

    # The number of tokens ----------------------------------------------------

    @on(TextArea.Changed, "#text")
    def _forget_answer(self, event: TextArea.Changed) -> None:
        """Drop the answer of the former prompt when the text no longer ends with it."""
        text = event.text_area.text
        if self._is_former_answer and not text.rstrip().endswith(self._answer):
            self.query_one("#answer", Input).value = ""

    def _own_answer(self) -> None:
        """Note that the answer is no longer the former prompt's, even where it is the same word."""
        self._is_former_answer = False

    @on(TextArea.Changed, "#text")
    @on(Input.Changed, "#answer")
    @on(Checkbox.Changed, "#template")
    @on(OptionList.OptionHighlighted, "#prompts")
    def _count(self) -> None:
        """Request the number of tokens of the prompt that would run now."""
        prompt, wrapped = self._choice
        self.query_one("#token-note", Static).update("")
        if prompt is not None:
            self._token_count.request(prompt, wrapped)
            # The last count may be for this prompt, and the engine halted.
            self.changed()

    def changed(self) -> None:
        """Show the number of tokens, once it is known for the current prompt."""
        counted = self._token_count.last
        if not self.is_mounted or counted is None or counted.count < 0:
            return
        if (counted.prompt, counted.chat_template) == self._choice:
            words = plural(counted.count, "token")
            self.query_one("#token-note", Static).update(words)

    @property
    def _choice(self) -> tuple[Prompt | None, bool]:
        """The tab's prompt or None, and whether it is wrapped in the template."""
        return self._shown_prompt(), self.query_one("#template", Checkbox).value

    def _shown_prompt(self) -> Prompt | None:
        """The tab's prompt, or None."""
        if self._tab == "write":
            text = self.query_one("#text", SafeTextArea).text
            answer = self.query_one("#answer", Input).value
            if (text, answer) == (self._editable, self._answer):
                return self._prompt
            # An answer alone is no prompt.
            return with_answer(text, answer) if text.strip() else None
        index, prompts = self.query_one("#prompts", OptionList).highlighted, self._prompts
        return prompts[index] if index is not None and index < len(prompts) else None

    @on(TabbedContent.TabActivated)
    def _tab_changed(self, event: TabbedContent.TabActivated) -> None:
        self._tab = event.pane.id or "tasks"
        self._show_keys()
        self._count()

    @on(DescendantFocus)
    def _show_keys(self) -> None:
        """Show the keys of the focused widget."""
        focused = self.focused.id if self.focused is not None else None
        self.show_hint(HINTS.get(focused or "", HINTS[self._tab]))

    def action_next_way(self) -> None:
        """Turn to the other tab."""
        way = "write" if self._tab == "tasks" else "tasks"
        self.query_one("#ways", TabbedContent).active = way
        self.query_one(f"#{FIRST_FOCUS[way]}").focus()

    def action_clear(self) -> None:
        """Empty the text, or the focused field."""
        if isinstance(self.focused, TextArea):
            self.focused.clear()
        elif isinstance(self.focused, Input):
            self.focused.value = ""

    @on(OptionList.OptionHighlighted, "#task-list")
    def _task_chosen(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index != event.option_list.highlighted:
            # The cursor has moved since.
            return
        if event.option.id and (event.option.id != self._task_name or self._file):
            self._task_name, self._file = event.option.id, ""
            self._is_path_chosen = False
            self._fill_prompts()

    @property
    def _chosen_task(self) -> Task | Dataset:
        name = self._task_name
        return TASKS[name] if name in TASKS else DATASETS[name]

    @property
    def _level(self) -> int | None:
        """The dial's level; None without a dial, or for all levels of a data set."""
        return self._levels.get(self._task_name)

    def action_dial(self, step: int) -> None:
        levels: list[int | None] = list(self._chosen_task.levels)
        if self._task_name in DATASETS:
            levels.insert(0, None)
        place = levels.index(self._level) + step if self._level in levels else -1
        if self._tab == "tasks" and not self._file and 0 <= place < len(levels):
            self._levels[self._task_name] = levels[place]
            self._fill_prompts()

    @property
    def _choices(self) -> bool:
        """Whether the prompts are asked with options, where the task leaves a choice."""
        return self._wants_choices and self._chosen_task.has_choices

    def action_options(self) -> None:
        """Ask with options to choose from, or without, where the task leaves a choice."""
        if self._tab == "tasks" and not self._file and self._chosen_task.has_choices:
            self._wants_choices = not self._wants_choices
            self._fill_prompts()

    def _fill_prompts(self, selected: Prompt | None = None) -> None:
        if self._task_name in DATASETS:
            self._fill_rows(selected)
        else:
            self._list(
                prompts_of(self._task_name, self._level, self._seed, self._choices), selected
            )

    def _list(self, prompts: Sequence[Prompt], selected: Prompt | None = None) -> None:
        """List the prompts of the task or file, under its dial."""
        self._prompts = prompts
        self.query_one("#dial", Static).update(self._dial())
        listing = self.query_one("#prompts", OptionList)
        listing.clear_options().add_options(_titles(self._prompts))
        if prompts:
            listing.highlighted = prompts.index(selected) if selected in prompts else 0
        else:
            self.query_one("#token-note", Static).update("")

    def _dial(self) -> Content:
        """The level, and the sentence about the task."""
        task, level = self._chosen_task, self._level
        sentence = task.sentence
        if self._file:
            return Content.styled(f"Prompts of {printable_chars(self._file)}", MUTED)
        if self._task_name in DATASETS and len(self._prompts) == OFFERED:
            sentence += f" The first {OFFERED} rows."
        if task.has_choices:
            sentence += " Asked with options." if self._choices else " o asks with options."
        if not task.levels:
            return Content.styled(sentence, MUTED)
        if isinstance(task, Task):
            where = "" if level is None else task.level_words(level)
        else:
            where = f"every {task.dial}" if level is None else f"{task.dial} {level}"
        return Content.assemble(
            ("- ", "$text-accent"),
            (where, "bold"),
            (" +", "$text-accent"),
            (f"  of {task.levels[-1]}   {sentence}", MUTED),
        )

    # Data sets ---------------------------------------------------------------

    def _dataset_option(self, dataset: Dataset) -> Option:
        """A data set in the list of tasks; dimmed where it is not here."""
        is_here = self._datasets.file(dataset.name) is not None
        return Option(Content.styled(dataset.title, "" if is_here else MUTED), id=dataset.name)

    async def _look(self) -> None:
        """Look which data sets are here, and show them."""
        await asyncio.to_thread(self._datasets.look)
        tasks = self.query_one("#task-list", OptionList)
        for dataset in DATASETS.values():
            tasks.replace_option_prompt(dataset.name, self._dataset_option(dataset).prompt)
        if self._task_name in DATASETS:
            self._fill_rows(self._prompt)

    def _fill_rows(self, selected: Prompt | None = None) -> None:
        """List the rows of the data set, which are read first if need be."""
        datasets, name = self._datasets, self._task_name
        path, set_prompts = datasets.file(name), datasets.already_read(*self._rows)
        if path is not None and set_prompts is not None:
            self._show_rows(set_prompts, selected)
            return
        self._list(())
        self._show_message(f"Reading {path}…" if path else datasets.how_to_get(name))
        if path is not None:
            self.run_worker(self._read(selected), group="rows", exclusive=True)

    @property
    def _rows(self) -> tuple[str, int | None, bool]:
        """The data set, its level, and whether it is asked with options."""
        return self._task_name, self._level, self._choices

    async def _read(self, selected: Prompt | None) -> None:
        """Read the data set, and list it unless something else was chosen meanwhile."""
        chosen_rows = self._rows
        set_prompts = await asyncio.to_thread(self._datasets.read, *chosen_rows)
        if chosen_rows == self._rows and not self._file:
            self._show_rows(set_prompts, selected)

    def _show_rows(self, set_prompts: SetPrompts, selected: Prompt | None) -> None:
        self._list(set_prompts.prompts, selected)
        if set_prompts.problem and set_prompts.prompts:
            words = printable_chars(f"These are the rows before it. {set_prompts.problem}")
            self.notify(words, severity="warning", markup=False)
        elif set_prompts.problem:
            self._show_message(set_prompts.problem, WRONG)
        elif not set_prompts.prompts:
            self._show_message("It has no prompt at this level.")

    def _show_message(self, words: str, style: str = MUTED) -> None:
        """Show a message in the prompt's place."""
        self.query_one("#preview", Static).update(Content.styled(printable_chars(words), style))

    # Choosing -----------------------------------------------------------------

    @on(OptionList.OptionHighlighted, "#prompts")
    def _preview(self, event: OptionList.OptionHighlighted) -> None:
        if not is_there(event):
            return
        prompt = self._prompts[event.option_index]
        text = prompt.text[:PREVIEW_CHARACTERS]
        split = len(prompt.question)
        options = "".join(f"\n· {_lines(choice.strip())}" for choice in prompt.choices)
        self.query_one("#preview", Static).update(
            Content.assemble(
                _lines(text[:split]),
                (_lines(text[split:]), "$text-accent"),
                (options and f"\n{options}", MUTED),
            )
        )
        self.query_one("#preview-box", VerticalScroll).scroll_home(animate=False)

    @on(OptionList.OptionSelected, "#prompts")
    def _choose_prompt(self, event: OptionList.OptionSelected) -> None:
        if is_there(event):
            wrapped = self.query_one("#template", Checkbox).value
            self.dismiss(PromptChoice(self._prompts[event.option_index], wrapped))

    @on(OptionList.OptionSelected, "#task-list")
    def _to_prompts(self) -> None:
        self.query_one("#prompts").focus()

    @property
    def _is_file_next(self) -> bool:
        """Whether the typed file is still to be opened, and no task was chosen after it."""
        is_open = self._typed_path == self._file and bool(self._prompts)
        is_chosen = self._is_path_chosen or self.query_one("#path").has_focus
        return bool(self._typed_path) and is_chosen and not is_open

    @on(Input.Changed, "#path")
    def _path_typed(self) -> None:
        self._is_path_chosen = True

    @property
    def _typed_path(self) -> str:
        return self.query_one("#path", Input).value.strip()

    @on(Input.Submitted, "#path")
    def _open(self) -> None:
        """List the prompts of the typed file, or show why it has none."""
        self._file = self._typed_path
        if not self._file:
            self._fill_prompts()
            return
        try:
            self._list(read_prompts(expand_home(self._file)))
            self.query_one("#prompts").focus()
        except DepthError as error:
            self._list(())
            self._show_message(str(error), WRONG)

    @on(Button.Pressed, "#run")
    @on(Input.Submitted, "#answer")
    def action_submit(self) -> None:
        """Run the tab's prompt; open a typed file first, and choose where it has several."""
        if self._tab == "tasks" and self._is_file_next:
            self._open()
            if len(self._prompts) != 1:
                return
        prompt, wrapped = self._choice
        if prompt is not None:
            self.dismiss(PromptChoice(prompt, wrapped))
        elif self._tab == "write":
            self.notify(NOTHING_WRITTEN, markup=False)


def _titles(prompts: Sequence[Prompt]) -> list[Option]:
    width = len(str(len(prompts)))
    return [
        Option(Content.assemble((f"{index:>{width}}  ", MUTED), prompt_title(prompt, 100)))
        for index, prompt in enumerate(prompts, 1)
    ]


def _lines(text: str) -> str:
    return "\n".join(printable_chars(line) for line in text.split("\n"))
