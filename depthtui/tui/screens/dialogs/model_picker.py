"""Choose a model: from a list, or by its id or path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from textual.app import ComposeResult
from textual.content import Content

from depthtui.data.model import ModelListing
from depthtui.data.run_settings import ModelSpec
from depthtui.options import options_of
from depthtui.sizes import format_size
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG
from depthtui.tui.screens.dialogs.fields import field_lines, read_fields
from depthtui.tui.screens.dialogs.open_dialog import OpenDialog
from depthtui.tui.screens.dialogs.picker import PickerRow

OPTIONS = {
    name: options_of(ModelSpec)[name]
    for name in ("device", "dtype", "quantize", "revision", "adapter")
}

_MOST_LINES, _OTHER_LINES = 34, 16
"""The most lines of the dialog, as in the style sheet, and its lines outside the list."""

_WIDE = 100
"""The least columns at which the dialog is no larger than its contents."""


class ModelPicker(OpenDialog[ModelSpec]):
    """Lists models opened before and on disk, and accepts a typed name; a choice opens the model.

    Args:
        spec: the open model, or the one that could not be opened; its options are offered again.
        on_disk: finds the models on disk; slow, so it runs in a thread.
        check: raises a `DepthError` for a name without a model; slow as well.
        problem: why `spec` could not be opened; untrusted, empty for the open model.
        engine_command: the command that reaches the models' engine; empty for this machine.
    """

    heading = "Model"
    listed = "Opened before, and on disk"
    name_words = "a Hugging Face id, a folder, a GGUF file"
    example = "Qwen/Qwen3-0.6B"
    endings = (".gguf",)

    def __init__(
        self,
        spec: ModelSpec,
        on_disk: Callable[[], Sequence[ModelListing]],
        check: Callable[[ModelSpec], None],
        problem: str = "",
        engine_command: str = "",
    ) -> None:
        super().__init__()
        if engine_command:
            self.listed = f"On the disk of `{printable_chars(engine_command)}`"
            self.name_words = f"{self.name_words} there"
            self.completes_paths = False
        self._spec = spec
        self._on_disk = on_disk
        self._check = check
        self.problem = problem
        self.first_name = spec.name if problem else ""
        self.start = spec.name
        self._listings: dict[str, ModelListing] = {}

    def options(self) -> ComposeResult:
        yield from field_lines(OPTIONS, vars(self._spec))

    def on_resize(self) -> None:
        """Make the list as long as its rows, as far as the rest stays visible."""
        width, height = self.app.size
        room = min(height * 9 // 10, _MOST_LINES) - _OTHER_LINES
        self.listing.styles.max_height = max(1, room) if width >= _WIDE else None

    def find(self) -> None:
        self._listings = {model.name: model for model in self._on_disk()}

    def rows(self) -> Iterator[PickerRow]:
        for model in self._listings.values():
            size = format_size(model.size) if model.ready else f"{format_size(model.size)} to fetch"
            line = Content.assemble(
                ("▶ " if model.name == self._spec.name else "  ", "$text-accent"),
                printable_chars(model.title),
                (f"  {size}  {printable_chars(model.note)}", MUTED),
            )
            about = " · ".join(filter(None, (model.name, model.facts)))
            yield PickerRow(model.name, line, model.name, about)

    def choose(self, value: str) -> None:
        spec, own = self._spec_of(value), self._listings[value].revision
        if spec is not None:
            # The open model's revision and adapter do not apply to another one.
            another = value != self._spec.name
            inherited = another and spec.revision == self._spec.revision
            if another and spec.adapter == self._spec.adapter:
                spec = replace(spec, adapter="")
            self.dismiss(replace(spec, revision=own if inherited else spec.revision or own))

    def submit(self, name: str) -> None:
        spec = self._spec_of(name)
        if spec is not None:
            self.leave_with(partial(self._checked, spec), f"Looking for {name}…")

    def _checked(self, spec: ModelSpec) -> ModelSpec:
        self._check(spec)
        return spec

    def _spec_of(self, name: str) -> ModelSpec | None:
        """A model with the chosen options; None where one is invalid, as the note says."""
        values, mistakes = read_fields(self, OPTIONS, lambda _, value: value)
        if mistakes:
            self.note(next(iter(mistakes.values())), WRONG)
        return None if mistakes else ModelSpec(name, **values)
