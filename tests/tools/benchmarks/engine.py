"""How fast the engine is, as ratios against a baseline in the same process.

    python -m tests.tools.benchmarks.engine [--tokens 130] [--repeat 7]

Prints Markdown tables: ratios, the product that is chosen for each shape, and how much of the
machine's peak each metric reaches. Run it on a quiet machine: it takes all cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.metrics.contributions.compute import contributions
from depthtui.metrics.logit_lens.compute import read_lens
from depthtui.models.loading import load
from depthtui.settings import default_cache_dir, models_dir
from depthtui.tracing.activations import ActivationRecorder
from depthtui.tracing.modules import decoder
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.products import (
    ProductShape,
    choose_products,
    fast_products,
    one_dnn_product,
    product_of,
)
from depthtui.tracing.trace import trace
from tests.tools.benchmarks.patch import SOURCE, TARGET

METRICS = ("logit_lens", "skip_effects", "residual_erasure", "kept", "patch")
"""Those whose share of the peak is told."""


def alternate(repeat: int, *functions: Callable[[], object]) -> list[list[float]]:
    """Seconds of each function, run in turns so that all see the same machine."""
    for function in functions:
        function()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeat):
        for place, function in enumerate(functions):
            start = time.perf_counter()
            function()
            seconds[place].append(time.perf_counter() - start)
    return seconds


def matmul_peak(repeat: int) -> float:
    """The best float32 matrix-product rate of this machine, FLOP/s: torch's, or oneDNN's."""
    size = 2048
    a, b, c = (torch.randn(size, size) for _ in range(3))
    with torch.inference_mode():
        seconds = alternate(repeat, lambda: torch.mm(a, b, out=c), lambda: one_dnn_product(a, b))
    return 2 * size**3 / min(map(min, seconds))


def product_rates(shape: ProductShape, rows: int, repeat: int) -> tuple[float, float]:
    """The rates of oneDNN's and torch's product of so many rows, FLOP/s."""
    values, weight = torch.randn(rows, shape.width), torch.randn(shape.outputs, shape.width)
    with torch.inference_mode():
        mine, other = alternate(
            10 * repeat, lambda: one_dnn_product(values, weight), lambda: linear(values, weight)
        )
    flops = 2 * rows * shape.width * shape.outputs
    return flops / min(mine), flops / min(other)


def flops_of(function: Callable[[], object]) -> int:
    """How many floating-point operations the matrix products of some work take."""

    def of_one_dnn(rows: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        return 2 * rows.numel() * weight[0]

    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: of_one_dnn}
    )
    with counter:
        function()
    return int(counter.get_total_flops())


def metric_rows(engine: Engine, peak: float) -> None:
    """Print how long each metric takes, its pass included, and its share of the peak."""
    print("\n| metric | s | GFLOP/s of its products | share of peak |\n| --- | --- | --- | --- |")
    for name in METRICS:
        settings = RunSettings(
            metrics=(name,),
            order_source="own",
            order_search="ranked",
            patch_from=SOURCE if name == "patch" else "",
        )

        def run(settings: RunSettings = settings) -> None:
            result = engine.run(TARGET, settings, fresh=True)
            assert not result.unavailable, result.unavailable

        flops, start = flops_of(run), time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        rate = flops / seconds
        print(f"| {name} | {seconds:.2f} | {rate / 1e9:.0f} | {rate / peak:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=130)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()

    folder = models_dir(default_cache_dir())
    loaded = load(ModelSpec(dtype="float32", device="cpu"), folder, lambda progress: None)
    model, anatomy = loaded.model, probe_architecture(loaded.model)
    words = "The road over the pass was closed by snow until the first warm days of May. " * 200
    ids = loaded.tokenizer(words, return_tensors="pt")["input_ids"][0, : options.tokens]
    text = loaded.tokenizer.decode(ids)
    rows: list[tuple[str, str]] = []
    start = time.perf_counter()
    choose_products(model)
    rows.append(("choosing products, ms", f"{1e3 * (time.perf_counter() - start):.0f}"))

    def with_hooks() -> None:
        with fast_products(model):
            trace(model, anatomy, ids, lambda layer: contributions(layer, anatomy.parallel))

    def bare_decoder() -> None:
        with torch.inference_mode():
            decoder(model)(input_ids=ids[None], use_cache=False)

    def bare_model() -> None:
        with torch.inference_mode():
            model(input_ids=ids[None], use_cache=False)

    hooked, without_head, bare = alternate(options.repeat, with_hooks, bare_decoder, bare_model)
    rows.append(("hooked run / bare forward of the same layers", ratio(hooked, without_head)))
    rows.append(("hooked run / bare forward with the LM head", ratio(hooked, bare)))

    recorder = ActivationRecorder(len(anatomy.layers), keep_writes=False)
    trace(model, anatomy, ids, recorder.add)
    residuals = list(recorder.activations().residual)
    unembedding = anatomy.unembedding
    assert unembedding is not None
    peak = matmul_peak(options.repeat)
    (lens,) = alternate(
        options.repeat, lambda: read_lens(unembedding, residuals, ids, 10, lambda *_: None)
    )
    products = 2 * len(residuals) * len(ids) * loaded.info.d_model * loaded.info.vocab_size
    rate = products / min(lens)
    rows.append(("lens, GFLOP/s of matrix products", f"{rate / 1e9:.0f}"))
    rows.append(("the machine's peak, GFLOP/s", f"{peak / 1e9:.0f}"))
    rows.append(("lens / peak", f"{rate / peak:.2f}"))

    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(
            open_store(Path(scratch), 10 << 30, print),
            folder,
            lambda event: None,
            baseline_texts=lambda: [text],
        )
        engine.load(ModelSpec(dtype="float32", device="cpu"))
        prompt = Prompt(text)

        def timed(fresh: bool) -> float:
            start = time.perf_counter()
            result = engine.run(prompt, RunSettings(), fresh=fresh)
            assert result.provenance is not None
            assert result.provenance.cached is not fresh
            return time.perf_counter() - start

        timed(True)
        computed = [timed(True) for _ in range(3)]
        opened = [timed(False) for _ in range(options.repeat)]
    rows.append(("computing a run with everything, s", f"{statistics.median(computed):.2f}"))
    rows.append(("reopening it from the cache, s", f"{statistics.median(opened):.4f}"))
    rows.append(
        ("computing / reopening", f"{statistics.median(computed) / statistics.median(opened):.0f}")
    )

    print(f"\n{len(ids)} tokens, {torch.get_num_threads()} threads, torch {torch.__version__}, ")
    print(f"{loaded.info.name}, {loaded.info.dtype}, products by {product_of(model)}\n")
    print("| what | figure |\n| --- | --- |")
    for name, figure in rows:
        print(f"| {name} | {figure} |")
    print("\n| width x outputs | chosen | oneDNN / torch, GFLOP/s at rows |")
    print("| --- | --- | --- |")
    for shape, is_one_dnn in choose_products(model).items():
        rates = []
        for count in (32, 130, 1024, 4096):
            mine, other = product_rates(shape, count, options.repeat)
            rates.append(f"{count}: {mine / 1e9:.0f} / {other / 1e9:.0f}")
        chosen = "oneDNN" if is_one_dnn else "torch"
        print(f"| {shape.width} x {shape.outputs} | {chosen} | {', '.join(rates)} |", flush=True)
    metric_rows(engine, peak)


def ratio(some: list[float], baseline: list[float]) -> str:
    """Best over best, and the median of the ratios of neighbours in time."""
    pairs = statistics.median(a / b for a, b in zip(some, baseline, strict=True))
    return f"{min(some) / min(baseline):.3f} (median of pairs {pairs:.3f})"


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
