"""`depthtui sessions`: list, export and remove what the explorer has saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from depthtui.cli import main
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.data.session_files import SessionFolder
from tests.builders.sessions import save, saved_run

Output = pytest.CaptureFixture[str]


def test_the_list_has_name_time_runs_models_and_title(cache: Path, capsys: Output) -> None:
    first_run = saved_run(cache, "The ferry was late.", ModelSpec())
    two = saved_run(cache, "The ferry was late.", ModelSpec("other/model"))
    name = save(cache, first_run, two)
    later = save(cache, first_run, title="Lakes\x1b[2J", day=3)
    assert main(["sessions", "list"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["session", "saved", "runs", "models", "title"]
    assert first.startswith(later)
    assert "\x1b" not in first
    assert name in second
    assert "2026-01-02 09:30" in second
    assert "SmolLM2-135M-Instruct, model" in second
    assert second.rstrip().endswith("Rivers")


def test_every_run_of_a_session_is_exported(cache: Path, tmp_path: Path, capsys: Output) -> None:
    texts = ("The ferry was late.", "Two and two is four.")
    name = save(cache, *(saved_run(cache, text, ModelSpec()) for text in texts))
    out = tmp_path / "out"
    command = ["sessions", "export", name[:8], "--out", str(out), "--format", "json,html,md"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"wrote {out / 'summary.json'}" in printed.out
    summary = json.loads((out / "summary.json").read_bytes())
    assert [prompt["text"] for prompt in summary["prompts"]] == list(texts)
    assert "missing_runs" not in summary
    # As it was read in the session.
    assert summary["settings"]["kl_threshold"] == 0.4


def test_a_run_that_the_cache_lost_is_named_everywhere(
    cache: Path, tmp_path: Path, capsys: Output
) -> None:
    cached_run = saved_run(cache, "The ferry was late.", ModelSpec())
    gone = saved_run(cache, "<b>Gone</b>", ModelSpec("other/model"), in_cache=False)
    later = saved_run(cache, "The tram came.", ModelSpec())
    name = save(cache, cached_run, gone, later)
    out = tmp_path / "out"
    command = ["sessions", "export", name, "--out", str(out), "--format", "json,html,md"]
    assert main(command) == 1
    words = "run 2, “<b>Gone</b>” on model, is not in the cache"
    printed = capsys.readouterr()
    assert words[1:] in printed.err
    assert words in " ".join(printed.out.split())
    assert json.loads((out / "summary.json").read_bytes())["missing_runs"] == [words]
    text = (out / "summary.md").read_text()
    assert "run 2" in text
    # Numbers are the session's.
    assert "| 3 · The tram came." in text
    assert "### Prompt 3" in text
    page = (out / "summary.html").read_text()
    assert "&lt;b&gt;Gone&lt;/b&gt;” on model, is not in the cache" in page
    assert "<b>Gone" not in page


def test_a_session_without_any_result_is_an_error(
    cache: Path, tmp_path: Path, capsys: Output
) -> None:
    name = save(cache, saved_run(cache, "Gone", ModelSpec(), in_cache=False))
    assert main(["sessions", "export", name, "--out", str(tmp_path / "out")]) == 1
    assert "The cache has no run of this session" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sessions_are_removed_by_name(cache: Path, capsys: Output) -> None:
    run = saved_run(cache, "The ferry was late.", ModelSpec())
    names = [
        save(cache, run, title=title, day=day) for day, title in ((2, "A"), (3, "B"), (4, "C"))
    ]
    assert main(["sessions", "remove", *names[:2], names[0]]) == 0
    assert capsys.readouterr().out.split() == ["deleted", names[0], "deleted", names[1]]
    assert [file.name for file in SessionFolder(cache).files()] == names[2:]


def test_a_session_that_is_open_is_not_removed(cache: Path, capsys: Output) -> None:
    name = save(cache, saved_run(cache, "The ferry was late.", ModelSpec()))
    (file,) = SessionFolder(cache).files()
    writer = SessionFolder(cache).open(file)
    assert main(["sessions", "remove", name]) == 1
    assert "open in another window" in capsys.readouterr().err
    assert SessionFolder(cache).files() == [file]
    writer.close()


@pytest.mark.parametrize(("name", "words"), [("nobody", "No session is named"), ("2026", "2 ses")])
def test_an_unclear_name_is_an_error(cache: Path, capsys: Output, name: str, words: str) -> None:
    run = saved_run(cache, "The ferry was late.", ModelSpec())
    for day in (2, 3):
        save(cache, run, day=day)
    assert main(["sessions", "export", name]) == 1
    assert words in capsys.readouterr().err
    # What is deleted is named in full.
    assert main(["sessions", "remove", name]) == 1
    assert "No session is named" in capsys.readouterr().err
    assert len(SessionFolder(cache).files()) == 2


def test_no_sessions_are_an_empty_list(cache: Path, capsys: Output) -> None:
    assert main(["sessions", "list"]) == 0
    output = capsys.readouterr()
    assert output.out.split() == ["session", "saved", "runs", "models", "title"]
    assert "There is no session yet" in output.err
    assert not cache.exists()


def test_no_name_is_no_session(cache: Path, capsys: Output) -> None:
    save(cache, saved_run(cache, "One", ModelSpec()))
    assert main(["sessions", "export", ""]) == 1
    assert "No session is named ''." in capsys.readouterr().err


def exported(name: str, out: Path, *options: str) -> dict[str, Any]:
    """The JSON that the command writes of a session."""
    command = ["sessions", "export", name, "--out", str(out), "--format", "json", *options]
    assert main(command) == 0
    summary: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return summary


def test_runs_are_pooled_only_where_that_is_asked(
    cache: Path, tmp_path: Path, capsys: Output
) -> None:
    prompts = [Prompt("The ferry was late."), Prompt("Two and two " * 40, task="file")]
    prompts += [Prompt(f"{n} + 1 =", task="sums", level="1") for n in (1, 2)]
    name = save(cache, *(saved_run(cache, prompt, ModelSpec()) for prompt in prompts))

    summary = exported(name, tmp_path)
    assert "effective_depth" not in summary
    assert [group["prompts"] for group in summary["groups"]] == [[0], [1], [2], [3]]
    printed = " ".join(capsys.readouterr().out.split())
    for sentence in {row["verdict"]["sentence"] for row in summary["runs"]}:
        assert printed.count(f": {sentence}") == 1
    assert "Means over" not in printed

    summary = exported(name, tmp_path, "--pool", "task")
    assert [group["prompts"] for group in summary["groups"]] == [[0], [1], [2, 3]]
    assert "Means over 8 tokens of 2 prompts" in " ".join(capsys.readouterr().out.split())

    summary = exported(name, tmp_path, "--pool", "model")
    assert "groups" not in summary
    assert summary["pooled"]["prompts"] == 4
