"""Fields of one line with text that is hostile or long."""

from __future__ import annotations

from textual.app import App, ComposeResult

from depthtui.tui.panes.safe_input import SafeInput

COMMAND = "a\x1b]52;c;b3duZWQ=\x07b"
DRAWN = "a\u241b]52;c;b3duZWQ="


class Shown(App[None]):
    """A field with a placeholder, and one with a value."""

    def compose(self) -> ComposeResult:
        yield SafeInput(placeholder=COMMAND, compact=True)
        yield SafeInput(COMMAND, compact=True)


async def test_a_field_sends_no_commands_and_has_an_end() -> None:
    app = Shown()
    async with app.run_test():
        empty, field = app.query(SafeInput)
        app.screen.set_focus(field)
        assert field.value == COMMAND
        assert empty.render_line(0).text.startswith(DRAWN)
        assert field.render_line(0).text.startswith(DRAWN)
        empty.insert("a" * 1_000_000, 0)
        assert empty.value == ""
