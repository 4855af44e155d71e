"""How to read the explorer's screen: its panes, its words and every symbol in it."""

from __future__ import annotations

from dataclasses import dataclass

from depthtui.report.marks import MARKS_EXPLAINED

PANES = {
    "Prompt": "its tokens, coloured by what the heatmap shows",
    "Heatmap": "layers up, tokens across: what each layer does",
    "Logit lens": "what the model would say before each layer",
    "Curves": "what the layers do on average, layer by layer",
    "Verdict": "how many layers suffice, and how sure that is",
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
        "Symbols of the other panes",
        (
            ("▸", "the row of the cursor"),
            (
                "▴ ▾",
                "the cursor's token; in a row with two layers, the cursor's layer",
            ),
            ("◆", "the layer at which a rule finds its depth; ◇ that of the run beside it"),
            ("▲ »", "a value beyond the end of the scale"),
            ("≠", "the two runs say different things here"),
            ("↻ ◈", "in a what-if: a layer that runs twice, a state of the other prompt put in"),
            ("± ▶", "in the list of runs: marked to compare, on the screen"),
            ("·", "a space before a word; ␣ or ↵ and the like are characters made visible"),
        ),
    ),
)
