"""The commands of a what-if: layers and their parts off, on, twice, or patched."""

from __future__ import annotations

from dataclasses import replace

from depthtui.tui.commands import looking, moving
from depthtui.tui.commands.command import Command

CHANGING = [
    Command(
        "off",
        "x",
        "off",
        "Turn layers off or on; a count before",
        "compute",
        "switch('layer')",
        at_cursor=True,
    ),
    Command(
        "off_in_passes",
        "X",
        "",
        "Turn layers off or on in all passes of a looped model",
        "compute",
        "switch_in_all_passes",
        why_not="why_not_in_passes",
        at_cursor=True,
    ),
    Command(
        "attention_off",
        "a",
        "attn",
        "Turn the attention of layers off or on",
        "compute",
        "switch('attention')",
        at_cursor=True,
    ),
    Command(
        "mlp_off",
        "m",
        "MLP",
        "Turn the MLP of layers off or on",
        "compute",
        "switch('mlp')",
        at_cursor=True,
    ),
    Command(
        "twice",
        "R",
        "",
        "Run layers twice, or once again; a count before",
        "compute",
        "repeat",
        why_not="why_not_twice",
        at_cursor=True,
    ),
    Command(
        "patch",
        "P",
        "patch",
        "Patch in the other prompt's state at this layer and token, or take it out",
        "compute",
        "patch",
        why_not="why_not_patched",
        at_cursor=True,
    ),
    Command(
        "prune",
        "p",
        "prune",
        "Turn the least useful layer or part off; 5p five of them",
        "compute",
        "prune",
    ),
    Command(
        "pruned_pieces",
        "t",
        "",
        "Let p take parts (attentions and MLPs by themselves), or layers again",
        "compute",
        "switch_pieces",
    ),
    Command(
        "exit_early",
        "E",
        "exit",
        "Turn every layer from the cursor's on off",
        "compute",
        "exit_early",
        at_cursor=True,
    ),
    Command("undo", "u", "undo", "Take the last change back", "compute", "undo"),
    Command("redo", "U", "", "Make the change again", "compute", "redo"),
    Command("all_on", "c", "all on", "Turn every layer on", "compute", "all_on"),
    Command(
        "keep",
        "K",
        "keep",
        "Keep the changed run in the session's list",
        "session",
        "keep",
    ),
    Command(
        "export",
        "e",
        "export",
        "Save clean beside changed, or write the model without these layers",
        "session",
        "export",
    ),
    Command(
        "stop",
        "escape",
        "stop",
        "Stop writing the model; nothing is left of it",
        "compute",
        "stop",
        when="is_writing",
    ),
    looking.UNZOOM,
    Command(
        "close",
        "escape",
        "back",
        "Back to the run; a metric that is being computed goes on",
        "session",
        "close",
    ),
    Command(
        "compute",
        "i",
        "",
        "Compute the rise of the loss without each layer, then the order of their parts",
        "compute",
        "rank_layers",
    ),
]

FOOTER = (
    "stop",
    *("off", "attention_off", "mlp_off", "prune", "undo", "keep", "export", "unzoom", "close"),
    *("all_on", "patch", "exit_early", "next_pane", "explain", "help", "quit"),
)
"""The commands in the footer, in the order in which a narrow one loses the last."""

COMMANDS = [
    *CHANGING,
    replace(looking.OPEN, label=""),
    *moving.COMMANDS,
    *looking.PANES,
]
