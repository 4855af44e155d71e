"""A command: its keys, its words, when it works, the work that it ends, and its effect.

Footer, help, palette, the mouse's menu, remapping and the manual read this value alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textual.actions import parse
from textual.binding import Binding

if TYPE_CHECKING:
    from depthtui.tui.state.explorer import Explorer

GROUPS = {
    "own": "Your commands",
    "move": "Move",
    "look": "Look",
    "compute": "Compute",
    "choose": "Prompts and models",
    "session": "Session",
    "settings": "Settings and help",
}
"""Headings of the groups of commands, by name, in the order of the help."""

Needs = Literal["none", "any", "of the run"]
"""The model that a command may need: none, any loaded one (for a new run), the run's."""


@dataclass(frozen=True)
class Command:
    """Something that a key does on a screen, or in the whole app; names are of their attributes.

    Attributes:
        name: the id by which the settings file remaps the keys.
        keys: the keys as Textual names them, separated by commas.
        label: the command in the footer; empty for one that the footer does not name.
        words: the command as a sentence, without a full stop.
        group: a name in `GROUPS`.
        effect: the method that the command calls, with arguments as in Textual's actions, such as
            `move(1, 0)`.
        when: the bool that is False where the command has nothing to do, such as leaving where
            nothing is open: then its key is silent. Empty for a command that always has.
        why_not: the method that returns why the command does not work now and what helps, an empty
            text where it works. Empty for a command that always works.
        at_cursor: whether it acts on the thing under the cursor, and is in the mouse's menu.
        does: the effect in a question, such as `quits`.
        ends: returns the work that is lost by it, in words; empty for none.
        model: the model that it needs, by a name in `Needs`; it asks about that model by itself.
    """

    name: str
    keys: str
    label: str
    words: str
    group: str
    effect: str
    when: str = ""
    why_not: str = ""
    at_cursor: bool = False
    does: str = ""
    ends: Callable[[Explorer], str] = lambda explorer: ""
    model: Needs = "none"

    @property
    def in_footer(self) -> bool:
        """Whether the footer names the command."""
        return bool(self.label)

    @property
    def binding(self) -> Binding:
        """The command as Textual binds it."""
        action = f"command('{self.name}')"
        return Binding(
            self.keys, action, self.label, show=self.in_footer, tooltip=self.words, id=self.name
        )

    def run(self, place: object) -> None:
        """Act on a screen, or on the app."""
        _, method, arguments = parse(self.effect)
        getattr(place, method)(*arguments)

    def reason(self, place: object) -> str:
        """Why the command does not work there now, and what helps; empty where there is none."""
        return str(getattr(place, self.why_not)()) if self.why_not else ""

    def works(self, place: object) -> bool:
        """Whether the command has something to do there now, and can do it."""
        has_work = not self.when or bool(getattr(place, self.when))
        return has_work and not self.reason(place)


def bindings_of(commands: Iterable[Command]) -> list[Binding]:
    """The bindings of these commands, in their order."""
    return [command.binding for command in commands]
