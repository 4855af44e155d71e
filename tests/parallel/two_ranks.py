"""Everything that is measured of tiny models, on two ranks over gloo and in one process.

    python -m tests.parallel.two_ranks                  # every tiny model that has a plan
    python -m tests.parallel.two_ranks llama gpt_oss
    python -m tests.parallel.two_ranks --ranks 4 llama

prints a line for each model and what of it was compared, with the largest difference over the
largest value.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from depthtui.data import codec
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, Skip, Writing
from depthtui.engine import layer_orders
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import named_line
from depthtui.metrics.registry import METRICS

PROMPT = Prompt(
    "Seven plus five is twelve, and the river was high.",
    answer=" high.",
    contrast="Seven plus five is seven, and the river was rain.",
)
TEXTS = Path(__file__).parents[2] / "depthtui" / "prompts" / "commonsense.jsonl"
BASELINE = ("The ferry did not run.", "She wound the clock.")
SETTINGS = RunSettings(riemann_steps=3, lens_texts=str(TEXTS), lens_ridge=0.05, baseline=BASELINE)
WRITING = Writing(max_tokens=4)
SHORT_TEXTS = {"TEXTS": 4, "LENGTH": 16}
"""What an order of layers is searched for on, at every rank."""

WAYS = ("contributions", "logit_lens", "skip_effects", "heads", "experts", "patch")
"""A metric of each way to reach a layer: the pass, a replay, a layer alone, the head."""

UNSHARED = (
    *("provenance", "spec", "seconds", "source", "failures", "digest", "untrained"),
    "untrained_parts",
)
"""Fields that differ between any two runs; ranks build no untrained model."""


def metrics_of(every: bool) -> tuple[str, ...]:
    """Every metric, or one of each way to reach a layer, gradients and an order of layers."""
    if every:
        return tuple(metric.name for metric in METRICS if not metric.is_timed)
    return (*WAYS, "integrated_gradients", "kept")


def measure(folder: Path, cache: Path, every: bool = True) -> dict[str, Any]:
    """What is measured of a model, by name; in a group, rank 0 calls this."""
    problems: list[str] = []
    engine = make_engine(
        Storage(cache, cache / "models"),
        lambda event: None,
        problems.append,
        lambda error: problems.append(named_line(error)),
    )
    engine.load(ModelSpec(str(folder), dtype="float32"))
    results: dict[str, Any] = {}
    with patch.multiple(layer_orders, **SHORT_TEXTS):
        run = engine.run(PROMPT, replace(SETTINGS, metrics=metrics_of(every)))
    results |= dict(run.measured)
    results["run"] = replace(run, measured={})
    what_if = RunSettings(skipped=(Skip(1), Skip(2, "mlp")))
    if not run.model.split_missing:
        results |= {f"what-if {k}": v for k, v in engine.run(PROMPT, what_if).measured.items()}
    results["written"] = engine.run(PROMPT, RunSettings(), write=WRITING)
    results["layer page"] = engine.inspect(PROMPT, RunSettings(), 1, -1)
    assert not problems, problems
    return results


def analyzed(folder: Path) -> dict[str, Any]:
    """What `analyze` measures of a model that a user has cut, on every rank."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.distributed import DistributedConfig

    from depthtui import analyze

    cut = DistributedConfig(tp_size=int(os.environ["WORLD_SIZE"]))
    model = AutoModelForCausalLM.from_pretrained(folder, distributed_config=cut)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    metrics = ("contributions", "logit_lens", "skip_effects", "heads")
    runs = analyze(model.eval(), PROMPT, tokenizer, metrics, progress=False)
    return {name: getattr(runs[0], name) for name in metrics}


def differences(
    results: Mapping[str, Any], expected: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """The largest difference of each result over its largest value; infinite where words differ."""
    for name in sorted({*results, *expected}):
        if name not in results or name not in expected:
            yield name, float("inf")
            continue
        pairs = [*_values(results[name], expected[name])]
        off = [_off(*pair) for pair in pairs]
        yield name, max(off, default=0.0)


def _values(a: Any, b: Any) -> Iterator[tuple[Any, Any]]:
    if is_dataclass(a) and type(a) is type(b):
        for field in fields(a):
            if field.name not in UNSHARED:
                yield from _values(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        for key in a:
            yield from _values(a[key], b[key])
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for one, other in zip(a, b, strict=True):
            yield from _values(one, other)
    else:
        yield a, b


def _off(a: Any, b: Any) -> float:
    if isinstance(a, np.ndarray | float | int) and isinstance(b, np.ndarray | float | int):
        x, y = np.asarray(a, float), np.asarray(b, float)
        if x.shape != y.shape or (np.isnan(x) != np.isnan(y)).any():
            return float("inf")
        with np.errstate(invalid="ignore"):
            apart = np.nan_to_num(np.abs(x - y)).max(initial=0.0)
        return float(apart / max(np.nan_to_num(np.abs(y)).max(initial=0.0), 1.0))
    is_same = type(a) is type(b) and not isinstance(a, np.ndarray) and a == b
    return 0.0 if is_same else float("inf")


def on_ranks(folders: Mapping[Path, bool], cache: Path, out: Path, ranks: int) -> None:
    """Measure models on ranks, each a process; what is found lies in `out` by folder and name.

    Args:
        folders: of the models, and whether every metric is measured.
        cache: for results.
        out: where results are written.
        ranks: how many.
    """
    command = [sys.executable, "-m", "tests.parallel.two_ranks", "--out", str(out)]
    command += ["--cache", str(cache)]
    command += [f"{'every:' * every}{folder}" for folder, every in folders.items()]
    processes = [
        subprocess.Popen(command, env=environment(rank, ranks, port))
        for port in [free_port()]
        for rank in range(ranks)
    ]
    for process in processes:
        process.wait()
    assert not any(process.returncode for process in processes)


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What a launcher tells a rank."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
    return (
        os.environ
        | {k: str(v) for k, v in place.items()}
        | {
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
    )


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def read(out: Path) -> dict[str, Any]:
    """What ranks have found of one model."""
    return {file.stem: codec.decode(file.read_bytes()) for file in out.glob("*.bin")}


def _as_rank(names: Sequence[str], cache: Path, out: Path) -> int:
    from depthtui.engine.rank_process import as_rank

    def run() -> int:
        for name in names:
            every, folder = name.startswith("every:"), Path(name.removeprefix("every:"))
            there = out / folder.name
            there.mkdir(parents=True, exist_ok=True)
            try:
                results = measure(folder, cache, every)
            except Exception as error:
                (there / "problem").write_text(f"{type(error).__name__}: {error}")
                continue
            _write(results, there)
        return 0

    with patch.multiple(layer_orders, **SHORT_TEXTS):
        status = as_rank(run, print)
    folder = Path(names[0].removeprefix("every:"))
    if (out / folder.name / "problem").exists():
        return status
    results = analyzed(folder)
    if os.environ["RANK"] == "0":
        _write(results, out / "analyzed")
    return status


def _write(results: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for what, value in results.items():
        (folder / f"{what}.bin").write_bytes(codec.encode(value))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path())
    parser.add_argument("--ways", action="store_true", help="not every metric")
    options = parser.parse_args()
    every = not options.ways
    if options.out is not None:
        return _as_rank(options.names, options.cache, options.out)
    from depthtui.models.tensor_parallel import plans_of
    from tests.tiny_models import TINY, tiny, tiny_folder

    names = options.names or [name for name in TINY if plans_of(tiny(name).config)]
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        folders = {tiny_folder(parent, name): every for name in names}
        on_ranks(folders, parent / "ranks", parent / "found", options.ranks)
        for name, each in zip(names, folders, strict=True):
            there = parent / "found" / each.name
            if (there / "problem").exists():
                print(f"{name}\t{(there / 'problem').read_text()}")
                continue
            for what, off in differences(read(there), measure(each, parent / "one", every)):
                print(f"{name}\t{what}\t{off:.1e}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
