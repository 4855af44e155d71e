"""What-ifs on a scripted engine: the stack, the keys, what runs when, and what is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.widgets import Input

from depthtui.data.model import ModelInfo
from depthtui.data.pieces import part_of, pieces_of_skips
from depthtui.data.protocol import Event, ModelLoaded, Rows, StartRun, Stop
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, PatchedCell, Repeated, RunSettings, Skip
from depthtui.errors import DepthError
from depthtui.metrics.ablation import Ablation
from depthtui.metrics.accuracy import Accuracy, chances
from depthtui.metrics.kept.result import Kept
from depthtui.metrics.layer_order import order_words
from depthtui.metrics.parts import KeptParts
from depthtui.tui.draw.styles import probability
from depthtui.tui.panes.output_bars import OptionBars
from depthtui.tui.panes.prompt_pane import PromptPane
from depthtui.tui.panes.status_line import StatusLine
from depthtui.tui.panes.what_if_summary import signed_number
from depthtui.tui.screens.dialogs.help_screen import HelpScreen
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.screens.what_if_screen import ALL_RANKED, WhatIfScreen
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import RunState
from depthtui.tui.state.what_if import Stack
from tests.builders.engines import FakeEngine
from tests.builders.metrics import usefulness
from tests.builders.models import LAYERS, model_info
from tests.builders.results import full_result
from tests.hostile import HOSTILE
from tests.tui.app_helpers import SIZES, Explored, explore

# The stack ------------------------------------------------------------------


def test_switching_goes_both_ways() -> None:
    full = Stack.full(4)
    assert full.switch([1, 2], "layer").skipped == (Skip(1), Skip(2))
    assert full.switch([1, 2], "layer").switch([1, 2], "layer") == full
    # The first layer decides for all of them.
    mixed = full.switch([2], "layer")
    assert mixed.switch([1, 2], "layer").layers_off == 2
    assert mixed.switch([2, 3], "layer") == full


def test_both_sublayers_make_a_layer() -> None:
    stack = Stack.full(2).switch([0], "attention")
    assert stack.skipped == (Skip(0, "attention"),)
    stack = stack.switch([0], "mlp")
    assert stack.skipped == (Skip(0, "layer"),)
    assert stack.switch([0], "attention").skipped == (Skip(0, "mlp"),)
    assert stack.switch([0], "layer") == Stack.full(2)


def test_share_left_and_words() -> None:
    stack = Stack.full(4)
    assert (stack.share_on, stack.words) == (1, "all 4 layers on")
    stack = stack.switch([0, 1], "layer").switch([2], "attention").switch([3], "mlp")
    assert stack.share_on == pytest.approx(0.25)
    assert stack.words == "2 of 4 layers off, 1 attention off, 1 MLP off"
    assert stack.skipped_layers == {0, 1}


def test_a_state_is_put_in_and_taken_out() -> None:
    stack = Stack.full(4).patch([2], 5, "layer").patch([1], 5, "mlp")
    assert stack.patched == (PatchedCell(1, 5, "mlp"), PatchedCell(2, 5))
    assert stack.words == "2 states patched"
    assert stack.changes == "patched at layer 1 MLP, token 5; layer 2, token 5"
    assert "states of another prompt" in stack.why_no_model
    assert not stack.is_clean
    # The first layer decides for all of them.
    assert stack.patch([2, 3], 5, "layer").patched == (PatchedCell(1, 5, "mlp"),)
    settings = RunSettings(patch_from="another text")
    assert Stack.of(4, stack.changed(settings)) == stack
    assert stack.changed(settings).clean == settings
    many = stack.patch(range(4), 6, "layer")
    assert many.changes == "patched at layer 0, token 6; layer 1 MLP, token 5; 4 more"


def test_an_early_exit_leaves_every_later_layer_out() -> None:
    assert Stack.full(4).exit_at(2).skipped == (Skip(2), Skip(3))


def test_a_block_runs_twice_and_once_again() -> None:
    full = Stack.full(6)
    stack = full.repeat(range(1, 3)).repeat(range(4, 5))
    assert stack.repeated == (Repeated(1, 2), Repeated(4, 4))
    assert stack.written_layers == (0, 1, 2, 1, 2, 3, 4, 4, 5)
    assert stack.words == "3 layers run twice"
    assert stack.changes == "layers 1-2, layer 4 twice"
    # A layer of it takes all of the block back, wherever it lies.
    assert stack.repeat(range(2, 3)).repeated == (Repeated(4, 4),)
    # A block takes the place of those that it meets.
    assert stack.repeat(range(3, 6)).repeated == (Repeated(1, 2), Repeated(3, 5))
    off = stack.switch([2], "layer")
    assert off.written_layers == (0, 1, 1, 3, 4, 4, 5)
    assert off.changes == "without layer 2, layers 1-2, layer 4 twice"
    assert off.switch([2], "layer") == stack
    assert (full.is_clean, stack.is_clean, stack.why_no_model) == (True, False, "")


def test_a_change_has_a_sign() -> None:
    assert [signed_number(value) for value in (0.231, -0.5, 0, 123.4)] == [
        "+0.23",
        "-0.50",
        "+0.00",
        "+123",
    ]


# The screen -----------------------------------------------------------------


async def open_what_if(it: Explored) -> WhatIfScreen:
    await it.press("x", until=WhatIfScreen)
    screen = it.app.screen
    assert isinstance(screen, WhatIfScreen)
    await idle(it)
    return screen


async def idle(it: Explored) -> None:
    """Wait until the engine has no more to do, and it is drawn."""
    await it.until(lambda: it.session.live is None, "an idle engine")
    await it.until(lambda: not getattr(it.app.screen, "redraw_planned", False), "a drawn screen")
    await it.pilot.pause()


def skipped(it: Explored) -> tuple[Skip, ...]:
    """What the last run left out."""
    return it.engine.sent(StartRun)[-1].settings.skipped


@pytest.mark.parametrize("size", SIZES)
async def test_the_screen_shows_clean_beside_changed(it: Explored, size: tuple[int, int]) -> None:
    await it.resize(*size)
    screen = await open_what_if(it)
    assert f"all {LAYERS} layers on" in it.screen_text()
    await it.press("1", "0", "G", "1", "0", "x")
    await idle(it)
    assert skipped(it) == tuple(Skip(layer) for layer in range(10, 20))
    text = it.screen_text()
    assert "10 of 30 layers off" in text
    assert "20 / 30" in text
    change = float(usefulness(LAYERS)[10:20].sum())
    assert signed_number(change) in text
    assert screen.what_if.effect.loss_change == pytest.approx(change, abs=1e-4)
    assert len(text.split("\n")) == size[1]
    assert text.split("\n")[-1].startswith("x off ")
    titles = ["Layers", "What if", "Logit lens at"]
    titles += ["Output after", "Effective depth", "This model's prompts"] * (size[0] >= 120)
    for title in titles:
        assert title in text


async def test_the_options_of_a_question_take_the_output_s_place(it: Explored) -> None:
    it.app.explorer.run(Prompt("19 + 27 = 46", " 46", choices=(" 46", " 64")))
    await it.until(lambda: it.session.current.prompt.choices)
    await it.ready()
    screen = await open_what_if(it)
    pane = screen.query_one(OptionBars)
    assert "x leaves a layer out" in pane.text
    await it.press("3", "G", "x")
    await idle(it)
    await it.until(lambda: "✓ 46" in pane.text, "the options")
    changed = screen.what_if.changed.get(Accuracy)
    assert changed is not None
    assert changed.is_changed
    assert f"– → {probability(float(chances(changed.clean)[0]))}" in pane.text
    screen.change(screen.what_if.stack.without([5, 6]))
    await idle(it)
    await it.until(lambda: screen.what_if.changed.get(Accuracy) is not changed)


async def test_a_narrow_screen_keeps_the_stack_and_tabs_through_the_rest(it: Explored) -> None:
    await it.resize(100, 30)
    await open_what_if(it)
    assert "·of  .38 │ ·of  .38" in it.screen_text(), "tokens of the lens can be read"
    await it.resize(80, 24)
    await it.until(lambda: "? help q quit" in it.screen_text(), "a footer that is not cut")
    for title in ("Logit lens at", "Output after", "Effective depth", "This model's prompts"):
        await it.press("tab")
        await it.until(lambda title=title: title in it.screen_text(), title)
        assert "attn MLP" in it.screen_text()
        assert "layers left" in it.screen_text()


async def test_a_what_if_is_no_run_of_the_session(it: Explored) -> None:
    clean = it.session.current
    await open_what_if(it)
    await it.press("x")
    await idle(it)
    assert it.session.runs == [clean]
    assert it.session.current is clean
    assert not it.session.asides
    assert clean.settings.skipped == ()
    await it.press("escape", until=MainScreen)
    assert it.main.shown_result() is clean.result


async def test_sublayers_counts_and_the_last_layer(it: Explored) -> None:
    screen = await open_what_if(it)
    await it.press("P")
    assert it.toasts()[-1] == "There is no text to patch from. esc, then L, names one."
    assert screen.what_if.stack.is_clean
    await it.press("5", "G", "a")
    await idle(it)
    assert skipped(it) == (Skip(5, "attention"),)
    await it.press("m")
    await idle(it)
    assert skipped(it) == (Skip(5),)
    await it.press("c", "G", "3", "m")
    await idle(it)
    # At the output, the last layer is meant, and there are no three of it.
    assert skipped(it) == (Skip(LAYERS - 1, "mlp"),)
    assert screen.cursor.layer == LAYERS


async def test_early_exit_undo_and_redo(it: Explored) -> None:
    what_if = (await open_what_if(it)).what_if
    await it.press("2", "0", "G", "E")
    await idle(it)
    assert skipped(it) == tuple(Skip(layer) for layer in range(20, LAYERS))
    await it.press("g", "x", "j", "k", "x")
    await idle(it)
    stacks = [what_if.stack]
    runs = len(it.engine.sent(StartRun))
    await it.press("2", "u")
    await idle(it)
    assert what_if.stack.skipped[0] == Skip(20)
    await it.press("u")
    await it.press("u")
    assert what_if.stack == Stack.full(LAYERS)
    assert "nothing to undo" in it.toasts()[-1]
    await it.press("9", "U")
    await idle(it)
    assert what_if.stack == stacks[0]
    await it.press("U")
    assert "nothing to redo" in it.toasts()[-1]
    # What ran once is not run again.
    assert len(it.engine.sent(StartRun)) == runs
    # A change forgets what was undone.
    await it.press("c", "3", "G", "x", "u", "5", "G", "x", "U")
    assert what_if.stack.skipped == (Skip(5),)


async def test_layers_run_twice_and_once_again(it: Explored) -> None:
    await it.resize(160, 50)
    what_if = (await open_what_if(it)).what_if
    await it.press("5", "G", "3", "R")
    await idle(it)
    assert it.engine.sent(StartRun)[-1].settings.repeated == (Repeated(5, 7),)
    assert "3 layers run twice" in it.screen_text()
    assert "layers 5-7 twice" in it.screen_text()
    assert it.screen_text().count("↻") == 3
    await it.press("x")
    await idle(it)
    settings = it.engine.sent(StartRun)[-1].settings
    assert (settings.skipped, settings.repeated) == ((Skip(5),), (Repeated(5, 7),))
    await it.press("u", "R")
    assert what_if.stack == Stack.full(LAYERS)
    await it.press("u")
    await idle(it)
    assert what_if.stack.repeated == (Repeated(5, 7),)
    await it.press("c")
    assert what_if.stack == Stack.full(LAYERS)


async def test_it_fills_in_live_and_a_newer_change_stops_the_run(it: Explored) -> None:
    screen = await open_what_if(it)
    it.engine.manual = True
    await it.press("4", "G", "x")
    # Contributions and lens of the first layer, contributions of the second.
    for _ in range(3):
        it.engine.advance(until=Rows)
    await it.until(lambda: screen.what_if.changed.layers_done == 2)
    await it.until(lambda: "layer 2 of 30" in it.screen_text())
    assert "→ …" in it.screen_text()
    assert screen.what_if.is_pending
    await it.press("k", "x")
    assert [type(command) for command in it.engine.commands[-2:]] == [Stop, StartRun]
    it.engine.advance()
    await idle(it)
    assert screen.what_if.effect.changed.settings.skipped == (Skip(4), Skip(5))
    assert not screen.what_if.is_pending
    # The one that was stopped runs anew when it is wanted.
    it.engine.manual = False
    await it.press("u")
    await idle(it)
    assert skipped(it) == (Skip(4),)


async def test_the_end_of_a_run_is_told_to_a_header_that_a_dialog_covers(it: Explored) -> None:
    screen = await open_what_if(it)
    it.engine.manual = True
    await it.press("4", "G", "x")
    it.engine.advance(until=Rows)
    await it.until(lambda: "▸ layer 1 of 30" in it.screen_text())
    await it.press("question_mark")
    assert isinstance(it.app.screen, HelpScreen)
    it.engine.advance()
    await it.until(lambda: screen.query_one(StatusLine).status.state == "ready")
    await it.press("escape", until=lambda: "● ready" in it.screen_text().splitlines()[0])
    assert "▸" not in it.screen_text().splitlines()[0]


async def test_going_back_stops_what_runs_for_this_screen_alone(it: Explored) -> None:
    await open_what_if(it)
    it.engine.manual = True
    await it.press("x")
    it.engine.advance(3)
    await it.press("escape")
    assert isinstance(it.engine.commands[-1], Stop)
    await it.until(lambda: it.status.state == "ready")
    assert isinstance(it.app.screen, MainScreen)


async def test_layers_are_ranked_by_influence_then_by_loss_and_parts_are_ordered(
    it: Explored,
) -> None:
    await open_what_if(it)
    # One more forward pass, which the screen asks for by itself.
    assert "similarity" in it.engine.sent(StartRun)[-1].settings.metrics
    assert "influence" in it.screen_text()
    await it.press("i")
    await idle(it)
    await it.until(lambda: "loss change" in it.screen_text())
    assert it.session.current.result.get(Ablation) is not None
    assert it.session.runs == [it.session.current]
    assert it.session.current.state is RunState.FINISHED
    await it.press("i")
    await idle(it)
    first = it.session.current.result.get(KeptParts).orders[0][0]
    assert "numbers: order" in it.screen_text()
    await it.press(*str(first // 2), "G")
    await it.until(lambda: re.search(r"▸ *\d+ ┣ .*\b1\b", it.screen_text()) is not None)
    await it.press("i")
    assert ALL_RANKED in it.toasts()[-1]


async def test_without_the_split_only_layers_can_be_turned_off(tmp_path: Path) -> None:
    reason = "the parts do not [/] add up"

    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, split_missing=reason))

    async with explore(tmp_path, lambda: FakeEngine(load)) as it:
        screen = await open_what_if(it)
        await it.press("t")
        assert it.toasts()[-1] == f"Only whole layers can be turned off: {reason}"
        assert screen.what_if.piece == "layer"
        await it.press("a", "m")
        assert reason in it.toasts()[-1]
        assert not screen.what_if.stack.skipped
        await it.press("i")
        await idle(it)
        await it.press("i")
        assert it.toasts()[-1] == f"Parts kept is unavailable: {reason}."
        await it.press("x")
        assert screen.what_if.stack.skipped


async def test_pruning_takes_the_least_useful_of_those_that_are_on(it: Explored) -> None:
    least = np.argsort(usefulness(LAYERS), kind="stable")[:5].tolist()
    screen = await open_what_if(it)
    await it.press("3", "p")
    await idle(it)
    assert {skip.layer for skip in skipped(it)} == set(least[:3])
    assert screen.what_if.rule == "block influence"
    await it.press("2", "p")
    await idle(it)
    assert {skip.layer for skip in skipped(it)} == set(least)
    await it.press("i", "c", "p")
    await idle(it)
    assert screen.what_if.rule == "ablation loss"
    assert [skip.layer for skip in skipped(it)] == least[:1]
    await it.press("9", "9", "p")
    assert screen.what_if.stack.layers_off == LAYERS
    await it.press("p")
    assert "Every layer is off" in it.toasts()[-1]


async def test_pruning_takes_the_order_of_layers_that_go_together_once_it_is_there(
    it: Explored,
) -> None:
    it.app.explorer.compute("ablation", "kept")
    await it.until(lambda: it.session.current.result.get(Kept) is not None)
    await it.ready()
    found = it.session.current.result.get(Kept)
    screen = await open_what_if(it)
    await it.press("4", "p")
    await idle(it)
    assert {skip.layer for skip in skipped(it)} == set(found.orders[0][:4])
    assert screen.what_if.rule == order_words(found.kind, found.search)


async def test_parts_are_pruned_in_their_order_after_a_switch(it: Explored) -> None:
    await it.press("n")
    await it.ready()
    screen = await open_what_if(it)

    def off() -> tuple[str, list[int]]:
        return pieces_of_skips(screen.what_if.stack.skipped)

    await it.press("t")
    assert it.toasts()[-1] == "p prunes parts: attentions and MLPs, each by itself."
    assert "Layers · p prunes parts" in it.screen_text()
    await it.press("5", "p")
    assert it.toasts()[-1] == "Parts kept is computed first, to rank the parts."
    await idle(it)
    found = it.session.current.result.get(KeptParts)
    order = found.orders[0]
    assert off() == ("part", sorted(order[:5]))
    assert screen.what_if.rule == order_words(found.kind, found.search)
    assert len(screen.what_if.effects) == 2
    assert all(effect.changed.complete for effect in screen.what_if.effects)
    # A part that is off already is passed over.
    part = part_of(order[5])
    await it.press("u", *str(part.layer), "G", "a" if part.part == "attention" else "m")
    await it.press("6", "p")
    await idle(it)
    assert off() == ("part", sorted(order[:7]))
    await it.press("c", "t", "p")
    await idle(it)
    assert screen.what_if.rule == "block influence"
    assert "p prunes parts" not in it.screen_text().split("\n")[8]
    assert (off()[0], len(off()[1])) == ("layer", 1)
    await it.press("t", "9", "9", "p")
    assert screen.what_if.stack.layers_off == LAYERS
    await it.press("p")
    assert it.toasts()[-1] == "Every part is off."


async def test_pruning_computes_what_it_needs_first(it: Explored) -> None:
    it.engine.manual = True
    await it.press("x", until=WhatIfScreen)
    await it.press("2", "p")
    assert "computed first" in it.toasts()[-1]
    assert not skipped(it)
    it.engine.manual = False
    it.engine.advance()
    await idle(it)
    assert len(skipped(it)) == 2


async def test_pruning_runs_on_every_prompt_of_the_session(it: Explored) -> None:
    await it.press("n")
    await it.ready()
    await it.press("n", until=lambda: len(it.session.runs) == 3)
    await it.ready()
    screen = await open_what_if(it)
    assert not screen.what_if.effects
    await it.press("5", "p")
    await idle(it)
    effects = screen.what_if.effects
    assert [effect.prompt for effect in effects] == [
        run.prompt for run in (it.session.runs[2], *it.session.runs[:2])
    ]
    assert all(effect.loss_change > 0 and effect.agreement for effect in effects)
    assert it.screen_text().count(signed_number(effects[0].loss_change)) >= 4
    assert "by block influence" in it.screen_text()
    # Another change has no list, and undoing it brings the old one back without a run.
    runs = len(it.engine.sent(StartRun))
    await it.press("x", "u")
    await idle(it)
    assert len(it.engine.sent(StartRun)) == runs + 1
    assert [effect.loss_change for effect in screen.what_if.effects] == [
        effect.loss_change for effect in effects
    ]


async def test_a_change_goes_before_the_session_and_that_before_a_metric(it: Explored) -> None:
    await it.press("n")
    await it.ready()
    screen = await open_what_if(it)
    it.engine.manual = True
    await it.press("i")
    assert "ablation" in it.engine.sent(StartRun)[-1].settings.metrics
    await it.press("p")
    assert skipped(it)
    assert it.engine.sent(StartRun)[-1].prompt == it.session.current.prompt
    it.engine.advance()
    await it.until(lambda: it.engine.sent(StartRun)[-1].prompt != it.session.current.prompt)
    it.engine.advance()
    await it.until(lambda: "ablation" in it.engine.sent(StartRun)[-1].settings.metrics)
    it.engine.advance()
    await idle(it)
    assert screen.what_if.clean.get(Ablation) is not None
    assert it.session.current.state is RunState.FINISHED


async def test_what_each_token_became_is_coloured_and_what_both_say_is_counted(
    it: Explored,
) -> None:
    screen = await open_what_if(it)
    measure = screen.query_one(PromptPane).measure
    assert measure.values(screen.what_if.clean) is None
    # As in what is left without layers, token 0 does not count.
    tokens = len(screen.what_if.clean.tokens) - 1
    await it.press("g", "x")
    await idle(it)
    values = measure.values(screen.what_if.changed)
    assert values.shape == (1, tokens + 1)
    assert np.isnan(values[0, 0])
    np.testing.assert_allclose(values[0, 1:], -usefulness(LAYERS)[0], rtol=1e-5)
    assert screen.what_if.effect.agreement == (0, tokens)
    await it.until(lambda: f"0 / {tokens}" in it.screen_text())
    assert "≠" in it.screen_text()
    await it.press("x", "1", "5", "G", "x")
    await idle(it)
    assert screen.what_if.effect.agreement == (tokens, tokens)


def only_clean(prompt: Prompt, model: ModelInfo, settings: RunSettings) -> RunResult:
    """A run that cannot leave layers out."""
    if settings.skipped:
        raise DepthError("Layer [/] cannot go.", "Try \x1b[2J another.")
    return full_result(prompt, model, settings)


async def test_a_failure_is_told_in_place_and_not_tried_again(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(results=only_clean)) as it:
        await open_what_if(it)
        await it.press("3", "G", "x", until="did not run: Layer [/]")
        runs = len(it.engine.sent(StartRun))
        await it.press("j", "k", "l")
        assert len(it.engine.sent(StartRun)) == runs
        await it.press("c", until="all 30 layers on")
        assert it.app.error is None


async def test_a_dying_engine_leaves_the_screen_as_it_is(it: Explored) -> None:
    screen = await open_what_if(it)
    it.engine.manual = True
    await it.press("x")
    it.engine.advance(3)
    it.engine.die()
    await it.until(lambda: "engine gone" in it.screen_text())
    await it.press("j", "x", "p", "i", "u")
    assert screen.what_if.clean is it.session.current.result
    await it.press("escape", until=lambda: it.status.state == "gone")


async def test_without_a_lens_the_stack_still_changes(tmp_path: Path) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, lens_missing="no final norm was found"))

    async with explore(tmp_path, lambda: FakeEngine(load)) as it:
        await open_what_if(it)
        await it.press("x")
        await idle(it)
        assert "no final norm" in it.screen_text()
        assert "1 of 30 layers off" in it.screen_text()


async def test_x_waits_for_a_run_that_is_whole(tmp_path: Path) -> None:
    async with explore(tmp_path, lambda: FakeEngine(manual=True), wait=False) as it:
        await it.until(lambda: it.status and it.status.state == "running")
        it.engine.advance(5)
        await it.press("x")
        assert isinstance(it.app.screen, MainScreen)


async def test_help_lists_and_runs_its_keys(it: Explored) -> None:
    screen = await open_what_if(it)
    await it.press("question_mark", until=HelpScreen)
    it.app.screen.query_one(Input).value = "exit_early"
    await it.press("enter", until=lambda: screen.what_if.stack.skipped)


@pytest.mark.parametrize("size", SIZES[:1])
async def test_hostile_tokens_stay_in_their_cells(it: Explored, size: tuple[int, int]) -> None:
    text = " ".join(text for text in HOSTILE.values() if text)
    await it.resize(*size)
    it.app.explorer.run(Prompt(text))
    await it.until(lambda: len(it.session.runs) == 2)
    await it.ready()
    await open_what_if(it)
    await it.press("g", "2", "p")
    for _ in range(12):
        await it.press("l", "tab")
        shown = it.screen_text()
        assert not {"\x1b", "\u202e", "\u200b"} & set(shown)
    assert it.app.error is None


@pytest.mark.parametrize("name", ["glyph", "256"])
async def test_other_ramps(it: Explored, name: str) -> None:
    it.app.explorer.settings = replace(it.app.explorer.settings, ramp=name)
    await open_what_if(it)
    await it.press("g", "x")
    await idle(it)
    solid = "█" if name == "glyph" else "▀"
    assert solid * 3 in it.screen_text()


# Patching -------------------------------------------------------------------


async def test_a_state_of_the_other_prompt_is_put_in_at_the_cursor(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with explore(tmp_path, lambda: engine, size=(200, 60)) as it:
        other = "Nora had slept all afternoon"
        it.app.explorer.run(Prompt("Nora had walked all afternoon", contrast=other))
        await it.ready()
        screen = await open_what_if(it)
        await idle(it)
        screen.go(4, 2)
        await it.press("P")
        await idle(it)
        assert screen.what_if.stack.patched == (PatchedCell(4, 2),)
        started = engine.sent(StartRun)[-1]
        assert started.settings.patched == (PatchedCell(4, 2),)
        assert "1 state patched" in it.screen_text()
        assert "◈" in it.screen_text()
        await it.press("2", "P")
        assert screen.what_if.stack.is_clean
        await it.press("3", "P", "K")
        await idle(it)
        await it.press("K")
        assert "patched at layer 4, token 2; layer 5, token 2; 1 more" in it.toasts()[-1]


async def test_an_engine_that_starts_again_is_not_called_ready(it: Explored) -> None:
    screen = await open_what_if(it)
    assert "● ready" in it.screen_text().splitlines()[0]
    it.app.explorer.engine.phase = Phase.STARTING
    screen.redraw()
    await it.until(lambda: "◌ starting" in it.screen_text().splitlines()[0])
