"""Whether the layers that answers need are those that ablation loss names.

    python -m tests.tools.benchmarks.answers [--model demo] [--examples 10]

One- to three-digit sums and two-hop facts: Spearman's rank correlation over layers of the loss
without a layer, and of how many written answers are lost without it. Float32 on the CPU; minutes.
"""

from __future__ import annotations

import argparse

import numpy as np

from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.selection import numbers_text
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.metrics import ablation, accuracy
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir

SETS = (("addition", 1), ("addition", 2), ("addition", 3), ("facts", 2))


def ranks(values: np.ndarray) -> np.ndarray:
    """From 0, equal values sharing the mean of theirs."""
    order = np.searchsorted(np.sort(values), values)
    behind = np.searchsorted(np.sort(values), values, side="right")
    return np.asarray((order + behind - 1) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--examples", type=int, default=10)
    options = parser.parse_args()
    engine = Engine(open_store(None, 0, print), models_dir(default_cache_dir()), lambda _: None)
    engine.load(ModelSpec(options.model, dtype="float32", device="cpu"))
    print("| prompts | right | needed by a right answer | rank correlation |")
    print("| --- | --- | --- | --- |")
    for task, level in SETS:
        prompts = make_prompts(task, level, options.examples)
        wanted = RunSettings(metrics=("ablation", "accuracy"), order_search="ranked")
        runs = [engine.run(prompt, wanted) for prompt in prompts]
        pooled = reading_of(runs, SummarySettings())
        loss, answers = pooled.get(ablation.METRIC), pooled.get(accuracy.METRIC).written
        lost = np.array([pair.lost for pair in answers.pairs])
        found = np.corrcoef(ranks(loss.loss_change), ranks(lost))[0, 1]
        needed = numbers_text(np.flatnonzero(lost).tolist()) or "none"
        print(f"| {task} {level} | {answers.counts} | {needed} | {found:.2f} |", flush=True)


if __name__ == "__main__":
    main()
