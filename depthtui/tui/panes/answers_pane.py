"""The answer to a question: its options, and how their chances change over depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.style import Style

from depthtui.data.explanation import Explanation
from depthtui.metrics.accuracy import METRIC, Accuracy
from depthtui.prompts.written_answers import is_written
from depthtui.report.answers import (
    ScoredOption,
    answer_table,
    answer_words,
    options_of,
    order_words,
    turning_words,
)
from depthtui.report.blocks import Heading, Paragraph
from depthtui.report.explanations import of_metrics
from depthtui.report.tables import ValueTable
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.bars import layer_ruler, upright_bars
from depthtui.tui.draw.block_lines import Lines, cut_lines, lines_of
from depthtui.tui.draw.styles import Piece, fit_right
from depthtui.tui.draw.text import not_computed, wrap
from depthtui.tui.panes.page import Page

CHOSEN, RIGHT = "●", "✓"

_MARK_CELLS = 4
_SCORE_CELLS = 8
_CHANCE_CELLS = 7
_NUMBERS_CELLS = _MARK_CELLS + _SCORE_CELLS + 2 * _CHANCE_CELLS + 2
_LEAST_BARS = 8
_MOST_LINES = 3
"""Most lines of an option: two for its bars, and one that parts it from the option above."""

_FRAME_LINES = 2
"""The head of the options, and the ruler beneath them."""

_NO_OPTIONS = "This prompt has no options to choose from, and no known answer."
_GIVE_OPTIONS = "p picks a task, o there asks it with options, and a file may have its own."


class AnswersPane(Page):
    """The answer in a sentence, the options with their likelihoods, and what turns the answer.

    Each option has a bar for every depth: its chance among the options, as final norm and LM head
    read it there.
    """

    footer = ("turn_page", "what_if", "compute", "export", "explain")
    follows_cursor = True

    def computes(self) -> tuple[str, ...]:
        return (METRIC.name,)

    def explains(self) -> tuple[Explanation, ...]:
        return of_metrics(METRIC.name)

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("Answers")
        if self.result is None:
            return METRIC.description, self.hint
        if answer_words(self.result):
            return None
        prompt = self.result.prompt
        if not prompt.choices and not is_written(self.result):
            return _NO_OPTIONS, _GIVE_OPTIONS
        return not_computed(self.result, METRIC, self.view.pace, self.compute_key)

    def table(self) -> ValueTable | None:
        return None if self.why_empty() is not None else answer_table(self.drawn_result)

    def lay_out(self) -> Sequence[Sequence[Piece]]:
        run, styles, (width, height) = self.drawn_result, self.pane_styles, self.area
        answers = run.get(Accuracy)
        assert answers is not None
        head = lines_of([Heading(answer_words(run))], width, styles)
        words = [*turning_words(answers), *order_words(answers)]
        end = lines_of(map(Paragraph, words), width, styles, gaps=False)
        room = height - len(head) - len(end)
        rows = self._options(options_of(run), room)
        spare = room - len(rows)
        gaps: list[Lines] = [[[]] * (bool(rows) and spare > count) for count in range(2)]
        return cut_lines([*head, *gaps[0], *rows, *gaps[1], *end], height, styles)

    # The options ------------------------------------------------------------

    @property
    def _depth(self) -> int:
        """The depth at the cursor."""
        return min(max(0, self.cursor.layer), self.drawn_result.model.n_layers)

    def _options(self, options: Sequence[ScoredOption], room: int) -> Lines:
        """The options in as many lines, between their head and a ruler of depths."""
        if not options:
            return []
        names = [printable_sentence(option.text) for option in options]
        most = self.area.width - _NUMBERS_CELLS - _LEAST_BARS
        longest = max(map(cell_len, names))
        if longest > most and (lines := self._beneath(options, names)) and len(lines) <= room:
            return lines
        # A text is worth more than its bars.
        cells = max(1, longest if longest <= most else min(longest, most + _LEAST_BARS))
        lines_each = min(max(1, (room - _FRAME_LINES) // len(options)), _MOST_LINES)
        rows = [
            line
            for option, name in zip(options, names, strict=True)
            for line in self._row(option, name, cells, lines_each)
        ]
        has_ruler = room >= len(rows) + _FRAME_LINES and self._bars_width(cells) > 0
        return [self._head(cells), *rows, *[self._ruler(cells)] * has_ruler]

    def _beneath(self, options: Sequence[ScoredOption], names: Sequence[str]) -> Lines:
        """Each option's whole text, with its numbers beneath."""
        lines = [self._head(0)]
        for option, name in zip(options, names, strict=True):
            texts = wrap(name, max(1, self.area.width))
            lines += [[(text, self._name_style(option))] for text in texts]
            lines += self._row(option, "", 0, 1)
        return [*lines, self._ruler(0)]

    def _row(
        self, option: ScoredOption, name: str, cells: int, lines: int
    ) -> Iterator[list[Piece]]:
        """An option's marks, name, numbers and bars, the text in the lowest line."""
        if lines > 1:
            yield []
            lines -= 1
        styles, at_depth = self.pane_styles, float(option.by_depth[self._depth])

        def style_of(_value: float, depths: range) -> Style:
            if self._depth in depths:
                return styles.accent
            return styles.good if option.is_right else styles.muted

        width = max(0, self._bars_width(cells))
        every_bar: Lines = [[]] * lines
        if width:
            every_bar = upright_bars(option.by_depth, width, lines, styles, style_of, high=1.0)
        for line, bars in enumerate(every_bar):
            if line < lines - 1:
                yield [(" " * (self.area.width - width), styles.text), *bars]
                continue
            yield [
                (f"{CHOSEN if option.is_chosen else ' '} ", styles.accent),
                (f"{RIGHT if option.is_right else ' '} ", styles.good),
                (fit_shown(name, cells), self._name_style(option)),
                (fit_right(f"{option.score:.2f}", _SCORE_CELLS), styles.text),
                (fit_right(_percent(option.chance), _CHANCE_CELLS), styles.strong),
                (fit_right(_percent(at_depth), _CHANCE_CELLS), styles.muted),
                ("  ", styles.text),
                *bars,
            ]

    def _name_style(self, option: ScoredOption) -> Style:
        return self.pane_styles.strong if option.is_chosen else self.pane_styles.text

    def _bars_width(self, cells: int) -> int:
        return self.area.width - _NUMBERS_CELLS - cells

    def _head(self, cells: int) -> list[Piece]:
        """The heads of the numbers."""
        at_depth = (
            "output" if self._depth == self.drawn_result.model.n_layers else f"▴{self._depth}"
        )
        heads = (
            " " * (_MARK_CELLS + cells),
            fit_right("nats", _SCORE_CELLS),
            fit_right("chance", _CHANCE_CELLS),
            fit_right(at_depth, _CHANCE_CELLS),
            "  by depth" if self._bars_width(cells) > 0 else "",
        )
        return [("".join(heads), self.pane_styles.faint)]

    def _ruler(self, cells: int) -> list[Piece]:
        """The axis of depths beneath the bars."""
        width = max(1, self._bars_width(cells))
        depths = self.drawn_result.model.n_layers + 1
        before = (" " * (self.area.width - width), self.pane_styles.text)
        return [before, *layer_ruler(depths, self._depth, width, self.pane_styles)]


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.0%}"
