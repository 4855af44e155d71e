"""Search, bookmarks and notes by their keys, and what is copied and opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.widgets import TextArea

from depthtui.data.lens import LogitLens
from depthtui.data.remarks import Bookmark
from depthtui.metrics.quantisation import Quantisation
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.tui import clipboard, system_open
from depthtui.tui.app import DepthApp
from depthtui.tui.panes.line_field import LineField
from depthtui.tui.panes.verdict_pane import VerdictPane
from depthtui.tui.screens.dialogs.export_screen import ExportScreen
from depthtui.tui.screens.dialogs.notes_dialog import NotesDialog
from depthtui.tui.screens.main_screen import MainScreen
from tests.hostile import HOSTILE
from tests.tui.app_helpers import SIZES, Explored, explore


async def find(it: Explored, words: str, *before: str) -> None:
    await it.press("slash", *before)
    field = it.main.query_one("#find", LineField)
    assert field.is_open
    field.value = words
    await it.press("enter")


async def test_words_are_found_in_the_tokens(it: Explored) -> None:
    texts = it.main.shown_result().tokens.texts
    word = texts[2].strip()
    places = [at for at, text in enumerate(texts) if word.lower() in text.lower()]
    layer = it.main.cursor.layer
    await it.press("0")
    await find(it, word.lower())
    assert it.main.cursor == (layer, places[0])
    assert f"1 of {len(places)}, token {places[0]}" in it.screen_text()
    await it.press("n")
    assert it.main.cursor.token == places[1 % len(places)]
    await it.press("escape")
    assert "n N go on" not in it.screen_text()
    prompt = it.session.current.prompt
    await it.press("n")
    await it.until(lambda: it.session.current.prompt != prompt, "the next prompt again")


async def test_the_lens_is_searched_from_its_lowest_layer(tmp_path: Path) -> None:
    async with explore(tmp_path) as it:
        result = it.main.shown_result()
        lens = result.get(LogitLens)
        word = lens.vocabulary[int(lens.top_ids[-1, -1, 0])].strip()
        ids = [id_ for id_, text in lens.vocabulary.items() if word in text]
        found = [
            (layer, token)
            for layer, row in enumerate(lens.top_ids.tolist())
            for token, top in enumerate(row)
            if set(top) & set(ids)
        ]
        it.main.action_go_to("lens")
        await it.pilot.pause()
        await find(it, word)
        assert it.main.cursor == found[0]
        await it.press("n", "n", "N")
        assert it.main.cursor == found[1 % len(found)]
        assert "in the lens's top tokens" in it.screen_text()


async def test_tab_looks_elsewhere_and_what_is_nowhere_is_told(it: Explored) -> None:
    cursor = it.main.cursor
    await find(it, "nowhere [/]", "tab")
    assert "is not in the lens's top tokens" in it.toasts()[-1]
    await find(it, "nowhere [/]")
    assert "is not in the prompt's tokens" in it.toasts()[-1]
    await it.press("slash", "x", "escape")
    assert it.main.cursor == cursor
    assert not it.main.query_one("#find", LineField).is_open
    assert it.app.screen is it.main


async def test_a_count_goes_to_a_token(it: Explored) -> None:
    await it.press("3", "dollar_sign")
    assert it.main.cursor.token == 3
    await it.press("7", "G", "dollar_sign")
    assert it.main.cursor == (7, it.main.extent()[1])


async def test_places_are_marked_and_gone_to(it: Explored) -> None:
    await it.press("7", "G", "2", "dollar_sign", "M", until="No place is marked yet")
    await it.press("i", "n", "space", "h", "e", "r", "e", "enter")
    assert it.session.current.remarks.bookmarks == (Bookmark(2, 7, "in here"),)
    assert "★ in here" in it.screen_text()
    await it.press("g", "0", "M", "escape")
    assert len(it.session.current.remarks.bookmarks) == 1
    await it.press("M", "tab", "tab", "enter")
    assert it.main.cursor == (7, 2)
    await it.press("M", "tab", "tab", "d", "escape")
    assert not it.session.current.remarks


async def test_notes_are_written_and_exported(it: Explored) -> None:
    await it.press("7", "G", "2", "dollar_sign", "M", "enter", "g", "M", until=NotesDialog)
    it.app.screen.query_one(TextArea).text = "A note [/]"
    await it.pilot.pause()
    await it.press("tab", "tab", "enter", until=MainScreen)
    assert it.main.cursor == (7, 2)
    await it.press("e", until=ExportScreen)
    await it.press("f5", until=MainScreen)
    (file,) = (it.folder / "exports").glob("*.json")
    (prompt,) = json.loads(file.read_text())["prompts"]
    assert prompt["note"] == "A note [/]"
    assert [mark["layer"] for mark in prompt["bookmarks"]] == [7]
    await it.press("M", until=NotesDialog)
    await it.press("tab", "tab", "d")
    assert not it.session.current.remarks.bookmarks
    await it.until(lambda: "No place is marked yet" in it.screen_text())


async def test_hostile_notes_are_shown(it: Explored) -> None:
    remarks = it.session.current.remarks
    for place, text in enumerate(HOSTILE.values()):
        remarks = remarks.with_bookmark(Bookmark(place % 6, place // 6, text))
    it.session.current.remarks = remarks
    await it.press("M", until=NotesDialog)
    assert "\x1b" not in it.screen_text()
    assert it.app.error is None


async def test_y_on_the_verdict_copies_its_sentence(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(DepthApp, "copy_to_clipboard", lambda _, text: copied.append(text))
    it.main.action_go_to("verdict")
    await it.pilot.pause()
    await it.press("y")
    assert copied == [it.main.query_one(VerdictPane).sentence]
    assert "not counted yet" in copied[0]
    it.main.action_go_to("heatmap")
    await it.pilot.pause()
    await it.press("y")
    assert len(copied) == 2
    float(copied[1])


@pytest.mark.parametrize(
    ("platform", "variables", "words"),
    [
        ("linux", "", ""),
        ("darwin", "", "pbcopy"),
        ("darwin", "SSH_CONNECTION", ""),
        ("linux", "WAYLAND_DISPLAY DISPLAY TMUX", "wl-copy"),
        ("linux", "DISPLAY TMUX", "xclip -selection clipboard"),
        ("linux", "TMUX SSH_CONNECTION WAYLAND_DISPLAY", "tmux load-buffer -w -"),
    ],
)
def test_a_desktop_has_its_command_to_copy(
    platform: str, variables: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard, "which", lambda program: program)
    monkeypatch.setattr(clipboard.sys, "platform", platform)
    for name in ("SSH_CONNECTION", "WAYLAND_DISPLAY", "DISPLAY", "TMUX"):
        monkeypatch.delenv(name, raising=False)
        if name in variables.split():
            monkeypatch.setenv(name, "there")
    assert [*clipboard.copy_command("")] == words.split()
    assert [*clipboard.copy_command("mine 'a b'")] == ["mine", "a b"]


async def test_a_copy_names_its_way_and_why_a_command_did_not_take_it(it: Explored) -> None:
    copied = it.folder / "copied"
    copied.write_text("")
    for command, words in (
        ("", "Copied by the terminal (OSC 52)"),
        (f"tee '{copied}'", "Copied by tee"),
        ("false", "false did not take it (status 1): the terminal (OSC 52) has it alone."),
        ("no-such-program", "no-such-program did not take it (No such file or directory)"),
    ):
        it.app.explorer.change_session(copy_command=command)
        it.app.messages.clear()
        await it.press("y")
        await it.until(lambda: it.app.messages, command)
        assert words in f"{it.app.messages[0].title}: {it.app.messages[0].text}"
    assert copied.read_text() == it.app.clipboard


async def test_y_on_rounded_weights_copies_the_option(
    it: Explored, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(DepthApp, "copy_to_clipboard", lambda _, text: copied.append(text))
    it.main.action_go_to("heatmap")
    it.main.measure = MEASURE_BY_NAME["quantisation_4"]
    await it.press("i", until="at 8 bits: ")
    await it.press("y")
    found = it.session.current.result.get(Quantisation)
    assert copied == [found.keep_high.option]
    assert copied[0].startswith('--tensor-type "blk[.](0|1|')
    # Elsewhere the value itself is copied.
    it.main.action_go_to("curves")
    await it.pilot.pause()
    await it.press("y")
    float(copied[1])


async def test_the_last_export_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[str]] = []
    monkeypatch.setattr(system_open, "_opener", lambda: "open-it")
    monkeypatch.setattr(
        system_open.subprocess, "Popen", lambda command, **_: opened.append(command)
    )
    async with explore(tmp_path) as it:
        await it.press("e", until=ExportScreen)
        await it.press("O")
        assert "Nothing has been exported yet" in it.toasts()[-1]
        await it.press("f5", until=MainScreen)
        await it.press("e", until=ExportScreen)
        await it.press("O")
        (page,) = (tmp_path / "exports").glob("*.html")
        assert opened == [["open-it", str(page)]]
        page.unlink()
        await it.press("O")
        assert "is gone" in it.toasts()[-1]


@pytest.mark.parametrize("size", SIZES)
async def test_no_pane_is_narrower_because_a_line_opened(
    it: Explored, size: tuple[int, int]
) -> None:
    await it.resize(*size)
    widths = [pane.region.width for pane in it.main.panes]
    await it.press("slash", until=lambda: any(field.region for field in it.main.query(LineField)))
    assert [pane.region.width for pane in it.main.panes] == widths
