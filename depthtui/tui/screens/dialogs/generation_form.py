"""How the model writes: temperature, seed, length, and the lens that reads along."""

from __future__ import annotations

from depthtui.data.run_settings import GenerationSettings
from depthtui.options import options_of
from depthtui.tui.screens.dialogs.form import Form

FIELDS = (
    "temperature",
    "max_tokens",
    "top_k",
    "top_p",
    "seed",
    "confidence",
    "lens",
    "chat_template",
)


class GenerationForm(Form):
    """Asks for a text's settings.

    Args:
        settings: the first values of the fields.
        has_template: whether the model has a chat template.
    """

    heading = "How the model writes"
    button = "Write anew"

    def __init__(self, settings: GenerationSettings, has_template: bool) -> None:
        options = options_of(GenerationSettings)
        closed = {} if has_template else {"chat_template": "the model has none"}
        super().__init__({name: options[name] for name in FIELDS}, vars(settings), closed)
