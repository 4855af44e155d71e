"""The settings of slower metrics: what they skip and where, and where the answer begins."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from depthtui.data.run import RunResult
from depthtui.data.run_settings import OF_A_PART, RunSettings
from depthtui.data.selection import layers_in
from depthtui.options import Option, WrongValue, options_of
from depthtui.token_text import printable
from depthtui.tui.screens.dialogs.form import Form

NO_ANSWER_HERE = "Nothing predicts token 0, so no answer begins there."

ANSWER = Option(
    "First token of the answer; A sets the token under the cursor.",
    least=1,
    label="answer begins at token",
    example="as the prompt marks it",
    kind=int,
    default=-1,
)


class MeasuredForm(Form):
    """Asks for the part of a run to measure.

    Args:
        settings: the first values of the fields.
        result: the run's result, whose layers and tokens can be chosen.
        token: the token under the cursor.
        first: the field that has the focus; empty for the first one.
    """

    heading = "Part to measure"
    _is_refused = False

    form_keys = "A"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A", "answer_here", "answer", tooltip="Begin here"),
    ]

    def __init__(
        self, settings: RunSettings, result: RunResult, token: int, first: str = ""
    ) -> None:
        options = {name: options_of(RunSettings)[name] for name in OF_A_PART}
        missing = result.model.split_missing
        closed = {"skip_part": f"attention and MLP cannot be told apart ({missing})"}
        super().__init__(
            options | {"answer_start": ANSWER}, vars(settings), closed if missing else {}, first
        )
        self._result = result
        self._token = token

    def check(self, name: str, value: Any) -> Any:
        n_layers, last = self._result.model.n_layers, len(self._result.tokens) - 1
        if name == "layers" and layers_in(value, n_layers)[-1] >= n_layers:
            raise WrongValue(f"layers of this model, 0 to {n_layers - 1}")
        if name == "answer_start" and value > last:
            raise WrongValue(f"a token of this prompt, 1 to {last}")
        return value

    def describe(self, name: str) -> str:
        if name == "answer_start" and self._is_refused:
            return NO_ANSWER_HERE
        words = super().describe(name)
        typed = str(self.field("answer_start").value).strip()
        if name == "answer_start" and typed:
            text = printable(self._result.tokens.readable_texts[int(typed)])
            return f'Token {typed} is "{text}". {words}'
        return words

    def on_mount(self) -> None:
        self.tried({})

    def tried(self, values: dict[str, Any]) -> None:
        """Open the positions only for layers that are skipped before a token."""
        self._is_refused = False
        self.field("skip_positions").disabled = bool(self.field("skip_everywhere").value)

    def action_answer_here(self) -> None:
        """Let the answer begin at the token under the cursor, or again where the prompt says."""
        field = self.field("answer_start")
        self._is_refused = self._token == 0
        if not self._is_refused:
            self.set_field("answer_start", -1 if field.value == str(self._token) else self._token)
        self.set_focus(field)
        self.explain()
