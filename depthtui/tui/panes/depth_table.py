"""Each rule's effective depth: layers used, their share of the model, and why to doubt it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from depthtui.data.explanation import Explanation
from depthtui.data.lens_view import through_words
from depthtui.depth import rules
from depthtui.depth.published import PAPER, published_row
from depthtui.depth.reading import Reading
from depthtui.metrics.registry import ranking_names, rankings_of
from depthtui.report.blocks import Block, Heading, Note, TightBlocks
from depthtui.report.depths import depth_remarks, depth_table
from depthtui.report.explanations import of_metrics, of_rules
from depthtui.report.findings import published_sentences
from depthtui.report.layer_types import type_blocks
from depthtui.report.phrases import smooth
from depthtui.report.tables import ValueTable, depths_by_rule
from depthtui.tui.draw.block_lines import Lines, as_much_as_fits
from depthtui.tui.panes.layer_bars import bar_lines
from depthtui.tui.panes.page import DIAL_KEYS, ThresholdPage, dial_rule
from depthtui.tui.panes.pane import nothing_pooled

_EXPLAINED = (("description", "formula", "reading"), ("description", "reading"), ("description",))
"""Parts of each rule's explanation, the most parts first."""


class DepthTable(ThresholdPage):
    """The effective depths of a run; the compared run's and the published ones beneath.

    The paper's values are shown for its models, layers that others publish where there is room.
    """

    def why_empty(self) -> tuple[str, str] | None:
        title = through_words("Effective depth", self.view.lens)
        self.set_titles(title)
        if self.reading is None:
            purpose = "How many layers do new work, by each rule."
            return nothing_pooled(self.result, purpose, self.hint)
        if not self.reading.depths:
            if self.lens_to_compute():
                return self.no_lens()
            return "This run has neither contributions nor a logit lens.", ""
        return None

    def table(self) -> ValueTable | None:
        if self.reading is None or not self.reading.depths:
            return None
        return depths_by_rule(self.reading)

    def lay_out(self) -> Lines:
        reading = self.reading
        assert reading is not None
        count = reading.n_tokens
        token_words = f"{count} token{'s' if count != 1 else ''}"
        first = reading.settings.where_left_out(", token 0 left out")
        title = through_words("Effective depth", self.view.lens)
        # On a screen without pages no key turns the thresholds.
        keys = f"{DIAL_KEYS} {dial_rule().title} · " if self.pages else ""
        self.set_titles(title, f"{keys}mean over {token_words}{first}")
        lines = as_much_as_fits(self._versions(reading), self.area, self.pane_styles)
        for bar_block in self._bars():
            block = [[], *bar_block]
            if len(lines) + len(block) <= self.area.height:
                lines += block
        return lines

    def _versions(self, reading: Reading) -> Iterator[list[Block]]:
        """The table with its remarks, with less and less of the rules' explanations."""
        published = None if self.result is None else published_row(self.result.model)
        other, names = self.other_reading, self.view.names
        beside = None if other is None else (names[1] if names else "other", other)
        table = depth_table(reading, published, beside)
        blocks: list[Block] = [TightBlocks([table, *map(Note, depth_remarks(reading))])]
        if published is not None:
            blocks.append(Note(PAPER))
        notes = [Note(sentence) for sentence in [smooth(reading.depths)] if sentence]
        published_layers = [Note(sentence) for sentence in published_sentences(reading)]
        types = [] if other else list(type_blocks(reading))
        for parts in _EXPLAINED:
            yield [
                *blocks,
                *types,
                *notes,
                *published_layers,
                *(_explanation_of(depth.rule, parts) for depth in reading.depths),
            ]
        yield [*blocks, *types, *notes]
        yield [*blocks, *types]

    def computes(self) -> tuple[str, ...]:
        return self.lens_to_compute() or ranking_names(self.result)

    def explains(self) -> tuple[Explanation, ...]:
        return (*of_rules(), *of_metrics(*self.computes()))

    def _bars(self) -> list[Lines]:
        """Bars of each layer's usefulness, where no other pane has them."""
        has_a_pane = self.screen.has_class("-wide")
        if self.result is None or self.other_reading is not None or has_a_pane:
            return []
        measured = rankings_of(self.result)
        return [
            bar_lines(part, self.tokens, self.area.width, 2, self.pane_styles) for part in measured
        ]


def _explanation_of(name: str, parts: Sequence[str]) -> Block:
    """These parts of a rule's explanation."""
    rule = rules.named(name)
    texts = [getattr(rule.explanation, part).replace("`", "") for part in parts]
    return TightBlocks([Heading(rule.title), *map(Note, texts)])
