"""A part of a layer at a token, drawn from the report's own tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from depthtui.data.explanation import Explanation
from depthtui.data.inspection import Inspection
from depthtui.report.blocks import Note
from depthtui.report.inspection_document import (
    ENDS,
    EXPERTS,
    HEADS,
    NEURONS,
    PART_NAMES,
    READS,
    WRITES,
    Section,
)
from depthtui.tui.draw.block_lines import as_much_as_fits
from depthtui.tui.draw.styles import Piece
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.state.cell import CellTables

COMPUTING = "The layer is run at this token …"


@dataclass(frozen=True)
class Part:
    """A part of a page.

    Attributes:
        id: its pane's id.
        needs: names of the parts that the model must have; the first one's reason is shown.
        sections: its tables; a page may lack some; the last one names the pane.
        explained: its meaning, its computation, and how to read it.
    """

    id: str
    needs: tuple[str, ...]
    sections: tuple[Section, ...]
    explained: Explanation

    @property
    def name(self) -> str:
        """The pane's title, and its name in the tabs."""
        return self.sections[-1].name


PARTS = (
    Part(
        "page-ends",
        ("lens",),
        (ENDS,),
        Explanation(
            "Before and after",
            "The most probable next tokens before the layer, after its attention, and after it.",
            "softmax(W N(h)), softmax(W N(h + a)), softmax(W N(h_next)), by the lens in use",
            "The rank of the target, the answer's token or the output's first choice, falls where "
            "the layer finds it; the margin is its lead over the best other token, in nats.",
            "Which of the two, attention or MLP, moves it.",
            "nostalgebraist, interpreting GPT: the logit lens, 2020",
        ),
    ),
    Part(
        "page-reads",
        ("reads", "split", "layer"),
        (READS,),
        Explanation(
            "Reads",
            "The tokens that the layer reads here.",
            "sum over heads of ||alpha W_O v||: attention times the length of what is written",
            "Attention alone overrates the first token, a sink with small values; weighted by "
            "values it is the share of what is written.",
            "The tokens behind token 0.",
            "Kobayashi et al., Attention is Not Only a Weight, 2020.emnlp-main.574",
        ),
    ),
    Part(
        "page-writes",
        ("layer",),
        (WRITES,),
        Explanation(
            "Writes",
            "The tokens whose logits attention, MLP and layer raise and lower most.",
            "W N'(x), the final norm's scale held fixed",
            "The layer's write, read as if no layer followed; later layers may use that of an "
            "early layer otherwise. Beside it, its share of the target's logit, minus the mean.",
            "Tokens of one kind: names, endings, digits.",
            "Elhage et al., A Mathematical Framework for Transformer Circuits, 2021",
        ),
    ),
    Part(
        "page-heads",
        ("heads", "split", "layer"),
        (HEADS,),
        Explanation(
            "Heads",
            "The attention heads, by their share in the target's logit.",
            "W[target] N'(write of the head), minus the mean over the vocabulary",
            "A head above 0 writes towards the target. Heads and biases add up to the "
            "attention's write.",
            "A head with a large share that attends to one token: it moves that token's "
            "information here.",
            "Elhage et al., A Mathematical Framework for Transformer Circuits, 2021",
        ),
    ),
    Part(
        "page-neurons",
        ("neurons", "split", "layer"),
        (EXPERTS, NEURONS),
        Explanation(
            "Neurons and experts",
            "The neurons of the MLP that write most, or the experts that the router chose.",
            "activation times column of the output projection; loss of the target with one "
            "expert's output taken off here",
            "Neurons promote the same tokens wherever they are active. An expert's weight is a "
            "poor measure of its worth; the loss without it is a better one.",
            "An expert with a small weight and a large loss without it.",
            "Geva et al., Transformer Feed-Forward Layers Build Predictions, 2022.emnlp-main.3",
        ),
    ),
)
"""The parts of a page, in the order of `tab`."""

VALUES = Explanation(
    "Values at the cursor",
    "The values of every metric of the run at this layer and token, and the lens before and after "
    "the layer.",
    reading="The formula and unit of a value follow it; `v` on the main screen explains each "
    "measure.",
    look_for="A value that differs from the neighbouring tokens' and layers'.",
)


class LayerPart(LinesPane):
    """A part of the layer under the cursor; a former layer's stays until the next one is here.

    Args:
        part: the part.
    """

    def __init__(self, part: Part) -> None:
        super().__init__(id=part.id, name=part.name)
        self.part = part

    def explains(self) -> tuple[Explanation, ...]:
        return (self.part.explained,)

    def why_empty(self) -> tuple[str, str] | None:
        page, part = self.view.page, self.part
        sections = [] if page is None else self._sections(page)
        self.set_titles(sections[0].name if sections else part.name)
        if page is None:
            return self.view.page_problem or COMPUTING, ""
        if sections:
            return None
        unavailable = [name for name in part.needs if name in page.unavailable]
        if not unavailable:
            return f"This layer has no {part.name.lower()}.", ""
        name = unavailable[0]
        return f"No {PART_NAMES[name]}: {page.unavailable[name]}.", ""

    def lay_out(self) -> Sequence[Sequence[Piece]]:
        page, rows = self.view.page, max(1, self.area.height - 1)
        assert page is not None
        tables = [section.table(page, rows) for section in self._sections(page)]
        return as_much_as_fits([tables], self.area, self.pane_styles)

    def _sections(self, page: Inspection) -> list[Section]:
        return [section for section in self.part.sections if section.has(page)]


class CellValues(LinesPane):
    """The values of the run's metrics at the layer and token under the cursor."""

    follows_cursor = True

    def __init__(self, *, name: str, id: str) -> None:
        super().__init__(name=name, id=id)
        self._tables = CellTables()

    def explains(self) -> tuple[Explanation, ...]:
        return (VALUES,)

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Values")
        return ("No run is shown.", "") if self.result is None else None

    def lay_out(self) -> Sequence[Sequence[Piece]]:
        table = self._tables.at(self.drawn_result, *self.cursor, self.view.lens)
        note = [] if table.rows else [Note("No metric has a value here.")]
        return as_much_as_fits([[table, *note]], self.area, self.pane_styles)
