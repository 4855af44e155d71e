"""The file of a run's arrays, of which `depthtui figure` draws."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save

from depthtui.data.figure_kind import FIGURE_KINDS
from depthtui.data.run_settings import SummarySettings
from depthtui.errors import DepthError
from depthtui.report.export import run_report
from depthtui.report.figures import svg_bytes
from depthtui.report.look import Look
from depthtui.report.one_figure import one_figure, readings_of
from depthtui.report.read_arrays import read_runs
from tests.builders.results import full_run
from tests.fuzz.fuzzing import examples, fuzz, mutated, mutated_json


def draw(path: Path) -> None:
    """Draw a figure of each kind, as far as there is one."""
    with contextlib.suppress(DepthError):
        runs = read_runs(path)
        readings = readings_of(runs.results, runs.settings, "none")
        for kind, measure in zip(FIGURE_KINDS, ("kl", "", "overlap", ""), strict=True):
            with contextlib.suppress(DepthError):
                svg_bytes(one_figure(kind, readings, measure), Look(is_alone=True))


@examples
def test_files_of_arrays(count: int, home: Path) -> None:
    (path,) = run_report([full_run()], SummarySettings()).write(home, ["safetensors"])
    original = path.read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        draw(path)

    fuzz(read, mutated([original]), count)


@examples
def test_their_descriptions(count: int, home: Path) -> None:
    (path,) = run_report([full_run()], SummarySettings()).write(home, ["safetensors"])
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["runs"])

    def read(changed: Any) -> None:
        path.write_bytes(save(arrays, metadata={"runs": json.dumps(changed)}))
        draw(path)

    fuzz(read, mutated_json([about]), count)
