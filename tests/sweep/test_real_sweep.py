"""A sweep of a tiny model with the real engine, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from depthtui import cli
from depthtui.data.lens import LogitLens
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.metrics.contributions import Contributions
from depthtui.prompts.tasks import make_prompts
from tests.tiny_models import tiny_folder


def test_a_sweep_measures_what_runs_measure(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tiny_folder(home), home / "out"
    command = ["sweep", "--model", str(folder), "--task", "addition:1-2", "--examples", "2"]
    command += ["--device", "cpu", "--no-cache", "--out", str(out)]
    command += ["--metrics", "contributions,logit_lens,skip_effects"]
    assert cli.main(command) == 0
    report = json.loads((out / "report.json").read_text())
    assert [(cell["task"], cell["level"]) for cell in report["cells"]] == [
        ("addition", "1"),
        ("addition", "2"),
    ]
    engine = Engine(open_store(None, 0, pytest.fail), home / "models", lambda _: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    for cell, level in zip(report["cells"], ("1", "2"), strict=True):
        prompts = make_prompts("addition", level, 2)
        runs = [engine.run(prompt, RunSettings()) for prompt in prompts]
        kl = np.concatenate([run.get(LogitLens).kl for run in runs], axis=1).mean(axis=1)
        np.testing.assert_allclose(cell["curves"]["kl"], kl, rtol=1e-5, atol=1e-6)
        cosine = np.concatenate([run.get(Contributions).layer_cosine for run in runs], axis=1)
        np.testing.assert_allclose(cell["curves"]["layer_cosine"], cosine.mean(axis=1), rtol=1e-4)
    capsys.readouterr()

    weights = load_file(folder / "model.safetensors")
    name = next(weight for weight in weights if "mlp" in weight)
    weights[name] = -weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert cli.main(command) == 0
    assert "have changed since its records were made" in capsys.readouterr().err
    changed = json.loads((out / "report.json").read_text())
    assert changed["cells"][0]["curves"]["kl"] != report["cells"][0]["curves"]["kl"]
    assert cli.main(command) == 0
    replaced = "depthtui: --metrics replaces the default set; not measured: kept.\n"
    assert capsys.readouterr().err == replaced
