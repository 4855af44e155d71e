"""`depthtui run --protocol shortened-llama`, on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from depthtui.cli import main
from depthtui.depth.published import PUBLISHED_PERPLEXITY, PublishedPerplexity
from depthtui.engine.window_perplexity import drawn_windows
from tests.engine.test_window_perplexity import TEXTS, naive_loss
from tests.tiny_models import tiny_folder, with_tokenizer

Output = pytest.CaptureFixture[str]
RUN = "--protocol", "shortened-llama", "--device", "cpu"


def test_table_of_a_loop(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    folder, texts = tiny_folder(home), home / "books.jsonl"
    texts.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    row = PublishedPerplexity("tiny-llama", "float32", np.array([math.inf, 30.0, 20.0, 40.0]))
    monkeypatch.setitem(PUBLISHED_PERPLEXITY, "tiny-llama", row)
    assert main(["run", str(folder), *RUN, "--texts", str(texts)]) == 0
    _title, _, _, *lines = capsys.readouterr().out.splitlines()
    layers, values, published = zip(*map(str.split, lines[:5]), strict=True)
    assert (layers, published) == (("none", "0", "1", "2", "3"), ("–", "inf", "30", "20", "40"))
    model, tokenizer = with_tokenizer("llama")
    windows = drawn_windows(tokenizer, TEXTS, begins=False)
    for left_out, value in zip([[], [0], [1], [2], [3]], values, strict=True):
        loss = np.mean([naive_loss(model, ids, left_out) for ids in windows])
        assert float(value) == pytest.approx(np.exp(loss), rel=1e-4)
    assert "from the least, layers 2, 1, 3, 0 (arXiv" in lines[6]


def test_what_is_of_no_use_is_refused(capsys: Output) -> None:
    assert main(["run", "demo", *RUN, "--texts", "x", "--out", "o"]) == 2
    assert "measures --texts alone: leave --out out." in capsys.readouterr().err
