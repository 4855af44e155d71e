"""How long a patch map of the demo takes, against one forward a cell: by hand on a quiet machine.

python -m tests.tools.benchmarks.patch
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import torch

from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.metrics.patch import Patch
from depthtui.prompts.answers import with_answer
from depthtui.settings import load_settings, models_dir
from depthtui.tracing.products import fast_products
from tests.naive import erased, layer_ends

TEXT = (
    "{} is a country in Europe, and I have been there a few times. Someone asked me this morning "
    "in which city its government sits. Its capital is"
)
TARGET = with_answer(TEXT.format("France"), "Paris")
SOURCE = f"{TEXT.format('Italy')} Rome"


def main() -> None:
    """Both ways in one process, and the largest difference of a share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    every = parser.parse_args().every
    engine = Engine(
        open_store(None, 0, print), models_dir(load_settings().cache_folder), lambda event: None
    )
    engine.load(ModelSpec("demo", device="cpu"))
    settings = RunSettings(metrics=("patch",), patch_from=SOURCE)
    engine.run(TARGET, replace(settings, metrics=("contributions",)))
    began = time.perf_counter()
    result = engine.run(TARGET, settings)
    seconds = time.perf_counter() - began
    found = result.get(Patch)
    if found is None or result.source is None:
        sys.exit(f"no map: {result.unavailable}")
    print(f"map: {seconds:.2f} s", file=sys.stderr)
    model = engine._model.loaded.model  # type: ignore[union-attr]
    target, source = (torch.from_numpy(one.ids)[None] for one in (result.tokens, result.source))
    with fast_products(model):
        naive, largest = one_forward_a_cell(model, target, source, found, every)
    cells = f"{len(found.recovered)} depths x {found.place + 1} tokens"
    print(f"{len(result.tokens)} tokens, the prompts differ from token {found.at[0]} on")
    print(f"{cells}: {seconds:.2f} s, {naive:.1f} s by one forward a cell")
    print(f"largest difference of a share {largest:.1e}")
    print(found.sentence)


def one_forward_a_cell(
    model: torch.nn.Module, target: torch.Tensor, source: torch.Tensor, found: Patch, every: int
) -> tuple[float, float]:
    """Seconds of all cells, and the largest difference of a share."""
    place, (of_source, of_target) = found.place, found.margins
    ours, theirs = int(source[0, place + 1]), int(target[0, place + 1])
    depths = range(len(found.recovered))
    put_in = [layer_ends(model, source, layer)[0] for layer in depths[:-1]]
    put_in.append(layer_ends(model, source, depths[-2])[1])
    largest, began = 0.0, time.perf_counter()
    for depth in depths[::every]:
        for token in range(place + 1):
            residual = {depth: torch.from_numpy(put_in[depth][token]).float()}
            output = erased(model, target, residual, depth, [token], torch.float32)[place]
            margin = float((output[ours] / output[theirs]).log())
            share = (margin - of_target) / (of_source - of_target)
            largest = max(largest, abs(share - float(found.recovered[depth, token])))
        print(f"depth {depth}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return (time.perf_counter() - began) * len(depths) / len(depths[::every]), largest


if __name__ == "__main__":
    main()
