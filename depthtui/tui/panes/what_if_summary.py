"""What leaving layers out costs: one prompt in a few lines, and all of the session's in a list."""

from __future__ import annotations

import math
from collections.abc import Sequence

from depthtui.data.model import ModelInfo
from depthtui.prompts import prompt_title
from depthtui.report.skips import parameter_share
from depthtui.token_text import fit_shown, printable_sentence
from depthtui.tui.draw.styles import Piece, bar, fit_right, number
from depthtui.tui.draw.text import wrap
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.state.what_if import Effect, Stack

_NAME_CELLS = 11
_LONGEST_BAR = 40


class WhatIfSummary(LinesPane):
    """What is off, how much depth is left, what the loss gains, where the answer is the same."""

    _stack = Stack(())
    _effect: Effect | None = None

    def show_effect(self, stack: Stack, effect: Effect) -> None:
        """Draw what these layers being off does."""
        self._stack, self._effect = stack, effect
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("What if")
        return ("Leave layers out and see what it costs.", "") if self._effect is None else None

    def lay_out(self) -> list[list[Piece]]:
        assert self._effect is not None
        styles, effect, stack = self.pane_styles, self._effect, self._stack
        self.set_titles("What if", fit_shown(stack.changes, self.area.width).rstrip())
        left = stack.depth_left
        if effect.problem:
            reason = wrap(
                printable_sentence(f"This change did not run: {effect.problem}"), self.area.width
            )
            retry = wrap("Any change tries again, u takes this one back.", self.area.width)
            return [
                [(stack.words, styles.strong)],
                *([(text, styles.error)] for text in reason),
                *([(text, styles.faint)] for text in retry),
            ]
        lines = [
            [(stack.words, styles.strong)],
            self._share("depth left", left, f"{left:.0%}"),
        ]
        if not stack.is_clean:
            lines += [*self._parameters(effect.clean.model), self._agreement(effect)]
        lines.append(self._loss(effect))
        if stack.is_clean:
            help_text = (
                "x turns the layer at the cursor off, R runs it twice, 5p prunes five, E exits "
                "early."
            )
            lines += [[(text, styles.faint)] for text in wrap(help_text, self.area.width)]
        return lines

    def _share(self, name: str, share: float, words: str) -> list[Piece]:
        styles = self.pane_styles
        cells = max(0, min(_LONGEST_BAR, self.area.width - _NAME_CELLS - 8))
        full, empty = bar(share, cells)
        return [
            (f"{name:<{_NAME_CELLS}}", styles.muted),
            (full, styles.text),
            (empty, styles.faint),
            (fit_right(words, 8), styles.text),
        ]

    def _parameters(self, model: ModelInfo) -> list[list[Piece]]:
        """How many of the parameters are in use, where it is known where they are."""
        off = parameter_share(model, self._stack.skipped)
        if off is None:
            return []
        return [self._share("parameters", 1 - off, f"{1 - off:.0%}")]

    def _agreement(self, effect: Effect) -> list[Piece]:
        """At how many tokens the most probable next one is the same."""
        agreement = effect.agreement
        if agreement is None:
            return [
                (f"{'says same':<{_NAME_CELLS}}", self.pane_styles.muted),
                ("… still runs, u takes it back", self.pane_styles.faint),
            ]
        same, tokens = agreement
        return self._share("says same", same / tokens, f"{same} / {tokens}")

    def _loss(self, effect: Effect) -> list[Piece]:
        styles, change = self.pane_styles, effect.loss_change
        name: Piece = (f"{'loss':<{_NAME_CELLS}}", styles.muted)
        before = number(effect.clean.loss)
        if math.isnan(effect.clean.loss):
            return [name, ("– one token predicts nothing that is there", styles.faint)]
        if math.isnan(change):
            return [name, (f"{before} → ", styles.text), ("…", styles.faint)]
        if self._stack.is_clean:
            return [name, (before, styles.text), (" nats", styles.muted)]
        assert effect.changed is not None
        return [
            name,
            (f"{before} → {number(effect.changed.loss)} ", styles.text),
            (f" {signed(change)}", styles.strong),
            (" nats", styles.muted),
        ]


class WhatIfPrompts(LinesPane):
    """The same for every prompt that the model ran in the session, filling in as they run."""

    _effects: Sequence[Effect] = ()
    _rule = ""

    def show_effects(self, effects: list[Effect], rule: str) -> None:
        """List these; `rule` is what the layers were chosen by."""
        self._effects, self._rule = effects, rule
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("The session's prompts")
        if self._effects:
            return None
        return (
            "What a pruning does to every prompt that this model ran in the session.",
            "5p leaves the five least useful layers out.",
        )

    def lay_out(self) -> list[list[Piece]]:
        changes = [effect.loss_change for effect in self._effects]
        known = [change for change in changes if not math.isnan(change)]
        mean = f" · mean {signed(sum(known) / len(known))}" if len(known) > 1 else ""
        self.set_titles("The session's prompts · loss, same", f"by {self._rule}{mean}")
        height = self.area.height
        hidden = len(self._effects) - height
        if hidden <= 0:
            return [self._row(effect) for effect in self._effects]
        shown = [self._row(effect) for effect in self._effects[: height - 1]]
        return [*shown, [(f"… and {hidden + 1} more", self.pane_styles.faint)]]

    def _row(self, effect: Effect) -> list[Piece]:
        styles = self.pane_styles
        same = "" if effect.agreement is None else "{} / {}".format(*effect.agreement)
        loss = "…" if math.isnan(effect.loss_change) else signed(effect.loss_change)
        right = f"{loss:>7}{same:>9}"
        if effect.problem:
            right = "  did not run"
        room = max(0, self.area.width - len(right))
        title = (
            fit_shown(
                printable_sentence(prompt_title(effect.prompt, max(8, room))), max(0, room - 1)
            )
            + " "
        )
        return [(title, styles.muted), (right, styles.error if effect.problem else styles.text)]


def signed(value: float) -> str:
    """A change with its sign, to a hundredth: `+0.23`."""
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+.0f}"
