"""How to read the explorer's screen: its panes, its words and every symbol in it."""

from __future__ import annotations

from dataclasses import dataclass

from depthtui.report.marks import MARKS_EXPLAINED

PANES = {
    "Prompt": "its tokens, coloured by what the heatmap shows",
    "Heatmap": "layers up, tokens across: what each layer does",
    "Logit lens": "the next tokens as read before each layer",
    "Curves": "what the layers do on average, layer by layer",
    "Verdict": "how many layers it takes, and how sure that is",
}
"""The panes, and the content of each."""


@dataclass(frozen=True)
class GuidePart:
    """A part of the guide: its title, and names or symbols with their meaning."""

    title: str
    lines: tuple[tuple[str, str], ...]


GUIDE = (
    GuidePart("The panes", tuple(PANES.items())),
    GuidePart(
        "Before and after a layer",
        (
            (
                "heatmap",
                "Row l shows what layer l writes. If the title ends in `before each layer`, row l "
                "is the state before layer l has run.",
            ),
            (
                "lens",
                "Row l is read before layer l has run. The effect of layer l is seen in row l + 1, "
                "that of the last layer in the row `out`.",
            ),
            ("curves", "Curves of a lens begin at 0, the embedding, and end at the output."),
            ("layer", "Layers and tokens are counted from 0."),
        ),
    ),
    GuidePart(
        "How sure a count is",
        (
            (
                "firm",
                "The count stays within a tenth of the layers, whatever is varied, prompts too.",
            ),
            ("holds here", "The same on fewer than five prompts, which say nothing about others."),
            ("fragile", "Another threshold, lens, token or prompt gives another count."),
            ("token 0", "Often an attention sink, whose values dwarf all others in a mean."),
        ),
    ),
    GuidePart(
        "Symbols of the verdict",
        MARKS_EXPLAINED,
    ),
    GuidePart(
        "Symbols of the panes",
        (
            ("▸", "the row of the cursor; in the first line: running"),
            ("▴", "the cursor's token or layer on an axis, or the layers of a count"),
            ("‹ › ⏎", "more panes before and after; the enter key"),
            ("◆ ◇", "the layer at which a rule finds its depth; ◇ that of the run beside it"),
            ("▲ »", "a value beyond the end of the scale"),
            ("░ ▒ ▓ █", "small to large values, where colours are few; - = ≡ ≣ below 0"),
            ("▁ ▄ █ ▔ ▀", "bars of values above 0, and below 0"),
            ("━ ╸ ╺ ─", "a bar of a share, whole and half cells; its rest"),
            ("┈ │", "the curve of the run beside this one; the cursor's layer, or an edge"),
            ("≠", "the two runs differ here"),
            ("←", "in the lens: where the answer is first seen, and from where it stays first"),
            ("★", "a marked place"),
            ("╱", "a value that says little: the frame names the reason"),
            ("·", "no value; in front of a word: a space"),
        ),
    ),
    GuidePart(
        "Symbols of a what-if",
        (
            ("▄▄▄▄", "attention and MLP that are on; ···· off"),
            ("┃ ┣", "the residual stream, past a layer that is off, or with a layer"),
            ("↻ ◈", "a layer that runs twice; a state of the other prompt that is put in"),
            ("▀ ▄ →", "probability of a token clean and changed; from the one to the other"),
        ),
    ),
    GuidePart(
        "Symbols of the first line and of lists",
        (
            ("● ◌ ○", "ready or done; starting; no model"),
            ("‖ ■ ✕", "halted; stopped; failed or gone"),
            ("✓", "a finished step; among options the right one"),
            ("± ▶", "in the list of runs: marked to compare, on the screen"),
            (
                "● ○",
                "in forms: chosen, not chosen; in a sweep's findings ● is a clear result, among "
                "options the model's",
            ),
            ("? !", "in a sweep's findings: disputed, doubtful"),
            ("▲ ▼", "in a sweep's table: sorted upwards, downwards"),
            ("≈", "the paper's value on the data set that is most like this task"),
        ),
    ),
    GuidePart(
        "Signs in tokens and numbers",
        (
            ("· ⍽ ↵ ⇥", "a space, a no-break space, a new line, a tab"),
            ("␍ ␡ ␀", "a carriage return, a delete, other control characters"),
            ("∅ ⋯", "an empty token; the rest of a character that a token before begins"),
            ("◌", "the place of a letter that a mark has lost"),
            (
                "\\xe5 \\u200b �",
                "a byte of a character; an invisible character; a broken one",
            ),
            ("– … ∞", "no value; cut, or still computed; infinite"),
            ("±½", "every resample has the same count: half a layer to either side"),
        ),
    ),
)
