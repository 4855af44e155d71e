"""The pickers, the session and the export, driven by their keys."""

from __future__ import annotations

import csv
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.color import Color
from textual.containers import VerticalScroll
from textual.events import Key
from textual.widgets import Checkbox, Input, OptionList, RadioButton, RadioSet, Static
from textual.widgets._toast import Toast

from depthtui.cli.shared_options import PromptOptions, gather_prompts
from depthtui.data.model import ModelListing
from depthtui.data.pool import POOLS
from depthtui.data.protocol import (
    CountTokens,
    Event,
    Failed,
    LoadModel,
    MetricRows,
    ModelLoaded,
    StartRun,
    TokensCounted,
)
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.depth import rules
from depthtui.depth.reading import reading_of
from depthtui.manual import titles
from depthtui.metrics import kept
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.prompts.tasks import TASKS
from depthtui.report.explanations import of_measure
from depthtui.report.figures import csv_bytes, svg_bytes
from depthtui.report.formats import FORMATS, format_titles
from depthtui.report.look import Look
from depthtui.report.tables import table_bytes
from depthtui.settings import Settings, load_settings
from depthtui.tui.panes.pane import Pane
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.ask import Ask
from depthtui.tui.screens.dialogs.explanation_screen import ExplanationScreen
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.help_screen import MANUAL, HelpScreen
from depthtui.tui.screens.dialogs.manual_screens import ManualPage, ManualPicker
from depthtui.tui.screens.dialogs.measure_picker import MeasurePicker
from depthtui.tui.screens.dialogs.model_picker import ModelPicker
from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from depthtui.tui.screens.dialogs.run_list import RunList
from depthtui.tui.screens.dialogs.safe_text_area import SafeTextArea
from depthtui.tui.screens.main_screen import MainScreen
from depthtui.tui.state.session import RunState
from depthtui.tui.state.task_prompts import prompts_of, task_title
from tests.builders.engines import FakeEngine
from tests.builders.lists import plant
from tests.builders.models import model_info
from tests.tui.app_helpers import Explored, explore

pytestmark = pytest.mark.usefixtures("reachable_hub")


async def opened(it: Explored, key: str, kind: type) -> None:
    await it.press(key)
    await it.until(lambda: isinstance(it.app.screen, kind), kind.__name__)
    await it.pilot.pause()


async def opened_tasks(it: Explored) -> None:
    """Open the dialog of prompts on its tasks."""
    await opened(it, "p", PromptPicker)
    await it.press("ctrl+t")
    await it.until(lambda: it.app.screen.focused is it.app.screen.query_one("#task-list"))


def started(it: Explored) -> StartRun:
    command = it.engine.sent(StartRun)[-1]
    assert isinstance(command, StartRun)
    return command


# Explanations ---------------------------------------------------------------


async def test_an_explanation_scrolls_as_fast_as_keys_come_to_its_ends(it: Explored) -> None:
    await it.resize(80, 24)
    it.main.action_go_to("verdict")
    await opened(it, "I", ExplanationScreen)
    text = it.app.screen.query_one(VerticalScroll)
    assert text.max_scroll_y > 8
    for _ in range(8):
        it.app.screen.post_message(Key("j", "j"))
    await it.until(lambda: text.scroll_y == 8)
    await it.press("k")
    assert text.scroll_y == 7
    for last, first in (("G", "g"), ("end", "home")):
        await it.press(last)
        assert text.scroll_y == text.max_scroll_y > 0
        await it.press(first)
        assert text.scroll_y == 0


async def test_the_marks_of_a_hybrid_are_explained(tmp_path: Path) -> None:
    types = ("mamba", "full attention") * 15

    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, layer_types=types))

    async with explore(tmp_path, lambda: FakeEngine(load)) as it:
        await opened(it, "I", ExplanationScreen)
        await it.press("G")
        assert "M mamba (15), F full attention (15)" in it.screen_text()


async def test_the_manual_is_searched_and_read(it: Explored) -> None:
    await it.resize(80, 24)
    await opened(it, "question_mark", HelpScreen)
    await it.press("shift+tab", until=ManualPicker)
    assert all(title in it.screen_text() for title in list(titles().values())[:10])
    await it.press("slash", *"it ends above three nats", "enter", "enter", until=ManualPage)
    text = it.app.screen.query_one(VerticalScroll)
    await it.until(lambda: text.scroll_y > 22, "the words")
    await it.until(lambda: text.size.height == 22 and text.max_scroll_y > 22)
    await it.press("g", until="The bold part is the answer")
    await it.press("space", until=lambda: text.scroll_y == 21)
    await it.press("b", until=lambda: text.scroll_y == 0)
    await it.press("escape")
    assert isinstance(it.app.screen, ManualPicker)


async def test_the_search_of_keys_opens_the_manual_at_the_passage(it: Explored) -> None:
    await it.resize(80, 24)
    await opened(it, "question_mark", HelpScreen)
    field = it.app.screen.query_one(Input)
    for words, passage in (
        ("holds here", "fewer than five prompts"),
        ("/holds here", "fewer than five prompts"),
        # A sentence, a row of a table, an entry of a list.
        ("verdict narrow ranges of context", "How often firm is true"),
        ("verdict sequential depth", "sequential depth: "),
        ("verdict too little known", "Too little known."),
    ):
        field.value = words[:-1]
        await it.press(words[-1], until=lambda: MANUAL in it.screen_text())
        await it.press("enter", until=ManualPage)
        text = it.app.screen.query_one(VerticalScroll)
        await it.until(lambda passage=passage: passage in it.screen_text(), passage)
        shown = [line.strip("│▎ ") for line in it.screen_text().split("\n")[1:-1]]
        is_at_end = text.scroll_y == text.max_scroll_y
        place = next(y for y, line in enumerate(shown) if passage in line)
        assert place <= 1 or is_at_end or "holds" in words, shown
        await it.press("escape")
        assert isinstance(it.app.screen, HelpScreen)
        field.value = ""
    await it.press(*"zzz", until="No key or passage matches “zzz”")
    await it.press("enter", "backspace", "backspace")
    await it.until(lambda: "No key or passage" not in it.screen_text())
    assert isinstance(it.app.screen, HelpScreen)


async def test_a_dialog_takes_the_place_of_one_of_its_kind(it: Explored) -> None:
    await opened(it, "p", PromptPicker)
    await it.press("x")
    await it.press("ctrl+c", until=Ask)
    for _ in range(2):
        await it.press("ctrl+p", until=HelpScreen)
        await it.press(*"holds here", until=lambda: MANUAL in it.screen_text())
        await it.press("enter", until=ManualPage)
    await it.press("ctrl+c", until=Ask)
    kinds = [type(screen) for screen in it.app.screen_stack]
    assert kinds[1:] == [MainScreen, PromptPicker, Ask]


async def test_the_words_of_a_pane_are_explained(it: Explored) -> None:
    await it.resize(100, 60)
    for pane, word, other in (
        ("lens", "entropy, H", "a, m, c"),
        ("heatmap", "a, m, c", "entropy, H"),
    ):
        it.main.action_go_to(pane)
        await opened(it, "I", ExplanationScreen)
        await it.press("G", until="Words on this pane")
        assert word in it.screen_text()
        assert other not in it.screen_text()
        assert "Types of layers" not in it.screen_text()
        await it.press("escape")


# Prompts --------------------------------------------------------------------


async def test_a_task_is_chosen_then_its_prompt_by_the_keys_that_are_told(it: Explored) -> None:
    await opened(it, "p", PromptPicker)
    assert "F5 runs it" in it.screen_text()
    await it.press("ctrl+t", until="+ - level")
    assert "Grade-school arithmetic" in it.screen_text()
    await it.press("j", "j", "k")
    assert "enter lists its prompts" in it.screen_text()
    it.app.screen.query_one("#path").focus()
    await it.until(lambda: "enter opens it · → completes" in it.screen_text())
    it.app.screen.query_one("#template").focus()
    await it.until(lambda: "F5 runs it" in it.screen_text())
    assert "enter runs it" not in it.screen_text()
    it.app.screen.query_one("#task-list").focus()
    await it.press("enter")
    assert "enter runs it" in it.screen_text()
    await it.press("j", "down", "k", "enter", until=lambda: len(it.session.runs) == 2)
    assert started(it).prompt == prompts_of("grade_school", None, 123)[1]
    await it.ready()
    assert it.status.number.startswith("2/")


async def test_a_generator_has_a_dial_that_ends(it: Explored) -> None:
    await it.resize(80, 24)
    await opened_tasks(it)
    tasks = it.app.screen.query_one("#task-list", OptionList)
    tasks.highlighted = tasks.get_option_index("facts")
    await it.pilot.pause()
    await it.press(*["minus"] * 5, until="- 1 hop +")
    tasks.highlighted = tasks.get_option_index("addition")
    await it.until(lambda: "3 digits" in it.screen_text())
    await it.press("plus", "plus", "minus", until="4 digits")
    await it.press("enter", "enter", until=lambda: len(it.session.runs) == 2)
    assert (started(it).prompt.task, started(it).prompt.level) == ("addition", "4")


@pytest.mark.parametrize("task", ["addition", "unknown"])
async def test_a_level_that_the_task_does_not_have_is_left_out(it: Explored, task: str) -> None:
    it.app.explorer.run(Prompt("one two", "", task, "99"))
    await it.until(lambda: len(it.session.results) == 2)
    await opened_tasks(it)
    assert "99 " not in str(it.app.screen.query_one("#dial").content)
    assert it.app.screen.query_one("#prompts", OptionList).option_count


async def test_a_prompt_runs_as_it_was_typed(it: Explored) -> None:
    first = started(it).prompt
    answer = first.answer.strip()
    assert answer
    cleared = ("right", "ctrl+u")
    for number, (keys, prompt) in enumerate(
        [
            ((*cleared, "f5"), None),
            (("f5",), first),
            # An answer typed again stays, also where the former prompt ended with that word.
            (
                (*cleared, *"two", "tab", *answer, "shift+tab", "end", *" is", "f5"),
                Prompt(f"two is {answer}", f" {answer}"),
            ),
            ((*cleared, *"two is", "tab", *"two", "enter"), Prompt("two is two", " two")),
            ((*cleared, *"three is", "tab", *" two", "enter"), Prompt("three is two", " two")),
            ((*"qrs", "enter", *"1", "f5"), Prompt("qrs\n1")),
        ]
    ):
        await opened(it, "p", PromptPicker)
        await it.press(*keys)
        if prompt is None:
            assert isinstance(it.app.screen, PromptPicker)
            assert "Write a prompt first" in it.toasts()[-1]
            assert len(it.session.runs) == 1
            await it.press("escape", "y")
            continue
        await it.until(lambda number=number: len(it.session.runs) == number + 1, str(keys))
        assert started(it).prompt == prompt
        await it.ready()
    for typed in ("two", " two"):
        options = PromptOptions(("two is",), (), None, None, None, answers=(typed,))
        assert gather_prompts(options, Settings()).prompts == [Prompt("two is two", " two")]


async def test_keys_behind_a_tab_are_for_the_field_that_it_goes_to(it: Explored) -> None:
    await opened(it, "p", PromptPicker)
    # They arrive together, as over a slow line, or where the screen is busy.
    for key in (*"Rome", "tab", *"Paris"):
        it.app.simulate_key(key)
    answer = it.app.screen.query_one("#answer", Input)
    await it.until(lambda: answer.value == "Paris", "the answer")
    assert it.app.screen.query_one(SafeTextArea).text == "Rome"


async def test_what_was_typed_stays_where_a_question_is_answered_no(it: Explored) -> None:
    it.engine.manual = True
    it.main.measure = MEASURE_BY_NAME["skip_effects"]
    await it.press("i")
    it.engine.advance(until=MetricRows)
    await it.until(lambda: it.session.live.work)
    await opened(it, "p", PromptPicker)
    await it.press(*"own words", "f5", until=Ask)
    await it.press("n", until=MainScreen)
    assert len(it.session.runs) == 1
    await opened(it, "p", PromptPicker)
    assert it.app.screen.query_one(SafeTextArea).text == "own words"
    # Once it was run, the prompt on the screen is the one to begin with again.
    await it.press("f5", until=Ask)
    await it.press("p")
    await it.until(lambda: it.app.explorer.draft is None, "the run")
    assert it.app.explorer.prompt == Prompt("own words")


async def test_a_prompt_is_drawn_as_it_is_wrapped(it: Explored) -> None:
    await opened(it, "p", PromptPicker)
    box = it.app.screen.query_one(SafeTextArea)
    for width in (120, 80):
        await it.resize(width, 24)
        wrapped = [line.rstrip() for line in box.wrapped_document.get_sections(0)]
        region = box.scrollable_content_region
        drawn = it.screen_text().split("\n")[region.y : region.y + len(wrapped)]
        assert [line[region.x : region.right].rstrip() for line in drawn] == wrapped, width


async def test_a_file_is_opened_or_refused_in_words(it: Explored) -> None:
    lines = [{"text": "one two"}, {"text": "three four", "answer": " four"}]
    path = it.folder / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    await opened_tasks(it)
    await it.press("down", "down", "down", until="3 digits")
    field = it.app.screen.query_one("#path", Input)
    field.focus()
    field.value = str(it.folder / "none.txt")
    await it.press("enter")
    await it.until(lambda: "none.txt" in str(it.app.screen.query_one("#preview").content))
    assert not it.app.screen.query_one("#prompts", OptionList).option_count
    field.value = "~nosuchuser/prompts.jsonl"
    await it.press("enter", until="no user 'nosuchuser'")
    field.value = str(path)
    await it.press("enter", until="2  three four")
    # A file has no dial, and gives way to a task.
    await it.press("plus")
    assert "2  three four" in it.screen_text()
    assert "Prompts of" in str(it.app.screen.query_one("#dial").content)
    await it.press("shift+tab", "down", until=lambda: "2  three four" not in it.screen_text())
    field.focus()
    await it.press("enter", "down", "enter", until=lambda: len(it.session.runs) == 2)
    assert started(it).prompt.answer == " four"


async def test_f5_takes_the_typed_path(it: Explored) -> None:
    one, two = it.folder / "one.txt", it.folder / "two.jsonl"
    one.write_text("A prompt of a file")
    two.write_text("\n".join(json.dumps({"text": text}) for text in ("first", "second")))
    await it.press("p", "ctrl+t")
    field = it.app.screen.query_one("#path", Input)
    field.focus()
    await it.press(*"none", "f5", until="There is no file none")
    await it.press("f5")
    assert "There is no file none" in it.screen_text()
    field.value = str(two)
    await it.press("f5")
    await it.until(lambda: it.app.screen.query_one("#prompts", OptionList).option_count == 2)
    assert len(it.engine.sent(StartRun)) == 1
    await it.press("down", "f5", until=lambda: len(it.engine.sent(StartRun)) == 2)
    assert it.engine.sent(StartRun)[-1].prompt.text == "second"
    await it.press("p", "ctrl+t")
    field = it.app.screen.query_one("#path", Input)
    field.focus()
    field.value = str(one)
    await it.press("f5", until=lambda: len(it.engine.sent(StartRun)) == 3)
    assert it.engine.sent(StartRun)[-1].prompt.text == "A prompt of a file"


async def test_a_task_that_is_chosen_later_runs_in_place_of_the_typed_path(it: Explored) -> None:
    await it.press("p", "ctrl+t")
    field = it.app.screen.query_one("#path", Input)
    field.value = "none"
    await it.press("down", "down", "down", until="3 digits")
    await it.press("f5", until=lambda: len(it.engine.sent(StartRun)) == 2)
    assert it.engine.sent(StartRun)[-1].prompt.task in TASKS


async def test_the_chat_template_is_seen_and_belongs_to_the_prompt(it: Explored) -> None:
    await opened_tasks(it)
    it.app.screen.query_one("#template", Checkbox).toggle()
    await it.press("f5", until=lambda: len(it.session.runs) == 2)
    assert started(it).settings.chat_template
    await it.until(lambda: "1/17 · chat template" in it.screen_text())
    assert "Prompt · chat template" in it.screen_text()
    await opened_tasks(it)
    assert it.app.screen.query_one("#template", Checkbox).value
    await it.press("escape", "n")
    await it.until(lambda: any("switches it on" in toast for toast in it.toasts()))
    await it.until(lambda: len(it.session.runs) == 3)
    assert not started(it).settings.chat_template
    await it.until(lambda: "Prompt · chat template" not in it.screen_text())
    assert not load_settings(it.folder / "settings.toml").chat_template


async def test_a_model_without_a_template_has_no_switch(tmp_path: Path) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, has_chat_template=False))

    async with explore(tmp_path, lambda: FakeEngine(load=load)) as it:
        await opened_tasks(it)
        assert it.app.screen.query_one("#template", Checkbox).disabled
        assert "has none" in it.screen_text()


async def test_escape_leaves_every_dialog_and_asks_before_typed_text_is_lost(it: Explored) -> None:
    await it.resize(80, 24)
    for key in ("p", "u", "L", "m", "v", "b", "M", "comma", "e", "question_mark"):
        await it.press(key, until=lambda: it.app.screen is not it.main)
        dialog = it.app.screen
        frame = dialog.query_one(".dialog")
        assert cell_len(f"╰─ {frame.border_subtitle} ─╯") <= frame.region.width, "its hint"
        if key in FIELDS:
            field = dialog.query_one(FIELDS[key])
            dialog.set_focus(field)
            await it.press("9")
            for asking, words in (("escape", "leaves"), ("ctrl+c", "quits")):
                await it.press(asking, until=Ask)
                assert f"y or enter {words}, other keys go back." in it.screen_text()
                assert it.app.screen.query_one("#question").region in frame.region
                await it.press("escape")
                assert it.app.screen is dialog
            assert "9" in (field.value if isinstance(field, Input) else field.text)
            await it.press("escape", "y")
        else:
            await it.press("escape")
        await it.until(lambda: it.app.screen is it.main)
    assert len(it.engine.sent(StartRun)) == len(it.engine.sent(LoadModel)) == 1
    assert not it.session.current.remarks.bookmarks


FIELDS = {
    "p": "#text",
    "L": "#layers",
    "m": "#name",
    "M": "#mark",
    "e": "#folder",
}
"""A field for text in each dialog, by the dialog's key."""


async def test_nothing_is_asked_where_no_text_is_lost(it: Explored) -> None:
    for keys in (
        # A note is kept as it is typed.
        ("M", "tab", *"kept", "escape"),
        # A number is quickly typed again.
        ("u", "down", *"0.2", "escape"),
        # A name for a file is there already.
        ("e", "FILE", "x", "escape"),
        # Words of a filter are no text to keep.
        ("comma", "slash", *"kl", "escape", "escape"),
        # The text is emptied.
        ("p", "backspace", "escape"),
        # What is marked is kept.
        ("M", *"here", "tab", "f5"),
        ("L", "escape"),
        ("m", "escape"),
    ):
        for key in keys:
            if key == "FILE":
                it.app.screen.set_focus(it.app.screen.query_one("#file-name"))
            else:
                await it.press(key)
        await it.until(lambda: it.app.screen is it.main, " ".join(keys))
    remarks = it.session.current.remarks
    assert (remarks.note, [mark.note for mark in remarks.bookmarks]) == ("kept", ["here"])


async def nothing_is_taken_once_it_is_gone(it: Explored, listing: OptionList) -> None:
    """Choose the last option, and empty the list before that is heard."""
    dialog = it.app.screen
    listing.highlighted = listing.option_count - 1
    await it.pilot.pause()
    listing.action_select()
    listing.clear_options()
    await it.pilot.pause()
    assert it.app.screen is dialog
    assert not it.engine.sent(StartRun)


async def test_a_key_may_come_before_the_list(it: Explored) -> None:
    coming = HelpScreen([], it.app.keys)
    shown = it.app.push_screen(coming)
    await coming.action_in_list("cursor_down")
    await shown
    assert coming.listing.option_count == 0


async def test_what_left_the_list_after_it_was_chosen_is_not_taken(it: Explored) -> None:
    (it.folder / "prompts.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    it.engine.commands.clear()
    await opened(it, "question_mark", HelpScreen)
    await nothing_is_taken_once_it_is_gone(it, it.app.screen.query_one(OptionList))
    await it.press("escape")
    await opened(it, "p", PromptPicker)
    listing = it.app.screen.query_one("#prompts", OptionList)
    await nothing_is_taken_once_it_is_gone(it, listing)
    field = it.app.screen.query_one("#path", Input)
    field.value = str(it.folder / "prompts.jsonl")
    await field.action_submit()
    await it.until(lambda: listing.option_count == 2, "the file's prompts")
    await nothing_is_taken_once_it_is_gone(it, listing)


async def test_tokens_are_counted_while_typing(it: Explored) -> None:
    await opened(it, "p", PromptPicker)
    n_tokens = len(it.session.current.result.tokens)
    await it.until(lambda: f"{n_tokens} tokens" in it.screen_text())
    await it.press(*"one", "space", *"two", until="2 tokens")
    await it.press(*["backspace"] * 4, until="1 token ")
    await it.press(*["backspace"] * 3)
    await it.until(lambda: not str(it.app.screen.query_one("#token-note", Static).content))
    await it.press("ctrl+t", until=f"{n_tokens} tokens")
    await it.press("escape")
    # A halted run lets the engine answer nothing, but this count is known.
    it.engine.silent = True
    await opened(it, "p", PromptPicker)
    await it.until(lambda: f"{n_tokens} tokens" in it.screen_text())


async def test_while_a_count_is_awaited_only_the_last_prompt_waits(it: Explored) -> None:
    it.engine.silent = True
    explorer, prompts = it.app.explorer, [Prompt(text) for text in ("a", "a b", "a b c")]
    for prompt in prompts:
        explorer.token_count.request(prompt, False)
    assert it.engine.sent(CountTokens)[-1] == CountTokens(prompts[0], False)
    explorer.handle(TokensCounted(prompts[0], False, 1))
    assert it.engine.sent(CountTokens)[-1] == CountTokens(prompts[2], False)
    explorer.handle(TokensCounted(prompts[2], False, 3))
    assert len(it.engine.sent(CountTokens)) == 2


# Measures -------------------------------------------------------------------


async def test_a_measure_shows_itself_before_it_is_chosen(it: Explored) -> None:
    settings = it.folder / "settings.toml"
    await opened(it, "v", MeasurePicker)
    await it.press("j", "j", "k")
    assert it.app.screen.query_one(OptionList).highlighted == 1
    await it.press(*["down"] * 5, until=lambda: it.main.measure.name == "kl")
    assert of_measure(MEASURE_BY_NAME["kl"])[0].description in " ".join(words_of(it))
    await it.press("escape", until=MainScreen)
    assert it.main.measure.name == load_settings(settings).measure == "layer_norm_ratio"
    await opened(it, "v", MeasurePicker)
    await it.press("7", until=lambda: load_settings(settings).measure == "kl")
    # What must be computed first has nothing to show.
    await opened(it, "v", MeasurePicker)
    await it.press("end")
    assert it.main.measure.name == "kl"


def words_of(it: Explored) -> list[str]:
    """What the note of a dialog says."""
    return str(it.app.screen.query_one("#note", Static).content).split()


# Models ---------------------------------------------------------------------


def listings(*names: str) -> list[ModelListing]:
    return [ModelListing(name, name, "hub", 1 << 30, True, "in the hub cache") for name in names]


async def pick_from(
    it: Explored, monkeypatch: pytest.MonkeyPatch, found: list[ModelListing] | Exception
) -> None:
    def on_disk(folder: Path) -> list[ModelListing]:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("depthtui.models.catalog.on_disk", on_disk)
    await opened(it, "m", ModelPicker)
    await it.until(lambda: not it.app.screen.listing.loading)


async def test_a_model_is_typed_or_taken_from_the_disk_with_its_options(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pick_from(it, monkeypatch, listings("demo", "/models/kept"))
    picker = it.app.screen
    assert picker.focused is picker.listing
    await it.press(*"/models/jk/")
    field, note = picker.query_one("#name", Input), picker.query_one("#note", Static)
    assert (picker.focused, field.value) == (field, "/models/jk/")
    await it.until(lambda: str(note.content) == "enter opens /models/jk")
    field.value = "/models/kept/"
    await it.until(lambda: str(note.content).startswith("/models/kept"))
    field.value = "org/x/"
    await it.press("enter", until=lambda: len(it.engine.sent(LoadModel)) == 2)
    assert it.engine.sent(LoadModel)[-1] == LoadModel(ModelSpec("org/x"))
    await it.ready()
    await pick_from(it, monkeypatch, listings("demo", "org/big[/]"))
    await it.until(lambda: "org/big[/]  1.07 GB" in it.screen_text())
    await it.press("end", "enter", until=lambda: len(it.engine.sent(LoadModel)) == 3)
    assert it.engine.sent(LoadModel)[-1] == LoadModel(ModelSpec("org/big[/]"))
    await it.ready()
    await pick_from(it, monkeypatch, listings("demo"))
    screen = it.app.screen
    screen.query_one("#device", Input).value = "cuda:1"
    screen.query_one("#revision", Input).value = "main"
    screen.query_one("#dtype").value = "bfloat16"
    screen.query_one("#quantize").value = "8bit"
    screen.query_one("#name", Input).value = "org/x"
    screen.query_one("#name", Input).focus()
    await it.press("enter", until=lambda: len(it.engine.sent(LoadModel)) == 4)
    spec = ModelSpec("org/x", "main", "cuda:1", "bfloat16", "8bit")
    assert it.engine.sent(LoadModel)[-1] == LoadModel(spec)


async def test_what_cannot_be_opened_is_said_and_stays_as_it_was_typed(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(it.folder))
    await pick_from(it, monkeypatch, OSError("no disk [/]"))
    await it.until(lambda: "no disk [/]" in it.screen_text())
    await it.press("escape")
    await pick_from(it, monkeypatch, listings("demo", "org/big"))
    picker = it.app.screen
    device, field = picker.query_one("#device", Input), picker.query_one("#name", Input)
    device.value = "gpu"
    await it.press("down", "enter", until="Device must be auto, cpu")
    path = f"{it.folder}/no-such-model"
    for chosen, name, words in (
        ("auto", "", "Type a Hugging Face id"),
        ("gpu", "org/x", "Device must be auto, cpu"),
        ("auto", path, "does not exist"),
        ("auto", "org/x", "hub cannot be reached"),
    ):
        monkeypatch.setattr("depthtui.models.reach.reaches", lambda _, c=chosen: c == "gpu")
        device.value, field.value = chosen, name
        field.focus()
        await it.press("enter")
        await it.until(lambda words=words: words in it.screen_text(), words)
        assert (it.app.screen, field.value) == (picker, name)
    assert len(it.engine.sent(LoadModel)) == 1


async def test_models_that_are_listed_too_late_change_nothing(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def on_disk(folder: Path) -> list[ModelListing]:
        closed.wait()
        return listings("demo")

    monkeypatch.setattr("depthtui.models.catalog.on_disk", on_disk)
    try:
        await opened(it, "m", ModelPicker)
        await it.press("escape", until=MainScreen)
    finally:
        closed.set()
    await it.press("m", until="demo  1.07 GB")
    assert it.app.error is None


async def test_a_model_that_did_not_load_is_there_to_be_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        if spec.name == "org/typo":
            yield Failed("There is no org/typo.", "Correct it.", still_loaded=model_info())
        else:
            yield ModelLoaded(model_info(spec))

    async with explore(tmp_path, lambda: FakeEngine(load=load)) as it:
        await pick_from(it, monkeypatch, listings("demo"))
        it.app.screen.query_one("#name", Input).focus()
        await it.press(*"org/typo", "enter", until=MainScreen)
        await pick_from(it, monkeypatch, listings("demo"))
        assert it.app.screen.query_one("#name", Input).value == "org/typo"
        await it.until(lambda: "There is no org/typo. Correct it." in it.screen_text())


async def test_models_that_were_opened_come_first_and_folders_too(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = it.folder / "my model"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"num_hidden_layers": 7, "hidden_size": 64, "model_type": "llama"}'
    )
    (folder / "model.safetensors").write_bytes(b"1234")
    monkeypatch.chdir(it.folder)
    await pick_from(it, monkeypatch, listings("demo", "org/big"))
    it.app.screen.query_one("#name", Input).focus()
    await it.press(*"my")
    await it.until(lambda: it.app.screen.query_one("#name", Input)._suggestion == "my model/")
    await it.press("right", "backspace", "enter", until=lambda: len(it.engine.sent(LoadModel)) == 2)
    await it.ready()
    names = (str(folder), "demo")
    assert load_settings(it.folder / "settings.toml").recent_models == names
    await pick_from(it, monkeypatch, listings("demo", "org/big"))
    assert [row.value for row in it.app.screen.rows()] == [*names, "org/big"]
    await it.until(lambda: "7 layers, width 64, llama" in " ".join(words_of(it)))


async def test_the_models_take_as_much_room_as_they_need(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (2, 60):
        await pick_from(it, monkeypatch, listings(*map(str, range(count))))
        picker = it.app.screen
        await it.until(lambda: picker.listing.option_count == count, "the models")  # noqa: B023
        for size in ((200, 60), (119, 23), (80, 24)):
            await it.resize(*size)
            rows, frame = picker.listing.size.height, picker.query_one(".dialog").region
            assert count == 60 or size[0] < 100 or rows <= 6, size
            assert picker.query_one("#note").region.bottom <= frame.bottom - 1 <= size[1], size
            assert picker.query_one("#revision").region.height == 1, size
            assert rows >= 4, size
        await it.press("escape")


# The session ----------------------------------------------------------------


async def three_runs(it: Explored) -> None:
    for count in (2, 3):
        await it.press("n")
        await it.until(lambda count=count: len(it.session.results) == count)
    await it.ready()


async def test_the_session_goes_back_marks_and_forgets(it: Explored) -> None:
    await three_runs(it)
    first, second, third = it.session.runs
    await opened(it, "b", RunList)
    await it.press("space")
    assert it.session.marked is None
    await it.press("down", "space")
    assert it.session.marked is second
    await it.press("down", "enter", until=lambda: it.session.current is first)
    await it.until(lambda: it.main.shown_result() is first.result)
    await opened(it, "b", RunList)
    await it.press("home", "d", until=Ask)
    await it.press("n", until=RunList)
    assert third in it.session.runs
    await it.press("d", until=Ask)
    await it.press("y", until=lambda: third not in it.session.runs)
    await it.press("escape")
    assert len(it.session.runs) == 2


async def test_the_list_of_runs_has_heads_with_a_meaning_depths_and_the_headline(
    it: Explored,
) -> None:
    await it.press("n", until=lambda: len(it.session.results) == 2)
    await it.ready()
    run, settings = it.session.current, it.app.explorer.settings.summary_settings()
    # A rule that is not the paper's has a column where it has a depth.
    every = reading_of([run.result], settings).depths
    depths = [depth for depth in every if depth.count is not None]
    counts = [str(depth.count) for depth in depths]
    shorts = [rules.named(depth.rule).short for depth in depths]
    for width, height in ((200, 60), (80, 24)):
        await it.resize(width, height)
        await opened(it, "b", RunList)
        text = [line.split() for line in it.screen_text().split("\n")]
        # A narrow list leaves out the model of all runs, and the task, before it cuts the prompt.
        is_narrow = width == 80
        heads = ["prompt", *shorts, "of", *["model", "task"] * (not is_narrow)]
        assert any(" ".join(heads) in " ".join(words) for words in text)
        named = [] if is_narrow else [run.model.name, *task_title(run.prompt).split()]
        row = [*counts, "30", *named]
        assert any(" ".join(row) in " ".join(words) for words in text)
        await it.press("escape")
    it.main.action_go_to("verdict")
    await it.press("i", until=lambda: run.result.has_all("kept") and not run.state.is_live)
    count = reading_of([run.result], settings).get(kept.METRIC).layers
    for width, height in ((80, 24), (120, 40)):
        await it.resize(width, height)
        await opened(it, "b", RunList)
        text = " ".join(it.screen_text().replace("│", " ").split())
        assert "kept: layers that keep nine tenths · " in text
        assert " cos KL ovl: depth by cosine, KL, overlap · of: all layers" in text
        heads = str(it.app.screen.query_one("#head", Static).content).split()
        assert {"kept", "KL", "ovl", "cos", "of"} <= {*heads}
        lines = it.screen_text().split("\n")
        column = heads.index("kept") - heads.index("of")
        rows = [line.split() for line in lines if " 30  SmolLM2" in line]
        named = [row[row.index("30") + column] for row in rows]
        assert named == ([] if width == 80 else [str(count), "–"])
        await it.press("escape")


async def test_an_empty_session_says_how_to_fill_it(it: Explored) -> None:
    await opened(it, "b", RunList)
    await it.press("d", until=Ask)
    await it.press("y", until="No runs yet")
    await it.press("escape", until=lambda: it.main.shown_result() is None)
    assert it.app.error is None


# Exporting ------------------------------------------------------------------


async def test_one_run_is_exported_in_every_format(it: Explored) -> None:
    await three_runs(it)
    await opened(it, "e", ExportScreen)
    assert str(it.folder / "exports") in "".join(it.screen_text().split())
    field = it.app.screen.query_one("#file-name", Input)
    field.value = "mine"
    for name in ("csv", "svg"):
        box = it.app.screen.query_one(f"#{name}", Checkbox)
        assert not box.value
        box.value = True
    await it.press("enter", until=MainScreen)
    names = {path.name for path in (it.folder / "exports").iterdir()}
    endings = ("md", "json", "html", "safetensors", "svg")
    assert names == {*(f"mine.{ending}" for ending in endings), "mine-figures"}
    summary = json.loads((it.folder / "exports" / "mine.json").read_text())
    assert len(summary["prompts"]) == 1
    assert "<svg" in (it.folder / "exports" / "mine.svg").read_text()


async def test_an_export_is_announced_in_lines_that_fit_a_toast(it: Explored) -> None:
    for width in (80, 120):
        await it.resize(width, 24)
        await opened(it, "e", ExportScreen)
        name = f"{width} {'a long name ' * 6}20261201"
        it.app.screen.query_one("#file-name", Input).value = name
        await it.press("enter", until=MainScreen)
        toast = [*it.app.screen.query(Toast).results(Toast)][-1]
        await it.until(lambda toast=toast: toast.content_size.height, "the toast")
        file, more, folder = it.toasts()[-1].split("\n")
        assert file.startswith(f"{width} a long name")
        assert file.endswith("20261201.md")
        assert re.fullmatch(r"and \d more", more)
        assert folder.startswith("in /")
        assert folder.endswith("/exports")
        assert toast.content_size.height == 4, "the title and a row for each line"


async def test_a_pane_is_exported_as_its_figures_and_their_numbers(it: Explored) -> None:
    assert not it.main.query_one(VerdictPane).figures(), "nothing is measured yet"
    offered = {"heatmap": "its figure and numbers", "lens": "its table as CSV"}
    for pane, words in offered.items():
        it.main.action_go_to(pane)
        await opened(it, "e", ExportScreen)
        assert f"the pane {pane.capitalize()}, {words}" in it.screen_text()
        it.app.screen.query_one("#file-name", Input).value = pane
        # The pane is the last choice, before the first.
        await it.press("up")
        file = {"heatmap": "heatmap-figures/", "lens": "lens.csv"}[pane]
        note = it.app.screen.query_one("#note", Static)
        await it.until(lambda f=file, n=note: f"exports: {f}" in str(n.content), "its files")
        await it.press("enter", until=MainScreen)
    folder = it.folder / "exports"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {
        *(
            f"heatmap-figures/layer-contribution.{ending}"
            for ending in ("csv", "pdf", "png", "svg")
        ),
        "lens.csv",
    }
    head, *rows = (folder / "lens.csv").read_text().splitlines()
    assert head.startswith('"x: depth, 30 is the output","token 1","probability 1"')
    assert len(rows) == 31


async def test_every_pane_with_numbers_has_figures_or_a_table(it: Explored) -> None:
    await it.resize(200, 60)
    without = set()
    for pane in it.main.query("#panes Pane").results(Pane):
        it.main.action_go_to(str(pane.id))
        await it.press("i")
        await it.ready()
        for figure in pane.figures():
            assert svg_bytes(figure, Look())
            assert csv_bytes(figure, Look())
        if table := pane.table():
            rows = list(csv.reader(table_bytes(table).decode().splitlines()))
            assert len({len(row) for row in rows}) == 1
            assert len(rows) == len(table.rows) + 1
        elif not pane.figures():
            without.add(pane.id)
    assert without == {"means"}


async def test_an_export_begins_with_the_formats_of_the_last_one(it: Explored) -> None:
    await opened(it, "e", ExportScreen)
    await it.press("end", "space", "home", "space", "enter", until=MainScreen)
    await opened(it, "e", ExportScreen)
    boxes = it.app.screen.query(Checkbox).results(Checkbox)
    ticked = tuple(str(box.id) for box in boxes if box.value)
    assert ticked == ("json", "html", "safetensors")
    # A pane has formats of its own, which change those of a run for no export.
    await it.press("up")
    await it.until(lambda: it.app.screen.query_one("#svg", Checkbox).value, "its formats")
    await it.press("enter", until=MainScreen)
    assert load_settings(it.folder / "settings.toml").export_formats == ticked


async def test_a_format_that_is_not_installed_cannot_be_ticked(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = replace(FORMATS["png"], libraries=["no_such_library"])
    plant(monkeypatch, FORMATS, "png", lacking)
    await opened(it, "e", ExportScreen)
    [*_, of_pane] = it.app.screen.query("#what RadioButton").results(RadioButton)
    of_pane.value = True
    box = it.app.screen.query_one("#svg", Checkbox)
    await it.until(lambda: box.value)
    assert not it.app.screen.query_one("#png", Checkbox).value
    assert "each figure: needs pip install" in it.screen_text()


async def test_an_export_of_a_run_that_goes_on_says_so(it: Explored) -> None:
    await it.press("s", until=lambda: it.session.current.state is RunState.HALTED)
    for is_live in (True, False):
        await opened(it, "e", ExportScreen)
        it.app.screen.query_one("#file-name", Input).value = f"live-{is_live}"
        await it.press("enter", until=MainScreen)
        assert ("still being computed" in it.toasts()[-1]) is is_live
        await it.press("r", until=lambda: it.session.current.state is RunState.FINISHED)


async def test_the_session_is_exported_to_a_folder_that_is_remembered(it: Explored) -> None:
    await three_runs(it)
    await opened(it, "e", ExportScreen)
    screen = it.app.screen
    screen.query_one("#folder", Input).value = str(it.folder / "else" / "where")
    screen.query_one("#file-name", Input).value = "../all"
    for name in {*format_titles("runs"), "screen"} - {"json"}:
        screen.query_one(f"#{name}", Checkbox).value = False
    screen.query_one("#what").query("RadioButton")[1].value = True
    await it.press("f5", until=MainScreen)
    assert [path.name for path in (it.folder / "else" / "where").iterdir()] == ["all.json"]
    summary = json.loads((it.folder / "else" / "where" / "all.json").read_text())
    assert len(summary["prompts"]) == 3
    assert load_settings(it.folder / "settings.toml").export_dir == it.folder / "else" / "where"


async def test_the_session_is_pooled_only_where_that_is_chosen(it: Explored) -> None:
    await three_runs(it)
    it.session.runs[0].result.prompt = Prompt("Mine")
    titles = ["run 3, on the screen", "the whole session, 3 runs"]
    titles += [f"the whole session, {POOLS[pool]}" for pool in ("task", "model")]
    titles += ["the pane Heatmap, its figure and numbers"]
    for number, groups in enumerate([None, [[0], [1], [2]], [[0], [1, 2]], None]):
        await opened(it, "e", ExportScreen)
        choices = it.app.screen.query("#what RadioButton").results(RadioButton)
        assert [str(choice.label) for choice in choices] == titles
        it.app.screen.query_one("#file-name", Input).value = str(number)
        await it.press(*["down"] * number, "space", "enter", until=MainScreen)
        summary = json.loads((it.folder / "exports" / f"{number}.json").read_text())
        found = summary.get("groups")
        assert (found and [group["prompts"] for group in found]) == groups
        assert len(summary["runs"]) == (3 if number else 1)


async def test_letters_and_arrows_move_among_the_choices_of_an_export(it: Explored) -> None:
    await three_runs(it)
    await opened(it, "e", ExportScreen)
    what = it.app.screen.query_one("#what", RadioSet)

    def grounds() -> set[Color]:
        buttons = what.query(RadioButton)
        return {button.get_component_styles("toggle--label").background for button in buttons}

    await it.press("j", "space")
    assert what.pressed_index == 1
    await it.press("k", "space")
    assert what.pressed_index == 0
    assert len(grounds()) == 2
    first = it.app.screen.query_one(f"#{next(iter(format_titles('runs')))}")
    first.focus()
    await it.press("j", "j", "k")
    assert len(grounds()) == 1, "a choice looks focused only while it is"
    boxes = list(it.app.screen.query(Checkbox))
    assert it.app.screen.focused is boxes[1]
    # Arrows leave the name.
    field = it.app.screen.query_one("#file-name", Input)
    name = field.value
    field.focus()
    await it.press("up", "up", "space", "enter", until=MainScreen)
    folder = it.folder / "exports"
    assert (folder / f"{name}.md").exists()
    assert not list(folder.glob("*.svg"))


async def test_an_export_that_cannot_be_written_stays_open_and_says_why(it: Explored) -> None:
    (it.folder / "file").write_text("")
    folder = it.folder / "out"
    folder.mkdir()
    await opened(it, "e", ExportScreen)
    into = it.app.screen.query_one("#folder", Input)
    it.app.screen.query_one("#file-name", Input).value = "mine"

    async def refused(value: str, words: str) -> None:
        into.value = value
        await it.pilot.pause()
        await it.press("f5")
        await it.until(lambda: words in " ".join(words_of(it)), words)

    # It replaces no file of others.
    for ending, words in (("md", "is no report"), ("svg", "exists already")):
        path = folder / f"mine.{ending}"
        path.write_text("mine")
        await refused(str(folder), words)
        assert list(folder.iterdir()) == [path]
        assert path.read_text() == "mine"
        path.unlink()
    await refused(f"{it.folder}/file/x", "cannot be written to")
    for name in (*format_titles("runs"), "screen"):
        it.app.screen.query_one(f"#{name}", Checkbox).value = False
    await refused(f"{it.folder}/file/x", "Choose at least one format")
    await refused("~nosuchuser/x", "no user 'nosuchuser'")
