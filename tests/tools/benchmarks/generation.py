"""What it costs to measure every written token, and how far it is from a pass over the text.

    python -m tests.tools.benchmarks.generation [--tokens 200] [--repeat 3]

Prints a Markdown table. Run it on a quiet machine: it takes all cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import numpy as np
import torch

from depthtui.data.arrays import arrays_of
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings, Writing
from depthtui.depth.token_depths import depths_of_run
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.engine.writing import write
from depthtui.metrics.registry import empty_result
from depthtui.models.loading import load
from depthtui.settings import default_cache_dir, models_dir
from depthtui.tracing.probe import probe_architecture
from tests.engine.test_writing import measured_again, readings_of
from tests.tools.benchmarks.engine import alternate, ratio

QUESTION = "Why does the sea have tides? Explain it step by step, and name every body involved."


def ready_demo() -> ReadyModel:
    folder = models_dir(default_cache_dir())
    loaded = load(ModelSpec(dtype="float32", device="cpu"), folder, lambda progress: None)
    anatomy, vocabulary = probe_architecture(loaded.model), Vocabulary(loaded.tokenizer)
    # The text shall not end early, nor the baselines of other metrics be needed.
    loaded.tokenizer.eos_token = None
    loaded.model.generation_config.eos_token_id = None
    return ReadyModel(loaded, anatomy, loaded.info, vocabulary, baselines=None)  # type: ignore[arg-type]


def measured(model: ReadyModel, tokens: PromptTokens, count: int) -> RunResult:
    """A run that the model has continued, each token measured."""
    settings, writing = RunSettings(metrics=("logit_lens", "settling")), Writing(count)
    run = empty_result(model.info, Prompt(QUESTION), settings, tokens)
    run.end_writing(writing, write(model, run, writing))
    return run


def plain(model: ReadyModel, tokens: PromptTokens, count: int) -> list[int]:
    """The same tokens by the model alone, with the same kind of cache."""
    causal = model.loaded.model
    unread, cache, written = torch.from_numpy(tokens.ids)[None], None, []
    with torch.inference_mode():
        for _ in range(count):
            output = causal(
                input_ids=unread, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            cache = output.past_key_values
            unread = output.logits[:, -1:].argmax(dim=-1)
            written.append(int(unread))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    model = ready_demo()
    tokens = tokenise(model.loaded.tokenizer, Prompt(QUESTION), True, model.vocabulary)
    run = measured(model, tokens, options.tokens)
    start = run.answer_start
    same = plain(model, tokens, options.tokens) == run.tokens.ids[start:].tolist()
    with_depth, bare = alternate(
        options.repeat,
        lambda: measured(model, tokens, options.tokens),
        lambda: plain(model, tokens, options.tokens),
    )
    rows = [
        ("measured, ms a token", f"{1000 * statistics.median(with_depth) / options.tokens:.1f}"),
        ("plain decoding, ms a token", f"{1000 * statistics.median(bare) / options.tokens:.1f}"),
        ("measured / plain", ratio(with_depth, bare)),
        ("the same tokens as plain decoding", "yes" if same else "no"),
    ]
    again = measured_again(model, run)
    expected = readings_of(again)
    for name, values in readings_of(run).items():
        rows.append((f"against a pass, {name}", _apart(values, expected[name])))
    as_written, in_a_pass = (depths_of_run(each, SummarySettings()) for each in (run, again))
    for name, depths in arrays_of(in_a_pass):
        found = getattr(as_written, name)[start:]
        rows.append((f"against a pass, {name}: depth", _apart(found, depths[start:])))

    print(f"\n{len(tokens)} + {options.tokens} tokens, {torch.get_num_threads()} threads, ")
    print(f"torch {torch.__version__}, {model.info.name}, {model.info.dtype}\n")
    print("| what | figure |\n| --- | --- |")
    for row_name, figure in rows:
        print(f"| {row_name} | {figure} |")


def _apart(found: np.ndarray, expected: np.ndarray) -> str:
    """The largest difference, or how many values differ where they are ids or depths."""
    differ = int(np.sum(~np.isclose(found, expected, rtol=0, atol=0, equal_nan=True)))
    if found.dtype != np.float32 or found.ndim == 1:
        return f"{differ} of {found.size} differ"
    return f"{np.nanmax(np.abs(found - expected)):.1e}"


if __name__ == "__main__":
    sys.exit(main())
