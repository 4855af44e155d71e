"""Choose a model: one that is on disk, or any other by its id or path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.models.catalog import ModelListing
from depthtui.sizes import format_size
from depthtui.token_text import printable_chars
from depthtui.tui.screens.dialogs.dialog import MUTED, WRONG, ListDialog
from depthtui.tui.screens.dialogs.path_suggester import PathSuggester

DTYPES = ("auto", "float32", "bfloat16", "float16")
_MOST_LINES, _OTHER_LINES = 34, 15
"""Lines of the dialog at most, as the style sheet has it, and those that are not the list's."""

_WIDE = 100
"""Columns from which on the dialog is no larger than what is in it."""

QUANTIZATIONS = ("no", "8bit", "4bit")


class ModelPicker(ListDialog[ModelSpec]):
    """Lists models opened before and on disk, and takes a typed name; a choice starts it.

    Args:
        spec: the model that is open, or that could not be opened, whose options are offered again.
        on_disk: finds the models on disk; slow, so it runs in a thread.
        check: raises a `DepthError` where a name means no model; slow as well.
        problem: why `spec` could not be opened; untrusted, empty for the model that is open.
    """

    heading = "Model"
    hint = "enter opens · type a name · → completes · tab moves on · esc closes"
    types_into = "name"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "submit", "open", tooltip="Open the typed model", id="model.open"),
    ]

    def __init__(
        self,
        spec: ModelSpec,
        on_disk: Callable[[], Sequence[ModelListing]],
        check: Callable[[ModelSpec], None],
        problem: str = "",
    ) -> None:
        super().__init__()
        self._spec = spec
        self._on_disk = on_disk
        self._check = check
        self._problem = problem
        self._listings: Sequence[ModelListing] = ()

    def body(self) -> ComposeResult:
        yield Static("Opened before, and on disk; nothing starts until you choose", classes="label")
        yield OptionList(id="on-disk", compact=True)
        yield Static("Or a Hugging Face id, a folder, a GGUF file", classes="label")
        yield Input(
            self._spec.name if self._problem else "",
            placeholder="Qwen/Qwen3-0.6B",
            suggester=PathSuggester((".gguf",), self._known_names),
            id="name",
            compact=True,
        )
        with Horizontal(classes="row"):
            yield Label("device ")
            yield Input(self._spec.device, id="device", compact=True)
            yield Label("dtype ")
            yield _select(DTYPES, self._spec.dtype, "dtype")
            yield Label("quantize ")
            yield _select(QUANTIZATIONS, self._spec.quantize or "no", "quantize")
        with Horizontal(classes="row"):
            yield Label("revision ")
            yield Input(self._spec.revision, placeholder="default", id="revision", compact=True)
        yield Static(id="note")

    def on_mount(self) -> None:
        self.listing.loading = True
        self.query_one("#name").focus()
        if self._problem:
            self.note(self._problem, WRONG)
        self.run_worker(self._list())

    def on_resize(self) -> None:
        """Let the list be as long as it is, as far as the rest stays in sight."""
        width, height = self.app.size
        room = min(height * 9 // 10, _MOST_LINES) - _OTHER_LINES
        self.listing.styles.max_height = max(1, room) if width >= _WIDE else None

    async def _list(self) -> None:
        listing = self.listing
        try:
            self._listings = await asyncio.to_thread(self._on_disk)
        except Exception as error:
            self.note(f"The models on disk could not be listed: {error}", "")
        listing.loading = False
        if not self._listings:
            return
        listing.add_options(map(self._option, self._listings))
        names = [model.name for model in self._listings]
        listing.highlighted = names.index(self._spec.name) if self._spec.name in names else 0
        if not self.query_one("#name", Input).value:
            listing.focus()

    def _known_names(self) -> list[str]:
        return [model.name for model in self._listings]

    def _option(self, model: ModelListing) -> Option:
        size = format_size(model.size) if model.ready else f"{format_size(model.size)} to fetch"
        return Option(
            Content.assemble(
                ("▶ " if model.name == self._spec.name else "  ", "$text-accent"),
                printable_chars(model.title),
                (f"  {size}  {printable_chars(model.note)}", MUTED),
            )
        )

    @on(OptionList.OptionHighlighted, "#on-disk")
    def _describe(self, event: OptionList.OptionHighlighted) -> None:
        model = self._listings[event.option_index]
        # What is typed, or went wrong, stays until somebody moves in the list.
        if self.listing.has_focus or not (self._problem or self._typed):
            self._tell(model)

    def _tell(self, model: ModelListing) -> None:
        self.note(" · ".join(filter(None, (model.name, model.facts))))

    @property
    def _typed(self) -> str:
        """The typed name; the slash that completes a folder makes it no other model."""
        name = self.query_one("#name", Input).value.strip()
        return name.rstrip("/") or name

    @on(Input.Changed, "#name")
    def _describe_typed(self) -> None:
        known = [model for model in self._listings if model.name == self._typed]
        if known:
            self._tell(known[0])
        else:
            self.note(f"enter opens {self._typed}" if self._typed else "")

    def take(self, place: int) -> None:
        chosen = self._listings[place]
        revision = self.query_one("#revision", Input).value.strip()
        # A revision of the model that is open means nothing for another one.
        inherited = revision == self._spec.revision and chosen.name != self._spec.name
        revision = chosen.revision if inherited else revision or chosen.revision
        self.dismiss(self._spec_of(chosen.name, revision))

    @on(Input.Submitted)
    def action_submit(self) -> None:
        """Open the typed model."""
        if self._typed:
            spec = self._spec_of(self._typed, self.query_one("#revision", Input).value.strip())
            self.run_worker(self._open_if_there(spec), group="check", exclusive=True)
        else:
            self.note(
                "Type a Hugging Face id, a folder or a GGUF file, or choose from the list.", ""
            )
            self.query_one("#name").focus()

    def _spec_of(self, name: str, revision: str) -> ModelSpec:
        """A model with the options that are chosen."""
        quantize = str(self.query_one("#quantize", Select).value)
        return ModelSpec(
            name=name,
            revision=revision,
            device=self.query_one("#device", Input).value.strip() or "auto",
            dtype=str(self.query_one("#dtype", Select).value),
            quantize="" if quantize == "no" else quantize,
        )

    async def _open_if_there(self, spec: ModelSpec) -> None:
        """Take a model, or say why it is none and leave everything as it was typed."""
        self.note(f"Looking for {spec.name}…", "")
        try:
            await asyncio.to_thread(self._check, spec)
        except DepthError as error:
            self.note(str(error), WRONG)
        else:
            self.dismiss(spec)


def _select(choices: Sequence[str], value: str, name: str) -> Select[str]:
    chosen = value if value in choices else choices[0]
    return Select(
        [(choice, choice) for choice in choices],
        value=chosen,
        allow_blank=False,
        id=name,
        compact=True,
    )
