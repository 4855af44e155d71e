"""The commands of a what-if: layers off, on, twice, or patched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from depthtui.metrics import RANKINGS
from depthtui.metrics.patch import why_not_beside
from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import SILENT, Command
from depthtui.tui.state.phase import Phase

if TYPE_CHECKING:
    from depthtui.tui.screens.what_if_screen import WhatIfScreen

WhatIfCommand = Command["WhatIfScreen"]

ALL_ON = "Every layer is on already."


def _switch(screen: WhatIfScreen, part: str) -> None:
    """Turn the layers at the cursor, or one of their sublayers, off or on."""
    missing = screen.what_if.clean.model.split_missing
    if part != "layer" and missing:
        screen.show_words(f"Only whole layers can be turned off: {missing}")
        return
    screen.change(screen.what_if.stack.switch(screen.counted_layers(), part))


def _switch_in_all_passes(screen: WhatIfScreen) -> None:
    """Turn the blocks at the cursor off or on, in each pass that runs them."""
    model = screen.what_if.clean.model
    layers = [other for layer in screen.counted_layers() for other in model.layers_of(layer)]
    screen.change(screen.what_if.stack.switch(layers, "layer"))


def _why_not_in_passes(screen: WhatIfScreen) -> str | None:
    return None if screen.what_if.clean.model.calls else "The layers of this model run once."


def _why_not_twice(screen: WhatIfScreen) -> str | None:
    looped = screen.what_if.clean.model.calls
    return "The blocks of this model run several times already." if looped else None


def _repeat(screen: WhatIfScreen) -> None:
    """Run the layers at the cursor twice, one block after itself, or once again."""
    screen.change(screen.what_if.stack.repeat(screen.counted_layers()))


def _why_not_patched(screen: WhatIfScreen) -> str | None:
    reason = why_not_beside(screen.what_if.clean)
    return f"{reason[0].upper()}{reason[1:]}." if reason else None


def _patch(screen: WhatIfScreen) -> None:
    """Patch the other prompt's states in at the cursor's token, or remove them."""
    clean, token = screen.what_if.clean, screen.cursor.token
    part = "layer" if clean.model.split_missing else clean.settings.patch_part
    screen.change(screen.what_if.stack.patch(screen.counted_layers(), token, part))


def _exit_early(screen: WhatIfScreen) -> None:
    last = screen.what_if.clean.model.n_layers - 1
    screen.pop_count()
    screen.change(screen.what_if.stack.exit_at(min(screen.cursor.layer, last)))


def _all_on(screen: WhatIfScreen) -> None:
    screen.pop_count()
    stack = screen.what_if.stack
    full = stack.full(len(stack.off))
    if full == stack:
        screen.show_words(ALL_ON)
    screen.change(full)


def _undo(screen: WhatIfScreen) -> None:
    screen.what_if.undo(screen.pop_count())
    screen.redraw()


def _redo(screen: WhatIfScreen) -> None:
    screen.what_if.redo(screen.pop_count())
    screen.redraw()


def _prune(screen: WhatIfScreen) -> None:
    screen.what_if.prune(screen.pop_count())
    screen.redraw()


def _rank(screen: WhatIfScreen) -> None:
    """Compute the ablation of every layer."""
    ranking = RANKINGS[0]
    if screen.what_if.clean.has_all(ranking.name):
        screen.show_words(f"The {ranking.title.lower()} of every layer is there already.")
    screen.what_if.request(ranking.name)
    screen.redraw()


CHANGING: list[WhatIfCommand] = [
    Command(
        "off",
        "x",
        "off",
        "Turn layers off or on; a count before",
        "compute",
        lambda screen: _switch(screen, "layer"),
        at_cursor=True,
    ),
    Command(
        "off_in_passes",
        "X",
        "",
        "Turn layers off or on in all passes of a looped model",
        "compute",
        _switch_in_all_passes,
        _why_not_in_passes,
        at_cursor=True,
    ),
    Command(
        "attention_off",
        "a",
        "attn",
        "Turn the attention of layers off or on",
        "compute",
        lambda screen: _switch(screen, "attention"),
        at_cursor=True,
    ),
    Command(
        "mlp_off",
        "m",
        "MLP",
        "Turn the MLP of layers off or on",
        "compute",
        lambda screen: _switch(screen, "mlp"),
        at_cursor=True,
    ),
    Command(
        "twice",
        "R",
        "",
        "Run layers twice, or once again; a count before",
        "compute",
        _repeat,
        _why_not_twice,
        at_cursor=True,
    ),
    Command(
        "patch",
        "P",
        "patch",
        "Patch in the other prompt's state at this layer and token, or take it out",
        "compute",
        _patch,
        _why_not_patched,
        at_cursor=True,
    ),
    Command(
        "prune", "p", "prune", "Turn the least useful layer off; 5p five of them", "compute", _prune
    ),
    Command(
        "exit_early",
        "E",
        "exit",
        "Turn every layer from the cursor's on off",
        "compute",
        _exit_early,
        at_cursor=True,
    ),
    Command("undo", "u", "undo", "Take the last change back", "compute", _undo),
    Command("redo", "U", "", "Make the change again", "compute", _redo),
    Command("all_on", "c", "all on", "Turn every layer on", "compute", _all_on),
    Command(
        "keep",
        "K",
        "keep",
        "Keep the changed run in the session's list",
        "session",
        lambda screen: screen.what_if.keep(),
    ),
    Command(
        "export",
        "e",
        "",
        "Save clean beside changed, or write the model without these layers",
        "session",
        lambda screen: screen.export(),
    ),
    Command(
        "stop",
        "escape",
        "stop",
        "Stop writing the model; nothing is left of it",
        "compute",
        lambda screen: screen.explorer.stop(),
        lambda screen: None if screen.explorer.phase is Phase.WRITING else SILENT,
    ),
    looking.UNZOOM,
    Command(
        "close",
        "escape",
        "back",
        "Back to the run; a metric that is being computed goes on",
        "session",
        lambda screen: screen.close(),
    ),
    Command(
        "compute", "i", "", "Compute the rise of the loss without each layer", "compute", _rank
    ),
]

COMMANDS: list[Command[Any]] = [
    *CHANGING,
    replace(looking.OPEN, label=""),
    *moving.COMMANDS,
    *looking.PANES,
]
