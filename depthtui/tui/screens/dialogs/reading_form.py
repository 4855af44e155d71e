"""How depths are read: the lens, the thresholds of the rules, whether token 0 counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from depthtui.data.run_settings import LENSES
from depthtui.tui.screens.dialogs.choice_field import ChoiceField
from depthtui.tui.screens.dialogs.form import Form
from depthtui.tui.state.reading_choices import ReadingChoices, reading_options, turn_threshold


class ReadingForm(Form):
    """Shows each choice at once on the screen behind it; dismissed with the choices to keep.

    Args:
        reading: the choices to change.
        redraw: draws the screen behind it.
        lacks: what must be computed before a lens reads the run, in words; empty for nothing.
        lenses: the lenses to choose from.
        closed: why a threshold cannot be changed, by its option.
    """

    heading = "How depths are read"
    hint = "+ - change · d defaults · enter keeps · esc undoes"
    button = "Keep"
    form_keys = "+=-d"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "turn(1)", "up", show=False, priority=True),
        Binding("minus", "turn(-1)", "down", show=False, priority=True),
        Binding("d", "defaults", "defaults", tooltip="As the session began", priority=True),
    ]

    def __init__(
        self,
        reading: ReadingChoices,
        redraw: Callable[[], None],
        lacks: Callable[[str], str],
        lenses: tuple[str, ...] = LENSES,
        closed: Mapping[str, str] | None = None,
    ) -> None:
        options = reading_options()
        options["lens"] = replace(options["lens"], choices=lenses, default=lenses[0])
        for name in closed or {}:
            options[name] = replace(options[name], default=reading.now[name])
        super().__init__(options, reading.now, closed)
        self._reading = reading
        self._former_choices = reading.now
        self._redraw = redraw
        self._lacks = lacks

    def describe(self, name: str) -> str:
        lacks = self._lacks(self.field("lens").value) if name == "lens" else ""
        return lacks or super().describe(name)

    def tried(self, values: dict[str, Any]) -> None:
        now = self._reading.now
        if now | values != now:
            self._reading.set(**values)
            self._redraw()

    def action_turn(self, step: int) -> None:
        """Raise or lower the field with the focus."""
        field = self.focused
        if isinstance(field, ChoiceField):
            field.action_step(step)
        elif name := self.name_of(field):
            # The last value may not have become a choice yet.
            self.set_field(name, turn_threshold(self._typed(name), step))

    def _typed(self, name: str) -> float:
        """The threshold in a field, or the current one where the text is no number."""
        try:
            return float(self.field(name).value)
        except ValueError:
            return float(self._reading.now[name])

    def action_defaults(self) -> None:
        """Set every field to the session's first choice."""
        for name, value in self._reading.first.items():
            self.set_field(name, value)

    def leave(self) -> None:
        self.tried(self._former_choices)
        super().leave()
