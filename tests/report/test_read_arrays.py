"""The file of a report's arrays has the runs that it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from depthtui.data.arrays import arrays_of
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.report.export import run_report
from depthtui.report.one_figure import one_figure, readings_of
from depthtui.report.read_arrays import read_runs
from tests.builders.results import full_run, hostile_run, run
from tests.odd_files import ODD_FILES, put_odd_file

SETTINGS = SummarySettings(kl_threshold=0.4, lens="affine")


def written(folder: Path, *results: RunResult) -> Path:
    (path,) = run_report(results, SETTINGS).write(folder, ["safetensors"])
    return path


def joined(text: str) -> bytes:
    """A text in which both halves of a character are one, as JSON joins them."""
    return text.encode("utf-16", "surrogatepass")


def test_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = [full_run(), run("third", seed=3), hostile_run()]
    runs = read_runs(written(tmp_path, *results))
    assert runs.settings == SETTINGS
    for read, result in zip(runs.results, results, strict=True):
        assert read.model == result.model
        assert read.settings == result.settings
        assert joined(read.prompt.text) == joined(result.prompt.text)
        assert (read.prompt.task, read.prompt.level) == (result.prompt.task, result.prompt.level)
        assert list(map(joined, read.tokens.texts)) == list(map(joined, result.tokens.texts))
        assert read.tokens.answer_start == result.tokens.answer_start
        assert read.unavailable == result.unavailable
        assert read.measured.keys() == result.measured.keys()
        for name, part in result.measured.items():
            for (field, values), (other, again) in zip(
                arrays_of(part), arrays_of(read.measured[name]), strict=True
            ):
                assert field == other
                np.testing.assert_array_equal(values, again)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_another_file_is_an_error(tmp_path: Path, kind: str) -> None:
    put_odd_file(tmp_path / "summary.safetensors", kind)
    with pytest.raises(DepthError, match="is no file of runs"):
        read_runs(tmp_path / "summary.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokens", ["a"]),
        ("answer_start", 99),
        ("settings", {"lens_top_k": 7}),
        ("metrics", {"ablation": {}}),
    ],
)
def test_a_description_that_does_not_fit_its_arrays_is_an_error(
    key: str, value: object, tmp_path: Path
) -> None:
    path = written(tmp_path, run())
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        (about,) = json.loads(file.metadata()["runs"])
    path.write_bytes(save(arrays, metadata={"runs": json.dumps([about])}))
    assert read_runs(path)
    path.write_bytes(save(arrays, metadata={"runs": json.dumps([about | {key: value}])}))
    with pytest.raises(DepthError, match="is damaged, or of another version"):
        read_runs(path)


def test_a_metric_of_a_missing_package_is_unavailable_and_costs_itself(tmp_path: Path) -> None:
    path = written(tmp_path, run())
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        (about,) = json.loads(file.metadata()["runs"])
    about["metrics"]["gain"] = {}
    arrays["0/gain/gain"] = np.zeros(about["model"]["n_layers"], np.float32)
    path.write_bytes(save(arrays, metadata={"runs": json.dumps([about])}))
    runs = read_runs(path)
    (result,) = runs.results
    assert result.measured.keys() == run().measured.keys()
    assert result.unavailable == {"gain": "its package is not installed"}
    readings = readings_of([result], runs.settings, "none")
    assert one_figure("curves", readings, "cosine")
    with pytest.raises(DepthError, match="no measure 'gain': its package is not installed"):
        one_figure("curves", readings, "gain")
