"""How fast interventions are, against one ordinary forward for each intervention.

    python -m tests.tools.benchmarks.interventions [--only ROWS] [--skip-tokens 96] [--quick]
        [--nnsight]

Everything runs in one process, on the demo model in float32, and prints a
Markdown table with the largest difference between both results, and how many
(token, layer) pairs each way computes; with --nnsight, also against the same
interventions through nnsight. Run it on a quiet machine: it takes all cores
and, for all rows without --quick, half an hour.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from depthtui.data.lens import LensValues
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.metrics.logit_lens.compute import read_lens, unknown_rows
from depthtui.models.loading import load
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.decoding import write_greedily
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.products import fast_products, product_of
from depthtui.tracing.replay import Replay
from tests.builders.kernels import (
    ablation_loss,
    context_depth,
    direct_effects,
    integrated_gradients,
    order,
    residual_erasure,
    skip_effects,
)
from tests.naive import (
    blocks,
    hook,
    naive_answer,
    naive_context_losses,
    naive_direct_effects,
    naive_erasure,
    naive_reordered_losses,
    naive_skip_effects,
    probabilities,
    token_losses,
)
from tests.tools.benchmarks.engine import matmul_peak
from tests.tools.benchmarks.with_nnsight import Traced

ROWS = "lens,skip,erasure,gradients,ablation,context,order,direct,answers,growth"

WORDS = "The road over the pass was closed by snow until the first warm days of May. "


def timed(function: Callable[[], Any], faster: nn.Module | None = None) -> tuple[float, Any]:
    """Seconds and value; a model that is ours to compute with takes the `faster` product."""
    with nullcontext() if faster is None else fast_products(faster):
        return _timed(function)


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value


def naive_lens(model: Any, residuals: list[Tensor]) -> tuple[Tensor, Tensor]:
    """KL and overlap `[L + 1, T]`, one depth after another over the whole vocabulary."""
    head, norm = model.get_output_embeddings(), model.model.norm
    with torch.inference_mode():
        final = head(norm(residuals[-1])).log_softmax(dim=-1)
        best = final.topk(5, dim=-1).indices
        kl, overlap = [], []
        for residual in residuals:
            lens = head(norm(residual)).log_softmax(dim=-1)
            kl.append((lens.exp() * (lens - final)).sum(dim=-1))
            mine = lens.topk(5, dim=-1).indices
            overlap.append((mine[:, :, None] == best[:, None]).any(dim=-1).float().mean(dim=-1))
    return torch.stack(kl), torch.stack(overlap)


def naive_gradients(model: Any, ids: Tensor, layer: int, answer: int, at_once: int) -> Tensor:
    """256 left-Riemann steps, so many ordinary forwards and backwards at a time, `[T]`."""
    steps = 256
    block, kept = blocks(model)[layer], {}
    with torch.no_grad(), hook(block, lambda _m, _a, out: kept.update(h=out.detach())):
        model(input_ids=ids, use_cache=False)
    actual, base = kept["h"], kept["h"].mean(dim=1, keepdim=True)
    total = torch.zeros(ids.shape[1])
    for first in range(0, steps, at_once):
        where = torch.arange(first, first + at_once)[:, None, None] / steps
        start = (base + where * (actual - base)).requires_grad_()
        with hook(block, lambda _m, _a, _o, start=start: start):
            logits = model(input_ids=ids.expand(at_once, -1), use_cache=False).logits
        targets = ids[0, answer:][None, :, None].expand(at_once, -1, 1)
        chosen = logits[:, answer - 1 : -1].softmax(dim=-1).gather(-1, targets).sum()
        (gradient,) = torch.autograd.grad(chosen, start)
        total += (gradient * (actual - base)).sum(dim=(0, 2)) / steps
    return total


class Bench:
    """The demo model, and the rows of the table."""

    def __init__(self, nnsight: bool = False) -> None:
        loaded = load(
            ModelSpec(dtype="float32", device="cpu"),
            models_dir(default_cache_dir()),
            lambda _: None,
        )
        self.model: Any = loaded.model
        self.tokenizer = loaded.tokenizer
        self.anatomy: Anatomy = probe_architecture(loaded.model)
        self.peak = matmul_peak(7)
        self.traced = Traced(loaded.model) if nnsight else None
        layer = sum(parameter.numel() for parameter in self.anatomy.layers[0].parameters())
        self.layer_flops, self.head_flops = (
            2 * layer,
            2 * loaded.info.d_model * loaded.info.vocab_size,
        )

    def row(
        self,
        what: str,
        naive: float,
        ours: float,
        far: float,
        flops: float,
        evaluations: tuple[int, int] | None = None,
    ) -> None:
        share = flops / ours / self.peak
        pairs = "" if evaluations is None else " against ".join(f"{n:,}" for n in evaluations)
        line = (
            f"| {what} | {naive:.1f} | {ours:.1f} | {naive / ours:.1f} | {far:.1e} | {share:.2f} "
            f"| {pairs} |"
        )
        print(line, flush=True)

    def losses_row(
        self,
        what: str,
        tokens: int,
        naive: Callable[[Tensor], np.ndarray],
        ours: Callable[[Replay], np.ndarray],
        forwards: int,
        head_rows: int,
    ) -> None:
        """One row: what of a text's loss both ways find, for so many forwards and logits."""
        ids = self.text_ids(tokens)
        seconds, expected = timed(lambda: naive(ids))

        def run() -> tuple[Replay, np.ndarray]:
            replay = Replay(self.model, self.anatomy, ids[0])
            return replay, ours(replay)

        mine, (replay, found) = timed(run, self.model)
        pairs = replay.evaluations, forwards * replay.n_layers * tokens
        flops = pairs[0] * self.layer_flops + head_rows * self.head_flops
        self.row(what, seconds, mine, float(np.nanmax(np.abs(found - expected))), flops, pairs)

    def ablation(self, tokens: int) -> None:
        count = len(self.anatomy.layers)

        def naive(ids: Tensor) -> np.ndarray:
            left_out = [[(layer, lambda h, _after: h)] for layer in range(count)]
            runs = [probabilities(self.model, ids, change) for change in [[], *left_out]]
            clean, *losses = [
                -run[:-1].gather(1, ids[0, 1:, None])[:, 0].log().numpy() for run in runs
            ]
            return np.stack(losses) - clean

        def ours(replay: Replay) -> np.ndarray:
            found = ablation_loss(replay, self.anatomy.unembedding, replay.residual[:-1])
            return found.loss_change

        what = f"ablation, T = {tokens}"
        self.losses_row(what, tokens, naive, ours, count + 1, (count + 2) * (tokens - 1))

    def context(self, tokens: int) -> None:
        count, start = len(self.anatomy.layers), tokens // 2

        def naive(ids: Tensor) -> np.ndarray:
            clean = token_losses(self.model, ids)
            losses = [
                naive_context_losses(self.model, ids, start, depth) for depth in range(count + 1)
            ]
            return (np.stack(losses) - clean)[:, start - 1 :]

        def ours(replay: Replay) -> np.ndarray:
            found = context_depth(replay, self.anatomy.unembedding, start)
            return found.loss_change[:, start - 1 :]

        what = f"context depth, T = {tokens}, from token {start}"
        self.losses_row(what, tokens, naive, ours, count + 2, (count + 4) * (tokens - start))

    def order(self, tokens: int) -> None:
        count = len(self.anatomy.layers)

        def naive(ids: Tensor) -> np.ndarray:
            clean = token_losses(self.model, ids)
            losses = [
                naive_reordered_losses(self.model, ids, layer, swapped)
                for swapped in (False, True)
                for layer in range(count - 1)
            ]
            return np.stack(losses) - clean

        def ours(replay: Replay) -> np.ndarray:
            found = order(replay, self.anatomy.unembedding)
            return np.concatenate([found.parallel, found.swapped])

        what = f"order, T = {tokens}"
        self.losses_row(what, tokens, naive, ours, 2 * count - 1, 2 * count * (tokens - 1))

    def direct(self, tokens: int) -> None:
        ids, position = self.text_ids(tokens), tokens // 2
        seconds, expected = timed(lambda: naive_direct_effects(self.model, ids, [position]))

        def run() -> tuple[Replay, Any]:
            replay = Replay(self.model, self.anatomy, ids[0])
            return replay, direct_effects(replay, replay.residual[:-1], [position])

        mine, (replay, found) = timed(run, self.model)
        count = replay.n_layers
        pairs = replay.evaluations, count * tokens * (count + count * (count - 1) // 2)
        far = float(np.abs(found.layers - expected).max())
        what = f"direct effects, T = {tokens}, 1 position"
        self.row(what, seconds, mine, far, pairs[0] * self.layer_flops, pairs)

    def answers(self, tokens: int, length: int = 4) -> None:
        """Without a record of what is computed: the model's own cached decoding does it."""
        ids, count = self.text_ids(tokens - length), len(self.anatomy.layers)
        left_out = [None, *range(count)]
        seconds, expected = timed(
            lambda: np.stack([naive_answer(self.model, ids, length, layer) for layer in left_out])
        )
        mine, found = timed(
            lambda: write_greedily(
                self.model,
                self.anatomy,
                ids[0],
                length,
                [() if layer is None else (layer,) for layer in left_out],
            ),
            self.model,
        )
        texts, prompt = len(left_out), tokens - length
        pairs = (
            texts * count * (tokens - 1),
            texts * count * sum(range(prompt, tokens)),
        )
        flops = pairs[0] * self.layer_flops + texts * length * self.head_flops
        what = f"texts without each layer, T = {tokens}, answer of {length} tokens"
        self.row(what, seconds, mine, float((found != expected).sum()), flops, pairs)

    def text_ids(self, tokens: int) -> Tensor:
        return self.tokenizer(WORDS * 40, return_tensors="pt")["input_ids"][:, :tokens]

    def skip(self, tokens: int) -> None:
        ids = self.text_ids(tokens)
        positions = [24, 56, 80, 40][: 4 if tokens > 84 else 2]
        seconds, (layers, output) = timed(
            lambda: naive_skip_effects(self.model, ids, positions, torch.float32)
        )

        def ours() -> tuple[Replay, Any]:
            replay = Replay(self.model, self.anatomy, ids[0])
            return replay, skip_effects(
                replay, self.anatomy.unembedding, replay.residual[:-1], positions
            )

        mine, (replay, effects) = timed(ours, self.model)
        far = max(np.abs(effects.layers - layers).max(), np.abs(effects.output - output).max())
        heads = replay.n_layers * sum(tokens - position for position in positions)
        flops = replay.evaluations * self.layer_flops + heads * self.head_flops
        what = f"skip effects, T = {tokens}, {len(positions)} positions"
        self.row(what, seconds, mine, far, flops)
        if self.traced is not None:
            seconds, (layers, output) = timed(lambda: self.traced.skip_effects(ids, positions))
            far = max(np.abs(effects.layers - layers).max(), np.abs(effects.output - output).max())
            self.row(f"{what}, against nnsight", seconds, mine, far, flops)

    def prompt(self) -> tuple[Tensor, int]:
        prompt: Prompt = make_prompts("addition", 5, 1)[0]
        tokens = tokenise(self.tokenizer, prompt, False, Vocabulary(self.tokenizer))
        return torch.from_numpy(tokens.ids)[None], tokens.answer_start

    def erasure(self) -> None:
        ids, answer = self.prompt()
        clean = Replay(self.model, self.anatomy, ids[0])
        baseline = [residual.mean(dim=0) for residual in clean.residual]
        seconds, effect = timed(
            lambda: naive_erasure(self.model, ids, baseline, answer, torch.float32)
        )

        def ours() -> tuple[Replay, Any]:
            replay = Replay(self.model, self.anatomy, ids[0])
            return replay, residual_erasure(replay, self.anatomy.unembedding, baseline, answer)

        mine, (replay, result) = timed(ours, self.model)
        tokens = replay.n_tokens
        heads = (replay.n_layers + 1) * sum(
            tokens - 1 - max(answer - 1, token) for token in range(tokens - 1)
        )
        flops = replay.evaluations * self.layer_flops + heads * self.head_flops
        far = float(np.abs(result.effect - effect).max())
        self.row(f"residual erasure, T = {tokens}", seconds, mine, far, flops)
        if self.traced is not None:
            seconds, effect = timed(lambda: self.traced.erasure(ids, baseline, answer))
            far = float(np.abs(result.effect - effect).max())
            what = f"residual erasure, T = {tokens}, against nnsight"
            self.row(what, seconds, mine, far, flops)

    def lens(self, tokens: int) -> None:
        ids = self.text_ids(tokens)
        residuals = Replay(self.model, self.anatomy, ids[0]).residual
        naive_lens(self.model, residuals)
        seconds, (kl, overlap) = timed(lambda: naive_lens(self.model, residuals))
        read = unknown_rows(len(residuals), tokens, 5)

        def put(first: int, first_token: int, rows: LensValues[torch.Tensor]) -> None:
            depths, width = rows.kl.shape
            place = slice(first, first + depths), slice(first_token, first_token + width)
            for name, value in vars(read).items():
                value[place] = getattr(rows, name)

        read_lens(self.anatomy.unembedding, residuals, ids[0], 5, put)
        mine, _ = timed(lambda: read_lens(self.anatomy.unembedding, residuals, ids[0], 5, put))
        far = max(float((read.kl - kl).abs().max()), float((read.overlap - overlap).abs().max()))
        flops = len(residuals) * tokens * self.head_flops
        self.row(f"logit lens, T = {tokens}", seconds, mine, far, flops)

    def gradients(self, layers: list[int]) -> None:
        ids, answer = self.prompt()
        naive_seconds, batched_seconds, seconds, far, flops = 0.0, 0.0, 0.0, 0.0, 0.0
        for layer in layers:
            spent, _ = timed(lambda layer=layer: naive_gradients(self.model, ids, layer, answer, 1))
            naive_seconds += spent
            spent, expected = timed(
                lambda layer=layer: naive_gradients(self.model, ids, layer, answer, 16)
            )
            batched_seconds += spent
            replay = Replay(self.model, self.anatomy, ids[0])
            before = replay.evaluations
            spent, found = timed(
                lambda replay=replay, layer=layer: integrated_gradients(
                    replay, self.anatomy.unembedding, answer, layers=[layer]
                ),
                self.model,
            )
            seconds += spent
            count, error = int(found.points[layer]), float(found.completeness_error[layer])
            assert found.reached[layer]
            far = max(far, float(np.abs(found.attribution[layer] - expected.numpy()).max()))
            # A backward pass for the inputs alone takes about as many products again.
            heads = count * (ids.shape[1] - answer)
            flops += 2 * (replay.evaluations - before) * self.layer_flops
            flops += 2 * heads * self.head_flops
            # The attributions add up to the change of f, but for the error told beside them.
            change = float(found.attribution[layer].sum())
            missed = abs(float(expected.sum()) - change) / abs(change)
            print(
                f"  layer {layer}: {count} gradients, completeness error {error:.4f}; "
                f"256 steps: {missed:.4f}",
                flush=True,
            )
        what = f"integrated gradients, T = {ids.shape[1]}, layers {', '.join(map(str, layers))}"
        self.row(what, naive_seconds, seconds, far, flops)
        self.row(f"{what}, against 16 steps at a time", batched_seconds, seconds, far, flops)

    def growth(self) -> None:
        """Skip effects at one position: time against the count of token-layer evaluations."""
        print(
            "\n| L | T | token-layer evaluations | s | evaluations / s |\n"
            "| --- | --- | --- | --- | --- |"
        )
        for layers, tokens in ((30, 32), (30, 64), (30, 128), (30, 256), (15, 128), (60, 128)):
            model, anatomy = self.model, self.anatomy
            if layers != len(self.anatomy.layers):
                config = copy.deepcopy(self.model.config)
                config.num_hidden_layers = layers
                config.layer_types = None
                model = AutoModelForCausalLM.from_config(config).eval()
                anatomy = probe_architecture(model)
            replay = Replay(model, anatomy, self.text_ids(tokens)[0])
            before = replay.evaluations
            seconds, _ = timed(
                lambda replay=replay, anatomy=anatomy, tokens=tokens: skip_effects(
                    replay, anatomy.unembedding, replay.residual[:-1], [tokens // 2]
                )
            )
            count = replay.evaluations - before
            rate = count / seconds
            print(f"| {layers} | {tokens} | {count:,} | {seconds:.2f} | {rate:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=ROWS)
    parser.add_argument("--skip-tokens", type=int, default=96)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--nnsight", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.nnsight)
    print(f"{torch.get_num_threads()} threads, peak {bench.peak / 1e9:.0f} GFLOP/s, ")
    print(f"products by {product_of(bench.model)}\n")
    print(
        "| what | naive, s | depthtui, s | ratio | largest difference | share of peak "
        "| (token, layer) pairs |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    tasks: dict[str, Callable[[], None]] = {
        "lens": lambda: bench.lens(130),
        "skip": lambda: bench.skip(options.skip_tokens),
        "erasure": bench.erasure,
        "gradients": lambda: bench.gradients([5] if options.quick else [0, 5, 12, 20, 28]),
        "ablation": lambda: bench.ablation(130),
        "context": lambda: bench.context(130),
        "order": lambda: bench.order(130),
        "direct": lambda: bench.direct(130),
        "answers": lambda: bench.answers(130),
        "growth": bench.growth,
    }
    for name in options.only.split(","):
        tasks[name]()


if __name__ == "__main__":
    main()
