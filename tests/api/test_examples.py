"""Examples in the docstrings of what Python users call, run as they stand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

import depthtui
from depthtui import Prompt, Runs, analyze
from tests.tiny_models import with_tokenizer

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns):$", re.MULTILINE)
_TEXTS = ("Seven plus five is twelve, and five plus seven is twelve too.", "The ferry did not run.")


def _examples() -> Iterator[tuple[str, str]]:
    """The name and the code of each example."""
    for name in depthtui.__all__:
        found = getattr(depthtui, name)
        members = vars(found) if inspect.isclass(found) else {}
        for member, value in {"": found, **members}.items():
            document = inspect.getdoc(value) or ""
            code = re.findall(r"(?:^ {4}.*\n?)+", _SECTION.split(document)[0], re.MULTILINE)
            if code and not member.startswith("_"):
                yield f"{name}.{member}".rstrip("."), inspect.cleandoc("\n".join(code))


EXAMPLES = dict(_examples())


@pytest.fixture(scope="module")
def runs() -> Runs:
    model, tokenizer = with_tokenizer("llama")
    metrics = ["contributions", "logit_lens", "similarity", "accuracy", "kept", "quantisation"]
    prompts = [Prompt(text, text[-5:]) for text in _TEXTS]
    return analyze(model, prompts, tokenizer, metrics, progress=False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs(name: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def measured(model: str, *_args: Any, **_options: Any) -> Runs:
        assert isinstance(model, str)
        return runs

    for function in ("analyze", "read_states"):
        monkeypatch.setattr(depthtui, function, measured, raising=False)
    model, tokenizer = with_tokenizer("llama")
    names = {name: getattr(depthtui, name) for name in depthtui.__all__}
    monkeypatch.setattr("depthtui.training.analyze", lambda *_args, **_options: runs)
    ids = torch.arange(8)
    names |= {
        "runs": runs,
        "model": model.requires_grad_(True),
        "tokenizer": tokenizer,
        "inputs": tokenizer(_TEXTS[0], return_tensors="pt"),
        "batches": range(2),
        "data": [{"input_ids": ids, "labels": ids}],
        "Trainer": Trainer,
        "arguments": TrainingArguments(str(tmp_path), max_steps=2, report_to=[], use_cpu=True),
    }
    exec(compile(EXAMPLES[name], name, "exec"), names)


def test_each_method_has_one() -> None:
    methods = {
        f"Runs.{name}"
        for name, value in vars(Runs).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    assert methods | {"analyze", "read_states", "without", "Prompt"} <= EXAMPLES.keys()
