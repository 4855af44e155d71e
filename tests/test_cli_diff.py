"""`depthtui diff`: two recordings in, a sentence and an exit status out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from depthtui.cli import main
from depthtui.manual import source
from tests.faults import TOKENS, Fault, model_of, record, write_npy, write_safetensors
from tests.tiny_models import random_ids

Output = pytest.CaptureFixture[str]


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    """A folder of npy files without a fault, and a safetensors file with one in layer 3."""
    sound, faulty = Fault("swapped weights", "llama", torch.bfloat16, 3, "attention").recordings()
    write_npy(tmp_path / "a", sound)
    write_safetensors(tmp_path / "b.safetensors", faulty)
    return [str(tmp_path / "a"), str(tmp_path / "b.safetensors")]


def test_the_first_layer_and_part_is_one_line_and_the_status_is_1(
    recordings: list[str], capsys: Output
) -> None:
    assert main(["diff", *recordings]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"The recordings differ first in the attention of layer 3: its write is off by \d+ % "
        r"\(floor \d\.\d %\), from token 1 on\.",
        lines[0],
    )
    assert [line.split()[0] for line in lines if re.match(r" +\d", line)] == sorted("1234" * 3)
    assert "Read: state_{l} as the stream before layer l; {l}_attn as the attention's" in lines[-1]


def test_the_same_recording_has_the_status_0(recordings: list[str], capsys: Output) -> None:
    assert main(["diff", recordings[0], recordings[0]]) == 0
    assert capsys.readouterr().out.startswith("The recordings are the same to the last digit")


def test_every_layer_is_shown_on_demand(recordings: list[str], capsys: Output) -> None:
    assert main(["diff", *recordings, "--all"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if re.match(r" +[0-5]  ", line)]) == 18


def test_json_has_every_write(recordings: list[str], capsys: Output) -> None:
    assert main(["diff", *recordings, "--format", "json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["same"] is False
    assert (content["first"]["part"], content["first"]["first"]) == ("attention", 3)
    assert (content["dtype"], content["tokens"], len(content["writes"])) == ("bfloat16", TOKENS, 19)


def test_names_of_ones_own_are_for_both_or_for_each(
    recordings: list[str], tmp_path: Path, capsys: Output
) -> None:
    for path in (tmp_path / "a").glob("*_attn.npy"):
        path.rename(path.with_name(f"own{path.name}"))
    names = ["--names", "own{l}_attn.npy"]
    assert main(["diff", *recordings, *names]) == 2
    assert "has own{l}_attn.npy. It has b/0_attn, b/0_mlp" in capsys.readouterr().err
    assert main(["diff", *recordings, *names, "--names-b", "{l}_attn"]) == 1
    assert "own{l}_attn.npy as the attention's write" in capsys.readouterr().out


def test_a_dtype_widens_the_floor(tmp_path: Path, capsys: Output) -> None:
    model, rounded = model_of("llama"), model_of("llama", torch.bfloat16)
    paths = [
        str(write_npy(tmp_path / name, record(each)))
        for name, each in (("a", model), ("b", rounded.float()))
    ]
    assert main(["diff", *paths]) == 1
    assert "--dtype bfloat16" in capsys.readouterr().out
    assert main(["diff", *paths, "--dtype", "bfloat16"]) == 0
    assert "within the rounding of bfloat16 (worst " in capsys.readouterr().out


def test_other_tokens_are_said_first(tmp_path: Path, capsys: Output) -> None:
    arrays = record(model_of("llama"))
    for name, ids in (("a", [1, 2]), ("b", [1, 3])):
        write_npy(tmp_path / name, {**arrays, "token_ids": torch.tensor(ids)})
    assert main(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert capsys.readouterr().out.startswith("The token ids differ, the first at token 1, 2 and 3")


def test_a_failure_has_the_status_2_and_no_traceback(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "\x1b[31mred").mkdir()
    for place in (tmp_path, tmp_path / "\x1b[31mred", tmp_path / "no\nwhere"):
        assert main(["diff", str(place), str(place)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "\x1b" not in error
    np.save(tmp_path / "layer_0.npy", np.array([{}], object))
    assert main(["diff", str(tmp_path), str(tmp_path)]) == 2
    assert "Python objects" in capsys.readouterr().err


def test_the_manuals_program_records_what_plain_hooks_record(
    tmp_path: Path, capsys: Output
) -> None:
    programs = re.findall(r"```python\n(.*?)```", source("diff"), re.DOTALL)
    namespace: dict[str, object] = {}
    exec(next(program for program in programs if "def record(" in program), namespace)
    path = tmp_path / "manual.safetensors"
    model = model_of("llama", torch.bfloat16)
    namespace["record"](model, random_ids(TOKENS), path)  # type: ignore[operator]
    ours, theirs = load_file(path), record(model)
    assert ours.pop("token_ids").equal(random_ids(TOKENS)[0])
    renamed = {name.replace("layer_", "state_"): values for name, values in ours.items()}
    for layer in range(len(model.model.layers)):
        assert ours[f"layer_{layer}"].equal(theirs[f"state_{layer + 1}"])
        for part in ("attn", "mlp"):
            assert renamed[f"{layer}_{part}"].equal(theirs[f"{layer}_{part}"])
    assert main(["diff", str(path), str(path)]) == 0
    assert "layer_{l} as the stream after layer l" in capsys.readouterr().out
