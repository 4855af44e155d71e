"""Every key of the explorer, in one place.

Each binding has an id, which is what the settings file remaps, and a tooltip,
which is what the help lists. Digits are counts, as in vi: `12j`, `12G`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from textual.binding import Binding
from textual.keys import _character_to_key


def key(keys: str, action: str, label: str, tooltip: str, name: str, show: bool = False) -> Binding:
    """A binding; `show` puts it into the footer."""
    return Binding(keys, action, label, show=show, tooltip=tooltip, id=name)


APP = [
    key("question_mark", "show_keys", "keys", "List the keys that work here", "help", True),
    key("q", "quit", "quit", "Quit the explorer", "quit", True),
    key("H", "welcome", "welcome", "Say what is where, as at the first start", "welcome"),
    key("semicolon", "show_keymap", "remap", "List every key, and give commands others", "keymap"),
    key("comma", "show_settings", "settings", "List the settings, and change them", "settings"),
    key("O", "open_export", "open export", "Open the last export in its program", "open_export"),
    key("ctrl+l", "redraw", "draw afresh", "Draw the screen afresh", "redraw"),
    key("ctrl+z", "suspend_process", "to the shell", "Back to the shell; fg returns", "suspend"),
]

ANYWHERE = [
    Binding("ctrl+c", "app.quit", show=False, system=True),
    Binding("ctrl+l", "app.redraw", show=False, system=True),
    Binding("ctrl+z", "app.suspend_process", show=False, system=True),
]
"""What works in dialogs, too, which shut out the keys beneath."""

RUNNING = [
    key("space", "next_layer", "next layer", "Run one more layer", "step_layer", True),
    key("enter,c", "run_on", "run on", "Let a halted run go on to its end", "run_on", True),
    key("escape", "stop", "stop", "Stop the run and keep what it computed", "stop", True),
    key("R", "restart", "restart engine", "Start the engine again", "restart", True),
]
"""Listed first, so that the footer leads with them while they apply."""

FINDING = [
    key("n", "next_match(1)", "next match", "Go to the next match", "next_match", True),
    key("N", "next_match(-1)", "match before", "Go to the match before", "prev_match"),
    key("escape", "end_search", "end search", "Look for nothing any more", "end_search", True),
]
"""Before others on the same keys, while there are matches."""

CHOOSING = [
    key("r", "run", "run", "Run the prompt again", "run", True),
    key(
        "enter",
        "verdict",
        "verdict",
        "Go to the verdict, and compute what it lacks",
        "verdict",
        True,
    ),
    key("s", "run_stepping", "step", "Run and halt after each layer", "run_stepping", True),
    key("p", "prompts('write')", "prompt", "Write, paste or open a prompt", "prompt", True),
    key("t", "prompts('tasks')", "task", "Choose a prompt by its difficulty", "task"),
    key("m", "models", "model", "Choose a model", "model", True),
    key("v", "measures", "measure", "Choose what the heatmap shows", "measure"),
    key(
        "V",
        "skip_variant",
        "what is skipped",
        "Choose what skip effects and the like leave out",
        "skip_variant",
    ),
    key("L", "part", "part", "Choose layers and tokens of slower metrics", "part"),
    key("right_square_bracket", "measure(1)", "next measure", "Next measure", "next_measure"),
    key(
        "left_square_bracket", "measure(-1)", "previous measure", "Previous measure", "prev_measure"
    ),
    key("n", "next_prompt(1)", "next prompt", "Run the task's next prompt", "next_prompt"),
    key("N", "next_prompt(-1)", "previous prompt", "Run the task's previous prompt", "prev_prompt"),
    key("b", "session", "session", "List the runs of this session", "session"),
    key("R", "sessions", "sessions", "List the sessions of this cache, and open one", "sessions"),
    key("S", "sweep", "sweep", "Models and tasks in a grid: run one, or the session's", "sweep"),
    key("C", "compare", "compare", "Compare with a run or on another model", "compare"),
    key(
        "i",
        "compute",
        "compute",
        "Compute what this pane lacks; else explain it",
        "compute",
    ),
    key("A", "mark_answer", "answer", "Let the answer begin at this token", "mark_answer"),
    key("x", "what_if", "what if", "Leave layers out and see what it costs", "what_if", True),
    key("w", "generate", "write", "Let the model write, and watch how deep it goes", "think", True),
    key("e", "export", "export", "Save the session or this run", "export", True),
]

PLACES = [
    key("slash", "find", "find", "Find words in the tokens or in what the lens says", "find"),
    key("M", "bookmark", "mark", "Mark this place with a note, or no more", "bookmark"),
    key("apostrophe", "next_bookmark", "next mark", "Go to the next marked place", "next_bookmark"),
    key("W", "notes", "notes", "Write a note on this run; list its marked places", "notes"),
]

DIGITS = [
    Binding(str(digit), f"count({digit})", "count", show=False, system=True)
    for digit in range(1, 10)
]

MOVING = [
    key("k,up", "move(1, 0)", "layer up", "Move up a layer; a count goes before it", "up"),
    key("j,down", "move(-1, 0)", "layer down", "Move down a layer", "down"),
    key("h,left", "move(0, -1)", "token left", "Move to the token before", "left"),
    key("l,right", "move(0, 1)", "token right", "Move to the token after", "right"),
    key("g,home", "edge('first_layer')", "first layer", "Go to layer 0", "first_layer"),
    key(
        "G,end",
        "edge('last_layer')",
        "last layer",
        "Go to the last layer, 12G to layer 12",
        "last_layer",
    ),
    key("0,circumflex_accent", "zero", "first token", "Go to the first token", "first_token"),
    key("dollar_sign", "edge('last_token')", "last token", "Go to the last token", "last_token"),
    key(
        "vertical_line",
        "edge('token')",
        "token by number",
        "Go to a token by its number: 12| to token 12",
        "to_token",
    ),
    key("pageup", "move(8, 0)", "8 layers up", "Move up eight layers", "page_up"),
    key("pagedown", "move(-8, 0)", "8 layers down", "Move down eight layers", "page_down"),
    *DIGITS,
    key("space", "move(1, 0)", "layer up", "Move up a layer, as in a stepped run", "space_up"),
]

UNZOOM = key("escape", "unzoom", "unzoom", "Take a pane's whole screen back", "unzoom")
"""After what ends work, before what leaves the screen; the footer has no room to name it, but then
names no other use of the key."""

PANES = [
    key("tab", "pane(1)", "next pane", "Go to the next pane", "next_pane"),
    key("shift+tab", "pane(-1)", "previous pane", "Go to the pane before", "prev_pane"),
    key("z", "zoom", "zoom", "Give a pane the whole screen, or take it back", "zoom"),
    key("I", "explain", "explain", "Explain what this pane shows: how to read it", "explain"),
]

ORDER = key("o", "turn_over", "layer order", "Put layer 0 at the bottom or at the top", "order")

AVERAGING = [
    key("a", "average", "average", "Show means over tokens, or every token", "average"),
    key(
        "f",
        "token_zero",
        "leave out token 0",
        "Average with or without the first token",
        "skip_first",
    ),
]

LENS = key("u", "lens", "lens", "Read depths through the next lens", "lens")

COPY = key("y", "copy", "copy", "Copy the value under the cursor, or the verdict", "copy")

THEME = key("T", "app.change_theme", "theme", "Choose theme and colours", "theme")

LOOKING = [*PANES, ORDER, *AVERAGING, LENS, COPY, THEME]

TURNING = [
    key("d", "turn_page", "next page", "Turn the depth pane to its next page", "turn_page"),
    key(
        "plus,equals_sign",
        "dial(1)",
        "dial up",
        "Raise the page's dial, such as the KL rule's threshold",
        "dial_up",
    ),
    key(
        "minus",
        "dial(-1)",
        "dial down",
        "Lower the page's dial, such as the KL rule's threshold",
        "dial_down",
    ),
    key(
        "greater_than_sign",
        "threshold('overlap_threshold', 1)",
        "overlap up",
        "Raise the overlap rule's threshold",
        "overlap_up",
    ),
    key(
        "less_than_sign",
        "threshold('overlap_threshold', -1)",
        "overlap down",
        "Lower the overlap rule's threshold",
        "overlap_down",
    ),
    key(
        "backspace",
        "reset_thresholds",
        "thresholds back",
        "Take back what was done to the thresholds",
        "reset_thresholds",
    ),
]
"""The pages of the depth pane: verdict, rules, where tokens are decided, early exit, pruning; and
the thresholds of the rules."""

MAIN = [*RUNNING, *FINDING, UNZOOM, *CHOOSING, *PLACES, *MOVING, *LOOKING, *TURNING]

COMPARE = [
    *MOVING,
    *PANES,
    ORDER,
    *AVERAGING,
    LENS,
    key("v", "measures", "measure", "Choose what the heatmaps show", "compare_measure", True),
    key(
        "right_square_bracket", "measure(1)", "next measure", "Next measure", "compare_next_measure"
    ),
    key(
        "left_square_bracket",
        "measure(-1)",
        "previous measure",
        "Previous measure",
        "compare_prev_measure",
    ),
    key("e", "export", "export", "Save both runs and what sets them apart", "compare_export", True),
    UNZOOM,
    key("escape,C", "close", "back", "Back to one run", "compare_back", True),
]

WHAT_IF = [
    key("x", "switch('layer')", "off", "Turn layers off or on; a count before", "off", True),
    key(
        "a",
        "switch('attention')",
        "attn",
        "Turn the attention of layers off or on",
        "attention_off",
        True,
    ),
    key("m", "switch('mlp')", "MLP", "Turn the MLP of layers off or on", "mlp_off", True),
    key("R", "repeat", "twice", "Run layers twice, or once again; a count before", "twice"),
    key("p", "prune", "prune", "Turn the least useful layer off; 5p five of them", "prune", True),
    key("E", "exit_early", "exit", "Turn every layer from the cursor's on off", "exit_early", True),
    key("u", "undo", "undo", "Take the last change back", "undo", True),
    key("U", "redo", "redo", "Make the change again", "redo"),
    key("c", "all_on", "all on", "Turn every layer on", "all_on", True),
    key("K", "keep", "keep", "Keep the changed run in the session's list", "keep", True),
    key("e", "export", "export", "Save the clean run beside the changed one", "what_if_export"),
    UNZOOM,
    key(
        "escape",
        "close",
        "back",
        "Back to the run; a metric that is being computed goes on",
        "what_if_back",
        True,
    ),
    key("i", "rank", "loss", "Compute what the loss gains without each layer", "rank"),
    *MOVING,
    *PANES,
    ORDER,
]

THINKING = [
    key("escape", "stop", "stop", "Stop writing; the text stays", "stop_writing", True),
    UNZOOM,
    key("escape", "close", "back", "Back to the run", "thinking_back", True),
    key("r", "again", "again", "Write anew with the same settings", "write_again", True),
    key("R", "new_seed", "new seed", "Write anew with another seed", "new_seed"),
    key("t", "writing", "settings", "Set temperature, seed, length and lens", "writing", True),
    key(
        "right_square_bracket",
        "measure(1)",
        "measure",
        "Colour by the next measure of depth",
        "next_depth",
        True,
    ),
    key(
        "left_square_bracket",
        "measure(-1)",
        "previous measure",
        "Colour by the measure of depth before",
        "prev_depth",
    ),
    key("enter", "open_as_run", "open", "Open the text as a run, teacher-forced", "open_run", True),
    key("e", "export", "export", "Save the text and its depths", "thinking_export", True),
    *MOVING,
    *PANES,
    ORDER,
]

SWEEP = [
    key(
        "escape",
        "stop",
        "stop",
        "Stop the sweep; every prompt that is done stays",
        "stop_sweep",
        True,
    ),
    UNZOOM,
    key("escape", "close", "back", "Back to the run", "sweep_back", True),
    key("S", "leave", "to the run", "Back to the run; the sweep goes on", "sweep_leave"),
    key("n", "new_sweep", "new", "Choose models and tasks, and start a sweep", "new_sweep", True),
    key("o", "open_sweep", "open", "Open a sweep that was run before", "open_sweep", True),
    key("r", "go_on", "go on", "Run what the sweep lacks", "sweep_on", True),
    key("enter", "go_to_rows", "its rows", "Go to the rows of this finding", "its_rows", True),
    key("enter", "open_row", "show", "Show the row's first prompt as a run", "open_row", True),
    key("space", "mark", "mark", "Compare this row with others, or no more", "mark_row", True),
    key("c", "unmark", "compare none", "Compare no rows", "unmark_rows"),
    key("v", "rows", "rows", "Show cells, or pool them by model or by level", "rows", True),
    key(
        "s",
        "sort",
        "sort",
        "Sort by the column under the cursor; again, the other way",
        "sort",
    ),
    key("slash", "filter", "filter", "Show only rows with these words in them", "filter"),
    key(
        "f",
        "token_zero",
        "leave out token 0",
        "Average with or without the first token",
        "sweep_first",
    ),
    key("u", "lens", "lens", "Read depths through the next lens", "sweep_lens"),
    key("e", "export", "export", "Save the sweep's report", "sweep_export", True),
    key("k,up", "move(1, 0)", "row up", "Go to the row above; a count goes before it", "row_up"),
    key("j,down", "move(-1, 0)", "row down", "Go to the row below", "row_down"),
    key("h,left", "move(0, -1)", "column left", "Go to the column before", "column_left"),
    key("l,right", "move(0, 1)", "column right", "Go to the column after", "column_right"),
    key("g,home", "edge('first_layer')", "first row", "Go to the first row", "first_row"),
    key("G,end", "edge('last_layer')", "last row", "Go to the last row", "last_row"),
    key("0", "zero", "first column", "Go to the first column", "first_column"),
    key("dollar_sign", "edge('last_token')", "last column", "Go to the last column", "last_column"),
    key("pageup", "move(8, 0)", "8 rows up", "Go eight rows up", "rows_up"),
    key("pagedown", "move(-8, 0)", "8 rows down", "Go eight rows down", "rows_down"),
    *DIGITS,
    *PANES,
    THEME,
]

ALL = [*MAIN, *COMPARE, *WHAT_IF, *THINKING, *SWEEP, *APP]

OWN = {binding.id: binding.key for binding in reversed(ALL) if binding.id}
"""The keys of each binding where they are not remapped, by its id."""

SECTIONS = {
    "Everywhere": APP,
    "A run": [*CHOOSING, *PLACES],
    "While it runs, while words are looked for": [*RUNNING, *FINDING],
    "Moving": MOVING,
    "Panes": [*LOOKING, UNZOOM],
    "Depth pane": TURNING,
    "Comparison": COMPARE,
    "What-if": WHAT_IF,
    "Writing": THINKING,
    "Sweep": SWEEP,
}
"""Every binding that can be remapped; one that several screens have is of the first section."""

_SCREENS = (MAIN, COMPARE, WHAT_IF, THINKING, SWEEP)

_TAKEN = {
    "escape": "it leaves what is open",
    "ctrl+c": "it quits, whatever happens",
    "ctrl+q": "it quits, whatever happens",
    "ctrl+p": "it opens the command palette",
    **{str(digit): "digits are counts" for digit in range(1, 10)},
}
"""Keys that are no command's, and why."""


def keys_of(binding_id: str, remapped: Mapping[str, str]) -> list[str]:
    """The keys of a binding, as Textual names them, remapped or its own."""
    return [_name(key) for key in remapped.get(binding_id, OWN[binding_id]).split(",")]


def why_not(key: str) -> str:
    """Why a key cannot be a command's; empty where it can."""
    return _TAKEN.get(key, "")


def complete(remapped: Mapping[str, str]) -> dict[str, str]:
    """What Textual is to be told of a remapping.

    Where bindings share a key and one of them is remapped, it takes the key from all of them: named
    too, the others keep it.
    """
    left = {key for name in remapped.keys() & OWN.keys() for key in keys_of(name, {})}
    staying = {name: own for name, own in OWN.items() if left.intersection(keys_of(name, {}))}
    return {**staying, **remapped}


def clashes(remapped: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The keys that a remapping gives to two bindings of one screen, and the ids of these."""
    own = {name: set(keys_of(name, {})) for name in OWN}
    now = {name: keys_of(name, remapped) for name in OWN}
    found: dict[tuple[str, str, str], None] = {}
    for bindings in _SCREENS:
        sharing: dict[str, list[str]] = {}
        for name in dict.fromkeys(binding.id for binding in [*bindings, *APP] if binding.id):
            for key in now[name]:
                sharing.setdefault(key, []).append(name)
        for key, names in sharing.items():
            for first, second in combinations(dict.fromkeys(names), 2):
                # What shares a key by itself works at different times.
                if key not in own[first] & own[second]:
                    found[key, first, second] = None
    yield from found


def sharing(binding_id: str, remapped: Mapping[str, str]) -> list[str]:
    """The ids of bindings that a remapping gives a key of this one, on one screen."""
    pairs = [pair for _, *pair in clashes(remapped) if binding_id in pair]
    return list(dict.fromkeys(name for pair in pairs for name in pair if name != binding_id))


def _name(key: str) -> str:
    key = key.strip()
    return _character_to_key(key) if len(key) == 1 else key
