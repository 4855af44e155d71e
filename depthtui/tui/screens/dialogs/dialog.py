"""The base of the dialogs: a frame with a title, tabs, hints, escape to leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static, TextArea

from depthtui.errors import DepthError
from depthtui.token_text import printable_chars, printable_sentence
from depthtui.tui.commands.everywhere import IN_DIALOGS
from depthtui.tui.screens.dialogs.ask import confirm
from depthtui.tui.text_editor import edit
from depthtui.tui.textual_patches.screens import ModalScreen

MUTED = "$foreground 60%"
"""The style of minor text."""

WRONG = "$text-error"
"""The style of errors."""

QUICK = "quick"
"""The class of fields whose text is quickly typed again: it is lost without a question."""

Result = TypeVar("Result")


def line_cells(screen: int, widest: int) -> int:
    """Cells of a list's line in a dialog, as in the style sheet.

    Args:
        screen: cells of a line of the screen.
        widest: cells of the dialog where there is room.
    """
    # 5 cells are the dialog's edges and padding, and the scrollbar.
    return (min(screen * 9 // 10, widest) if screen >= 100 else screen) - 5


class Dialog(ModalScreen[Result | None]):
    """A framed dialog; dismissed with None when it is left.

    Attributes:
        heading: the title in its frame.
        hint: the keys, shown in the frame's lower edge.
        tabs: the names of the dialogs that are tabs with this one; empty for a single dialog.
        tab: its own name among them.
        turned_to: the tab that was turned to; empty until then.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium")]  # noqa: RUF012

    heading: str = ""
    hint: str = "esc closes"
    tabs: tuple[str, ...] = ()
    tab: str = ""
    turned_to: str = ""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "turn(1)", "next tab", show=False, priority=True),
        Binding("shift+tab", "turn(-1)", "tab before", show=False, priority=True),
        Binding("escape", "leave", "close", tooltip="Close this dialog", id="dialog.close"),
        Binding("f5", "take_typed", "take", show=False),
        Binding(
            "ctrl+e",
            "edit_text",
            "editor",
            tooltip="Edit the text in $VISUAL or $EDITOR",
            id="dialog.editor",
            priority=True,
        ),
        Binding("up", "app.focus_previous", "previous", show=False),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("j", "press_arrow('down')", "down", show=False),
        Binding("k", "press_arrow('up')", "up", show=False),
        *IN_DIALOGS,
    ]

    def __init__(self, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._kept_texts: dict[Input | TextArea, str] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as frame:
            frame.border_title = Content(self.heading)
            frame.border_subtitle = Content(self.hint)
            if self.tabs:
                yield Static(self._tabs_line(), id="tabs")
            yield from self.body()

    def _tabs_line(self) -> Content:
        names = [
            Content.from_markup(f"[@click=screen.turn_to('{name}')][{style}] {name} [/][/]")
            for name in self.tabs
            for style in ("reverse bold" if name == self.tab else MUTED,)
        ]
        return Content.assemble(Content("  ").join(names), ("   tab turns", MUTED))

    def body(self) -> ComposeResult:
        """The widgets inside the frame."""
        return ()

    def note(self, text: str, style: str = MUTED) -> None:
        """Show a text, untrusted or not, in the dialog's `#note`."""
        self.query_one("#note", Static).update(Content.styled(printable_chars(text), style))

    def show_hint(self, hint: str) -> None:
        """Show other keys in the frame's lower edge."""
        self.query_one(".dialog").border_subtitle = Content(hint)

    # Typed text --------------------------------------------------------------

    def on_mount(self) -> None:
        for field in self._text_fields:
            self.keep_text(field)

    @property
    def _text_fields(self) -> list[Input | TextArea]:
        """The fields for text; a filter's words are no text to keep."""
        fields = self.query("Input, TextArea").exclude("#filter")
        return [field for field in fields if isinstance(field, Input | TextArea)]

    @property
    def _typed_fields(self) -> list[Input | TextArea]:
        """The fields whose text was typed and not taken."""
        return [
            field
            for field in self._text_fields
            if field.display and _text_in(field) not in ("", self._kept_texts.get(field))
        ]

    def keep_text(self, field: Input | TextArea) -> None:
        """Note that the text of a field is not lost with the dialog."""
        self._kept_texts[field] = _text_in(field)

    async def action_take_typed(self) -> None:
        """Take what was typed, as enter in its field does."""
        typed_lines = [field for field in self._typed_fields if isinstance(field, Input)]
        if typed_lines:
            await typed_lines[0].action_submit()

    def action_edit_text(self) -> None:
        """Edit the text of the focused field in the user's editor."""
        field = self.focused
        if not isinstance(field, Input | TextArea):
            return
        try:
            problem = edit(self.app, field)
        except DepthError as error:
            problem = str(error)
        if problem:
            self.notify(printable_sentence(problem), severity="warning", markup=False)

    @property
    def has_typed(self) -> bool:
        """Whether typed text would be lost with the dialog, more than is quickly typed again."""
        return any(not field.has_class(QUICK) for field in self._typed_fields)

    def _ask_for_text(self, then: Callable[[], None]) -> None:
        """Act at once, or once it is agreed where typed text would be lost."""
        if self.has_typed:
            confirm(self.app, "Leave without what you typed?", "leaves", then)
        else:
            then()

    # Leaving -----------------------------------------------------------------

    def action_leave(self) -> None:
        self._ask_for_text(self.leave)

    def leave(self) -> None:
        """Close the dialog."""
        self.dismiss(None)

    async def action_press_arrow(self, arrow: str) -> None:
        """Run an arrow key's action where the focus is."""
        bound = self.active_bindings.get(arrow)
        if bound is not None:
            await self.app.run_action(bound.binding.action, bound.node)

    def on_click(self, event: events.Click) -> None:
        """Leave on a click beside the dialog."""
        if event.widget is self:
            self.action_leave()

    def action_turn(self, step: int) -> None:
        """Turn to the next tab; move the focus in a dialog without tabs."""
        if self.tabs:
            place = self.tabs.index(self.tab) + step
            self.action_turn_to(self.tabs[place % len(self.tabs)])
        elif step > 0:
            self.focus_next()
        else:
            self.focus_previous()

    def action_turn_to(self, tab: str) -> None:
        if tab != self.tab:
            self._ask_for_text(partial(self._turn_to, tab))

    def _turn_to(self, tab: str) -> None:
        self.turned_to = tab
        self.dismiss(None)


def _text_in(field: Input | TextArea) -> str:
    return field.value if isinstance(field, Input) else field.text


def open_tab(
    app: App[Any],
    tabs: Mapping[str, Callable[[], Dialog[Result]]],
    tab: str,
    then: Callable[[Result | None], None],
) -> None:
    """Open one of several dialogs that turn to each other.

    Args:
        app: opens it.
        tabs: the dialogs' constructors, by name.
        tab: the one to open.
        then: called with the result of the last one.
    """
    dialog = tabs[tab]()
    dialog.tabs, dialog.tab = tuple(tabs) if len(tabs) > 1 else (), tab

    def closed(result: Result | None) -> None:
        if dialog.turned_to:
            open_tab(app, tabs, dialog.turned_to, then)
        else:
            then(result)

    app.push_screen(dialog, closed)


def is_there(event: OptionList.OptionMessage) -> bool:
    """Whether an option is still in place: a search or a deletion may have come in between."""
    place = event.option_index
    return event.option in event.option_list.options[place : place + 1]
