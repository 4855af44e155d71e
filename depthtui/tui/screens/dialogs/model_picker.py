"""Choose a model: one that is on disk, or any other by its id or path."""

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
from depthtui.tui.screens.dialogs.picker import Row

OPTIONS = {
    name: options_of(ModelSpec)[name]
    for name in ("device", "dtype", "quantize", "revision", "adapter")
}

_MOST_LINES, _OTHER_LINES = 34, 16
"""Lines of the dialog at most, as the style sheet has it, and those that are not the list's."""

_WIDE = 100
"""Columns from which on the dialog is no larger than what is in it."""


class ModelPicker(OpenDialog[ModelSpec]):
    """Lists models opened before and on disk, and takes a typed name; a choice starts it.

    Args:
        spec: the model that is open, or that could not be opened, whose options are offered again.
        on_disk: finds the models on disk; slow, so it runs in a thread.
        check: raises a `DepthError` where a name means no model; slow as well.
        problem: why `spec` could not be opened; untrusted, empty for the model that is open.
        engine_command: what reaches the engine whose models these are; empty for this machine.
    """

    heading = "Model"
    listed = "Opened before, and on disk; nothing starts until you choose"
    asked = "a Hugging Face id, a folder, a GGUF file"
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
            self.asked = f"{self.asked} there"
            self.completes_paths = False
        self._spec = spec
        self._on_disk = on_disk
        self._check = check
        self.problem = problem
        self.begun = spec.name if problem else ""
        self.start = spec.name
        self._listings: dict[str, ModelListing] = {}

    def options(self) -> ComposeResult:
        yield from field_lines(OPTIONS, vars(self._spec))

    def on_resize(self) -> None:
        """Let the list be as long as it is, as far as the rest stays in sight."""
        width, height = self.app.size
        room = min(height * 9 // 10, _MOST_LINES) - _OTHER_LINES
        self.listing.styles.max_height = max(1, room) if width >= _WIDE else None

    def find(self) -> None:
        self._listings = {model.name: model for model in self._on_disk()}

    def rows(self) -> Iterator[Row]:
        for model in self._listings.values():
            size = format_size(model.size) if model.ready else f"{format_size(model.size)} to fetch"
            line = Content.assemble(
                ("▶ " if model.name == self._spec.name else "  ", "$text-accent"),
                printable_chars(model.title),
                (f"  {size}  {printable_chars(model.note)}", MUTED),
            )
            about = " · ".join(filter(None, (model.name, model.facts)))
            yield Row(model.name, line, model.name, about)

    def choose(self, value: str) -> None:
        spec, own = self._chosen(value), self._listings[value].revision
        if spec is not None:
            # Revision and adapter of the model that is open mean nothing for another one.
            another = value != self._spec.name
            inherited = another and spec.revision == self._spec.revision
            if another and spec.adapter == self._spec.adapter:
                spec = replace(spec, adapter="")
            self.dismiss(replace(spec, revision=own if inherited else spec.revision or own))

    def submit(self, name: str) -> None:
        spec = self._chosen(name)
        if spec is not None:
            self.leave_with(partial(self._checked, spec), f"Looking for {name}…")

    def _checked(self, spec: ModelSpec) -> ModelSpec:
        self._check(spec)
        return spec

    def _chosen(self, name: str) -> ModelSpec | None:
        """A model with the options that are chosen; None where one is wrong, as the note says."""
        values, mistakes = read_fields(self, OPTIONS, lambda _, value: value)
        if mistakes:
            self.note(next(iter(mistakes.values())), WRONG)
        return None if mistakes else ModelSpec(name, **values)
