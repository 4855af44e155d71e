"""A model that brings Python code of its own, which leaves a mark wherever it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tiny_models import tiny_folder

_CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({mark!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


@dataclass(frozen=True)
class OwnCode:
    """A model folder with `own.py`.

    Attributes:
        folder: the model.
        mark: the file that `own.py` makes when it runs.
    """

    folder: Path
    mark: Path

    @property
    def has_run(self) -> bool:
        """Whether the code has run since the last look."""
        ran = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return ran


def model_with_code(parent: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCode:
    """A tiny model whose architecture only its own code knows."""
    made = _with_code(parent, monkeypatch)
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    change_json(made.folder / "config.json", model_type="own", auto_map=auto_map)
    return made


def tokenizer_with_code(parent: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCode:
    """A tiny model whose tokenizer only its own code knows."""
    made = _with_code(parent, monkeypatch)
    change_json(
        made.folder / "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": [None, "own.OwnTokenizer"]},
    )
    return made


def change_json(path: Path, **changes: object) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _with_code(parent: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCode:
    mark = parent / "mark"
    folder = tiny_folder(parent)
    (folder / "own.py").write_text(_CODE.format(mark=str(mark)))
    # Where transformers copies such code before it imports it.
    modules = str(parent / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules)
    return OwnCode(folder, mark)
