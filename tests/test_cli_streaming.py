"""Texts as `depthtui generate` prints them while they are written."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from depthtui.cli.streaming import TokenPrinter
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, SummarySettings, Writing
from depthtui.settings import Settings
from tests.builders.models import model_info
from tests.builders.results import full_result
from tests.builders.written import tokens_written, with_settling, written_prompt


def text(n_words: int) -> RunResult:
    prompt = written_prompt(Prompt("one two"), Writing(max_tokens=n_words))
    return full_result(prompt, model_info(), with_settling(RunSettings()))


def test_a_text_from_the_cache_is_printed_after_one_that_failed() -> None:
    out = StringIO()
    printer = TokenPrinter(Console(file=out), "prediction", Settings().palette, SummarySettings())
    printer.n_layers = model_info().n_layers
    for event in tokens_written(text(4)):
        printer.write(event)
    printer.end()
    printer.finish(text(2))
    assert out.getvalue() == " so the ferry waits,\n so the\n"
