"""How the model writes: temperature, seed, length."""

from __future__ import annotations

from depthtui.data.run_settings import RunSettings, Writing
from depthtui.options import options_of
from depthtui.tui.screens.dialogs.form import Form


class WritingForm(Form):
    """Asks how an answer is written.

    Args:
        writing: the first values of the fields.
        chat_template: whether the prompt is wrapped in the chat template.
        has_template: whether the model has one.
    """

    heading = "How the model writes"
    button = "Write"

    def __init__(self, writing: Writing, chat_template: bool, has_template: bool) -> None:
        wraps = {"chat_template": options_of(RunSettings)["chat_template"]}
        closed = {} if has_template else {"chat_template": "the model has none"}
        values = {**vars(writing), "chat_template": chat_template}
        super().__init__(options_of(Writing) | wraps, values, closed)
