"""Every setting, listed from its declaration: look at it, change it, write it into the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from depthtui.errors import DepthError
from depthtui.options import WrongValue
from depthtui.token_text import fit_shown, printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, ListDialog
from depthtui.tui.state.settings_list import MOST_CYCLED, Row, SettingsList, Source, wrong

_NAME_CELLS, _SOURCE_CELLS, _DEFAULT_CELLS = 19, 13, 18
_LEAST_VALUE = 16
_WIDEST = 100
"""Cells of the widest dialog, as the style sheet has it."""

_STYLES = {Source.UNWRITTEN: "$text-warning", Source.DEFAULT: MUTED}


class SettingsScreen(ListDialog[None]):
    """Lists the settings by group; what is changed is heeded as soon as it can be.

    Args:
        settings: what is listed, and changed.
        heed: shows in the explorer what the settings say now.
    """

    heading = "Settings"
    hint = "enter changes · d default · / filters · ctrl+s writes · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", tooltip="Filter", id="settings.filter"),
        Binding("space", "select", "change", show=False),
        Binding(
            "d,delete", "reset", "default", tooltip="Back to the default", id="settings.default"
        ),
        Binding(
            "ctrl+s,f5",
            "write",
            "write",
            tooltip="Write what was changed into the settings file",
            id="settings.write",
        ),
    ]

    def __init__(self, settings: SettingsList, heed: Callable[[], None]) -> None:
        super().__init__()
        self._settings = settings
        self._heed = heed
        self._listed: list[Row | None] = []
        self._described = ""

    def body(self) -> ComposeResult:
        yield Input(placeholder="words of a setting", id="filter", compact=True)
        yield Static(id="head")
        yield OptionList(compact=True)
        yield Static(id="no-match")
        with Vertical(id="about"):
            yield Static(id="help")
            yield Static(id="effect")
            yield Input(id="value", compact=True)
            yield Static(id="note")

    def on_mount(self) -> None:
        for hidden in ("#filter", "#value", "#no-match"):
            self.query_one(hidden).display = False
        self._fill()
        self.listing.focus()
        if self._settings.problem:
            self.note(self._settings.problem, WRONG)

    def on_resize(self) -> None:
        self._fill()

    # The list ---------------------------------------------------------------

    def _fill(self) -> None:
        """List the settings that the filter lets through, with the cursor where it was."""
        listing, chosen = self.listing, self._chosen
        words = self.query_one("#filter", Input).value
        self._listed = []
        options = []
        for group, rows in self._settings.rows(words):
            self._listed.append(None)
            options.append(Option(Content.styled(group, f"bold {MUTED}"), disabled=True))
            for row in rows:
                self._listed.append(row)
                options.append(Option(self._line(row)))
        head = self._columns("", "name", "now", "default", "from")
        self.query_one("#head", Static).update(Content.styled(" ".join(head), MUTED))
        listing.clear_options().add_options(options)
        names = [row.name if row else "" for row in self._listed]
        place = names.index(chosen.name) if chosen and chosen.name in names else 1
        listing.highlighted = place if options else None
        listing.display = bool(options)
        nothing = self.query_one("#no-match", Static)
        nothing.display = not options
        nothing.update(Content(f"No setting has “{printable_chars(words)}” in its words."))
        self._describe()

    def _line(self, row: Row) -> Content:
        mark = "*" if row.source is Source.UNWRITTEN else " "
        style = _STYLES.get(row.source, "")
        default = row.default if row.default != row.value else ""
        head, name, value, default, source = self._columns(
            mark, row.name, row.value, default, row.source.value
        )
        return Content.assemble(
            (f"{head} ", "$text-warning"),
            f"{name} ",
            (f"{value} ", "bold" if default.strip() else ""),
            (f"{default} ", MUTED),
            (source, style),
        )

    def _columns(
        self, mark: str, name: str, value: str, default: str, source: str
    ) -> tuple[str, str, str, str, str]:
        """The cells of a line; the value has what the others leave."""
        screen = self.app.size.width
        frame = min(screen * 9 // 10, _WIDEST) if screen >= 100 else screen
        # 11 are edges and padding, the scrollbar, the mark and the gaps.
        rest = frame - 11 - _NAME_CELLS - _SOURCE_CELLS
        of_default = _DEFAULT_CELLS if rest - _DEFAULT_CELLS >= _LEAST_VALUE else 0
        return (
            fit_shown(mark, 1),
            fit_shown(name, _NAME_CELLS),
            fit_shown(printable_chars(value), rest - of_default),
            fit_shown(printable_chars(default), of_default),
            fit_shown(source, _SOURCE_CELLS),
        )

    @property
    def _chosen(self) -> Row | None:
        place = self.listing.highlighted
        return self._listed[place] if place is not None and place < len(self._listed) else None

    @on(OptionList.OptionHighlighted)
    def _describe(self) -> None:
        """Say what the setting is for; what was said of it stays."""
        row = self._chosen
        name = row.name if row else ""
        if name != self._described:
            self._described = name
            self.note("")
        if row is not None:
            words = f"default {printable_chars(row.default)} · takes effect {row.effect.value}"
            self.query_one("#help", Static).update(Content(row.help))
            self.query_one("#effect", Static).update(Content.styled(words, MUTED))

    # Changing ---------------------------------------------------------------

    def take(self, place: int) -> None:
        row = self._listed[place]
        if row is None:
            return
        choices = self._settings.choices(row.name)
        if len(choices) > MOST_CYCLED:
            self._pick(row.name, choices)
        elif choices:
            self._settings.cycle(row.name)
            self._changed()
        elif row.name == "keys":
            self.note("Keys are changed in the list of keys.")
        else:
            self._edit(row.name)

    def _pick(self, name: str, choices: Mapping[str, Any]) -> None:
        def chosen(value: Any) -> None:
            if value is not None:
                self._settings.choose(name, value)
                self._changed()

        self.app.push_screen(ChoicePicker(name, choices, self._settings.value(name)), chosen)

    def _edit(self, name: str) -> None:
        """Open the field with the setting's value in it."""
        field = self.query_one("#value", Input)
        field.value = self._settings.typed(name)
        field.display = True
        self.set_focus(field)
        field.action_select_all()

    @property
    def _is_editing(self) -> bool:
        return bool(self.query_one("#value").display)

    @on(Input.Submitted, "#value")
    def _accept(self) -> bool:
        """Take what the field says, or say why it cannot be; whether it was taken."""
        row, field = self._chosen, self.query_one("#value", Input)
        assert row is not None
        try:
            self._settings.type(row.name, field.value)
        except WrongValue as error:
            self.note(wrong(row.name, error), WRONG)
            return False
        self._end_editing()
        self.note("")
        self._changed()
        return True

    def _end_editing(self) -> None:
        self.query_one("#value").display = False
        self.listing.focus()

    def action_reset(self) -> None:
        if self._chosen is not None:
            self._settings.reset(self._chosen.name)
            self._changed()

    def _changed(self) -> None:
        """Heed what was changed, and show it."""
        self._heed()
        self._fill()

    def action_select(self) -> None:
        self.listing.action_select()

    def action_write(self) -> None:
        """Write what was changed into the file, or say why that cannot be."""
        if self._is_editing and not self._accept():
            return
        count = len(self._settings.unwritten)
        if not count:
            self.note("Nothing was changed that the settings file does not say.")
            return
        try:
            path = self._settings.write()
        except DepthError as error:
            self.note(str(error), WRONG)
            return
        self._fill()
        self.note(f"{count} setting{'s' * (count > 1)} written to {path}.", "$text-success")

    # Filtering --------------------------------------------------------------

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        # At once: what is typed next is for the field.
        self.set_focus(field)

    @on(Input.Changed, "#filter")
    def _filter(self) -> None:
        self._fill()

    @on(Input.Submitted, "#filter")
    def _to_list(self) -> None:
        if self._listed:
            self.listing.focus()

    @on(Input.Changed, "#value")
    def _retype(self) -> None:
        self.note("")

    def action_leave(self) -> None:
        """Leave the field, then the filter, then the settings."""
        field = self.query_one("#filter", Input)
        if self._is_editing:
            self._end_editing()
            self.note("")
        elif field.display:
            field.value = ""
            field.display = False
            self.listing.focus()
        else:
            self.dismiss(None)


class ChoicePicker(ListDialog[Any]):
    """What a setting can be, as a list.

    Args:
        name: of the setting.
        choices: what is shown, to what it means.
        current: what the setting is.
    """

    hint = "enter chooses · esc closes"

    def __init__(self, name: str, choices: Mapping[str, Any], current: Any) -> None:
        super().__init__(classes="small")
        self.heading = name
        self._choices = choices
        self._current = current

    def body(self) -> ComposeResult:
        yield OptionList(*map(Content, map(printable_chars, self._choices)), compact=True)

    def on_mount(self) -> None:
        values = list(self._choices.values())
        self.start_at(values.index(self._current) if self._current in values else 0)

    def take(self, place: int) -> None:
        self.dismiss(list(self._choices.values())[place])
