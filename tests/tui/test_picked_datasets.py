"""Published data sets in the picker of prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList

from depthtui.tui.screens.dialogs.prompt_picker import PromptPicker
from tests.prompts.test_datasets import GSM8K_TEXT, ROWS, write_lines
from tests.tui.app_helpers import Explored, explore
from tests.tui.test_dialogs import opened_tasks, started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where data sets are looked for; nothing was fetched from the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "cache" / "datasets"
    folder.mkdir(parents=True)
    return folder


async def choose(it: Explored, name: str) -> None:
    tasks = it.app.screen.query_one("#task-list", OptionList)
    tasks.highlighted = tasks.get_option_index(name)
    await it.pilot.pause()


async def test_rows_of_a_data_set_run_one_after_the_other(tmp_path: Path, folder: Path) -> None:
    write_lines(folder, ROWS["gsm8k"], "gsm8k.jsonl")
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        await it.until(lambda: it.main.datasets.file("gsm8k"))
        await choose(it, "gsm8k")
        await it.until(lambda: "1  Ada has 6 bags of 7 nuts." in it.screen_text())
        assert "Your response should end with" in it.screen_text()
        await it.press("enter", "enter", until=lambda: len(it.session.runs) == 2)
        assert started(it).prompt.text == GSM8K_TEXT
        await it.ready()
        assert "GSM8K · 1/2" in it.screen_text()
        await it.press("n", until=lambda: len(it.session.runs) == 3)
        await it.ready()
        await opened_tasks(it)
        await it.until(lambda: it.app.screen.query_one("#prompts", OptionList).highlighted == 1)


async def test_what_is_not_here_or_cannot_be_read_is_a_sentence(
    tmp_path: Path, folder: Path
) -> None:
    write_lines(folder, ROWS["math"], "math.jsonl")
    (folder / "aime24.jsonl").write_text("{")
    async with explore(tmp_path, size=(80, 24)) as it:
        await opened_tasks(it)
        await it.until(lambda: it.main.datasets.file("math"))
        await choose(it, "gsm8k")
        assert "GSM8K is not on this disk: not in " in it.screen_text()
        await it.press("f5")
        assert isinstance(it.app.screen, PromptPicker)
        await choose(it, "aime24")
        await it.until(lambda: "is not JSON" in it.screen_text())
        await choose(it, "math")
        await it.until(lambda: "every level" in it.screen_text())
        prompts = it.app.screen.query_one("#prompts", OptionList)
        await it.until(lambda: prompts.option_count)
        everything = prompts.option_count
        await it.press("minus", "plus", until="level 1")
        await it.until(lambda: prompts.option_count < everything)


async def test_options_to_choose_from_are_switched_on(tmp_path: Path, folder: Path) -> None:
    write_lines(folder, ROWS["hellaswag"][:1], "hellaswag.jsonl")
    write_lines(folder, ROWS["piqa"], "piqa.jsonl")
    async with explore(tmp_path) as it:
        await opened_tasks(it)
        await it.until(lambda: it.main.datasets.file("hellaswag"))
        await choose(it, "hellaswag")
        await it.until(lambda: "o asks with options." in it.screen_text())
        assert "· is a cake." not in it.screen_text()
        await it.press("o", until="· is a cake.")
        assert "Asked with options." in it.screen_text()
        await it.press("o", until=lambda: "· is a cake." not in it.screen_text())
        # Asked with options alone.
        await choose(it, "piqa")
        await it.until(lambda: "· Use a sieve." in it.screen_text())
        await it.press("o")
        await choose(it, "commonsense")
        assert "options." not in it.screen_text()
        await choose(it, "facts")
        await it.press("o", "enter", "enter", until=lambda: len(it.session.runs) == 2)
        assert len(started(it).prompt.choices) == 4
        await it.ready()
        await it.press("n", until=lambda: len(it.session.runs) == 3)
        assert len(started(it).prompt.choices) == 4
