"""The cost of leaving layers out: for one prompt in a few lines, for the session's in a list."""

from __future__ import annotations

import math
from collections.abc import Sequence

from depthtui.data.explanation import Explanation
from depthtui.metrics.kept.result import answer_tokens
from depthtui.prompts.tasks import prompt_title
from depthtui.report.blocks import (
    Bar,
    Block,
    Column,
    Heading,
    Note,
    Paragraph,
    Spans,
    Table,
    TableCell,
)
from depthtui.report.blocks import Style as How
from depthtui.report.skips import parameter_share
from depthtui.token_text import fit_shown
from depthtui.tui.draw.block_lines import Lines, as_much_as_fits
from depthtui.tui.draw.styles import number
from depthtui.tui.panes.lines_pane import LinesPane
from depthtui.tui.state.what_if import Stack, WhatIfEffect, scored_loss

_LONGEST_TITLE = 80
_NAME = Column("", style="soft", width=12)
_SHARES = (_NAME, Column(""), Column("", number=True, width=9))
_WORDS = (_NAME, Column(""))
_PROMPTS = (Column("", style="soft"), Column("", number=True), Column("", number=True))
_KEYS = "x turns the layer at the cursor off, R runs it twice, 5p prunes five, E exits early."

SESSION_PROMPTS = Explanation(
    "This model's prompts",
    "The effect of the change on each prompt that this model ran in the session.",
    "loss~ - loss, mean nats a token of the answer, else of the text; the tokens but token 0 after "
    "which the first choice stays",
    "Above 0: the changed model predicts the prompt worse.",
    "Prompts that need a layer that others do without.",
)


class WhatIfSummary(LinesPane):
    """The layers off, the layers left, the change of the loss, and where the answer is the same."""

    _stack = Stack(())
    _effect: WhatIfEffect | None = None
    _healed_kl: Sequence[float] = ()

    def show_effect(
        self, stack: Stack, effect: WhatIfEffect, healed_kl: Sequence[float] = ()
    ) -> None:
        """Draw the effect of these layers being off.

        Args:
            stack: the layers.
            effect: the effect on the prompt.
            healed_kl: the KL of the model that was written without them, cut alone and healed;
                empty where there is none.
        """
        self._stack, self._effect, self._healed_kl = stack, effect, healed_kl
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("What if")
        return ("Leave layers out and see what it costs.", "") if self._effect is None else None

    def lay_out(self) -> Lines:
        assert self._effect is not None
        effect, stack = self._effect, self._stack
        healed = " · healed, KL " + " → ".join(map(number, self._healed_kl))
        title = f"What if{healed}" if self._healed_kl else "What if"
        self.set_titles(title, fit_shown(stack.changes, self.area.width).rstrip())
        blocks: list[Block] = [Heading(stack.words)]
        if effect.problem:
            blocks += [
                Paragraph(f"This change did not run: {effect.problem}"),
                Note("Any change tries again; u undoes this one."),
            ]
        else:
            shares = [_share("layers left", stack.share_on, stack.left_words)]
            has_answer = answer_tokens(effect.clean) is not None
            words = [("answer loss" if has_answer else "loss, nats", Spans(self._loss(effect)))]
            off = parameter_share(effect.clean.model, stack.skipped)
            if not stack.is_clean and off is not None:
                shares.append(_share("parameters", 1 - off))
            if not stack.is_clean and effect.agreement is None:
                words.insert(0, ("same choices", Spans([("… running, u undoes", "soft")])))
            elif not stack.is_clean and effect.agreement is not None:
                same, tokens = effect.agreement
                shares.append(_share("same choices", same / tokens, f"{same} / {tokens}"))
            blocks += [
                Table(columns, rows, has_head=False)
                for columns, rows in ((_SHARES, shares), (_WORDS, words))
            ]
            if stack.is_clean:
                blocks.append(Note(_KEYS))
        return as_much_as_fits([blocks], self.area, self.pane_styles, gaps=False)

    def _loss(self, effect: WhatIfEffect) -> list[tuple[str, How]]:
        before, change = number(scored_loss(effect.clean)), effect.loss_change
        if math.isnan(effect.clean.loss):
            return [("– no next token to score", "soft")]
        if math.isnan(change):
            return [(f"{before} → …", "")]
        if self._stack.is_clean:
            return [(before, "")]
        assert effect.changed is not None
        after = number(scored_loss(effect.changed))
        return [(f"{before} → {after}  ", ""), (signed_number(change), "strong")]


def _share(name: str, share: float, words: str = "") -> Sequence[TableCell]:
    return name, Bar(share), words or f"{share:.0%}"


class WhatIfPrompts(LinesPane):
    """The effects on every prompt that the model ran in the session, filled in as they run."""

    _effects: Sequence[WhatIfEffect] = ()
    _rule = ""

    def explains(self) -> tuple[Explanation, ...]:
        return (SESSION_PROMPTS,)

    def show_effects(self, effects: list[WhatIfEffect], rule: str) -> None:
        """List these effects; `rule` names the ranking that chose the layers."""
        self._effects, self._rule = effects, rule
        self.redraw()

    def why_empty(self) -> tuple[str, str] | None:
        self.set_titles("This model's prompts")
        if self._effects:
            return None
        return (
            "The effect of the change on each prompt that this model ran in the session.",
            "5p leaves out the five least useful layers.",
        )

    def lay_out(self) -> Lines:
        changes = [effect.loss_change for effect in self._effects]
        known_changes = [change for change in changes if not math.isnan(change)]
        mean = ""
        if len(known_changes) > 1:
            mean = f" · mean {signed_number(sum(known_changes) / len(known_changes))}"
        title = "This model's prompts · loss, same choices"
        if len(title) > self.area.width:
            title = "Prompts · loss, same choices"
        self.set_titles(title, f"by {self._rule}{mean}")
        rows = [_row(effect) for effect in self._effects]
        table = Table(_PROMPTS, rows, has_head=False)
        return as_much_as_fits([[table]], self.area, self.pane_styles)


def _row(effect: WhatIfEffect) -> Sequence[TableCell]:
    title = prompt_title(effect.prompt, _LONGEST_TITLE)
    if effect.problem:
        return title, "did not run", ""
    same = "" if effect.agreement is None else "{} / {}".format(*effect.agreement)
    return title, "…" if math.isnan(effect.loss_change) else signed_number(effect.loss_change), same


def signed_number(value: float) -> str:
    """A change with its sign, to a hundredth: `+0.23`."""
    return f"{value:+.2f}" if abs(value) < 100 else f"{value:+.0f}"
