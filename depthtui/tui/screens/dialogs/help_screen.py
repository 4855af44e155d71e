"""A searchable list of the keys that work here, which also runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from depthtui.token_text import printable_chars
from depthtui.tui import keymap
from depthtui.tui.screens.dialogs.dialog import MUTED, ListDialog


@dataclass(frozen=True)
class KeyCommand:
    """Something that a key does.

    Attributes:
        keys: the keys as people read them, such as `k ↑`.
        what: what they do.
        name: the id by which the settings remap them.
        active: the binding and the node it belongs to.
    """

    keys: str
    what: str
    name: str
    active: ActiveBinding


def commands_on(screen: Screen[object]) -> list[KeyCommand]:
    """What the keys of a screen do, the most urgent first."""
    app = screen.app
    grouped: dict[str, list[ActiveBinding]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        # What has no id is Textual's own, such as copying selected text.
        if active.enabled and binding.id and not binding.system:
            grouped.setdefault(binding.id, []).append(active)
    order = {name: place for place, name in enumerate(keymap.OWN)}
    ids = sorted(grouped, key=lambda name: order.get(name, len(order)))
    return [
        KeyCommand(
            " ".join(app.get_key_display(active.binding) for active in group),
            group[0].binding.tooltip or group[0].binding.description,
            name,
            group[0],
        )
        for name, group in ((name, grouped[name]) for name in ids)
    ]


async def run_command(app: App[object], command: KeyCommand) -> None:
    """Do what the command's key would do."""
    await app.run_action(command.active.binding.action, command.active.node)


class HelpScreen(ListDialog[KeyCommand]):
    """Lists the keys; the caller runs the one that was chosen."""

    heading = "Keys that work here"
    hint = "type to search · ↑↓ choose · enter runs it · esc closes"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "next", show=False, priority=True),
        Binding("up", "move(-1)", "previous", show=False, priority=True),
    ]

    def __init__(self, commands: list[KeyCommand]) -> None:
        super().__init__()
        self._commands = commands
        self._width = max((len(command.keys) for command in commands), default=0)

    def body(self) -> ComposeResult:
        yield Input(placeholder="search", compact=True)
        yield OptionList(*self._options(""), compact=True)
        yield Static(id="no-match")

    def on_mount(self) -> None:
        self.listing.highlighted = 0
        self.query_one("#no-match").display = False
        self.query_one(Input).focus()

    def _options(self, search: str) -> list[Option]:
        words = search.lower().split()
        return [
            Option(
                Content.assemble(
                    (command.keys.rjust(self._width), "$text-accent"),
                    f"  {command.what}",
                    (f"  {command.name}", MUTED),
                ),
                id=str(index),
            )
            for index, command in enumerate(self._commands)
            if all(
                word in f"{command.keys} {command.what} {command.name}".lower() for word in words
            )
        ]

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        listing = self.listing
        listing.clear_options().add_options(self._options(event.value))
        found = listing.option_count > 0
        listing.highlighted = 0 if found else None
        listing.display = found
        nothing = self.query_one("#no-match", Static)
        nothing.display = not found
        nothing.update(Content(f"No key here has “{printable_chars(event.value)}” in its words."))

    @on(Input.Submitted)
    def _submit(self) -> None:
        self.listing.action_select()

    def take(self, place: int) -> None:
        self.dismiss(self._commands[int(self.listing.get_option_at_index(place).id or 0)])
