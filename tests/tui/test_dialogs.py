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
from depthtui.tui.state.session import RunState
from depthtui.tui.state.task_prompts import prompts_of, task_title
from tests.builders.engines import FakeEngine
from tests.builders.lists import plant
from tests.builders.models import model_info
from tests.tui.app_helpers import SIZES, Explored, explore

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


async def test_an_explanation_scrolls_as_fast_as_keys_come(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        it.main.action_go_to("verdict")
        await opened(it, "I", ExplanationScreen)
        text = it.app.screen.query_one(VerticalScroll)
        assert text.max_scroll_y > 8
        for _ in range(8):
            it.app.screen.post_message(Key("j", "j"))
        await it.until(lambda: text.scroll_y == 8)
        await it.press("k")
        assert text.scroll_y == 7


async def test_an_explanation_has_ends(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        it.main.action_go_to("verdict")
        await opened(it, "I", ExplanationScreen)
        text = it.app.screen.query_one(VerticalScroll)
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
    async with explore(tmp_path) as it:
        await opened(it, "I", ExplanationScreen)
        await it.press("G")
        assert "Types of layers" not in it.screen_text()


async def test_the_manual_is_searched_and_read(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        await opened(it, "question_mark", HelpScreen)
        await it.press("shift+tab")
        await it.until(lambda: isinstance(it.app.screen, ManualPicker))
        assert all(title in it.screen_text() for title in list(titles().values())[:10])
        await it.press("slash", *"it ends above three nats", "enter", "enter")
        await it.until(lambda: isinstance(it.app.screen, ManualPage))
        text = it.app.screen.query_one(VerticalScroll)
        await it.until(lambda: text.scroll_y > 22, "the words")
        await it.until(lambda: text.size.height == 22 and text.max_scroll_y > 22)
        await it.press("g")
        await it.until(lambda: "The bold part is the answer" in it.screen_text())
        await it.press("space")
        await it.until(lambda: text.scroll_y == 21)
        await it.press("b")
        await it.until(lambda: text.scroll_y == 0)
        await it.press("escape")
        assert isinstance(it.app.screen, ManualPicker)


@pytest.mark.parametrize("words", ["holds here", "/holds here"])
async def test_the_search_of_keys_reaches_the_manual(tmp_path: Path, words: str) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "question_mark", HelpScreen)
        await it.press(*words)
        await it.until(lambda: MANUAL in it.screen_text())
        await it.press("enter")
        await it.until(lambda: isinstance(it.app.screen, ManualPage))
        await it.until(lambda: "fewer than five prompts" in it.screen_text())
        await it.press("escape")
        assert isinstance(it.app.screen, HelpScreen)


@pytest.mark.parametrize(
    ("words", "passage"),
    [
        # A sentence, a row of a table, an entry of a list.
        ("narrow ranges of context", "How often firm is true"),
        ("sequential depth", "sequential depth: "),
        ("too little known", "Too little known."),
    ],
)
async def test_a_passage_is_opened_where_it_is(tmp_path: Path, words: str, passage: str) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        await opened(it, "question_mark", HelpScreen)
        await it.press(*f"verdict {words}")
        await it.until(lambda: MANUAL in it.screen_text())
        await it.press("enter")
        await it.until(lambda: isinstance(it.app.screen, ManualPage))
        page = it.app.screen
        text = page.query_one(VerticalScroll)
        await it.until(lambda: text.scroll_y > 0, "the passage")
        shown = [line.strip("│▎ ") for line in it.screen_text().split("\n")[1:-1]]
        is_at_end = text.scroll_y == text.max_scroll_y
        place = next(y for y, line in enumerate(shown) if passage in line)
        assert place <= 1 or is_at_end, shown


async def test_the_words_of_a_pane_are_explained(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(100, 60)) as it:
        for pane, word, other in (
            ("lens", "entropy, H", "a, m, c"),
            ("heatmap", "a, m, c", "entropy, H"),
        ):
            it.main.action_go_to(pane)
            await opened(it, "I", ExplanationScreen)
            await it.press("G")
            await it.until(lambda: "Words on this pane" in it.screen_text())
            assert word in it.screen_text()
            assert other not in it.screen_text()
            await it.press("escape")


# Prompts --------------------------------------------------------------------


async def test_a_written_prompt_is_chosen_from_the_ladder(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        assert "Grade-school arithmetic" in it.screen_text()
        await it.press("enter", "down", "down", "enter")
        await it.until(lambda: len(it.session.runs) == 2)
        await it.ready()
        assert it.status.number.startswith("3/")


async def test_j_and_k_choose_the_task_then_its_prompt(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        await it.press("j", "j", "k")
        assert "enter lists its prompts" in it.screen_text()
        await it.press("enter")
        assert "enter runs it" in it.screen_text()
        await it.press("j", "j", "k", "enter")
        await it.until(lambda: len(it.session.runs) == 2)
        assert started(it).prompt == prompts_of("grade_school", None, 123)[1]


async def test_no_key_is_promised_where_it_does_something_else(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        it.app.screen.query_one("#template").focus()
        await it.until(lambda: "F5 runs it" in it.screen_text())
        assert "enter runs it" not in it.screen_text()


async def test_a_generator_has_a_dial(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        await opened_tasks(it)
        await it.press("down", "down", "down")
        await it.until(lambda: "3 digits" in it.screen_text())
        await it.press("plus", "plus", "minus")
        await it.until(lambda: "4 digits" in it.screen_text())
        await it.press("enter", "enter")
        await it.until(lambda: len(it.session.runs) == 2)
        assert (started(it).prompt.task, started(it).prompt.level) == ("addition", "4")


async def test_the_dial_ends(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        tasks = it.app.screen.query_one("#task-list", OptionList)
        tasks.highlighted = tasks.get_option_index("facts")
        await it.pilot.pause()
        await it.press(*["minus"] * 5)
        await it.until(lambda: "- 1 hop +" in it.screen_text())


@pytest.mark.parametrize("task", ["addition", "unknown"])
async def test_a_level_that_the_task_does_not_have_is_left_out(tmp_path: Path, task: str) -> None:
    async with explore(tmp_path) as it:
        it.app.explorer.run(Prompt("one two", "", task, "99"))
        await it.until(lambda: len(it.session.results) == 2)
        await opened_tasks(it)
        assert "99 " not in str(it.app.screen.query_one("#dial").content)
        assert it.app.screen.query_one("#prompts", OptionList).option_count


async def test_a_typed_prompt_runs_as_it_is(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        await it.press(*"qrs", "enter", *"1", "f5")
        await it.until(lambda: len(it.session.runs) == 2)
        assert started(it).prompt == Prompt("qrs\n1")


@pytest.mark.parametrize("answer", ["two", " two"])
async def test_a_prompt_is_cleared_and_typed_with_its_answer(tmp_path: Path, answer: str) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        assert it.app.screen.query_one("#answer", Input).value
        await it.press("right", "ctrl+u", *"two is")
        assert not it.app.screen.query_one("#answer", Input).value
        await it.press("tab", *answer, "enter")
        await it.until(lambda: len(it.session.runs) == 2)
        assert started(it).prompt == Prompt("two is two", " two")
        options = PromptOptions(("two is",), (), None, None, None, answers=(answer,))
        assert gather_prompts(options, Settings()).prompts == [started(it).prompt]


async def test_an_answer_that_is_typed_again_stays_when_the_text_changes(tmp_path: Path) -> None:
    """Also where it is the word that the former prompt ended with."""
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        answer = it.app.screen.query_one("#answer", Input)
        former = answer.value
        assert former
        await it.press("right", "ctrl+u", *"two", "tab", *former, "shift+tab", "end", *" is")
        assert answer.value == former
        await it.press("f5")
        await it.until(lambda: len(it.session.runs) == 2)
        assert started(it).prompt == Prompt(f"two is {former}", f" {former}")


async def test_what_was_typed_stays_where_a_question_is_answered_no(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        it.engine.manual = True
        it.main.measure = MEASURE_BY_NAME["skip_effects"]
        await it.press("i")
        it.engine.advance(until=MetricRows)
        await it.until(lambda: it.session.live.work)
        await opened(it, "p", PromptPicker)
        await it.press(*"own words", "f5")
        await it.until(lambda: isinstance(it.app.screen, Ask), "the question")
        await it.press("n")
        await it.until(lambda: it.app.screen is it.main)
        assert len(it.session.runs) == 1
        await opened(it, "p", PromptPicker)
        assert it.app.screen.query_one(SafeTextArea).text == "own words"
        # Once it was run, the prompt on the screen is the one to begin with again.
        await it.press("f5")
        await it.until(lambda: isinstance(it.app.screen, Ask), "the question")
        await it.press("p")
        await it.until(lambda: it.app.explorer.draft is None, "the run")
        assert it.app.explorer.prompt == Prompt("own words")


@pytest.mark.parametrize("width", [80, 120])
async def test_a_prompt_is_drawn_as_it_is_wrapped(tmp_path: Path, width: int) -> None:
    async with explore(tmp_path, size=(width, 24)) as it:
        await opened(it, "p", PromptPicker)
        box = it.app.screen.query_one(SafeTextArea)
        wrapped = [line.rstrip() for line in box.wrapped_document.get_sections(0)]
        region = box.scrollable_content_region
        drawn = it.screen_text().split("\n")[region.y : region.y + len(wrapped)]
        assert [line[region.x : region.right].rstrip() for line in drawn] == wrapped


async def test_every_tab_says_which_keys_it_has(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        assert "F5 runs it" in it.screen_text()
        await it.press("ctrl+t")
        await it.until(lambda: "+ - level" in it.screen_text())
        it.app.screen.query_one("#path").focus()
        await it.until(lambda: "enter opens it · → completes" in it.screen_text())


async def test_an_unchanged_prompt_keeps_its_answer(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        before = started(it).prompt
        await opened(it, "p", PromptPicker)
        await it.press("f5")
        await it.until(lambda: len(it.session.runs) == 2)
        assert started(it).prompt == before
        assert before.answer


async def test_a_file_is_opened_or_refused_in_words(tmp_path: Path) -> None:
    lines = [{"text": "one two"}, {"text": "three four", "answer": " four"}]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        await it.press("down", "down", "down")
        await it.until(lambda: "3 digits" in it.screen_text())
        field = it.app.screen.query_one("#path", Input)
        field.focus()
        field.value = str(tmp_path / "none.txt")
        await it.press("enter")
        await it.until(lambda: "none.txt" in str(it.app.screen.query_one("#preview").content))
        assert not it.app.screen.query_one("#prompts", OptionList).option_count
        field.value = "~nosuchuser/prompts.jsonl"
        await it.press("enter")
        await it.until(lambda: "no user 'nosuchuser'" in it.screen_text())
        field.value = str(path)
        await it.press("enter")
        await it.until(lambda: "2  three four" in it.screen_text())
        # A file has no dial, and gives way to a task.
        await it.press("plus")
        assert "2  three four" in it.screen_text()
        assert "Prompts of" in str(it.app.screen.query_one("#dial").content)
        await it.press("shift+tab", "down")
        await it.until(lambda: "2  three four" not in it.screen_text())
        field.focus()
        await it.press("enter", "down", "enter")
        await it.until(lambda: len(it.session.runs) == 2)
        assert started(it).prompt.answer == " four"


async def test_f5_takes_the_typed_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.jsonl"
    one.write_text("A prompt of a file")
    two.write_text("\n".join(json.dumps({"text": text}) for text in ("first", "second")))
    async with explore(tmp_path) as it:
        await it.press("p", "ctrl+t")
        field = it.app.screen.query_one("#path", Input)
        field.focus()
        await it.press(*"none", "f5")
        await it.until(lambda: "There is no file none" in it.screen_text())
        await it.press("f5")
        assert "There is no file none" in it.screen_text()
        field.value = str(two)
        await it.press("f5")
        await it.until(lambda: it.app.screen.query_one("#prompts", OptionList).option_count == 2)
        assert len(it.engine.sent(StartRun)) == 1
        await it.press("down", "f5")
        await it.until(lambda: len(it.engine.sent(StartRun)) == 2)
        assert it.engine.sent(StartRun)[-1].prompt.text == "second"
        await it.press("p", "ctrl+t")
        field = it.app.screen.query_one("#path", Input)
        field.focus()
        field.value = str(one)
        await it.press("f5")
        await it.until(lambda: len(it.engine.sent(StartRun)) == 3)
        assert it.engine.sent(StartRun)[-1].prompt.text == "A prompt of a file"


async def test_a_task_that_is_chosen_later_runs_in_place_of_the_typed_path(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("p", "ctrl+t")
        field = it.app.screen.query_one("#path", Input)
        field.value = "none"
        await it.press("down", "down", "down")
        await it.until(lambda: "3 digits" in it.screen_text())
        await it.press("f5")
        await it.until(lambda: len(it.engine.sent(StartRun)) == 2)
        assert it.engine.sent(StartRun)[-1].prompt.task in TASKS


async def test_the_chat_template_is_seen_and_belongs_to_the_prompt(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        it.app.screen.query_one("#template", Checkbox).toggle()
        await it.press("f5")
        await it.until(lambda: len(it.session.runs) == 2)
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
    assert not load_settings(tmp_path / "settings.toml").chat_template


async def test_a_model_without_a_template_has_no_switch(tmp_path: Path) -> None:
    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, has_chat_template=False))

    async with explore(tmp_path, lambda: FakeEngine(load=load)) as it:
        await opened_tasks(it)
        assert it.app.screen.query_one("#template", Checkbox).disabled
        assert "has none" in it.screen_text()


async def test_escape_leaves_every_dialog_without_doing_anything(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(80, 24)) as it:
        for key in ("p", "u", "L", "m", "v", "b", "M", "comma", "e", "question_mark"):
            await it.press(key)
            await it.until(lambda: it.app.screen is not it.main)
            frame = it.app.screen.query_one(".dialog")
            assert cell_len(f"╰─ {frame.border_subtitle} ─╯") <= frame.region.width, "its hint"
            await it.press("escape")
            await it.until(lambda: it.app.screen is it.main)
        assert len(it.engine.sent(StartRun)) == len(it.engine.sent(LoadModel)) == 1


FIELDS = {
    "p": "#text",
    "L": "#layers",
    "m": "#name",
    "M": "#mark",
    "e": "#folder",
}
"""A field for text in each dialog, by the dialog's key."""


async def test_escape_asks_before_typed_text_is_lost(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        for key, name in FIELDS.items():
            await it.press(key)
            await it.until(lambda: it.app.screen is not it.main)
            dialog = it.app.screen
            field = dialog.query_one(name)
            dialog.set_focus(field)
            await it.press("9", "escape")
            await it.until(lambda: isinstance(it.app.screen, Ask), f"the question of {key}")
            assert "y or enter leaves, other keys go back." in it.screen_text()
            await it.press("escape")
            assert it.app.screen is dialog
            assert "9" in (field.value if isinstance(field, Input) else field.text)
            await it.press("escape", "y")
            await it.until(lambda: it.app.screen is it.main)
        assert len(it.engine.sent(StartRun)) == len(it.engine.sent(LoadModel)) == 1
        assert not it.session.current.remarks.bookmarks


async def test_nothing_is_asked_where_no_text_is_lost(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        # A note is kept as it is typed.
        await it.press("M", "tab", *"kept", "escape")
        await it.until(lambda: it.app.screen is it.main)
        assert it.session.current.remarks.note == "kept"
        # A number is quickly typed again.
        await it.press("u", "down", *"0.2", "escape")
        await it.until(lambda: it.app.screen is it.main)
        # A name for a file is there already.
        await opened(it, "e", ExportScreen)
        it.app.screen.set_focus(it.app.screen.query_one("#file-name"))
        await it.press("x", "escape")
        await it.until(lambda: it.app.screen is it.main)
        # Words of a filter are no text to keep.
        await it.press("comma", "slash", *"kl", "escape", "escape")
        await it.until(lambda: it.app.screen is it.main)
        # The text is emptied.
        await it.press("p", "backspace", "escape")
        await it.until(lambda: it.app.screen is it.main)


async def test_f5_takes_a_mark_as_enter_does(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("M", *"here", "tab", "f5")
        await it.until(lambda: it.app.screen is it.main)
        assert [mark.note for mark in it.session.current.remarks.bookmarks] == ["here"]


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


async def test_a_key_may_come_before_the_list(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        coming = HelpScreen([], it.app.keys)
        shown = it.app.push_screen(coming)
        await coming.action_in_list("cursor_down")
        await shown
        assert coming.listing.option_count == 0


@pytest.mark.parametrize(("key", "kind"), [("question_mark", HelpScreen), ("p", PromptPicker)])
async def test_what_left_the_list_after_it_was_chosen_is_not_taken(
    tmp_path: Path, key: str, kind: type
) -> None:
    async with explore(tmp_path) as it:
        await opened(it, key, kind)
        it.engine.commands.clear()
        listing = it.app.screen.query_one("#prompts" if key == "p" else OptionList, OptionList)
        await nothing_is_taken_once_it_is_gone(it, listing)


async def test_a_prompt_of_a_file_that_is_listed_no_more_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        it.engine.commands.clear()
        dialog = it.app.screen
        field = dialog.query_one("#path", Input)
        field.value = str(tmp_path / "prompts.jsonl")
        await field.action_submit()
        listing = dialog.query_one("#prompts", OptionList)
        await it.until(lambda: listing.option_count == 2, "the file's prompts")
        await nothing_is_taken_once_it_is_gone(it, listing)


async def test_tokens_are_counted_while_typing(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        n_tokens = len(it.session.current.result.tokens)
        await it.until(lambda: f"{n_tokens} tokens" in it.screen_text())
        await it.press(*"one", "space", *"two")
        await it.until(lambda: "2 tokens" in it.screen_text())
        await it.press(*["backspace"] * 4)
        await it.until(lambda: "1 token " in it.screen_text())
        await it.press(*["backspace"] * 3)
        await it.until(lambda: not str(it.app.screen.query_one("#token-note", Static).content))
        await it.press("ctrl+t")
        await it.until(lambda: f"{n_tokens} tokens" in it.screen_text())


async def test_a_count_that_is_known_waits_for_no_engine(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "p", PromptPicker)
        n_tokens = len(it.session.current.result.tokens)
        await it.until(lambda: f"{n_tokens} tokens" in it.screen_text())
        await it.press("escape")
        # A halted run lets the engine answer nothing.
        it.engine.silent = True
        await opened(it, "p", PromptPicker)
        await it.until(lambda: f"{n_tokens} tokens" in it.screen_text())


async def test_while_a_count_is_awaited_only_the_last_prompt_waits(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
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


async def test_a_measure_shows_itself_before_it_is_chosen(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        settings = tmp_path / "settings.toml"
        await opened(it, "v", MeasurePicker)
        for _ in range(6):
            await it.press("down")
        await it.until(lambda: it.main.measure.name == "kl")
        assert of_measure(MEASURE_BY_NAME["kl"])[0].description in " ".join(words_of(it))
        await it.press("escape")
        await it.until(lambda: it.app.screen is it.main)
        assert it.main.measure.name == load_settings(settings).measure == "layer_norm_ratio"
        await opened(it, "v", MeasurePicker)
        await it.press("7")
        await it.until(lambda: load_settings(settings).measure == "kl")
        # What must be computed first has nothing to show.
        await opened(it, "v", MeasurePicker)
        await it.press("end")
        assert it.main.measure.name == "kl"


def words_of(it: Explored) -> list[str]:
    """What the note of a dialog says."""
    return str(it.app.screen.query_one("#note", Static).content).split()


async def test_a_search_without_a_match_says_so(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "question_mark", HelpScreen)
        await it.press(*"zzz")
        await it.until(lambda: "No key or passage matches “zzz”" in it.screen_text())
        await it.press("enter", "backspace", "backspace")
        await it.until(lambda: "No key or passage" not in it.screen_text())
        assert isinstance(it.app.screen, HelpScreen)


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


async def test_a_model_on_disk_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, listings("demo", "org/big[/]"))
        await it.until(lambda: "org/big[/]  1.07 GB" in it.screen_text())
        assert len(it.engine.sent(LoadModel)) == 1
        await it.press("down", "enter")
        await it.until(lambda: len(it.engine.sent(LoadModel)) == 2)
        assert it.engine.sent(LoadModel)[-1] == LoadModel(ModelSpec("org/big[/]"))


async def test_a_typed_model_takes_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, listings("demo"))
        screen = it.app.screen
        screen.query_one("#device", Input).value = "cuda:1"
        screen.query_one("#revision", Input).value = "main"
        screen.query_one("#dtype").value = "bfloat16"
        screen.query_one("#quantize").value = "8bit"
        screen.query_one("#name", Input).focus()
        await it.press(*"org/x", "enter")
        await it.until(lambda: len(it.engine.sent(LoadModel)) == 2)
        spec = ModelSpec("org/x", "main", "cuda:1", "bfloat16", "8bit")
        assert it.engine.sent(LoadModel)[-1] == LoadModel(spec)


async def test_an_option_that_is_wrong_is_named_and_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, listings("demo", "org/big"))
        it.app.screen.query_one("#device", Input).value = "gpu"
        await it.press("down", "enter")
        await it.until(lambda: "Device must be auto, cpu" in it.screen_text())
        it.app.screen.query_one("#name", Input).focus()
        await it.press(*"org/x", "enter")
        await it.until(lambda: "Device must be auto, cpu" in it.screen_text())
        assert len(it.engine.sent(LoadModel)) == 1


async def test_a_path_typed_over_the_list_goes_into_the_field_and_is_what_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path) as it:
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
        await it.press("enter")
        await it.until(lambda: len(it.engine.sent(LoadModel)) == 2)
        assert it.engine.sent(LoadModel)[-1] == LoadModel(ModelSpec("org/x"))


async def test_nothing_typed_and_an_unreadable_disk_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, OSError("no disk [/]"))
        await it.until(lambda: "no disk [/]" in it.screen_text())
        it.app.screen.query_one("#name", Input).focus()
        await it.press("enter")
        await it.until(lambda: "Type a Hugging Face id" in it.screen_text())
        assert len(it.engine.sent(LoadModel)) == 1


async def test_models_that_are_listed_too_late_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()

    def on_disk(folder: Path) -> list[ModelListing]:
        closed.wait()
        return listings("demo")

    monkeypatch.setattr("depthtui.models.catalog.on_disk", on_disk)
    async with explore(tmp_path) as it:
        try:
            await opened(it, "m", ModelPicker)
            await it.press("escape")
            await it.until(lambda: it.app.screen is it.main)
        finally:
            closed.set()
        await it.press("m")
        await it.until(lambda: "demo  1.07 GB" in it.screen_text())
        assert it.app.error is None


async def test_a_wrong_path_stays_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, listings("demo"))
        picker, field = it.app.screen, it.app.screen.query_one("#name", Input)
        field.focus()
        field.value = f"{tmp_path}/no-such-model"
        await it.press("enter")
        await it.until(lambda: "does not exist" in it.screen_text())
        assert it.app.screen is picker
        assert field.value == f"{tmp_path}/no-such-model"
        assert len(it.engine.sent(LoadModel)) == 1


async def test_a_hub_that_is_away_is_told_in_the_picker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthtui.models.reach.reaches", lambda endpoint: False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, listings("demo"))
        it.app.screen.query_one("#name", Input).focus()
        await it.press(*"org/x", "enter")
        await it.until(lambda: "hub cannot be reached" in it.screen_text())
        assert len(it.engine.sent(LoadModel)) == 1


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
        await it.press(*"org/typo", "enter")
        await it.until(lambda: it.app.screen is it.main)
        await pick_from(it, monkeypatch, listings("demo"))
        assert it.app.screen.query_one("#name", Input).value == "org/typo"
        await it.until(lambda: "There is no org/typo. Correct it." in it.screen_text())


async def test_models_that_were_opened_come_first_and_folders_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"num_hidden_layers": 7, "hidden_size": 64, "model_type": "llama"}'
    )
    (folder / "model.safetensors").write_bytes(b"1234")
    monkeypatch.chdir(tmp_path)
    async with explore(tmp_path) as it:
        await pick_from(it, monkeypatch, listings("demo", "org/big"))
        it.app.screen.query_one("#name", Input).focus()
        await it.press(*"my")
        await it.until(lambda: it.app.screen.query_one("#name", Input)._suggestion == "my model/")
        await it.press("right", "backspace", "enter")
        await it.until(lambda: len(it.engine.sent(LoadModel)) == 2)
        await it.ready()
        names = (str(folder), "demo")
        assert load_settings(tmp_path / "settings.toml").recent_models == names
        await pick_from(it, monkeypatch, listings("demo", "org/big"))
        assert [row.value for row in it.app.screen.rows()] == [*names, "org/big"]
        await it.until(lambda: "7 layers, width 64, llama" in " ".join(words_of(it)))


@pytest.mark.parametrize("size", [(200, 60), (119, 23), (80, 24)])
async def test_the_models_take_as_much_room_as_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    async with explore(tmp_path, size=size) as it:
        for count in (2, 60):
            await pick_from(it, monkeypatch, listings(*map(str, range(count))))
            picker = it.app.screen
            await it.until(lambda: picker.listing.option_count == count, "the models")  # noqa: B023
            await it.pilot.pause()
            rows, frame = picker.listing.size.height, picker.query_one(".dialog").region
            if count == 2 and size[0] >= 100:
                assert rows <= 6
            assert picker.query_one("#note").region.bottom <= frame.bottom - 1 <= size[1]
            assert picker.query_one("#revision").region.height == 1
            assert rows >= 4
            await it.press("escape")


async def test_a_list_is_moved_in_by_letters(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "v", MeasurePicker)
        listing = it.app.screen.query_one(OptionList)
        await it.press("j", "j", "k")
        assert listing.highlighted == 1


# The session ----------------------------------------------------------------


async def three_runs(it: Explored) -> None:
    for count in (2, 3):
        await it.press("n")
        await it.until(lambda count=count: len(it.session.results) == count)
    await it.ready()


async def test_the_session_goes_back_marks_and_forgets(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await three_runs(it)
        first, second, third = it.session.runs
        await opened(it, "b", RunList)
        await it.press("space")
        assert it.session.marked is None
        await it.press("down", "space")
        assert it.session.marked is second
        await it.press("down", "enter")
        await it.until(lambda: it.session.current is first)
        await it.until(lambda: it.main.shown_result() is first.result)
        await opened(it, "b", RunList)
        await it.press("home", "d")
        await it.until(lambda: isinstance(it.app.screen, Ask))
        await it.press("n")
        await it.until(lambda: isinstance(it.app.screen, RunList))
        assert third in it.session.runs
        await it.press("d")
        await it.until(lambda: isinstance(it.app.screen, Ask))
        await it.press("y")
        await it.until(lambda: third not in it.session.runs)
        await it.press("escape")
        assert len(it.session.runs) == 2


@pytest.mark.parametrize("size", SIZES)
async def test_the_list_of_runs_has_heads_and_depths(tmp_path: Path, size: tuple[int, int]) -> None:
    async with explore(tmp_path, size=size) as it:
        await it.press("n")
        await it.until(lambda: len(it.session.results) == 2)
        await it.ready()
        run = it.session.current
        settings = it.app.explorer.settings.summary_settings()
        every = reading_of([run.result], settings).depths
        # A rule that is not the paper's has a column where it has a depth.
        depths = [depth for depth in every if depth.count is not None]
        counts = [str(depth.count) for depth in depths]
        await opened(it, "b", RunList)
        text = [line.split() for line in it.screen_text().split("\n")]
        shorts = [rules.named(depth.rule).short for depth in depths]
        # A narrow list leaves out the model of all runs, and the task, before it cuts the prompt.
        is_narrow = size[0] == 80
        heads = ["prompt", *shorts, "of", *["model", "task"] * (not is_narrow)]
        assert any(" ".join(heads) in " ".join(words) for words in text)
        named = [] if is_narrow else [run.model.name, *task_title(run.prompt).split()]
        row = [*counts, "30", *named]
        assert any(" ".join(row) in " ".join(words) for words in text)


async def test_the_list_of_runs_has_the_headline_where_a_run_has_it(
    tmp_path: Path,
) -> None:
    async with explore(tmp_path) as it:
        await it.press("n")
        await it.until(lambda: len(it.session.results) == 2)
        await it.ready()
        it.app.explorer.compute("kept")
        run, settings = it.session.current, it.app.explorer.settings.summary_settings()
        await it.until(lambda: run.result.has_all("kept") and not run.state.is_live)
        count = reading_of([run.result], settings).get(kept.METRIC).layers
        await opened(it, "b", RunList)
        head, *_ = (line.split() for line in it.screen_text().split("\n") if "prompt  " in line)
        column = head.index("kept") - head.index("of")
        rows = [line.split() for line in it.screen_text().split("\n") if " 30  SmolLM2" in line]
        assert [row[row.index("30") + column] for row in rows] == [str(count), "–"]


async def test_an_empty_session_says_how_to_fill_it(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "b", RunList)
        await it.press("d")
        await it.until(lambda: isinstance(it.app.screen, Ask))
        await it.press("y")
        await it.until(lambda: "No runs yet" in it.screen_text())
        await it.press("escape")
        await it.until(lambda: it.main.shown_result() is None)
        assert it.app.error is None


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_every_head_of_the_list_of_runs_has_its_meaning(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with explore(tmp_path, size=size) as it:
        await three_runs(it)
        it.main.action_go_to("verdict")
        await it.press("i")
        await it.ready()
        await opened(it, "b", RunList)
        text = " ".join(it.screen_text().replace("│", " ").split())
        assert "kept: layers that keep nine tenths · " in text
        titles = " cos KL ovl: depth by cosine, KL, overlap · of: all layers"
        assert titles in text
        heads = str(it.app.screen.query_one("#head", Static).content).split()
        assert {"kept", "KL", "ovl", "cos", "of"} <= {*heads}


# Exporting ------------------------------------------------------------------


async def test_one_run_is_exported_in_every_format(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await three_runs(it)
        await opened(it, "e", ExportScreen)
        assert str(tmp_path / "exports") in "".join(it.screen_text().split())
        field = it.app.screen.query_one("#file-name", Input)
        field.value = "mine"
        for name in ("csv", "svg"):
            box = it.app.screen.query_one(f"#{name}", Checkbox)
            assert not box.value
            box.value = True
        await it.press("enter")
        await it.until(lambda: it.app.screen is it.main)
    names = {path.name for path in (tmp_path / "exports").iterdir()}
    endings = ("md", "json", "html", "safetensors", "svg")
    assert names == {*(f"mine.{ending}" for ending in endings), "mine-figures"}
    summary = json.loads((tmp_path / "exports" / "mine.json").read_text())
    assert len(summary["prompts"]) == 1
    assert "<svg" in (tmp_path / "exports" / "mine.svg").read_text()


@pytest.mark.parametrize("width", [80, 120])
async def test_an_export_is_announced_in_lines_that_fit_a_toast(tmp_path: Path, width: int) -> None:
    async with explore(tmp_path, size=(width, 24)) as it:
        await opened(it, "e", ExportScreen)
        name = f"{'a long name ' * 6}20261201"
        it.app.screen.query_one("#file-name", Input).value = name
        await it.press("enter")
        await it.until(lambda: it.app.screen is it.main)
        (toast,) = it.app.screen.query(Toast).results(Toast)
        await it.until(lambda: toast.content_size.height, "the toast")
        file, more, folder = it.toasts()[-1].split("\n")
        assert file.startswith("a long name")
        assert file.endswith("20261201.md")
        assert re.fullmatch(r"and \d more", more)
        assert folder.startswith("in /")
        assert folder.endswith("/exports")
        assert toast.content_size.height == 4, "the title and a row for each line"


async def test_a_pane_is_exported_as_its_figures_and_their_numbers(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
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
            await it.press("enter")
            await it.until(lambda: it.app.screen is it.main)
    folder = tmp_path / "exports"
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


async def test_every_pane_with_numbers_has_figures_or_a_table(tmp_path: Path) -> None:
    async with explore(tmp_path, size=(200, 60)) as it:
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


async def test_an_export_begins_with_the_formats_of_the_last_one(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "e", ExportScreen)
        await it.press("end", "space", "home", "space", "enter")
        await it.until(lambda: it.app.screen is it.main)
        await opened(it, "e", ExportScreen)
        boxes = it.app.screen.query(Checkbox).results(Checkbox)
        ticked = tuple(str(box.id) for box in boxes if box.value)
        assert ticked == ("json", "html", "safetensors")
        # A pane has formats of its own, which change those of a run for no export.
        await it.press("up")
        await it.until(lambda: it.app.screen.query_one("#svg", Checkbox).value, "its formats")
        await it.press("enter")
        await it.until(lambda: it.app.screen is it.main)
    assert load_settings(tmp_path / "settings.toml").export_formats == ticked


async def test_a_format_that_is_not_installed_cannot_be_ticked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = replace(FORMATS["png"], libraries=["no_such_library"])
    plant(monkeypatch, FORMATS, "png", lacking)
    async with explore(tmp_path) as it:
        await opened(it, "e", ExportScreen)
        [*_, of_pane] = it.app.screen.query("#what RadioButton").results(RadioButton)
        of_pane.value = True
        box = it.app.screen.query_one("#svg", Checkbox)
        await it.until(lambda: box.value)
        assert not it.app.screen.query_one("#png", Checkbox).value
        assert "each figure: needs pip install" in it.screen_text()


async def test_an_export_of_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await it.press("s")
        await it.until(lambda: it.session.current.state is RunState.HALTED)
        for is_live in (True, False):
            await opened(it, "e", ExportScreen)
            it.app.screen.query_one("#file-name", Input).value = f"live-{is_live}"
            await it.press("enter")
            await it.until(lambda: it.app.screen is it.main)
            assert ("still being computed" in it.toasts()[-1]) is is_live
            await it.press("r")
            await it.until(lambda: it.session.current.state is RunState.FINISHED)


async def test_the_session_is_exported_to_a_folder_that_is_remembered(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await three_runs(it)
        await opened(it, "e", ExportScreen)
        screen = it.app.screen
        screen.query_one("#folder", Input).value = str(tmp_path / "else" / "where")
        screen.query_one("#file-name", Input).value = "../all"
        for name in {*format_titles("runs"), "screen"} - {"json"}:
            screen.query_one(f"#{name}", Checkbox).value = False
        screen.query_one("#what").query("RadioButton")[1].value = True
        await it.press("f5")
        await it.until(lambda: it.app.screen is it.main)
    assert [path.name for path in (tmp_path / "else" / "where").iterdir()] == ["all.json"]
    summary = json.loads((tmp_path / "else" / "where" / "all.json").read_text())
    assert len(summary["prompts"]) == 3
    assert load_settings(tmp_path / "settings.toml").export_dir == tmp_path / "else" / "where"


async def test_the_session_is_pooled_only_where_that_is_chosen(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
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
            await it.press(*["down"] * number, "space", "enter")
            await it.until(lambda: it.app.screen is it.main)
            summary = json.loads((tmp_path / "exports" / f"{number}.json").read_text())
            found = summary.get("groups")
            assert (found and [group["prompts"] for group in found]) == groups
            assert len(summary["runs"]) == (3 if number else 1)


async def test_the_choices_of_an_export_come_before_its_name(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await three_runs(it)
        await opened(it, "e", ExportScreen)
        name = it.app.screen.query_one("#file-name", Input).value
        await it.press("down", "space", "enter")
        await it.until(lambda: it.app.screen is it.main)
    summary = json.loads((tmp_path / "exports" / f"{name}.json").read_text())
    assert len(summary["prompts"]) == 3


async def test_j_and_k_move_among_the_choices_of_an_export(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await three_runs(it)
        await opened(it, "e", ExportScreen)
        what = it.app.screen.query_one("#what", RadioSet)
        await it.press("j", "space")
        assert what.pressed_index == 1
        await it.press("k", "space")
        assert what.pressed_index == 0
        first = it.app.screen.query_one(f"#{next(iter(format_titles('runs')))}")
        first.focus()
        await it.press("j", "j", "k")
        boxes = list(it.app.screen.query(Checkbox))
        assert it.app.screen.focused is boxes[1]


async def test_arrows_leave_the_name_of_an_export(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "e", ExportScreen)
        field = it.app.screen.query_one("#file-name", Input)
        name = field.value
        field.focus()
        await it.press("up", "up", "space", "enter")
        await it.until(lambda: it.app.screen is it.main)
    folder = tmp_path / "exports"
    assert (folder / f"{name}.md").exists()
    assert not list(folder.glob("*.svg"))


async def test_a_choice_looks_focused_only_while_it_is(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        await opened(it, "e", ExportScreen)
        choices = it.app.screen.query_one("#what")

        def grounds() -> set[Color]:
            buttons = choices.query(RadioButton)
            return {button.get_component_styles("toggle--label").background for button in buttons}

        assert len(grounds()) == 2
        it.app.screen.query_one("#folder").focus()
        await it.pilot.pause()
        assert len(grounds()) == 1


@pytest.mark.parametrize("ending", ["md", "svg"])
async def test_an_export_replaces_no_file_of_others(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "out" / f"mine.{ending}"
    path.parent.mkdir()
    path.write_text("mine")
    async with explore(tmp_path) as it:
        await opened(it, "e", ExportScreen)
        it.app.screen.query_one("#folder", Input).value = str(path.parent)
        it.app.screen.query_one("#file-name", Input).value = "mine"
        await it.until(lambda: f"into {path.parent}" in it.screen_text())
        await it.press("f5")
        words = {"md": "is no report", "svg": "exists already"}[ending]
        await it.until(lambda: words in " ".join(words_of(it)))
        assert list(path.parent.iterdir()) == [path]
        assert path.read_text() == "mine"


async def test_an_export_that_fails_stays_open_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with explore(tmp_path) as it:
        await opened(it, "e", ExportScreen)
        it.app.screen.query_one("#folder", Input).value = str(tmp_path / "file" / "x")
        await it.until(lambda: f"into {tmp_path}/file/x" in it.screen_text())
        await it.press("f5")
        await it.until(lambda: "cannot be written to" in " ".join(words_of(it)))
        for name in (*format_titles("runs"), "screen"):
            it.app.screen.query_one(f"#{name}", Checkbox).value = False
        await it.press("f5")
        await it.until(lambda: "Choose at least one format" in it.screen_text())
        it.app.screen.query_one("#folder", Input).value = "~nosuchuser/x"
        await it.press("f5")
        await it.until(lambda: "no user 'nosuchuser'" in it.screen_text())


async def test_an_empty_prompt_does_not_run_its_old_answer(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        runs = len(it.session.runs)
        assert it.session.current.prompt.answer
        await opened(it, "p", PromptPicker)
        await it.press("ctrl+u", "f5")
        assert isinstance(it.app.screen, PromptPicker)
        assert "Write a prompt first" in it.toasts()[-1]
        assert len(it.session.runs) == runs
