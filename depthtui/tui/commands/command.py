"""A command: its keys, its words, when it works, the work that it ends, and its effect.

Footer, help, palette, the mouse's menu, remapping and the manual read this value alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from textual.binding import Binding

GROUPS = {
    "move": "Move",
    "look": "Look",
    "compute": "Compute",
    "choose": "Prompts and models",
    "session": "Session",
    "settings": "Settings and help",
}
"""Headings of the groups of commands, by name, in the order of the help."""

SILENT = ""
"""The reason of a command that has nothing to do now, such as leaving where nothing is open."""

Needs = Literal["none", "any", "of the run"]
"""The model that a command may need: none, any loaded one (for a new run), the run's."""

Place = TypeVar("Place", contravariant=True)


def always(place: object) -> str | None:
    """No reason: the command works."""
    return None


def ends_nothing(place: object) -> str:
    """No work is ended."""
    return ""


@dataclass(frozen=True)
class Command(Generic[Place]):
    """Something that a key does on a screen, or in the whole app.

    Attributes:
        name: the id by which the settings file remaps the keys.
        keys: the keys as Textual names them, separated by commas.
        label: the command in the footer; empty for one that the footer does not name.
        words: the command as a sentence, without a full stop.
        group: a name in `GROUPS`.
        effect: acts on the screen.
        why_not: returns why the command does not work now and what helps, `SILENT` for an obvious
            reason, None where it works.
        at_cursor: whether it acts on the thing under the cursor, and is in the mouse's menu.
        does: the effect in a question, such as `quits`.
        ends: the work that is lost by it, in words; empty for none.
        model: the model that it needs, by a name in `Needs`; it asks about that model by itself.
    """

    name: str
    keys: str
    label: str
    words: str
    group: str
    effect: Callable[[Place], object]
    why_not: Callable[[Place], str | None] = always
    at_cursor: bool = False
    does: str = ""
    ends: Callable[[Place], str] = ends_nothing
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


def bindings_of(commands: Iterable[Command[Any]]) -> list[Binding]:
    """The bindings of these commands, in their order."""
    return [command.binding for command in commands]
