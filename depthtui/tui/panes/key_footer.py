"""The footer: the keys that work now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.content import Content
from textual.events import Click, MouseMove
from textual.reactive import reactive
from textual.screen import Screen
from textual.style import Style
from textual.widget import Widget

_LAST = 2
"""Help and quit, which are last and shown at any width."""


class FooterKey(NamedTuple):
    """A key that works now.

    Attributes:
        key: its name for Textual.
        shown: the key as it is shown.
        label: one or two words for its command.
        words: the command in full.
    """

    key: str
    shown: str
    label: str
    words: str

    @property
    def cells(self) -> int:
        """Its width, with the cell that separates it from the next one."""
        return Content(f"{self.shown} {self.label} ").cell_length


class KeyFooter(Widget):
    """One line of the keys that work now; a click presses one of them.

    Keys without room are left out whole. A screen that names commands by `footer_commands` has
    these alone, in their order.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-footer--key", "key-footer--hover"}
    DEFAULT_CSS = """
    KeyFooter {
        dock: bottom;
        height: 1;
        color: $footer-description-foreground;
        .key-footer--key { color: $footer-key-foreground; text-style: bold; }
        .key-footer--hover { background: $block-hover-background; }
        &:hover { pointer: pointer; }
    }
    """

    hovered: reactive[FooterKey | None] = reactive(None)
    """The key under the mouse."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[FooterKey] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._update)

    def _update(self, screen: Screen[object]) -> None:
        """Draw other keys where others work now: each change of focus asks for it."""
        keys = self._working_keys(screen)
        if keys != self.keys:
            self.keys = keys
            self.refresh()

    def _working_keys(self, screen: Screen[object]) -> list[FooterKey]:
        """One key of each command that the footer names and that works."""
        commands: dict[str, FooterKey] = {}
        for _, binding, works, words in screen.active_bindings.values():
            name = binding.id or binding.action
            if binding.show and works and name not in commands:
                shown = self.app.get_key_display(binding)
                commands[name] = FooterKey(binding.key, shown, binding.description, words)
        named: Sequence[str] = getattr(screen, "footer_commands", ()) or list(commands)
        return [commands[name] for name in named if name in commands]

    @property
    def shown_keys(self) -> list[FooterKey]:
        """The keys that have room."""
        first, last = self.keys[:-_LAST], self.keys[-_LAST:]
        room = self.size.width + 1 - sum(key.cells for key in last)
        fitting = []
        for key in first:
            room -= key.cells
            if room < 0:
                break
            fitting.append(key)
        return [*fitting, *last]

    def render(self) -> Content:
        return Content(" ").join(map(self._drawn, self.shown_keys))

    def _drawn(self, key: FooterKey) -> Content:
        key_style = self.get_visual_style("key-footer--key")
        drawn = Content.assemble((key.shown, key_style), f" {key.label}")
        if key == self.hovered:
            drawn = drawn.stylize(self.get_visual_style("key-footer--hover"))
        return drawn.stylize(Style.from_meta({"key": key}))

    def on_mouse_move(self, event: MouseMove) -> None:
        """Show the command in full beside the mouse."""
        self.hovered = event.style.meta.get("key")
        self.tooltip = self.hovered.words if self.hovered else None

    def on_leave(self) -> None:
        self.hovered = None

    def on_click(self, event: Click) -> None:
        key = event.style.meta.get("key")
        if key is not None:
            self.app.simulate_key(key.key)
