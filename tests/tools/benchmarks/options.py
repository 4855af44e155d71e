"""How fast right answers without each layer are, against one ordinary forward for each of them.

    python -m tests.tools.benchmarks.options [--questions 20] [--naive 4]

Sums of two digits with four options, on the demo model in float32. The naive way runs the whole
text of each option without each layer, for some of the questions. Prints seconds a question, their
ratio, the largest difference of a log-likelihood, and the peak of memory. Run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from depthtui.data.run_settings import ModelSpec
from depthtui.engine.ready_model import make_ready
from depthtui.engine.tokens import tokenise_choices
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.models.loading import load
from depthtui.prompts.asking import Asking
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from depthtui.tracing.products import fast_products
from tests.naive import blocks


def naive(model, texts, rows):
    """The log-likelihoods `[rows, options]`, by a forward of each text without each row's layer."""
    scores = np.zeros((len(rows), len(texts)))
    for row, left_out in enumerate(rows):
        handles = [
            blocks(model)[layer].register_forward_hook(
                lambda _module, args, output: (
                    (args[0], *output[1:]) if isinstance(output, tuple) else args[0]
                )
            )
            for layer in left_out
        ]
        for option, (ids, start) in enumerate(texts):
            with torch.no_grad():
                logits = model(torch.from_numpy(ids[None, :-1])).logits[0, start - 1 :].float()
            log = logits.log_softmax(-1)
            scores[row, option] = log[range(len(ids) - start), ids[start:]].double().sum()
        for handle in handles:
            handle.remove()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--naive", type=int, default=4)
    options = parser.parse_args()
    loaded = load(ModelSpec("demo"), models_dir(default_cache_dir()), lambda event: None)
    ready = make_ready(loaded, list, lambda error: None)
    count = len(ready.anatomy.layers)
    rows: list[tuple[int, ...]] = [(), *((layer,) for layer in range(count))]
    prompts = make_prompts("addition", 2, options.questions, asking=Asking(choices=True))
    texts = [tokenise_choices(loaded.tokenizer, prompt, False) for prompt in prompts]
    with fast_products(loaded.model), torch.no_grad():
        started = time.perf_counter()
        found = []
        for question in texts:
            ids, starts = zip(*question, strict=True)
            continuations = Continuations(
                ids,
                starts,
                lambda ids: ready.replay(torch.from_numpy(ids), lambda: None),
                ready.anatomy,
            )
            found.append(continuations.without(rows).numpy())
        seconds = (time.perf_counter() - started) / len(texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.perf_counter()
    expected = [naive(loaded.model, question, rows) for question in texts[: options.naive]]
    naive_seconds = (time.perf_counter() - started) / options.naive
    miss = max(
        float(np.abs(ours - theirs).max())
        for ours, theirs in zip(found[: options.naive], expected, strict=True)
    )
    print(f"{len(texts)} questions, {len(rows)} rows, {len(texts[0])} options")
    ratio = naive_seconds / seconds
    print(f"ours {seconds:.2f} s a question, naive {naive_seconds:.2f} s: {ratio:.1f} x")
    print(f"largest difference {miss:.2g} nats; peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
