"""`--texts FILE` of `depthtui run` and `depthtui prune`, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from depthtui.cli import main
from tests.tiny_models import CORPUS, tiny_folder

pytestmark = pytest.mark.usefixtures("home", "short_texts")


def test_a_corpus_is_run_and_pruned_on_in_windows(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (texts := home / "corpus.txt").write_text(" ".join(CORPUS * 3))
    model, out = str(tiny_folder(home)), home / "out"
    words = [model, "--device", "cpu", "--texts", str(texts), "--window", "16", "--examples", "6"]
    assert main(["run", *words, "--metrics", "perplexity", "--out", str(out)]) == 0
    part = json.loads((out / "summary.json").read_text())["perplexity"]
    assert (part["tokens"], len(part["along"]["values"])) == (90, 5)
    whole, low, high = (part["along"][name][0] for name in ("values", "low", "high"))
    assert low < whole < high
    assert f"{whole:.4g} ({low:.4g}-{high:.4g})" in capsys.readouterr().out
    assert main(["prune", *words, "--drop", "1"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split()[-1] == "perplexity"
    assert f"{whole:.4g}" in rows[0].split()
    assert main(["run", *words, "--task", "addition"]) == 2
    assert "--texts FILE is in place of --prompt" in capsys.readouterr().err
    assert main(["prune", *words, "--keep", "answers=0.9"]) == 2
    assert "that have answers" in capsys.readouterr().err
