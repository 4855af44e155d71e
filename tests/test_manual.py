"""The manual has every command, option, key, metric and setting, and its pages are shown."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import depthtui.manual
from depthtui.cli import commands, main
from depthtui.cli.manual import _show
from depthtui.depth import rules
from depthtui.manual import PAGES, page, source, titles
from depthtui.manual.as_html import write_html
from depthtui.manual.parts import EXTRAS, explanation_section, metric_section
from depthtui.metrics.registry import ALL
from depthtui.report.explanations import of_metric
from depthtui.report.reading_guide import GUIDE
from depthtui.settings import SHOWN_ONCE, Settings
from depthtui.tui.navigation import keymap
from depthtui.tui.screens.main_layout import LEFT, PROMPT, RIGHT
from tests.documented import check_command_line, command_lines, unknown_names
from tests.odd_files import ODD_FILES, put_odd_file

FOLDER = Path(depthtui.manual.__file__).parent
KEYS = keymap()
SHOWN = {name: page(name, {"keys": KEYS.tables}) for name in PAGES}
TEXT = "\n".join(SHOWN.values())
COMMAND_LINES = [line for name in PAGES for line in command_lines(source(name))]


def test_every_page_has_a_file_a_title_and_no_open_part() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(PAGES)
    assert len(set(titles().values())) == len(PAGES)
    for name, text in SHOWN.items():
        assert re.match(r"# \S.*\n\n\S", text), name
        assert "{{" not in text, name
        assert len(titles()[name]) < 70, name


def test_every_command_is_in_a_page() -> None:
    paths = {path for path, _ in _commands(commands, "depthtui")}
    assert {path for path in paths if f"{path}" not in TEXT} == set()


def test_every_option_is_in_a_page() -> None:
    options = {
        name
        for _, command in _commands(commands, "depthtui")
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }
    assert len(options) > 60
    assert {name for name in options if not re.search(rf"{name}(?![\w-])", TEXT)} == set()


@pytest.mark.parametrize("screen", KEYS.screens)
def test_every_key_is_in_its_page(screen: str) -> None:
    for command in KEYS.screens[screen]:
        assert f"| {command.words} | `{command.name}` |" in SHOWN["keys"]


def test_every_metric_is_in_its_page_as_the_explorer_explains_it() -> None:
    for metric in ALL:
        section = metric_section(metric)
        assert section in SHOWN["metrics"]
        for name, text in of_metric(metric).lines:
            assert name == "formula" or text in section
        assert all(measure.title in section for measure in metric.measures)


def test_every_rule_symbol_setting_and_extra_is_in_its_page() -> None:
    for rule in rules.ALL:
        assert explanation_section(rule.explanation) in SHOWN["rules"]
    for part in GUIDE:
        assert all(f"- **{name}**: {says}" in SHOWN["screen"] for name, says in part.lines)
    for name in Settings.__dataclass_fields__:
        assert name in SHOWN["settings"] or name in ("last_model", "recent_models", *SHOWN_ONCE)
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    assert EXTRAS.keys() == project["optional-dependencies"].keys() - {"pictures", "test"}
    assert all(f"| `{extra}` |" in SHOWN["troubleshooting"] for extra in EXTRAS)


@pytest.mark.parametrize("name_of_page", ["screen", "plain"])
def test_every_pane_of_the_main_screen_has_its_row(name_of_page: str) -> None:
    table = source(name_of_page).partition("| pane |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    heads = [head for row in rows for head in row[0].lower().split(", ")]
    names = [place.name.lower() for place in (PROMPT, *LEFT, *RIGHT)]
    assert [name for name in names if not any(head.endswith(name) for head in heads)] == []
    assert [head for head in heads if not any(head.endswith(name) for name in names)] == []


def test_a_page_that_is_named_is_there() -> None:
    named_pages = re.findall(r"depthtui\s+help\s+([a-z][a-z-]*)", TEXT)
    assert len(named_pages) > 10
    assert set(named_pages) <= {*PAGES, "schema"}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_has_options_that_are_there(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_command_line(line, tmp_path, monkeypatch)


def test_the_example_from_python_says_where_its_names_come_from() -> None:
    assert unknown_names(source("python")) == set()


def test_help_lists_pages_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*PAGES, *commands.commands):
        assert any(line.startswith(f"  {name} ") for line in lines), name


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("Verdict", "# The verdict"),
        ("cache", "## depthtui cache --help"),
        ("run", "--metrics all|NAME"),
        ("ablation", "### Ablation: `ablation`"),
        ("kl", "### Effective depth by the KL"),
        ("keys", "| `i` |"),
    ],
)
def test_a_topic_is_a_page_a_command_a_metric_or_a_rule(
    topic: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", topic, "--raw"]) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x"], "- **`x`** (What-if): Turn layers off"),
        (["holds", "here"], "## Firm, holds here, fragile"),
        (["holds", "here"], "- **holds here** (How sure a count is): The same on fewer"),
        (["verdict", "firm"], "## Firm, holds here, fragile"),
        (["ctrl+s"], "`ctrl+s` writes the changes into the settings file."),
        (["\N{WHITE DIAMOND}"], "a depth: all layers below it"),
        (["--answer"], "- `--answer TEXT` (run, "),
        (["slurm"], "See `depthtui help` clusters"),
        (["lens", "fit"], "## depthtui lens fit --help"),
    ],
)
def test_words_lead_to_the_passages_that_explain_them(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", *words, "--raw"]) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("question", "page"),
    [
        ("how do I prune", "pruning"),
        ("what is the logit lens", "lenses"),
        ("Which layers can be dropped?", "pruning"),
        ("figures as files", "reports"),
        ("lense", "lenses"),
    ],
)
def test_a_question_leads_to_its_page_first(
    question: str, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", question, "--raw"]) == 0
    assert capsys.readouterr().out.startswith(f"- **{page}** (")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pruen", "Did you mean prune"),
        ("--metric", "Did you mean --metrics"),
        ("xyzzy", "`depthtui help` lists all"),
    ],
)
def test_unknown_words_lead_to_a_name(
    words: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["help", *words.split()]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_a_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["help", name]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    lines = {line.strip() for line in text.splitlines()}
    code = re.findall(r"^```.*?\n(.*?)^```", SHOWN[name], re.MULTILINE | re.DOTALL)
    wrapped = {line.strip() for block in code for line in block.splitlines()} - lines
    assert wrapped == set(), "a line of code is too long"


def test_a_long_page_goes_through_a_pager_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[str] = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "echo_via_pager", paged.append)
    monkeypatch.setenv("LINES", "24")
    _show("a line\n" * 23)
    assert paged == []
    _show("a line\n" * 24)
    assert len(paged) == 1


def test_help_needs_no_torch() -> None:
    code = "import sys; from depthtui.cli import main; main(['help', 'keys']); main(['help', 'kl'])"
    check = "; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], check=True, stdout=subprocess.DEVNULL)


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")


HTML_PAGES = [f"{name}.html" for name in ["index", *PAGES]]


class TestHtml:
    """The pages that `depthtui help --html` writes."""

    def test_every_page_is_written_and_written_again(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        site = tmp_path / "site"
        for _ in range(2):
            assert main(["help", "--html", str(site)]) == 0
        assert {path.name for path in site.iterdir()} == set(HTML_PAGES)
        page = (site / "metrics.html").read_text("utf-8")
        assert "<table>" in page
        assert "{{" not in page
        assert all(f'href="{name}.html"' in page for name in PAGES)
        assert main(["help", "verdict", "--html", str(tmp_path)]) == 2
        assert "leave out WORDS" in capsys.readouterr().err

    @pytest.mark.parametrize("kind", [*ODD_FILES, "a page of others", "a link to a page of ours"])
    def test_a_file_of_others_stays_and_no_page_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
    ) -> None:
        site = tmp_path / "site"
        path = site / HTML_PAGES[-1]
        site.mkdir()
        if kind in ODD_FILES:
            put_odd_file(path, kind)
        elif kind == "a page of others":
            path.write_text("<!doctype html>mine")
        else:
            write_html(tmp_path, {"page": "# Page"})
            path.symlink_to(tmp_path / "page.html")
        before = state(path)
        assert main(["help", "--html", str(site)]) == 1
        assert f"{path.name} is no page of depthtui" in capsys.readouterr().err
        assert list(site.iterdir()) == [path]
        assert state(path) == before

    def test_a_full_disk_leaves_no_page(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chmod = Path.chmod

        def fail(path: Path, mode: int) -> None:
            if len(list(path.parent.iterdir())) > len(PAGES) // 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            chmod(path, mode)

        monkeypatch.setattr(Path, "chmod", fail)
        assert main(["help", "--html", str(tmp_path)]) == 1
        assert "No space left" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def state(path: Path) -> object:
    """What a write would change of a path, and of a linked file."""
    linked = path.stat() if path.exists() else None
    return [(status.st_ino, status.st_mtime_ns) for status in (path.lstat(), linked) if status]
