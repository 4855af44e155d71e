"""A notebook, executed from its first cell to its last in a kernel of its own."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.tiny_models import tiny_folder

NOTEBOOK = Path(__file__).with_name("analyze.ipynb")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The executed cells by their names."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = {
        **os.environ,
        "TINY_MODEL": str(tiny_folder(folder)),
        "OUT": str(folder / "out"),
        "DEPTHTUI_CACHE_DIR": str(folder / "cache"),
        "DEPTHTUI_CONFIG": str(folder / "settings.toml"),
    }
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(env=environment)
    outputs = {cell.id: cell.outputs for cell in notebook.cells}
    outputs["files"] = sorted(path.name for path in (folder / "out").iterdir())
    return outputs


def shown(outputs, kind):
    """What a cell shows as its value, in one form."""
    return next(output.data[kind] for output in outputs if output.output_type == "execute_result")


def test_runs_are_shown_as_a_framed_report(cells):
    assert shown(cells["named"], "text/html").startswith('<iframe sandbox="" ')
    assert shown(cells["named"], "text/plain").startswith("<Runs: 2 prompts, ")


def test_a_notebook_sees_progress_unless_it_is_switched_off(cells):
    kinds = [output.output_type for output in cells["named"]]
    assert "display_data" in kinds or "stream" in kinds
    assert [output.output_type for output in cells["loaded"]] == ["execute_result"]


def test_frames_are_shown_as_pandas_shows_them(cells):
    assert shown(cells["frame"], "text/plain").startswith("depth\n0 ")


def test_reports_are_written(cells):
    assert cells["files"] == ["summary.html", "summary.json"]


def test_an_error_says_what_to_do(cells):
    (error,) = cells["wrong"]
    assert error.ename == "DepthError"
    assert error.evalue.endswith("Pass it: analyze(model, prompts, tokenizer).")
