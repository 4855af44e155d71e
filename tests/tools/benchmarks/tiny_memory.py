"""Peak memory of every metric on a tiny deep model, over what there was before, by prompt length.

    python -m tests.tools.benchmarks.tiny_memory [--tokens 512,2048] [--seconds 60]

Each metric runs alone in a process of its own, and is stopped after its seconds: its
batches are as large then as later on. The model has 16 layers of width 64: what grows with the
number of tokens or layers shows, and weights and the vocabulary do not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.metrics.registry import METRIC_BY_NAME
from tests.tiny_models import tiny_tokenizer
from tests.tools.benchmarks.interventions_memory import ANSWER, TimeLimit
from tests.tools.benchmarks.peak_memory import watch_memory


def save_model(folder: Path, longest: int) -> None:
    """A random Llama that is deep for its width, and its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=16,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=longest,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(folder: Path, metric: str, tokens: int, seconds: float) -> None:
    """Print one cell: the peak in MiB, with a star where the metric was stopped."""
    torch.set_num_threads(1)
    engine = Engine(open_store(None, 0, print), folder.parent, lambda event: None)
    engine.load(ModelSpec(str(folder), dtype="float32", device="cpu"))
    letters = "abcdefghijklmnopqrstuvwxyz"
    prompt = Prompt(" ".join(letters[place * 7 % 26] for place in range(2 * tokens)))
    while (count := engine.count_tokens(prompt)) > tokens:
        prompt = Prompt(prompt.text[: -max(1, (count - tokens) // 2)])
    baseline = ("The ferry did not run.",)
    settings = RunSettings(metrics=(metric,), answer_start=count - ANSWER, baseline=baseline)
    with watch_memory() as peak:
        result = engine.run(prompt, settings, TimeLimit(seconds))
    print(f"{peak.extra:.0f}{'' if result.complete else '*'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", default="512,2048")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--metrics", default=",".join(METRIC_BY_NAME))
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "METRIC"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    lengths = [int(length) for length in options.tokens.split(",")]
    if options.one:
        measure(Path(options.one[0]), options.one[1], lengths[0], options.seconds)
        return
    print("Peak over what there was before, MiB; * stopped\n")
    print("| metric | " + " | ".join(f"T = {length:,}" for length in lengths) + " |")
    print("| --- |" + " --- |" * len(lengths))
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "tiny-deep"
        save_model(folder, 2 * max(lengths))
        for metric in options.metrics.split(","):
            cells = []
            for length in lengths:
                command = [sys.executable, "-m", "tests.tools.benchmarks.tiny_memory"]
                command += ["--one", str(folder), metric, "--tokens", str(length)]
                command += ["--seconds", str(options.seconds)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                cells.append(done.stdout.strip().splitlines()[-1] if not done.returncode else "-")
            print(f"| {metric} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
