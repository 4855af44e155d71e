"""Fields with text that is hostile or long, and keys that arrive together."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.events import Key

from depthtui.tui.panes.safe_input import SafeInput
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea

TYPED = ("t", "h", "e", "m", "e", "backspace", "backspace", "left", "b", "end", "n")
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


@pytest.mark.parametrize("kind", [SafeInput, SafeTextArea])
async def test_keys_that_arrive_together_keep_their_order(
    kind: type[SafeInput | SafeTextArea],
) -> None:
    field = kind()
    app: App[None] = App()
    async with app.run_test() as pilot:
        await app.mount(field)
        field.focus()
        await pilot.pause()
        for key in TYPED:
            app.post_message(Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        await pilot.pause()
        assert (field.value if isinstance(field, SafeInput) else field.text) == "thben"
